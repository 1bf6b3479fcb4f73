//! Leasing one named execution: after its suspension, under a resume token, or for an operator.

use uuid::Uuid;

use crate::contracts::{
    ClaimGrantOutcome, ClaimResumedExecutionArgs, ClaimResumedExecutionResult,
    ClaimedResumedExecution, IssueGrantAndClaimArgs, ResumeToken,
};
use crate::model::error::{ContentionKind, EngineError};
use crate::model::handle::{BackendTag, Handle, HandleKind};
use crate::model::handle_codec::HandlePayload;
use crate::model::ids::{
    AttemptId, AttemptIndex, LaneId, LeaseEpoch, LeaseId, TimestampMs, WorkerId, WorkerInstanceId,
};
use crate::model::state::{
    AttemptState, EligibilityState, LeaseCause, LeaseEventType, LifecyclePhase, OwnershipState,
    PublicState,
};
use crate::plan::facts::{Facts, Row};
use crate::plan::value::{Storable, Value};
use crate::plan::{Expr, Held, OnConflict, Path, Plan, Predicate, Query, Return};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Then, Transition};
use crate::rules::execution::claim::{Returned, renewed_lease, retry_facts, retry_returns};
use crate::rules::execution::fail::ended_with;
use crate::rules::execution::finish::End;
use crate::rules::execution::losses::Losses;
use crate::rules::fence::not_active;
use crate::rules::handle;
use crate::rules::input;
use crate::rules::key::{ATTEMPT, CORE, ExecutionKey, current_attempt, held_core};
use crate::rules::outbox::{self, Holder};
use crate::rules::premise::{Known, existing, row_and_attempt, unmoved};
use crate::rules::status::Status;
use crate::rules::suspension::close::closed;
use crate::schema::execution::{attempt, exec_core};

/// A lease about to be taken of the current attempt.
#[derive(Clone, Debug)]
struct Terms {
    worker_id: WorkerId,
    worker_instance_id: WorkerInstanceId,
    lane_id: LaneId,
    lease_id: Uuid,
    ttl_ms: i64,
}

/// The attempt that is leased.
#[derive(Clone, Copy, Debug)]
enum Attempt {
    /// It was interrupted and keeps its id; `otherwise` where its row holds none.
    GoesOn { otherwise: Uuid },
    /// It begins, under this id.
    Begins(Uuid),
}

fn going_on(ctx: &mut Ctx<'_>) -> Attempt {
    Attempt::GoesOn { otherwise: ctx.uuid() }
}

impl Terms {
    fn check(&self) -> Result<(), EngineError> {
        input::lane(&self.lane_id)?;
        input::name("worker_id", self.worker_id.as_str())?;
        input::name("worker_instance_id", self.worker_instance_id.as_str())?;
        if self.worker_instance_id.as_str().is_empty() {
            return Err(input::invalid("worker_instance_id: must not be empty"));
        }
        Ok(())
    }

    /// Leases the current attempt of the held execution. One that goes on keeps its id.
    fn taken(&self, plan: Plan, leased: Attempt, event: LeaseEventType, at: TimestampMs) -> Plan {
        self.taken_over(plan, leased, event, None, at)
    }

    /// The same, from a worker that was lost; the loss is counted.
    fn taken_over(
        &self,
        plan: Plan,
        leased: Attempt,
        event: LeaseEventType,
        losses: Option<Losses>,
        at: TimestampMs,
    ) -> Plan {
        let (attempt_id, goes_on) = match leased {
            Attempt::GoesOn { otherwise } => (otherwise, true),
            Attempt::Begins(id) => (id, false),
        };

        let mut core = Status::active().assignments(at);
        core.push(exec_core::started_at_ms.keep_or(Some(at.0)));
        core.push(exec_core::granted_until_ms.clear());
        core.push(exec_core::eligible_at_ms.clear());
        core.extend(losses.map(|losses| losses.one_more()));
        core.extend((!goes_on).then(|| exec_core::total_attempt_count.grow(1)));
        let plan = plan.update(exec_core::REF, held_core(), core);

        let timeout = Expr::int(at.0).plus(exec_core::attempt_timeout_ms.of(CORE));
        let lease_id = Some(self.lease_id).into_expr();
        let mut row = current_attempt();
        row.extend([
            attempt::worker_id.with(Some(self.worker_id.as_str().to_owned())),
            attempt::worker_instance_id.with(Some(self.worker_instance_id.as_str().to_owned())),
            attempt::lease_epoch.with(1),
            attempt::lease_expires_at_ms.with(Some(at.0.saturating_add(self.ttl_ms))),
            attempt::started_at_ms.with(Some(at.0)),
            attempt::lease_id.with_expr(lease_id.clone()),
            attempt::attempt_id.with(Some(attempt_id)),
            attempt::timeout_at_ms.with_expr(timeout),
        ]);
        let mut settle = renewed_lease();
        settle.retain(|(column, _)| !goes_on || *column != attempt::attempt_id.column());
        let mut plan = plan.insert(attempt::REF, row, OnConflict::Update(settle));

        let holder = Holder {
            worker_id: self.worker_id.as_str(),
            worker_instance_id: self.worker_instance_id.as_str(),
        };
        plan = outbox::lease_taken(plan, event, lease_id, holder, at);

        plan.returns = vec![
            Return::Held(CORE.into(), Path::column(exec_core::attempt_index.column())),
            Return::Written(attempt::lease_epoch.column()),
            Return::Written(attempt::attempt_id.column()),
        ];
        plan
    }

