//! The partition that an id belongs to.
//!
//! A partition is a pure function of an id and the partition counts, so it is the same on every
//! machine and never changes while the counts stay. The hash is CRC-16/XMODEM.

use std::fmt;

use crc::{CRC_16_XMODEM, Crc};
use serde::{Deserialize, Serialize};

use crate::model::ids::{BudgetId, ExecutionId, FlowId, LaneId, QuotaPolicyId};

const CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_XMODEM);

/// The kind of rows that a partition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartitionFamily {
    /// Flows and their members.
    Flow,
    /// Executions; they share the partitions of the flows.
    Execution,
    /// Budgets.
    Budget,
    /// Quota policies.
    Quota,
}

impl PartitionFamily {
    const fn tag_prefix(self) -> &'static str {
        match self {
            Self::Flow | Self::Execution => "fp",
            Self::Budget => "b",
            Self::Quota => "q",
        }
    }
}

/// The number of partitions of each family. A count of 0 acts as 1: all rows are in partition 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionConfig {
    /// Partitions for flows and executions.
    pub num_flow_partitions: u16,
    /// Partitions for budgets.
    pub num_budget_partitions: u16,
    /// Partitions for quota policies.
    pub num_quota_partitions: u16,
}

impl Default for PartitionConfig {
    fn default() -> Self {
        Self { num_flow_partitions: 256, num_budget_partitions: 32, num_quota_partitions: 32 }
    }
}

impl PartitionConfig {
    /// The configured count of `family`, as it is.
    #[must_use]
    pub const fn count_for(&self, family: PartitionFamily) -> u16 {
        match family {
            PartitionFamily::Flow | PartitionFamily::Execution => self.num_flow_partitions,
            PartitionFamily::Budget => self.num_budget_partitions,
            PartitionFamily::Quota => self.num_quota_partitions,
        }
    }
}

/// One partition of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Partition {
    /// The family.
    pub family: PartitionFamily,
    /// Its number, from zero.
    pub index: u16,
}

impl Partition {
    /// The partition's text form, such as `{fp:7}`. Flow and execution partitions share one prefix.
    #[must_use]
    pub fn hash_tag(&self) -> String {
        format!("{{{}:{}}}", self.family.tag_prefix(), self.index)
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hash_tag())
    }
}

/// A partition as opaque text. Any text deserialises; it is checked when it is parsed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PartitionKey(String);

/// The reason why a text names no partition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartitionKeyParseError {
    /// The text is not wrapped in `{` and `}`.
    #[error("partition key is not wrapped in braces")]
    MissingBraces,
    /// There is no colon between the braces.
    #[error("partition key has no <prefix>:<index> body")]
    MalformedBody,
    /// The prefix names no family; carries the prefix.
    #[error("partition key has an unknown family prefix: {0}")]
    UnknownFamilyPrefix(String),
    /// The index is no 16-bit number; carries the index.
    #[error("partition key has an invalid index: {0}")]
    InvalidIndex(String),
}

impl PartitionKey {
    /// The text as it is.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads the partition. The prefix `fp` always gives the flow family.
    ///
    /// # Errors
    /// The first rule broken, in the order of [`PartitionKeyParseError`]'s variants.
    pub fn parse(&self) -> Result<Partition, PartitionKeyParseError> {
        let (prefix, index) = self
            .0
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'))
            .ok_or(PartitionKeyParseError::MissingBraces)?
            .split_once(':')
            .ok_or(PartitionKeyParseError::MalformedBody)?;

        let family = match prefix {
            "fp" => PartitionFamily::Flow,
            "b" => PartitionFamily::Budget,
            "q" => PartitionFamily::Quota,
            other => {
                return Err(PartitionKeyParseError::UnknownFamilyPrefix(other.to_owned()));
            }
        };

        let index =
            index.parse().map_err(|_| PartitionKeyParseError::InvalidIndex(index.to_owned()))?;
        Ok(Partition { family, index })
    }

    /// The same as [`Self::parse`].
    ///
    /// # Errors
    /// The same as [`Self::parse`].
    pub fn as_partition(&self) -> Result<Partition, PartitionKeyParseError> {
        self.parse()
    }
}

impl fmt::Display for PartitionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&Partition> for PartitionKey {
    fn from(partition: &Partition) -> Self {
        Self(partition.hash_tag())
    }
}

impl From<Partition> for PartitionKey {
    fn from(partition: Partition) -> Self {
        Self::from(&partition)
    }
}

impl TryFrom<&PartitionKey> for Partition {
    type Error = PartitionKeyParseError;

