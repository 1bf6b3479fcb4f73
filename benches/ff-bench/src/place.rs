//! The database of a measurement: new, of its own, and removed afterwards.
//!
//! It never touches tables that are there. On Postgres it is a schema of the database that the URL
//! names; on SQLite a file in a new directory beside the one that the URL names, so that both are
//! on the same disk.

mod postgres;
mod sqlite;

use std::time::Duration;

use rusqlite::Connection;

use crate::disk::Disk;
use crate::error::BenchError;
use crate::usage::{Counters, Size};

pub use postgres::PostgresPlace;
pub use sqlite::SqlitePlace;

/// The time for which the disk is measured.
const DISK_TIME: Duration = Duration::from_millis(500);

/// A database to measure on. Removed by [`Self::remove`], not when dropped.
#[derive(Debug)]
pub enum Place {
    /// A new file.
    Sqlite(SqlitePlace),
    /// A new schema.
    Postgres(PostgresPlace),
}

impl Place {
    /// Makes the place that the URL asks for, still without tables.
    ///
    /// # Errors
    /// `Url` for a database in memory or an unknown one; those of the disk and of connecting.
    pub async fn create(url: &str) -> Result<Self, BenchError> {
        match url.split_once(':') {
            Some(("postgres" | "postgresql", _)) => {
                Ok(Self::Postgres(PostgresPlace::create(url).await?))
            }
            Some(("sqlite" | "file", path)) => Ok(Self::Sqlite(SqlitePlace::create(path)?)),
            Some(_) | None => {
                let text = "only SQLite files and Postgres are measured: sqlite:PATH, postgres://…";
                Err(BenchError::Url(text.to_owned()))
            }
        }
    }

    /// The name of the database, as handles and answers spell it.
    #[must_use]
    pub const fn family(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "sqlite",
            Self::Postgres(_) => "postgres",
        }
    }

    /// The URL with which an engine opens it.
    #[must_use]
    pub fn url(&self) -> String {
        match self {
            Self::Sqlite(place) => place.url(),
            Self::Postgres(place) => place.url().to_owned(),
        }
    }

    /// The schema that an engine opens, on Postgres.
    #[must_use]
    pub fn schema(&self) -> Option<&str> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(place) => Some(place.schema()),
        }
    }

    /// Removes it and everything in it.
    ///
    /// # Errors
    /// Those of the disk and of Postgres.
    pub async fn remove(self) -> Result<(), BenchError> {
        match self {
            Self::Sqlite(place) => place.remove(),
            Self::Postgres(place) => place.remove().await,
        }
    }

    /// Runs SQL on the tables.
    ///
    /// # Errors
    /// Those of the database.
    pub(crate) async fn alter(&self, sql: &str) -> Result<(), BenchError> {
        match self {
            Self::Sqlite(place) => place.alter(sql),
            Self::Postgres(place) => place.alter(sql).await,
        }
    }

    /// The version of the database.
    pub(crate) async fn version(&self) -> Result<String, BenchError> {
        match self {
            Self::Sqlite(_) => Ok(rusqlite::version().to_owned()),
            Self::Postgres(place) => place.version().await,
        }
    }

    /// The speed of the disk: of the database's directory, or of this process's temporary files if
    /// the database is on another machine or lets no other process write there.
    pub(crate) fn disk(&self) -> Result<Disk, BenchError> {
        let directory = match self {
            Self::Sqlite(place) => Some(place.directory()),
            Self::Postgres(place) => place.directory(),
        };
        let measured = directory.map(|directory| Disk::measure(directory, DISK_TIME));
        match measured {
            Some(Ok(disk)) => Ok(disk),
            Some(Err(_)) | None => Disk::measure(&std::env::temp_dir(), DISK_TIME),
        }
    }

    /// The counters, once no session of a measurement is left: sessions report at their end.
    pub(crate) async fn counters(&self) -> Result<Counters, BenchError> {
        match self {
            Self::Sqlite(_) => Ok(Counters::default()),
            Self::Postgres(place) => place.counters().await,
        }
    }

    /// Brings SQLite's log to the size that it has on a database in use, for as long as the
    /// returned connection is open.
    pub(crate) fn grow_log(&self) -> Result<Option<Connection>, BenchError> {
        match self {
            Self::Sqlite(place) => place.grow_log().map(Some),
            Self::Postgres(_) => Ok(None),
        }
    }

    /// The bytes of the log beside the file; `None` where the server counts what it writes.
    pub(crate) fn log_bytes(&self) -> Option<u64> {
        match self {
            Self::Sqlite(place) => place.size().log_bytes,
            Self::Postgres(_) => None,
        }
    }

    pub(crate) async fn size(&self) -> Result<Size, BenchError> {
        match self {
            Self::Sqlite(place) => Ok(place.size()),
            Self::Postgres(place) => place.size().await,
        }
    }
}
