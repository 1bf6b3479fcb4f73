//! Leasing one named execution: what must hold of it, what changes, and the handle that follows.

use uuid::Uuid;

use crate::model::error::{ContentionKind, EngineError};
use crate::model::handle_codec::HandlePayload;
use crate::model::ids::{LaneId, TimestampMs};
use crate::model::state::{LeaseEventType, LifecyclePhase, OwnershipState};
use crate::plan::facts::Facts;
use crate::plan::value::{Storable, Value};
use crate::plan::{Path, Return};
use crate::rules::budget::reservation::some_reserved;
use crate::rules::changes::Changes;
use crate::rules::ctx::Ctx;
use crate::rules::execution::terms::{
    LeasedAttempt, Limits, NewLease, Returned, TakenLease, Terms, retry_facts,
};
use crate::rules::fence::not_active;
use crate::rules::input;
use crate::rules::key::{CORE, ExecutionKey};
use crate::rules::limit::held::Holdings;
use crate::rules::premise::{Condition, Otherwise, existing, refuse};
use crate::schema::execution::{attempt, claimable, exec_core};

/// One execution to lease.
#[derive(Clone, Debug)]
pub struct Lease {
    /// The execution.
    pub key: ExecutionKey,
    /// The worker, and for how long.
    pub terms: Terms,
    /// The id of the lease.
    pub lease_id: Uuid,
    /// What it takes of the limits of its keys.
    pub holdings: Holdings,
}

/// The refused plans after which what a lease takes of limits counts as taken by another.
const OVERTAKEN: u32 = 2;

/// The interrupted attempt goes on.
pub fn going_on(ctx: &mut Ctx<'_>) -> LeasedAttempt {
    LeasedAttempt::GoesOn { otherwise: Some(ctx.uuid()).into_expr() }
}

impl Lease {
    /// This lease, announced as that event, of that attempt.
    #[must_use]
    pub fn of(&self, event: LeaseEventType, attempt: LeasedAttempt) -> NewLease {
        let lease_id = Some(self.lease_id).into_expr();
        NewLease { event, lease_id, attempt, losses: None, limits: Limits::default() }
    }

    /// The changes that lease the execution, and the values that [`Self::payload`] reads.
    #[must_use]
    pub fn take(&self, lease: NewLease, at: TimestampMs) -> Changes {
        Changes::of(self.terms.take(lease, at)).returning([
            Return::Held(CORE.into(), Path::column(exec_core::attempt_index.column())),
            Return::Written(attempt::lease_epoch.column()),
            Return::Written(attempt::attempt_id.column()),
        ])
    }

    /// The changes that also take what the lease needs of the limits of its keys.
    ///
    /// # Errors
    /// `Contention(RetryExhausted)` where other claims took it meanwhile;
    /// `Validation(InvalidInput)` for a text that cannot be stored.
    pub fn holding(
        &self,
        changes: Changes,
        facts: &Facts,
        at: TimestampMs,
    ) -> Result<Changes, EngineError> {
        if self.holdings.is_empty() {
            return Ok(changes);
        }
        if OVERTAKEN < facts.refusals() {
            return Err(EngineError::Contention(ContentionKind::RetryExhausted));
        }
        Ok(changes.marking(some_reserved()).and(self.holdings.taken(at)?))
    }

    /// The payload of the handle, from what the plan returned.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a returned value of another type.
    pub fn payload(&self, rows: &[Vec<Value>]) -> Result<HandlePayload, EngineError> {
        let returned = Returned(rows.first().map_or(&[], Vec::as_slice));
        let lease = TakenLease {
            attempt_index: returned.read(0, exec_core::attempt_index)?,
            epoch: returned.read(1, attempt::lease_epoch)?,
            attempt_id: returned.read(2, attempt::attempt_id)?.unwrap_or_default(),
            lease_id: self.lease_id,
        };
        Ok(self.terms.payload(&self.key, lease))
    }

    /// The payload of a handle, from a plan that also returns `retry_returns`.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a returned value of another type.
    pub fn handed_out(&self, rows: &[Vec<Value>]) -> Result<HandlePayload, EngineError> {
        let row = rows.first().map_or(&[][..], Vec::as_slice);
        let facts = retry_facts(row.get(3), row.get(4));
        let payload = self.payload(rows)?.with_retry(facts);
        Ok(payload.with_reservations(!self.holdings.is_empty()))
    }
}

/// The conditions on an execution of that lane that waits for a worker, most important first.
#[must_use]
pub fn leasable<O>(lane: &LaneId) -> Vec<Condition<O>> {
    let waits = exec_core::lifecycle_phase
        .is_one_of(&[LifecyclePhase::Submitted, LifecyclePhase::Runnable]);
    let unowned = exec_core::ownership_state.is_none_of(&[OwnershipState::Leased]);
    let contention = |kind: ContentionKind| refuse(move |_| EngineError::Contention(kind.clone()));

    vec![
        of_lane(lane),
        Condition::new(waits, refuse(not_active)),
        Condition::new(unowned, contention(ContentionKind::LeaseConflict)),
        Condition::new(claimable(), contention(ContentionKind::ExecutionNotLeaseable)),
    ]
}

/// The condition that an execution is of the lane that the caller names.
#[must_use]
pub fn of_lane<O>(lane: &LaneId) -> Condition<O> {
    let lane = lane.as_str().to_owned();
    Condition::new(exec_core::lane_id.equals(lane.clone()), another_lane(lane))
}

fn another_lane<O>(given: String) -> Otherwise<O> {
    Box::new(move |facts| {
        let stored = existing(facts)?.read(exec_core::lane_id)?;
        Err(input::invalid(format!(
            "lane_mismatch: args.lane_id={given} exec_core.lane_id={stored}"
        )))
    })
}
