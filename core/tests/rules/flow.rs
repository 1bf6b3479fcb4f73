//! The verdict of a group's counts, the guards that it relies on, and the effect of an end on the
//! downstream execution.

use std::fmt::Write;

use ff_core::contracts::{EdgeDependencyPolicy, OnSatisfied};
use ff_core::plan::Held;
use ff_core::rules::flow::hop::{Ended, Hop};
use ff_core::rules::flow::key::FlowKey;
use ff_core::rules::flow::policy::{cancels_remaining, decode, encode};
use ff_core::rules::flow::tally::{Bucket, Change, GroupState, Tally};
use ff_core::rules::status::Status;
use ff_core::schema::flow::{edge, edge_group};
use ff_core::state::{AttemptState, ClosedSet, CompletionKind, TerminalOutcome};
use ff_core::types::EdgeId;
use serde_json::json;
use uuid::Uuid;

use crate::stored::{RowOf, Stored, blank, core_row};
use crate::{Decided, NOW, decide, key};

const FLOW: Uuid = Uuid::from_u128(0xF);
const EDGE: Uuid = Uuid::from_u128(0xE);

fn all_of() -> EdgeDependencyPolicy {
    EdgeDependencyPolicy::all_of()
}

fn any_of() -> EdgeDependencyPolicy {
    EdgeDependencyPolicy::any_of(OnSatisfied::let_run())
}

fn quorum(k: u32) -> EdgeDependencyPolicy {
    EdgeDependencyPolicy::quorum(k, OnSatisfied::let_run())
}

fn tally(success: i32, fail: i32, skip: i32, dependencies: i32) -> Tally {
    let running = dependencies - success - fail - skip;
    Tally { success, fail, skip, running, dependencies, unapplied: 0 }
}

#[test]
fn a_verdict_follows_from_policy_and_count() {
    use GroupState::{Impossible, Pending, Satisfied};
    for (policy, (success, fail, skip, all), state) in [
        (all_of(), (3, 0, 0, 3), Satisfied),
        (all_of(), (2, 1, 0, 3), Impossible),
        (all_of(), (1, 0, 0, 3), Pending),
        (all_of(), (0, 0, 0, 0), Pending),
        (any_of(), (1, 0, 0, 3), Satisfied),
        (any_of(), (1, 2, 0, 3), Satisfied),
        (any_of(), (0, 3, 0, 3), Impossible),
        (any_of(), (0, 1, 1, 3), Pending),
        (quorum(2), (2, 0, 1, 3), Satisfied),
        (quorum(2), (1, 1, 0, 3), Pending),
        (quorum(3), (0, 3, 0, 5), Impossible),
        (quorum(9), (1, 0, 0, 2), Impossible),
    ] {
        let counted = tally(success, fail, skip, all);
        assert_eq!(counted.state(&policy), state, "{policy:?} {counted:?}");
        // An older row says the same, though it does not say how many edges there are.
        let older = Tally { dependencies: 0, ..counted };
        assert_eq!(older.state(&policy), state, "{policy:?} {older:?}");
    }
    let incomplete = tally(2, 0, 0, 2).with_unapplied(1);
    assert_eq!(incomplete.state(&all_of()), Pending, "an edge is still to be applied");
}

/// Every way to count up to five upstreams.
fn tallies() -> Vec<Tally> {
    let mut all = Vec::new();
    for dependencies in 1..=5 {
        for success in 0..=dependencies {
            for fail in 0..=dependencies - success {
                for skip in 0..=dependencies - success - fail {
                    all.push(tally(success, fail, skip, dependencies));
                }
            }
        }
    }
    all
}

fn policies() -> Vec<EdgeDependencyPolicy> {
    let quorums = (1..=6).map(quorum);
    [all_of(), any_of()].into_iter().chain(quorums).collect()
}

#[test]
fn a_verdict_is_what_the_remaining_upstreams_can_still_make_of_it() {
    for policy in policies() {
        for tally in tallies() {
            let needed = match policy {
                EdgeDependencyPolicy::AnyOf { .. } => 1,
                EdgeDependencyPolicy::Quorum { k, .. } => i32::try_from(k).unwrap(),
                _ => tally.dependencies,
            };
            let best = tally.success + tally.running;
            let expected = match () {
                () if needed <= tally.success => GroupState::Satisfied,
                () if best < needed => GroupState::Impossible,
                () => GroupState::Pending,
            };
            assert_eq!(tally.state(&policy), expected, "{policy:?} {tally:?}");
        }
    }
}

