//! flowfabric-sql on SQLite, embedded and durable.
//!
//! All writes go through one task that owns one connection and commits in groups; reads have their
//! own connections. Every statement over the schema's tables is rendered by `ff-codegen`; this crate
//! writes pragmas, transaction control and the migration ledger itself, and knows no rule.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod adopt;
mod backend;
mod bind;
mod clock;
mod compat;
mod connect;
mod error;
mod execute;
mod inspect;
mod location;
pub mod migrate;
mod presence;
mod reader;
mod statements;
mod watch;
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
