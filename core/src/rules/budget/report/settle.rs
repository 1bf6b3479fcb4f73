//! What a report means for the execution that made it: its reservation, and its over-run.

use super::Report;
use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::model::state::LifecyclePhase;
use crate::plan::facts::Facts;
use crate::plan::{Guard, List, Mutation};
use crate::rules::budget::key::{BudgetKey, Head};
use crate::rules::budget::limits::Breach;
use crate::rules::budget::over_run::{OnHardLimit, OverRun, Raise};
use crate::rules::budget::reservation::{self, Reserved, reservations_of};
use crate::rules::key::CORE;
use crate::schema::execution::exec_core;

impl Report {
    /// What is reserved of the budget, by the reporter and by others. A reservation counts as the
    /// reporter's own only while its execution is marked: then no end gives it back meanwhile.
    pub(super) fn reserved(&self, facts: &Facts) -> Result<Reserved, EngineError> {
        let own = self.by.execution().map(|key| key.uuid);
        let marked = facts.row(CORE).map(|core| core.read(exec_core::has_reservations));
        let own = own.filter(|_| matches!(marked, Some(Ok(true))));
        let rows = facts.list(&self.reservations()).unwrap_or_default();
        Reserved::of(&self.places.home().id, own, rows)
    }

    pub(super) fn reservations(&self) -> List {
        reservations_of(std::slice::from_ref(&self.places.home().id))
    }

    /// The change of the reporter's reservation, and the guard that it is still its own.
    pub(super) fn settlement(
        &self,
        reserved: &Reserved,
        at: TimestampMs,
    ) -> Result<Option<(Mutation, Guard)>, EngineError> {
        let left = reserved.settled(&self.deltas);
        let Some(key) = self.by.execution().filter(|_| !left.is_empty()) else { return Ok(None) };

        let budget = &self.places.home().id;
        let left = left.into_iter().map(|(name, amount)| (budget.clone(), name, amount));
        let marked = exec_core::has_reservations.equals(true);
        let guard = Guard::new(CORE, exec_core::REF, key.core(), marked);
        Ok(Some((reservation::reserved(left, at)?, guard)))
    }

    /// The over-run of that breach, if the budget does more than to refuse and the execution runs.
    pub(super) fn over_run(
        &self,
        head: &Head<'_>,
        facts: &Facts,
        reserved: &Reserved,
        breach: &Breach,
    ) -> Result<Option<OverRun>, EngineError> {
        let action = head.limits()?.on_hard;
        let runs = match facts.row(CORE) {
            Some(core) => core.read(exec_core::lifecycle_phase)? == LifecyclePhase::Active,
            None => false,
        };
        if !runs || matches!(action, OnHardLimit::Refuse | OnHardLimit::Warn) {
            return Ok(None);
        }

        let Breach { dimension, total, limit } = breach;
        let delta = self.deltas.get(dimension).copied().unwrap_or(0);
        let needed = total.saturating_add(reserved.with(dimension, delta).unsigned_abs());
        let by = i64::try_from(needed.saturating_sub(*limit)).unwrap_or(i64::MAX);
        let BudgetKey { partition, id: budget_id } = head.key.clone();
        let raise = Raise { partition, budget_id, dimension: dimension.clone(), by };
        Ok(Some(OverRun { action, raise, limit: *limit }))
    }
}
