//! Submits a flow: creates its executions blocked, records their dependencies, and only then
//! releases them.
//!
//! Every step may be repeated, and every id follows from the flow's. An interrupted submission has
//! therefore left nothing running, and the next one of the same flow goes on from there.

use std::collections::{HashMap, HashSet};

use ff_core::EngineError;
use ff_core::contracts::{
    ApplyDependencyToChildArgs, CreateExecutionArgs, CreateExecutionResult, CreateFlowArgs,
    CreateFlowResult, EdgeDependencyPolicy, FlowGraph, FlowSnapshot, StageDependencyEdgeArgs,
    StageDependencyEdgeResult,
};
use ff_core::engine_backend::EngineBackend;
use ff_core::engine_error::{ConflictKind, ContentionKind, ValidationKind};
use ff_core::state::{ClosedSet, PublicFlowState};
use ff_core::types::{EdgeId, ExecutionId, FlowId, TimestampMs};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::difference::differences;
use super::{FlowSpec, NodeName, NodeSpec, edge_id, execution_id, member};
use crate::telemetry::Traceparent;

/// The number of executions created in one call.
const BATCH: usize = 500;

/// The number of nodes that have their dependencies applied at the same time.
const CONCURRENCY: usize = 16;

/// The number of differences that an error names.
const DIFFERENCES_SHOWN: usize = 5;

/// The number of times that the graph may change under one dependency before the submission gives
/// up.
const STALE_TRIES: u32 = 16;

/// The kind of every dependency: only an upstream that completes satisfies it.
const DEPENDENCY_KIND: &str = "success_only";

/// A submitted flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// The flow.
    pub flow_id: FlowId,
    /// The execution of each node, in the order of the nodes.
    pub executions: Vec<(NodeName, ExecutionId)>,
    /// The number of executions that this call created.
    pub created: usize,
    /// The number of executions that existed before.
    pub found: usize,
    /// The number of executions released at the end: those that wait for no other.
    pub released: u32,
}

/// An interrupted submission.
#[derive(Debug, thiserror::Error)]
#[error("flow {flow_id}: {doing}: {}", source.sentence())]
pub struct SubmitError {
    /// The flow.
    pub flow_id: FlowId,
    /// The step that failed.
    pub doing: String,
    /// The failure.
    pub source: EngineError,
    /// True if submitting the same flow again resumes it. False if another graph is stored under
    /// its id, or if the flow is refused before anything of it exists.
    pub can_go_on: bool,
}

/// Submits a flow under the id that it names, or else under a new one. A repetition with the same
/// id changes nothing that exists.
///
/// # Errors
/// The engine's refusal, and the step that it refused. Nothing of the flow runs before all of it
/// exists.
pub async fn submit(
    engine: &dyn EngineBackend,
    spec: &FlowSpec,
    now: TimestampMs,
) -> Result<Submitted, SubmitError> {
    submit_with(engine, spec, now, &|_| {}).await
}

/// Does the same as [`submit`], and reports progress: calls `done` after every few steps with their
/// number. There is one step per execution, and two per dependency.
///
/// # Errors
/// As [`submit`].
pub async fn submit_with(
    engine: &dyn EngineBackend,
    spec: &FlowSpec,
    now: TimestampMs,
    done: &(dyn Fn(usize) + Sync),
) -> Result<Submitted, SubmitError> {
    let flow_id = spec.flow_id().cloned().unwrap_or_default();
    Submission { engine, spec, flow_id, now, done }.run().await
}

struct Submission<'a> {
    engine: &'a dyn EngineBackend,
    spec: &'a FlowSpec,
    flow_id: FlowId,
    now: TimestampMs,
    done: &'a (dyn Fn(usize) + Sync),
}

