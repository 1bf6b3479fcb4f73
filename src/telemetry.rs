//! Metrics and spans: their table, the measures of a whole database, and the trace that a
//! submission carries to its run.
//!
//! Every operation of an engine has a span and counts itself, whichever recorder or subscriber the
//! process has installed; without one that costs next to nothing. See `docs/telemetry.md`.

#[cfg(feature = "otel")]
pub mod otel;
mod queues;
mod traceparent;

pub use ff_telemetry::names::TARGET;
pub use ff_telemetry::{METRICS, Metric, MetricKind, SPANS, Span, Unit};
pub use queues::QueueGauges;
pub use traceparent::{TRACEPARENT_TAG, Traceparent, TraceparentError};

use tracing::Instrument as _;

use crate::worker::Run;

tokio::task_local! {
    /// The trace that the run of this task continues.
    static CONTINUED: Option<Traceparent>;
}

impl Traceparent {
    /// The context of what is called here: that of the current span if spans are sent to a
    /// collector, and otherwise the one that the run around this code continues. `None` outside of
    /// both. Tasks that a run spawns are outside, unless they are given its span.
    #[must_use]
    pub fn current() -> Option<Self> {
        #[cfg(feature = "otel")]
        if let Some(own) = otel::traceparent_of(&tracing::Span::current()) {
            return Some(own);
        }
        CONTINUED.try_with(|continued| *continued).ok().flatten()
    }
}

/// Does the work of a run in its span, and in the trace that it continues.
pub(crate) async fn within_run<T>(run: &Run, work: impl Future<Output = T>) -> T {
    CONTINUED.scope(run.traceparent(), work.instrument(run_span(run))).await
}

/// The span of a run. Its parent is the submitter's span, by its traceparent.
fn run_span(run: &Run) -> tracing::Span {
    let traceparent = run.traceparent();
    let span = tracing::info_span!(
        target: "flowfabric",
        parent: None,
        "run",
        execution_id = %run.execution_id,
        execution_kind = run.kind,
        lane = run.lane_id.as_str(),
        attempt = run.attempt_index.0,
        traceparent = traceparent.map(tracing::field::display),
    );
    #[cfg(feature = "otel")]
    otel::continue_trace(&span, traceparent);
    span
}
