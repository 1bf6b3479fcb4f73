//! Rendered statements, each shape once.

use std::sync::Arc;

use ff_codegen::{Bind, ByShape, ScriptRuns, Sqlite};
use ff_core::engine::Rings;
use ff_core::plan::{Query, QueryShape, Shape};
use sqlx::AssertSqlSafe;
use sqlx::sqlite::SqliteArguments;

use crate::error::SqliteError;

/// The rendered statements so far.
#[derive(Default)]
pub(crate) struct Statements {
    plans: ByShape<Shape, PlanScript>,
    queries: ByShape<QueryShape, Read>,
}

/// A rendered plan.
pub(crate) struct PlanScript {
    pub(crate) runs: ScriptRuns,
    /// The topics to ring once it is durable.
    pub(crate) rings: Rings,
}

/// A rendered query.
pub(crate) struct Read {
    pub(crate) sql: Arc<str>,
    pub(crate) binds: Vec<Bind>,
    /// The query, for the columns of its rows.
    pub(crate) query: Query,
}

impl Statements {
    /// The texts of a plan.
    pub(crate) fn plan(&self, shape: Shape) -> Result<Arc<PlanScript>, SqliteError> {
        self.plans.find(shape, |shape| {
            let rendered = ff_codegen::render(&Sqlite, shape);
            let runs = rendered.and_then(|rendered| rendered.into_script(&Sqlite));
            let runs = runs.map_err(SqliteError::permanent)?;
            Ok(PlanScript { runs, rings: Rings::of(shape.plan()) })
        })
    }

    /// The text of a query.
    pub(crate) fn query(&self, shape: QueryShape) -> Result<Arc<Read>, SqliteError> {
        self.queries.find(shape, |shape| {
            let statement = ff_codegen::query(&Sqlite, shape).map_err(SqliteError::permanent)?;
            let (sql, binds) = (statement.sql.into(), statement.binds);
            Ok(Read { sql, binds, query: shape.query().clone() })
        })
    }
}

/// The only place that vouches for a text. Every text was rendered by codegen from a shape, which
/// holds no values.
pub(crate) fn statement(
    sql: &Arc<str>,
    arguments: SqliteArguments,
) -> sqlx::query::Query<'static, sqlx::Sqlite, SqliteArguments> {
    sqlx::query_with(AssertSqlSafe(Arc::clone(sql)), arguments)
}
