//! `ff waitpoints`: lists open waitpoints, and the signals that they wait for.

use std::sync::Arc;

use ff_core::contracts::{ExecutionQuery, ListPendingWaitpointsArgs, PendingWaitpointInfo};
use ff_core::engine_backend::EngineBackend;
use ff_core::partition::{Partition, PartitionFamily};
use ff_core::state::PublicState;
use ff_core::types::{ExecutionId, TimestampMs, WaitpointId};

use super::Global;
use super::clock::now;
use super::failure::Failure;
use super::ids::{
    DEFAULT_LANE, ExecutionName, Ids, WaitpointName, any_execution, execution_name, lane,
    waitpoint_name,
};
use super::ls::pages;
use super::output::Output;
use super::refusal::OperatorAction;
use super::table::{Column, Table};
use super::view::{TokenView, WaitpointsView};
use super::words::{count, or_dash};

/// The largest page that the engine returns.
const PAGE: u32 = 1_000;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Only those of this execution: `{fp:N}:UUID` with or without braces, or `N:DIGITS` as lists
    /// show it, or the UUID, or the first digits of it.
    #[arg(value_name = "ID")]
    id: Option<String>,
    /// The lane of the execution that is meant, if several have the same UUID.
    #[arg(long, value_name = "LANE", default_value = DEFAULT_LANE)]
    lane: String,
    /// Only this one: its id, the first digits of it, or its key.
    #[arg(long, value_name = "WAITPOINT", requires = "id", value_parser = waitpoint_name)]
    waitpoint: Option<WaitpointName>,
    /// The most suspended executions to list waitpoints of.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "id")]
    limit: u32,
    /// Only those of executions after this one, in the order of the list.
    #[arg(long, value_name = "ID", conflicts_with = "id", value_parser = any_execution)]
    after: Option<ExecutionName>,
    /// Print the token of the one open waitpoint, and nothing else. It is a secret: its holder can
    /// signal the waitpoint. No other command prints it.
    #[arg(long, requires = "id")]
    token: bool,
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let lane = lane(&arguments.lane)?;
    let name = arguments.id.as_deref().map(|id| execution_name(id, &lane)).transpose();
    let name = name.map_err(Failure::usage)?;
    let engine = global.open().await?;
    let output = global.output();

    let (id, mut waitpoints, next) = match name {
        Some(name) => {
            let id = name.find(&engine).await?;
            let open = open_waitpoints(&engine, &id).await?;
            (Some(id), open, None)
        }
        None => {
            let after = match arguments.after {
                Some(name) => Some(name.find(&engine).await?),
                None => None,
            };
            let (open, next) = waitpoints_of_suspended(&engine, arguments.limit, after).await?;
            (None, open, next)
        }
    };

    if let Some(wanted) = &arguments.waitpoint {
        waitpoints.retain(|open| wanted.names(&open.waitpoint_id, &open.waitpoint_key));
    }

    if let (true, Some(id)) = (arguments.token, &id) {
        return print_token(&engine, output, &only_one(id, waitpoints)?).await;
    }

    if output.is_json() {
        return Ok(output.json(&WaitpointsView::new(&waitpoints, next.as_ref()))?);
    }
    if waitpoints.is_empty() {
        output.line("no open waitpoints")?;
    } else {
        output.table(&waitpoint_table(&waitpoints, output, now(&engine).await?))?;
    }

    if let Some(next) = next {
        output.line(format!("more: --after '{next}'"))?;
    }
    Ok(())
}

/// All open waitpoints of one execution.
pub(super) async fn open_waitpoints(
    engine: &Arc<dyn EngineBackend>,
    id: &ExecutionId,
) -> Result<Vec<PendingWaitpointInfo>, Failure> {
    let mut args = ListPendingWaitpointsArgs::new(id.clone()).with_limit(PAGE);
    let mut waitpoints = Vec::new();
    loop {
        let page = engine.list_pending_waitpoints(args.clone()).await;
        let page = match page {
            Ok(page) => page,
            Err(error) => return Err(OperatorAction::Read.failure(engine, id, &error).await),
        };

        let got = page.entries.len();
        waitpoints.extend(page.entries);
        match page.next_cursor {
            Some(next) if got != 0 => args = args.with_after(next),
            Some(_) | None => return Ok(waitpoints),
        }
    }
}

/// The open waitpoints of up to `limit` suspended executions, and the last of these if there are
/// more.
async fn waitpoints_of_suspended(
    engine: &Arc<dyn EngineBackend>,
    limit: u32,
    after: Option<ExecutionId>,
) -> Result<(Vec<PendingWaitpointInfo>, Option<ExecutionId>), Failure> {
    let mut query = ExecutionQuery::new(0).with_public_state(PublicState::Suspended);
    query.after = after;
    let (rows, next) = pages(engine, query, limit).await?;

    let mut waitpoints = Vec::new();
    for row in rows {
        waitpoints.extend(open_waitpoints(engine, &row.execution_id).await?);
    }
    Ok((waitpoints, next))
}

/// The waitpoint to act on if none is named: the only open one.
pub(super) fn only_one(
    id: &ExecutionId,
    mut waitpoints: Vec<PendingWaitpointInfo>,
) -> Result<PendingWaitpointInfo, Failure> {
    match (waitpoints.pop(), waitpoints.len()) {
        (Some(waitpoint), 0) => Ok(waitpoint),
        (None, _) => Err(Failure::new(format!("{id} has no open waitpoint"))
            .with_help(format!("ff show '{id}' tells its state"))),
        (Some(_), others) => {
            let open = count(others + 1, "open waitpoint");
            Err(Failure::new(format!("{id} has {open}: name one"))
                .with_help(format!("ff waitpoints '{id}' lists them; a key is a name, too")))
        }
    }
}

