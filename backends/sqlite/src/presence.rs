//! Notices that the files of an open database were removed.
//!
//! A process keeps a removed or replaced file open, and would continue with rows that no other
//! process will ever see. The file at the path is compared with the opened one, by device and
//! inode. So is its write-ahead log, which SQLite keeps as long as the database is open.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ff_core::EngineError;

/// The time for which one comparison is valid.
const INTERVAL: Duration = Duration::from_secs(1);

/// The files of one database, since it was opened.
pub(crate) struct Presence {
    file: PathBuf,
    log: PathBuf,
    seen: Mutex<Seen>,
}

struct Seen {
    /// `None` if the file was removed as soon as it was opened.
    file: Option<FileId>,
    /// `None` until SQLite has created the log.
    log: Option<FileId>,
    looked: Instant,
    gone: bool,
}

/// Device and inode. No other file has both as long as a process holds this one open.
type FileId = (u64, u64);

impl Presence {
    /// Records the files of a database that has just been opened.
    pub(crate) fn of(file: &Path) -> Self {
        let mut log = file.as_os_str().to_owned();
        log.push("-wal");
        let log = PathBuf::from(log);
        let (found, found_log) = (file_id(file), file_id(&log));
        let seen = Seen { file: found, log: found_log, looked: Instant::now(), gone: false };
        Self { file: file.to_owned(), log, seen: Mutex::new(seen) }
    }

    /// Refuses once the files were removed. Compares at most once a second.
    ///
    /// # Errors
    /// `Unavailable`: this process cannot restore the files.
    pub(crate) fn check(&self) -> Result<(), EngineError> {
        self.look_after(INTERVAL)
    }

    /// Refuses once the files were removed; compares now.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub(crate) fn look(&self) -> Result<(), EngineError> {
        self.look_after(Duration::ZERO)
    }

    fn look_after(&self, interval: Duration) -> Result<(), EngineError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.gone && interval <= seen.looked.elapsed() {
            seen.looked = Instant::now();
            let (file, log) = (file_id(&self.file), file_id(&self.log));
            let log_is_gone = seen.log.is_some() && log != seen.log;
            seen.gone = cfg!(unix) && (seen.file.is_none() || file != seen.file || log_is_gone);
            seen.log = seen.log.or(log);
        }

        if seen.gone {
            return Err(EngineError::Unavailable {
                op: "sqlite: the database's file or its log was removed or replaced while it was open",
            });
        }
        Ok(())
    }
}

#[cfg(unix)]
fn file_id(path: &Path) -> Option<FileId> {
    use std::os::unix::fs::MetadataExt;
    let found = std::fs::metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

/// Other systems do not allow removing an open file.
#[cfg(not(unix))]
fn file_id(_: &Path) -> Option<FileId> {
    None
}
