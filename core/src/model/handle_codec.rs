//! The bytes inside a worker's handle.
//!
//! A handle is opaque to the worker and self-contained for the backend: it names the execution, the
//! attempt and the lease that it stands for. It proves nothing by itself; every operation compares
//! it with the stored fence. Integers are little-endian, a string is its length (u32) and its
//! UTF-8:
//!
//! ```text
//! v2: 0x02 magic, 0x01 wire version, backend tag, fields
//! v1: 0x01, fields                    (decodes with the tag `Valkey`)
//! fields: execution_id, u32 attempt_index, attempt_id, lease_id, u64 lease_epoch,
//!         u64 lease_ttl_ms, lane_id, worker_instance_id, and then nothing more
//! ```

use crate::model::error::{EngineError, ValidationKind};
use crate::model::handle::{BackendTag, HandleOpaque};
use crate::model::ids::{
    AttemptId, AttemptIndex, ExecutionId, LaneId, LeaseEpoch, LeaseId, WorkerInstanceId,
};

const MAGIC_V2: u8 = 0x02;
const WIRE_VERSION_V2: u8 = 0x01;
const VERSION_V1: u8 = 0x01;

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
}

impl HandlePayload {
    /// The payload of these eight parts, in the order in which they are encoded.
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
        }
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

    let tag = match reader.byte()? {
        MAGIC_V2 => {
            let version = reader.byte()?;
            if version != WIRE_VERSION_V2 {
                return Err(HandleDecodeError::BadWireVersion { got: version });
            }
            let tag = reader.byte()?;
            BackendTag::from_wire_byte(tag).ok_or(HandleDecodeError::BadBackendTag { got: tag })?
        }
        VERSION_V1 => BackendTag::Valkey,
        got => return Err(HandleDecodeError::BadV1Version { got }),
    };

    let payload = reader.fields()?;
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
            execution_id: self.parsed("execution_id", ExecutionId::parse)?,
            attempt_index: AttemptIndex(u32::from_le_bytes(self.array()?)),
            attempt_id: self.parsed("attempt_id", AttemptId::parse)?,
            lease_id: self.parsed("lease_id", LeaseId::parse)?,
            lease_epoch: LeaseEpoch(u64::from_le_bytes(self.array()?)),
            lease_ttl_ms: u64::from_le_bytes(self.array()?),
            lane_id: LaneId::new(self.text("lane_id")?),
            worker_instance_id: WorkerInstanceId::new(self.text("worker_instance_id")?),
        })
    }

    fn end(&self) -> Result<(), HandleDecodeError> {
        let len = self.bytes.len();
        if self.at < len {
            return Err(HandleDecodeError::TrailingBytes { pos: self.at, len });
        }
        Ok(())
    }

    fn parsed<T, E: std::fmt::Display>(
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VECTOR: &str = concat!(
        "0201022c0000007b66703a34327d3a35353065383430302d653239622d343164342d613731362d34",
        "3436363535343430303030030000002400000032323232323232322d323232322d343232322d3832",
        "32322d3232323232323232323232322400000033333333333333332d333333332d343333332d3833",
        "33332d33333333333333333333333307000000000000003075000000000000070000006465666175",
        "6c7408000000776f726b65722d31",
    );

    fn payload() -> HandlePayload {
        HandlePayload::new(
            ExecutionId::parse("{fp:42}:550e8400-e29b-41d4-a716-446655440000").unwrap(),
            AttemptIndex::new(3),
            AttemptId::parse("22222222-2222-4222-8222-222222222222").unwrap(),
            LeaseId::parse("33333333-3333-4333-8333-333333333333").unwrap(),
            LeaseEpoch::new(7),
            30_000,
            LaneId::new("default"),
            WorkerInstanceId::new("worker-1"),
        )
    }

    fn decode_bytes(bytes: &[u8]) -> Result<DecodedHandle, HandleDecodeError> {
        decode(&HandleOpaque::new(bytes.into()))
    }

    /// The version 2 bytes with the field at `at` replaced from there on.
    fn changed(at: usize, with: &[u8]) -> Vec<u8> {
        let mut bytes = hex::decode(VECTOR).unwrap();
        bytes[at..at + with.len()].copy_from_slice(with);
        bytes
    }

    #[test]
    fn the_worked_vector() {
        let opaque = encode(BackendTag::Postgres, &payload());
        assert_eq!(opaque.as_bytes().len(), 174);
        assert_eq!(hex::encode(opaque.as_bytes()), VECTOR);
        assert_eq!(decode(&opaque), Ok(DecodedHandle::new(BackendTag::Postgres, payload())));
    }

    #[test]
    fn every_tag_round_trips() {
        for tag in
            [BackendTag::Valkey, BackendTag::Postgres, BackendTag::Sqlite, BackendTag::Memory]
        {
            assert_eq!(decode(&encode(tag, &payload())), Ok(DecodedHandle::new(tag, payload())));
        }
    }

    #[test]
    fn version_1_decodes_as_valkey() {
        let bytes = v1_handle_for_tests(&payload());
        assert_eq!(bytes.len(), 172);
        assert_eq!(decode_bytes(&bytes), Ok(DecodedHandle::new(BackendTag::Valkey, payload())));
    }

    #[test]
    fn headers_are_refused_in_order() {
        use HandleDecodeError::{BadBackendTag, BadV1Version, BadWireVersion, Truncated};

        let cases: [(&[u8], HandleDecodeError); 7] = [
            (&[], Truncated { needed: 1, at: 0, have: 0 }),
            (&[0x03], BadV1Version { got: 3 }),
            (&[0x02], Truncated { needed: 1, at: 1, have: 1 }),
            (&[0x02, 0x02], BadWireVersion { got: 2 }),
            (&[0x02, 0x01], Truncated { needed: 1, at: 2, have: 2 }),
            (&[0x02, 0x01, 0x00], BadBackendTag { got: 0 }),
            (&[0x01], Truncated { needed: 4, at: 1, have: 1 }),
        ];

        for (bytes, expected) in cases {
            assert_eq!(decode_bytes(bytes), Err(expected));
        }

        assert_eq!(
            decode_bytes(&changed(3, &u32::MAX.to_le_bytes())),
            Err(Truncated { needed: u32::MAX as usize, at: 7, have: 174 })
        );
    }

    #[test]
    fn fields_are_refused_in_order() {
        let field_of = |bytes: &[u8]| match decode_bytes(bytes).unwrap_err() {
            HandleDecodeError::ParseField { field, .. } => format!("parse {field}"),
            HandleDecodeError::InvalidUtf8 { field } => format!("utf8 {field}"),
            other => other.to_string(),
        };

        let (execution, attempt, lease, lane, worker) = (7, 59, 99, 155, 166);
        assert_eq!(field_of(&changed(execution, b"x")), "parse execution_id");
        assert_eq!(field_of(&changed(attempt, b"x")), "parse attempt_id");
        assert_eq!(field_of(&changed(lease, b"x")), "parse lease_id");

        for (at, field) in [
            (execution, "execution_id"),
            (attempt, "attempt_id"),
            (lease, "lease_id"),
            (lane, "lane_id"),
            (worker, "worker_instance_id"),
        ] {
            assert_eq!(field_of(&changed(at, &[0xff])), format!("utf8 {field}"));
        }

        let mut both = changed(lease, b"x");
        both[attempt] = b'x';
        assert_eq!(field_of(&both), "parse attempt_id");
    }

    #[test]
    fn nothing_may_follow_the_last_field() {
        let mut bytes = hex::decode(VECTOR).unwrap();
        bytes.push(0);
        assert_eq!(
            decode_bytes(&bytes),
            Err(HandleDecodeError::TrailingBytes { pos: 174, len: 175 })
        );
    }

    #[test]
    fn every_shorter_prefix_is_truncated() {
        let bytes = hex::decode(VECTOR).unwrap();
        for length in 0..bytes.len() {
            let error = decode_bytes(&bytes[..length]).unwrap_err();
            assert!(matches!(error, HandleDecodeError::Truncated { have, .. } if have == length));
        }
    }

    #[test]
    fn decode_errors_are_corruption() {
        let error = EngineError::from(decode_bytes(&[]).unwrap_err());
        assert_eq!(
            error.to_string(),
            "validation: Corruption: handle_codec: truncated: needed 1 bytes at 0, have 0 in all"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_are_refused(bytes: Vec<u8>) {
            let _ = decode_bytes(&bytes);
        }

        #[test]
        fn any_damage_is_survived(at in 0usize..174, byte: u8) {
            let _ = decode_bytes(&changed(at, &[byte]));
        }
    }
}
