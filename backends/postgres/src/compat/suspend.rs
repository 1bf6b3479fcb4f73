//! The resume condition as a pure function, and the partition of an execution's rows.

use std::collections::HashMap;

use ff_core::backend::ResumeSignal;
use ff_core::contracts::ResumeCondition;
use ff_core::partition::{PartitionConfig, PartitionKey};
use ff_core::rules::suspension::satisfied::satisfied;
use ff_core::types::ExecutionId;

/// The delivered signals, by the key of their waitpoint.
pub type SignalsByWaitpoint<'a> = HashMap<&'a str, &'a [ResumeSignal]>;

/// Returns true if the condition holds for these signals.
#[must_use]
pub fn evaluate(condition: &ResumeCondition, signals: &SignalsByWaitpoint<'_>) -> bool {
    let owned = signals.iter().map(|(key, signals)| ((*key).to_owned(), signals.to_vec()));
    satisfied(condition, &owned.collect())
}

/// The value of `partition_key` in an execution's rows. It depends on the id alone; the
/// configuration is there for callers of the reference.
#[must_use]
pub fn slot_of(execution: &ExecutionId, _: &PartitionConfig) -> i16 {
    i16::try_from(execution.partition()).unwrap_or(i16::MAX)
}

/// The `partition_key` value of a partition's key; `None` for a text that is not a key.
#[must_use]
pub fn slot_of_partition_key(key: &PartitionKey) -> Option<i16> {
    let partition = key.parse().ok()?;
    i16::try_from(partition.index).ok()
}
