//! `ff work`: a worker that runs a command for each execution, with the scanners beside it.

use std::ffi::OsString;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use ff_core::EngineError;
use ff_core::backend::CapabilitySet;
use ff_core::contracts::{PartitionSet, RetentionRule};
use ff_core::engine_backend::{EngineBackend, Scan};
use ff_core::state::ClosedSet as _;
use ff_core::types::LaneId;
use serde_json::json;
use tokio::sync::watch;
use uuid::Uuid;

use super::Global;
use super::command::{CommandRunner, Process, Streaming, find_program, outcomes};
use super::failure::Failure;
use super::filter::{capability, span};
use super::group::{EndingGroups, Grouping, Leftover};
use super::ids::{DEFAULT_LANE, lane};
use super::interrupt::Interrupts;
use super::metrics::MetricsArguments;
use super::retain::RetentionArguments;
use super::watchdog::Watchdog;
use flowfabric_sql::scanner::{ScannerConfig, ScannerSupervisor};
use flowfabric_sql::worker::{
    ClaimScopes, Stop, Until, Worker, WorkerConfig, WorkerError, WorkerReport,
};

/// The time that the scanners get to finish their scans.
const SCANNER_GRACE: Duration = Duration::from_secs(5);

/// The time that the database gets to finish.
const DATABASE_GRACE: Duration = Duration::from_secs(5);

/// The ends that one scan dispatches.
const DISPATCHES: u32 = 1_000;

#[derive(Debug, clap::Args)]
#[command(after_help = outcomes())]
pub(super) struct Arguments {
    /// The lane to claim from.
    #[arg(long, value_name = "LANE", default_value = DEFAULT_LANE)]
    lane: String,
    /// The most executions that run at once.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    concurrency: u32,
    /// End when no execution of the lane is left to run or running, on any worker. Executions that
    /// need other capabilities are left and reported. Those that other sessions hold locked are
    /// waited for, for 30 s at most; then the exit code is 1. It is 1 at once if executions are
    /// left in a lane that is paused or disabled.
    #[arg(long)]
    until_empty: bool,
    /// The duration of a lease without renewal; it is renewed at a third of that, or after 5 s.
    #[arg(long, value_name = "MS", default_value_t = 30_000, value_parser = clap::value_parser!(u32).range(1..))]
    lease_ttl_ms: u32,
    /// A capability of this worker; may be given many times.
    #[arg(long = "capability", value_name = "C", value_parser = capability)]
    capabilities: Vec<String>,
    /// The partitions to claim from, such as 0-31,40; all by default. Given many times, each claim
    /// is of the next ones. The order of the lane holds within each. See docs/citus.md.
    #[arg(long, value_name = "LIST")]
    partitions: Vec<PartitionSet>,
    /// Claim from one partition at a time, and from each in turn.
    #[arg(long, requires = "partitions")]
    one_by_one: bool,
    /// The time for which this worker counts as alive after a sign of life; it gives three in that
    /// time. Once it is silent for longer, its work runs elsewhere.
    #[arg(long, value_name = "MS", default_value_t = 15_000, value_parser = clap::value_parser!(u32).range(1..))]
    liveness_ttl_ms: u32,
    /// The name of this worker.
    #[arg(long, value_name = "NAME", default_value = "ff-work", value_parser = NonEmptyStringValueParser::new())]
    name: String,
    /// The time for running commands to end after Ctrl-C, SIGTERM or SIGHUP; a second one ends them
    /// at once.
    #[arg(long, value_name = "MS", default_value_t = 10_000)]
    grace_ms: u64,
    /// The time between SIGTERM and SIGKILL for a command that is ended, with all that it has
    /// started.
    #[arg(long, alias = "kill-after", value_name = "MS", default_value_t = 5_000)]
    kill_after_ms: u64,
    /// The most bytes that a command may write to stdout; beyond, it is ended, and fails for good.
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20)]
    max_output: usize,
    /// Append what a command writes to stdout and stderr to the stream of its attempt, as it comes;
    /// `ff tail` shows it. Stdout is the result nevertheless.
    #[arg(long)]
    stream: bool,
    /// The time after which a command that exits with 75 runs again: 30s, 5m.
    #[arg(long, value_name = "SPAN", default_value = "1m", value_parser = span)]
    snooze: i64,
    /// Leave running what a command has started and left running, once the command itself has
    /// exited. By default its whole process group ends with it.
    #[arg(long)]
    forget: bool,
    /// Run commands in the process group of this worker, instead of a session of their own. Signals
    /// to the group reach them, too, and only the command itself is ended: what it has started is
    /// left to a supervisor.
    #[arg(long, conflicts_with = "forget")]
    keep_group: bool,
    /// Leave lapsed leases, delays and timeouts to other processes.
    #[arg(long)]
    no_scanners: bool,
    #[command(flatten)]
    retention: RetentionArguments,
    #[command(flatten)]
    metrics: MetricsArguments,
    /// The command. It gets the payload on stdin and FF_EXECUTION_ID, FF_ATTEMPT_INDEX, FF_KIND,
    /// FF_LANE, FF_LEASE_EPOCH, FF_TAGS (a JSON object), FF_TAG_…, FF_SIGNALS_FILE and
    /// FF_SUSPEND_FILE in its environment, in a flow FF_FLOW_ID, FF_NODE and FF_UPSTREAM_FILE, and
    /// of a traced submission TRACEPARENT; FF_DATABASE_URL, FF_SCHEMA and PGPASSWORD are removed.
    /// What it prints is the result. See docs/commands.md.
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

