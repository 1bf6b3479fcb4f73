//! A sample of every operation: what it asks of the database, and what it plans.
//!
//! The samples are real: each operation runs against the in-memory backend at a fixed time with
//! seeded ids, and a recorder notes what the engine asked of it. `ff sql` prints them, the snapshots
//! review them, and the conformance suite checks that no other shape ever reaches a database.

mod given;
mod recorder;
mod scenes;

use ff_core::plan::{Plan, Query};

pub use recorder::Recorder;

/// Something that an operation asked of the database.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The operation.
    pub operation: &'static str,
    /// In which situation.
    pub case: &'static str,
    /// What it asked.
    pub asked: Asked,
}

/// A read or a change.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// A read.
    Query(Query),
    /// A change.
    Plan(Plan),
}

/// Samples of every operation and case, each shape of an operation once, in the order of a life.
#[must_use]
pub fn samples() -> Vec<Sample> {
    let mut samples: Vec<Sample> = Vec::new();
    for sample in scenes::all() {
        let known = |other: &Sample| {
            other.operation == sample.operation && other.asked.same_shape(&sample.asked)
        };
        if !samples.iter().any(known) {
            samples.push(sample);
        }
    }
    samples
}

impl Asked {
    /// Whether both have the same shape, and so the same SQL.
    #[must_use]
    pub fn same_shape(&self, other: &Asked) -> bool {
        match (self, other) {
            (Asked::Query(one), Asked::Query(two)) => {
                one.clone().into_shape().0 == two.clone().into_shape().0
            }
            (Asked::Plan(one), Asked::Plan(two)) => one.shape() == two.shape(),
            (Asked::Query(_), Asked::Plan(_)) | (Asked::Plan(_), Asked::Query(_)) => false,
        }
    }
}

impl std::fmt::Display for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Asked::Query(query) => query.fmt(f),
            Asked::Plan(plan) => plan.fmt(f),
        }
    }
}
