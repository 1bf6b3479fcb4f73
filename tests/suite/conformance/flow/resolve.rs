//! Somebody says how the upstream of one edge ended.

use ff_core::EngineError;
use ff_core::contracts::{ResolveDependencyArgs, ResolveDependencyOutcome};
use ff_core::types::{AttemptIndex, EdgeId};
use uuid::Uuid;

use crate::backends::{Bench, conformance};
use crate::bench::assert_refused;
use crate::flow::{End, Flow, lane_of};

async fn resolve(
    bench: &Bench,
    flow: &Flow,
    edge: &EdgeId,
    outcome: &str,
) -> Result<ResolveDependencyOutcome, EngineError> {
    let args = ResolveDependencyArgs::new(
        flow.partition(),
        flow.id.clone(),
        flow.members[1].clone(),
        flow.members[0].clone(),
        edge.clone(),
        lane_of(&flow.members[1]),
        AttemptIndex(0),
        outcome.into(),
        bench.clock.now(),
    );
    bench.backend.resolve_dependency(args).await
}

conformance! {
    async fn an_edge_is_resolved_once(bench) {
        for (outcome, resolved, state) in [
            ("success", ResolveDependencyOutcome::Satisfied, "waiting"),
            ("failed", ResolveDependencyOutcome::Impossible, "skipped"),
            ("failure", ResolveDependencyOutcome::Impossible, "skipped"),
            ("cancelled", ResolveDependencyOutcome::Impossible, "skipped"),
            ("expired", ResolveDependencyOutcome::Impossible, "skipped"),
            ("skipped", ResolveDependencyOutcome::Impossible, "skipped"),
        ] {
            let flow = bench.flow(2).await;
            let edge = bench.connect(&flow, &[(0, 1)]).await.remove(0);
            assert_eq!(resolve(&bench, &flow, &edge, outcome).await.unwrap(), resolved);
            assert_eq!(bench.public(&flow.members[1]).await, state, "{outcome}");
            let before = bench.everything().await;
            for again in ["success", "failed"] {
                let result = resolve(&bench, &flow, &edge, again).await.unwrap();
                assert_eq!(result, ResolveDependencyOutcome::AlreadyResolved);
            }
            assert_eq!(bench.everything().await, before);
        }
    }

    async fn what_an_event_says_counts_once_with_it(bench) {
        let flow = bench.flow(2).await;
        let edge = bench.connect(&flow, &[(0, 1)]).await.remove(0);
        bench.end(&flow.members[0], End::Success).await;
        resolve(&bench, &flow, &edge, "success").await.unwrap();
        bench.settle().await;
        assert_eq!(bench.counts(&flow.members[1]).await, [1, 0, 0, 0, 1]);
        let result = resolve(&bench, &flow, &edge, "failed").await.unwrap();
        assert_eq!(result, ResolveDependencyOutcome::AlreadyResolved);
    }

    async fn an_edge_that_is_resolved_before_it_is_applied_counts_then(bench) {
        let flow = bench.flow(2).await;
        let edge = bench.stage(&flow, 0, 1).await;
        let result = resolve(&bench, &flow, &edge.edge_id, "success").await.unwrap();
        assert_eq!(result, ResolveDependencyOutcome::Satisfied);
        assert_eq!(bench.apply(&edge).await, 0);
        assert_eq!(bench.public(&flow.members[1]).await, "waiting");
        assert_eq!(bench.counts(&flow.members[1]).await, [1, 0, 0, 0, 1]);
    }

    async fn what_is_no_end_is_refused(bench) {
        let flow = bench.flow(2).await;
        let edge = bench.connect(&flow, &[(0, 1)]).await.remove(0);
        let before = bench.everything().await;
        for word in ["", "resumable", "retry", "Success"] {
            let expected = format!(
                "validation: InvalidInput: upstream_outcome: {word:?} is none of success, failed, \
                 cancelled, expired, skipped"
            );
            assert_refused(resolve(&bench, &flow, &edge, word).await, &expected);
        }
        let unknown = EdgeId::from_uuid(Uuid::new_v4());
        assert_refused(resolve(&bench, &flow, &unknown, "success").await, "not found: edge");
        assert_eq!(bench.everything().await, before);
    }

    async fn only_the_edge_between_those_two_is_resolved(bench) {
        let flow = bench.flow(3).await;
        let edge = bench.connect(&flow, &[(0, 1)]).await.remove(0);
        let before = bench.everything().await;
        for members in [[0, 2], [2, 1]] {
            let other = Flow {
                id: flow.id.clone(),
                members: members.map(|at: usize| flow.members[at].clone()).to_vec(),
            };
            assert!(resolve(&bench, &other, &edge, "success").await.is_err(), "{members:?}");
        }
        assert_eq!(bench.everything().await, before);
    }
}
