//! A worker ends its execution: completed, or cancelled for good.

use crate::model::error::EngineError;
use crate::model::hidden::Hidden;
use crate::model::ids::{ExecutionId, TimestampMs};
use crate::model::state::{LeaseCause, LifecyclePhase, PublicState};
use crate::plan::facts::Facts;
use crate::plan::{Guard, Held, Predicate};
use crate::rules::changes::Changes;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Verdict};
use crate::rules::execution::change;
use crate::rules::execution::end::{End, already_ended};
use crate::rules::fence::{self, Fence, OpenLease};
use crate::rules::key::ATTEMPT;
use crate::rules::outbox::{self, Reason};
use crate::rules::premise::{Condition, Premise, existing, unmet};
use crate::schema::execution::{attempt, exec_core, unfinished};

/// A worker's success. Result bytes are stored as given; none stores none.
#[derive(Clone, derive_more::Debug)]
pub struct Complete {
    /// The fence of the worker that completes.
    pub fence: Fence,
    /// The result.
    #[debug("{}", Hidden(result))]
    pub result: Option<Vec<u8>>,
    /// The caller's time, where it gave one.
    pub at: Option<TimestampMs>,
}

impl Decision for Complete {
    /// Always [`PublicState::Completed`].
    type Outcome = PublicState;

    const NAME: &'static str = "complete";

    fn at(&self, ctx: &Ctx<'_>) -> TimestampMs {
        self.at.unwrap_or(ctx.now)
    }

    fn premises(&self, at: TimestampMs) -> Vec<Premise<PublicState>> {
        self.fence.premises(at, OpenLease::Live)
    }

    fn expects(&self) -> bool {
        true
    }

    fn decide(&self, facts: &Facts, at: TimestampMs, _: &mut Ctx<'_>) -> Decided<PublicState> {
        let end = End::SUCCESS;
        let changes = Changes::of([
            end.of_execution(at).set(exec_core::result.set(self.result.clone())).update(),
            change::attempt(end.of_attempt(at)),
            outbox::completed(end.event, Reason::None, at),
            outbox::lease_ended(LeaseCause::Completed, at),
        ]);

        Verdict::change(changes.closing_under(&self.fence, facts)?, PublicState::Completed)
    }
}

/// A worker gives up its execution for good. Cancelling what is cancelled already changes nothing;
/// any other end is an error that names it.
///
/// The fence is compared with the attempt row where there is one: a worker may cancel an execution
/// that was never claimed, but not one with a lease that went elsewhere.
#[derive(Clone, Debug)]
pub struct Cancel {
    /// The fence of the worker that cancels.
    pub fence: Fence,
    /// The execution's id, for messages.
    pub execution_id: ExecutionId,
    /// The reason.
    pub reason: String,
}

impl Decision for Cancel {
    type Outcome = ();

    const NAME: &'static str = "cancel";

    fn premises(&self, _: TimestampMs) -> Vec<Premise<()>> {
        let id = self.execution_id.clone();
        let not_ended = Condition::new(unfinished(), already_ended(Self::NAME, id, ()));
        let conditions = vec![not_ended, fence::not_revoked()];
        vec![Premise::execution_as_read(&self.fence.key, conditions), self.fence.attempt()]
    }

    fn decide(&self, facts: &Facts, at: TimestampMs, _: &mut Ctx<'_>) -> Decided<()> {
        let phase = existing(facts)?.read(exec_core::lifecycle_phase)?;
        let active = phase == LifecyclePhase::Active;
        self.check_lease(active, facts, at)?;

        let end = End::CANCELLED;
        let cancelled = end
            .of_execution(at)
            .set(exec_core::cancellation_reason.set(Some(self.reason.clone())))
            .set(exec_core::cancelled_by.set(Some("worker".into())));
        let lease = active.then(|| outbox::lease_ended(LeaseCause::Cancelled, at));

        let changes = Changes::of([
            cancelled.update(),
            end.record_attempt(at),
            outbox::completed(end.event, Reason::Given(&self.reason), at),
        ]);
        let changes = changes.and(lease).closing(facts)?;

        if facts.row(ATTEMPT).is_none() {
            return Verdict::change(changes, ());
        }
        let current = self.fence.lease.map_or(Predicate::Always, fence::is_current);
        let key = self.fence.attempt_key();
        Verdict::change(changes.holding([Guard::new(ATTEMPT, attempt::REF, key, current)]), ())
    }
}

impl Cancel {
    /// Checks the worker's lease: in full while the execution is active, and else that it did not
    /// go to another worker since.
    fn check_lease(&self, active: bool, facts: &Facts, at: TimestampMs) -> Result<(), EngineError> {
        if active {
            let held: Premise<()> = self.fence.held_attempt(at, OpenLease::Live);
            return unmet(&[held], facts).map(drop);
        }

        let (Some(row), Some(lease)) = (facts.row(ATTEMPT), self.fence.lease) else {
            return Ok(());
        };
        if fence::is_current(lease).accepts(row, &Held::default()) {
            Ok(())
        } else {
            Err(self.fence.mismatch())
        }
    }
}
