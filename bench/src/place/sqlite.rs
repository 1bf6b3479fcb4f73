//! A new SQLite file in a directory of its own.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::error::BenchError;
use crate::usage::Size;

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

    pub(crate) fn size(&self) -> Size {
        let bytes = |name: &str| {
            let file = self.directory.path().join(name);
            std::fs::metadata(file).map_or(0, |found| found.len())
        };
        Size {
            table_bytes: bytes("bench.db"),
            index_bytes: None,
            log_bytes: Some(bytes("bench.db-wal")),
        }
    }

    pub(crate) fn remove(self) -> Result<(), BenchError> {
        let what = format!("removing {}", self.directory.path().display());
        self.directory.close().map_err(|source| BenchError::File { what, source })
    }
}
