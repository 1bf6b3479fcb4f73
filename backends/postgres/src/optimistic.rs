//! Commits plans on a database that detects conflicts when a transaction commits.
//!
//! Each plan is a script in a serializable transaction of its own: plans that share one would be
//! aborted together. A transaction that lost a conflict has changed nothing and is sent again after
//! a random pause. A task sends it, so a dropped call aborts no transaction.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ff_backend_script::{Failure, PlanScript, Statements, apply_group};
use ff_codegen::PostgresOcc;
use ff_core::EngineError;
use ff_core::engine::{Commit, Random};
use ff_core::engine_error::{ContentionKind, StoreClass, StoreError};
use ff_core::plan::{Bindings, Plan};
use ff_core::rules::ctx::Source as _;
use tokio::sync::Semaphore;

use crate::commit::HeldRow;
use crate::connections::Connections;
use crate::error::{PostgresError, unrenderable};
use crate::notify::Notifier;
use crate::session::Protocol;
use crate::transaction::{Aborted, PlanTransaction};

/// The time for which a plan that loses conflicts is sent again.
const PATIENCE: Duration = Duration::from_secs(20);

/// The pause before a plan is sent again: the first and the longest, each half at random.
const PAUSES: [Duration; 2] = [Duration::from_millis(4), Duration::from_millis(250)];

/// The number of times that a plan is sent which takes too long.
const SLOW_TRIES: u32 = 3;

/// More plans than wait at once.
const PLANS: u32 = 1 << 24;

/// Commits plans one by one. Clones share all state.
#[derive(Clone)]
pub(crate) struct OptimisticCommitter(Arc<Inner>);

struct Inner {
    connections: Connections,
    protocol: Protocol,
    window: Duration,
    notifier: Notifier,
    statements: Statements<PostgresOcc>,
    /// One permit for each plan that is being committed; closed when no more are taken.
    plans: Arc<Semaphore>,
}

impl OptimisticCommitter {
    pub(crate) fn new(
        connections: Connections,
        protocol: Protocol,
        window: Duration,
        notifier: Notifier,
    ) -> Self {
        let statements = Statements::new(PostgresOcc);
        let plans = Arc::new(Semaphore::new(PLANS as usize));
        Self(Arc::new(Inner { connections, protocol, window, notifier, statements, plans }))
    }

    /// Applies the plan; see [`ff_core::engine::Executor::commit`] and `commit_unless_locked`.
    pub(crate) async fn commit(
        &self,
        plan: Plan,
        held_row: HeldRow,
    ) -> Result<Commit, EngineError> {
        let closed = |_| self.0.failed(PostgresError::read(sqlx::Error::PoolClosed));
        let permit = Arc::clone(&self.0.plans).acquire_owned().await.map_err(closed)?;
        let (plan, bindings) = self.0.statements.plan(plan).map_err(unrenderable)?;

        let inner = Arc::clone(&self.0);
        let sent = tokio::spawn(async move {
            let outcome = inner.persist(&plan, &bindings, held_row).await;
            if let Ok(commit) = &outcome {
                inner.notifier.announce(plan.rings.after(commit));
            }
            drop(permit);
            outcome
        });

        let lost = |_| Err(self.0.failed(PostgresError::write(sqlx::Error::WorkerCrashed)));
        sent.await.unwrap_or_else(lost)
    }

    /// Takes no more plans, and waits until those that were taken have ended.
    pub(crate) async fn drain(&self) {
        // Fails only where another caller has drained it already.
        if let Ok(all) = self.0.plans.acquire_many(PLANS).await {
            self.0.plans.close();
            drop(all);
        }
    }
}

impl Inner {
    fn failed(&self, error: PostgresError) -> EngineError {
        error.into_engine(self.connections.pool().options().get_max_connections())
    }

    /// Sends the plan until it has an outcome. It holds no connection while it pauses.
    async fn persist(
        &self,
        plan: &PlanScript,
        bindings: &Bindings,
        held_row: HeldRow,
    ) -> Result<Commit, EngineError> {
        let until = Instant::now() + PATIENCE;
        let [mut pause, longest] = PAUSES;
        let (mut is_first_loss, mut slow) = (true, 0);
        loop {
            let aborted = match self.send(plan, bindings).await {
                Ok(commit) => return Ok(commit),
                Err(Failure::Value(error)) => return Err(error),
                Err(Failure::Database(aborted)) => aborted,
            };

            match aborted {
                Aborted::By(error) if error.waited_for_a_lock() => {
                    if held_row == HeldRow::GiveUp {
                        return Err(EngineError::Contention(ContentionKind::RetryExhausted));
                    }
                }
                // The connection was lost before the commit, so nothing has changed.
                Aborted::By(error) if is_first_loss && error.lost_connection_unchanged() => {
                    is_first_loss = false;
                }
                Aborted::By(error) if !error.lost_a_race() => return Err(self.failed(error)),
                Aborted::By(_) if until < Instant::now() => {
                    return Err(EngineError::Contention(ContentionKind::RetryExhausted));
                }
                Aborted::By(_) => {}
                // The server may have been busy, but a large plan is never fast enough.
                Aborted::TookTooLong(error) => {
                    slow += 1;
                    if SLOW_TRIES <= slow {
                        return Err(
                            StoreError::new(StoreClass::Retryable, error).in_backend("postgres")
                        );
                    }
                }
            }

            tokio::time::sleep(pause.mul_f64(0.5 + Random.fraction())).await;
            pause = longest.min(pause * 2);
        }
    }

    /// Sends the plan once, in a transaction.
    async fn send(
        &self,
        plan: &PlanScript,
        bindings: &Bindings,
    ) -> Result<Commit, Failure<Aborted>> {
        let failed = |error| Failure::Database(Aborted::By(error));
        let connection = self.connections.acquire().await.map_err(failed)?;
        let traffic = self.connections.traffic();
        let mut transaction = PlanTransaction::new(connection, self.protocol, self.window, traffic);

        let applied = apply_group(&mut transaction, &[(&plan.script, bindings)]).await;
        if transaction.lost_its_session() {
            self.connections.distrust();
        }
        if let Some(connection) = transaction.end() {
            self.connections.keep(connection);
        }
        match applied.map_err(Failure::Database)?.pop() {
            Some(outcome) => outcome,
            None => Ok(Commit::Refused),
        }
    }
}
