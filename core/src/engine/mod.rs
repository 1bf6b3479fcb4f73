//! The [`Executor`] that a backend implements, and the loop that runs every operation on it.
//!
//! A backend reads rows, commits plans and has a clock. In return it receives all of
//! [`operations::EngineBackend`] from one implementation (`engine/backend.rs`).
//! Concurrency is optimistic: a transition decides on the rows that it read, and its plan guards
//! what must still hold at commit. A refused plan is decided again on rows that are read again.
//! Callers of one process that change the same row take turns; those of different processes back
//! off at random.

mod backend;
mod begun;
pub mod bell;
mod bulk;
mod callers;
mod cascade;
pub mod completions;
mod executor;
mod frames;
pub mod operations;
mod passing;
mod patience;
mod patrol;
mod run;
mod subscribe;
pub mod tail;
mod timers;
mod turns;
#[cfg(feature = "generate")]
mod wait;

pub use crate::rules::decision::{FromRows, Step, Then, Transition};
pub use crate::rules::scan::ScanScope;
pub use bell::{Bell, Rings, Topic, Topics};
pub use bulk::BulkPreview;
pub use callers::Callers;
pub use cascade::dispatch_event;
pub use executor::{Commit, Executor, Horizon, Identity};
pub use patience::pause_after;
pub use patrol::{StopPatrols, patrol};
pub use run::{Rehearsed, rehearse, run};
pub use subscribe::spoiled_pages;
pub use timers::scan_within;
#[cfg(feature = "generate")]
pub use wait::wait_for_flow_cancellation;
