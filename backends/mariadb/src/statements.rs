//! Rendered statements, each shape once.

use std::sync::Arc;

use ff_codegen::{ByShape, MariaDb, Script, Statement};
use ff_core::engine::Rings;
use ff_core::plan::{Query, QueryShape, Shape};
use sqlx::{AssertSqlSafe, SqlSafeStr as _, SqlStr};

use crate::error::MariaDbError;

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
    pub(crate) fn plan(&self, shape: Shape) -> Result<Arc<PlanScript>, MariaDbError> {
        self.plans.find(shape, |shape| {
            let rendered = ff_codegen::render(&MariaDb, shape);
            let script = rendered.and_then(|rendered| rendered.into_script(&MariaDb));
            let script = script.map_err(MariaDbError::permanent)?;
            Ok(PlanScript { script, rings: Rings::of(shape.plan()) })
        })
    }

    /// The text of a query.
    pub(crate) fn query(&self, shape: QueryShape) -> Result<Arc<Read>, MariaDbError> {
        self.queries.find(shape, |shape| {
            let statement = ff_codegen::query(&MariaDb, shape).map_err(MariaDbError::permanent)?;
            Ok(Read { statement, query: shape.query().clone() })
        })
    }
}

/// A rendered text: codegen made it from a shape, which holds no values.
pub(crate) fn text(sql: &str) -> SqlStr {
    AssertSqlSafe(sql.to_owned()).into_sql_str()
}
