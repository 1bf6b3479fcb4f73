//! Many callers change one row at the same time: each of them is accepted, in one process and in
//! two.

use std::sync::Arc;

use ff_core::contracts::{ApplyDependencyToChildResult, ChangePriorityArgs};
use ff_core::engine_backend::EngineBackend;
use futures_util::future::join_all;

use crate::backends::{Bench, conformance};
use crate::bench::lane;
use crate::flow::{End, applying};

/// The bench's engine and one in another process, in turns.
async fn engines(bench: &Bench, calls: usize) -> Vec<Arc<dyn EngineBackend>> {
    let engines = [Arc::clone(&bench.backend), bench.another_process().await];
    engines.into_iter().cycle().take(calls).collect()
}

conformance! {
    async fn sixty_four_dependencies_of_one_child_are_all_applied(bench) {
        let flow = bench.flow(65).await;
        let mut edges = Vec::new();
        for upstream in 0..64 {
            edges.push(applying(&bench.stage(&flow, upstream, 64).await));
        }
        for upstream in [3, 17] {
            bench.end(&flow.members[upstream], End::Success).await;
        }

        let calls = edges.into_iter().zip(engines(&bench, 64).await).map(|(edge, engine)| {
            tokio::spawn(async move { engine.apply_dependency_to_child(edge).await })
        });
        for applied in join_all(calls.collect::<Vec<_>>()).await {
            let applied = applied.unwrap().unwrap();
            assert!(matches!(applied, ApplyDependencyToChildResult::Applied { .. }), "{applied:?}");
        }
        assert_eq!(bench.counts(&flow.members[64]).await, [2, 0, 0, 62, 64]);
        assert_eq!(bench.public(&flow.members[64]).await, "waiting_children");
    }

    async fn forty_changes_of_one_priority_are_all_made(bench) {
        let id = bench.create().await;
        let calls = (1..=40).zip(engines(&bench, 40).await).map(|(new_priority, engine)| {
            let (execution_id, now) = (id.clone(), bench.clock.now());
            let args = ChangePriorityArgs { execution_id, new_priority, lane_id: lane(), now };
            tokio::spawn(async move { engine.change_priority(args).await })
        });
        for changed in join_all(calls.collect::<Vec<_>>()).await {
            changed.unwrap().unwrap();
        }

        // Each saw what the one before had made of it.
        let events = bench.of("ff_operator_event", &id).await;
        let side = |side: &str| -> Vec<i64> {
            let of = |event: &crate::plain::Cells| event.json("details")[side].as_i64().unwrap();
            events.iter().map(of).collect()
        };
        let (old, new) = (side("old_priority"), side("new_priority"));
        assert_eq!((new.len(), &old[1..]), (40, &new[..39]));
        assert_eq!(bench.core(&id).await.int("priority"), new.last().copied());
    }
}
