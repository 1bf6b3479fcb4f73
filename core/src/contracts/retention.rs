//! Retention: the rules by which ended executions are removed, a pass over them, and its report.
//! Additions to the common contract, but for `trim_retention`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use uuid::Uuid;

use super::{ExecutionQuery, ScannerFilter};
use crate::model::ids::LaneId;
use crate::model::state::{OutboxKind, PublicState};

/// Says which ended executions may be removed. Of several rules, the first that selects an
/// execution decides about it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetentionRule {
    /// The lane it selects; every lane when absent.
    pub lane: Option<LaneId>,
    /// The outcomes it selects; every outcome when empty.
    pub outcomes: Vec<PublicState>,
    /// The filter that selected executions pass.
    pub filter: ScannerFilter,
    /// The query that selected executions match, whatever its limit and its place; all of them when
    /// absent. It names no flow, because a flow is removed as a whole, and no worker.
    pub matching: Option<ExecutionQuery>,
    /// The time since the end for which an execution stays, ms. A flow stays for as long after its
    /// own end, and its executions with it.
    pub older_than_ms: u64,
    /// The number of selected executions that stay in each lane, those that ended last.
    pub keep: u64,
}

impl RetentionRule {
    /// Removes executions that ended longer ago than this, ms.
    #[must_use]
    pub fn older_than(ms: u64) -> Self {
        let filter = ScannerFilter::NOOP;
        let (lane, outcomes, matching) = (None, Vec::new(), None);
        Self { lane, outcomes, filter, matching, older_than_ms: ms, keep: 0 }
    }

    /// Keeps this many of each lane, those that ended last.
    #[must_use]
    pub fn keeping(mut self, newest: u64) -> Self {
        self.keep = newest;
        self
    }

    /// Selects one lane.
    #[must_use]
    pub fn in_lane(mut self, lane: LaneId) -> Self {
        self.lane = Some(lane);
        self
    }

    /// Selects these outcomes.
    #[must_use]
    pub fn with_outcomes(mut self, outcomes: impl Into<Vec<PublicState>>) -> Self {
        self.outcomes = outcomes.into();
        self
    }

    /// Selects executions that match the query.
    #[must_use]
    pub fn matching(mut self, query: ExecutionQuery) -> Self {
        self.matching = Some(query);
        self
    }

    /// Selects executions that pass the filter.
    #[must_use]
    pub fn passing(mut self, filter: ScannerFilter) -> Self {
        self.filter = filter;
        self
    }
}

/// A pass over the ended executions, in steps of bounded size. The caller hands it back to
/// `EngineBackend::trim_step` until it is done.
#[derive(Clone, Debug, PartialEq)]
pub struct TrimPass {
    /// The rules, the first that selects an execution decides.
    pub rules: Vec<RetentionRule>,
    /// The archive that must contain an execution before it is removed: the name of a subscriber.
    pub archive: Option<String>,
    /// True if nothing is to be removed, only counted.
    pub dry_run: bool,
    /// True if executions without a completion event are looked for as well, by key: those that
    /// ended in an older database.
    pub sweeps: bool,
    /// The place that the pass has come to.
    pub stage: TrimStage,
    /// The flows that a dry run has counted.
    pub flows_counted: BTreeSet<Uuid>,
    /// The counts so far.
    pub report: TrimReport,
}

impl TrimPass {
    /// A pass that has not begun.
    #[must_use]
    pub fn new(rules: Vec<RetentionRule>) -> Self {
        let count = rules.len();
        Self {
            rules,
            archive: None,
            dry_run: false,
            sweeps: false,
            stage: TrimStage::Counting { below: i64::MAX, newest: vec![BTreeMap::new(); count] },
            flows_counted: BTreeSet::new(),
            report: TrimReport::default(),
        }
    }

    /// Returns true once there is nothing more to look at.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self.stage, TrimStage::Done)
    }
}

/// The newest executions of each lane that one rule keeps.
pub type Newest = BTreeMap<String, BTreeSet<Uuid>>;

/// The place that a pass has come to.
#[derive(Clone, Debug, PartialEq)]
pub enum TrimStage {
    /// It counts the newest executions of each rule and lane, from the newest event back.
    Counting {
        /// Events from this number on are counted.
        below: i64,
        /// The executions counted, by rule.
        newest: Vec<Newest>,
    },
    /// It removes executions, from the oldest event on.
    Walking {
        /// Events up to this number are done.
        after: i64,
        /// The executions that stay, by rule.
        newest: Vec<Newest>,
    },
    /// It removes executions that have no completion event, by key.
    Sweeping {
        /// The key that is done, as partition and UUID.
        after: (i16, Uuid),
        /// The executions that stay, by rule.
        newest: Vec<Newest>,
    },
    /// Nothing more to look at.
    Done,
}

/// The counts of a pass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TrimReport {
    /// The events and rows that were looked at.
    pub looked_at: u64,
    /// The executions that were removed, or would be.
    pub executions: u64,
    /// The flows that were removed, or would be.
    pub flows: u64,
    /// The rows that would be removed, by table; counted by a dry run only.
    pub rows: BTreeMap<&'static str, u64>,
    /// The executions that a rule would remove and that are held back, by reason.
    pub held_back: BTreeMap<HeldBack, u64>,
    /// The executions that could not be removed, for an error that is in the log.
    pub errors: u64,
}

/// A reason to keep an execution that a rule would remove.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum HeldBack {
    /// Its flow goes on: a member has not ended.
    LiveFlow,
    /// Its flow ended too short a while ago.
    RecentFlow,
    /// An end in its flow has not been dispatched to the members that wait for it.
    Undispatched,
    /// A named subscriber has not read all its events.
    Subscriber {
        /// The subscriber.
        name: String,
        /// The outbox.
        outbox: &'static str,
        /// The number of the last event that it has dealt with.
        cursor: i64,
    },
    /// The archive does not contain it.
    NotArchived,
    /// It changed after its end, and after the archive was begun.
    ChangedSince,
}

impl std::fmt::Display for HeldBack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::LiveFlow => f.write_str("its flow goes on"),
            Self::RecentFlow => f.write_str("its flow ended too recently"),
            Self::Undispatched => f.write_str("an end in its flow is not dispatched yet"),
            Self::Subscriber { name, outbox, cursor } => {
                write!(f, "subscriber {name} has read {outbox} events up to {cursor}")
            }
            Self::NotArchived => f.write_str("not archived yet"),
            Self::ChangedSince => f.write_str("changed after it ended, and the archive had begun"),
        }
    }
}

impl Serialize for HeldBack {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The position of a named subscriber in one outbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SubscriberCursor {
    /// The subscriber.
    pub name: String,
    /// The outbox.
    pub outbox: OutboxKind,
    /// The number of the last event that it has dealt with; 0 before the first.
    pub event_id: i64,
    /// Last change, Unix ms.
    pub updated_at_ms: i64,
    /// First storing of the position, Unix ms; `None` where an older engine stored it.
    pub began_at_ms: Option<i64>,
    /// The subscriber's own note about the position, if it keeps one.
    pub note: Option<String>,
}

impl SubscriberCursor {
    /// Puts the parts together.
    #[must_use]
    pub fn new(name: String, outbox: OutboxKind, event_id: i64, updated_at_ms: i64) -> Self {
        Self { name, outbox, event_id, updated_at_ms, began_at_ms: None, note: None }
    }
}