    fn try_from(key: &PartitionKey) -> Result<Self, Self::Error> {
        key.parse()
    }
}

/// Chooses the partition of an execution that belongs to no flow.
pub trait SoloPartitioner: Send + Sync {
    /// The partition index for executions of `lane`; it must depend on its arguments only.
    fn partition_for_lane(&self, lane: &LaneId, config: &PartitionConfig) -> u16;
}

/// Hashes the lane's name with CRC-16/XMODEM.
#[derive(Clone, Copy, Debug, Default)]
pub struct Crc16SoloPartitioner;

impl SoloPartitioner for Crc16SoloPartitioner {
    fn partition_for_lane(&self, lane: &LaneId, config: &PartitionConfig) -> u16 {
        index_of(lane.as_str().as_bytes(), config.num_flow_partitions)
    }
}

/// The partition of a flow.
#[must_use]
pub fn flow_partition(flow: &FlowId, config: &PartitionConfig) -> Partition {
    let index = index_of(flow.as_bytes(), config.num_flow_partitions);
    Partition { family: PartitionFamily::Flow, index }
}

/// The partition of an execution of `lane` that belongs to no flow.
#[must_use]
pub fn solo_partition(lane: &LaneId, config: &PartitionConfig) -> Partition {
    solo_partition_with(lane, config, &Crc16SoloPartitioner)
}

/// The same as [`solo_partition`], chosen by `partitioner`.
#[must_use]
pub fn solo_partition_with(
    lane: &LaneId,
    config: &PartitionConfig,
    partitioner: &dyn SoloPartitioner,
) -> Partition {
    let index = partitioner.partition_for_lane(lane, config);
    Partition { family: PartitionFamily::Execution, index }
}

/// The partition that the id itself names; the counts play no part.
#[must_use]
pub fn execution_partition(execution: &ExecutionId, _config: &PartitionConfig) -> Partition {
    Partition { family: PartitionFamily::Execution, index: execution.partition() }
}

/// The partition of a budget.
#[must_use]
pub fn budget_partition(budget: &BudgetId, config: &PartitionConfig) -> Partition {
    let index = index_of(budget.as_bytes(), config.num_budget_partitions);
    Partition { family: PartitionFamily::Budget, index }
}

/// The partition of a quota policy.
#[must_use]
pub fn quota_partition(policy: &QuotaPolicyId, config: &PartitionConfig) -> Partition {
    let index = index_of(policy.as_bytes(), config.num_quota_partitions);
    Partition { family: PartitionFamily::Quota, index }
}

/// The partition of a schedule and of its executions.
#[must_use]
pub fn schedule_partition(namespace: &str, name: &str, config: &PartitionConfig) -> Partition {
    let index = text_partition(&[namespace, name].join("\0"), config);
    Partition { family: PartitionFamily::Execution, index }
}

/// The partition of a thing that only a text names, such as an idempotency key: as many as flows
/// have.
#[must_use]
pub fn text_partition(text: &str, config: &PartitionConfig) -> u16 {
    index_of(text.as_bytes(), config.num_flow_partitions)
}

