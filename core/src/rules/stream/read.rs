//! Reading streams: frames by range, and the summary.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::contracts::{
    PatchKind, STREAM_READ_HARD_CAP, StreamCursor, StreamFrame, StreamFrames, StreamMode,
    SummaryDocument, TailVisibility,
};
use crate::model::error::{EngineError, ValidationKind};
use crate::model::ids::{AttemptIndex, ExecutionId, TimestampMs};
use crate::model::state::ClosedSet;
use crate::plan::facts::{Facts, Row};
use crate::plan::{Expr, List, Lookup, Predicate, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Transition};
use crate::rules::key::ATTEMPT;
use crate::rules::stream::cursor::FrameId;
use crate::rules::stream::key::{SUMMARY, StreamKey};
use crate::schema::Direction::Ascending;
use crate::schema::execution::attempt;
use crate::schema::suspension::{stream_frame, stream_summary};

/// Reads the frames between two places, oldest first.
#[derive(Clone, Copy, Debug)]
pub struct ReadFrames {
    key: StreamKey,
    after: FrameId,
    to: FrameId,
    limit: u64,
    visibility: TailVisibility,
    /// True if the end of the attempt is read too.
    with_end: bool,
}

impl ReadFrames {
    /// The frames from one cursor to another, both inclusive. An unknown attempt has no frames.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for a cursor or an attempt that no row can have.
    pub fn between(
        id: &ExecutionId,
        index: AttemptIndex,
        from: &StreamCursor,
        to: &StreamCursor,
        limit: u64,
    ) -> Result<Self, EngineError> {
        Ok(Self {
            key: StreamKey::of(id, index)?,
            after: FrameId::of(from)?.before(),
            to: FrameId::of(to)?,
            limit: limit.min(STREAM_READ_HARD_CAP),
            visibility: TailVisibility::All,
            with_end: true,
        })
    }

    /// The frames that follow one that a follower has seen.
    ///
    /// # Errors
    /// As [`Self::between`]; for a cursor that names no frame.
    pub fn after(
        id: &ExecutionId,
        index: AttemptIndex,
        after: &StreamCursor,
        limit: u64,
        visibility: TailVisibility,
    ) -> Result<Self, EngineError> {
        let after = FrameId::reached(after)?;
        let all = Self::between(id, index, &StreamCursor::Start, &StreamCursor::End, limit)?;
        Ok(Self { after, visibility, ..all })
    }

    /// The same, without asking whether the attempt has ended.
    #[must_use]
    pub fn frames_only(self) -> Self {
        Self { with_end: false, ..self }
    }

    /// Returns true if no frame is asked for.
    #[must_use]
    pub fn asks_for_none(&self) -> bool {
        self.limit == 0
    }

    fn end(&self) -> Query {
        Query::Lookup(vec![Lookup {
            row: ATTEMPT.into(),
            table: attempt::REF,
            key: self.key.attempt(),
            columns: vec![attempt::terminal_at_ms.column(), attempt::outcome.column()],
        }])
    }

    fn frames(&self) -> List {
        let FrameId { ts_ms, seq } = self.after;
        let after =
            Predicate::After(vec![stream_frame::ts_ms.with(ts_ms), stream_frame::seq.with(seq)]);

        let FrameId { ts_ms, seq } = self.to;
        let to = stream_frame::ts_ms
            .at_most(ts_ms)
            .and(stream_frame::ts_ms.below(ts_ms).or(stream_frame::seq.at_most(seq)));

        let visible = match self.visibility {
            TailVisibility::All => Predicate::Always,
            TailVisibility::ExcludeBestEffort => {
                let best_effort = StreamMode::best_effort_live(0).wire_str();
                Predicate::NoneOf(stream_frame::mode.column(), vec![best_effort.into()])
            }
        };

        List {
            name: "frames".into(),
            table: stream_frame::REF,
            join: None,
            of_each: None,
            columns: vec![
                stream_frame::ts_ms.column(),
                stream_frame::seq.column(),
                stream_frame::fields.column(),
            ],
            predicate: self.key.frames().and(after).and(to).and(visible),
            order: vec![
                (stream_frame::ts_ms.column(), Ascending),
                (stream_frame::seq.column(), Ascending),
            ],
            limit: Expr::int(i64::try_from(self.limit).unwrap_or(i64::MAX)),
        }
    }
}

impl Transition for ReadFrames {
    type Outcome = StreamFrames;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<StreamFrames>, EngineError> {
        if self.asks_for_none() {
            return Ok(Step::Answer(StreamFrames::empty_open()));
        }

        // The end is read first: every frame appended before it is among those that are read after
        // it.
        let frames = self.frames();
        let Some(read) = facts.list(&frames) else {
            let end = self.with_end.then(|| self.end());
            return Ok(Step::Read(end.into_iter().chain([Query::List(frames)]).collect()));
        };

        let mut answer = StreamFrames::empty_open();
        answer.frames = read.iter().map(frame).collect::<Result<_, _>>()?;
        if let Some(attempt) = facts.row(ATTEMPT) {
            answer.closed_at = attempt.read(attempt::terminal_at_ms)?.map(TimestampMs);
            if answer.is_closed() {
                let outcome = attempt.read(attempt::outcome)?;
                answer.closed_reason = outcome.map(|outcome| outcome.as_str().to_owned());
            }
        }
        Ok(Step::Answer(answer))
    }
}

fn frame(row: &Row) -> Result<StreamFrame, EngineError> {
    let id = FrameId { ts_ms: row.read(stream_frame::ts_ms)?, seq: row.read(stream_frame::seq)? };
    let fields = match row.read(stream_frame::fields)? {
        Json::Object(fields) => {
            fields.into_iter().map(|(name, field)| (name, text(field))).collect()
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) => {
            BTreeMap::new()
        }
    };
    Ok(StreamFrame { id: id.to_string(), fields })
}

fn text(field: Json) -> String {
    match field {
        Json::String(text) => text,
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => {
            field.to_string()
        }
    }
}

/// Reads the summary of an attempt; `None` where nothing was merged.
#[derive(Clone, Copy, Debug)]
pub struct ReadSummary {
    key: StreamKey,
}

impl ReadSummary {
    /// The summary of an attempt.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for an attempt that no row can have.
    pub fn of(id: &ExecutionId, index: AttemptIndex) -> Result<Self, EngineError> {
        Ok(Self { key: StreamKey::of(id, index)? })
    }
}

impl Transition for ReadSummary {
    type Outcome = Option<SummaryDocument>;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        if !facts.have_rows() {
            return Ok(Step::Read(vec![Query::Lookup(vec![Lookup {
                row: SUMMARY.into(),
                table: stream_summary::REF,
                key: self.key.summary(),
                columns: stream_summary::REF.columns.to_vec(),
            }])]));
        }
        let Some(row) = facts.row(SUMMARY) else { return Ok(Step::Answer(None)) };

        let document = row.read(stream_summary::document_json)?;
        // Members come in the order of their names.
        let bytes = serde_json::to_vec(&document).map_err(|error| EngineError::Validation {
            kind: ValidationKind::Corruption,
            detail: format!("corrupt summary document in ff_stream_summary: {error}"),
        })?;

        Ok(Step::Answer(Some(SummaryDocument::new(
            bytes,
            u64::from(row.read(stream_summary::version)?.unsigned_abs()),
            PatchKind::JsonMergePatch,
            row.read(stream_summary::last_updated_ms)?.unsigned_abs(),
            row.read(stream_summary::first_applied_ms)?.unsigned_abs(),
        ))))
    }
}
