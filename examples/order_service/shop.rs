//! The business: orders, their table, the bank and the post. It knows nothing of jobs, but that
//! the number of one stands beside an order.

use std::io;

use serde::{Deserialize, Serialize};
use sqlx::{PgPool, Postgres, Sqlite, SqlitePool, Transaction};

#[derive(Serialize, Deserialize)]
pub(crate) struct Order {
    #[serde(default)]
    pub(crate) number: String,
    pub(crate) cents: i64,
    pub(crate) email: String,
}

/// The bank and the post. The bank knows a repeated call by its key.
pub(crate) struct Shop;

impl Shop {
    pub(crate) async fn charge(&self, key: &str, cents: i64) -> io::Result<String> {
        Ok(format!("{cents} cents for {key}"))
    }

    pub(crate) async fn email(&self, to: &str, text: &str) -> io::Result<()> {
        println!("to {to}: {text}");
        Ok(())
    }
}

/// The table of the orders, in the database of the jobs.
#[derive(Clone)]
pub(crate) enum Orders {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// A transaction that writes orders.
pub(crate) enum Writing {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

/// The same code for both databases. A program for one of them has a pool, and `Transaction`.
macro_rules! on {
    ($kind:ident: $value:expr, $it:ident => $code:expr) => {
        match $value {
            $kind::Sqlite($it) => $code,
            $kind::Postgres($it) => $code,
        }
    };
}
pub(crate) use on;

impl Orders {
    pub(crate) async fn open(url: &str) -> sqlx::Result<Self> {
        let orders = match url.split_once(':') {
            Some(("sqlite", _)) => Self::Sqlite(SqlitePool::connect(url).await?),
            _ => Self::Postgres(PgPool::connect(url).await?),
        };
        let table = "CREATE TABLE IF NOT EXISTS orders (number TEXT PRIMARY KEY, job TEXT NOT NULL, \
                     cents BIGINT NOT NULL CHECK (0 < cents), email TEXT NOT NULL)";
        on!(Self: &orders, pool => sqlx::query(table).execute(pool).await.map(drop))?;
        Ok(orders)
    }

    pub(crate) async fn begin(&self) -> sqlx::Result<Writing> {
        Ok(match self {
            // A transaction that reads first could not write after another one has written.
            Self::Sqlite(pool) => Writing::Sqlite(pool.begin_with("BEGIN IMMEDIATE").await?),
            Self::Postgres(pool) => Writing::Postgres(pool.begin().await?),
        })
    }

    /// The job of an order, if there is such an order.
    pub(crate) async fn job(&self, number: &str) -> sqlx::Result<Option<String>> {
        let sql = "SELECT job FROM orders WHERE number = $1";
        on!(Self: self, pool => sqlx::query_scalar(sql).bind(number).fetch_optional(pool).await)
    }
}

impl Writing {
    pub(crate) async fn insert(&mut self, order: &Order, job: &str) -> sqlx::Result<()> {
        let sql = "INSERT INTO orders (number, job, cents, email) VALUES ($1, $2, $3, $4)";
        on!(Self: self, tx => {
            let row = sqlx::query(sql).bind(&order.number).bind(job);
            row.bind(order.cents).bind(&order.email).execute(&mut **tx).await.map(drop)
        })
    }

    /// The number of the order with that job.
    pub(crate) async fn number(&mut self, job: &str) -> sqlx::Result<String> {
        let sql = "SELECT number FROM orders WHERE job = $1";
        on!(Self: self, tx => sqlx::query_scalar(sql).bind(job).fetch_one(&mut **tx).await)
    }

    pub(crate) async fn commit(self) -> sqlx::Result<()> {
        on!(Self: self, tx => tx.commit().await)
    }
}
