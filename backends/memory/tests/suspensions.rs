//! Every history, up to a depth, of one execution that is suspended, signalled, timed out and
//! resumed. From every state, a fair scheduler, a working worker and an operator bring it to an
//! end.
//!
//! A breadth-first search over states, as in `explore.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use ff_backend_memory::{MemoryBackend, Snapshot};
use ff_core::EngineError;
use ff_core::backend::{BackendTag, CapabilitySet, ClaimPolicy, Handle};
use ff_core::contracts::{
    CancelExecutionArgs, CreateExecutionArgs, DeliverSignalArgs, ReplayExecutionArgs,
    ResumeCondition, ResumeExecutionArgs, ResumePolicy, SeedWaitpointHmacSecretArgs, SignalMatcher,
    SuspendArgs, SuspensionReasonCode, TimeoutBehavior, WaitpointBinding,
};
use ff_core::engine_backend::{EngineBackend, Scan};
use ff_core::plan::value::Value;
use ff_core::rules::handle;
use ff_core::types::{
    CancelSource, ExecutionId, LaneId, Namespace, SignalId, SuspensionId, TimestampMs, WaitpointId,
    WaitpointToken, WorkerId, WorkerInstanceId,
};
use uuid::Uuid;

const TICK: i64 = 10;
const START: i64 = 1_000;
const TIMEOUT_TICKS: i64 = 2;
const DELAY_TICKS: i64 = 2;
const DEPTH: usize = 7;

type Rows = BTreeMap<String, Value>;

/// One step of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Tick,
    Claim,
    Complete,
    Suspend(TimeoutBehavior),
    MakeAhead,
    Signal(&'static str),
    Resume,
    ResumeLater,
    Cancel,
    Replay,
    Scan(Scan),
}

fn steps() -> Vec<Step> {
    let mut steps = vec![Step::Tick, Step::Claim, Step::Complete];
    steps.extend([TimeoutBehavior::Fail, TimeoutBehavior::Escalate].map(Step::Suspend));
    steps.push(Step::Suspend(TimeoutBehavior::AutoResumeWithTimeoutSignal));
    steps.extend(["go", "other"].map(Step::Signal));
    steps.extend([Step::Resume, Step::ResumeLater, Step::Cancel, Step::Replay, Step::MakeAhead]);
    let scans = [Scan::LeaseExpiry, Scan::DelayedPromotion, Scan::SuspensionTimeout];
    steps.extend(scans.map(Step::Scan));
    steps.push(Step::Scan(Scan::WaitpointExpiry));
    steps
}

struct State {
    stored: Snapshot,
    now: i64,
    handle: Option<Handle>,
    history: Vec<Step>,
}

struct World {
    backend: MemoryBackend,
    clock: Arc<AtomicI64>,
}

impl World {
    async fn new() -> Self {
        let clock = Arc::new(AtomicI64::new(START));
        let time = Arc::clone(&clock);
        let clock_fn = Box::new(move || TimestampMs(time.load(Ordering::Relaxed)));
        let backend = MemoryBackend::new().with_seed(7).with_clock(clock_fn);
        let key = SeedWaitpointHmacSecretArgs::new("k", "07".repeat(32));
        backend.seed_waitpoint_hmac_secret(key).await.unwrap();
        backend.create_execution(submission()).await.unwrap();
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
        self.backend.rows("ff_exec_core").remove(0)
    }

    fn suspension(&self) -> Option<Rows> {
        self.backend.rows("ff_suspension_current").pop()
    }

    async fn take(&self, step: Step, held: &mut Option<Handle>) -> Result<(), EngineError> {
        let backend = &self.backend;
        let handle = || held.clone().ok_or(EngineError::Unavailable { op: "" });
        match step {
            Step::Tick => drop(self.clock.fetch_add(TICK, Ordering::Relaxed)),
            Step::Claim => {
                let terms = ClaimPolicy::new(
                    WorkerId::new("pool"),
                    WorkerInstanceId::new("w"),
                    u32::try_from(2 * TICK).unwrap(),
                    None,
                );
                let claimed = backend.claim(&lane(), &CapabilitySet::default(), terms).await?;
                if claimed.is_some() {
                    *held = claimed;
                }
            }
            Step::Complete => backend.complete(&handle()?, None).await?,
            Step::Suspend(behavior) => {
                let handle = handle()?;
                drop(backend.suspend(&handle, self.suspend_args(&handle, behavior)).await?);
            }
            Step::Signal(name) => drop(backend.deliver_signal(self.signal(name)?).await?),
            Step::Resume => backend.resume_execution(resume(0)).await.map(drop)?,
            Step::ResumeLater => {
                let later = resume(DELAY_TICKS * TICK);
                backend.resume_execution(later).await.map(drop)?;
            }
            Step::Cancel => drop(backend.cancel_execution(self.cancellation()).await?),
            Step::Replay => {
                let args = ReplayExecutionArgs { execution_id: id(), now: self.now() };
                backend.replay_execution(args).await?;
            }
            Step::MakeAhead => {
                let handle = handle()?;
                drop(backend.create_waitpoint(&handle, "a", Duration::from_secs(1)).await?);
            }
            Step::Scan(scan) => assert_eq!(backend.scan(scan, 9).await?.errors, 0),
        }
        Ok(())
    }

