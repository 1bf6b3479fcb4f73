//! Databases of the reference: they are recognised, left alone, and brought over on request.
//!
//! `adopt/postgres.sql` and `adopt/sqlite.sql` hold the reference's tables as its documentation
//! describes them; every table gets rows here, and the engine goes on with them afterwards.

mod rows;

use std::collections::BTreeMap;

use ff_backend_postgres::migrate as postgres;
use ff_backend_sqlite::SqliteOptions;
use ff_backend_sqlite::migrate as sqlite;
use ff_codegen::migrations::{Migration, POSTGRES, SQLITE};
use ff_core::backend::{BackendTag, CapabilitySet};
use ff_core::contracts::ResumeExecutionArgs;
use ff_core::engine_backend::Scan;
use ff_core::types::FlowId;
use flowfabric_sql::OpenOptions;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{AssertSqlSafe, PgPool, SqlitePool};
use uuid::Uuid;

use crate::backends::{self, Bench, by_hand, postgres_at, postgres_url, sqlite_at};
use crate::bench::{lane, payload_of, worker};
use crate::plain::PlainSql;
use rows::{Written, write_rows};

/// Numbers that differ from run to run; the seed is printed.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let seed = std::env::var("FF_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| Uuid::new_v4().as_u64_pair().0);
        eprintln!("FF_SEED={seed}");
        Self(seed | 1)
    }

    fn below(&mut self, bound: u64) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound).unwrap()
    }
}

/// A file that the reference made.
struct File {
    directory: tempfile::TempDir,
    written: Written,
}

impl File {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = SqliteConnectOptions::new()
            .filename(directory.path().join("flow.db"))
            .create_if_missing(true);
        let pool = SqlitePoolOptions::new().connect_with(options).await.unwrap();
        sqlx::raw_sql(include_str!("adopt/sqlite.sql")).execute(&pool).await.unwrap();
        let bench = by_hand(PlainSql::Sqlite(pool.clone()), BackendTag::Sqlite);
        let written = write_rows(&bench, 0).await;
        rows::write_sqlite_rows(&pool, &written).await;
        pool.close().await;
        Self { directory, written }
    }

    fn place(&self) -> SqliteOptions {
        SqliteOptions::new(self.directory.path().join("flow.db").to_str().unwrap())
    }

    fn url(&self) -> String {
        format!("sqlite:{}", self.directory.path().join("flow.db").display())
    }
}

/// Asserts that the descriptions are equal, and shows only where they are not.
#[track_caller]
fn assert_same(mut found: BTreeMap<String, String>, mut wanted: BTreeMap<String, String>) {
    let both = found.clone();
    found.retain(|name, text| wanted.get(name) != Some(text));
    wanted.retain(|name, text| both.get(name) != Some(text));
    assert_eq!(found, wanted);
}

fn names(migrations: &[Migration]) -> Vec<&'static str> {
    migrations.iter().map(|migration| migration.name).collect()
}

