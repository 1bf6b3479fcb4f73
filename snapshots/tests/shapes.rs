//! For everything an operation asks: the plan, and its SQL in each dialect, reviewed as a snapshot;
//! and every statement prepared on the real databases.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use ff_backend_postgres::migrate::{MigrateOptions, SchemaName, migrate};
use ff_catalogue::client::client_calls;
use ff_catalogue::{Call, Sample, samples};
use ff_codegen::{
    DIALECTS, Dialect, MariaDb, Postgres, PostgresOcc, RenderError, ScriptStep, Sqlite,
};
use sqlformat::{FormatOptions, QueryParams};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};

#[path = "shapes/routes.rs"]
mod routes;

/// The one that writes nearly the statements of another.
const VARIANT: &dyn Dialect = &PostgresOcc;

/// The statements that a sample becomes in a dialect.
fn statements(dialect: &dyn Dialect, call: &Call) -> Result<Vec<String>, RenderError> {
    use ff_codegen::dialect::CommitStrategy;
    match call {
        Call::Query(query) => {
            let (shape, _) = query.clone().into_shape();
            Ok(vec![ff_codegen::query(dialect, &shape)?.sql])
        }
        Call::Plan(plan) => match dialect.commit_strategy() {
            CommitStrategy::Fused => Ok(vec![ff_codegen::fused(dialect, &plan.shape())?.sql]),
            CommitStrategy::Script => {
                let script = ff_codegen::script(dialect, &plan.shape())?;
                let steps = script.once.into_iter().chain(script.each).chain(script.prevents);
                Ok(steps.map(sql_of).collect())
            }
        },
    }
}

/// Every call of the engine and of a client, with its name.
fn calls() -> Vec<(String, Call)> {
    let named = |sample: Sample| (format!("{}: {}", sample.operation, sample.case), sample.call);
    let samples = samples().into_iter().map(named);
    let of_clients = client_calls().expect("every argument is found").into_iter();
    let of_clients = of_clients.flat_map(|client| {
        let reasons = client.reasons.into_iter().map(|reason| reason.call);
        let calls = [client.call].into_iter().chain(reasons);
        calls.map(|call| (client.name.clone(), call)).collect::<Vec<_>>()
    });
    samples.chain(of_clients).collect()
}

fn sql_of(step: ScriptStep) -> String {
    match step {
        ScriptStep::Guard { statement, .. }
        | ScriptStep::Pick { statement, .. }
        | ScriptStep::Write { statement, .. } => statement.sql,
    }
}

fn pretty(sql: &str) -> String {
    let options = FormatOptions { max_inline_arguments: Some(100), ..FormatOptions::default() };
    sqlformat::format(sql, &QueryParams::None, &options)
}

/// The texts of a page, by dialect, with the place that shows each.
type Shown = HashMap<(&'static str, String), String>;

/// The SQL of a case. A text that the page shows already is named by its place there.
fn show(shown: &mut Shown, dialect: &dyn Dialect, case: &str, call: &Call) -> String {
    let statements = statements(dialect, call).expect("every sample renders");
    let place_of = |number: usize| match statements.len() {
        1 => case.to_owned(),
        _ => format!("{case}, statement {number}"),
    };

    let mut texts = Vec::new();
    for (number, sql) in (1..).zip(&statements) {
        texts.push(match shown.entry((dialect.name(), sql.clone())) {
            Entry::Occupied(place) => format!("-- as in {}", place.get()),
            Entry::Vacant(free) => {
                free.insert(place_of(number));
                pretty(sql)
            }
        });
    }
    texts.join(";\n")
}

fn by_operation() -> BTreeMap<&'static str, Vec<Sample>> {
    let mut operations: BTreeMap<&'static str, Vec<Sample>> = BTreeMap::new();
    for sample in samples() {
        operations.entry(sample.operation).or_default().push(sample);
    }
    operations
}

