//! The options of a backend, and the files and connections that they lead to.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ff_codegen::opening::Opening;
use ff_core::engine::TrafficMeter;
use ff_core::partition::PartitionConfig;
use ff_core::types::TimestampMs;
use rusqlite::OpenFlags;
use rusqlite::config::DbConfig;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection};

use crate::error::{BusyRetry, OpenError, SqliteError};
use crate::location::Location;

/// A function that returns the time, in Unix milliseconds.
pub type Clock = Arc<dyn Fn() -> TimestampMs + Send + Sync>;

/// The durability of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Synchronous {
    /// Every commit is on disk before its caller is answered. Survives power loss.
    #[default]
    Full,
    /// Commits survive the end of the process at any point, but power loss may lose the last ones.
    /// The file stays intact.
    Normal,
}

/// The options with which a database is opened.
#[derive(Clone)]
pub struct SqliteOptions {
    location: String,
    synchronous: Synchronous,
    write_ahead_log: bool,
    readers: u32,
    pub(crate) busy_timeout: Duration,
    /// The file's clock, unless given.
    pub(crate) clock: Option<Clock>,
    pub(crate) partitions: Option<PartitionConfig>,
    pub(crate) opening: Opening,
}

impl std::fmt::Debug for SqliteOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteOptions")
            .field("location", &self.location)
            .field("synchronous", &self.synchronous)
            .field("readers", &self.readers)
            .field("busy_timeout", &self.busy_timeout)
            .finish_non_exhaustive()
    }
}

impl SqliteOptions {
    /// The database at `location`: a path, `sqlite:PATH`, a `file:` URI, or `:memory:`.
    ///
    /// Defaults: fully synchronous, 4 readers, 5 s busy timeout, the file's clock, the default
    /// partitions. Opening migrates it to the current schema.
    #[must_use]
    pub fn new(location: impl Into<String>) -> Self {
        Self {
            location: location.into(),
            synchronous: Synchronous::default(),
            write_ahead_log: true,
            readers: 4,
            busy_timeout: Duration::from_secs(5),
            clock: None,
            partitions: None,
            opening: Opening::Create,
        }
    }

    /// The durability of a commit.
    #[must_use]
    pub fn synchronous(mut self, synchronous: Synchronous) -> Self {
        self.synchronous = synchronous;
        self
    }

    /// True to use a write-ahead log, so that readers and the writer do not wait for each other. A
    /// file keeps its log until it is opened without one.
    #[must_use]
    pub fn write_ahead_log(mut self, write_ahead_log: bool) -> Self {
        self.write_ahead_log = write_ahead_log;
        self
    }

    /// The number of connections for reads, at least 1. A memory database has none of its own.
    #[must_use]
    pub fn readers(mut self, readers: u32) -> Self {
        self.readers = readers.max(1);
        self
    }

    /// The time to wait for another process or connection that holds the database's lock.
    #[must_use]
    pub fn busy_timeout(mut self, busy_timeout: Duration) -> Self {
        self.busy_timeout = busy_timeout;
        self
    }

    /// Replaces the clock. The default clock is the same for all processes that share the file on a
    /// machine, also after a change of its wall clock.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// The number of partitions of each family of ids; by default as the database records it. It
    /// must never change for a database.
    #[must_use]
    pub fn partitions(mut self, partitions: PartitionConfig) -> Self {
        self.partitions = Some(partitions);
        self
    }

    /// True if opening creates a missing database and migrates an older one; otherwise it refuses
    /// both. [`Self::opening`] has finer choices.
    #[must_use]
    pub fn migrate(self, migrate: bool) -> Self {
        self.opening(if migrate { Opening::Create } else { Opening::Current })
    }

    /// The extent to which opening may change the database.
    #[must_use]
    pub fn opening(mut self, opening: Opening) -> Self {
        self.opening = opening;
        self
    }

    /// Resolves the location. Neither checks that the file exists nor creates it.
    pub(crate) fn resolve(&self) -> Result<Connections, OpenError> {
        let mut options = self.clone();
        let place = match Location::parse(&self.location)? {
            Location::File { path, must_exist } => {
                if must_exist {
                    options.opening = options.opening.without_creation();
                }
                Place::File(absolute(&path)?)
            }
            Location::Memory(uri) => Place::Memory(uri),
        };
        Ok(Connections { place, options, traffic: TrafficMeter::default() })
    }
}

enum Place {
    File(PathBuf),
    Memory(String),
}

/// Opens connections to one database.
pub(crate) struct Connections {
    place: Place,
    options: SqliteOptions,
    /// Counts what operations send.
    pub(crate) traffic: TrafficMeter,
}

