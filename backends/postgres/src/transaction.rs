//! The serializable transaction of one plan.

use std::time::{Duration, Instant};

use ff_backend_script::{BoundValue, Failure, ScriptConnection, StepResult};
use ff_codegen::dialect::{Dialect as _, TransactionControl};
use ff_codegen::{PostgresOcc, ScriptStep};
use ff_core::engine::TrafficMeter;
use sqlx::postgres::PgArguments;

use crate::bind;
use crate::connections::Held;
use crate::error::PostgresError;
use crate::session::Protocol;
use crate::statements::generated;

/// The reason that a transaction has not committed.
#[derive(Clone, Debug)]
pub(crate) enum Aborted {
    /// The database failed it.
    By(PostgresError),
    /// A subscriber might have passed over its events already.
    TookTooLong(TookTooLong),
}

/// A plan that did not reach its commit within half of the lag window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the plan wrote for {} ms before its commit; half of the lag window is {} ms", took.as_millis(),
    limit.as_millis()
)]
pub(crate) struct TookTooLong {
    took: Duration,
    limit: Duration,
}

/// One transaction, which applies one plan.
pub(crate) struct PlanTransaction<'a> {
    // Invariant: present until this value is dropped.
    connection: Option<Held>,
    protocol: Protocol,
    window: Duration,
    traffic: &'a TrafficMeter,
    /// The time of its first write. No event of it was numbered before.
    writes_since: Option<Instant>,
    state: State,
}

/// The state of the transaction on the server, as far as its answers tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// There is none.
    Over,
    /// It is open.
    Open,
    /// A statement failed, and the server runs no other before the transaction is left.
    Failed,
    /// The session ended.
    Lost,
}

impl<'a> PlanTransaction<'a> {
    /// On this connection, which is not inside a transaction.
    pub(crate) fn new(
        connection: Held,
        protocol: Protocol,
        window: Duration,
        traffic: &'a TrafficMeter,
    ) -> Self {
        let (writes_since, state) = (None, State::Over);
        Self { connection: Some(connection), protocol, window, traffic, writes_since, state }
    }

    /// Fails if a commit, which takes time as well, might end after the lag window.
    fn check_time(&self) -> Result<(), Aborted> {
        let took = self.writes_since.map_or(Duration::ZERO, |since| since.elapsed());
        let limit = self.window / 2;
        if took <= limit { Ok(()) } else { Err(Aborted::TookTooLong(TookTooLong { took, limit })) }
    }

    /// The connection, unless it may be inside a transaction.
    pub(crate) fn end(mut self) -> Option<Held> {
        if self.state == State::Over { self.connection.take() } else { None }
    }

    /// True if the session ended.
    pub(crate) fn lost_its_session(&self) -> bool {
        self.state == State::Lost
    }

    /// The connection, and a note that a statement is sent.
    fn sending(&mut self) -> Result<&mut Held, Aborted> {
        self.traffic.sent(1);
        let gone = || Aborted::By(PostgresError::read(sqlx::Error::PoolClosed));
        self.connection.as_mut().ok_or_else(gone)
    }

    /// Notes what the failure of a statement did to the transaction.
    fn failed(&mut self, error: PostgresError) -> Aborted {
        self.state = if error.ends_session() { State::Lost } else { State::Failed };
        Aborted::By(error)
    }

    async fn send(&mut self, text: &'static str) -> Result<(), sqlx::Error> {
        let Ok(connection) = self.sending() else { return Err(sqlx::Error::PoolClosed) };
        sqlx::raw_sql(text).execute(&mut **connection).await.map(drop)
    }
}

impl Drop for PlanTransaction<'_> {
    fn drop(&mut self) {
        // Nothing may run on a connection inside a transaction of which the end is not known.
        if self.state != State::Over
            && let Some(connection) = self.connection.take()
        {
            connection.discard();
        }
    }
}

impl ScriptConnection for PlanTransaction<'_> {
    type Error = Aborted;

    fn transaction_control(&self) -> TransactionControl {
        PostgresOcc.transaction_control()
    }

    async fn control(&mut self, text: &'static str) -> Result<(), Aborted> {
        let control = self.transaction_control();
        if text == control.commit {
            self.check_time()?;
            let done = self.send(text).await.map_err(PostgresError::write);
            done.map_err(|error| self.failed(error))?;
            self.state = State::Over;
            return Ok(());
        }

        if text == control.begin {
            (self.writes_since, self.state) = (None, State::Open);
        }
        let done = self.send(text).await.map_err(PostgresError::read);
        done.map_err(|error| self.failed(error))
    }

    async fn roll_back(&mut self) {
        if matches!(self.state, State::Over | State::Lost) {
            return;
        }
        let done = self.send(self.transaction_control().roll_back).await;
        self.state = if done.is_ok() { State::Over } else { State::Lost };
    }

    async fn run(
        &mut self,
        step: &ScriptStep,
        values: &[BoundValue<'_>],
    ) -> Result<StepResult, Failure<Aborted>> {
        // Only the question why a plan was refused comes after a failure. It needs no more than a
        // snapshot, so it is asked in another transaction.
        if self.state == State::Failed {
            self.roll_back().await;
            self.control(self.transaction_control().begin).await.map_err(Failure::Database)?;
        }

        let is_write = matches!(step, ScriptStep::Write { .. });
        if is_write {
            self.writes_since.get_or_insert_with(Instant::now);
        }

        let mut arguments = PgArguments::default();
        for bound in values {
            bind::add(&mut arguments, &bound.value, bound.ty)?;
        }
        let statement = step.statement();
        let query = sqlx::query_with(generated(statement.sql.clone()), arguments);
        let query = query.persistent(self.protocol == Protocol::Named);

        let connection = self.sending().map_err(Failure::Database)?;
        if is_write && statement.yields.is_empty() {
            let done = query.execute(&mut **connection).await.map_err(PostgresError::read);
            let done = done.map_err(|error| Failure::Database(self.failed(error)))?;
            return Ok(StepResult { rows: Vec::new(), changed: done.rows_affected() });
        }

        let found = query.fetch_all(&mut **connection).await.map_err(PostgresError::read);
        let found = found.map_err(|error| Failure::Database(self.failed(error)))?;
        let columns = || statement.yields.iter().copied().enumerate();
        let row = |row| columns().map(|(index, ty)| bind::decode(row, index, ty)).collect();
        let rows = found.iter().map(row).collect::<Result<_, _>>()?;
        Ok(StepResult { rows, changed: 0 })
    }

    async fn is_in_transaction(&mut self) -> bool {
        self.state == State::Open
    }

    fn is_unique_violation(aborted: &Aborted) -> bool {
        match aborted {
            Aborted::By(error) => error.is_unique_violation(),
            Aborted::TookTooLong(_) => false,
        }
    }
}
