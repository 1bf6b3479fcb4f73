//! A worker: claims executions of a lane, runs them, renews their leases while they run, and
//! reports how they ended.
//!
//! It knows nothing of the work itself; a [`Runner`] does it. A run is dropped as soon as its lease
//! is lost, since another worker may hold the execution by then. The fence refuses a later report
//! anyway.

mod emptiness;
mod lease;
mod pace;
mod presence;
mod report;
mod reporting;
mod run;
mod running;
mod scopes;
mod task;

use std::sync::Arc;
use std::time::Duration;

use ff_core::EngineError;
use ff_core::backend::{CapabilitySet, ClaimPolicy};
use ff_core::contracts::ClaimScope;
use ff_core::engine::Topic;
use ff_core::engine_backend::EngineBackend;
use ff_core::engine_error::ContentionKind;
use ff_core::handle_codec;
use ff_core::types::{LaneId, Namespace, WorkerId, WorkerInstanceId};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

pub use report::{WorkerError, WorkerReport};
pub use run::{Ending, Run, Runner};
pub use scopes::ClaimScopes;

use emptiness::{Emptiness, EmptinessCheck};
use pace::Pace;
use presence::Presence;
use running::Running;
use task::{ClaimOutcome, Task};

/// A worker's lane, identity and limits.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// The lane to claim from.
    pub lane: LaneId,
    /// The capabilities of this worker; an execution that needs others is left to other workers.
    pub capabilities: CapabilitySet,
    /// The partitions to claim from. With several scopes, each claim is of the next one, and the
    /// order of the lane holds within each.
    pub scopes: ClaimScopes,
    /// The most executions that run at once; at least one.
    pub concurrency: u32,
    /// The lease's duration without renewal, in milliseconds. It is renewed at a third of that, or
    /// after 5 s.
    pub lease_ttl_ms: u32,
    /// The worker, by the name of its kind.
    pub worker_id: WorkerId,
    /// This running instance of it.
    pub worker_instance_id: WorkerInstanceId,
    /// The end of the worker, unless it is stopped before.
    pub until: Until,
    /// The longest time that running work may take after [`Stop::Drain`].
    pub grace: Duration,
    /// The longest pause between two polls while no bell rings. Submissions of other processes
    /// ring, too.
    pub poll: Duration,
    /// The time for which the worker counts as alive after a sign of life. It gives three in that
    /// time. Once it is silent for longer, its leases lapse.
    pub liveness_ttl: Duration,
    /// The namespace that the worker registers in.
    pub namespace: Namespace,
    /// The version of the worker's program, for the registry.
    pub version: Option<String>,
}

impl WorkerConfig {
    /// The defaults: one execution at a time, from all partitions, leases of 30 s, no capabilities,
    /// a grace of 10 s, a poll every 250 ms, a time to live of 15 s, and no end until it is
    /// stopped.
    #[must_use]
    pub fn new(lane: LaneId, worker_id: WorkerId, worker_instance_id: WorkerInstanceId) -> Self {
        Self {
            lane,
            capabilities: CapabilitySet::default(),
            scopes: ClaimScopes::default(),
            concurrency: 1,
            lease_ttl_ms: 30_000,
            worker_id,
            worker_instance_id,
            until: Until::Stopped,
            grace: Duration::from_secs(10),
            poll: Duration::from_millis(250),
            liveness_ttl: Duration::from_secs(15),
            namespace: Namespace::new("default"),
            version: None,
        }
    }

    fn claim_policy(&self, scope: ClaimScope) -> ClaimPolicy {
        let (worker, instance) = (self.worker_id.clone(), self.worker_instance_id.clone());
        ClaimPolicy::new(worker, instance, self.lease_ttl_ms, None).in_scope(scope)
    }
}

/// The end of a worker that is not stopped before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Until {
    /// None: it works until it is stopped.
    #[default]
    Stopped,
    /// No execution of the lane is left to run or running, on any worker, or the lane hands out
    /// nothing. Suspended ones do not count.
    Empty,
    /// It runs nothing, and a claim finds nothing, whatever is delayed or runs elsewhere.
    Idle,
}

/// A stop request to a worker. It only ever becomes more urgent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// Go on.
    #[default]
    Not,
    /// Claim nothing more, and let running work end within the grace.
    Drain,
    /// Drop running work and hand it back.
    Now,
}

