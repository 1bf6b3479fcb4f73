//! The table of metrics and spans: the one place that decides names, labels and units. The
//! documentation and the dashboard are tested against it.

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// A sum that only grows.
    Counter,
    /// A value that goes up and down.
    Gauge,
    /// A distribution of observed values.
    Histogram,
}

impl MetricKind {
    /// The kind in Prometheus' words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// The unit of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A number of things.
    Count,
    /// Seconds.
    Seconds,
}

impl Unit {
    /// The unit in words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Seconds => "seconds",
        }
    }
}

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metric {
    /// Its name, as Prometheus shows it.
    pub name: &'static str,
    /// Its kind.
    pub kind: MetricKind,
    /// Its unit.
    pub unit: Unit,
    /// The names of its labels. No label is an id.
    pub labels: &'static [&'static str],
    /// The upper bounds of a histogram's buckets.
    pub buckets: &'static [f64],
    /// Its description.
    pub help: &'static str,
}

/// Upper bounds for latencies, from a quarter of a millisecond to a minute.
const LATENCIES: &[f64] = &[
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0, 60.0,
];

/// Upper bounds for the time that work runs, from ten milliseconds to four hours.
const RUNS: &[f64] =
    &[0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0];

/// Upper bounds for numbers of things done at once.
const SIZES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0];

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind: MetricKind::Counter, unit: Unit::Count, labels, buckets: &[], help }
}

const fn gauge(
    name: &'static str,
    unit: Unit,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind: MetricKind::Gauge, unit, labels, buckets: &[], help }
}

const fn histogram(
    name: &'static str,
    (unit, buckets): (Unit, &'static [f64]),
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind: MetricKind::Histogram, unit, labels, buckets, help }
}

/// Operations by outcome.
pub const OPERATIONS: Metric = counter(
    "ff_operations_total",
    &["operation", "outcome"],
    "Operations by outcome: ok, refused, failed.",
);

/// The latency of operations.
pub const OPERATION_SECONDS: Metric = histogram(
    "ff_operation_seconds",
    (Unit::Seconds, LATENCIES),
    &["operation"],
    "Time from the call of an operation to its answer.",
);

/// Refusals and failures by kind.
pub const REFUSALS: Metric = counter(
    "ff_refusals_total",
    &["operation", "kind"],
    "Operations that were refused or failed, by the kind of the error.",
);

/// Plans that were decided again.
pub const RETRIES: Metric =
    counter("ff_retries_total", &["plan"], "Plans that were refused at commit and decided again.");

/// Sizes of batches.
pub const BATCH_SIZE: Metric = histogram(
    "ff_batch_size",
    (Unit::Count, SIZES),
    &["batch"],
    "Items done at once: plans in a statement or a transaction, executions of a claim or a \
     submission.",
);

/// Scans by outcome.
pub const SCANS: Metric =
    counter("ff_scans_total", &["scan", "outcome"], "Scans by outcome: ok, failed.");

/// The duration of scans.
pub const SCAN_SECONDS: Metric =
    histogram("ff_scan_seconds", (Unit::Seconds, LATENCIES), &["scan"], "Duration of a scan.");

/// Rows that scans handled.
pub const SCAN_ROWS: Metric = counter(
    "ff_scan_rows_total",
    &["scan", "outcome"],
    "Rows that scans handled, by outcome: ok, failed.",
);

/// The lag of a scanner.
pub const SCAN_LAG: Metric = gauge(
    "ff_scan_lag_seconds",
    Unit::Seconds,
    &["scan"],
    "Time since a scan last left nothing due; 0 while the scanner keeps up.",
);

/// Executions by lane and state.
pub const EXECUTIONS: Metric =
    gauge("ff_executions", Unit::Count, &["lane", "state"], "Executions by lane and public state.");

/// The age of a lane's queue.
pub const QUEUE_AGE: Metric = gauge(
    "ff_queue_age_seconds",
    Unit::Seconds,
    &["lane"],
    "Time that the longest waiting claimable execution of a lane has waited; 0 if none waits.",
);

/// Executions that wait in a lane.
pub const QUEUE_DEPTH: Metric = gauge(
    "ff_queue_depth",
    Unit::Count,
    &["lane"],
    "Executions of a lane in the state waiting: a worker may claim them.",
);

/// Runs of this process's worker at this moment.
pub const WORKER_RUNNING: Metric = gauge(
    "ff_worker_running",
    Unit::Count,
    &["lane"],
    "Executions that the workers of this process run.",
);

/// The most runs of this process's worker.
pub const WORKER_CAPACITY: Metric = gauge(
    "ff_worker_capacity",
    Unit::Count,
    &["lane"],
    "Executions that the workers of this process can run at once.",
);

/// Runs by outcome.
pub const WORKER_RUNS: Metric = counter(
    "ff_worker_runs_total",
    &["lane", "outcome"],
    "Runs by outcome: completed, retried, failed, cancelled, suspended, handed_back, lost.",
);

/// The duration of runs.
pub const WORKER_RUN_SECONDS: Metric = histogram(
    "ff_worker_run_seconds",
    (Unit::Seconds, RUNS),
    &["lane", "outcome"],
    "Time from the claim of an execution to its reported end.",
);

/// Every metric.
pub const METRICS: [Metric; 16] = [
    OPERATIONS,
    OPERATION_SECONDS,
    REFUSALS,
    RETRIES,
    BATCH_SIZE,
    SCANS,
    SCAN_SECONDS,
    SCAN_ROWS,
    SCAN_LAG,
    EXECUTIONS,
    QUEUE_DEPTH,
    QUEUE_AGE,
    WORKER_RUNNING,
    WORKER_CAPACITY,
    WORKER_RUNS,
    WORKER_RUN_SECONDS,
];

/// One kind of span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its name.
    pub name: &'static str,
    /// Its level.
    pub level: tracing::Level,
    /// Its fields.
    pub fields: &'static [&'static str],
    /// Its description.
    pub help: &'static str,
}

/// The target of all spans, for filters.
pub const TARGET: &str = "flowfabric";

/// Every span.
pub const SPANS: [Span; 4] = [
    Span {
        name: "operation",
        level: tracing::Level::DEBUG,
        fields: &["operation", "outcome", "kind"],
        help: "One operation of the engine, and its outcome.",
    },
    Span {
        name: "decision",
        level: tracing::Level::DEBUG,
        fields: &["plan", "execution_id", "flow_id"],
        help: "One decision within an operation, and the row that it is about.",
    },
    Span {
        name: "run",
        level: tracing::Level::INFO,
        fields: &["execution_id", "execution_kind", "lane", "attempt", "traceparent"],
        help: "One run of an execution in a worker: a child of the submitter's traceparent.",
    },
    Span {
        name: "scan",
        level: tracing::Level::DEBUG,
        fields: &["scan"],
        help: "One scan for due rows.",
    },
];
