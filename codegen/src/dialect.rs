//! The differences between databases, as questions.
//!
//! To add a database, write one file of answers. There are no default answers: a missing one does
//! not compile, and "cannot" is a [`RenderError`], never a dropped clause.

mod mariadb;
mod postgres;
mod postgres_occ;
mod sqlite;

use ff_core::plan::Name;
use ff_core::plan::value::ColumnType;
use ff_core::schema::ColumnRef;
use sea_query::{Expr, FunctionCall, InsertStatement, SelectStatement, TableCreateStatement};

pub use mariadb::MariaDb;
pub(crate) use mariadb::MariaDbQueryBuilder;
pub use postgres::Postgres;
pub use postgres_occ::PostgresOcc;
pub use sqlite::Sqlite;

use crate::ddl::CountText;
use crate::statement::RenderError;

/// The alias of a list's element in statements.
pub(crate) const ITEM: &str = "item";

/// The way in which a dialect applies a plan atomically.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitStrategy {
    /// One data-modifying statement: one round trip, whole batches at once.
    Fused,
    /// Several statements inside one transaction.
    Script,
}

/// The way in which a row is kept unchanged until the plan has applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowLock {
    /// Wait for the transaction that holds the row.
    Wait,
    /// Skip rows that another transaction holds. Where plans take turns, or one of two that change
    /// a row is aborted, the rows need no lock.
    SkipLocked,
}

/// The way in which a column numbers the rows of its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowNumbering {
    /// These words follow the column's type; the table's key stays its primary key.
    Column(&'static str),
    /// These words make the column the primary key. The table's key, which begins with it, needs no
    /// index then.
    PrimaryKey(&'static str),
}

/// The form of placeholders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placeholders {
    /// The mark with the number of the parameter, such as `$1`.
    Numbered(char),
    /// The mark alone, which takes the next parameter.
    InOrder(char),
}

/// A kind of write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteKind {
    /// An insert.
    Insert,
    /// An update.
    Update,
    /// A delete.
    Delete,
}

impl WriteKind {
    /// The words for it in a message.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Insert => "an insert",
            Self::Update => "an update",
            Self::Delete => "a delete",
        }
    }
}

/// The texts that control a transaction and the savepoint of one plan in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionControl {
    /// Begins a transaction that will write.
    pub begin: &'static str,
    /// Makes the transaction durable.
    pub commit: &'static str,
    /// Undoes the transaction.
    pub roll_back: &'static str,
    /// Opens the savepoint.
    pub open_savepoint: &'static str,
    /// Keeps the changes since the savepoint, and removes it.
    pub release_savepoint: &'static str,
    /// Undoes the changes since the savepoint, which stays open.
    pub roll_back_to_savepoint: &'static str,
}

/// The query builder that writes a dialect's statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grammar {
    /// That of Postgres.
    Postgres,
    /// That of SQLite.
    Sqlite,
    /// That of MariaDB.
    MariaDb,
}

/// The way in which the best rows of each of several lists are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListSearch {
    /// A select in `FROM` reads the rows to its left.
    Lateral,
    /// A select in a condition reads them, and has an order and a limit.
    InCondition,
    /// A select of one value reads them, so each row leads to the next.
    RowByRow,
}

/// The dialects with tables and migrations of their own, one for each kind of database.
pub const DIALECTS: [&dyn Dialect; 3] = [&Postgres, &Sqlite, &MariaDb];

/// The questions that a dialect answers.
pub trait Dialect: Send + Sync {
    /// The dialect's name, in snapshots and errors.
    fn name(&self) -> &'static str;

    /// The way in which it applies a plan.
    fn commit_strategy(&self) -> CommitStrategy;

    /// The form of its placeholders.
    fn placeholders(&self) -> Placeholders;

    /// The texts that control a transaction.
    fn transaction_control(&self) -> TransactionControl;

    /// Has an insert leave a row unchanged that has its key already.
    ///
    /// # Errors
    /// `Unsupported` where the database has no such insert.
    fn ignore_existing(
        &self,
        insert: &mut InsertStatement,
        key: &[ColumnRef],
    ) -> Result<(), RenderError>;

