//! Waitpoints: made ahead of a suspension or by it, and closed when no signal came in time.

use std::time::Duration;

use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::contracts::{
    PendingWaitpoint, ResumeCondition, SuspendArgs, TimeoutBehavior, WaitpointHmac,
};
use crate::model::error::{EngineError, StateKind};
use crate::model::handle_codec::HandlePayload;
use crate::model::ids::{ExecutionId, TimestampMs, WaitpointId};
use crate::model::state::WaitpointState;
use crate::plan::facts::{Facts, Row};
use crate::plan::value::{ColumnType, Storable};
use crate::plan::{Expr, OnConflict, OnTaken, Plan, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Then, Transition};
use crate::rules::fence::{Fence, OpenLease};
use crate::rules::input;
use crate::rules::key::{CORE, ExecutionKey, held_core};
use crate::rules::keystore::TokenKey;
use crate::rules::premise::{guards, lookups, unmet};
use crate::rules::suspension::close::some_open;
use crate::rules::suspension::row::{Suspension, WAITPOINT, held_waitpoint};
use crate::rules::suspension::satisfied;
use crate::schema::ColumnRef;
use crate::schema::execution::exec_core;
use crate::schema::suspension::waitpoint_pending;

/// A waitpoint of a suspension, with the token that its senders have to show.
#[derive(Clone)]
pub struct Door {
    /// The waitpoint.
    pub id: WaitpointId,
    /// Its key within the execution.
    pub key: String,
    /// The id of the key that signed the token.
    pub kid: String,
    /// The token.
    pub token: String,
    /// True if its row is there already.
    pub is_stored: bool,
    /// The suspension that waited on it before, and kept it for the next one.
    pub kept_by: Option<Uuid>,
}

impl Door {
    /// A new waitpoint.
    #[must_use]
    pub fn signed(
        signing: &TokenKey,
        execution: &ExecutionId,
        id: WaitpointId,
        key: String,
    ) -> Self {
        let token = signing.sign(execution, &id);
        Self { id, key, kid: signing.kid().to_owned(), token, is_stored: false, kept_by: None }
    }

    /// A waitpoint made earlier.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a row that holds what it must not.
    pub fn stored(row: &Row) -> Result<Self, EngineError> {
        Ok(Self {
            id: WaitpointId::from_uuid(row.read(waitpoint_pending::waitpoint_id)?),
            key: row.read(waitpoint_pending::waitpoint_key)?,
            kid: row.read(waitpoint_pending::token_kid)?,
            token: row.read(waitpoint_pending::token)?,
            is_stored: true,
            kept_by: row.read(waitpoint_pending::suspension_id)?,
        })
    }

    fn item(&self, names: &[String]) -> Json {
        json!({
            "id": self.id.to_string(),
            "key": self.key,
            "kid": self.kid,
            "token": self.token,
            "names": names,
        })
    }
}

/// A list to insert rows for, as bytes, so that its contents are printed nowhere.
///
/// # Errors
/// `Validation(InvalidInput)` when it cannot be written as JSON.
pub fn items(list: &[Json]) -> Result<Expr, EngineError> {
    let bytes = serde_json::to_vec(list)
        .map_err(|error| input::invalid(format!("a list of rows: {error}")))?;
    Ok(bytes.into_expr())
}

fn row(state: WaitpointState, expires_at: Option<i64>, at: TimestampMs) -> Vec<(ColumnRef, Expr)> {
    let item = |ty, name: &'static str| Expr::Item(ty, name.into());
    vec![
        waitpoint_pending::partition_key.with_expr(exec_core::partition_key.of(CORE)),
        waitpoint_pending::waitpoint_id.with_expr(item(ColumnType::Uuid, "id")),
        waitpoint_pending::execution_id.with_expr(exec_core::execution_id.of(CORE)),
        waitpoint_pending::token_kid.with_expr(item(ColumnType::Text, "kid")),
        waitpoint_pending::token.with_expr(item(ColumnType::Text, "token")),
        waitpoint_pending::created_at_ms.with(at.0),
        waitpoint_pending::expires_at_ms.with(expires_at),
        waitpoint_pending::waitpoint_key.with_expr(item(ColumnType::Text, "key")),
        waitpoint_pending::state.with(state),
        waitpoint_pending::required_signal_names.with_expr(item(ColumnType::TextList, "names")),
    ]
}

fn active(args: &SuspendArgs) -> Vec<(ColumnRef, Expr)> {
    // A wait that its timeout leaves to an operator takes signals until the operator has decided.
    let expires_at = match args.timeout_behavior {
        TimeoutBehavior::Escalate => None,
        TimeoutBehavior::Fail
        | TimeoutBehavior::Cancel
        | TimeoutBehavior::Expire
        | TimeoutBehavior::AutoResumeWithTimeoutSignal => args.timeout_at.map(|at| at.0),
    };

    let mut row = row(WaitpointState::Active, expires_at, args.now);
    row.push(waitpoint_pending::activated_at_ms.with(Some(args.now.0)));
    row.push(waitpoint_pending::suspension_id.with(Some(args.suspension_id.0)));
    row
}

