//! The loop that repairs executions that have drifted, a partition at a time.

use std::sync::Arc;
use std::time::Duration;

use ff_core::backend::ScannerFilter;
use ff_core::engine_backend::EngineBackend;
use ff_core::partition::{Partition, PartitionConfig, PartitionFamily};
use ff_core::rules::ctx::{Seeded, Source};
use tokio::sync::watch;
use uuid::Uuid;

use super::jitter::jittered;
use super::{Failures, LoopTotals};

/// Repairs one partition after another until it is told to stop.
pub(super) struct Reconcile {
    pub(super) backend: Arc<dyn EngineBackend>,
    pub(super) filter: ScannerFilter,
    /// The time between two partitions.
    pub(super) pause: Duration,
    pub(super) jitter: f64,
    pub(super) failures: Failures,
}

impl Reconcile {
    pub(super) async fn run(self, mut stop: watch::Receiver<bool>) -> LoopTotals {
        let (seed, place) = Uuid::new_v4().as_u64_pair();
        let mut jitter_source = Seeded::new(seed);
        let partitions = PartitionConfig::default().num_flow_partitions.max(1);
        // Processes that start together, or live for a short time, do not all begin with the first.
        let mut index = u16::try_from(place % u64::from(partitions)).unwrap_or_default();
        let mut totals = LoopTotals::default();

        while !*stop.borrow_and_update() {
            self.tick(index, &mut totals).await;
            index = index.saturating_add(1) % partitions;
            let pause = jittered(self.pause, self.jitter, jitter_source.fraction());
            // An error means that the supervisor is gone, and this loop is aborted with it.
            let _ = tokio::time::timeout(pause, stop.changed()).await;
        }
        totals
    }

    async fn tick(&self, index: u16, totals: &mut LoopTotals) {
        totals.ticks += 1;
        let partition = Partition { family: PartitionFamily::Execution, index };

        match self.backend.reconcile_execution_index(partition, &[], &self.filter).await {
            Ok(counts) => {
                totals.processed += u64::from(counts.processed);
                totals.errors += u64::from(counts.errors);
            }
            Err(error) => {
                totals.errors += 1;
                self.failures.report("reconcile", error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use ff_core::EngineError;
    use ff_core::engine_backend::ReconcileCounts;
    use ff_core::types::LaneId;
    use tokio::sync::mpsc;

    use super::*;

    /// A backend that repairs one row of each partition, but in the third call.
    #[derive(Default)]
    struct Fake(Mutex<Vec<u16>>);

    #[async_trait]
    impl EngineBackend for Fake {
        async fn reconcile_execution_index(
            &self,
            partition: Partition,
            lanes: &[LaneId],
            filter: &ScannerFilter,
        ) -> Result<ReconcileCounts, EngineError> {
            assert!(lanes.is_empty() && filter.is_noop());
            let mut seen = self.0.lock().unwrap();
            seen.push(partition.index);
            if seen.len() == 3 {
                return Err(EngineError::Unavailable { op: "for now" });
            }
            Ok(ReconcileCounts { processed: 1, errors: 0 })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_partition_has_its_turn_and_an_error_stops_nothing() {
        let backend = Arc::new(Fake::default());
        let (failed, _failures) = mpsc::channel(1);
        let reconcile = Reconcile {
            backend: backend.clone(),
            filter: ScannerFilter::NOOP,
            pause: Duration::from_secs(60),
            jitter: 0.0,
            failures: Failures(failed),
        };
        let stop = watch::Sender::new(false);
        let running = tokio::spawn(reconcile.run(stop.subscribe()));
        tokio::time::sleep(Duration::from_secs(60 * 256 - 30)).await;
        stop.send_replace(true);

        let totals = running.await.unwrap();
        assert_eq!((totals.ticks, totals.processed, totals.errors), (256, 255, 1));
        let mut seen = backend.0.lock().unwrap().clone();
        seen.sort_unstable();
        assert_eq!(seen, (0..256).collect::<Vec<u16>>());
    }
}