impl Arguments {
    fn retention_rules(&self) -> Result<Vec<RetentionRule>, Failure> {
        let rules = self.retention.rules()?;
        if self.no_scanners && !rules.is_empty() {
            return Err(Failure::usage("--retain has no effect with --no-scanners"));
        }
        Ok(rules)
    }

    /// The command as a process.
    fn process(&mut self) -> Result<Process, Failure> {
        let mut command = std::mem::take(&mut self.command).into_iter();
        let Some(program) = command.next() else { return Err(Failure::usage("no command given")) };
        find_program(&program).map_err(Failure::usage)?;

        let (max_output, endings) = (self.max_output, self.groups());
        Ok(Process { program, arguments: command.collect(), max_output, endings })
    }

    /// The process groups of the commands.
    fn groups(&self) -> EndingGroups {
        let kill_after = Duration::from_millis(self.kill_after_ms);
        let watches = cfg!(unix) && !self.keep_group;
        let watchdog = watches.then(|| Arc::new(Watchdog::new(kill_after)));
        let grouping = if self.keep_group { Grouping::OfWorker } else { Grouping::Own };
        let leftover = if self.forget { Leftover::Keep } else { Leftover::End };
        EndingGroups::new(kill_after, watchdog).with(grouping, leftover)
    }

    /// The scopes of the claims.
    fn scopes(&self) -> ClaimScopes {
        let sets = self.partitions.iter();
        if self.one_by_one {
            ClaimScopes::in_turn(sets.flat_map(PartitionSet::one_by_one))
        } else {
            ClaimScopes::in_turn(sets.cloned())
        }
    }

    /// The worker, with a name that tells it apart from others.
    fn worker(&self, lane: LaneId) -> WorkerConfig {
        let instance = format!("{}-{}-{}", self.name, std::process::id(), short_id());
        WorkerConfig {
            capabilities: CapabilitySet::new(self.capabilities.clone()),
            scopes: self.scopes(),
            concurrency: self.concurrency,
            lease_ttl_ms: self.lease_ttl_ms,
            until: if self.until_empty { Until::Empty } else { Until::Stopped },
            grace: Duration::from_millis(self.grace_ms),
            liveness_ttl: Duration::from_millis(u64::from(self.liveness_ttl_ms)),
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            ..WorkerConfig::new(lane, self.name.clone().into(), instance.into())
        }
    }
}

