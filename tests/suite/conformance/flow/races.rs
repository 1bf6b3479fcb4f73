//! What happens at the same time: no news is lost, nothing is left over, every end is one.

use std::sync::Arc;

use ff_core::backend::{CancelFlowPolicy, CancelFlowWait};
use ff_core::contracts::{CancelFlowArgs, ReplayExecutionArgs};
use futures_util::future::join_all;

use crate::backends::{Bench, conformance};
use crate::bench::WAITING;
use crate::flow::{End, Flow, applying, member_of};

const OVER: [&str; 5] = ["completed", "failed", "cancelled", "expired", "skipped"];

async fn cancel(bench: &Bench, flow: &Flow) {
    let (policy, wait) = (CancelFlowPolicy::CancelAll, CancelFlowWait::NoWait);
    bench.backend.cancel_flow(&flow.id, policy, wait).await.unwrap();
}

/// Nothing of a cancelled flow goes on, and each of it has one end.
async fn assert_all_over(bench: &Bench, flow: &Flow) {
    let mut cores = bench.plain.rows("ff_exec_core").await;
    cores.retain(|core| core.uuid("flow_id") == Some(flow.id.0));
    for core in &cores {
        assert!(OVER.contains(&core.text("public_state")), "{core:?}");
    }
    let attempts = bench.plain.rows("ff_attempt").await;
    for attempt in attempts {
        if cores.iter().any(|core| core.uuid("execution_id") == attempt.uuid("execution_id")) {
            assert_eq!(attempt.text("worker_instance_id"), "-", "{attempt:?}");
            assert_eq!(attempt.int("lease_expires_at_ms"), None, "{attempt:?}");
        }
    }
}

