//! Searches for ids by their first digits. Each is a bounded read of an index: a page of a
//! partition, or of the budgets, from the place where such ids begin.

use std::sync::Arc;

use ff_core::EngineError;
use ff_core::engine_backend::EngineBackend;
use ff_core::partition::{Partition, PartitionConfig, PartitionFamily};
use ff_core::types::{BudgetId, ExecutionId, FlowId};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::{Digits, NAMES_SHOWN};
use crate::failure::Failure;

/// The number of partitions searched at the same time.
const SEARCHES: usize = 16;

/// The most ids read of one partition: as many as an error names, and one that says there are more.
const PAGE: usize = NAMES_SHOWN + 1;

/// The executions with a UUID that begins with these digits, at most a page of each partition.
pub(super) async fn executions(
    engine: &Arc<dyn EngineBackend>,
    partition: Option<u16>,
    digits: &Digits,
) -> Result<Vec<ExecutionId>, Failure> {
    let searches = stream::iter(partitions(partition)).map(|index| async move {
        let partition = Partition { family: PartitionFamily::Execution, index };
        let after = digits.last_uuid_before().map(|uuid| ExecutionId::from_parts(index, uuid));
        let page = engine.list_executions(partition.into(), after, PAGE).await;
        let page = page.map_err(|error| failure("the execution", &error))?;
        let mut found = page.executions;
        found.retain(|id| digits.is_prefix_of(id.uuid()));
        Ok(found)
    });
    searches.buffered(SEARCHES).try_concat().await
}

/// The flows with an id that begins with these digits, at most a page of each partition.
pub(crate) async fn flows(
    engine: &Arc<dyn EngineBackend>,
    digits: &Digits,
) -> Result<Vec<FlowId>, Failure> {
    let searches = stream::iter(partitions(None)).map(|index| async move {
        let partition = Partition { family: PartitionFamily::Flow, index };
        let after = digits.last_uuid_before().map(FlowId);
        let page = engine.list_flows(partition.into(), after, PAGE).await;
        let page = page.map_err(|error| failure("the flow", &error))?;
        let found = page.flows.into_iter().map(|flow| flow.flow_id);
        Ok(found.filter(|id| digits.is_prefix_of(id.0)).collect::<Vec<_>>())
    });
    searches.buffered(SEARCHES).try_concat().await
}

/// The budgets with an id that begins with these digits, at most a page.
pub(super) async fn budgets(
    engine: &Arc<dyn EngineBackend>,
    digits: &Digits,
) -> Result<Vec<BudgetId>, Failure> {
    let page = engine.list_budgets(digits.last_uuid_before().map(BudgetId), PAGE).await;
    let page = page.map_err(|error| failure("the budget", &error))?;
    let found = page.budgets.into_iter().map(|budget| budget.budget_id);
    Ok(found.filter(|id| digits.is_prefix_of(id.0)).collect())
}

/// The partitions to search. Digits alone do not tell the partition.
fn partitions(only: Option<u16>) -> std::ops::Range<u16> {
    match only {
        Some(index) => index..index.saturating_add(1),
        None => 0..PartitionConfig::default().num_flow_partitions,
    }
}

/// The failure of a search.
pub(super) fn failure(what: &str, error: &EngineError) -> Failure {
    Failure::engine(&format!("looking for {what}"), error)
}
