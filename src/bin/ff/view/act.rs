//! Answers to commands that change something.

use std::collections::BTreeMap;

use ff_core::contracts::BulkRefusal;
use ff_core::engine_backend::ReconcileCounts;
use ff_core::plan::Plan;
use ff_core::state::PublicState;
use ff_core::types::{ExecutionId, SignalId};
use serde::Serialize;

/// `cancel`, `replay`, `resume`.
#[derive(Debug, Serialize)]
pub(crate) struct StateView<'a> {
    pub(crate) execution_id: &'a ExecutionId,
    pub(crate) public_state: PublicState,
}

/// `priority`.
#[derive(Debug, Serialize)]
pub(crate) struct PriorityView<'a> {
    pub(crate) execution_id: &'a ExecutionId,
    pub(crate) priority: i32,
}

/// `signal` and `approve`.
#[derive(Debug, Serialize)]
pub(crate) struct SignalView<'a> {
    pub(crate) execution_id: &'a ExecutionId,
    /// `resumed`, `collected` or `duplicate`.
    pub(crate) outcome: &'static str,
    pub(crate) signal_id: &'a SignalId,
    pub(crate) effect: Option<&'a str>,
}

/// `keys seed` and `keys rotate`.
#[derive(Debug, Serialize)]
pub(crate) struct KeyView {
    pub(crate) kid: String,
    /// `seeded`, `already_seeded`, `rotated` or `noop`.
    pub(crate) outcome: &'static str,
    pub(crate) previous_kid: Option<String>,
    pub(crate) grace_ms: Option<u64>,
    pub(crate) removed: Option<u64>,
}

/// `submit`.
#[derive(Debug, Serialize)]
pub(crate) struct SubmittedView<'a> {
    pub(crate) created: u64,
    pub(crate) duplicate: u64,
    pub(crate) failed: u64,
    /// With `--ids`: the executions created or found, in the order of the lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) execution_ids: Option<&'a [ExecutionId]>,
    /// The valid lines that were not submitted, as `--lines` takes them.
    pub(crate) lines_left: Option<String>,
}

/// `bulk`.
#[derive(Debug, Serialize)]
pub(crate) struct BulkView<'a> {
    pub(crate) matched: u64,
    pub(crate) applied: u64,
    pub(crate) refused: usize,
    pub(crate) first_refusals: &'a [BulkRefusal],
    pub(crate) interrupted: bool,
}

/// `bulk --dry-run`.
#[derive(Debug, Serialize)]
pub(crate) struct BulkDryRunView<'a> {
    pub(crate) matched: u64,
    pub(crate) plans: &'a [Plan],
    pub(crate) refused: &'a [BulkRefusal],
}

/// `scan --until-idle`: the counts by kind of scan.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct ScannedView(pub(crate) BTreeMap<&'static str, ScanCountsView>);

/// The counts of one kind of scan.
#[derive(Debug, Serialize)]
pub(crate) struct ScanCountsView {
    pub(crate) processed: u64,
    pub(crate) errors: u64,
}

impl ScanCountsView {
    pub(crate) fn add(&mut self, counts: ReconcileCounts) {
        self.processed += u64::from(counts.processed);
        self.errors += u64::from(counts.errors);
    }
}

/// `reconcile`.
#[derive(Debug, Serialize)]
pub(crate) struct ReconciledView {
    pub(crate) executions: ScanCountsView,
    /// Absent where only some executions were repaired.
    pub(crate) budgets: Option<ScanCountsView>,
    pub(crate) quotas: Option<ScanCountsView>,
}

impl ReconciledView {
    /// The kinds that were repaired, by name.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (&'static str, &ScanCountsView)> {
        let counters = [("budgets", &self.budgets), ("quotas", &self.quotas)];
        let counters =
            counters.into_iter().filter_map(|(kind, counts)| Some((kind, counts.as_ref()?)));
        [("executions", &self.executions)].into_iter().chain(counters)
    }
}

/// `scan`, once it is stopped.
#[derive(Debug, Serialize)]
pub(crate) struct ScanView {
    pub(crate) looks: u64,
    pub(crate) processed: u64,
    pub(crate) errors: u64,
}
