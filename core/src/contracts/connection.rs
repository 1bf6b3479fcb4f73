//! How a backend is reached, in the reference's words.

use std::fmt;
use std::time::Duration;

/// Limits on the duration of a backend's requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackendTimeouts {
    /// One request; the client's own limit when absent.
    pub request: Option<Duration>,
}

impl BackendTimeouts {
    /// The client's own limits.
    #[must_use]
    pub const fn new() -> Self {
        Self { request: None }
    }
}

/// The reconnect policy of a backend's client; the client's own numbers where absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackendRetry {
    /// The base of the growing pause.
    pub exponent_base: Option<u32>,
    /// The factor that the pause is multiplied by.
    pub factor: Option<u32>,
    /// The number of tries.
    pub number_of_retries: Option<u32>,
    /// The variation of the pause, in percent.
    pub jitter_percent: Option<u32>,
}

impl BackendRetry {
    /// The client's own numbers.
    #[must_use]
    pub const fn new() -> Self {
        Self { exponent_base: None, factor: None, number_of_retries: None, jitter_percent: None }
    }
}

/// The address of a Valkey server or cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ValkeyConnection {
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
    /// True if the connection is encrypted.
    pub tls: bool,
    /// True if the address is that of a cluster.
    pub cluster: bool,
}

impl ValkeyConnection {
    /// A single server, unencrypted.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port, tls: false, cluster: false }
    }
}

/// The address of a Postgres and the size of its pool. The password is never printed.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PostgresConnection {
    /// The URL, password included.
    pub url: String,
    /// The most connections in the pool.
    pub max_connections: u32,
    /// The fewest connections in the pool.
    pub min_connections: u32,
    /// The longest wait for a connection.
    pub acquire_timeout: Duration,
}

impl PostgresConnection {
    /// Up to ten connections, half a minute to wait for one.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            max_connections: 10,
            min_connections: 0,
            acquire_timeout: Duration::from_secs(30),
        }
    }
}

impl fmt::Debug for PostgresConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresConnection")
            .field("url", &redacted_url(&self.url))
            .field("max_connections", &self.max_connections)
            .field("min_connections", &self.min_connections)
            .field("acquire_timeout", &self.acquire_timeout)
            .finish()
    }
}

const REDACTED: &str = "<REDACTED>";

/// `url` without its password and without its parameters, which may hold another. A part that does
/// not read plainly as `scheme://user:password@host` is left out rather than guessed at.
fn redacted_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return REDACTED.to_owned();
    };

    let (place, parameters) = match rest.split_once('?') {
        // An `@` behind the `?` may end a password that contains a `?`: no part is safe to show.
        Some((_, parameters)) if parameters.contains('@') => {
            return format!("{scheme}://{REDACTED}");
        }
        Some((place, _)) => (place, format!("?{REDACTED}")),
        None => (rest, String::new()),
    };

    let place = match place.rsplit_once('@') {
        Some((login, host)) => match login.split_once(':') {
            Some((user, _)) => format!("{user}:{REDACTED}@{host}"),
            None => format!("{login}@{host}"),
        },
        None => place.to_owned(),
    };

    format!("{scheme}://{place}{parameters}")
}

/// The store that a backend connects to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackendConnection {
    /// A Valkey.
    Valkey(ValkeyConnection),
    /// A Postgres.
    Postgres(PostgresConnection),
}

/// The store that a backend connects to, with its timeouts and retries.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackendConfig {
    /// The address.
    pub connection: BackendConnection,
    /// The limits on the duration of requests.
    pub timeouts: BackendTimeouts,
    /// The reconnect policy.
    pub retry: BackendRetry,
}

impl BackendConfig {
    /// With the client's own timeouts and retries.
    #[must_use]
    pub const fn new(connection: BackendConnection) -> Self {
        Self { connection, timeouts: BackendTimeouts::new(), retry: BackendRetry::new() }
    }

    /// A single Valkey server, unencrypted.
    #[must_use]
    pub fn valkey(host: impl Into<String>, port: u16) -> Self {
        Self::new(BackendConnection::Valkey(ValkeyConnection::new(host, port)))
    }

    /// A Postgres.
    #[must_use]
    pub fn postgres(url: impl Into<String>) -> Self {
        Self::new(BackendConnection::Postgres(PostgresConnection::new(url)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_never_printed() {
        let cases = [
            ("postgres://me:s3cret@db:5432/ff", "postgres://me:<REDACTED>@db:5432/ff"),
            ("postgres://me:s3cret@s3cret/s3cret@db/ff", "postgres://me:<REDACTED>@db/ff"),
            ("postgres://me@db/ff?password=s3cret", "postgres://me@db/ff?<REDACTED>"),
            ("postgres://db/ff?password=x@s3cret", "postgres://<REDACTED>"),
            ("postgres://me:s3cret?s3cret@db/ff", "postgres://<REDACTED>"),
            ("postgres://db:5432/ff", "postgres://db:5432/ff"),
            ("host=db password=s3cret", "<REDACTED>"),
        ];

        for (url, expected) in cases {
            let debug = format!("{:?}", BackendConfig::postgres(url));
            assert!(debug.contains(&format!("url: {expected:?}")), "{debug}");
            assert!(!debug.contains("s3cret"), "{debug}");
        }
    }
}
