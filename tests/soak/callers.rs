//! Submitters, workers and signallers. A call that fails is repeated on another engine until its
//! outcome is known; only an answer counts as acknowledged.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flowfabric_sql::core::contracts::{
    CreateExecutionResult, DeliverApprovalSignalArgs, ResumeCondition, ResumePolicy, SignalMatcher,
    SuspendArgs, SuspensionReasonCode, WaitpointBinding,
};
use flowfabric_sql::core::engine_error::{ContentionKind, StoreClass};
use flowfabric_sql::core::handle_codec;
use flowfabric_sql::core::types::{LeaseEpoch, SuspensionId, WaitpointId};
use flowfabric_sql::{
    BackoffStrategy, CapabilitySet, ClaimPolicy, CreateExecutionArgs, EngineError, ExecutionId,
    ExecutionPolicy, FailureClass, FailureReason, Handle, Namespace, PartitionConfig, RetryPolicy,
    TimestampMs, WorkerId, WorkerInstanceId,
};
use uuid::Uuid;

use crate::ledger::Acknowledgement;
use crate::verdict::is_end;
use crate::{OPEN, Phase, Soak};

const LEASE_TTL_MS: u32 = 5_000;
const PAUSE: Duration = Duration::from_millis(20);

/// The time for which the outcome of an end is asked for.
const PATIENCE: Duration = Duration::from_secs(20);

/// True if the same call may be repeated: nothing is known of its outcome, or nothing happened.
fn may_pass(error: &EngineError) -> bool {
    error.store_class().is_some_and(StoreClass::may_pass)
        || matches!(
            error,
            EngineError::ResourceExhausted { .. }
                | EngineError::Timeout { .. }
                | EngineError::Contention(ContentionKind::RetryExhausted)
        )
}

