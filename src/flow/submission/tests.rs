use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use ff_backend_memory::MemoryBackend;
use ff_core::backend::{CapabilitySet, ClaimPolicy};
use ff_core::contracts::{ApplyDependencyToChildResult, SetEdgeGroupPolicyResult};
use ff_core::types::LaneId;

use super::*;

const NOW: TimestampMs = TimestampMs(1_000);

const SPEC: &str = r#"{
    "kind": "f", "flow_id": "550e8400-e29b-41d4-a716-446655440000",
    "nodes": [
        { "name": "a", "kind": "k", "payload": "" },
        { "name": "b", "kind": "k", "payload": "" },
        { "name": "c", "kind": "k", "payload": "", "after": ["a", "b"], "needs": "any" },
        { "name": "d", "kind": "k", "payload": "", "after": ["a", "b"], "needs": { "quorum": 1 },
          "on_satisfied": "cancel_remaining" },
        { "name": "e", "kind": "k", "payload": "", "after": ["c", "d"] }
    ]
}"#;

/// An engine that passes on a number of calls, then fails: before the call, or in place of its
/// answer.
struct CutShort {
    engine: MemoryBackend,
    left: AtomicUsize,
    answer_is_lost: bool,
}

impl CutShort {
    async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, EngineError>>,
    ) -> Result<T, EngineError> {
        let cut = EngineError::Unavailable { op: "cut short" };
        let left = self.left.load(Ordering::SeqCst);
        if left == 0 {
            return Err(cut);
        }

        self.left.store(left - 1, Ordering::SeqCst);
        let answer = call.await?;
        if left == 1 && self.answer_is_lost { Err(cut) } else { Ok(answer) }
    }
}

#[async_trait]
impl EngineBackend for CutShort {
    async fn create_flow(&self, args: CreateFlowArgs) -> Result<CreateFlowResult, EngineError> {
        self.call(self.engine.create_flow(args)).await
    }

    async fn create_flow_members(
        &self,
        flow_id: &FlowId,
        batch: Vec<CreateExecutionArgs>,
    ) -> Vec<Result<CreateExecutionResult, EngineError>> {
        let mut answers = Vec::new();
        for args in batch {
            let one =
                async { self.engine.create_flow_members(flow_id, vec![args]).await.pop().unwrap() };
            answers.push(self.call(one).await);
        }
        answers
    }

    async fn describe_flow(&self, id: &FlowId) -> Result<Option<FlowSnapshot>, EngineError> {
        self.call(self.engine.describe_flow(id)).await
    }

    async fn read_flow_graph(&self, id: &FlowId) -> Result<Option<FlowGraph>, EngineError> {
        self.call(self.engine.read_flow_graph(id)).await
    }

    async fn set_edge_group_policy(
        &self,
        flow_id: &FlowId,
        downstream: &ExecutionId,
        policy: EdgeDependencyPolicy,
    ) -> Result<SetEdgeGroupPolicyResult, EngineError> {
        self.call(self.engine.set_edge_group_policy(flow_id, downstream, policy)).await
    }

    async fn stage_dependency_edge(
        &self,
        args: StageDependencyEdgeArgs,
    ) -> Result<StageDependencyEdgeResult, EngineError> {
        self.call(self.engine.stage_dependency_edge(args)).await
    }

    async fn apply_dependency_to_child(
        &self,
        args: ApplyDependencyToChildArgs,
    ) -> Result<ApplyDependencyToChildResult, EngineError> {
        self.call(self.engine.apply_dependency_to_child(args)).await
    }

    async fn release_flow(&self, flow_id: &FlowId, now: TimestampMs) -> Result<u32, EngineError> {
        self.call(self.engine.release_flow(flow_id, now)).await
    }
}

fn memory() -> MemoryBackend {
    MemoryBackend::new().with_clock(Box::new(|| NOW))
}

async fn claimable(engine: &MemoryBackend) -> usize {
    let terms = ClaimPolicy::new("w".into(), "w-1".into(), 1_000, None);
    let lane = LaneId::new("default");
    engine.claim_many(&lane, &CapabilitySet::default(), terms, 10).await.unwrap().len()
}