/// The open waitpoint that a caller names, or the only one.
pub(super) async fn find(
    engine: &Arc<dyn EngineBackend>,
    id: &ExecutionId,
    wanted: Option<&WaitpointName>,
) -> Result<WaitpointId, Failure> {
    if let Some(in_full) = wanted.and_then(WaitpointName::in_full) {
        return Ok(in_full);
    }

    let mut open = open_waitpoints(engine, id).await?;
    let Some(wanted) = wanted else { return Ok(only_one(id, open)?.waitpoint_id) };
    open.retain(|open| wanted.names(&open.waitpoint_id, &open.waitpoint_key));
    if open.is_empty() {
        let name = wanted.as_str();
        return Err(Failure::new(format!("{id} has no open waitpoint {name:?}"))
            .with_help(format!("ff waitpoints '{id}' lists those that are open")));
    }
    Ok(only_one(id, open)?.waitpoint_id)
}

async fn print_token(
    engine: &Arc<dyn EngineBackend>,
    output: Output,
    waitpoint: &PendingWaitpointInfo,
) -> Result<(), Failure> {
    let id = &waitpoint.waitpoint_id;
    let index = waitpoint.execution_id.partition();

    let partition = Partition { family: PartitionFamily::Execution, index };
    let token = engine.read_waitpoint_token(partition.into(), id).await;
    let token = token.map_err(|error| Failure::engine(&format!("reading {id}"), &error))?;
    let token =
        token.ok_or_else(|| Failure::new(format!("waitpoint {id} is not open any more")))?;

    if output.is_json() {
        Ok(output.json(&TokenView { waitpoint_id: id, token: &token })?)
    } else {
        Ok(output.line(token)?)
    }
}

/// The waitpoints as a table.
pub(super) fn waitpoint_table(
    waitpoints: &[PendingWaitpointInfo],
    output: Output,
    now: TimestampMs,
) -> Table {
    let times = output.times(now);
    let executions = waitpoints.iter().map(|waitpoint| waitpoint.execution_id.uuid());
    let executions = Ids::of(executions, output.width());
    let ids = Ids::of(waitpoints.iter().map(|waitpoint| waitpoint.waitpoint_id.0), output.width());

    let mut table = Table::new([
        Column::whole("execution", 0),
        Column::whole("waitpoint", 3),
        Column::cut("key", 0),
        Column::whole("state", 4),
        Column::cut("waits for", 1),
        Column::cut("kid", 6),
        Column::whole("fingerprint", 5),
        Column::whole("expires", 2),
    ]);

    for waitpoint in waitpoints {
        table.row([
            executions.execution(&waitpoint.execution_id),
            ids.uuid(waitpoint.waitpoint_id.0),
            waitpoint.waitpoint_key.clone(),
            waitpoint.state.clone(),
            awaited_signals(waitpoint),
            waitpoint.token_kid.clone(),
            waitpoint.token_fingerprint.clone(),
            or_dash(waitpoint.expires_at.map(|at| times.format(at))),
        ]);
    }
    table
}

/// The signals that a waitpoint waits for, in words. A waitpoint that no suspension uses yet has
/// none.
fn awaited_signals(waitpoint: &PendingWaitpointInfo) -> String {
    let names = waitpoint.required_signal_names.iter().map(|name| match name.as_str() {
        "__operator_only__" => "an operator",
        "__timeout_only__" => "its timeout",
        name => name,
    });
    let names: Vec<&str> = names.collect();

    match names.as_slice() {
        [] if waitpoint.activated_at.is_none() => "-".to_owned(),
        [] => "any signal".to_owned(),
        names => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waitpoint() -> PendingWaitpointInfo {
        let id = "550e8400-e29b-41d4-a716-446655440000";
        PendingWaitpointInfo::new(
            WaitpointId::parse(id).unwrap(),
            "approval".to_owned(),
            "active".to_owned(),
            TimestampMs(1),
            ExecutionId::parse(&format!("{{fp:7}}:{id}")).unwrap(),
            "k1".to_owned(),
            "0123456789abcdef".to_owned(),
        )
        .with_activated_at(TimestampMs(1))
    }

    #[test]
    fn awaited_signals_are_described_in_words() {
        let names =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let waits =
            |list: &[&str]| awaited_signals(&waitpoint().with_required_signal_names(names(list)));
        assert_eq!(waits(&[]), "any signal");
        assert_eq!(waits(&["approved", "rejected"]), "approved, rejected");
        assert_eq!(waits(&["__operator_only__"]), "an operator");
        assert_eq!(waits(&["__timeout_only__"]), "its timeout");
        let mut pending = waitpoint();
        pending.activated_at = None;
        assert_eq!(awaited_signals(&pending), "-");
    }

    #[test]
    fn one_is_meant_only_where_there_is_one() {
        let id = waitpoint().execution_id;
        assert_eq!(only_one(&id, vec![waitpoint()]).unwrap(), waitpoint());
        assert!(only_one(&id, vec![]).is_err());
        assert!(only_one(&id, vec![waitpoint(), waitpoint()]).is_err());
    }
}
