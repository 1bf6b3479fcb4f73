//! flowfabric-sql on Postgres.
//!
//! Sends what the generator rendered: a plan, or as many plans of one shape as are waiting, is one
//! statement and one round trip. Knows how values travel, which failures mean what, and which plans
//! may share a statement; knows no table and no rule.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod backend;
mod bind;
mod clock;
mod commit;
mod connect;
mod error;
mod flight;
mod identity;
mod listen;
pub mod migrate;
mod notify;
mod parameters;
mod random;
mod reader;
mod session;
mod statements;

pub use backend::PostgresBackend;
pub use connect::PostgresOptions;
pub use error::{ErrorClass, PostgresError, map_sqlx_error};
pub use sqlx::PgPool;