fn index_of(bytes: &[u8], count: u16) -> u16 {
    CRC.checksum(bytes) % count.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUIDS: [(&str, u16, u16, u16, u16); 8] = [
        ("00000000-0000-0000-0000-000000000000", 0, 0, 0, 0),
        ("00000000-0000-0000-0000-000000000001", 33, 1, 1, 33),
        ("11111111-1111-4111-8111-111111111111", 191, 31, 3, 703),
        ("550e8400-e29b-41d4-a716-446655440000", 24, 24, 0, 24),
        ("123e4567-e89b-12d3-a456-426614174000", 137, 9, 1, 137),
        ("deadbeef-dead-4eef-8ead-beefdeadbeef", 2, 2, 2, 770),
        ("abababab-abab-abab-abab-abababababab", 41, 9, 1, 297),
        ("ffffffff-ffff-ffff-ffff-ffffffffffff", 65, 1, 1, 65),
    ];
    const LANES: [(&str, u16, u16, u16); 7] = [
        ("default", 86, 2, 598),
        ("workers-a", 193, 1, 705),
        ("workers-b", 162, 2, 674),
        ("worker-pool-1", 77, 1, 77),
        ("gpu", 144, 0, 144),
        ("a", 135, 3, 135),
        ("123456789", 195, 3, 451),
    ];

    fn flows(count: u16) -> PartitionConfig {
        PartitionConfig { num_flow_partitions: count, ..PartitionConfig::default() }
    }

    #[test]
    fn the_hash_is_crc16_xmodem() {
        assert_eq!(CRC.checksum(b"123456789"), 0x31c3);
    }

    #[test]
    fn uuid_vectors() {
        for (uuid, of_256, of_32, of_4, of_1024) in UUIDS {
            let flow = FlowId::parse(uuid).unwrap();
            for (count, expected) in [(256, of_256), (4, of_4), (1024, of_1024), (1, 0), (0, 0)] {
                let partition = flow_partition(&flow, &flows(count));
                assert_eq!((partition.family, partition.index), (PartitionFamily::Flow, expected));
            }
            let config = PartitionConfig::default();
            let budget = budget_partition(&BudgetId::parse(uuid).unwrap(), &config);
            assert_eq!(budget.to_string(), format!("{{b:{of_32}}}"));
            let quota = quota_partition(&QuotaPolicyId::parse(uuid).unwrap(), &config);
            assert_eq!(quota.to_string(), format!("{{q:{of_32}}}"));
        }
    }

    #[test]
    fn lane_vectors() {
        for (lane, of_256, of_4, of_1024) in LANES {
            for (count, expected) in [(256, of_256), (4, of_4), (1024, of_1024), (0, 0)] {
                let partition = solo_partition(&LaneId::new(lane), &flows(count));
                assert_eq!(
                    partition,
                    Partition { family: PartitionFamily::Execution, index: expected }
                );
            }
        }
    }

    #[test]
    fn an_execution_names_its_own_partition() {
        let id = ExecutionId::from_parts(65535, uuid::Uuid::nil());
        let partition = execution_partition(&id, &PartitionConfig::default());
        assert_eq!(partition, Partition { family: PartitionFamily::Execution, index: 65535 });
    }

    #[test]
    fn another_partitioner_can_choose() {
        struct Last;
        impl SoloPartitioner for Last {
            fn partition_for_lane(&self, _lane: &LaneId, config: &PartitionConfig) -> u16 {
                config.num_flow_partitions - 1
            }
        }
        let partition = solo_partition_with(&LaneId::new("a"), &PartitionConfig::default(), &Last);
        assert_eq!(partition.hash_tag(), "{fp:255}");
    }

    #[test]
    fn keys_are_refused_in_order() {
        use PartitionKeyParseError::{
            InvalidIndex, MalformedBody, MissingBraces, UnknownFamilyPrefix,
        };

        let cases = [
            ("", MissingBraces),
            ("fp:0", MissingBraces),
            ("{fp:0", MissingBraces),
            ("{fp0}", MalformedBody),
            ("{zz:0}", UnknownFamilyPrefix("zz".to_owned())),
            ("{:x}", UnknownFamilyPrefix(String::new())),
            ("{fp:1:2}", InvalidIndex("1:2".to_owned())),
            ("{fp:65536}", InvalidIndex("65536".to_owned())),
            ("{b:}", InvalidIndex(String::new())),
        ];

        for (text, expected) in cases {
            let key: PartitionKey = serde_json::from_value(text.into()).unwrap();
            assert_eq!(key.parse(), Err(expected.clone()), "{text}");
            assert_eq!(Partition::try_from(&key), Err(expected));
        }
    }

    #[test]
    fn keys_round_trip_and_execution_becomes_flow() {
        let config = PartitionConfig::default();
        for family in [PartitionFamily::Flow, PartitionFamily::Budget, PartitionFamily::Quota] {
            let partition = Partition { family, index: config.count_for(family) - 1 };
            assert_eq!(PartitionKey::from(partition).as_partition(), Ok(partition));
        }
        let execution = Partition { family: PartitionFamily::Execution, index: 7 };
        let flow = Partition { family: PartitionFamily::Flow, index: 7 };
        assert_eq!(PartitionKey::from(&execution).as_str(), "{fp:7}");
        assert_eq!(PartitionKey::from(&execution).parse(), Ok(flow));
        assert_eq!(config.count_for(PartitionFamily::Execution), 256);
    }

    #[test]
    fn config_needs_every_count() {
        let config = PartitionConfig::default();
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(
            json,
            r#"{"num_flow_partitions":256,"num_budget_partitions":32,"num_quota_partitions":32}"#
        );
        let with_more = json.replace('}', r#","more":1}"#);
        assert_eq!(serde_json::from_str::<PartitionConfig>(&with_more).unwrap(), config);
        assert!(serde_json::from_str::<PartitionConfig>(r#"{"num_flow_partitions":256}"#).is_err());
    }
}