    /// Has an insert in a script write nothing, or violate the key, where a row has its key
    /// already.
    ///
    /// # Errors
    /// `Unsupported` where the database has no such insert.
    fn refuse_existing(
        &self,
        insert: &mut InsertStatement,
        key: &[ColumnRef],
    ) -> Result<(), RenderError>;

    /// Has an insert change the row that has its key already: these columns to these values.
    ///
    /// # Errors
    /// `Unsupported` where the database has no such insert.
    fn update_existing(
        &self,
        insert: &mut InsertStatement,
        key: &[ColumnRef],
        set: Vec<(ColumnRef, Expr)>,
    ) -> Result<(), RenderError>;

    /// The value that the insert gave for a column, in a change of the row that has its key.
    fn inserted_value(&self, column: ColumnRef) -> Expr;

    /// True if such a write can return columns of the rows that it wrote.
    fn returns_from(&self, write: WriteKind) -> bool;

    /// The name of a logical type, in DDL and casts.
    fn type_name(&self, ty: ColumnType) -> &'static str;

    /// The types in which an array of such values is bound, and to which its elements are cast.
    ///
    /// # Errors
    /// `Unsupported` where the database has no arrays.
    fn array_type(&self, ty: ColumnType) -> Result<ArrayType, RenderError>;

    /// A placeholder, with its type where the database would otherwise guess.
    fn typed(&self, placeholder: Expr, ty: ColumnType) -> Expr;

    /// A value of one type as a column of another type stores it, such as a UUID as text.
    fn stored_as(&self, value: Expr, from: ColumnType, to: ColumnType) -> Expr;

    /// A NULL of the type.
    fn null(&self, ty: ColumnType) -> Expr;

    /// The text at a key path of a JSON column; NULL if absent.
    fn json_text(&self, column: Expr, keys: &[Name]) -> Expr;

    /// The object with these members replaced.
    fn json_merge(&self, object: Expr, members: Expr) -> Expr;

    /// The object with these members replaced inside the object under `member`.
    fn json_merge_under(&self, object: Expr, member: &Name, members: Expr) -> Expr;

    /// A JSON object of these members: numbers and texts.
    fn json_object(&self, members: Vec<(&Name, Expr)>) -> Expr;

    /// The condition that the object has these members, at every depth.
    fn json_contains(&self, object: Expr, members: Expr) -> Expr;

    /// The concatenation of the texts; NULL if one of them is.
    fn joined(&self, texts: Vec<Expr>) -> Expr;

    /// The condition that `value`, a column of type `ty`, is in `list`, a list of texts.
    fn among(&self, value: Expr, ty: ColumnType, list: Expr) -> Expr;

    /// The condition that every text of `list` is in `by`.
    fn covered(&self, list: Expr, by: Expr) -> Expr;

    /// The condition that every text of `list` is in `by`, or begins with `prefix` and is not in
    /// `but`.
    fn covered_or_open(&self, list: Expr, by: Expr, prefix: Expr, but: Expr) -> Expr;

    /// `list` has no elements, said so that an index that keeps equal lists together finds it.
    fn is_empty_list(&self, list: Expr) -> Expr;

    /// The condition that `list` has a first text and it comes before `bound`, byte by byte.
    fn begins_below(&self, list: Expr, bound: &str) -> Expr;

    /// What an index keeps in place of a list so that equal lists stand together, where it cannot
    /// keep the list itself.
    fn list_key(&self, list: Expr) -> Option<Expr>;

    /// The column that the database keeps for that, where an index holds columns only: its name,
    /// its type and its value.
    fn kept_list_key(&self, _column: ColumnRef) -> Option<(String, &'static str, Expr)> {
        None
    }

    /// A key that no list's key is below.
    fn least_list_key(&self) -> Expr;

    /// A range of keys: the first, and one behind it. Each list with a key in it begins below
    /// `TOKENS_BELOW`, and all lists that begin with a token are in it. `None` where a search list
    /// by list cannot pass over a range.
    fn keys_of_token_lists(&self) -> Option<(Expr, Expr)> {
        None
    }

    /// The way in which the best rows of each of several lists are found.
    fn list_search(&self) -> ListSearch;

