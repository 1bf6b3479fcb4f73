//! The [`Executor`] that a backend implements, and the loop that runs every operation on it.
//!
//! A backend reads rows, commits plans and has a clock. In return it receives all of
//! [`crate::engine_backend::EngineBackend`] from one implementation (`engine/backend.rs`).
//! Concurrency is optimistic: a transition decides on the rows that it read, and its plan guards
//! what must still hold at commit. A refused plan is decided again on rows that are read again.
//! Callers of one process that change the same row take turns; those of different processes back
//! off at random.

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

/// The result of committing a plan.
#[derive(Clone, Debug, PartialEq)]
pub enum Commit {
    /// The plan applied, entirely and durably. One list of returned values per item: exactly one
    /// for a plan on named rows, one per picked row for a selection.
    Applied(Vec<Vec<Value>>),
    /// A guard did not hold, or a refusing insert found its row: nothing changed.
    Refused,
}

/// The name of a backend, in handles and in answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The tag in the handles that the backend mints.
    pub tag: BackendTag,
    /// Family name, such as `postgres`.
    pub family: &'static str,
}

/// The transactions that are over, as a bound on their numbers. Numbers grow in the order in which
/// transactions began to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Horizon {
    /// Every transaction with a lower number has committed or rolled back.
    pub oldest_open: i64,
    /// The most transactions that can be open at the same time.
    pub most_open: i64,
}

impl Horizon {
    /// The horizon of a database with one writer at a time: a row that is not visible yet will get
    /// a higher number than every visible one.
    pub const ONE_WRITER: Self = Self { oldest_open: 0, most_open: 0 };
}

/// The abilities of a backend.
#[async_trait]
pub trait Executor: Send + Sync + 'static {
    /// Its tag and its family name.
    fn identity(&self) -> Identity;

    /// The number of partitions of each family of ids.
    fn partitions(&self) -> PartitionConfig;

    /// The time by its clock.
    fn now(&self) -> TimestampMs;

    /// A source of fresh ids and jitter.
    fn source(&self) -> Box<dyn Source>;

    /// Its memory of the claims it handed out.
    fn memo(&self) -> &Memo;

    /// Answers the queries, in their order.
    ///
    /// # Errors
    /// `Transport` for a failure of the database, `Validation(Corruption)` for a value of a type
    /// that its column cannot have.
    async fn read(&self, queries: Vec<Query>) -> Result<Vec<Answer>, EngineError>;

    /// Applies the plan entirely and durably, or not at all. Afterwards rings the bell for what it
    /// inserted, also if the caller has stopped waiting.
    ///
    /// # Errors
    /// `Transport` for a failure of the database; its source tells whether the outcome is unknown.
    async fn commit(&self, plan: Plan) -> Result<Commit, EngineError>;

    /// Commits, but gives up if another transaction keeps a row locked. For a scan, which finds the
    /// row again.
    ///
    /// # Errors
    /// As [`Self::commit`]; `Contention(RetryExhausted)` where a row was held, and nothing changed.
    async fn commit_in_passing(&self, plan: Plan) -> Result<Commit, EngineError> {
        self.commit(plan).await
    }

    /// The bell that its commits ring and that subscribers listen to.
    fn bell(&self) -> &Bell;

    /// Begins to ring the bell for commits of other processes too, for as long as there are
    /// listeners. A subscriber calls it after beginning to listen and before every wait; repeats
    /// cost nothing.
    fn attend(&self);

    /// Completes after this time.
    async fn sleep(&self, time: Duration);

    /// The transactions that are over.
    ///
    /// # Errors
    /// `Transport` when the database cannot be reached.
    async fn horizon(&self) -> Result<Horizon, EngineError>;

    /// A number higher than that of every transaction that has begun to write so far; 0 where
    /// writers take turns. It may consume a number, so it is called only where one is needed.
    ///
    /// # Errors
    /// `Transport` when the database cannot be reached.
    async fn frontier(&self) -> Result<i64, EngineError>;

    /// The same backend as an owned value, for tasks and streams that outlive the caller's borrow.
    fn share(&self) -> Arc<dyn Executor>;

    /// Makes a round trip to the database.
    ///
    /// # Errors
    /// `Transport` when it cannot be reached.
    async fn ping(&self) -> Result<(), EngineError>;

    /// Prepares the database for use: applies migrations, where the backend does so itself.
    ///
    /// # Errors
    /// `Transport` when the database refuses.
    async fn prepare(&self) -> Result<PrepareOutcome, EngineError>;

    /// Finishes queued work and closes the connections, within `grace`.
    ///
    /// # Errors
    /// `Timeout` when work was still queued after `grace`.
    async fn drain(&self, grace: Duration) -> Result<(), EngineError>;
}

/// Runs one operation to its end. The second try waits for its turn among the callers of this
/// process that change the same row. From the third try on it also pauses before reading again, for
/// as long as [`pause_after`] says.
///
/// # Errors
/// The rule's refusal; the backend's error; `Contention(RetryExhausted)` when the rows kept
/// changing until the pauses were used up.
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

        // Only after a refusal: most plans meet no other caller, and waiting would delay them.
        if facts.refusals() != 0
            && turn.is_none()
            && let Some(taken) = executor.memo().turn_of_plan(&plan).await
        {
            turn = Some(taken.turn);
            if taken.waited {
                // The caller before has changed the rows that were read.
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

/// The decision of an operation that is not carried out.
#[derive(Clone, Debug, PartialEq)]
pub enum Rehearsed {
    /// It would commit this plan.
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
    // As after a refusal: no premise is taken for granted, every row is read.
    let mut facts = Facts::after_refusals(1);
    loop {
        match decide(executor, transition, &facts)? {
            Step::Read(queries) => facts.learn(executor.read(queries).await?),
            Step::Answer(_) => return Ok(Rehearsed::Answer),
            Step::Commit(plan, _) => return Ok(Rehearsed::Plan(plan)),
        }
    }
}

// Not async, so that the random source is dropped before the next await.
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
