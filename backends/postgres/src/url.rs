//! The accepted parts of a database URL.
//!
//! The driver ignores unknown parameters, with a warning in the log. A mistyped `sslmode` would
//! open an unencrypted connection, so a parameter without effect is refused here. Messages name
//! parameters, never their values: a value may be a password, and so may a fragment.

use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;

use crate::parameters::Design;

/// The parameter by which other clients choose one of several servers.
const TARGET: &str = "target_session_attrs";

/// Its values that name the server that the engine needs in any case.
const TARGETS: &[&str] = &["read-write", "primary"];

/// The parameters of a URL that have an effect.
const KNOWN: &[&str] = &[
    TARGET,
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
    #[error(
        "target_session_attrs of the database URL is neither read-write nor primary: the engine \
         works on no other server"
    )]
    Target,
    #[error(
        "the parameter {0:?} of the database URL has a list: several servers belong before the \
         name of the database, as in postgres://one:5432,two:5432/name"
    )]
    List(String),
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

/// Parses a URL into the options for each of its servers, at least one, in its order. Refuses a URL
/// with a part that has no effect.
pub(crate) fn parse(url: &str) -> Result<Vec<PgConnectOptions>, sqlx::Error> {
    check(url).map_err(|error| sqlx::Error::Configuration(Box::new(error)))?;
    each_server(&without_target(url)).iter().map(|url| PgConnectOptions::from_str(url)).collect()
}

/// The URL without the parameter that only this module understands.
fn without_target(url: &str) -> String {
    let Some((place, query)) = url.split_once('?') else { return url.to_owned() };
    let is_target = |parameter: &str| parameter.split('=').next() == Some(TARGET);
    let others: Vec<&str> = query.split('&').filter(|parameter| !is_target(parameter)).collect();
    format!("{place}?{}", others.join("&"))
}

/// One URL for each server of a list `one:5432,two:5432`.
fn each_server(url: &str) -> Vec<String> {
    let Some((scheme, rest)) = url.split_once("://") else { return vec![url.to_owned()] };
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    // A password may contain a comma.
    let (user, servers) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));

    servers.split(',').map(|server| format!("{scheme}://{user}{server}{path}")).collect()
}

fn check(url: &str) -> Result<(), UrlError> {
    if url.contains('#') {
        return Err(UrlError::Fragment);
    }

    let query = url.split_once('?').map_or("", |(_, query)| query);
    let mut seen = Vec::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let setting = name.strip_prefix("options[").and_then(|rest| rest.strip_suffix(']'));

        if !KNOWN.contains(&name) && setting.is_none_or(str::is_empty) {
            return Err(UrlError::Parameter(name.to_owned()));
        }
        if seen.contains(&name) {
            return Err(UrlError::Repeated(name.to_owned()));
        }
        if name == TARGET && !TARGETS.contains(&value) {
            return Err(UrlError::Target);
        }
        if ["host", "hostaddr", "port"].contains(&name) && value.contains(',') {
            return Err(UrlError::List(name.to_owned()));
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
            "postgres://one:5432,two:5433/ff?target_session_attrs=read-write",
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
            ("postgres://db/ff?target_session_attrs=hunter2", "target_session_attrs"),
            ("postgres:///ff?host=hunter2,two", "\"host\""),
            ("postgres:///ff?port=1,hunter2", "\"port\""),
        ] {
            let error = parse(url).unwrap_err().to_string();
            assert!(error.contains(named) && !error.contains("hunter2"), "{url}: {error}");
        }
    }

    #[test]
    fn the_scheme_says_the_design() {
        for (url, read, expected) in [
            ("postgres://db/ff", "postgres://db/ff", Design::Locking),
            ("postgresql://db/ff", "postgresql://db/ff", Design::Locking),
            ("postgres-occ://me:a@db/ff", "postgres://me:a@db/ff", Design::Optimistic),
            (
                "POSTGRES-OCC://db/ff?sslmode=require",
                "postgres://db/ff?sslmode=require",
                Design::Optimistic,
            ),
            ("", "", Design::Locking),
        ] {
            assert_eq!(design(url.to_owned()), (read.to_owned(), expected));
        }
    }

    #[test]
    fn each_server_of_a_list_has_its_own_options() {
        let servers = |url: &str| -> Vec<String> {
            let server = |one: &PgConnectOptions| {
                let database = one.get_database().unwrap_or_default();
                format!("{}@{}:{}/{database}", one.get_username(), one.get_host(), one.get_port())
            };
            parse(url).unwrap().iter().map(server).collect()
        };
        assert_eq!(servers("postgres://me@db/ff?sslmode=require"), ["me@db:5432/ff"]);
        let list = "postgres://me:a,b%2F@one:6000,two,[::1]:6001/ff?target_session_attrs=primary";
        assert_eq!(servers(list), ["me@one:6000/ff", "me@two:5432/ff", "me@[::1]:6001/ff"]);
        let host = "postgres://me@one,two?dbname=ff";
        assert_eq!(servers(host), ["me@one:5432/ff", "me@two:5432/ff"]);
    }
}