/// The number of prepared statements that a connection keeps: more than the plans that a process
/// uses have together.
const PREPARED: usize = 2048;

/// The size of the write-ahead log after a checkpoint, in bytes.
const LOG_KEPT: &str = "67108864";

/// The number of pages after which the write-ahead log is checkpointed. One group can fill SQLite's
/// default of 1000, and each checkpoint waits for the disk twice more.
const LOG_PAGES: &str = "8000";

/// The page cache of the writer in KiB, as the pragma takes it.
const WRITER_CACHE: &str = "-65536";

impl Connections {
    /// The extent to which opening may change the database.
    pub(crate) fn opening(&self) -> Opening {
        self.options.opening
    }

    /// The database's file; `None` for a memory database.
    pub(crate) fn file(&self) -> Option<&Path> {
        match &self.place {
            Place::File(path) => Some(path),
            Place::Memory(_) => None,
        }
    }

    /// Creates the file unless it exists.
    pub(crate) fn create_file(&self) -> Result<(), OpenError> {
        self.file().map_or(Ok(()), create_file)
    }

    /// The only connection that writes. Waits while other connections hold the database's lock.
    pub(crate) async fn writer(&self) -> Result<SqliteConnection, SqliteError> {
        self.connect(&self.writable()).await
    }

    /// A connection that does not change a byte of the database's file.
    pub(crate) async fn read_only(&self) -> Result<SqliteConnection, SqliteError> {
        match self.place {
            Place::File(_) => self.connect(&self.base().read_only(true)).await,
            Place::Memory(_) => self.connect(&self.base()).await,
        }
    }

    /// Connects, and waits while other connections hold the database's lock.
    async fn connect(
        &self,
        options: &SqliteConnectOptions,
    ) -> Result<SqliteConnection, SqliteError> {
        let retry = BusyRetry::new(self.options.busy_timeout);
        loop {
            match options.connect().await.map_err(SqliteError::read) {
                Ok(connection) => return Ok(connection),
                Err(error) if retry.again(&error).await => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The number of connections that only read. `None` for a memory database: it is read through
    /// the writer, because readers of a shared cache would conflict with its table locks.
    pub(crate) fn readers(&self) -> Option<u32> {
        match self.place {
            Place::Memory(_) => None,
            Place::File(_) => Some(self.options.readers),
        }
    }

    /// The connection that applies plans, to a database that [`Self::writer`] has opened before.
    pub(crate) fn writing(&self) -> Result<rusqlite::Connection, SqliteError> {
        let connection = self.open()?;
        let synchronous = match self.options.synchronous {
            Synchronous::Full => "FULL",
            Synchronous::Normal => "NORMAL",
        };
        set(&connection, "synchronous", synchronous)?;
        set(&connection, "journal_size_limit", LOG_KEPT)?;
        set(&connection, "wal_autocheckpoint", LOG_PAGES)?;
        set(&connection, "cache_size", WRITER_CACHE)?;
        Ok(connection)
    }

    /// A connection that answers queries. It can recover the log, but changes no row.
    pub(crate) fn reading(&self) -> Result<rusqlite::Connection, SqliteError> {
        let connection = self.open()?;
        set(&connection, "query_only", "ON")?;
        Ok(connection)
    }

    fn open(&self) -> Result<rusqlite::Connection, SqliteError> {
        let place = match &self.place {
            Place::File(path) => path.as_path(),
            Place::Memory(uri) => Path::new(uri),
        };
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_URI
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = rusqlite::Connection::open_with_flags(place, flags);
        let connection = connection.map_err(SqliteError::read)?;

        connection.busy_timeout(self.options.busy_timeout).map_err(SqliteError::read)?;
        connection.set_prepared_statement_cache_capacity(PREPARED);
        set(&connection, "temp_store", "MEMORY")?;

        // Otherwise a prepared statement is planned anew whenever it is bound again, because a
        // value might decide for another index: a claim would take ten times as long.
        let stable = DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG;
        connection.set_db_config(stable, true).map_err(SqliteError::read)?;
        Ok(connection)
    }

    /// One connection that only reads.
    pub(crate) async fn reader(&self) -> Result<SqliteConnection, sqlx::Error> {
        self.read_only_options().connect().await
    }

    /// A pool beside the writer, for tests: its connections may change anything.
    pub(crate) fn beside(&self) -> SqlitePool {
        pool(4).connect_lazy_with(self.writable())
    }

    fn writable(&self) -> SqliteConnectOptions {
        let synchronous = match self.options.synchronous {
            Synchronous::Full => SqliteSynchronous::Full,
            Synchronous::Normal => SqliteSynchronous::Normal,
        };

        let options = match self.place {
            Place::File(_) if self.options.write_ahead_log => {
                self.base().journal_mode(SqliteJournalMode::Wal)
            }
            Place::File(_) => self.base().journal_mode(SqliteJournalMode::Delete),
            Place::Memory(_) => self.base(),
        };

        options
            .synchronous(synchronous)
            .pragma("journal_size_limit", LOG_KEPT)
            .pragma("wal_autocheckpoint", LOG_PAGES)
            .pragma("cache_size", WRITER_CACHE)
    }

    fn read_only_options(&self) -> SqliteConnectOptions {
        self.base().pragma("query_only", "ON")
    }

    fn base(&self) -> SqliteConnectOptions {
        let options = match &self.place {
            Place::File(path) => SqliteConnectOptions::new().filename(path),
            Place::Memory(uri) => SqliteConnectOptions::new().filename(uri),
        };
        options
            .busy_timeout(self.options.busy_timeout)
            .statement_cache_capacity(PREPARED)
            .pragma("temp_store", "MEMORY")
            .disable_statement_logging()
    }
}

fn pool(size: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(size)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
}

/// The absolute path of a file in an existing directory.
fn absolute(path: &Path) -> Result<PathBuf, OpenError> {
    let failed = |source| OpenError::File { path: path.to_owned(), source };
    let name = path.file_name().ok_or_else(|| failed(std::io::ErrorKind::IsADirectory.into()))?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };

    let directory = parent
        .canonicalize()
        .map_err(|source| OpenError::Directory { path: parent.to_owned(), source })?;

    Ok(directory.join(name))
}

/// Creates the file, readable for its owner only, unless it exists. SQLite gives its log and
/// shared-memory files the same mode.
fn create_file(path: &Path) -> Result<(), OpenError> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);