fn group_row(tally: &Tally, policy: &EdgeDependencyPolicy) -> RowOf {
    blank()
        .with(edge_group::partition_key, key().partition)
        .with(edge_group::flow_id, FLOW)
        .with(edge_group::downstream_eid, key().uuid)
        .with(edge_group::policy, encode(policy))
        .with(edge_group::success_count, tally.success)
        .with(edge_group::fail_count, tally.fail)
        .with(edge_group::skip_count, tally.skip)
        .with(edge_group::running_count, tally.running)
        .with(edge_group::dependency_count, tally.dependencies)
        .with(edge_group::version, 4)
}

/// Decided on one count, applied to another: where the plan's guard lets it through, it decides
/// nothing there either. And it lets the count through that it was decided on.
#[test]
fn what_a_pending_end_relies_on_keeps_it_pending() {
    let buckets = [Bucket::Success, Bucket::Fail, Bucket::Skip];
    let (mut let_through, mut kept_out) = (0, 0);
    for policy in policies() {
        for read in tallies() {
            for bucket in buckets {
                let counted = |tally: &Tally| {
                    tally.after(Change::default().one_more(bucket).running(-1)).state(&policy)
                };
                if read.running == 0 || counted(&read) != GroupState::Pending {
                    continue;
                }
                let row = group_row(&read, &policy).row();
                let relies = read.stays_pending(&row, &policy, bucket).unwrap();
                assert!(relies.accepts(&row, &Held::default()), "{policy:?} {read:?}");
                for now in tallies() {
                    let row = group_row(&now, &policy).row();
                    let meanwhile = now.dependencies == read.dependencies
                        && read.success <= now.success
                        && read.fail <= now.fail
                        && read.skip <= now.skip
                        && 0 < now.running
                        // A decided group has unblocked or skipped its downstream execution.
                        && now.state(&policy) == GroupState::Pending;
                    if !meanwhile || !relies.accepts(&row, &Held::default()) {
                        kept_out += 1;
                        continue;
                    }
                    let_through += 1;
                    let state = counted(&now);
                    assert_eq!(
                        state,
                        GroupState::Pending,
                        "{policy:?} {read:?} {now:?} {bucket:?}"
                    );
                }
            }
        }
    }
    assert!(300 < let_through && 300 < kept_out, "{let_through} {kept_out}");
}

#[test]
fn policies_are_stored_as_they_are_read() {
    for policy in policies() {
        assert_eq!(decode(&encode(&policy)), policy);
        assert!(!cancels_remaining(&policy));
    }
    for (stored, policy) in [
        (json!({}), all_of()),
        (json!({ "kind": "none_of" }), all_of()),
        (
            json!({ "kind": "any_of" }),
            EdgeDependencyPolicy::any_of(OnSatisfied::cancel_remaining()),
        ),
        (
            json!({ "kind": "quorum", "k": -1, "on_satisfied": "?" }),
            EdgeDependencyPolicy::quorum(1, OnSatisfied::cancel_remaining()),
        ),
    ] {
        assert_eq!(decode(&stored), policy, "{stored}");
    }
}

/// The edges that an end may find.
fn edges() -> Vec<(&'static str, RowOf)> {
    let edge = |applied: bool| {
        let at = applied.then_some(NOW);
        let state = if applied { "applied" } else { "pending" };
        blank()
            .with(edge::partition_key, key().partition)
            .with(edge::flow_id, FLOW)
            .with(edge::edge_id, EDGE)
            .with(edge::upstream_eid, Uuid::from_u128(2))
            .with(edge::downstream_eid, key().uuid)
            .with(edge::policy, json!({ "applied_at_ms": at, "edge_state": state }))
            .with(edge::version, 3)
    };
    let heard = |outcome, event| {
        edge(true)
            .with(edge::upstream_outcome, Some(outcome))
            .with(edge::upstream_event_id, Some(event))
    };
    vec![
        ("applied", edge(true)),
        ("staged", edge(false)),
        ("knows a failure", heard(CompletionKind::Failed, 16)),
        ("knows a success", heard(CompletionKind::Success, 16)),
        ("knows this", heard(CompletionKind::Success, 17)),
        ("knows better", heard(CompletionKind::Success, 18)),
    ]
}

