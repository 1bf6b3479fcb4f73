//! A monthly report: a schedule submits it, and the months before today are made up for.
//!
//! `cargo run --example cron_report` works in memory, `… -- sqlite:reports.db` in a file.

use std::error::Error;

use flowfabric_sql::core::contracts::{
    BackfillScheduleArgs, CreateScheduleArgs, ScheduleId, ScheduleSpec, ScheduledWork,
};
use flowfabric_sql::{Client, Context, Failure, Job, LaneId, Service, TimestampMs};
use serde::{Deserialize, Serialize};

/// 2025-01-01 and 2026-01-01, 00:00 UTC.
const YEAR: [i64; 2] = [1_735_689_600_000, 1_767_225_600_000];

#[derive(Serialize, Deserialize)]
struct Report {
    at: String,
}

impl Job for Report {
    const KIND: &'static str = "report";
    const LANE: &'static str = "reports";
    type Output = String;
}

async fn report(report: Report, _: Context<()>) -> Result<String, Failure> {
    let month = report.at.get(..7).ok_or_else(|| Failure::fail("that is no time"))?;
    Ok(format!("report of {month}"))
}

/// Reports every month of 2025, and returns the reports.
pub(crate) async fn run(url: &str) -> Result<Vec<String>, Box<dyn Error>> {
    let engine = flowfabric_sql::open(url).await?;
    let mut work = ScheduledWork::new(LaneId::new(Report::LANE), Report::KIND);
    // The scanner puts the time of the tick in its place.
    work.input_payload = serde_json::to_vec(&Report { at: "{{tick}}".into() })?;

    let id = ScheduleId::new("default", "monthly report");
    let spec = ScheduleSpec::new("0 3 1 * *", work).in_zone("Europe/Berlin");
    engine.create_schedule(CreateScheduleArgs { id: id.clone(), spec }).await?;

    // From now on a tick becomes a job at 3 o'clock on the first of each month. The past is asked
    // for by name, and each tick has one job however often that happens.
    let [from, until] = YEAR.map(TimestampMs);
    let past = BackfillScheduleArgs { id, from, until };
    let made = engine.backfill_schedule(past.clone()).await?.created;
    let again = engine.backfill_schedule(past).await?;
    assert!(again.created.is_empty(), "each tick has its job already");

    Service::builder(engine.clone(), ()).handler(report).build().run_until_empty().await?;
    let client = Client::new(engine);
    let mut reports = Vec::new();
    for id in made {
        reports.push(client.attach::<Report>(id).result().await?);
    }
    assert_eq!(reports.len(), 12);
    assert_eq!(reports.first().map(String::as_str), Some("report of 2025-01"));
    Ok(reports)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "sqlite::memory:".into());
    println!("{}", run(&url).await?.join("\n"));
    Ok(())
}
