//! An end travels on: every edge from the execution is told, and then the event is done with.
//!
//! Each edge is told by a plan of its own. A process that dies between two of them leaves an event
//! that is not done with: whoever finds it tells the edges that have not heard of it yet.

use futures_util::future::join_all;

use super::{Executor, run};
use crate::EngineError;
use crate::rules::flow::dispatch::{Done, EDGES_PER_PAGE, EdgesFrom, Event};
use crate::rules::flow::hop::{Hop, Hopped};
use crate::rules::flow::key::FlowKey;
use crate::types::EdgeId;

/// Tells everybody who waits of an end. How many edges that took; nothing when all were told before.
pub(super) async fn dispatch<E: Executor>(
    executor: &E,
    event: Event,
) -> Result<Option<usize>, EngineError> {
    if event.dispatched {
        return Ok(None);
    }
    let Some(flow) = event.flow else {
        return run(executor, &Done { event }).await.map(|()| Some(0));
    };
    let mut told = 0;
    let mut after = None;
    loop {
        let edges = EdgesFrom { flow, upstream: event.end.upstream, after };
        let mut page = run(executor, &edges).await?;
        told += page.len();
        let more = page.len() == EDGES_PER_PAGE;
        after = page.last().cloned();
        let last = if more { None } else { page.pop() };
        let hops = page.into_iter().map(|edge| hop(executor, event, flow, edge, false));
        join_all(hops).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        match last {
            Some(edge) => drop(hop(executor, event, flow, edge, true).await?),
            None if more => continue,
            None => run(executor, &Done { event }).await?,
        }
        return Ok(Some(told));
    }
}

async fn hop<E: Executor>(
    executor: &E,
    event: Event,
    flow: FlowKey,
    edge: EdgeId,
    last: bool,
) -> Result<Hopped, EngineError> {
    run(executor, &Hop { flow, edge, end: event.end, last }).await
}
