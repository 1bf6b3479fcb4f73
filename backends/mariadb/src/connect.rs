//! The options of a backend, and the connections that they lead to.

use std::fmt;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use ff_codegen::MariaDb;
use ff_codegen::opening::Opening;
use ff_core::partition::PartitionConfig;
use ff_core::types::TimestampMs;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlPool, MySqlPoolOptions};
use sqlx::{ConnectOptions as _, raw_sql};

use crate::error::MariaDbError;

/// A function that returns the time.
pub(crate) type Given = Arc<dyn Fn() -> TimestampMs + Send + Sync>;

/// The number of prepared statements that a connection keeps: more than there are shapes of plans.
const PREPARED: usize = 2048;

/// The parameters of a URL that have an effect.
const PARAMETERS: [&str; 9] = [
    "ssl-mode", "sslmode", "ssl-ca", "sslca", "ssl-cert", "sslcert", "ssl-key", "sslkey", "socket",
];

/// The options with which a [`crate::MariaDbBackend`] is opened.
///
/// TLS follows the URL: `ssl-mode` (`PREFERRED` by default; `VERIFY_IDENTITY` checks certificates),
/// `ssl-ca`, `ssl-cert`, `ssl-key`.
#[derive(Clone)]
pub struct MariaDbOptions {
    url: String,
    max_connections: u32,
    acquire_timeout: Duration,
    pub(crate) clock: Option<Given>,
    pub(crate) partitions: Option<PartitionConfig>,
    pub(crate) opening: Opening,
}

impl MariaDbOptions {
    /// The database at `mysql://…` or `mariadb://…`: at most ten connections for reads, the
    /// database's clock. Opening migrates it to the current schema.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            max_connections: 10,
            acquire_timeout: Duration::from_secs(30),
            clock: None,
            partitions: None,
            opening: Opening::Create,
        }
    }

    /// The most connections for reads, at least one. Writes have one more.
    #[must_use]
    pub fn max_connections(mut self, max_connections: u32) -> Self {
        self.max_connections = max_connections.max(1);
        self
    }

    /// Replaces the database's clock; for tests.
    #[must_use]
    pub fn clock(mut self, clock: impl Fn() -> TimestampMs + Send + Sync + 'static) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// The number of partitions of each family of ids; by default as the database records it.
    #[must_use]
    pub fn partitions(mut self, partitions: PartitionConfig) -> Self {
        self.partitions = Some(partitions);
        self
    }

    /// The extent to which opening may change the database.
    #[must_use]
    pub fn opening(mut self, opening: Opening) -> Self {
        self.opening = opening;
        self
    }

    /// Reads the URL.
    pub(crate) fn parse(&self) -> Result<Connections, MariaDbError> {
        let refused =
            |reason: String| MariaDbError::read(sqlx::Error::Configuration(reason.into()));
        let (scheme, rest) = self.url.split_once(':').unwrap_or_default();
        // Anything else may be a secret in the wrong place, so no message repeats it.
        let is_known = ["mariadb", "mysql"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
        if !is_known || !rest.starts_with("//") {
            return Err(refused("the URL does not begin with mariadb:// or mysql://".to_owned()));
        }

        let (_, query) = rest.split_once('?').unwrap_or_default();
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let name = parameter.split('=').next().unwrap_or_default();
            if !PARAMETERS.contains(&name) {
                return Err(refused(format!("the parameter {name} of the URL is not supported")));
            }
        }

        let options = MySqlConnectOptions::from_str(&format!("mysql:{rest}"));
        let options = options.map_err(MariaDbError::read)?;
        if options.get_database().is_none_or(str::is_empty) {
            return Err(refused("the URL names no database".to_owned()));
        }

        // The session's settings are all in one place.
        let options = options
            .pipes_as_concat(false)
            .no_engine_substitution(false)
            .set_names(false)
            .timezone(None)
            .statement_cache_capacity(PREPARED)
            .disable_statement_logging();
        Ok(Connections { options })
    }

    /// A pool of connections for reads.
    pub(crate) fn pool(&self, connections: &Connections) -> MySqlPool {
        MySqlPoolOptions::new()
            .max_connections(self.max_connections)
            .acquire_timeout(self.acquire_timeout)
            // A read that finds its connection closed is repeated.
            .test_before_acquire(false)
            .after_connect(|connection, _| {
                Box::pin(async {
                    raw_sql(MariaDb::SESSION).execute(&mut *connection).await?;
                    if is_clustered(connection).await? {
                        raw_sql(MariaDb::CLUSTERED_READS).execute(connection).await?;
                    }
                    Ok(())
                })
            })
            .connect_lazy_with(connections.options.clone())
    }
}

/// Prints host, port, user and database of the URL; never its password or its parameters.
impl fmt::Debug for MariaDbOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut printed = f.debug_struct("MariaDbOptions");
        if let Ok(Connections { options }) = self.parse() {
            printed
                .field("host", &options.get_host())
                .field("port", &options.get_port())
                .field("user", &options.get_username())
                .field("database", &options.get_database());
        }
        printed
            .field("max_connections", &self.max_connections)
            .field("opening", &self.opening)
            .finish_non_exhaustive()
    }
}

/// Opens connections to one database.
#[derive(Clone)]
pub(crate) struct Connections {
    options: MySqlConnectOptions,
}

impl Connections {
    /// A connection of its own, with the settings that the statements are written for.
    pub(crate) async fn connect(&self) -> Result<MySqlConnection, MariaDbError> {
        let mut connection = self.options.connect().await.map_err(MariaDbError::read)?;
        let set = raw_sql(MariaDb::SESSION).execute(&mut connection).await;
        set.map_err(MariaDbError::read)?;
        Ok(connection)
    }
}

/// True if the server is a node of a Galera cluster.
pub(crate) async fn is_clustered(connection: &mut MySqlConnection) -> Result<bool, sqlx::Error> {
    Ok(raw_sql(MariaDb::IS_CLUSTERED).fetch_optional(connection).await?.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_the_password_and_the_parameters() {
        let url = "mariadb://worker:hunter2@db.example:6543/jobs?ssl-ca=hunter2";
        let printed = format!("{:?}", MariaDbOptions::new(url));
        assert!(!printed.contains("hunter2"), "{printed}");
        assert!(printed.contains("db.example") && printed.contains("6543"), "{printed}");
        for wrong in ["not a url: hunter2", "mysql:hunter2", "hunter2", "postgres://hunter2"] {
            let printed = format!("{:?}", MariaDbOptions::new(wrong));
            assert!(!printed.contains("hunter2"), "{printed}");
            let refused = MariaDbOptions::new(wrong).parse().err().map(|error| error.to_string());
            assert!(refused.is_some_and(|refused| !refused.contains("hunter2")), "{wrong}");
        }
    }

    #[test]
    fn a_part_of_the_url_without_effect_is_refused() {
        for (url, named) in [
            ("mysql://db/jobs?charset=latin1", "charset"),
            ("mysql://db", "no database"),
            ("mariadb://db/", "no database"),
        ] {
            let error = MariaDbOptions::new(url).parse().err().map(|error| error.to_string());
            assert!(error.is_some_and(|error| error.contains(named)), "{url}");
        }
    }
}
