//! The connection that the author of a script database writes.

use std::borrow::Cow;
use std::future::Future;

use ff_codegen::ScriptStep;
use ff_codegen::dialect::TransactionControl;
use ff_core::EngineError;
use ff_core::plan::value::{ColumnType, Value};

/// A value for one placeholder of a statement.
#[derive(Debug)]
pub struct BoundValue<'a> {
    /// The value, which may be NULL.
    pub value: Cow<'a, Value>,
    /// The type to bind it as; a UUID bound as text is its hyphenated form.
    pub ty: ColumnType,
}

/// The result of one step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepResult {
    /// The rows, each with one value for every column that the statement yields.
    pub rows: Vec<Vec<Value>>,
    /// The number of rows that a write has changed. An insert that met an existing row and left it
    /// unchanged has changed none.
    pub changed: u64,
}

/// The reason that a step has no usable result.
#[derive(Debug)]
pub enum Failure<E> {
    /// The database failed.
    Database(E),
    /// A value cannot be bound, or is not of its column's type. The transaction goes on.
    Value(EngineError),
}

impl<E> From<EngineError> for Failure<E> {
    fn from(error: EngineError) -> Self {
        Failure::Value(error)
    }
}

impl<E: Into<EngineError>> From<Failure<E>> for EngineError {
    fn from(failure: Failure<E>) -> Self {
        match failure {
            Failure::Database(error) => error.into(),
            Failure::Value(error) => error,
        }
    }
}

/// One connection that writes. At most one transaction is open on it, and it alone writes while
/// that transaction is open: the writes rely on what the guards have found.
pub trait ScriptConnection {
    /// A failure of the database.
    type Error;

    /// The texts that begin and end transactions and savepoints: those of the dialect.
    fn transaction_control(&self) -> TransactionControl;

    /// Runs one of the texts of [`Self::transaction_control`] but `roll_back`. Waits, within the
    /// backend's limits, while other connections hold a lock that the text needs.
    fn control(
        &mut self,
        text: &'static str,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Leaves the transaction, if there still is one, without its changes. If the connection is
    /// broken, replaces it by one that can begin the next transaction.
    fn roll_back(&mut self) -> impl Future<Output = ()> + Send;

    /// Runs the statement of a step, with one value for each of its placeholders.
    ///
    /// # Errors
    /// The statement's failure. A statement that the database failed has changed nothing; one with
    /// a result that cannot be read may have changed rows.
    fn run(
        &mut self,
        step: &ScriptStep,
        values: &[BoundValue<'_>],
    ) -> impl Future<Output = Result<StepResult, Failure<Self::Error>>> + Send;

    /// True if the transaction is still open. Some failures make a database roll it back by itself,
    /// and later statements would then commit on their own.
    fn is_in_transaction(&mut self) -> impl Future<Output = bool> + Send;

    /// Fails if the transaction is not the one that began: a database may roll it back and run
    /// later statements in another one, without an error of any. Called behind the last plan,
    /// since refusals, too, hold only for what one transaction has found.
    fn confirm(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send {
        async { Ok(()) }
    }

    /// True if a row with the key of a new one exists already. Such a failure refuses the plan.
    fn is_unique_violation(error: &Self::Error) -> bool;
}
