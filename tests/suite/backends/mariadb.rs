//! Databases of MariaDB for one test at a time: to empty tables takes a tenth of the time to make
//! them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use ff_backend_mariadb::{MariaDbBackend, MariaDbOptions};
use sqlx::mysql::MySqlPool;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, MySqlConnection};

use super::emptied;

/// Databases that no test uses, with empty tables.
static FREE: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The server, where the suite may create databases.
pub(crate) fn url() -> String {
    std::env::var("FF_MARIADB_TEST_URL").unwrap_or_else(|_| {
        panic!(
            "FF_MARIADB_TEST_URL is unset: scripts/test starts a server, or point the \
             variable at one where the suite may create databases, for example \
             mysql://root@127.0.0.1:3306/"
        )
    })
}

/// A database that is emptied and given back with [`Database::free`].
pub(super) struct Database {
    name: String,
}

impl Database {
    /// A migrated database without rows.
    pub(super) async fn take() -> Self {
        let free = FREE.lock().unwrap().pop();
        if let Some(name) = free {
            return Self { name };
        }

        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let name = format!("ff_test_{}_{number}", std::process::id());
        let mut connection = MySqlConnection::connect(&url()).await.unwrap_or_else(|error| {
            panic!("the MariaDB of FF_MARIADB_TEST_URL cannot be reached: {error}")
        });
        let sql = format!("DROP DATABASE IF EXISTS {name}; CREATE DATABASE {name}");
        connection.execute(AssertSqlSafe(sql)).await.unwrap();
        connection.close().await.unwrap();
        Self { name }
    }

    pub(super) fn options(&self) -> MariaDbOptions {
        let base = url();
        MariaDbOptions::new(format!("{}/{}", base.trim_end_matches('/'), self.name))
    }

    /// Empties the tables for the next test.
    pub(super) async fn free(self, pool: &MySqlPool) {
        let mut sql = "SET SESSION lock_wait_timeout = 5;".to_owned();
        for table in emptied() {
            sql.push_str(&format!("DELETE FROM {};", table.name));
            if table.identity().is_some() {
                sql.push_str(&format!("ALTER TABLE {} AUTO_INCREMENT = 1;", table.name));
            }
        }
        if pool.execute(AssertSqlSafe(sql)).await.is_ok() {
            FREE.lock().unwrap().push(self.name);
        }
        pool.close().await;
    }

    pub(super) async fn open(&self, options: MariaDbOptions) -> std::sync::Arc<MariaDbBackend> {
        MariaDbBackend::open(options).await.unwrap()
    }
}
