//! What the database did: counters before and after, and their difference for each life.

use ff_core::engine::Traffic;
use serde::Serialize;

/// Counters of a database, at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    /// The bytes of log written so far, where the database counts them.
    pub(crate) log_bytes: Option<u64>,
    pub(crate) log_records: Option<u64>,
    pub(crate) page_images: Option<u64>,
    /// The updates of `ff_exec_core`, and those of them that touched no index.
    pub(crate) core_updates: Option<u64>,
    pub(crate) hot_updates: Option<u64>,
    /// The commands that callers made, where they are counted.
    pub(crate) traffic: Option<Traffic>,
}

/// The database's work for each life, as means. Absent where it is not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Usage {
    /// Bytes of write-ahead log.
    pub wal_bytes: Option<f64>,
    /// Records of write-ahead log.
    pub wal_records: Option<f64>,
    /// Whole pages in the write-ahead log. More than a few inflate its bytes: a checkpoint was
    /// just before.
    pub wal_page_images: Option<f64>,
    /// The share of the updates of `ff_exec_core` that touched no index, from 0 to 1.
    pub hot_share: Option<f64>,
    /// Statements.
    pub statements: Option<f64>,
    /// Waits for the database: a round trip, or a trip to the connection's thread.
    pub round_trips: Option<f64>,
}

impl Counters {
    /// The change since an earlier moment, added to an earlier change.
    pub(crate) fn since(self, before: Self, sum: Self) -> Self {
        let change = |now: Option<u64>, before: Option<u64>, sum: Option<u64>| {
            Some(now?.saturating_sub(before?) + sum.unwrap_or(0))
        };
        Self {
            log_bytes: change(self.log_bytes, before.log_bytes, sum.log_bytes),
            log_records: change(self.log_records, before.log_records, sum.log_records),
            page_images: change(self.page_images, before.page_images, sum.page_images),
            core_updates: change(self.core_updates, before.core_updates, sum.core_updates),
            hot_updates: change(self.hot_updates, before.hot_updates, sum.hot_updates),
            traffic: sum.traffic,
        }
    }

    /// Adds the commands of callers.
    pub(crate) fn add_traffic(&mut self, traffic: Traffic) {
        let sum = self.traffic.unwrap_or_default();
        self.traffic = Some(Traffic {
            statements: sum.statements + traffic.statements,
            round_trips: sum.round_trips + traffic.round_trips,
        });
    }

    /// The change for each life.
    pub(crate) fn per_life(self, lives: u64) -> Usage {
        let per_life =
            |count: Option<u64>| Some(count? as f64 / lives as f64).filter(|mean| mean.is_finite());
        let hot_share =
            self.hot_updates.zip(self.core_updates).map(|(hot, all)| hot as f64 / all as f64);
        Usage {
            wal_bytes: per_life(self.log_bytes),
            wal_records: per_life(self.log_records),
            wal_page_images: per_life(self.page_images),
            hot_share: hot_share.filter(|share| share.is_finite()),
            statements: per_life(self.traffic.map(|traffic| traffic.statements)),
            round_trips: per_life(self.traffic.map(|traffic| traffic.round_trips)),
        }
    }
}

/// The bytes of a database after all loads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Size {
    /// Tables, or the database file.
    pub table_bytes: u64,
    /// Indexes, where the database tells them apart.
    pub index_bytes: Option<u64>,
    /// The largest write-ahead log beside the file at the end of a turn, on SQLite.
    pub log_bytes: Option<u64>,
}
