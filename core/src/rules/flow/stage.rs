//! A new edge between two executions of a flow.
//!
//! The caller names the revision of the graph that it has seen. The search for a cycle reads the
//! graph at exactly that revision: it begins after the revision was read, and the commit refuses if
//! the revision has grown since.

use std::collections::BTreeSet;

use serde_json::json;
use uuid::Uuid;

use crate::contracts::{StageDependencyEdgeArgs, StageDependencyEdgeResult};
use crate::model::error::{ConflictKind, ContentionKind, EngineError};
use crate::model::ids::TimestampMs;
use crate::model::partition::PartitionConfig;
use crate::plan::facts::{Facts, Row};
use crate::plan::{List, Lookup, Mutation, OnConflict, Query};
use crate::rules::changes::Changes;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Verdict};
use crate::rules::flow::edges::edges;
use crate::rules::flow::end::is_over;
use crate::rules::flow::frontier::{self, leads_on_from, refuse_too_wide};
use crate::rules::flow::key::{
    DOWNSTREAM, EDGE, FlowKey, Places, UPSTREAM, held_flow, on_partition_of,
};
use crate::rules::flow::read;
use crate::rules::input;
use crate::rules::key::ExecutionKey;
use crate::rules::premise::{Premise, execution_row, lookup};
use crate::schema::execution::exec_core;
use crate::schema::flow::{edge, flow_core, unfinished_flow};

/// The name of the list of each step of the search for a cycle.
const ONWARD: &str = "edges that lead on";

/// Adds an edge; it takes effect once it is applied.
#[derive(Clone, Debug)]
pub struct Stage {
    places: Places,
    upstream: ExecutionKey,
    downstream: ExecutionKey,
    expected: i64,
    args: StageDependencyEdgeArgs,
}

