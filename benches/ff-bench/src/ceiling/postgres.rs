//! Lives on Postgres in hand-written statements, one for each step, prepared once, with generic
//! plans.
//!
//! SQL over the schema's tables is otherwise generated; see [`super`] for the reason to write it by
//! hand here. Columns are named, so a column with a default may be added without a change here.

mod dispatch;
mod flow;
mod lease;
mod life;
mod wait;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{ConnectOptions as _, Row as _};

use super::Held;
use crate::error::BenchError;

/// One caller's connection, which keeps the statements that it has prepared.
#[derive(Debug)]
pub struct PostgresByHand {
    connection: PgConnection,
}

impl PostgresByHand {
    /// Connects to the tables of a schema. The session keeps its plans, as the engine's do.
    ///
    /// # Errors
    /// Those of connecting.
    pub async fn connect(url: &str, schema: &str) -> Result<Self, BenchError> {
        let options: PgConnectOptions = url.parse()?;
        let options = options.disable_statement_logging().options([
            ("search_path", schema),
            ("plan_cache_mode", "force_generic_plan"),
            ("jit", "off"),
        ]);
        Ok(Self { connection: options.connect().await? })
    }
}

/// A statement of these parts, each one or more queries with a name, and a last query.
fn fused(parts: &[&str], last: &str) -> String {
    format!("WITH {} {last}", parts.join(","))
}

fn held(row: &PgRow) -> Result<Held, sqlx::Error> {
    Ok(Held {
        partition: row.try_get(0)?,
        id: row.try_get(1)?,
        attempt_index: row.try_get(2)?,
        epoch: row.try_get(3)?,
        lease_id: row.try_get(4)?,
        attempt_id: row.try_get(5)?,
    })
}

fn column<R, T>(rows: &[R], value: impl Fn(&R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}
