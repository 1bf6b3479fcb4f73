//! The results, as the program prints them and programs read them.

use std::time::Duration;

use serde::Serialize;

use crate::disk::Disk;
use crate::load::Done;
use crate::scenario::Scenario;
use crate::usage::{Size, Usage};

/// The results of a measurement.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The database: `sqlite` or `postgres`.
    pub database: &'static str,
    /// Its version.
    pub version: String,
    /// The schema that was made and dropped again, on Postgres.
    pub schema: Option<String>,
    /// The cores that this process may use.
    pub cores: usize,
    /// The bytes of each execution's payload.
    pub payload_bytes: usize,
    /// The executions in one call of `submit` and `batches`.
    pub batch: usize,
    /// The SQL that altered the tables before anything was measured.
    pub alteration: Option<String>,
    /// The speed of the disk.
    pub disk: Disk,
    /// Each scenario.
    pub scenarios: Vec<Measured>,
    /// The cost of one life, step by step, by one caller.
    pub steps: Vec<Step>,
    /// The size of the database after all of it.
    pub size: Size,
}

/// The results of one scenario.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// The load.
    pub scenario: Scenario,
    /// The callers of the engine. The hand-written SQL has as many on Postgres, and one on SQLite.
    pub callers: usize,
    /// The engine.
    pub engine: Side,
    /// The hand-written SQL.
    pub ceiling: Side,
    /// The engine's rate by the ceiling's; absent if the ceiling ended nothing.
    pub ratio: Option<f64>,
}

/// The results of one side of a scenario.
#[derive(Clone, Debug, Serialize)]
pub struct Side {
    /// The executions that were submitted, or ended; the claims of `empty-claim`.
    pub lives: u64,
    /// The duration.
    pub seconds: f64,
    /// The rate.
    pub per_s: f64,
    /// The time of a caller's round of calls.
    #[serde(flatten)]
    pub round: Percentiles,
    /// The database's work for each life.
    pub per_life: Usage,
}

/// The distribution of measured times, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Percentiles {
    /// The median.
    pub p50_ms: f64,
    /// The 95th percentile.
    pub p95_ms: f64,
    /// The 99th percentile.
    pub p99_ms: f64,
}

impl Percentiles {
    /// The distribution of these times; zero if there are none.
    #[must_use]
    pub fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let ms = |percent: usize| {
            let at = times.len() * percent / 100;
            times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e3)
        };
        Self { p50_ms: ms(50), p95_ms: ms(95), p99_ms: ms(99) }
    }
}

/// A step of a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StepName {
    /// The submission.
    Submit,
    /// The claim.
    Claim,
    /// The completion.
    Complete,
}

impl StepName {
    /// Every step, in their order.
    pub(crate) const ALL: [Self; 3] = [Self::Submit, Self::Claim, Self::Complete];

    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Claim => "claim",
            Self::Complete => "complete",
        }
    }
}

/// The cost of one step of a life.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// The step.
    pub step: StepName,
    /// By the engine.
    pub engine: Usage,
    /// By hand.
    pub ceiling: Usage,
}

impl Side {
    pub(crate) fn new(done: Done, per_life: Usage) -> Self {
        let Done { lives, rounds, elapsed, .. } = done;
        let seconds = elapsed.as_secs_f64();
        let per_s = if 0.0 < seconds { lives as f64 / seconds } else { 0.0 };
        Self { lives, seconds, per_s, round: Percentiles::of(rounds), per_life }
    }
}