pub(super) async fn run(global: &Global, mut arguments: Arguments) -> Result<(), Failure> {
    let config = arguments.worker(lane(&arguments.lane)?);
    let retention_rules = arguments.retention_rules()?;
    let process = arguments.process()?;
    let no_files = |error| Failure::new(format!("making a directory for the runs: {error}"));
    let directory = tempfile::Builder::new().prefix("ff-work-").tempdir().map_err(no_files)?;
    #[cfg(target_os = "linux")]
    shut_out_commands();

    let recording = arguments.metrics.begin().await?;
    let stop = watch::Sender::new(Stop::Not);
    stop_on_interrupts(stop.clone())?;
    // A worker that waits for work may start before its submitter. One that ends when the lane is
    // empty expects a database, so a missing one means a wrong URL.
    let engine = if arguments.until_empty {
        global.open_existing().await?
    } else {
        global.open_or_create().await?
    };

    let runner = CommandRunner {
        engine: Arc::clone(&engine),
        process,
        directory,
        streaming: if arguments.stream { Streaming::Frames } else { Streaming::Off },
        snooze: Duration::from_millis(arguments.snooze.unsigned_abs()),
        has_key: tokio::sync::OnceCell::new(),
    };

    let scanning = ScannerConfig { retention_rules, ..ScannerConfig::default() };
    let mut scanners =
        (!arguments.no_scanners).then(|| ScannerSupervisor::spawn(Arc::clone(&engine), scanning));
    let liveness = scanners.as_ref().map(ScannerSupervisor::liveness).unwrap_or_default();
    let _serving = recording.map(|recording| recording.serve(Arc::clone(&engine), liveness));
    let worker = Worker::new(Arc::clone(&engine), Arc::new(runner), config);
    let mut working = pin!(worker.run(stop.subscribe()));
    let (worked, scanner_error) = tokio::select! {
        worked = &mut working => (worked, None),
        error = scanner_failure(scanners.as_mut()) => {
            stop.send_replace(Stop::Drain);
            (working.await, Some(error))
        }
    };
    if let Some(scanners) = scanners {
        scanners.shutdown(SCANNER_GRACE).await;
        if arguments.until_empty && scanner_error.is_none() && worked.is_ok() {
            dispatch_ends(&engine).await;
        }
    }
    // Every result is durable by now, whether or not the database closes cleanly.
    let _ = engine.shutdown_prepare(DATABASE_GRACE).await;

    let report = worked.map_err(|error| work_failure(&arguments.lane, &error))?;
    print_report(global, &report, &arguments.partitions)?;
    if let Some(error) = scanner_error {
        return Err(Failure::engine("the scanners cannot go on", &error));
    }
    left(&report).map_or(Ok(()), |left| Err(Failure::new(left)))
}

/// Keeps commands of the same user from reading the variables and the memory of this process, where
/// the database's password is.
#[cfg(target_os = "linux")]
fn shut_out_commands() {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "commands can read the variables of this worker");
    }
}

/// The failure of a worker that could not go on.
fn work_failure(lane: &str, error: &WorkerError) -> Failure {
    match error {
        WorkerError::Claim(_) => Failure::new(format!("claiming from {lane:?}: {error}")),
        WorkerError::Broken { .. } | WorkerError::Unable { .. } => Failure::new(error.to_string()),
    }
}

/// Dispatches the ends that the scanners have left, so that each flow has ended with its last
/// member.
async fn dispatch_ends(engine: &Arc<dyn EngineBackend>) {
    loop {
        match engine.scan(Scan::DependencyDispatch, DISPATCHES).await {
            Ok(counts) if counts.processed == 0 => return,
            Ok(_) => {}
            // All work is done; the next scanner finds what is left.
            Err(error) => {
                tracing::warn!(%error, "the last ends are not dispatched");
                return;
            }
        }
    }
}

