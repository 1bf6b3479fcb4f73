//! Sends a batch as one statement, then retries without the plans that wait for locked rows.
//!
//! A statement waits for a row no longer than the `lock_timeout` of the session. A plan that has to
//! wait longer leaves the batch and its queue: it is sent alone and delays no other plan.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ff_core::EngineError;
use ff_core::engine::{Commit, Random, Topics};
use ff_core::engine_error::ContentionKind;
use ff_core::rules::ctx::Source;
use ff_telemetry::BatchOf;
use sqlx::SqlStr;
use sqlx::postgres::PgRow;

use crate::commit::{CountedTask, HeldRow, ShapeQueue, Waiting};
use crate::error::PostgresError;
use crate::session::Session;
use crate::statements::SizedPlan;

/// The number of retries of a statement that lost a conflict with another transaction.
const MAX_RETRIES: u32 = 5;

/// The number of statements after which a task releases its connection to the tasks of other
/// shapes.
const TURNS_PER_CONNECTION: u32 = 32;

/// The pause before a plan tries again to lock a held row: the first and the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(500)];

/// One task of a queue, from its start until the queue is empty.
pub(crate) struct BatchTask {
    sender: Sender,
    finished: bool,
}

impl Drop for BatchTask {
    fn drop(&mut self) {
        if !self.finished {
            self.sender.queue.give_up();
        }
    }
}

impl BatchTask {
    pub(crate) fn new(task: CountedTask, queue: Arc<ShapeQueue>) -> Self {
        Self { sender: Sender { task, queue }, finished: false }
    }

    pub(crate) async fn run(mut self) {
        let inner = Arc::clone(self.sender.task.inner());
        let mut session = Session::new(inner.connections.clone());
        let mut turns = 0;
        loop {
            let begun = Instant::now();
            // Before taking a batch: plans that arrive while the pool is busy join it.
            if let Err(error) = session.connect().await {
                // Those that arrived later wait for a connection as long as these did.
                self.sender.fail(self.sender.queue.waiting_since(begun), &error);
                self.finished = self.sender.queue.ends_if_empty();
                if self.finished {
                    return;
                }
                continue;
            }

            let Some(batch) = self.sender.queue.next_batch(inner.limits) else {
                self.finished = true;
                return;
            };
            self.apply(&mut session, batch).await;
            turns += 1;
            if turns % TURNS_PER_CONNECTION == 0 {
                session.release();
            }
        }
    }

    /// Sends one statement for the batch. If the server refuses it for whatever reason, sends one
    /// for each plan, so that no plan fails for another.
    async fn apply(&self, session: &mut Session, batch: Vec<Waiting>) {
        ff_telemetry::batch(BatchOf::Statement, batch.len());
        let alone = if batch.len() > 1 { self.together(session, batch).await } else { batch };
        for plan in alone {
            match self.sender.alone(session, &plan).await {
                Alone::Done(outcome) => plan.answer(outcome),
                Alone::Held => self.set_aside(plan),
            }
        }
    }

    /// Sends the batch as one statement. Returns the plans that must be sent alone.
    async fn together(&self, session: &mut Session, batch: Vec<Waiting>) -> Vec<Waiting> {
        let statement = &self.sender.queue.statement;
        match self.sender.send(session, &statement.sql, &sized(&batch)).await {
            Ok(outcomes) => {
                answer_all(batch, outcomes);
                Vec::new()
            }
            Err(Failure::Unsent(_)) => batch,
            Err(Failure::Database(error)) if !error.refused_by_server() => {
                self.sender.fail(batch, &error);
                Vec::new()
            }
            Err(Failure::Database(error)) => {
                let (plan, plans) = (&statement.name, batch.len());
                tracing::debug!(plan, plans, %error, "splitting a refused batch");
                match &statement.beside_locks {
                    Some(sql) if error.waited_for_a_lock() => {
                        self.beside_locks(session, sql, batch).await
                    }
                    Some(_) | None => batch,
                }
            }
        }
    }

    /// Sends the batch again without waiting for locked rows. A plan that does not apply was
    /// refused or its row is held, so it is sent alone.
    async fn beside_locks(
        &self,
        session: &mut Session,
        sql: &SqlStr,
        batch: Vec<Waiting>,
    ) -> Vec<Waiting> {
        let Ok(outcomes) = self.sender.send(session, sql, &sized(&batch)).await else {
            return batch;
        };

        for (plan, outcome) in batch.into_iter().zip(outcomes) {
            match (outcome, plan.held_row) {
                (Ok(Commit::Refused), HeldRow::Await) => self.set_aside(plan),
                (Ok(Commit::Refused), HeldRow::GiveUp) => plan.answer(Err(held())),
                (outcome, _) => plan.answer(outcome),
            }
        }

        Vec::new()
    }