/// Every object of ours in a file, by its text without line breaks.
async fn texts(pool: &SqlitePool) -> BTreeMap<String, String> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "SELECT name, sql FROM sqlite_schema WHERE name LIKE 'ff\\_%' ESCAPE '\\' AND sql IS NOT NULL",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let words = |sql: String| sql.split_whitespace().collect::<Vec<_>>().join(" ");
    rows.into_iter().map(|(name, sql)| (name, words(sql.replace(" IF NOT EXISTS", "")))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sqlite_file_of_the_reference_is_adopted_and_goes_on() {
    let file = File::new().await;
    for options in [OpenOptions::new(), OpenOptions::new().migrate(false)] {
        let refusal = options.open(&file.url()).await.err().unwrap().to_string();
        assert!(refusal.contains("_sqlx_migrations is at version 22"), "{refusal}");
        assert!(refusal.contains("ff migrate --adopt"), "{refusal}");
    }
    let options = sqlite::MigrateOptions::new().adopt();
    let dry = sqlite::migrate_at(&file.place(), &options.clone().dry_run()).await.unwrap();
    assert!(dry.sql.iter().any(|sql| sql.contains("required_capabilities")), "{:?}", dry.sql);

    // Killed at any statement, and once in between.
    let mut dice = Dice::new();
    for _ in 0..20 {
        let statements = dice.below(u64::try_from(dry.sql.len()).unwrap());
        let killed = options.clone().fail_after(statements);
        sqlite::migrate_at(&file.place(), &killed).await.unwrap_err();
        assert!(OpenOptions::new().open(&file.url()).await.is_err());
    }
    let adopted = sqlite::migrate_at(&file.place(), &options).await.unwrap();
    assert_eq!(adopted.applied, names(SQLITE));
    let again = sqlite::migrate_at(&file.place(), &options).await.unwrap();
    assert_eq!((again.applied.len(), again.already), (0, SQLITE.len()));

    let bench = sqlite_at(&file.directory.path().join("flow.db")).await;
    let PlainSql::Sqlite(pool) = &bench.plain else { unreachable!() };
    let fresh = backends::sqlite_memory().await;
    let PlainSql::Sqlite(wanted) = &fresh.plain else { unreachable!() };
    assert_same(texts(pool).await, texts(wanted).await);
    rows::assert_sqlite_rows(pool).await;
    fresh.tear_down().await;
    // The file has one partition, which the engine reads from it.
    let flow = FlowId(file.written.flow);
    assert!(bench.backend.describe_flow(&flow).await.unwrap().is_some());
    go_on(&bench, &file.written).await;
    bench.tear_down().await;
}

/// A schema that the reference made, with so many partitions of its largest table.
struct Schema {
    pool: PgPool,
    name: postgres::SchemaName,
    written: Written,
}

impl Schema {
    async fn new(partitions: usize) -> Self {
        let name = format!("ff_adopt_{}", Uuid::new_v4().simple());
        let options: PgConnectOptions = postgres_url().parse().unwrap();
        let options = options.options([("search_path", name.as_str())]);
        let pool = PgPoolOptions::new().max_connections(4).connect_with(options).await.unwrap();
        let run = async |sql: String| {
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&pool).await.unwrap();
        };
        run(format!("CREATE SCHEMA {name}")).await;
        run(include_str!("adopt/postgres.sql").to_owned()).await;
        let parents: Vec<String> = sqlx::query_scalar(
            "SELECT relname::text FROM pg_class WHERE relkind = 'p' AND pg_table_is_visible(oid)",
        )
        .fetch_all(&pool)
        .await
        .unwrap();
        assert_eq!(parents.len(), 26);
        for parent in parents {
            let count = if parent == "ff_exec_core" { partitions } else { 2 };
            let children = (0..count).map(|child| {
                format!(
                    "CREATE TABLE {parent}_p{child} PARTITION OF {parent} \
                     FOR VALUES WITH (MODULUS {count}, REMAINDER {child});"
                )
            });
            run(children.collect()).await;
        }

        let bench = by_hand(PlainSql::Postgres(pool.clone()), BackendTag::Postgres);
        let written = write_rows(&bench, 7).await;
        rows::write_postgres_rows(&pool, &written).await;
        let name = postgres::SchemaName::new(&name).unwrap();
        Self { pool, name, written }
    }

    fn options(&self) -> postgres::MigrateOptions {
        postgres::MigrateOptions::new().schema(self.name.clone()).adopt()
    }

    async fn drop(self) {
        // One table at a time: all locks at once do not fit into the server's table.
        let tables: Vec<String> = sqlx::query_scalar(
            "SELECT relname::text FROM pg_class WHERE relkind IN ('r', 'p') \
             AND NOT relispartition AND pg_table_is_visible(oid) AND relname NOT LIKE 'pg\\_%'",
        )
        .fetch_all(&self.pool)
        .await
        .unwrap();
        for table in tables {
            let sql = format!("DROP TABLE {table} CASCADE");
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&self.pool).await.unwrap();
        }
        let sql = format!("DROP SCHEMA {} CASCADE", self.name.as_str());
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&self.pool).await.unwrap();
        self.pool.close().await;
    }
}

