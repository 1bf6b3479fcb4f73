//! The [`Executor`] that a backend implements, and the loop that runs every operation on it.
//!
//! A backend reads rows, commits plans and has a clock. In return it receives all of
//! [`operations::EngineBackend`] from one implementation (`engine/backend.rs`).
//! Concurrency is optimistic: a transition decides on the rows that it read, and its plan guards
//! what must still hold at commit. A refused plan is decided again on rows that are read again.
//! Callers of one process that change the same row take turns; those of different processes back
//! off at random.

mod admission;
mod archive;
mod backend;
mod background_scans;
mod backoff;
pub mod bell;
mod budgeted;
mod bulk;
mod cascade;
mod children;
mod combined;
pub mod completions;
mod database_report;
mod executor;
mod fair;
mod frames;
mod granting;
mod in_flight;
mod known_streams;
mod lock;
mod lost_workers;
mod named;
mod obstacles;
pub mod operations;
mod over_run;
mod places;
mod process_state;
#[cfg(feature = "generate")]
mod random;
mod reconcile;
mod remembered;
mod remembered_limits;
mod reserving;
mod retention;
mod run;
mod scan_executor;
mod schedules;
mod steps;
mod subject;
mod subscribe;
pub mod tail;
mod taking;
mod timers;
mod traffic;
mod turns;
#[cfg(feature = "generate")]
mod wait;
mod within;

pub use crate::rules::decision::{FromRows, Step, Then, Transition};
pub use crate::rules::scan::ScanScope;
pub use background_scans::{BackgroundScans, InstalledScans};
pub use backoff::pause_after;
pub use bell::{Bell, Rings, Topic, Topics};
pub use bulk::BulkPreview;
pub use cascade::dispatch_event;
pub use database_report::{
    DatabaseReport, DiskSpace, NumberSequence, OpenSnapshot, SessionSetting, UnanalysedTable,
};
pub use executor::{BackendName, Commit, Executor, Horizon};
pub use process_state::ProcessState;
#[cfg(feature = "generate")]
pub use random::Random;
pub use run::{DryRun, dry_run, run};
pub use subscribe::unreadable_page_queries;
pub use timers::scan_within;
pub use traffic::{Traffic, TrafficMeter};
#[cfg(feature = "generate")]
pub use wait::wait_for_flow_cancellation;
pub use within::{CallersTransaction, Operation, Request, Within, transaction_conflict};
