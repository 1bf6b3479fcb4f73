//! What must hold of every flow at the end of a case.

use std::collections::HashMap;

use super::counts;
use crate::backends::Bench;
use crate::bench::NAMESPACE;
use crate::plain::Cells;

/// What holds of every flow built through the engine, whatever happened to it since.
pub(crate) async fn assert_flows_sound(bench: &Bench) {
    let flows = bench.plain.rows("ff_flow_core").await;
    let (edges, cores) =
        (bench.plain.rows("ff_edge").await, bench.plain.rows("ff_exec_core").await);
    let groups = bench.plain.rows("ff_edge_group").await;
    let debts = bench.plain.rows("ff_pending_cancel_groups").await;
    let events = bench.plain.rows("ff_completion_event").await;
    for flow in flows.iter().filter(|flow| flow.raw("namespace") == NAMESPACE) {
        if flow.int("sealed_at_ms").is_some() {
            // Retention removes its members one by one.
            continue;
        }
        let id = flow.uuid("flow_id");
        let of = |rows: &[Cells]| -> Vec<Cells> {
            rows.iter().filter(|row| row.uuid("flow_id") == id).cloned().collect()
        };
        let all_edges = &edges;
        let (edges, cores, groups, debts) = (of(&edges), of(&cores), of(&groups), of(&debts));
        let count = |rows: &[Cells]| i64::try_from(rows.len()).unwrap();
        assert_eq!(flow.int("node_count"), Some(count(&cores)), "{flow:?}");
        assert_eq!(flow.int("edge_count"), Some(count(&edges)), "{flow:?}");
        let revision = count(&cores) + count(&edges);
        assert_eq!(flow.int("graph_revision"), Some(revision), "{flow:?}");
        let state = flow.text("public_flow_state");
        let over = ["completed", "failed", "cancelled"].contains(&state);
        assert_eq!(flow.int("terminal_at_ms").is_some(), over, "{flow:?}");
        let ended =
            |core: &Cells| ["terminal", "cancelled"].contains(&core.text("lifecycle_phase"));
        let all_ended = !cores.is_empty() && cores.iter().all(ended);
        if ["completed", "failed"].contains(&state) {
            assert!(all_ended, "a flow ends with its last member: {flow:?} {cores:?}");
        }
        for group in &groups {
            assert_group_sound(group, &edges);
            let child = group.uuid("downstream_eid");
            let owes = debts.iter().any(|debt| debt.uuid("downstream_eid") == child);
            assert_eq!(group.flag("cancel_siblings_pending_flag"), owes, "{group:?}");
        }
        let events = of(&events);
        let dispatched = events.iter().all(|event| event.int("dispatched_at_ms").is_some());
        if dispatched {
            assert!(over || !all_ended, "its last end was told, and it goes on: {flow:?}");
        }
        let by_child: HashMap<_, _> =
            groups.iter().map(|group| (group.uuid("downstream_eid"), group)).collect();
        for core in &cores {
            let blocked = core.text("eligibility_state") == "blocked_by_dependencies";
            if !blocked || !dispatched {
                continue;
            }
            let waits = |edge: &&Cells| {
                edge.uuid("downstream_eid") == core.uuid("execution_id")
                    && edge.json("policy")["satisfaction_condition"] == "ended"
            };
            let mut waits = all_edges.iter().filter(waits).peekable();
            if waits.peek().is_some() {
                let open = |edge: &Cells| edge.text("upstream_outcome") == "-";
                assert!(waits.any(open), "the ends of its children were told: {core:?}");
                continue;
            }
            let Some(group) = by_child.get(&core.uuid("execution_id")) else {
                panic!("blocked by nothing: {core:?}");
            };
            let unapplied = edges
                .iter()
                .filter(|edge| edge.uuid("downstream_eid") == group.uuid("downstream_eid"))
                .filter(|edge| edge.json("policy")["applied_at_ms"].is_null());
            let verdict = verdict(group, i64::try_from(unapplied.count()).unwrap());
            assert_eq!(verdict, "pending", "everybody was told: {core:?} {group:?}");
        }
    }
}

/// A group's counters agree with the ends recorded on its applied edges.
fn assert_group_sound(group: &Cells, edges: &[Cells]) {
    let child = group.uuid("downstream_eid");
    let applied: Vec<&Cells> = edges
        .iter()
        .filter(|edge| edge.uuid("downstream_eid") == child)
        .filter(|edge| edge.json("policy")["applied_at_ms"].is_number())
        .collect();
    let applied_ends = |words: &[&str]| {
        let applied_ends =
            applied.iter().filter(|edge| words.contains(&edge.text("upstream_outcome")));
        i64::try_from(applied_ends.count()).unwrap()
    };
    let [success, fail, skip, running, dependencies] = counts(group);
    assert_eq!(success, applied_ends(&["success"]), "{group:?} {applied:?}");
    assert_eq!(fail, applied_ends(&["failed", "cancelled", "expired"]), "{group:?} {applied:?}");
    assert_eq!(skip, applied_ends(&["skipped"]), "{group:?} {applied:?}");
    assert_eq!(usize::try_from(dependencies), Ok(applied.len()), "{group:?} {applied:?}");
    assert!(0 <= running && running <= applied_ends(&["-"]), "{group:?} {applied:?}");
}

/// The verdict of a group's counters by the table of policies alone; edges that are not applied yet
/// count as open.
fn verdict(group: &Cells, unapplied: i64) -> &'static str {
    let [success, fail, skip, _, applied] = counts(group);
    let total = applied + unapplied;
    let policy = group.json("policy");
    let needed = match policy["kind"].as_str() {
        Some("any_of") => 1,
        Some("quorum") => policy["k"].as_i64().unwrap(),
        _ => total,
    };
    if needed <= success {
        "satisfied"
    } else if total - fail - skip < needed {
        "impossible"
    } else {
        "pending"
    }
}
