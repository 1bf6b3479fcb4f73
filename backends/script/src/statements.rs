//! Rendered statements, each shape once.

use std::sync::Arc;

use ff_codegen::dialect::Dialect;
use ff_codegen::{BindSource, ByShape, RenderError, Script, Statement};
use ff_core::engine::Rings;
use ff_core::plan::value::Value;
use ff_core::plan::{Bindings, Plan, Query, QueryShape, Shape};

/// The rendered statements so far.
pub struct Statements<D> {
    dialect: D,
    plans: ByShape<Shape, PlanScript>,
    queries: ByShape<QueryShape, Read>,
}

/// A rendered plan.
pub struct PlanScript {
    /// Its statements.
    pub script: Script,
    /// The topics to ring once it is durable.
    pub rings: Rings,
}

/// A rendered query.
pub struct Read {
    /// Its only statement.
    pub statement: Statement,
    /// The query, for the columns of its rows.
    pub query: Query,
}

/// A query and its values.
pub type BoundQuery = (Arc<Read>, Bindings);

impl<D: Dialect> Statements<D> {
    /// None yet.
    #[must_use]
    pub fn new(dialect: D) -> Self {
        Self { dialect, plans: ByShape::default(), queries: ByShape::default() }
    }

    /// The statements of a plan, and its values.
    ///
    /// # Errors
    /// Those of [`ff_codegen::render()`].
    pub fn plan(&self, plan: Plan) -> Result<(Arc<PlanScript>, Bindings), RenderError> {
        let (shape, bindings) = plan.into_shape();
        let rendered = self.plans.find(shape, |shape| {
            let script = ff_codegen::render(&self.dialect, shape)?.into_script(&self.dialect)?;
            Ok(PlanScript { script, rings: Rings::of(shape.plan()) })
        });
        Ok((rendered?, bindings))
    }

    /// The statement of each query, and its values.
    ///
    /// # Errors
    /// Those of [`ff_codegen::query()`].
    pub fn queries(&self, queries: Vec<Query>) -> Result<Vec<BoundQuery>, RenderError> {
        queries.into_iter().map(|query| self.query(query)).collect()
    }

    fn query(&self, query: Query) -> Result<BoundQuery, RenderError> {
        let (shape, bindings) = query.into_shape();
        let rendered = self.queries.find(shape, |shape| {
            let statement = ff_codegen::query(&self.dialect, shape)?;
            Ok(Read { statement, query: shape.query().clone() })
        });
        Ok((rendered?, bindings))
    }
}

/// The value that a query binds.
#[must_use]
pub fn bound<'b>(source: &BindSource, bindings: &'b Bindings) -> &'b Value {
    match source {
        BindSource::Slot(slot) => bindings.value(*slot, 0),
        // A query is one statement, so nothing was found before it.
        BindSource::Held(..) | BindSource::PickedCount | BindSource::PickedSum(_) => &Value::Null,
    }
}
