//! Measures an engine on a database of its own.
//!
//! A [`Scenario`] is a load. It runs through the engine and through the [`ceiling`]: hand-written
//! SQL that makes exactly the same changes to the same tables. Both run in turns, so that a noisy
//! machine disturbs both. Beside the rates stands what the database did for each life: log,
//! statements, heap-only updates.
//!
//! This crate knows no rule of the engine. The caller opens the engine, through [`Engines`].
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod ceiling;
mod diamond;
mod disk;
mod error;
mod live;
mod load;
mod measure;
mod place;
mod report;
mod scenario;
mod submission;
mod usage;
mod wait;

pub use diamond::{Dependency, Diamond};
pub use disk::Disk;
pub use error::BenchError;
pub use live::{Live, Progress};
pub use load::{PAYLOAD, fill, run};
pub use measure::{Engines, Settings, measure};
pub use place::{Place, PostgresPlace, SqlitePlace};
pub use report::{Measured, Percentiles, Report, Side, Step, StepName};
pub use scenario::Scenario;
pub use submission::{submission, submission_of, submission_with_retries, terms};
pub use usage::{Size, Usage};
pub use wait::{Wait, resumption, signing_key};
