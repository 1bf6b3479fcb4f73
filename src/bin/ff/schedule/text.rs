//! Schedules as people read them.

use ff_core::contracts::{CatchUp, PlannedTick, ScheduleInfo, ScheduleSpec};
use ff_core::state::ClosedSet as _;
use ff_core::types::TimestampMs;
use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::clock::span;
use crate::failure::Failure;
use crate::output::Output;
use crate::table::{Column, Table};
use crate::view::ScheduleView;
use crate::words::or_dash;

/// A table of schedules.
pub(super) fn list(
    output: Output,
    schedules: &[ScheduleInfo],
    now: TimestampMs,
) -> Result<(), Failure> {
    if schedules.is_empty() {
        return Ok(output.line("no schedules")?);
    }

    let times = output.times(now);
    let mut table = Table::new([
        Column::cut("name", 0),
        Column::whole("cron", 0),
        Column::cut("time zone", 2),
        Column::whole("next", 0),
        Column::whole("last", 1),
        Column::cut("lane", 3),
        Column::cut("kind", 2),
    ]);
    for info in schedules {
        let next = info.next_tick_at.map(|at| times.format(at));
        let next = if info.pause.is_some() { Some("paused".to_owned()) } else { next };
        table.row([
            info.id.name.clone(),
            info.spec.cron.clone(),
            info.spec.time_zone.clone(),
            or_dash(next),
            or_dash(info.last_tick_at.map(|at| times.format(at))),
            info.spec.work.lane_id.as_str().to_owned(),
            info.spec.work.execution_kind.clone(),
        ]);
    }
    Ok(output.table(&table)?)
}

/// One schedule, line by line.
pub(super) fn show(output: Output, info: &ScheduleInfo, now: TimestampMs) -> Result<(), Failure> {
    if output.is_json() {
        return Ok(output.json(&ScheduleView::of(info))?);
    }

    let times = output.times(now);
    let at = |at: Option<TimestampMs>| or_dash(at.map(|at| times.format_in_sentence(at)));
    let spec = &info.spec;
    let mut lines = vec![
        ("schedule", format!("{} in namespace {}", info.id.name, info.id.namespace)),
        ("cron", format!("{} ({})", spec.cron, spec.time_zone)),
        ("hours", hours(spec)),
        ("overlap", spec.overlap.as_str().to_owned()),
        ("catch up", catch_up(spec.catch_up)),
        ("submits", format!("{} to lane {}", spec.work.execution_kind, spec.work.lane_id)),
        ("next tick", at(info.next_tick_at)),
        ("last tick", at(info.last_tick_at)),
        ("execution", or_dash(info.last_execution.as_ref())),
        ("skipped", at(info.skipped_tick_at)),
    ];
    if 0 < spec.jitter_ms {
        lines.push(("jitter", format!("up to {}", span(spec.jitter_ms))));
    }
    if !info.queued.is_empty() {
        lines.push(("waiting", format!("{} ticks", info.queued.len())));
    }
    if let Some(pause) = &info.pause {
        let reason = pause.reason.as_ref().map(|reason| format!(": {reason}"));
        let since = times.format_in_sentence(pause.since);
        let text = format!("{since} by {}{}", pause.actor, reason.unwrap_or_default());
        lines.push(("paused", text));
    }

    for (name, value) in lines {
        output.line(format!("{name:<10} {value}"))?;
    }
    Ok(())
}

/// The next ticks, in the time zone of the schedule and in UTC.
pub(super) fn preview(
    output: Output,
    spec: &ScheduleSpec,
    ticks: &[PlannedTick],
) -> Result<(), Failure> {
    if ticks.is_empty() {
        return Ok(output.line("no tick follows")?);
    }

    let zone = TimeZoneDatabase::bundled().get(&spec.time_zone).unwrap_or(TimeZone::UTC);
    let mut table = Table::new([
        Column::whole("tick", 0),
        Column::whole(output.zone().header(), 1),
        Column::whole("submitted", 2),
    ]);
    for tick in ticks {
        let local = Timestamp::from_millisecond(tick.tick_at.0)
            .map(|at| at.display_with_offset(zone.to_offset(at)).to_string());
        let jitter = tick.due_at.0.saturating_sub(tick.tick_at.0);
        table.row([
            local.unwrap_or_else(|_| tick.tick_at.to_string()),
            output.zone().format(tick.tick_at),
            if jitter == 0 { "at once".into() } else { format!("{} later", span(jitter)) },
        ]);
    }
    Ok(output.table(&table)?)
}

fn hours(spec: &ScheduleSpec) -> String {
    let (skipped, doubled) = (spec.skipped_hours.as_str(), spec.doubled_hours.as_str());
    format!("skipped ones {skipped}, doubled ones {doubled}")
}

fn catch_up(catch_up: CatchUp) -> String {
    match catch_up {
        CatchUp::SkipMissed => "none of the missed ticks".into(),
        CatchUp::Latest => "the latest missed tick".into(),
        CatchUp::All { at_most } => format!("the last {at_most} missed ticks"),
    }
}
