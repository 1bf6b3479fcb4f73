//! All of, any of, a quorum: when a child is unblocked, and when it is skipped.

use ff_core::contracts::{EdgeDependencyPolicy, OnSatisfied};
use futures_util::future::join_all;

use crate::backends::{Bench, conformance};
use crate::bench::WAITING;
use crate::flow::{End, settle_together};

/// Lets three upstreams end one after the other; what the child is after each.
async fn after_each(bench: &Bench, policy: EdgeDependencyPolicy, ends: [End; 3]) -> [String; 3] {
    let flow = bench.fan_in(3, policy).await;
    let mut states = [const { String::new() }; 3];
    for (at, end) in ends.into_iter().enumerate() {
        let upstream = &flow.members[at];
        if bench.public(upstream).await != "cancelled" {
            bench.end_and_dispatch(upstream, end).await;
        }
        states[at] = bench.public(&flow.members[3]).await;
    }
    let skips = usize::from(states[2] == "skipped");
    assert_eq!(bench.completions(&flow.members[3]).await.len(), skips);
    states
}

const P: &str = "waiting_children";
const W: &str = "waiting";
const S: &str = "skipped";

conformance! {
    async fn all_of_them(bench) {
        use End::{Cancelled, Failed, Success};
        for (ends, states) in [
            ([Success, Success, Success], [P, P, W]),
            ([Success, Success, Failed], [P, P, S]),
            ([Failed, Success, Success], [S, S, S]),
            ([Success, Cancelled, Success], [P, S, S]),
        ] {
            let policy = EdgeDependencyPolicy::all_of();
            assert_eq!(after_each(&bench, policy, ends).await, states, "{ends:?}");
        }
    }

    async fn any_of_them(bench) {
        use End::{Cancelled, Failed, Success};
        for on_satisfied in [OnSatisfied::let_run(), OnSatisfied::cancel_remaining()] {
            for (ends, states) in [
                ([Success, Failed, Failed], [W, W, W]),
                ([Failed, Success, Success], [P, W, W]),
                ([Failed, Cancelled, Success], [P, P, W]),
                ([Failed, Cancelled, Failed], [P, P, S]),
            ] {
                let policy = EdgeDependencyPolicy::any_of(on_satisfied.clone());
                assert_eq!(after_each(&bench, policy, ends).await, states, "{ends:?}");
            }
        }
    }

    async fn so_many_of_them(bench) {
        use End::{Cancelled, Failed, Success};
        for on_satisfied in [OnSatisfied::let_run(), OnSatisfied::cancel_remaining()] {
            for (k, ends, states) in [
                (1, [Failed, Success, Success], [P, W, W]),
                (2, [Success, Success, Failed], [P, W, W]),
                (2, [Success, Failed, Success], [P, P, W]),
                (2, [Success, Failed, Failed], [P, P, S]),
                (2, [Failed, Cancelled, Success], [P, S, S]),
                (3, [Success, Success, Success], [P, P, W]),
                (3, [Success, Failed, Success], [P, S, S]),
            ] {
                let policy = EdgeDependencyPolicy::quorum(k, on_satisfied.clone());
                assert_eq!(after_each(&bench, policy, ends).await, states, "{k} {ends:?}");
            }
        }
    }

    async fn a_quorum_of_more_than_there_are_cannot_be_met(bench) {
        let policy = EdgeDependencyPolicy::quorum(3, OnSatisfied::let_run());
        let flow = bench.fan_in(2, policy).await;
        bench.end_and_dispatch(&flow.members[0], End::Success).await;
        assert_eq!(bench.public(&flow.members[2]).await, S);
    }

    async fn skipped_upstreams_count_as_lost(bench) {
        let flow = bench.flow(4).await;
        bench.policy(&flow, 3, EdgeDependencyPolicy::any_of(OnSatisfied::let_run())).await;
        bench.connect(&flow, &[(0, 1), (1, 3), (2, 3)]).await;
        bench.end_and_dispatch(&flow.members[0], End::Failed).await;
        assert_eq!(bench.counts(&flow.members[3]).await, [0, 0, 1, 1, 2]);
        assert_eq!(bench.public(&flow.members[3]).await, P);
        bench.end_and_dispatch(&flow.members[2], End::Success).await;
        assert_eq!(bench.public(&flow.members[3]).await, W);
    }

    async fn fifty_upstreams_at_once_unblock_one_child_once(bench) {
        for policy in [
            EdgeDependencyPolicy::all_of(),
            EdgeDependencyPolicy::any_of(OnSatisfied::let_run()),
            EdgeDependencyPolicy::quorum(25, OnSatisfied::let_run()),
        ] {
            let flow = bench.fan_in(50, policy.clone()).await;
            let child = &flow.members[50];
            let version = bench.core(child).await.int("version").unwrap();
            let ends: Vec<_> = flow.members[..50]
                .iter()
                .map(|upstream| {
                    let (bench, upstream) = (std::sync::Arc::clone(&bench), upstream.clone());
                    tokio::spawn(async move {
                        bench.end(&upstream, End::Success).await;
                        bench.backend.scan(ff_core::engine_backend::Scan::DependencyDispatch, 10).await
                    })
                })
                .collect();
            settle_together(&bench, 4).await;
            for end in join_all(ends).await {
                end.unwrap().unwrap();
            }
            bench.settle().await;
            assert_eq!(bench.counts(child).await, [50, 0, 0, 0, 50], "{policy:?}");
            let core = bench.core(child).await;
            assert_eq!(core.states(), WAITING, "{policy:?}");
            assert_eq!(core.int("version"), Some(version + 1), "changed once: {policy:?}");
            assert_eq!(bench.undispatched().await, 0);
        }
    }

    async fn fifty_mixed_ends_at_once_skip_one_child_once(bench) {
        for policy in [
            EdgeDependencyPolicy::all_of(),
            EdgeDependencyPolicy::quorum(26, OnSatisfied::let_run()),
        ] {
            let flow = bench.fan_in(50, policy.clone()).await;
            let child = &flow.members[50];
            let ends = flow.members[..50].iter().enumerate().map(|(at, upstream)| {
                let (bench, upstream) = (std::sync::Arc::clone(&bench), upstream.clone());
                tokio::spawn(async move {
                    let end = if at % 2 == 0 { End::Success } else { End::Failed };
                    bench.end(&upstream, end).await;
                    bench.backend.scan(ff_core::engine_backend::Scan::DependencyDispatch, 10).await
                })
            });
            for end in join_all(ends.collect::<Vec<_>>()).await {
                end.unwrap().unwrap();
            }
            bench.settle().await;
            assert_eq!(bench.counts(child).await, [25, 25, 0, 0, 50], "{policy:?}");
            assert_eq!(bench.public(child).await, S, "{policy:?}");
            assert_eq!(bench.completions(child).await, ["skipped"]);
        }
    }
}
