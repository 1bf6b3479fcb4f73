//! The only task that writes.
//!
//! It takes all queued plans, applies them in one transaction, commits once, and only then answers.
//! The task owns the work, so a dropped call changes nothing. A group that lost its transaction
//! before the commit has changed nothing, and is applied again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ff_backend_script::{
    BoundValue, Order, Outcome, PlanScript, ScriptConnection, StepResult, apply_group, plans_of,
    settle,
};
use ff_codegen::dialect::{Dialect, TransactionControl};
use ff_codegen::{MariaDb, ScriptStep};
use ff_core::EngineError;
use ff_core::engine::{Bell, Commit, Random, TrafficMeter};
use ff_core::plan::Bindings;
use ff_core::rules::ctx::Source as _;
use ff_telemetry::BatchOf;
use sqlx::mysql::{MySqlArguments, MySqlConnection};
use sqlx::{Connection as _, query_scalar, query_with, raw_sql};
use tokio::sync::{mpsc, oneshot, watch};

use crate::bind::{self, text};
use crate::connect::{Connections, is_clustered};
use crate::error::{Failure, MariaDbError, shut_down, unanswered};

/// The number of queued plans from which on callers wait.
const QUEUE: usize = 4096;
/// The most plans that share a transaction.
const GROUP: usize = 256;
/// The time for which a group that lost its transaction is tried again.
const PATIENCE: Duration = Duration::from_secs(10);
/// The pause after the first try; doubled after each, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// The same where another transaction was faster. On a node of a cluster it may have begun later,
/// so a writer that waits for long would lose every time.
const LONGEST_PAUSE_OF_LOSER: Duration = Duration::from_millis(10);

/// A handle to the writer.
#[derive(Clone)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Option<Order>>,
    ended: watch::Receiver<()>,
}

impl Writer {
    /// Starts the task. It connects when it first has work.
    pub(crate) fn start(
        connections: Connections,
        bell: Arc<Bell>,
        traffic: Arc<TrafficMeter>,
    ) -> Self {
        let (queue, orders) = mpsc::channel(QUEUE);
        let (ending, ended) = watch::channel(());
        let connection = WritingConnection {
            connections,
            connection: None,
            is_clustered: false,
            is_broken: false,
            has_broken_trigger: false,
            statements: 0,
        };
        tokio::spawn(async move {
            Task { connection, bell, traffic, orders }.work().await;
            drop(ending);
        });
        Self { queue, ended }
    }

    pub(crate) async fn commit(
        &self,
        plan: Arc<PlanScript>,
        bindings: Bindings,
    ) -> Result<Commit, EngineError> {
        let (answer, answered) = oneshot::channel();
        let order = Order { plan, bindings, answer };
        self.queue.send(Some(order)).await.map_err(|_| shut_down())?;
        answered.await.map_err(|_| unanswered())?
    }

    /// True if it still accepts work.
    pub(crate) fn is_open(&self) -> bool {
        !self.queue.is_closed()
    }

    /// Accepts no more work, and returns when all queued work is done and the connection is closed.
    pub(crate) async fn close(&self) {
        // An error means that it is closed already.
        let _ = self.queue.send(None).await;
        let mut ended = self.ended.clone();
        while ended.changed().await.is_ok() {}
    }
}

struct Task {
    connection: WritingConnection,
    bell: Arc<Bell>,
    traffic: Arc<TrafficMeter>,
    orders: mpsc::Receiver<Option<Order>>,
}

impl Task {
    async fn work(mut self) {
        let mut taken = Vec::with_capacity(GROUP);
        while self.orders.recv_many(&mut taken, GROUP).await > 0 {
            if taken.iter().any(Option::is_none) {
                // Orders that are queued already are still received.
                self.orders.close();
            }
            let orders: Vec<Order> = taken.drain(..).flatten().collect();
            if !orders.is_empty() {
                self.group(orders).await;
            }
        }

        if let Some(connection) = self.connection.connection.take() {
            // All work is durable, however the connection closes.
            let _ = connection.close().await;
        }
    }

    async fn group(&mut self, orders: Vec<Order>) {
        ff_telemetry::batch(BatchOf::Transaction, orders.len());
        let applied = self.apply(&orders).await;
        self.traffic.sent(std::mem::take(&mut self.connection.statements));
        settle(orders, applied, &self.bell);
    }

    async fn apply(
        &mut self,
        orders: &[Order],
    ) -> Result<Vec<Outcome<MariaDbError>>, MariaDbError> {
        let plans = plans_of(orders);
        let (until, mut pause) = (Instant::now() + PATIENCE, FIRST_PAUSE);
        loop {
            match apply_group(&mut self.connection, &plans).await {
                Err(error) if error.may_pass() && Instant::now() < until => {
                    // At random, or the writers of two nodes would meet again.
                    tokio::time::sleep(pause.mul_f64(0.5 + Random.fraction())).await;
                    let lost = error.lost_a_race();
                    let longest = if lost { LONGEST_PAUSE_OF_LOSER } else { LONGEST_PAUSE };
                    pause = longest.min(pause * 2);
                }
                done => return done,
            }
        }
    }
}