/// Submits while there is load.
pub(crate) async fn submit(soak: Arc<Soak>, own: usize) {
    while soak.phase() == Phase::Load {
        if OPEN <= soak.ledger.open() {
            tokio::time::sleep(PAUSE).await;
            continue;
        }

        let id = ExecutionId::solo(&soak.lane, &PartitionConfig::default());
        soak.ledger.ask_to_submit(&id);
        for tries in 0.. {
            let at = soak.at(own, tries);
            match soak.engines[at].create_execution(submission(&soak, &id)).await {
                Ok(result) => {
                    let is_first = matches!(result, CreateExecutionResult::Created { .. });
                    soak.ledger.submitted(&id, Acknowledgement::now(at, tries, is_first));
                    break;
                }
                Err(error) => {
                    soak.ledger.failure("submit", &error);
                    if !may_pass(&error) {
                        soak.ledger.violation(format!("{id}: not submitted: {error}"));
                        break;
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

fn submission(soak: &Soak, id: &ExecutionId) -> CreateExecutionArgs {
    let retry = RetryPolicy {
        max_retries: 1_000,
        backoff: BackoffStrategy::Fixed { delay_ms: 100 },
        ..RetryPolicy::default()
    };
    CreateExecutionArgs {
        partition_id: id.partition(),
        execution_id: id.clone(),
        namespace: Namespace::new("soak"),
        lane_id: soak.lane.clone(),
        execution_kind: "task".into(),
        input_payload: id.to_string().into_bytes(),
        payload_encoding: None,
        priority: 0,
        creator_identity: "soak".into(),
        idempotency_key: None,
        tags: HashMap::new(),
        policy: Some(ExecutionPolicy { retry_policy: Some(retry), ..ExecutionPolicy::default() }),
        delay_until: None,
        execution_deadline_at: None,
        now: TimestampMs::now(),
    }
}

/// Claims until the soak is over, and completes, fails or suspends what it gets.
pub(crate) async fn work(soak: Arc<Soak>, own: usize, task: usize) {
    let worker = WorkerId::new(format!("soak-{own}"));
    let instance = WorkerInstanceId::new(format!("soak-{own}-{task}"));
    let terms = ClaimPolicy::new(worker, instance, LEASE_TTL_MS, None);
    let capabilities = CapabilitySet::default();
    while soak.phase() != Phase::Over {
        // A claim is not repeated elsewhere: each is another one.
        let claimed = soak.engines[own].claim(&soak.lane, &capabilities, terms.clone()).await;
        match claimed {
            Ok(Some(handle)) => {
                let payload = handle_codec::decode(&handle.opaque).unwrap().payload;
                let (id, epoch) = (payload.execution_id, payload.lease_epoch);
                soak.ledger.granted(&id, epoch);
                run(&soak, own, &id, epoch, &handle).await;
            }
            Ok(None) => tokio::time::sleep(PAUSE).await,
            Err(error) => {
                soak.ledger.failure("claim", &error);
                if !may_pass(&error) {
                    soak.ledger.violation(format!("a claim failed for good: {error}"));
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// One run: most complete; of twenty executions, three suspend first and two fail once.
async fn run(soak: &Soak, own: usize, id: &ExecutionId, epoch: LeaseEpoch, handle: &Handle) {
    let kind = id.uuid().as_bytes()[0] % 20;
    if (0..3).contains(&kind) && soak.ledger.ask_to_suspend(id) {
        suspend(soak, own, id, handle).await;
    } else if (3..5).contains(&kind) && epoch == LeaseEpoch(1) {
        let reason = FailureReason::new("once");
        let failed = soak.engines[own].fail(handle, reason, FailureClass::Transient).await;
        if let Err(error) = failed {
            soak.ledger.failure("fail", &error);
        }
    } else {
        complete(soak, own, id, epoch, handle).await;
    }
}

async fn complete(soak: &Soak, own: usize, id: &ExecutionId, epoch: LeaseEpoch, handle: &Handle) {
    let result = format!("{id} {} {}", epoch.0, soak.number()).into_bytes();
    soak.ledger.ask_to_end(id, epoch, &result);
    let until = Instant::now() + PATIENCE;
    for tries in 0.. {
        let at = soak.at(own, tries);
        match soak.engines[at].complete(handle, Some(result.clone())).await {
            Ok(()) => {
                return soak.ledger.ended(id, &result, Acknowledgement::now(at, tries, true));
            }
            Err(error) => {
                soak.ledger.failure("complete", &error);
                // Refused: the lease is lost, or an earlier try was applied after all.
                if !may_pass(&error) || until < Instant::now() {
                    return resolve(soak, own, id).await;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Looks whether the execution has ended, so that submitters go on.
async fn resolve(soak: &Soak, own: usize, id: &ExecutionId) {
    for tries in 0..100 {
        match soak.engine(own, tries).read_execution_state(id).await {
            Ok(Some(state)) if is_end(state) => return soak.ledger.found_ended(),
            Ok(_) => return,
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn suspend(soak: &Soak, own: usize, id: &ExecutionId, handle: &Handle) {
    let waitpoint = WaitpointId::from_uuid(Uuid::new_v4());
    let binding =
        WaitpointBinding::Fresh { waitpoint_id: waitpoint.clone(), waitpoint_key: "go".into() };
    let condition = ResumeCondition::Single {
        waitpoint_key: "go".into(),
        matcher: SignalMatcher::ByName("go".into()),
    };
    let args = SuspendArgs::new(
        SuspensionId::from_uuid(Uuid::new_v4()),
        binding,
        condition,
        ResumePolicy::new(),
        SuspensionReasonCode::WaitingForSignal,
        TimestampMs::now(),
    );
    let suspended = soak.engines[own].suspend(handle, args).await;
    if let Err(error) = suspended {
        soak.ledger.failure("suspend", &error);
    }
    // Also after a failure: it may be suspended.
    soak.ledger.wait_for_signal(id, &waitpoint);
}

/// Signals suspended executions until the soak is over.
pub(crate) async fn signal(soak: Arc<Soak>, own: usize) {
    while soak.phase() != Phase::Over {
        let Some((id, waitpoint)) = soak.ledger.next_waiting() else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };

        for tries in 0.. {
            let args = DeliverApprovalSignalArgs::new(
                id.clone(),
                soak.lane.clone(),
                waitpoint.clone(),
                "go",
                waitpoint.to_string(),
                600_000,
                None,
                None,
            );
            match soak.engine(own, tries).deliver_approval_signal(args).await {
                Ok(_) => {
                    soak.ledger.signalled(&id);
                    break;
                }
                Err(error) => {
                    if may_pass(&error) {
                        soak.ledger.failure("signal", &error);
                    }
                    tokio::time::sleep(PAUSE).await;
                    if !may_pass(&error) {
                        // It is not suspended there, or not yet.
                        again(&soak, own, &id, &waitpoint).await;
                        break;
                    }
                }
            }
        }
    }
}

/// Signals it later, unless it has ended.
async fn again(soak: &Soak, own: usize, id: &ExecutionId, waitpoint: &WaitpointId) {
    let state = soak.engine(own, 0).read_execution_state(id).await;
    if !matches!(state, Ok(Some(state)) if is_end(state)) {
        soak.ledger.wait_for_signal(id, waitpoint);
    }
}
