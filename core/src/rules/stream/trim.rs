//! The best-effort frames that are dropped: those that are too old, and those that too many
//! followed.
//!
//! How many may follow depends on the pace of the writer. Durable frames and patches count, but are
//! never dropped.

use crate::contracts::{BestEffortLiveConfig, StreamMode};
use crate::model::error::EngineError;
use crate::plan::{Expr, Mutation, OnConflict, Pairing, Predicate, Selection};
use crate::rules::input;
use crate::rules::stream::cursor::FrameId;
use crate::rules::stream::key::{OLD, frame_of_attempt, frames_of_attempt};
use crate::rules::stream::position::StreamPosition;
use crate::schema::ColumnRef;
use crate::schema::Direction::Ascending;
use crate::schema::suspension::stream_frame;

/// The frames that a best-effort append drops, and the pace that it measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trim {
    /// The smoothed rate of appends, frames per second.
    pub rate_hz: f64,
    /// The number of frames that may stay.
    pub keep: i32,
    /// Frames from here on are looked at, Unix ms: older ones were dropped before.
    from_ms: i64,
    /// Frames older than this go, Unix ms.
    pub before_ms: i64,
    /// Frames of a lower number go.
    below_seq: i32,
}

/// Checks a configuration.
///
/// # Errors
/// `Validation(InvalidInput)` naming what is out of range.
pub fn check(config: &BestEffortLiveConfig) -> Result<(), EngineError> {
    let BestEffortLiveConfig { maxlen_floor, maxlen_ceiling, ema_alpha, .. } = *config;

    if maxlen_ceiling < maxlen_floor {
        return Err(input::invalid(format!(
            "frame.mode: maxlen_floor {maxlen_floor} exceeds maxlen_ceiling {maxlen_ceiling}"
        )));
    }

    // Written so that NaN is refused too.
    if 0.0 < ema_alpha && ema_alpha <= 1.0 {
        Ok(())
    } else {
        Err(input::invalid(format!("frame.mode: ema_alpha {ema_alpha} is not in (0, 1]")))
    }
}

/// The smoothed rate after an append at `ts_ms`, frames per second; finite, never negative.
fn smoothed(alpha: f64, position: &StreamPosition, ts_ms: i64) -> f64 {
    let since = ts_ms - position.last_ms;
    let rate = if 0 < position.last_ms && 0 < since { 1000.0 / since as f64 } else { 0.0 };
    alpha * rate + (1.0 - alpha) * position.rate_hz
}

/// The number of frames that a rate makes in twice the time to cover, within bounds, at least one.
fn length(config: &BestEffortLiveConfig, rate_hz: f64) -> u32 {
    let covered = (rate_hz * f64::from(config.ttl_ms) / 1000.0).ceil() * 2.0;
    // A cast from a float saturates.
    (covered as u32).max(config.maxlen_floor).min(config.maxlen_ceiling).max(1)
}

impl Trim {
    /// The trim at the append of frame `id`.
    #[must_use]
    pub fn at(config: &BestEffortLiveConfig, position: &StreamPosition, id: FrameId) -> Self {
        let rate_hz = smoothed(config.ema_alpha, position, id.ts_ms);
        let keep = i32::try_from(length(config, rate_hz)).unwrap_or(i32::MAX);
        let before_ms = id.ts_ms.saturating_sub(i64::from(config.ttl_ms));

        Self {
            rate_hz,
            keep,
            from_ms: position.trimmed_before_ms,
            before_ms: before_ms.max(position.trimmed_before_ms),
            below_seq: id.seq.saturating_add(1).saturating_sub(keep).max(0),
        }
    }

    /// The frames of the held attempt that go.
    #[must_use]
    pub fn selection(&self) -> Selection {
        let best_effort = StreamMode::best_effort_live(0).wire_str();
        let outlived =
            stream_frame::seq.below(self.below_seq).or(stream_frame::ts_ms.below(self.before_ms));

        let predicate = frames_of_attempt()
            .and(stream_frame::ts_ms.above(self.from_ms.saturating_sub(1)))
            .and(Predicate::OneOf(stream_frame::mode.column(), vec![best_effort.into()]))
            .and(outlived);

        selection_of(predicate)
    }
}

fn selection_of(predicate: Predicate) -> Selection {
    Selection {
        row: OLD.into(),
        table: stream_frame::REF,
        predicate,
        order: vec![
            (stream_frame::execution_id.column(), Ascending),
            (stream_frame::attempt_index.column(), Ascending),
            (stream_frame::ts_ms.column(), Ascending),
            (stream_frame::seq.column(), Ascending),
        ],
        pairing: Pairing::Every,
    }
}

