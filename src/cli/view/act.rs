//! Answers to commands that change something.

use std::collections::BTreeMap;

use ff_core::contracts::BulkRefusal;
use ff_core::plan::Plan;
use ff_core::state::PublicState;
use ff_core::types::{ExecutionId, SignalId};
use serde::Serialize;

/// `cancel`, `replay`, `resume`.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct StateView<'a> {
    pub(in crate::cli) execution_id: &'a ExecutionId,
    pub(in crate::cli) public_state: PublicState,
}

/// `priority`.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct PriorityView<'a> {
    pub(in crate::cli) execution_id: &'a ExecutionId,
    pub(in crate::cli) priority: i32,
}

/// `signal` and `approve`.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct SignalView<'a> {
    pub(in crate::cli) execution_id: &'a ExecutionId,
    /// `resumed`, `collected` or `duplicate`.
    pub(in crate::cli) outcome: &'static str,
    pub(in crate::cli) signal_id: &'a SignalId,
    pub(in crate::cli) effect: Option<&'a str>,
}

/// `keys seed` and `keys rotate`.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct KeyView {
    pub(in crate::cli) kid: String,
    /// `seeded`, `already_seeded`, `rotated` or `noop`.
    pub(in crate::cli) outcome: &'static str,
    pub(in crate::cli) previous_kid: Option<String>,
    pub(in crate::cli) grace_ms: Option<u64>,
    pub(in crate::cli) removed: Option<u64>,
}

/// `submit`.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct SubmittedView<'a> {
    pub(in crate::cli) created: u64,
    pub(in crate::cli) duplicate: u64,
    pub(in crate::cli) failed: u64,
    /// With `--ids`: the executions created or found, in the order of the lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) execution_ids: Option<&'a [ExecutionId]>,
    /// The valid lines that were not submitted, as `--lines` takes them.
    pub(in crate::cli) lines_left: Option<String>,
}

/// `bulk`.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct BulkView<'a> {
    pub(in crate::cli) matched: u64,
    pub(in crate::cli) applied: u64,
    pub(in crate::cli) refused: usize,
    pub(in crate::cli) first_refusals: &'a [BulkRefusal],
    pub(in crate::cli) interrupted: bool,
}

/// `bulk --dry-run`.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct BulkDryRunView<'a> {
    pub(in crate::cli) matched: u64,
    pub(in crate::cli) plans: &'a [Plan],
    pub(in crate::cli) refused: &'a [BulkRefusal],
}

/// `scan --until-idle`: the counts by kind of scan.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(in crate::cli) struct ScannedView(pub(in crate::cli) BTreeMap<&'static str, ScanCountsView>);

/// The counts of one kind of scan.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct ScanCountsView {
    pub(in crate::cli) processed: u64,
    pub(in crate::cli) errors: u64,
}

/// `scan`, once it is stopped.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct ScanView {
    pub(in crate::cli) looks: u64,
    pub(in crate::cli) processed: u64,
    pub(in crate::cli) errors: u64,
}
