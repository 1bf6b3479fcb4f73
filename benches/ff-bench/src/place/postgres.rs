//! A new schema of a Postgres database.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::error::BenchError;
use crate::usage::{Counters, Size};

/// The longest wait for ended sessions to report their counters.
const REPORTED_WITHIN: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// The version from which on a server counts the records of its log.
const COUNTS_RECORDS: i32 = 140_000;

/// The server's log. Its counters are those of the whole server.
const LOG: &str = "SELECT CAST(pg_current_wal_insert_lsn() - '0/0' AS bigint)";
const RECORDS: &str = "SELECT wal_records, wal_fpi FROM pg_stat_wal";

/// The updates of executions, over all partitions of the table.
const UPDATES: &str = "SELECT CAST(COALESCE(sum(n_tup_upd), 0) AS bigint), \
                       CAST(COALESCE(sum(n_tup_hot_upd), 0) AS bigint) \
                       FROM pg_stat_user_tables \
                       WHERE schemaname = $1 AND relname LIKE 'ff\\_exec\\_core%'";

const SIZE: &str = "SELECT CAST(COALESCE(sum(pg_table_size(relid)), 0) AS bigint), \
                    CAST(COALESCE(sum(pg_indexes_size(relid)), 0) AS bigint) \
                    FROM pg_stat_user_tables WHERE schemaname = $1";

const SESSIONS: &str = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1";

const TABLES: &str = "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = $1";

/// The tables that one statement drops, since each is a lock.
const DROPPED: usize = 50;

/// A new schema.
#[derive(Debug)]
pub struct PostgresPlace {
    url: String,
    /// Also the name of every measured session.
    schema: String,
    server_version: i32,
    /// The server's files, if the role may know where they are. They may be on another machine.
    data_directory: Option<PathBuf>,
    /// Beside the measured sessions.
    admin: Mutex<PgConnection>,
}

impl PostgresPlace {
    /// Connects and makes up a name; the engine makes the schema.
    pub(crate) async fn create(url: &str) -> Result<Self, BenchError> {
        let options: PgConnectOptions = url.parse()?;
        let mut admin = options.disable_statement_logging().connect().await?;
        let version = "SELECT CAST(current_setting('server_version_num') AS integer)";
        let server_version = sqlx::query_scalar(version).fetch_one(&mut admin).await?;

        let directory = sqlx::query_scalar::<_, String>("SELECT current_setting('data_directory')");
        let data_directory = directory.fetch_one(&mut admin).await.ok().map(PathBuf::from);

        let schema = format!("ff_bench_{}", Uuid::new_v4().simple());
        let separator = if url.contains('?') { '&' } else { '?' };
        let url = format!("{url}{separator}application_name={schema}");
        Ok(Self { url, schema, server_version, data_directory, admin: Mutex::new(admin) })
    }

    /// The URL, with the name of the measured sessions.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The schema.
    #[must_use]
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// The directory of the server's files, if it can be one of this machine's.
    pub(crate) fn directory(&self) -> Option<&Path> {
        self.data_directory.as_deref().filter(|directory| directory.join("base").is_dir())
    }

    pub(crate) async fn version(&self) -> Result<String, BenchError> {
        let version = "SELECT current_setting('server_version')";
        Ok(sqlx::query_scalar(version).fetch_one(&mut *self.admin.lock().await).await?)
    }

    pub(crate) async fn counters(&self) -> Result<Counters, BenchError> {
        self.sessions_end().await?;
        let mut admin = self.admin.lock().await;
        let log: i64 = sqlx::query_scalar(LOG).fetch_one(&mut *admin).await?;
        let updates = sqlx::query(UPDATES).bind(&self.schema).fetch_one(&mut *admin).await?;

        let mut counters = Counters {
            log_bytes: Some(log.unsigned_abs()),
            core_updates: Some(count(&updates, 0)?),
            hot_updates: Some(count(&updates, 1)?),
            ..Counters::default()
        };
        if COUNTS_RECORDS <= self.server_version {
            let records = sqlx::query(RECORDS).fetch_one(&mut *admin).await?;
            counters.log_records = Some(count(&records, 0)?);
            counters.page_images = Some(count(&records, 1)?);
        }
        Ok(counters)
    }

    pub(crate) async fn alter(&self, sql: &str) -> Result<(), BenchError> {
        let mut admin = self.admin.lock().await;
        let path = AssertSqlSafe(format!("SET search_path TO {}", self.schema));
        sqlx::raw_sql(path).execute(&mut *admin).await?;
        // The caller's own words, on tables that exist for this measurement only.
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut *admin).await?;
        Ok(())
    }

    pub(crate) async fn size(&self) -> Result<Size, BenchError> {
        let mut admin = self.admin.lock().await;
        let size = sqlx::query(SIZE).bind(&self.schema).fetch_one(&mut *admin).await?;
        let (table_bytes, index_bytes) = (count(&size, 0)?, Some(count(&size, 1)?));
        Ok(Size { table_bytes, index_bytes, log_bytes: None })
    }

    /// Waits until no measured session is left: a session reports its counters at its end.
    async fn sessions_end(&self) -> Result<(), BenchError> {
        let begun = Instant::now();
        loop {
            let mut admin = self.admin.lock().await;
            let sessions = sqlx::query_scalar(SESSIONS).bind(&self.schema);
            let left: i64 = sessions.fetch_one(&mut *admin).await?;
            drop(admin);

            if left == 0 || REPORTED_WITHIN < begun.elapsed() {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    pub(crate) async fn remove(self) -> Result<(), BenchError> {
        let mut admin = self.admin.into_inner();
        let tables: Vec<String> =
            sqlx::query_scalar(TABLES).bind(&self.schema).fetch_all(&mut admin).await?;

        let schema = &self.schema;
        let mut statements: Vec<String> = Vec::new();
        for some in tables.chunks(DROPPED) {
            let some: Vec<String> = some.iter().map(|table| format!("{schema}.{table}")).collect();
            statements.push(format!("DROP TABLE IF EXISTS {} CASCADE", some.join(", ")));
        }
        statements.push(format!("DROP SCHEMA IF EXISTS {schema} CASCADE"));

        for statement in statements {
            sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut admin).await?;
        }
        Ok(admin.close().await?)
    }
}

fn count(row: &PgRow, column: usize) -> Result<u64, sqlx::Error> {
    let count: i64 = row.try_get(column)?;
    Ok(count.unsigned_abs())
}
