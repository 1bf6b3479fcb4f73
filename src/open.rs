//! From a URL to an engine: the one place that knows which scheme belongs to which backend.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ff_core::EngineError;
use ff_core::engine_backend::EngineBackend;
#[cfg(feature = "postgres")]
use ff_core::engine_error::StoreError;

pub use ff_core::contracts::Opening;

/// The schemes that [`open`] knows, as messages list them.
const KNOWN: &str = "sqlite:PATH, file:PATH, postgres://…, postgres-occ://…, mariadb://…, memory:";

/// Opens the database at `url` with the default options, and migrates it to the current schema.
///
/// - `sqlite:PATH`, `file:PATH`: a SQLite file, created if missing; `sqlite::memory:` is private to
///   the engine that opens it. In PATH, `%23` stands for `#`, `%3F` for `?`, `%25` for `%`;
/// - `postgres://…`, `postgresql://…`: a Postgres database;
/// - `postgres-occ://…`: a database with the protocol of Postgres that detects conflicts when a
///   transaction commits, such as YugabyteDB;
/// - `mariadb://…`, `mysql://…`: a MariaDB database;
/// - `memory:`: tables in this process's memory, gone with the engine.
///
/// A part of the URL that would have no effect is refused.
///
/// # Errors
/// [`OpenError`], naming what is wrong.
pub async fn open(url: &str) -> Result<Arc<dyn EngineBackend>, OpenError> {
    OpenOptions::new().open(url).await
}

/// Options for opening a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenOptions {
    opening: Opening,
    adopt: bool,
    schema: Option<String>,
    tuning: Tuning,
}

/// Options that only some backends have. A value for a backend that would ignore it is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tuning {
    /// Postgres: the most connections, 10 by default. SQLite and MariaDB: the connections that
    /// read, 4 and 10 by default.
    pub connections: Option<u32>,
    /// Postgres: prepares every statement anew, for a pooler that does not track named ones, and
    /// listens for no notification.
    pub unnamed_statements: bool,
    /// Postgres: sets no session parameters, for a pooler that refuses them. Give them to the role.
    pub no_session_parameters: bool,
    /// Postgres: sends no notification at commit and listens for none, so subscribers poll twice a
    /// second. For a pooler in transaction mode.
    pub no_notify: bool,
    /// SQLite: how long to wait for other processes that write, 5 s by default.
    pub busy_timeout: Option<Duration>,
    /// SQLite: commits survive the end of the process, but perhaps not a power loss.
    pub synchronous_normal: bool,
}

impl Tuning {
    /// The first given option that the backend does not have.
    fn unknown_to(&self, scheme: Scheme) -> Option<&'static str> {
        let (postgres, sqlite) = (scheme == Scheme::Postgres, scheme == Scheme::Sqlite);
        let pools = postgres || sqlite || scheme == Scheme::MariaDb;
        let options = [
            ("connections", self.connections.is_some(), pools),
            ("unnamed statements", self.unnamed_statements, postgres),
            ("no session parameters", self.no_session_parameters, postgres),
            ("no notify", self.no_notify, postgres),
            ("busy timeout", self.busy_timeout.is_some(), sqlite),
            ("synchronous", self.synchronous_normal, sqlite),
        ];