/// The reason why executions were left that this worker could have run, if some were.
fn left(report: &WorkerReport) -> Option<String> {
    let Some(lane) = &report.left_closed else {
        let locked = "some executions stayed locked or reserved, and were left";
        return report.left_locked.then(|| locked.to_owned());
    };

    let reason = lane.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let (name, state) = (&lane.lane_id, lane.state.as_str());
    Some(format!(
        "lane {name} is {state} and hands out nothing{reason}; executions were left in it"
    ))
}

/// Returns once the scanners, if there are any, meet a failure that no repetition mends.
async fn scanner_failure(scanners: Option<&mut ScannerSupervisor>) -> EngineError {
    match scanners {
        Some(scanners) => scanners.permanent_failure().await,
        None => std::future::pending().await,
    }
}

/// The reason why executions are left to other workers.
fn left_waiting(partitions: &[PartitionSet]) -> &'static str {
    if partitions.is_empty() {
        "some executions wait for capabilities that this worker does not offer"
    } else {
        "some executions wait for capabilities that this worker does not offer, or on other \
         partitions"
    }
}

/// Prints the worker's totals.
fn print_report(
    global: &Global,
    report: &WorkerReport,
    partitions: &[PartitionSet],
) -> Result<(), Failure> {
    let output = global.output();
    if output.is_json() {
        output.json(&json!({
            "claimed": report.claimed,
            "completed": report.completed,
            "retried": report.retried,
            "failed": report.failed,
            "cancelled": report.cancelled,
            "suspended": report.suspended,
            "handed_back": report.handed_back,
            "lost": report.lost,
            "left_waiting": report.left_waiting,
            "left_locked": report.left_locked,
            "left_closed": report.left_closed.is_some(),
        }))?;
        return Ok(());
    }

    output.line(totals(report))?;
    if report.left_waiting {
        output.line(left_waiting(partitions))?;
    }
    Ok(())
}

/// The number of claims, and the number of each outcome. The outcomes add up to the claims.
fn totals(report: &WorkerReport) -> String {
    let outcomes = [
        (report.completed, "completed"),
        (report.retried, "to be retried"),
        (report.failed, "failed"),
        (report.cancelled, "cancelled"),
        (report.suspended, "suspended"),
        (report.handed_back, "handed back"),
        (report.lost, "lost"),
    ];

    let outcomes = outcomes.map(|(number, outcome)| format!("{number} {outcome}"));
    format!("{} claimed: {}", report.claimed, outcomes.join(", "))
}

/// Turns Ctrl-C, SIGTERM and SIGHUP into a stop: the first one lets running commands end, the next
/// one does not.
fn stop_on_interrupts(stop: watch::Sender<Stop>) -> Result<(), Failure> {
    let failed = |error| Failure::new(format!("listening for signals: {error}"));
    let mut interrupts = Interrupts::new().map_err(failed)?;

    tokio::spawn(async move {
        for (urgency, what) in [
            (Stop::Drain, "stopping: running commands may end; once more to end them"),
            (Stop::Now, "stopping at once"),
        ] {
            interrupts.next().await;
            stop.send_replace(urgency);
            tracing::warn!("{what}");
        }
        // Further ones change nothing; the listener must live on, or they would kill the process.
        loop {
            interrupts.next().await;
        }
    });
    Ok(())
}

/// A suffix that tells apart two processes with the same pid, on different machines or over time.
fn short_id() -> String {
    let id = Uuid::new_v4().simple().to_string();
    id.chars().take(6).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outcomes_add_up_to_the_claims() {
        let mut report = WorkerReport::default();
        (report.completed, report.retried, report.failed) = (1, 2, 3);
        (report.cancelled, report.suspended) = (4, 5);
        (report.handed_back, report.lost) = (6, 7);
        report.claimed = 28;

        let expected = "28 claimed: 1 completed, 2 to be retried, 3 failed, 4 cancelled, \
                        5 suspended, 6 handed back, 7 lost";
        assert_eq!(totals(&report), expected);
    }
}
