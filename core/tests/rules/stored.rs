//! Stored rows as literals, and as much of a database as a decision needs.

use ff_core::plan::facts::{Answer, Row};
use ff_core::plan::value::{Storable, Value};
use ff_core::plan::{Expr, Held, Mutation, OnConflict, Plan, Query};
use ff_core::rules::status::Status;
use ff_core::schema::execution::{attempt, exec_core};
use ff_core::schema::{Col, ColumnRef, TableRef};
use ff_core::state::AttemptState;
use serde_json::json;

use crate::{ATTEMPT_ID, EPOCH, LEASE_ID, NOW, key};

/// A row in the making.
#[derive(Clone)]
pub(crate) struct RowOf(Vec<(ColumnRef, Value)>);

impl RowOf {
    /// The row with another value in one column.
    pub(crate) fn with<T: Storable>(self, column: Col<T>, value: T) -> Self {
        self.raw(column.column(), value.into_expr().evaluate(&Held::default()))
    }

    /// The same, whatever the column's type.
    pub(crate) fn raw(mut self, column: ColumnRef, value: Value) -> Self {
        self.0.retain(|(cell, _)| *cell != column);
        self.0.push((column, value));
        self
    }

    /// The row in another state.
    pub(crate) fn in_state(self, status: Status) -> Self {
        self.with(exec_core::lifecycle_phase, status.phase)
            .with(exec_core::ownership_state, status.ownership)
            .with(exec_core::eligibility_state, status.eligibility)
            .with(exec_core::public_state, status.public())
            .with(exec_core::attempt_state, status.attempt.unwrap_or(AttemptState::None))
            .with(exec_core::blocking_reason, status.blocking)
    }

    pub(crate) fn row(&self) -> Row {
        Row::new(self.0.clone())
    }
}

/// A row of no table yet.
pub(crate) fn blank() -> RowOf {
    RowOf(Vec::new())
}

/// An execution that a worker holds.
pub(crate) fn core_row() -> RowOf {
    RowOf(Vec::new())
        .with(exec_core::partition_key, key().partition)
        .with(exec_core::execution_id, key().uuid)
        .with(exec_core::lane_id, "main".into())
        .with(exec_core::required_capabilities, Vec::new())
        .with(exec_core::attempt_index, 0)
        .with(exec_core::priority, 5)
        .with(exec_core::created_at_ms, NOW - 5_000)
        .with(exec_core::total_attempt_count, 1)
        .with(exec_core::lease_reclaim_count, 0)
        .with(exec_core::version, 9)
        .with(exec_core::has_waitpoints, false)
        .with(exec_core::has_reservations, false)
        .with(exec_core::claimable_since_ms, NOW - 4_000)
        .with(exec_core::last_changed_at_ms, 0)
        .with(exec_core::raw_fields, json!({"namespace": "acme", "execution_kind": "render"}))
        .in_state(Status::active())
}

/// The lease that it holds it by.
pub(crate) fn attempt_row() -> RowOf {
    RowOf(Vec::new())
        .with(attempt::partition_key, key().partition)
        .with(attempt::execution_id, key().uuid)
        .with(attempt::attempt_index, 0)
        .with(attempt::worker_id, Some("pool".into()))
        .with(attempt::worker_instance_id, Some("w1".into()))
        .with(attempt::lease_epoch, EPOCH)
        .with(attempt::lease_expires_at_ms, Some(NOW + 1_000))
        .with(attempt::started_at_ms, Some(NOW - 1_000))
        .with(attempt::lease_id, Some(LEASE_ID))
        .with(attempt::attempt_id, Some(ATTEMPT_ID))
}

/// What a database holds of one execution, and of what it has to do with.
#[derive(Clone, Default)]
pub(crate) struct Stored {
    core: Option<Row>,
    attempts: Vec<Row>,
    others: Vec<Row>,
}

impl Stored {
    pub(crate) fn nothing() -> Self {
        Self::default()
    }

    pub(crate) fn of(core: &RowOf) -> Self {
        Self { core: Some(core.row()), ..Self::default() }
    }

    pub(crate) fn and(mut self, attempt: &RowOf) -> Self {
        self.attempts.push(attempt.row());
        self
    }

    /// A row of any table.
    pub(crate) fn with(mut self, other: &RowOf) -> Self {
        self.others.push(other.row());
        self
    }

    /// An execution and the lease it is held by.
    pub(crate) fn held() -> Self {
        Self::of(&core_row()).and(&attempt_row())
    }

    /// Answers a query; a list that joins nothing.
    pub(crate) fn answer(&self, query: &Query) -> Answer {
        let rows = match query {
            Query::Lookup(rows) => rows,
            Query::Sums(sums) => panic!("{}: no sums are stored here", sums.name),
            Query::List(list) => {
                assert!(list.join.is_none(), "joins are answered by hand");
                let of_table =
                    |row: &&Row| list.table.key.iter().all(|key| row.value(*key).is_some());
                let listed = self.rows().filter(of_table);
                let accepted = listed.filter(|row| list.predicate.accepts(row, &Held::default()));
                return Answer::List(accepted.cloned().collect());
            }
        };
        let mut held = Held::default();
        let found = rows.iter().map(|lookup| {
            let row = self.find(lookup.table, &lookup.key, &held);
            if let Some(row) = row {
                held.hold(&lookup.row, row);
            }
            row.cloned()
        });
        Answer::Lookup(found.collect())
    }

    /// Whether every guard of the plan holds, and no refusing insert finds its row.
    pub(crate) fn permits(&self, plan: &Plan) -> bool {
        let mut held = Held::default();
        for guard in &plan.guards {
            match self.find(guard.table, &guard.key, &held) {
                Some(row) if guard.holds.accepts(row, &held) => held.hold(&guard.row, row),
                Some(_) | None => return false,
            }
        }
        !plan.mutations.iter().any(|mutation| match mutation {
            Mutation::Insert { table, row, on_conflict: OnConflict::Refuse } => {
                self.find(*table, row, &held).is_some()
            }
            Mutation::Insert { .. }
            | Mutation::InsertEach { .. }
            | Mutation::Update { .. }
            | Mutation::Delete { .. } => false,
        })
    }

    fn find(&self, table: TableRef, given: &[(ColumnRef, Expr)], held: &Held<'_>) -> Option<&Row> {
        let part = |key: &ColumnRef| given.iter().find(|(column, _)| column == key);
        let same = |row: &&Row| {
            table.key.iter().all(|key| {
                let wanted = part(key).map(|(_, expr)| expr.evaluate(held));
                wanted.is_some() && row.value(*key) == wanted.as_ref()
            })
        };
        self.rows().find(same)
    }

    fn rows(&self) -> impl Iterator<Item = &Row> {
        self.core.iter().chain(&self.attempts).chain(&self.others)
    }
}
