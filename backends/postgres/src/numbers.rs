//! Has a table count on behind the numbers that an import gives its rows.

use ff_core::schema::TableRef;
use sqlx::Connection as _;

use crate::connections::Connections;
use crate::error::PostgresError;
use crate::statements::counting_on;

/// Has the table give its next row a number above this one. Must not be dropped midway.
///
/// # Errors
/// Those of connecting and of the server; nothing changed, unless the connection was lost.
pub(crate) async fn number_above(
    connections: Connections,
    table: TableRef,
    number: i64,
) -> Result<(), PostgresError> {
    let Some([lock, advance]) = counting_on(table) else { return Ok(()) };

    let mut connection = connections.acquire().await?;
    let done = async {
        let mut transaction = connection.begin().await?;
        let lock = sqlx::query(lock).persistent(false);
        lock.execute(&mut *transaction).await?;
        let advance = sqlx::query(advance).bind(number).persistent(false);
        advance.execute(&mut *transaction).await?;
        transaction.commit().await
    };
    done.await.map_err(PostgresError::write)
}
