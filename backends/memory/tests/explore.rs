//! Every history of one execution, two workers and a clock, up to a depth: the rules leave no dead
//! end, and the invariants hold after every step.
//!
//! A breadth-first search over states. Two histories that lead to the same rows, clock and handles
//! (ids and texts aside) lead to the same state, which is explored once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use ff_backend_memory::{MemoryBackend, Snapshot};
use ff_core::EngineError;
use ff_core::backend::{
    BackendTag, CapabilitySet, ClaimPolicy, FailureClass, FailureReason, Handle,
};
use ff_core::contracts::{
    CancelExecutionArgs, CompleteExecutionArgs, CreateExecutionArgs, FailExecutionArgs,
};
use ff_core::engine_backend::{EngineBackend, ExpirePhase};
use ff_core::handle_codec::HandlePayload;
use ff_core::partition::{Partition, PartitionFamily};
use ff_core::plan::value::Value;
use ff_core::policy::{BackoffStrategy, ExecutionPolicy, RetryPolicy, TimeoutPolicy};
use ff_core::rules::handle;
use ff_core::schema::execution::{attempt, exec_core};
use ff_core::state::{
    AttemptOutcome, ClosedSet, EligibilityState, LifecyclePhase, PublicState, TerminalOutcome,
    derive_public_state,
};
use ff_core::types::{
    CancelSource, ExecutionId, LaneId, LeaseFence, Namespace, TimestampMs, WorkerId,
    WorkerInstanceId,
};
use uuid::Uuid;

/// The step of the clock. All durations are multiples of it, so that each point in time is met
/// before, at and after.
const TICK: i64 = 10;
const START: i64 = 1_000;
const LEASE_TICKS: i64 = 2;
const DELAY_TICKS: i64 = 2;
const ATTEMPT_TICKS: i64 = 3;
const DEADLINE_TICKS: i64 = 5;
const DEPTH: usize = 7;

type Rows = BTreeMap<String, Value>;

/// One step of a history. A worker is 0 or 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Tick,
    Claim(usize),
    Renew(usize),
    Progress(usize),
    Complete(usize),
    CompleteTyped(usize),
    FailTransient(usize),
    FailPermanent(usize),
    FailTyped(usize),
    Delay(usize),
    Cancel(usize),
    CompleteOverriding,
    FailOverriding,
    CancelByOperator,
    CancelByHolder(usize),
    Tag,
    Promote,
    ExpireLease,
    ExpireAttempt,
    ExpireExecution,
}

fn steps() -> Vec<Step> {
    use Step::*;
    let mut steps = vec![Tick];
    for worker in [0, 1] {
        steps.extend([Claim(worker), Renew(worker), Progress(worker), Complete(worker)]);
        steps.extend([CompleteTyped(worker), FailTransient(worker), FailPermanent(worker)]);
        steps.extend([FailTyped(worker), Delay(worker), Cancel(worker), CancelByHolder(worker)]);
    }
    steps.extend([CompleteOverriding, FailOverriding, CancelByOperator, Tag, Promote]);
    steps.extend([ExpireLease, ExpireAttempt, ExpireExecution]);
    steps
}

/// A state: the stored rows, the time, and the last handle of each worker.
struct State {
    stored: Snapshot,
    now: i64,
    handles: [Option<Handle>; 2],
    /// The epochs that were granted so far.
    granted: BTreeSet<i64>,
    history: Vec<Step>,
}

struct World {
    backend: MemoryBackend,
    clock: Arc<AtomicI64>,
}

impl World {
    fn new() -> Self {
        let clock = Arc::new(AtomicI64::new(START));
        let time = Arc::clone(&clock);
        let backend = MemoryBackend::new()
            .with_seed(7)
            .with_clock(Box::new(move || TimestampMs(time.load(Ordering::Relaxed))));
        Self { backend, clock }
    }

    fn enter(&self, state: &State) {
        self.backend.restore(&state.stored);
        self.clock.store(state.now, Ordering::Relaxed);
    }

