//! `ff ls`: lists executions by lane, state, flow and more.

use std::sync::Arc;

use ff_core::contracts::{ExecutionInfo, ExecutionQuery, ExecutionRow};
use ff_core::engine_backend::EngineBackend;
use ff_core::types::{ExecutionId, TimestampMs};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::Global;
use super::clock::now;
use super::failure::Failure;
use super::filter::FilterArguments;
use super::ids::{ExecutionName, Ids, any_execution};
use super::output::Output;
use super::table::{Column, Table};
use super::view::ExecutionsView;
use super::words::{or_dash, word};
use flowfabric_sql::flow::NODE_TAG;

/// The largest page that the engine returns.
const PAGE: u32 = 1_000;

/// The number of executions read at the same time.
const READS: usize = 16;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    filter: FilterArguments,
    /// The most executions to list.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Only those after this one, in the order of the list.
    #[arg(long, value_name = "ID", value_parser = any_execution)]
    after: Option<ExecutionName>,
}

impl Arguments {
    /// The same list, of executions that failed for good.
    pub(super) fn of_failed(self) -> Result<Self, Failure> {
        Ok(Self { filter: self.filter.of_failed()?, ..self })
    }
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let is_one_flow = arguments.filter.names_a_flow();
    let filter = arguments.filter.check()?;
    let with_reasons = filter.asks_for_reasons();

    let engine = global.open().await?;
    let now = now(&engine).await?;
    let mut query = filter.query(&engine, 0, now).await?;
    query.after = match arguments.after {
        Some(name) => Some(name.find(&engine).await?),
        None => None,
    };
    let (rows, next) = pages(&engine, query, arguments.limit).await?;
    let reasons = if with_reasons { Some(reasons(&engine, &rows).await?) } else { None };

    let output = global.output();
    if output.is_json() {
        return Ok(output.json(&ExecutionsView::new(&rows, reasons.as_deref(), next.as_ref()))?);
    }
    if rows.is_empty() {
        return Ok(output.line("no executions")?);
    }

    let more = More { is_one_flow, reasons: reasons.as_deref() };
    output.table(&execution_table(&rows, more, output, now))?;
    if let Some(next) = next {
        output.line(format!("more: --after '{next}'"))?;
    }
    Ok(())
}

/// The optional columns of a list.
#[derive(Clone, Copy)]
struct More<'a> {
    /// True to show the node's name, for the executions of one flow.
    is_one_flow: bool,
    /// The reason why each of them ended.
    reasons: Option<&'a [String]>,
}

/// The reason why each of the executions ended, in one line.
async fn reasons(
    engine: &Arc<dyn EngineBackend>,
    rows: &[ExecutionRow],
) -> Result<Vec<String>, Failure> {
    let read = async |row: &ExecutionRow| {
        let info = engine.read_execution_info(&row.execution_id).await;
        let info = info.map_err(|error| Failure::engine("reading why it ended", &error))?;
        Ok(info.and_then(|info| reason(&info)).unwrap_or_default())
    };
    stream::iter(rows).map(read).buffered(READS).try_collect().await
}

/// The reason for the cancellation, or the last failure.
fn reason(info: &ExecutionInfo) -> Option<String> {
    let cancellation = info.cancellation.as_ref().and_then(|cancelled| cancelled.reason.clone());
    cancellation.or_else(|| info.last_failure.as_ref().map(|failure| failure.message.clone()))
}

fn execution_table(
    rows: &[ExecutionRow],
    more: More<'_>,
    output: Output,
    now: TimestampMs,
) -> Table {
    let mut columns = vec![
        Column::whole("execution", 0),
        Column::cut("lane", 3),
        Column::cut("kind", 2),
        Column::whole("state", 0),
        Column::whole("priority", 5),
        Column::whole("attempt", 6),
        Column::whole("claims", 4),
        Column::whole("created", 1),
    ];
    if more.is_one_flow {
        columns.push(Column::cut("node", 0));
    }
    if more.reasons.is_some() {
        columns.push(Column::cut("reason", 0));
    }

    let ids = Ids::of(rows.iter().map(|row| row.execution_id.uuid()), output.width());
    let times = output.times(now);

    let mut table = Table::new(columns);
    for (place, row) in rows.iter().enumerate() {
        let mut cells = vec![
            ids.execution(&row.execution_id),
            row.lane_id.to_string(),
            row.execution_kind.clone(),
            word(&row.public_state),
            row.priority.to_string(),
            row.attempt_index.to_string(),
            row.total_attempt_count.to_string(),
            times.format(row.created_at),
        ];
        if more.is_one_flow {
            cells.push(or_dash(row.tags.get(NODE_TAG)));
        }
        if let Some(reasons) = more.reasons {
            cells.push(or_dash(reasons.get(place).filter(|reason| !reason.is_empty())));
        }
        table.row(cells);
    }
    table
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
            // An empty page that names a next one would be asked for without end.
            Some(next) if left != 0 && got != 0 => query.after = Some(next),
            cursor => return Ok((rows, cursor)),
        }
    }
}
