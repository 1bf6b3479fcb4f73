//! `ff doctor`: looks for what keeps a deployment from working, or soon will, and says what mends
//! it. What it says about executions comes from their explanations; what it says about the database
//! from the backend's report.

mod database;
mod executions;
mod finding;
mod lanes;

use ff_core::contracts::StatsArgs;

use super::Global;
use super::clock::now;
use super::failure::Failure;
use super::output::Output;
use super::view::DoctorView;
use super::words::count;
use finding::Severity;

pub(super) use finding::Finding;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {}

pub(super) async fn run(global: &Global, Arguments {}: Arguments) -> Result<(), Failure> {
    let engine = global.open().await?;
    let stats = engine.stats(StatsArgs::new()).await;
    let stats = stats.map_err(|error| Failure::engine("reading the counts", &error))?;
    let output = global.output();
    let times = output.times(stats.at);

    let mut findings = lanes::findings(&engine, &stats, times).await?;
    findings.extend(executions::findings(&engine, &stats, times).await?);
    let report = engine.database_report().await;
    let report = report.map_err(|error| Failure::engine("inspecting the database", &error))?;
    let skew_ms = database::skew_ms(now(&engine).await?);
    findings.extend(database::findings(&report, skew_ms));
    // Within a severity they keep the order of the looks.
    findings.sort_by_key(|finding| finding.severity);

    if output.is_json() {
        output.json(&DoctorView::of(stats.at, &findings))?;
    } else {
        print(output, &findings)?;
    }
    if findings.iter().any(|finding| finding.severity == Severity::Error) {
        return Err(Failure::reported());
    }
    Ok(())
}

fn print(output: Output, findings: &[Finding]) -> Result<(), Failure> {
    if findings.is_empty() {
        return Ok(output.line("nothing is wrong")?);
    }

    for finding in findings {
        let severity = finding.severity.as_str();
        output.line(format!("{severity}: {}", finding.sentence))?;
        output.line(format!("  mend it by: {}", finding.command))?;
    }
    let number = |severity| findings.iter().filter(|one| one.severity == severity).count();
    let numbers = Severity::ALL.map(|severity| count(number(severity), severity.as_str()));
    Ok(output.line(numbers.join(", "))?)
}
