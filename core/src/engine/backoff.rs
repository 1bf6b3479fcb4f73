//! The pauses between the retries of an operation with refused plans.
//!
//! Callers in other processes cannot take turns with this one, so each backs off at random: for a
//! time around a length that doubles. Decides only; knows no clock.

use std::time::Duration;

/// The length of the first pause.
const FIRST_MS: u64 = 2;
/// The longest pause, on average.
const LONGEST_MS: u64 = 250;
/// About the sum of the pauses of one operation. Time spent on the database and on its turn comes
/// on top.
const PAUSES_MS: u64 = 15_000;

/// The pause before the next try, after this many refusals; `None` once the pauses are used up. The
/// first refusal has no pause, since it is most often a stale expectation. `draw` yields a number
/// in `0.0..1.0`.
#[must_use]
pub fn pause_after(refusals: u32, draw: impl FnOnce() -> f64) -> Option<Duration> {
    let Some(pauses_before) = refusals.checked_sub(2) else {
        return Some(Duration::ZERO);
    };

    let spent: u64 = (0..pauses_before.min(1_000)).map(length_ms).sum();
    if PAUSES_MS <= spent {
        return None;
    }

    // Between one half and three halves of the length.
    let length = Duration::from_millis(length_ms(pauses_before));
    Some(length.mul_f64(0.5 + draw().clamp(0.0, 1.0)))
}

fn length_ms(pauses_before: u32) -> u64 {
    FIRST_MS.checked_shl(pauses_before.min(16)).unwrap_or(LONGEST_MS).min(LONGEST_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_begin_after_the_second_refusal_and_grow_to_their_longest() {
        let ms = |refusals| pause_after(refusals, || 0.5).map(|pause| pause.as_millis());
        let pauses = [0, 1, 2, 3, 4, 8, 9, 40].map(ms);
        assert_eq!(pauses, [0, 0, 2, 4, 8, 128, 250, 250].map(Some));
    }

    #[test]
    fn jitter_moves_a_pause_by_half_of_its_length() {
        for (draw, us) in [(0.0, 4_000), (0.5, 8_000), (1.0, 12_000), (-3.0, 4_000), (9.0, 12_000)]
        {
            assert_eq!(pause_after(4, || draw), Some(Duration::from_micros(us)), "{draw}");
        }
    }

    #[test]
    fn the_pauses_add_up_to_fifteen_seconds_and_then_end() {
        let tries = (1..).take_while(|refusals| pause_after(*refusals, || 0.0).is_some()).count();
        let waited: Duration = (1..).map_while(|refusals| pause_after(refusals, || 0.5)).sum();
        assert!((50..100).contains(&tries), "{tries}");
        assert!((15..16).contains(&waited.as_secs()), "{waited:?}");
        assert_eq!(pause_after(u32::MAX, || 0.5), None);
    }
}
