//! The options that define a schedule.

use std::collections::BTreeMap;

use ff_core::contracts::{CatchUp, ScheduleSpec, ScheduledWork};
use ff_core::state::{DoubledHours, Overlap, SkippedHours};
use flowfabric_sql::flow::fields;

use crate::failure::Failure;
use crate::filter::{one_of, span, tag};
use crate::ids::{DEFAULT_LANE, lane};

/// When a schedule ticks.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Expression {
    /// The cron expression: minute, hour, day of month, month and day of week, or six fields with
    /// the second first; or @hourly, @daily, @weekly, @monthly, @yearly.
    #[arg(long, value_name = "CRON")]
    cron: Option<String>,
    /// The time zone of the expression, such as Europe/Berlin.
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    time_zone: String,
    /// Ticks at local times that do not exist: skip, or shift to the moment of the change.
    #[arg(long, value_name = "POLICY", default_value = "shift", value_parser = one_of::<SkippedHours>)]
    skipped_hours: SkippedHours,
    /// Ticks at local times that exist twice: first, second or both.
    #[arg(long, value_name = "POLICY", default_value = "first", value_parser = one_of::<DoubledHours>)]
    doubled_hours: DoubledHours,
    /// The longest time by which an execution is submitted after its tick: 30s, 5m.
    #[arg(long, value_name = "SPAN", value_parser = span, default_value = "0s")]
    jitter: i64,
}

/// Everything that defines a schedule.
#[derive(Debug, clap::Args)]
pub(super) struct Definition {
    #[command(flatten)]
    expression: Expression,
    /// The course at a tick while the execution before has not ended: skip, queue or
    /// cancel_running.
    #[arg(long, value_name = "POLICY", default_value = "skip", value_parser = one_of::<Overlap>)]
    overlap: Overlap,
    /// The missed ticks that are made up for: none, latest, or the last N of them.
    #[arg(long, value_name = "POLICY", default_value = "latest", value_parser = catch_up)]
    catch_up: CatchUp,
    /// The kind of work.
    #[arg(long, value_name = "KIND")]
    kind: String,
    /// The payload, as it is. {{tick}} stands for the time of the tick, {{tick_ms}} for the same in
    /// Unix milliseconds.
    #[arg(long, value_name = "TEXT", default_value = "")]
    payload: String,
    /// The lane.
    #[arg(long, value_name = "LANE", default_value = DEFAULT_LANE)]
    lane: String,
    /// The priority; higher goes first.
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    priority: i32,
    /// A tag of each execution; may be given several times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = tag)]
    tag: Vec<(String, String)>,
    /// Retries, timeouts and limits, as the "policy" of a submitted line.
    #[arg(long, value_name = "JSON")]
    policy: Option<String>,
}

impl Expression {
    /// True if no expression is given.
    pub(super) const fn is_absent(&self) -> bool {
        self.cron.is_none()
    }

    /// A schedule of this expression that submits nothing of interest.
    pub(super) fn spec(&self) -> ScheduleSpec {
        let work = ScheduledWork::new(DEFAULT_LANE.into(), "preview");
        self.with(work)
    }

    fn with(&self, work: ScheduledWork) -> ScheduleSpec {
        let cron = self.cron.clone().unwrap_or_default();
        let mut spec = ScheduleSpec::new(cron, work).in_zone(self.time_zone.as_str());
        spec.jitter_ms = self.jitter;
        (spec.skipped_hours, spec.doubled_hours) = (self.skipped_hours, self.doubled_hours);
        spec
    }
}

impl Definition {
    /// The schedule that the options describe.
    pub(super) fn spec(self) -> Result<ScheduleSpec, Failure> {
        if self.expression.cron.is_none() {
            return Err(Failure::usage("--cron is missing: the expression of the schedule"));
        }

        let mut work = ScheduledWork::new(lane(&self.lane)?, self.kind);
        work.input_payload = self.payload.into_bytes();
        work.priority = self.priority;
        work.creator_identity = "ff schedule".into();
        work.tags = self.tag.into_iter().collect::<BTreeMap<_, _>>();
        work.policy = self.policy.as_deref().map(policy).transpose()?;

        let mut spec = self.expression.with(work);
        (spec.overlap, spec.catch_up) = (self.overlap, self.catch_up);
        Ok(spec)
    }
}

fn policy(text: &str) -> Result<ff_core::policy::ExecutionPolicy, Failure> {
    let wrong = |why: String| Failure::usage(format!("--policy: {why}"));
    let members: fields::Unique =
        serde_json::from_str(text).map_err(|error| wrong(fields::wrong_json(&error)))?;
    fields::policy(members).map_err(wrong)
}

fn catch_up(text: &str) -> Result<CatchUp, String> {
    match (text, text.parse()) {
        ("none", _) => Ok(CatchUp::SkipMissed),
        ("latest", _) => Ok(CatchUp::Latest),
        (_, Ok(at_most)) => Ok(CatchUp::All { at_most }),
        (_, Err(_)) => Err("expected none, latest, or a number of ticks".to_owned()),
    }
}
