//! Counting lost workers: every lease that lapses counts, whichever operation notices it.
//!
//! Work that kills its worker would otherwise be claimed again for ever. One loss beyond what the
//! policy allows ends the execution as failed.

use crate::model::error::EngineError;
use crate::model::policy::stored::{max_reclaim_count, own_reclaim_count};
use crate::model::state::FailureClass;
use crate::plan::facts::Row;
use crate::plan::{Assign, Predicate};
use crate::rules::execution::failure::Failure;
use crate::schema::ColumnRef;
use crate::schema::execution::exec_core;

/// The most reclaims of an execution, where its policy names no number.
pub const RECLAIMS_MAX: u32 = 1_000;

/// The workers that an execution has lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Losses {
    stored: i32,
    most: u32,
}

impl Losses {
    /// The columns of the execution's row that hold the count and its bound.
    #[must_use]
    pub fn columns() -> [ColumnRef; 2] {
        [exec_core::lease_reclaim_count.column(), exec_core::policy.column()]
    }

    /// Reads the losses of an execution.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a column that holds what it must not.
    pub fn read(core: &Row) -> Result<Self, EngineError> {
        let policy = core.read(exec_core::policy)?;
        let stored = core.read(exec_core::lease_reclaim_count)?;
        Ok(Self { stored, most: max_reclaim_count(policy.as_ref()) })
    }

    /// Reads the losses of an execution that is reclaimed: at most `most`, or else what its policy
    /// says, or else `RECLAIMS_MAX`. A loss that was counted already is the next one here.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a column that holds what it must not.
    pub fn of_reclaim(core: &Row, most: Option<u32>, counted: bool) -> Result<Self, EngineError> {
        let policy = core.read(exec_core::policy)?;
        let stored = core.read(exec_core::lease_reclaim_count)?;
        let stored = if counted { stored.saturating_sub(1) } else { stored };
        let own = most.or_else(|| own_reclaim_count(policy.as_ref()));
        Ok(Self { stored, most: own.unwrap_or(RECLAIMS_MAX) })
    }

    /// The losses so far; a stored count below zero counts as none.
    #[must_use]
    pub fn before(&self) -> u32 {
        self.stored.max(0).unsigned_abs()
    }

    /// The losses with one more.
    #[must_use]
    pub fn after(&self) -> u32 {
        self.counted().unsigned_abs()
    }

    /// The predicate that no further loss was counted. A policy never changes.
    #[must_use]
    pub fn unchanged(&self) -> Predicate {
        exec_core::lease_reclaim_count.equals(self.stored)
    }

    /// The count with one more; a stored count below zero counts as none.
    #[must_use]
    pub fn one_more(&self) -> (ColumnRef, Assign) {
        exec_core::lease_reclaim_count.set(self.counted())
    }

    /// The failure of the execution, where one more loss exceeds what its policy allows.
    #[must_use]
    pub fn fatal(&self) -> Option<Failure> {
        let lost = self.counted();
        let too_many = i64::from(self.most) < i64::from(lost);
        let times = if lost == 1 { "once".to_owned() } else { format!("{lost} times") };
        too_many
            .then(|| Failure::new(FailureClass::InfraCrash, format!("its worker was lost {times}")))
    }

    fn counted(&self) -> i32 {
        self.stored.max(0).saturating_add(1)
    }
}
