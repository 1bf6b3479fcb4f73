//! A worker waits for another execution, by an edge that it makes while it runs.

use ff_core::contracts::{CancelFlowArgs, ChildWait, ExplainExecutionArgs, NotRunning};
use ff_core::engine_backend::Scan;
use ff_core::types::{ExecutionId, LeaseEpoch};

use crate::backends::{Bench, conformance};
use crate::bench::{assert_not_active, assert_refused, id, id_in, payload_of};
use crate::conformance::retention::{AGE, old};
use crate::flow::{End, applying, member_of};

const PARKED: &str = "runnable unowned blocked_by_dependencies waiting_children attempt_interrupted \
                      waiting_for_children";
const RELEASED: &str =
    "runnable unowned eligible_now waiting attempt_interrupted waiting_for_worker";
/// The refusal of a wait that would never end.
const CYCLE: &str = "conflict: CycleDetected";

impl Bench {
    /// An execution with a lane of its own.
    async fn solo(&self) -> ExecutionId {
        let id = id();
        self.backend.create_execution(self.member_args(&id)).await.unwrap();
        id
    }

    /// An execution that waits for another one.
    async fn waits_for(&self, child: &ExecutionId) -> ExecutionId {
        let parent = self.solo().await;
        let handle = self.take(&parent).await;
        let waits = self.backend.wait_for_child(&handle, child).await.unwrap();
        assert_eq!(waits, ChildWait::Waiting);
        parent
    }

    /// The executions that this one waits for, as its explanation names them.
    async fn unmet(&self, id: &ExecutionId) -> Vec<ExecutionId> {
        let args = ExplainExecutionArgs::new(id.clone());
        let reasons = self.backend.explain_execution(args).await.unwrap().reasons;
        let Some(NotRunning::WaitingForDependencies { unmet, .. }) = reasons.first() else {
            panic!("{reasons:?}");
        };
        unmet.iter().map(|one| one.execution_id.clone()).collect()
    }
}

