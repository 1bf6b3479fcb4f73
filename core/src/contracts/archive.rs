//! Archives: runs that write ended executions as lines, and imports that read them. Additions to
//! the common contract.

use std::collections::BTreeMap;

use uuid::Uuid;

/// A run of an archive, in steps of bounded size. The caller hands it back to
/// `EngineBackend::archive_step` until it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArchivePass {
    /// The completion event up to which everything is archived. It moves only past executions and
    /// flows that were handed out whole.
    pub position: i64,
    /// The last completion event of this run; `None` before the first step.
    pub until: Option<i64>,
    /// The place that the run has come to.
    pub stage: ArchiveStage,
    /// The last completion event of flows that are over and that the run has not reached.
    pub flows: BTreeMap<Uuid, i64>,
    /// The executions that were handed out.
    pub executions: u64,
    /// The flows that were handed out.
    pub flows_archived: u64,
}

impl ArchivePass {
    /// A run that goes on behind a completion event; 0 for the first.
    #[must_use]
    pub fn after(position: i64) -> Self {
        Self {
            position,
            until: None,
            stage: ArchiveStage::Walking,
            flows: BTreeMap::new(),
            executions: 0,
            flows_archived: 0,
        }
    }

    /// True if there is nothing more to hand out.
    #[must_use]
    pub fn is_done(&self) -> bool {
        match self.stage {
            ArchiveStage::Done | ArchiveStage::Waiting { .. } => true,
            ArchiveStage::Walking | ArchiveStage::InFlow(_) => false,
        }
    }

    /// True if what was handed out so far ends with a whole execution or flow, so that the position
    /// may be stored.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !matches!(self.stage, ArchiveStage::InFlow(_))
    }
}

/// The place that a run of an archive has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArchiveStage {
    /// It walks along the completion events.
    Walking,
    /// It hands out the members of a flow.
    InFlow(FlowPlace),
    /// It stopped before an event: an end in this flow has not been dispatched, so the flow may
    /// still change.
    Waiting {
        /// The flow.
        flow: Uuid,
    },
    /// Everything is handed out.
    Done,
}

/// A place among the members of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowPlace {
    /// The last completion event of the flow.
    pub at: i64,
    /// The partition of the flow.
    pub partition: i16,
    /// The flow.
    pub flow: Uuid,
    /// The member that is done.
    pub after: Uuid,
    /// The number of members that were handed out.
    pub members: u64,
}

/// A step of a run: its lines, and where the run goes on.
#[derive(Clone, derive_more::Debug, PartialEq, Eq)]
pub struct ArchiveStep {
    /// Lines of JSON, each without its end.
    #[debug("<{} lines>", lines.len())]
    pub lines: Vec<String>,
    /// The run after the step.
    pub pass: ArchivePass,
}

/// The import of a file that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportRun {
    /// The last number of each outbox when the import began, by table. Higher numbers are free.
    pub taken_up_to: BTreeMap<&'static str, i64>,
}

/// The answer to the import of one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Imported {
    /// It was not there, and is now.
    Added,
    /// It was there as the line says, and stays.
    AlreadyThere,
    /// It was there in another state, and stays as it is.
    Differs,
}
