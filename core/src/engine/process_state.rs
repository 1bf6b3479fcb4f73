//! State that all callers in one process share: their turns, the streams known to exist, and the
//! places that claims search on from.
//!
//! It holds no facts that a rule relies on; those come from the database, or with a handle. What it
//! remembers of limits is proven by the rows that a claim inserts.

use uuid::Uuid;

use super::budgeted::Budgeted;
use super::combined::Combined;
use super::fair::KnownLanes;
use super::in_flight::InFlight;
use super::known_streams::KnownStreams;
use super::places::Places;
use super::remembered_limits::RememberedLimits;
use super::turns::{Acquired, Turn, Turns};
use crate::plan::{Expr, Plan};
use crate::schema::execution::exec_core;
use crate::schema::{ColumnRef, TableRef};

/// A row that callers change, by its key.
pub(super) type RowKey = (TableRef, Vec<(ColumnRef, Expr)>);

/// The turns of callers, the streams known to exist, and the places that claims search on from.
#[derive(Debug, Default)]
pub struct ProcessState {
    appends: Turns<Uuid>,
    changes: Turns<RowKey>,
    /// The streams known to exist, by lease.
    pub(super) streams: KnownStreams,
    /// What this process knows of executions with budgets.
    pub(super) budgeted: Budgeted,
    /// The claims that wait to take estimates or parts of limits.
    pub(super) combined: Combined,
    /// The executions that claims of this process are taking.
    pub(super) in_flight: InFlight,
    /// What the claims of this process know of limits.
    pub(super) limits: RememberedLimits,
    /// What the claims of this process know of lanes with fairness keys.
    pub(super) lanes: KnownLanes,
    reserving: Turns<()>,
    /// `None` where a database removes index entries with their rows.
    pub(super) places: Option<Places>,
}

impl ProcessState {
    /// The state where a database keeps index entries of rows that have left the index, until it
    /// cleans up: most claims of the process then search on from the last execution that was found.
    #[must_use]
    pub fn over_kept_entries() -> Self {
        Self { places: Some(Places::default()), ..Self::default() }
    }

    /// Waits for a turn among the appends of this process under one lease, so that appends decided
    /// on what they read do not conflict.
    pub(super) async fn wait_to_append(&self, lease: Uuid) -> Turn<Uuid> {
        self.appends.take(lease).await.turn
    }

    /// Waits for the turn to choose among the claims of this process that take estimates or parts
    /// of limits.
    pub(super) async fn wait_to_reserve(&self) -> Turn<()> {
        self.reserving.take(()).await.turn
    }

    /// Waits for the turn among callers with plans that rely on one row: the execution if the plan
    /// guards one, else the first row that it guards. `None` for a plan that guards nothing.
    pub(super) async fn wait_to_change(&self, plan: &Plan) -> Option<Acquired<RowKey>> {
        let execution = plan.guards.iter().find(|guard| guard.table == exec_core::REF);
        let guard = execution.or(plan.guards.first())?;
        Some(self.changes.take((guard.table, guard.key.clone())).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_about_one_execution_take_turns_whatever_else_they_guard() {
        use futures_util::FutureExt as _;

        use crate::plan::Predicate::Always;
        use crate::schema::flow::edge_group;

        let state = ProcessState::default();
        let execution = |uuid| vec![exec_core::execution_id.with(Uuid::from_u128(uuid))];
        let group = vec![edge_group::downstream_eid.with(Uuid::nil())];
        let of = |uuid| Plan::new("one").guard("core", exec_core::REF, execution(uuid), Always);
        let grouped = Plan::new("two").guard("group", edge_group::REF, group, Always).guard(
            "core",
            exec_core::REF,
            execution(7),
            Always,
        );

        let turn = state.wait_to_change(&of(7)).now_or_never();
        assert!(turn.is_some() && state.wait_to_change(&grouped).now_or_never().is_none());
        assert!(state.wait_to_change(&of(8)).now_or_never().is_some());
        drop(turn);
        assert!(state.wait_to_change(&grouped).now_or_never().is_some());
    }
}
