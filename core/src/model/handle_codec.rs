//! The bytes inside a worker's handle.
//!
//! A handle is opaque to the worker and self-contained for the backend: it names the execution, the
//! attempt and the lease that it stands for. It proves nothing by itself; every operation compares
//! it with the stored fence. It may also carry what its claim knew about retries, see
//! [`RetryFacts`], and that its claim reserved something, which the end of the attempt gives back.
//! Integers are little-endian, a string is its length (u32) and its UTF-8:
//!
//! ```text
//! v2: 0x02 magic, 0x01 wire version, backend tag, fields, then nothing or the retry facts,
//!     then nothing or 0x48 where its claim reserved something
//! v1: 0x01, fields                    (decodes with the tag `Valkey`)
//! fields: execution_id, u32 attempt_index, attempt_id, lease_id, u64 lease_epoch,
//!         u64 lease_ttl_ms, lane_id, worker_instance_id
//! retry facts: 0x52, u32 retries, retry policy as JSON (empty for none)
//! ```
//!
//! Nothing may follow. A handle without such facts has the bytes that it had before they existed.

mod retry_facts;

use crate::model::error::{EngineError, ValidationKind};
use crate::model::handle::{BackendTag, HandleOpaque};
use crate::model::ids::{
    AttemptId, AttemptIndex, ExecutionId, LaneId, LeaseEpoch, LeaseId, WorkerInstanceId,
};

pub use retry_facts::{POLICY_MAX_BYTES, RetryFacts};

const MAGIC_V2: u8 = 0x02;
const WIRE_VERSION_V2: u8 = 0x01;
const VERSION_V1: u8 = 0x01;
const RETRY_FACTS: u8 = b'R';
const HAS_RESERVATIONS: u8 = b'H';

/// The execution, attempt and lease that a handle stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandlePayload {
    /// The execution.
    pub execution_id: ExecutionId,
    /// Its attempt.
    pub attempt_index: AttemptIndex,
    /// The attempt's id.
    pub attempt_id: AttemptId,
    /// The lease.
    pub lease_id: LeaseId,
    /// The lease's epoch.
    pub lease_epoch: LeaseEpoch,
    /// The lease's duration without renewal, in milliseconds.
    pub lease_ttl_ms: u64,
    /// The lane that the execution was claimed from.
    pub lane_id: LaneId,
    /// The worker instance that holds the lease.
    pub worker_instance_id: WorkerInstanceId,
    /// The retry facts that the claim knew; `None` where they are read when they are needed.
    pub retry: Option<RetryFacts>,
    /// True if the claim took permits of limits, or reserved from budgets. An expectation, as the
    /// retry facts are: where it is missing, the end of the attempt reads the execution first.
    pub has_reservations: bool,
}

impl HandlePayload {
    /// The payload of these eight parts, in the order in which they are encoded, without retry
    /// facts.
    #[expect(clippy::too_many_arguments, reason = "one per field, each of its own type")]
    #[must_use]
    pub const fn new(
        execution_id: ExecutionId,
        attempt_index: AttemptIndex,
        attempt_id: AttemptId,
        lease_id: LeaseId,
        lease_epoch: LeaseEpoch,
        lease_ttl_ms: u64,
        lane_id: LaneId,
        worker_instance_id: WorkerInstanceId,
    ) -> Self {
        Self {
            execution_id,
            attempt_index,
            attempt_id,
            lease_id,
            lease_epoch,
            lease_ttl_ms,
            lane_id,
            worker_instance_id,
            retry: None,
            has_reservations: false,
        }
    }

    /// The same payload with these retry facts.
    #[must_use]
    pub fn with_retry(self, retry: Option<RetryFacts>) -> Self {
        Self { retry, ..self }
    }

    /// The same payload, which says whether its claim reserved something.
    #[must_use]
    pub fn with_reservations(self, has_reservations: bool) -> Self {
        Self { has_reservations, ..self }
    }
}

