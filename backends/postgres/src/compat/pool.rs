//! Functions that open a pool from a configuration.

use ff_core::EngineError;
use ff_core::backend::{BackendConfig, BackendConnection, PostgresConnection};
use sqlx::postgres::PgPool;

use crate::connect::PostgresOptions;

/// Opens a pool, after one connection has shown that the database answers.
///
/// # Errors
/// `Unavailable` when the configuration names another kind of database, `Transport` when the
/// database cannot be reached.
pub async fn build_pool(config: &BackendConfig) -> Result<PgPool, EngineError> {
    let (pool, _) = PostgresOptions::from_config(config.clone())?.open_pool().await?;
    Ok(pool)
}

/// As [`build_pool`], from the connection alone.
///
/// # Errors
/// `Transport` when the database cannot be reached.
pub async fn build_pool_from_connection(
    connection: &PostgresConnection,
) -> Result<PgPool, EngineError> {
    build_pool(&BackendConfig::new(BackendConnection::Postgres(connection.clone()))).await
}
