//! Every history of grants, blocks and reclaims of one execution, up to a depth: no execution is
//! ever stuck, no lease is held twice, and every lapse counts once.
//!
//! A breadth-first search over states, as in `explore.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use ff_backend_memory::{MemoryBackend, Snapshot};
use ff_core::EngineError;
use ff_core::backend::{CapabilitySet, ClaimPolicy, Handle};
use ff_core::contracts::{
    BlockRouteArgs, ClaimExecutionArgs, ClaimExecutionResult, ClaimForWorkerArgs,
    CreateExecutionArgs, IssueClaimGrantArgs, IssueReclaimGrantArgs, ReclaimExecutionArgs,
    ReclaimExecutionOutcome,
};
use ff_core::engine_backend::{EngineBackend, Scan};
use ff_core::handle_codec;
use ff_core::partition::{Partition, PartitionFamily};
use ff_core::plan::value::Value;
use ff_core::policy::ExecutionPolicy;
use ff_core::schema::execution::{attempt, claim_grant, exec_core};
use ff_core::types::{
    AttemptId, AttemptIndex, ExecutionId, LaneId, LeaseId, Namespace, TimestampMs, WorkerId,
    WorkerInstanceId,
};
use uuid::Uuid;

const START: i64 = 1_000;
const TICK: i64 = 10;
const LEASE_MS: u64 = 20;
const GRANT_MS: u64 = 20;
/// The most workers that may be lost.
const LOSSES: i64 = 1;
const DEPTH: usize = 8;

type Rows = BTreeMap<String, Value>;

/// One step of a history. A worker is 0 or 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Tick,
    Claim(usize),
    Grant(usize),
    Schedule(usize),
    Redeem(usize),
    GrantReclaim(usize),
    Reclaim(usize),
    Block,
    Unblock,
    Complete(usize),
    Scan(Scan),
}

fn steps() -> Vec<Step> {
    use Step::*;
    let mut steps = vec![Tick, Block, Unblock, Scan(self::Scan::LeaseExpiry)];
    steps.push(Scan(self::Scan::GrantExpiry));
    for worker in [0, 1] {
        steps.extend([Claim(worker), Grant(worker), Schedule(worker), Redeem(worker)]);
        steps.extend([GrantReclaim(worker), Reclaim(worker), Complete(worker)]);
    }
    steps
}

struct State {
    stored: Snapshot,
    now: i64,
    handles: [Option<Handle>; 2],
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

    /// Takes the step; a lease that it hands out replaces the worker's last one.
    async fn take(&self, step: Step, handles: &mut [Option<Handle>; 2]) -> Result<(), EngineError> {
        let backend = &self.backend;
        match step {
            Step::Tick => drop(self.clock.fetch_add(TICK, Ordering::Relaxed)),
            Step::Claim(worker) => {
                let terms = ClaimPolicy::new(name(worker), instance(worker), LEASE_MS as u32, None);
                let claimed = backend.claim(&lane(), &CapabilitySet::default(), terms).await?;
                handles[worker] = claimed.or(handles[worker].take());
            }
            Step::Grant(worker) => {
                let none = BTreeSet::new();
                let args = IssueClaimGrantArgs::new(
                    id(),
                    lane(),
                    name(worker),
                    instance(worker),
                    partition(),
                    none,
                    GRANT_MS,
                    self.now(),
                );
                backend.issue_claim_grant(args).await.map(drop)?;
            }
            Step::Schedule(worker) => {
                let none = BTreeSet::new();
                let (name, instance) = (name(worker), instance(worker));
                let args = ClaimForWorkerArgs::new(lane(), name, instance, none, GRANT_MS);
                backend.claim_for_worker(args).await.map(drop)?;
            }
            Step::Redeem(worker) => {
                let result = backend.claim_execution(self.redemption(worker)).await?;
                if let ClaimExecutionResult::Claimed(claimed) = result {
                    handles[worker] = Some(claimed.handle);
                }
            }
            Step::GrantReclaim(worker) => {
                let args = IssueReclaimGrantArgs::new(
                    id(),
                    name(worker),
                    instance(worker),
                    lane(),
                    None,
                    GRANT_MS,
                    None,
                    None,
                    BTreeSet::new(),
                    self.now(),
                );
                backend.issue_reclaim_grant(args).await.map(drop)?;
            }
            Step::Reclaim(worker) => {
                let outcome = backend.reclaim_execution(self.reclamation(worker)).await?;
                if let ReclaimExecutionOutcome::Claimed(handle) = outcome {
                    handles[worker] = Some(handle);
                }
            }
            Step::Block => {
                let (code, now) = ("waiting_for_capable_worker".to_owned(), self.now());
                let args = BlockRouteArgs::new(id(), lane(), partition(), code, String::new(), now);
                backend.block_route(args).await.map(drop)?;
            }
            Step::Unblock => {
                let now = self.now();
                backend.unblock_execution(partition(), &lane(), &id(), "", now).await?;
            }
            Step::Complete(worker) => {
                let held = handles[worker].clone().ok_or(EngineError::Unavailable { op: "" })?;
                backend.complete(&held, None).await?;
            }
            Step::Scan(scan) => backend.scan(scan, 10).await.map(drop)?,
        }
        Ok(())
    }

