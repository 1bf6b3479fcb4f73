//! A service: typed handlers, and everything that runs them.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ff_core::backend::CapabilitySet;
use ff_core::engine_backend::EngineBackend;
use ff_core::types::{LaneId, WorkerId, WorkerInstanceId};
use tokio::sync::watch;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::handler::{Answer, Context, Failure, Handlers};
use crate::signing::ensure_key;
use crate::worker::{ClaimScopes, Runner};
use crate::{
    Job, OnChangedSteps, ScannerConfig, ScannerSupervisor, Stop, Until, Worker, WorkerConfig,
    WorkerError, WorkerReport,
};

/// Runs jobs by their handlers, one worker for each lane, and scans for what is due.
///
#[cfg_attr(feature = "sqlite", doc = "```")]
#[cfg_attr(not(feature = "sqlite"), doc = "```ignore")]
/// use flowfabric_sql::{Client, Context, Failure, Job, Service};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Greet { name: String }
///
/// impl Job for Greet {
///     const KIND: &'static str = "greet";
///     type Output = String;
/// }
///
/// struct App { greeting: &'static str }
///
/// async fn greet(job: Greet, context: Context<App>) -> Result<String, Failure> {
///     Ok(format!("{}, {}!", context.state().greeting, job.name))
/// }
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let engine = flowfabric_sql::open("sqlite::memory:").await?;
/// let greeting = Client::new(engine.clone()).submit(&Greet { name: "Ada".into() }).await?;
///
/// let service = Service::builder(engine, App { greeting: "Hello" }).handler(greet).build();
/// service.run_until_empty().await?;
/// assert_eq!(greeting.result().await?, "Hello, Ada!");
/// # Ok(())
/// # }
/// ```
pub struct Service {
    engine: Arc<dyn EngineBackend>,
    runner: Arc<dyn Runner>,
    lanes: BTreeSet<LaneId>,
    settings: Settings,
}

/// What is said of a service besides its handlers.
#[derive(Clone, Debug)]
struct Settings {
    name: String,
    instance: String,
    capabilities: CapabilitySet,
    scopes: ClaimScopes,
    concurrency: u32,
    lease: Duration,
    grace: Duration,
    scanners: Option<ScannerConfig>,
}

/// Builds a [`Service`].
#[must_use = "a service does nothing until it runs"]
pub struct ServiceBuilder<S> {
    engine: Arc<dyn EngineBackend>,
    handlers: Handlers<S>,
    lanes: BTreeSet<LaneId>,
    settings: Settings,
}

impl Service {
    /// A service of that engine, with that state for all handlers: 16 jobs of each lane at a time,
    /// leases of 30 s, a grace of 10 s, and all scanners.
    pub fn builder<S: Send + Sync + 'static>(
        engine: Arc<dyn EngineBackend>,
        state: S,
    ) -> ServiceBuilder<S> {
        let settings = Settings {
            name: "service".into(),
            instance: format!("service-{}", Uuid::new_v4().simple()),
            capabilities: CapabilitySet::default(),
            scopes: ClaimScopes::default(),
            concurrency: 16,
            lease: Duration::from_secs(30),
            grace: Duration::from_secs(10),
            scanners: Some(ScannerConfig::default()),
        };
        let handlers = Handlers::new(Arc::clone(&engine), state);
        ServiceBuilder { engine, handlers, lanes: BTreeSet::new(), settings }
    }

    /// Runs until that future is ready, such as a signal of the operating system. Then nothing more
    /// is claimed, and what runs may end within the grace.
    ///
    /// # Errors
    /// The reason why a lane cannot be worked on. The others have been ended as by the future.
    pub async fn run_until(self, stopped: impl Future<Output = ()>) -> Result<(), WorkerError> {
        self.run(Until::Stopped, self.settings.scanners.clone(), stopped).await.map(drop)
    }

    /// Runs until its lanes are empty: nothing waits, runs or is delayed.
    ///
    /// # Errors
    /// As [`Self::run_until`].
    pub async fn run_until_empty(self) -> Result<(), WorkerError> {
        let scanners = self.settings.scanners.clone();
        self.run(Until::Empty, scanners, std::future::pending()).await.map(drop)
    }

    /// Runs what can run now, without scanning. Returns how many jobs that were.
    #[cfg(feature = "memory")]
    pub(crate) async fn run_until_idle(&self) -> Result<u64, WorkerError> {
        self.run(Until::Idle, None, std::future::pending()).await
    }

    /// Runs one worker for each lane, and the scanners. Returns how many jobs were claimed.
    async fn run(
        &self,
        until: Until,
        scanners: Option<ScannerConfig>,
        stopped: impl Future<Output = ()>,
    ) -> Result<u64, WorkerError> {
        ensure_key(self.engine.as_ref(), "service").await?;
        let scanners =
            scanners.map(|config| ScannerSupervisor::spawn(Arc::clone(&self.engine), config));
        let stop = watch::Sender::new(Stop::Not);

        let mut workers = JoinSet::new();
        for lane in &self.lanes {
            let config = WorkerConfig { until, ..self.settings.of_lane(lane) };
            let worker = Worker::new(Arc::clone(&self.engine), Arc::clone(&self.runner), config);
            workers.spawn(worker.run(stop.subscribe()));
        }
        let ended = all_ended(&mut workers, &stop, stopped).await;

        if let Some(scanners) = scanners {
            scanners.shutdown(self.settings.grace).await;
        }
        ended
    }
}