    fn suspend_args(&self, handle: &Handle, behavior: TimeoutBehavior) -> SuspendArgs {
        // Every lease has a waitpoint of its own.
        let epoch = handle::open(BackendTag::Memory, handle).unwrap().lease_epoch.0;
        let id = Uuid::from_u128(u128::from(epoch));
        let door = WaitpointBinding::Fresh {
            waitpoint_id: WaitpointId::from_uuid(id),
            waitpoint_key: "a".into(),
        };
        let matcher = SignalMatcher::ByName("go".into());
        let until = TimestampMs(self.now().0 + TIMEOUT_TICKS * TICK);
        SuspendArgs::new(
            SuspensionId::from_uuid(id),
            door,
            ResumeCondition::Single { waitpoint_key: "a".into(), matcher },
            ResumePolicy::new(),
            SuspensionReasonCode::WaitingForSignal,
            self.now(),
        )
        .with_timeout(until, behavior)
    }

    /// A signal to the open waitpoint, if there is one.
    fn signal(&self, name: &str) -> Result<DeliverSignalArgs, EngineError> {
        let doors = self.backend.rows("ff_waitpoint_pending");
        let door = doors.first().ok_or(EngineError::Unavailable { op: "" })?;
        let (Value::Uuid(waitpoint), Value::Text(token)) = (&door["waitpoint_id"], &door["token"])
        else {
            panic!("a waitpoint: {door:?}")
        };
        Ok(self.signal_to(*waitpoint, token, name))
    }

    fn signal_to(&self, waitpoint: Uuid, token: &str, name: &str) -> DeliverSignalArgs {
        DeliverSignalArgs {
            max_signals_per_execution: Some(2),
            signal_maxlen: Some(1),
            ..DeliverSignalArgs::new(
                id(),
                WaitpointId::from_uuid(waitpoint),
                SignalId::from_uuid(Uuid::nil()),
                name,
                WaitpointToken::new(token),
                self.now(),
            )
        }
    }

    fn cancellation(&self) -> CancelExecutionArgs {
        CancelExecutionArgs {
            execution_id: id(),
            reason: "r".into(),
            source: CancelSource::OperatorOverride,
            lease_id: None,
            lease_epoch: None,
            attempt_id: None,
            now: self.now(),
        }
    }

    /// The part of a state that distinguishes it: no ids, no texts, no counts of changes.
    fn fingerprint(&self, held: Option<&Handle>) -> String {
        let words_of = |row: &Rows, columns: &[&str]| -> Vec<String> {
            columns.iter().map(|column| row[*column].to_string()).collect()
        };
        let mut words = words_of(
            &self.core(),
            &["lifecycle_phase", "public_state", "blocking_reason", "eligible_at_ms"],
        );
        for row in self.backend.rows("ff_attempt") {
            words.extend(words_of(&row, &["lease_epoch", "lease_expires_at_ms", "outcome"]));
        }
        if let Some(row) = self.suspension() {
            let columns = ["timeout_at_ms", "timeout_behavior", "signal_count", "member_map"];
            words.extend(words_of(&row, &columns));
        }
        words.push(self.backend.rows("ff_waitpoint_pending").len().to_string());
        let epoch = |handle: &Handle| handle::open(BackendTag::Memory, handle).unwrap().lease_epoch;
        words.push(held.map_or("-".into(), |handle| epoch(handle).to_string()));
        words.push(self.now().0.to_string());
        words.join(" ")
    }

    /// Delivers a signal with every token that was ever issued: only tokens of the current
    /// suspension are accepted.
    async fn check_tokens(&self, given: &mut BTreeMap<Uuid, String>, history: &[Step]) {
        let waits = is(&self.core(), "suspended");
        let current = self.suspension().map(|row| row["suspension_id"].clone());
        let rows = self.backend.rows("ff_waitpoint_pending");
        let bound = |waitpoint: Uuid| {
            let mut rows = rows.iter().filter(|row| row["waitpoint_id"] == Value::Uuid(waitpoint));
            rows.any(|row| waits && Some(&row["suspension_id"]) == current.as_ref())
        };
        for row in &rows {
            let (Value::Uuid(waitpoint), Value::Text(token)) =
                (&row["waitpoint_id"], &row["token"])
            else {
                panic!("a waitpoint: {row:?}")
            };
            given.insert(*waitpoint, token.clone());
        }
        for (waitpoint, token) in given.iter().filter(|(waitpoint, _)| !bound(**waitpoint)) {
            let answer = self.backend.deliver_signal(self.signal_to(*waitpoint, token, "go")).await;
            assert!(answer.is_err(), "{waitpoint} opens {answer:?}: {history:?}");
        }
    }

