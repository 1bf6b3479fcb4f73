//! The reasons why a measurement fails.

use ff_core::EngineError;

/// A failure of a measurement.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// The engine refused or failed.
    #[error("the engine: {}", .0.sentence())]
    Engine(#[from] EngineError),
    /// The engine could not be opened.
    #[error("opening the engine: {0}")]
    Open(String),
    /// Postgres refused, outside of the engine.
    #[error("Postgres: {0}")]
    Postgres(#[from] sqlx::Error),
    /// SQLite refused, outside of the engine.
    #[error("SQLite: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A file could not be made or written.
    #[error("{what}: {source}")]
    File {
        /// The attempt, in words.
        what: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The URL names a database that cannot be measured.
    #[error("{0}")]
    Url(String),
    /// The engine or the hand-written SQL did not do what was asked.
    #[error("{0}")]
    Wrong(String),
}
