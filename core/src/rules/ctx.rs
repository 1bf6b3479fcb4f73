//! Time, identity and chance, as arguments.

use uuid::Uuid;

use crate::model::ids::TimestampMs;

/// The inputs of a decision beyond its arguments and facts.
pub struct Ctx<'a> {
    /// The backend's clock, Unix milliseconds.
    pub now: TimestampMs,
    source: &'a mut dyn Source,
}

/// A source of fresh ids and jitter.
pub trait Source: Send {
    /// A new id, unique among all ids.
    fn uuid(&mut self) -> Uuid;

    /// A number in `0.0..1.0`.
    fn fraction(&mut self) -> f64;
}

impl<'a> Ctx<'a> {
    /// A context at `now`, drawing from `source`.
    pub fn new(now: TimestampMs, source: &'a mut dyn Source) -> Self {
        Self { now, source }
    }

    /// A new id.
    pub fn uuid(&mut self) -> Uuid {
        self.source.uuid()
    }

    /// A number in `0.0..1.0`.
    pub fn fraction(&mut self) -> f64 {
        self.source.fraction()
    }
}

/// A deterministic source: the same seed gives the same ids, on every machine. For tests, replays
/// and `ff sql`.
#[derive(Clone, Debug)]
pub struct Seeded(u64);

impl Seeded {
    /// Starts from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    // SplitMix64: one multiply-xor chain per draw, full period.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

impl Source for Seeded {
    fn uuid(&mut self) -> Uuid {
        let bits = (u128::from(self.next()) << 64) | u128::from(self.next());
        uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
    }

    fn fraction(&mut self) -> f64 {
        // 53 bits: every double in 0..1 with that spacing is exact.
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}
