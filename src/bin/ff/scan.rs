//! `ff scan`: runs the scanners alone, until stopped or until nothing is due.

use std::sync::Arc;
use std::time::Duration;

use ff_core::EngineError;
use ff_core::engine_backend::{EngineBackend, Scan};

use super::Global;
use super::failure::Failure;
use super::interrupt::Interrupts;
use super::metrics::{MetricsArguments, Recording};
use super::output::Output;
use super::retain::RetentionArguments;
use super::table::{Column, Table};
use super::view::{ScanCountsView, ScanView, ScannedView};
use super::words::count;
use flowfabric_sql::scanner::{ScannerConfig, ScannerSupervisor};

/// The time that the scanners get to finish their scans.
const GRACE: Duration = Duration::from_secs(5);

/// The pause between two checks that the database can be reached.
const CHECK: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// End when a scan of every kind of timer finds nothing due.
    #[arg(long)]
    until_idle: bool,
    /// The most rows that one scan handles.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1_000,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    batch: u32,
    #[command(flatten)]
    retention: RetentionArguments,
    #[command(flatten)]
    metrics: MetricsArguments,
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let interrupts = Interrupts::new()
        .map_err(|error| Failure::new(format!("listening for signals: {error}")))?;
    let recording = arguments.metrics.begin().await?;
    let engine = global.open_existing().await?;
    let retention_rules = arguments.retention.rules()?;
    if arguments.until_idle {
        if !retention_rules.is_empty() {
            return Err(Failure::usage("--retain has no effect with --until-idle: see ff trim"));
        }
        scan_until_idle(&engine, arguments.batch, global.output()).await
    } else {
        let config = ScannerConfig {
            batch_limit: arguments.batch,
            retention_rules,
            ..ScannerConfig::default()
        };
        scan_until_stopped(engine, config, (interrupts, recording), global.output()).await
    }
}

/// The totals of one kind of scan.
struct ScanTotals {
    scan: Scan,
    processed: u64,
    errors: u64,
}

/// Scans for every kind of timer in turn, over and over: one may make another due.
async fn scan_until_idle(
    engine: &Arc<dyn EngineBackend>,
    batch: u32,
    output: Output,
) -> Result<(), Failure> {
    let mut totals = Scan::ALL.map(|scan| ScanTotals { scan, processed: 0, errors: 0 });
    loop {
        let (mut processed, mut errors) = (0, 0);
        for kind in &mut totals {
            let counts = engine.scan(kind.scan, batch).await;
            let counts = counts.map_err(|error| {
                Failure::engine(&format!("scan {}", kind.scan.as_str()), &error)
            })?;
            kind.processed += u64::from(counts.processed);
            kind.errors += u64::from(counts.errors);
            processed += counts.processed;
            errors += counts.errors;
        }

        if processed == 0 {
            print_totals(output, &totals)?;
            return if errors == 0 { Ok(()) } else { Err(Failure::partly()) };
        }
    }
}

fn print_totals(output: Output, totals: &[ScanTotals]) -> Result<(), Failure> {
    if output.is_json() {
        let kinds = totals.iter().map(|ScanTotals { scan, processed, errors }| {
            (scan.as_str(), ScanCountsView { processed: *processed, errors: *errors })
        });
        return Ok(output.json(&ScannedView(kinds.collect()))?);
    }

    let mut table = Table::new(["scan", "processed", "errors"].map(|name| Column::whole(name, 0)));
    for ScanTotals { scan, processed, errors } in totals {
        table.row([scan.as_str().to_owned(), processed.to_string(), errors.to_string()]);
    }
    Ok(output.table(&table)?)
}

async fn scan_until_stopped(
    engine: Arc<dyn EngineBackend>,
    config: ScannerConfig,
    (mut interrupts, recording): (Interrupts, Option<Recording>),
    output: Output,
) -> Result<(), Failure> {
    let mut scanners = ScannerSupervisor::spawn(Arc::clone(&engine), config);
    let serve = |recording: Recording| recording.serve(Arc::clone(&engine), scanners.liveness());
    let _serving = recording.map(serve);

    let failed = tokio::select! {
        () = interrupts.next() => None,
        error = scanners.permanent_failure() => Some(error),
        error = unavailability(engine.as_ref()) => Some(error),
    };

    let report = scanners.shutdown(GRACE).await;
    if let Some(error) = failed {
        return Err(Failure::engine("scanning", &error));
    }

    if output.is_json() {
        return Ok(output.json(&ScanView {
            looks: report.ticks,
            processed: report.processed,
            errors: report.errors,
        })?);
    }

    let (looks, processed, errors) = (report.ticks, report.processed, report.errors);
    let (looks, errors) = (count(looks, "look"), count(errors, "error"));
    Ok(output.line(format!("{looks}: {processed} processed, {errors}"))?)
}

/// Returns once the database is gone for good. Other failed scans are repeated.
async fn unavailability(engine: &dyn EngineBackend) -> EngineError {
    loop {
        tokio::time::sleep(CHECK).await;
        if let Err(error @ EngineError::Unavailable { .. }) = engine.ping().await {
            return error;
        }
    }
}
