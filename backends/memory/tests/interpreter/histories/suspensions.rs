//! Suspensions of one execution, its signals, timeouts and resumes: it is never stuck, and a token
//! opens only the wait that it was made for.

use std::collections::BTreeMap;
use std::time::Duration;

use ff_core::EngineError;
use ff_core::backend::Handle;
use ff_core::contracts::{
    CancelExecutionArgs, DeliverSignalArgs, ReplayExecutionArgs, ResumeCondition,
    ResumeExecutionArgs, ResumePolicy, SeedWaitpointHmacSecretArgs, SignalMatcher, SuspendArgs,
    SuspensionReasonCode, TimeoutBehavior, WaitpointBinding,
};
use ff_core::engine_backend::{EngineBackend as _, Scan};
use ff_core::plan::value::Value;
use ff_core::types::{
    CancelSource, SignalId, SuspensionId, TimestampMs, WaitpointId, WaitpointToken,
};
use uuid::Uuid;

use super::{Before, Model, Rows, TICK, World, explore, id, int, is, over, payload};

const LEASE_TICKS: i64 = 2;
const TIMEOUT_TICKS: i64 = 2;
const DELAY_TICKS: i64 = 2;
const DEPTH: usize = 7;

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

fn all_steps() -> Vec<Step> {
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

#[derive(Default)]
struct Suspensions {
    /// Every token that was ever issued.
    given: BTreeMap<Uuid, String>,
}

impl Model for Suspensions {
    type Step = Step;
    type Held = Option<Handle>;

    const TABLES: &[&str] =
        &["ff_exec_core", "ff_attempt", "ff_suspension_current", "ff_waitpoint_pending"];

    fn steps(&self) -> Vec<Step> {
        all_steps()
    }

    async fn take(
        &self,
        world: &World,
        step: Step,
        held: &mut Option<Handle>,
    ) -> Result<(), EngineError> {
        let backend = &world.backend;
        let handle = || held.clone().ok_or(EngineError::Unavailable { op: "" });
        match step {
            Step::Tick => world.tick(),
            Step::Claim => {
                let claimed = world.claim(0, LEASE_TICKS).await?;
                if claimed.is_some() {
                    *held = claimed;
                }
            }
            Step::Complete => backend.complete(&handle()?, None).await?,
            Step::Suspend(behavior) => {
                let handle = handle()?;
                drop(backend.suspend(&handle, suspend_args(world, &handle, behavior)).await?);
            }
            Step::Signal(name) => drop(backend.deliver_signal(signal(world, name)?).await?),
            Step::Resume => backend.resume_execution(resume(0)).await.map(drop)?,
            Step::ResumeLater => {
                let later = resume(DELAY_TICKS * TICK);
                backend.resume_execution(later).await.map(drop)?;
            }
            Step::Cancel => drop(backend.cancel_execution(cancellation(world)).await?),
            Step::Replay => {
                let args = ReplayExecutionArgs { execution_id: id(), now: world.now() };
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

    fn fingerprint(&self, world: &World, held: &Option<Handle>) -> String {
        let words_of = |row: &Rows, columns: &[&str]| -> Vec<String> {
            columns.iter().map(|column| row[*column].to_string()).collect()
        };
        let mut words = words_of(
            &world.core(),
            &["lifecycle_phase", "public_state", "blocking_reason", "eligible_at_ms"],
        );
        for row in world.rows("ff_attempt") {
            words.extend(words_of(&row, &["lease_epoch", "lease_expires_at_ms", "outcome"]));
        }
        if let Some(row) = suspension(world) {
            let columns = ["timeout_at_ms", "timeout_behavior", "signal_count", "member_map"];
            words.extend(words_of(&row, &columns));
        }
        words.push(world.rows("ff_waitpoint_pending").len().to_string());
        let epoch = |handle: &Handle| payload(handle).lease_epoch;
        words.push(held.as_ref().map_or("-".into(), |handle| epoch(handle).to_string()));
        words.push(world.now().0.to_string());
        words.join(" ")
    }

    fn check(&self, world: &World, _: &Before, history: &[Step]) {
        let core = world.core();
        let waits = is(&core, "lifecycle_phase", "suspended");
        let suspension = suspension(world);
        assert!(!waits || suspension.is_some(), "{history:?}");
        let doors = world.rows("ff_waitpoint_pending");
        assert!(doors.is_empty() || !over(&core), "an open waitpoint: {history:?}");
        let active = |door: &Rows| door["state"] == Value::Text("active".into());
        assert!(waits || !doors.iter().any(active), "an active waitpoint: {history:?}");
        let events = world.rows("ff_completion_event");
        let resumable = Value::Text("resumable".into());
        let ends = events.iter().filter(|event| event["outcome"] != resumable).count();
        let replays = history.iter().filter(|step| **step == Step::Replay).count();
        assert_eq!(ends, usize::from(over(&core)) + replays, "one end, one event: {history:?}");
    }

    /// Delivers a signal with every token that was ever issued: only tokens of the current
    /// suspension are accepted.
    async fn check_new(&mut self, world: &World, history: &[Step]) {
        let waits = is(&world.core(), "lifecycle_phase", "suspended");
        let current = suspension(world).map(|row| row["suspension_id"].clone());
        let rows = world.rows("ff_waitpoint_pending");
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
            self.given.insert(*waitpoint, token.clone());
        }
        for (waitpoint, token) in self.given.iter().filter(|(waitpoint, _)| !bound(**waitpoint)) {
            let answer =
                world.backend.deliver_signal(signal_to(world, *waitpoint, token, "go")).await;
            assert!(answer.is_err(), "{waitpoint} opens {answer:?}: {history:?}");
        }
    }

    fn step_to_the_end(&self, world: &World, held: &Option<Handle>) -> Option<Step> {
        let core = world.core();
        if over(&core) {
            return None;
        }
        let passed = |at: Option<i64>| at.is_some_and(|at| at < world.now().0);
        let attempts = world.attempts();
        let lapses = attempts.iter().find_map(|row| int(&row["lease_expires_at_ms"]));
        let gives_up = suspension(world).and_then(|row| int(&row["timeout_at_ms"]));
        let due = int(&core["eligible_at_ms"]);
        Some(if is(&core, "lifecycle_phase", "suspended") {
            match gives_up {
                None => Step::Resume,
                at if passed(at) => Step::Scan(Scan::SuspensionTimeout),
                Some(_) => Step::Tick,
            }
        } else if is(&core, "lifecycle_phase", "active") {
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
        })
    }
}

fn suspension(world: &World) -> Option<Rows> {
    world.rows("ff_suspension_current").pop()
}

fn suspend_args(world: &World, handle: &Handle, behavior: TimeoutBehavior) -> SuspendArgs {
    // Every lease has a waitpoint of its own.
    let epoch = payload(handle).lease_epoch.0;
    let id = Uuid::from_u128(u128::from(epoch));
    let door = WaitpointBinding::Fresh {
        waitpoint_id: WaitpointId::from_uuid(id),
        waitpoint_key: "a".into(),
    };
    let matcher = SignalMatcher::ByName("go".into());
    let until = TimestampMs(world.now().0 + TIMEOUT_TICKS * TICK);
    SuspendArgs::new(
        SuspensionId::from_uuid(id),
        door,
        ResumeCondition::Single { waitpoint_key: "a".into(), matcher },
        ResumePolicy::new(),
        SuspensionReasonCode::WaitingForSignal,
        world.now(),
    )
    .with_timeout(until, behavior)
}

/// A signal to the open waitpoint, if there is one.
fn signal(world: &World, name: &str) -> Result<DeliverSignalArgs, EngineError> {
    let doors = world.rows("ff_waitpoint_pending");
    let door = doors.first().ok_or(EngineError::Unavailable { op: "" })?;
    let (Value::Uuid(waitpoint), Value::Text(token)) = (&door["waitpoint_id"], &door["token"])
    else {
        panic!("a waitpoint: {door:?}")
    };
    Ok(signal_to(world, *waitpoint, token, name))
}

fn signal_to(world: &World, waitpoint: Uuid, token: &str, name: &str) -> DeliverSignalArgs {
    DeliverSignalArgs {
        max_signals_per_execution: Some(2),
        signal_maxlen: Some(1),
        ..DeliverSignalArgs::new(
            id(),
            WaitpointId::from_uuid(waitpoint),
            SignalId::from_uuid(Uuid::nil()),
            name,
            WaitpointToken::new(token),
            world.now(),
        )
    }
}

fn cancellation(world: &World) -> CancelExecutionArgs {
    CancelExecutionArgs {
        execution_id: id(),
        reason: "r".into(),
        source: CancelSource::OperatorOverride,
        lease_id: None,
        lease_epoch: None,
        attempt_id: None,
        now: world.now(),
    }
}

fn resume(delay_ms: i64) -> ResumeExecutionArgs {
    let (trigger_type, resume_delay_ms) = ("operator".into(), delay_ms.unsigned_abs());
    ResumeExecutionArgs { execution_id: id(), trigger_type, resume_delay_ms }
}

#[tokio::test]
async fn a_suspended_execution_always_ends() {
    let world = World::with_policy(None).await;
    let key = SeedWaitpointHmacSecretArgs::new("k", "07".repeat(32));
    world.backend.seed_waitpoint_hmac_secret(key).await.unwrap();
    let met = explore(&mut Suspensions::default(), &world, None, DEPTH).await;
    assert_eq!(met.by_depth, [1, 3, 11, 39, 106, 277, 641, 1_298]);
    assert_eq!(met.longest, 7);
}
