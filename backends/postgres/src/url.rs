//! The accepted parts of a database URL.
//!
//! The driver ignores unknown parameters, with a warning in the log. A mistyped `sslmode` would
//! open an unencrypted connection, so a parameter without effect is refused here. Messages name
//! parameters, never their values: a value may be a password, and so may a fragment.

use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;

use crate::parameters::Design;

/// The parameters of a URL that have an effect.
const KNOWN: &[&str] = &[
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

/// The reason that a URL is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UrlError {
    #[error(
        "the database URL has a fragment, which is not supported: write %23 for # in a name or a \
         password"
    )]
    Fragment,
    #[error("the parameter {0:?} of the database URL is not supported")]
    Parameter(String),
    #[error("the parameter {0:?} of the database URL is given twice")]
    Repeated(String),
}

/// The URL as the driver reads it, and the design that its scheme asks for.
pub(crate) fn design(url: String) -> (String, Design) {
    match url.split_once(':') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("postgres-occ") => {
            (format!("postgres:{rest}"), Design::Optimistic)
        }
        Some(_) | None => (url, Design::Locking),
    }
}

/// Parses a URL, and refuses one with a part that has no effect.
pub(crate) fn parse(url: &str) -> Result<PgConnectOptions, sqlx::Error> {
    check(url).map_err(|error| sqlx::Error::Configuration(Box::new(error)))?;
    PgConnectOptions::from_str(url)
}

fn check(url: &str) -> Result<(), UrlError> {
    if url.contains('#') {
        return Err(UrlError::Fragment);
    }

    let query = url.split_once('?').map_or("", |(_, query)| query);
    let mut seen = Vec::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let name = parameter.split_once('=').map_or(parameter, |(name, _)| name);
        let setting = name.strip_prefix("options[").and_then(|rest| rest.strip_suffix(']'));

        if !KNOWN.contains(&name) && setting.is_none_or(str::is_empty) {
            return Err(UrlError::Parameter(name.to_owned()));
        }
        if seen.contains(&name) {
            return Err(UrlError::Repeated(name.to_owned()));
        }
        seen.push(name);
    }

    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_an_effect_is_accepted() {
        for url in [
            "postgres://me@db/ff",
            "postgresql://me:p%23w@db:6543/ff?sslmode=verify-full&sslrootcert=/ca.pem",
            "postgres:///ff?host=/var/run/postgresql&application_name=jobs",
            "postgres://db/ff?options[search_path]=jobs&options[jit]=off",
            "postgres://db/ff?",
        ] {
            assert_eq!(check(url), Ok(()), "{url}");
        }
    }

    #[test]
    fn a_part_that_is_not_understood_is_refused_and_named_without_its_value() {
        for (url, named) in [
            ("postgres://db/ff?sslmod=hunter2", "\"sslmod\""),
            ("postgres://db/ff?connect_timeout=hunter2&sslmode=require", "\"connect_timeout\""),
            // The backend keeps as many statements as there are shapes.
            ("postgres://db/ff?statement-cache-capacity=hunter2", "\"statement-cache-capacity\""),
            ("postgres://db/ff?options[=hunter2", "\"options[\""),
            ("postgres://db/ff?sslmode=prefer&sslmode=hunter2", "given twice"),
            ("postgres://me:pa#hunter2@db/ff", "%23"),
            ("postgres://db/ff#hunter2", "%23"),
        ] {
            let error = parse(url).unwrap_err().to_string();
            assert!(error.contains(named) && !error.contains("hunter2"), "{url}: {error}");
        }
    }
}
