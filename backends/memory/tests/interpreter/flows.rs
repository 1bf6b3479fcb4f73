//! Every history of a small flow, with every completion event dispatched late, twice, or out of
//! order, and every node replayed once. No node waits for an event that was dispatched, nothing is
//! counted twice, and the flow can always end.
//!
//! The flow has two running parents, a child and a grandchild. A breadth-first search over states:
//! two histories that leave the same rows (except for ids, times and irrelevant counters) are one.

use std::collections::{BTreeSet, VecDeque};

use ff_backend_memory::{MemoryBackend, Snapshot};
use ff_core::backend::{CapabilitySet, ClaimPolicy};
use ff_core::contracts::{
    ApplyDependencyToChildArgs, CancelExecutionArgs, CompleteExecutionArgs, CreateExecutionArgs,
    CreateFlowArgs, EdgeDependencyPolicy, FailExecutionArgs, OnSatisfied, ReplayExecutionArgs,
    StageDependencyEdgeArgs,
};
use ff_core::engine::run;
use ff_core::engine_backend::{EngineBackend, Scan};
use ff_core::partition::PartitionConfig;
use ff_core::plan::facts::Row;
use ff_core::rules::flow::dispatch::{Done, Event};
use ff_core::rules::flow::hop::Hop;
use ff_core::rules::flow::tally::{Bucket, GroupState, Tally, policy_of};
use ff_core::schema::execution::{attempt, exec_core};
use ff_core::schema::flow::{edge, edge_group, pending_cancel_groups};
use ff_core::schema::outbox::completion_event;
use ff_core::state::PublicState;
use ff_core::types::{
    AttemptIndex, CancelSource, EdgeId, ExecutionId, FlowId, LaneId, Namespace, TimestampMs,
    WorkerId, WorkerInstanceId,
};
use uuid::Uuid;

const NOW: TimestampMs = TimestampMs(1_000);
const NODES: usize = 4;
/// The edges between two parents, a child and a grandchild.
const EDGES: [(usize, usize); 3] = [(0, 2), (1, 2), (2, 3)];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Start(usize),
    EndWell(usize),
    EndBadly(usize),
    Cancel(usize),
    Replay(usize),
    /// Dispatches the n-th undispatched event.
    Tell(usize),
    /// The same, but the dispatcher dies before it has marked the event.
    TellAndDie(usize),
    CancelSiblings,
}

fn steps() -> Vec<Step> {
    use Step::*;
    let mut steps = vec![CancelSiblings];
    for node in 0..NODES {
        steps.extend([Start(node), EndWell(node), EndBadly(node), Cancel(node), Replay(node)]);
        steps.extend([Tell(node), TellAndDie(node)]);
    }
    steps
}

struct World {
    backend: MemoryBackend,
    flow: FlowId,
    ids: Vec<ExecutionId>,
}

fn flow_of(number: u128) -> FlowId {
    FlowId::from_uuid(Uuid::from_u128(number))
}

fn lane(node: usize) -> LaneId {
    LaneId::new(format!("node-{node}"))
}

impl World {
    async fn new(policy: EdgeDependencyPolicy) -> Self {
        let backend = MemoryBackend::new().with_seed(7).with_clock(Box::new(|| NOW));
        let flow = flow_of(0xF);
        let partitions = PartitionConfig::default();
        let id = |node: u128| {
            ExecutionId::deterministic_for_flow(&flow, &partitions, Uuid::from_u128(node + 1))
        };
        let ids: Vec<ExecutionId> = (0..4).map(id).collect();
        let args = CreateFlowArgs {
            flow_id: flow.clone(),
            flow_kind: "small".into(),
            namespace: Namespace::new("n"),
            now: NOW,
        };
        backend.create_flow(args).await.unwrap();
        let batch = ids.iter().enumerate().map(|(node, id)| submission(id, node)).collect();
        for created in backend.create_flow_members(&flow, batch).await {
            created.unwrap();
        }
        backend.set_edge_group_policy(&flow, &ids[2], policy).await.unwrap();
        for (number, (upstream, downstream)) in (0_u64..).zip(EDGES) {
            let staged = StageDependencyEdgeArgs {
                flow_id: flow.clone(),
                edge_id: EdgeId::from_uuid(Uuid::from_u128(0xE0 + u128::from(number))),
                upstream_execution_id: ids[upstream].clone(),
                downstream_execution_id: ids[downstream].clone(),
                dependency_kind: "success_only".into(),
                data_passing_ref: None,
                expected_graph_revision: 4 + number,
                now: NOW,
            };
            let applied = ApplyDependencyToChildArgs {
                flow_id: flow.clone(),
                edge_id: staged.edge_id.clone(),
                downstream_execution_id: staged.downstream_execution_id.clone(),
                upstream_execution_id: staged.upstream_execution_id.clone(),
                graph_revision: 5 + number,
                dependency_kind: "success_only".into(),
                data_passing_ref: None,
                now: NOW,
            };
            backend.stage_dependency_edge(staged).await.unwrap();
            backend.apply_dependency_to_child(applied).await.unwrap();
        }
        backend.release_flow(&flow, NOW).await.unwrap();
        let world = Self { backend, flow, ids };
        for parent in [0, 1] {
            world.take(Step::Start(parent)).await.unwrap();
        }
        world
    }

