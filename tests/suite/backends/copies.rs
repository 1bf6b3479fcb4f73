//! Copies of one migrated Postgres database: to copy it takes a tenth of the time to migrate one.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use ff_backend_postgres::migrate::{MigrateOptions, SchemaName, migrate};
use sqlx::postgres::PgConnectOptions;
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, PgConnection, PgPool,
};
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::postgres_url;

/// The lock that only one process at a time makes the original under.
const LOCK: i64 = 0x6666_7465_7374;

/// The name of the original.
static ORIGINAL: OnceCell<String> = OnceCell::const_new();

/// The schema in the copies.
pub(super) fn schema() -> SchemaName {
    SchemaName::new("ff_test").unwrap()
}

/// A database that is removed with [`Copy::remove`].
pub(super) struct Copy {
    name: String,
}

impl Copy {
    pub(super) async fn create() -> Self {
        let mut connection = connect(postgres_url()).await;
        let original = ORIGINAL.get_or_init(|| original(&mut connection));
        let original = original.await.clone();

        let name = format!("ff_test_{}", Uuid::new_v4().simple());
        run(&mut connection, format!("CREATE DATABASE {name} TEMPLATE {original}")).await;
        connection.close().await.unwrap();
        Self { name }
    }

    /// Where it is.
    pub(super) fn url(&self) -> String {
        url_of(&self.name)
    }

    pub(super) async fn remove(self) {
        let mut connection = connect(postgres_url()).await;
        run(&mut connection, format!("DROP DATABASE {} WITH (FORCE)", self.name)).await;
        connection.close().await.unwrap();
    }
}

/// Makes the original where there is none of these migrations yet. It stays for the next run.
async fn original(connection: &mut PgConnection) -> String {
    run(connection, format!("SELECT pg_advisory_lock({LOCK})")).await;
    let name = name_of_original().await;
    let sql = "SELECT count(*) FROM pg_database WHERE datname = $1";
    let found: i64 = sqlx::query_scalar(sql).bind(&name).fetch_one(&mut *connection).await.unwrap();

    if found == 0 {
        // Its name says that it is complete, so it gets the name last.
        let new = format!("ff_test_{}", Uuid::new_v4().simple());
        run(connection, format!("CREATE DATABASE {new}")).await;
        let pool = PgPool::connect(&url_of(&new)).await.unwrap();
        migrate(&pool, &MigrateOptions::default().schema(schema())).await.unwrap();
        pool.close().await;
        run(connection, format!("ALTER DATABASE {new} RENAME TO {name}")).await;
    }
    run(connection, format!("SELECT pg_advisory_unlock({LOCK})")).await;
    name
}

/// A name that other migrations do not have.
async fn name_of_original() -> String {
    let pool = PgPool::connect(&postgres_url()).await.unwrap();
    let report = migrate(&pool, &MigrateOptions::default().schema(schema()).dry_run()).await;
    pool.close().await;

    let mut digest = DefaultHasher::new();
    report.unwrap().sql.hash(&mut digest);
    format!("ff_test_original_{:016x}", digest.finish())
}

async fn connect(url: String) -> PgConnection {
    PgConnection::connect(&url)
        .await
        .unwrap_or_else(|error| panic!("the Postgres of FF_PG_TEST_URL cannot be reached: {error}"))
}

async fn run(connection: &mut PgConnection, sql: String) {
    if let Err(error) = connection.execute(AssertSqlSafe(sql.clone())).await {
        panic!("{sql}: {error}; the role of FF_PG_TEST_URL must be allowed to create databases");
    }
}

fn url_of(database: &str) -> String {
    let options: PgConnectOptions = postgres_url().parse().unwrap();
    let url = options.database(database).to_url_lossy().to_string();
    // It names a setting of the library that the backend's URLs do not have.
    let Some((place, query)) = url.split_once('?') else { return url };
    let own = |pair: &&str| !pair.starts_with("statement-cache-capacity=");
    format!("{place}?{}", query.split('&').filter(own).collect::<Vec<_>>().join("&"))
}
