//! What has ended runs again: the same execution, the same attempt, a new epoch.

use ff_core::EngineError;
use ff_core::contracts::{ReplayExecutionArgs, ReplayExecutionResult};
use ff_core::plan::value::Value;
use ff_core::state::PublicState;
use ff_core::types::{ExecutionId, TimestampMs};
use serde_json::json;

use crate::backends::{Bench, START, conformance};
use crate::bench::{
    ACTIVE, CANCELLED, COMPLETED, EXPIRED, FAILED, WAITING, assert_refused, id, payload_of,
};
use crate::flow::End;
use crate::plain::{Cells, int, text};

const REPLAYED: &str =
    "runnable unowned eligible_now waiting pending_replay_attempt waiting_for_worker";
const BLOCKED: &str = "runnable unowned blocked_by_dependencies waiting_children \
                       pending_replay_attempt waiting_for_children";

async fn try_replay(bench: &Bench, id: &ExecutionId) -> Result<ReplayExecutionResult, EngineError> {
    let args = ReplayExecutionArgs { execution_id: id.clone(), now: bench.clock.now() };
    bench.backend.replay_execution(args).await
}

fn replayed(public_state: PublicState) -> ReplayExecutionResult {
    ReplayExecutionResult::Replayed { public_state }
}

/// What the operator outbox says of an execution.
async fn operator_events(bench: &Bench, id: &ExecutionId) -> Vec<Cells> {
    let mut events = bench.of("ff_operator_event", id).await;
    // Executions that a case cancels have an event of that, too.
    events.retain(|event| event.text("event_type") != "cancelled");
    assert!(events.iter().all(|event| event.text("event_type") == "replayed"), "{events:?}");
    events
}