impl Stage {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)`: `self_referencing_edge` for an edge from an execution to itself,
    /// text with NUL, ids that no row can have.
    pub fn new(
        args: StageDependencyEdgeArgs,
        partitions: &PartitionConfig,
    ) -> Result<Self, EngineError> {
        if args.upstream_execution_id == args.downstream_execution_id {
            return Err(input::invalid("self_referencing_edge"));
        }

        input::text("dependency_kind", &args.dependency_kind)?;
        args.data_passing_ref
            .as_deref()
            .map_or(Ok(()), |reference| input::text("data_passing_ref", reference))?;

        let places = Places::with_member(&args.flow_id, &args.downstream_execution_id, partitions)?;
        Ok(Self {
            places,
            upstream: ExecutionKey::of(&args.upstream_execution_id)?,
            downstream: ExecutionKey::of(&args.downstream_execution_id)?,
            expected: i64::try_from(args.expected_graph_revision).unwrap_or(i64::MAX),
            args,
        })
    }

    fn check_flow(&self, flow: &Row) -> Result<(), EngineError> {
        if is_over(flow) {
            return Err(input::invalid("flow_already_terminal"));
        }
        if flow.read(flow_core::graph_revision)? != self.expected {
            return Err(EngineError::Contention(ContentionKind::StaleGraphRevision));
        }
        Ok(())
    }

    fn check_members(
        &self,
        flow: FlowKey,
        upstream: Option<&Row>,
        downstream: Option<&Row>,
    ) -> Result<(), EngineError> {
        for (row, key) in [(upstream, self.upstream), (downstream, self.downstream)] {
            let of = row.map(|row| row.read(exec_core::flow_id)).transpose()?.flatten();
            if of.is_some_and(|of| of != flow.uuid) {
                return Err(input::invalid("execution_not_in_flow"));
            }
            on_partition_of(flow, &key)?;
            if of.is_none() {
                return Err(input::invalid("execution_not_in_flow"));
            }
        }
        Ok(())
    }

    /// The edges that lead on from these executions.
    fn beyond(flow: FlowKey, frontier: &BTreeSet<Uuid>) -> List {
        let columns = vec![edge::downstream_eid.column()];
        frontier::step(edges(ONWARD, flow, leads_on_from(frontier), edge::downstream_eid, columns))
    }

    /// Follows the edges from the downstream, as far as they have been read. Returns the executions
    /// to follow next, if any.
    fn search(&self, facts: &Facts) -> Result<Option<BTreeSet<Uuid>>, EngineError> {
        let mut seen = BTreeSet::from([self.downstream.uuid]);
        let mut frontier = seen.clone();
        // Each list is one step of the search.
        for edges in facts.pages(ONWARD) {
            let mut next = BTreeSet::new();
            for row in edges {
                let reached = row.read(edge::downstream_eid)?;
                if reached == self.upstream.uuid {
                    return Err(EngineError::Conflict(ConflictKind::CycleDetected));
                }
                if seen.insert(reached) {
                    next.insert(reached);
                }
            }

            refuse_too_wide(edges)?;
            frontier = next;
        }
        Ok((!frontier.is_empty()).then_some(frontier))
    }

    fn changes(&self, flow: FlowKey) -> Changes {
        let Self { args, .. } = self;
        let TimestampMs(at) = args.now;
        let set = vec![
            flow_core::graph_revision.grow(1),
            flow_core::edge_count.grow(1),
            flow_core::raw_fields.merge(json!({ "last_mutation_at_ms": at })),
        ];

        let mut row = flow.edge(&args.edge_id);
        row.push(edge::upstream_eid.with(self.upstream.uuid));
        row.push(edge::downstream_eid.with(self.downstream.uuid));
        row.push(edge::policy.with(json!({
            "dependency_kind": args.dependency_kind,
            "satisfaction_condition": "all_required",
            "data_passing_ref": args.data_passing_ref.as_deref().unwrap_or_default(),
            "edge_state": "pending",
            "created_at_ms": at,
            "created_by": "engine",
            "staged_at_ms": at,
            "applied_at_ms": null,
        })));

        let relied = flow_core::graph_revision.equals(self.expected).and(unfinished_flow());
        Changes::of([
            Mutation::update(flow_core::REF, held_flow(), set),
            Mutation::insert(edge::REF, row, OnConflict::Refuse),
        ])
        .holding([flow.guard(relied)])
    }
}

impl Decision for Stage {
    type Outcome = StageDependencyEdgeResult;

    const NAME: &'static str = "stage_dependency_edge";

    fn premises(&self, _: TimestampMs) -> Vec<Premise<Self::Outcome>> {
        let flow_of = || vec![exec_core::flow_id.column()];
        let member = |row: &'static str, key: &ExecutionKey| {
            Premise::read(row, Lookup { row: row.into(), ..execution_row(key, flow_of()) })
        };
        let edge_key = self.places.home().edge(&self.args.edge_id);

        let mut premises = self.places.premises();
        premises.extend([
            member(UPSTREAM, &self.upstream),
            member(DOWNSTREAM, &self.downstream),
            Premise::read(EDGE, lookup(EDGE, edge::REF, edge_key)),
        ]);
        premises
    }

    fn decide(&self, facts: &Facts, _: TimestampMs, _: &mut Ctx<'_>) -> Decided<Self::Outcome> {
        let Some((flow, row)) = self.places.found(facts) else {
            return self.places.elsewhere(facts, "flow_not_found").map(Verdict::AlsoRead);
        };

        self.check_flow(row)?;
        self.check_members(flow, facts.row(UPSTREAM), facts.row(DOWNSTREAM))?;

        if let Some(frontier) = self.search(facts)? {
            return Ok(Verdict::AlsoRead(vec![Query::List(Self::beyond(flow, &frontier))]));
        }

        if let Some(stored) = facts.row(EDGE) {
            let existing = read::edge(flow, stored)?;
            return Err(EngineError::Conflict(ConflictKind::DependencyAlreadyExists { existing }));
        }

        let staged = StageDependencyEdgeResult::Staged {
            edge_id: self.args.edge_id.clone(),
            new_graph_revision: self.args.expected_graph_revision.saturating_add(1),
        };
        Verdict::change(self.changes(flow), staged)
    }
}
