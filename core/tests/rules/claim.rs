//! Claiming: which rows qualify, in which order, and what a claim writes.

use ff_core::backend::{BackendTag, CapabilitySet, ClaimPolicy};
use ff_core::contracts::{CLAIM_MAX, ClaimScope};
use ff_core::engine::{Step, Transition as _};
use ff_core::plan::Held;
use ff_core::plan::facts::{Answer, Facts, Questions, Row};
use ff_core::plan::value::Value;
use ff_core::rules::ctx::Ctx;
use ff_core::rules::execution::candidates::Candidates;
use ff_core::rules::execution::claim::{Claim, Place};
use ff_core::rules::handle;
use ff_core::rules::status::Status;
use ff_core::schema::execution::exec_core;
use ff_core::state::{AttemptState, BlockingReason, ClosedSet, EligibilityState, LifecyclePhase};
use ff_core::types::{LaneId, TimestampMs, WorkerId, WorkerInstanceId};
use insta::assert_snapshot;

use crate::stored::{RowOf, Stored, core_row};
use crate::{ATTEMPT_ID, Draws, LEASE_ID, NOW, decide, id, key};

fn policy(instance: &str, ttl_ms: u32) -> ClaimPolicy {
    ClaimPolicy::new(WorkerId::new("pool"), WorkerInstanceId::new(instance), ttl_ms, None)
}

pub(crate) fn claim(lane: &str, capabilities: &[&str], limit: u32) -> Claim {
    let capabilities = CapabilitySet::new(capabilities.iter().copied());
    Claim::new(BackendTag::Memory, &LaneId::new(lane), &capabilities, policy("w2", 500), limit)
        .unwrap()
}

/// A claim of those partitions.
fn claim_of(partitions: &str, capabilities: &[&str]) -> Claim {
    let scope = ClaimScope::Of(partitions.parse().unwrap());
    let capabilities = CapabilitySet::new(capabilities.iter().copied());
    let policy = policy("w2", 500).in_scope(scope);
    Claim::new(BackendTag::Memory, &LaneId::new("main"), &capabilities, policy, 1).unwrap()
}

fn waiting() -> RowOf {
    core_row().in_state(Status::waiting(AttemptState::PendingFirstAttempt))
}

#[track_caller]
fn check(claim: &Claim, row: &RowOf, expected: bool) {
    let accepted = claim.eligible(TimestampMs(NOW)).accepts(&row.row(), &Held::default());
    assert_eq!(accepted, expected);
}

