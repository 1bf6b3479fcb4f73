//! No shape reaches a database that no snapshot shows: whatever the conformance suite makes the
//! engine ask, the catalogue has a sample of.

use std::collections::HashSet;
use std::sync::LazyLock;

use ff_catalogue::{Asked, samples};
use ff_core::plan::{QueryShape, Shape};

static REVIEWED: LazyLock<(HashSet<Shape>, HashSet<QueryShape>)> = LazyLock::new(|| {
    let mut reviewed = (HashSet::new(), HashSet::new());
    for sample in samples() {
        match sample.asked {
            Asked::Plan(plan) => {
                reviewed.0.insert(plan.shape());
            }
            Asked::Query(query) => {
                reviewed.1.insert(query.into_shape().0);
            }
        }
    }
    reviewed
});

/// Fails on the first thing asked whose shape no sample has.
pub(crate) fn assert_reviewed(asked: Vec<Asked>) {
    for asked in asked {
        let known = match &asked {
            Asked::Plan(plan) => REVIEWED.0.contains(&plan.shape()),
            Asked::Query(query) => REVIEWED.1.contains(&query.clone().into_shape().0),
        };
        assert!(
            known,
            "the catalogue (snapshots/src/scenes.rs) has no sample of this shape: {asked}"
        );
    }
}
