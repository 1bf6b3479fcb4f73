//! Cursors: the places in a stream that callers name.

use crate::contracts::StreamCursor;
use crate::model::error::EngineError;
use crate::rules::input;

/// The id of a frame, or a place between frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FrameId {
    /// The time when it was appended, Unix ms.
    pub ts_ms: i64,
    /// Its number.
    pub seq: i32,
}

impl FrameId {
    /// Before every frame.
    pub const FIRST: Self = Self { ts_ms: i64::MIN, seq: i32::MIN };
    /// After every frame.
    const LAST: Self = Self { ts_ms: i64::MAX, seq: i32::MAX };

    /// The place that a cursor names; an id without number is that of number 0.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the cursor and its half that is no number that an id can
    /// have.
    pub fn of(cursor: &StreamCursor) -> Result<Self, EngineError> {
        match cursor {
            StreamCursor::Start => Ok(Self::FIRST),
            StreamCursor::End => Ok(Self::LAST),
            StreamCursor::At(id) => Self::parse(id),
        }
    }

    /// The place that a follower has reached.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for a cursor that is no id, and as [`Self::of`].
    pub fn reached(cursor: &StreamCursor) -> Result<Self, EngineError> {
        match cursor {
            StreamCursor::At(id) => Self::parse(id),
            StreamCursor::Start | StreamCursor::End => {
                Err(input::invalid("tail_stream requires concrete after cursor"))
            }
        }
    }

    /// The place right before this one.
    #[must_use]
    pub fn before(self) -> Self {
        Self { ts_ms: self.ts_ms, seq: self.seq.saturating_sub(1) }
    }

    fn parse(id: &str) -> Result<Self, EngineError> {
        let bad = |half| input::invalid(format!("bad stream cursor '{id}' ({half})"));
        let (ms, seq) = id.split_once('-').unwrap_or((id, "0"));
        let digits = |half: &str| half.bytes().all(|byte| byte.is_ascii_digit());
        let ts_ms = ms.parse().ok().filter(|_| digits(ms)).ok_or_else(|| bad("ms"))?;
        let seq = seq.parse().ok().filter(|_| digits(seq)).ok_or_else(|| bad("seq"))?;
        Ok(Self { ts_ms, seq })
    }
}

impl std::fmt::Display for FrameId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.ts_ms, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written() {
        for (text, ts_ms, seq) in [
            ("0-0", 0, 0),
            ("17", 17, 0),
            ("17-3", 17, 3),
            ("9223372036854775807-2147483647", i64::MAX, i32::MAX),
        ] {
            let id = FrameId::of(&StreamCursor::At(text.into())).unwrap();
            assert_eq!(id, FrameId { ts_ms, seq });
            assert_eq!(FrameId::reached(&StreamCursor::At(id.to_string())).unwrap(), id);
        }
    }

    #[test]
    fn what_no_id_can_be_is_refused_naming_the_half() {
        for (text, half) in [
            ("", "ms"),
            ("-5", "ms"),
            ("+5", "ms"),
            ("x-1", "ms"),
            ("9223372036854775808", "ms"),
            ("99999999999999999999999-0", "ms"),
            ("5-", "seq"),
            ("5-+1", "seq"),
            ("5--1", "seq"),
            ("5-1-2", "seq"),
            ("5-2147483648", "seq"),
        ] {
            let refused = FrameId::of(&StreamCursor::At(text.into())).unwrap_err().to_string();
            let expected = format!("validation: InvalidInput: bad stream cursor '{text}' ({half})");
            assert_eq!(refused, expected);
        }
    }

    #[test]
    fn followers_name_an_id() {
        for cursor in [StreamCursor::Start, StreamCursor::End] {
            let refused = FrameId::reached(&cursor).unwrap_err().to_string();
            let expected = "validation: InvalidInput: tail_stream requires concrete after cursor";
            assert_eq!(refused, expected);
        }
    }

    #[test]
    fn a_place_lies_between_its_neighbours() {
        let id = FrameId { ts_ms: 5, seq: 0 };
        assert!(id.before() < id && FrameId { ts_ms: 4, seq: i32::MAX } < id.before());
        assert!(
            FrameId::FIRST.before() <= FrameId::FIRST && FrameId::LAST.before() < FrameId::LAST
        );
    }
}