    /// The executions, in the order of their nodes.
    fn cores(&self) -> Vec<Row> {
        self.backend.stored(exec_core::REF)
    }

    /// The undispatched events, oldest first.
    fn undispatched(&self) -> Vec<Event> {
        let rows = self.backend.stored(completion_event::REF);
        let events = rows.iter().map(|row| Event::read(row).unwrap());
        events.filter(|event| !event.dispatched).collect()
    }

    async fn dispatch(&self, event: Event, done: bool) {
        let node = self.ids.iter().position(|id| id.uuid() == event.end.upstream).unwrap();
        let Some(number) = EDGES.iter().position(|(upstream, _)| *upstream == node) else {
            if done {
                run(&self.backend, &Done { event }).await.unwrap();
            }
            return;
        };
        let edge = EdgeId::from_uuid(Uuid::from_u128(0xE0 + u128::try_from(number).unwrap()));
        let hop =
            Hop { flow: event.flow.unwrap(), edge, end: event.end, last: done, downstream: None };
        run(&self.backend, &hop).await.unwrap();
    }

    /// Takes the step; `None` if it does not apply.
    async fn take(&self, step: Step) -> Option<()> {
        let backend = &self.backend;
        match step {
            Step::Start(node) => {
                let (worker, instance) = (WorkerId::new("w"), WorkerInstanceId::new("w-1"));
                let terms = ClaimPolicy::new(worker, instance, 60_000, None);
                let none = CapabilitySet::default();
                backend.claim(&lane(node), &none, terms).await.unwrap().map(drop)
            }
            Step::EndWell(node) => {
                backend.complete_execution(completion(&self.ids[node])).await.ok().map(drop)
            }
            Step::EndBadly(node) => {
                backend.fail_execution(failure(&self.ids[node])).await.ok().map(drop)
            }
            Step::Cancel(node) => {
                backend.cancel_execution(cancellation(&self.ids[node])).await.ok().map(drop)
            }
            Step::Replay(node) if replays(&self.cores()[node]) == 0 => {
                let args = ReplayExecutionArgs { execution_id: self.ids[node].clone(), now: NOW };
                backend.replay_execution(args).await.ok().map(drop)
            }
            Step::Replay(_) => None,
            Step::Tell(number) => {
                self.dispatch(*self.undispatched().get(number)?, true).await;
                Some(())
            }
            Step::TellAndDie(number) => {
                self.dispatch(*self.undispatched().get(number)?, false).await;
                Some(())
            }
            Step::CancelSiblings => {
                let counts = backend.scan(Scan::SiblingCancel, 10).await.unwrap();
                (counts.processed != 0).then_some(())
            }
        }
    }

