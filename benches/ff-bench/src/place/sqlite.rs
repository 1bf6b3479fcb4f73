//! A new SQLite file in a directory of its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use tempfile::TempDir;

use crate::error::BenchError;
use crate::usage::Size;

/// The write-ahead log.
const LOG: &str = "bench.db-wal";

/// The pages of the log after which the engine checkpoints it, and some more.
const LOG_FRAMES: u32 = 8_200;

/// The longest wait for another connection.
const BUSY: Duration = Duration::from_secs(5);

/// A new SQLite file.
#[derive(Debug)]
pub struct SqlitePlace {
    directory: TempDir,
}

impl SqlitePlace {
    /// Makes a directory beside the file of this path.
    pub(crate) fn create(path: &str) -> Result<Self, BenchError> {
        if path.contains(":memory:") || path.contains("mode=memory") {
            let text = "a database in memory has no disk to measure; name a file: sqlite:PATH";
            return Err(BenchError::Url(text.to_owned()));
        }

        let path = path.trim_start_matches("//").split('?').next().unwrap_or_default();
        let beside = match Path::new(path).parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            Some(_) | None => Path::new("."),
        };
        let directory = tempfile::Builder::new().prefix("ff-bench-").tempdir_in(beside);
        let directory = directory.map_err(|source| BenchError::File {
            what: format!("making a directory in {}", beside.display()),
            source,
        })?;
        Ok(Self { directory })
    }

    /// The database file.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("bench.db")
    }

    pub(crate) fn url(&self) -> String {
        format!("sqlite:{}", self.file().display())
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Gives the log the size that it keeps between checkpoints. A commit that makes a file longer
    /// waits for the file system's journal, too, and on a database that has run for a while none
    /// does. The log is kept for as long as the returned connection is open.
    pub(crate) fn grow_log(&self) -> Result<Connection, BenchError> {
        let connection = Connection::open(self.file())?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        connection.pragma_update(None, "synchronous", "OFF")?;

        // Each change of this number writes one page to the log, and none to the tables.
        let number = "user_version";
        let before: i64 = connection.pragma_query_value(None, number, |row| row.get(0))?;
        for frame in 0..LOG_FRAMES {
            connection.pragma_update(None, number, frame)?;
        }
        connection.pragma_update(None, number, before)?;
        connection.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(()))?;

        let log = self.directory.path().join(LOG);
        let synced = File::open(&log).and_then(|log| log.sync_all());
        let what = || format!("flushing {}", log.display());
        synced.map_err(|source| BenchError::File { what: what(), source })?;
        Ok(connection)
    }

    pub(crate) fn alter(&self, sql: &str) -> Result<(), BenchError> {
        Ok(Connection::open(self.file())?.execute_batch(sql)?)
    }

    pub(crate) fn size(&self) -> Size {
        let bytes = |name: &str| {
            let file = self.directory.path().join(name);
            std::fs::metadata(file).map_or(0, |found| found.len())
        };
        Size { table_bytes: bytes("bench.db"), index_bytes: None, log_bytes: Some(bytes(LOG)) }
    }

    pub(crate) fn remove(self) -> Result<(), BenchError> {
        let what = format!("removing {}", self.directory.path().display());
        self.directory.close().map_err(|source| BenchError::File { what, source })
    }
}
