//! Tests of code that is built on this crate: an engine in memory with seeded ids, a clock that the
//! test advances, and faults on order; and decisions without any engine ([`mod@unit`]).
//!
//! ```
//! use std::time::Duration;
//!
//! use flowfabric_sql::testing::TestBed;
//! use flowfabric_sql::{Context, Failure, Job, Service};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Debug, Serialize, Deserialize)]
//! struct Remind { order: u64 }
//!
//! impl Job for Remind {
//!     const KIND: &'static str = "remind";
//!     type Output = u64;
//! }
//!
//! async fn remind(job: Remind, context: Context<()>) -> Result<u64, Failure> {
//!     context.sleep("a day", Duration::from_secs(86_400)).await?;
//!     Ok(job.order)
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let bed = TestBed::new(17);
//! let service = Service::builder(bed.engine(), ()).handler(remind).build();
//! let reminder = bed.client().submit(&Remind { order: 7 }).await?;
//! bed.assert_enqueued::<Remind>(|job| job.order == 7).await;
//!
//! bed.drain(&service).await?;
//! assert!(bed.enqueued::<Remind>().await?.is_empty(), "it sleeps");
//! bed.advance(Duration::from_secs(86_400));
//! bed.drain(&service).await?;
//! assert_eq!(reminder.result().await?, 7);
//! # Ok(())
//! # }
//! ```

pub mod unit;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

pub use ff_backend_memory::Fault;
use ff_backend_memory::MemoryBackend;
use ff_core::EngineError;
use ff_core::contracts::{ExecutionQuery, RevokeLeaseArgs};
use ff_core::engine_backend::{EngineBackend, Scan};
use ff_core::state::PublicState;
use ff_core::types::{ExecutionId, TimestampMs, WorkerInstanceId};

use crate::job::read_input;
use crate::{Client, Job, Service, WorkerError};

/// The time at which every test begins: 2026-01-01T12:00:00Z, Unix ms.
pub const START: TimestampMs = TimestampMs(1_767_268_800_000);

/// The executions in one read.
const PAGE: u32 = 1_000;

/// The rounds after which work that always leads to more work is given up.
const ROUNDS: usize = 10_000;

/// An engine in memory, with a clock that the test advances.
#[derive(Clone)]
pub struct TestBed {
    memory: MemoryBackend,
    clock: Arc<AtomicI64>,
}

impl TestBed {
    /// An empty engine at [`START`]. The same seed and the same operations give the same ids.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let clock = Arc::new(AtomicI64::new(START.0));
        let hand = Arc::clone(&clock);
        let clocked = Box::new(move || TimestampMs(hand.load(Ordering::SeqCst)));
        Self { memory: MemoryBackend::new().with_seed(seed).with_clock(clocked), clock }
    }

    /// The engine, as the code under test gets it.
    #[must_use]
    pub fn engine(&self) -> Arc<dyn EngineBackend> {
        Arc::new(self.memory.clone())
    }

    /// The backend, for a look at its rows.
    #[must_use]
    pub fn memory(&self) -> &MemoryBackend {
        &self.memory
    }

    /// A client of the engine.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(self.engine())
    }

    /// The time by the clock of the engine.
    #[must_use]
    pub fn now(&self) -> TimestampMs {
        TimestampMs(self.clock.load(Ordering::SeqCst))
    }

    /// Advances the clock.
    pub fn advance(&self, time: Duration) {
        let span = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        self.clock.fetch_add(span, Ordering::SeqCst);
    }

    /// Runs everything that can run at this time: what is due is scanned, and the jobs of the
    /// service run, until neither brings anything more. What waits for a time waits on.
    ///
    /// # Errors
    /// The reason why a lane cannot be worked on; the engine's failure, also one on order.
    pub async fn drain(&self, service: &Service) -> Result<(), WorkerError> {
        for _ in 0..ROUNDS {
            let scanned = self.scan().await?;
            let ran = service.run_until_idle().await?;
            if scanned == 0 && ran == 0 {
                return Ok(());
            }
        }
        let reason = format!("the work has no end: {ROUNDS} rounds brought more of it each");
        Err(WorkerError::Broken { reason })
    }

    /// Applies every timer and dispatches every event that is due at this time. Returns how many.
    ///
    /// # Errors
    /// The engine's failure.
    pub async fn scan(&self) -> Result<u64, EngineError> {
        let mut done = 0;
        for scan in Scan::ALL {
            let report = self.memory.scan(scan, PAGE).await?;
            done += u64::from(report.processed);
        }
        Ok(done)
    }

    /// The jobs of that type that wait for a worker, oldest first.
    ///
    /// # Errors
    /// The engine's failure. An input of another type counts as none of that type.
    pub async fn enqueued<J: Job>(&self) -> Result<Vec<(ExecutionId, J)>, EngineError> {
        let mut jobs = Vec::new();
        let waiting = ExecutionQuery::new(PAGE).with_public_state(PublicState::Waiting);
        for execution in self.memory.list_executions_by(waiting).await?.executions {
            let id = execution.execution_id;
            let context = self.memory.read_execution_context(&id).await?;
            if context.execution_kind == J::KIND
                && let Ok(job) = read_input::<J>(&context.input_payload)
            {
                jobs.push((id, job));
            }
        }
        jobs.reverse();
        Ok(jobs)
    }

    /// Asserts that such a job waits for a worker, and returns its execution.
    ///
    /// # Panics
    /// If none does, with the number of those of its type that wait.
    #[expect(clippy::panic, reason = "an assertion of tests")]
    #[track_caller]
    pub fn assert_enqueued<J: Job>(
        &self,
        is_it: impl Fn(&J) -> bool + Send,
    ) -> impl Future<Output = ExecutionId> + Send {
        let place = std::panic::Location::caller();
        async move {
            let jobs = match self.enqueued::<J>().await {
                Ok(jobs) => jobs,
                Err(error) => panic!("{place}: reading what is enqueued: {error}"),
            };
            let count = jobs.len();
            match jobs.into_iter().find(|(_, job)| is_it(job)) {
                Some((id, _)) => id,
                None => panic!(
                    "{place}: no such job of kind {:?} waits for a worker; {count} of that kind do",
                    J::KIND
                ),
            }
        }
    }

    /// Orders a fault of the next commit of a plan: `create_execution`, `claim`, `complete`,
    /// `record_step`, or another name that `ff sql` lists.
    pub fn fail_next(&self, plan: &str, fault: Fault) {
        self.memory.fail_next(plan, fault);
    }

    /// Takes the lease of an execution from its worker, as an operator would. Nothing changes where
    /// no worker holds it.
    ///
    /// # Errors
    /// The engine's refusal of an unknown execution.
    pub async fn lose_lease(&self, id: &ExecutionId) -> Result<(), EngineError> {
        let args = RevokeLeaseArgs {
            execution_id: id.clone(),
            expected_lease_id: None,
            worker_instance_id: WorkerInstanceId::new(""),
            reason: "a fault that the test ordered".into(),
        };
        self.memory.revoke_lease(args).await.map(drop)
    }
}

impl fmt::Debug for TestBed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestBed").field("now", &self.now()).finish_non_exhaustive()
    }
}