    fn payload(
        &self,
        key: &ExecutionKey,
        rows: &[Vec<Value>],
    ) -> Result<HandlePayload, EngineError> {
        let returned = Returned(rows.first().map_or(&[], Vec::as_slice));
        let index = returned.read(0, exec_core::attempt_index)?;
        let epoch = returned.read(1, attempt::lease_epoch)?;
        let attempt_id = returned.read(2, attempt::attempt_id)?.unwrap_or_default();

        Ok(HandlePayload::new(
            key.id(),
            AttemptIndex(index.unsigned_abs()),
            AttemptId::from_uuid(attempt_id),
            LeaseId::from_uuid(self.lease_id),
            LeaseEpoch(epoch.unsigned_abs()),
            self.ttl_ms.unsigned_abs(),
            self.lane_id.clone(),
            self.worker_instance_id.clone(),
        ))
    }

    /// The payload of a handle, from a plan that also returns [`retry_returns`].
    fn handed_out(
        &self,
        key: &ExecutionKey,
        rows: &[Vec<Value>],
    ) -> Result<HandlePayload, EngineError> {
        let row = rows.first().map_or(&[][..], Vec::as_slice);
        let facts = retry_facts(row.get(3), row.get(4));
        Ok(self.payload(key, rows)?.with_retry(facts))
    }
}

/// Leases an execution after its condition was met.
#[derive(Clone, Debug)]
pub struct ClaimResumed {
    tag: BackendTag,
    key: ExecutionKey,
    terms: Terms,
    at: TimestampMs,
}

impl ClaimResumed {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field.
    pub fn new(tag: BackendTag, args: ClaimResumedExecutionArgs) -> Result<Self, EngineError> {
        let terms = Terms {
            worker_id: args.worker_id,
            worker_instance_id: args.worker_instance_id,
            lane_id: args.lane_id,
            lease_id: args.lease_id.0,
            ttl_ms: input::positive_ms("lease_ttl_ms", args.lease_ttl_ms)?,
        };
        terms.check()?;

        Ok(Self { tag, key: ExecutionKey::of(&args.execution_id)?, terms, at: args.now })
    }
}

impl Transition for ClaimResumed {
    type Outcome = ClaimResumedExecutionResult;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        // The first try decides on the expectation; the row is read only to name the refusal.
        let at = self.at;
        let resumable = exec_core::public_state
            .is(PublicState::Resumable)
            .and(exec_core::lifecycle_phase.is(LifecyclePhase::Runnable));

        let pinned = match (facts.refusals(), facts.rows()) {
            (0, _) => Predicate::Always,
            (_, None) => {
                return Ok(Step::Read(vec![Query::Lookup(row_and_attempt(&self.key))]));
            }
            (_, Some(rows)) => {
                let core = existing(rows)?;
                // A row that another engine left half changed is no resumed execution either.
                if !resumable.accepts(core, &Held::default()) {
                    return Err(EngineError::Contention(ContentionKind::NotAResumedExecution));
                }
                unmoved(core)?
            }
        };

        let holds = resumable.and(pinned);
        let plan = Plan::new("claim_resumed_execution").guard(
            CORE,
            exec_core::REF,
            self.key.core(),
            holds,
        );
        let mut plan = self.terms.taken(plan, going_on(ctx), LeaseEventType::Acquired, at);
        plan.returns.extend(retry_returns());

