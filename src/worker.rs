//! A worker: claims executions of a lane, runs them, keeps their leases while they run, and reports
//! how they ended.
//!
//! It knows no more of the work than a [`Runner`] tells. Work whose lease is lost is dropped where
//! it stands, since somebody else may have it by then; nothing that it would still report is
//! accepted anyway.

mod lease;
mod task;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ff_core::EngineError;
use ff_core::backend::{CapabilitySet, ClaimPolicy, FailureClass, Handle};
use ff_core::contracts::{ExecutionQuery, SuspendArgs};
use ff_core::engine_backend::EngineBackend;
use ff_core::engine_error::ContentionKind;
use ff_core::state::PublicState;
use ff_core::types::{
    AttemptIndex, ExecutionId, LaneId, LeaseEpoch, TimestampMs, WorkerId, WorkerInstanceId,
};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use task::{Fate, Task};

/// The shortest and the longest pause before asking again for work when there was none.
const POLL: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(250));

/// The longest pause before asking again after the database could not be reached.
const OUTAGE_POLL: Duration = Duration::from_secs(5);

/// How often a lane must be found with nothing but work that this worker cannot claim, before the
/// worker believes it.
const QUIET_LOOKS: u32 = 3;

/// One claimed execution, as its runner sees it.
#[derive(Clone, Debug)]
pub struct Job {
    /// What the holder shows to act on it.
    pub handle: Handle,
    /// The execution.
    pub execution_id: ExecutionId,
    /// Which attempt this is, from zero.
    pub attempt_index: AttemptIndex,
    /// The epoch of the lease.
    pub lease_epoch: LeaseEpoch,
    /// The lane that it was claimed from.
    pub lane_id: LaneId,
    /// What kind of work it is, as the submitter names it.
    pub kind: String,
    /// What to work on.
    pub payload: Vec<u8>,
    /// The submitter's tags.
    pub tags: HashMap<String, String>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Well, with a result if there is one.
    Completed(Option<Vec<u8>>),
    /// Badly; the class and the execution's policy decide whether another attempt follows.
    Failed {
        /// What went wrong.
        message: String,
        /// What kind of failure it was.
        class: FailureClass,
    },
    /// Not now: to be claimed again at the given time.
    Delayed(TimestampMs),
    /// Not before somebody has signalled: to be claimed again when the condition holds. The next run
    /// is of the same attempt, and `observe_signals` with its handle tells what has come.
    Suspended(SuspendArgs),
}

/// Does the work. Any `Fn(Arc<Job>) -> impl Future<Output = Ending>` is one.
#[async_trait]
pub trait Runner: Send + Sync + 'static {
    /// Runs one execution. The future is dropped when the lease is lost or the worker must stop.
    async fn run(&self, job: Arc<Job>) -> Ending;
}

#[async_trait]
impl<F, R> Runner for F
where
    F: Fn(Arc<Job>) -> R + Send + Sync + 'static,
    R: Future<Output = Ending> + Send,
{
    async fn run(&self, job: Arc<Job>) -> Ending {
        self(job).await
    }
}

/// What a worker works on, and how.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// The lane to claim from.
    pub lane: LaneId,
    /// What this worker is able to do.
    pub capabilities: CapabilitySet,
    /// How many executions run at once; at least one.
    pub concurrency: u32,
    /// How long a lease lasts without renewal, in milliseconds. It is renewed at a third of that.
    pub lease_ttl_ms: u32,
    /// The worker, by the name of its kind.
    pub worker_id: WorkerId,
    /// This running instance of it.
    pub worker_instance_id: WorkerInstanceId,
    /// Whether to end when nothing on the lane is left to do or being done, by anybody.
    pub until_empty: bool,
    /// How long running work may go on after [`Stop::Drain`].
    pub grace: Duration,
}

impl WorkerConfig {
    /// One execution at a time, leases of 30 s, no capabilities, until told to stop, 10 s grace.
    #[must_use]
    pub fn new(lane: LaneId, worker_id: WorkerId, worker_instance_id: WorkerInstanceId) -> Self {
        Self {
            lane,
            capabilities: CapabilitySet::default(),
            concurrency: 1,
            lease_ttl_ms: 30_000,
            worker_id,
            worker_instance_id,
            until_empty: false,
            grace: Duration::from_secs(10),
        }
    }

