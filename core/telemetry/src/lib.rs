//! Spans and metrics of flowfabric-sql. This crate decides every name, label and unit, and holds
//! the clock that measures operations; it knows no operation and no rule.
//!
//! Spans go through [`tracing`], metrics through [`metrics`]. Without a subscriber and a recorder
//! both cost 0.1 µs per operation, most of it for the clock. This crate is never given a payload, a
//! result, a token or a secret: labels are names of operations, outcomes, kinds of refusals and
//! lanes, and a span has ids beside them.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod names;
mod operation;
mod record;

pub use ff_telemetry_attribute::observed;
pub use names::{METRICS, Metric, MetricKind, SPANS, Span, Unit};
pub use operation::{Answer, Operation, Outcome, Refusal, decision_span, observe};
pub use record::{
    BatchOf, batch, retried, run_ended, scan_lag, scanned, set_executions, set_queue, set_worker,
};

#[doc(hidden)]
pub use metrics;
