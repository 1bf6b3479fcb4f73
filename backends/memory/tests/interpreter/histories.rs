//! Every history of one execution, its callers and a clock, up to a depth: no step breaks an
//! invariant, and from every state there is a way to the end.
//!
//! A breadth-first search over states. Two histories that lead to the same rows, clock and handles
//! (ids and texts aside) lead to the same state, which is explored once. Each file has one model:
//! the steps that it takes, and what must hold.

mod fleet;
mod grants;
mod leases;
mod money;
mod suspensions;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use ff_backend_memory::{MemoryBackend, Snapshot};
use ff_core::EngineError;
use ff_core::backend::{BackendTag, CapabilitySet, ClaimPolicy, Handle};
use ff_core::contracts::CreateExecutionArgs;
use ff_core::engine_backend::EngineBackend as _;
use ff_core::handle_codec::HandlePayload;
use ff_core::partition::{Partition, PartitionFamily};
use ff_core::plan::column::TableRef;
use ff_core::plan::facts::Row;
use ff_core::plan::value::Value;
use ff_core::policy::ExecutionPolicy;
use ff_core::rules::handle;
use ff_core::schema;
use ff_core::types::{ExecutionId, LaneId, Namespace, TimestampMs, WorkerId, WorkerInstanceId};
use uuid::Uuid;

/// The step of the clock. All durations are multiples of it, so that each point in time is met
/// before, at and after.
const TICK: i64 = 10;
const START: i64 = 1_000;

type Rows = BTreeMap<String, Value>;

/// The last handle of each of two workers.
type Handles = [Option<Handle>; 2];

/// The backend with one execution, and the clock.
struct World {
    backend: MemoryBackend,
    clock: Arc<AtomicI64>,
}

impl World {
    async fn with_policy(policy: Option<ExecutionPolicy>) -> Self {
        let clock = Arc::new(AtomicI64::new(START));
        let time = Arc::clone(&clock);
        let backend = MemoryBackend::new()
            .with_seed(7)
            .with_clock(Box::new(move || TimestampMs(time.load(Ordering::Relaxed))));
        backend.create_execution(submission(policy)).await.unwrap();
        Self { backend, clock }
    }

    /// What a worker claims, if anything.
    async fn claim(&self, worker: usize, ticks: i64) -> Result<Option<Handle>, EngineError> {
        let none = CapabilitySet::default();
        self.backend.claim(&lane(), &none, terms(worker, ticks)).await
    }

    fn tick(&self) {
        self.clock.fetch_add(TICK, Ordering::Relaxed);
    }

    fn now(&self) -> TimestampMs {
        TimestampMs(self.clock.load(Ordering::Relaxed))
    }

    fn rows(&self, table: &str) -> Vec<Rows> {
        self.backend.rows(table)
    }

    /// The rows of these tables, to compare.
    fn stored(&self, tables: &[&str]) -> Vec<Vec<Row>> {
        let stored = |name: &&str| {
            let table = schema::table(name).unwrap_or_else(|| panic!("there is no table {name}"));
            self.backend.stored(TableRef(table))
        };
        tables.iter().map(stored).collect()
    }

    fn core(&self) -> Rows {
        self.rows("ff_exec_core").remove(0)
    }

    fn attempts(&self) -> Vec<Rows> {
        self.rows("ff_attempt")
    }

    /// What the rows of these tables hold, but for these columns. It is the same for states that
    /// nothing distinguishes.
    fn fingerprint(&self, tables: &[&str], ignored: &[&str]) -> String {
        let mut words = vec![self.now().0.to_string()];
        for table in tables {
            let mut rows: Vec<String> = Vec::new();
            for row in self.rows(table) {
                let kept = row.iter().filter(|(name, _)| !ignored.contains(&name.as_str()));
                rows.push(kept.map(|(_, value)| format!("{value} ")).collect());
            }
            rows.sort();
            words.extend(rows);
        }
        words.join("|")
    }
}

/// The columns that distinguish no state: ids, counts of changes, and times that matter to readers
/// and to the order of claims only; there is one execution.
const INDISTINCT: [&str; 12] = [
    "execution_id",
    "policy",
    "raw_fields",
    "version",
    "payload",
    "last_changed_at_ms",
    "claimable_since_ms",
    "lease_id",
    "attempt_id",
    "started_at_ms",
    "grant_id",
    "issued_at_ms",
];

/// What can happen to the execution, and what must hold.
trait Model {
    type Step: Copy + Debug + PartialEq;
    /// What callers hold between steps.
    type Held: Clone + Default;

    /// The tables that a refusal leaves as they are.
    const TABLES: &[&str];

    fn steps(&self) -> Vec<Self::Step>;

    /// Takes a step; what it hands out replaces what was held.
    async fn take(
        &self,
        world: &World,
        step: Self::Step,
        held: &mut Self::Held,
    ) -> Result<(), EngineError>;

    /// The part of a state that distinguishes it.
    fn fingerprint(&self, world: &World, held: &Self::Held) -> String;

    /// Checks what a step has come to.
    fn check(&self, world: &World, before: &Before, history: &[Self::Step]);

    /// Checks a state that was not met before.
    async fn check_new(&mut self, _: &World, _: &[Self::Step]) {}

    /// The step that a fair scheduler, a scanner and a working worker take next on the way to the
    /// end; `None` at the end.
    fn step_to_the_end(&self, world: &World, held: &Self::Held) -> Option<Self::Step>;
}

/// The rows before a step.
struct Before {
    core: Rows,
    attempts: Vec<Rows>,
    workers: Vec<Rows>,
}

