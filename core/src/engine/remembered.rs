//! How long a process remembers what it read and another process may change.

/// The time for which it counts, ms.
const REMEMBERED_MS: i64 = 250;

/// True if what was read at that time, Unix ms, still counts now. It does not where the clock was
/// set back.
pub(super) fn is_fresh(read_at_ms: i64, now_ms: i64) -> bool {
    (0..REMEMBERED_MS).contains(&now_ms.saturating_sub(read_at_ms))
}
