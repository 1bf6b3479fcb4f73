//! Locks of what a process remembers.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks it, also after a panic elsewhere: what these locks guard is only ever changed by steps
/// that leave nothing half done, or says no more than where to look first.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
