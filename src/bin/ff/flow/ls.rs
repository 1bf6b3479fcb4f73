//! `ff flow ls`: flows by state, the newest first.

use std::sync::Arc;

use ff_core::contracts::{FlowCursor, FlowQuery, FlowRow};
use ff_core::engine_backend::EngineBackend;
use ff_core::state::PublicFlowState;
use ff_core::types::{Namespace, TimestampMs};

use crate::Global;
use crate::clock::now;
use crate::failure::Failure;
use crate::filter::{AgeArguments, one_of};
use crate::ids::{Ids, flow_id};
use crate::table::{Column, Table};
use crate::view::FlowsView;

/// The largest page that the engine returns.
pub(super) const PAGE: u32 = 1_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only those in this state: open, running, blocked, completed, failed, cancelled.
    #[arg(long, value_name = "STATE", value_parser = one_of::<PublicFlowState>)]
    state: Option<PublicFlowState>,
    /// Only those of this tenant.
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// Only those of this kind.
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    #[command(flatten)]
    age: AgeArguments,
    #[command(flatten)]
    of_executions: OfExecutions,
    /// The most flows to list.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Only those after this place, as the previous page printed it.
    #[arg(long, value_name = "CURSOR", value_parser = cursor)]
    after: Option<FlowCursor>,
}

/// Filters of executions, which say nothing about a flow.
#[derive(Debug, clap::Args)]
struct OfExecutions {
    #[arg(long, hide = true)]
    lane: Option<String>,
    #[arg(long, hide = true)]
    tag: Option<String>,
    #[arg(long, hide = true)]
    failure_class: Option<String>,
    #[arg(long, hide = true)]
    idempotency_key: Option<String>,
    #[arg(long, hide = true)]
    worker: Option<String>,
}

impl OfExecutions {
    /// Refuses them by name.
    fn refuse(&self) -> Result<(), Failure> {
        let given = [
            ("lane", &self.lane),
            ("tag", &self.tag),
            ("failure-class", &self.failure_class),
            ("idempotency-key", &self.idempotency_key),
            ("worker", &self.worker),
        ];
        match given.into_iter().find(|(_, value)| value.is_some()) {
            None => Ok(()),
            Some((name, _)) => {
                let text = format!("--{name}: a flow has none, only its executions do");
                Err(Failure::usage(text).with_help("ff ls --flow FLOW lists the executions of one"))
            }
        }
    }
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    arguments.of_executions.refuse()?;
    let engine = global.open().await?;
    let now = now(&engine).await?;

    let mut query = FlowQuery::new(0);
    query.state = arguments.state;
    query.namespace = arguments.namespace.map(Namespace::new);
    query.flow_kind = arguments.kind;
    query.created_by = arguments.age.created_by(now);
    query.created_since = arguments.age.created_since(now);
    query.after = arguments.after;
    let (rows, next) = pages(&engine, query, arguments.limit).await?;
    let next = next.as_ref().map(written);

    let output = global.output();
    if output.is_json() {
        return Ok(output.json(&FlowsView::new(&rows, next.as_deref()))?);
    }
    if rows.is_empty() {
        return Ok(output.line("no flows")?);
    }

    let ids = Ids::of(rows.iter().map(|row| row.flow_id.0), output.width());
    let times = output.times(now);
    let mut table = Table::new([
        Column::whole("flow", 0),
        Column::cut("kind", 1),
        Column::cut("namespace", 5),
        Column::whole("state", 0),
        Column::whole("executions", 3),
        Column::whole("dependencies", 4),
        Column::whole("created", 2),
    ]);

    for row in rows {
        table.row([
            ids.uuid(row.flow_id.0),
            row.flow_kind,
            row.namespace.to_string(),
            row.public_flow_state,
            row.node_count.to_string(),
            row.edge_count.to_string(),
            times.format(row.created_at),
        ]);
    }

    output.table(&table)?;
    if let Some(next) = next {
        output.line(format!("more: --after {next}"))?;
    }
    Ok(())
}

/// Up to `limit` flows, and the place of the last of them if there are more.
async fn pages(
    engine: &Arc<dyn EngineBackend>,
    mut query: FlowQuery,
    limit: u32,
) -> Result<(Vec<FlowRow>, Option<FlowCursor>), Failure> {
    let mut rows = Vec::new();
    let mut left = limit;
    loop {
        query.limit = left.min(PAGE);
        let page = engine.list_flows_by(query.clone()).await;
        let page = page.map_err(|error| Failure::engine("listing flows", &error))?;
        let got = u32::try_from(page.flows.len()).unwrap_or(u32::MAX);
        left = left.saturating_sub(got);
        rows.extend(page.flows);
        match page.next_cursor {
            Some(next) if left != 0 && got != 0 => query.after = Some(next),
            cursor => return Ok((rows, cursor)),
        }
    }
}

/// A place in the list, as one word.
fn written(cursor: &FlowCursor) -> String {
    format!("{}/{}", cursor.created_at, cursor.flow_id)
}

fn cursor(text: &str) -> Result<FlowCursor, String> {
    let wrong = || format!("{text:?} is no place in the list, such as 1767225600000/UUID");
    let (created_at, id) = text.split_once('/').ok_or_else(wrong)?;
    let created_at = TimestampMs(created_at.parse().map_err(|_| wrong())?);
    Ok(FlowCursor { created_at, flow_id: flow_id(id)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_the_list_reads_back() {
        let text = "1767225600000/550e8400-e29b-41d4-a716-446655440000";
        assert_eq!(written(&cursor(text).unwrap()), text);
        for bad in ["", "550e8400-e29b-41d4-a716-446655440000", "x/y", "1/y"] {
            assert!(cursor(bad).is_err(), "{bad}");
        }
    }
}
