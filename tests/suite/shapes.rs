//! No shape reaches a database that no snapshot shows: whatever the conformance suite makes the
//! engine ask, the catalogue has a sample of.

use std::collections::HashSet;
use std::sync::LazyLock;

use ff_catalogue::{Call, samples};
use ff_core::plan::{QueryShape, Shape};

static REVIEWED: LazyLock<(HashSet<Shape>, HashSet<QueryShape>)> = LazyLock::new(|| {
    let mut reviewed = (HashSet::new(), HashSet::new());
    for sample in samples() {
        match sample.call {
            Call::Plan(plan) => {
                reviewed.0.insert(plan.shape());
            }
            Call::Query(query) => {
                reviewed.1.insert(query.into_shape().0);
            }
        }
    }
    reviewed
});

/// Fails on the first call whose shape no sample has.
pub(crate) fn assert_reviewed(calls: Vec<Call>) {
    for call in calls {
        let known = match &call {
            Call::Plan(plan) => REVIEWED.0.contains(&plan.shape()),
            Call::Query(query) => REVIEWED.1.contains(&query.clone().into_shape().0),
        };
        assert!(
            known,
            "the catalogue (snapshots/src/scenes.rs) has no sample of this shape: {call}"
        );
    }
}
