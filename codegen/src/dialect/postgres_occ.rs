//! Databases that speak to clients of Postgres and detect conflicts when a transaction commits:
//! YugabyteDB, CockroachDB, Aurora DSQL.
//!
//! The answers of Postgres, but for five. A plan is a script in a serializable transaction, because
//! such databases run no statement that writes a table twice. A claim locks nothing that it picks:
//! of two claims that pick one row, the database aborts one. An event is numbered by the time of
//! its insert, because no session can read which transactions are over.

use ff_core::plan::Name;
use ff_core::plan::value::ColumnType;
use ff_core::schema::ColumnRef;
use sea_query::{
    Expr, FunctionCall, InsertStatement, LockType, SelectStatement, TableCreateStatement,
};

use super::{
    ArrayType, CommitStrategy, Dialect, Grammar, ListSearch, Placeholders, Postgres, RowLock,
    RowNumbering, TransactionControl, WriteKind,
};
use crate::ddl::CountText;
use crate::statement::RenderError;

/// Postgres without `SKIP LOCKED`, without transaction numbers, and with every plan as a script.
#[derive(Clone, Copy, Debug)]
pub struct PostgresOcc;

/// Answers these questions as Postgres does.
macro_rules! as_postgres {
    ($(fn $question:ident(&self $(, $argument:ident: $ty:ty)*) -> $answer:ty;)+) => {$(
        fn $question(&self $(, $argument: $ty)*) -> $answer {
            Postgres.$question($($argument),*)
        }
    )+};
}

impl Dialect for PostgresOcc {
    fn name(&self) -> &'static str {
        "postgres-occ"
    }

    fn commit_strategy(&self) -> CommitStrategy {
        CommitStrategy::Script
    }

    fn transaction_control(&self) -> TransactionControl {
        // Said each time: the session's default may have been dropped by a pooler.
        let begin = "BEGIN ISOLATION LEVEL SERIALIZABLE";
        TransactionControl { begin, ..Postgres.transaction_control() }
    }

    fn lock_rows(&self, select: &mut SelectStatement, lock: RowLock) -> Result<(), RenderError> {
        match lock {
            // Guarded rows that the plan does not change: without the lock, snapshot isolation
            // would let another transaction change them.
            RowLock::Wait => select.lock(LockType::Update),
            // Picked rows are changed, and of two transactions that change a row one is aborted.
            RowLock::SkipLocked => select,
        };

        Ok(())
    }

    fn event_stamp(&self) -> Option<Expr> {
        Some(self.now_ms())
    }

    as_postgres! {
        fn placeholders(&self) -> Placeholders;
        fn ignore_existing(
            &self, insert: &mut InsertStatement, key: &[ColumnRef]
        ) -> Result<(), RenderError>;
        fn refuse_existing(
            &self, insert: &mut InsertStatement, key: &[ColumnRef]
        ) -> Result<(), RenderError>;
        fn update_existing(
            &self, insert: &mut InsertStatement, key: &[ColumnRef], set: Vec<(ColumnRef, Expr)>
        ) -> Result<(), RenderError>;
        fn inserted_value(&self, column: ColumnRef) -> Expr;
        fn returns_from(&self, write: WriteKind) -> bool;
        fn type_name(&self, ty: ColumnType) -> &'static str;
        fn array_type(&self, ty: ColumnType) -> Result<ArrayType, RenderError>;
        fn typed(&self, placeholder: Expr, ty: ColumnType) -> Expr;
        fn stored_as(&self, value: Expr, from: ColumnType, to: ColumnType) -> Expr;
        fn null(&self, ty: ColumnType) -> Expr;
        fn json_text(&self, column: Expr, keys: &[Name]) -> Expr;
        fn json_merge(&self, object: Expr, members: Expr) -> Expr;
        fn json_merge_under(&self, object: Expr, member: &Name, members: Expr) -> Expr;
        fn json_object(&self, members: Vec<(&Name, Expr)>) -> Expr;
        fn json_contains(&self, object: Expr, members: Expr) -> Expr;
        fn joined(&self, texts: Vec<Expr>) -> Expr;
        fn among(&self, value: Expr, ty: ColumnType, list: Expr) -> Expr;
        fn covered(&self, list: Expr, by: Expr) -> Expr;
        fn covered_or_open(&self, list: Expr, by: Expr, prefix: Expr, but: Expr) -> Expr;
        fn is_empty_list(&self, list: Expr) -> Expr;
        fn begins_below(&self, list: Expr, bound: &str) -> Expr;
        fn list_key(&self, list: Expr) -> Option<Expr>;
        fn least_list_key(&self) -> Expr;
        fn keys_of_token_lists(&self) -> Option<(Expr, Expr)>;
        fn list_search(&self) -> ListSearch;
        fn items(&self, list: Expr) -> FunctionCall;
        fn item(&self, name: &Name, ty: ColumnType) -> Expr;
        fn fences_lookups(&self) -> bool;
        fn comes_after(&self, columns: Vec<Expr>, values: Vec<Expr>) -> Expr;
        fn column_type(&self, ty: ColumnType) -> &'static str;
        fn key_type(&self, ty: ColumnType) -> &'static str;
        fn alters_tables(&self) -> bool;
        fn primary_key_change(&self, table: &str, columns: &str) -> [String; 2];
        fn drop_index(&self, table: &str, index: &str) -> String;
        fn stores_flags(&self) -> bool;
        fn has_partial_indexes(&self) -> bool;
        fn flag_is_set(&self, flag: Expr) -> Expr;
        fn busy_storage(&self) -> Option<&'static str>;
        fn row_numbering(&self) -> RowNumbering;
        fn given_numbers(&self) -> Option<&'static str>;
        fn now_ms(&self) -> Expr;
        fn transaction_id(&self) -> Expr;
        fn whole_quotient(&self, value: Expr, divisor: i64) -> Expr;
        fn empty_list(&self) -> &'static str;
        fn partition_by_hash(
            &self, create: &mut TableCreateStatement, column: &'static str
        ) -> Result<(), RenderError>;
        fn keep_count(&self, count: &CountText) -> Vec<String>;
        fn grammar(&self) -> Grammar;
    }
}
