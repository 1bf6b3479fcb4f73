//! The rows read so far, for the transition that asked for them.

use crate::model::error::{EngineError, ValidationKind};
use crate::plan::column::{Col, ColumnRef};
use crate::plan::value::{Storable, Value};

/// One stored row, or the part of it that was asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    cells: Vec<(ColumnRef, Value)>,
}

impl Row {
    /// A row of these cells.
    #[must_use]
    pub fn new(cells: Vec<(ColumnRef, Value)>) -> Self {
        Self { cells }
    }

    /// Reads one column as its type. Parses only this column, so corruption in other columns does
    /// not matter.
    ///
    /// # Errors
    /// `Validation(Corruption)` naming table, column and value when the stored value is not one of
    /// the column's type, or when the column was not asked for.
    pub fn read<T: Storable>(&self, column: Col<T>) -> Result<T, EngineError> {
        let value = self.value(column.column()).unwrap_or(&Value::Null);
        T::from_value(value).ok_or_else(|| EngineError::Validation {
            kind: ValidationKind::Corruption,
            detail: format!(
                "{}.{}: {value} is not a known value",
                column.column.table, column.column.name
            ),
        })
    }

    /// The raw value of a column; `None` when it was not asked for.
    #[must_use]
    pub fn value(&self, column: ColumnRef) -> Option<&Value> {
        self.cells.iter().find(|(cell, _)| *cell == column).map(|(_, value)| value)
    }
}

/// The answer to one [`crate::plan::Query`].
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// One entry for each row of a lookup, in the order asked.
    Lookup(Vec<Option<Row>>),
    /// The rows of a list, in its order.
    List(Vec<Row>),
}

/// The facts that a transition has read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    answers: Vec<Answer>,
    refusals: u32,
}

impl Facts {
    /// Nothing read yet, after `refusals` plans of this call were refused by their guards.
    #[must_use]
    pub fn after_refusals(refusals: u32) -> Self {
        Self { answers: Vec::new(), refusals }
    }

    /// Adds the answers to the queries that were asked last, in their order.
    pub fn learn(&mut self, answers: Vec<Answer>) {
        self.answers.extend(answers);
    }

    /// The number of this call's plans that were refused. A transition that predicts rows does so
    /// only at 0, and reads them afterwards.
    #[must_use]
    pub fn refusals(&self) -> u32 {
        self.refusals
    }

    /// The rows of the `index`-th query, a lookup; `None` while it has not been asked.
    #[must_use]
    pub fn lookup(&self, index: usize) -> Option<&[Option<Row>]> {
        match self.answers.get(index) {
            Some(Answer::Lookup(rows)) => Some(rows),
            Some(Answer::List(_)) | None => None,
        }
    }

    /// The rows of the `index`-th query, a list; `None` while it has not been asked.
    #[must_use]
    pub fn list(&self, index: usize) -> Option<&[Row]> {
        match self.answers.get(index) {
            Some(Answer::List(rows)) => Some(rows),
            Some(Answer::Lookup(_)) | None => None,
        }
    }
}
