//! The stored rows, and the log that undoes a partly applied plan.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use ff_core::plan::facts::Row;
use ff_core::plan::value::{ColumnType, Value};
use ff_core::schema::{COUNTS, ColumnRef, Count, Default as Absent, Table};
use ff_core::types::TimestampMs;

use crate::error::MemoryError;

/// The values of a primary key, or of a leading part of it, in a total order: part by part, each by
/// its type and then by [`Value::compare`]. A leading part sorts before whole keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key(pub(crate) Vec<Value>);

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        let parts = self.0.iter().zip(&other.0).map(|(a, b)| {
            let by_type = type_rank(a).cmp(&type_rank(b));
            by_type.then_with(|| a.compare(b).unwrap_or(Ordering::Equal))
        });
        let first_difference = parts.into_iter().find(|ordering| ordering.is_ne());
        first_difference.unwrap_or_else(|| self.0.len().cmp(&other.0.len()))
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn type_rank(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Int(_) => 2,
        Value::Float(_) => 3,
        Value::Text(_) => 4,
        Value::Bytes(_) => 5,
        Value::Uuid(_) => 6,
        Value::Json(_) => 7,
        Value::TextList(_) => 8,
    }
}

/// All tables that ever held a row.
#[derive(Default)]
pub(crate) struct Tables {
    /// Shared with the copies of this state until either changes the table.
    stored: BTreeMap<&'static str, Arc<Stored>>,
    // Invariant: undoing the entries from the last to the first restores the last kept state.
    undo: Vec<Undo>,
}

#[derive(Clone, Default)]
struct Stored {
    rows: BTreeMap<Key, Row>,
    /// The last number of the identity column.
    last_number: i64,
}