/// The cases of an operation, and the SQL of each in these dialects.
fn page(samples: &[Sample], dialects: &[&dyn Dialect]) -> String {
    let mut page = String::new();
    let mut shown = Shown::new();
    for (index, Sample { case, call, .. }) in samples.iter().enumerate() {
        // A case that asks several things has several headings.
        let before = samples.iter().take(index).filter(|other| other.case == *case).count();
        let heading = match before {
            0 => case.to_string(),
            _ => format!("{case} ({})", before + 1),
        };

        page.push_str(&format!("=== {heading} ===\n{call}\n"));
        for dialect in dialects {
            page.push_str(&format!("\n--- {} ---\n", dialect.name()));
            page.push_str(&show(&mut shown, *dialect, &heading, call));
            page.push('\n');
        }
        page.push('\n');
    }
    page
}

/// Compares the page with the reviewed one in a folder beside this one.
fn assert_reviewed(folder: &str, operation: &str, page: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(format!("../{folder}"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(operation, page));
}

#[test]
fn every_operation_is_reviewed() {
    for (operation, samples) in by_operation() {
        assert_reviewed("shapes", operation, &page(&samples, &DIALECTS));
    }
}

/// The dialect differs from that of Postgres and from the form of a script in a few clauses, which
/// these operations show.
#[test]
fn the_clauses_of_postgres_occ_are_reviewed() {
    let operations = by_operation();
    for operation in ["claim", "complete_execution", "create_execution"] {
        assert_reviewed("occ", operation, &page(&operations[operation], &[&PostgresOcc]));
    }
}

#[test]
fn no_snapshot_outlives_its_operation() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/shapes");
    let files = std::fs::read_dir(folder).expect("the snapshots are here");
    let mut names: Vec<String> = files
        .map(|file| file.expect("a file").file_name().into_string().expect("a name"))
        .collect();
    names.sort_unstable();
    let operations: Vec<String> =
        by_operation().keys().map(|name| format!("{name}.snap")).collect();
    assert_eq!(names, operations);
}

#[test]
fn no_value_is_ever_written_into_a_text() {
    for sample in samples() {
        for dialect in DIALECTS.into_iter().chain([VARIANT]) {
            for sql in statements(dialect, &sample.call).expect("every sample renders") {
                for value in ["renderer-1", "render-invoice", "printer on fire", "1700000"] {
                    assert!(!sql.contains(value), "{}: {value} in {sql}", sample.operation);
                }
            }
        }
    }
}

#[test]
fn a_plan_survives_its_serialised_form() {
    for sample in samples() {
        let Call::Plan(plan) = sample.call else { continue };
        let text = serde_json::to_string(&plan).expect("a plan serialises");
        let again: ff_core::plan::Plan = serde_json::from_str(&text).expect("and comes back");
        assert_eq!(plan, again);
    }
}

#[tokio::test]
async fn every_statement_prepares_on_sqlite() {
    use sqlx::{Connection, Executor, SqliteConnection};
    let mut connection = SqliteConnection::connect("sqlite::memory:").await.expect("opens");
    let options = ff_backend_sqlite::migrate::MigrateOptions::new();
    ff_backend_sqlite::migrate::migrate(&mut connection, &options).await.expect("migrates");
    for (name, call) in calls() {
        for sql in statements(&Sqlite, &call).expect("every sample renders") {
            let text = sqlx::AssertSqlSafe(sql.clone());
            let prepared = connection.prepare(sqlx::SqlSafeStr::into_sql_str(text)).await;
            prepared.unwrap_or_else(|error| panic!("{name}: {error}\n{sql}"));
        }
    }
}

/// So it need not be reviewed or prepared on its own.
#[test]
fn a_commit_that_waits_for_no_lock_sends_the_same_statement_but_for_the_wait() {
    let mut differ = 0;
    for sample in samples() {
        let Call::Plan(plan) = &sample.call else { continue };
        let shape = plan.shape();
        let waits = ff_codegen::fused(&Postgres, &shape).expect("every sample renders");
        let skips = waits.beside_locks.as_ref().unwrap_or(&waits.sql);
        let plain = |sql: &str| sql.replace(" SKIP LOCKED", "");
        assert_eq!(plain(&waits.sql), plain(skips));
        // Rows that a plan must change all of are waited for.
        let every =
            skips.matches("FOR NO KEY UPDATE").count() - skips.matches("SKIP LOCKED").count();
        assert!(every <= 1, "{skips}");
        differ += usize::from(waits.beside_locks.is_some());
    }
    assert!(0 < differ);
}

