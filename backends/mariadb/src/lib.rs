//! flowfabric-sql on MariaDB.
//!
//! All writes of a process go through one task, which owns one connection and commits in groups;
//! the writers of several processes take turns. Reads have their own connections. `ff-codegen`
//! renders every statement over the schema's tables. This crate writes only transaction control,
//! settings and the migration ledger, and knows no rule.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod backend;
mod bind;
mod clock;
mod connect;
mod error;
pub mod migrate;
mod writer;

pub use backend::MariaDbBackend;
pub use connect::MariaDbOptions;
pub use error::MariaDbError;
pub use ff_codegen::opening::{Opening, Refusal};
pub use sqlx;
