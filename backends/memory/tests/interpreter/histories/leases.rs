//! One execution, two workers and a clock: the rules leave no dead end, epochs only grow, and ends
//! are final.

use std::collections::BTreeSet;

use ff_core::EngineError;
use ff_core::backend::{FailureClass, FailureReason};
use ff_core::contracts::{CancelExecutionArgs, CompleteExecutionArgs, FailExecutionArgs};
use ff_core::engine_backend::{EngineBackend as _, ExpirePhase};
use ff_core::handle_codec::HandlePayload;
use ff_core::plan::value::Value;
use ff_core::policy::{BackoffStrategy, ExecutionPolicy, RetryPolicy, TimeoutPolicy};
use ff_core::state::{
    AttemptOutcome, ClosedSet, EligibilityState, LifecyclePhase, PublicState, TerminalOutcome,
    derive_public_state,
};
use ff_core::types::{AttemptIndex, CancelSource, LeaseFence, TimestampMs};

use super::{
    Before, Handles, INDISTINCT, Model, Rows, TICK, World, check_leases, explore, handle_of, id,
    int, lane, over, partition, payload, words_of,
};

const LEASE_TICKS: i64 = 2;
const DELAY_TICKS: i64 = 2;
const ATTEMPT_TICKS: i64 = 3;
const DEADLINE_TICKS: i64 = 5;
const DEPTH: usize = 7;

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

