//! Leasing one named execution: after its suspension, under a resume token, or for an operator.

use uuid::Uuid;

use crate::contracts::{
    ClaimGrantOutcome, ClaimResumedExecutionArgs, ClaimResumedExecutionResult,
    ClaimedResumedExecution, IssueGrantAndClaimArgs, ResumeToken,
};
use crate::model::error::{ContentionKind, EngineError};
use crate::model::handle::{BackendTag, Handle, HandleKind};
use crate::model::ids::{TimestampMs, WorkerId, WorkerInstanceId};
use crate::model::state::{AttemptState, LeaseCause, LeaseEventType, LifecyclePhase, PublicState};
use crate::plan::facts::{Facts, Row};
use crate::plan::value::{Storable, Value};
use crate::plan::{Guard, Held, Predicate};
use crate::rules::changes::Changes;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Step, Then, Transition, Verdict};
use crate::rules::execution::end::End;
use crate::rules::execution::expire::ExpireLease;
use crate::rules::execution::fail::ended_with;
use crate::rules::execution::leasing::{Lease, going_on, leasable};
use crate::rules::execution::losses::Losses;
use crate::rules::execution::terms::{Claimant, LeasedAttempt, NewLease, Terms, retry_returns};
use crate::rules::grant::row::all_spent;
use crate::rules::handle;
use crate::rules::input;
use crate::rules::key::{ATTEMPT, ExecutionKey, current_attempt};
use crate::rules::limit::held::Holdings;
use crate::rules::outbox;
use crate::rules::premise::{Condition, Premise, existing, refuse};
use crate::schema::execution::{attempt, claimable, exec_core, running};

/// Leases an execution after its condition was met.
#[derive(Clone, Debug)]
pub struct ClaimResumed {
    tag: BackendTag,
    lease: Lease,
    at: TimestampMs,
}

impl ClaimResumed {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field.
    pub fn new(tag: BackendTag, args: ClaimResumedExecutionArgs) -> Result<Self, EngineError> {
        let claimant = Claimant::new(args.worker_id, args.worker_instance_id, args.lane_id)?;
        let terms = Terms::new(claimant, "lease_ttl_ms", args.lease_ttl_ms)?;
        let key = ExecutionKey::of(&args.execution_id)?;
        Ok(Self {
            tag,
            lease: Lease { key, terms, lease_id: args.lease_id.0, holdings: Holdings::default() },
            at: args.now,
        })
    }

    /// The same, which takes these parts of the limits of its keys.
    #[must_use]
    pub fn with_holdings(mut self, holdings: Holdings) -> Self {
        self.lease.holdings = holdings;
        self
    }
}

impl Decision for ClaimResumed {
    type Outcome = ClaimResumedExecutionResult;

    const NAME: &'static str = "claim_resumed_execution";

    fn at(&self, _: &Ctx<'_>) -> TimestampMs {
        self.at
    }

    fn premises(&self, _: TimestampMs) -> Vec<Premise<Self::Outcome>> {
        // A row that another engine left half changed is no resumed execution either.
        let resumable = exec_core::public_state
            .is(PublicState::Resumable)
            .and(exec_core::lifecycle_phase.is(LifecyclePhase::Runnable));
        let otherwise = refuse(|_| EngineError::Contention(ContentionKind::NotAResumedExecution));

        let core = Premise::execution(&self.lease.key, vec![Condition::new(resumable, otherwise)]);
        vec![core]
    }

    fn expects(&self) -> bool {
        true
    }

    fn decide(&self, facts: &Facts, at: TimestampMs, ctx: &mut Ctx<'_>) -> Decided<Self::Outcome> {
        let lease = self.lease.of(LeaseEventType::Acquired, going_on(ctx));
        let changes = self.lease.take(lease, at).returning(retry_returns());
        let changes = self.lease.holding(changes, facts, at)?;

        let claim = self.clone();
        let read = move |rows: Vec<Vec<Value>>| {
            let payload = claim.lease.handed_out(&rows)?;
            let handle = handle::mint(claim.tag, HandleKind::Resumed, &payload);
            Ok(ClaimResumedExecutionResult::Claimed(ClaimedResumedExecution::new(
                payload.execution_id,
                payload.lease_id,
                payload.lease_epoch,
                payload.attempt_index,
                payload.attempt_id,
                claim.lease.terms.expiry(at),
                handle,
            )))
        };
        Ok(Verdict::Change(changes, Then::FromRows(Box::new(read))))
    }
}

