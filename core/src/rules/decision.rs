//! The shape of a decision: rows by name, premises in order of precedence, changes as values.
//!
//! [`Transition`] is what the engine runs, a step at a time. Most operations are a [`Decision`]:
//! they name their rows and the conditions on them, and say what changes when all conditions hold.
//! The step itself is then written once, below. An operation that does not fit (a claim, where the
//! database picks the row; a search that reads page after page) is a `Transition` by itself.

use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::plan::facts::Facts;
use crate::plan::value::Value;
use crate::plan::{List, Plan, Query};
use crate::rules::changes::Changes;
use crate::rules::ctx::Ctx;
use crate::rules::premise::{Premise, lookups, unmet};

/// One operation, as the engine runs it.
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

/// An operation on rows that it can name.
pub trait Decision: Sync {
    /// The answer to the caller.
    type Outcome: Send;

    /// The operation's name, in plans and logs.
    const NAME: &'static str;

    /// The time it happens at: the caller's, where the arguments carry one, else the backend's.
    fn at(&self, ctx: &Ctx<'_>) -> TimestampMs {
        ctx.now
    }

    /// The rows that it relies on and what must hold of them, most important first.
    fn premises(&self, at: TimestampMs) -> Vec<Premise<Self::Outcome>>;

    /// The lists that it reads together with the rows, after that many refused plans.
    fn lists(&self, _refusals: u32) -> Vec<List> {
        Vec::new()
    }

    /// True if it can decide before anything is read, on the expectation that its premises hold.
    /// The guards then check them, in one round trip; only a refused plan reads the rows.
    fn expects(&self) -> bool {
        false
    }

    /// The answer to a call that is known to repeat an earlier one, whatever its premises say.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a stored answer that cannot be read; the refusal of a caller
    /// that may not have the answer.
    fn repeated(
        &self,
        _facts: &Facts,
        _ctx: &Ctx<'_>,
    ) -> Result<Option<Self::Outcome>, EngineError> {
        Ok(None)
    }

    /// Decides, once every premise holds or is expected to: then no row is in `facts`.
    ///
    /// # Errors
    /// A refusal that depends on more than the premises.
    fn decide(&self, facts: &Facts, at: TimestampMs, ctx: &mut Ctx<'_>) -> Decided<Self::Outcome>;
}

/// A verdict, or a refusal.
pub type Decided<O> = Result<Verdict<O>, EngineError>;

/// The verdict of a decision.
pub enum Verdict<O> {
    /// These changes, and then the outcome.
    Change(Changes, Then<O>),
    /// It needs these answers, too.
    AlsoRead(Vec<Query>),
    /// Nothing changes.
    Answer(O),
}

/// Something that a decision rests on.
pub enum Answered<T> {
    /// Every query that it needs is answered.
    Yes(T),
    /// These are not.
    NotYet(Vec<Query>),
}

impl<T> Answered<T> {
    /// Both, once every query of both is answered.
    #[must_use]
    pub fn and<U>(self, other: Answered<U>) -> Answered<(T, U)> {
        match (self, other) {
            (Self::Yes(one), Answered::Yes(other)) => Answered::Yes((one, other)),
            (Self::NotYet(mut queries), Answered::NotYet(more)) => {
                queries.extend(more);
                Answered::NotYet(queries)
            }
            (Self::NotYet(queries), Answered::Yes(_))
            | (Self::Yes(_), Answered::NotYet(queries)) => Answered::NotYet(queries),
        }
    }

    /// The step of a transition that answers with it.
    #[must_use]
    pub fn step(self) -> Step<T> {
        match self {
            Self::Yes(outcome) => Step::Answer(outcome),
            Self::NotYet(queries) => Step::Read(queries),
        }
    }
}

impl<O> Verdict<O> {
    /// The changes, and an outcome that is known beforehand.
    pub fn change(changes: impl Into<Changes>, outcome: O) -> Decided<O> {
        Ok(Self::Change(changes.into(), Then::Answer(outcome)))
    }
}

impl<D: Decision> Transition for D {
    type Outcome = D::Outcome;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<D::Outcome>, EngineError> {
        let at = self.at(ctx);
        let premises = self.premises(at);

        if facts.have_rows() {
            let answer = match self.repeated(facts, ctx)? {
                None => unmet(&premises, facts)?,
                repeated @ Some(_) => repeated,
            };
            if let Some(answer) = answer {
                return Ok(Step::Answer(answer));
            }
        } else if facts.refusals() != 0 || !self.expects() {
            let lists = self.lists(facts.refusals()).into_iter().map(Query::List);
            return Ok(Step::Read(
                [Query::Lookup(lookups(&premises))].into_iter().chain(lists).collect(),
            ));
        }

        Ok(match self.decide(facts, at, ctx)? {
            Verdict::Change(changes, then) => {
                Step::Commit(changes.planned(D::NAME, premises, facts)?, then)
            }
            Verdict::AlsoRead(queries) => Step::Read(queries),
            Verdict::Answer(outcome) => Step::Answer(outcome),
        })
    }
}
