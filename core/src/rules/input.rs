//! Argument checks that every public entry makes before it decides anything.

use crate::model::error::{EngineError, ValidationKind};
use crate::model::ids::{AttemptIndex, ExecutionId, LaneId};
use crate::model::partition::{Partition, PartitionKey};

/// The largest page that a listing returns.
pub const PAGE_MAX: usize = 1000;

/// A `Validation(InvalidInput)` with this detail.
#[must_use]
pub fn invalid(detail: impl Into<String>) -> EngineError {
    EngineError::Validation { kind: ValidationKind::InvalidInput, detail: detail.into() }
}

/// Refuses an optional argument that asks for something that the engine does not do.
///
/// # Errors
/// `Validation(InvalidInput)` naming the field.
pub fn absent<T>(field: &str, value: Option<&T>) -> Result<(), EngineError> {
    match value {
        Some(_) => Err(invalid(format!("{field}: has no effect in this version"))),
        None => Ok(()),
    }
}

/// Checks that a text holds no NUL, so that every database can store it.
///
/// # Errors
/// `Validation(InvalidInput)` naming the field.
pub fn text(field: &str, value: &str) -> Result<(), EngineError> {
    match value.find('\0') {
        Some(at) => Err(invalid(format!("{field}: must not contain NUL (at byte {at})"))),
        None => Ok(()),
    }
}

/// The longest text that names something, in bytes. Names enter keys and indexes, and every
/// database has a bound of its own there; this one is below all of them, so that all refuse alike.
const NAME_MAX_BYTES: usize = 512;

/// Checks a text that names something and may enter a key or an index: no NUL, at most
/// `NAME_MAX_BYTES`. Stored rows with longer names are still read.
///
/// # Errors
/// `Validation(InvalidInput)` naming the field.
pub fn name(field: &str, value: &str) -> Result<(), EngineError> {
    if NAME_MAX_BYTES < value.len() {
        let bytes = value.len();
        return Err(invalid(format!("{field}: {bytes} bytes exceed {NAME_MAX_BYTES}")));
    }
    text(field, value)
}

/// The longest input or result of an execution, payload of a signal or frame of a stream, in bytes:
/// 256 MiB, which every database stores and gives back.
const BODY_MAX_BYTES: usize = 256 * 1024 * 1024;

/// Checks that every database can store these bytes.
///
/// # Errors
/// `Validation(PayloadTooLarge)` naming the field, beyond `BODY_MAX_BYTES`.
pub fn body(field: &str, bytes: &[u8]) -> Result<(), EngineError> {
    if bytes.len() <= BODY_MAX_BYTES {
        return Ok(());
    }
    Err(EngineError::Validation {
        kind: ValidationKind::PayloadTooLarge,
        detail: format!("{field}: {} bytes exceed {BODY_MAX_BYTES}", bytes.len()),
    })
}

/// Checks that none of a document's texts and member names holds a NUL, as [`text`] does.
///
/// # Errors
/// `Validation(InvalidInput)` naming the field.
pub fn json(field: &str, value: &serde_json::Value) -> Result<(), EngineError> {
    match value {
        serde_json::Value::String(inner) => text(field, inner),
        serde_json::Value::Array(items) => items.iter().try_for_each(|item| json(field, item)),
        serde_json::Value::Object(members) => members.iter().try_for_each(|(name, inner)| {
            text(field, name)?;
            json(field, inner)
        }),
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {
            Ok(())
        }
    }
}

/// Checks a lane name, however it was built.
///
/// # Errors
/// `Validation(InvalidInput)` with what is wrong with it.
pub fn lane(lane: &LaneId) -> Result<(), EngineError> {
    LaneId::try_new(lane.as_str()).map(drop).map_err(|error| invalid(format!("lane_id: {error}")))
}

/// A partition as rows store it.
///
/// # Errors
/// `Validation(InvalidInput)` beyond 32767.
pub fn partition(index: u16) -> Result<i16, EngineError> {
    i16::try_from(index).map_err(|_| {
        invalid(format!("partition index {index} exceeds i16 range (max {})", i16::MAX))
    })
}

/// A partition key as rows store it.
///
/// # Errors
/// `Validation(InvalidInput)` naming the operation, the key and what is wrong with it.
pub fn partition_key(operation: &str, key: &PartitionKey) -> Result<i16, EngineError> {
    let parsed = key
        .parse()
        .map_err(|error| invalid(format!("{operation}: partition: '{key}': {error}")))?;

    partition(parsed.index)
}

/// Checks that the partition given besides an id is the id's own.
///
/// # Errors
/// `Validation(InvalidInput)` naming both.
pub fn same_partition(
    operation: &str,
    partition: &Partition,
    id: &ExecutionId,
) -> Result<(), EngineError> {
    if partition.index == id.partition() {
        return Ok(());
    }

    let (given, own) = (partition.index, id.partition());
    Err(invalid(format!("{operation}: partition mismatch (arg={given}, eid={own})")))
}

/// An attempt index as rows store it.
///
/// # Errors
/// `Validation(InvalidInput)` beyond `i32::MAX`.
pub fn attempt_index(index: AttemptIndex) -> Result<i32, EngineError> {
    i32::try_from(index.0)
        .map_err(|_| invalid(format!("attempt_index {} exceeds {}", index.0, i32::MAX)))
}

/// A span of time as rows store it.
///
/// # Errors
/// `Validation(InvalidInput)` naming the field, for zero and beyond `i64::MAX`.
pub fn positive_ms(field: &str, ms: u64) -> Result<i64, EngineError> {
    match i64::try_from(ms) {
        Ok(0) => Err(invalid(format!("{field}: must be positive"))),
        Ok(ms) => Ok(ms),
        Err(_) => Err(invalid(format!("{field}: {ms} exceeds {}", i64::MAX))),
    }
}

/// The longest span that is stored: about 285,000 years. Every clock reading plus a span still fits
/// a row, in every database.
const SPAN_MAX_MS: i64 = 1 << 53;

/// A span of time, at most `SPAN_MAX_MS`.
#[must_use]
pub fn span_ms(ms: u64) -> i64 {
    clamped_ms(ms).min(SPAN_MAX_MS)
}

/// Milliseconds, at most what a row can store.
#[must_use]
pub fn clamped_ms(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}