conformance! {
    async fn any_end_of_the_child_releases_its_parent(bench) {
        for end in [End::Success, End::Failed, End::Cancelled] {
            let (parent, child) = (bench.solo().await, bench.solo().await);
            let handle = bench.take(&parent).await;
            let waits = bench.backend.wait_for_child(&handle, &child).await.unwrap();
            assert_eq!(waits, ChildWait::Waiting, "{end:?}");
            assert_eq!(bench.core(&parent).await.states(), PARKED);
            assert_eq!(bench.attempt(&parent, 0).await.text("outcome"), "waiting_children");
            assert_eq!(bench.lease_events(&parent).await, ["acquired", "revoked"]);
            assert!(bench.try_take(&parent).await.is_none());

            bench.end_and_dispatch(&child, end).await;
            assert_eq!(bench.core(&parent).await.states(), RELEASED, "{end:?}");
            let again = bench.take(&parent).await;
            let payload = payload_of(&again);
            assert_eq!((payload.attempt_index.0, payload.lease_epoch.0), (0, 2));
            let waits = bench.backend.wait_for_child(&again, &child).await.unwrap();
            assert_eq!(waits, ChildWait::Ended, "{end:?}");
            bench.backend.complete(&again, None).await.unwrap();
            bench.settle().await;
        }
    }

    async fn a_child_that_has_ended_is_not_waited_for(bench) {
        let (parent, child) = (bench.solo().await, bench.solo().await);
        bench.end(&child, End::Failed).await;
        let handle = bench.take(&parent).await;
        let before = bench.everything().await;
        let waits = bench.backend.wait_for_child(&handle, &child).await.unwrap();
        assert_eq!(waits, ChildWait::Ended);
        assert!(bench.everything().await == before, "nothing changed");
        // The lease is held.
        bench.backend.complete(&handle, None).await.unwrap();
    }

    async fn both_become_members_of_one_flow(bench) {
        let child = bench.solo().await;
        let parent = bench.waits_for(&child).await;
        let flow = bench.backend.resolve_execution_flow_id(&parent).await.unwrap().unwrap();
        let of_child = bench.backend.resolve_execution_flow_id(&child).await.unwrap();
        assert_eq!(of_child, Some(flow.clone()));
        let stored = bench.backend.describe_flow(&flow).await.unwrap().unwrap();
        assert_eq!((stored.flow_kind.as_str(), stored.graph_revision), ("children", 3));

        assert_eq!(bench.unmet(&parent).await, std::slice::from_ref(&child));

        // A second child is one more member; the first one's end does not end the flow.
        bench.end_and_dispatch(&child, End::Failed).await;
        let handle = bench.take(&parent).await;
        let other = bench.solo().await;
        bench.backend.wait_for_child(&handle, &other).await.unwrap();
        assert_eq!(bench.unmet(&parent).await, std::slice::from_ref(&other));
        assert_eq!(bench.flow_row(&flow).await.text("public_flow_state"), "open");
        bench.end_and_dispatch(&other, End::Success).await;
        bench.end_and_dispatch(&parent, End::Success).await;
        let row = bench.flow_row(&flow).await;
        assert_eq!((row.int("node_count"), row.int("edge_count")), (Some(3), Some(2)));
        // A child has failed.
        assert_eq!(row.text("public_flow_state"), "failed");
    }

    async fn a_member_of_a_flow_waits_without_its_child_in_it(bench) {
        let flow = bench.flow(2).await;
        bench.connect(&flow, &[(0, 1)]).await;
        let parent = &flow.members[0];
        let handle = bench.take(parent).await;
        let child = member_of(&flow.id);
        bench.backend.create_execution(bench.member_args(&child)).await.unwrap();
        bench.backend.wait_for_child(&handle, &child).await.unwrap();
        assert_eq!(bench.unmet(parent).await, std::slice::from_ref(&child));
        bench.end_and_dispatch(&child, End::Failed).await;
        assert_eq!(bench.core(parent).await.states(), RELEASED);

        // The failure of the child is none of the flow.
        bench.end_and_dispatch(parent, End::Success).await;
        bench.end_and_dispatch(&flow.members[1], End::Success).await;
        assert_eq!(bench.flow_row(&flow.id).await.text("public_flow_state"), "completed");
    }

    async fn a_child_in_a_flow_wakes_a_parent_outside(bench) {
        let flow = bench.flow(2).await;
        bench.connect(&flow, &[(0, 1)]).await;
        let [child, next] = &flow.members[..] else { panic!() };
        let parent = id_in(child.partition());
        bench.backend.create_execution(bench.member_args(&parent)).await.unwrap();
        let handle = bench.take(&parent).await;
        bench.backend.wait_for_child(&handle, child).await.unwrap();
        bench.end_and_dispatch(child, End::Success).await;
        assert_eq!(bench.core(&parent).await.states(), RELEASED);
        // The edges of the flow count as ever.
        bench.end_and_dispatch(next, End::Success).await;
        assert_eq!(bench.flow_row(&flow.id).await.text("public_flow_state"), "completed");
    }

    async fn many_wait_for_one(bench) {
        let child = bench.solo().await;
        let mut parents = Vec::new();
        for _ in 0..5 {
            parents.push(bench.waits_for(&child).await);
        }
        bench.end_and_dispatch(&child, End::Success).await;
        for parent in &parents {
            assert_eq!(bench.core(parent).await.states(), RELEASED);
        }
        assert_eq!(bench.undispatched().await, 0);
    }

    async fn a_replayed_child_is_waited_for_again(bench) {
        let child = bench.solo().await;
        let parent = bench.waits_for(&child).await;
        bench.end_and_dispatch(&child, End::Failed).await;
        let handle = bench.take(&parent).await;
        bench.replay(&child).await;
        let waits = bench.backend.wait_for_child(&handle, &child).await.unwrap();
        assert_eq!(waits, ChildWait::Waiting);

        // What was dispatched once wakes no one twice.
        bench.settle().await;
        assert_eq!(bench.core(&parent).await.states(), PARKED);
        bench.end_and_dispatch(&child, End::Success).await;
        assert_eq!(bench.core(&parent).await.states(), RELEASED);
    }

    async fn an_end_that_is_dispatched_late_finds_the_wait(bench) {
        let child = bench.solo().await;
        let parent = bench.waits_for(&child).await;
        bench.end(&child, End::Success).await;
        // No scanner ran: the child has ended, and its parent is parked.
        assert_eq!(bench.core(&parent).await.states(), PARKED);
        bench.replay(&child).await;
        bench.settle().await;
        // The older end wakes it, and it looks for itself.
        assert_eq!(bench.core(&parent).await.states(), RELEASED);
        let handle = bench.take(&parent).await;
        bench.backend.wait_for_child(&handle, &child).await.unwrap();
        bench.end_and_dispatch(&child, End::Success).await;
        assert_eq!(bench.core(&parent).await.states(), RELEASED);
    }

    async fn an_end_during_the_call_releases_the_parent(bench) {
        for round in 0..30 {
            let (parent, child) = (bench.solo().await, bench.solo().await);
            let (handle, ending) = (bench.take(&parent).await, bench.take(&child).await);
            let waiting = {
                let (bench, child) = (std::sync::Arc::clone(&bench), child.clone());
                tokio::spawn(async move {
                    bench.backend.wait_for_child(&handle, &child).await.unwrap()
                })
            };
            let telling = {
                let bench = std::sync::Arc::clone(&bench);
                tokio::spawn(async move {
                    bench.backend.complete(&ending, None).await.unwrap();
                    bench.settle().await;
                })
            };
            let waits = waiting.await.unwrap();
            telling.await.unwrap();
            bench.settle().await;
            let states = bench.core(&parent).await.states();
            match waits {
                ChildWait::Waiting => assert_eq!(states, RELEASED, "round {round}"),
                ChildWait::Ended => assert!(states.starts_with("active"), "round {round}"),
            }
        }
    }

    async fn a_parent_that_waits_is_cancelled_like_any_other(bench) {
        let child = bench.solo().await;
        let parent = bench.waits_for(&child).await;
        bench.cancel_one(&parent).await;
        bench.end_and_dispatch(&child, End::Success).await;
        assert_eq!(bench.public(&parent).await, "cancelled");
        assert_eq!(bench.undispatched().await, 0);

        let child = bench.solo().await;
        let parent = bench.waits_for(&child).await;
        let flow = bench.backend.resolve_execution_flow_id(&parent).await.unwrap().unwrap();
        let args = CancelFlowArgs {
            flow_id: flow,
            reason: "enough".into(),
            cancellation_policy: "cancel_all".into(),
            now: bench.clock.now(),
        };
        bench.backend.cancel_flow_header(args).await.unwrap();
        bench.settle().await;
        for member in [parent, child] {
            assert_eq!(bench.public(&member).await, "cancelled");
        }
    }

    async fn retention_leaves_a_child_to_a_parent_that_has_not_seen_its_end(bench) {
        let child = bench.solo().await;
        let parent = bench.waits_for(&child).await;
        bench.end(&child, End::Success).await;
        for dispatched in [false, true] {
            if dispatched {
                bench.settle().await;
            }
            bench.clock.advance(AGE);
            let report = bench.pass_of(old()).await;
            assert_eq!(report.executions, 0, "dispatched: {dispatched}");
        }
        let handle = bench.take(&parent).await;
        assert!(bench.exists(&child).await);
        bench.backend.complete(&handle, None).await.unwrap();
        bench.settle().await;
        bench.clock.advance(AGE);
        bench.clock.advance(AGE);
        let report = bench.pass_of(old()).await;
        assert_eq!((report.executions, report.flows), (2, 1));
    }

    async fn a_wait_that_closes_a_cycle_is_refused(bench) {
        for length in [2, 3, 5] {
            let mut ring = Vec::new();
            for _ in 0..length {
                let id = bench.solo().await;
                let handle = bench.take(&id).await;
                ring.push((id, handle));
            }
            for pair in ring.windows(2) {
                bench.backend.wait_for_child(&pair[0].1, &pair[1].0).await.unwrap();
            }

            let (first, (last, handle)) = (&ring[0].0, &ring[length - 1]);
            let before = bench.core(last).await;
            assert_refused(bench.backend.wait_for_child(handle, first).await, CYCLE);
            assert!(bench.core(last).await == before, "a refusal changes nothing");
            assert_refused(bench.backend.wait_for_child(handle, &ring[length - 2].0).await, CYCLE);

            // A wait that is over is none.
            bench.backend.complete(handle, None).await.unwrap();
            bench.settle().await;
            let (waits, _) = &ring[length - 2];
            let handle = bench.take(waits).await;
            bench.replay(last).await;
            let last_handle = bench.take(last).await;
            bench.backend.wait_for_child(&last_handle, waits).await.unwrap();
            assert_refused(bench.backend.wait_for_child(&handle, last).await, CYCLE);
        }
    }

    async fn a_wait_that_closes_a_cycle_with_a_dependency_is_refused(bench) {
        let flow = bench.flow(3).await;
        bench.connect(&flow, &[(0, 1), (1, 2)]).await;
        let [first, _, last] = &flow.members[..] else { panic!() };
        let handle = bench.take(first).await;
        assert_refused(bench.backend.wait_for_child(&handle, last).await, CYCLE);

        // Through an execution outside the flow, too.
        let outside = member_of(&flow.id);
        bench.backend.create_execution(bench.member_args(&outside)).await.unwrap();
        let outside_handle = bench.take(&outside).await;
        bench.backend.wait_for_child(&handle, &outside).await.unwrap();
        assert_refused(bench.backend.wait_for_child(&outside_handle, last).await, CYCLE);
        bench.backend.complete(&outside_handle, None).await.unwrap();
        bench.settle().await;
        assert_eq!(bench.core(first).await.states(), RELEASED);
    }

    async fn a_dependency_that_closes_a_cycle_with_a_wait_is_not_applied(bench) {
        let flow = bench.flow(2).await;
        let [first, second] = &flow.members[..] else { panic!() };
        let staged = bench.stage(&flow, 0, 1).await;
        let handle = bench.take(first).await;
        // Nothing keeps the second from running yet.
        let waits = bench.backend.wait_for_child(&handle, second).await.unwrap();
        assert_eq!(waits, ChildWait::Waiting);

        let before = bench.everything().await;
        let applied = bench.backend.apply_dependency_to_child(applying(&staged)).await;
        assert_refused(applied, CYCLE);
        assert_eq!(bench.everything().await, before);

        bench.end(second, End::Success).await;
        bench.settle().await;
        assert_eq!(bench.core(first).await.states(), RELEASED);
        // The wait is over, and so is the second.
        bench.backend.apply_dependency_to_child(applying(&staged)).await.unwrap();
    }

    async fn a_dependency_counts_as_a_wait_once_it_is_staged(bench) {
        let flow = bench.flow(3).await;
        let [first, second, third] = &flow.members[..] else { panic!() };
        bench.connect(&flow, &[(1, 2)]).await;
        let staged = bench.stage(&flow, 0, 1).await;
        let handle = bench.take(first).await;
        assert_refused(bench.backend.wait_for_child(&handle, third).await, CYCLE);

        // One that cannot come any more does not count.
        bench.end(second, End::Success).await;
        let waits = bench.backend.wait_for_child(&handle, third).await.unwrap();
        assert_eq!(waits, ChildWait::Waiting);
        bench.backend.apply_dependency_to_child(applying(&staged)).await.unwrap();
        bench.settle().await;
        bench.end(third, End::Success).await;
        bench.settle().await;
        assert_eq!(bench.core(first).await.states(), RELEASED);
    }

    async fn a_dependency_that_closes_a_cycle_through_another_flow_is_not_applied(bench) {
        let flow = bench.flow(3).await;
        let [first, second, _] = &flow.members[..] else { panic!() };
        let outside = member_of(&flow.id);
        bench.backend.create_execution(bench.member_args(&outside)).await.unwrap();
        let (handle, of_outside) = (bench.take(first).await, bench.take(&outside).await);
        bench.backend.wait_for_child(&handle, &outside).await.unwrap();
        bench.backend.wait_for_child(&of_outside, second).await.unwrap();

        let staged = bench.stage(&flow, 0, 1).await;
        let applied = bench.backend.apply_dependency_to_child(applying(&staged)).await;
        assert_refused(applied, CYCLE);
        // One that closes no cycle is applied in such a flow, too.
        let other = bench.stage(&flow, 0, 2).await;
        bench.backend.apply_dependency_to_child(applying(&other)).await.unwrap();

        bench.end(second, End::Success).await;
        bench.settle().await;
        assert_eq!(bench.core(&outside).await.states(), RELEASED);
    }

    async fn of_a_wait_and_a_dependency_that_race_one_is_refused(bench) {
        for round in 0..12 {
            let flow = bench.flow(2).await;
            let staged = applying(&bench.stage(&flow, 0, 1).await);
            let handle = bench.take(&flow.members[0]).await;
            let (second, waiting) = (flow.members[1].clone(), std::sync::Arc::clone(&bench));
            let waiting = tokio::spawn(async move {
                waiting.backend.wait_for_child(&handle, &second).await.map(drop)
            });
            let applied = bench.backend.apply_dependency_to_child(staged).await.map(drop);
            let refused = [waiting.await.unwrap(), applied].into_iter().filter_map(Result::err);
            let refused: Vec<_> = refused.map(|error| error.to_string()).collect();
            assert_eq!(refused, [CYCLE], "round {round}");
        }
    }

    async fn of_racing_waits_that_close_a_cycle_one_is_refused(bench) {
        for length in [2, 3] {
            for round in 0..12 {
                let mut ring = Vec::new();
                for _ in 0..length {
                    let id = bench.solo().await;
                    let handle = bench.take(&id).await;
                    ring.push((id, handle));
                }
                let mut waits = tokio::task::JoinSet::new();
                for (place, (_, handle)) in ring.iter().enumerate() {
                    let next = ring[(place + 1) % length].0.clone();
                    let (bench, handle) = (std::sync::Arc::clone(&bench), handle.clone());
                    waits.spawn(async move { bench.backend.wait_for_child(&handle, &next).await });
                }
                let mut refused = 0;
                for wait in waits.join_all().await {
                    match wait {
                        Ok(wait) => assert_eq!(wait, ChildWait::Waiting),
                        Err(error) => {
                            assert_eq!(error.to_string(), CYCLE);
                            refused += 1;
                        }
                    }
                }
                assert_eq!(refused, 1, "{length} executions, round {round}");
            }
        }
    }

    async fn what_cannot_be_waited_for_is_refused(bench) {
        let parent = bench.solo().await;
        let handle = bench.take(&parent).await;
        let before = bench.core(&parent).await;
        let wait = async |child: &ExecutionId| bench.backend.wait_for_child(&handle, child).await;
        assert_refused(wait(&id()).await, "not found: child");
        let itself = "validation: InvalidInput: self_referencing_edge";
        assert_refused(wait(&parent).await, itself);
        let elsewhere = "validation: InvalidInput: partition_mismatch: flow is on {fp:7}";
        assert_refused(wait(&id_in(8)).await, elsewhere);

        let child = bench.solo().await;
        let stale = bench.altered(&handle, |held| held.lease_epoch = LeaseEpoch(0));
        let refused = bench.backend.wait_for_child(&stale, &child).await;
        assert_refused(refused, "contention: LeaseConflict");
        bench.end(&child, End::Cancelled).await;
        let refused = bench.backend.wait_for_child(&stale, &child).await;
        assert_refused(refused, "contention: LeaseConflict");
        assert!(bench.core(&parent).await == before, "a refusal changes nothing");

        bench.clock.advance(crate::bench::TTL);
        assert_refused(wait(&child).await, "state: LeaseExpired");
        bench.backend.scan(Scan::LeaseExpiry, 10).await.unwrap();
        assert_not_active(wait(&child).await, "runnable");
    }
}
