//! The answers as programs read them: one struct per command and thing. Times are Unix milliseconds
//! in members that end in `_ms`, ids are written in full, and a member without a value is null.
//! `docs/json.md` lists all of them.

mod act;
mod doctor;
mod execution;
mod explain;
mod fairness;
mod fleet;
mod flow;
mod limits;
mod list;
mod money;
mod retention;
mod schedule;
mod stats;

pub(super) use act::{
    BulkDryRunView, BulkView, KeyView, PriorityView, ReconciledView, ScanCountsView, ScanView,
    ScannedView, SignalView, StateView, SubmittedView,
};
pub(super) use doctor::DoctorView;
pub(super) use execution::{ExecutionView, HistoryView, RowView};
pub(super) use explain::ExplanationView;
pub(super) use fairness::{FairnessWeightRemovedView, FairnessWeightView, FairnessWeightsView};
pub(super) use fleet::{
    LaneView, LanesView, LeaseView, LeasesView, RevocationsView, RevokedView, WorkerView,
    WorkersView,
};
pub(super) use flow::{FlowCancelledView, FlowRowView, FlowSubmittedView, FlowView};
pub(super) use limits::{LimitStatusView, LimitView, LimitsView, RemovedView};
pub(super) use list::{
    AnnouncedView, ExecutionsView, FlowsView, FrameView, SummaryView, TokenView, WaitpointView,
    WaitpointsView,
};
pub(super) use money::{
    AdmissionView, BudgetChangedView, BudgetReportView, BudgetView, BudgetsView, QuotaDefinedView,
    QuotaView,
};
pub(super) use retention::{ArchiveView, DroppedView, ImportView, SubscribersView, TrimView};
pub(super) use schedule::{BackfillView, PreviewView, ScheduleView, SchedulesView};
pub(super) use stats::StatsView;
