//! flowfabric-sql on Postgres.
//!
//! Sends rendered statements: a plan, or as many waiting plans of one shape as fit, is one
//! statement and one round trip. This crate knows the encoding of values, the meaning of failures,
//! and which plans may share a statement. It knows no table and no rule.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod backend;
mod batch;
mod bind;
mod clock;
mod commit;
mod compat;
mod connect;
mod connections;
mod error;
mod inspection;
mod kept;
mod listen;
pub mod migrate;
mod notify;
mod numbers;
mod optimistic;
mod parameters;
mod reader;
mod row_keys;
mod servers;
mod session;
mod statements;
mod transaction;
mod url;
mod within;

pub use backend::PostgresBackend;
pub use compat::apply_migrations;
pub use compat::scanner_supervisor::{PostgresScannerConfig, PostgresScannerHandle};
pub use compat::version::check_schema_version;
pub use compat::{
    claim_grant, dispatch, flow, flow_staging, pool, reconcilers, scanner_supervisor, scheduler,
    signal, stream, suspend, version,
};
pub use connect::PostgresOptions;
pub use ff_codegen::opening::{Opening, Refusal};

pub use error::{PostgresError, map_sqlx_error};
pub use ff_core::backend::PostgresConnection;
pub use migrate::MigrateError as MigrationError;
pub use sqlx::{self, PgPool};
