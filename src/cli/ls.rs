//! `ff ls`: executions by lane and state.

use std::sync::Arc;

use ff_core::contracts::{ExecutionQuery, ExecutionRow};
use ff_core::engine_backend::EngineBackend;
use ff_core::state::{ClosedSet, PublicState};
use ff_core::types::ExecutionId;
use serde_json::json;

use super::Global;
use super::failure::Failure;
use super::ids::lane;
use super::output::{table, time, word};

/// The largest page that the engine gives.
const PAGE: u32 = 1_000;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Only those of this lane.
    #[arg(long, value_name = "LANE")]
    lane: Option<String>,
    /// Only those in this state: waiting, delayed, active, completed, failed, cancelled, expired …
    #[arg(long, value_name = "STATE", value_parser = state)]
    state: Option<PublicState>,
    /// How many at most.
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u32,
    /// Only those after this one, in the order of the list.
    #[arg(long, value_name = "ID", value_parser = after)]
    after: Option<ExecutionId>,
}

fn state(text: &str) -> Result<PublicState, String> {
    PublicState::parse(text).ok_or_else(|| {
        let all: Vec<&str> = PublicState::all().into_iter().map(ClosedSet::as_str).collect();
        format!("expected one of {}", all.join(", "))
    })
}

fn after(text: &str) -> Result<ExecutionId, String> {
    ExecutionId::parse(text).map_err(|error| error.to_string())
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let mut query = ExecutionQuery::new(0);
    query.lane_id = arguments.lane.as_deref().map(lane).transpose()?;
    query.public_state = arguments.state;
    query.after = arguments.after;
    let engine = global.open().await?;
    let (rows, next) = pages(&engine, query, arguments.limit).await?;
    let output = global.output();
    if output.is_json() {
        output.json(&json!({ "executions": rows, "next_cursor": next }))?;
        return Ok(());
    }
    if rows.is_empty() {
        output.line("no executions")?;
        return Ok(());
    }
    let columns =
        ["execution", "lane", "kind", "state", "priority", "attempt", "claims", "created"];
    let mut table = table(columns);
    for row in rows {
        table.add_row([
            row.execution_id.to_string(),
            row.lane_id.to_string(),
            row.execution_kind.clone(),
            word(&row.public_state),
            row.priority.to_string(),
            row.attempt_index.to_string(),
            row.total_attempt_count.to_string(),
            time(row.created_at),
        ]);
    }
    output.line(table.to_string())?;
    if let Some(next) = next {
        output.line(format!("more: --after '{next}'"))?;
    }
    Ok(())
}

/// Up to `limit` executions, and the last of them if there are more.
pub(super) async fn pages(
    engine: &Arc<dyn EngineBackend>,
    mut query: ExecutionQuery,
    limit: u32,
) -> Result<(Vec<ExecutionRow>, Option<ExecutionId>), Failure> {
    let mut rows = Vec::new();
    let mut left = limit;
    loop {
        query.limit = left.min(PAGE);
        let page = engine.list_executions_by(query.clone()).await;
        let page = page.map_err(|error| Failure::engine("listing executions", &error))?;
        let got = u32::try_from(page.executions.len()).unwrap_or(u32::MAX);
        left = left.saturating_sub(got);
        rows.extend(page.executions);
        match page.next_cursor {
            Some(next) if left != 0 && got != 0 => query.after = Some(next),
            cursor => return Ok((rows, cursor)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_go_by_their_names() {
        assert_eq!(state("waiting"), Ok(PublicState::Waiting));
        assert!(state("sleeping").unwrap_err().contains("waiting, delayed, "));
    }
}
