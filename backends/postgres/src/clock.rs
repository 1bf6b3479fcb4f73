//! The database's time, without a round trip for each reading.
//!
//! All processes of one database must agree on the time, or leases lapse early for some. So the
//! database's clock is read now and then, and continued by the process's monotonic clock, which no
//! operator and no time server can set. The wall clock only serves as a check: where it disagrees
//! with the monotonic one, the machine was asleep or the wall clock was set, and the database is
//! read again.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ff_core::types::TimestampMs;
use sqlx::Row as _;
use sqlx::postgres::{PgArguments, PgConnection};
use tokio::sync::Notify;

use crate::connections::Connections;
use crate::error::PostgresError;
use crate::session::{Protocol, Session, fetch};
use crate::statements::database_time;

/// The number of readings in a measurement; the quickest counts.
const SAMPLES: usize = 3;

/// The time between two measurements.
const INTERVAL: Duration = Duration::from_secs(30);

/// The pause after a failed measurement.
const RETRY: Duration = Duration::from_secs(2);

/// The shortest pause between two measurements, also in doubt.
const QUIET: Duration = Duration::from_secs(1);

/// The difference between wall and monotonic clock, since the last measurement, that raises doubt.
const DISAGREEMENT_MS: i64 = 500;

/// A source of time given by the caller.
pub(crate) type Given = Arc<dyn Fn() -> TimestampMs + Send + Sync>;

/// A backend's clock.
pub(crate) struct Clock {
    given: Option<Given>,
    wall: Given,
    reading: RwLock<Reading>,
    doubt: Arc<Notify>,
}

/// One moment by three clocks.
#[derive(Clone, Copy)]
struct Reading {
    at: Instant,
    wall_ms: i64,
    database_ms: i64,
}

impl Reading {
    fn now_ms(&self) -> i64 {
        self.database_ms.saturating_add(millis(self.at.elapsed()))
    }
}

impl Clock {
    /// A clock that asks `given`, or else follows the database. Until the first measurement, the
    /// wall clock is used. A notification of `doubt` brings the next measurement forward.
    pub(crate) fn new(given: Option<Given>, wall: Option<Given>, doubt: Arc<Notify>) -> Self {
        let wall = wall.unwrap_or_else(|| Arc::new(|| TimestampMs::from_millis(process_ms())));
        let wall_ms = wall().0;
        let reading = Reading { at: Instant::now(), wall_ms, database_ms: wall_ms };
        Self { given, wall, reading: RwLock::new(reading), doubt }
    }

    /// The time.
    pub(crate) fn now(&self) -> TimestampMs {
        if let Some(given) = &self.given {
            return given();
        }

        let reading = self.reading();
        let wall_elapsed_ms = (self.wall)().0.saturating_sub(reading.wall_ms);
        let elapsed_ms = millis(reading.at.elapsed());
        if DISAGREEMENT_MS < wall_elapsed_ms.saturating_sub(elapsed_ms).saturating_abs() {
            self.doubt.notify_one();
        }
        TimestampMs::from_millis(reading.now_ms())
    }

    /// Reads the database's clock.
    pub(crate) async fn measure(
        &self,
        connection: &mut PgConnection,
        protocol: Protocol,
    ) -> Result<(), sqlx::Error> {
        let sql = database_time();
        let mut best: Option<(Duration, Reading)> = None;
        for _ in 0..SAMPLES {
            let (before, wall_ms) = (Instant::now(), (self.wall)().0);
            let rows = fetch(connection, protocol, &sql, PgArguments::default()).await?;
            let trip = before.elapsed();
            let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
            // The best estimate is that the database read its clock half-way.
            let database_ms = row.try_get::<i64, _>(0)?.saturating_sub(millis(trip / 2));
            if best.is_none_or(|(quickest, _)| trip < quickest) {
                best = Some((trip, Reading { at: before, wall_ms, database_ms }));
            }
        }

        if let Some((trip, reading)) = best {
            self.adopt(reading, trip);
        }
        Ok(())
    }

