//! A durable-execution core: a database that records which worker runs what, and what is next.
//!
//! Everything a caller does goes through one trait, [`EngineBackend`], and [`open`] finds its
//! implementation by URL: a SQLite file, a Postgres database, or this process's memory. Beside it
//! a process needs two loops, both here: a [`ScannerSupervisor`] that applies due timers, and a
//! [`Worker`] that claims executions and runs them.
//!
//! Most programs use what is built on these: a [`Client`] that submits typed [`Job`]s, and a
//! [`Service`] that runs both loops and calls a handler for each job. `testing` is for their tests.
//!
//! This crate puts the parts together and knows no rule; the rules are in [`core`].
//!
#![cfg_attr(feature = "sqlite", doc = "```")]
#![cfg_attr(not(feature = "sqlite"), doc = "```ignore")]
//! use std::collections::HashMap;
//!
//! use flowfabric_sql::{
//!     CapabilitySet, ClaimPolicy, CreateExecutionArgs, ExecutionId, LaneId, Namespace,
//!     PartitionConfig, PublicState, TimestampMs, WorkerId, WorkerInstanceId,
//! };
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let engine = flowfabric_sql::open("sqlite::memory:").await?;
//!
//! // A caller submits an execution.
//! let lane = LaneId::new("invoices");
//! let id = ExecutionId::solo(&lane, &PartitionConfig::default());
//! let args = CreateExecutionArgs {
//!     execution_id: id.clone(),
//!     namespace: Namespace::new("default"),
//!     lane_id: lane.clone(),
//!     execution_kind: "render".into(),
//!     input_payload: b"invoice 17".to_vec(),
//!     payload_encoding: None,
//!     priority: 0,
//!     creator_identity: "example".into(),
//!     idempotency_key: None,
//!     tags: HashMap::new(),
//!     policy: None,
//!     delay_until: None,
//!     execution_deadline_at: None,
//!     partition_id: id.partition(),
//!     now: TimestampMs::now(),
//! };
//! engine.create_execution(args).await?;
//!
//! // A worker claims it, for 30 s unless it renews, and completes it.
//! let (worker, instance) = (WorkerId::new("renderer"), WorkerInstanceId::new("renderer-1"));
//! let terms = ClaimPolicy::new(worker, instance, 30_000, None);
//! let handle = engine.claim(&lane, &CapabilitySet::default(), terms).await?.ok_or("no work")?;
//! engine.complete(&handle, Some(b"17.pdf".to_vec())).await?;
//!
//! assert_eq!(engine.read_execution_state(&id).await?, Some(PublicState::Completed));
//! assert_eq!(engine.get_execution_result(&id).await?, Some(b"17.pdf".to_vec()));
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//! - `sqlite`, `postgres`, `memory`: the backends that [`open`] knows; the first two by default.
//! - `cli`: the binary `ff`; by default. A library user turns it off.
//! - `otel`: `ff` sends its spans to an OpenTelemetry collector.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

/// Pages of `docs/`: their Rust blocks are compiled and run.
#[cfg(all(doctest, feature = "sqlite"))]
mod pages {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/jobs.md")]
    pub struct Jobs;

    #[doc = include_str!("../docs/tutorial.md")]
    pub struct Tutorial;

    #[doc = include_str!("../docs/web-services.md")]
    struct WebServices;

    #[cfg(feature = "memory")]
    #[doc = include_str!("../docs/testing-jobs.md")]
    struct TestingJobs;
}

mod client;
mod clock;
pub mod flow;
mod handler;
mod job;
mod open;
pub mod scanner;
mod service;
pub mod signing;
pub mod telemetry;
#[cfg(feature = "memory")]
pub mod testing;
mod within;
pub mod worker;

pub use ff_core as core;

#[cfg(feature = "mariadb")]
pub use ff_backend_mariadb as mariadb;
#[cfg(feature = "memory")]
pub use ff_backend_memory as memory;
#[cfg(feature = "postgres")]
pub use ff_backend_postgres as postgres;
#[cfg(feature = "sqlite")]
pub use ff_backend_sqlite as sqlite;

pub use ff_core::EngineError;
pub use ff_core::backend::{
    CapabilitySet, ClaimPolicy, FailOutcome, FailureClass, FailureReason, Handle, LeaseRenewal,
};
pub use ff_core::contracts::{
    CancelExecutionArgs, ClaimScope, CreateExecutionArgs, CreateExecutionResult, ExecutionContext,
    ExecutionInfo, ExecutionQuery, ExecutionSnapshot, ExecutionTimeline, PartitionSet,
};
pub use ff_core::engine_backend::{EngineBackend, ReconcileCounts, Scan};
pub use ff_core::partition::PartitionConfig;
pub use ff_core::policy::{BackoffStrategy, ExecutionPolicy, RetryPolicy, TimeoutPolicy};
pub use ff_core::state::PublicState;
pub use ff_core::types::{
    CancelSource, ExecutionId, LaneId, Namespace, TimestampMs, WorkerId, WorkerInstanceId,
};

pub use client::{Client, JobError, Submission, SubmissionError, Submitted};
pub use flow::{FlowSpec, FlowSpecError, NodeSpec};
pub use handler::{
    Answer, ChangedSteps, Child, Completed, Context, Failure, OnChangedSteps, Signal,
};
pub use job::{Job, Unreadable};
pub use open::{OpenError, OpenOptions, Opening, Scheme, Tuning, open};
pub use scanner::{ScannerConfig, ScannerLiveness, ScannerReport, ScannerSupervisor};
pub use service::{Service, ServiceBuilder};
pub use within::{InTransaction, Within};
pub use worker::{
    ClaimScopes, Ending, Run, Runner, Stop, Until, Worker, WorkerConfig, WorkerError, WorkerReport,
};