impl Submission<'_> {
    async fn run(&self) -> Result<Submitted, SubmitError> {
        self.check_delays()?;
        let earlier = self.begin().await?;
        if let Some(graph) = &earlier {
            self.check_same(graph)?;
            // A flow that is over takes no changes, so the steps cannot be repeated.
            if self.is_complete_and_over(&graph.flow) {
                return Ok(self.submitted(0, 0));
            }
        }

        let created = self.create().await?;
        let flow = self.read_flow().await?;
        self.fix_policies(&flow).await?;

        let staged = earlier.into_iter().flat_map(|graph| graph.edges);
        let staged: HashSet<EdgeId> = staged.map(|edge| edge.edge_id).collect();
        self.stage(&staged, flow.graph_revision).await?;
        self.apply().await?;

        let released = self.engine.release_flow(&self.flow_id, self.now).await;
        let released = released.map_err(|error| self.error_at("releasing it", error))?;
        Ok(self.submitted(created, released))
    }

    /// Creates the flow, or reads what an earlier submission has left.
    async fn begin(&self) -> Result<Option<FlowGraph>, SubmitError> {
        let args = CreateFlowArgs {
            flow_id: self.flow_id.clone(),
            flow_kind: self.spec.kind().to_owned(),
            namespace: self.spec.namespace().clone(),
            now: self.now,
        };

        let created = self.engine.create_flow(args).await;
        match created.map_err(|error| self.error_at("creating it", error))? {
            CreateFlowResult::Created { .. } => Ok(None),
            CreateFlowResult::AlreadySatisfied { .. } => {
                let graph = self.engine.read_flow_graph(&self.flow_id).await;
                graph.map_err(|error| self.error_at("reading what is there", error))
            }
        }
    }

    /// Refuses a stored graph that contradicts this one.
    fn check_same(&self, stored: &FlowGraph) -> Result<(), SubmitError> {
        let differences = differences(&self.flow_id, self.spec, stored);
        let Some(first) = differences.first() else { return Ok(()) };

        let mut detail = first.clone();
        for difference in differences.iter().take(DIFFERENCES_SHOWN).skip(1) {
            detail.push_str("; ");
            detail.push_str(difference);
        }
        if DIFFERENCES_SHOWN < differences.len() {
            detail.push_str(&format!("; and {} more", differences.len() - DIFFERENCES_SHOWN));
        }

        let source = EngineError::Validation { kind: ValidationKind::InvalidInput, detail };
        let error = self.error_at("another graph is there under this id", source);
        Err(SubmitError { can_go_on: false, ..error })
    }

    /// True if nothing is missing, and nothing can be added any more.
    fn is_complete_and_over(&self, flow: &FlowSnapshot) -> bool {
        PublicFlowState::parse(&flow.public_flow_state).is_some_and(PublicFlowState::is_over)
            && usize::try_from(flow.node_count) == Ok(self.spec.nodes().len())
            && usize::try_from(flow.edge_count) == Ok(self.spec.edge_count())
    }

    /// Creates the executions. Returns how many are new.
    async fn create(&self) -> Result<usize, SubmitError> {
        let mut created = 0;
        for nodes in self.spec.nodes().chunks(BATCH) {
            let batch = nodes.iter().map(|node| self.execution(node));
            let batch = batch.collect::<Result<_, _>>()?;

            let answers = self.engine.create_flow_members(&self.flow_id, batch).await;
            for (node, answer) in nodes.iter().zip(answers) {
                match answer {
                    Ok(CreateExecutionResult::Created { .. }) => created += 1,
                    Ok(CreateExecutionResult::Duplicate { .. }) => {}
                    Err(error) => {
                        return Err(
                            self.error_at(format!("node {}: creating it", node.name), error)
                        );
                    }
                }
            }

            (self.done)(nodes.len());
        }
        Ok(created)
    }

    fn execution(&self, node: &NodeSpec) -> Result<CreateExecutionArgs, SubmitError> {
        let args = member::execution(&self.flow_id, self.spec.namespace(), node, self.now);
        let mut args = args.map_err(|detail| self.too_far(node, detail))?;
        if let Some(current) = Traceparent::current() {
            current.add_to(&mut args.tags);
        }
        Ok(args)
    }

    /// Refuses a delay that leads too far away, before anything exists.
    fn check_delays(&self) -> Result<(), SubmitError> {
        for node in self.spec.nodes() {
            let at = node.delay_until.map(|delay| delay.at(self.now)).transpose();
            at.map_err(|detail| self.too_far(node, detail))?;
        }
        Ok(())
    }

    /// The refusal of a delay that leads too far away.
    fn too_far(&self, node: &NodeSpec, detail: String) -> SubmitError {
        let source = EngineError::Validation { kind: ValidationKind::InvalidInput, detail };
        let error = self.error_at(format!("node {}", node.name), source);
        SubmitError { can_go_on: false, ..error }
    }

    async fn read_flow(&self) -> Result<FlowSnapshot, SubmitError> {
        let flow = self.engine.describe_flow(&self.flow_id).await;
        let flow = flow
            .and_then(|flow| flow.ok_or(EngineError::NotFound { entity: "flow" }))
            .map_err(|error| self.error_at("reading it", error))?;
        Ok(flow)
    }

    /// Sets each node's policy before its first dependency is staged.
    async fn fix_policies(&self, flow: &FlowSnapshot) -> Result<(), SubmitError> {
        let stored = policies(flow);
        for node in self.spec.nodes() {
            let id = execution_id(&self.flow_id, &node.name);
            if *stored.get(&id).unwrap_or(&EdgeDependencyPolicy::AllOf) == node.needs {
                continue;
            }

            let needs = node.needs.clone();
            if let Err(error) = self.engine.set_edge_group_policy(&self.flow_id, &id, needs).await {
                // Too late for a change; but another submission may have set the same policy.
                let flow = self.read_flow().await?;
                if policies(&flow).get(&id) != Some(&node.needs) {
                    let doing = format!("node {}: saying how many it needs", node.name);
                    return Err(self.error_at(doing, error));
                }
            }
        }
        Ok(())
    }

    /// Records the dependencies, each with the revision of the graph that it follows.
    async fn stage(&self, staged: &HashSet<EdgeId>, mut revision: u64) -> Result<(), SubmitError> {
        for (upstream, node) in self.edges() {
            let edge_id = edge_id(&self.flow_id, upstream, &node.name);
            if !staged.contains(&edge_id) {
                revision = self.stage_one(upstream, &node.name, edge_id, revision).await?;
            }
            (self.done)(1);
        }
        Ok(())
    }

    async fn stage_one(
        &self,
        upstream: &NodeName,
        downstream: &NodeName,
        edge_id: EdgeId,
        mut revision: u64,
    ) -> Result<u64, SubmitError> {
        let mut tries = 0;
        loop {
            let args = StageDependencyEdgeArgs {
                flow_id: self.flow_id.clone(),
                edge_id: edge_id.clone(),
                upstream_execution_id: execution_id(&self.flow_id, upstream),
                downstream_execution_id: execution_id(&self.flow_id, downstream),
                dependency_kind: DEPENDENCY_KIND.to_owned(),
                data_passing_ref: None,
                expected_graph_revision: revision,
                now: self.now,
            };

            match self.engine.stage_dependency_edge(args).await {
                Ok(StageDependencyEdgeResult::Staged { new_graph_revision, .. }) => {
                    return Ok(new_graph_revision);
                }
                Err(EngineError::Conflict(ConflictKind::DependencyAlreadyExists { .. })) => {
                    return Ok(revision);
                }
                // Another submission of the flow has changed the graph meanwhile.
                Err(EngineError::Contention(ContentionKind::StaleGraphRevision))
                    if tries < STALE_TRIES =>
                {
                    tries += 1;
                    revision = self.read_flow().await?.graph_revision;
                }
                Err(error) => {
                    let doing = format!("node {downstream}: letting it wait for {upstream}");
                    return Err(self.error_at(doing, error));
                }
            }
        }
    }

    /// Applies the dependencies: concurrently over nodes, but those of one node one by one, since
    /// they count in one row.
    async fn apply(&self) -> Result<(), SubmitError> {
        let revision = self.read_flow().await?.graph_revision;
        let mut applying = Vec::new();
        for node in self.spec.nodes() {
            if !node.after.is_empty() {
                applying.push(self.apply_to(node, revision));
            }
        }
        stream::iter(applying).buffer_unordered(CONCURRENCY).try_collect().await
    }

    async fn apply_to(&self, node: &NodeSpec, graph_revision: u64) -> Result<(), SubmitError> {
        for upstream in &node.after {
            let args = ApplyDependencyToChildArgs {
                flow_id: self.flow_id.clone(),
                edge_id: edge_id(&self.flow_id, upstream, &node.name),
                downstream_execution_id: execution_id(&self.flow_id, &node.name),
                upstream_execution_id: execution_id(&self.flow_id, upstream),
                graph_revision,
                dependency_kind: DEPENDENCY_KIND.to_owned(),
                data_passing_ref: None,
                now: self.now,
            };

            let applied = self.engine.apply_dependency_to_child(args).await;
            applied.map_err(|error| {
                self.error_at(
                    format!("node {}: applying its wait for {upstream}", node.name),
                    error,
                )
            })?;
            (self.done)(1);
        }
        Ok(())
    }

    /// The dependencies, in the order of the downstream nodes.
    fn edges(&self) -> impl Iterator<Item = (&NodeName, &NodeSpec)> {
        let nodes = self.spec.nodes().iter();
        nodes.flat_map(|node| node.after.iter().map(move |upstream| (upstream, node)))
    }

    fn submitted(&self, created: usize, released: u32) -> Submitted {
        let nodes = self.spec.nodes();
        let executions = nodes
            .iter()
            .map(|node| (node.name.clone(), execution_id(&self.flow_id, &node.name)))
            .collect();

        let found = nodes.len().saturating_sub(created);
        Submitted { flow_id: self.flow_id.clone(), executions, created, found, released }
    }

    fn error_at(&self, doing: impl Into<String>, source: EngineError) -> SubmitError {
        let flow_id = self.flow_id.clone();
        SubmitError { flow_id, doing: doing.into(), source, can_go_on: true }
    }
}

/// The stored policy of each member that has one.
fn policies(flow: &FlowSnapshot) -> HashMap<ExecutionId, EdgeDependencyPolicy> {
    let groups = flow.edge_groups.iter();
    groups.map(|group| (group.downstream_execution_id.clone(), group.policy.clone())).collect()
}

#[cfg(all(test, feature = "memory"))]
mod tests;
