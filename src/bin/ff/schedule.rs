//! `ff schedule`: defines schedules, shows them and their next ticks, and pauses, resumes, removes
//! and backfills them.

mod definition;
mod text;

use std::sync::Arc;

use ff_core::EngineError;
use ff_core::contracts::{
    BackfillScheduleArgs, CreateScheduleArgs, CreateScheduleResult, ListSchedulesArgs,
    PauseScheduleArgs, ScheduleId, ScheduleInfo, ScheduleSpec, UpdateScheduleArgs,
};
use ff_core::engine_backend::{EngineBackend, planned_ticks};
use ff_core::types::{Namespace, TimestampMs};
use jiff::Timestamp;

use super::Global;
use super::clock::now;
use super::confirm::{confirm, has_terminal};
use super::failure::Failure;
use super::filter::span;
use super::output::OnClosed;
use super::pages::all_pages;
use super::view::{BackfillView, PreviewView, ScheduleView, SchedulesView};
use super::words::{OPERATOR, count};
use definition::Definition;

/// The schedules that one request lists.
const PAGE: u32 = 1_000;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The tenant that the schedules and their executions belong to.
    #[arg(long, value_name = "NAME", default_value = "default", global = true)]
    namespace: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Create a schedule: at each tick of a cron expression, an execution is submitted.
    Add {
        /// Its name.
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        definition: Definition,
        /// Replace the schedule of that name, if there is one.
        #[arg(long)]
        replace: bool,
    },
    /// List schedules and their next ticks.
    Ls {
        /// Those of all tenants.
        #[arg(long)]
        all_namespaces: bool,
    },
    /// Show a schedule: what it does, and how far it has come.
    Show {
        /// The schedule.
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Pause a schedule: its ticks make no executions.
    Pause {
        /// The schedule.
        #[arg(value_name = "NAME")]
        name: String,
        /// The reason, for other operators.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Go on with a paused schedule, from the next tick on.
    Resume {
        /// The schedule.
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Remove a schedule. Its executions stay.
    Rm {
        /// The schedule.
        #[arg(value_name = "NAME")]
        name: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Print the next ticks of a schedule, or of a cron expression without a database.
    Preview {
        /// The schedule; absent with --cron.
        #[arg(value_name = "NAME", conflicts_with = "cron")]
        name: Option<String>,
        #[command(flatten)]
        expression: definition::Expression,
        /// The number of ticks.
        #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1_000))]
        count: u16,
        /// The time from which they are printed, such as 2026-03-29T00:00:00Z; now if absent.
        #[arg(long, value_name = "TIME", value_parser = time)]
        after: Option<TimestampMs>,
    },
    /// Submit the executions of past ticks. Ticks that have one keep it.
    Backfill {
        /// The schedule.
        #[arg(value_name = "NAME")]
        name: String,
        /// The first moment: a time such as 2026-01-31T18:00:00Z, or a span before now, such as 2h.
        #[arg(long, value_name = "TIME", value_parser = past)]
        from: Past,
        /// The last moment; now if absent.
        #[arg(long, value_name = "TIME", value_parser = past)]
        until: Option<Past>,
    },
}

/// A moment in the past.
#[derive(Clone, Copy, Debug)]
enum Past {
    At(TimestampMs),
    Before(i64),
}

impl Past {
    fn at(self, now: TimestampMs) -> TimestampMs {
        match self {
            Self::At(at) => at,
            Self::Before(ms) => TimestampMs(now.0.saturating_sub(ms)),
        }
    }
}

impl Arguments {
    pub(super) const fn on_closed(&self) -> OnClosed {
        match self.command {
            Command::Ls { .. } | Command::Show { .. } | Command::Preview { .. } => OnClosed::End,
            Command::Add { .. }
            | Command::Pause { .. }
            | Command::Resume { .. }
            | Command::Rm { .. }
            | Command::Backfill { .. } => OnClosed::GoOn,
        }
    }
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let namespace = Namespace::new(arguments.namespace);
    let id = |name: String| ScheduleId::new(namespace.clone(), name);
    match arguments.command {
        Command::Add { name, definition, replace } => {
            add(global, id(name), definition.spec()?, replace).await
        }
        Command::Ls { all_namespaces } => {
            list(global, (!all_namespaces).then_some(namespace)).await
        }
        Command::Show { name } => {
            let engine = global.open().await?;
            let info = read(&engine, &id(name)).await?;
            text::show(global.output(), &info, now(&engine).await?)
        }
        Command::Pause { name, reason } => {
            let id = id(name);
            let args = PauseScheduleArgs { id: id.clone(), actor: OPERATOR.into(), reason };
            let paused = global.open_existing().await?.pause_schedule(args).await;
            changed(global, &known("pausing", &id, paused)?, "is paused")
        }
        Command::Resume { name } => {
            let id = id(name);
            let resumed = global.open_existing().await?.resume_schedule(&id).await;
            changed(global, &known("resuming", &id, resumed)?, "goes on")
        }
        Command::Rm { name, yes } => remove(global, &id(name), yes).await,
        Command::Preview { name: Some(name), count, after, .. } => {
            let engine = global.open().await?;
            let info = read(&engine, &id(name)).await?;
            let after = after.unwrap_or(now(&engine).await?);
            preview(global, &info.id, &info.spec, after, count)
        }
        Command::Preview { name: None, expression, count, after } => {
            if expression.is_absent() {
                return Err(Failure::usage("which ticks? name a schedule, or say --cron"));
            }
            let after = after.unwrap_or(TimestampMs(Timestamp::now().as_millisecond()));
            preview(global, &id("preview".into()), &expression.spec(), after, count)
        }
        Command::Backfill { name, from, until } => backfill(global, id(name), from, until).await,
    }
}

async fn add(
    global: &Global,
    id: ScheduleId,
    spec: ScheduleSpec,
    replace: bool,
) -> Result<(), Failure> {
    let engine = global.open_or_create().await?;
    let args = CreateScheduleArgs { id: id.clone(), spec: spec.clone() };
    match failed("creating", engine.create_schedule(args).await)? {
        CreateScheduleResult::Created(info) => changed(global, &info, "is created"),
        CreateScheduleResult::AlreadyExists(_) if replace => {
            let updated = engine.update_schedule(UpdateScheduleArgs { id, spec }).await;
            changed(global, &failed("replacing", updated)?, "is replaced")
        }
        CreateScheduleResult::AlreadyExists(info) if info.spec == spec => {
            changed(global, &info, "exists already: nothing was changed")
        }
        CreateScheduleResult::AlreadyExists(info) => {
            let there = format!("there is another schedule {}", info.id.name);
            Err(Failure::new(there).with_help("--replace changes it"))
        }
    }
}

async fn list(global: &Global, namespace: Option<Namespace>) -> Result<(), Failure> {
    let engine = &global.open().await?;
    let schedules = all_pages(|after| {
        let args = ListSchedulesArgs { namespace: namespace.clone(), after, limit: PAGE };
        async move {
            let page = failed("listing", engine.list_schedules(args).await)?;
            Ok((page.schedules, page.next_cursor))
        }
    })
    .await?;

    let output = global.output();
    if output.is_json() {
        let schedules = schedules.iter().map(ScheduleView::of).collect();
        return Ok(output.json(&SchedulesView { schedules })?);
    }
    text::list(output, &schedules, now(engine).await?)
}

async fn remove(global: &Global, id: &ScheduleId, yes: bool) -> Result<(), Failure> {
    let engine = global.open_existing().await?;
    let info = read(&engine, id).await?;
    if !yes && has_terminal() && !confirm(&format!("remove schedule {}", id.name))? {
        return Err(Failure::new("nothing was removed"));
    }

    failed("removing", engine.delete_schedule(id).await)?;
    changed(global, &info, "is removed")
}

async fn backfill(
    global: &Global,
    id: ScheduleId,
    from: Past,
    until: Option<Past>,
) -> Result<(), Failure> {
    let engine = global.open_existing().await?;
    let now = now(&engine).await?;
    let (from, until) = (from.at(now), until.map_or(now, |until| until.at(now)));
    let args = BackfillScheduleArgs { id: id.clone(), from, until };
    let report = known("backfilling", &id, engine.backfill_schedule(args).await)?;

    let output = global.output();
    if output.is_json() {
        return Ok(output.json(&BackfillView::of(&report))?);
    }
    let (created, existing) = (report.created.len(), report.existing.len());
    Ok(output.line(format!("{}, {existing} were there", count(created, "new execution")))?)
}

fn preview(
    global: &Global,
    id: &ScheduleId,
    spec: &ScheduleSpec,
    after: TimestampMs,
    count: u16,
) -> Result<(), Failure> {
    let ticks = failed("previewing", planned_ticks(id, spec, after, usize::from(count)))?;
    let output = global.output();
    if output.is_json() {
        return Ok(output.json(&PreviewView::of(&ticks))?);
    }
    text::preview(output, spec, &ticks)
}

async fn read(engine: &Arc<dyn EngineBackend>, id: &ScheduleId) -> Result<ScheduleInfo, Failure> {
    let info = failed("reading", engine.get_schedule(id).await)?;
    info.ok_or_else(|| missing(id))
}

/// The answer about a schedule that must be there.
fn known<T>(what: &str, id: &ScheduleId, answer: Result<T, EngineError>) -> Result<T, Failure> {
    match answer {
        Err(EngineError::NotFound { .. }) => Err(missing(id)),
        answer => failed(what, answer),
    }
}

/// The failure for a name that no schedule has.
fn missing(id: &ScheduleId) -> Failure {
    let (name, namespace) = (&id.name, &id.namespace);
    Failure::new(format!("there is no schedule {name} in namespace {namespace}"))
        .with_help("ff schedule ls --all-namespaces lists schedules")
}

/// Reports a changed schedule.
fn changed(global: &Global, info: &ScheduleInfo, what: &str) -> Result<(), Failure> {
    let output = global.output();
    if output.is_json() {
        return Ok(output.json(&ScheduleView::of(info))?);
    }
    Ok(output.line(format!("schedule {} {what}", info.id.name))?)
}

fn failed<T>(doing: &str, result: Result<T, EngineError>) -> Result<T, Failure> {
    result.map_err(|error| Failure::engine(&format!("{doing} the schedule"), &error))
}

fn time(text: &str) -> Result<TimestampMs, String> {
    let at: Timestamp =
        text.parse().map_err(|_| "expected a time such as 2026-01-31T18:00:00Z".to_owned())?;
    Ok(TimestampMs(at.as_millisecond()))
}

fn past(text: &str) -> Result<Past, String> {
    match span(text) {
        Ok(ms) => Ok(Past::Before(ms)),
        Err(_) => time(text).map(Past::At),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_past_moment_is_a_time_or_a_span_before_now() {
        let now = TimestampMs(10_000);
        assert_eq!(past("2s").unwrap().at(now), TimestampMs(8_000));
        assert_eq!(past("1970-01-01T00:00:01Z").unwrap().at(now), TimestampMs(1_000));
        assert!(past("soon").is_err());
    }
}
