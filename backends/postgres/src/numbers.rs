//! Has a table count on behind the numbers that an import gives its rows.

use std::time::Duration;

use ff_core::schema::TableRef;
use sqlx::{Connection as _, SqlStr};

use crate::connections::Connections;
use crate::error::PostgresError;
use crate::statements::counting_on;

/// The number of times that the table is asked for. Writers queue behind each request, so none
/// lasts longer than the `lock_timeout` of the session.
const TRIES: u32 = 40;

/// The pause in between, for the writers.
const PAUSE: Duration = Duration::from_millis(250);

/// Has the table give its next row a number above this one. Must not be dropped midway.
///
/// # Errors
/// Those of connecting and of the server, also where a transaction keeps the table to itself;
/// nothing changed, unless the connection was lost.
pub(crate) async fn number_above(
    connections: Connections,
    table: TableRef,
    number: i64,
) -> Result<(), PostgresError> {
    let Some(statements) = counting_on(table) else { return Ok(()) };

    let mut tries = 1;
    loop {
        match advance(&connections, statements.clone(), number).await {
            Err(error) if error.waited_for_a_lock() && tries < TRIES => tries += 1,
            done => return done,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn advance(
    connections: &Connections,
    [lock, advance]: [SqlStr; 2],
    number: i64,
) -> Result<(), PostgresError> {
    let mut connection = connections.acquire().await?;
    let done = async {
        let mut transaction = connection.begin().await?;
        sqlx::query(lock).persistent(false).execute(&mut *transaction).await?;
        let advance = sqlx::query(advance).bind(number).persistent(false);
        advance.execute(&mut *transaction).await?;
        transaction.commit().await
    };
    done.await.map_err(PostgresError::write)
}