/// Every column and index of ours in a schema, in the database's words; columns by name.
async fn described(pool: &PgPool) -> BTreeMap<String, String> {
    let columns: Vec<(String, String)> = sqlx::query_as(
        "SELECT c.relname || '.' || a.attname, concat_ws(' ', \
             format_type(a.atttypid, a.atttypmod), l.collname, a.attnotnull, a.attidentity, \
             pg_get_expr(d.adbin, d.adrelid)) \
         FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND 0 < a.attnum \
             AND NOT a.attisdropped \
         LEFT JOIN pg_collation l ON l.oid = a.attcollation \
         LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum \
         WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND pg_table_is_visible(c.oid) \
             AND c.relname LIKE 'ff\\_%'",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let indexes: Vec<(String, String)> = sqlx::query_as(
        "SELECT c.relname || ' ' || i.relname, \
             regexp_replace(pg_get_indexdef(i.oid), ' ON .*? USING', '') \
         FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid JOIN pg_class i ON i.oid = x.indexrelid \
         WHERE NOT c.relispartition AND pg_table_is_visible(c.oid) AND c.relname LIKE 'ff\\_%' \
         UNION ALL SELECT c.relname || ' ' || k.conname, pg_get_constraintdef(k.oid) \
         FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid \
         WHERE k.contype = 'c' AND NOT c.relispartition AND pg_table_is_visible(c.oid) \
             AND c.relname LIKE 'ff\\_%'",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    columns.into_iter().chain(indexes).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_schema_of_the_reference_is_adopted_and_goes_on() {
    let schema = Schema::new(256).await;
    let options = OpenOptions::new().schema(Some(schema.name.as_str().to_owned()));
    let refusal = options.open(&postgres_url()).await.err().unwrap().to_string();
    assert!(refusal.contains("_sqlx_migrations is at version 22"), "{refusal}");
    let before = described(&schema.pool).await;
    let dry = postgres::migrate(&schema.pool, &schema.options().dry_run()).await.unwrap();
    assert!(dry.sql.iter().any(|sql| sql.contains("TYPE smallint")), "{:?}", dry.sql);
    assert_eq!(described(&schema.pool).await, before);

    // Killed again and again, each time a little later.
    let mut dice = Dice::new();
    for _ in 0..20 {
        let killed = schema.options().fail_after(dice.below(8));
        postgres::migrate(&schema.pool, &killed).await.unwrap_err();
        assert!(postgres::migrate(&schema.pool, &postgres::MigrateOptions::new()).await.is_err());
    }
    let adopted = postgres::migrate(&schema.pool, &schema.options()).await.unwrap();
    assert_eq!(adopted.applied, names(POSTGRES));
    let again = postgres::migrate(&schema.pool, &schema.options()).await.unwrap();
    assert_eq!((again.applied.len(), again.already), (0, POSTGRES.len()));

    let fresh = backends::postgres().await;
    let PlainSql::Postgres(wanted) = &fresh.plain else { unreachable!() };
    assert_same(described(&schema.pool).await, described(wanted).await);
    fresh.tear_down().await;
    rows::assert_postgres_rows(&schema.pool).await;
    let bench = postgres_at(&schema.name).await;
    go_on(&bench, &schema.written).await;
    bench.tear_down().await;
    schema.drop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reference_s_triggers_stay_on_request_and_the_library_adopts_too() {
    let schema = Schema::new(2).await;
    let keeping = schema.options().keep_triggers();
    postgres::migrate(&schema.pool, &keeping).await.unwrap();
    let triggers = "SELECT count(*) FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid \
                    WHERE NOT c.relispartition AND pg_table_is_visible(c.oid) \
                    AND g.tgname NOT LIKE 'ff_exec_count%'";
    let count: i64 = sqlx::query_scalar(triggers).fetch_one(&schema.pool).await.unwrap();
    assert_eq!(count, 5);
    schema.drop().await;

    let schema = Schema::new(2).await;
    let options = OpenOptions::new().schema(Some(schema.name.as_str().to_owned()));
    assert!(options.clone().adopt(true).migrate(false).open(&postgres_url()).await.is_err());
    let engine = options.adopt(true).open(&postgres_url()).await.unwrap();
    engine.ping().await.unwrap();
    let count: i64 = sqlx::query_scalar(triggers).fetch_one(&schema.pool).await.unwrap();
    assert_eq!(count, 0);
    schema.drop().await;

    let file = File::new().await;
    OpenOptions::new().adopt(true).open(&file.url()).await.unwrap();
    OpenOptions::new().migrate(false).open(&file.url()).await.unwrap();
}

/// The engine takes up what the reference left, and brings it to its end.
async fn go_on(bench: &Bench, written: &Written) {
    let flow = bench.plain.rows("ff_flow_core").await;
    let flow = flow.iter().find(|row| row.uuid("flow_id") == Some(written.flow)).unwrap();
    assert_eq!((flow.int("node_count"), flow.int("edge_count")), (Some(3), Some(2)));
    assert_eq!(bench.core(&written.claimed).await.int("attempt_index"), Some(0));
    for delayed in [&written.retried, &written.delayed] {
        let core = bench.core(delayed).await;
        assert_eq!(core.int("eligible_at_ms"), Some(backends::START + 5_000), "{core:?}");
        assert_eq!(core.int("deadline_at_ms"), None);
    }
    let resume = ResumeExecutionArgs {
        execution_id: written.suspended.clone(),
        trigger_type: "operator".into(),
        resume_delay_ms: 0,
    };
    bench.backend.resume_execution(resume).await.unwrap();

    let mut ended = Vec::new();
    let plain = CapabilitySet::default();
    while let Some(handle) = bench.backend.claim(&lane(), &plain, worker("w")).await.unwrap() {
        assert_ne!(payload_of(&handle).execution_id, written.capable);
        bench.backend.complete(&handle, None).await.unwrap();
        ended.push(payload_of(&handle).execution_id);
    }
    assert!(!ended.contains(&written.retried) && !ended.contains(&written.downstream));

    bench.clock.advance(10_000);
    let able = CapabilitySet::new(["gpu"]);
    let open = written.open();
    let mut rounds = 0;
    while ended.len() < open.len() {
        for scan in Scan::ALL {
            bench.backend.scan(scan, 1_000).await.unwrap();
        }
        while let Some(handle) = bench.backend.claim(&lane(), &able, worker("w")).await.unwrap() {
            bench.backend.complete(&handle, None).await.unwrap();
            ended.push(payload_of(&handle).execution_id);
        }
        rounds += 1;
        assert!(rounds < 10, "{ended:?} of {open:?}");
    }
    bench.settle().await;
    for id in open {
        assert!(ended.contains(id), "{id}");
        assert_eq!(bench.public(id).await, "completed");
    }
    bench.assert_sound().await;
}
