//! Appending a frame, which a worker that holds the attempt's lease may do.

use serde_json::{Map, Value as Json};

use crate::contracts::{AppendFrameOutcome, BestEffortLiveConfig, Frame, PatchKind, StreamMode};
use crate::model::error::{EngineError, ValidationKind};
use crate::model::ids::TimestampMs;
use crate::plan::facts::{Facts, Row};
use crate::plan::value::{Storable, Value};
use crate::plan::{Expr, Lookup, OnConflict, Path, Plan, Query, Return};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{FromRows, Step, Then, Transition};
use crate::rules::fence::{Fence, OpenLease};
use crate::rules::input;
use crate::rules::premise::{Premise, guards, lookups, unmet};
use crate::rules::stream::cursor::FrameId;
use crate::rules::stream::key::{
    META, OLD, SUMMARY, StreamKey, frame_of_attempt, meta_of_attempt, summary_of_attempt,
};
use crate::rules::stream::standing::{self, Standing};
use crate::rules::stream::summary;
use crate::rules::stream::trim::{self, Trim};
use crate::schema::ColumnRef;
use crate::schema::suspension::{stream_frame, stream_meta, stream_summary};

/// Appends one frame to the stream of the held attempt.
///
/// A durable frame joins a stream without anything being read: the number and the time that it gets
/// are taken from the row that the plan holds, so any number of writers can append at once. A patch
/// joins likewise, once the summary was read. Best-effort frames are decided on where the stream
/// was read to stand, and so is the first frame of a stream.
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

    fn lookups(&self, premises: &[Premise<AppendFrameOutcome>]) -> Vec<Lookup> {
        let mut lookups = lookups(premises);
        lookups.push(Lookup {
            row: META.into(),
            table: stream_meta::REF,
            key: meta_of_attempt(),
            columns: stream_meta::REF.columns.to_vec(),
        });

        if let Keep::Summary(_) = self.keep {
            lookups.push(Lookup {
                row: SUMMARY.into(),
                table: stream_summary::REF,
                key: summary_of_attempt(),
                columns: vec![
                    stream_summary::document_json.column(),
                    stream_summary::version.column(),
                ],
            });
        }

        lookups
    }

    fn insert(&self, plan: Plan, seq: Expr, ts_ms: Expr) -> Plan {
        let mut row = frame_of_attempt();
        row.extend([
            stream_frame::ts_ms.with_expr(ts_ms.clone()),
            stream_frame::seq.with_expr(seq),
            stream_frame::fields.with(self.fields.clone()),
            stream_frame::mode.with_expr(Expr::Const(self.mode().into())),
            stream_frame::created_at_ms.with_expr(ts_ms),
        ]);
        plan.insert(stream_frame::REF, row, OnConflict::Refuse)
    }

    /// The plan that joins a stream wherever it stands; a patch needs the summary as it was read.
    fn join(&self, plan: Plan, summary: Option<&Row>, at: TimestampMs) -> Decided {
        let ts_ms = at.0.into_expr().or_later(stream_meta::last_append_ts_ms.of(META));
        let set = vec![
            stream_meta::next_seq.grow(1),
            stream_meta::last_append_ts_ms.set_expr(ts_ms.clone()),
        ];

        let plan = plan
            .guard(META, stream_meta::REF, meta_of_attempt(), standing::goes_on())
            .update(stream_meta::REF, meta_of_attempt(), set);

        let (plan, version) = match &self.keep {
            Keep::Summary(patch) => {
                let (plan, version) =
                    summary::patched(plan, summary, patch.clone(), ts_ms.clone())?;
                (plan, Some(version))
            }
            Keep::Durable | Keep::BestEffort(_) => (plan, None),
        };

        let mut plan = self.insert(plan, stream_meta::next_seq.of(META), ts_ms);
        let held = |column: ColumnRef| Return::Held(META.into(), Path::column(column));
        plan.returns = vec![
            Return::Written(stream_meta::last_append_ts_ms.column()),
            held(stream_meta::next_seq.column()),
            held(stream_meta::trimmed_count.column()),
        ];
        Ok((plan, Then::FromRows(Box::new(move |rows| joined(&rows, version)))))
    }

    /// The plan that goes on from where the stream was read to stand.
    fn follow(
        &self,
        plan: Plan,
        standing: &Standing,
        summary: Option<&Row>,
        at: TimestampMs,
    ) -> Decided {
        let id = standing.next(at.0)?;
        let count = standing.frame_count();
        let (seq, ts_ms) = (id.seq.into_expr(), id.ts_ms.into_expr());
        let counted = vec![
            stream_meta::trimmed_count.with(standing.trimmed),
            stream_meta::ema_rate_hz.with(standing.rate_hz),
        ];

        let (plan, then) = match &self.keep {
            Keep::Durable => {
                let plan = self.insert(standing.advance(plan, id, counted), seq, ts_ms);
                (plan, Then::Answer(outcome(id, count, None)))
            }
            Keep::Summary(patch) => {
                let plan = standing.advance(plan, id, counted);
                let (plan, version) =
                    summary::patched(plan, summary, patch.clone(), ts_ms.clone())?;
                let outcome = outcome(id, count, Some(version));
                (self.insert(plan, seq, ts_ms), Then::Answer(outcome))
            }
            Keep::BestEffort(config) => {
                let trim = Trim::at(config, standing, id);
                // Whatever is picked of a stream that is presumed to be new refuses the plan.
                let trimmed = standing.trimmed.into_expr().plus(Expr::PickedCount);
                let paced = vec![
                    stream_meta::trimmed_count.with_expr(trimmed),
                    stream_meta::ema_rate_hz.with(trim.rate_hz),
                    stream_meta::maxlen_applied_last.with(trim.keep),
                    stream_meta::trimmed_before_ms.with(trim.before_ms),
                ];

                let mut plan = self.insert(standing.advance(plan, id, paced), seq, ts_ms);
                if !standing.presumed {
                    plan = plan.delete(stream_frame::REF, trim::picked());
                    plan.selection = Some(trim.selection());
                }

                let number = Path::column(stream_frame::seq.column());
                plan.returns = vec![Return::Held(OLD.into(), number)];
                let read: FromRows<_> = Box::new(move |old| {
                    let trimmed = i64::try_from(old.len()).unwrap_or(i64::MAX);
                    Ok(outcome(id, count - trimmed, None))
                });
                (plan, Then::FromRows(read))
            }
        };

        let plan = if standing.presumed { trim::refused_by_frames(plan) } else { plan };
        Ok((plan, then))
    }

    /// Returns true if it joins the stream wherever that stands, rather than where it was read.
    fn joins(&self) -> bool {
        match self.keep {
            Keep::Durable | Keep::Summary(_) => true,
            Keep::BestEffort(_) => false,
        }
    }
}

