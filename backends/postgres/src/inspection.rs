//! A report about the server, for operators: settings, a pooler, snapshots, statistics, sequences.

use std::time::Duration;

use ff_codegen::inspection::postgres as texts;
use ff_core::engine::{DatabaseReport, NumberSequence, OpenSnapshot, UnanalysedTable};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};
use tokio::time::timeout;

use crate::connections::Connections;
use crate::error::PostgresError;
use crate::parameters::{self, Design};

/// The time to wait for a second connection. Without one, a pooler is not noticed.
const PATIENCE: Duration = Duration::from_secs(2);

/// The number of times that two connections are asked for their sessions.
const ROUNDS: usize = 3;

/// Reads it.
///
/// # Errors
/// Those of connecting and of a read.
pub(crate) async fn inspect(
    connections: &Connections,
    design: Design,
) -> Result<DatabaseReport, PostgresError> {
    let mut connection = connections.acquire().await?;
    let mut report = DatabaseReport::default();
    let read = async {
        report.settings = parameters::read(&mut connection, design).await?;
        report.oldest_snapshot = oldest_snapshot(&mut connection).await?;
        report.tables_without_statistics = tables(&mut connection).await?;
        report.sequences = sequences(&mut connection).await?;
        Ok(())
    };
    read.await.map_err(PostgresError::read)?;

    // A pool of one connection would wait for itself.
    let has_two = 1 < connections.pool().options().get_max_connections();
    if has_two && let Ok(Ok(mut other)) = timeout(PATIENCE, connections.acquire()).await {
        let shared = shares_sessions(&mut connection, &mut other).await;
        report.shares_sessions = shared.map_err(PostgresError::read)?;
    }
    Ok(report)
}

/// True if two connections of this process were seen in one session of the server, or one of them
/// in two. Neither happens unless a pooler hands sessions out for single transactions.
async fn shares_sessions(
    one: &mut PgConnection,
    other: &mut PgConnection,
) -> Result<bool, sqlx::Error> {
    let (first, second) = (session(one).await?, session(other).await?);
    let mut shares = first == second;
    for _ in 0..ROUNDS {
        shares |= first != session(one).await? || second != session(other).await?;
    }
    Ok(shares)
}

async fn session(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    // The simple protocol leaves no prepared statement behind in a pooler.
    sqlx::raw_sql(texts::SESSION).fetch_one(connection).await?.try_get(0)
}

async fn oldest_snapshot(
    connection: &mut PgConnection,
) -> Result<Option<OpenSnapshot>, sqlx::Error> {
    let row = sqlx::raw_sql(texts::OLDEST_SNAPSHOT).fetch_optional(connection).await?;
    let fact = |row: PgRow| {
        Ok(OpenSnapshot::new(row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?))
    };
    row.map(fact).transpose()
}

async fn tables(connection: &mut PgConnection) -> Result<Vec<UnanalysedTable>, sqlx::Error> {
    let rows = sqlx::raw_sql(texts::TABLES_WITHOUT_STATISTICS).fetch_all(connection).await?;
    rows.iter().map(|row| Ok(UnanalysedTable::new(row.try_get(0)?, row.try_get(1)?))).collect()
}

async fn sequences(connection: &mut PgConnection) -> Result<Vec<NumberSequence>, sqlx::Error> {
    let rows = sqlx::raw_sql(texts::SEQUENCES).fetch_all(connection).await?;
    let fact = |row: &PgRow| {
        Ok(NumberSequence::new(row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?))
    };
    rows.iter().map(fact).collect()
}
