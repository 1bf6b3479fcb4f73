//! What an execution holds of its limits, as rows: taken by the claim, given back by ends.

use serde_json::json;

use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::plan::value::ColumnType;
use crate::plan::{Expr, Mutation, OnConflict};
use crate::rules::key::CORE;
use crate::rules::limit::cell::Cell;
use crate::rules::limit::key::{LimitKey, item_number, item_text};
use crate::rules::suspension::opening::items;
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
        let permit = |(key, permit): &(LimitKey, i64)| json!({ "partition": key.partition, "key": key.text, "permit": permit });
        let cell = |cell: &Cell| {
            let Cell { key, rate, number, expires_at } = cell;
            json!({
                "partition": key.partition, "key": key.text, "rate": rate, "cell": number,
                "expires": expires_at.0,
            })
        };
        let permits: Vec<_> = self.permits.iter().map(permit).collect();
        let cells: Vec<_> = self.cells.iter().map(cell).collect();
        let partition = || Expr::item(ColumnType::SmallInt, "partition");

        let permit = vec![
            limit_permit::partition_key.with_expr(partition()),
            limit_permit::limit_key.with_expr(item_text("key")),
            limit_permit::permit.with_expr(item_number("permit")),
            limit_permit::execution_partition.with_expr(exec_core::partition_key.of(CORE)),
            limit_permit::execution_id.with_expr(exec_core::execution_id.of(CORE)),
            limit_permit::taken_at_ms.with(at.0),
        ];
        let cell = vec![
            limit_cell::partition_key.with_expr(partition()),
            limit_cell::limit_key.with_expr(item_text("key")),
            limit_cell::rate.with_expr(item_text("rate")),
            limit_cell::cell.with_expr(item_number("cell")),
            limit_cell::execution_id.with_expr(exec_core::execution_id.of(CORE)),
            limit_cell::expires_at_ms.with_expr(item_number("expires")),
        ];
        Ok([
            Mutation::insert_each(limit_permit::REF, items(&permits)?, permit, OnConflict::Refuse),
            Mutation::insert_each(limit_cell::REF, items(&cells)?, cell, OnConflict::Refuse),
        ])
    }
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