    /// Takes over the new reading, but keeps the old time where both agree within the error of a
    /// reading.
    fn adopt(&self, new: Reading, trip: Duration) {
        let mut reading = self.reading.write().unwrap_or_else(PoisonError::into_inner);
        let off_ms = new.now_ms().saturating_sub(reading.now_ms());
        let exact_ms = millis(trip / 2).saturating_add(1);
        let database_ms = if off_ms.saturating_abs() <= exact_ms {
            new.database_ms.saturating_sub(off_ms)
        } else {
            new.database_ms
        };

        *reading = Reading { database_ms, ..new };
    }

    fn reading(&self) -> Reading {
        *self.reading.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.given {
            Some(_) => f.write_str("Clock(given)"),
            None => {
                let Reading { wall_ms, database_ms, .. } = self.reading();
                write!(f, "Clock(database, {:+} ms)", database_ms.saturating_sub(wall_ms))
            }
        }
    }
}

/// Measures the clock while it lives: every half minute, and soon when in doubt. It holds no
/// connection in between.
pub(crate) struct Keeper {
    pub(crate) clock: Clock,
    pub(crate) connections: Connections,
    pub(crate) protocol: Protocol,
}

impl Keeper {
    /// Starts the task, unless the caller supplies the time.
    pub(crate) fn start(self: &Arc<Self>) {
        if self.clock.given.is_none() {
            tokio::spawn(keep(Arc::downgrade(self), Arc::clone(&self.clock.doubt)));
        }
    }

    /// Reads the database's clock.
    ///
    /// # Errors
    /// Those of a read.
    pub(crate) async fn measure(&self) -> Result<(), PostgresError> {
        let mut session = Session::new(self.connections.clone());
        let connection = session.connection().await?;
        let measured = self.clock.measure(connection, self.protocol).await;
        measured.map_err(PostgresError::read).inspect_err(|error| session.judge(error))
    }
}

async fn keep(keeper: Weak<Keeper>, doubt: Arc<Notify>) {
    let mut pause = INTERVAL;
    loop {
        // Either the interval is over or the clock is in doubt; `QUIET` limits the rate of both.
        let _ = tokio::time::timeout(pause, doubt.notified()).await;

        let Some(keeper) = keeper.upgrade() else { return };
        if keeper.connections.pool().is_closed() {
            return;
        }

        pause = match keeper.measure().await {
            Ok(()) => INTERVAL,
            Err(error) => {
                tracing::debug!(%error, "the database's clock could not be read");
                RETRY
            }
        };

        drop(keeper);
        tokio::time::sleep(QUIET).await;
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn process_ms() -> i64 {
    // A time before 1970 counts as 1970.
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    fn stepping() -> (Clock, Arc<AtomicI64>) {
        let wall_ms = Arc::new(AtomicI64::new(1_000_000));
        let shown = Arc::clone(&wall_ms);
        let wall = move || TimestampMs(shown.load(Ordering::SeqCst));
        (Clock::new(None, Some(Arc::new(wall)), Arc::default()), wall_ms)
    }

    fn reading(clock: &Clock, off_ms: i64) -> Reading {
        let now = clock.reading();
        Reading { at: now.at, wall_ms: now.wall_ms, database_ms: now.database_ms + off_ms }
    }

    #[tokio::test]
    async fn a_wall_clock_that_is_set_changes_no_time_and_raises_doubt() {
        let (clock, wall_ms) = stepping();
        let ten_minutes = 600_000;
        for step in [ten_minutes, -ten_minutes, -ten_minutes] {
            let before = clock.now();
            wall_ms.fetch_add(step, Ordering::SeqCst);
            let after = clock.now();
            assert!(before <= after && after.0 < before.0 + 60_000, "{before:?} {after:?}");
            clock.doubt.notified().await;
        }
    }

    #[test]
    fn a_reading_counts_where_it_is_exact_enough_to_tell() {
        let (clock, _) = stepping();
        let trip = Duration::from_millis(100);
        for (off_ms, moved_ms) in [(40, 0), (-40, 0), (5_000, 5_000), (-600_000, -600_000)] {
            let before = clock.reading().database_ms;
            clock.adopt(reading(&clock, off_ms), trip);
            assert_eq!(clock.reading().database_ms - before, moved_ms, "{off_ms}");
        }
    }
}
