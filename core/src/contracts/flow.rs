//! Flows: graphs of executions, their edges and how those are resolved.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::ids::{
    AttemptIndex, EdgeId, ExecutionId, FlowId, LaneId, Namespace, TimestampMs,
};
use crate::model::partition::Partition;

/// Asks for a flow to be created.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CreateFlowArgs {
    /// The flow to create.
    pub flow_id: FlowId,
    /// The kind of flow, as the submitter names it.
    pub flow_kind: String,
    /// The tenant that it belongs to.
    pub namespace: Namespace,
    /// The time of the call.
    pub now: TimestampMs,
}

/// The outcome of creating a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CreateFlowResult {
    /// The flow was created.
    Created {
        /// The flow.
        flow_id: FlowId,
    },
    /// The flow existed before; nothing changed.
    AlreadySatisfied {
        /// The flow.
        flow_id: FlowId,
    },
}

/// Asks for an execution to become a member of a flow.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AddExecutionToFlowArgs {
    /// The flow.
    pub flow_id: FlowId,
    /// The execution to attach.
    pub execution_id: ExecutionId,
    /// The time of the call.
    pub now: TimestampMs,
}

/// The outcome of attaching an execution to a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AddExecutionToFlowResult {
    /// The execution became a member.
    Added {
        /// The new member.
        execution_id: ExecutionId,
        /// The number of members that the flow has now.
        new_node_count: u32,
    },
    /// The execution was a member before; nothing changed.
    AlreadyMember {
        /// The member.
        execution_id: ExecutionId,
        /// The number of members that the flow has.
        node_count: u32,
    },
}

/// Asks for a flow to be cancelled.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CancelFlowArgs {
    /// The flow.
    pub flow_id: FlowId,
    /// The reason, in plain words.
    pub reason: String,
    /// The stored name of the policy that selects the members to cancel.
    pub cancellation_policy: String,
    /// The time of the call.
    pub now: TimestampMs,
}

/// The outcome of cancelling a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CancelFlowResult {
    /// The flow and the members that the policy covers are cancelled.
    Cancelled {
        /// The policy that was applied.
        cancellation_policy: String,
        /// The members that it covers.
        member_execution_ids: Vec<String>,
    },
    /// The flow is cancelled; its members follow.
    CancellationScheduled {
        /// The policy that is applied.
        cancellation_policy: String,
        /// The number of members that the policy covers.
        member_count: u32,
        /// The members that it covers.
        member_execution_ids: Vec<String>,
    },
    /// The flow is cancelled, but some members could not be.
    PartiallyCancelled {
        /// The policy that was applied.
        cancellation_policy: String,
        /// The members that it covers.
        member_execution_ids: Vec<String>,
        /// The members that could not be cancelled.
        failed_member_execution_ids: Vec<String>,
    },
}

/// The outcome of cancelling a flow's own row.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CancelFlowHeader {
    /// The flow was cancelled by this call.
    Cancelled {
        /// The policy that applies to its members.
        cancellation_policy: String,
        /// The members that are left to cancel.
        member_execution_ids: Vec<String>,
    },
    /// The flow had ended before.
    AlreadyTerminal {
        /// The policy of the earlier cancellation, if it was one.
        stored_cancellation_policy: Option<String>,
        /// The reason of the earlier cancellation, if it was one.
        stored_cancel_reason: Option<String>,
        /// Its members.
        member_execution_ids: Vec<String>,
    },
}

fn default_dependency_kind() -> String {
    "success_only".to_owned()
}

/// Asks for a dependency between two members of a flow.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StageDependencyEdgeArgs {
    /// The flow.
    pub flow_id: FlowId,
    /// The edge to create.
    pub edge_id: EdgeId,
    /// The member that must end first.
    pub upstream_execution_id: ExecutionId,
    /// The member that waits for it.
    pub downstream_execution_id: ExecutionId,
    /// The way in which the upstream member must end.
    #[serde(default = "default_dependency_kind")]
    pub dependency_kind: String,
    /// The part of the upstream's result that the downstream receives.
    #[serde(default)]
    pub data_passing_ref: Option<String>,
    /// The revision of the graph that the caller has seen.
    pub expected_graph_revision: u64,
    /// The time of the call.
    pub now: TimestampMs,
}

