//! A worker's totals, and the reasons why it could not go on.

use ff_core::EngineError;
use ff_core::contracts::LaneInfo;

use super::task::ClaimOutcome;

/// Totals of a worker's run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerReport {
    /// Claims made.
    pub claimed: u64,
    /// Executions completed.
    pub completed: u64,
    /// Failed attempts that are retried.
    pub retried: u64,
    /// Executions that failed for good, or ran out of time.
    pub failed: u64,
    /// Executions cancelled while the worker ran them.
    pub cancelled: u64,
    /// Executions suspended until signals come.
    pub suspended: u64,
    /// Executions handed back unfinished.
    pub handed_back: u64,
    /// Executions lost: the lease was lost, or the database was unreachable until it had lapsed.
    pub lost: u64,
    /// True if executions were left waiting that need capabilities which this worker lacks, or are
    /// of partitions that it does not claim from.
    pub left_waiting: bool,
    /// True if executions were left waiting that this worker could run, but that other sessions
    /// held locked or reserved all the time.
    pub left_locked: bool,
    /// The lane, if executions were left in it because it handed out nothing.
    pub left_closed: Option<LaneInfo>,
}

impl WorkerReport {
    pub(super) fn count(&mut self, outcome: &ClaimOutcome) {
        let counter = match outcome {
            ClaimOutcome::Completed => &mut self.completed,
            ClaimOutcome::Retried(_) => &mut self.retried,
            ClaimOutcome::Failed => &mut self.failed,
            ClaimOutcome::Cancelled => &mut self.cancelled,
            ClaimOutcome::Suspended => &mut self.suspended,
            ClaimOutcome::HandedBack | ClaimOutcome::Unable(_) => &mut self.handed_back,
            ClaimOutcome::Lost | ClaimOutcome::Broken(_) => &mut self.lost,
        };
        *counter += 1;
    }
}

/// The reason why a worker ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Nothing can be claimed.
    #[error("{}", .0.sentence())]
    Claim(#[from] EngineError),
    /// What was claimed could not be read, or its ending not be reported, for a reason that will
    /// not pass by itself.
    #[error("the database fails for good: {reason}")]
    Broken {
        /// The failure.
        reason: String,
    },
    /// Nothing can be run on this machine.
    #[error("nothing could be run {tries} times in a row; the last time: {reason}")]
    Unable {
        /// The number of times in a row.
        tries: u32,
        /// The reason given the last time.
        reason: String,
    },
}
