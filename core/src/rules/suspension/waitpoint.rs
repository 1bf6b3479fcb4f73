//! Waitpoints: made ahead of a suspension, and closed when no signal came in time.

use std::time::Duration;

use crate::contracts::{PendingWaitpoint, WaitpointHmac};
use crate::model::error::{EngineError, StateKind};
use crate::model::handle_codec::HandlePayload;
use crate::model::ids::{ExecutionId, TimestampMs, WaitpointId};
use crate::model::state::WaitpointState;
use crate::plan::facts::{Facts, Row};
use crate::plan::{Expr, List, Mutation, OnConflict, Plan, Predicate};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Step, Then, Transition, Verdict};
use crate::rules::fence::{Fence, OpenLease};
use crate::rules::input;
use crate::rules::key::{ExecutionKey, held_core};
use crate::rules::keystore::TokenKey;
use crate::rules::premise::Premise;
use crate::rules::row_list::items;
use crate::rules::suspension::close::some_open;
use crate::rules::suspension::opening::{OpenWaitpoint, waitpoint_row};
use crate::rules::suspension::row::{Suspension, WAITPOINT, held_waitpoint};
use crate::schema::ColumnRef;
use crate::schema::execution::exec_core;
use crate::schema::suspension::waitpoint_pending;

/// Makes a waitpoint ahead of the suspension that will use it.
#[derive(Clone, Debug)]
pub struct CreateWaitpoint {
    /// The fence of the worker that makes it.
    pub fence: Fence,
    /// The execution that it is made for.
    pub execution: ExecutionId,
    /// Its key within the execution.
    pub key: String,
    /// The time that it waits for a suspension, ms.
    pub expires_in_ms: i64,
}

impl CreateWaitpoint {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for a key with NUL or of too many bytes.
    pub fn new(
        payload: &HandlePayload,
        key: &str,
        expires_in: Duration,
    ) -> Result<Self, EngineError> {
        input::name("waitpoint_key", key)?;
        let expires_in_ms = i64::try_from(expires_in.as_millis()).unwrap_or(i64::MAX);
        let (fence, execution) = (Fence::of_handle(payload)?, payload.execution_id.clone());
        Ok(Self { fence, execution, key: key.to_owned(), expires_in_ms })
    }
}

impl Decision for CreateWaitpoint {
    type Outcome = PendingWaitpoint;

    const NAME: &'static str = "create_waitpoint";

    fn premises(&self, at: TimestampMs) -> Vec<Premise<PendingWaitpoint>> {
        self.fence.premises(at, OpenLease::Live)
    }

    fn lists(&self, _: u32) -> Vec<List> {
        vec![TokenKey::signing()]
    }

    fn decide(
        &self,
        facts: &Facts,
        at: TimestampMs,
        ctx: &mut Ctx<'_>,
    ) -> Decided<PendingWaitpoint> {
        let signing = TokenKey::of_signing(facts, Self::NAME)?;
        let id = WaitpointId::from_uuid(ctx.uuid());
        let made = OpenWaitpoint::signed(&signing, &self.execution, id.clone(), self.key.clone());

        let marked = vec![some_open(), exec_core::version.grow(1)];
        let expires_at = at.0.saturating_add(self.expires_in_ms);
        let row = waitpoint_row(WaitpointState::Pending, Some(expires_at), at);
        let changes = [
            Mutation::update(exec_core::REF, held_core(), marked),
            Mutation::insert_each(
                waitpoint_pending::REF,
                items(&[made.item(&[])])?,
                row,
                OnConflict::Refuse,
            ),
        ];
        Verdict::change(changes, PendingWaitpoint::new(id, WaitpointHmac::new(made.token)))
    }
}

/// Closes a waitpoint that got no signal in time; changes nothing when it is not due. A transition
/// by itself: a refused guard is its answer, and reading the row could add nothing to that.
#[derive(Clone, Debug)]
pub struct CloseWaitpoint {
    /// The execution that it belongs to.
    pub execution: ExecutionKey,
    /// The waitpoint.
    pub id: WaitpointId,
    /// The caller's time, where it gave one.
    pub at: Option<TimestampMs>,
}

impl CloseWaitpoint {
    /// The waitpoints that got no signal in time.
    #[must_use]
    pub fn due(at: TimestampMs) -> Predicate {
        waitpoint_pending::expires_at_ms.below(Some(at.0))
    }
}

impl Transition for CloseWaitpoint {
    /// True if it was closed.
    type Outcome = bool;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<bool>, EngineError> {
        // A refused guard means that it is not due, or closed already.
        if facts.refusals() != 0 {
            return Ok(Step::Answer(false));
        }

        let due = Self::due(self.at.unwrap_or(ctx.now));
        let its_own = waitpoint_pending::execution_id.equals(self.execution.uuid);
        let key = waitpoint_key(self.execution.partition, &self.id);

        let plan = Plan::new("close_waitpoint")
            .guard(WAITPOINT, waitpoint_pending::REF, key, due.and(its_own))
            .delete(waitpoint_pending::REF, held_waitpoint());
        Ok(Step::Commit(plan, Then::Answer(true)))
    }
}

/// Checks that the suspension waits on the waitpoint, which is open. Rows of older databases do not
/// name the suspension; there it waits on every waitpoint that was activated since it began.
///
/// # Errors
/// `State(WaitpointNotOpen)` for one that no suspension waits on yet; `State(WaitpointClosed)` for
/// one of another suspension, which is over.
pub fn check_bound(waitpoint: &Row, suspension: &Suspension) -> Result<(), EngineError> {
    let bound = match waitpoint.read(waitpoint_pending::suspension_id)? {
        Some(id) => id == suspension.id,
        None => {
            let since = waitpoint.read(waitpoint_pending::activated_at_ms)?;
            since.is_none_or(|since| suspension.suspended_at_ms <= since)
        }
    };

    match waitpoint.read(waitpoint_pending::state)? {
        WaitpointState::Pending => Err(EngineError::State(StateKind::WaitpointNotOpen)),
        WaitpointState::Active if bound => Ok(()),
        WaitpointState::Active | WaitpointState::Closed => {
            Err(EngineError::State(StateKind::WaitpointClosed))
        }
    }
}

/// The key of a waitpoint's row.
#[must_use]
pub fn waitpoint_key(partition: i16, id: &WaitpointId) -> Vec<(ColumnRef, Expr)> {
    vec![
        waitpoint_pending::partition_key.with(partition),
        waitpoint_pending::waitpoint_id.with(id.0),
    ]
}