    /// The part of a state that distinguishes it.
    fn key(&self) -> String {
        let mut key = String::new();
        for core in self.cores() {
            let eligibility = core.read(exec_core::eligibility_state).unwrap();
            key += &format!("{:?} {eligibility:?} {} ", state(&core), replays(&core));
        }
        for group in self.backend.stored(edge_group::REF) {
            key += &format!("{:?} ", Tally::read(&group).unwrap());
            let pending = group.read(edge_group::cancel_siblings_pending_members).unwrap();
            key += &format!("{pending:?} ");
        }
        let edges = self.backend.stored(edge::REF);
        for edge in &edges {
            key += &format!("{:?} ", edge.read(edge::upstream_outcome).unwrap());
        }
        for event in self.undispatched() {
            let upstream = event.end.upstream;
            let from = edges.iter().find(|edge| edge.read(edge::upstream_eid).unwrap() == upstream);
            let applied = from.and_then(|edge| edge.read(edge::upstream_event_id).unwrap());
            let is_new = applied.is_none_or(|applied| applied < event.event_id);
            key += &format!("{upstream} {:?} {is_new} ", event.end.outcome);
        }
        for attempt in self.backend.stored(attempt::REF) {
            key += &format!("{:?} ", attempt.read(attempt::outcome).unwrap());
        }
        key
    }

    fn assert_sound(&self, history: &[Step]) {
        let edges = self.backend.stored(edge::REF);
        let cores = self.cores();
        let owing = self.backend.stored(pending_cancel_groups::REF);
        let quiet = self.undispatched().is_empty() && owing.is_empty();

        for group in self.backend.stored(edge_group::REF) {
            let downstream = group.read(edge_group::downstream_eid).unwrap();
            let into: Vec<&Row> = edges
                .iter()
                .filter(|edge| edge.read(edge::downstream_eid).unwrap() == downstream)
                .collect();
            let tally = Tally::read(&group).unwrap();
            let applied = |bucket: Bucket| {
                let outcome = |edge: &&&Row| edge.read(edge::upstream_outcome).unwrap();
                let same =
                    into.iter().filter(|edge| outcome(edge).and_then(Bucket::of) == Some(bucket));
                i32::try_from(same.count()).unwrap()
            };
            let counted = [tally.success, tally.fail, tally.skip];
            let edges_say = [Bucket::Success, Bucket::Fail, Bucket::Skip].map(applied);
            assert_eq!(
                counted, edges_say,
                "a group counts what was applied to its edges: {history:?}"
            );
            assert!(0 <= tally.running, "{tally:?}: {history:?}");
            assert_eq!(tally.dependencies, i32::try_from(into.len()).unwrap(), "{history:?}");
            let node = self.ids.iter().position(|id| id.uuid() == downstream).unwrap();
            if quiet && state(&cores[node]) == PublicState::WaitingChildren {
                let state = tally.state(&policy_of(&group).unwrap());
                assert_eq!(
                    state,
                    GroupState::Pending,
                    "node {node} waits for nothing: {history:?}"
                );
            }
        }
    }

    /// Dispatches all events, completes all nodes and replays failed parents, until the flow ends
    /// or is in a state that is known to lead to its end.
    async fn assert_no_dead_end(&self, ending: &mut BTreeSet<String>, history: &[Step]) {
        let mut passed = Vec::new();

        for _ in 0..40 {
            for scan in [Scan::DependencyDispatch, Scan::SiblingCancel] {
                while self.backend.scan(scan, 10).await.unwrap().processed != 0 {}
            }

            let cores = self.cores();
            let over = |node: usize| {
                use PublicState::*;
                matches!(state(&cores[node]), Completed | Failed | Cancelled | Skipped)
            };
            let key = self.key();
            let Some(unfinished) =
                (0..NODES).find(|node| !over(*node)).filter(|_| !ending.contains(&key))
            else {
                ending.extend(passed);
                return;
            };
            passed.push(key);

            let _ = self.take(Step::Start(unfinished)).await;
            if self.take(Step::EndWell(unfinished)).await.is_some() {
                continue;
            }

            // The node waits for a failed parent, which an operator replays.
            let parents = EDGES.iter().filter(|(_, downstream)| *downstream == unfinished);
            for (parent, _) in parents {
                if over(*parent) && state(&cores[*parent]) != PublicState::Completed {
                    let execution_id = self.ids[*parent].clone();
                    let args = ReplayExecutionArgs { execution_id, now: NOW };
                    self.backend.replay_execution(args).await.unwrap();
                    let _ = self.take(Step::Start(*parent)).await;
                    let _ = self.take(Step::EndWell(*parent)).await;
                }
            }
        }

        let states: Vec<PublicState> = self.cores().iter().map(state).collect();
        panic!("a dead end at {states:?} after {history:?}");
    }
}

