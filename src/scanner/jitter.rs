//! Pauses that differ from process to process.

use std::time::Duration;

/// The pause, shortened or lengthened by up to `jitter` of it; `draw` is from 0 (shortest) to 1.
pub(super) fn jittered(pause: Duration, jitter: f64, draw: f64) -> Duration {
    let jitter = if jitter.is_nan() { 0.0 } else { jitter.clamp(0.0, 1.0) };
    pause.mul_f64(1.0 + jitter * (2.0 * draw - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_moves_a_pause_to_either_side() {
        let second = Duration::from_secs(1);
        for (jitter, draw, ms) in [
            (0.1, 0.0, 900),
            (0.1, 0.5, 1_000),
            (0.1, 1.0, 1_100),
            (0.0, 0.0, 1_000),
            (9.0, 0.0, 0),
            (f64::NAN, 0.0, 1_000),
        ] {
            assert_eq!(
                jittered(second, jitter, draw),
                Duration::from_millis(ms),
                "{jitter} {draw}"
            );
        }
    }
}