enum Undo {
    Row(&'static str, Key, Option<Row>),
    Number(&'static str, i64),
}

impl Tables {
    /// The rows of a table, in key order.
    pub(crate) fn rows(&self, table: &str) -> impl Iterator<Item = (&Key, &Row)> {
        self.stored.get(table).into_iter().flat_map(|stored| &stored.rows)
    }

    /// The row with this key.
    pub(crate) fn row(&self, table: &str, key: &Key) -> Option<&Row> {
        self.stored.get(table)?.rows.get(key)
    }

    /// The keys of the rows with columns equal to the given values. NULL equals nothing.
    pub(crate) fn matching(&self, table: &Table, equal: &[(ColumnRef, Value)]) -> Vec<Key> {
        let Some(stored) = self.stored.get(table.name) else {
            return Vec::new();
        };

        let given = |part: &ColumnRef| equal.iter().find(|(column, _)| column == part);
        let leading = table.key.iter().map_while(|part| Some(given(part)?.1.clone()));
        let prefix = Key(leading.collect());
        let within = |key: &Key| key.0.get(..prefix.0.len()) == Some(prefix.0.as_slice());

        let same = |row: &Row| {
            equal.iter().all(|(column, value)| {
                let stored = row.value(*column).unwrap_or(&Value::Null);
                stored.compare(value) == Some(Ordering::Equal)
            })
        };

        let rows = stored.rows.range(prefix.clone()..).take_while(|(key, _)| within(key));
        rows.filter(|(_, row)| same(row)).map(|(key, _)| key.clone()).collect()
    }

    /// A whole row from the given columns and the defaults of the others, and its key.
    pub(crate) fn complete_row(
        &mut self,
        table: &'static Table,
        given: Vec<(ColumnRef, Value)>,
        now: TimestampMs,
    ) -> (Key, Row) {
        let given = Row::new(given);

        let mut cells = Vec::with_capacity(table.columns.len());
        for column in table.columns {
            let value = match given.value(*column) {
                Some(value) => value.clone().stored_as(column.ty),
                None => self.default_value(table, *column, now),
            };
            cells.push((*column, value));
        }

        let row = Row::new(cells);
        self.count_given_number(table, &row);
        (key_of(table, &row), row)
    }

    /// Numbers that are given to rows are counted like those that rows take.
    fn count_given_number(&mut self, table: &'static Table, row: &Row) {
        let number = table.identity().and_then(|column| row.value(column));
        let Some(Value::Int(number)) = number else { return };
        let stored = Arc::make_mut(self.stored.entry(table.name).or_default());
        if stored.last_number < *number {
            self.undo.push(Undo::Number(table.name, stored.last_number));
            stored.last_number = *number;
        }
    }

    fn default_value(
        &mut self,
        table: &'static Table,
        column: ColumnRef,
        now: TimestampMs,
    ) -> Value {
        match column.default {
            Absent::Required => Value::Null,
            Absent::Int(number) if column.ty == ColumnType::Float => Value::Float(number as f64),
            Absent::Int(number) => Value::Int(number),
            Absent::Bool(flag) => Value::Bool(flag),
            Absent::Text(text) => Value::Text(text.to_owned()),
            // A document that does not parse becomes NULL, which `check_row` then refuses.
            Absent::Json(text) => serde_json::from_str(text).map_or(Value::Null, Value::Json),
            Absent::EmptyList => Value::TextList(Vec::new()),
            Absent::NowMs => Value::Int(now.0),
            Absent::Transaction => Value::Int(0),
            Absent::Identity => {
                let stored = Arc::make_mut(self.stored.entry(table.name).or_default());
                self.undo.push(Undo::Number(table.name, stored.last_number));
                stored.last_number += 1;
                Value::Int(stored.last_number)
            }
        }
    }

    /// Stores the row under the key; removes the stored row if `row` is `None`.
    pub(crate) fn store(
        &mut self,
        table: &'static Table,
        key: Key,
        row: Option<Row>,
    ) -> Result<(), MemoryError> {
        let stored = Arc::make_mut(self.stored.entry(table.name).or_default());
        let counts: Vec<_> = COUNTS.iter().filter(|count| count.of.name == table.name).collect();
        let after = row.as_ref().filter(|_| !counts.is_empty()).cloned();
        let before = match row {
            Some(row) => {
                check_row(table, &row)?;
                stored.rows.insert(key.clone(), row)
            }
            None => stored.rows.remove(&key),
        };

        self.undo.push(Undo::Row(table.name, key, before.clone()));
        counts
            .into_iter()
            .try_for_each(|count| self.recount(count, before.as_ref(), after.as_ref()))
    }

    /// Counts a changed row in its new group, and no more in its old one.
    fn recount(
        &mut self,
        count: &Count,
        before: Option<&Row>,
        after: Option<&Row>,
    ) -> Result<(), MemoryError> {
        let group = |row: &Row| -> Vec<(ColumnRef, Value)> {
            count.by.iter().map(|group| (group.column, group.value_of(row))).collect()
        };
        let (before, after) = (before.map(group), after.map(group));
        if before == after {
            return Ok(());
        }

        before.map_or(Ok(()), |group| self.add(count, group, -1))?;
        after.map_or(Ok(()), |group| self.add(count, group, 1))
    }

    /// Adds to the count of a group.
    fn add(
        &mut self,
        count: &Count,
        group: Vec<(ColumnRef, Value)>,
        by: i64,
    ) -> Result<(), MemoryError> {
        let table = count.into.0;
        let found = self.matching(table, &group).into_iter().next();
        let stored = found.as_ref().and_then(|key| self.row(table.name, key));
        let n = stored.and_then(|row| row.value(count.n)).unwrap_or(&Value::Int(0));

        let n = (count.n, n.plus(&Value::Int(by)));
        let number = found.and_then(|key| Some((table.identity()?, key.0.into_iter().next()?)));
        let cells = group.into_iter().chain([n]).chain(number).collect();
        let (key, row) = self.complete_row(table, cells, TimestampMs(0));
        self.store(table, key, Some(row))
    }

    /// A copy of the final state.
    pub(crate) fn copy(&self) -> Self {
        Self { stored: self.stored.clone(), undo: Vec::new() }
    }

    /// Makes all changes since the last call final.
    pub(crate) fn commit(&mut self) {
        self.undo.clear();
    }

    /// Undoes all changes that are not final.
    pub(crate) fn roll_back(&mut self) {
        while let Some(step) = self.undo.pop() {
            let (Undo::Row(table, ..) | Undo::Number(table, _)) = &step;
            let stored = Arc::make_mut(self.stored.entry(table).or_default());

            match step {
                Undo::Row(_, key, Some(row)) => drop(stored.rows.insert(key, row)),
                Undo::Row(_, key, None) => drop(stored.rows.remove(&key)),
                Undo::Number(_, number) => stored.last_number = number,
            }
        }
    }
}

/// The primary key of a whole row.
pub(crate) fn key_of(table: &Table, row: &Row) -> Key {
    let part = |column: &ColumnRef| row.value(*column).cloned().unwrap_or(Value::Null);
    Key(table.key.iter().map(part).collect())
}

/// Refuses a row that breaks a constraint of a real database.
fn check_row(table: &Table, row: &Row) -> Result<(), MemoryError> {
    for column in table.columns {
        let value = row.value(*column).unwrap_or(&Value::Null);
        let (table, name, ty) = (table.name, column.name, column.ty);
        if value.is_null() && !column.nullable {
            return Err(MemoryError::Missing { table, column: name });
        }
        if !value.is_null() && !fits(value, ty) {
            return Err(MemoryError::WrongType { table, column: name, ty, value: value.clone() });
        }
    }

    for column in table.checked {
        let value = row.value(*column).unwrap_or(&Value::Null);
        let member = match value {
            Value::Text(text) => (column.spellings)().contains(&text.as_str()),
            other => *other == Value::Bool(true) || other.is_null(),
        };
        if !member {
            let (table, column) = (table.name, column.name);
            return Err(MemoryError::NotAMember { table, column, value: value.clone() });
        }
    }

    Ok(())
}

fn fits(value: &Value, ty: ColumnType) -> bool {
    match (ty, value) {
        (ColumnType::SmallInt, Value::Int(number)) => i16::try_from(*number).is_ok(),
        (ColumnType::Int, Value::Int(number)) => i32::try_from(*number).is_ok(),
        (ColumnType::BigInt, Value::Int(_))
        | (ColumnType::Bool, Value::Bool(_))
        | (ColumnType::Float, Value::Float(_))
        | (ColumnType::Text, Value::Text(_))
        | (ColumnType::Bytes, Value::Bytes(_))
        | (ColumnType::Uuid, Value::Uuid(_))
        | (ColumnType::Json, Value::Json(_))
        | (ColumnType::TextList, Value::TextList(_)) => true,
        (_, _) => false,
    }
}
