//! Schedules.

use ff_core::contracts::{BackfillReport, CatchUp, PlannedTick, ScheduleInfo};
use ff_core::policy::ExecutionPolicy;
use ff_core::state::ClosedSet as _;
use ff_core::types::ExecutionId;
use serde::Serialize;
use std::collections::BTreeMap;

/// `schedule show`, and what changes a schedule.
#[derive(Debug, Serialize)]
pub(crate) struct ScheduleView<'a> {
    namespace: &'a str,
    name: &'a str,
    cron: &'a str,
    time_zone: &'a str,
    jitter_ms: i64,
    overlap: &'static str,
    catch_up: &'static str,
    catch_up_at_most: Option<u32>,
    skipped_hours: &'static str,
    doubled_hours: &'static str,
    work: WorkView<'a>,
    pause: Option<PauseView<'a>>,
    next_tick_at_ms: Option<i64>,
    due_at_ms: Option<i64>,
    queued_ms: Vec<i64>,
    last_tick_at_ms: Option<i64>,
    last_execution_id: Option<&'a ExecutionId>,
    skipped_tick_at_ms: Option<i64>,
    created_at_ms: i64,
    updated_at_ms: i64,
    version: i64,
}

/// What a tick submits.
#[derive(Debug, Serialize)]
struct WorkView<'a> {
    lane_id: &'a str,
    kind: &'a str,
    payload: String,
    priority: i32,
    tags: &'a BTreeMap<String, String>,
    policy: Option<&'a ExecutionPolicy>,
}

/// The pause of a schedule.
#[derive(Debug, Serialize)]
struct PauseView<'a> {
    since_ms: i64,
    actor: &'a str,
    reason: Option<&'a str>,
}

impl<'a> ScheduleView<'a> {
    pub(crate) fn of(info: &'a ScheduleInfo) -> Self {
        let spec = &info.spec;
        let (catch_up, catch_up_at_most) = match spec.catch_up {
            CatchUp::SkipMissed => ("skip_missed", None),
            CatchUp::Latest => ("latest", None),
            CatchUp::All { at_most } => ("all", Some(at_most)),
        };
        let pause = info.pause.as_ref().map(|pause| PauseView {
            since_ms: pause.since.0,
            actor: &pause.actor,
            reason: pause.reason.as_deref(),
        });

        Self {
            namespace: info.id.namespace.as_str(),
            name: &info.id.name,
            cron: &spec.cron,
            time_zone: &spec.time_zone,
            jitter_ms: spec.jitter_ms,
            overlap: spec.overlap.as_str(),
            catch_up,
            catch_up_at_most,
            skipped_hours: spec.skipped_hours.as_str(),
            doubled_hours: spec.doubled_hours.as_str(),
            work: WorkView::of(info),
            pause,
            next_tick_at_ms: info.next_tick_at.map(|at| at.0),
            due_at_ms: info.due_at.map(|at| at.0),
            queued_ms: info.queued.iter().map(|tick| tick.0).collect(),
            last_tick_at_ms: info.last_tick_at.map(|at| at.0),
            last_execution_id: info.last_execution.as_ref(),
            skipped_tick_at_ms: info.skipped_tick_at.map(|at| at.0),
            created_at_ms: info.created_at.0,
            updated_at_ms: info.updated_at.0,
            version: info.version,
        }
    }
}

impl<'a> WorkView<'a> {
    fn of(info: &'a ScheduleInfo) -> Self {
        let work = &info.spec.work;
        Self {
            lane_id: work.lane_id.as_str(),
            kind: &work.execution_kind,
            payload: String::from_utf8_lossy(&work.input_payload).into_owned(),
            priority: work.priority,
            tags: &work.tags,
            policy: work.policy.as_ref(),
        }
    }
}

/// `schedule ls`.
#[derive(Debug, Serialize)]
pub(crate) struct SchedulesView<'a> {
    pub(crate) schedules: Vec<ScheduleView<'a>>,
}

/// `schedule preview`.
#[derive(Debug, Serialize)]
pub(crate) struct PreviewView {
    ticks: Vec<TickView>,
}

#[derive(Debug, Serialize)]
struct TickView {
    tick_at_ms: i64,
    due_at_ms: i64,
}

impl PreviewView {
    pub(crate) fn of(ticks: &[PlannedTick]) -> Self {
        let tick =
            |tick: &PlannedTick| TickView { tick_at_ms: tick.tick_at.0, due_at_ms: tick.due_at.0 };
        Self { ticks: ticks.iter().map(tick).collect() }
    }
}

/// `schedule backfill`.
#[derive(Debug, Serialize)]
pub(crate) struct BackfillView<'a> {
    created: &'a [ExecutionId],
    existing: &'a [ExecutionId],
}

impl<'a> BackfillView<'a> {
    pub(crate) fn of(report: &'a BackfillReport) -> Self {
        Self { created: &report.created, existing: &report.existing }
    }
}
