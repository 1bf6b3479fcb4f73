//! Migrating real Postgres schemas: once, twice, at once, after kills, partitioned, from older
//! versions, and with a ledger that does not fit. Every test has a schema of its own and drops it.

#[path = "../../../../codegen/tests/older/mod.rs"]
mod older;
mod upgrade;

use std::collections::BTreeSet;
use std::time::Duration;

use ff_backend_postgres::migrate::{
    MigrateError, MigrateOptions, MigrateReport, SchemaName, migrate,
};
use ff_codegen::migrations::{LedgerError, Migration, POSTGRES};
use ff_core::schema::{TABLES, VERSION};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, PgPool};

struct Scratch {
    pool: PgPool,
    schema: SchemaName,
}

impl Scratch {
    async fn new(test: &str) -> Self {
        let url = std::env::var("FF_PG_TEST_URL").expect(
            "FF_PG_TEST_URL is not set: run scripts/test, or point it at a Postgres where schemas \
             may be created, such as postgres://postgres@127.0.0.1:5432/postgres",
        );
        let schema = format!("ff_{test}_{}", std::process::id());
        let options: PgConnectOptions = url.parse().unwrap();
        let options = options.options([("search_path", schema.as_str())]);
        let pool = PgPoolOptions::new().max_connections(12).connect_with(options).await.unwrap();
        Self { pool, schema: SchemaName::new(&schema).unwrap() }
    }

    fn options(&self) -> MigrateOptions {
        MigrateOptions::new().schema(self.schema.clone())
    }

    async fn migrate(&self) -> Result<MigrateReport, MigrateError> {
        migrate(&self.pool, &self.options()).await
    }

    async fn run(&self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&self.pool).await.unwrap();
    }

    async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).bind(self.schema.as_str()).fetch_one(&self.pool).await.unwrap()
    }

    async fn assert_schema(&self) {
        for table in TABLES {
            let columns: Vec<String> = sqlx::query_scalar(
                "SELECT column_name::text FROM information_schema.columns \
                 WHERE table_schema = $1 AND table_name = $2 ORDER BY ordinal_position",
            )
            .bind(self.schema.as_str())
            .bind(table.name)
            .fetch_all(&self.pool)
            .await
            .unwrap();
            let flags = table.flags.iter().map(|flag| flag.column.name);
            let expected = table.columns.iter().map(|column| column.name).chain(flags);
            let sorted = |names: Vec<String>| names.into_iter().collect::<BTreeSet<_>>();
            // Migrations may put the columns in another order, but for the first.
            assert_eq!(columns.first().unwrap(), table.columns.first().unwrap().name);
            assert_eq!(columns.len(), expected.clone().count(), "{}", table.name);
            let expected = expected.map(str::to_owned).collect();
            assert_eq!(sorted(columns), sorted(expected), "{}", table.name);
        }
        let seeds: (i32, i32, i32, String) = sqlx::query_as(
            "SELECT num_flow_partitions, num_budget_partitions, num_quota_partitions, ff_version \
             FROM ff_partition_config",
        )
        .fetch_one(&self.pool)
        .await
        .unwrap();
        assert_eq!(seeds, (256, 32, 32, "0.1.0".to_owned()));
        let finished = "SELECT count(*) FROM ff_schema_ledger \
                        WHERE applied_at_ms IS NOT NULL AND $1::text IS NOT NULL";
        assert_eq!(self.count(finished).await, i64::try_from(POSTGRES.len()).unwrap());
    }

    async fn relations(&self) -> i64 {
        self.count(
            "SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace($1) \
             AND relkind IN ('r', 'p')",
        )
        .await
    }

    async fn drop(self) {
        self.run(&format!("DROP SCHEMA IF EXISTS {} CASCADE", self.schema.as_str())).await;
        self.pool.close().await;
    }
}