/// The outcome of staging a dependency between two members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StageDependencyEdgeResult {
    /// The edge was recorded; it takes effect once it is applied.
    Staged {
        /// The edge.
        edge_id: EdgeId,
        /// The revision of the graph that has it.
        new_graph_revision: u64,
    },
}

/// Asks for a staged dependency to take effect.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ApplyDependencyToChildArgs {
    /// The flow.
    pub flow_id: FlowId,
    /// The staged edge.
    pub edge_id: EdgeId,
    /// The member that waits.
    pub downstream_execution_id: ExecutionId,
    /// The member that must end first.
    pub upstream_execution_id: ExecutionId,
    /// The revision of the graph that has the edge.
    pub graph_revision: u64,
    /// The way in which the upstream member must end.
    #[serde(default = "default_dependency_kind")]
    pub dependency_kind: String,
    /// The part of the upstream's result that the downstream receives.
    #[serde(default)]
    pub data_passing_ref: Option<String>,
    /// The time of the call.
    pub now: TimestampMs,
}

/// The outcome of applying a staged dependency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApplyDependencyToChildResult {
    /// The edge takes effect.
    Applied {
        /// The number of dependencies that the member still waits for.
        unsatisfied_count: u32,
    },
    /// The edge took effect before; nothing changed.
    AlreadyApplied,
}

/// Asks for one edge to be resolved, its upstream member having ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ResolveDependencyArgs {
    /// The partition of the flow.
    pub partition: Partition,
    /// The flow.
    pub flow_id: FlowId,
    /// The member that waits.
    pub downstream_execution_id: ExecutionId,
    /// The member that has ended.
    pub upstream_execution_id: ExecutionId,
    /// The edge between them.
    pub edge_id: EdgeId,
    /// The lane of the member that waits.
    pub lane_id: LaneId,
    /// The current attempt of the member that waits.
    pub current_attempt_index: AttemptIndex,
    /// The outcome of the upstream member.
    pub upstream_outcome: String,
    /// The time of the call.
    pub now: TimestampMs,
}

impl ResolveDependencyArgs {
    /// Puts the parts together.
    #[must_use]
    #[allow(clippy::too_many_arguments)] // one per field
    pub fn new(
        partition: Partition,
        flow_id: FlowId,
        downstream_execution_id: ExecutionId,
        upstream_execution_id: ExecutionId,
        edge_id: EdgeId,
        lane_id: LaneId,
        current_attempt_index: AttemptIndex,
        upstream_outcome: String,
        now: TimestampMs,
    ) -> Self {
        Self {
            partition,
            flow_id,
            downstream_execution_id,
            upstream_execution_id,
            edge_id,
            lane_id,
            current_attempt_index,
            upstream_outcome,
            now,
        }
    }
}

/// The outcome of resolving one edge.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResolveDependencyOutcome {
    /// The dependency holds.
    Satisfied,
    /// The dependency can no longer hold.
    Impossible,
    /// The edge was resolved before; nothing changed.
    AlreadyResolved,
}

/// The effects of one execution's end in its flow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CascadeOutcome {
    /// The number of edges that were resolved, or dispatched to be.
    pub resolved: usize,
    /// The number of members that changed state because of it.
    pub cascaded_children: usize,
    /// True if all effects happened within the call.
    pub synchronous: bool,
}

impl CascadeOutcome {
    /// Everything happened within the call.
    #[must_use]
    pub fn synchronous(resolved: usize, cascaded_children: usize) -> Self {
        Self { resolved, cascaded_children, synchronous: true }
    }

    /// The effects were dispatched and happen after the call.
    #[must_use]
    pub fn async_dispatched(advanced: usize) -> Self {
        Self { resolved: advanced, cascaded_children: 0, synchronous: false }
    }
}

/// Asks whether an execution's dependencies let it run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EvaluateFlowEligibilityArgs {
    /// The execution.
    pub execution_id: ExecutionId,
}

/// The outcome of a wait for another execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildWait {
    /// The lease is released, and the execution goes on once the other one has ended.
    Waiting,
    /// The other one has ended. Nothing changed, and the lease is held.
    Ended,
}

/// The answer to whether an execution's dependencies let it run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EvaluateFlowEligibilityResult {
    /// The answer.
    Status {
        /// The answer in one word.
        status: String,
    },
}