    fn now(&self) -> TimestampMs {
        TimestampMs(self.clock.load(Ordering::Relaxed))
    }

    fn core(&self) -> Rows {
        self.backend.rows(exec_core::TABLE.name).remove(0)
    }

    fn attempts(&self) -> Vec<Rows> {
        self.backend.rows(attempt::TABLE.name)
    }

    /// The attempt that is current; a fence names it by its index.
    fn current_attempt(&self) -> u32 {
        u32::try_from(int(&self.core()["attempt_index"]).unwrap()).unwrap()
    }

    async fn take(
        &self,
        step: Step,
        handles: &mut [Option<Handle>; 2],
    ) -> Result<Option<Handle>, EngineError> {
        let backend = &self.backend;
        let delay_until = TimestampMs(self.now().0 + DELAY_TICKS * TICK);
        let of = |worker: usize| handles[worker].clone().ok_or(EngineError::Unavailable { op: "" });
        let reason = || FailureReason::new("r");
        match step {
            Step::Tick => {
                self.clock.fetch_add(TICK, Ordering::Relaxed);
            }
            Step::Claim(worker) => {
                let claimed =
                    backend.claim(&lane(), &CapabilitySet::default(), terms(worker)).await?;
                if claimed.is_some() {
                    handles[worker].clone_from(&claimed);
                }
                return Ok(claimed);
            }
            Step::Renew(worker) => backend.renew(&of(worker)?).await.map(drop)?,
            Step::Progress(worker) => backend.progress(&of(worker)?, Some(5), None).await?,
            Step::Complete(worker) => backend.complete(&of(worker)?, None).await?,
            Step::CompleteTyped(worker) => {
                let payload = payload(&of(worker)?);
                let args = self.completion(Some(&payload), payload.attempt_index.0);
                backend.complete_execution(args).await.map(drop)?;
            }
            Step::FailTransient(worker) => {
                backend.fail(&of(worker)?, reason(), FailureClass::Transient).await.map(drop)?;
            }
            Step::FailPermanent(worker) => {
                backend.fail(&of(worker)?, reason(), FailureClass::Permanent).await.map(drop)?;
            }
            Step::FailTyped(worker) => {
                let payload = payload(&of(worker)?);
                backend
                    .fail_execution(failure(Some(&payload), payload.attempt_index.0))
                    .await
                    .map(drop)?;
            }
            Step::Delay(worker) => backend.delay(&of(worker)?, delay_until).await?,
            Step::Cancel(worker) => backend.cancel(&of(worker)?, "r").await?,
            Step::CompleteOverriding => {
                let args = self.completion(None, self.current_attempt());
                backend.complete_execution(args).await.map(drop)?;
            }
            Step::FailOverriding => {
                backend.fail_execution(failure(None, self.current_attempt())).await.map(drop)?;
            }
            Step::CancelByOperator => {
                backend.cancel_execution(self.cancellation(None)).await.map(drop)?;
            }
            Step::CancelByHolder(worker) => {
                let args = self.cancellation(Some(&payload(&of(worker)?)));
                backend.cancel_execution(args).await.map(drop)?;
            }
            Step::Tag => backend.set_execution_tag(&id(), "a.b", "c").await?,
            Step::Promote => {
                backend.promote_delayed(partition(), &lane(), &id(), self.now()).await?;
            }
            Step::ExpireLease => backend.mark_lease_expired_if_due(partition(), &id()).await?,
            Step::ExpireAttempt => {
                let phase = ExpirePhase::AttemptTimeout;
                backend.expire_execution(partition(), &id(), phase, self.now()).await?;
            }
            Step::ExpireExecution => {
                let phase = ExpirePhase::ExecutionDeadline;
                backend.expire_execution(partition(), &id(), phase, self.now()).await?;
            }
        }
        Ok(None)
    }

