//! Identities and numbers that name things across every operation.
//!
//! What exists is well formed: parsing refuses bad input. Nothing here reads a clock or draws a
//! random id; see the feature `generate` for that.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::model::partition::{self, PartitionConfig};

macro_rules! uuid_ids {
    ($($(#[$doc:meta])* $id:ident;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $id(pub Uuid);

        impl $id {
            /// Wraps a UUID of any version.
            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// Reads any of the usual UUID spellings: hyphenated, simple, braced or URN, any case.
            ///
            /// # Errors
            /// When `text` is none of them.
            pub fn parse(text: &str) -> Result<Self, uuid::Error> {
                Uuid::parse_str(text).map(Self)
            }

            /// The sixteen bytes, big-endian: the input of the partition hash.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }
    )+};
}

uuid_ids! {
    /// Names a flow: a graph of executions.
    FlowId;
    /// Names a budget.
    BudgetId;
    /// Names a quota policy.
    QuotaPolicyId;
    /// Names one lease, for records; the fence compares the epoch.
    LeaseId;
    /// Names one attempt of an execution.
    AttemptId;
    /// Names one delivered signal.
    SignalId;
    /// Names a waitpoint, the place where signals arrive.
    WaitpointId;
    /// Names one suspension of an execution.
    SuspensionId;
    /// Names a dependency edge of a flow.
    EdgeId;
}

/// Construction that every textual name shares.
macro_rules! text_name_api {
    ($name:ident) => {
        impl $name {
            /// Wraps `text` as it is.
            #[must_use]
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The text as it is.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }
    };
}

macro_rules! string_ids {
    ($($(#[$doc:meta])* $id:ident;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $id(pub String);

        text_name_api!($id);

        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )+};
}

string_ids! {
    /// Names a worker: a kind of process, shared by all its instances.
    WorkerId;
    /// Names one running instance of a worker.
    WorkerInstanceId;
    /// Names a tenant's share of the store.
    Namespace;
    /// Names a waitpoint within its execution, as chosen by the worker.
    WaitpointKey;
}

/// The longest lane name, in bytes.
pub const LANE_ID_MAX_BYTES: usize = 64;

/// Names a lane: a queue that executions are claimed from.
///
/// [`Self::try_new`] and deserialisation check the name; `new` and `From` take it as it is, for
/// names that were checked before.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct LaneId(pub String);

/// The reason why a lane name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LaneIdError {
    /// The name is empty.
    #[error("lane id is empty")]
    Empty,
    /// The name is longer than [`LANE_ID_MAX_BYTES`]; carries its length in bytes.
    #[error("lane id has {0} bytes, at most {LANE_ID_MAX_BYTES} are allowed")]
    TooLong(usize),
    /// A byte is outside printable ASCII (space to tilde); carries its position.
    #[error("lane id has a byte outside printable ASCII at position {0}")]
    NonPrintable(usize),
}

text_name_api!(LaneId);

impl LaneId {
    /// Checks and wraps a lane name: 1 to 64 bytes of printable ASCII, space included.
    ///
    /// # Errors
    /// The first rule broken, in the order of [`LaneIdError`]'s variants.
    pub fn try_new(text: impl Into<String>) -> Result<Self, LaneIdError> {
        let text = text.into();

        if text.is_empty() {
            return Err(LaneIdError::Empty);
        }
        if LANE_ID_MAX_BYTES < text.len() {
            return Err(LaneIdError::TooLong(text.len()));
        }

        match text.bytes().position(|byte| !(b' '..=b'~').contains(&byte)) {
            Some(position) => Err(LaneIdError::NonPrintable(position)),
            None => Ok(Self(text)),
        }
    }
}

impl fmt::Display for LaneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for LaneId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// Names an execution and the partition that it lives in: `{fp:<partition>}:<uuid>`.
///
/// Ids order by partition, then by UUID.
// Invariant: `text` is the canonical spelling of `partition` (plain decimal) and `uuid` (lowercase,
// hyphenated), so two ids of one execution are always equal and reading the parts back cannot fail.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExecutionId {
    partition: u16,
    uuid: Uuid,
    text: String,
}

/// The reason why a text is no execution id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExecutionIdParseError {
    /// The text does not start with `{fp:` or has no `}:` after it; carries the whole text.
    #[error("execution id has no {{fp:N}}: tag: {0}")]
    MissingTag(String),
    /// The part between `{fp:` and `}:` is no 16-bit number; carries that part.
    #[error("execution id has an invalid partition index: {0}")]
    InvalidPartitionIndex(String),
    /// The part after `}:` is no UUID; carries that part.
    #[error("execution id has an invalid uuid: {0}")]
    InvalidUuid(String),
}

