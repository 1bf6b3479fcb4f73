//! The rows read so far, for the transition that asked for them.

use crate::model::error::{EngineError, ValidationKind};
use crate::plan::Name;
use crate::plan::column::{Col, ColumnRef};
use crate::plan::query::{List, Query};
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
    /// The rows of a list, in its order; or the sums of groups.
    List(Vec<Row>),
}

/// The facts that a transition has read. A rule asks for them by the names that its queries gave:
/// [`crate::plan::Lookup::row`] and [`crate::plan::List::name`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    looked_up: bool,
    rows: Vec<(Name, Option<Row>)>,
    lists: Vec<(Name, Vec<Row>)>,
    refusals: u32,
    prevented: bool,
}

impl Facts {
    /// Nothing read yet, after `refusals` plans of this call were refused by their guards.
    #[must_use]
    pub fn after_refusals(refusals: u32) -> Self {
        Self { refusals, ..Self::default() }
    }

    /// Nothing read yet, after the last of `refusals` plans of this call was prevented by a row.
    #[must_use]
    pub fn after_prevention(refusals: u32) -> Self {
        Self { refusals, prevented: true, ..Self::default() }
    }

    /// Nothing read yet, after the same refusals.
    #[must_use]
    pub fn unread(&self) -> Self {
        Self { refusals: self.refusals, prevented: self.prevented, ..Self::default() }
    }

    /// Adds the answers to these questions, in their order.
    pub fn learn(&mut self, questions: &Questions, answers: Vec<Answer>) {
        for (names, answer) in questions.0.iter().zip(answers) {
            match answer {
                Answer::Lookup(rows) => {
                    self.looked_up = true;
                    self.rows.extend(names.iter().cloned().zip(rows));
                }
                Answer::List(rows) => {
                    self.lists.extend(names.first().cloned().map(|name| (name, rows)));
                }
            }
        }
    }

    /// The number of this call's plans that were refused or prevented. A transition that predicts
    /// rows does so only at 0, and reads them afterwards.
    #[must_use]
    pub fn refusals(&self) -> u32 {
        self.refusals
    }

    /// True if a row prevented the last of this call's plans. Its guards may all hold.
    #[must_use]
    pub fn prevented(&self) -> bool {
        self.prevented
    }

    /// True once a look-up has been asked.
    #[must_use]
    pub fn have_rows(&self) -> bool {
        self.looked_up
    }

    /// True if a look-up asked for a row of that name, whether it exists or not.
    #[must_use]
    pub fn asked(&self, name: &str) -> bool {
        self.rows.iter().any(|(looked_up, _)| looked_up == name)
    }

    /// The row that was looked up under that name; `None` if it does not exist, or if no look-up
    /// asked for it.
    #[must_use]
    pub fn row(&self, name: &str) -> Option<&Row> {
        let found = self.rows.iter().find(|(looked_up, _)| looked_up == name);
        found.and_then(|(_, row)| row.as_ref())
    }

    /// The rows of this list; `None` while it has not been asked. Of a list that was asked several
    /// times, the first answer; the others are in [`Self::again`] and [`Self::pages`].
    #[must_use]
    pub fn list(&self, list: &List) -> Option<&[Row]> {
        self.nth(list, 0)
    }

    /// The rows of the list of that name; `None` while it has not been asked.
    #[must_use]
    pub fn list_named(&self, name: &str) -> Option<&[Row]> {
        let named = self.lists.iter().find(|(listed, _)| listed == name);
        named.map(|(_, rows)| rows.as_slice())
    }

    /// The rows of this list when it was asked for the second time; `None` before.
    #[must_use]
    pub fn again(&self, list: &List) -> Option<&[Row]> {
        self.nth(list, 1)
    }

    fn nth(&self, list: &List, times: usize) -> Option<&[Row]> {
        let mut answers = self.lists.iter().filter(|(name, _)| *name == list.name);
        answers.nth(times).map(|(_, rows)| rows.as_slice())
    }

    /// The answers to all lists of that name, in the order in which they were asked.
    pub fn pages<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [Row]> {
        let of_that_name = self.lists.iter().filter(move |(listed, _)| listed == name);
        of_that_name.map(|(_, rows)| rows.as_slice())
    }
}

/// The names that queries give to what they ask for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Questions(Vec<Vec<Name>>);

impl Questions {
    /// The names in these queries.
    #[must_use]
    pub fn of(queries: &[Query]) -> Self {
        let names = |query: &Query| match query {
            Query::Lookup(rows) => rows.iter().map(|lookup| lookup.row.clone()).collect(),
            Query::List(list) => vec![list.name.clone()],
            Query::Sums(sums) => vec![sums.name.clone()],
        };
        Self(queries.iter().map(names).collect())
    }
}
