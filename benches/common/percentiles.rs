//! The statistics of measured times.

use std::time::Duration;

/// The median and the 99th percentile.
pub(crate) fn percentiles(mut taken: Vec<Duration>) -> (Duration, Duration) {
    taken.sort_unstable();
    let at = |percent: usize| taken.get(taken.len() * percent / 100).copied().unwrap_or_default();
    (at(50), at(99))
}