fn state(core: &Row) -> PublicState {
    core.read(exec_core::public_state).unwrap()
}

fn replays(core: &Row) -> i64 {
    let raw = core.read(exec_core::raw_fields).unwrap();
    raw.get("replay_count").and_then(serde_json::Value::as_i64).unwrap_or(0)
}

fn submission(id: &ExecutionId, node: usize) -> CreateExecutionArgs {
    CreateExecutionArgs {
        execution_id: id.clone(),
        namespace: Namespace::new("n"),
        lane_id: lane(node),
        execution_kind: "k".into(),
        input_payload: Vec::new(),
        payload_encoding: None,
        priority: 0,
        creator_identity: "c".into(),
        idempotency_key: None,
        tags: [].into(),
        policy: None,
        delay_until: None,
        execution_deadline_at: None,
        partition_id: id.partition(),
        now: NOW,
    }
}

fn completion(id: &ExecutionId) -> CompleteExecutionArgs {
    CompleteExecutionArgs {
        execution_id: id.clone(),
        fence: None,
        attempt_index: AttemptIndex(0),
        result_payload: None,
        result_encoding: None,
        source: CancelSource::OperatorOverride,
        now: NOW,
    }
}

fn failure(id: &ExecutionId) -> FailExecutionArgs {
    FailExecutionArgs {
        execution_id: id.clone(),
        fence: None,
        attempt_index: AttemptIndex(0),
        failure_reason: "r".into(),
        failure_category: "c".into(),
        retry_policy_json: String::new(),
        next_attempt_policy_json: String::new(),
        source: CancelSource::OperatorOverride,
    }
}

fn cancellation(id: &ExecutionId) -> CancelExecutionArgs {
    CancelExecutionArgs {
        execution_id: id.clone(),
        reason: "r".into(),
        source: CancelSource::OperatorOverride,
        lease_id: None,
        lease_epoch: None,
        attempt_id: None,
        now: NOW,
    }
}

/// Explores up to that depth. Returns the number of states and the steps that led to them.
async fn explore(policy: EdgeDependencyPolicy, depth: usize) -> (usize, BTreeSet<String>) {
    let world = World::new(policy).await;
    assert!(world.backend.describe_flow(&world.flow).await.unwrap().is_some());
    let mut seen = BTreeSet::from([world.key()]);
    let (mut taken, mut ending) = (BTreeSet::new(), BTreeSet::new());
    let mut queue: VecDeque<(Snapshot, Vec<Step>)> =
        VecDeque::from([(world.backend.snapshot(), Vec::new())]);
    while let Some((stored, history)) = queue.pop_front() {
        world.backend.restore(&stored);
        world.assert_no_dead_end(&mut ending, &history).await;
        if history.len() == depth {
            continue;
        }
        for step in steps() {
            world.backend.restore(&stored);
            if world.take(step).await.is_none() {
                continue;
            }
            taken.insert(format!("{step:?}"));
            let history = [history.as_slice(), &[step]].concat();
            world.assert_sound(&history);
            if seen.insert(world.key()) {
                queue.push_back((world.backend.snapshot(), history));
            }
        }
    }
    (seen.len(), taken)
}

/// `FF_DEPTH` explores further.
fn depth() -> usize {
    std::env::var("FF_DEPTH").map_or(5, |text| text.parse().expect("a number"))
}

macro_rules! explored {
    ($($name:ident: $policy:expr;)+) => {$(
        #[tokio::test]
        async fn $name() {
            let (states, taken) = explore($policy, depth()).await;
            println!("{states} states");
            assert!(1_000 < states, "{states}");
            for step in ["Start(2)", "EndBadly(0)", "Cancel(3)", "Replay(0)", "TellAndDie(1)"] {
                assert!(taken.contains(step), "{step} was never taken");
            }
        }
    )+};
}

explored! {
    a_dependent_execution_always_ends: EdgeDependencyPolicy::all_of();
    nobody_waits_in_vain_for_any:
        EdgeDependencyPolicy::any_of(OnSatisfied::cancel_remaining());
    nobody_waits_in_vain_for_a_quorum:
        EdgeDependencyPolicy::quorum(2, OnSatisfied::let_run());
}
