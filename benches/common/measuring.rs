//! The settings of a benchmark, and the statistics of what it measured.

use std::time::Duration;

/// The number that the environment gives, or else the default.
pub(crate) fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The median and the 99th percentile.
pub(crate) fn percentiles(mut taken: Vec<Duration>) -> (Duration, Duration) {
    taken.sort_unstable();
    let at = |percent: usize| taken.get(taken.len() * percent / 100).copied().unwrap_or_default();
    (at(50), at(99))
}