        options.into_iter().find(|(_, given, known)| *given && !known).map(|(name, ..)| name)
    }
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl OpenOptions {
    /// The defaults: creates a missing database, and brings an older one to the current schema. In
    /// Postgres the schema is the one that the search path names.
    #[must_use]
    pub const fn new() -> Self {
        let tuning = Tuning {
            connections: None,
            unnamed_statements: false,
            no_session_parameters: false,
            no_notify: false,
            busy_timeout: None,
            synchronous_normal: false,
        };
        Self { opening: Opening::Create, adopt: false, schema: None, tuning }
    }

    /// Sets how much opening may change. A database that is up to date is only read, and one that
    /// does not fit this binary is always refused. Tables in memory are new in any case.
    #[must_use]
    pub fn opening(mut self, opening: Opening) -> Self {
        self.opening = opening;
        self
    }

    /// Brings a database of FlowFabric 0.15 over to this schema first, unless the opening migrates
    /// nothing. Make a backup before, and let no other process have it open.
    #[must_use]
    pub fn adopt(mut self, adopt: bool) -> Self {
        self.adopt = adopt;
        self
    }

    /// The same as [`Self::opening`] with [`Opening::Create`], or with [`Opening::Current`].
    #[must_use]
    pub fn migrate(self, migrate: bool) -> Self {
        self.opening(if migrate { Opening::Create } else { Opening::Current })
    }

    /// The Postgres schema that holds the tables. No other backend has schemas.
    #[must_use]
    pub fn schema(mut self, schema: Option<String>) -> Self {
        self.schema = schema;
        self
    }

    /// Sets options that only some backends have: pools, poolers, durability.
    #[must_use]
    pub fn tuning(mut self, tuning: Tuning) -> Self {
        self.tuning = tuning;
        self
    }

    /// Opens the database at `url`; see [`open`] for what that may be.
    ///
    /// # Errors
    /// [`OpenError`], naming what is wrong.
    pub async fn open(&self, url: &str) -> Result<Arc<dyn EngineBackend>, OpenError> {
        let scheme = Scheme::of(url)?;
        if scheme != Scheme::Postgres && self.schema.is_some() {
            return Err(OpenError::NoSchemas { scheme });
        }
        if let Some(option) = self.tuning.unknown_to(scheme) {
            return Err(OpenError::NoSuchOption { option, scheme });
        }

        match scheme {
            Scheme::Sqlite => self.open_sqlite(url).await,
            Scheme::Postgres => self.open_postgres(url).await,
            Scheme::MariaDb => self.open_mariadb(url).await,
            Scheme::Memory => open_memory(url),
        }
    }

    #[cfg(feature = "sqlite")]
    async fn open_sqlite(&self, url: &str) -> Result<Arc<dyn EngineBackend>, OpenError> {
        use ff_backend_sqlite::{SqliteBackend, SqliteOptions, Synchronous};

        let mut options = SqliteOptions::new(url).opening(self.opening);
        if let Some(readers) = self.tuning.connections {
            options = options.readers(readers);
        }
        if let Some(busy_timeout) = self.tuning.busy_timeout {
            options = options.busy_timeout(busy_timeout);
        }
        if self.tuning.synchronous_normal {
            options = options.synchronous(Synchronous::Normal);
        }

        if self.adopt && self.opening != Opening::Current {
            use ff_backend_sqlite::migrate::{MigrateOptions, migrate_at};
            let adopted = migrate_at(&options, &MigrateOptions::new().adopt()).await;
            adopted.map_err(|source| OpenError::Sqlite { source })?;
        }

        match SqliteBackend::open(options).await {
            Ok(backend) => Ok(backend),
            Err(source) => Err(OpenError::Sqlite { source }),
        }
    }

    #[cfg(not(feature = "sqlite"))]
    async fn open_sqlite(&self, _: &str) -> Result<Arc<dyn EngineBackend>, OpenError> {
        Err(OpenError::NotCompiledIn { scheme: Scheme::Sqlite })
    }

    #[cfg(feature = "mariadb")]
    async fn open_mariadb(&self, url: &str) -> Result<Arc<dyn EngineBackend>, OpenError> {
        use ff_backend_mariadb::{MariaDbBackend, MariaDbOptions};

        let mut options = MariaDbOptions::new(url).opening(self.opening);
        if let Some(connections) = self.tuning.connections {
            options = options.max_connections(connections);
        }
        match MariaDbBackend::open(options).await {
            Ok(backend) => Ok(backend),
            Err(source) => Err(OpenError::MariaDb { source }),
        }
    }

    #[cfg(not(feature = "mariadb"))]
    async fn open_mariadb(&self, _: &str) -> Result<Arc<dyn EngineBackend>, OpenError> {
        Err(OpenError::NotCompiledIn { scheme: Scheme::MariaDb })
    }

    #[cfg(feature = "postgres")]
    async fn open_postgres(&self, url: &str) -> Result<Arc<dyn EngineBackend>, OpenError> {
        use ff_backend_postgres::migrate::{MigrateError, SchemaName};
        use ff_backend_postgres::{PostgresBackend, PostgresOptions};
        let mut options = PostgresOptions::new(url)
            .opening(self.opening)
            .unnamed_statements(self.tuning.unnamed_statements)
            .session_parameters(!self.tuning.no_session_parameters)
            .notifies(!self.tuning.no_notify);

        if let Some(connections) = self.tuning.connections {
            options = options.max_connections(connections);
        }
        if let Some(schema) = &self.schema {
            let name = SchemaName::new(schema).map_err(|source| OpenError::Schema { source })?;
            options = options.schema(name);
        }

        let failed = |source| OpenError::Postgres { source };
        let backend = PostgresBackend::open(options).await.map_err(failed)?;

        if self.adopt && self.opening != Opening::Current {
            self.adopt_postgres(backend.pool()).await?;
        }

        let prepared = EngineBackend::prepare(backend.as_ref()).await;
        match prepared {
            Ok(_) => Ok(backend),
            Err(source) => {
                // No backend is returned, so nothing else would close its pool.
                backend.pool().close().await;
                let cause = source.store_error().and_then(StoreError::source_as::<MigrateError>);
                match cause.and_then(MigrateError::refusal) {
                    Some(refusal) => Err(OpenError::Refused { refusal }),
                    None => Err(OpenError::Postgres { source }),
                }
            }
        }
    }

    /// Adopts what is there; an empty schema is left to the opening.
    #[cfg(feature = "postgres")]
    async fn adopt_postgres(&self, pool: &ff_backend_postgres::PgPool) -> Result<(), OpenError> {
        use ff_backend_postgres::migrate::{MigrateOptions, SchemaName, adopt};
        let mut options = MigrateOptions::new();
        if let Some(schema) = &self.schema {
            let name = SchemaName::new(schema).map_err(|source| OpenError::Schema { source })?;
            options = options.schema(name);
        }

        adopt(pool, &options).await.map(drop).map_err(|source| OpenError::Schema { source })
    }

    #[cfg(not(feature = "postgres"))]
    async fn open_postgres(&self, _: &str) -> Result<Arc<dyn EngineBackend>, OpenError> {
        Err(OpenError::NotCompiledIn { scheme: Scheme::Postgres })
    }
}

