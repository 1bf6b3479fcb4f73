//! One claimed execution, from the claim to its end.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use ff_core::EngineError;
use ff_core::backend::{FailureClass, Handle};
use ff_core::engine_backend::{EngineBackend, ExpirePhase};
use ff_core::handle_codec::HandlePayload;
use ff_core::partition::{Partition, PartitionFamily};
use ff_core::state::PublicState;
use futures_util::FutureExt as _;
use tokio::time::{Instant, sleep, sleep_until};

use super::running::{Order, Place};
use super::{Ending, Job, Runner, is_of_the_database, is_permanent, lease};

/// The outcome of a claim, for the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Completed,
    /// Tried again, after this time if it is known.
    Retried(Option<Duration>),
    Failed,
    Cancelled,
    Suspended,
    HandedBack,
    /// Handed back, because the machine cannot run it for this reason.
    Unable(String),
    Lost,
    /// The database fails in a way that no repetition mends.
    Broken(String),
}

/// One claim with everything needed to run and report it.
pub(super) struct Task {
    pub(super) backend: Arc<dyn EngineBackend>,
    pub(super) runner: Arc<dyn Runner>,
    pub(super) handle: Handle,
    pub(super) held: HandlePayload,
    pub(super) lease_ttl: Duration,
    /// The time of the request: the lease began no earlier.
    pub(super) asked: Instant,
    /// The time of the answer: the attempt began no later.
    pub(super) answered: Instant,
    pub(super) place: Place,
}

/// The reason why a run stopped.
enum Stopped {
    Ended(Ending),
    LeaseLost(EngineError),
    Broken(EngineError),
    TimedOut,
    Ordered(Order),
}

/// The job and its deadline, once the execution has been read.
struct Known {
    job: Arc<Job>,
    out_of_time: Option<Instant>,
}

impl Task {
    pub(super) async fn run(self) -> Fate {
        let mut known = None;
        let stopped = self.until_stopped(&mut known).await;
        let fate = match stopped {
            Stopped::Ended(ending) => self.settle(ending).await,
            Stopped::Ordered(Order::HandBack) => self.settle(Ending::HandedBack).await,
            Stopped::Broken(error) => {
                // For another worker, whose database may be whole.
                self.settle(Ending::HandedBack).await;
                Fate::Broken(error.to_string())
            }
            Stopped::TimedOut => self.time_out().await,
            Stopped::LeaseLost(error) => self.lose(known.as_ref(), &error).await,
            Stopped::Ordered(Order::Superseded) => Fate::Lost,
        };

        self.log_end(known.as_ref(), &fate);
        fate
    }

    /// Runs the work until it ends or must stop. Waits until nothing is left of a stopped run, and
    /// renews the lease meanwhile.
    async fn until_stopped(&self, known: &mut Option<Known>) -> Stopped {
        let id = &self.held.execution_id;
        let backend = self.backend.as_ref();
        let lease = lease::keep(backend, &self.handle, id, self.lease_ttl, self.asked).fuse();
        let mut lease = pin!(lease);

        let read = tokio::select! {
            biased;
            error = &mut lease => return Stopped::LeaseLost(error),
            order = self.place.ordered() => return Stopped::Ordered(order),
            read = self.begin() => read,
        };
        let known = match read {
            Ok(read) => known.insert(read),
            Err(error) if is_permanent(&error) => return Stopped::Broken(error),
            Err(error) => return Stopped::Ended(unreadable(&error)),
        };

        let stopped = self.until_ended(known, lease.as_mut()).await;
        if matches!(stopped, Stopped::Ended(_)) {
            return stopped;
        }

        let mut cleared = self.runner.cleared(&known.job);
        tokio::select! {
            () = &mut cleared => stopped,
            error = &mut lease => {
                cleared.await;
                Stopped::LeaseLost(error)
            }
        }
    }

    /// Waits for an older run of the execution, and reads what to do.
    async fn begin(&self) -> Result<Known, EngineError> {
        self.place.alone().await;
        let context = self.backend.read_execution_context(&self.held.execution_id).await?;
        let timeout = context.attempt_timeout_ms.map(Duration::from_millis);
        let out_of_time = timeout.and_then(|timeout| self.answered.checked_add(timeout));

        let job = Job {
            handle: self.handle.clone(),
            execution_id: self.held.execution_id.clone(),
            attempt_index: self.held.attempt_index,
            lease_epoch: self.held.lease_epoch,
            lane_id: self.held.lane_id.clone(),
            kind: context.execution_kind,
            payload: context.input_payload,
            tags: context.tags,
        };

        Ok(Known { job: Arc::new(job), out_of_time })
    }

