//! The database's time, told without asking it.
//!
//! Every process that works on one database must agree on the time, or leases lapse early for some.
//! The process clock runs on; how far it is from the database's is measured when connecting and at
//! every ping.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use ff_core::types::TimestampMs;
use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::{Row as _, SqlSafeStr as _};

use crate::session::{Protocol, fetch};

/// How often one measurement asks; the median counts.
const SAMPLES: usize = 3;

const NOW_MS: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";

/// A source of time given by the caller.
pub(crate) type Given = Arc<dyn Fn() -> TimestampMs + Send + Sync>;

/// A backend's clock.
pub(crate) struct Clock {
    given: Option<Given>,
    offset_ms: AtomicI64,
}

impl Clock {
    /// The caller's clock, or the database's.
    pub(crate) fn new(given: Option<Given>) -> Self {
        Self { given, offset_ms: AtomicI64::new(0) }
    }

    /// The time.
    pub(crate) fn now(&self) -> TimestampMs {
        match &self.given {
            Some(given) => given(),
            None => {
                let offset_ms = self.offset_ms.load(Ordering::Relaxed);
                TimestampMs::from_millis(process_ms().saturating_add(offset_ms))
            }
        }
    }

    /// Measures the distance to the database's clock.
    pub(crate) async fn measure(
        &self,
        connection: &mut PgConnection,
        protocol: Protocol,
    ) -> Result<(), sqlx::Error> {
        let mut offsets_ms = [0; SAMPLES];
        for offset_ms in &mut offsets_ms {
            let before_ms = process_ms();
            let sql = NOW_MS.into_sql_str();
            let rows = fetch(connection, protocol, &sql, PgArguments::default()).await?;
            let after_ms = process_ms();
            let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
            let database_ms: i64 = row.try_get(0)?;
            *offset_ms = database_ms - (before_ms + (after_ms - before_ms) / 2);
        }
        offsets_ms.sort_unstable();
        let [_, median_ms, _] = offsets_ms;
        self.offset_ms.store(median_ms, Ordering::Relaxed);
        Ok(())
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.given {
            Some(_) => f.write_str("Clock(given)"),
            None => write!(f, "Clock(database, {:+} ms)", self.offset_ms.load(Ordering::Relaxed)),
        }
    }
}

fn process_ms() -> i64 {
    // Before 1970 counts as 1970.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