/// Waits until all workers have ended. The first that fails ends the others. Returns how many jobs
/// they claimed.
async fn all_ended(
    workers: &mut JoinSet<Result<WorkerReport, WorkerError>>,
    stop: &watch::Sender<Stop>,
    stopped: impl Future<Output = ()>,
) -> Result<u64, WorkerError> {
    let mut stopped = std::pin::pin!(stopped);
    let (mut is_stopped, mut failed, mut claimed) = (false, None, 0);
    loop {
        tokio::select! {
            ended = workers.join_next() => match ended {
                Some(Ok(Ok(report))) => claimed += report.claimed,
                Some(Ok(Err(error))) => {
                    stop.send_replace(Stop::Drain);
                    failed = failed.or(Some(error));
                }
                Some(Err(error)) => {
                    tracing::error!(%error, "a worker died");
                    stop.send_replace(Stop::Drain);
                    let reason = format!("a worker died: {error}");
                    failed = failed.or(Some(WorkerError::Broken { reason }));
                }
                None => return failed.map_or(Ok(claimed), Err),
            },
            () = &mut stopped, if !is_stopped => {
                is_stopped = true;
                stop.send_replace(Stop::Drain);
            }
        }
    }
}

impl Settings {
    fn of_lane(&self, lane: &LaneId) -> WorkerConfig {
        let (worker, instance) = (WorkerId::new(&*self.name), self.instance_of(lane));
        let config = WorkerConfig::new(lane.clone(), worker, instance);
        WorkerConfig {
            capabilities: self.capabilities.clone(),
            scopes: self.scopes.clone(),
            concurrency: self.concurrency,
            lease_ttl_ms: u32::try_from(self.lease.as_millis()).unwrap_or(u32::MAX),
            grace: self.grace,
            ..config
        }
    }

    /// Each lane has a worker of its own in the registry.
    fn instance_of(&self, lane: &LaneId) -> WorkerInstanceId {
        WorkerInstanceId::new(format!("{}/{lane}", self.instance))
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Service");
        shown.field("lanes", &self.lanes).field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl<S: Send + Sync + 'static> ServiceBuilder<S> {
    /// Adds the handler of a kind of jobs, in place of one that was added before, and works on
    /// their lane ([`Job::LANE`]). It returns the output, or [`Completed`](crate::Completed) where
    /// it completes its jobs in transactions of its own.
    pub fn handler<J, A, F, R>(mut self, handler: F) -> Self
    where
        J: Job,
        A: Answer<J::Output> + Send + 'static,
        F: Fn(J, Context<S>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<A, Failure>> + Send + 'static,
    {
        self.handlers.add(handler);
        self.lane(J::LANE)
    }

    /// Works on that lane, too.
    pub fn lane(mut self, lane: impl Into<LaneId>) -> Self {
        self.lanes.insert(lane.into());
        self
    }

    /// Runs up to so many jobs of each lane at a time.
    pub fn concurrency(mut self, jobs: u32) -> Self {
        self.settings.concurrency = jobs;
        self
    }

    /// Names the service, for the registry of workers, and this instance of it.
    pub fn named(mut self, name: impl Into<String>, instance: impl Into<String>) -> Self {
        (self.settings.name, self.settings.instance) = (name.into(), instance.into());
        self
    }

    /// Offers these capabilities. Jobs that need others are left to other services.
    pub fn capabilities(mut self, capabilities: CapabilitySet) -> Self {
        self.settings.capabilities = capabilities;
        self
    }

    /// Claims from these partitions only. Other services need to claim from the others.
    pub fn partitions(mut self, scopes: ClaimScopes) -> Self {
        self.settings.scopes = scopes;
        self
    }

    /// The duration of a lease without renewal. The jobs of a dead process run elsewhere after that
    /// time.
    pub fn lease(mut self, time: Duration) -> Self {
        self.settings.lease = time;
        self
    }

    /// The longest time that running jobs may take once the service is stopped.
    pub fn grace(mut self, time: Duration) -> Self {
        self.settings.grace = time;
        self
    }

    /// Scans as configured; with `None` another process must scan.
    pub fn scanners(mut self, scanners: impl Into<Option<ScannerConfig>>) -> Self {
        self.settings.scanners = scanners.into();
        self
    }

    /// Treats jobs with recorded steps that no longer fit their handlers like that.
    pub fn on_changed_steps(mut self, treatment: OnChangedSteps) -> Self {
        self.handlers.on_changed_steps = treatment;
        self
    }

    /// The service.
    #[must_use]
    pub fn build(self) -> Service {
        let Self { engine, handlers, lanes, settings } = self;
        Service { engine, runner: Arc::new(handlers), lanes, settings }
    }
}

impl<S> fmt::Debug for ServiceBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("ServiceBuilder");
        shown.field("lanes", &self.lanes).field("settings", &self.settings).finish_non_exhaustive()
    }
}
