//! A sample of every operation: the reads that it makes, and the changes that it plans.
//!
//! The samples are real: each operation runs against the in-memory backend at a fixed time with
//! seeded ids, and a recorder notes the engine's reads and plans. `ff sql` prints them, the
//! snapshots review them, and the conformance suite checks that no other shape ever reaches a
//! database.

mod archives;
mod cascade;
mod children;
pub mod client;
mod explanations;
mod fairness;
mod fixtures;
mod flow_ends;
mod flow_rows;
mod flows;
mod grants;
mod lanes;
mod limits;
mod losses;
mod money;
mod reconcile;
mod recorder;
mod reserve;
mod retention;
mod scenes;
mod schedules;
mod scopes;
mod stage;
mod stats;
mod steps;
mod streams;
mod submissions;
mod subscriptions;
mod suspensions;
mod workers;

use std::borrow::Cow;
use std::collections::HashSet;

use ff_core::plan::{Plan, Query, QueryShape, Shape};

pub use recorder::Recorder;
use stage::Scene;

/// The scenes, in the order of a life.
const SCENES: &[fn(&mut Scene)] = &[
    Scene::submissions,
    Scene::claims,
    Scene::leases,
    Scene::ends,
    Scene::failures,
    Scene::operator,
    Scene::typed,
    Scene::reads,
    Scene::listings,
    Scene::explanations,
    Scene::lanes,
    Scene::limits,
    Scene::limited_grants,
    Scene::fairness,
    Scene::registry,
    Scene::lost_workers_of_the_registry,
    Scene::leases_of_workers,
    Scene::scans,
    Scene::flow_building,
    Scene::flow_reads,
    Scene::flow_that_forks,
    Scene::flow_cancellation,
    Scene::flow_cancellation_headers,
    Scene::waits,
    Scene::replays,
    Scene::bulk_actions,
    Scene::applied_edges,
    Scene::late_edges,
    Scene::pages,
    Scene::hops,
    Scene::children,
    Scene::ends_of_children,
    Scene::dependencies_beside_waits,
    Scene::dispatched_ends,
    Scene::siblings,
    Scene::steps,
    Scene::streams,
    Scene::older_streams,
    Scene::stream_reads,
    Scene::subscriptions,
    Scene::unreadable_page_queries,
    Scene::instance_tags,
    Scene::signing_keys,
    Scene::suspensions,
    Scene::signals,
    Scene::waits_that_end,
    Scene::waits_that_are_read,
    Scene::flow_ends,
    Scene::budgets,
    Scene::budgeted,
    Scene::reservations,
    Scene::quotas,
    Scene::grants,
    Scene::reclaims,
    Scene::retention,
    Scene::archives,
    Scene::reconciles,
    Scene::schedules,
    Scene::stats,
    Scene::scopes,
];

/// Waitpoints change the shape of what ends an execution, so these scenes are played again with
/// them.
const AGAIN_WITH_WAITPOINTS: &[fn(&mut Scene)] = &[
    Scene::ends,
    Scene::failures,
    Scene::operator,
    Scene::typed,
    Scene::limited_grants,
    Scene::scans,
    Scene::waits,
    Scene::replays,
    Scene::bulk_actions,
    Scene::applied_edges,
    Scene::late_edges,
    Scene::hops,
    Scene::dispatched_ends,
    Scene::lapsed_leases,
    Scene::lost_workers_of_the_registry,
    Scene::waits_that_end,
    Scene::reclaims,
];

/// One read or plan that an operation sent to the database.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The operation.
    pub operation: &'static str,
    /// The situation.
    pub case: Cow<'static, str>,
    /// The read or the plan.
    pub call: Call,
}

/// A read or a change.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// A read.
    Query(Query),
    /// A change.
    Plan(Plan),
}

/// Samples of every operation and case, each shape of an operation once, in the order of a life.
#[must_use]
pub fn samples() -> Vec<Sample> {
    let mut known = HashSet::new();
    all()
        .into_iter()
        .filter(|sample| known.insert((sample.operation, sample.call.shape())))
        .collect()
}

/// Every sample. Each scene has a database of its own, so that a new sample changes no id in the
/// others.
fn all() -> Vec<Sample> {
    let play = |scene: &fn(&mut Scene)| Scene::new().played(*scene);
    let play_again = |scene: &fn(&mut Scene)| Scene::with_waitpoints().played(*scene);

    let first = SCENES.iter().flat_map(play);
    first.chain(AGAIN_WITH_WAITPOINTS.iter().flat_map(play_again)).collect()
}

/// The shape of a call: calls of one shape have the same SQL.
#[derive(PartialEq, Eq, Hash)]
enum CallShape {
    Query(QueryShape),
    Plan(Shape),
}

impl Call {
    fn shape(&self) -> CallShape {
        match self {
            Call::Query(query) => CallShape::Query(query.clone().into_shape().0),
            Call::Plan(plan) => CallShape::Plan(plan.shape()),
        }
    }
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Call::Query(query) => query.fmt(f),
            Call::Plan(plan) => plan.fmt(f),
        }
    }
}
