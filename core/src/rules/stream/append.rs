//! Appending a frame, which a worker that holds the attempt's lease may do.

use serde_json::{Map, Value as Json};

use crate::contracts::{AppendFrameOutcome, BestEffortLiveConfig, Frame, PatchKind, StreamMode};
use crate::model::error::{EngineError, ValidationKind};
use crate::model::ids::TimestampMs;
use crate::plan::facts::{Facts, Row};
use crate::plan::value::{Storable, Value};
use crate::plan::{Expr, Guard, Lookup, Mutation, OnConflict, Path, Query, Return};
use crate::rules::changes::Changes;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, FromRows, Then, Verdict};
use crate::rules::fence::{Fence, OpenLease};
use crate::rules::input;
use crate::rules::premise::Premise;
use crate::rules::stream::cursor::FrameId;
use crate::rules::stream::key::{
    META, OLD, SUMMARY, StreamKey, frame_of_attempt, meta_of_attempt, summary_of_attempt,
};
use crate::rules::stream::position::{StreamPosition, UNCOUNTED, goes_on, uncounted_frames};
use crate::rules::stream::summary::{self, SummaryChange};
use crate::rules::stream::trim::{self, Trim};
use crate::schema::ColumnRef;
use crate::schema::suspension::{stream_frame, stream_meta, stream_summary};

/// Appends one frame to the stream of the held attempt.
///
/// A durable frame joins a stream without anything being read: the number and the time that it gets
/// are taken from the row that the plan holds, so any number of writers can append at once. A patch
/// joins likewise, once the summary was read. Best-effort frames are decided on the position that
/// was read of the stream, and so is the first frame of a stream.
#[derive(Clone, Debug)]
pub struct Append {
    fence: Fence,
    fields: Json,
    keep: Keep,
    /// True if the stream is known to have begun.
    begun: bool,
}

#[derive(Clone, Debug)]
enum Keep {
    Durable,
    Summary(Json),
    BestEffort(BestEffortLiveConfig),
}

impl Append {
    /// Checks the frame. That the stream has `begun` is only an expectation.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for a type or correlation id with NUL, a patch that is no JSON,
    /// or a best-effort configuration that is out of range; `Validation(PayloadTooLarge)` for too
    /// many bytes.
    pub fn new(fence: Fence, frame: &Frame, begun: bool) -> Result<Self, EngineError> {
        input::text("frame.frame_type", &frame.frame_type)?;
        let correlation_id = frame.correlation_id.as_deref();
        correlation_id.map_or(Ok(()), |id| input::text("frame.correlation_id", id))?;
        input::body("frame.bytes", &frame.bytes)?;

        let keep = match frame.mode {
            StreamMode::Durable => Keep::Durable,
            StreamMode::DurableSummary { patch_kind: PatchKind::JsonMergePatch } => {
                Keep::Summary(summary::patch_of(&frame.bytes)?)
            }
            StreamMode::BestEffortLive { config } => {
                trim::check(&config)?;
                Keep::BestEffort(config)
            }
        };

        Ok(Self { fence, fields: fields(frame), keep, begun })
    }

    fn mode(&self) -> &'static str {
        match self.keep {
            Keep::Durable => StreamMode::durable(),
            Keep::Summary(_) => StreamMode::durable_summary(),
            Keep::BestEffort(config) => StreamMode::best_effort_live_with_config(config),
        }
        .wire_str()
    }

    /// Returns true if it joins the stream at any position, rather than at the one that was read.
    fn joins(&self) -> bool {
        match self.keep {
            Keep::Durable | Keep::Summary(_) => true,
            Keep::BestEffort(_) => false,
        }
    }
}

impl Decision for Append {
    type Outcome = AppendFrameOutcome;

    const NAME: &'static str = "append_frame";

    /// Another change of the execution refuses no frame.
    fn premises(&self, at: TimestampMs) -> Vec<Premise<AppendFrameOutcome>> {
        let fenced = self.fence.premises(at, OpenLease::Live);
        let fenced = fenced.into_iter().map(Premise::in_any_version);
        let summary = match self.keep {
            Keep::Summary(_) => Some(Premise::read(SUMMARY, summary_row())),
            Keep::Durable | Keep::BestEffort(_) => None,
        };
        fenced.chain([Premise::read(META, meta_row())]).chain(summary).collect()
    }

    /// A durable frame of a stream that has begun needs nothing from the rows.
    fn expects(&self) -> bool {
        self.begun && matches!(self.keep, Keep::Durable)
    }

