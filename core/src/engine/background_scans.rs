//! Scans that a backend runs by itself, for callers that install them with the backend.
//!
//! Knows no runtime: the backend supplies the spawning and the sleep.

use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use event_listener::Event;
use futures_util::FutureExt as _;
use futures_util::future::{AbortHandle, BoxFuture, abortable, select};

use super::Executor;
use super::lock::lock;
use super::timers::scan_within;
use crate::contracts::{Scan, ScannerFilter};
use crate::rules::scan::ScanScope;

/// The most rows that one scan applies.
const BATCH: u32 = 1_000;

/// Running scans of a backend. They end when this is dropped, also in the middle of a scan.
pub struct BackgroundScans<E> {
    executor: E,
    shared: Arc<Shared>,
    loops: Vec<AbortHandle>,
}

impl<E: Executor + Clone> BackgroundScans<E> {
    /// Scans for each of these kinds of timers, at once and then after each pause. `spawn` runs a
    /// future beside the caller.
    pub fn start(
        executor: &E,
        pauses: impl IntoIterator<Item = (Scan, Duration)>,
        filter: &ScannerFilter,
        spawn: impl Fn(BoxFuture<'static, ()>),
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let start_one = |(kind, pause)| {
            let running = Running::count_in(&shared);
            let scans =
                scan_repeatedly(executor.clone(), kind, pause, filter.clone(), Arc::clone(&shared));
            let (scans, handle) = abortable(scans);
            spawn(scans.map(move |_| drop(running)).boxed());
            handle
        };

        let loops = pauses.into_iter().map(start_one).collect();
        Self { executor: executor.clone(), shared, loops }
    }

    /// Stops after the current scans, and waits up to `grace` for them to finish. Returns the
    /// number of those still running.
    pub async fn shutdown(self, grace: Duration) -> usize {
        self.shared.stop();
        let ended = async {
            loop {
                let next_end = self.shared.ended.listen();
                if self.shared.running() == 0 {
                    return;
                }
                next_end.await;
            }
        };

        select(pin!(ended), self.executor.sleep(grace)).await;
        self.shared.running()
    }
}

impl<E> Drop for BackgroundScans<E> {
    fn drop(&mut self) {
        for handle in &self.loops {
            handle.abort();
        }
    }
}

impl<E> fmt::Debug for BackgroundScans<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackgroundScans")
            .field("running", &self.shared.running())
            .finish_non_exhaustive()
    }
}

/// The background scans installed with a backend, if any. All clones refer to the same scans.
pub struct InstalledScans<E>(Arc<Mutex<Option<BackgroundScans<E>>>>);

impl<E: Executor + Clone> InstalledScans<E> {
    /// Installs scans, unless some are installed already. Returns true if it did.
    pub fn install(&self, start: impl FnOnce() -> BackgroundScans<E>) -> bool {
        let mut installed = lock(&self.0);
        let is_free = installed.is_none();
        if is_free {
            *installed = Some(start());
        }
        is_free
    }

    /// Stops the installed scans, within `grace`.
    pub async fn shutdown(&self, grace: Duration) {
        let installed = lock(&self.0).take();
        if let Some(scans) = installed {
            let unfinished = scans.shutdown(grace).await;
            if unfinished != 0 {
                tracing::warn!(unfinished, "scanners were cut short");
            }
        }
    }
}

impl<E> Clone for InstalledScans<E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<E> Default for InstalledScans<E> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

/// The state that the scan loops of one backend share.
#[derive(Debug, Default)]
struct Shared {
    stopped: AtomicBool,
    stop: Event,
    running: AtomicUsize,
    ended: Event,
}

impl Shared {
    /// Stops every loop after its current scan.
    fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.stop.notify(usize::MAX);
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    fn running(&self) -> usize {
        self.running.load(Ordering::Acquire)
    }

    /// Completes after this time, or as soon as the loops are stopped.
    async fn stop_or_after<E: Executor>(&self, executor: &E, pause: Duration) {
        let stopped = self.stop.listen();
        if !self.is_stopped() {
            select(executor.sleep(pause), stopped).await;
        }
    }
}

/// One loop, counted as long as this lives.
struct Running(Arc<Shared>);

impl Running {
    fn count_in(shared: &Arc<Shared>) -> Self {
        shared.running.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(shared))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
        self.0.ended.notify(usize::MAX);
    }
}

/// Scans for one kind of timer, at once and then after each pause, until stopped. A failed scan is
/// logged and repeated after the pause.
async fn scan_repeatedly<E: Executor>(
    executor: E,
    kind: Scan,
    pause: Duration,
    filter: ScannerFilter,
    shared: Arc<Shared>,
) {
    let scope = ScanScope { filter, ..ScanScope::default() };
    while !shared.is_stopped() {
        if let Err(error) = scan_within(&executor, kind, BATCH, &scope).await {
            tracing::warn!(scan = kind.as_str(), %error, "a scan failed");
        }
        shared.stop_or_after(&executor, pause).await;
    }
}
