//! A lease that its worker has lost, as the rows show it.

use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::model::state::{AttemptOutcome, AttemptState, LifecyclePhase, OwnershipState};
use crate::plan::facts::Row;
use crate::plan::{Guard, Held, Predicate};
use crate::rules::execution::claim::unreserved;
use crate::rules::execution::expire::ExpireLease;
use crate::rules::key::{ATTEMPT, current_attempt};
use crate::schema::execution::{attempt, claimable, exec_core};

/// A lease that has lapsed or was revoked, and that no worker has taken over since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostLease {
    /// The index of its attempt.
    pub attempt_index: i32,
    /// True if the attempt has a row.
    pub has_attempt: bool,
    epoch: i64,
    known: Known,
}

/// The way in which a lease is known to be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// The state of the execution says so, whatever its expiry.
    Stated,
    /// It has lapsed.
    Lapsed,
    /// It had lapsed, and a scanner has released the execution and counted the loss.
    Released,
}

impl LostLease {
    /// The lease that was lost; `None` while it holds, and once the execution goes on or has ended.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a column that holds what it must not.
    pub fn read(
        core: &Row,
        current: Option<&Row>,
        at: TimestampMs,
    ) -> Result<Option<Self>, EngineError> {
        let Some(known) = known(core, current, at)? else { return Ok(None) };
        let epoch = current.map(|row| row.read(attempt::lease_epoch)).transpose()?;
        Ok(Some(Self {
            attempt_index: core.read(exec_core::attempt_index)?,
            has_attempt: current.is_some(),
            epoch: epoch.unwrap_or(0),
            known,
        }))
    }

    /// True if the loss has been counted already.
    #[must_use]
    pub fn is_counted(self) -> bool {
        match self.known {
            Known::Released => true,
            Known::Stated | Known::Lapsed => false,
        }
    }

    /// The epoch of the lease that follows.
    #[must_use]
    pub fn next_epoch(self) -> i64 {
        self.epoch.max(0).saturating_add(1)
    }

    /// The guard that the lease is still lost. A renewal changes only the attempt's row, so the
    /// execution's version does not pin it.
    #[must_use]
    pub fn held(self, at: TimestampMs) -> Option<Guard> {
        let same = attempt::lease_epoch.equals(self.epoch);
        let lost = match self.known {
            Known::Stated => same,
            Known::Lapsed | Known::Released => same.and(lapsed(at)),
        };
        self.has_attempt.then(|| Guard::new(ATTEMPT, attempt::REF, current_attempt(), lost))
    }
}

/// The lease has lapsed, or there is none.
fn lapsed(at: TimestampMs) -> Predicate {
    attempt::lease_expires_at_ms.is_null().or(ExpireLease::due(at))
}

fn known(core: &Row, current: Option<&Row>, at: TimestampMs) -> Result<Option<Known>, EngineError> {
    Ok(match core.read(exec_core::lifecycle_phase)? {
        LifecyclePhase::Active => match core.read(exec_core::ownership_state)? {
            OwnershipState::LeaseExpiredReclaimable | OwnershipState::LeaseRevoked => {
                Some(Known::Stated)
            }
            OwnershipState::Leased | OwnershipState::Unowned => {
                is_lost(current, at)?.then_some(Known::Lapsed)
            }
        },
        LifecyclePhase::Runnable => is_released(core, current, at)?.then_some(Known::Released),
        LifecyclePhase::Submitted
        | LifecyclePhase::Suspended
        | LifecyclePhase::Terminal
        | LifecyclePhase::Cancelled => None,
    })
}

/// True if the lease of an active execution has lapsed. One without an expiry has, where no worker
/// is named.
fn is_lost(current: Option<&Row>, at: TimestampMs) -> Result<bool, EngineError> {
    let Some(row) = current else { return Ok(true) };
    if row.read(attempt::lease_expires_at_ms)?.is_some() {
        return Ok(ExpireLease::due(at).accepts(row, &Held::default()));
    }
    let owner = row.read(attempt::worker_instance_id)?;
    Ok(owner.is_none_or(|owner| owner.is_empty()))
}

/// True if a scanner has released the execution, and nothing has happened to it since.
fn is_released(core: &Row, current: Option<&Row>, at: TimestampMs) -> Result<bool, EngineError> {
    let waits = claimable().and(unreserved(at)).accepts(core, &Held::default());
    let interrupted = core.read(exec_core::attempt_state)? == AttemptState::AttemptInterrupted;
    let outcome = current.map(|row| row.read(attempt::outcome)).transpose()?.flatten();
    Ok(waits && interrupted && outcome == Some(AttemptOutcome::LeaseExpiredReclaimable))
}
