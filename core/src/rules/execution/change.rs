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
    at: TimestampMs,
    set: Vec<(ColumnRef, Assign)>,
}

/// The held execution enters that status.
#[must_use]
pub fn enters(status: Status, at: TimestampMs) -> ExecutionChange {
    ExecutionChange { at, set: status.assignments(at) }
}

/// The held execution changes in these columns, and keeps its status.
#[must_use]
pub fn edits(columns: impl IntoIterator<Item = (ColumnRef, Assign)>, at: TimestampMs) -> Mutation {
    ExecutionChange { at, set: columns.into_iter().chain(changed(at)).collect() }.update()
}

/// Members of the open bag, and the time of the change beside them.
#[must_use]
pub fn note(mut members: Json, at: TimestampMs) -> (ColumnRef, Assign) {
    if let Json::Object(members) = &mut members {
        members.insert("last_mutation_at".into(), at.0.to_string().into());
    }
    exec_core::raw_fields.merge(members)
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

    /// The change, with these members of the open bag, and the time of the change beside them.
    #[must_use]
    pub fn noting(self, members: Json) -> Self {
        let note = note(members, self.at);
        self.set(note)
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
