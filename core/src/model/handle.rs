//! The handle that a worker holds, and the kind of backend that it came from.

use std::hash::Hash;

use serde::{Deserialize, Serialize};

/// The family of backends that a handle belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum BackendTag {
    /// Valkey.
    Valkey,
    /// Postgres.
    Postgres,
    /// SQLite.
    Sqlite,
    /// The in-memory backend.
    Memory,
    /// MariaDB.
    MariaDb,
}

impl BackendTag {
    /// The word that stands for this in names of leases and grants.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Valkey => "valkey",
            Self::Postgres => "pg",
            Self::Sqlite => "sqlite",
            Self::Memory => "memory",
            Self::MariaDb => "mariadb",
        }
    }

    /// The byte that stands for this in a handle.
    #[must_use]
    pub const fn wire_byte(self) -> u8 {
        match self {
            Self::Valkey => 0x01,
            Self::Postgres => 0x02,
            Self::Sqlite => 0x03,
            Self::Memory => 0x04,
            Self::MariaDb => 0x05,
        }
    }

    /// The tag that `byte` stands for.
    #[must_use]
    pub const fn from_wire_byte(byte: u8) -> Option<Self> {
        match byte {
            0x01 => Some(Self::Valkey),
            0x02 => Some(Self::Postgres),
            0x03 => Some(Self::Sqlite),
            0x04 => Some(Self::Memory),
            0x05 => Some(Self::MariaDb),
            _ => None,
        }
    }
}

/// The way a handle was obtained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum HandleKind {
    /// By a claim.
    Fresh,
    /// By claiming a resumed execution.
    Resumed,
    /// By suspending: it names the suspended attempt.
    Suspended,
    /// By reclaiming a lost execution.
    Reclaimed,
}

/// The bytes inside a handle; see [`crate::model::handle_codec`].
#[derive(Clone, derive_more::Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[debug("<{} bytes>", _0.len())]
pub struct HandleOpaque(Box<[u8]>);

impl HandleOpaque {
    /// Wraps the bytes as they are.
    #[must_use]
    pub const fn new(bytes: Box<[u8]>) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The proof that a worker presents to act on the attempt it holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Handle {
    /// The backend that issued the handle.
    pub backend: BackendTag,
    /// The way the handle was obtained: first claim, resume, suspension or reclaim.
    pub kind: HandleKind,
    /// The encoded attempt and lease.
    pub opaque: HandleOpaque,
}

impl Handle {
    /// One parameter per field, in order.
    #[must_use]
    pub const fn new(backend: BackendTag, kind: HandleKind, opaque: HandleOpaque) -> Self {
        Self { backend, kind, opaque }
    }
}

/// The empty handle that stands in where a fresh claim's JSON has none.
#[must_use]
pub fn stub_handle_fresh() -> Handle {
    stub_handle(HandleKind::Fresh)
}

/// The empty handle that stands in where a resumed claim's JSON has none.
#[must_use]
pub fn stub_handle_resumed() -> Handle {
    stub_handle(HandleKind::Resumed)
}

fn stub_handle(kind: HandleKind) -> Handle {
    Handle::new(BackendTag::Valkey, kind, HandleOpaque::new(Box::default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_their_bytes_name_each_other() {
        let tags = [
            (BackendTag::Valkey, 0x01),
            (BackendTag::Postgres, 0x02),
            (BackendTag::Sqlite, 0x03),
            (BackendTag::Memory, 0x04),
            (BackendTag::MariaDb, 0x05),
        ];

        for (tag, byte) in tags {
            assert_eq!(tag.wire_byte(), byte);
            assert_eq!(BackendTag::from_wire_byte(byte), Some(tag));
        }

        assert_eq!(BackendTag::from_wire_byte(0x00), None);
        assert_eq!(BackendTag::from_wire_byte(0x06), None);
    }

    #[test]
    fn a_handle_travels_as_names_and_byte_numbers() {
        let handle = Handle::new(
            BackendTag::Postgres,
            HandleKind::Fresh,
            HandleOpaque::new(Box::new([2, 1, 2])),
        );
        let text = r#"{"backend":"Postgres","kind":"Fresh","opaque":[2,1,2]}"#;
        assert_eq!(serde_json::to_string(&handle).unwrap(), text);
        assert_eq!(serde_json::from_str::<Handle>(text).unwrap(), handle);
    }
}