#[cfg(feature = "memory")]
fn open_memory(url: &str) -> Result<Arc<dyn EngineBackend>, OpenError> {
    match url.strip_prefix("memory:") {
        Some("" | "//") => Ok(Arc::new(ff_backend_memory::MemoryBackend::new())),
        Some(_) | None => Err(OpenError::MemoryHasNoName { url: url.to_owned() }),
    }
}

#[cfg(not(feature = "memory"))]
fn open_memory(_: &str) -> Result<Arc<dyn EngineBackend>, OpenError> {
    Err(OpenError::NotCompiledIn { scheme: Scheme::Memory })
}

/// The backend that a URL asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// A SQLite database.
    Sqlite,
    /// A Postgres database.
    Postgres,
    /// A MariaDB database.
    MariaDb,
    /// Tables in memory.
    Memory,
}

impl Scheme {
    /// The scheme of `url`.
    ///
    /// # Errors
    /// [`OpenError::NoScheme`] and [`OpenError::UnknownScheme`].
    pub fn of(url: &str) -> Result<Self, OpenError> {
        match url.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase()).as_deref() {
            Some("sqlite" | "file") => Ok(Self::Sqlite),
            Some("postgres" | "postgresql" | "postgres-occ") => Ok(Self::Postgres),
            Some("mariadb" | "mysql") => Ok(Self::MariaDb),
            Some("memory") => Ok(Self::Memory),
            // Text before a slash is part of a path, not a scheme. Nor may a password be repeated.
            Some(other) if !other.is_empty() && !other.contains(['/', '@', '\\', '.']) => {
                Err(OpenError::UnknownScheme { scheme: other.to_owned() })
            }
            Some(_) | None => Err(OpenError::NoScheme),
        }
    }

    /// The feature of this crate that brings the backend.
    #[must_use]
    pub const fn feature(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
            Self::MariaDb => "mariadb",
            Self::Memory => "memory",
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.feature())
    }
}