/// A worker of one lane: claims executions and runs them.
pub struct Worker {
    backend: Arc<dyn EngineBackend>,
    runner: Arc<dyn Runner>,
    config: WorkerConfig,
    tasks: JoinSet<ClaimOutcome>,
    running: Running,
    report: WorkerReport,
    pace: Pace,
    emptiness: EmptinessCheck,
    /// The failure of the database that no repetition mends, if a run has met one.
    broken: Option<String>,
}

impl Worker {
    /// A worker that has not begun.
    #[must_use]
    pub fn new(
        backend: Arc<dyn EngineBackend>,
        runner: Arc<dyn Runner>,
        config: WorkerConfig,
    ) -> Self {
        Self {
            backend,
            runner,
            pace: Pace::new(config.poll),
            config,
            tasks: JoinSet::new(),
            running: Running::default(),
            report: WorkerReport::default(),
            emptiness: EmptinessCheck::default(),
            broken: None,
        }
    }

    /// Works until it is stopped, or until the lane is empty if the configuration says so.
    ///
    /// While the database cannot be reached it retries, unless the very first claim fails. A
    /// permanent failure of the database (a missing table or right, damaged data) ends the worker.
    ///
    /// # Errors
    /// The reason why nothing can be claimed, or run. Running work has been ended as for
    /// [`Stop::Drain`].
    pub async fn run(
        mut self,
        mut stop: watch::Receiver<Stop>,
    ) -> Result<WorkerReport, WorkerError> {
        let presence = Presence::begin(&self.backend, &self.config);
        let claimed = self.claim_until_stopped(&mut stop).await;
        self.wind_down(&mut stop).await;
        presence.end().await;
        ff_telemetry::set_worker(self.config.lane.as_str(), 0, 0);
        claimed.map(|()| self.report)
    }

    async fn claim_until_stopped(
        &mut self,
        stop: &mut watch::Receiver<Stop>,
    ) -> Result<(), WorkerError> {
        // If the first claim fails, the URL or the rights are likely wrong; a retry would hide it.
        let mut reached = false;
        let concurrency = usize::try_from(self.config.concurrency.max(1)).unwrap_or(usize::MAX);

        while *stop.borrow_and_update() == Stop::Not {
            while let Some(ended) = self.tasks.try_join_next() {
                self.count(ended);
            }
            if let Some(reason) = self.broken.take() {
                return Err(WorkerError::Broken { reason });
            }
            if self.tasks.is_empty() {
                self.pace.check_ability()?;
            }

            // Before the claim, so that work that becomes claimable during it rings, too.
            let rung = self.backend.listen(Topic::Claimable);
            let free = concurrency.saturating_sub(self.tasks.len());
            if free != 0 && self.pace.start_poll() {
                match self.claim(free).await {
                    Ok(0) if self.is_done().await => return Ok(()),
                    Ok(_) => reached = true,
                    Err(error) if reached && may_pass(&error) => {
                        tracing::warn!(%error, "claiming failed; trying again");
                        self.pace.note_failure();
                    }
                    Err(error) => return Err(error.into()),
                }
            }

            ff_telemetry::set_worker(self.config.lane.as_str(), self.tasks.len(), concurrency);
            let full = concurrency <= self.tasks.len();
            tokio::select! {
                () = next_stop(stop) => {}
                Some(ended) = self.tasks.join_next() => self.count(ended),
                () = self.pace.wait(rung), if !full => {}
            }
        }
        Ok(())
    }

    /// Claims and starts up to `free` executions: from each scope in turn, until they are enough.
    /// Returns how many.
    async fn claim(&mut self, free: usize) -> Result<usize, EngineError> {
        let mut claimed = 0;
        for _ in 0..self.config.scopes.count() {
            let scope = self.config.scopes.next();
            claimed += self.claim_from(scope, free - claimed).await?;
            if free <= claimed {
                break;
            }
        }

        if claimed == 0 {
            self.pace.note_no_work();
        }
        Ok(claimed)
    }

