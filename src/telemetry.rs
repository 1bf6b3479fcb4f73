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

use crate::worker::Run;

/// The traceparent for what a run calls: that of its span if spans are sent to a collector, and
/// otherwise that of the submitter. Ask within the run.
#[must_use]
pub fn run_traceparent(run: &Run) -> Option<Traceparent> {
    #[cfg(feature = "otel")]
    if let Some(own) = otel::traceparent_of(&tracing::Span::current()) {
        return Some(own);
    }
    run.traceparent()
}

/// The span of a run. Its parent is the submitter's span, by its traceparent.
pub(crate) fn run_span(run: &Run) -> tracing::Span {
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