/// The edges of one execution in one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EdgeDirection {
    /// The edges to those that wait for it.
    Outgoing {
        /// The execution.
        from_node: ExecutionId,
    },
    /// The edges from those that it waits for.
    Incoming {
        /// The execution.
        to_node: ExecutionId,
    },
}

impl EdgeDirection {
    /// The execution that the edges belong to.
    #[must_use]
    pub fn subject(&self) -> &ExecutionId {
        match self {
            Self::Outgoing { from_node } => from_node,
            Self::Incoming { to_node } => to_node,
        }
    }
}

/// The number of its dependencies that an execution needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum EdgeDependencyPolicy {
    /// All of them.
    AllOf,
    /// Any one of them.
    AnyOf {
        /// The action on the other dependencies once enough of them hold.
        on_satisfied: OnSatisfied,
    },
    /// A number of them.
    Quorum {
        /// The number of dependencies needed.
        k: u32,
        /// The action on the other dependencies once enough of them hold.
        on_satisfied: OnSatisfied,
    },
}

impl EdgeDependencyPolicy {
    /// All dependencies are needed.
    #[must_use]
    pub fn all_of() -> Self {
        Self::AllOf
    }

    /// Any one dependency suffices.
    #[must_use]
    pub fn any_of(on_satisfied: OnSatisfied) -> Self {
        Self::AnyOf { on_satisfied }
    }

    /// `k` dependencies suffice.
    #[must_use]
    pub fn quorum(k: u32, on_satisfied: OnSatisfied) -> Self {
        Self::Quorum { k, on_satisfied }
    }

    /// The policy's stored name, without its parameters.
    #[must_use]
    pub fn variant_str(&self) -> &'static str {
        match self {
            Self::AllOf => "all_of",
            Self::AnyOf { .. } => "any_of",
            Self::Quorum { .. } => "quorum",
        }
    }
}

/// The action on the other dependencies once enough of them hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnSatisfied {
    /// Those still running are cancelled.
    CancelRemaining,
    /// They run on.
    LetRun,
}

impl OnSatisfied {
    /// The others are cancelled.
    #[must_use]
    pub fn cancel_remaining() -> Self {
        Self::CancelRemaining
    }

    /// The others run on.
    #[must_use]
    pub fn let_run() -> Self {
        Self::LetRun
    }

    /// The stored name.
    #[must_use]
    pub fn variant_str(&self) -> &'static str {
        match self {
            Self::CancelRemaining => "cancel_remaining",
            Self::LetRun => "let_run",
        }
    }
}

/// The state of one execution's dependencies, taken together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EdgeGroupState {
    /// Not decided yet.
    Pending,
    /// Enough of them hold.
    Satisfied,
    /// Not enough of them can hold any more.
    Impossible,
    /// The flow was cancelled before it was decided.
    Cancelled,
}

impl EdgeGroupState {
    /// The state that `s` spells; an unknown word reads as pending.
    #[must_use]
    pub fn from_literal(s: &str) -> Self {
        match s {
            "satisfied" => Self::Satisfied,
            "impossible" => Self::Impossible,
            "cancelled" => Self::Cancelled,
            _ => Self::Pending,
        }
    }

    /// The stored name.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Satisfied => "satisfied",
            Self::Impossible => "impossible",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The dependencies of one execution, taken together.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EdgeGroupSnapshot {
    /// The execution that waits.
    pub downstream_execution_id: ExecutionId,
    /// The policy: how many of the dependencies must hold.
    pub policy: EdgeDependencyPolicy,
    /// The number of dependencies.
    pub total_deps: u32,
    /// The number of dependencies that hold.
    pub satisfied_count: u32,
    /// The number of upstreams that ended without success, skipped ones excepted.
    pub failed_count: u32,
    /// The number of upstreams that were skipped.
    pub skipped_count: u32,
    /// The number of upstreams that have not ended.
    pub running_count: u32,
    /// The state of the group.
    pub group_state: EdgeGroupState,
}

impl EdgeGroupSnapshot {
    /// Puts the parts together.
    #[must_use]
    #[allow(clippy::too_many_arguments)] // one per field
    pub fn new(
        downstream_execution_id: ExecutionId,
        policy: EdgeDependencyPolicy,
        total_deps: u32,
        satisfied_count: u32,
        failed_count: u32,
        skipped_count: u32,
        running_count: u32,
        group_state: EdgeGroupState,
    ) -> Self {
        Self {
            downstream_execution_id,
            policy,
            total_deps,
            satisfied_count,
            failed_count,
            skipped_count,
            running_count,
            group_state,
        }
    }
}

/// The outcome of fixing a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SetEdgeGroupPolicyResult {
    /// The policy is fixed.
    Set,
    /// The same policy was fixed before; nothing changed.
    AlreadySet,
}

