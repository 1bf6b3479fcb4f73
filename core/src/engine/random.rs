//! Fresh ids and jitter, from the operating system's random numbers. Impure, so it is behind the
//! feature `generate`.

use uuid::Uuid;

use crate::rules::ctx::Source;

/// Draws every id and number from the operating system.
#[derive(Clone, Copy, Debug)]
pub struct Random;

impl Source for Random {
    fn uuid(&mut self) -> Uuid {
        Uuid::new_v4()
    }

    fn fraction(&mut self) -> f64 {
        // The last eight bytes of a version 4 id hold 62 random bits below the two of its variant;
        // 53 of them fill a double.
        let (_, low) = Uuid::new_v4().as_u64_pair();
        (low & ((1 << 53) - 1)) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_lie_below_one_and_differ() {
        let drawn: Vec<f64> = (0..64).map(|_| Random.fraction()).collect();
        assert!(drawn.iter().all(|fraction| (0.0..1.0).contains(fraction)));
        assert!(drawn.windows(2).any(|pair| pair[0] != pair[1]));
    }
}
