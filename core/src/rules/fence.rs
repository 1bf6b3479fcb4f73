//! The fence: only the worker that holds the lease may change what the lease covers.
//!
//! A fence is an attempt and an epoch. Epochs only grow, across release, expiry, retry and reclaim
//! of an execution, so a worker that lost its lease can change nothing, however late it comes. The
//! order of refusals is the same for every fenced operation: the execution exists, its lease was
//! not revoked, it is active, the attempt exists, the epoch is the current one, the lease is live.

use uuid::Uuid;

use crate::model::error::{ContentionKind, EngineError, StateKind};
use crate::model::handle_codec::HandlePayload;
use crate::model::ids::{AttemptIndex, CancelSource, ExecutionId, LeaseFence, TimestampMs};
use crate::model::state::{ClosedSet, OwnershipState};
use crate::plan::facts::Facts;
use crate::plan::value::{Storable, Value};
use crate::plan::{Expr, Predicate};
use crate::rules::input;
use crate::rules::key::{ATTEMPT, CORE, ExecutionKey, attempt_of_core, current_attempt};
use crate::rules::premise::{Condition, Premise, refuse};
use crate::rules::status;
use crate::schema::ColumnRef;
use crate::schema::execution::{attempt, exec_core, running};

/// The attempt and lease that a caller says it holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Fence {
    /// The execution.
    pub key: ExecutionKey,
    /// The attempt; ignored when an operator overrides the fence, which takes the current one.
    pub attempt_index: i32,
    /// The lease; `None` when an operator overrides the fence (never the lifecycle).
    pub lease: Option<Lease>,
    /// The error that reports a mismatch.
    pub style: Style,
    /// True if the claim is known to have reserved something that the end gives back.
    pub has_reservations: bool,
}

/// The lease that a worker says it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The fencing number.
    pub epoch: i64,
    /// The lease's id, compared only where the row holds one.
    pub lease_id: Uuid,
    /// The attempt's id, compared only where the row holds one.
    pub attempt_id: Uuid,
}

/// The error that reports a lease that is not the current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// The error of operations that take a handle: `Contention(LeaseConflict)`.
    Handle,
    /// The error of operations that take a fence: `State(StaleLease)`.
    Typed,
}

/// The reading of an attempt without a recorded expiry: leased or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenLease {
    /// It counts as leased: a row written by hand may have none.
    Live,
    /// It counts as lapsed: there is nothing to renew.
    Lapsed,
}

impl Fence {
    /// The fence that a handle carries.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for numbers beyond what a row can store.
    pub fn of_handle(payload: &HandlePayload) -> Result<Self, EngineError> {
        Ok(Self {
            key: ExecutionKey::of(&payload.execution_id)?,
            attempt_index: input::attempt_index(payload.attempt_index)?,
            lease: Some(Lease {
                epoch: epoch(payload.lease_epoch.0)?,
                lease_id: payload.lease_id.0,
                attempt_id: payload.attempt_id.0,
            }),
            style: Style::Handle,
            has_reservations: payload.has_reservations,
        })
    }

    /// The fence of a typed operation; only an operator's override may come without one.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` with detail exactly `fence_required`, or for numbers beyond what
    /// a row can store.
    pub fn of_args(
        id: &ExecutionId,
        attempt_index: AttemptIndex,
        fence: Option<&LeaseFence>,
        source: &CancelSource,
    ) -> Result<Self, EngineError> {
        if fence.is_none() && *source != CancelSource::OperatorOverride {
            return Err(input::invalid("fence_required"));
        }

        let lease = |fence: &LeaseFence| -> Result<Lease, EngineError> {
            let epoch = epoch(fence.lease_epoch.0)?;
            Ok(Lease { epoch, lease_id: fence.lease_id.0, attempt_id: fence.attempt_id.0 })
        };

        Ok(Self {
            key: ExecutionKey::of(id)?,
            attempt_index: input::attempt_index(attempt_index)?,
            lease: fence.map(lease).transpose()?,
            style: Style::Typed,
            has_reservations: false,
        })
    }

    /// The premises of a fenced operation.
    #[must_use]
    pub fn premises<O>(&self, at: TimestampMs, open: OpenLease) -> Vec<Premise<O>> {
        let conditions = vec![not_revoked(), Condition::new(running(), refuse(not_active))];
        vec![Premise::execution(&self.key, conditions), self.held_attempt(at, open)]
    }