    fn completion(&self, fence: Option<&HandlePayload>, index: u32) -> CompleteExecutionArgs {
        CompleteExecutionArgs {
            execution_id: id(),
            fence: fence.map(fence_of),
            attempt_index: ff_core::types::AttemptIndex(index),
            result_payload: None,
            result_encoding: None,
            source: source(fence),
            now: self.now(),
        }
    }

    fn cancellation(&self, holder: Option<&HandlePayload>) -> CancelExecutionArgs {
        CancelExecutionArgs {
            execution_id: id(),
            reason: "r".into(),
            source: source(holder),
            lease_id: None,
            lease_epoch: holder.map(|payload| payload.lease_epoch),
            attempt_id: None,
            now: self.now(),
        }
    }

    /// The part of a state that distinguishes it: no ids, no texts, no counts of changes.
    fn fingerprint(&self, handles: &[Option<Handle>; 2]) -> String {
        let core = self.core();
        let mut words: Vec<String> = Vec::new();
        let ignored = [
            "execution_id",
            "policy",
            "raw_fields",
            "version",
            "payload",
            // Times that only matter to readers and to the order of claims; there is one execution.
            "last_changed_at_ms",
            "claimable_since_ms",
        ];
        words.extend(
            core.iter()
                .filter(|(name, _)| !ignored.contains(&name.as_str()))
                .map(|(_, value)| value.to_string()),
        );
        let Value::Json(raw) = &core["raw_fields"] else { panic!("an object") };
        words.push(format!("{:?} {:?}", raw.get("retry_count"), raw.get("tags")));
        for row in self.attempts() {
            let ignored = ["execution_id", "lease_id", "attempt_id", "started_at_ms"];
            words.extend(
                row.iter()
                    .filter(|(name, _)| !ignored.contains(&name.as_str()))
                    .map(|(_, value)| value.to_string()),
            );
        }
        for handle in handles.iter().flatten() {
            let payload = payload(handle);
            words.push(format!("{}.{}", payload.attempt_index, payload.lease_epoch));
        }
        words.push(self.now().0.to_string());
        words.push(handles.iter().map(|handle| if handle.is_some() { 'h' } else { '-' }).collect());
        words.join(" ")
    }
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

fn terms(worker: usize) -> ClaimPolicy {
    let ttl = u32::try_from(LEASE_TICKS * TICK).unwrap();
    let instance = WorkerInstanceId::new(format!("w{worker}"));
    ClaimPolicy::new(WorkerId::new("pool"), instance, ttl, None)
}

fn payload(handle: &Handle) -> HandlePayload {
    handle::open(BackendTag::Memory, handle).unwrap()
}

fn fence_of(payload: &HandlePayload) -> LeaseFence {
    LeaseFence {
        lease_id: payload.lease_id.clone(),
        lease_epoch: payload.lease_epoch,
        attempt_id: payload.attempt_id.clone(),
    }
}

fn source(fence: Option<&HandlePayload>) -> CancelSource {
    fence.map_or(CancelSource::OperatorOverride, |_| CancelSource::LeaseHolder)
}

fn failure(fence: Option<&HandlePayload>, index: u32) -> FailExecutionArgs {
    FailExecutionArgs {
        execution_id: id(),
        fence: fence.map(fence_of),
        attempt_index: ff_core::types::AttemptIndex(index),
        failure_reason: "r".into(),
        failure_category: "c".into(),
        retry_policy_json: r#"{"max_retries":2,"backoff":{"type":"fixed","delay_ms":0}}"#.into(),
        next_attempt_policy_json: String::new(),
        source: source(fence),
    }
}

fn submission() -> CreateExecutionArgs {
    let retry = RetryPolicy {
        max_retries: 2,
        backoff: BackoffStrategy::Fixed { delay_ms: TICK.unsigned_abs() },
        retryable_categories: Vec::new(),
    };
    let timeouts = TimeoutPolicy {
        attempt_timeout_ms: Some((ATTEMPT_TICKS * TICK).unsigned_abs()),
        execution_deadline_ms: Some((DEADLINE_TICKS * TICK).unsigned_abs()),
        max_reclaim_count: 9,
    };
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
        policy: Some(ExecutionPolicy {
            retry_policy: Some(retry),
            timeout_policy: Some(timeouts),
            ..ExecutionPolicy::default()
        }),
        delay_until: None,
        execution_deadline_at: None,
        partition_id: 3,
        now: TimestampMs(START),
    }
}