        let claim = self.clone();
        let read = move |rows: Vec<Vec<Value>>| {
            let payload = claim.terms.handed_out(&claim.key, &rows)?;
            let expires = TimestampMs(at.0.saturating_add(claim.terms.ttl_ms));
            let handle = handle::mint(claim.tag, HandleKind::Resumed, &payload);
            Ok(ClaimResumedExecutionResult::Claimed(ClaimedResumedExecution::new(
                payload.execution_id,
                payload.lease_id,
                payload.lease_epoch,
                payload.attempt_index,
                payload.attempt_id,
                expires,
                handle,
            )))
        };
        Ok(Step::Commit(plan, Then::FromRows(Box::new(read))))
    }
}

/// Turns a resume token into a lease on the same attempt.
#[derive(Clone, Debug)]
pub struct ClaimByGrant {
    tag: BackendTag,
    key: ExecutionKey,
    terms: Terms,
    expires_at_ms: u64,
}

impl ClaimByGrant {
    /// Checks the token; the lease's id is drawn by the caller.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field.
    pub fn new(tag: BackendTag, token: ResumeToken, lease_id: Uuid) -> Result<Self, EngineError> {
        let terms = Terms {
            worker_id: token.worker_id,
            worker_instance_id: token.worker_instance_id,
            lane_id: token.grant.lane_id,
            lease_id,
            ttl_ms: input::positive_ms("lease_ttl_ms", u64::from(token.lease_ttl_ms))?,
        };
        terms.check()?;

        let key = ExecutionKey::of(&token.grant.execution_id)?;
        let given = input::partition_key("claim_from_resume_grant", &token.grant.partition_key)?;
        if given != key.partition {
            let own = key.partition;
            return Err(input::invalid(format!(
                "claim_from_resume_grant: partition mismatch (grant={given}, eid={own})"
            )));
        }

        Ok(Self { tag, key, terms, expires_at_ms: token.grant.expires_at_ms })
    }
}

impl Transition for ClaimByGrant {
    /// `None` while the old lease still holds.
    type Outcome = Option<Handle>;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        let at = ctx.now;
        if self.expires_at_ms <= at.0.unsigned_abs() {
            return Err(EngineError::Contention(ContentionKind::ClaimGrantExpired));
        }

        let Some(rows) = facts.rows() else {
            return Ok(Step::Read(vec![Query::Lookup(row_and_attempt(&self.key))]));
        };
        let core = existing(rows)?;
        let Some(current) = rows.row(ATTEMPT) else {
            return Err(EngineError::NotFound { entity: "attempt" });
        };

        if is_held(core, current, at)? {
            return Ok(Step::Answer(None));
        }

        // A renewal changes only the attempt's row: the execution's version does not pin the lease.
        let lapsed = attempt::lease_expires_at_ms
            .is_null()
            .or(attempt::lease_expires_at_ms.at_most(Some(at.0)));
        let plan = Plan::new("claim_from_resume_grant")
            .guard(CORE, exec_core::REF, self.key.core(), unmoved(core)?)
            .guard(ATTEMPT, attempt::REF, current_attempt(), lapsed);

        let losses = lost(core)?;
        if let Some((losses, failure)) = losses.and_then(|own| Some((own, own.fatal()?))) {
            // This loss exceeds the policy: the execution ends as failed, and there is nothing to
            // lease.
            let besides = vec![losses.one_more()];
            let plan = ended_with(plan, &failure, End::FAILED, besides, at);
            let plan = outbox::lease_ended(plan, LeaseCause::Expired, at);
            let plan = closed(plan, core)?;
            let over = |_| Err(EngineError::Contention(ContentionKind::ExecutionNotLeaseable));
            return Ok(Step::Commit(plan, Then::FromRows(Box::new(over))));
        }

        let event = LeaseEventType::Reclaimed;
        let mut plan = self.terms.taken_over(plan, going_on(ctx), event, losses, at);
        plan.returns.extend(retry_returns());

        let plan = match core.read(exec_core::lifecycle_phase)? {
            // Its lease lapsed, so that everything opened under it is closed.
            LifecyclePhase::Active => closed(plan, core)?,
            LifecyclePhase::Submitted
            | LifecyclePhase::Runnable
            | LifecyclePhase::Suspended
            | LifecyclePhase::Terminal
            | LifecyclePhase::Cancelled => plan,
        };

        let claim = self.clone();
        let read = move |rows: Vec<Vec<Value>>| {
            let payload = claim.terms.handed_out(&claim.key, &rows)?;
            Ok(Some(handle::mint(claim.tag, HandleKind::Resumed, &payload)))
        };
        Ok(Step::Commit(plan, Then::FromRows(Box::new(read))))
    }
}

/// The losses so far, where one more is at hand: the lease of a worker has lapsed, and no scan has
/// counted that yet.
fn lost(core: &Row) -> Result<Option<Losses>, EngineError> {
    let active = core.read(exec_core::public_state)? == PublicState::Active;
    active.then(|| Losses::read(core)).transpose()
}

