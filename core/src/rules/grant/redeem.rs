//! Redeeming a grant: the worker that it is for leases its execution.

use crate::contracts::{ClaimExecutionArgs, ClaimExecutionResult, ClaimedExecution};
use crate::model::error::{ContentionKind, EngineError, StateKind};
use crate::model::handle::{BackendTag, HandleKind};
use crate::model::ids::TimestampMs;
use crate::model::state::{AttemptState, AttemptType, GrantKind, LeaseEventType};
use crate::plan::facts::{Facts, Row};
use crate::plan::value::{Storable, Value};
use crate::plan::{Expr, List};
use crate::rules::budget::reservation::{Estimate, Fit, some_reserved};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Then, Verdict};
use crate::rules::execution::fail::Fail;
use crate::rules::execution::leasing::{Lease, leasable};
use crate::rules::execution::terms::{
    Claimant, LeasedAttempt, Limits, NewLease, Terms, retry_returns,
};
use crate::rules::grant::row::{Grant, all_spent};
use crate::rules::handle;
use crate::rules::input;
use crate::rules::key::ExecutionKey;
use crate::rules::limit::held::Holdings;
use crate::rules::premise::{Condition, Premise, existing};
use crate::schema::Direction::{Ascending, Descending};
use crate::schema::execution::{claim_grant, exec_core};

/// The name of the list of this worker's grants.
const OWN: &str = "claim grants of a worker";

/// Spends a grant to claim, and leases its execution to the worker.
#[derive(Clone, Debug)]
pub struct RedeemClaim {
    tag: BackendTag,
    lease: Lease,
    worker: String,
    attempt_id: uuid::Uuid,
    attempt_index: i32,
    limits: Limits,
    at: TimestampMs,
}

impl RedeemClaim {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field; also for a policy of the attempt, because the
    /// policy of the execution counts for all attempts.
    pub fn new(tag: BackendTag, args: ClaimExecutionArgs) -> Result<Self, EngineError> {
        Fail::no_policy_of_an_attempt("attempt_policy_json", &args.attempt_policy_json)?;
        let timeout = args.attempt_timeout_ms;
        let timeout = timeout.map(|ms| input::positive_ms("attempt_timeout_ms", ms)).transpose()?;
        if let Some(deadline) = args.execution_deadline_at.filter(|deadline| *deadline <= 0) {
            return Err(input::invalid(format!(
                "execution_deadline_at: {deadline} is no time after 1970"
            )));
        }

        let worker = args.worker_id.as_str().to_owned();
        let claimant = Claimant::new(args.worker_id, args.worker_instance_id, args.lane_id)?;
        let terms = Terms::new(claimant, "lease_ttl_ms", args.lease_ttl_ms)?;
        let key = ExecutionKey::of(&args.execution_id)?;
        Ok(Self {
            tag,
            lease: Lease { key, terms, lease_id: args.lease_id.0, holdings: Holdings::default() },
            worker,
            attempt_id: args.attempt_id.0,
            attempt_index: input::attempt_index(args.expected_attempt_index)?,
            limits: Limits {
                attempt_timeout_ms: timeout,
                deadline_at_ms: args.execution_deadline_at,
            },
            at: args.now,
        })
    }

    /// The same, which takes these parts of the limits of its keys.
    #[must_use]
    pub fn with_holdings(mut self, holdings: Holdings) -> Self {
        self.lease.holdings = holdings;
        self
    }

    /// The grant of this worker that lapses last.
    fn own(&self) -> List {
        let (expires, id) = (claim_grant::expires_at_ms, claim_grant::grant_id);
        let grants = Grant::list(OWN, GrantKind::Claim, &self.lease.key);
        List {
            predicate: grants.predicate.and(claim_grant::worker_id.equals(self.worker.clone())),
            order: vec![(expires.column(), Descending), (id.column(), Ascending)],
            ..grants
        }
    }
}

impl Decision for RedeemClaim {
    type Outcome = ClaimExecutionResult;

    const NAME: &'static str = "claim_execution";

    fn at(&self, _: &Ctx<'_>) -> TimestampMs {
        self.at
    }

    fn premises(&self, _: TimestampMs) -> Vec<Premise<Self::Outcome>> {
        let given = self.attempt_index;
        let another = Box::new(move |facts: &Facts| {
            let stored = existing(facts)?.read(exec_core::attempt_index)?;
            Err(input::invalid(format!(
                "expected_attempt_index: {given}, but the current attempt is {stored}"
            )))
        });

        let mut conditions = leasable(self.lease.terms.lane());
        conditions.push(Condition::new(exec_core::attempt_index.equals(given), another));
        vec![Premise::execution_as_read(&self.lease.key, conditions)]
    }

    fn lists(&self, _: u32) -> Vec<List> {
        vec![self.own()]
    }

    fn decide(&self, facts: &Facts, at: TimestampMs, _: &mut Ctx<'_>) -> Decided<Self::Outcome> {
        let own = facts.list_named(OWN).and_then(<[Row]>::first);
        let own = own.ok_or(EngineError::Contention(ContentionKind::InvalidClaimGrant))?;
        let grant = Grant::read(GrantKind::Claim, &self.lease.key, own)?;
        if grant.has_lapsed(at) {
            return Err(EngineError::Contention(ContentionKind::ClaimGrantExpired));
        }

        let begun: Expr = Some(self.attempt_id).into_expr();
        let lease = self.lease.of(LeaseEventType::Acquired, LeasedAttempt::Begins(begun));
        let lease = NewLease { limits: self.limits, ..lease };
        let mut changes = self
            .lease
            .take(lease, at)
            .returning(retry_returns())
            .and([all_spent(&self.lease.key)])
            .holding([grant.held(at)]);
        changes = self.lease.holding(changes, facts, at)?;
        if let Some(estimate) = Estimate::of(existing(facts)?)? {
            changes = match estimate.fit(facts, at)? {
                Fit::NotRead(queries) => return Ok(Verdict::AlsoRead(queries)),
                Fit::TooLarge(_) => return Err(EngineError::State(StateKind::BudgetExceeded)),
                Fit::Fits(guards, reserved) => {
                    changes.marking(some_reserved()).and(reserved).holding(guards)
                }
            };
        }

        let attempt_type = attempt_type(existing(facts)?.read(exec_core::attempt_state)?);
        let claim = self.clone();
        let read = move |rows: Vec<Vec<Value>>| {
            let payload = claim.lease.handed_out(&rows)?;
            let handle = handle::mint(claim.tag, HandleKind::Fresh, &payload);
            Ok(ClaimExecutionResult::Claimed(ClaimedExecution::new(
                payload.execution_id,
                payload.lease_id,
                payload.lease_epoch,
                payload.attempt_index,
                payload.attempt_id,
                attempt_type,
                claim.lease.terms.expiry(at),
                handle,
            )))
        };
        Ok(Verdict::Change(changes, Then::FromRows(Box::new(read))))
    }
}

/// The reason for the attempt that a claim begins.
fn attempt_type(before: AttemptState) -> AttemptType {
    match before {
        AttemptState::PendingRetryAttempt => AttemptType::Retry,
        AttemptState::PendingReplayAttempt => AttemptType::Replay,
        AttemptState::None
        | AttemptState::PendingFirstAttempt
        | AttemptState::RunningAttempt
        | AttemptState::AttemptInterrupted
        | AttemptState::AttemptTerminal => AttemptType::Initial,
    }
}