fn int(value: &Value) -> Option<i64> {
    if let Value::Int(number) = value { Some(*number) } else { None }
}

fn word<T: ClosedSet>(value: &Value) -> Option<T> {
    if let Value::Text(text) = value { T::parse(text) } else { None }
}

fn phase(core: &Rows) -> LifecyclePhase {
    word(&core["lifecycle_phase"]).unwrap()
}

fn over(core: &Rows) -> bool {
    phase(core).is_terminal()
}

/// Checks the invariants of every state.
fn check_rows(core: &Rows, attempts: &[Rows], history: &[Step]) {
    let leased: Vec<&Rows> =
        attempts.iter().filter(|row| !row["lease_expires_at_ms"].is_null()).collect();
    assert!(leased.len() <= 1, "two leases: {history:?}");
    let active = phase(core) == LifecyclePhase::Active;
    assert_eq!(!leased.is_empty(), active, "a lease exactly while active: {history:?}");
    for row in &leased {
        assert_eq!(row["attempt_index"], core["attempt_index"], "{history:?}");
        assert!(!row["worker_instance_id"].is_null(), "a lease without a worker: {history:?}");
    }
    let owned = core["ownership_state"] == Value::Text("leased".into());
    assert_eq!(owned, active, "{history:?}");
    let current = attempts.iter().find(|row| row["attempt_index"] == core["attempt_index"]);
    let outcome = current.and_then(|row| word::<AttemptOutcome>(&row["outcome"]));
    let outcome = match phase(core) {
        LifecyclePhase::Cancelled => TerminalOutcome::Cancelled,
        LifecyclePhase::Terminal => {
            outcome.map_or(TerminalOutcome::None, AttemptOutcome::terminal_outcome)
        }
        LifecyclePhase::Submitted
        | LifecyclePhase::Runnable
        | LifecyclePhase::Active
        | LifecyclePhase::Suspended => TerminalOutcome::None,
    };
    assert_eq!(outcome != TerminalOutcome::None, over(core), "an outcome at the end: {history:?}");
    assert_eq!(!core["terminal_at_ms"].is_null(), over(core), "{history:?}");
    let eligibility: EligibilityState = word(&core["eligibility_state"]).unwrap();
    let derived = derive_public_state(phase(core), eligibility, outcome, false);
    assert_eq!(word::<PublicState>(&core["public_state"]), Some(derived), "{history:?}");
}

/// Checks the changes of a step.
fn check_step(before: (&Rows, &[Rows]), after: (&Rows, &[Rows]), history: &[Step]) {
    let highest = |attempts: &[Rows]| {
        attempts.iter().filter_map(|row| int(&row["lease_epoch"])).max().unwrap_or(0)
    };
    assert!(highest(before.1) <= highest(after.1), "an epoch went back: {history:?}");
    for row in before.1 {
        let later = after.1.iter().find(|later| later["attempt_index"] == row["attempt_index"]);
        let epoch = later.and_then(|later| int(&later["lease_epoch"]));
        assert!(int(&row["lease_epoch"]) <= epoch, "an attempt's epoch went back: {history:?}");
    }
    if !over(before.0) {
        return;
    }
    assert_eq!(before.1, after.1, "an attempt changed after the end: {history:?}");
    let kept = |core: &Rows| {
        let mut kept = core.clone();
        // Tags may still change.
        kept.retain(|name, _| {
            !["version", "raw_fields", "last_changed_at_ms"].contains(&name.as_str())
        });
        kept
    };
    assert_eq!(kept(before.0), kept(after.0), "it changed after the end: {history:?}");
    if history.last() != Some(&Step::Tag) {
        assert_eq!(before.0, after.0, "only tags may change after the end: {history:?}");
    }
}

