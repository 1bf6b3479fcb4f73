//! Repeated suspensions: two calls under one idempotency key get the same answer.
//!
//! Keys belong to their execution, and to the lease under which they were given: what a worker
//! waits for after a resume, a retry or a replay is another wait. The answer is stored with its
//! tokens, and so travels as bytes.

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::contracts::{
    AdditionalWaitpointBinding, IdempotencyKey, SuspendOutcome, SuspendOutcomeDetails,
    WaitpointHmac,
};
use crate::model::error::{EngineError, ValidationKind};
use crate::model::handle::{BackendTag, Handle, HandleKind, HandleOpaque};
use crate::model::ids::{SuspensionId, TimestampMs, WaitpointId};
use crate::plan::facts::Row;
use crate::plan::value::ColumnType;
use crate::plan::{Expr, Lookup, Mutation, OnConflict, OnTaken};
use crate::rules::fence::Fence;
use crate::rules::handle;
use crate::rules::key::ExecutionKey;
use crate::rules::premise::lookup;
use crate::rules::row_list::items;
use crate::schema::ColumnRef;
use crate::schema::suspension::suspend_dedup;

/// An answer as it is stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    variant: Variant,
    details: Details,
    handle_opaque_hex: Option<String>,
}

#[derive(Serialize, Deserialize)]
enum Variant {
    Suspended,
    AlreadySatisfied,
}

#[derive(Serialize, Deserialize)]
struct Details {
    suspension_id: SuspensionId,
    #[serde(flatten)]
    primary: StoredWaitpoint,
    #[serde(default)]
    extras: Vec<StoredWaitpoint>,
}

#[derive(Serialize, Deserialize)]
struct StoredWaitpoint {
    waitpoint_id: WaitpointId,
    waitpoint_key: String,
    token: String,
}

/// The name of the row of an idempotency key.
pub const REPEATED: &str = "repeated";

/// The look-up of the answer that is stored under the key.
#[must_use]
pub fn row(execution: &ExecutionKey, key: &IdempotencyKey) -> Lookup {
    lookup(REPEATED, suspend_dedup::REF, stored_key(execution, key))
}

fn stored_key(execution: &ExecutionKey, key: &IdempotencyKey) -> Vec<(ColumnRef, Expr)> {
    vec![
        suspend_dedup::partition_key.with(execution.partition),
        suspend_dedup::idempotency_key.with(format!("{}:{key}", execution.uuid)),
    ]
}

/// The change that stores the answer.
///
/// # Errors
/// `Validation(InvalidInput)` when it cannot be written as JSON.
pub fn store_answer(
    execution: &ExecutionKey,
    key: &IdempotencyKey,
    details: &SuspendOutcomeDetails,
    handle: &Handle,
    at: TimestampMs,
) -> Result<Mutation, EngineError> {
    let extra = |extra: &AdditionalWaitpointBinding| StoredWaitpoint {
        waitpoint_id: extra.waitpoint_id.clone(),
        waitpoint_key: extra.waitpoint_key.clone(),
        token: extra.waitpoint_token.as_str().to_owned(),
    };

    let stored = Stored {
        variant: Variant::Suspended,
        details: Details {
            suspension_id: details.suspension_id.clone(),
            primary: StoredWaitpoint {
                waitpoint_id: details.waitpoint_id.clone(),
                waitpoint_key: details.waitpoint_key.clone(),
                token: details.waitpoint_token.as_str().to_owned(),
            },
            extras: details.additional_waitpoints.iter().map(extra).collect(),
        },
        handle_opaque_hex: Some(hex::encode(handle.opaque.as_bytes())),
    };

    let mut row = stored_key(execution, key);
    row.extend([
        suspend_dedup::outcome_json.with_expr(Expr::item(ColumnType::Json, "outcome")),
        suspend_dedup::created_at_ms.with(at.0),
    ]);
    let answer = items(&[json!({ "outcome": stored })])?;

    // A key that was given under an earlier lease is given anew.
    let anew = vec![
        (suspend_dedup::outcome_json.column(), OnTaken::Overwrite),
        (suspend_dedup::created_at_ms.column(), OnTaken::Overwrite),
    ];
    Ok(Mutation::insert_each(suspend_dedup::REF, answer, row, OnConflict::Update(anew)))
}

/// Returns true if the answer in the row was given to this lease. Rows of older databases hold
/// handles that do not say: they answer every repetition.
#[must_use]
pub fn is_of_lease(tag: BackendTag, row: &Row, fence: &Fence) -> bool {
    let Ok(stored) = row.read(suspend_dedup::outcome_json) else { return true };
    let hex = stored.get("handle_opaque_hex").and_then(Json::as_str).unwrap_or_default();
    let Ok(bytes) = hex::decode(hex) else { return true };

    let asked = Handle::new(tag, HandleKind::Suspended, HandleOpaque::new(bytes.into()));
    handle::open(tag, &asked).map_or(true, |asked| {
        let of_lease = |fence: &Fence| (fence.attempt_index, fence.lease.map(|lease| lease.epoch));
        Fence::of_handle(&asked).is_ok_and(|asked| of_lease(&asked) == of_lease(fence))
    })
}

/// The answer that a row holds.
///
/// # Errors
/// `Validation(Corruption)` when it holds none.
pub fn outcome(tag: BackendTag, row: &Row) -> Result<SuspendOutcome, EngineError> {
    let corrupt = |detail: String| EngineError::Validation {
        kind: ValidationKind::Corruption,
        detail: format!("suspend_dedup outcome_json: {detail}"),
    };

    let stored = row.read(suspend_dedup::outcome_json)?;
    // serde_json quotes the text at fault, which may be a token: only its place is reported.
    let unreadable = |error: serde_json::Error| {
        corrupt(format!(
            "{:?} at line {} column {}",
            error.classify(),
            error.line(),
            error.column()
        ))
    };
    let Stored { variant, details, handle_opaque_hex } =
        serde_json::from_value(stored).map_err(unreadable)?;

    let StoredWaitpoint { waitpoint_id, waitpoint_key, token } = details.primary;
    let extras = details.extras.into_iter().map(|extra| {
        let token = WaitpointHmac::new(extra.token);
        AdditionalWaitpointBinding::new(extra.waitpoint_id, extra.waitpoint_key, token)
    });
    let token = WaitpointHmac::new(token);
    let details =
        SuspendOutcomeDetails::new(details.suspension_id, waitpoint_id, waitpoint_key, token)
            .with_additional_waitpoints(extras.collect());

    match variant {
        Variant::AlreadySatisfied => Ok(SuspendOutcome::AlreadySatisfied { details }),
        Variant::Suspended => {
            let opaque = hex::decode(handle_opaque_hex.unwrap_or_default())
                .map_err(|error| corrupt(format!("dedup handle hex: {error}")))?;
            let handle = Handle::new(tag, HandleKind::Suspended, HandleOpaque::new(opaque.into()));
            Ok(SuspendOutcome::Suspended { details, handle })
        }
    }
}