    /// A function that yields the elements of `list` as rows with a column `value`. The list is the
    /// text of a JSON array, as bytes.
    fn items(&self, list: Expr) -> FunctionCall;

    /// A member of the current element, selected as `item`, as a column of type `ty` stores it.
    fn item(&self, name: &Name, ty: ColumnType) -> Expr;

    /// True if a look-up by a key that depends on another row needs a fenced select of its own.
    /// Without statistics, a planner that relies on them may read a whole flow or table for a plain
    /// join or condition, and discard all rows but one.
    fn fences_lookups(&self) -> bool;

    /// The condition that the columns, as one tuple, come after the values, said so that an index
    /// over the columns leads there.
    fn comes_after(&self, columns: Vec<Expr>, values: Vec<Expr>) -> Expr;

    /// Locks the rows that the select finds.
    ///
    /// # Errors
    /// `Unsupported` where the database has no row locks and more than one writer at a time.
    fn lock_rows(&self, select: &mut SelectStatement, lock: RowLock) -> Result<(), RenderError>;

    /// The type of a stored column: the type's name, and the bytewise collation of texts where that
    /// is not the default.
    fn column_type(&self, ty: ColumnType) -> &'static str;

    /// The type of a stored column that the primary key or an index holds.
    fn key_type(&self, ty: ColumnType) -> &'static str;

    /// True if `ALTER TABLE` replaces a check, adds a column with any default, and can be repeated.
    /// Otherwise a migration rebuilds the table, and runs in one transaction.
    fn alters_tables(&self) -> bool;

    /// The actions of `ALTER TABLE` that replace the primary key by one of these columns.
    fn primary_key_change(&self, table: &str, columns: &str) -> [String; 2];

    /// The repeatable statement that drops an index.
    fn drop_index(&self, table: &str, index: &str) -> String;

    /// True if the flags of a table are stored, and partial indexes name them. It pays where an
    /// update that changes no column of an index leaves the indexes alone.
    fn stores_flags(&self) -> bool;

    /// True if an index may hold some rows only. Otherwise it begins with the flag of those rows.
    fn has_partial_indexes(&self) -> bool;

    /// The condition that a stored flag is set, said so that an index over it is used.
    fn flag_is_set(&self, flag: Expr) -> Expr;

    /// The storage parameters of a table with rows that are changed soon and often, as the database
    /// writes them; none where it has no such parameters.
    fn busy_storage(&self) -> Option<&'static str>;

    /// The way in which an identity column numbers the rows of its table.
    fn row_numbering(&self) -> RowNumbering;

    /// The words behind the columns of an insert that gives the number of a row itself, where the
    /// database would otherwise refuse that.
    fn given_numbers(&self) -> Option<&'static str>;

    /// The database's clock, in Unix milliseconds.
    fn now_ms(&self) -> Expr;

    /// The number of the current transaction, which is assigned by the call if need be; 0 where
    /// writers take turns.
    fn transaction_id(&self) -> Expr;

    /// The value that an insert gives for the number of an event's transaction. `None` where the
    /// column's default gives it.
    fn event_stamp(&self) -> Option<Expr> {
        None
    }

    /// The quotient of two integers that are not negative, without its fraction.
    fn whole_quotient(&self, value: Expr, divisor: i64) -> Expr;

    /// An empty list, as the text of a column's default.
    fn empty_list(&self) -> &'static str;

    /// Partitions the rows of a new table by the hash of a column.
    ///
    /// # Errors
    /// `Unsupported` where the database has no partitions.
    fn partition_by_hash(
        &self,
        create: &mut TableCreateStatement,
        column: &'static str,
    ) -> Result<(), RenderError>;

    /// The repeatable statements that begin to keep a count, and count the rows that there are.
    /// Each takes effect by itself.
    fn keep_count(&self, count: &CountText) -> Vec<String>;

    /// The grammar that its statements are written in.
    fn grammar(&self) -> Grammar;
}

/// The types of an array parameter and of its elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrayType {
    /// The type of the array parameter.
    pub array: &'static str,
    /// The type that one element is cast to after unnesting, if it differs.
    pub element: Option<&'static str>,
}