impl ExecutionId {
    /// The id made of a partition and a UUID of any version.
    #[must_use]
    pub fn from_parts(partition: u16, uuid: Uuid) -> Self {
        Self { partition, uuid, text: format!("{{fp:{partition}}}:{}", uuid.hyphenated()) }
    }

    /// The id `uuid` in the partition of `flow`.
    #[must_use]
    pub fn deterministic_for_flow(flow: &FlowId, config: &PartitionConfig, uuid: Uuid) -> Self {
        Self::from_parts(partition::flow_partition(flow, config).index, uuid)
    }

    /// The id `uuid` in the partition of `lane`, for an execution outside any flow.
    #[must_use]
    pub fn deterministic_solo(lane: &LaneId, config: &PartitionConfig, uuid: Uuid) -> Self {
        Self::from_parts(partition::solo_partition(lane, config).index, uuid)
    }

    /// Reads `{fp:<N>}:<uuid>`. N is any number that fits 16 bits, leading zeros and a plus sign
    /// included; the UUID may have any usual spelling. The result holds the canonical spelling. N
    /// is not compared with any partition count.
    ///
    /// # Errors
    /// The first broken part, in the order of [`ExecutionIdParseError`]'s variants.
    pub fn parse(text: &str) -> Result<Self, ExecutionIdParseError> {
        let (index, uuid) = text
            .strip_prefix("{fp:")
            .and_then(|rest| rest.split_once("}:"))
            .ok_or_else(|| ExecutionIdParseError::MissingTag(text.to_owned()))?;

        let partition = index
            .parse()
            .map_err(|_| ExecutionIdParseError::InvalidPartitionIndex(index.to_owned()))?;
        let uuid = Uuid::parse_str(uuid)
            .map_err(|_| ExecutionIdParseError::InvalidUuid(uuid.to_owned()))?;

        Ok(Self::from_parts(partition, uuid))
    }

    /// The partition that the execution lives in.
    #[must_use]
    pub const fn partition(&self) -> u16 {
        self.partition
    }

    /// The UUID without the partition: what tables store.
    #[must_use]
    pub const fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// The canonical text, `{fp:<partition>}:<uuid>`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for ExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for ExecutionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for ExecutionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident($inner:ty);)+) => {$(
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )+};
}

numbers! {
    /// Counts the leases of an execution. It only grows; a holder of a lower epoch has lost its
    /// lease.
    LeaseEpoch(u64);
    /// Numbers the attempts of an execution, from zero; always that of the current attempt.
    AttemptIndex(u32);
    /// A point in time, in Unix milliseconds.
    TimestampMs(i64);
}

impl LeaseEpoch {
    /// The epoch `value`.
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The epoch after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl AttemptIndex {
    /// The index `value`.
    #[must_use]
    pub const fn new(value: u32) -> Self {
        Self(value)
    }

    /// The index after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl TimestampMs {
    /// The point `millis` milliseconds after the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }
}

/// The proof that a worker presents to show that it still holds the lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseFence {
    /// The lease, compared only where the row records one.
    pub lease_id: LeaseId,
    /// The epoch, always compared.
    pub lease_epoch: LeaseEpoch,
    /// The attempt, compared only where the row records one.
    pub attempt_id: AttemptId,
}

/// The source of a request to change or cancel an execution.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelSource {
    /// An operator. Needs no lease.
    #[default]
    OperatorOverride,
    /// The worker that holds the lease.
    LeaseHolder,
    /// The cancellation of the flow that the execution belongs to.
    FlowCascade,
    /// A timeout.
    SystemTimeout,
    /// Any other source, by name.
    #[serde(untagged)]
    Custom(String),
}

impl CancelSource {
    /// The name as it is stored and sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::OperatorOverride => "operator_override",
            Self::LeaseHolder => "lease_holder",
            Self::FlowCascade => "flow_cascade",
            Self::SystemTimeout => "system_timeout",
            Self::Custom(name) => name,
        }
    }
}

