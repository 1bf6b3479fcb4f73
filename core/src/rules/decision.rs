//! The words of a decision: what an operation says next.

use crate::model::error::EngineError;
use crate::plan::facts::Facts;
use crate::plan::value::Value;
use crate::plan::{Plan, Query};
use crate::rules::ctx::Ctx;

/// One operation, as a pure decision.
pub trait Transition: Sync {
    /// The answer to the caller.
    type Outcome: Send;

    /// Decides on the facts read so far: reads more, commits a plan, or answers.
    ///
    /// # Errors
    /// The refusal that the operation's rule names.
    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError>;
}

/// The next step of a transition.
pub enum Step<O> {
    /// The transition needs these answers, and is called again with them.
    Read(Vec<Query>),
    /// The transition has decided; the outcome follows once the plan has applied.
    Commit(Plan, Then<O>),
    /// The transition answers and changes nothing.
    Answer(O),
}

/// The outcome of an applied plan.
pub enum Then<O> {
    /// Known beforehand.
    Answer(O),
    /// Read from what the plan returned, one list of values per applied item.
    FromRows(FromRows<O>),
}

/// Turns what an applied plan returned into an outcome.
pub type FromRows<O> = Box<dyn FnOnce(Vec<Vec<Value>>) -> Result<O, EngineError> + Send>;
