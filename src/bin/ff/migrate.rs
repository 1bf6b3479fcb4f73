//! `ff migrate`: brings a database to the current schema, or prints what that would change.

use serde_json::json;

use super::Global;
use super::failure::Failure;
use flowfabric_sql::Scheme;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print the statements that would run; change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Bring over a database of FlowFabric 0.15, or one of this program from before its first
    /// release. Make a backup first, and stop all users of it. If it is interrupted, run it again.
    #[arg(long, conflicts_with = "partitions")]
    adopt: bool,
    /// Leave the Postgres triggers that notify FlowFabric's own listeners of each event.
    #[arg(long, requires = "adopt")]
    keep_triggers: bool,
    /// Split the tables of a new Postgres database into this number of hash partitions.
    #[arg(long, value_name = "N")]
    partitions: Option<u16>,
}

/// The result of a backend's migration.
struct Report {
    applied: Vec<String>,
    already: usize,
    sql: Vec<String>,
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let scheme = Scheme::of(&global.db).map_err(|error| global.open_failure(&error))?;
    let report = match scheme {
        Scheme::Sqlite => in_sqlite(global, &arguments).await?,
        Scheme::Postgres => in_postgres(global, &arguments).await?,
        Scheme::MariaDb => in_mariadb(global, &arguments).await?,
        Scheme::Memory => return Err(Failure::usage("memory: has no schema to migrate")),
    };

    let output = global.output();
    if output.is_json() {
        output.json(&json!({
            "applied": report.applied,
            "already": report.already,
            "sql": report.sql,
        }))?;
    } else if arguments.dry_run {
        for statement in &report.sql {
            output.lines(&format!("{};", statement.trim_end().trim_end_matches(';')))?;
        }
        output.line(format!(
            "-- dry run: {} statements would run, nothing was changed",
            report.sql.len()
        ))?;
    } else if report.applied.is_empty() {
        output.line(format!("up to date: {} migrations", report.already))?;
    } else {
        output.line(format!("applied {}", report.applied.join(", ")))?;
    }
    Ok(())
}

#[cfg(feature = "sqlite")]
async fn in_sqlite(global: &Global, arguments: &Arguments) -> Result<Report, Failure> {
    if global.schema.is_some() || arguments.partitions.is_some() || arguments.keep_triggers {
        return Err(Failure::usage("--schema, --partitions and --keep-triggers are for Postgres"));
    }

    use ff_backend_sqlite::{SqliteOptions, migrate as sqlite};
    let mut options = sqlite::MigrateOptions::new();
    if arguments.dry_run {
        options = options.dry_run();
    }
    if arguments.adopt {
        options = options.adopt();
    }

    let place = SqliteOptions::new(&global.db);
    let report = sqlite::migrate_at(&place, &options).await;
    let sqlite::MigrateReport { applied, already, sql } =
        report.map_err(|error| Failure::new(format!("migrating {}: {error}", global.db)))?;
    Ok(Report { applied, already, sql })
}

#[cfg(not(feature = "sqlite"))]
async fn in_sqlite(global: &Global, _: &Arguments) -> Result<Report, Failure> {
    Err(global.open_failure(&flowfabric_sql::OpenError::NotCompiledIn { scheme: Scheme::Sqlite }))
}

#[cfg(feature = "mariadb")]
async fn in_mariadb(global: &Global, arguments: &Arguments) -> Result<Report, Failure> {
    if global.schema.is_some() || arguments.partitions.is_some() || arguments.keep_triggers {
        return Err(Failure::usage("--schema, --partitions and --keep-triggers are for Postgres"));
    }
    if arguments.adopt {
        return Err(Failure::usage("there are no MariaDB databases of FlowFabric to adopt"));
    }

    use ff_backend_mariadb::{MariaDbOptions, migrate::migrate_at};
    let report = migrate_at(&MariaDbOptions::new(&global.db), arguments.dry_run).await;
    let report =
        report.map_err(|error| Failure::new(format!("migrating the database: {error}")))?;
    Ok(Report { applied: report.applied, already: report.already, sql: report.sql })
}

#[cfg(not(feature = "mariadb"))]
async fn in_mariadb(global: &Global, _: &Arguments) -> Result<Report, Failure> {
    Err(global.open_failure(&flowfabric_sql::OpenError::NotCompiledIn { scheme: Scheme::MariaDb }))
}

#[cfg(feature = "postgres")]
async fn in_postgres(global: &Global, arguments: &Arguments) -> Result<Report, Failure> {
    use ff_backend_postgres::{PostgresBackend, PostgresOptions, migrate as postgres};
    let wrong = |error: postgres::MigrateError| Failure::usage(error.to_string());

    let mut options = postgres::MigrateOptions::new();
    if arguments.dry_run {
        options = options.dry_run();
    }
    if arguments.adopt {
        options = options.adopt();
    }
    if arguments.keep_triggers {
        options = options.keep_triggers();
    }

    if let Some(schema) = &global.schema {
        options = options.schema(postgres::SchemaName::new(schema).map_err(wrong)?);
    }
    if let Some(partitions) = arguments.partitions {
        options = options.partitions(partitions).map_err(wrong)?;
    }

    let backend = PostgresBackend::open(PostgresOptions::new(&global.db)).await;
    let backend = backend.map_err(|error| Failure::engine("opening the database", &error))?;
    let report = postgres::migrate(backend.pool(), &options).await;
    // Before the result is checked, so that a failure closes the pool, too.
    backend.pool().close().await;

    let postgres::MigrateReport { applied, already, sql } =
        report.map_err(|error| Failure::new(error.to_string()))?;
    Ok(Report { applied, already, sql })
}

#[cfg(not(feature = "postgres"))]
async fn in_postgres(global: &Global, _: &Arguments) -> Result<Report, Failure> {
    Err(global.open_failure(&flowfabric_sql::OpenError::NotCompiledIn { scheme: Scheme::Postgres }))
}
