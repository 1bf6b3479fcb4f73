//! The progress of a measurement, for a caller that shows it while it goes on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The measurement that runs now, and the lives that have ended in it so far.
#[derive(Debug, Default)]
pub struct Live {
    now: Mutex<Option<(String, Instant)>>,
    lives: AtomicU64,
}

/// One look at a running measurement.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// The load and its side, in words.
    pub what: String,
    /// The lives so far.
    pub lives: u64,
    /// The seconds so far.
    pub seconds: f64,
}

impl Live {
    /// The measurement that runs now; `None` before the first.
    #[must_use]
    pub fn look(&self) -> Option<Progress> {
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let (what, since) = now.as_ref()?;
        Some(Progress {
            what: what.clone(),
            lives: self.lives.load(Ordering::Relaxed),
            seconds: since.elapsed().as_secs_f64(),
        })
    }

    /// Begins another measurement.
    pub(crate) fn begin(&self, what: String) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        self.lives.store(0, Ordering::Relaxed);
        *now = Some((what, Instant::now()));
    }

    pub(crate) fn add(&self, lives: u64) {
        self.lives.fetch_add(lives, Ordering::Relaxed);
    }
}