    /// The attempt, under the caller's lease.
    #[must_use]
    pub fn held_attempt<O>(&self, at: TimestampMs, open: OpenLease) -> Premise<O> {
        let lease_held = self.lease.map(|lease| self.lease_held(lease, at, open));
        self.attempt()
            .or_if_absent(refuse(|_| EngineError::NotFound { entity: "attempt" }))
            .guarded_by(lease_held.unwrap_or_default())
    }

    /// The attempt, if there is one; only read.
    #[must_use]
    pub fn attempt<O>(&self) -> Premise<O> {
        Premise::current_attempt().keyed(self.attempt_key())
    }

    /// The key of the attempt's row, once the execution's row is held.
    #[must_use]
    pub fn attempt_key(&self) -> Vec<(ColumnRef, Expr)> {
        match self.lease {
            Some(_) => attempt_of_core(self.attempt_index.into_expr()),
            None => current_attempt(),
        }
    }

    fn lease_held<O>(&self, lease: Lease, at: TimestampMs, open: OpenLease) -> Vec<Condition<O>> {
        let unexpired = attempt::lease_expires_at_ms.above(Some(at.0));
        let live = match open {
            OpenLease::Live => attempt::lease_expires_at_ms.is_null().or(unexpired),
            OpenLease::Lapsed => unexpired,
        };

        let style = self.style;
        vec![
            Condition::new(is_current(lease), refuse(move |_| style.mismatch())),
            Condition::new(live, refuse(|_| EngineError::State(StateKind::LeaseExpired))),
        ]
    }

    /// The refusal of a lease that is not the current one.
    #[must_use]
    pub fn mismatch(&self) -> EngineError {
        self.style.mismatch()
    }
}

impl Style {
    fn mismatch(self) -> EngineError {
        match self {
            Self::Handle => EngineError::Contention(ContentionKind::LeaseConflict),
            Self::Typed => EngineError::State(StateKind::StaleLease),
        }
    }
}

/// The condition that the lease was not revoked, which a worker learns before anything else.
#[must_use]
pub fn not_revoked<O>() -> Condition<O> {
    let others = exec_core::ownership_state.is_none_of(&[OwnershipState::LeaseRevoked]);
    Condition::new(others, refuse(|_| EngineError::State(StateKind::LeaseRevoked)))
}

/// The predicate that the attempt row's lease is this one, and the attempt has not ended.
#[must_use]
pub fn is_current(lease: Lease) -> Predicate {
    let same_lease = attempt::lease_id.is_null().or(attempt::lease_id.equals(Some(lease.lease_id)));
    let same_attempt =
        attempt::attempt_id.is_null().or(attempt::attempt_id.equals(Some(lease.attempt_id)));

    attempt::lease_epoch
        .equals(lease.epoch)
        .and(attempt::terminal_at_ms.is_null())
        .and(same_lease)
        .and(same_attempt)
}

/// The refusal of an execution that is not active, saying what it is instead.
#[must_use]
pub fn not_active(facts: &Facts) -> EngineError {
    let core = facts.row(CORE);
    let attempt = facts.row(ATTEMPT);
    let text = |value: Option<&Value>| match value {
        Some(Value::Null) | None => String::new(),
        Some(Value::Text(text)) => text.clone(),
        Some(value) => value.to_string(),
    };

    // A stored word outside its set must not hide the refusal: the raw words are reported.
    let outcome = core.and_then(|core| status::terminal_outcome(core, attempt).ok());

    EngineError::Contention(ContentionKind::ExecutionNotActive {
        terminal_outcome: outcome.map(|outcome| outcome.as_str().to_owned()).unwrap_or_default(),
        lease_epoch: text(attempt.and_then(|row| row.value(attempt::lease_epoch.column()))),
        lifecycle_phase: text(core.and_then(|row| row.value(exec_core::lifecycle_phase.column()))),
        attempt_id: text(attempt.and_then(|row| row.value(attempt::attempt_id.column()))),
    })
}

fn epoch(epoch: u64) -> Result<i64, EngineError> {
    i64::try_from(epoch).map_err(|_| input::invalid(format!("lease_epoch {epoch} exceeds i64")))
}