/// The executions that may wait.
fn children() -> Vec<(&'static str, Option<RowOf>)> {
    let attempt = AttemptState::PendingFirstAttempt;
    let in_state = |status| Some(core_row().in_state(status));
    vec![
        ("gone", None),
        ("blocked", in_state(Status::waiting_for_dependencies(attempt))),
        ("waiting", in_state(Status::waiting(attempt))),
        ("held back", in_state(Status::held_back(attempt))),
        ("active", in_state(Status::active())),
        ("completed", in_state(Status::terminal(TerminalOutcome::Success))),
        ("cancelled", in_state(Status::cancelled())),
    ]
}

fn groups() -> Vec<(&'static str, RowOf)> {
    let group = |policy: &EdgeDependencyPolicy, tally: &Tally| group_row(tally, policy);
    vec![
        ("all of 3, none ended", group(&all_of(), &tally(0, 0, 0, 3))),
        ("all of 3, 2 done", group(&all_of(), &tally(2, 0, 0, 3))),
        ("any of 3, 2 failed", group(&any_of(), &tally(0, 2, 0, 3))),
        ("2 of 3, none ended", group(&quorum(2), &tally(0, 0, 0, 3))),
        ("2 of 3, 1 done", group(&quorum(2), &tally(1, 0, 0, 3))),
        ("2 of 3, 1 skipped", group(&quorum(2), &tally(0, 0, 1, 3))),
    ]
}

/// How an upstream may end.
const ENDS: [CompletionKind; 5] = [
    CompletionKind::Success,
    CompletionKind::Failed,
    CompletionKind::Cancelled,
    CompletionKind::Expired,
    CompletionKind::Skipped,
];

/// The effect of the plan on the downstream execution.
fn effect(decision: &Decided) -> String {
    match decision {
        Decided::Refused(error) => format!("refused: {error}"),
        Decided::Answer(answer) => format!("nothing ({answer})"),
        Decided::Plan(plan, _) => {
            let script = plan.to_string();
            let state =
                script.lines().find_map(|line| line.trim().strip_prefix("public_state := "));
            let group = script.contains("update ff_edge_group");
            match (state, group) {
                (Some(state), _) => format!("counted, and the execution is {state}"),
                (None, true) => "counted".into(),
                (None, false) => "remembered".into(),
            }
        }
    }
}

/// Every end on every edge, group and execution, as one reviewed page. Lines that say the same of
/// several executions or ends are one.
#[test]
fn every_end_that_is_applied() {
    let mut page = String::new();
    let mut decisions = 0;
    for (edge_name, edge) in edges() {
        for (group_name, group) in groups() {
            writeln!(page, "\nedge {edge_name}; {group_name}").unwrap();
            let mut lines: Vec<(String, Vec<String>)> = Vec::new();
            for (child_name, child) in children() {
                for outcome in ENDS {
                    let stored = child.as_ref().map_or(Stored::nothing(), Stored::of);
                    let stored = stored.with(&edge).with(&group);
                    let upstream = Uuid::from_u128(2);
                    let end = Ended { upstream, outcome, event_id: Some(17) };
                    let flow = FlowKey { partition: key().partition, uuid: FLOW };
                    let hop = Hop {
                        flow,
                        edge: EdgeId::from_uuid(EDGE),
                        end,
                        last: false,
                        downstream: None,
                    };
                    let effect = effect(&decide(&hop, &stored));
                    let case = format!("{child_name} {}", outcome.as_str());
                    decisions += 1;
                    match lines.iter_mut().find(|(known, _)| *known == effect) {
                        Some((_, cases)) => cases.push(case),
                        None => lines.push((effect, vec![case])),
                    }
                }
            }
            for (effect, cases) in lines {
                writeln!(page, "  {effect}: {}", shortened(&cases)).unwrap();
            }
        }
    }
    writeln!(page, "\n{decisions} decisions").unwrap();
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!("hop_table", page));
}

/// Cases by execution: every end of one, or the ends by name.
fn shortened(cases: &[String]) -> String {
    let mut by_child: Vec<(&str, Vec<&str>)> = Vec::new();
    for case in cases {
        let (child, end) = case.rsplit_once(' ').unwrap();
        match by_child.iter_mut().find(|(known, _)| *known == child) {
            Some((_, known)) => known.push(end),
            None => by_child.push((child, vec![end])),
        }
    }
    let words = by_child.iter().map(|(child, known)| match known.len() {
        all if all == ENDS.len() => (*child).to_owned(),
        _ => format!("{child} ({})", known.join(" ")),
    });
    words.collect::<Vec<_>>().join(", ")
}