    fn terms(&self) -> ClaimPolicy {
        let (worker, instance) = (self.worker_id.clone(), self.worker_instance_id.clone());
        ClaimPolicy::new(worker, instance, self.lease_ttl_ms, None)
    }
}

/// What a worker is told to do. It only ever becomes more urgent.
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

/// What a worker did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerReport {
    /// How many claims it made.
    pub claimed: u64,
    /// How many executions it completed.
    pub completed: u64,
    /// How many attempts failed that are tried again.
    pub retried: u64,
    /// How many executions failed for good.
    pub failed: u64,
    /// How many executions it left waiting for signals.
    pub suspended: u64,
    /// How many executions it gave back unfinished.
    pub handed_back: u64,
    /// How many executions it lost: the lease, or the connection until the lease had lapsed.
    pub lost: u64,
    /// Whether executions were left waiting that this worker cannot claim.
    pub left_waiting: bool,
}

impl WorkerReport {
    fn count(&mut self, ended: Result<Fate, JoinError>) {
        match ended {
            Ok(Fate::Completed) => self.completed += 1,
            Ok(Fate::Retried) => self.retried += 1,
            Ok(Fate::Failed) => self.failed += 1,
            Ok(Fate::Suspended) => self.suspended += 1,
            Ok(Fate::HandedBack) => self.handed_back += 1,
            Ok(Fate::Lost) => self.lost += 1,
            Err(error) => {
                tracing::error!(%error, "a run panicked; its lease will lapse");
                self.lost += 1;
            }
        }
    }
}

