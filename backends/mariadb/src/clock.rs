//! The database's time, without a round trip for each reading.
//!
//! The database's clock is read now and then, and continued by the process's monotonic clock, which
//! nothing sets. So all processes agree on the time, whatever their own clocks say.

use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use ff_codegen::{MariaDb, now_ms};
use ff_core::types::TimestampMs;
use sqlx::mysql::MySqlPool;
use sqlx::query_scalar;

use crate::bind::text;
use crate::connect::Given;
use crate::error::MariaDbError;

/// The time between two measurements.
pub(crate) const INTERVAL: Duration = Duration::from_secs(30);

/// The number of readings in a measurement; the quickest counts.
const SAMPLES: usize = 3;

/// A backend's clock.
pub(crate) struct Clock {
    given: Option<Given>,
    /// One moment by both clocks; the first measurement sets it.
    reading: RwLock<(Instant, i64)>,
}

impl Clock {
    /// A clock that asks `given`, or else follows the database.
    pub(crate) fn new(given: Option<Given>) -> Self {
        Self { given, reading: RwLock::new((Instant::now(), 0)) }
    }

    /// The time.
    pub(crate) fn now(&self) -> TimestampMs {
        if let Some(given) = &self.given {
            return given();
        }
        let (at, database_ms) = *self.reading.read().unwrap_or_else(PoisonError::into_inner);
        TimestampMs::from_millis(database_ms.saturating_add(millis(at.elapsed())))
    }

    /// Reads the database's clock.
    pub(crate) async fn measure(&self, pool: &MySqlPool) -> Result<(), MariaDbError> {
        let mut connection = pool.acquire().await.map_err(MariaDbError::read)?;
        let mut best: Option<(Duration, Instant, i64)> = None;
        for _ in 0..SAMPLES {
            let before = Instant::now();
            let read =
                query_scalar::<_, i64>(text(now_ms(&MariaDb))).fetch_one(&mut *connection).await;
            let (trip, database_ms) = (before.elapsed(), read.map_err(MariaDbError::read)?);
            if best.is_none_or(|(quickest, ..)| trip < quickest) {
                // The best estimate is that the database read its clock half-way.
                best = Some((trip, before + trip / 2, database_ms));
            }
        }

        if let Some((trip, at, database_ms)) = best {
            self.adopt(at, database_ms, trip);
        }
        Ok(())
    }

    /// Takes over the reading, but keeps the old time where both agree within its error.
    fn adopt(&self, at: Instant, database_ms: i64, trip: Duration) {
        let mut reading = self.reading.write().unwrap_or_else(PoisonError::into_inner);
        let (known_at, known_ms) = *reading;
        let expected_ms = known_ms.saturating_add(millis(at.duration_since(known_at)));
        let off_ms = database_ms.saturating_sub(expected_ms).saturating_abs();
        let is_exact = off_ms <= millis(trip / 2).saturating_add(1);
        *reading = (at, if is_exact { expected_ms } else { database_ms });
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
