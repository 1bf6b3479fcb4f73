//! Observes an operation: its span, its outcome and its latency.

use std::time::Instant;

use metrics::Key;
use tracing::{Instrument as _, field};

use crate::names;
use crate::record::{count, observe_seconds};

/// The outcome of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did what it was asked.
    Ok,
    /// A rule refused it, for a reason of this kind.
    Refused(&'static str),
    /// The database or this system failed, in this way.
    Failed(&'static str),
}

impl Outcome {
    /// The outcome as a label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused(_) => "refused",
            Self::Failed(_) => "failed",
        }
    }
}

/// An error that says its kind.
pub trait Refusal {
    /// The outcome of an operation that ends with it.
    fn outcome(&self) -> Outcome;
}

/// The answer of an operation.
pub trait Answer {
    /// Its outcome. Of a batch, the first item that did not succeed decides.
    fn outcome(&self) -> Outcome;
}

impl<T, E: Refusal> Answer for Result<T, E> {
    fn outcome(&self) -> Outcome {
        self.as_ref().map_or_else(Refusal::outcome, |_| Outcome::Ok)
    }
}

impl<T, E: Refusal> Answer for Vec<Result<T, E>> {
    fn outcome(&self) -> Outcome {
        self.iter().find_map(|item| item.as_ref().err()).map_or(Outcome::Ok, Refusal::outcome)
    }
}

/// An operation and its keys, which are made once: to count it allocates nothing.
#[derive(Debug)]
pub struct Operation {
    #[doc(hidden)]
    pub name: &'static str,
    #[doc(hidden)]
    pub ok: Key,
    #[doc(hidden)]
    pub refused: Key,
    #[doc(hidden)]
    pub failed: Key,
    #[doc(hidden)]
    pub seconds: Key,
}

impl Operation {
    const fn key(&self, outcome: Outcome) -> &Key {
        match outcome {
            Outcome::Ok => &self.ok,
            Outcome::Refused(_) => &self.refused,
            Outcome::Failed(_) => &self.failed,
        }
    }
}

/// The operation of that name.
#[macro_export]
macro_rules! operation {
    ($name:literal) => {{
        use $crate::metrics::{Key, Label};
        use $crate::names::{OPERATION_SECONDS, OPERATIONS};
        const NAME: Label = Label::from_static_parts("operation", $name);
        static SECONDS: [Label; 1] = [NAME];
        static OK: [Label; 2] = [NAME, Label::from_static_parts("outcome", "ok")];
        static REFUSED: [Label; 2] = [NAME, Label::from_static_parts("outcome", "refused")];
        static FAILED: [Label; 2] = [NAME, Label::from_static_parts("outcome", "failed")];
        static OPERATION: $crate::Operation = $crate::Operation {
            name: $name,
            ok: Key::from_static_parts(OPERATIONS.name, &OK),
            refused: Key::from_static_parts(OPERATIONS.name, &REFUSED),
            failed: Key::from_static_parts(OPERATIONS.name, &FAILED),
            seconds: Key::from_static_parts(OPERATION_SECONDS.name, &SECONDS),
        };
        &OPERATION
    }};
}

/// Runs an operation in its span, and records its outcome and its latency.
pub async fn observe<T: Answer, F: Future<Output = T>>(
    operation: &'static Operation,
    future: F,
) -> T {
    let span = tracing::debug_span!(
        target: "flowfabric",
        "operation",
        otel.name = operation.name,
        operation = operation.name,
        outcome = field::Empty,
        kind = field::Empty,
    );
    let began = Instant::now();
    let answer = future.instrument(span.clone()).await;

    let (outcome, elapsed) = (answer.outcome(), began.elapsed());
    count(operation.key(outcome), 1);
    observe_seconds(&operation.seconds, elapsed);
    span.record("outcome", outcome.as_str());
    if let Outcome::Refused(kind) | Outcome::Failed(kind) = outcome {
        span.record("kind", kind);
        // Rare, so that the key may be made anew.
        let labels = [("operation", operation.name), ("kind", kind)];
        count(&Key::from_parts(names::REFUSALS.name, &labels), 1);
    }
    tracing::debug!(target: "flowfabric", parent: &span, ?elapsed, "answered");
    answer
}

/// The span of one decision within an operation.
#[must_use]
pub fn decision_span() -> tracing::Span {
    tracing::debug_span!(
        target: "flowfabric",
        "decision",
        plan = field::Empty,
        execution_id = field::Empty,
        flow_id = field::Empty,
    )
}
