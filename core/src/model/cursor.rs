//! Positions in the event streams, as opaque bytes that a subscriber keeps.

use bytes::Bytes;

/// The first byte of a cursor of the Valkey family.
pub const VALKEY_CURSOR_PREFIX: u8 = 0x01;

/// The first byte of a cursor of the SQL family: Postgres and SQLite.
pub const POSTGRES_CURSOR_PREFIX: u8 = 0x02;

const VALKEY_CURSOR_SHAPE: &str =
    "expected a Valkey cursor: 0x01, then two big-endian u64 (17 bytes)";
const POSTGRES_CURSOR_SHAPE: &str =
    "expected a Postgres cursor: 0x02, then a big-endian i64 (9 bytes)";

/// The position of a subscriber in an event stream. No bytes at all mean "from now on".
///
/// [`crate::contracts::StreamCursor`] is another type: a position among an attempt's frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamCursor(pub Bytes);

impl StreamCursor {
    /// Wraps the bytes of an earlier event's cursor.
    #[must_use]
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
    }

    /// The bytes to keep.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The cursor that starts from now.
    #[must_use]
    pub const fn empty() -> Self {
        Self(Bytes::new())
    }
}

/// The cursor of the Valkey stream entry `ms-seq`.
#[must_use]
pub fn encode_valkey_cursor(ms: u64, seq: u64) -> StreamCursor {
    let mut bytes = Vec::with_capacity(17);
    bytes.push(VALKEY_CURSOR_PREFIX);
    bytes.extend_from_slice(&ms.to_be_bytes());
    bytes.extend_from_slice(&seq.to_be_bytes());
    StreamCursor::new(bytes)
}

/// Reads a Valkey cursor; `None` is the empty one.
///
/// # Errors
/// When the bytes are those of another family, or of another length.
pub fn decode_valkey_cursor(cursor: &StreamCursor) -> Result<Option<(u64, u64)>, &'static str> {
    match cursor.as_bytes() {
        [] => Ok(None),
        [VALKEY_CURSOR_PREFIX, rest @ ..] => rest
            .split_first_chunk::<8>()
            .and_then(|(ms, seq)| Some((*ms, <[u8; 8]>::try_from(seq).ok()?)))
            .map(|(ms, seq)| Some((u64::from_be_bytes(ms), u64::from_be_bytes(seq))))
            .ok_or(VALKEY_CURSOR_SHAPE),
        _ => Err(VALKEY_CURSOR_SHAPE),
    }
}

/// The cursor of the outbox row `event_id`, on Postgres and SQLite alike.
#[must_use]
pub fn encode_postgres_event_cursor(event_id: i64) -> StreamCursor {
    let mut bytes = Vec::with_capacity(9);
    bytes.push(POSTGRES_CURSOR_PREFIX);
    bytes.extend_from_slice(&event_id.to_be_bytes());
    StreamCursor::new(bytes)
}

/// Reads an outbox cursor; `None` is the empty one.
///
/// # Errors
/// When the bytes are those of another family, or of another length.
pub fn decode_postgres_event_cursor(cursor: &StreamCursor) -> Result<Option<i64>, &'static str> {
    match cursor.as_bytes() {
        [] => Ok(None),
        [POSTGRES_CURSOR_PREFIX, rest @ ..] => <[u8; 8]>::try_from(rest)
            .map(|bytes| Some(i64::from_be_bytes(bytes)))
            .map_err(|_| POSTGRES_CURSOR_SHAPE),
        _ => Err(POSTGRES_CURSOR_SHAPE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_cursors_have_their_fixed_bytes() {
        for (event_id, expected) in [(12_345, "020000000000003039"), (-1, "02ffffffffffffffff")] {
            let cursor = encode_postgres_event_cursor(event_id);
            assert_eq!(hex::encode(cursor.as_bytes()), expected);
            assert_eq!(decode_postgres_event_cursor(&cursor), Ok(Some(event_id)));
        }
    }

    #[test]
    fn valkey_cursors_have_their_fixed_bytes() {
        let cursor = encode_valkey_cursor(1_700_000_000_000, 42);
        assert_eq!(hex::encode(cursor.as_bytes()), "010000018bcfe56800000000000000002a");
        assert_eq!(decode_valkey_cursor(&cursor), Ok(Some((1_700_000_000_000, 42))));
    }

    #[test]
    fn the_empty_cursor_is_no_position() {
        assert_eq!(decode_valkey_cursor(&StreamCursor::empty()), Ok(None));
        assert_eq!(decode_postgres_event_cursor(&StreamCursor::empty()), Ok(None));
    }

    #[test]
    fn cursors_of_another_family_or_length_are_refused() {
        let valkey = encode_valkey_cursor(1, 2);
        let postgres = encode_postgres_event_cursor(1);
        assert!(decode_postgres_event_cursor(&valkey).is_err());
        assert!(decode_valkey_cursor(&postgres).is_err());

        for cursor in [valkey, postgres] {
            let mut long = cursor.as_bytes().to_vec();
            long.push(0);
            let short =
                StreamCursor::new(cursor.as_bytes()[..cursor.as_bytes().len() - 1].to_vec());
            for wrong in [StreamCursor::new(long), short] {
                assert!(decode_valkey_cursor(&wrong).is_err());
                assert!(decode_postgres_event_cursor(&wrong).is_err());
            }
        }
    }
}