conformance! {
    async fn an_edge_applied_while_its_upstream_ends(bench) {
        for round in 0..50 {
            let flow = bench.flow(2).await;
            let [parent, child] = &flow.members[..] else { panic!() };
            let edge = bench.stage(&flow, 0, 1).await;
            let handle = bench.take(parent).await;
            let version = bench.core(child).await.int("version").unwrap();
            let applied = {
                let (bench, args) = (Arc::clone(&bench), applying(&edge));
                tokio::spawn(async move { bench.backend.apply_dependency_to_child(args).await.unwrap() })
            };
            let ended = {
                let bench = Arc::clone(&bench);
                tokio::spawn(async move {
                    bench.backend.complete(&handle, None).await.unwrap();
                    bench.settle().await;
                })
            };
            applied.await.unwrap();
            ended.await.unwrap();
            bench.settle().await;
            let core = bench.core(child).await;
            assert_eq!(core.states(), WAITING, "round {round}");
            let changes = core.int("version").unwrap() - version;
            // Blocked and released; or neither, and only marked as looked at.
            assert!(changes == 1 || changes == 2, "round {round}: {changes} changes");
            assert_eq!(bench.counts(child).await, [1, 0, 0, 0, 1], "round {round}");
            bench.end_and_dispatch(child, End::Success).await;
        }
    }

    async fn an_edge_applied_while_its_upstream_fails(bench) {
        for round in 0..50 {
            let flow = bench.flow(2).await;
            let [parent, child] = &flow.members[..] else { panic!() };
            let edge = bench.stage(&flow, 0, 1).await;
            let handle = bench.take(parent).await;
            let applied = {
                let (bench, args) = (Arc::clone(&bench), applying(&edge));
                tokio::spawn(async move { bench.backend.apply_dependency_to_child(args).await.unwrap() })
            };
            let ended = {
                let bench = Arc::clone(&bench);
                tokio::spawn(async move {
                    bench.fail(&handle).await;
                    bench.settle().await;
                })
            };
            applied.await.unwrap();
            ended.await.unwrap();
            bench.settle().await;
            assert_eq!(bench.public(child).await, "skipped", "round {round}");
            assert_eq!(bench.completions(child).await, ["skipped"], "round {round}");
            assert_eq!(bench.counts(child).await, [0, 1, 0, 0, 1], "round {round}");
        }
    }

    async fn an_edge_applied_while_its_downstream_is_claimed(bench) {
        for round in 0..50 {
            let flow = bench.flow(2).await;
            let child = &flow.members[1];
            let edge = bench.stage(&flow, 0, 1).await;
            let applied = {
                let (bench, args) = (Arc::clone(&bench), applying(&edge));
                tokio::spawn(async move { bench.backend.apply_dependency_to_child(args).await.unwrap() })
            };
            let claimed = {
                let (bench, child) = (Arc::clone(&bench), child.clone());
                tokio::spawn(async move { bench.try_take(&child).await })
            };
            applied.await.unwrap();
            let claimed = claimed.await.unwrap();
            let expected = if claimed.is_some() { "active" } else { "waiting_children" };
            assert_eq!(bench.public(child).await, expected, "round {round}");
            bench.end_and_dispatch(&flow.members[0], End::Success).await;
            if let Some(handle) = claimed {
                bench.backend.complete(&handle, None).await.unwrap();
            } else {
                bench.end(child, End::Success).await;
            }
        }
    }

    async fn an_edge_applied_while_its_downstream_is_replayed(bench) {
        for round in 0..50 {
            let flow = bench.flow(2).await;
            let [parent, child] = &flow.members[..] else { panic!() };
            let edge = bench.stage(&flow, 0, 1).await;
            bench.end(child, End::Failed).await;
            let applied = {
                let (bench, args) = (Arc::clone(&bench), applying(&edge));
                tokio::spawn(async move { bench.backend.apply_dependency_to_child(args).await.unwrap() })
            };
            let replayed = {
                let (bench, child) = (Arc::clone(&bench), child.clone());
                tokio::spawn(async move { bench.replay(&child).await })
            };
            applied.await.unwrap();
            replayed.await.unwrap();
            bench.settle().await;
            assert_eq!(bench.public(child).await, "waiting_children", "round {round}");
            bench.end_and_dispatch(parent, End::Success).await;
            assert_eq!(bench.public(child).await, "waiting", "round {round}");
        }
    }

    async fn members_created_while_the_flow_is_cancelled(bench) {
        for _ in 0..20 {
            let flow = bench.flow(2).await;
            let creating = (0..4).map(|_| {
                let (bench, flow) = (Arc::clone(&bench), flow.clone());
                tokio::spawn(async move {
                    let batch = (0..3).map(|_| bench.member_args(&member_of(&flow.id))).collect();
                    for result in bench.backend.create_flow_members(&flow.id, batch).await {
                        if let Err(error) = result {
                            let expected = "validation: InvalidInput: flow_already_terminal";
                            assert_eq!(error.to_string(), expected);
                        }
                    }
                })
            });
            let mut tasks: Vec<_> = creating.collect();
            let (cancelling, cancelled) = (Arc::clone(&bench), flow.clone());
            tasks.push(tokio::spawn(async move { cancel(&cancelling, &cancelled).await }));
            for task in join_all(tasks).await {
                task.unwrap();
            }
            assert_all_over(&bench, &flow).await;
            bench.settle().await;
        }
    }

    async fn members_added_while_the_flow_is_cancelled(bench) {
        for round in 0..20 {
            let flow = bench.flow(1).await;
            let mut tasks = Vec::new();
            let mut solos = Vec::new();
            for _ in 0..5 {
                let id = member_of(&flow.id);
                bench.backend.create_execution(bench.member_args(&id)).await.unwrap();
                solos.push(id);
            }
            for id in solos {
                let (bench, flow) = (Arc::clone(&bench), flow.clone());
                tasks.push(tokio::spawn(async move {
                    if let Err(error) = bench.add(&flow, &id).await {
                        let expected = "validation: InvalidInput: flow_already_terminal";
                        assert_eq!(error.to_string(), expected);
                    }
                }));
            }
            let (bench_of, flow_of) = (Arc::clone(&bench), flow.clone());
            tasks.push(tokio::spawn(async move {
                if round % 2 == 0 {
                    cancel(&bench_of, &flow_of).await;
                } else {
                    let args = CancelFlowArgs {
                        flow_id: flow_of.id.clone(),
                        reason: "enough".into(),
                        cancellation_policy: "cancel_all".into(),
                        now: bench_of.clock.now(),
                    };
                    bench_of.backend.cancel_flow_header(args).await.unwrap();
                }
            }));
            for task in join_all(tasks).await {
                task.unwrap();
            }
            assert_all_over(&bench, &flow).await;
            bench.settle().await;
        }
    }

    async fn members_claimed_and_completed_while_the_flow_is_cancelled(bench) {
        for _ in 0..30 {
            let flow = bench.flow(8).await;
            let mut handles = Vec::new();
            for id in &flow.members[..2] {
                handles.push(bench.take(id).await);
            }
            let mut tasks = Vec::new();
            for handle in handles {
                let bench = Arc::clone(&bench);
                tasks.push(tokio::spawn(async move {
                    drop(bench.backend.complete(&handle, None).await);
                }));
            }
            for id in &flow.members[2..] {
                let (bench, id) = (Arc::clone(&bench), id.clone());
                tasks.push(tokio::spawn(async move {
                    if let Some(handle) = bench.try_take(&id).await
                        && id.uuid().as_u128() % 2 == 0
                    {
                        drop(bench.backend.complete(&handle, None).await);
                    }
                }));
            }
            let (cancelling, cancelled) = (Arc::clone(&bench), flow.clone());
            tasks.push(tokio::spawn(async move { cancel(&cancelling, &cancelled).await }));
            for task in join_all(tasks).await {
                task.unwrap();
            }
            assert_all_over(&bench, &flow).await;
            bench.settle().await;
            for id in &flow.members {
                assert_eq!(bench.completions(id).await.len(), 1);
            }
        }
    }

    async fn members_retried_while_the_flow_is_cancelled(bench) {
        use ff_core::backend::{FailureClass, FailureReason};
        for _ in 0..30 {
            let flow = bench.flow(4).await;
            let mut handles = Vec::new();
            for id in &flow.members {
                handles.push(bench.take(id).await);
            }
            let mut tasks = Vec::new();
            for handle in handles {
                let bench = Arc::clone(&bench);
                tasks.push(tokio::spawn(async move {
                    let reason = FailureReason::new("once");
                    drop(bench.backend.fail(&handle, reason, FailureClass::Transient).await);
                }));
            }
            let (cancelling, cancelled) = (Arc::clone(&bench), flow.clone());
            tasks.push(tokio::spawn(async move { cancel(&cancelling, &cancelled).await }));
            for task in join_all(tasks).await {
                task.unwrap();
            }
            assert_all_over(&bench, &flow).await;
            bench.settle().await;
        }
    }

    async fn hops_while_the_flow_is_cancelled(bench) {
        for _ in 0..20 {
            let flow = bench.flow(4).await;
            bench.connect(&flow, &[(0, 1), (0, 2), (2, 3)]).await;
            bench.end(&flow.members[0], End::Failed).await;
            let mut tasks = Vec::new();
            for _ in 0..2 {
                let bench = Arc::clone(&bench);
                tasks.push(tokio::spawn(async move { bench.settle().await }));
            }
            let (cancelling, cancelled) = (Arc::clone(&bench), flow.clone());
            tasks.push(tokio::spawn(async move { cancel(&cancelling, &cancelled).await }));
            for task in join_all(tasks).await {
                task.unwrap();
            }
            bench.settle().await;
            assert_all_over(&bench, &flow).await;
            for id in &flow.members {
                assert_eq!(bench.completions(id).await.len(), 1);
            }
        }
    }

    async fn a_flow_built_by_many_has_one_revision_after_the_other(bench) {
        let flow = bench.flow(6).await;
        let stagings = (0..5).map(|up| {
            let (bench, flow) = (Arc::clone(&bench), flow.clone());
            tokio::spawn(async move {
                loop {
                    let mut args = flow.edge(up, up + 1);
                    args.expected_graph_revision = bench.revision(&flow.id).await;
                    match bench.backend.stage_dependency_edge(args.clone()).await {
                        Ok(_) => return bench.apply(&args).await,
                        Err(error) => {
                            assert_eq!(error.to_string(), "contention: StaleGraphRevision");
                        }
                    }
                }
            })
        });
        for staging in join_all(stagings.collect::<Vec<_>>()).await {
            staging.unwrap();
        }
        assert_eq!(bench.revision(&flow.id).await, 11);
    }

    async fn parents_and_children_replayed_in_any_order(bench) {
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]] {
            let flow = bench.flow(3).await;
            bench.connect(&flow, &[(0, 1), (1, 2)]).await;
            bench.end_and_dispatch(&flow.members[0], End::Failed).await;
            for at in order {
                bench.replay(&flow.members[at]).await;
                bench.settle().await;
            }
            for id in &flow.members {
                bench.end_and_dispatch(id, End::Success).await;
            }
            assert_eq!(bench.counts(&flow.members[2]).await, [1, 0, 0, 0, 1], "{order:?}");
        }
        for _ in 0..20 {
            let flow = bench.flow(3).await;
            bench.connect(&flow, &[(0, 1), (1, 2)]).await;
            bench.end_and_dispatch(&flow.members[0], End::Failed).await;
            let replays = flow.members.iter().map(|id| {
                let (bench, execution_id) = (Arc::clone(&bench), id.clone());
                tokio::spawn(async move {
                    let now = bench.clock.now();
                    let args = ReplayExecutionArgs { execution_id, now };
                    bench.backend.replay_execution(args).await.unwrap();
                })
            });
            for replay in join_all(replays.collect::<Vec<_>>()).await {
                replay.unwrap();
            }
            bench.settle().await;
            for id in &flow.members {
                bench.end_and_dispatch(id, End::Success).await;
            }
        }
    }
}
