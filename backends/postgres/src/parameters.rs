//! The settings that every session requests when it begins.
//!
//! The statements are written for them: a session that lacks one is slower, or fails where others
//! would wait, but does nothing wrong. They are start-up parameters, so no `SET` is ever sent. A
//! pooler may drop those; the first connection checks and reports that.

use ff_core::engine::SessionSetting;
use sqlx::postgres::PgConnectOptions;
use sqlx::{PgConnection, Row as _};

/// One setting, its wanted value, and the effect of its lack.
#[derive(Clone, Copy)]
struct Parameter {
    name: &'static str,
    value: &'static str,
    without: &'static str,
}

/// The way in which plans are kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Design {
    /// By locks on rows.
    Locking,
    /// By the database, which aborts one of two transactions that conflict.
    Optimistic,
}

impl Design {
    /// The settings that its sessions request.
    fn parameters(self) -> [Parameter; 6] {
        match self {
            Design::Locking => PARAMETERS,
            Design::Optimistic => PARAMETERS.map(|parameter| match parameter.name {
                ISOLATION => Parameter { value: "serializable", without: UNSAFE, ..parameter },
                _ => parameter,
            }),
        }
    }
}

const ISOLATION: &str = "default_transaction_isolation";

const UNSAFE: &str = "reads may see half of a transaction's changes, where servers differ in time";

const PARAMETERS: [Parameter; 6] = [
    // A text never depends on its values, so one plan fits all of them, and planning takes longer
    // than running.
    Parameter {
        name: "plan_cache_mode",
        value: "force_generic_plan",
        without: "statements are planned at each call",
    },
    // Such a plan is kept while tables grow: one that was made on an empty table would scan it.
    Parameter {
        name: "enable_seqscan",
        value: "off",
        without: "statements that were planned on small tables scan them when they have grown",
    },
    // An index in the order of a select is walked up to its limit. A bitmap finds all of its rows,
    // which are then sorted: on tables without statistics this looks cheaper, more so since
    // Postgres 18.
    Parameter {
        name: "enable_bitmapscan",
        value: "off",
        without: "a claim may read all that waits in a lane and sort it",
    },
    // A generic plan is costed for tables of any size, and compiling it takes far longer than a
    // run.
    Parameter {
        name: "jit",
        value: "off",
        without: "statements over partitioned tables are compiled for seconds before they run",
    },
    // A guard re-checks a row that another transaction has changed; stricter levels fail instead.
    Parameter {
        name: ISOLATION,
        value: "read committed",
        without: "transactions that meet fail and are sent again",
    },
    // Longer than writers hold a row, shorter than a caller notices; see `flight.rs`.
    Parameter {
        name: "lock_timeout",
        value: "250ms",
        without: "a row that another session locks holds up calls about other rows",
    },
];

/// The role, and its value of each parameter, in their order.
const SETTINGS: &str = "SELECT quote_ident(session_user), current_setting('plan_cache_mode'), \
                        current_setting('enable_seqscan'), \
                        current_setting('enable_bitmapscan'), current_setting('jit'), \
                        current_setting('default_transaction_isolation'), \
                        current_setting('lock_timeout')";

/// Requests the settings when connecting, except for those that the URL sets itself.
pub(crate) fn ask(connect: PgConnectOptions, design: Design) -> PgConnectOptions {
    let own = connect.get_options().unwrap_or_default().to_owned();
    let wanted = design.parameters();
    let missing = wanted.iter().filter(|parameter| !own.contains(parameter.name));
    connect.options(missing.map(|parameter| (parameter.name, parameter.value)))
}

/// The settings of the session, in their order.
///
/// # Errors
/// Those of the connection.
pub(crate) async fn read(
    connection: &mut PgConnection,
    design: Design,
) -> Result<Vec<SessionSetting>, sqlx::Error> {
    // The simple protocol leaves no prepared statement behind in a pooler.
    let row = sqlx::raw_sql(SETTINGS).fetch_one(connection).await?;
    let role: String = row.try_get(0)?;
    let setting = |(parameter, index)| Ok(setting(parameter, row.try_get(index)?, &role));
    design.parameters().iter().zip(1_usize..).map(setting).collect()
}

/// Warns of each setting that the session lacks, with the statement that corrects it.
///
/// # Errors
/// Those of the connection.
pub(crate) async fn check(
    connection: &mut PgConnection,
    design: Design,
) -> Result<(), sqlx::Error> {
    for advice in read(connection, design).await?.iter().filter_map(advice) {
        tracing::warn!("{advice}");
    }
    Ok(())
}

fn setting(
    Parameter { name, value, without }: &Parameter,
    found: String,
    role: &str,
) -> SessionSetting {
    let statement = format!("ALTER ROLE {role} SET {name} = '{value}'");
    SessionSetting::new(name, found, value, without, statement)
}

fn advice(setting: &SessionSetting) -> Option<String> {
    let SessionSetting { name, value, otherwise, statement, .. } = setting;
    (value != setting.wanted).then(|| {
        format!("the database session has {name} = {value:?}: {otherwise}; mend it by {statement}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(url: &str) -> String {
        let connect: PgConnectOptions = url.parse().unwrap();
        ask(connect, Design::Locking).get_options().unwrap_or_default().to_owned()
    }

    #[test]
    fn what_the_url_sets_itself_is_left_alone() {
        let plain = asked("postgres://db/jobs");
        for parameter in &PARAMETERS {
            assert!(plain.contains(&format!("-c {}=", parameter.name)), "{plain}");
        }
        assert!(plain.contains("read\\ committed"), "{plain}");
        let own = asked("postgres://db/jobs?options=-c%20jit%3Don");
        assert!(own.contains("jit=on") && !own.contains("jit=off"), "{own}");
        assert!(own.contains("plan_cache_mode=force_generic_plan"), "{own}");
    }

    #[test]
    fn every_setting_is_checked_in_its_order() {
        let asked: Vec<&str> = SETTINGS.split("current_setting('").skip(1).collect();
        assert_eq!(asked.len(), PARAMETERS.len());
        for (asked, parameter) in asked.iter().zip(&PARAMETERS) {
            assert!(asked.starts_with(parameter.name), "{asked}");
        }
    }

    #[test]
    fn a_setting_that_is_missing_comes_with_its_remedy() {
        for parameter in &PARAMETERS {
            let advice = |value: &str, role| advice(&setting(parameter, value.to_owned(), role));
            assert_eq!(advice(parameter.value, "worker"), None);
            let said = advice("serializable", "\"Worker\"").unwrap();
            let remedy =
                format!("ALTER ROLE \"Worker\" SET {} = '{}'", parameter.name, parameter.value);
            assert!(said.contains(&remedy) && said.contains("\"serializable\""), "{said}");
        }
    }
}
