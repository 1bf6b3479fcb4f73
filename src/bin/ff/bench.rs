//! `ff bench`: measures an engine on a database of its own, beside hand-written SQL.

mod start;
mod text;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ff_bench::{
    BenchError, Engines, Live, Percentiles, Place, Report, Scenario, Settings, measure,
};
use ff_core::engine_backend::EngineBackend;
use flowfabric_sql::{OpenOptions, Tuning};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tokio::task::JoinSet;

use super::Global;
use super::failure::Failure;
use super::interrupt::Interrupts;

/// The pause between two looks at a running measurement.
const LOOK: Duration = Duration::from_millis(200);

/// The callers when starts are measured: a submitter, and a worker with its renewals and reports.
const START_CALLERS: usize = 4;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A load to measure; may be repeated. All of them by default.
    #[arg(long, value_name = "NAME", value_parser = scenario)]
    scenario: Vec<Scenario>,
    /// The callers at once, of every load; by default 16, or 4 where a call has 100 executions.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    workers: Option<u16>,
    /// The bytes of each execution's payload.
    #[arg(long, value_name = "BYTES", default_value_t = 7, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    payload: u32,
    /// The executions in one call of `submit` and `batches`.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    batch: u16,
    /// SQL to run on the new tables first, such as `DROP INDEX ff_exec_core_created_idx`.
    #[arg(long, value_name = "SQL")]
    alter: Option<String>,
    /// The time for each side of a load, seconds.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    seconds: Duration,
}

fn scenario(text: &str) -> Result<Scenario, String> {
    text.parse()
}

/// A number of seconds that is long enough to measure, and short enough to wait for.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("{text:?} is no number of seconds"))?;
    if (0.1..=3_600.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("must be from 0.1 to 3600 seconds".to_owned())
    }
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let mut interrupts = Interrupts::new()
        .map_err(|error| Failure::new(format!("listening for signals: {error}")))?;
    let place = Place::create(&global.db).await.map_err(|error| failure(&error))?;

    // The place is removed in any case, so the measurement is dropped at a signal and not waited
    // for.
    let measured = tokio::select! {
        measured = measured(global, &place, arguments) => measured,
        () = interrupts.next() => Err(Failure::interrupted()),
    };
    global.session.close().await;
    let removed = place.remove().await.map_err(|error| failure(&error));

    let view = measured?;
    removed?;
    if global.output().is_json() {
        return Ok(global.output().json(&view)?);
    }
    Ok(text::print(global.output(), &view)?)
}

async fn measured(
    global: &Global,
    place: &Place,
    arguments: Arguments,
) -> Result<BenchView, Failure> {
    let Arguments { scenario, workers, payload, batch, alter, seconds } = arguments;
    // A selection of loads is a look at those alone.
    let with_start = scenario.is_empty();
    let settings = Settings {
        scenarios: if scenario.is_empty() { Scenario::ALL.to_vec() } else { scenario },
        callers: workers.map(usize::from),
        payload_bytes: usize::try_from(payload).unwrap_or(usize::MAX),
        batch: usize::from(batch),
        time: seconds,
        alteration: alter,
    };

    let opener = Opener { global };
    let live = Arc::<Live>::default();
    let bar = progress_bar();
    // Dropped with this future, too, when the measurement is stopped.
    let mut shown = JoinSet::new();
    shown.spawn(show(Arc::clone(&live), bar.clone()));
    let measured = measure(place, &opener, &settings, &live).await;
    drop(shown);
    bar.finish_and_clear();
    let report = measured.map_err(|error| failure(&error))?;

    let start = if with_start {
        let engine = opener.open(place, START_CALLERS).await.map_err(|error| failure(&error))?;
        Some(start::measure(&engine, seconds).await?)
    } else {
        None
    };
    Ok(BenchView { report, start })
}

/// The results as programs read them.
#[derive(Serialize)]
struct BenchView {
    #[serde(flatten)]
    report: Report,
    /// From a submission to its start by an idle worker; absent if only some loads were measured.
    start: Option<Percentiles>,
}

/// The failure of a measurement; wrong usage where the URL names no database to measure.
fn failure(error: &BenchError) -> Failure {
    match error {
        BenchError::Url(_) => Failure::usage(format!("--db: {error}")),
        _ => Failure::new(error.to_string()),
    }
}

/// Opens engines as every command does, with the options of the command line.
struct Opener<'a> {
    global: &'a Global,
}

#[async_trait]
impl Engines for Opener<'_> {
    async fn open(
        &self,
        place: &Place,
        callers: usize,
    ) -> Result<Arc<dyn EngineBackend>, BenchError> {
        let mut tuning: Tuning = self.global.tuning.tuning();
        if place.schema().is_some() && tuning.connections.is_none() {
            tuning.connections = Some(u32::try_from(callers).unwrap_or(u32::MAX));
        }

        let options = OpenOptions::new().schema(place.schema().map(str::to_owned)).tuning(tuning);
        let opened = options.open(&place.url()).await;
        let engine = opened.map_err(|error| BenchError::Open(error.to_string()))?;
        self.global.session.register(&engine);
        Ok(engine)
    }
}

fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    // A template that does not parse leaves the default one, which says the same.
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
        bar.set_style(style);
    }
    bar
}

/// Shows a running measurement, on a terminal, until its task is aborted.
async fn show(live: Arc<Live>, bar: ProgressBar) {
    loop {
        if let Some(progress) = live.look() {
            let rate = progress.lives as f64 / progress.seconds.max(f64::EPSILON);
            let rate = text::number(rate);
            bar.set_message(format!("{}: {} lives, {rate}/s", progress.what, progress.lives));
            bar.tick();
        }
        tokio::time::sleep(LOOK).await;
    }
}
