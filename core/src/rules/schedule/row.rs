//! The row of a schedule, as values.

use serde_json::Value as Json;

use crate::contracts::{CatchUp, ScheduleInfo, SchedulePause, ScheduleSpec, ScheduledWork};
use crate::model::error::{EngineError, ValidationKind};
use crate::model::ids::{ExecutionId, TimestampMs};
use crate::model::state::CatchUpPolicy;
use crate::plan::facts::Row;
use crate::plan::{Assign, Expr, Mutation};
use crate::rules::input;
use crate::rules::schedule::key::{ScheduleKey, execution_of};
use crate::schema::schedule::schedule;
use crate::schema::{Col, ColumnRef};

/// Cells of a row, as an insert or an update takes them.
type Cells = Vec<(ColumnRef, Expr)>;

/// Reads a whole row.
///
/// # Errors
/// `Validation(Corruption)` naming the column that holds what it must not.
pub fn read(row: &Row) -> Result<ScheduleInfo, EngineError> {
    let key = ScheduleKey::read(row)?;
    let created = TimestampMs(row.read(schedule::created_at_ms)?);
    let last = execution_of(key.partition, row.read(schedule::last_execution_id)?);
    let at = |column: Col<Option<i64>>| Ok::<_, EngineError>(row.read(column)?.map(TimestampMs));

    let mut info = ScheduleInfo::new(key.id(), spec(row)?, created);
    info.pause = pause(row)?;
    info.next_tick_at = at(schedule::next_tick_at_ms)?;
    info.due_at = at(schedule::due_at_ms)?;
    info.queued = of_json("queued", row.read(schedule::queued)?)?;
    info.last_tick_at = at(schedule::last_tick_at_ms)?;
    info.last_execution = last.map(|key| key.id());
    info.skipped_tick_at = at(schedule::skipped_tick_at_ms)?;
    info.updated_at = TimestampMs(row.read(schedule::updated_at_ms)?);
    info.version = row.read(schedule::version)?;
    Ok(info)
}

fn spec(row: &Row) -> Result<ScheduleSpec, EngineError> {
    let mut work: ScheduledWork = of_json("work", row.read(schedule::work)?)?;
    work.input_payload = row.read(schedule::payload)?;
    let most = row.read(schedule::catch_up_most)?;

    let mut spec = ScheduleSpec::new(row.read(schedule::cron)?, work);
    spec.time_zone = row.read(schedule::time_zone)?;
    spec.jitter_ms = row.read(schedule::jitter_ms)?;
    spec.overlap = row.read(schedule::overlap)?;
    spec.catch_up = match row.read(schedule::catch_up)? {
        CatchUpPolicy::SkipMissed => CatchUp::SkipMissed,
        CatchUpPolicy::Latest => CatchUp::Latest,
        CatchUpPolicy::All => CatchUp::All { at_most: most.max(1).unsigned_abs() },
    };
    spec.skipped_hours = row.read(schedule::skipped_hours)?;
    spec.doubled_hours = row.read(schedule::doubled_hours)?;
    Ok(spec)
}

fn pause(row: &Row) -> Result<Option<SchedulePause>, EngineError> {
    let Some(since) = row.read(schedule::paused_at_ms)? else { return Ok(None) };
    let actor = row.read(schedule::paused_by)?.unwrap_or_default();
    let reason = row.read(schedule::paused_reason)?;
    Ok(Some(SchedulePause { since: TimestampMs(since), actor, reason }))
}

fn of_json<T: serde::de::DeserializeOwned>(column: &str, json: Json) -> Result<T, EngineError> {
    serde_json::from_value(json).map_err(|error| EngineError::Validation {
        kind: ValidationKind::Corruption,
        detail: format!("ff_schedule.{column}: {error}"),
    })
}

/// The cells that say what a schedule does.
///
/// # Errors
/// `Validation(InvalidInput)` for work that cannot be stored.
pub fn of_spec(spec: &ScheduleSpec) -> Result<Cells, EngineError> {
    let work = serde_json::to_value(&spec.work)
        .map_err(|error| input::invalid(format!("work: serialize failed: {error}")))?;
    let (catch_up, most) = match spec.catch_up {
        CatchUp::SkipMissed => (CatchUpPolicy::SkipMissed, 1),
        CatchUp::Latest => (CatchUpPolicy::Latest, 1),
        CatchUp::All { at_most } => (CatchUpPolicy::All, i32::try_from(at_most).unwrap_or(1)),
    };

    Ok(vec![
        schedule::cron.with(spec.cron.clone()),
        schedule::time_zone.with(spec.time_zone.clone()),
        schedule::jitter_ms.with(spec.jitter_ms),
        schedule::overlap.with_chosen(spec.overlap),
        schedule::catch_up.with_chosen(catch_up),
        schedule::catch_up_most.with(most),
        schedule::skipped_hours.with_chosen(spec.skipped_hours),
        schedule::doubled_hours.with_chosen(spec.doubled_hours),
        schedule::work.with(work),
        schedule::payload.with(spec.work.input_payload.clone()),
    ])
}

/// The cells that say how far a schedule has come: they change with every tick.
#[must_use]
pub fn of_progress(key: &ScheduleKey, info: &ScheduleInfo) -> Cells {
    let ms = |at: Option<TimestampMs>| at.map(|at| at.0);
    let queued: Vec<Json> = info.queued.iter().map(|tick| tick.0.into()).collect();
    let last = info.last_execution.as_ref().map(ExecutionId::uuid);

    vec![
        schedule::next_tick_at_ms.with(ms(info.next_tick_at)),
        schedule::due_at_ms.with(due_at(key, info)),
        schedule::queued.with(Json::Array(queued)),
        schedule::last_tick_at_ms.with(ms(info.last_tick_at)),
        schedule::last_execution_id.with(last),
        schedule::skipped_tick_at_ms.with(ms(info.skipped_tick_at)),
    ]
}

/// The cells of the pause of a schedule.
#[must_use]
pub fn of_pause(pause: Option<&SchedulePause>) -> Cells {
    vec![
        schedule::paused_at_ms.with(pause.map(|pause| pause.since.0)),
        schedule::paused_by.with(pause.map(|pause| pause.actor.clone())),
        schedule::paused_reason.with(pause.and_then(|pause| pause.reason.clone())),
    ]
}

/// The time from which a scanner has to look at a schedule, Unix ms: at once while ticks wait.
#[must_use]
pub fn due_at(key: &ScheduleKey, info: &ScheduleInfo) -> Option<i64> {
    if info.pause.is_some() {
        return None;
    }
    let next = info.next_tick_at.map(|tick| submitted_at(key, &info.spec, tick.0));
    info.queued.first().map(|tick| tick.0).or(next)
}

/// The time at which the execution of a tick is submitted, Unix ms: the tick and its jitter.
#[must_use]
pub fn submitted_at(key: &ScheduleKey, spec: &ScheduleSpec, tick_ms: i64) -> i64 {
    tick_ms.saturating_add(key.jitter_ms(tick_ms, spec.jitter_ms))
}

/// The change of these cells of a schedule's row.
#[must_use]
pub fn update(key: &ScheduleKey, cells: Cells, at: TimestampMs) -> Mutation {
    let changed = [schedule::updated_at_ms.set(at.0), schedule::version.grow(1)];
    let set = cells.into_iter().map(|(column, value)| (column, Assign::Set(value)));
    Mutation::update(schedule::REF, key.columns(), set.chain(changed).collect())
}