impl fmt::Display for CancelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for CancelSource {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "operator_override" => Self::OperatorOverride,
            "lease_holder" => Self::LeaseHolder,
            "flow_cascade" => Self::FlowCascade,
            "system_timeout" => Self::SystemTimeout,
            other => Self::Custom(other.to_owned()),
        })
    }
}

/// The secret that lets its bearer signal a waitpoint: `<kid>:<hex>`.
///
/// `Debug` and `Display` hide the secret part; serialisation does not, since the token has to reach
/// its bearer. Compare presented tokens with [`crate::model::crypto::constant_time_eq`].
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WaitpointToken(pub String);

text_name_api!(WaitpointToken);

impl fmt::Display for WaitpointToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.split_once(':') {
            Some((kid, secret)) if !kid.is_empty() && !secret.is_empty() => {
                write!(f, "{kid}:<REDACTED:len={}>", secret.len())
            }
            Some(_) | None => f.write_str("<REDACTED:malformed>"),
        }
    }
}

impl fmt::Debug for WaitpointToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WaitpointToken({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "550e8400-e29b-41d4-a716-446655440000";

    #[test]
    fn uuid_ids_read_every_spelling_and_write_one() {
        for spelling in [
            UUID.to_owned(),
            UUID.to_uppercase(),
            UUID.replace('-', ""),
            format!("{{{UUID}}}"),
            format!("urn:uuid:{UUID}"),
        ] {
            let id = FlowId::parse(&spelling).unwrap();
            assert_eq!(id.to_string(), UUID);
            assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{UUID}\""));
            assert_eq!(FlowId::from_uuid(Uuid::from_bytes(*id.as_bytes())), id);
        }

        assert!(FlowId::parse("550e8400").is_err());
        assert!(serde_json::from_str::<FlowId>("\"nope\"").is_err());
    }

    #[test]
    fn string_ids_are_transparent() {
        let id = WorkerId::from("w 1");
        assert_eq!(id, WorkerId::new("w 1".to_owned()));
        assert_eq!(id.to_string(), "w 1");
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"w 1\"");
        assert_eq!(serde_json::from_str::<WorkerId>("\"\"").unwrap().as_str(), "");
    }

    #[test]
    fn lane_names_are_checked_in_order() {
        let cases = [
            (String::new(), Err(LaneIdError::Empty)),
            ("a".to_owned(), Ok(())),
            ("with space".to_owned(), Ok(())),
            (" ~".to_owned(), Ok(())),
            ("a".repeat(64), Ok(())),
            ("a".repeat(65), Err(LaneIdError::TooLong(65))),
            ("\n".repeat(65), Err(LaneIdError::TooLong(65))),
            ("a\tb".to_owned(), Err(LaneIdError::NonPrintable(1))),
            ("\0".to_owned(), Err(LaneIdError::NonPrintable(0))),
            ("ab\u{7f}".to_owned(), Err(LaneIdError::NonPrintable(2))),
            ("é".to_owned(), Err(LaneIdError::NonPrintable(0))),
        ];

        for (text, expected) in cases {
            let json = serde_json::to_string(&text).unwrap();
            assert_eq!(LaneId::try_new(text.clone()).map(|_| ()), expected, "{text:?}");
            assert_eq!(serde_json::from_str::<LaneId>(&json).is_ok(), expected.is_ok(), "{text:?}");
            assert_eq!(LaneId::new(text.clone()).as_str(), text);
        }
    }

    #[test]
    fn execution_ids_accept_and_canonicalise() {
        let canonical = format!("{{fp:7}}:{UUID}");
        for text in [
            canonical.clone(),
            format!("{{fp:+7}}:{UUID}"),
            format!("{{fp:007}}:{UUID}"),
            format!("{{fp:7}}:{}", UUID.to_uppercase()),
            format!("{{fp:7}}:{}", UUID.replace('-', "")),
            format!("{{fp:7}}:{{{UUID}}}"),
            format!("{{fp:7}}:urn:uuid:{UUID}"),
        ] {
            let id = ExecutionId::parse(&text).unwrap();
            assert_eq!(id.as_str(), canonical, "{text}");
            assert_eq!((id.partition(), id.uuid().to_string().as_str()), (7, UUID));
            assert_eq!(id, ExecutionId::from_parts(7, id.uuid()));
        }

        assert_eq!(ExecutionId::parse(&format!("{{fp:65535}}:{UUID}")).unwrap().partition(), 65535);
    }

    #[test]
    fn execution_ids_are_refused_in_order() {
        use ExecutionIdParseError::{InvalidPartitionIndex, InvalidUuid, MissingTag};
        for text in ["", UUID, "{fp:1", "{fp:1}", "fp:1}:x", " {fp:1}:x"] {
            assert_eq!(ExecutionId::parse(text), Err(MissingTag(text.to_owned())));
        }
        for index in ["", "65536", "xx", "-1", "-0", " 7", "7 "] {
            let text = format!("{{fp:{index}}}:not-a-uuid");
            assert_eq!(ExecutionId::parse(&text), Err(InvalidPartitionIndex(index.to_owned())));
        }
        let refused = Err(InvalidUuid("not-a-uuid".to_owned()));
        assert_eq!(ExecutionId::parse("{fp:0}:not-a-uuid"), refused);
        assert!(serde_json::from_str::<ExecutionId>("\"{fp:0}:not-a-uuid\"").is_err());
    }

    #[test]
    fn execution_ids_round_trip_through_json() {
        let id = ExecutionId::deterministic_solo(
            &LaneId::new("default"),
            &PartitionConfig::default(),
            Uuid::nil(),
        );
        assert_eq!(id.to_string(), "{fp:86}:00000000-0000-0000-0000-000000000000");

        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(json, format!("\"{id}\""));
        assert_eq!(serde_json::from_str::<ExecutionId>(&json).unwrap(), id);

        let flow = FlowId::parse(UUID).unwrap();
        let config = PartitionConfig::default();
        let member = ExecutionId::deterministic_for_flow(&flow, &config, Uuid::nil());
        assert_eq!(member.partition(), 24);
    }

    #[test]
    fn numbers_count_up_and_stop_at_the_end() {
        assert_eq!(LeaseEpoch::new(1).next(), LeaseEpoch(2));
        assert_eq!(LeaseEpoch(u64::MAX).next(), LeaseEpoch(u64::MAX));
        assert_eq!(AttemptIndex::new(0).next().to_string(), "1");
        assert_eq!(AttemptIndex(u32::MAX).next(), AttemptIndex(u32::MAX));
        assert_eq!(serde_json::to_string(&TimestampMs::from_millis(-5)).unwrap(), "-5");
    }

    #[test]
    fn cancel_sources_are_bare_strings() {
        for (name, source) in [
            ("operator_override", CancelSource::default()),
            ("lease_holder", CancelSource::LeaseHolder),
            ("flow_cascade", CancelSource::FlowCascade),
            ("system_timeout", CancelSource::SystemTimeout),
            ("billing", CancelSource::Custom("billing".to_owned())),
            ("", CancelSource::Custom(String::new())),
        ] {
            let json = format!("\"{name}\"");
            assert_eq!(serde_json::to_string(&source).unwrap(), json);
            assert_eq!(serde_json::from_str::<CancelSource>(&json).unwrap(), source);
            assert_eq!(name.parse::<CancelSource>(), Ok(source.clone()));
            assert_eq!(source.to_string(), name);
        }
    }

    #[test]
    fn tokens_hide_their_secret() {
        let token = WaitpointToken::new("kid1:c0ffee");
        assert_eq!(token.to_string(), "kid1:<REDACTED:len=6>");
        assert_eq!(format!("{token:?}"), "WaitpointToken(kid1:<REDACTED:len=6>)");
        assert_eq!(WaitpointToken::from("k:a:b").to_string(), "k:<REDACTED:len=3>");
        for malformed in ["", ":", "secret", ":secret", "secret:"] {
            let token = WaitpointToken::new(malformed);
            assert_eq!(token.to_string(), "<REDACTED:malformed>");
            assert_eq!(format!("{token:?}"), "WaitpointToken(<REDACTED:malformed>)");
        }
        assert_eq!(serde_json::to_string(&token).unwrap(), "\"kid1:c0ffee\"");
    }
}
