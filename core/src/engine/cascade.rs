//! Dispatches a completion event: applies it to every outgoing edge, then marks it dispatched.
//!
//! Each edge has a plan of its own. A process that dies between two of them leaves the event
//! undispatched; the next scan applies it to the edges that it has not reached yet.

use futures_util::future::join_all;

use super::{Executor, run};
use crate::model::error::EngineError;
use crate::model::ids::EdgeId;
use crate::rules::flow::dispatch::{Done, EDGES_PER_PAGE, EdgesFrom, Event, EventById};
use crate::rules::flow::end::EndFlow;
use crate::rules::flow::hop::{Hop, HopOutcome};
use crate::rules::flow::key::FlowKey;

/// Applies the completion event of that number to every outgoing edge. Returns the number of edges;
/// `None` for an event that is unknown or already dispatched.
///
/// # Errors
/// The refusal of a hop, or the backend's error; the event then stays due.
pub async fn dispatch_event(
    executor: &dyn Executor,
    event_id: i64,
) -> Result<Option<usize>, EngineError> {
    match run(executor, &EventById { event_id }).await? {
        Some(event) => dispatch(executor, event, end_flow_if_over(executor, &event)).await,
        None => Ok(None),
    }
}

/// Ends the flow of an event if all of its members are over.
///
/// # Errors
/// The backend's error.
pub(super) async fn end_flow_if_over(
    executor: &dyn Executor,
    event: &Event,
) -> Result<(), EngineError> {
    match event.flow {
        Some(flow) => run(executor, &EndFlow { flow }).await.map(drop),
        None => Ok(()),
    }
}

/// Applies the event to every outgoing edge. Returns the number of edges; `None` if the event was
/// already dispatched. If no member can run after the last edge, `check_flow` runs before the
/// event is marked: after a crash in between, the next scan checks the flow again.
///
/// # Errors
/// The refusal of a hop, the backend's error, or that of the check.
pub(super) async fn dispatch(
    executor: &dyn Executor,
    event: Event,
    check_flow: impl Future<Output = Result<(), EngineError>>,
) -> Result<Option<usize>, EngineError> {
    if event.dispatched {
        return Ok(None);
    }

    let Some(flow) = event.flow else {
        return run(executor, &Done { event }).await.map(|()| Some(0));
    };

    let (mut edges, mut after, mut failed) = (0, None, None);
    loop {
        let query = EdgesFrom { flow, upstream: event.end.upstream, after };
        let mut page = run(executor, &query).await?;
        edges += page.len();

        let more = page.len() == EDGES_PER_PAGE;
        after = page.last().cloned();
        let last = if more { None } else { page.pop() };

        let hops = page.into_iter().map(|(_, edge)| hop(executor, event, flow, edge, false));
        // A hop that fails stops no other hop, but keeps the event undispatched.
        let errors = join_all(hops).await.into_iter().filter_map(Result::err);
        failed = failed.or(errors.last());

        if more {
            continue;
        }
        // The last hop marks the event in its own plan, unless the flow may have ended with it.
        let hopped = match last {
            Some((_, edge)) => hop(executor, event, flow, edge, failed.is_none()).await,
            None => Ok(HopOutcome::NoneBehind),
        };

        match hopped {
            Ok(HopOutcome::NoneBehind) if failed.is_none() => {
                check_flow.await?;
                run(executor, &Done { event }).await?;
            }
            Ok(
                HopOutcome::NoneBehind
                | HopOutcome::Applied
                | HopOutcome::AlreadyApplied
                | HopOutcome::NoEdge,
            ) => {}
            Err(error) => failed = failed.or(Some(error)),
        }

        return failed.map_or(Ok(Some(edges)), Err);
    }
}

async fn hop(
    executor: &dyn Executor,
    event: Event,
    flow: FlowKey,
    edge: EdgeId,
    last: bool,
) -> Result<HopOutcome, EngineError> {
    let hop = Hop { flow, edge, end: event.end, last, downstream: None };
    run(executor, &hop).await
}
