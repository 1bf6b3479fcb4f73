//! Opening waitpoints: each with a key within its execution, and a token that its senders have to
//! show.

use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::contracts::{ResumeCondition, SuspendArgs, TimeoutBehavior};
use crate::model::error::EngineError;
use crate::model::ids::{ExecutionId, TimestampMs, WaitpointId};
use crate::model::state::WaitpointState;
use crate::plan::facts::Row;
use crate::plan::value::ColumnType;
use crate::plan::{Expr, Mutation, OnConflict, OnTaken};
use crate::rules::key::CORE;
use crate::rules::keystore::TokenKey;
use crate::rules::row_list::items;
use crate::rules::suspension::satisfied;
use crate::schema::ColumnRef;
use crate::schema::execution::exec_core;
use crate::schema::suspension::waitpoint_pending;

/// A waitpoint of a suspension, with the token that its senders have to show.
#[derive(Clone)]
pub struct OpenWaitpoint {
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

impl OpenWaitpoint {
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

    /// Its element of a list to insert rows for; these signal names are asked for at it.
    #[must_use]
    pub fn item(&self, names: &[String]) -> Json {
        json!({
            "id": self.id.to_string(),
            "key": self.key,
            "kid": self.kid,
            "token": self.token,
            "names": names,
        })
    }
}

/// The row of each waitpoint of a list, for the held execution.
#[must_use]
pub fn waitpoint_row(
    state: WaitpointState,
    expires_at: Option<i64>,
    at: TimestampMs,
) -> Vec<(ColumnRef, Expr)> {
    vec![
        waitpoint_pending::partition_key.with_expr(exec_core::partition_key.of(CORE)),
        waitpoint_pending::waitpoint_id.with_expr(Expr::item(ColumnType::Uuid, "id")),
        waitpoint_pending::execution_id.with_expr(exec_core::execution_id.of(CORE)),
        waitpoint_pending::token_kid.with_expr(Expr::item(ColumnType::Text, "kid")),
        waitpoint_pending::token.with_expr(Expr::item(ColumnType::Text, "token")),
        waitpoint_pending::created_at_ms.with(at.0),
        waitpoint_pending::expires_at_ms.with(expires_at),
        waitpoint_pending::waitpoint_key.with_expr(Expr::item(ColumnType::Text, "key")),
        waitpoint_pending::state.with(state),
        waitpoint_pending::required_signal_names
            .with_expr(Expr::item(ColumnType::TextList, "names")),
    ]
}

/// The row of each waitpoint that a suspension waits on.
fn active_row(args: &SuspendArgs) -> Vec<(ColumnRef, Expr)> {
    // A wait that its timeout leaves to an operator takes signals until the operator has decided.
    let expires_at = match args.timeout_behavior {
        TimeoutBehavior::Escalate => None,
        TimeoutBehavior::Fail
        | TimeoutBehavior::Cancel
        | TimeoutBehavior::Expire
        | TimeoutBehavior::AutoResumeWithTimeoutSignal => args.timeout_at.map(|at| at.0),
    };

    let mut row = waitpoint_row(WaitpointState::Active, expires_at, args.now);
    row.push(waitpoint_pending::activated_at_ms.with(Some(args.now.0)));
    row.push(waitpoint_pending::suspension_id.with(Some(args.suspension_id.0)));
    row
}

/// The list of these waitpoints, each with the signal names that the condition asks for there.
fn items_of(
    waitpoints: &[&OpenWaitpoint],
    condition: &ResumeCondition,
) -> Result<Expr, EngineError> {
    let item = |one: &&OpenWaitpoint| one.item(&satisfied::required_names(condition, &one.key));
    items(&waitpoints.iter().map(item).collect::<Vec<_>>())
}

/// The changes that open waitpoints of the held execution for this suspension: new ones, and those
/// made earlier, which keep their tokens.
///
/// # Errors
/// As [`items`].
pub fn open_waitpoints(
    waitpoints: &[OpenWaitpoint],
    args: &SuspendArgs,
) -> Result<Vec<Mutation>, EngineError> {
    let taken = [
        waitpoint_pending::expires_at_ms.column(),
        waitpoint_pending::state.column(),
        waitpoint_pending::required_signal_names.column(),
        waitpoint_pending::activated_at_ms.column(),
        waitpoint_pending::suspension_id.column(),
    ];
    let activated = taken.into_iter().map(|column| (column, OnTaken::Overwrite)).collect();

    let (stored, new): (Vec<&OpenWaitpoint>, Vec<&OpenWaitpoint>) =
        waitpoints.iter().partition(|waitpoint| waitpoint.is_stored);
    let mut changes = Vec::new();
    for (some, on_conflict) in [(new, OnConflict::Refuse), (stored, OnConflict::Update(activated))]
    {
        if !some.is_empty() {
            let (items, row) = (items_of(&some, &args.resume_condition)?, active_row(args));
            changes.push(Mutation::insert_each(waitpoint_pending::REF, items, row, on_conflict));
        }
    }
    Ok(changes)
}