fn named(doors: &[&Door], condition: &ResumeCondition) -> Result<Expr, EngineError> {
    let item = |door: &&Door| door.item(&satisfied::required_names(condition, &door.key));
    items(&doors.iter().map(item).collect::<Vec<_>>())
}

/// Opens waitpoints of the held execution for this suspension: new ones, and those that it made
/// earlier, which keep their tokens.
///
/// # Errors
/// As [`items`].
pub fn opened(mut plan: Plan, doors: &[Door], args: &SuspendArgs) -> Result<Plan, EngineError> {
    let taken = [
        waitpoint_pending::expires_at_ms.column(),
        waitpoint_pending::state.column(),
        waitpoint_pending::required_signal_names.column(),
        waitpoint_pending::activated_at_ms.column(),
        waitpoint_pending::suspension_id.column(),
    ];
    let activated = taken.into_iter().map(|column| (column, OnTaken::Overwrite)).collect();

    let (stored, new): (Vec<&Door>, Vec<&Door>) = doors.iter().partition(|door| door.is_stored);
    for (doors, on_conflict) in [(new, OnConflict::Refuse), (stored, OnConflict::Update(activated))]
    {
        if !doors.is_empty() {
            let (items, row) = (named(&doors, &args.resume_condition)?, active(args));
            plan = plan.insert_each(waitpoint_pending::REF, items, row, on_conflict);
        }
    }
    Ok(plan)
}

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

impl Transition for CreateWaitpoint {
    type Outcome = PendingWaitpoint;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        let at = ctx.now;
        let premises = self.fence.premises(at, OpenLease::Live);
        let signing = TokenKey::signing();
        let Some(signing) = facts.list(&signing) else {
            let rows = Query::Lookup(lookups(&premises));
            return Ok(Step::Read(vec![rows, Query::List(signing)]));
        };

        if let Some(answer) = unmet(&premises, facts)? {
            return Ok(Step::Answer(answer));
        }

        let signing = TokenKey::of_signing(signing, "create_waitpoint")?;
        let id = WaitpointId::from_uuid(ctx.uuid());
        let door = Door::signed(&signing, &self.execution, id.clone(), self.key.clone());

        let guards = guards(premises, &[], facts)?;
        let plan = Plan { guards, ..Plan::new("create_waitpoint") };
        let expires_at = at.0.saturating_add(self.expires_in_ms);
        let row = row(WaitpointState::Pending, Some(expires_at), at);
        let has_one = vec![some_open(), exec_core::version.grow(1)];
        let plan = plan.update(exec_core::REF, held_core(), has_one).insert_each(
            waitpoint_pending::REF,
            items(&[door.item(&[])])?,
            row,
            OnConflict::Refuse,
        );

        let made = PendingWaitpoint::new(id, WaitpointHmac::new(door.token));
        Ok(Step::Commit(plan, Then::Answer(made)))
    }
}

/// Closes a waitpoint that got no signal in time; changes nothing when it is not due.
#[derive(Clone, Debug)]
pub struct CloseWaitpoint {
    /// The execution that it belongs to.
    pub execution: ExecutionKey,
    /// The waitpoint.
    pub id: WaitpointId,
    /// The caller's time, where it gave one.
    pub at: Option<TimestampMs>,
}

impl Transition for CloseWaitpoint {
    /// True if it was closed.
    type Outcome = bool;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<bool>, EngineError> {
        // A refused guard means that it is not due, or closed already.
        if facts.refusals() != 0 {
            return Ok(Step::Answer(false));
        }

        let at = self.at.unwrap_or(ctx.now);
        let key = key(self.execution.partition, &self.id);
        let lapsed = waitpoint_pending::expires_at_ms
            .below(Some(at.0))
            .and(waitpoint_pending::execution_id.equals(self.execution.uuid));

        let plan = Plan::new("close_waitpoint")
            .guard(WAITPOINT, waitpoint_pending::REF, key, lapsed)
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
pub fn check_bound(door: &Row, suspension: &Suspension) -> Result<(), EngineError> {
    let bound = match door.read(waitpoint_pending::suspension_id)? {
        Some(id) => id == suspension.id,
        None => {
            let since = door.read(waitpoint_pending::activated_at_ms)?;
            since.is_none_or(|since| suspension.suspended_at_ms <= since)
        }
    };

    match door.read(waitpoint_pending::state)? {
        WaitpointState::Pending => Err(EngineError::State(StateKind::WaitpointNotOpen)),
        WaitpointState::Active if bound => Ok(()),
        WaitpointState::Active | WaitpointState::Closed => {
            Err(EngineError::State(StateKind::WaitpointClosed))
        }
    }
}

/// The key of a waitpoint's row.
#[must_use]
pub fn key(partition: i16, id: &WaitpointId) -> Vec<(ColumnRef, Expr)> {
    vec![
        waitpoint_pending::partition_key.with(partition),
        waitpoint_pending::waitpoint_id.with(id.0),
    ]
}
