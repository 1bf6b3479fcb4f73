//! Blocking: an execution that no budget, quota or worker has room for leaves the claimable ones.

use serde_json::json;

use crate::contracts;
use crate::contracts::{
    BlockExecutionForAdmissionArgs, BlockExecutionForAdmissionOutcome, BlockRouteArgs,
    BlockRouteOutcome,
};
use crate::model::error::{EngineError, ValidationKind};
use crate::model::ids::{ExecutionId, LaneId, TimestampMs};
use crate::model::state::{BlockingReason, ClosedSet, EligibilityState, LifecyclePhase};
use crate::plan::facts::Facts;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Verdict};
use crate::rules::execution::change;
use crate::rules::execution::leasing::of_lane;
use crate::rules::input;
use crate::rules::key::ExecutionKey;
use crate::rules::premise::{Condition, Premise, existing};
use crate::rules::status::Status;
use crate::schema::execution::{claimable, exec_core};

/// The reasons for which no worker that there is may run an execution.
const ROUTING: [BlockingReason; 2] =
    [BlockingReason::WaitingForCapableWorker, BlockingReason::WaitingForLocalityMatch];

/// Blocks a claimable execution, until it is unblocked.
#[derive(Clone, Debug)]
pub struct Block {
    key: ExecutionKey,
    lane: LaneId,
    status: Status,
    detail: String,
    at: TimestampMs,
}

/// The consequence of a call to block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// It no longer counts as claimable.
    Blocked,
    /// It was not claimable, for this reason.
    NotClaimable(String),
}

impl Block {
    /// Blocks for want of a worker that can run it.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field; `Validation(InvalidBlockingReason)` for a code
    /// that is no reason of routing, naming those that are.
    pub fn for_route(args: BlockRouteArgs) -> Result<Self, EngineError> {
        input::same_partition("block_route", &args.partition, &args.execution_id)?;
        let code = args.reason_code.as_str();
        let reason = ROUTING.into_iter().find(|reason| reason.as_str() == code);
        let reason = reason.ok_or_else(|| EngineError::Validation {
            kind: ValidationKind::InvalidBlockingReason,
            detail: format!(
                "reason_code: {code:?} is none of {}",
                ROUTING.map(ClosedSet::as_str).join(", ")
            ),
        })?;

        let eligibility = EligibilityState::BlockedByRoute;
        let status = Status::blocked(eligibility, reason);
        Self::new(&args.execution_id, args.lane_id, status, args.reason_detail, args.now)
    }

    /// Blocks for want of what a scheduler looked for.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field.
    pub fn for_admission(args: BlockExecutionForAdmissionArgs) -> Result<Self, EngineError> {
        let BlockExecutionForAdmissionArgs { execution_id, partition, .. } = &args;
        input::same_partition("block_execution_for_admission", partition, execution_id)?;

        let (eligibility, reason) = match args.reason {
            contracts::BlockingReason::WaitingForBudget => {
                (EligibilityState::BlockedByBudget, BlockingReason::WaitingForBudget)
            }
            contracts::BlockingReason::WaitingForQuota => {
                (EligibilityState::BlockedByQuota, BlockingReason::WaitingForQuota)
            }
            contracts::BlockingReason::WaitingForCapableWorker => {
                (EligibilityState::BlockedByRoute, BlockingReason::WaitingForCapableWorker)
            }
        };
        let status = Status::blocked(eligibility, reason);
        let detail = args.reason_detail.unwrap_or_default();
        Self::new(&args.execution_id, args.lane_id, status, detail, args.now)
    }

    fn new(
        id: &ExecutionId,
        lane: LaneId,
        status: Status,
        detail: String,
        at: TimestampMs,
    ) -> Result<Self, EngineError> {
        input::lane(&lane)?;
        input::text("reason_detail", &detail)?;
        Ok(Self { key: ExecutionKey::of(id)?, lane, status, detail, at })
    }
}

impl Blocked {
    /// The answer to a caller that blocks a route.
    #[must_use]
    pub fn of_route(self, execution_id: ExecutionId) -> BlockRouteOutcome {
        match self {
            Self::Blocked => BlockRouteOutcome::Blocked { execution_id },
            Self::NotClaimable(message) => BlockRouteOutcome::LuaRejected { message },
        }
    }

    /// The answer to a scheduler.
    #[must_use]
    pub fn of_admission(
        self,
        execution_id: ExecutionId,
        reason: contracts::BlockingReason,
    ) -> BlockExecutionForAdmissionOutcome {
        match self {
            Self::Blocked => BlockExecutionForAdmissionOutcome::Blocked { execution_id, reason },
            Self::NotClaimable(message) => {
                BlockExecutionForAdmissionOutcome::LuaRejected { message }
            }
        }
    }
}

impl Decision for Block {
    type Outcome = Blocked;

    const NAME: &'static str = "block_execution";

    fn at(&self, _: &Ctx<'_>) -> TimestampMs {
        self.at
    }

    fn premises(&self, _: TimestampMs) -> Vec<Premise<Blocked>> {
        let not_claimable = Box::new(|facts: &Facts| {
            let core = existing(facts)?;
            let phase: LifecyclePhase = core.read(exec_core::lifecycle_phase)?;
            let eligibility = core.read(exec_core::eligibility_state)?;
            Ok(Blocked::NotClaimable(format!(
                "execution not eligible: lifecycle_phase={}, eligibility_state={}",
                phase.as_str(),
                eligibility.as_str()
            )))
        });
        let conditions = vec![of_lane(&self.lane), Condition::new(claimable(), not_claimable)];
        vec![Premise::execution(&self.key, conditions)]
    }

    fn expects(&self) -> bool {
        true
    }

    fn decide(&self, _: &Facts, at: TimestampMs, _: &mut Ctx<'_>) -> Decided<Blocked> {
        let noted = json!({ "blocking_detail": self.detail });
        let blocked = change::enters(self.status, at).noting(noted);
        Verdict::change([blocked.update()], Blocked::Blocked)
    }
}