    fn decide(
        &self,
        facts: &Facts,
        at: TimestampMs,
        _: &mut Ctx<'_>,
    ) -> Decided<AppendFrameOutcome> {
        if !facts.have_rows() {
            return self.join(None, at);
        }

        let (meta, summary) = (facts.row(META), facts.row(SUMMARY));
        let position = match StreamPosition::of(meta, facts.list_named(UNCOUNTED))? {
            Some(position) => position,
            // Only an older database has frames without that row, and they refuse the plan.
            None if meta.is_none() && facts.refusals() == 0 => StreamPosition::NEW,
            None => {
                let Fence { key: execution, attempt_index, .. } = self.fence;
                let frames = uncounted_frames(&StreamKey { execution, attempt_index });
                return Ok(Verdict::AlsoRead(vec![Query::List(frames)]));
            }
        };

        // A stream without numbers left must not look like contention.
        let id = position.next(at.0)?;
        if self.joins() && position.counts() {
            self.join(summary, at)
        } else {
            self.follow(&position, id, summary)
        }
    }
}

impl Append {
    /// The changes that join a stream at any position; a patch needs the summary as it was read.
    fn join(
        &self,
        summary: Option<&Row>,
        at: TimestampMs,
    ) -> Result<Verdict<AppendFrameOutcome>, EngineError> {
        let ts_ms = at.0.into_expr().or_later(stream_meta::last_append_ts_ms.of(META));
        let set = vec![
            stream_meta::next_seq.grow(1),
            stream_meta::last_append_ts_ms.set_expr(ts_ms.clone()),
        ];
        let goes_on = Guard::new(META, stream_meta::REF, meta_of_attempt(), goes_on());
        let advance = Mutation::update(stream_meta::REF, meta_of_attempt(), set);

        let summary = self.summary_change(summary, ts_ms.clone())?;
        let version = summary.as_ref().map(|change| change.version);
        let patch = summary.map(|change| (change.guard, change.mutation));
        let frame = self.insert_frame(stream_meta::next_seq.of(META), ts_ms);

        let held = |column: ColumnRef| Return::Held(META.into(), Path::column(column));
        let changes = guarded_changes([(Some(goes_on), advance)].into_iter().chain(patch))
            .and([frame])
            .returning([
                Return::Written(stream_meta::last_append_ts_ms.column()),
                held(stream_meta::next_seq.column()),
                held(stream_meta::trimmed_count.column()),
            ]);
        let read: FromRows<_> = Box::new(move |rows| joined_outcome(&rows, version));
        Ok(Verdict::Change(changes, Then::FromRows(read)))
    }

    /// The changes that append frame `id` at the position that was read.
    fn follow(
        &self,
        position: &StreamPosition,
        id: FrameId,
        summary: Option<&Row>,
    ) -> Result<Verdict<AppendFrameOutcome>, EngineError> {
        let count = position.frame_count();
        let (changes, then) = match &self.keep {
            Keep::Durable | Keep::Summary(_) => {
                let counted = vec![
                    stream_meta::trimmed_count.with(position.trimmed),
                    stream_meta::ema_rate_hz.with(position.rate_hz),
                ];
                let summary = self.summary_change(summary, id.ts_ms.into_expr())?;
                let version = summary.as_ref().map(|change| change.version);
                let patch = summary.map(|change| (change.guard, change.mutation));
                let advance = position.advance(id, counted);
                let frame = self.insert_frame(id.seq.into_expr(), id.ts_ms.into_expr());
                let changes = guarded_changes([advance].into_iter().chain(patch)).and([frame]);
                (changes, Then::Answer(outcome(id, count, version)))
            }
            Keep::BestEffort(config) => {
                let read: FromRows<_> = Box::new(move |old| {
                    let trimmed = i64::try_from(old.len()).unwrap_or(i64::MAX);
                    Ok(outcome(id, count - trimmed, None))
                });
                (self.trimming_changes(config, position, id), Then::FromRows(read))
            }
        };

        if !position.presumed {
            return Ok(Verdict::Change(changes, then));
        }
        let (insert, frames) = trim::refuse_frames();
        Ok(Verdict::Change(changes.and([insert]).picking(frames), then))
    }

