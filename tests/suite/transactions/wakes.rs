//! Wake-ups and events follow the commit: none comes before it, and none is lost for coming late.

use std::time::Duration;

use ff_core::backend::BackendTag;
use ff_core::engine::Topic;
use ff_core::stream_events::InstanceTagEvent;
use ff_core::stream_subscribe::StreamCursor;
use futures_util::StreamExt as _;

use super::{Own, on_both, postgres_pool};
use crate::backends::{Bench, postgres_copy, run_connected};
use crate::bench::id;
use flowfabric_sql::InTransaction as _;

/// The time in which a wake-up comes, if one comes at all.
const BOUND: Duration = Duration::from_secs(10);
/// The time for which it is watched that none comes.
const QUIET: Duration = Duration::from_millis(80);

/// Listens until nothing rings: those that begin to listen are rung for once.
async fn quiet(bench: &Bench) {
    let mut rings = 0;
    while tokio::time::timeout(QUIET, bench.backend.listen(Topic::Claimable)).await.is_ok() {
        rings += 1;
        assert!(rings < 50, "it rings all the time");
    }
}

on_both! {
    async fn a_waiting_worker_wakes_after_the_commit_and_not_before(bench) {
        bench.with_orders().await;
        quiet(&bench).await;
        let mut ring = bench.backend.listen(Topic::Claimable);
        let mut own = Own::begin(&bench).await;
        own.order(1).await;
        own.within(&bench).create_execution(bench.args(&id())).await.unwrap();
        let early = tokio::time::timeout(QUIET, &mut ring).await;
        assert!(early.is_err(), "it rang before the commit");
        // A claim on SQLite would wait for the file.
        if bench.tag == BackendTag::Postgres {
            assert_eq!(bench.try_claim().await, None);
        }

        own.commit().await.unwrap();
        if bench.hears_notifications() {
            tokio::time::timeout(BOUND, ring).await.expect("the commit rings");
        }
        assert!(bench.try_claim().await.is_some());
    }

    async fn a_rollback_wakes_no_worker(bench) {
        quiet(&bench).await;
        let ring = bench.backend.listen(Topic::Claimable);
        let mut own = Own::begin(&bench).await;
        own.within(&bench).create_execution(bench.args(&id())).await.unwrap();
        own.rollback().await;
        assert!(tokio::time::timeout(QUIET, ring).await.is_err(), "nothing was committed");
    }
}

fn execution(event: &InstanceTagEvent) -> &ff_core::types::ExecutionId {
    match event {
        InstanceTagEvent::Attached { execution_id, .. }
        | InstanceTagEvent::Cleared { execution_id, .. } => execution_id,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_event_of_a_late_commit_is_delivered_in_its_place() {
    run_connected(postgres_copy(), |bench| {
        Box::pin(async move {
            // The first submission to a lane also records the lane, and others wait for that.
            bench.create().await;
            let mut events =
                bench.backend.subscribe_instance_tags(StreamCursor::empty()).await.unwrap();
            let [late, early, gone] = [id(), id(), id()];
            let mut own = postgres_pool(&bench).begin().await.unwrap();
            let mut within = own.within(bench.backend.as_ref()).unwrap();
            within.create_execution(bench.args(&late)).await.unwrap();
            drop(within);
            let mut other = postgres_pool(&bench).begin().await.unwrap();
            let mut within = other.within(bench.backend.as_ref()).unwrap();
            within.create_execution(bench.args(&gone)).await.unwrap();
            drop(within);
            other.rollback().await.unwrap();
            bench.backend.create_execution(bench.args(&early)).await.unwrap();

            // The later number is visible, and waits for the earlier one.
            let waits = tokio::time::timeout(Duration::from_millis(700), events.next()).await;
            assert!(waits.is_err(), "{waits:?}");
            own.commit().await.unwrap();
            for expected in [late, early] {
                let event = tokio::time::timeout(BOUND, events.next()).await.unwrap();
                assert_eq!(execution(&event.unwrap().unwrap()), &expected);
            }
        })
    });
}