conformance! {
    async fn an_ended_execution_may_be_claimed_again(bench) {
        let (id, first) = bench.leased().await;
        bench.backend.complete(&first, Some(b"result".to_vec())).await.unwrap();
        bench.clock.advance(5);
        assert_eq!(try_replay(&bench, &id).await.unwrap(), replayed(PublicState::Waiting));
        let core = bench.core(&id).await;
        assert_eq!(core.states(), REPLAYED);
        assert_eq!(core.int("terminal_at_ms"), None);
        assert_eq!(core.bytes("result"), None);
        assert_eq!(core.int("attempt_index"), Some(0));
        assert_eq!(core.raw("replay_count"), 1);
        assert_eq!(core.int("last_changed_at_ms"), Some(START + 5));
        let attempts = bench.attempts(&id).await;
        assert_eq!(attempts.len(), 1);
        assert_eq!(attempts[0].text("outcome"), "-");
        assert_eq!(attempts[0].int("terminal_at_ms"), None);
        assert_eq!(attempts[0].int("lease_epoch"), Some(2));
        let events = operator_events(&bench, &id).await;
        assert_eq!(events.len(), 1);
        assert_eq!(*events[0].json("details"), json!({ "branch": "normal" }));
        assert_eq!(events[0].int("occurred_at_ms"), Some(START + 5));
        assert_eq!(bench.lease_events(&id).await, ["acquired", "revoked"]);
        assert_eq!(bench.completions(&id).await, ["success"]);
        let again = bench.claim().await;
        assert_eq!((payload_of(&again).attempt_index.0, payload_of(&again).lease_epoch.0), (0, 3));
        let late = bench.backend.complete(&first, None).await;
        assert_refused(late, "contention: LeaseConflict");
        bench.backend.complete(&again, None).await.unwrap();
        assert_eq!(bench.completions(&id).await, ["success", "success"]);
    }

    async fn every_end_can_be_replayed_and_again(bench) {
        for (number, states) in
            [COMPLETED, FAILED, EXPIRED, CANCELLED, "cancelled unowned cancelled cancelled cancelled -"]
                .into_iter()
                .enumerate()
        {
            let id = id();
            let more = vec![
                ("terminal_at_ms", int(START)),
                ("cancellation_reason", text("why")),
                ("cancelled_by", text("who")),
            ];
            bench.insert_core(&id, states, more).await;
            let ended = vec![("outcome", text("failed")), ("terminal_at_ms", int(START))];
            bench.insert_attempt(&id, 0, 7, ended).await;
            try_replay(&bench, &id).await.unwrap();
            let core = bench.core(&id).await;
            assert_eq!(core.states(), REPLAYED, "{number}");
            assert_eq!((core.text("cancellation_reason"), core.text("cancelled_by")), ("-", "-"));
            assert_eq!(bench.attempt(&id, 0).await.int("lease_epoch"), Some(8));
            let handle = bench.claim().await;
            bench.backend.complete(&handle, None).await.unwrap();
            try_replay(&bench, &id).await.unwrap();
            assert_eq!(bench.core(&id).await.raw("replay_count"), 2);
            bench.cancel_one(&id).await;
        }
    }

    async fn an_unfinished_execution_is_not_replayed(bench) {
        let waiting = bench.create().await;
        let (running, _) = bench.leased_with(&|args| args.priority = 5).await;
        let suspended = id();
        let states = "suspended unowned not_applicable suspended attempt_interrupted waiting_for_signal";
        bench.insert_core(&suspended, states, vec![]).await;
        let blocked = id();
        let states = "runnable unowned blocked_by_dependencies waiting_children \
                      pending_first_attempt waiting_for_children";
        bench.insert_core(&blocked, states, vec![]).await;
        let before = bench.everything().await;
        for id in [&waiting, &running, &suspended, &blocked] {
            assert_refused(try_replay(&bench, id).await, "state: ExecutionNotTerminal");
        }
        assert_refused(try_replay(&bench, &id()).await, "not found: execution");
        assert_eq!(bench.everything().await, before);
    }

    async fn a_row_without_an_attempt_is_replayed(bench) {
        let id = id();
        bench.insert_core(&id, FAILED, vec![("terminal_at_ms", int(START))]).await;
        assert_eq!(try_replay(&bench, &id).await.unwrap(), replayed(PublicState::Waiting));
        assert_eq!(bench.core(&id).await.states(), REPLAYED);
        assert_eq!(bench.attempts(&id).await, []);
        assert_eq!(payload_of(&bench.claim().await).execution_id, id);
    }

    async fn the_current_attempt_is_the_one_that_runs_again(bench) {
        let id = id();
        let more = vec![("attempt_index", int(2)), ("terminal_at_ms", int(START))];
        bench.insert_core(&id, FAILED, more).await;
        for (index, epoch) in [(0, 1), (1, 3), (2, 4)] {
            let ended = vec![("outcome", text("failed")), ("terminal_at_ms", int(START))];
            bench.insert_attempt(&id, index, epoch, ended).await;
        }
        try_replay(&bench, &id).await.unwrap();
        let attempts = bench.attempts(&id).await;
        let outcomes: Vec<_> =
            attempts.iter().map(|row| (row.int("lease_epoch"), row.text("outcome"))).collect();
        assert_eq!(outcomes, [(Some(1), "failed"), (Some(3), "failed"), (Some(5), "-")]);
        assert_eq!(bench.core(&id).await.int("attempt_index"), Some(2));
        assert_eq!(payload_of(&bench.claim().await).attempt_index.0, 2);
    }

    async fn a_missed_deadline_does_not_end_a_replayed_execution(bench) {
        let deadline = Some(TimestampMs(START + 10));
        let id = bench.create_with(&|args| args.execution_deadline_at = deadline).await;
        bench.clock.advance(10);
        bench.backend.scan(ff_core::engine_backend::Scan::ExecutionDeadline, 10).await.unwrap();
        assert_eq!(bench.public(&id).await, "expired");
        bench.replay(&id).await;
        assert_eq!(bench.core(&id).await.int("deadline_at_ms"), None);
        let counts = bench.backend.scan(ff_core::engine_backend::Scan::ExecutionDeadline, 10).await;
        assert_eq!(counts.unwrap().processed, 0);
        let (other, handle) = {
            let later = Some(TimestampMs(START + 1_000));
            bench.cancel_one(&id).await;
            bench.leased_with(&|args| args.execution_deadline_at = later).await
        };
        bench.fail(&handle).await;
        bench.replay(&other).await;
        assert_eq!(bench.core(&other).await.int("deadline_at_ms"), Some(START + 1_000));
    }

    async fn of_many_replays_at_once_one_counts(bench) {
        for _ in 0..10 {
            let (id, handle) = bench.leased().await;
            bench.fail(&handle).await;
            let replays = (0..8).map(|_| {
                let (bench, id) = (std::sync::Arc::clone(&bench), id.clone());
                tokio::spawn(async move { try_replay(&bench, &id).await.is_ok() })
            });
            let mut replayed = 0;
            for replay in replays.collect::<Vec<_>>() {
                replayed += usize::from(replay.await.unwrap());
            }
            assert_eq!(replayed, 1);
            assert_eq!(operator_events(&bench, &id).await.len(), 1);
            assert_eq!(bench.attempt(&id, 0).await.int("lease_epoch"), Some(2));
            bench.cancel_one(&id).await;
        }
    }

    async fn an_unknown_word_is_named(bench) {
        let id = id();
        bench.insert_core(&id, "odd unowned eligible_now waiting pending_first_attempt -", vec![]).await;
        assert_refused(
            try_replay(&bench, &id).await,
            "validation: Corruption: ff_exec_core.lifecycle_phase: \"odd\" is not a known value",
        );
        // What the rule does not need may be anything.
        let id = crate::bench::id();
        bench.insert_core(&id, "terminal odd odd odd odd odd", vec![]).await;
        try_replay(&bench, &id).await.unwrap();
        assert_eq!(bench.core(&id).await.states(), REPLAYED);
    }

    async fn a_skipped_member_waits_again(bench) {
        let flow = bench.flow(3).await;
        bench.connect(&flow, &[(0, 2), (1, 2)]).await;
        bench.end_and_dispatch(&flow.members[1], End::Success).await;
        bench.end_and_dispatch(&flow.members[0], End::Failed).await;
        let child = &flow.members[2];
        assert_eq!(bench.public(child).await, "skipped");
        assert_eq!(bench.counts(child).await, [1, 1, 0, 0, 2]);
        assert_eq!(bench.replay(child).await, replayed(PublicState::WaitingChildren));
        assert_eq!(bench.core(child).await.states(), BLOCKED);
        assert_eq!(bench.counts(child).await, [1, 0, 0, 0, 2]);
        let details = json!({ "branch": "skipped_flow_member", "groups_reset": 1 });
        assert_eq!(*operator_events(&bench, child).await[0].json("details"), details);
        assert!(bench.try_take(child).await.is_none());
        bench.replay(&flow.members[0]).await;
        bench.end_and_dispatch(&flow.members[0], End::Success).await;
        assert_eq!(bench.counts(child).await, [2, 0, 0, 0, 2]);
        bench.end_and_dispatch(child, End::Success).await;
        assert_eq!(bench.public(child).await, "completed");
    }

    async fn a_member_whose_parents_were_replayed_first_may_run_at_once(bench) {
        let flow = bench.flow(2).await;
        bench.connect(&flow, &[(0, 1)]).await;
        let [parent, child] = &flow.members[..] else { panic!() };
        bench.end_and_dispatch(parent, End::Failed).await;
        assert_eq!(bench.public(child).await, "skipped");
        bench.replay(parent).await;
        bench.end_and_dispatch(parent, End::Success).await;
        assert_eq!(bench.public(child).await, "skipped", "nobody asked for it to run again");
        assert_eq!(bench.counts(child).await, [1, 0, 0, 0, 1]);
        assert_eq!(bench.replay(child).await, replayed(PublicState::Waiting));
        let details = &operator_events(&bench, child).await[0];
        assert_eq!(details.json("details")["branch"], "skipped_flow_member");
        bench.end_and_dispatch(child, End::Success).await;
    }

    async fn a_parent_and_its_child_may_be_replayed_at_once(bench) {
        for round in 0..20 {
            let flow = bench.flow(2).await;
            bench.connect(&flow, &[(0, 1)]).await;
            let [parent, child] = &flow.members[..] else { panic!() };
            bench.end_and_dispatch(parent, End::Failed).await;
            let mending = {
                let (bench, parent) = (std::sync::Arc::clone(&bench), parent.clone());
                tokio::spawn(async move {
                    bench.replay(&parent).await;
                    bench.end_and_dispatch(&parent, End::Success).await;
                })
            };
            let replaying = {
                let (bench, child) = (std::sync::Arc::clone(&bench), child.clone());
                tokio::spawn(async move { bench.replay(&child).await })
            };
            mending.await.unwrap();
            replaying.await.unwrap();
            bench.settle().await;
            assert_eq!(bench.public(child).await, "waiting", "round {round}");
            assert_eq!(bench.counts(child).await[0], 1, "round {round}");
            bench.end_and_dispatch(child, End::Success).await;
        }
    }

    async fn a_member_cancelled_while_it_waited_waits_again(bench) {
        let flow = bench.flow(2).await;
        bench.connect(&flow, &[(0, 1)]).await;
        let [parent, child] = &flow.members[..] else { panic!() };
        bench.cancel_one(child).await;
        assert_eq!(bench.replay(child).await, replayed(PublicState::WaitingChildren));
        assert_eq!(bench.core(child).await.states(), BLOCKED);
        assert_eq!(operator_events(&bench, child).await[0].json("details")["branch"], "blocked_flow_member");
        bench.end_and_dispatch(parent, End::Success).await;
        assert_eq!(bench.public(child).await, "waiting");
        // One whose dependencies hold is like any other.
        bench.end_and_dispatch(child, End::Failed).await;
        assert_eq!(bench.replay(child).await, replayed(PublicState::Waiting));
        assert_eq!(operator_events(&bench, child).await[1].json("details")["branch"], "normal");
    }

    async fn a_replayed_member_is_skipped_again_by_another_failure(bench) {
        let flow = bench.flow(2).await;
        bench.connect(&flow, &[(0, 1)]).await;
        let [parent, child] = &flow.members[..] else { panic!() };
        bench.end_and_dispatch(parent, End::Failed).await;
        bench.replay(child).await;
        bench.replay(parent).await;
        bench.end_and_dispatch(parent, End::Cancelled).await;
        assert_eq!(bench.public(child).await, "skipped");
        assert_eq!(bench.counts(child).await, [0, 1, 0, 0, 1]);
        assert_eq!(bench.completions(child).await, ["skipped", "skipped"]);
    }

    async fn replaying_a_parent_disturbs_no_child(bench) {
        let flow = bench.flow(2).await;
        bench.connect(&flow, &[(0, 1)]).await;
        let [parent, child] = &flow.members[..] else { panic!() };
        bench.end_and_dispatch(parent, End::Success).await;
        let handle = bench.take(child).await;
        bench.replay(parent).await;
        bench.end_and_dispatch(parent, End::Failed).await;
        assert_eq!(bench.core(child).await.states(), ACTIVE);
        assert_eq!(bench.counts(child).await, [0, 1, 0, 0, 1]);
        bench.backend.complete(&handle, None).await.unwrap();
        bench.settle().await;
        assert_eq!(bench.public(child).await, "completed");
    }

    async fn only_flow_members_were_skipped_by_a_flow(bench) {
        let id = id();
        let skipped = "terminal unowned not_applicable skipped attempt_terminal -";
        bench.insert_core(&id, skipped, vec![("terminal_at_ms", int(START))]).await;
        bench.insert_attempt(&id, 0, 1, vec![("outcome", text("skipped"))]).await;
        assert_eq!(try_replay(&bench, &id).await.unwrap(), replayed(PublicState::Waiting));
        assert_eq!(*operator_events(&bench, &id).await[0].json("details"), json!({ "branch": "normal" }));
        let waiting = crate::bench::id();
        let raw = Value::Json(json!({ "terminal_outcome": "none" }));
        bench.insert_core(&waiting, WAITING, vec![("raw_fields", raw)]).await;
        assert_refused(try_replay(&bench, &waiting).await, "state: ExecutionNotTerminal");
    }
}
