//! The loop of retention: passes over the ended executions, a step at a time.

use std::sync::Arc;
use std::time::Duration;

use ff_core::contracts::{RetentionRule, TrimPass};
use ff_core::engine_backend::EngineBackend;
use tokio::sync::watch;

use super::{Failures, LoopTotals};

/// Repeats passes with these rules until it is told to stop.
pub(super) struct Retention {
    pub(super) backend: Arc<dyn EngineBackend>,
    pub(super) rules: Vec<RetentionRule>,
    /// The time between two passes.
    pub(super) pause: Duration,
    pub(super) failures: Failures,
}

impl Retention {
    pub(super) async fn run(self, mut stop: watch::Receiver<bool>) -> LoopTotals {
        let mut totals = LoopTotals::default();
        let mut pass = self.new_pass();

        while !*stop.borrow_and_update() {
            totals.ticks += 1;
            let done = match self.backend.trim_step(pass).await {
                Ok(next) => {
                    pass = next;
                    pass.is_done()
                }
                Err(error) => {
                    totals.errors += 1;
                    self.failures.report("retention", error);
                    pass = self.new_pass();
                    true
                }
            };
            if !done {
                // Even a backend that never waits must not keep others from running.
                tokio::task::yield_now().await;
                continue;
            }

            let finished = std::mem::replace(&mut pass, self.new_pass()).report;
            totals.processed += finished.executions;
            totals.errors += finished.errors;
            if finished.executions != 0 {
                let (executions, flows) = (finished.executions, finished.flows);
                tracing::info!(executions, flows, "removed by retention");
            }
            // An error means that the supervisor is gone, and this loop is aborted with it.
            let _ = tokio::time::timeout(self.pause, stop.changed()).await;
        }

        totals.processed += pass.report.executions;
        totals.errors += pass.report.errors;
        totals
    }

    fn new_pass(&self) -> TrimPass {
        TrimPass::new(self.rules.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use ff_core::EngineError;
    use ff_core::contracts::TrimStage;
    use tokio::sync::mpsc;

    use super::*;

    /// A backend that ends each pass with its second step, and has removed two executions then.
    #[derive(Default)]
    struct Fake(Mutex<u64>);

    #[async_trait]
    impl EngineBackend for Fake {
        async fn trim_step(&self, mut pass: TrimPass) -> Result<TrimPass, EngineError> {
            let mut steps = self.0.lock().unwrap();
            *steps += 1;
            match *steps % 3 {
                0 => return Err(EngineError::Unavailable { op: "for now" }),
                1 => pass.report.executions += 1,
                _ => {
                    pass.report.executions += 1;
                    pass.stage = TrimStage::Done;
                }
            }
            Ok(pass)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn passes_follow_each_other_and_an_error_begins_a_new_one() {
        let backend = Arc::new(Fake::default());
        let (failed, _failures) = mpsc::channel(1);
        let retention = Retention {
            backend: backend.clone(),
            rules: vec![RetentionRule::older_than(1)],
            pause: Duration::from_secs(60),
            failures: Failures(failed),
        };
        let stop = watch::Sender::new(false);
        let running = tokio::spawn(retention.run(stop.subscribe()));
        // A pass at once, the error after a minute, a pass after two.
        tokio::time::sleep(Duration::from_secs(150)).await;
        stop.send_replace(true);
        let totals = running.await.unwrap();
        assert_eq!((totals.ticks, totals.processed, totals.errors), (5, 4, 1));
    }
}
