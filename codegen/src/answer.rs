//! The answer to a query, from the result rows of its statement.
//!
//! `query.rs` decides on the columns of these rows.

use ff_core::EngineError;
use ff_core::engine_error::ValidationKind;
use ff_core::plan::facts::{Answer, Row};
use ff_core::plan::value::Value;
use ff_core::plan::{Lookup, Query};
use ff_core::schema::ColumnRef;

/// Reads the answer. `cell` decodes one column of a row, by its position.
///
/// # Errors
/// `Validation(Corruption)` for a look-up that yields other than one row; those of `cell`.
pub fn answer<R>(
    query: &Query,
    rows: &[R],
    cell: impl Fn(&R, usize, ColumnRef) -> Result<Value, EngineError>,
) -> Result<Answer, EngineError> {
    match query {
        Query::Lookup(lookups) => {
            let [row] = rows else {
                let detail = "a look-up answers with one row".to_owned();
                return Err(EngineError::Validation { kind: ValidationKind::Corruption, detail });
            };
            looked_up_rows(lookups, &|index, column| cell(row, index, column)).map(Answer::Lookup)
        }
        Query::List(list) => {
            let listed = |row| cells(0, &list.columns, &|index, column| cell(row, index, column));
            rows.iter()
                .map(|row| listed(row).map(Row::new))
                .collect::<Result<_, _>>()
                .map(Answer::List)
        }
        Query::Sums(sums) => {
            let columns: Vec<ColumnRef> = sums.by.iter().copied().chain([sums.of]).collect();
            let summed = |row| cells(0, &columns, &|index, column| cell(row, index, column));
            rows.iter()
                .map(|row| summed(row).map(Row::new))
                .collect::<Result<_, _>>()
                .map(Answer::List)
        }
    }
}

/// Decodes one column of a row, by its position.
type Cell<'a> = &'a dyn Fn(usize, ColumnRef) -> Result<Value, EngineError>;

/// The looked-up rows. Each has its first key column, NULL if it is absent, and then the requested
/// columns.
fn looked_up_rows(lookups: &[Lookup], cell: Cell<'_>) -> Result<Vec<Option<Row>>, EngineError> {
    let mut found = Vec::with_capacity(lookups.len());
    let mut index = 0;

    for Lookup { table, columns, .. } in lookups {
        let presence = table.key.first().map_or(Ok(Value::Null), |key| cell(index, *key))?;
        found.push(if presence.is_null() {
            None
        } else {
            Some(Row::new(cells(index + 1, columns, cell)?))
        });
        index += 1 + columns.len();
    }

    Ok(found)
}

fn cells(
    from: usize,
    columns: &[ColumnRef],
    cell: Cell<'_>,
) -> Result<Vec<(ColumnRef, Value)>, EngineError> {
    let numbered = columns.iter().zip(from..);
    numbered.map(|(column, index)| Ok((*column, cell(index, *column)?))).collect()
}
