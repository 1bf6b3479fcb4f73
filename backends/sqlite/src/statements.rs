//! Rendered statements, each shape once.

use std::sync::Arc;

use ff_codegen::{ByShape, Script, Sqlite, Statement};
use ff_core::engine::Rings;
use ff_core::plan::{Query, QueryShape, Shape};
use rusqlite::{CachedStatement, Connection};
use sqlx::{AssertSqlSafe, SqlSafeStr as _, SqlStr};

use crate::error::SqliteError;

/// The rendered statements so far.
#[derive(Default)]
pub(crate) struct Statements {
    plans: ByShape<Shape, PlanScript>,
    queries: ByShape<QueryShape, Read>,
}

/// A rendered plan.
pub(crate) struct PlanScript {
    pub(crate) script: Script,
    /// The topics to ring once it is durable.
    pub(crate) rings: Rings,
}

/// A rendered query.
pub(crate) struct Read {
    pub(crate) statement: Statement,
    /// The query, for the columns of its rows.
    pub(crate) query: Query,
}

impl Statements {
    /// The texts of a plan.
    pub(crate) fn plan(&self, shape: Shape) -> Result<Arc<PlanScript>, SqliteError> {
        self.plans.find(shape, |shape| {
            let rendered = ff_codegen::render(&Sqlite, shape);
            let script = rendered.and_then(|rendered| rendered.into_script(&Sqlite));
            let script = script.map_err(SqliteError::permanent)?;
            Ok(PlanScript { script, rings: Rings::of(shape.plan()) })
        })
    }

    /// The text of a query.
    pub(crate) fn query(&self, shape: QueryShape) -> Result<Arc<Read>, SqliteError> {
        self.queries.find(shape, |shape| {
            let statement = ff_codegen::query(&Sqlite, shape).map_err(SqliteError::permanent)?;
            Ok(Read { statement, query: shape.query().clone() })
        })
    }
}

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
