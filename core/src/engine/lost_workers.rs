//! The leases of a lost worker lapse, batch by batch.

use futures_util::future::join_all;

use super::{Executor, run};
use crate::contracts::ReconcileCounts;
use crate::model::error::EngineError;
use crate::rules::worker::events::{OldEvents, RemoveEvent};
use crate::rules::worker::lost::{Forget, LapseOfLost, LeasesOfLost, LostLease, LostWorker, Sweep};
use crate::rules::worker::row::{Liveness, WorkerKey};

/// The most leases that lapse in one batch.
const BATCH: u32 = 500;

/// The most old events that one scan removes.
const OLD_EVENTS: u32 = 2_000;

/// Lets every lease of the worker lapse. One that cannot lapse now is counted as an error, and
/// lapses in its own time.
///
/// # Errors
/// The backend's error, when the leases cannot be listed.
pub(super) async fn lapse_leases(
    executor: &dyn Executor,
    worker: &LostWorker,
) -> Result<ReconcileCounts, EngineError> {
    let mut counts = ReconcileCounts::default();
    let mut after = None;

    loop {
        let list = LeasesOfLost { worker: worker.clone(), limit: BATCH, after };
        let leases = run(executor, &list).await?;
        let lapse = |lease: LostLease| LapseOfLost { worker: worker.clone(), lease };
        let lapses: Vec<LapseOfLost> = leases.iter().cloned().map(lapse).collect();

        let results = join_all(lapses.iter().map(|lapse| run(executor, lapse))).await;
        for (lease, result) in leases.iter().zip(results) {
            match result {
                Ok(true) => counts.processed += 1,
                Ok(false) => {}
                Err(error) => {
                    counts.errors += 1;
                    let execution = lease.key.id();
                    tracing::warn!(%execution, %error, "a lost worker's lease lapses later");
                }
            }
        }

        if u32::try_from(leases.len()) != Ok(BATCH) {
            return Ok(counts);
        }
        after = leases.into_iter().next_back();
    }
}

/// Sweeps a worker that is silent for longer than its time to live, once its leases have lapsed.
/// Removes one that was swept long ago. Returns true if it did either.
///
/// # Errors
/// The backend's error.
pub(super) async fn sweep(
    executor: &dyn Executor,
    key: &WorkerKey,
    liveness: Liveness,
) -> Result<bool, EngineError> {
    if liveness.swept_at_ms.is_some() {
        return run(executor, &Forget { key: key.clone() }).await;
    }
    if liveness.is_alive(executor.now()) {
        return Ok(false);
    }

    let worker = LostWorker::Silent(key.clone(), liveness);
    let counts = lapse_leases(executor, &worker).await?;
    if counts.errors != 0 {
        // It stays listed, so that the next scan finds the rest.
        return Ok(false);
    }
    run(executor, &Sweep { key: key.clone(), liveness }).await
}

/// Removes one batch of old events.
///
/// # Errors
/// The backend's error.
pub(super) async fn remove_old_events(executor: &dyn Executor) -> Result<(), EngineError> {
    let events: Vec<RemoveEvent> = run(executor, &OldEvents { limit: OLD_EVENTS })
        .await?
        .into_iter()
        .map(RemoveEvent)
        .collect();
    let removed = join_all(events.iter().map(|event| run(executor, event))).await;
    removed.into_iter().collect()
}
