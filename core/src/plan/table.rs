//! The parts of a table's description, and the macro that declares one.

use super::column::{ColumnRef, TableRef};
use crate::plan::facts::Row;
use crate::plan::value::{ColumnType, Value};
use crate::plan::{Held, Path, Predicate};

/// One table.
pub struct Table {
    /// SQL name.
    pub name: &'static str,
    /// The meaning of one row.
    pub doc: &'static str,
    /// Primary key, in order. It begins with the column that the database numbers, or else with
    /// `partition_key`, where the table has one.
    pub key: &'static [ColumnRef],
    /// All columns, in order.
    pub columns: &'static [ColumnRef],
    /// Secondary indexes.
    pub indexes: &'static [Index],
    /// Conditions that a database may store beside each row. No rule names them.
    pub flags: &'static [Flag],
    /// True if its rows are changed several times soon after they are inserted.
    pub busy: bool,
    /// Columns the database itself refuses unknown values for: a closed set without old spellings,
    /// or a flag that is always true.
    pub checked: &'static [ColumnRef],
    /// True if Postgres may hash-partition the table by `partition_key`.
    pub partitioned: bool,
}

impl Table {
    /// The column of that name, if there is one.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<ColumnRef> {
        self.columns.iter().copied().find(|column| column.name == name)
    }

    /// The column that the database numbers by itself, if there is one.
    #[must_use]
    pub fn identity(&self) -> Option<ColumnRef> {
        self.columns.iter().copied().find(|column| matches!(column.default, Default::Identity))
    }
}

/// One column.
pub struct Column {
    /// SQL name of its table.
    pub table: &'static str,
    /// SQL name.
    pub name: &'static str,
    /// The meaning of the value, units included.
    pub doc: &'static str,
    /// Logical type.
    pub ty: ColumnType,
    /// True if NULL is allowed.
    pub nullable: bool,
    /// The canonical spellings of a closed set; empty for every other column.
    pub spellings: fn() -> Vec<&'static str>,
    /// The value that an insert stores if it does not name the column.
    pub default: Default,
}

/// The value that an insert stores if it does not name the column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Default {
    /// Nothing: the column must be named, or is NULL where it may be.
    Required,
    /// An integer.
    Int(i64),
    /// A truth value.
    Bool(bool),
    /// A text.
    Text(&'static str),
    /// A JSON document.
    Json(&'static str),
    /// The empty list.
    EmptyList,
    /// The database's clock, Unix milliseconds.
    NowMs,
    /// The next number of the table's own sequence.
    Identity,
    /// The number of the inserting transaction, which has one from then on; 0 where writers take
    /// turns and transactions have no numbers.
    Transaction,
}

/// Sort direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Direction {
    /// Smallest first.
    Ascending,
    /// Largest first.
    Descending,
}

/// One secondary index.
pub struct Index {
    /// SQL name.
    pub name: &'static str,
    /// Columns and directions, in order. A list stands for its key, by which equal lists are kept
    /// together; the order of different ones means nothing.
    pub columns: &'static [(ColumnRef, Direction)],
    /// The condition on the rows it holds; all rows when absent. It is the same [`Predicate`] value
    /// that the query uses, so that both databases can prove that the index applies.
    pub only: Option<fn() -> Predicate>,
}

/// A condition on a row as a column that the database computes: TRUE while the row meets it, else
/// NULL.
///
/// A partial index over a flag depends on the flag alone, not on the columns of the condition. So
/// an update that leaves every flag as it is need not touch the indexes, where the database has
/// such updates.
pub struct Flag {
    /// The column. It is none of [`Table::columns`]: plans state the condition, and codegen puts
    /// the flag in its place.
    pub column: ColumnRef,
    /// The condition.
    pub condition: fn() -> Predicate,
}

/// A table of counts that the database itself keeps: the rows of another table, by group. Its
/// columns are a number, those of the groups, and the count.
///
/// Every change of the counted table adds to the counts in the same transaction, also one by plain
/// SQL. A group has any number of rows, which together are its count: where writers do not take
/// turns, each statement adds rows of its own, so that no writer waits for another.
pub struct Count {
    /// The counted table.
    pub of: TableRef,
    /// The table of the counts. Plans may replace rows of a group by one with the same sum.
    pub into: TableRef,
    /// The groups.
    pub by: &'static [Group],
    /// The column with the number of rows, which may be negative.
    pub n: ColumnRef,
}

/// One column of the groups of a count, and its value for a counted row.
pub struct Group {
    /// The column: a text or an integer.
    pub column: ColumnRef,
    /// The value; the empty text or 0 where it is NULL.
    pub value: fn() -> Path,
    /// The rows that have the value; the others have the empty text or 0.
    pub only: Option<fn() -> Predicate>,
    /// The number by which an integer is divided, without rest.
    pub per: i64,
}