/// A decoded handle.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DecodedHandle {
    /// The backend that made the handle.
    pub tag: BackendTag,
    /// The execution, attempt and lease that the handle stands for.
    pub payload: HandlePayload,
}

impl DecodedHandle {
    /// The handle of `tag` for `payload`.
    #[must_use]
    pub const fn new(tag: BackendTag, payload: HandlePayload) -> Self {
        Self { tag, payload }
    }
}

/// The reason why bytes are no handle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandleDecodeError {
    /// The bytes end too early.
    #[error("truncated: needed {needed} bytes at {at}, have {have} in all")]
    Truncated {
        /// The number of bytes to read.
        needed: usize,
        /// The position to read from.
        at: usize,
        /// The number of bytes in all.
        have: usize,
    },
    /// The first byte starts no known version.
    #[error("bad leading byte {got:#04x}")]
    BadV1Version {
        /// The byte.
        got: u8,
    },
    /// The wire version is unknown.
    #[error("bad wire version {got:#04x}")]
    BadWireVersion {
        /// The byte.
        got: u8,
    },
    /// The backend tag is unknown.
    #[error("bad backend tag {got:#04x}")]
    BadBackendTag {
        /// The byte.
        got: u8,
    },
    /// A string is not UTF-8.
    #[error("{field} is not utf-8")]
    InvalidUtf8 {
        /// The string's field.
        field: &'static str,
    },
    /// A string is not what its field needs.
    #[error("{field} does not parse: {detail}")]
    ParseField {
        /// The string's field.
        field: &'static str,
        /// The parser's message.
        detail: String,
    },
    /// Bytes are left over after the last field.
    #[error("trailing bytes: ended at {pos} of {len}")]
    TrailingBytes {
        /// The end of the last field.
        pos: usize,
        /// The number of bytes in all.
        len: usize,
    },
}

impl From<HandleDecodeError> for EngineError {
    fn from(err: HandleDecodeError) -> Self {
        Self::Validation {
            kind: ValidationKind::Corruption,
            detail: format!("handle_codec: {err}"),
        }
    }
}

/// The bytes of a handle of `tag` for `payload`, always in version 2.
#[must_use]
pub fn encode(tag: BackendTag, payload: &HandlePayload) -> HandleOpaque {
    let mut bytes = vec![MAGIC_V2, WIRE_VERSION_V2, tag.wire_byte()];
    write_fields(&mut bytes, payload);
    if let Some(facts) = &payload.retry {
        bytes.push(RETRY_FACTS);
        bytes.extend(facts.retries().to_le_bytes());
        write_text(&mut bytes, facts.policy_json().unwrap_or_default());
    }
    bytes.extend(payload.has_reservations.then_some(HAS_RESERVATIONS));
    HandleOpaque::new(bytes.into_boxed_slice())
}

/// The bytes of a handle for `payload` in the outdated version 1.
#[cfg(any(test, feature = "test-fixtures"))]
#[must_use]
pub fn v1_handle_for_tests(payload: &HandlePayload) -> Vec<u8> {
    let mut bytes = vec![VERSION_V1];
    write_fields(&mut bytes, payload);
    bytes
}

/// Reads the bytes of a handle of either version.
///
/// # Errors
/// The first thing wrong, in reading order.
pub fn decode(opaque: &HandleOpaque) -> Result<DecodedHandle, HandleDecodeError> {
    let mut reader = Reader { bytes: opaque.as_bytes(), at: 0 };

    let (tag, may_carry_facts) = match reader.byte()? {
        MAGIC_V2 => {
            let version = reader.byte()?;
            if version != WIRE_VERSION_V2 {
                return Err(HandleDecodeError::BadWireVersion { got: version });
            }
            let tag = reader.byte()?;
            let tag = BackendTag::from_wire_byte(tag)
                .ok_or(HandleDecodeError::BadBackendTag { got: tag })?;
            (tag, true)
        }
        VERSION_V1 => (BackendTag::Valkey, false),
        got => return Err(HandleDecodeError::BadV1Version { got }),
    };

    let mut payload = reader.fields()?;
    if may_carry_facts && reader.next() == Some(RETRY_FACTS) {
        payload.retry = Some(reader.retry_facts()?);
    }
    if may_carry_facts && reader.next() == Some(HAS_RESERVATIONS) {
        reader.byte()?;
        payload.has_reservations = true;
    }

    reader.end()?;
    Ok(DecodedHandle { tag, payload })
}