fn report(applied: &[Migration], already: usize) -> MigrateReport {
    let applied = applied.iter().map(|migration| migration.name.to_owned()).collect();
    MigrateReport { applied, already, sql: Vec::new() }
}

/// The statements of all migrations.
fn statements() -> Vec<&'static str> {
    POSTGRES.iter().flat_map(Migration::statements).collect()
}

fn tables() -> i64 {
    i64::try_from(TABLES.len()).unwrap()
}

fn partitioned() -> i64 {
    i64::try_from(TABLES.iter().filter(|table| table.partitioned).count()).unwrap()
}

#[tokio::test]
async fn a_fresh_schema_gets_all_tables_and_a_second_run_nothing() {
    let scratch = Scratch::new("fresh").await;
    assert_eq!(scratch.migrate().await.unwrap(), report(POSTGRES, 0));
    scratch.assert_schema().await;
    assert_eq!(scratch.relations().await, tables() + 1);
    assert_eq!(scratch.migrate().await.unwrap(), report(&[], POSTGRES.len()));
    // The same through the search path.
    let by_path = migrate(&scratch.pool, &MigrateOptions::new()).await.unwrap();
    assert_eq!(by_path, report(&[], POSTGRES.len()));
    scratch.drop().await;
}

#[tokio::test]
async fn a_dry_run_reports_and_writes_nothing() {
    let scratch = Scratch::new("dry").await;
    let dry = migrate(&scratch.pool, &scratch.options().dry_run()).await.unwrap();
    assert_eq!(dry.applied, Vec::<String>::new());
    assert_eq!(dry.sql, statements());
    let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname = $1";
    assert_eq!(scratch.count(schemas).await, 0);
    scratch.drop().await;
}

#[tokio::test]
async fn a_ledger_that_does_not_fit_is_refused() {
    let scratch = Scratch::new("ledger").await;
    scratch.migrate().await.unwrap();

    let next = VERSION + 1;
    scratch.run(&format!("INSERT INTO ff_schema_ledger VALUES ({next}, 'x', 'c', NULL, 1)")).await;
    let newer = scratch.migrate().await;
    let Err(MigrateError::Ledger(LedgerError::Newer { found, known })) = newer else {
        panic!("{newer:?}");
    };
    assert_eq!(found, next);
    assert_eq!(usize::try_from(known).unwrap(), POSTGRES.len());

    scratch.run(&format!("DELETE FROM ff_schema_ledger WHERE version = {next}")).await;
    scratch.run("UPDATE ff_schema_ledger SET checksum = 'other'").await;
    assert!(matches!(
        scratch.migrate().await,
        Err(MigrateError::Ledger(LedgerError::Altered { version: 1, .. }))
    ));
    scratch.drop().await;
}

#[tokio::test]
async fn names_and_partitions_are_checked() {
    let long = "a".repeat(64);
    for name in ["", "1a", "a-b", "A", "a\"; DROP SCHEMA public; --", long.as_str()] {
        assert!(matches!(SchemaName::new(name), Err(MigrateError::InvalidSchemaName(_))));
    }
    assert_eq!(SchemaName::new("_a1").unwrap().as_str(), "_a1");
    for partitions in [0, 257] {
        let refused = MigrateOptions::new().partitions(partitions);
        assert!(matches!(refused, Err(MigrateError::InvalidPartitions(n)) if n == partitions));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_that_start_at_once_one_applies() {
    for partitions in [None, Some(3)] {
        let scratch = Scratch::new(&format!("many_{}", partitions.unwrap_or(0))).await;
        let options = match partitions {
            Some(count) => scratch.options().partitions(count).unwrap(),
            None => scratch.options(),
        };
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let (pool, options) = (scratch.pool.clone(), options.clone());
                tokio::spawn(async move { migrate(&pool, &options).await.unwrap() })
            })
            .collect();
        let mut applied = 0;
        for task in tasks {
            applied += task.await.unwrap().applied.len();
        }
        assert_eq!(applied, POSTGRES.len());
        scratch.assert_schema().await;
        scratch.drop().await;
    }
}

