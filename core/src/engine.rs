//! What a backend must do, and the loop that turns its few abilities into every operation.
//!
//! A backend implements [`Executor`]: read rows, commit a plan, tell the time. In return it receives
//! all of [`crate::engine_backend::EngineBackend`] from one implementation (`engine/backend.rs`).
//! Concurrency is optimistic: a transition decides on what it read, the plan's guards say what must
//! still hold, and a refused plan means: read again, decide again. Many callers that change one row take
//! turns within a process, and keep out of each other's way by chance between processes.

mod backend;
pub mod bell;
mod bulk;
mod cascade;
mod frames;
mod memo;
mod passing;
mod patience;
mod patrol;
mod subscribe;
pub mod tail;
mod timers;
mod turns;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::EngineError;
use crate::backend::{BackendTag, PrepareOutcome};
use crate::ctx::{Ctx, Source};
use crate::engine_error::ContentionKind;
use crate::facts::{Answer, Facts};
use crate::partition::PartitionConfig;
use crate::plan::{Plan, Query};
use crate::types::TimestampMs;
use crate::value::Value;

pub use crate::rules::scan::ScanScope;
pub use bell::{Bell, Rings, Topic, Topics};
pub use cascade::dispatch_event;
pub use memo::{Memo, RetryFacts};
pub use patience::pause_after;
pub use patrol::{StopPatrols, patrol};
pub use subscribe::spoiled_pages;
pub use timers::scan_within;

/// One operation, as a pure decision.
pub trait Transition: Sync {
    /// What the caller is told.
    type Outcome: Send;

    /// Decides on what is known so far: asks for more, commits a plan, or answers.
    ///
    /// # Errors
    /// The refusal that the operation's rule names.
    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError>;
}

/// What a transition says next.
pub enum Step<O> {
    /// It needs these answers; it is called again with them.
    Read(Vec<Query>),
    /// It has decided; the outcome follows once the plan has applied.
    Commit(Plan, Then<O>),
    /// It has an answer and changes nothing.
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

/// What became of a plan.
#[derive(Clone, Debug, PartialEq)]
pub enum Commit {
    /// It applied, entirely and durably. One list of returned values per item: exactly one for a
    /// plan on named rows, one per picked row for a selection.
    Applied(Vec<Vec<Value>>),
    /// A guard did not hold, or a refusing insert found its row: nothing changed.
    Refused,
}

/// Who a backend is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The tag in the handles it mints.
    pub tag: BackendTag,
    /// Family name, such as `postgres`.
    pub family: &'static str,
}

/// Which transactions are over, as numbers that grow in the order in which transactions began to
/// write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Horizon {
    /// Every transaction with a lower number is over: it is visible, or will never be.
    pub oldest_open: i64,
    /// At most so many transactions are open at the same time.
    pub most_open: i64,
}

impl Horizon {
    /// Of a database whose writers take turns: whatever is not visible will get a higher number than
    /// all that is.
    pub const ONE_WRITER: Self = Self { oldest_open: 0, most_open: 0 };
}

/// What a backend must do.
#[async_trait]
pub trait Executor: Send + Sync + 'static {
    /// Who it is.
    fn identity(&self) -> Identity;

    /// How many partitions each family of ids has.
    fn partitions(&self) -> PartitionConfig;

    /// Its clock.
    fn now(&self) -> TimestampMs;

    /// Where its fresh ids and jitter come from.
    fn source(&self) -> Box<dyn Source>;

    /// What it remembers of the claims it handed out.
    fn memo(&self) -> &Memo;

    /// Answers the queries, in their order.
    ///
    /// # Errors
    /// `Transport` for anything the database did, `Validation(Corruption)` for a value of a type
    /// that its column cannot have.
    async fn read(&self, queries: Vec<Query>) -> Result<Vec<Answer>, EngineError>;

    /// Applies the plan entirely and durably, or not at all. Afterwards rings the bell for what it
    /// inserted, also when the caller has gone away.
    ///
    /// # Errors
    /// `Transport` for anything the database did; the error says whether the outcome is unknown.
    async fn commit(&self, plan: Plan) -> Result<Commit, EngineError>;

    /// The same for a caller that comes back anyway, and would rather leave a row that someone else
    /// holds than wait for it.
    ///
    /// # Errors
    /// As [`Self::commit`]; `Contention(RetryExhausted)` where a row was held, and nothing changed.
    async fn commit_in_passing(&self, plan: Plan) -> Result<Commit, EngineError> {
        self.commit(plan).await
    }

    /// What its commits ring, and whoever waits for rows listens to.
    fn bell(&self) -> &Bell;

    /// Somebody waits: from now on, and for as long as somebody listens, the bell rings for what other
    /// processes commit too. Called by whoever waits, after beginning to listen and before every wait;
    /// costs nothing when it is so already.
    fn attend(&self);

    /// Returns after this time.
    async fn sleep(&self, time: Duration);

    /// Which transactions are over.
    ///
    /// # Errors
    /// `Transport` when the database cannot be asked.
    async fn horizon(&self) -> Result<Horizon, EngineError>;

    /// A number higher than that of every transaction that has begun to write so far. May use up a
    /// number, so it is asked for only where one is needed; 0 where writers take turns.
    ///
    /// # Errors
    /// `Transport` when the database cannot be asked.
    async fn frontier(&self) -> Result<i64, EngineError>;

    /// The same backend, to keep: what outlives the caller's borrow holds this.
    fn share(&self) -> Arc<dyn Executor>;

    /// Reaches the database and back.
    ///
    /// # Errors
    /// `Transport` when it cannot be reached.
    async fn ping(&self) -> Result<(), EngineError>;

    /// Prepares the database for use: migrations, where the backend applies them itself.
    ///
    /// # Errors
    /// `Transport` when the database refuses.
    async fn prepare(&self) -> Result<PrepareOutcome, EngineError>;

    /// Finishes what is queued and lets go of the database, within `grace`.
    ///
    /// # Errors
    /// `Timeout` when work was still queued after `grace`.
    async fn drain(&self, grace: Duration) -> Result<(), EngineError>;
}