    /// Claims and starts up to `free` executions of a scope. Returns how many.
    async fn claim_from(&mut self, scope: ClaimScope, free: usize) -> Result<usize, EngineError> {
        let (lane, capabilities) = (&self.config.lane, &self.config.capabilities);
        let limit = u32::try_from(free).unwrap_or(u32::MAX).min(ff_core::contracts::CLAIM_MAX);
        let requested_at = Instant::now();
        let policy = self.config.claim_policy(scope);
        let handles = self.backend.claim_many(lane, capabilities, policy, limit).await?;
        let answered_at = Instant::now();

        let claimed = handles.len();
        for handle in handles {
            let held = handle_codec::decode(&handle.opaque)?.payload;
            let task = Task {
                backend: Arc::clone(&self.backend),
                runner: Arc::clone(&self.runner),
                lease_ttl: Duration::from_millis(u64::from(self.config.lease_ttl_ms)),
                requested_at,
                answered_at,
                entry: self.running.add(&held.execution_id),
                handle,
                held,
            };
            self.tasks.spawn(task.run());
        }

        if 0 < claimed {
            self.report.claimed += u64::try_from(claimed).unwrap_or(u64::MAX);
            self.pace.note_work();
            self.emptiness = EmptinessCheck::default();
        }
        Ok(claimed)
    }

    fn count(&mut self, ended: Result<ClaimOutcome, JoinError>) {
        let outcome = ended.unwrap_or_else(|error| {
            tracing::error!(%error, "a task of the worker died; its lease will lapse");
            ClaimOutcome::Lost
        });
        self.report.count(&outcome);

        match outcome {
            ClaimOutcome::Unable(reason) => self.pace.note_unable(reason),
            ClaimOutcome::Retried(after) => {
                self.pace.note_able();
                after.into_iter().for_each(|time| self.pace.note_delay(time));
            }
            ClaimOutcome::Completed | ClaimOutcome::Failed | ClaimOutcome::Suspended => {
                self.pace.note_able();
            }
            ClaimOutcome::Broken(reason) => self.broken = Some(reason),
            // These say nothing about the machine's ability to run work.
            ClaimOutcome::Cancelled | ClaimOutcome::HandedBack | ClaimOutcome::Lost => {}
        }
    }

    /// True if the worker is to end, after a claim that found nothing.
    async fn is_done(&mut self) -> bool {
        match self.config.until {
            Until::Idle => return self.tasks.is_empty(),
            Until::Empty if self.tasks.is_empty() => {}
            Until::Empty | Until::Stopped => return false,
        }

        match self.emptiness.check(self.backend.as_ref(), &self.config).await {
            Ok(Emptiness::GoOn) => false,
            Ok(Emptiness::Empty) => true,
            Ok(Emptiness::LeftWaiting) => {
                self.report.left_waiting = true;
                true
            }
            Ok(Emptiness::LeftLocked) => {
                self.report.left_locked = true;
                true
            }
            Ok(Emptiness::LeftClosed(lane)) => {
                self.report.left_closed = Some(lane);
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the lane could not be checked");
                false
            }
        }
    }

    /// Lets running work end, or drops it at [`Stop::Now`] or when the grace is over.
    async fn wind_down(&mut self, stop: &mut watch::Receiver<Stop>) {
        let grace_over = tokio::time::sleep(self.config.grace);
        let mut grace_over = std::pin::pin!(grace_over);
        let mut dropped = false;

        loop {
            if *stop.borrow_and_update() == Stop::Now && !dropped {
                dropped = true;
                self.running.hand_back();
            }

            tokio::select! {
                ended = self.tasks.join_next() => match ended {
                    Some(ended) => self.count(ended),
                    None => return,
                },
                () = next_stop(stop) => {}
                () = &mut grace_over, if !dropped => {
                    tracing::warn!(running = self.tasks.len(), "the grace is over");
                    dropped = true;
                    self.running.hand_back();
                }
            }
        }
    }
}

/// Waits for the next stop request; for ever if the sender is gone.
async fn next_stop(stop: &mut watch::Receiver<Stop>) {
    if stop.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// True if the database is at fault, not the call.
fn is_database_failure(error: &EngineError) -> bool {
    match error {
        EngineError::Transport { .. }
        | EngineError::Timeout { .. }
        | EngineError::ResourceExhausted { .. }
        | EngineError::Contention(ContentionKind::RetryExhausted) => true,
        EngineError::Contextual { source, .. } => is_database_failure(source),
        _ => false,
    }
}

/// True if the database is at fault, and will be at the next call, too.
fn is_permanent(error: &EngineError) -> bool {
    error.store_class().is_some_and(|class| !class.may_pass())
}

/// True if the database is at fault, and the same call may succeed later.
fn may_pass(error: &EngineError) -> bool {
    is_database_failure(error) && !is_permanent(error)
}

#[cfg(all(test, feature = "memory"))]
mod tests;