    async fn until_ended(
        &self,
        known: &Known,
        lease: Pin<&mut (impl Future<Output = EngineError> + Send)>,
    ) -> Stopped {
        let job = &known.job;
        let (execution_id, attempt) = (&job.execution_id, job.attempt_index.0);
        tracing::info!(%execution_id, kind = job.kind, attempt, "started");

        let out_of_time = async {
            match known.out_of_time {
                Some(instant) => sleep_until(instant).await,
                None => std::future::pending().await,
            }
        };

        // A run that panicked is never polled again, so that no broken state is seen.
        let work = AssertUnwindSafe(self.runner.run(Arc::clone(job))).catch_unwind();
        tokio::select! {
            // An ending that is there is reported, whatever else happened meanwhile.
            biased;
            ending = work => Stopped::Ended(ending.unwrap_or_else(|panic| panicked(&*panic))),
            error = lease => Stopped::LeaseLost(error),
            order = self.place.ordered() => Stopped::Ordered(order),
            () = out_of_time => Stopped::TimedOut,
        }
    }

    /// Asks the engine to end the attempt and to decide on a retry by policy.
    async fn time_out(&self) -> Fate {
        let id = &self.held.execution_id;
        let index = id.partition();
        for _ in 0..3 {
            let partition = Partition { family: PartitionFamily::Execution, index };
            let expired = async {
                let now = self.now().await?;
                let phase = ExpirePhase::AttemptTimeout;
                self.backend.expire_execution(partition, id, phase, now).await?;
                self.backend.read_execution_state(id).await
            };

            match expired.await {
                // Not yet, by the database's clock.
                Ok(Some(PublicState::Active)) => {}
                Ok(state) => return out_of_time_fate(state),
                Err(error) => {
                    tracing::warn!(execution_id = %id, %error, "an attempt is out of time");
                }
            }
            sleep(Duration::from_millis(50)).await;
        }
        Fate::Lost
    }

    /// Finds out why the lease was lost; a cancellation and a time-out are no surprise.
    async fn lose(&self, known: Option<&Known>, error: &EngineError) -> Fate {
        let execution_id = &self.held.execution_id;
        let state = self.backend.read_execution_state(execution_id).await.ok().flatten();
        let out_of_time = known.and_then(|known| known.out_of_time);

        match state {
            Some(PublicState::Cancelled) => Fate::Cancelled,
            Some(PublicState::Expired) => Fate::Failed,
            state if out_of_time.is_some_and(|instant| instant <= Instant::now()) => {
                out_of_time_fate(state)
            }
            _ => {
                tracing::warn!(%execution_id, %error, "a lease is lost");
                Fate::Lost
            }
        }
    }

    fn log_end(&self, known: Option<&Known>, fate: &Fate) {
        let execution_id = &self.held.execution_id;
        let kind = known.map_or("", |known| known.job.kind.as_str());
        let attempt = self.held.attempt_index.0;
        let elapsed_ms = u64::try_from(self.answered.elapsed().as_millis()).unwrap_or(u64::MAX);

        let ended = match fate {
            Fate::Completed => "completed",
            Fate::Retried(_) => "failed, to be tried again",
            Fate::Failed => "failed",
            Fate::Cancelled => "cancelled",
            Fate::Suspended => "suspended",
            Fate::HandedBack | Fate::Unable(_) => "handed back",
            Fate::Lost | Fate::Broken(_) => "lost",
        };

        tracing::info!(%execution_id, kind, attempt, elapsed_ms, "{ended}");
    }
}

/// The fate of an execution after its attempt was ended by its time-out.
fn out_of_time_fate(state: Option<PublicState>) -> Fate {
    match state {
        Some(PublicState::Cancelled) => Fate::Cancelled,
        Some(PublicState::Expired | PublicState::Failed) => Fate::Failed,
        Some(_) => Fate::Retried(None),
        None => Fate::Lost,
    }
}

/// The ending of an execution that cannot be read: handed back if that may pass, failed otherwise.
fn unreadable(error: &EngineError) -> Ending {
    if is_of_the_database(error) {
        tracing::warn!(%error, "what was claimed could not be read; handing it back");
        return Ending::HandedBack;
    }

    let message = format!("what was claimed cannot be read: {error}");
    Ending::Failed { message, class: FailureClass::Permanent }
}

/// The ending of a run that panicked.
fn panicked(panic: &(dyn Any + Send)) -> Ending {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    let message = match text {
        Some(text) => format!("the runner panicked: {text}"),
        None => "the runner panicked".to_owned(),
    };
    Ending::Failed { message, class: FailureClass::Transient }
}
