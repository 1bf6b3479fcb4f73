//! The only thread that writes.
//!
//! It takes all queued plans, applies them in one transaction, commits once, and only then answers.
//! An idle writer commits at once, a busy one finds a group waiting. The thread owns the work, so a
//! dropped call changes nothing. It also owns the connection: no statement waits for another
//! thread.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ff_backend_script::{BoundQuery, Order, PlanScript, apply_group, plans_of, settle};
use ff_core::EngineError;
use ff_core::engine::{Bell, Commit};
use ff_core::plan::Bindings;
use ff_core::plan::facts::Answer;
use ff_telemetry::BatchOf;
use rusqlite::Connection;
use tokio::runtime::Builder;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot, watch};

use crate::connect::{self, Connections};
use crate::error::{SqliteError, shut_down};
use crate::presence::Presence;
use crate::reader;
use crate::script::WritingConnection;

/// The number of queued jobs from which on callers wait.
const QUEUE: usize = 4096;
/// The most plans that share a transaction.
const GROUP: usize = 512;
/// The part of the last commit's time that a writer waits for its callers to return: one in so
/// many.
const PATIENCE: u32 = 4;
/// The time between two looks at the queue while it waits.
const GLANCE: Duration = Duration::from_micros(50);

type Answered<T> = oneshot::Sender<Result<T, EngineError>>;

enum Job {
    Plan(Order),
    Read(Vec<BoundQuery>, Answered<Vec<Answer>>),
    Ping(Answered<()>),
    Close,
}

/// A handle to the writer.
#[derive(Clone)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Job>,
    ended: watch::Receiver<()>,
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no thread to spare.
    pub(crate) fn start(
        connection: Connection,
        connections: Arc<Connections>,
        busy_timeout: Duration,
        bell: Arc<Bell>,
        presence: Option<Arc<Presence>>,
    ) -> std::io::Result<Self> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let (ending, ended) = watch::channel(());
        let connection = WritingConnection::new(connection, connections, busy_timeout);
        let task = Task { connection, bell, presence, jobs };
        let runtime = Builder::new_current_thread().enable_time().build()?;
        std::thread::Builder::new().name("sqlite-writer".to_owned()).spawn(move || {
            runtime.block_on(task.work());
            drop(ending);
        })?;

        Ok(Self { queue, ended })
    }

    pub(crate) async fn commit(
        &self,
        plan: Arc<PlanScript>,
        bindings: Bindings,
    ) -> Result<Commit, EngineError> {
        self.ask(|answer| Job::Plan(Order { plan, bindings, answer })).await
    }

    pub(crate) async fn read(&self, queries: Vec<BoundQuery>) -> Result<Vec<Answer>, EngineError> {
        self.ask(|answer| Job::Read(queries, answer)).await
    }

    pub(crate) async fn ping(&self) -> Result<(), EngineError> {
        self.ask(Job::Ping).await
    }

    async fn ask<T>(&self, job: impl FnOnce(Answered<T>) -> Job) -> Result<T, EngineError> {
        let (answer, answered) = oneshot::channel();
        self.queue.send(job(answer)).await.map_err(|_| shut_down())?;
        answered.await.map_err(|_| SqliteError::unanswered())?
    }

    /// True if it still accepts work.
    pub(crate) fn is_open(&self) -> bool {
        !self.queue.is_closed()
    }

    /// Accepts no more work, and returns when all queued work is done and the connection is closed.
    pub(crate) async fn close(&self) {
        // An error means that it is closed already.
        let _ = self.queue.send(Job::Close).await;
        let mut ended = self.ended.clone();
        while ended.changed().await.is_ok() {}
    }
}

struct Task {
    connection: WritingConnection,
    bell: Arc<Bell>,
    /// Absent for a memory database.
    presence: Option<Arc<Presence>>,
    jobs: mpsc::Receiver<Job>,
}

impl Task {
    async fn work(mut self) {
        let mut jobs = Vec::with_capacity(GROUP);
        let mut answered = 0;
        while self.jobs.recv_many(&mut jobs, GROUP).await > 0 {
            self.gather(&mut jobs, answered);
            answered = jobs.len();

            let mut orders = Vec::with_capacity(jobs.len());
            let mut rest = Vec::new();
            for job in jobs.drain(..) {
                match job {
                    Job::Plan(order) => orders.push(order),
                    // Jobs that are queued already are still received.
                    Job::Close => self.jobs.close(),
                    other @ (Job::Read(..) | Job::Ping(_)) => rest.push(other),
                }
            }

            if !orders.is_empty() {
                self.group(orders).await;
            }
            for job in rest {
                self.serve(job);
            }
        }

        if self.presence.is_some_and(|presence| presence.look().is_err()) {
            // The last connection to close removes the log by its name, and a new database may have
            // a log of that name by now. So this connection stays open until the process ends.
            std::mem::forget(self.connection.connection);
        } else {
            connect::close_writing(self.connection.connection);
        }
    }

    /// Waits a moment until there are as many jobs as were `answered` the last time: callers that
    /// are answered together soon ask again, as a worker that completes what it has claimed. A
    /// commit that they share costs each of them less than the wait.
    fn gather(&mut self, jobs: &mut Vec<Job>, answered: usize) {
        let until = Instant::now() + self.connection.last_commit / PATIENCE;
        while jobs.len() < answered {
            match self.jobs.try_recv() {
                Ok(job) => jobs.push(job),
                // Not on the runtime: its clock ticks once in a millisecond.
                Err(TryRecvError::Empty) if Instant::now() + GLANCE < until => {
                    std::thread::sleep(GLANCE);
                }
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
    }

    fn serve(&self, job: Job) {
        // A send error means that the caller stopped waiting.
        match job {
            Job::Read(queries, answer) => {
                let answers = reader::answer_all(&self.connection.connection, &queries);
                let _ = answer.send(answers.map_err(Into::into));
            }
            Job::Ping(answer) => {
                let reached = reader::ping(&self.connection.connection);
                let _ = answer.send(reached.map_err(Into::into));
            }
            Job::Plan(_) | Job::Close => {}
        }
    }

    async fn group(&mut self, orders: Vec<Order>) {
        ff_telemetry::batch(BatchOf::Transaction, orders.len());
        let applied = apply_group(&mut self.connection, &plans_of(&orders)).await;
        let statements = std::mem::take(&mut self.connection.statements);
        self.connection.connections.traffic.sent(statements);
        settle(orders, applied, &self.bell);
    }
}