async fn graph(engine: &MemoryBackend, spec: &FlowSpec) -> FlowGraph {
    engine.read_flow_graph(spec.flow_id().unwrap()).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_submission_cut_short_anywhere_leaves_nothing_running_and_can_go_on() {
    let spec = FlowSpec::parse(SPEC).unwrap();

    let whole = memory();
    let submitted = submit(&whole, &spec, NOW).await.unwrap();
    assert_eq!((submitted.created, submitted.found, submitted.released), (5, 0, 2));
    let expected = graph(&whole, &spec).await;

    for answer_is_lost in [false, true] {
        for calls in 0.. {
            let left = AtomicUsize::new(calls);
            let cut = CutShort { engine: memory(), left, answer_is_lost };
            if submit(&cut, &spec, NOW).await.is_ok() {
                assert_eq!(calls, if answer_is_lost { 24 } else { 23 }, "not all calls were cut");
                break;
            }

            let was_released = answer_is_lost && calls == 23;
            if !was_released {
                assert_eq!(claimable(&cut.engine).await, 0, "after {calls} calls");
            }

            let resumed = submit(&cut.engine, &spec, NOW).await.unwrap();
            assert_eq!(resumed.created + resumed.found, 5);
            assert_eq!(resumed.executions, submitted.executions);
            assert_eq!(graph(&cut.engine, &spec).await, expected, "after {calls} calls");
            assert_eq!(claimable(&cut.engine).await, 2);
        }
    }
}

#[tokio::test]
async fn submissions_side_by_side_make_one_flow() {
    let spec = FlowSpec::parse(SPEC).unwrap();

    let engine = memory();
    let both = tokio::join!(submit(&engine, &spec, NOW), submit(&engine, &spec, NOW));
    let (one, other) = (both.0.unwrap(), both.1.unwrap());
    assert_eq!(one.created + other.created, 5);

    let alone = memory();
    submit(&alone, &spec, NOW).await.unwrap();

    let (shared, alone) = (graph(&engine, &spec).await, graph(&alone, &spec).await);
    assert_eq!((shared.members, shared.edges), (alone.members, alone.edges));
    assert_eq!(shared.flow.edge_groups, alone.flow.edge_groups);
}

#[tokio::test]
async fn a_need_that_was_fixed_otherwise_is_refused_with_its_node() {
    let spec = FlowSpec::parse(SPEC).unwrap();
    let engine = memory();
    submit(&engine, &spec, NOW).await.unwrap();

    let other = SPEC.replace(r#""needs": "any""#, r#""needs": "all""#);
    let error = submit(&engine, &FlowSpec::parse(&other).unwrap(), NOW).await.unwrap_err();
    assert!(!error.can_go_on);

    let error = error.to_string();
    assert!(error.contains("another graph is there under this id: "), "{error}");
    assert!(error.contains("node c needs any there, and all in this graph"), "{error}");
}

#[tokio::test]
async fn another_graph_under_the_same_id_is_refused_with_what_differs() {
    let engine = memory();
    submit(&engine, &FlowSpec::parse(SPEC).unwrap(), NOW).await.unwrap();
    let before = graph(&engine, &FlowSpec::parse(SPEC).unwrap()).await;
    for (from, to, differs) in [
        (r#""name": "e""#, r#""name": "z""#, "node e is there, and not in this graph"),
        (r#""after": ["c", "d"]"#, r#""after": ["c"]"#, "node e waits for d there, and not in"),
        (
            r#"{ "name": "a", "kind": "k""#,
            r#"{ "name": "a", "kind": "x""#,
            "node a is of kind k there",
        ),
    ] {
        let other = SPEC.replace(from, to);
        assert_ne!(other, SPEC);
        let error = submit(&engine, &FlowSpec::parse(&other).unwrap(), NOW).await.unwrap_err();
        assert!(!error.can_go_on && error.to_string().contains(differs), "{error}");
        assert_eq!(graph(&engine, &FlowSpec::parse(SPEC).unwrap()).await, before);
    }
    // Nothing was lost: the first graph is still accepted.
    submit(&engine, &FlowSpec::parse(SPEC).unwrap(), NOW).await.unwrap();
}

#[tokio::test]
async fn steps_are_counted_to_the_end() {
    let spec = FlowSpec::parse(SPEC).unwrap();
    let steps = AtomicUsize::new(0);
    let done = |more| {
        steps.fetch_add(more, Ordering::SeqCst);
    };
    // Callers may spawn the submission, so its future must be `Send`.
    fn sendable<T: Send>(future: T) -> T {
        future
    }

    sendable(submit_with(&memory(), &spec, NOW, &done)).await.unwrap();
    assert_eq!(steps.into_inner(), spec.nodes().len() + 2 * spec.edge_count());
}