fn all_steps() -> Vec<Step> {
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

/// What two workers hold, and the epochs that were granted so far.
#[derive(Clone, Default)]
struct Held {
    handles: Handles,
    granted: BTreeSet<i64>,
}

struct Leases;

impl Model for Leases {
    type Step = Step;
    type Held = Held;

    const TABLES: &[&str] = &["ff_exec_core", "ff_attempt"];

    fn steps(&self) -> Vec<Step> {
        all_steps()
    }

    async fn take(&self, world: &World, step: Step, held: &mut Held) -> Result<(), EngineError> {
        let backend = &world.backend;
        let delay_until = TimestampMs(world.now().0 + DELAY_TICKS * TICK);
        let of = |worker: usize| handle_of(&held.handles, worker);
        let reason = || FailureReason::new("r");
        match step {
            Step::Tick => world.tick(),
            Step::Claim(worker) => {
                if let Some(claimed) = world.claim(worker, LEASE_TICKS).await? {
                    let epoch = i64::try_from(payload(&claimed).lease_epoch.0).unwrap();
                    let newest = held.granted.last().is_none_or(|last| *last < epoch);
                    assert!(newest, "epoch {epoch} was granted before: {:?}", held.granted);
                    held.granted.insert(epoch);
                    held.handles[worker] = Some(claimed);
                }
            }
            Step::Renew(worker) => backend.renew(&of(worker)?).await.map(drop)?,
            Step::Progress(worker) => backend.progress(&of(worker)?, Some(5), None).await?,
            Step::Complete(worker) => backend.complete(&of(worker)?, None).await?,
            Step::CompleteTyped(worker) => {
                let payload = payload(&of(worker)?);
                let args = completion(world, Some(&payload));
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
                backend.fail_execution(failure(world, Some(&payload))).await.map(drop)?;
            }
            Step::Delay(worker) => backend.delay(&of(worker)?, delay_until).await?,
            Step::Cancel(worker) => backend.cancel(&of(worker)?, "r").await?,
            Step::CompleteOverriding => {
                let args = completion(world, None);
                backend.complete_execution(args).await.map(drop)?;
            }
            Step::FailOverriding => {
                backend.fail_execution(failure(world, None)).await.map(drop)?;
            }
            Step::CancelByOperator => {
                backend.cancel_execution(cancellation(world, None)).await.map(drop)?;
            }
            Step::CancelByHolder(worker) => {
                let args = cancellation(world, Some(&payload(&of(worker)?)));
                backend.cancel_execution(args).await.map(drop)?;
            }
            Step::Tag => backend.set_execution_tag(&id(), "a.b", "c").await?,
            Step::Promote => {
                backend.promote_delayed(partition(), &lane(), &id(), world.now()).await?;
            }
            Step::ExpireLease => backend.mark_lease_expired_if_due(partition(), &id()).await?,
            Step::ExpireAttempt => {
                let phase = ExpirePhase::AttemptTimeout;
                backend.expire_execution(partition(), &id(), phase, world.now()).await?;
            }
            Step::ExpireExecution => {
                let phase = ExpirePhase::ExecutionDeadline;
                backend.expire_execution(partition(), &id(), phase, world.now()).await?;
            }
        }
        Ok(())
    }

    fn fingerprint(&self, world: &World, held: &Held) -> String {
        let core = world.core();
        let Value::Json(raw) = &core["raw_fields"] else { panic!("an object") };
        let [retries, tags] = ["retry_count", "tags"].map(|member| raw.get(member));
        format!(
            "{} {} {retries:?} {tags:?} {}",
            world.fingerprint(&["ff_exec_core"], &INDISTINCT[..7]),
            world.fingerprint(&["ff_attempt"], &INDISTINCT),
            words_of(&held.handles)
        )
    }

    fn check(&self, world: &World, before: &Before, history: &[Step]) {
        let (core, attempts) = (world.core(), world.attempts());
        check_leases(&core, &attempts, &history);
        check_state(&core, &attempts, history);
        check_step((&before.core, &before.attempts), (&core, &attempts), history);
    }

    fn step_to_the_end(&self, world: &World, held: &Held) -> Option<Step> {
        let core = world.core();
        let now = world.now().0;
        let due = |at: &Value| int(at).is_some_and(|at| at <= now);
        let lapsed = world.attempts().iter().any(|row| due(&row["lease_expires_at_ms"]));
        let waits = core["eligibility_state"] == Value::Text("not_eligible_until_time".into());
        let is_due = core["eligible_at_ms"].is_null() || due(&core["eligible_at_ms"]);
        match phase(&core) {
            LifecyclePhase::Active if held.handles[0].is_some() => Some(Step::Complete(0)),
            LifecyclePhase::Active if lapsed => Some(Step::ExpireLease),
            LifecyclePhase::Runnable if waits && is_due => Some(Step::Promote),
            LifecyclePhase::Runnable if !waits => Some(Step::Claim(0)),
            LifecyclePhase::Active | LifecyclePhase::Runnable => Some(Step::Tick),
            LifecyclePhase::Terminal | LifecyclePhase::Cancelled => None,
            LifecyclePhase::Submitted | LifecyclePhase::Suspended => panic!("not reached"),
        }
    }
}

fn word<T: ClosedSet>(value: &Value) -> Option<T> {
    if let Value::Text(text) = value { T::parse(text) } else { None }
}

fn phase(core: &Rows) -> LifecyclePhase {
    word(&core["lifecycle_phase"]).unwrap()
}

/// Checks that the states agree.
fn check_state(core: &Rows, attempts: &[Rows], history: &[Step]) {
    let active = phase(core) == LifecyclePhase::Active;
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

/// The attempt that a call names: the one of its fence, or else the current one.
fn index(world: &World, fence: Option<&HandlePayload>) -> AttemptIndex {
    fence.map_or_else(
        || AttemptIndex(u32::try_from(int(&world.core()["attempt_index"]).unwrap()).unwrap()),
        |payload| payload.attempt_index,
    )
}

fn completion(world: &World, fence: Option<&HandlePayload>) -> CompleteExecutionArgs {
    CompleteExecutionArgs {
        execution_id: id(),
        fence: fence.map(fence_of),
        attempt_index: index(world, fence),
        result_payload: None,
        result_encoding: None,
        source: source(fence),
        now: world.now(),
    }
}

fn cancellation(world: &World, holder: Option<&HandlePayload>) -> CancelExecutionArgs {
    CancelExecutionArgs {
        execution_id: id(),
        reason: "r".into(),
        source: source(holder),
        lease_id: None,
        lease_epoch: holder.map(|payload| payload.lease_epoch),
        attempt_id: None,
        now: world.now(),
    }
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

fn failure(world: &World, fence: Option<&HandlePayload>) -> FailExecutionArgs {
    FailExecutionArgs {
        execution_id: id(),
        fence: fence.map(fence_of),
        attempt_index: index(world, fence),
        failure_reason: "r".into(),
        failure_category: "c".into(),
        retry_policy_json: r#"{"max_retries":2,"backoff":{"type":"fixed","delay_ms":0}}"#.into(),
        next_attempt_policy_json: String::new(),
        source: source(fence),
    }
}

fn policy() -> ExecutionPolicy {
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
    ExecutionPolicy {
        retry_policy: Some(retry),
        timeout_policy: Some(timeouts),
        ..ExecutionPolicy::default()
    }
}

#[tokio::test]
async fn there_are_no_dead_ends() {
    let world = World::with_policy(Some(policy())).await;
    let met = explore(&mut Leases, &world, Held::default(), DEPTH).await;
    assert_eq!(met.by_depth, [1, 5, 27, 99, 281, 749, 1_922, 4_634]);
    assert_eq!((met.transitions, met.longest), (37_201, 5));
}