/// Returns true if a worker holds the lease.
///
/// # Errors
/// `Contention(ExecutionNotLeaseable)` for an execution that no worker can lease: it has ended, is
/// suspended, or waits for something.
fn is_held(core: &Row, current: &Row, at: TimestampMs) -> Result<bool, EngineError> {
    let expires = current.read(attempt::lease_expires_at_ms)?;
    match core.read(exec_core::public_state)? {
        PublicState::Active => Ok(expires.is_none_or(|expires| at.0 < expires)),
        PublicState::Resumable | PublicState::Waiting => Ok(false),
        PublicState::Delayed
        | PublicState::RateLimited
        | PublicState::WaitingChildren
        | PublicState::Suspended
        | PublicState::Completed
        | PublicState::Failed
        | PublicState::Cancelled
        | PublicState::Expired
        | PublicState::Skipped => {
            Err(EngineError::Contention(ContentionKind::ExecutionNotLeaseable))
        }
    }
}

/// Leases a claimable execution to an operator, ahead of all others and whatever capabilities it
/// requires; a reservation for another worker lapses.
#[derive(Clone, Debug)]
pub struct ClaimByOperator {
    key: ExecutionKey,
    lane_id: LaneId,
    ttl_ms: i64,
}

/// The worker and instance that an operator's lease belongs to.
const OPERATOR: &str = "operator";

impl ClaimByOperator {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field.
    pub fn new(args: IssueGrantAndClaimArgs) -> Result<Self, EngineError> {
        input::lane(&args.lane_id)?;
        let ttl_ms = input::positive_ms("lease_duration_ms", args.lease_duration_ms)?;
        Ok(Self { key: ExecutionKey::of(&args.execution_id)?, lane_id: args.lane_id, ttl_ms })
    }

    fn claimable(&self, core: &Row, known: &Known) -> Result<(), EngineError> {
        let (given, stored) = (self.lane_id.as_str(), core.read(exec_core::lane_id)?);
        if given != stored {
            return Err(input::invalid(format!(
                "lane_mismatch: args.lane_id={given} exec_core.lane_id={stored}"
            )));
        }

        match core.read(exec_core::lifecycle_phase)? {
            LifecyclePhase::Runnable | LifecyclePhase::Submitted => {}
            LifecyclePhase::Active
            | LifecyclePhase::Suspended
            | LifecyclePhase::Terminal
            | LifecyclePhase::Cancelled => return Err(not_active(known)),
        }

        if core.read(exec_core::ownership_state)? == OwnershipState::Leased {
            return Err(EngineError::Contention(ContentionKind::LeaseConflict));
        }
        if core.read(exec_core::eligibility_state)? != EligibilityState::EligibleNow {
            return Err(EngineError::Contention(ContentionKind::ExecutionNotLeaseable));
        }

        Ok(())
    }
}

impl Transition for ClaimByOperator {
    type Outcome = ClaimGrantOutcome;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        let Some(rows) = facts.rows() else {
            return Ok(Step::Read(vec![Query::Lookup(row_and_attempt(&self.key))]));
        };
        let core = existing(rows)?;
        self.claimable(core, &Known::of(rows))?;

        let lease_id = ctx.uuid();
        let terms = Terms {
            worker_id: WorkerId::new(OPERATOR),
            worker_instance_id: WorkerInstanceId::new(OPERATOR),
            lane_id: self.lane_id.clone(),
            lease_id,
            ttl_ms: self.ttl_ms,
        };
        let attempt = match core.read(exec_core::attempt_state)? {
            AttemptState::AttemptInterrupted => going_on(ctx),
            AttemptState::None
            | AttemptState::PendingFirstAttempt
            | AttemptState::RunningAttempt
            | AttemptState::PendingRetryAttempt
            | AttemptState::PendingReplayAttempt
            | AttemptState::AttemptTerminal => Attempt::Begins(ctx.uuid()),
        };

        let plan = Plan::new("issue_grant_and_claim").guard(
            CORE,
            exec_core::REF,
            self.key.core(),
            unmoved(core)?,
        );
        let plan = terms.taken(plan, attempt, LeaseEventType::Acquired, ctx.now);

        let key = self.key;
        let read = move |rows: Vec<Vec<Value>>| {
            let payload = terms.payload(&key, &rows)?;
            Ok(ClaimGrantOutcome::new(payload.lease_id, payload.lease_epoch, payload.attempt_index))
        };
        Ok(Step::Commit(plan, Then::FromRows(Box::new(read))))
    }
}