#[tokio::test]
async fn a_kill_in_a_plain_migration_leaves_nothing_behind() {
    let scratch = Scratch::new("kill").await;
    scratch.run(&format!("CREATE SCHEMA {}", scratch.schema.as_str())).await;
    let statements = statements();
    for survived in [1, statements.len() / 2, statements.len()] {
        let mut killed = scratch.pool.acquire().await.unwrap().detach();
        let text = format!("BEGIN; {}", statements[..survived].join("\n"));
        sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut killed).await.unwrap();
        drop(killed);
    }
    assert_eq!(scratch.migrate().await.unwrap(), report(POSTGRES, 0));
    scratch.assert_schema().await;
    scratch.drop().await;
}

#[tokio::test]
async fn partitions_survive_kills_and_are_decided_once() {
    let scratch = Scratch::new("parts").await;
    let options = scratch.options().partitions(5).unwrap();
    // Longer and longer runs, each cut off, until one completes.
    let mut cut_off = 0;
    let outcome = loop {
        let patience = Duration::from_millis(1 + 10 * cut_off);
        match tokio::time::timeout(patience, migrate(&scratch.pool, &options)).await {
            Ok(outcome) => break outcome.unwrap(),
            Err(_) => cut_off += 1,
        }
        assert!(cut_off < 400, "no run came through");
    };
    assert_eq!(outcome.applied.len() + outcome.already, POSTGRES.len());
    assert!(0 < cut_off, "no run was cut off");
    scratch.assert_schema().await;
    assert_eq!(scratch.relations().await, tables() + 1 + 5 * partitioned());

    let again = migrate(&scratch.pool, &options).await.unwrap();
    assert_eq!(again, report(&[], POSTGRES.len()));
    assert_eq!(scratch.migrate().await.unwrap(), report(&[], POSTGRES.len()));
    let other = scratch.options().partitions(6).unwrap();
    let differs = migrate(&scratch.pool, &other).await.unwrap_err();
    assert!(matches!(
        differs,
        MigrateError::PartitionsDiffer { recorded: Some(5), asked: Some(6) }
    ));
    let words = "the tables have 5 partitions, asked for: 6 partitions";
    assert_eq!(differs.to_string(), words);
    scratch.run("UPDATE ff_schema_ledger SET applied_at_ms = NULL").await;
    let differs = scratch.migrate().await.unwrap_err();
    assert!(matches!(differs, MigrateError::PartitionsDiffer { recorded: Some(5), asked: None }));
    let words = "the tables have 5 partitions, asked for: no partitions";
    assert_eq!(differs.to_string(), words);
    scratch.drop().await;
}

#[tokio::test]
async fn rows_are_numbered_and_checked_by_the_database() {
    let scratch = Scratch::new("rows").await;
    let options = scratch.options().partitions(2).unwrap();
    migrate(&scratch.pool, &options).await.unwrap();
    for partition in 0..6 {
        let insert = "INSERT INTO ff_completion_event (execution_id, outcome, occurred_at_ms, \
                      partition_key) VALUES (gen_random_uuid(), 'success', 1, $1)";
        sqlx::query(insert).bind(partition).execute(&scratch.pool).await.unwrap();
    }
    let numbers = "SELECT count(DISTINCT event_id) FROM ff_completion_event \
                   WHERE 0 < committed_at_ms AND $1::text IS NOT NULL";
    assert_eq!(scratch.count(numbers).await, 6);
    for refused in [
        "UPDATE ff_partition_config SET singleton_lock = false",
        "INSERT INTO ff_operator_event (execution_id, event_type, occurred_at_ms, partition_key) \
         VALUES ('e', 'unheard-of', 1, 0)",
    ] {
        sqlx::query(refused).execute(&scratch.pool).await.unwrap_err();
    }
    scratch.drop().await;
}
