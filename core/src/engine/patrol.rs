//! Scans that a backend runs by itself, for callers that install them with the backend.
//!
//! Knows no runtime: the backend spawns one [`patrol`] per kind of timer and sleeps as it can.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use event_listener::Event;
use futures_util::future::select;

use super::Executor;
use super::timers::scan_within;
use crate::backend::ScannerFilter;
use crate::engine_backend::Scan;
use crate::rules::scan::ScanScope;

/// The most rows that one look applies.
const BATCH: u32 = 1_000;

/// Tells patrols to stop. Clones tell the same patrols.
#[derive(Clone, Debug, Default)]
pub struct StopPatrols(Arc<Stop>);

#[derive(Debug, Default)]
struct Stop {
    said: AtomicBool,
    event: Event,
}

impl StopPatrols {
    /// Lets every patrol end after the look that it is at.
    pub fn stop(&self) {
        self.0.said.store(true, Ordering::Release);
        self.0.event.notify(usize::MAX);
    }

    fn is_said(&self) -> bool {
        self.0.said.load(Ordering::Acquire)
    }

    /// Returns after this time, or as soon as the patrols are to stop.
    async fn or_after<E: Executor>(&self, executor: &E, pause: Duration) {
        let stopped = self.0.event.listen();
        if !self.is_said() {
            select(executor.sleep(pause), stopped).await;
        }
    }
}

/// Applies what is due of one kind, first at once and then after each pause, until told to stop. A
/// look that fails is logged and made again after the pause.
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
