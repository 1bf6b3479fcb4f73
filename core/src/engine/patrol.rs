//! Scans that a backend runs by itself, for callers that install them with the backend.
//!
//! Knows no runtime: the backend supplies the spawning and the sleep.

use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use event_listener::Event;
use futures_util::FutureExt as _;
use futures_util::future::{AbortHandle, BoxFuture, abortable, select};

use super::Executor;
use super::timers::scan_within;
use crate::contracts::{Scan, ScannerFilter};
use crate::rules::scan::ScanScope;

/// The most rows that one scan applies.
const BATCH: u32 = 1_000;

/// Running scans of a backend. They end when this is dropped, also in the middle of a scan.
pub struct Patrols<E> {
    executor: E,
    shared: Arc<Shared>,
    loops: Vec<AbortHandle>,
}

impl<E: Executor + Clone> Patrols<E> {
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
            let scans = patrol(executor.clone(), kind, pause, filter.clone(), Arc::clone(&shared));
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
                let one_ended = self.shared.ended.listen();
                if self.shared.running() == 0 {
                    return;
                }
                one_ended.await;
            }
        };

        select(pin!(ended), self.executor.sleep(grace)).await;
        self.shared.running()
    }
}

impl<E> Drop for Patrols<E> {
    fn drop(&mut self) {
        for handle in &self.loops {
            handle.abort();
        }
    }
}

impl<E> fmt::Debug for Patrols<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patrols").field("running", &self.shared.running()).finish_non_exhaustive()
    }
}

/// The patrols that were installed with a backend, if any. All clones are one place.
pub struct Installed<E>(Arc<Mutex<Option<Patrols<E>>>>);

impl<E: Executor + Clone> Installed<E> {
    /// Installs patrols, unless there are some already. Returns true if it did.
    pub fn install(&self, start: impl FnOnce() -> Patrols<E>) -> bool {
        let mut place = self.place();
        let free = place.is_none();
        if free {
            *place = Some(start());
        }
        free
    }

    /// Stops the installed patrols, within `grace`.
    pub async fn shutdown(&self, grace: Duration) {
        let installed = self.place().take();
        if let Some(patrols) = installed {
            let unfinished = patrols.shutdown(grace).await;
            if unfinished != 0 {
                tracing::warn!(unfinished, "scanners were cut short");
            }
        }
    }

    fn place(&self) -> MutexGuard<'_, Option<Patrols<E>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E> Clone for Installed<E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<E> Default for Installed<E> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

/// The state that the patrols of one backend share.
#[derive(Debug, Default)]
struct Shared {
    stopped: AtomicBool,
    stop: Event,
    running: AtomicUsize,
    ended: Event,
}

impl Shared {
    /// Stops every patrol after its current scan.
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

    /// Completes after this time, or as soon as the patrols are stopped.
    async fn stop_or_after<E: Executor>(&self, executor: &E, pause: Duration) {
        let stopped = self.stop.listen();
        if !self.is_stopped() {
            select(executor.sleep(pause), stopped).await;
        }
    }
}

/// One patrol that is counted as long as this lives.
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
async fn patrol<E: Executor>(
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