    /// Lets a plan wait for its row alone, outside the queue.
    fn set_aside(&self, plan: Waiting) {
        if plan.held_row == HeldRow::GiveUp {
            return plan.answer(Err(held()));
        }

        let task = CountedTask::begin(self.sender.task.inner());
        let sender = Sender { task, queue: Arc::clone(&self.sender.queue) };
        tokio::spawn(sender.wait_aside(plan));
    }
}

/// Sends statements of one shape.
struct Sender {
    task: CountedTask,
    queue: Arc<ShapeQueue>,
}

/// The reason that a statement has no outcomes.
enum Failure {
    /// The statement was not sent, because a plan cannot be bound.
    Unsent(EngineError),
    /// The database or the connection failed.
    Database(PostgresError),
}

/// The result of a plan that was sent alone.
enum Alone {
    Done(Result<Commit, EngineError>),
    /// Another transaction holds one of its rows; nothing was changed.
    Held,
}

impl Sender {
    /// Retries until the row is free. It holds no connection in between, and only some such plans
    /// hold one at a time.
    async fn wait_aside(self, plan: Waiting) {
        let inner = self.task.inner();
        let [mut pause, longest] = PAUSES;
        loop {
            // Never closed; on an error the plan is sent without a permit.
            let turn = inner.aside.acquire().await;
            let mut session = Session::new(inner.connections.clone());
            if let Alone::Done(outcome) = self.alone(&mut session, &plan).await {
                return plan.answer(outcome);
            }

            drop((session, turn));
            tokio::time::sleep(pause.mul_f64(0.5 + Random.fraction())).await;
            pause = longest.min(pause * 2);
        }
    }

    async fn alone(&self, session: &mut Session, plan: &Waiting) -> Alone {
        let statement = &self.queue.statement;
        for retry in 0..=MAX_RETRIES {
            let sent = self.send(session, &statement.sql, &[(&plan.bindings, plan.size)]).await;
            let error = match sent {
                Ok(outcomes) => {
                    let outcome = outcomes.into_iter().next();
                    return Alone::Done(outcome.unwrap_or(Ok(Commit::Refused)));
                }
                Err(Failure::Unsent(error)) => return Alone::Done(Err(error)),
                Err(Failure::Database(error)) => error,
            };

            if error.is_unique_violation() {
                return Alone::Done(Ok(Commit::Refused));
            }
            if error.waited_for_a_lock() {
                return Alone::Held;
            }
            if !error.lost_a_race() {
                let connections = self.task.inner().limits.connections;
                return Alone::Done(Err(error.into_engine(connections)));
            }

            tracing::debug!(plan = statement.name, retry, %error, "sending again");
            let pause_ms = f64::from(1_u32 << retry) * (0.5 + Random.fraction());
            tokio::time::sleep(Duration::from_secs_f64(pause_ms / 1000.0)).await;
        }
        Alone::Done(Err(EngineError::Contention(ContentionKind::RetryExhausted)))
    }

    /// Sends one statement for these plans and reads the outcome of each.
    async fn send(
        &self,
        session: &mut Session,
        sql: &SqlStr,
        plans: &[SizedPlan<'_>],
    ) -> Result<Vec<Result<Commit, EngineError>>, Failure> {
        let (inner, statement) = (self.task.inner(), &self.queue.statement);
        let mut sent = self.ask(session, sql, plans).await;
        if let Err(Failure::Database(error)) = &sent
            && error.never_ran()
        {
            sent = self.ask(session, sql, plans).await;
        }

        let outcomes = statement.outcomes(plans, &sent?);
        let applied = outcomes.iter().flatten().map(|commit| statement.rings.after(commit));
        inner.notifier.announce(applied.fold(Topics::NONE, Topics::and));
        Ok(outcomes)
    }

    /// Sends the statement once.
    async fn ask(
        &self,
        session: &mut Session,
        sql: &SqlStr,
        plans: &[SizedPlan<'_>],
    ) -> Result<Vec<PgRow>, Failure> {
        let arguments = self.queue.statement.arguments(plans).map_err(Failure::Unsent)?;
        let protocol = self.task.inner().protocol;
        let sent = session.fetch(protocol, sql, arguments, PostgresError::write).await;
        sent.map_err(Failure::Database)
    }

    fn fail(&self, batch: Vec<Waiting>, error: &PostgresError) {
        for plan in batch {
            plan.answer(Err(error.clone().into_engine(self.task.inner().limits.connections)));
        }
    }
}

fn sized(batch: &[Waiting]) -> Vec<SizedPlan<'_>> {
    batch.iter().map(|plan| (&plan.bindings, plan.size)).collect()
}

fn answer_all(batch: Vec<Waiting>, outcomes: Vec<Result<Commit, EngineError>>) {
    for (plan, outcome) in batch.into_iter().zip(outcomes) {
        plan.answer(outcome);
    }
}

/// The error of a plan that does not wait for a held row.
fn held() -> EngineError {
    EngineError::Contention(ContentionKind::RetryExhausted)
}
