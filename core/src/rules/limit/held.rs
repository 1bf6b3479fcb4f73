//! What an execution holds of its limits, as rows: taken by the claim, given back by ends.

use serde_json::{Value as Json, json};

use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::plan::value::{ColumnType, Value};
use crate::plan::{Expr, Mutation, OnConflict};
use crate::rules::key::CORE;
use crate::rules::limit::cell::Cell;
use crate::rules::limit::key::{LimitKey, item_number, item_text};
use crate::rules::row_list::{items, list_bytes};
use crate::schema::ColumnRef;
use crate::schema::execution::exec_core;
use crate::schema::limit::{limit_cell, limit_permit};

/// The permits and cells that a claim takes for one execution.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Permits, each with its number.
    pub permits: Vec<(LimitKey, i64)>,
    /// Cells of rates.
    pub cells: Vec<Cell>,
}

impl Holdings {
    /// True if it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.permits.is_empty() && self.cells.is_empty()
    }

    /// The first permit or cell: its key and its number.
    #[must_use]
    pub fn first(&self) -> Option<(&LimitKey, i64)> {
        let permits = self.permits.iter().map(|(key, permit)| (key, *permit));
        permits.chain(self.cells.iter().map(|cell| (&cell.key, cell.number))).min()
    }

    /// The keys of which it holds something.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let permits = self.permits.iter().map(|(key, _)| key.text.as_str());
        permits.chain(self.cells.iter().map(|cell| cell.key.text.as_str()))
    }

    /// The changes by which the held execution takes them. One that is taken already refuses the
    /// plan.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for a text that cannot be stored.
    pub fn taken(&self, at: TimestampMs) -> Result<[Mutation; 2], EngineError> {
        Ok([
            permits_of_list(items(&self.permit_items())?, at),
            cells_of_list(items(&self.cell_items())?),
        ])
    }

    /// The changes by which each picked execution takes its own of these, in their order. One that
    /// is taken already refuses the whole plan.
    ///
    /// # Errors
    /// As [`Self::taken`].
    pub fn taken_by_each(all: &[&Self], at: TimestampMs) -> Result<Vec<Mutation>, EngineError> {
        let lists = |of: fn(&Self) -> Vec<Json>| -> Result<Expr, EngineError> {
            let lists = all.iter().map(|one| list_bytes(&of(one)).map(Value::Bytes));
            Ok(Expr::each(ColumnType::Bytes, lists.collect::<Result<_, _>>()?))
        };

        let has_cells = all.iter().any(|one| !one.cells.is_empty());
        if !has_cells && all.iter().all(|one| one.permits.len() == 1) {
            return Ok(vec![one_permit_each(all, at)]);
        }

        let mut changes = Vec::new();
        if all.iter().any(|one| !one.permits.is_empty()) {
            changes.push(permits_of_list(lists(Self::permit_items)?, at));
        }
        if has_cells {
            changes.push(cells_of_list(lists(Self::cell_items)?));
        }
        Ok(changes)
    }

    fn permit_items(&self) -> Vec<Json> {
        let permit = |(key, permit): &(LimitKey, i64)| json!({ "partition": key.partition, "key": key.text, "permit": permit });
        self.permits.iter().map(permit).collect()
    }

    fn cell_items(&self) -> Vec<Json> {
        let cell = |cell: &Cell| {
            let Cell { key, rate, number, expires_at } = cell;
            json!({
                "partition": key.partition, "key": key.text, "rate": rate, "cell": number,
                "expires": expires_at.0,
            })
        };
        self.cells.iter().map(cell).collect()
    }
}

/// The held execution takes each permit of a list.
fn permits_of_list(list: Expr, at: TimestampMs) -> Mutation {
    let row = permit_row([item_partition(), item_text("key"), item_number("permit")], at);
    Mutation::insert_each(limit_permit::REF, list, row, OnConflict::Refuse)
}

/// Each picked execution takes the only permit of its own.
fn one_permit_each(all: &[&Holdings], at: TimestampMs) -> Mutation {
    let permits = || all.iter().flat_map(|one| &one.permits);
    let each = |ty, values: Vec<Value>| Expr::each(ty, values);
    let partitions = permits().map(|(key, _)| Value::Int(key.partition.into())).collect();
    let keys = permits().map(|(key, _)| Value::Text(key.text.clone())).collect();
    let numbers = permits().map(|(_, number)| Value::Int(*number)).collect();
    let of_each = [
        each(ColumnType::SmallInt, partitions),
        each(ColumnType::Text, keys),
        each(ColumnType::BigInt, numbers),
    ];
    Mutation::insert(limit_permit::REF, permit_row(of_each, at), OnConflict::Refuse)
}

fn permit_row([partition, key, permit]: [Expr; 3], at: TimestampMs) -> Vec<(ColumnRef, Expr)> {
    vec![
        limit_permit::partition_key.with_expr(partition),
        limit_permit::limit_key.with_expr(key),
        limit_permit::permit.with_expr(permit),
        limit_permit::execution_partition.with_expr(exec_core::partition_key.of(CORE)),
        limit_permit::execution_id.with_expr(exec_core::execution_id.of(CORE)),
        limit_permit::taken_at_ms.with(at.0),
    ]
}

/// The held execution takes each cell of a list.
fn cells_of_list(list: Expr) -> Mutation {
    let row = vec![
        limit_cell::partition_key.with_expr(item_partition()),
        limit_cell::limit_key.with_expr(item_text("key")),
        limit_cell::rate.with_expr(item_text("rate")),
        limit_cell::cell.with_expr(item_number("cell")),
        limit_cell::execution_id.with_expr(exec_core::execution_id.of(CORE)),
        limit_cell::expires_at_ms.with_expr(item_number("expires")),
    ];
    Mutation::insert_each(limit_cell::REF, list, row, OnConflict::Refuse)
}

fn item_partition() -> Expr {
    Expr::item(ColumnType::SmallInt, "partition")
}

/// The change that gives back every permit of the held execution. Cells stay: what has started
/// counts for its time.
#[must_use]
pub fn permits_given_back() -> Mutation {
    let of_core = vec![
        limit_permit::execution_partition.with_expr(exec_core::partition_key.of(CORE)),
        limit_permit::execution_id.with_expr(exec_core::execution_id.of(CORE)),
    ];
    Mutation::delete(limit_permit::REF, of_core)
}