/// Runs one operation to its end. From its second try on it has its turn among the callers of this
/// process that change the same row, and from the third on it pauses before it looks again, for as long
/// as [`pause_after`] says.
///
/// # Errors
/// The rule's refusal; the backend's error; `Contention(RetryExhausted)` when the rows kept changing
/// for longer than an operation is patient.
pub async fn run<E, T>(executor: &E, transition: &T) -> Result<T::Outcome, EngineError>
where
    E: Executor + ?Sized,
    T: Transition + ?Sized,
{
    let (mut facts, mut turn) = (Facts::default(), None);
    loop {
        let (plan, then) = match decide(executor, transition, &facts)? {
            Step::Read(queries) => {
                facts.learn(executor.read(queries).await?);
                continue;
            }
            Step::Answer(outcome) => return Ok(outcome),
            Step::Commit(plan, then) => (plan, then),
        };

        if facts.refusals() != 0
            && turn.is_none()
            && let Some(taken) = executor.memo().turn_of_plan(&plan).await
        {
            turn = Some(taken.turn);
            if taken.waited {
                // What was read has been changed by the caller before.
                facts = Facts::after_refusals(facts.refusals());
                continue;
            }
        }

        let name = plan.name.clone();
        match executor.commit(plan).await? {
            Commit::Applied(rows) => {
                return match then {
                    Then::Answer(outcome) => Ok(outcome),
                    Then::FromRows(read) => read(rows),
                };
            }
            Commit::Refused => facts = Facts::after_refusals(facts.refusals() + 1),
        }

        let pause = pause_after(facts.refusals(), || executor.source().fraction());
        let Some(pause) = pause else {
            tracing::warn!(plan = %name, tries = facts.refusals(), "the rows kept changing");
            return Err(EngineError::Contention(ContentionKind::RetryExhausted));
        };
        if !pause.is_zero() {
            executor.sleep(pause).await;
        }
    }
}

/// What an operation would do now.
#[derive(Clone, Debug, PartialEq)]
pub enum Rehearsed {
    /// It would commit this.
    Plan(Plan),
    /// It would change nothing.
    Answer,
}

/// Decides an operation on the rows as they are, and commits nothing.
///
/// # Errors
/// The rule's refusal; the backend's error.
pub async fn rehearse<E, T>(executor: &E, transition: &T) -> Result<Rehearsed, EngineError>
where
    E: Executor + ?Sized,
    T: Transition + ?Sized,
{
    // As after a refusal: nothing is taken for granted, everything is read.
    let mut facts = Facts::after_refusals(1);
    loop {
        match decide(executor, transition, &facts)? {
            Step::Read(queries) => facts.learn(executor.read(queries).await?),
            Step::Answer(_) => return Ok(Rehearsed::Answer),
            Step::Commit(plan, _) => return Ok(Rehearsed::Plan(plan)),
        }
    }
}

// Not async, so that the random source is gone before anything is awaited.
fn decide<E, T>(
    executor: &E,
    transition: &T,
    facts: &Facts,
) -> Result<Step<T::Outcome>, EngineError>
where
    E: Executor + ?Sized,
    T: Transition + ?Sized,
{
    let mut source = executor.source();
    transition.step(facts, &mut Ctx::new(executor.now(), source.as_mut()))
}