/// Claims and runs.
pub struct Worker {
    backend: Arc<dyn EngineBackend>,
    runner: Arc<dyn Runner>,
    config: WorkerConfig,
    drop_work: watch::Sender<bool>,
    tasks: JoinSet<Fate>,
    report: WorkerReport,
    pause: Duration,
    quiet_looks: u32,
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
            config,
            drop_work: watch::Sender::new(false),
            tasks: JoinSet::new(),
            report: WorkerReport::default(),
            pause: POLL.0,
            quiet_looks: 0,
        }
    }

    /// Works until told to stop, or until the lane is empty where the configuration says so.
    ///
    /// An unreachable database is waited for, unless the very first claim fails.
    ///
    /// # Errors
    /// Why nothing can be claimed. Running work has been ended as for [`Stop::Drain`].
    pub async fn run(
        mut self,
        mut stop: watch::Receiver<Stop>,
    ) -> Result<WorkerReport, EngineError> {
        let claimed = self.claim_until(&mut stop).await;
        self.wind_down(&mut stop).await;
        claimed.map(|()| self.report)
    }

    async fn claim_until(&mut self, stop: &mut watch::Receiver<Stop>) -> Result<(), EngineError> {
        let mut reached = false;
        let concurrency = usize::try_from(self.config.concurrency.max(1)).unwrap_or(usize::MAX);
        while *stop.borrow_and_update() == Stop::Not {
            while let Some(ended) = self.tasks.try_join_next() {
                self.report.count(ended);
            }
            let free = concurrency.saturating_sub(self.tasks.len());
            if free != 0 {
                match self.claim(free).await {
                    Ok(0) if self.is_done().await => return Ok(()),
                    Ok(_) => (reached, self.pause) = (true, self.pause.min(POLL.1)),
                    Err(error) if reached && may_pass(&error) => {
                        tracing::warn!(%error, "claiming failed; trying again");
                        self.pause = (self.pause * 2).clamp(POLL.1, OUTAGE_POLL);
                    }
                    Err(error) => return Err(error),
                }
            }
            let full = self.tasks.len() >= concurrency;
            tokio::select! {
                () = told(stop) => {}
                Some(ended) = self.tasks.join_next() => self.report.count(ended),
                () = tokio::time::sleep(self.pause), if !full => {
                    self.pause = (self.pause * 2).min(POLL.1.max(self.pause));
                }
            }
        }
        Ok(())
    }

    /// Claims and starts up to `free` executions; says how many.
    async fn claim(&mut self, free: usize) -> Result<usize, EngineError> {
        let (lane, capabilities) = (&self.config.lane, &self.config.capabilities);
        let limit = u32::try_from(free).unwrap_or(u32::MAX).min(ff_core::rules::claim::CLAIM_MAX);
        let since = Instant::now();
        let handles =
            self.backend.claim_many(lane, capabilities, self.config.terms(), limit).await?;
        let claimed = handles.len();
        for handle in handles {
            let task = Task {
                backend: Arc::clone(&self.backend),
                runner: Arc::clone(&self.runner),
                handle,
                lease_ttl: Duration::from_millis(u64::from(self.config.lease_ttl_ms)),
                leased_since: since,
            };
            self.tasks.spawn(task.run(self.drop_work.subscribe()));
        }
        if claimed != 0 {
            self.report.claimed += u64::try_from(claimed).unwrap_or(u64::MAX);
            (self.pause, self.quiet_looks) = (POLL.0, 0);
        }
        Ok(claimed)
    }

    /// Whether to end, there being nothing to claim.
    async fn is_done(&mut self) -> bool {
        if !self.config.until_empty || !self.tasks.is_empty() {
            return false;
        }
        match self.lane_is_quiet().await {
            Ok(Quiet::Empty) => true,
            Ok(Quiet::NothingForUs) => {
                self.quiet_looks += 1;
                self.report.left_waiting = QUIET_LOOKS <= self.quiet_looks;
                self.report.left_waiting
            }
            Ok(Quiet::No) => {
                self.quiet_looks = 0;
                false
            }
            Err(error) => {
                tracing::warn!(%error, "the lane could not be looked at");
                false
            }
        }
    }

    /// Looks twice, and in the order in which executions move, so that one that moves on between
    /// two looks is still seen.
    async fn lane_is_quiet(&self) -> Result<Quiet, EngineError> {
        let mut quiet = Quiet::Empty;
        for _ in 0..2 {
            // What waits for others of its flow is work to come, whoever does it.
            if self.any(PublicState::WaitingChildren).await? {
                return Ok(Quiet::No);
            }
            if self.any(PublicState::Delayed).await? {
                return Ok(Quiet::No);
            }
            // Suspended executions wait for somebody outside, and count when they are signalled.
            if self.any(PublicState::Resumable).await? || self.any(PublicState::Waiting).await? {
                quiet = Quiet::NothingForUs;
            }
            if self.any(PublicState::Active).await? {
                return Ok(Quiet::No);
            }
        }
        Ok(quiet)
    }

    async fn any(&self, state: PublicState) -> Result<bool, EngineError> {
        let lane = self.config.lane.clone();
        let query = ExecutionQuery::new(1).with_lane_id(lane).with_public_state(state);
        Ok(!self.backend.list_executions_by(query).await?.executions.is_empty())
    }

    /// Lets running work end, or drops it when told to or when the grace is over.
    async fn wind_down(&mut self, stop: &mut watch::Receiver<Stop>) {
        let grace_over = tokio::time::sleep(self.config.grace);
        let mut grace_over = std::pin::pin!(grace_over);
        loop {
            let urgent = *stop.borrow_and_update() == Stop::Now;
            if urgent && !*self.drop_work.borrow() {
                self.drop_work.send_replace(true);
            }
            tokio::select! {
                ended = self.tasks.join_next() => match ended {
                    Some(ended) => self.report.count(ended),
                    None => return,
                },
                () = told(stop) => {}
                () = &mut grace_over, if !*self.drop_work.borrow() => {
                    tracing::warn!(running = self.tasks.len(), "the grace is over");
                    self.drop_work.send_replace(true);
                }
            }
        }
    }
}

enum Quiet {
    No,
    Empty,
    /// Something waits, but a claim of this worker does not get it.
    NothingForUs,
}

/// Returns when something new is said; never when nobody is left to say it.
async fn told(stop: &mut watch::Receiver<Stop>) {
    if stop.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Whether the same call may succeed later: the database is at fault, not the call.
fn may_pass(error: &EngineError) -> bool {
    match error {
        EngineError::Transport { .. }
        | EngineError::Timeout { .. }
        | EngineError::ResourceExhausted { .. }
        | EngineError::Contention(ContentionKind::RetryExhausted) => true,
        EngineError::Contextual { source, .. } => may_pass(source),
        _ => false,
    }
}

#[cfg(all(test, feature = "memory"))]
mod tests;
