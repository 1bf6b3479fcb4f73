//! The wait of the load `suspend`: for one signal at one new waitpoint.

use ff_core::contracts::{
    ClaimResumedExecutionArgs, DeliverSignalArgs, ResumeCondition, ResumePolicy,
    SeedWaitpointHmacSecretArgs, SignalMatcher, SuspendArgs, SuspensionReasonCode,
    WaitpointBinding,
};
use ff_core::crypto::hmac::hmac_sign;
use ff_core::types::{
    AttemptIndex, ExecutionId, LaneId, LeaseId, SignalId, SuspensionId, TimestampMs, WaitpointId,
    WaitpointToken, WorkerId, WorkerInstanceId,
};
use uuid::Uuid;

use crate::submission::{LEASE_MS, WORKER, instance};

/// The name of the signal, and of the waitpoint within its execution.
pub(crate) const SIGNAL: &str = "go";

/// The key that signs the tokens.
pub(crate) const KID: &str = "bench";
const SECRET: [u8; 32] = [0x5a; 32];

/// The key that signs the tokens of the waitpoints.
#[must_use]
pub fn signing_key() -> SeedWaitpointHmacSecretArgs {
    let hex = SECRET.iter().map(|byte| format!("{byte:02x}"));
    SeedWaitpointHmacSecretArgs::new(KID, hex.collect::<String>())
}

/// The ids of a wait.
#[derive(Clone, Debug)]
pub struct Wait {
    pub(crate) suspension: SuspensionId,
    pub(crate) waitpoint: WaitpointId,
    pub(crate) signal: SignalId,
}

impl Wait {
    /// A new wait.
    #[must_use]
    pub fn fresh() -> Self {
        let (suspension, waitpoint) = (SuspensionId::new(), WaitpointId::new());
        Self { suspension, waitpoint, signal: SignalId::new() }
    }

    /// The suspension that begins it.
    #[must_use]
    pub fn suspension(&self) -> SuspendArgs {
        let (waitpoint_id, waitpoint_key) = (self.waitpoint.clone(), SIGNAL.to_owned());
        let waitpoint = WaitpointBinding::Fresh { waitpoint_id, waitpoint_key };
        let (policy, reason) = (resume_policy(), SuspensionReasonCode::WaitingForSignal);

        let (id, now) = (self.suspension.clone(), TimestampMs::now());
        SuspendArgs::new(id, waitpoint, condition(), policy, reason, now)
    }

    /// The token of its waitpoint, as the engine signs it.
    #[must_use]
    pub fn token(&self, execution: &ExecutionId) -> WaitpointToken {
        let message = format!("{execution}:{}", self.waitpoint);
        WaitpointToken(hmac_sign(&SECRET, KID, message.as_bytes()))
    }

    /// The signal that ends it.
    #[must_use]
    pub fn signal(&self, execution: &ExecutionId, token: WaitpointToken) -> DeliverSignalArgs {
        let (waitpoint, signal) = (self.waitpoint.clone(), self.signal.clone());
        let now = TimestampMs::now();
        DeliverSignalArgs::new(execution.clone(), waitpoint, signal, SIGNAL, token, now)
    }
}

/// The condition of every wait.
pub(crate) fn condition() -> ResumeCondition {
    let matcher = SignalMatcher::ByName(SIGNAL.to_owned());
    ResumeCondition::Single { waitpoint_key: SIGNAL.to_owned(), matcher }
}

/// The policy of every wait.
pub(crate) fn resume_policy() -> ResumePolicy {
    ResumePolicy::normal()
}

/// The claim of an execution that has waited, by a caller.
#[must_use]
pub fn resumption(
    execution_id: ExecutionId,
    lane: &LaneId,
    caller: usize,
) -> ClaimResumedExecutionArgs {
    ClaimResumedExecutionArgs {
        execution_id,
        worker_id: WorkerId::new(WORKER),
        worker_instance_id: WorkerInstanceId::new(instance(caller)),
        lane_id: lane.clone(),
        lease_id: LeaseId::from_uuid(Uuid::new_v4()),
        lease_ttl_ms: u64::from(LEASE_MS),
        current_attempt_index: AttemptIndex(0),
        remaining_attempt_timeout_ms: None,
        now: TimestampMs::now(),
    }
}
