//! Records the metrics that belong to no single operation.

use std::time::Duration;

use metrics::{Key, Label, Level, Metadata, with_recorder};

use crate::names::{self, Metric};

static METADATA: Metadata<'static> = Metadata::new(names::TARGET, Level::INFO, None);

pub(crate) fn count(key: &Key, number: u64) {
    with_recorder(|recorder| recorder.register_counter(key, &METADATA).increment(number));
}

fn observe(key: &Key, value: f64) {
    with_recorder(|recorder| recorder.register_histogram(key, &METADATA).record(value));
}

pub(crate) fn observe_seconds(key: &Key, time: Duration) {
    observe(key, time.as_secs_f64());
}

fn set(key: &Key, value: f64) {
    with_recorder(|recorder| recorder.register_gauge(key, &METADATA).set(value));
}

/// The metric with these values of its labels, in the order of the table.
fn key<const N: usize>(metric: &Metric, values: [&str; N]) -> Key {
    debug_assert_eq!(metric.labels.len(), N, "{}", metric.name);
    let labels = metric.labels.iter().zip(values);
    let labels: Vec<_> = labels.map(|(name, value)| Label::new(*name, value.to_owned())).collect();
    Key::from_parts(metric.name, labels)
}

// No count of a process comes near 2^52.
#[allow(clippy::cast_precision_loss)]
fn float(number: u64) -> f64 {
    number as f64
}

/// The things that are done at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchOf {
    /// Executions that one claim leased.
    Claim,
    /// Executions that one call submitted.
    Submission,
    /// Plans that share one statement.
    Statement,
    /// Plans that share one transaction.
    Transaction,
}

/// Records the size of a batch.
pub fn batch(batch: BatchOf, size: usize) {
    const NAME: &str = names::BATCH_SIZE.name;
    static LABELS: [[Label; 1]; 4] = [
        [Label::from_static_parts("batch", "claim")],
        [Label::from_static_parts("batch", "submission")],
        [Label::from_static_parts("batch", "statement")],
        [Label::from_static_parts("batch", "transaction")],
    ];
    let [claim, submission, statement, transaction] = &LABELS;
    let labels = match batch {
        BatchOf::Claim => claim,
        BatchOf::Submission => submission,
        BatchOf::Statement => statement,
        BatchOf::Transaction => transaction,
    };
    let size = u64::try_from(size).unwrap_or(u64::MAX);
    observe(&Key::from_static_parts(NAME, labels), float(size));
}

/// Counts a plan that was refused at commit and is decided again.
pub fn retried(plan: &str) {
    count(&key(&names::RETRIES, [plan]), 1);
}

/// Records one scan: its duration, and the rows that it handled and that failed. `None` for a scan
/// that failed altogether.
pub fn scanned(scan: &'static str, time: Duration, rows: Option<(u32, u32)>) {
    observe_seconds(&key(&names::SCAN_SECONDS, [scan]), time);
    let outcome = if rows.is_some() { "ok" } else { "failed" };
    count(&key(&names::SCANS, [scan, outcome]), 1);

    let (handled, failed) = rows.unwrap_or_default();
    for (outcome, number) in [("ok", handled), ("failed", failed)] {
        if number != 0 {
            count(&key(&names::SCAN_ROWS, [scan, outcome]), u64::from(number));
        }
    }
}

/// Sets the time since a scan last left nothing due.
pub fn scan_lag(scan: &'static str, lag: Duration) {
    set(&key(&names::SCAN_LAG, [scan]), lag.as_secs_f64());
}

/// Sets the number of executions of a lane that are in a state.
pub fn set_executions(lane: &str, state: &'static str, number: u64) {
    set(&key(&names::EXECUTIONS, [lane, state]), float(number));
}

/// Sets the number of executions that wait in a lane, and how long the first one has waited.
pub fn set_queue(lane: &str, depth: u64, age: Duration) {
    set(&key(&names::QUEUE_DEPTH, [lane]), float(depth));
    set(&key(&names::QUEUE_AGE, [lane]), age.as_secs_f64());
}

/// Sets the number of executions that a worker runs, and the most that it can run at once.
pub fn set_worker(lane: &str, running: usize, capacity: usize) {
    let gauge = |metric: &Metric, number: usize| {
        set(&key(metric, [lane]), float(u64::try_from(number).unwrap_or(u64::MAX)));
    };
    gauge(&names::WORKER_RUNNING, running);
    gauge(&names::WORKER_CAPACITY, capacity);
}

/// Records the end of a run.
pub fn run_ended(lane: &str, outcome: &'static str, time: Duration) {
    count(&key(&names::WORKER_RUNS, [lane, outcome]), 1);
    observe_seconds(&key(&names::WORKER_RUN_SECONDS, [lane, outcome]), time);
}