/// A plan and its answer, or the refusal.
type Decided = Result<(Plan, Then<AppendFrameOutcome>), EngineError>;

impl Transition for Append {
    type Outcome = AppendFrameOutcome;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        let at = ctx.now;
        let premises = self.fence.premises(at, OpenLease::Live);
        // Only the conditions are guarded: another change of the execution refuses no frame.
        let guarded = |premises| -> Result<Plan, EngineError> {
            let guards = guards(premises, &[], &Facts::default())?;
            Ok(Plan { guards, ..Plan::new("append_frame") })
        };

        if !facts.have_rows() {
            let durable = matches!(self.keep, Keep::Durable);
            if durable && self.begun && facts.refusals() == 0 {
                let (plan, then) = self.join(guarded(premises)?, None, at)?;
                return Ok(Step::Commit(plan, then));
            }
            return Ok(Step::Read(vec![Query::Lookup(self.lookups(&premises))]));
        }

        if let Some(answer) = unmet(&premises, facts)? {
            return Ok(Step::Answer(answer));
        }
        let (meta, summary) = (facts.row(META), facts.row(SUMMARY));
        let Fence { key: execution, attempt_index, .. } = self.fence;
        let uncounted = standing::uncounted_frames(&StreamKey { execution, attempt_index });
        let standing = match Standing::of(meta, facts.list(&uncounted))? {
            Some(standing) => standing,
            // Only an older database has frames without that row, and they refuse the plan.
            None if meta.is_none() && facts.refusals() == 0 => Standing::NEW,
            None => return Ok(Step::Read(vec![Query::List(uncounted)])),
        };

        let plan = guarded(premises)?;
        let (plan, then) = if self.joins() && standing.counts() {
            // A stream without numbers left must not look like contention.
            standing.next(at.0)?;
            self.join(plan, summary, at)?
        } else {
            self.follow(plan, &standing, summary, at)?
        };
        Ok(Step::Commit(plan, then))
    }
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
fn joined(rows: &[Vec<Value>], version: Option<i32>) -> Result<AppendFrameOutcome, EngineError> {
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