impl Group {
    /// The value of the column for a counted row.
    #[must_use]
    pub fn value_of(&self, row: &Row) -> Value {
        let absent = if self.is_text() { Value::Text(String::new()) } else { Value::Int(0) };
        if self.only.is_some_and(|only| !only().accepts(row, &Held::default())) {
            return absent;
        }

        match (self.value)().read(row) {
            Value::Null => absent,
            Value::Int(number) => Value::Int(number / self.per),
            value @ (Value::Bool(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::Bytes(_)
            | Value::Uuid(_)
            | Value::Json(_)
            | Value::TextList(_)) => value,
        }
    }

    /// True if the values are texts.
    #[must_use]
    pub fn is_text(&self) -> bool {
        self.column.ty == ColumnType::Text
    }
}

/// Describes one table: a module with the table, one typed constant per column (named as in SQL),
/// and a `Record` struct that reads a whole row.
///
/// ```text
/// table! {
///     /// One row per lane ever seen.
///     lane_registry = "ff_lane_registry" key [lane_id] {
///         /// Lane name.
///         lane_id: String,
///         /// First-seen time, Unix ms.
///         registered_at_ms: i64,
///         /// Retry counter.
///         retries: i32 = Default::Int(0),
///     }
///     indexes [
///         "ff_lane_registry_seen_idx" (registered_at_ms Ascending),
///         "ff_partial_idx" (lane_id Ascending, retries Descending) only some_predicate_fn,
///     ]
///     flags [
///         /// True while `some_predicate_fn` holds.
///         is_partial: some_predicate_fn,
///     ]
/// }
/// ```
/// `partitioned` after the key marks a table that Postgres may hash-partition; `check [column]`
/// after that lists the columns the database checks itself; `busy` after that marks a table with
/// rows that are changed soon and often.
macro_rules! table {
    (
        $(#[doc = $doc:literal])+
        $module:ident = $name:literal key [$($key:ident),+] $(partitioned $($partitioned:lifetime)?)? $(check [$($checked:ident),+])? $(busy $($busy:lifetime)?)? {
            $($(#[doc = $column_doc:literal])+ $column:ident : $rust:ty $(= $default:expr)?,)+
        }
        indexes [$($index:literal ($($index_column:ident $direction:ident),+) $(only $only:path)?),* $(,)?]
        $(flags [$($(#[doc = $flag_doc:literal])+ $flag:ident : $condition:path,)+])?
    ) => {
        $(#[doc = $doc])+
        #[allow(non_upper_case_globals)]
        pub mod $module {
            #[allow(unused_imports)]
            use super::*;
            #[allow(unused_imports)]
            use $crate::plan::column::{Col, TableRef};
            #[allow(unused_imports)]
            use $crate::plan::column::ColumnRef;
            #[allow(unused_imports)]
            use $crate::plan::table::{Column, Default, Flag, Index, Table};
            #[allow(unused_imports)]
            use $crate::plan::table::Direction::{Ascending, Descending};
            use $crate::plan::value::Storable;

            /// The description.
            pub static TABLE: Table = Table {
                name: $name,
                doc: concat!($($doc),+),
                key: &[$($key.column()),+],
                columns: &[$($column.column()),+],
                indexes: &[$(Index {
                    name: $index,
                    columns: &[$(($index_column.column(), $direction)),+],
                    only: table!(@only $($only)?),
                }),*],
                flags: &[$($(Flag {
                    column: ColumnRef(&Column {
                        table: $name,
                        name: stringify!($flag),
                        doc: concat!($($flag_doc),+),
                        ty: <Option<bool> as Storable>::TYPE,
                        nullable: <Option<bool> as Storable>::NULLABLE,
                        spellings: <Option<bool> as Storable>::spellings,
                        default: Default::Required,
                    }),
                    condition: $condition,
                }),+)?],
                busy: table!(@busy $(busy $($busy)?)?),
                checked: &[$($($checked.column()),+)?],
                partitioned: table!(@partitioned $(partitioned $($partitioned)?)?),
            };

            /// The table, as plans name it.
            pub const REF: TableRef = TableRef(&TABLE);

            $(
                $(#[doc = $column_doc])+
                pub const $column: Col<$rust> = Col::new(&Column {
                    table: $name,
                    name: stringify!($column),
                    doc: concat!($($column_doc),+),
                    ty: <$rust as Storable>::TYPE,
                    nullable: <$rust as Storable>::NULLABLE,
                    spellings: <$rust as Storable>::spellings,
                    default: table!(@default $($default)?),
                });
            )+

            /// One whole row.
            #[derive(Clone, Debug, PartialEq)]
            pub struct Record {
                $($(#[doc = $column_doc])+ pub $column: $rust,)+
            }

            impl Record {
                /// Reads a row that carries every column.
                ///
                /// # Errors
                /// `Validation(Corruption)` naming table, column and value where a stored value is
                /// not one of the column's type.
                pub fn read(
                    row: &$crate::plan::facts::Row,
                ) -> Result<Self, $crate::model::error::EngineError> {
                    Ok(Self { $($column: row.read($column)?,)+ })
                }
            }
        }
    };
    (@only) => { None };
    (@only $only:path) => { Some($only) };
    (@partitioned) => { false };
    (@partitioned partitioned) => { true };
    (@busy) => { false };
    (@busy busy) => { true };
    (@default) => { Default::Required };
    (@default $default:expr) => { $default };
}