#[tokio::test]
async fn every_statement_prepares_on_mariadb() {
    use sqlx::mysql::MySqlConnectOptions;
    use sqlx::{Connection, Executor, MySqlConnection};
    let url = std::env::var("FF_MARIADB_TEST_URL")
        .expect("FF_MARIADB_TEST_URL names a MariaDB to test on; scripts/test starts one");
    let name = format!("ff_shapes_{}", uuid::Uuid::new_v4().simple());
    let options: MySqlConnectOptions = url.parse().expect("FF_MARIADB_TEST_URL is a URL");
    // Room for all of them: to close one before the next is prepared takes 40 ms over TCP.
    let options = options.statement_cache_capacity(100_000);
    let mut connection = MySqlConnection::connect_with(&options).await.expect("MariaDB answers");
    let create = format!("CREATE DATABASE {name}; USE {name}; {}", MariaDb::SESSION);
    connection.execute(sqlx::AssertSqlSafe(create)).await.expect("creates its database");
    ff_backend_mariadb::migrate::migrate(&mut connection).await.expect("migrates");

    let mut failures = Vec::new();
    for (name, call) in calls() {
        for sql in statements(&MariaDb, &call).expect("every sample renders") {
            let text = sqlx::AssertSqlSafe(sql.clone());
            let prepared = connection.prepare(sqlx::SqlSafeStr::into_sql_str(text)).await;
            failures.extend(prepared.err().map(|error| format!("{name}: {error}\n{sql}")));
        }
    }
    let drop_database = sqlx::AssertSqlSafe(format!("DROP DATABASE {name}"));
    connection.execute(drop_database).await.expect("drops its database");
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

fn postgres_url() -> String {
    std::env::var("FF_PG_TEST_URL")
        .expect("FF_PG_TEST_URL names a Postgres to test on; scripts/test starts one")
}

/// A new schema with all tables, whose name begins so, and connections to it.
async fn migrated(prefix: &str, options: MigrateOptions) -> (PgPool, String) {
    let schema = format!("{prefix}_{}", uuid::Uuid::new_v4().simple());
    let connect: PgConnectOptions = postgres_url().parse().expect("FF_PG_TEST_URL is a URL");
    let pool = PgPoolOptions::new()
        .max_connections(2)
        .connect_with(connect.options([("search_path", schema.as_str())]))
        .await
        .expect("Postgres answers");
    let name = SchemaName::new(&schema).expect("a schema name");
    migrate(&pool, &options.schema(name)).await.expect("migrates");
    (pool, schema)
}

#[tokio::test]
async fn every_statement_prepares_on_postgres() {
    use sqlx::Executor;
    let (pool, schema) = migrated("ff_shapes", MigrateOptions::new()).await;
    let mut connection = pool.acquire().await.expect("a connection");
    let dialects: [&dyn Dialect; 2] = [&Postgres, &PostgresOcc];
    for (name, call) in calls() {
        for sql in dialects
            .iter()
            .flat_map(|dialect| statements(*dialect, &call).expect("every sample renders"))
        {
            let text = sqlx::AssertSqlSafe(sql.clone());
            let prepared = connection.prepare(sqlx::SqlSafeStr::into_sql_str(text)).await;
            prepared.map(drop).unwrap_or_else(|error| panic!("{name}: {error}\n{sql}"));
        }
    }
    let drop_schema = sqlx::AssertSqlSafe(format!("DROP SCHEMA {schema} CASCADE"));
    connection.execute(drop_schema).await.expect("drops its schema");
}