/// The change, for each frame that is picked, by which the plan is refused if the held attempt has
/// frames: each of them would be inserted anew, and conflict with itself.
#[must_use]
pub fn refuse_frames() -> (Mutation, Selection) {
    let mut again = picked_frame();
    again.push(stream_frame::fields.with_expr(stream_frame::fields.of(OLD)));
    again.push(stream_frame::mode.with_expr(stream_frame::mode.of(OLD)));
    again.push(stream_frame::created_at_ms.with_expr(stream_frame::created_at_ms.of(OLD)));

    let insert = Mutation::insert(stream_frame::REF, again, OnConflict::Refuse);
    (insert, selection_of(frames_of_attempt()))
}

/// The key of a picked frame.
#[must_use]
pub fn picked_frame() -> Vec<(ColumnRef, Expr)> {
    let mut key = frame_of_attempt();
    key.push(stream_frame::ts_ms.with_expr(stream_frame::ts_ms.of(OLD)));
    key.push(stream_frame::seq.with_expr(stream_frame::seq.of(OLD)));
    key
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn position_at(last_ms: i64, rate_hz: f64) -> StreamPosition {
        let mut position = StreamPosition::of(None, Some(&[])).unwrap().unwrap();
        (position.last_ms, position.rate_hz) = (last_ms, rate_hz);
        position
    }

    #[test]
    fn the_rate_is_smoothed_and_an_unknown_pause_counts_as_standing_still() {
        for (alpha, last_ms, rate_hz, ts_ms, expected) in [
            (0.2, 0, 0.0, 5_000, 0.0),
            (0.2, 4_000, 0.0, 5_000, 0.2),
            (0.2, 4_900, 10.0, 5_000, 10.0),
            (0.2, 5_000, 10.0, 5_000, 8.0),
            (1.0, 4_999, 10.0, 5_000, 1000.0),
        ] {
            assert_eq!(smoothed(alpha, &position_at(last_ms, rate_hz), ts_ms), expected);
        }
    }

    #[test]
    fn the_length_covers_twice_the_time_within_bounds() {
        let config = BestEffortLiveConfig::new(10_000);
        let narrow = config.with_maxlen_floor(0).with_maxlen_ceiling(0);
        for (config, rate_hz, expected) in [
            (config, 0.0, 64),
            (config, 3.2, 64),
            (config, 10.01, 202),
            (config, 1000.0, 16_384),
            (config.with_maxlen_ceiling(u32::MAX), 1000.0, 20_000),
            (narrow, 1000.0, 1),
        ] {
            assert_eq!(length(&config, rate_hz), expected, "at {rate_hz} Hz");
        }
    }

    #[test]
    fn configurations_out_of_range_are_refused() {
        let config = BestEffortLiveConfig::new(1);
        assert!(check(&config).is_ok() && check(&config.with_ema_alpha(1.0)).is_ok());
        for alpha in [0.0, -0.1, 1.1, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let refused = check(&config.with_ema_alpha(alpha)).unwrap_err().to_string();
            assert!(refused.ends_with(&format!("ema_alpha {alpha} is not in (0, 1]")), "{refused}");
        }
        let refused = check(&config.with_maxlen_floor(16_385)).unwrap_err().to_string();
        let expected = "frame.mode: maxlen_floor 16385 exceeds maxlen_ceiling 16384";
        assert!(refused.ends_with(expected), "{refused}");
    }

    #[test]
    fn the_newest_frames_stay_and_trimming_never_goes_back() {
        let config = BestEffortLiveConfig::new(1_000).with_maxlen_floor(3).with_maxlen_ceiling(3);
        let mut position = position_at(9_000, 0.0);
        position.trimmed_before_ms = 9_500;
        let trim = Trim::at(&config, &position, FrameId { ts_ms: 10_000, seq: 7 });
        assert_eq!((trim.keep, trim.below_seq), (3, 5), "5, 6 and 7 stay");
        assert_eq!((trim.from_ms, trim.before_ms), (9_500, 9_500));
        let trim = Trim::at(&config, &position, FrameId { ts_ms: 11_000, seq: 1 });
        assert_eq!((trim.below_seq, trim.before_ms), (0, 10_000));
    }

    proptest! {
        #[test]
        fn the_rate_stays_finite_and_between_what_it_was_and_what_was_seen(
            alpha in 0.001..=1.0_f64,
            gaps in prop::collection::vec(0..100_000_i64, 1..50),
        ) {
            let mut now = position_at(1, 0.0);
            for gap in gaps {
                let ts_ms = now.last_ms + gap;
                let seen = if gap == 0 { 0.0 } else { 1000.0 / gap as f64 };
                let rate = smoothed(alpha, &now, ts_ms);
                prop_assert!(rate.is_finite() && rate >= 0.0);
                prop_assert!(rate <= now.rate_hz.max(seen) * (1.0 + 1e-12));
                prop_assert!(rate >= now.rate_hz.min(seen) * (1.0 - 1e-12));
                now = position_at(ts_ms, rate);
            }
        }
    }
}
