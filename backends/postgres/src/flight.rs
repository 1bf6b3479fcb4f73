//! A batch on its way: sent together, then without those whose rows others hold, and those alone.
//!
//! A statement waits for a row no longer than `lock_timeout`, which sessions ask for. A plan whose row
//! is held for longer leaves the batch and the lane: it goes on by itself, and holds up no other.

use std::sync::Arc;
use std::time::Duration;

use ff_core::EngineError;
use ff_core::ctx::Source;
use ff_core::engine::{Commit, Topics};
use ff_core::engine_error::ContentionKind;
use sqlx::SqlStr;
use sqlx::postgres::PgRow;

use crate::commit::{Lane, Patience, Task, Waiting};
use crate::error::PostgresError;
use crate::random::Random;
use crate::session::{Session, fetch};
use crate::statements::SizedPlan;

/// How often a statement that lost to another transaction is sent again.
const MAX_RETRIES: u32 = 5;

/// How many statements a task sends before it lets other lanes have its connection.
const TURNS_PER_CONNECTION: u32 = 32;

/// How long a plan pauses before it tries again to lock a held row: at first, and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(500)];

/// One task of a lane, from its start until nothing waits.
pub(crate) struct Flight {
    sender: Sender,
    landed: bool,
}

impl Drop for Flight {
    fn drop(&mut self) {
        if !self.landed {
            self.sender.lane.give_up();
        }
    }
}

impl Flight {
    pub(crate) fn new(task: Task, lane: Arc<Lane>) -> Self {
        Self { sender: Sender { task, lane }, landed: false }
    }

    pub(crate) async fn run(mut self) {
        let inner = Arc::clone(self.sender.task.inner());
        let mut session = Session::new(inner.connections.clone());
        let mut turns = 0;
        loop {
            // Before boarding: whatever arrives while the pool is busy comes along.
            let connected = session.connection().await.map(|_| ());
            let Some(batch) = self.sender.lane.board(inner.limits) else {
                self.landed = true;
                return;
            };
            match connected {
                Ok(()) => self.apply(&mut session, batch).await,
                Err(error) => self.sender.fail(batch, &error),
            }
            turns += 1;
            if turns % TURNS_PER_CONNECTION == 0 {
                session.release();
            }
        }
    }

    /// One statement for the batch; if the server refuses it for whatever reason, one for each plan,
    /// so that a plan answers only for itself.
    async fn apply(&self, session: &mut Session, batch: Vec<Waiting>) {
        let alone = if batch.len() > 1 { self.together(session, batch).await } else { batch };
        for plan in alone {
            match self.sender.alone(session, &plan).await {
                Alone::Done(outcome) => plan.answer(outcome),
                Alone::Held => self.set_aside(plan),
            }
        }
    }

    /// Sends the batch as one statement. Returns the plans that have to go alone.
    async fn together(&self, session: &mut Session, batch: Vec<Waiting>) -> Vec<Waiting> {
        let statement = &self.sender.lane.statement;
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

    /// Sends the batch again without waiting for rows. What does not apply was refused, or its row is
    /// held: that is found out by each for itself.
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
            match (outcome, plan.patience) {
                (Ok(Commit::Refused), Patience::Waits) => self.set_aside(plan),
                (Ok(Commit::Refused), Patience::Passes) => plan.answer(Err(held())),
                (outcome, _) => plan.answer(outcome),
            }
        }
        Vec::new()
    }

    /// Lets a plan wait for its row by itself, outside the lane.
    fn set_aside(&self, plan: Waiting) {
        if plan.patience == Patience::Passes {
            return plan.answer(Err(held()));
        }
        let task = Task::begin(self.sender.task.inner());
        let sender = Sender { task, lane: Arc::clone(&self.sender.lane) };
        tokio::spawn(sender.wait_aside(plan));
    }
}

/// Sends statements of one lane.
struct Sender {
    task: Task,
    lane: Arc<Lane>,
}

/// Why a statement has no outcomes.
enum Failure {
    /// It was not sent: a plan cannot be bound.
    Unsent(EngineError),
    /// The database or the way to it.
    Database(PostgresError),
}

/// What became of a plan that was sent alone.
enum Alone {
    Done(Result<Commit, EngineError>),
    /// Someone else holds one of its rows; nothing was changed.
    Held,
}

impl Sender {
    /// Tries until the row is free. In between it holds no connection, and no more than some such
    /// plans hold one at a time.
    async fn wait_aside(self, plan: Waiting) {
        let inner = self.task.inner();
        let [mut pause, longest] = PAUSES;
        loop {
            // Never closed; without its turn it would go on as well.
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
        let statement = &self.lane.statement;
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

    /// Sends one statement for these plans and reads one outcome for each.
    async fn send(
        &self,
        session: &mut Session,
        sql: &SqlStr,
        plans: &[SizedPlan<'_>],
    ) -> Result<Vec<Result<Commit, EngineError>>, Failure> {
        let (inner, statement) = (self.task.inner(), &self.lane.statement);
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
        let arguments = self.lane.statement.arguments(plans).map_err(Failure::Unsent)?;
        let connection = session.connection().await.map_err(Failure::Database)?;
        let rows = fetch(connection, self.task.inner().protocol, sql, arguments).await;
        rows.map_err(|error| {
            let error = PostgresError::write(error);
            session.judge(&error);
            Failure::Database(error)
        })
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

/// What a plan is told that lets a held row be.
fn held() -> EngineError {
    EngineError::Contention(ContentionKind::RetryExhausted)
}