/// The number of steps in which a fair scheduler and a working worker end the execution.
async fn steps_to_the_end(world: &World, state: &State) -> usize {
    let mut handles = state.handles.clone();
    let mut held: Option<Handle> = None;
    for taken in 0.. {
        let core = world.core();
        if over(&core) {
            return taken;
        }
        assert!(taken < 20, "no end in sight: {:?}", state.history);
        let now = world.now().0;
        let lapsed = world
            .attempts()
            .iter()
            .any(|row| int(&row["lease_expires_at_ms"]).is_some_and(|expires| expires <= now));
        let waits = core["eligibility_state"] == Value::Text("not_eligible_until_time".into());
        let due = int(&core["eligible_at_ms"]).is_none_or(|at| at <= now);
        let step = match phase(&core) {
            LifecyclePhase::Active if held.is_some() => Step::Complete(0),
            LifecyclePhase::Active if lapsed => Step::ExpireLease,
            LifecyclePhase::Runnable if waits && due => Step::Promote,
            LifecyclePhase::Runnable if !waits => Step::Claim(0),
            LifecyclePhase::Active | LifecyclePhase::Runnable => Step::Tick,
            LifecyclePhase::Submitted
            | LifecyclePhase::Suspended
            | LifecyclePhase::Terminal
            | LifecyclePhase::Cancelled => panic!("not reached: {:?}", state.history),
        };
        let claimed = world.take(step, &mut handles).await;
        let claimed =
            claimed.unwrap_or_else(|error| panic!("{step:?}: {error}: {:?}", state.history));
        held = claimed.or(held);
    }
    unreachable!("the loop returns or panics")
}

#[tokio::test]
async fn there_are_no_dead_ends() {
    let world = World::new();
    world.backend.create_execution(submission()).await.unwrap();
    let first = State {
        stored: world.backend.snapshot(),
        now: START,
        handles: [None, None],
        granted: BTreeSet::new(),
        history: Vec::new(),
    };
    let mut seen = BTreeSet::from([world.fingerprint(&first.handles)]);
    let mut frontier = vec![first];
    let (mut by_depth, mut transitions, mut longest) = (vec![1], 0, 0);
    for _ in 0..DEPTH {
        let mut next = Vec::new();
        for state in &frontier {
            world.enter(state);
            let before = (world.core(), world.attempts());
            for step in steps() {
                let mut handles = state.handles.clone();
                let mut granted = state.granted.clone();
                let mut history = state.history.clone();
                history.push(step);
                let taken = world.take(step, &mut handles).await;
                let after = (world.core(), world.attempts());
                if taken.is_err() {
                    assert_eq!(before, after, "a refusal changed something: {history:?}");
                    continue;
                }
                if let Ok(Some(handle)) = &taken {
                    let epoch = i64::try_from(payload(handle).lease_epoch.0).unwrap();
                    let newest = granted.last().is_none_or(|last| *last < epoch);
                    assert!(newest, "epoch {epoch} was granted before: {history:?}");
                    granted.insert(epoch);
                }
                transitions += 1;
                check_rows(&after.0, &after.1, &history);
                check_step((&before.0, &before.1), (&after.0, &after.1), &history);
                if seen.insert(world.fingerprint(&handles)) {
                    let stored = world.backend.snapshot();
                    let now = world.now().0;
                    let new = State { stored, now, handles, granted, history };
                    longest = longest.max(steps_to_the_end(&world, &new).await);
                    next.push(new);
                }
                world.enter(state);
            }
        }
        by_depth.push(next.len());
        frontier = next;
    }
    let total: usize = by_depth.iter().sum();
    assert!(longest <= 6, "{longest} steps to the end");
    assert_eq!(by_depth, [1, 5, 27, 99, 281, 749, 1_922, 4_634]);
    assert_eq!((total, transitions, longest), (7_718, 37_201, 5));
}
