//! Scans that a backend runs by itself, for callers that install them with the backend.
//!
//! Knows no runtime: the backend spawns one [`patrol`] per kind of timer and supplies the sleep.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use event_listener::Event;
use futures_util::future::select;

use super::Executor;
use super::timers::scan_within;
use crate::contracts::{Scan, ScannerFilter};
use crate::rules::scan::ScanScope;

/// The most rows that one scan applies.
const BATCH: u32 = 1_000;

/// Stops patrols. All clones stop the same patrols.
#[derive(Clone, Debug, Default)]
pub struct StopPatrols(Arc<Stop>);

#[derive(Debug, Default)]
struct Stop {
    said: AtomicBool,
    event: Event,
}

impl StopPatrols {
    /// Stops every patrol after its current scan.
    pub fn stop(&self) {
        self.0.said.store(true, Ordering::Release);
        self.0.event.notify(usize::MAX);
    }

    fn is_said(&self) -> bool {
        self.0.said.load(Ordering::Acquire)
    }

    /// Completes after this time, or as soon as the patrols are stopped.
    async fn or_after<E: Executor>(&self, executor: &E, pause: Duration) {
        let stopped = self.0.event.listen();
        if !self.is_said() {
            select(executor.sleep(pause), stopped).await;
        }
    }
}

/// Scans for one kind of timer, at once and then after each pause, until stopped. A failed scan is
/// logged and repeated after the pause.
pub async fn patrol<E: Executor>(
    executor: E,
    kind: Scan,
    pause: Duration,
    filter: ScannerFilter,
    stop: StopPatrols,
) {
    let scope = ScanScope { filter, ..ScanScope::default() };
    while !stop.is_said() {
        if let Err(error) = scan_within(&executor, kind, BATCH, &scope).await {
            tracing::warn!(scan = kind.as_str(), %error, "a scan failed");
        }
        stop.or_after(&executor, pause).await;
    }
}