    match options.open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(OpenError::File { path: path.to_owned(), source }),
    }
}

/// Refuses a library that lacks features that the statements use.
pub(crate) async fn check_version(connection: &mut SqliteConnection) -> Result<(), SqliteError> {
    let found: String = sqlx::query_scalar("SELECT sqlite_version()")
        .fetch_one(connection)
        .await
        .map_err(SqliteError::read)?;

    let mut numbers = found.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < (3, 42) { Err(OpenError::TooOld { found }.into()) } else { Ok(()) }
}

fn set(connection: &rusqlite::Connection, pragma: &str, value: &str) -> Result<(), SqliteError> {
    connection.pragma_update(None, pragma, value).map_err(SqliteError::read)
}

/// The statistics of the engine's tables that SQLite may keep: the table, and how they are looked
/// for and removed.
const STATISTICS: [(&str, &str, &str); 2] = [
    (
        "sqlite_stat1",
        "SELECT EXISTS (SELECT 1 FROM sqlite_stat1 WHERE tbl GLOB 'ff_*')",
        "DELETE FROM sqlite_stat1 WHERE tbl GLOB 'ff_*'",
    ),
    (
        "sqlite_stat4",
        "SELECT EXISTS (SELECT 1 FROM sqlite_stat4 WHERE tbl GLOB 'ff_*')",
        "DELETE FROM sqlite_stat4 WHERE tbl GLOB 'ff_*'",
    ),
];

/// Removes the statistics of the engine's tables, for the connections that are made from now on.
///
/// The statements are written so that SQLite chooses the right index without any. Statistics that
/// were taken while the tables were nearly empty make it read whole tables once they have grown.
pub(crate) async fn forget_statistics(
    connection: &mut SqliteConnection,
) -> Result<(), SqliteError> {
    let is_kept = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = ?)";
    for (table, are_some, delete) in STATISTICS {
        let kept = sqlx::query_scalar(is_kept).bind(table).fetch_one(&mut *connection);
        if !kept.await.map_err(SqliteError::read)? {
            continue;
        }
        let some = sqlx::query_scalar(are_some).fetch_one(&mut *connection);
        if some.await.map_err(SqliteError::read)? {
            sqlx::query(delete).execute(&mut *connection).await.map_err(SqliteError::read)?;
        }
    }
    Ok(())
}

/// Checkpoints the log into the database file, and closes the connection.
pub(crate) fn close_writing(connection: rusqlite::Connection) {
    // Best effort: the log is durable, and the next opening continues with it.
    let _ = connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
    let _ = connection.close();
}

/// Checkpoints the log into the database file and closes the connection. A read-only connection
/// leaves the database unchanged.
pub(crate) async fn close(mut connection: SqliteConnection) {
    // Best effort: the log is durable, and the next opening continues with it.
    let checkpoint = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)");
    let _ = checkpoint.execute(&mut connection).await;
    let _ = connection.close().await;
}
