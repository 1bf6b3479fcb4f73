//! What differs between databases, as questions.
//!
//! To add a database, write one file that answers them. There are no defaults to forget: every
//! answer is given or does not compile, and "cannot" is a [`RenderError`], never a dropped clause.

mod postgres;
mod sqlite;

use ff_core::plan::Name;
use ff_core::value::ColumnType;
use sea_query::{Expr, FunctionCall, SelectStatement, TableCreateStatement};

pub use postgres::Postgres;
pub use sqlite::Sqlite;

use crate::statement::RenderError;
use crate::writer::Tree;

/// What statements call the element of a list.
pub(crate) const ITEM: &str = "item";

/// How a dialect applies a plan atomically.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitStrategy {
    /// One data-modifying statement: one round trip, whole batches at once.
    Fused,
    /// Several statements inside one transaction.
    Script,
}

/// How a row stays as it is until the plan is through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowLock {
    /// Wait for whoever holds the row.
    Wait,
    /// Leave out rows that someone else holds.
    SkipLocked,
}

/// How a table's column numbers its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// By these words after the column's type; the table's key stays its primary key.
    Column(&'static str),
    /// By these words, which make it the primary key; the table's key becomes a unique index.
    PrimaryKey(&'static str),
}

/// The questions.
pub trait Dialect: Send + Sync {
    /// Its name, in snapshots and errors.
    fn name(&self) -> &'static str;

    /// How it applies a plan.
    fn commit_strategy(&self) -> CommitStrategy;

    /// Its name for a logical type, in DDL and casts.
    fn type_name(&self, ty: ColumnType) -> &'static str;

    /// Its name for the type that an array of such values is sent as and that one element of such an
    /// array is then cast to, where the two differ.
    ///
    /// # Errors
    /// Where the database has no arrays.
    fn array_type(&self, ty: ColumnType) -> Result<ArrayType, RenderError>;

    /// A placeholder, told its type where the database would otherwise guess.
    fn typed(&self, placeholder: Expr, ty: ColumnType) -> Expr;

    /// A value of one type as a column of another stores it: a UUID into text.
    fn stored_as(&self, value: Expr, from: ColumnType, to: ColumnType) -> Expr;

    /// A NULL of the type.
    fn null(&self, ty: ColumnType) -> Expr;

    /// The text behind a key path in a JSON column; NULL when absent.
    fn json_text(&self, column: Expr, keys: &[Name]) -> Expr;

    /// The object with these members replaced.
    fn json_merge(&self, object: Expr, members: Expr) -> Expr;

    /// The object with these members replaced inside the object under `member`.
    fn json_merge_under(&self, object: Expr, member: &Name, members: Expr) -> Expr;

    /// A JSON object of these members: numbers and texts.
    fn json_object(&self, members: Vec<(&Name, Expr)>) -> Expr;

    /// The object has these members, at every depth.
    fn json_contains(&self, object: Expr, members: Expr) -> Expr;

    /// The texts one after the other; NULL if one of them is.
    fn joined(&self, texts: Vec<Expr>) -> Expr;

    /// `value`, a column of type `ty`, is in `list`, a list of texts.
    fn among(&self, value: Expr, ty: ColumnType, list: Expr) -> Expr;

    /// Every text of `list` is in `by`.
    fn covered(&self, list: Expr, by: Expr) -> Expr;

    /// `list` has no elements, said so that an index that keeps equal lists together finds it.
    fn is_empty_list(&self, list: Expr) -> Expr;

    /// What an index keeps in place of a list so that equal lists stand together, where it cannot
    /// keep the list itself.
    fn list_key(&self, list: Expr) -> Option<Expr>;

    /// A key that no list's key is below.
    fn least_list_key(&self) -> Expr;

    /// Whether a select in `FROM` may read the rows to its left.
    fn has_lateral(&self) -> bool;

    /// The elements of `list`, the text of a JSON array as bytes: a function to select from, whose
    /// column is called `value`.
    fn items(&self, list: Expr) -> FunctionCall;

    /// A member of the element that is selected as `item`, as a column of type `ty` stores it.
    fn item(&self, name: &Name, ty: ColumnType) -> Expr;

    /// Whether a row whose key depends on another row is looked up by a fenced `LATERAL` select of
    /// its own. Where the planner goes by statistics, a plain join without any may read a whole flow
    /// and throw away all rows but one.
    fn fences_lookups(&self) -> bool;

    /// Locks what the select finds.
    ///
    /// # Errors
    /// Where the database cannot and its writers are not one at a time either.
    fn lock_rows(&self, select: &mut SelectStatement, lock: RowLock) -> Result<(), RenderError>;

    /// Its type for a stored column: the type's name, and the bytewise order of texts where it is
    /// not the only one.
    fn column_type(&self, ty: ColumnType) -> &'static str;

    /// How a column numbers the rows of its table.
    fn identity(&self) -> Identity;

    /// The database's clock, Unix milliseconds.
    fn now_ms(&self) -> Expr;

    /// The number of the current transaction, which has one from then on; 0 where transactions take
    /// turns.
    fn transaction_id(&self) -> Expr;

    /// An empty list, as the text of a column's default.
    fn empty_list(&self) -> &'static str;

    /// Spreads a new table's rows over partitions by the hash of a column.
    ///
    /// # Errors
    /// Where the database has no partitions.
    fn partition_by_hash(
        &self,
        create: &mut TableCreateStatement,
        column: &'static str,
    ) -> Result<(), RenderError>;

    /// The text of a statement tree.
    #[doc(hidden)]
    fn text(&self, tree: &TreeRef<'_>) -> String;
}

/// A statement tree on its way to text; opaque outside this crate.
pub struct TreeRef<'a>(pub(crate) &'a Tree);

/// How an array of values travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrayType {
    /// The type of the array parameter.
    pub array: &'static str,
    /// What one element is cast to after unnesting, unless it already is.
    pub element: Option<&'static str>,
}

pub(crate) fn text(dialect: &dyn Dialect, tree: &Tree) -> String {
    dialect.text(&TreeRef(tree))
}
