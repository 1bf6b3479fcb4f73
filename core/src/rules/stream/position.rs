//! The position of a stream: the number that comes next, and the number of frames.

use crate::model::error::EngineError;
use crate::plan::facts::Row;
use crate::plan::{Assign, Expr, Guard, List, Mutation, OnConflict, Predicate};
use crate::rules::input;
use crate::rules::stream::cursor::FrameId;
use crate::rules::stream::key::{META, StreamKey, meta_of_attempt};
use crate::schema::ColumnRef;
use crate::schema::Direction::Descending;
use crate::schema::suspension::{stream_frame, stream_meta};

/// The position of a stream, as it was read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StreamPosition {
    /// The next number by its row; `None` where there is no row yet.
    stored: Option<i32>,
    /// The number of the next frame.
    next_seq: i32,
    /// The count of lower numbers that stand for no frame.
    pub trimmed: i64,
    /// The time when the latest frame was appended, Unix ms; 0 before the first.
    pub last_ms: i64,
    /// The smoothed rate of appends, frames per second.
    pub rate_hz: f64,
    /// The time before which no best-effort frame is left, Unix ms.
    pub trimmed_before_ms: i64,
    /// True if it is only presumed that there are no frames.
    pub presumed: bool,
}

/// The row of a stream that counts its frames and has numbers left.
#[must_use]
pub fn goes_on() -> Predicate {
    stream_meta::next_seq.above(0).and(stream_meta::next_seq.below(i32::MAX))
}

/// The name of the list of [`uncounted_frames`].
pub const UNCOUNTED: &str = "frames of an uncounted stream";

/// The frames of a stream without a count, which an older database began. Latest first.
#[must_use]
pub fn uncounted_frames(key: &StreamKey) -> List {
    List {
        name: UNCOUNTED.into(),
        table: stream_frame::REF,
        join: None,
        of_each: None,
        columns: vec![stream_frame::ts_ms.column(), stream_frame::seq.column()],
        predicate: key.frames(),
        order: vec![
            (stream_frame::ts_ms.column(), Descending),
            (stream_frame::seq.column(), Descending),
        ],
        limit: Expr::int(i64::MAX),
    }
}

impl StreamPosition {
    /// A stream without a row of its own, which is presumed to have no frames either.
    pub const NEW: Self = Self {
        stored: None,
        next_seq: 0,
        trimmed: 0,
        last_ms: 0,
        rate_hz: 0.0,
        trimmed_before_ms: 0,
        presumed: true,
    };

    /// Reads the stream's row; where it counted no frame, the frames are needed as well, and the
    /// answer without them is `None`.
    ///
    /// # Errors
    /// `Validation(Corruption)` naming the column that holds what it must not.
    pub fn of(meta: Option<&Row>, frames: Option<&[Row]>) -> Result<Option<Self>, EngineError> {
        let stored = meta.map(|meta| meta.read(stream_meta::next_seq)).transpose()?;
        let next_seq = stored.unwrap_or(0);
        let mut position = Self { stored, next_seq, presumed: false, ..Self::NEW };

        if let Some(meta) = meta {
            position.trimmed = meta.read(stream_meta::trimmed_count)?;
            position.last_ms = meta.read(stream_meta::last_append_ts_ms)?;
            position.rate_hz = meta.read(stream_meta::ema_rate_hz)?;
            position.trimmed_before_ms = meta.read(stream_meta::trimmed_before_ms)?;
        }

        if 0 < position.next_seq {
            return Ok(Some(position));
        }

        let Some(frames) = frames else { return Ok(None) };
        position.count_frames(frames)?;
        Ok(Some(position))
    }

    /// Goes on after frames that were numbered within their millisecond.
    fn count_frames(&mut self, frames: &[Row]) -> Result<(), EngineError> {
        let stored = i32::try_from(frames.len()).unwrap_or(i32::MAX);
        self.next_seq = stored;
        for frame in frames {
            let after = frame.read(stream_frame::seq)?.saturating_add(1);
            self.next_seq = self.next_seq.max(after);
            self.last_ms = self.last_ms.max(frame.read(stream_frame::ts_ms)?);
        }
        self.trimmed = i64::from(self.next_seq) - i64::from(stored);
        Ok(())
    }

    /// Returns true if the stream counts its frames, so that the next can join without reading
    /// them.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.stored.is_some_and(|next| 0 < next)
    }

    /// The id that the next frame gets at that time; time never runs backwards within a stream.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` when all numbers were given out.
    pub fn next(&self, now_ms: i64) -> Result<FrameId, EngineError> {
        if self.next_seq == i32::MAX {
            return Err(input::invalid(format!("frame: the stream has had {} frames", i32::MAX)));
        }
        Ok(FrameId { ts_ms: now_ms.max(self.last_ms), seq: self.next_seq })
    }

    /// The number of frames once the next is in.
    #[must_use]
    pub fn frame_count(&self) -> i64 {
        i64::from(self.next_seq) + 1 - self.trimmed
    }

    /// The change that records this frame, and what it relies on: the position is unchanged.
    #[must_use]
    pub fn advance(
        &self,
        id: FrameId,
        besides: Vec<(ColumnRef, Expr)>,
    ) -> (Option<Guard>, Mutation) {
        let mut columns = vec![
            stream_meta::next_seq.with(id.seq + 1),
            stream_meta::last_append_ts_ms.with(id.ts_ms),
        ];
        columns.extend(besides);
        let key = meta_of_attempt();

        match self.stored {
            Some(next) => {
                let same = stream_meta::next_seq.equals(next);
                let unchanged = Guard::new(META, stream_meta::REF, key.clone(), same);
                let set = columns.into_iter().map(|(column, expr)| (column, Assign::Set(expr)));
                (Some(unchanged), Mutation::update(stream_meta::REF, key, set.collect()))
            }
            None => {
                let row = key.into_iter().chain(columns).collect();
                (None, Mutation::insert(stream_meta::REF, row, OnConflict::Refuse))
            }
        }
    }
}
