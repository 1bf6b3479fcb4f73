//! What a worker did, and why it could not go on.

use ff_core::EngineError;

use super::task::Fate;

/// What a worker did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerReport {
    /// How many claims it made.
    pub claimed: u64,
    /// How many executions it completed.
    pub completed: u64,
    /// How many attempts failed that are tried again.
    pub retried: u64,
    /// How many executions failed for good, or ran out of time.
    pub failed: u64,
    /// How many executions were cancelled while it ran them.
    pub cancelled: u64,
    /// How many executions it left waiting for signals.
    pub suspended: u64,
    /// How many executions it gave back unfinished.
    pub handed_back: u64,
    /// How many executions it lost: the lease, or the connection until the lease had lapsed.
    pub lost: u64,
    /// Whether executions were left waiting that need capabilities which this worker lacks.
    pub left_waiting: bool,
    /// Whether executions were left waiting that this worker could run, but that other sessions held
    /// locked or reserved all the time.
    pub left_locked: bool,
}

impl WorkerReport {
    pub(super) fn count(&mut self, fate: &Fate) {
        let counter = match fate {
            Fate::Completed => &mut self.completed,
            Fate::Retried(_) => &mut self.retried,
            Fate::Failed => &mut self.failed,
            Fate::Cancelled => &mut self.cancelled,
            Fate::Suspended => &mut self.suspended,
            Fate::HandedBack | Fate::Unable(_) => &mut self.handed_back,
            Fate::Lost | Fate::Broken(_) => &mut self.lost,
        };
        *counter += 1;
    }
}

/// Why a worker ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Nothing can be claimed.
    #[error("{0}")]
    Claim(#[from] EngineError),
    /// What was claimed could not be read, or its ending not be reported, for a reason that will not
    /// pass by itself.
    #[error("the database fails for good: {reason}")]
    Broken {
        /// The failure.
        reason: String,
    },
    /// Nothing can be run on this machine.
    #[error("nothing could be run {tries} times in a row; the last time: {reason}")]
    Unable {
        /// How often in a row.
        tries: u32,
        /// Why not, the last time.
        reason: String,
    },
}