/// Turns a resume token into a lease on the same attempt, while the token counts.
#[derive(Clone, Debug)]
pub struct ClaimByGrant {
    expires_at_ms: u64,
    takeover: TakeOver,
}

impl ClaimByGrant {
    /// Checks the token; the lease's id is drawn by the caller.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field.
    pub fn new(tag: BackendTag, token: ResumeToken, lease_id: Uuid) -> Result<Self, EngineError> {
        let lane = token.grant.lane_id;
        let claimant = Claimant::new(token.worker_id, token.worker_instance_id, lane)?;
        let terms = Terms::new(claimant, "lease_ttl_ms", u64::from(token.lease_ttl_ms))?;

        let key = ExecutionKey::of(&token.grant.execution_id)?;
        let given = input::partition_key("claim_from_resume_grant", &token.grant.partition_key)?;
        if given != key.partition {
            let own = key.partition;
            return Err(input::invalid(format!(
                "claim_from_resume_grant: partition mismatch (grant={given}, eid={own})"
            )));
        }

        let lease = Lease { key, terms, lease_id, holdings: Holdings::default() };
        let takeover = TakeOver { tag, lease };
        Ok(Self { expires_at_ms: token.grant.expires_at_ms, takeover })
    }

    /// The same, which takes these parts of the limits of its keys.
    #[must_use]
    pub fn with_holdings(mut self, holdings: Holdings) -> Self {
        self.takeover.lease.holdings = holdings;
        self
    }
}

impl Transition for ClaimByGrant {
    /// `None` while the old lease still holds.
    type Outcome = Option<Handle>;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        // A token that has lapsed is worth no look at the rows.
        if self.expires_at_ms <= ctx.now.0.unsigned_abs() {
            return Err(EngineError::Contention(ContentionKind::ClaimGrantExpired));
        }
        self.takeover.step(facts, ctx)
    }
}

/// Leases the attempt of a worker that has no lease any more.
#[derive(Clone, Debug)]
struct TakeOver {
    tag: BackendTag,
    lease: Lease,
}

impl Decision for TakeOver {
    type Outcome = Option<Handle>;

    const NAME: &'static str = "claim_from_resume_grant";

    fn premises(&self, _: TimestampMs) -> Vec<Premise<Self::Outcome>> {
        let no_attempt = refuse(|_| EngineError::NotFound { entity: "attempt" });
        vec![
            Premise::execution_as_read(&self.lease.key, Vec::new()),
            Premise::current_attempt().or_if_absent(no_attempt),
        ]
    }

    fn decide(&self, facts: &Facts, at: TimestampMs, ctx: &mut Ctx<'_>) -> Decided<Self::Outcome> {
        let core = existing(facts)?;
        let active = core.read(exec_core::lifecycle_phase)? == LifecyclePhase::Active;
        if !running().or(claimable()).accepts(core, &Held::default()) {
            return Err(EngineError::Contention(ContentionKind::ExecutionNotLeaseable));
        }
        if facts.row(ATTEMPT).is_some_and(|attempt| is_held(active, attempt, at)) {
            return Ok(Verdict::Answer(None));
        }

        // A renewal changes only the attempt's row: the execution's version does not pin the lease.
        let free = attempt::lease_expires_at_ms.is_null().or(ExpireLease::due(at));
        let held = |changes: Changes| {
            changes.holding([Guard::new(ATTEMPT, attempt::REF, current_attempt(), free)])
        };

        let losses = active.then(|| Losses::read(core)).transpose()?;
        if let Some((losses, failure)) = losses.and_then(|own| Some((own, own.fatal()?))) {
            // This loss exceeds the policy: the execution ends as failed, and there is nothing to
            // lease.
            let changes =
                Changes::of(ended_with(&failure, End::FAILED, Some(losses.one_more()), at))
                    .and([outbox::lease_ended(LeaseCause::Expired, at)]);
            let over = |_| Err(EngineError::Contention(ContentionKind::ExecutionNotLeaseable));
            let then = Then::FromRows(Box::new(over));
            return Ok(Verdict::Change(held(changes.closing(facts)?), then));
        }

        let lease = self.lease.of(LeaseEventType::Reclaimed, going_on(ctx));
        let taken = self.lease.take(NewLease { losses, ..lease }, at).returning(retry_returns());
        // What a lost worker has opened under its lease is closed.
        let changes = if active { taken.closing_wait(core)? } else { taken };
        let changes = self.lease.holding(changes, facts, at)?;

        let claim = self.clone();
        let read = move |rows: Vec<Vec<Value>>| {
            let payload = claim.lease.handed_out(&rows)?;
            Ok(Some(handle::mint(claim.tag, HandleKind::Resumed, &payload)))
        };
        Ok(Verdict::Change(held(changes), Then::FromRows(Box::new(read))))
    }
}

