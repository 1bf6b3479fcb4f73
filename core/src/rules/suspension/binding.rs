//! Binding waitpoints: a suspension waits on new ones, and on those made ahead of it.

use uuid::Uuid;

use crate::contracts::WaitpointBinding;
use crate::model::error::{ConflictKind, EngineError, StateKind};
use crate::model::ids::{ExecutionId, TimestampMs, WaitpointId};
use crate::model::state::WaitpointState;
use crate::plan::facts::Row;
use crate::plan::{Expr, List};
use crate::rules::input;
use crate::rules::key::ExecutionKey;
use crate::rules::keystore::TokenKey;
use crate::rules::suspension::opening::OpenWaitpoint;
use crate::schema::Direction::Ascending;
use crate::schema::suspension::waitpoint_pending;

/// The name of the list of waitpoints that were bound by id.
pub const BOUND: &str = "waitpoints by id";

/// The list of the waitpoints of these bindings that may exist already; `None` if there are none.
/// After a refusal it also has the new ones, in case an id is taken.
#[must_use]
pub fn known_waitpoints(
    key: &ExecutionKey,
    bindings: &[WaitpointBinding],
    refusals: u32,
) -> Option<List> {
    let asked: Vec<Uuid> = bindings
        .iter()
        .filter_map(|binding| match binding {
            WaitpointBinding::Fresh { .. } if refusals == 0 => None,
            WaitpointBinding::Fresh { waitpoint_id, .. }
            | WaitpointBinding::UsePending { waitpoint_id } => Some(waitpoint_id.0),
        })
        .collect();
    (!asked.is_empty()).then(|| by_id(key, asked))
}

/// Waitpoints by id, whichever execution they belong to.
fn by_id(key: &ExecutionKey, ids: Vec<Uuid>) -> List {
    let count = i64::try_from(ids.len()).unwrap_or(i64::MAX);
    List {
        name: BOUND.into(),
        table: waitpoint_pending::REF,
        join: None,
        of_each: None,
        columns: waitpoint_pending::REF.columns.to_vec(),
        predicate: waitpoint_pending::partition_key
            .equals(key.partition)
            .and(waitpoint_pending::waitpoint_id.is_among(ids)),
        order: vec![(waitpoint_pending::waitpoint_id.column(), Ascending)],
        limit: Expr::int(count),
    }
}

/// The waitpoints that a suspension binds.
pub struct Binding<'a> {
    /// The key of the execution.
    pub key: &'a ExecutionKey,
    /// The id of the execution.
    pub execution: &'a ExecutionId,
    /// The time of the suspension.
    pub at: TimestampMs,
    /// The key that signs new tokens.
    pub signing: &'a TokenKey,
    /// The waitpoints that exist already.
    pub stored: &'a [Row],
}

impl Binding<'_> {
    /// The waitpoints of these bindings, in their order, each with its key and token.
    ///
    /// # Errors
    /// `Conflict(WaitpointAlreadyExists)` for a new one whose id is taken; `NotFound` for one that
    /// does not exist; `State` for one that is not pending any more; `Validation(InvalidInput)` for
    /// one of another execution.
    pub fn bind(&self, bindings: &[WaitpointBinding]) -> Result<Vec<OpenWaitpoint>, EngineError> {
        let bind = |binding: &WaitpointBinding| match binding {
            WaitpointBinding::Fresh { waitpoint_id, waitpoint_key } => {
                if self.row(waitpoint_id).is_some() {
                    return Err(EngineError::Conflict(ConflictKind::WaitpointAlreadyExists));
                }
                let (id, key) = (waitpoint_id.clone(), waitpoint_key.clone());
                Ok(OpenWaitpoint::signed(self.signing, self.execution, id, key))
            }
            WaitpointBinding::UsePending { waitpoint_id } => self.pending(waitpoint_id),
        };
        bindings.iter().map(bind).collect()
    }

    /// A waitpoint made earlier keeps the token that was handed out for it.
    fn pending(&self, id: &WaitpointId) -> Result<OpenWaitpoint, EngineError> {
        let Some(row) = self.row(id) else {
            return Err(EngineError::NotFound { entity: "waitpoint" });
        };
        if row.read(waitpoint_pending::execution_id)? != self.key.uuid {
            return Err(input::invalid("waitpoint belongs to a different execution"));
        }

        let expires_at = row.read(waitpoint_pending::expires_at_ms)?;
        if expires_at.is_some_and(|expires_at| expires_at < self.at.0) {
            return Err(EngineError::State(StateKind::PendingWaitpointExpired));
        }

        match row.read(waitpoint_pending::state)? {
            WaitpointState::Pending => OpenWaitpoint::stored(row),
            WaitpointState::Active | WaitpointState::Closed => {
                Err(EngineError::State(StateKind::WaitpointNotPending))
            }
        }
    }

    /// The row of a waitpoint, if it exists already.
    fn row(&self, id: &WaitpointId) -> Option<&Row> {
        let same =
            |row: &&Row| row.read(waitpoint_pending::waitpoint_id).is_ok_and(|own| own == id.0);
        self.stored.iter().find(same)
    }
}