/// The reason why a database was not opened. Its text never carries a password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The URL begins with no scheme.
    #[error("the database URL has no scheme: expected one of {KNOWN}")]
    NoScheme,
    /// The URL's scheme belongs to no backend.
    #[error("unknown database scheme {scheme:?}: expected one of {KNOWN}")]
    UnknownScheme {
        /// The scheme.
        scheme: String,
    },
    /// The backend was left out when this crate was compiled.
    #[error("this build has no {scheme} backend: compile it with the feature \"{}\"", scheme.feature())]
    NotCompiledIn {
        /// The scheme of the missing backend.
        scheme: Scheme,
    },
    /// A schema was given for a backend that has none.
    #[error("a schema was given, but a {scheme} database has none")]
    NoSchemas {
        /// The backend.
        scheme: Scheme,
    },
    /// An option was given that the backend would ignore.
    #[error("the option {option:?} has no effect on a {scheme} database")]
    NoSuchOption {
        /// Its name.
        option: &'static str,
        /// The backend.
        scheme: Scheme,
    },
    /// Something follows `memory:`.
    #[error("{url:?}: tables in memory have no name; say memory:")]
    MemoryHasNoName {
        /// The URL.
        url: String,
    },
    /// SQLite refused, or the URL names no file.
    #[cfg(feature = "sqlite")]
    #[error("{source}")]
    Sqlite {
        /// The error that SQLite returned.
        source: ff_backend_sqlite::SqliteError,
    },
    /// MariaDB refused or could not be reached, or its tables do not fit.
    #[cfg(feature = "mariadb")]
    #[error("{source}")]
    MariaDb {
        /// The error that MariaDB returned.
        source: ff_backend_mariadb::MariaDbError,
    },
    /// The name of a Postgres schema is not one, or its tables cannot be adopted.
    #[cfg(feature = "postgres")]
    #[error("{source}")]
    Schema {
        /// The rule that the name breaks, or the failure of the adoption.
        source: ff_backend_postgres::migrate::MigrateError,
    },
    /// The schema's tables do not fit this binary, or the opening.
    #[cfg(feature = "postgres")]
    #[error("{refusal}")]
    Refused {
        /// The mismatch.
        refusal: ff_backend_postgres::Refusal,
    },
    /// Postgres refused or could not be reached.
    #[error("{}", source.sentence())]
    Postgres {
        /// The error that Postgres returned.
        source: EngineError,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_are_told_apart() {
        for (url, scheme) in [
            ("sqlite:ff.db", Scheme::Sqlite),
            ("SQLITE://ff.db", Scheme::Sqlite),
            ("file:///var/ff.db?mode=rwc", Scheme::Sqlite),
            ("postgres://me@db/ff", Scheme::Postgres),
            ("postgresql://db", Scheme::Postgres),
            ("postgres-occ://db", Scheme::Postgres),
            ("mariadb://me@db/ff", Scheme::MariaDb),
            ("mysql://db/ff", Scheme::MariaDb),
            ("memory:", Scheme::Memory),
        ] {
            assert_eq!(Scheme::of(url).unwrap(), scheme, "{url}");
        }

        for bare in ["", "ff.db", "./a:b", "/var/x:y", ":memory:", "me:pw@db/ff", "C.db:x"] {
            let error = Scheme::of(bare).unwrap_err();
            let unknown = matches!(&error, OpenError::UnknownScheme { scheme } if scheme == "me");
            assert!(matches!(error, OpenError::NoScheme) || unknown, "{bare}: {error}");
        }
        assert_eq!(
            Scheme::of("oracle://db").unwrap_err().to_string(),
            "unknown database scheme \"oracle\": expected one of sqlite:PATH, file:PATH, \
             postgres://…, postgres-occ://…, mariadb://…, memory:"
        );
    }

    #[tokio::test]
    async fn only_postgres_has_schemas() {
        let options = OpenOptions::new().schema(Some("s".to_owned()));
        let error = options.open("sqlite::memory:").await.err().unwrap();
        assert_eq!(error.to_string(), "a schema was given, but a sqlite database has none");
    }

    #[tokio::test]
    async fn an_option_without_effect_is_refused() {
        let connections = Tuning { connections: Some(3), ..Tuning::default() };
        let busy = Tuning { busy_timeout: Some(Duration::from_secs(1)), ..Tuning::default() };
        let unnamed = Tuning { unnamed_statements: true, ..Tuning::default() };
        for (url, tuning, option) in [
            ("memory:", connections, "connections"),
            ("postgres://nowhere/db", busy, "busy timeout"),
            ("sqlite::memory:", unnamed, "unnamed statements"),
        ] {
            let error = OpenOptions::new().tuning(tuning).open(url).await.err().unwrap();
            assert!(error.to_string().contains(option), "{error}");
        }
        let options = OpenOptions::new().tuning(Tuning { synchronous_normal: true, ..connections });
        assert!(options.open("sqlite::memory:").await.is_ok());
    }

    #[cfg(feature = "sqlite")]
    #[tokio::test]
    async fn a_missing_directory_is_named() {
        let error = open("sqlite:/no/such/directory/ff.db").await.err().unwrap().to_string();
        assert!(error.contains("/no/such/directory"), "{error}");
    }

    #[cfg(feature = "memory")]
    #[tokio::test]
    async fn memory_needs_no_name() {
        assert_eq!(open("memory:").await.unwrap().backend_label(), "memory");
        assert!(open("memory:x").await.is_err());
    }
}
