//! The rows of one line: of an execution, or of a flow but for its members.

use std::fmt;

use crate::model::ids::ExecutionId;
use crate::plan::facts::Row;
use crate::plan::table::{Default as Absent, Direction};
use crate::plan::value::{ColumnType, Value};
use crate::plan::{Expr, Predicate};
use crate::rules::flow::key::FlowKey;
use crate::rules::key::{ExecutionKey, all_equal};
use crate::rules::retention::dependants;
use crate::schema::flow::{edge, edge_group};
use crate::schema::step::step;
use crate::schema::suspension::{stream_frame, waitpoint_pending};
use crate::schema::{ColumnRef, TableRef};

/// The most rows of a table in parts that one line holds.
pub const PART: u32 = 256;

/// The thing that a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// An execution.
    Execution(ExecutionKey),
    /// A flow.
    Flow(FlowKey),
}

/// Rows by table, in the order of the schema.
pub type Rows = Vec<(TableRef, Vec<Row>)>;

/// One line of an archive.
#[derive(Clone, derive_more::Debug, PartialEq)]
pub struct Record {
    /// The completion event that it was archived at: the last of the execution, or of the flow.
    pub at: i64,
    /// The thing that it is about.
    pub subject: Subject,
    /// True if more lines of the same thing follow.
    pub is_part: bool,
    /// The number of members before this line, where it is the last of a flow.
    pub members: Option<u64>,
    /// The rows.
    #[debug("<of {} tables>", rows.len())]
    pub rows: Rows,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Execution(key) => key.id().fmt(f),
            Self::Flow(key) => {
                ExecutionId::from_parts(key.partition.unsigned_abs(), key.uuid).fmt(f)
            }
        }
    }
}

impl Subject {
    /// The tables with rows of such a thing, and the condition on its rows.
    #[must_use]
    pub fn tables(&self) -> Vec<(TableRef, Predicate)> {
        match self {
            Self::Execution(key) => {
                let tables = dependants::of_executions();
                tables.map(|(table, of)| (table, of.rows_of(key))).collect()
            }
            Self::Flow(key) => {
                let tables = dependants::of_flows();
                tables.map(|(table, of)| (table, all_equal(of.of_flow(key)))).collect()
            }
        }
    }
}

impl Record {
    /// The rows of one table.
    #[must_use]
    pub fn rows_of(&self, table: TableRef) -> &[Row] {
        let found = self.rows.iter().find(|(own, _)| *own == table);
        found.map_or(&[], |(_, rows)| rows.as_slice())
    }
}

/// The columns of a table that are archived. The number of the inserting transaction belongs to
/// the database. A waitpoint's token would open a wait for its reader.
pub fn archived_columns(table: TableRef) -> impl Iterator<Item = ColumnRef> {
    let token = waitpoint_pending::token.column();
    let is_archived =
        move |column: &ColumnRef| column.default != Absent::Transaction && *column != token;
    table.0.columns.iter().copied().filter(is_archived)
}

/// The value that an import gives a column that is not archived and has no default.
#[must_use]
pub fn stand_in(column: ColumnRef) -> Option<Value> {
    // No token is empty.
    let is_token = column == waitpoint_pending::token.column();
    is_token.then(|| Value::Text(String::new()))
}

/// The order of the rows of a table: its key, but for the partition.
#[must_use]
pub fn order(table: TableRef) -> Vec<(ColumnRef, Direction)> {
    let own = table.0.key.iter().filter(|column| column.name != "partition_key");
    own.map(|column| (*column, Direction::Ascending)).collect()
}

/// The columns by which the rows of a table are read and written in parts, since there may be many
/// of one thing.
#[must_use]
pub fn parted_by(table: TableRef) -> Option<Vec<ColumnRef>> {
    if table == stream_frame::REF {
        let (ts_ms, seq) = (stream_frame::ts_ms.column(), stream_frame::seq.column());
        Some(vec![stream_frame::attempt_index.column(), ts_ms, seq])
    } else if table == step::REF {
        Some(vec![step::position.column()])
    } else if table == edge::REF {
        Some(vec![edge::edge_id.column()])
    } else if table == edge_group::REF {
        Some(vec![edge_group::downstream_eid.column()])
    } else {
        None
    }
}

/// The condition that a row comes behind another, or behind none.
#[must_use]
pub fn behind(columns: &[ColumnRef], last: Option<&Row>) -> Predicate {
    let least = |column: &ColumnRef| match column.ty {
        ColumnType::Uuid => Value::Uuid(uuid::Uuid::nil()),
        ColumnType::SmallInt => Value::Int(i64::from(i16::MIN)),
        ColumnType::Int => Value::Int(i64::from(i32::MIN)),
        ColumnType::BigInt
        | ColumnType::Bool
        | ColumnType::Float
        | ColumnType::Text
        | ColumnType::Bytes
        | ColumnType::Json
        | ColumnType::TextList => Value::Int(i64::MIN),
    };
    let place = |column: &ColumnRef| {
        let value = last.and_then(|row| row.value(*column)).cloned();
        (*column, Expr::Value(column.ty, vec![value.unwrap_or_else(|| least(column))]))
    };
    Predicate::After(columns.iter().map(place).collect())
}