    /// Checks the invariants of every state.
    fn check(&self, history: &[Step]) {
        let core = self.core();
        let waits = is(&core, "suspended");
        let suspension = self.suspension();
        assert!(!waits || suspension.is_some(), "{history:?}");
        let doors = self.backend.rows("ff_waitpoint_pending");
        assert!(doors.is_empty() || !over(&core), "an open waitpoint: {history:?}");
        let active = |door: &Rows| door["state"] == Value::Text("active".into());
        assert!(waits || !doors.iter().any(active), "an active waitpoint: {history:?}");
        let events = self.backend.rows("ff_completion_event");
        let resumable = Value::Text("resumable".into());
        let ends = events.iter().filter(|event| event["outcome"] != resumable).count();
        let replays = history.iter().filter(|step| **step == Step::Replay).count();
        assert_eq!(ends, usize::from(over(&core)) + replays, "one end, one event: {history:?}");
    }
}

fn is(core: &Rows, phase: &str) -> bool {
    core["lifecycle_phase"] == Value::Text(phase.into())
}

fn over(core: &Rows) -> bool {
    is(core, "terminal") || is(core, "cancelled")
}

fn int(value: &Value) -> Option<i64> {
    if let Value::Int(number) = value { Some(*number) } else { None }
}

fn id() -> ExecutionId {
    ExecutionId::from_parts(3, Uuid::from_u128(1))
}

fn lane() -> LaneId {
    LaneId::new("main")
}

fn resume(delay_ms: i64) -> ResumeExecutionArgs {
    let (trigger_type, resume_delay_ms) = ("operator".into(), delay_ms.unsigned_abs());
    ResumeExecutionArgs { execution_id: id(), trigger_type, resume_delay_ms }
}

fn submission() -> CreateExecutionArgs {
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
        policy: None,
        delay_until: None,
        execution_deadline_at: None,
        partition_id: 3,
        now: TimestampMs(START),
    }
}

/// The number of steps that end the execution: due timers are scanned, claimable work is done, and
/// an operator resumes a suspension without a timeout.
async fn steps_to_the_end(world: &World, state: &State) -> usize {
    let mut held: Option<Handle> = None;
    for taken in 0..30 {
        let core = world.core();
        if over(&core) {
            return taken;
        }
        let passed = |at: Option<i64>| at.is_some_and(|at| at < world.now().0);
        let lapses = world
            .backend
            .rows("ff_attempt")
            .iter()
            .find_map(|row| int(&row["lease_expires_at_ms"]));
        let gives_up = world.suspension().and_then(|row| int(&row["timeout_at_ms"]));
        let due = int(&core["eligible_at_ms"]);
        let step = if is(&core, "suspended") {
            match gives_up {
                None => Step::Resume,
                at if passed(at) => Step::Scan(Scan::SuspensionTimeout),
                Some(_) => Step::Tick,
            }
        } else if is(&core, "active") {
            match held {
                Some(_) => Step::Complete,
                None if passed(lapses) => Step::Scan(Scan::LeaseExpiry),
                None => Step::Tick,
            }
        } else {
            match due {
                None => Step::Claim,
                at if passed(at) => Step::Scan(Scan::DelayedPromotion),
                Some(_) => Step::Tick,
            }
        };
        let outcome = world.take(step, &mut held).await;
        outcome.unwrap_or_else(|error| panic!("{step:?}: {error}: {:?}", state.history));
    }
    panic!("no end in sight: {:?}", state.history)
}

#[tokio::test]
async fn a_suspended_execution_always_ends() {
    let world = World::new().await;
    let (stored, history) = (world.backend.snapshot(), Vec::new());
    let mut seen = BTreeSet::from([world.fingerprint(None)]);
    let mut frontier = vec![State { stored, now: START, handle: None, history }];
    let (mut by_depth, mut longest, mut given) = (vec![1], 0, BTreeMap::new());
    for _ in 0..DEPTH {
        let mut next = Vec::new();
        for state in &frontier {
            for step in steps() {
                world.enter(state);
                let (mut held, mut history) = (state.handle.clone(), state.history.clone());
                history.push(step);
                if world.take(step, &mut held).await.is_err() {
                    continue;
                }
                world.check(&history);
                if seen.insert(world.fingerprint(held.as_ref())) {
                    world.check_tokens(&mut given, &history).await;
                    let (stored, now) = (world.backend.snapshot(), world.now().0);
                    let new = State { stored, now, handle: held, history };
                    longest = longest.max(steps_to_the_end(&world, &new).await);
                    next.push(new);
                }
            }
        }
        by_depth.push(next.len());
        frontier = next;
    }
    assert_eq!(by_depth, [1, 3, 11, 39, 106, 277, 641, 1_298]);
    assert_eq!(longest, 7);
}
