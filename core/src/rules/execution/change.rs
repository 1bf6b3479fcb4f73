//! Changes of the rows of the held execution, as values.

use serde_json::Value as Json;

use crate::model::ids::TimestampMs;
use crate::plan::{Assign, Mutation};
use crate::rules::key::{held_attempt, held_core};
use crate::rules::status::{Status, changed};
use crate::schema::ColumnRef;
use crate::schema::execution::{attempt, exec_core};

/// A change of the held execution's row, column by column.
#[derive(Clone, Debug)]
pub struct ExecutionChange {
    set: Vec<(ColumnRef, Assign)>,
}

/// The held execution enters that status.
#[must_use]
pub fn enters(status: Status, at: TimestampMs) -> ExecutionChange {
    ExecutionChange { set: status.assignments(at) }
}

/// The held execution changes in these columns, and keeps its status.
#[must_use]
pub fn edits(columns: impl IntoIterator<Item = (ColumnRef, Assign)>, at: TimestampMs) -> Mutation {
    ExecutionChange { set: columns.into_iter().chain(changed(at)).collect() }.update()
}

impl ExecutionChange {
    /// The change, with this column.
    #[must_use]
    pub fn set(mut self, column: (ColumnRef, Assign)) -> Self {
        self.set.push(column);
        self
    }

    /// The change, with these columns.
    #[must_use]
    pub fn set_all(mut self, columns: impl IntoIterator<Item = (ColumnRef, Assign)>) -> Self {
        self.set.extend(columns);
        self
    }

    /// The change, with these members of the open bag.
    #[must_use]
    pub fn noting(self, members: Json) -> Self {
        self.set(exec_core::raw_fields.merge(members))
    }

    /// The change as a part of a plan.
    #[must_use]
    pub fn update(self) -> Mutation {
        Mutation::Update { table: exec_core::REF, target: held_core(), set: self.set }
    }
}

/// The change of these columns of the held attempt's row.
#[must_use]
pub fn attempt(set: Vec<(ColumnRef, Assign)>) -> Mutation {
    Mutation::Update { table: attempt::REF, target: held_attempt(), set }
}
