//! Repeated signals: two under one idempotency key are one, until the key expires.

use crate::contracts::DeliverSignalArgs;
use crate::model::error::EngineError;
use crate::model::ids::{SignalId, TimestampMs};
use crate::plan::facts::Row;
use crate::plan::{Expr, Lookup, Mutation, OnConflict, OnTaken};
use crate::rules::input;
use crate::rules::key::ExecutionKey;
use crate::rules::premise::lookup;
use crate::rules::suspension::repeat::REPEATED;
use crate::schema::ColumnRef;
use crate::schema::suspension::signal_dedup;

/// The look-up of the signal that came first under an idempotency key.
#[must_use]
pub fn dedup_row(execution: &ExecutionKey, key: &str) -> Lookup {
    lookup(REPEATED, signal_dedup::REF, dedup_key(execution, key))
}

fn dedup_key(execution: &ExecutionKey, key: &str) -> Vec<(ColumnRef, Expr)> {
    vec![
        signal_dedup::partition_key.with(execution.partition),
        signal_dedup::execution_id.with(execution.uuid),
        signal_dedup::idempotency_key.with(key.to_owned()),
    ]
}

/// The signal that came first under its key, until the key expires.
///
/// # Errors
/// `Validation(Corruption)` for a column of another type.
pub fn first_signal(row: Option<&Row>, at: TimestampMs) -> Result<Option<SignalId>, EngineError> {
    let Some(row) = row else { return Ok(None) };
    let expired = row.read(signal_dedup::expires_at_ms)?.is_some_and(|until| until <= at.0);
    let signal = row.read(signal_dedup::signal_id)?;
    Ok((!expired).then(|| SignalId::from_uuid(signal)))
}

/// The change that records a signal under its idempotency key, if it has one: for as long as the
/// sender asks, or without end.
#[must_use]
pub fn record_signal(execution: &ExecutionKey, signal: &DeliverSignalArgs) -> Option<Mutation> {
    let key = signal.idempotency_key.as_deref()?;
    let at = signal.now.0;
    let until = signal.dedup_ttl_ms.map(|ttl| at.saturating_add(input::span_ms(ttl)));

    let mut row = dedup_key(execution, key);
    row.extend([
        signal_dedup::signal_id.with(signal.signal_id.0),
        signal_dedup::waitpoint_id.with(signal.waitpoint_id.0),
        signal_dedup::accepted_at_ms.with(at),
        signal_dedup::expires_at_ms.with(until),
    ]);

    // An expired key is taken anew; of two at once, the suspension's version lets one through.
    let taken = [
        signal_dedup::signal_id.column(),
        signal_dedup::waitpoint_id.column(),
        signal_dedup::accepted_at_ms.column(),
        signal_dedup::expires_at_ms.column(),
    ];
    let settle = taken.into_iter().map(|column| (column, OnTaken::Overwrite)).collect();
    Some(Mutation::insert(signal_dedup::REF, row, OnConflict::Update(settle)))
}