fn write_fields(bytes: &mut Vec<u8>, payload: &HandlePayload) {
    write_text(bytes, payload.execution_id.as_str());
    bytes.extend(payload.attempt_index.0.to_le_bytes());
    write_text(bytes, &payload.attempt_id.to_string());
    write_text(bytes, &payload.lease_id.to_string());
    bytes.extend(payload.lease_epoch.0.to_le_bytes());
    bytes.extend(payload.lease_ttl_ms.to_le_bytes());
    write_text(bytes, payload.lane_id.as_str());
    write_text(bytes, payload.worker_instance_id.as_str());
}

/// A text of 4 GiB or more does not fit its length field; the handle is then refused when decoded.
fn write_text(bytes: &mut Vec<u8>, text: &str) {
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    bytes.extend(length.to_le_bytes());
    bytes.extend(text.as_bytes());
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn fields(&mut self) -> Result<HandlePayload, HandleDecodeError> {
        Ok(HandlePayload {
            execution_id: self.parse_text("execution_id", ExecutionId::parse)?,
            attempt_index: AttemptIndex(u32::from_le_bytes(self.array()?)),
            attempt_id: self.parse_text("attempt_id", AttemptId::parse)?,
            lease_id: self.parse_text("lease_id", LeaseId::parse)?,
            lease_epoch: LeaseEpoch(u64::from_le_bytes(self.array()?)),
            lease_ttl_ms: u64::from_le_bytes(self.array()?),
            lane_id: LaneId::new(self.text("lane_id")?),
            worker_instance_id: WorkerInstanceId::new(self.text("worker_instance_id")?),
            retry: None,
            has_reservations: false,
        })
    }

    fn retry_facts(&mut self) -> Result<RetryFacts, HandleDecodeError> {
        let [_marker] = self.array()?;
        let retries = u32::from_le_bytes(self.array()?);
        let policy = self.text("retry_policy")?;

        RetryFacts::new(Some(policy), retries).ok_or_else(|| HandleDecodeError::ParseField {
            field: "retry_policy",
            detail: format!("longer than {POLICY_MAX_BYTES} bytes"),
        })
    }

    /// The next byte, which stays unread.
    fn next(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn end(&self) -> Result<(), HandleDecodeError> {
        let len = self.bytes.len();
        if self.at < len {
            return Err(HandleDecodeError::TrailingBytes { pos: self.at, len });
        }
        Ok(())
    }

    fn parse_text<T, E: std::fmt::Display>(
        &mut self,
        field: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, HandleDecodeError> {
        parse(self.text(field)?)
            .map_err(|err| HandleDecodeError::ParseField { field, detail: err.to_string() })
    }

    fn text(&mut self, field: &'static str) -> Result<&'a str, HandleDecodeError> {
        let length = u32::from_le_bytes(self.array()?);
        let bytes = self.take(usize::try_from(length).unwrap_or(usize::MAX))?;
        std::str::from_utf8(bytes).map_err(|_| HandleDecodeError::InvalidUtf8 { field })
    }

    fn byte(&mut self) -> Result<u8, HandleDecodeError> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], HandleDecodeError> {
        let truncated = self.truncated(N);
        self.take(N)?.first_chunk().copied().ok_or(truncated)
    }

    fn take(&mut self, needed: usize) -> Result<&'a [u8], HandleDecodeError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let (taken, _) = rest.split_at_checked(needed).ok_or(self.truncated(needed))?;
        self.at += needed;
        Ok(taken)
    }

    const fn truncated(&self, needed: usize) -> HandleDecodeError {
        HandleDecodeError::Truncated { needed, at: self.at, have: self.bytes.len() }
    }
}

#[cfg(test)]
mod tests;