/// A state: the stored rows, the time, and what is held.
struct State<M: Model> {
    stored: Snapshot,
    now: i64,
    held: M::Held,
    history: Vec<M::Step>,
}

impl<M: Model> State<M> {
    fn of(world: &World, held: M::Held, history: Vec<M::Step>) -> Self {
        Self { stored: world.backend.snapshot(), now: world.now().0, held, history }
    }

    fn enter(&self, world: &World) {
        world.backend.restore(&self.stored);
        world.clock.store(self.now, Ordering::Relaxed);
    }
}

/// What a search has met.
#[derive(Debug)]
struct Met {
    /// The new states at each depth.
    by_depth: Vec<usize>,
    transitions: usize,
    /// The most steps from a state to the end.
    longest: usize,
}

async fn explore<M: Model>(model: &mut M, world: &World, held: M::Held, depth: usize) -> Met {
    let mut seen = BTreeSet::from([model.fingerprint(world, &held)]);
    let mut frontier = vec![State::<M>::of(world, held, Vec::new())];
    let mut met = Met { by_depth: vec![1], transitions: 0, longest: 0 };
    for _ in 0..depth {
        let mut next = Vec::new();
        for state in &frontier {
            state.enter(world);
            let rows = world.stored(M::TABLES);
            let workers = world.rows("ff_worker_registry");
            let before = Before { core: world.core(), attempts: world.attempts(), workers };
            for step in model.steps() {
                state.enter(world);
                let mut held = state.held.clone();
                let history: Vec<_> = state.history.iter().copied().chain([step]).collect();
                if model.take(world, step, &mut held).await.is_err() {
                    let after = world.stored(M::TABLES);
                    assert_eq!(rows, after, "a refusal changed something: {history:?}");
                    continue;
                }

                met.transitions += 1;
                model.check(world, &before, &history);
                if seen.insert(model.fingerprint(world, &held)) {
                    model.check_new(world, &history).await;
                    upkeep::check(world, &history).await;
                    let new = State::of(world, held, history);
                    met.longest = met.longest.max(steps_to_the_end(model, world, &new).await);
                    next.push(new);
                }
            }
        }
        met.by_depth.push(next.len());
        frontier = next;
    }
    met
}

/// The number of steps in which the execution ends, although every caller so far has died.
async fn steps_to_the_end<M: Model>(model: &M, world: &World, state: &State<M>) -> usize {
    let mut held = M::Held::default();
    for taken in 0..30 {
        let Some(step) = model.step_to_the_end(world, &held) else { return taken };
        let outcome = model.take(world, step, &mut held).await;
        outcome.unwrap_or_else(|error| panic!("{step:?}: {error}: {:?}", state.history));
    }
    panic!("no end in sight: {:?}", state.history)
}

fn id() -> ExecutionId {
    ExecutionId::from_parts(3, Uuid::from_u128(1))
}

fn partition() -> Partition {
    Partition { family: PartitionFamily::Flow, index: 3 }
}

fn lane() -> LaneId {
    LaneId::new("main")
}

fn name(worker: usize) -> WorkerId {
    WorkerId::new(format!("pool-{worker}"))
}

fn instance(worker: usize) -> WorkerInstanceId {
    WorkerInstanceId::new(format!("w{worker}"))
}

fn terms(worker: usize, ticks: i64) -> ClaimPolicy {
    let ttl = u32::try_from(ticks * TICK).unwrap();
    ClaimPolicy::new(WorkerId::new("pool"), instance(worker), ttl, None)
}

fn payload(handle: &Handle) -> HandlePayload {
    handle::open(BackendTag::Memory, handle).unwrap()
}

/// The handle of a worker; without one it can do nothing.
fn handle_of(handles: &Handles, worker: usize) -> Result<Handle, EngineError> {
    handles[worker].clone().ok_or(EngineError::Unavailable { op: "" })
}

/// The part of a state that handles are.
fn words_of(handles: &Handles) -> String {
    let word = |handle: &Option<Handle>| match handle.as_ref().map(payload) {
        Some(payload) => format!("{}.{}", payload.attempt_index, payload.lease_epoch),
        None => "-".into(),
    };
    handles.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn int(value: &Value) -> Option<i64> {
    if let Value::Int(number) = value { Some(*number) } else { None }
}

fn is(row: &Rows, column: &str, word: &str) -> bool {
    row[column] == Value::Text(word.into())
}

fn over(core: &Rows) -> bool {
    is(core, "lifecycle_phase", "terminal") || is(core, "lifecycle_phase", "cancelled")
}

/// One lease exactly while active, of the current attempt.
fn check_leases(core: &Rows, attempts: &[Rows], history: &dyn Debug) {
    let leased = attempts.iter().filter(|row| !row["lease_expires_at_ms"].is_null());
    let leased: Vec<&Rows> = leased.collect();
    let active = is(core, "lifecycle_phase", "active");
    assert_eq!(leased.len(), usize::from(active), "one lease while active: {history:?}");
    for row in leased {
        assert_eq!(row["attempt_index"], core["attempt_index"], "{history:?}");
        assert!(!row["worker_instance_id"].is_null(), "a lease without a worker: {history:?}");
    }
}

fn submission(policy: Option<ExecutionPolicy>) -> CreateExecutionArgs {
    CreateExecutionArgs {
        execution_id: id(),
        namespace: Namespace::new("acme"),
        lane_id: lane(),
        execution_kind: "k".into(),
        input_payload: Vec::new(),
        payload_encoding: None,
        priority: 0,
        creator_identity: "c".into(),
        idempotency_key: None,
        tags: Default::default(),
        policy,
        delay_until: None,
        execution_deadline_at: None,
        partition_id: 3,
        now: TimestampMs(START),
    }
}
