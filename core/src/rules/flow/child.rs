//! The effect of a group's state on the execution that waits.
//!
//! The execution's own state is the latch: only what is blocked by its dependencies is released or
//! skipped, so a state that comes late, or twice, changes nothing.

use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::model::state::{EligibilityState, LifecyclePhase};
use crate::plan::facts::Row;
use crate::plan::{Assign, Held, Mutation, OnConflict, Predicate};
use crate::rules::execution::change;
use crate::rules::execution::end::End;
use crate::rules::flow::key::GROUP;
use crate::rules::flow::tally::GroupState;
use crate::rules::outbox::{self, Reason};
use crate::rules::status::Status;
use crate::rules::suspension::close::close_as_read;
use crate::schema::ColumnRef;
use crate::schema::execution::{exec_core, unfinished, waiting_for_dependencies};
use crate::schema::flow::{edge_group, pending_cancel_groups};

/// The position of an execution towards its dependencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildState {
    /// It waits for its dependencies.
    Blocked,
    /// It has not begun, and waits for something else or for nothing.
    Waiting,
    /// Its dependencies no longer matter: it runs, is suspended, or is over.
    Beyond,
}

/// The effect on the execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Leave,
    /// It waits for its dependencies from now on.
    Block,
    /// It may be claimed, now or when its own time comes.
    Release,
    /// It will never run.
    Skip,
}

impl ChildState {
    /// The state of a stored execution.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a stored word outside its set.
    pub fn of(core: &Row) -> Result<Self, EngineError> {
        Ok(match core.read(exec_core::lifecycle_phase)? {
            LifecyclePhase::Submitted | LifecyclePhase::Runnable => {
                let blocked = waiting_for_dependencies().accepts(core, &Held::default());
                if blocked { Self::Blocked } else { Self::Waiting }
            }
            LifecyclePhase::Active
            | LifecyclePhase::Suspended
            | LifecyclePhase::Terminal
            | LifecyclePhase::Cancelled => Self::Beyond,
        })
    }

    /// The effect of an upstream's end. An execution that is no longer blocked was released before,
    /// and no later end takes that back.
    #[must_use]
    pub fn on_end(self, state: GroupState) -> Action {
        match (self, state) {
            (Self::Blocked, GroupState::Satisfied) => Action::Release,
            (Self::Blocked, GroupState::Impossible) => Action::Skip,
            (Self::Blocked, GroupState::Pending) | (Self::Waiting | Self::Beyond, _) => {
                Action::Leave
            }
        }
    }

    /// The effect of a new dependency.
    #[must_use]
    pub fn on_dependency(self, state: GroupState) -> Action {
        match (self, state) {
            (Self::Waiting, GroupState::Pending) => Action::Block,
            (Self::Waiting | Self::Blocked, GroupState::Impossible) => Action::Skip,
            (Self::Blocked, GroupState::Satisfied) => Action::Release,
            (Self::Waiting, GroupState::Satisfied)
            | (Self::Blocked, GroupState::Pending)
            | (Self::Beyond, _) => Action::Leave,
        }
    }

    /// The predicate that the execution's row must still hold for an end to have the same effect.
    #[must_use]
    pub fn holds(self) -> Predicate {
        match self {
            Self::Blocked => waiting_for_dependencies(),
            Self::Waiting | Self::Beyond => {
                exec_core::eligibility_state.is_none_of(&[EligibilityState::BlockedByDependencies])
            }
        }
    }
}

impl Action {
    /// The changes of the held execution, read as `core`.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a stored time that is not a number.
    pub fn changes(self, core: &Row, at: TimestampMs) -> Result<Vec<Mutation>, EngineError> {
        let status = match self {
            Self::Leave => return Ok(Vec::new()),
            Self::Skip => return skipped(core, at),
            Self::Block => Status::waiting_for_dependencies(None),
            Self::Release => Status::released(core.read(exec_core::eligible_at_ms)?, at, None),
        };

        Ok(vec![change::enters(status, at).update()])
    }
}

/// The reason that a skipped execution gives.
pub const UNREACHABLE: &str = "its dependencies can no longer be satisfied";

/// The changes that end the held execution, read as `core`, without its having run.
///
/// # Errors
/// `Validation(Corruption)` for a stored word outside its set.
pub fn skipped(core: &Row, at: TimestampMs) -> Result<Vec<Mutation>, EngineError> {
    let end = End::SKIPPED;
    let changes = vec![
        end.of_execution(at).update(),
        end.record_attempt(at),
        outbox::completed(end.event, Reason::Given(UNREACHABLE), at),
    ];
    close_as_read(changes, core)
}

/// Returns true if an execution has not ended.
#[must_use]
pub fn is_open(core: &Row) -> bool {
    unfinished().accepts(core, &Held::default())
}

/// The upstreams that a group has to cancel: these, and those that it had to cancel before.
///
/// # Errors
/// `Validation(Corruption)` for a stored value that is not a list.
pub fn with_pending(group: &Row, mut members: Vec<String>) -> Result<Vec<String>, EngineError> {
    if !members.is_empty() {
        members.extend(group.read(edge_group::cancel_siblings_pending_members)?);
        members.sort_unstable();
        members.dedup();
    }
    Ok(members)
}

/// The pending-cancel row of the held group: a scanner cancels the upstreams that it lists.
#[must_use]
pub fn pending_cancel(at: TimestampMs) -> Mutation {
    let row = vec![
        pending_cancel_groups::partition_key.with_expr(edge_group::partition_key.of(GROUP)),
        pending_cancel_groups::flow_id.with_expr(edge_group::flow_id.of(GROUP)),
        pending_cancel_groups::downstream_eid.with_expr(edge_group::downstream_eid.of(GROUP)),
        pending_cancel_groups::enqueued_at_ms.with(at.0),
    ];
    Mutation::insert(pending_cancel_groups::REF, row, OnConflict::Ignore)
}

/// The columns of a group that list the upstreams to cancel, as bare UUID texts.
#[must_use]
pub fn to_cancel(members: Vec<String>) -> [(ColumnRef, Assign); 2] {
    [
        edge_group::cancel_siblings_pending_flag.set(true),
        edge_group::cancel_siblings_pending_members.set(members),
    ]
}
