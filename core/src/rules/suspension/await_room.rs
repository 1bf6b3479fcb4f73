//! An execution waits for an approval, which raises a hard limit of its budget.

use crate::contracts::{
    ResumeCondition, ResumePolicy, SignalMatcher, SuspendArgs, SuspendOutcome,
    SuspensionReasonCode, SuspensionRequester, WaitpointBinding,
};
use crate::model::error::EngineError;
use crate::model::handle::BackendTag;
use crate::model::handle_codec::HandlePayload;
use crate::model::ids::{SuspensionId, WaitpointId};
use crate::plan::facts::Facts;
use crate::rules::budget::over_run::Raise;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Transition};
use crate::rules::fence::Fence;
use crate::rules::suspension::suspend::Suspend;

/// The key of the waitpoint.
const WAITPOINT_KEY: &str = "budget";

/// The name of the signal that approves.
const APPROVED: &str = "approved";

/// Suspends an execution after a report of its worker that would exceed a hard limit.
#[derive(Clone, Debug)]
pub struct AwaitRoom {
    /// The backend of the handle.
    pub tag: BackendTag,
    /// The fence of the worker.
    pub fence: Fence,
    /// The payload of the worker's handle, where it presented one.
    pub presented: Option<HandlePayload>,
    /// The rise that an approval brings.
    pub raise: Raise,
}

impl AwaitRoom {
    fn args(ctx: &mut Ctx<'_>) -> SuspendArgs {
        let waitpoint = WaitpointBinding::Fresh {
            waitpoint_id: WaitpointId::from_uuid(ctx.uuid()),
            waitpoint_key: WAITPOINT_KEY.into(),
        };
        let approved = ResumeCondition::Single {
            waitpoint_key: WAITPOINT_KEY.into(),
            matcher: SignalMatcher::ByName(APPROVED.into()),
        };

        let suspension = SuspensionId::from_uuid(ctx.uuid());
        let reason = SuspensionReasonCode::PausedByBudget;
        let policy = ResumePolicy::default();
        SuspendArgs::new(suspension, waitpoint, approved, policy, reason, ctx.now)
            .with_requester(SuspensionRequester::Policy)
    }
}

impl Transition for AwaitRoom {
    type Outcome = SuspendOutcome;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<SuspendOutcome>, EngineError> {
        let (fence, presented) = (self.fence.clone(), self.presented.clone());
        let suspend = Suspend::new(self.tag, fence, presented, Self::args(ctx))?;
        suspend.raising(self.raise.clone()).step(facts, ctx)
    }
}