/// The only connection of this process that writes.
struct WritingConnection {
    connections: Connections,
    /// Absent until it is needed, and after it broke.
    connection: Option<MySqlConnection>,
    /// True if the connection leads to a node of a Galera cluster.
    is_clustered: bool,
    /// True if the transaction was rolled back behind a statement that failed, or may have been.
    is_broken: bool,
    /// True if the node has to read its triggers again.
    has_broken_trigger: bool,
    /// The statements that the current group has sent so far.
    statements: u64,
}

impl WritingConnection {
    async fn connected(&mut self) -> Result<&mut MySqlConnection, MariaDbError> {
        self.statements += 1;
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let mut connection = self.connections.connect().await?;
                let clustered = is_clustered(&mut connection).await;
                self.is_clustered = clustered.map_err(MariaDbError::read)?;
                if self.is_clustered {
                    let set = raw_sql(MariaDb::CLUSTERED_WRITES).execute(&mut connection).await;
                    set.map_err(MariaDbError::read)?;
                }
                connection
            }
        };
        Ok(self.connection.insert(connection))
    }
}

impl ScriptConnection for WritingConnection {
    type Error = MariaDbError;

    fn transaction_control(&self) -> TransactionControl {
        MariaDb.transaction_control()
    }

    async fn control(&mut self, text: &'static str) -> Result<(), MariaDbError> {
        let control = self.transaction_control();
        self.is_broken = false;
        let failed = if text == control.commit { MariaDbError::write } else { MariaDbError::read };
        let connection = self.connected().await?;
        raw_sql(text).execute(&mut *connection).await.map_err(failed)?;

        if text == control.begin && self.is_clustered {
            let connection = self.connected().await?;
            let turn = raw_sql(MariaDb::CLUSTERED_BEGIN).execute(connection).await;
            turn.map_err(MariaDbError::read)?;
        }
        Ok(())
    }

    async fn roll_back(&mut self) {
        let text = self.transaction_control().roll_back;
        if let Some(connection) = &mut self.connection
            && raw_sql(text).execute(connection).await.is_err()
        {
            self.connection = None;
        }
        if std::mem::take(&mut self.has_broken_trigger) {
            self.reread_triggers().await;
        }
    }

    async fn run(
        &mut self,
        step: &ScriptStep,
        values: &[BoundValue<'_>],
    ) -> Result<StepResult, Failure> {
        match self.run_once(step, values).await {
            Err(Failure::Database(error)) => {
                let is_trigger = self.is_clustered && error.is_broken_trigger();
                let error = if is_trigger { error.passing() } else { error };
                self.has_broken_trigger |= is_trigger;
                self.is_broken |= error.breaks_transaction();
                Err(Failure::Database(error))
            }
            done => done,
        }
    }

    async fn is_in_transaction(&mut self) -> bool {
        // On a node the session is always in a transaction, if only in the next one.
        if self.is_broken {
            return false;
        }
        let Some(connection) = &mut self.connection else { return false };
        let open = query_scalar::<_, i64>("SELECT CAST(@@in_transaction AS SIGNED)");
        matches!(open.fetch_one(connection).await, Ok(1))
    }

    async fn confirm(&mut self) -> Result<(), MariaDbError> {
        if !self.is_clustered {
            return Ok(());
        }

        let connection = self.connected().await?;
        let ended = raw_sql(MariaDb::CLUSTERED_END).execute(connection).await;
        match ended.map_err(MariaDbError::read)?.rows_affected() {
            1 => Ok(()),
            _ => {
                tracing::debug!("the node had aborted the transaction, and had not said so");
                Err(MariaDbError::aborted())
            }
        }
    }

    fn is_unique_violation(error: &MariaDbError) -> bool {
        error.is_unique_violation()
    }
}

impl WritingConnection {
    async fn reread_triggers(&mut self) {
        let Ok(connection) = self.connected().await else { return };
        if let Err(error) = raw_sql(MariaDb::CLUSTERED_REREAD).execute(connection).await {
            let statement = MariaDb::CLUSTERED_REREAD;
            tracing::warn!(%error, statement, "the node needs this statement to write again");
        }
    }

    async fn run_once(
        &mut self,
        step: &ScriptStep,
        values: &[BoundValue<'_>],
    ) -> Result<StepResult, Failure> {
        let mut arguments = MySqlArguments::default();
        for bound in values {
            bind::add(&mut arguments, &bound.value, bound.ty)?;
        }

        let statement = step.statement();
        let connection = self.connected().await?;
        if statement.yields.is_empty() && matches!(step, ScriptStep::Write { .. }) {
            let done = query_with(text(&statement.sql), arguments).execute(connection).await;
            let done = done.map_err(MariaDbError::read)?;
            return Ok(StepResult { rows: Vec::new(), changed: done.rows_affected() });
        }

        let found = bind::rows(connection, statement, arguments).await;
        let found = found.map_err(MariaDbError::read)?;
        let columns = step.holds().iter().zip(&statement.yields).enumerate();
        let mut rows = Vec::with_capacity(found.len());
        for row in &found {
            let cell = |(index, (path, ty)): (usize, (&ff_core::plan::Path, &_))| {
                bind::read(row, index, path.column, *ty)
            };
            rows.push(columns.clone().map(cell).collect::<Result<_, _>>()?);
        }
        Ok(StepResult { rows, changed: 0 })
    }
}
