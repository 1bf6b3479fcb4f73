//! The policy of a group, which says how many dependencies an execution needs.

use serde_json::{Value as Json, json};

use crate::contracts::{EdgeDependencyPolicy, OnSatisfied, SetEdgeGroupPolicyResult};
use crate::model::error::EngineError;
use crate::model::ids::{ExecutionId, FlowId, TimestampMs};
use crate::model::partition::PartitionConfig;
use crate::plan::facts::Facts;
use crate::plan::{Lookup, Mutation, OnConflict, OnTaken, Query};
use crate::rules::changes::Changes;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Verdict};
use crate::rules::flow::edges::an_edge_into;
use crate::rules::flow::key::{FlowKey, GROUP, Places};
use crate::rules::flow::tally::needed;
use crate::rules::input;
use crate::rules::key::ExecutionKey;
use crate::rules::premise::Premise;
use crate::schema::flow::{edge_group, flow_core};

/// The policy as it is stored.
#[must_use]
pub fn encode(policy: &EdgeDependencyPolicy) -> Json {
    let kind = policy.variant_str();
    match policy {
        EdgeDependencyPolicy::AllOf => json!({ "kind": kind }),
        EdgeDependencyPolicy::AnyOf { on_satisfied } => {
            json!({ "kind": kind, "on_satisfied": on_satisfied.variant_str() })
        }
        EdgeDependencyPolicy::Quorum { k, on_satisfied } => {
            json!({ "kind": kind, "k": k, "on_satisfied": on_satisfied.variant_str() })
        }
    }
}

/// The policy that a stored document means. A missing or unknown part takes its default: all of
/// them, a quorum of one, cancelling the others.
#[must_use]
pub fn decode(stored: &Json) -> EdgeDependencyPolicy {
    let text = |member: &str| stored.get(member).and_then(Json::as_str);
    let on_satisfied = match text("on_satisfied") {
        Some("let_run") => OnSatisfied::LetRun,
        Some(_) | None => OnSatisfied::CancelRemaining,
    };

    match text("kind") {
        Some("any_of") => EdgeDependencyPolicy::AnyOf { on_satisfied },
        Some("quorum") => {
            let stored = stored.get("k").and_then(Json::as_u64);
            let k = stored.and_then(|k| u32::try_from(k).ok()).unwrap_or(1);
            EdgeDependencyPolicy::Quorum { k, on_satisfied }
        }
        Some(_) | None => EdgeDependencyPolicy::AllOf,
    }
}

/// Returns true if the remaining upstreams are cancelled once enough have succeeded.
#[must_use]
pub fn cancels_remaining(policy: &EdgeDependencyPolicy) -> bool {
    match policy {
        EdgeDependencyPolicy::AllOf => false,
        EdgeDependencyPolicy::AnyOf { on_satisfied }
        | EdgeDependencyPolicy::Quorum { on_satisfied, .. } => {
            *on_satisfied == OnSatisfied::CancelRemaining
        }
    }
}

/// Fixes how many of its dependencies an execution needs. Possible until the first of them is
/// staged; until then the last call wins.
#[derive(Clone, Debug)]
pub struct SetPolicy {
    places: Places,
    downstream: ExecutionKey,
    policy: EdgeDependencyPolicy,
}

impl SetPolicy {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for a quorum of none, or of more than a row can store.
    pub fn new(
        flow: &FlowId,
        downstream: &ExecutionId,
        policy: EdgeDependencyPolicy,
        partitions: &PartitionConfig,
    ) -> Result<Self, EngineError> {
        if let EdgeDependencyPolicy::Quorum { k, .. } = policy {
            if k == 0 {
                return Err(input::invalid("quorum k must be >= 1"));
            }
            if i32::try_from(k).is_err() {
                return Err(input::invalid(format!("quorum k {k} exceeds {}", i32::MAX)));
            }
        }

        let places = Places::with_member(flow, downstream, partitions)?;
        Ok(Self { places, downstream: ExecutionKey::of(downstream)?, policy })
    }

    fn group_row(&self, flow: FlowKey) -> Lookup {
        Lookup {
            row: GROUP.into(),
            table: edge_group::REF,
            key: flow.group(self.downstream.uuid),
            columns: vec![edge_group::policy.column()],
        }
    }

    fn changes(&self, flow: FlowKey, revision: i64) -> Changes {
        let mut row = flow.group(self.downstream.uuid);
        row.push(edge_group::policy.with(encode(&self.policy)));
        row.push(edge_group::k_target.with(needed(&self.policy, 0)));
        row.push(edge_group::version.with(1));

        let on_conflict = OnConflict::Update(vec![
            (edge_group::policy.column(), OnTaken::Overwrite),
            (edge_group::k_target.column(), OnTaken::Overwrite),
            (edge_group::version.column(), OnTaken::Add),
        ]);

        // Staging an edge grows the revision.
        let same_graph = flow_core::graph_revision.equals(revision);
        Changes::of([Mutation::insert(edge_group::REF, row, on_conflict)])
            .holding([flow.guard(same_graph)])
    }
}

impl Decision for SetPolicy {
    type Outcome = SetEdgeGroupPolicyResult;

    const NAME: &'static str = "set_edge_group_policy";

    fn premises(&self, _: TimestampMs) -> Vec<Premise<Self::Outcome>> {
        self.places.premises()
    }

    fn decide(&self, facts: &Facts, _: TimestampMs, _: &mut Ctx<'_>) -> Decided<Self::Outcome> {
        let Some((flow, row)) = self.places.found(facts) else {
            return Err(input::invalid("flow_not_found"));
        };
        if flow.partition != self.downstream.partition {
            return Err(input::invalid("execution_not_in_flow"));
        }

        let edge = an_edge_into(flow, self.downstream.uuid);
        let Some(edges) = facts.list(&edge) else {
            let group = Query::Lookup(vec![self.group_row(flow)]);
            return Ok(Verdict::AlsoRead(vec![group, Query::List(edge)]));
        };

        if !edges.is_empty() {
            return Err(input::invalid(
                "edge_group_policy_already_fixed: dependencies already staged",
            ));
        }

        let stored = facts.row(GROUP).map(|group| group.read(edge_group::policy)).transpose()?;
        if stored == Some(encode(&self.policy)) {
            return Ok(Verdict::Answer(SetEdgeGroupPolicyResult::AlreadySet));
        }

        let revision = row.read(flow_core::graph_revision)?;
        Verdict::change(self.changes(flow, revision), SetEdgeGroupPolicyResult::Set)
    }
}
