//! Rendered statements, as the two drivers take them.

use ff_codegen::Statement;
use rusqlite::{CachedStatement, Connection};
use sqlx::{AssertSqlSafe, SqlSafeStr as _, SqlStr};

/// The rendered text, as the driver of a caller's connection takes it.
pub(crate) fn text(statement: &Statement) -> SqlStr {
    AssertSqlSafe(statement.sql.clone()).into_sql_str()
}

/// The rendered statement, prepared once on each connection. The only place that runs such a text:
/// codegen rendered it from a shape, which holds no values.
pub(crate) fn prepared<'a>(
    connection: &'a Connection,
    statement: &Statement,
) -> rusqlite::Result<CachedStatement<'a>> {
    connection.prepare_cached(&statement.sql)
}