    fn redemption(&self, worker: usize) -> ClaimExecutionArgs {
        let index = int(&self.core()["attempt_index"]).unwrap();
        ClaimExecutionArgs::new(
            id(),
            name(worker),
            instance(worker),
            lane(),
            LeaseId::from_uuid(Uuid::from_u128(5)),
            LEASE_MS,
            AttemptId::from_uuid(Uuid::from_u128(6)),
            AttemptIndex(u32::try_from(index).unwrap()),
            String::new(),
            None,
            None,
            self.now(),
        )
    }

    fn reclamation(&self, worker: usize) -> ReclaimExecutionArgs {
        ReclaimExecutionArgs::new(
            id(),
            name(worker),
            instance(worker),
            lane(),
            None,
            LeaseId::from_uuid(Uuid::from_u128(5)),
            LEASE_MS,
            AttemptId::from_uuid(Uuid::from_u128(6)),
            String::new(),
            None,
            instance(worker),
            AttemptIndex(0),
        )
    }

    /// The part of a state that distinguishes it: no ids, no texts, no counts of changes.
    fn fingerprint(&self, handles: &[Option<Handle>; 2]) -> String {
        let ignored = [
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
        let mut words = vec![self.now().0.to_string()];
        for table in [exec_core::TABLE.name, attempt::TABLE.name, claim_grant::TABLE.name] {
            let mut rows: Vec<String> = Vec::new();
            for row in self.backend.rows(table) {
                let kept = row.iter().filter(|(name, _)| !ignored.contains(&name.as_str()));
                rows.push(kept.map(|(_, value)| format!("{value} ")).collect());
            }
            rows.sort();
            words.extend(rows);
        }
        for handle in handles {
            let payload = handle.as_ref().map(|handle| handle_codec::decode(&handle.opaque));
            let payload = payload.map(|decoded| decoded.unwrap().payload);
            words.push(
                payload.map_or("-".into(), |of| format!("{}.{}", of.attempt_index, of.lease_epoch)),
            );
        }
        words.join("|")
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

fn name(worker: usize) -> WorkerId {
    WorkerId::new(format!("pool-{worker}"))
}

fn instance(worker: usize) -> WorkerInstanceId {
    WorkerInstanceId::new(format!("w{worker}"))
}

fn int(value: &Value) -> Option<i64> {
    if let Value::Int(number) = value { Some(*number) } else { None }
}

fn is(row: &Rows, column: &str, word: &str) -> bool {
    row[column] == Value::Text(word.into())
}

fn submission() -> CreateExecutionArgs {
    let most = u32::try_from(LOSSES).unwrap();
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
        policy: Some(ExecutionPolicy { max_reclaim_count: most, ..ExecutionPolicy::default() }),
        delay_until: None,
        execution_deadline_at: None,
        partition_id: 3,
        now: TimestampMs(START),
    }
}

/// Checks the invariants of every state.
fn check(core: &Rows, attempts: &[Rows], history: &[Step]) {
    let leased = attempts.iter().filter(|row| !row["lease_expires_at_ms"].is_null());
    let leased: Vec<&Rows> = leased.collect();
    let active = is(core, "lifecycle_phase", "active");
    assert_eq!(leased.len(), usize::from(active), "one lease while active: {history:?}");
    for row in leased {
        assert_eq!(row["attempt_index"], core["attempt_index"], "{history:?}");
    }

    let lost = int(&core["lease_reclaim_count"]).unwrap();
    let failed = is(core, "public_state", "failed");
    assert_eq!(LOSSES < lost, failed, "one loss too many ends it, and nothing else: {history:?}");
    let over = is(core, "lifecycle_phase", "terminal");
    assert_eq!(!core["terminal_at_ms"].is_null(), over, "{history:?}");
}

/// The number of steps in which a scheduler, a scanner and a worker end the execution.
async fn steps_to_the_end(world: &World, state: &State) -> usize {
    let mut handles = state.handles.clone();
    for taken in 0..20 {
        let core = world.core();
        if is(&core, "lifecycle_phase", "terminal") {
            return taken;
        }
        let granted = int(&core["granted_until_ms"]).is_some_and(|until| world.now().0 < until);
        let step = if is(&core, "lifecycle_phase", "active") {
            let held =
                handles[0].is_some() && world.take(Step::Complete(0), &mut handles).await.is_ok();
            if held { continue } else { Step::Scan(Scan::LeaseExpiry) }
        } else if is(&core, "eligibility_state", "blocked_by_route") {
            Step::Unblock
        } else if granted {
            Step::Tick
        } else {
            Step::Claim(0)
        };

        let before = world.fingerprint(&handles);
        world.take(step, &mut handles).await.unwrap();
        if world.fingerprint(&handles) == before {
            world.take(Step::Tick, &mut handles).await.unwrap();
        }
    }
    panic!("no end in sight: {:?}", state.history)
}

#[tokio::test]
async fn grants_blocks_and_reclaims_lead_nowhere_but_to_an_end() {
    let world = World::new();
    world.backend.create_execution(submission()).await.unwrap();
    let (stored, history) = (world.backend.snapshot(), Vec::new());
    let first = State { stored, now: START, handles: [None, None], history };
    let mut seen = BTreeSet::from([world.fingerprint(&first.handles)]);
    let (mut frontier, mut by_depth, mut longest) = (vec![first], vec![1], 0);

    for _ in 0..DEPTH {
        let mut next = Vec::new();
        for state in &frontier {
            for step in steps() {
                world.enter(state);
                let before = world.fingerprint(&state.handles);
                let mut handles = state.handles.clone();
                let history: Vec<Step> = state.history.iter().copied().chain([step]).collect();
                if world.take(step, &mut handles).await.is_err() {
                    let after = world.fingerprint(&state.handles);
                    assert_eq!(before, after, "a refusal changed something: {history:?}");
                    continue;
                }

                check(&world.core(), &world.attempts(), &history);
                if seen.insert(world.fingerprint(&handles)) {
                    let (stored, now) = (world.backend.snapshot(), world.now().0);
                    let new = State { stored, now, handles, history };
                    longest = longest.max(steps_to_the_end(&world, &new).await);
                    next.push(new);
                }
            }
        }
        by_depth.push(next.len());
        frontier = next;
    }

    println!("{by_depth:?}, {longest} steps to the end at most");
    let states: usize = by_depth.iter().sum();
    assert!(1_000 < states && longest <= 10, "{by_depth:?}, {longest}");
}