/// The members that a flow's cancellation covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CancelFlowPolicy {
    /// The flow alone: `cancel_flow_only`.
    FlowOnly,
    /// Every member that is not over: `cancel_all`.
    CancelAll,
    /// Every member that has not begun: `cancel_pending`.
    CancelPending,
}

/// The time that a flow's cancellation waits for its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CancelFlowWait {
    /// Not at all.
    NoWait,
    /// At most this long.
    WaitTimeout(Duration),
    /// Until all are over.
    WaitIndefinite,
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::contracts::ResolveDependencyResult;

    #[test]
    fn policies_are_tagged_by_kind() {
        let cases = [
            (EdgeDependencyPolicy::all_of(), r#"{"kind":"all_of"}"#),
            (
                EdgeDependencyPolicy::any_of(OnSatisfied::cancel_remaining()),
                r#"{"kind":"any_of","on_satisfied":"cancel_remaining"}"#,
            ),
            (
                EdgeDependencyPolicy::quorum(2, OnSatisfied::let_run()),
                r#"{"kind":"quorum","k":2,"on_satisfied":"let_run"}"#,
            ),
        ];

        for (policy, json) in cases {
            assert_eq!(serde_json::to_string(&policy).unwrap(), json);
            let read: EdgeDependencyPolicy = serde_json::from_str(json).unwrap();
            assert_eq!(read, policy);
            assert!(json.contains(&format!("\"{}\"", policy.variant_str())));
        }

        for refused in [
            "{}",
            r#"{"kind":"none_of"}"#,
            r#"{"kind":"any_of"}"#,
            r#"{"kind":"quorum","k":-1,"on_satisfied":"let_run"}"#,
        ] {
            assert!(serde_json::from_str::<EdgeDependencyPolicy>(refused).is_err());
        }
    }

    #[test]
    fn group_states_read_back_and_unknown_words_are_pending() {
        for state in [
            EdgeGroupState::Pending,
            EdgeGroupState::Satisfied,
            EdgeGroupState::Impossible,
            EdgeGroupState::Cancelled,
        ] {
            assert_eq!(EdgeGroupState::from_literal(state.as_str()), state);
            let json = serde_json::to_string(&state).unwrap();
            assert_eq!(json, format!("\"{}\"", state.as_str()));
        }
        assert_eq!(EdgeGroupState::from_literal("?"), EdgeGroupState::Pending);
    }

    #[test]
    fn the_dependency_kind_defaults_to_success_only() {
        let id = ExecutionId::from_parts(0, Uuid::nil());
        let json = format!(
            r#"{{"flow_id":"{0}","edge_id":"{0}","upstream_execution_id":"{id}",
            "downstream_execution_id":"{id}","expected_graph_revision":0,"now":0}}"#,
            Uuid::nil()
        );

        let args: StageDependencyEdgeArgs = serde_json::from_str(&json).unwrap();

        assert_eq!(args.dependency_kind, "success_only");

        assert_eq!(args.data_passing_ref, None);
    }

    #[test]
    fn small_helpers() {
        let id = ExecutionId::from_parts(0, Uuid::nil());

        let to_node = id.clone();

        assert_eq!(EdgeDirection::Incoming { to_node }.subject(), &id);

        let done = CascadeOutcome::synchronous(2, 1);

        assert_eq!((done.resolved, done.cascaded_children), (2, 1));

        assert!(done.synchronous);

        let later = CascadeOutcome::async_dispatched(3);

        assert_eq!((later.resolved, later.cascaded_children), (3, 0));

        assert!(!later.synchronous);

        assert_eq!(
            ResolveDependencyOutcome::from(ResolveDependencyResult::Impossible),
            ResolveDependencyOutcome::Impossible
        );
    }
}
