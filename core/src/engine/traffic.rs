//! The traffic between a backend and its database, counted where it is sent.

use std::sync::atomic::{AtomicU64, Ordering};

/// The commands that a backend has sent to its database so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Statements, among them those that begin and commit transactions.
    pub statements: u64,
    /// Waits for an answer: round trips to a server, or trips to a connection's thread.
    pub round_trips: u64,
}

impl Traffic {
    /// The commands since an earlier moment.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            statements: self.statements.saturating_sub(earlier.statements),
            round_trips: self.round_trips.saturating_sub(earlier.round_trips),
        }
    }
}

/// Counts the commands of a backend. All its connections share one.
#[derive(Debug, Default)]
pub struct TrafficMeter {
    statements: AtomicU64,
    round_trips: AtomicU64,
}

impl TrafficMeter {
    /// Counts one round trip with this many statements.
    pub fn sent(&self, statements: u64) {
        self.statements.fetch_add(statements, Ordering::Relaxed);
        self.round_trips.fetch_add(1, Ordering::Relaxed);
    }

    /// The commands so far.
    #[must_use]
    pub fn so_far(&self) -> Traffic {
        Traffic {
            statements: self.statements.load(Ordering::Relaxed),
            round_trips: self.round_trips.load(Ordering::Relaxed),
        }
    }
}