/// True if the attempt's lease has not lapsed. One of an active execution that has no expiry never
/// does.
fn is_held(active: bool, attempt: &Row, at: TimestampMs) -> bool {
    let holds = |predicate: Predicate| predicate.accepts(attempt, &Held::default());
    let unleased = !active && holds(attempt::lease_expires_at_ms.is_null());
    !unleased && !holds(ExpireLease::due(at))
}

/// Leases a claimable execution to an operator, ahead of all others, whatever capabilities it
/// requires, and whatever its limits; a reservation for another worker lapses.
#[derive(Clone, Debug)]
pub struct ClaimByOperator {
    key: ExecutionKey,
    terms: Terms,
}

/// The worker and instance that an operator's lease belongs to.
const OPERATOR: &str = "operator";

impl ClaimByOperator {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field.
    pub fn new(args: IssueGrantAndClaimArgs) -> Result<Self, EngineError> {
        let (worker, instance) = (WorkerId::new(OPERATOR), WorkerInstanceId::new(OPERATOR));
        let claimant = Claimant::new(worker, instance, args.lane_id)?;
        let terms = Terms::new(claimant, "lease_duration_ms", args.lease_duration_ms)?;
        Ok(Self { key: ExecutionKey::of(&args.execution_id)?, terms })
    }
}

impl Decision for ClaimByOperator {
    type Outcome = ClaimGrantOutcome;

    const NAME: &'static str = "issue_grant_and_claim";

    fn premises(&self, _: TimestampMs) -> Vec<Premise<Self::Outcome>> {
        let core = Premise::execution_as_read(&self.key, leasable(self.terms.lane()));
        vec![core, Premise::current_attempt()]
    }

    fn decide(&self, facts: &Facts, at: TimestampMs, ctx: &mut Ctx<'_>) -> Decided<Self::Outcome> {
        // It goes ahead of limits, too.
        let (terms, holdings) = (self.terms.clone(), Holdings::default());
        let lease = Lease { key: self.key, terms, lease_id: ctx.uuid(), holdings };
        let attempt = match existing(facts)?.read(exec_core::attempt_state)? {
            AttemptState::AttemptInterrupted => going_on(ctx),
            AttemptState::None
            | AttemptState::PendingFirstAttempt
            | AttemptState::RunningAttempt
            | AttemptState::PendingRetryAttempt
            | AttemptState::PendingReplayAttempt
            | AttemptState::AttemptTerminal => LeasedAttempt::Begins(Some(ctx.uuid()).into_expr()),
        };

        let taken = lease.take(lease.of(LeaseEventType::Acquired, attempt), at);
        let changes = taken.and([all_spent(&self.key)]);
        let read = move |rows: Vec<Vec<Value>>| {
            let payload = lease.payload(&rows)?;
            Ok(ClaimGrantOutcome::new(payload.lease_id, payload.lease_epoch, payload.attempt_index))
        };
        Ok(Verdict::Change(changes, Then::FromRows(Box::new(read))))
    }
}
