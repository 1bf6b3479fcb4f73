//! A plan's shape in the form in which its database applies it.

use ff_core::plan::Shape;

use crate::dialect::{CommitStrategy, Dialect};
use crate::fused::fused;
use crate::script::script;
use crate::statement::{Fused, RenderError, Script};

/// A rendered plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rendered {
    /// One statement.
    Fused(Fused),
    /// Several statements in one transaction.
    Script(Script),
}

/// Renders the shape in the form that the dialect asks for.
///
/// # Errors
/// [`RenderError::Audit`] for a shape that breaks a rule every statement must keep,
/// [`RenderError::Unsupported`] for what the dialect cannot express.
pub fn render(dialect: &dyn Dialect, shape: &Shape) -> Result<Rendered, RenderError> {
    match dialect.commit_strategy() {
        CommitStrategy::Fused => fused(dialect, shape).map(Rendered::Fused),
        CommitStrategy::Script => script(dialect, shape).map(Rendered::Script),
    }
}

impl Rendered {
    /// The one statement.
    ///
    /// # Errors
    /// [`RenderError::Unsupported`] for a script.
    pub fn into_fused(self, dialect: &dyn Dialect) -> Result<Fused, RenderError> {
        match self {
            Rendered::Fused(fused) => Ok(fused),
            Rendered::Script(_) => Err(unsupported(dialect, "a plan as one statement")),
        }
    }

    /// The script.
    ///
    /// # Errors
    /// [`RenderError::Unsupported`] for one statement.
    pub fn into_script(self, dialect: &dyn Dialect) -> Result<Script, RenderError> {
        match self {
            Rendered::Script(script) => Ok(script),
            Rendered::Fused(_) => Err(unsupported(dialect, "a plan as a script")),
        }
    }
}

fn unsupported(dialect: &dyn Dialect, what: &str) -> RenderError {
    RenderError::Unsupported { dialect: dialect.name(), what: what.to_owned() }
}