    /// The changes of a best-effort frame, which also drop the frames that it outlives. Whatever is
    /// picked of a stream that is presumed to be new refuses the plan.
    fn trimming_changes(
        &self,
        config: &BestEffortLiveConfig,
        position: &StreamPosition,
        id: FrameId,
    ) -> Changes {
        let trim = Trim::at(config, position, id);
        let trimmed = position.trimmed.into_expr().plus(Expr::PickedCount);
        let advance = position.advance(
            id,
            vec![
                stream_meta::trimmed_count.with_expr(trimmed),
                stream_meta::ema_rate_hz.with(trim.rate_hz),
                stream_meta::maxlen_applied_last.with(trim.keep),
                stream_meta::trimmed_before_ms.with(trim.before_ms),
            ],
        );

        let number = Path::column(stream_frame::seq.column());
        let changes = guarded_changes([advance])
            .and([self.insert_frame(id.seq.into_expr(), id.ts_ms.into_expr())])
            .returning([Return::Held(OLD.into(), number)]);

        if position.presumed {
            return changes;
        }
        let drop = Mutation::delete(stream_frame::REF, trim::picked_frame());
        changes.and([drop]).picking(trim.selection())
    }

    /// The change of the summary, if the frame is a patch.
    fn summary_change(
        &self,
        summary: Option<&Row>,
        ts_ms: Expr,
    ) -> Result<Option<SummaryChange>, EngineError> {
        match &self.keep {
            Keep::Durable | Keep::BestEffort(_) => Ok(None),
            Keep::Summary(patch) => summary::patch_summary(summary, patch.clone(), ts_ms).map(Some),
        }
    }

    fn insert_frame(&self, seq: Expr, ts_ms: Expr) -> Mutation {
        let mut row = frame_of_attempt();
        row.extend([
            stream_frame::ts_ms.with_expr(ts_ms.clone()),
            stream_frame::seq.with_expr(seq),
            stream_frame::fields.with(self.fields.clone()),
            stream_frame::mode.with_expr(Expr::Const(self.mode().into())),
            stream_frame::created_at_ms.with_expr(ts_ms),
        ]);
        Mutation::insert(stream_frame::REF, row, OnConflict::Refuse)
    }
}

/// The changes, each with what it relies on.
fn guarded_changes(changes: impl IntoIterator<Item = (Option<Guard>, Mutation)>) -> Changes {
    let (guards, mutations): (Vec<_>, Vec<_>) = changes.into_iter().unzip();
    Changes::of(mutations).holding(guards.into_iter().flatten())
}

fn meta_row() -> Lookup {
    let columns = stream_meta::REF.columns.to_vec();
    Lookup { row: META.into(), table: stream_meta::REF, key: meta_of_attempt(), columns }
}

fn summary_row() -> Lookup {
    let columns = vec![stream_summary::document_json.column(), stream_summary::version.column()];
    Lookup { row: SUMMARY.into(), table: stream_summary::REF, key: summary_of_attempt(), columns }
}

/// The stored fields of a frame. Bytes that are no UTF-8, and NUL, which not every database stores
/// in a text, become U+FFFD.
fn fields(frame: &Frame) -> Json {
    let frame_type = match frame.frame_type.as_str() {
        "" => frame.kind.wire_str(),
        given => given,
    };

    let payload = String::from_utf8_lossy(&frame.bytes).replace('\0', "\u{fffd}");
    let mut fields = Map::from_iter([
        ("frame_type".to_owned(), Json::from(frame_type)),
        ("payload".to_owned(), Json::from(payload)),
        ("encoding".to_owned(), Json::from("utf8")),
        ("source".to_owned(), Json::from("worker")),
    ]);

    if let Some(id) = &frame.correlation_id {
        fields.insert("correlation_id".to_owned(), Json::from(id.as_str()));
    }
    Json::Object(fields)
}

fn outcome(id: FrameId, count: i64, version: Option<i32>) -> AppendFrameOutcome {
    let outcome = AppendFrameOutcome::new(id.to_string(), count.max(0).unsigned_abs());
    match version {
        Some(version) => outcome.with_summary_version(version.unsigned_abs().into()),
        None => outcome,
    }
}

/// The outcome of a frame that joined a stream: the time and number that it got.
fn joined_outcome(
    rows: &[Vec<Value>],
    version: Option<i32>,
) -> Result<AppendFrameOutcome, EngineError> {
    let corrupt = || EngineError::Validation {
        kind: ValidationKind::Corruption,
        detail: format!("append_frame: the stream's row answered {rows:?}"),
    };

    let Some([ts_ms, seq, trimmed]) = rows.first().map(Vec::as_slice) else {
        return Err(corrupt());
    };

    let ts_ms = i64::from_value(ts_ms).ok_or_else(corrupt)?;
    let seq = i32::from_value(seq).ok_or_else(corrupt)?;
    let trimmed = i64::from_value(trimmed).ok_or_else(corrupt)?;
    Ok(outcome(FrameId { ts_ms, seq }, i64::from(seq) + 1 - trimmed, version))
}