#[test]
fn a_claim_picks_leases_and_announces() {
    assert_snapshot!(decide(&claim("main", &["gpu"], 2), &Stored::nothing()), @r#"
    plan claim
      unless lane = ff_lane_registry[lane_id "main"]
        where state in (paused, disabled) and (state_until_ms is null or state_until_ms > 1000000)
      pick core from ff_exec_core
        where lane_id = "main" and lifecycle_phase in (submitted, runnable, pending, eligible, blocked) and eligibility_state in (eligible_now, pending_claim) and (granted_until_ms is null or granted_until_ms <= 1000000) and required_capabilities covered by ["gpu"] and required_capabilities does not begin below " "
        order priority descending, claimable_since_ms, created_at_ms, execution_id
        then where lane_id = "main" and lifecycle_phase in (runnable, pending, eligible, blocked) and eligibility_state is not_eligible_until_time and eligible_at_ms <= 1000000 and (granted_until_ms is null or granted_until_ms <= 1000000) and required_capabilities covered by ["gpu"] and required_capabilities does not begin below " "
        order eligible_at_ms, execution_id
        limit 2, skipping locked rows
      update ff_exec_core[partition_key core.partition_key, execution_id core.execution_id]
        lifecycle_phase := active
        ownership_state := leased
        eligibility_state := not_applicable
        public_state := active
        attempt_state := running_attempt
        blocking_reason := null
        version += 1
        last_changed_at_ms := 1000000
        started_at_ms keeps its value, else := 1000000
        total_attempt_count += 1
        granted_until_ms := null
        eligible_at_ms := null
      insert ff_attempt
        partition_key := core.partition_key
        execution_id := core.execution_id
        attempt_index := core.attempt_index
        worker_id := "pool"
        worker_instance_id := "w2"
        lease_epoch := 1
        lease_expires_at_ms := 1000500
        started_at_ms := 1000000
        lease_id := each(00000000-0000-0000-0000-00000000f001, 00000000-0000-0000-0000-00000000f003)
        attempt_id := each(00000000-0000-0000-0000-00000000f002, 00000000-0000-0000-0000-00000000f004)
        timeout_at_ms := 1000000 + core.attempt_timeout_ms
        if present: update
          worker_id := inserted
          worker_instance_id := inserted
          lease_epoch += inserted
          lease_expires_at_ms := inserted
          started_at_ms := inserted
          lease_id := inserted
          attempt_id := inserted
          timeout_at_ms := inserted
          terminal_at_ms := null
          outcome := null
          failure_message := null
          failure_class := null
      insert ff_lease_event
        execution_id := core.execution_id
        lease_id := each(00000000-0000-0000-0000-00000000f001, 00000000-0000-0000-0000-00000000f003)
        event_type := acquired
        occurred_at_ms := 1000000
        partition_key := core.partition_key
        namespace := core.raw_fields->namespace
        instance_tag := core.raw_fields->tags->cairn.instance_id
        worker_id := "pool"
        worker_instance_id := "w2"
        if present: refuse
      return core.partition_key, core.execution_id, core.attempt_index, new ff_attempt.lease_epoch, new ff_attempt.lease_id, new ff_attempt.attempt_id, core.policy->retry_policy, core.raw_fields->retry_count, core.priority, core.claimable_since_ms
    "#);
}

#[test]
fn only_claimable_states_qualify() {
    for phase in LifecyclePhase::all() {
        for eligibility in EligibilityState::all() {
            let row = waiting()
                .with(exec_core::lifecycle_phase, phase)
                .with(exec_core::eligibility_state, eligibility);
            let claimable = matches!(phase, LifecyclePhase::Submitted | LifecyclePhase::Runnable)
                && eligibility == EligibilityState::EligibleNow;
            check(&claim("main", &[], 1), &row, claimable);
        }
    }
}

#[test]
fn only_executions_of_the_scope_qualify_eligible_or_due() {
    let at = TimestampMs(NOW);
    let due = Status::delayed(BlockingReason::WaitingForDelay, AttemptState::None, at);
    for (partitions, expected) in [("7", true), ("3,7", true), ("0-31", true), ("8", false)] {
        let claim = claim_of(partitions, &["gpu"]);
        let row = waiting().with(exec_core::partition_key, 7);
        check(&claim, &row, expected);

        let row = core_row().in_state(due).with(exec_core::partition_key, 7);
        let row = row.with(exec_core::eligible_at_ms, Some(NOW)).row();
        assert_eq!(claim.due(at).accepts(&row, &Held::default()), expected, "{partitions}");
        let looks_at = claim.within_limits(Vec::new()).looks_at(at).unwrap();
        let waits = waiting().with(exec_core::partition_key, 7).row();
        assert_eq!(looks_at.accepts(&waits, &Held::default()), expected, "{partitions}");
    }
}

#[test]
fn claims_share_a_search_only_within_a_scope() {
    let searched = |partitions: &str| claim_of(partitions, &["gpu"]).searched();
    assert_eq!(searched("3-4"), searched("4,3"));
    assert_ne!(searched("3"), searched("4"));
    assert_ne!(searched("3"), claim("main", &["gpu"], 1).searched());
    let rest = claim_of("3", &["gpu"]).up_to(2).rest(1).unwrap();
    assert_eq!(rest.searched(), searched("3"));
}

#[test]
fn old_spellings_of_claimable_states_qualify() {
    for phase in ["pending", "eligible", "blocked"] {
        let row = waiting()
            .raw(exec_core::lifecycle_phase.column(), Value::Text(phase.into()))
            .raw(exec_core::eligibility_state.column(), Value::Text("pending_claim".into()));
        check(&claim("main", &[], 1), &row, true);
    }
}

#[test]
fn a_delayed_row_waits_for_its_promotion() {
    let row = waiting()
        .in_state(Status::delayed(
            BlockingReason::WaitingForDelay,
            AttemptState::None,
            TimestampMs(NOW),
        ))
        .with(exec_core::eligible_at_ms, Some(NOW - 1));
    check(&claim("main", &[], 1), &row, false);
}

#[test]
fn only_the_lane_asked_for() {
    check(&claim("main", &[], 1), &waiting(), true);
    check(&claim("other", &[], 1), &waiting(), false);
}

#[test]
fn every_required_capability_is_offered() {
    let row = waiting().with(exec_core::required_capabilities, vec!["avx".into(), "gpu".into()]);
    check(&claim("main", &["gpu", "avx", "more"], 1), &row, true);
    check(&claim("main", &["gpu"], 1), &row, false);
    check(&claim("main", &[], 1), &row, false);
    check(&claim("main", &["gpu"], 1), &waiting(), true);
}

#[test]
fn a_grant_reserves_the_row_until_it_lapses() {
    let granted = |until| waiting().with(exec_core::granted_until_ms, until);
    check(&claim("main", &[], 1), &granted(None), true);
    check(&claim("main", &[], 1), &granted(Some(NOW + 1)), false);
    check(&claim("main", &[], 1), &granted(Some(NOW)), true);
}

#[test]
fn a_claim_from_a_place_takes_its_priority_from_there_on() {
    let row = |priority, since: i64| {
        waiting().with(exec_core::priority, priority).with(exec_core::claimable_since_ms, since)
    };
    let from = claim("main", &[], 1).from(Place::of(3, 640));
    let searches = |claim: &Claim, row: RowOf| {
        claim.searches(TimestampMs(NOW)).accepts(&row.row(), &Held::default())
    };
    assert!(searches(&from, row(3, 640)));
    for (priority, since) in [(3, 639), (2, 900), (4, 900)] {
        assert!(!searches(&from, row(priority, since)));
    }
    assert!(searches(&from.rest(0).unwrap(), row(4, 0)));
}

#[test]
fn a_claim_answers_with_handles_of_what_it_leased() {
    use ff_core::rules::ctx::Ctx;
    use ff_core::rules::decision::{Step, Then, Transition};
    let mut draws = Draws { drawn: 0, fraction: 0.5 };
    let step =
        claim("main", &[], 1).step(&Facts::default(), &mut Ctx::new(TimestampMs(NOW), &mut draws));
    let Ok(Step::Commit(_, Then::FromRows(read))) = step else { panic!("a claim commits") };
    let claimed = read(vec![vec![
        Value::Int(key().partition.into()),
        Value::Uuid(key().uuid),
        Value::Int(2),
        Value::Int(8),
        Value::Uuid(LEASE_ID),
        Value::Uuid(ATTEMPT_ID),
        Value::Null,
        Value::Null,
        Value::Int(3),
        Value::Int(647),
    ]])
    .unwrap();
    // A place is precise to 64 ms.
    assert_eq!(claimed.last, Some(Place::of(3, 640)));
    let handles = claimed.handles;
    let payload = handle::open(BackendTag::Memory, &handles[0]).unwrap();
    assert_eq!((handles.len(), payload.execution_id), (1, id()));
    assert_eq!((payload.attempt_index.0, payload.lease_epoch.0), (2, 8));
    assert_eq!((payload.lease_id.0, payload.attempt_id.0), (LEASE_ID, ATTEMPT_ID));
    assert_eq!((payload.lease_ttl_ms, payload.worker_instance_id.as_str()), (500, "w2"));
    let foreign = handle::open(BackendTag::Sqlite, &handles[0]).unwrap_err();
    assert_snapshot!(foreign, @r"validation: HandleFromOtherBackend: expected=Sqlite actual=Memory");
}

#[test]
fn a_handle_carries_the_retry_facts_that_its_claim_returned() {
    use ff_core::handle_codec::RetryFacts;
    use ff_core::plan::facts::Facts;
    use ff_core::rules::ctx::Ctx;
    use ff_core::rules::decision::{Step, Then, Transition};

    let carried = |policy: Value, count: Value| {
        let mut draws = Draws { drawn: 0, fraction: 0.5 };
        let mut ctx = Ctx::new(TimestampMs(NOW), &mut draws);
        let step = claim("main", &[], 1).step(&Facts::default(), &mut ctx);
        let Ok(Step::Commit(_, Then::FromRows(read))) = step else { panic!("a claim commits") };
        let row = vec![
            Value::Int(key().partition.into()),
            Value::Uuid(key().uuid),
            Value::Int(2),
            Value::Int(8),
            Value::Uuid(LEASE_ID),
            Value::Uuid(ATTEMPT_ID),
            policy,
            count,
            Value::Int(0),
            Value::Int(0),
        ];
        handle::open(BackendTag::Memory, &read(vec![row]).unwrap().handles[0]).unwrap().retry
    };
    let text = |text: &str| Value::Text(text.to_owned());

    assert_eq!(carried(Value::Null, Value::Null), RetryFacts::new(None, 0));
    assert_eq!(carried(text("{}"), text("3")), RetryFacts::new(Some("{}"), 3));
    for unreadable in ["-4", "1.5", "x", "4294967296"] {
        assert_eq!(carried(text("{}"), text(unreadable)), None, "{unreadable}");
    }
    assert_eq!(carried(text(&"x".repeat(1025)), text("3")), None);
}

#[test]
fn arguments_that_make_no_claim_are_refused() {
    let refused = |lane: &str, capability: &str, instance: &str, ttl_ms: u32, limit: u32| {
        let (lane, capabilities) = (LaneId::new(lane), CapabilitySet::new([capability]));
        let policy = policy(instance, ttl_ms);
        Claim::new(BackendTag::Memory, &lane, &capabilities, policy, limit).unwrap_err()
    };
    assert_snapshot!(refused("", "c", "w", 1, 1), @r"validation: InvalidInput: lane_id: lane id is empty");
    assert_snapshot!(refused("main", "c\0", "w", 1, 1), @r"validation: InvalidInput: capabilities: must not contain NUL (at byte 1)");
    assert_snapshot!(refused("main", "c", "", 1, 1), @r"validation: InvalidInput: worker_instance_id: must not be empty");
    assert_snapshot!(refused("main", "c", "w\0", 1, 1), @r"validation: InvalidInput: worker_instance_id: must not contain NUL (at byte 1)");
    assert_snapshot!(refused("main", "c", "w", 0, 1), @r"validation: InvalidInput: lease_ttl_ms: must be positive");
    assert_snapshot!(refused("main", "c", "w", 1, 0), @r"validation: InvalidInput: limit: 0 is not in 1..=1000");
    assert_snapshot!(refused("main", "c", "w", 1, CLAIM_MAX + 1), @r"validation: InvalidInput: limit: 1001 is not in 1..=1000");
    // Several at once: the lane first, then the worker, then the capabilities, the lease, the
    // limit.
    assert_snapshot!(refused("", "c\0", "", 0, 0), @r"validation: InvalidInput: lane_id: lane id is empty");
    assert_snapshot!(refused("main", "c\0", "", 0, 0), @r"validation: InvalidInput: worker_instance_id: must not be empty");
    assert_snapshot!(refused("main", "c\0", "w", 0, 0), @r"validation: InvalidInput: capabilities: must not contain NUL (at byte 1)");
    assert_snapshot!(refused("main", "c", "w", 0, 0), @r"validation: InvalidInput: lease_ttl_ms: must be positive");
}

#[test]
fn a_claim_looks_for_the_best_of_each_key_where_too_few_of_the_first_fit() {
    let of = |requirements: &[&str], count: usize| {
        let required = requirements.iter().map(|&one| one.to_owned()).collect();
        vec![waiting().with(exec_core::required_capabilities, required).row(); count]
    };
    let (open, shut) = (&["\u{1}limit:a"] as &[&str], &["\u{1}limit:a", "gpu"] as &[&str]);
    // The numbers of executions that it looks at of these, and that of the candidates among them;
    // none where they are too few.
    let check = |claim: Claim, rows: Vec<Row>, looks: &[usize], expected: Option<usize>| {
        let (mut draws, mut facts) = (Draws { drawn: 0, fraction: 0.5 }, Facts::default());
        let (list, mut looks) = (Candidates::best(claim), looks.iter());
        let mut ctx = Ctx::new(TimestampMs(NOW), &mut draws);
        let found = loop {
            let queries = match list.step(&facts, &mut ctx).unwrap() {
                Step::Answer(found) => break Some(found.candidates.len()),
                Step::Read(queries) => queries,
                Step::Commit(..) => panic!("it only lists"),
            };
            let Some(&most) = looks.next() else { break None };
            let seen = rows.iter().take(most).cloned().collect();
            facts.learn(&Questions::of(&queries), vec![Answer::List(seen)]);
        };
        assert_eq!((looks.next(), found), (None, expected));
    };

    let all = || claim("a", &[], 2).within_limits(Vec::new());
    check(all(), of(open, 34), &[34], Some(2));
    check(all(), [of(shut, 32), of(open, 2)].concat(), &[34], Some(2));
    check(all(), [of(shut, 33), of(open, 1)].concat(), &[34], None);
    let but = || claim("a", &[], 2).within_limits(vec!["\u{1}limit:b".to_owned()]);
    let full = &["\u{1}limit:b"] as &[&str];
    check(but(), of(open, 34), &[34], Some(2));
    check(but(), [of(full, 1_024), of(open, 2)].concat(), &[34, 1_026], Some(2));
    check(but(), [of(full, 1_025), of(open, 1)].concat(), &[34, 1_026], None);
}
