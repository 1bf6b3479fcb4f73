//! flowfabric-sql on SQLite, embedded and durable.
//!
//! All writes go through one task, which owns one connection and commits in groups. Reads have
//! their own connections. `ff-codegen` renders every statement over the schema's tables. This crate
//! writes only pragmas, transaction control and the migration ledger, and knows no rule.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod adopt;
mod backend;
mod bind;
mod callers;
mod clock;
mod compat;
mod connect;
mod error;
mod inspect;
mod inspection;
mod location;
pub mod migrate;
mod presence;
mod reader;
mod script;
mod statements;
mod watch;
mod within;
mod writer;

pub use backend::SqliteBackend;
pub use compat::retry::{
    IsRetryableBusy, MAX_ATTEMPTS, is_retryable_sqlite_busy, retry_serializable,
};
pub use compat::scanner_supervisor::{SqliteScannerConfig, SqliteScannerHandle};
pub use compat::{pubsub, retry};
pub use connect::{Clock, SqliteOptions, Synchronous};
pub use ff_codegen::opening::{Opening, Refusal};

pub use error::{OpenError, SqliteError};
pub use sqlx;
