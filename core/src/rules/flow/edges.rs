//! Lists of a flow's edges by one of their ends.
//!
//! All of them have one order, by the other end and then by key. The primary key does not have it,
//! so no planner without statistics walks the whole flow along the key to find the few edges that
//! are asked for.

use uuid::Uuid;

use crate::model::error::EngineError;
use crate::plan::facts::Row;
use crate::plan::{Compare, Expr, Join, List, Predicate};
use crate::rules::flow::key::FlowKey;
use crate::schema::Direction::Ascending;
use crate::schema::execution::{exec_core, unfinished};
use crate::schema::flow::edge;
use crate::schema::{Col, ColumnRef, Direction};

/// The most edges of one execution that are read.
const EDGES_MAX: i64 = 100_000;

/// The order of edges that share one end: by the other.
#[must_use]
pub fn by(other: Col<Uuid>) -> Vec<(ColumnRef, Direction)> {
    [other, edge::flow_id, edge::edge_id].map(|column| (column.column(), Ascending)).to_vec()
}

/// The edges of a flow that `which` accepts, ordered by `other`, the end that it does not ask for.
#[must_use]
pub fn edges(
    name: &'static str,
    flow: FlowKey,
    which: Predicate,
    other: Col<Uuid>,
    columns: Vec<ColumnRef>,
) -> List {
    List {
        name: name.into(),
        table: edge::REF,
        join: None,
        of_each: None,
        columns,
        predicate: flow.edges().and(which),
        order: by(other),
        limit: Expr::int(EDGES_MAX),
    }
}

/// The edges from an execution to those that wait for it.
#[must_use]
pub fn edges_from(
    name: &'static str,
    flow: FlowKey,
    upstream: Uuid,
    columns: Vec<ColumnRef>,
) -> List {
    edges(name, flow, edge::upstream_eid.equals(upstream), edge::downstream_eid, columns)
}

/// The edges into an execution from those that it waits for.
#[must_use]
pub fn edges_into(
    name: &'static str,
    flow: FlowKey,
    downstream: Uuid,
    columns: Vec<ColumnRef>,
) -> List {
    edges(name, flow, edge::downstream_eid.equals(downstream), edge::upstream_eid, columns)
}

/// An edge into an execution, if there is any.
#[must_use]
pub fn an_edge_into(flow: FlowKey, downstream: Uuid) -> List {
    let columns = vec![edge::edge_id.column()];
    let list = edges_into("an edge into an execution", flow, downstream, columns);
    List { limit: Expr::int(1), ..list }
}

/// An edge that is staged and not applied yet.
#[must_use]
pub fn not_applied() -> Predicate {
    let state = edge::policy.text_at(&["edge_state"]);
    Predicate::Compare(state, Compare::Equal, Expr::text("pending"))
}

/// The edges into an execution that are staged and not applied yet.
#[must_use]
pub fn unapplied_edges(flow: FlowKey, downstream: Uuid) -> List {
    let which = edge::downstream_eid.equals(downstream).and(not_applied());
    let columns = vec![edge::edge_id.column()];
    edges("edges that are not applied", flow, which, edge::upstream_eid, columns)
}

/// The upstreams of an execution that are not over.
#[must_use]
pub fn siblings_of(flow: FlowKey, downstream: Uuid) -> List {
    let which = edge::downstream_eid.equals(downstream).and(unfinished());
    let columns = vec![edge::upstream_eid.column()];
    let list = edges("upstreams that are not over", flow, which, edge::upstream_eid, columns);
    with_upstreams(list)
}

/// Joins each edge to the execution that is waited for, the oldest first: by the upstream's id
/// alone, SQLite would walk all edges of the flow along the index by upstream.
#[must_use]
pub fn with_upstreams(list: List) -> List {
    joined(list, edge::upstream_eid)
}

/// Joins each edge to the execution that waits, as [`with_upstreams`].
#[must_use]
pub fn with_downstreams(list: List) -> List {
    joined(list, edge::downstream_eid)
}

fn joined(list: List, end: Col<Uuid>) -> List {
    let join = Join {
        table: exec_core::REF,
        on: vec![
            (edge::partition_key.column(), exec_core::partition_key.column()),
            (end.column(), exec_core::execution_id.column()),
        ],
    };

    let mut order = vec![(exec_core::created_at_ms.column(), Ascending)];
    order.extend(list.order);
    List { join: Some(join), order, ..list }
}

/// The listed upstreams but one, each once, as bare UUID texts.
///
/// # Errors
/// `Validation(Corruption)` for a stored id that is not a UUID.
pub fn members(siblings: &[Row], but: Uuid) -> Result<Vec<String>, EngineError> {
    let mut uuids = Vec::with_capacity(siblings.len());
    for row in siblings {
        uuids.push(row.read(edge::upstream_eid)?);
    }

    uuids.retain(|uuid| *uuid != but);
    uuids.sort_unstable();
    uuids.dedup();
    Ok(uuids.iter().map(ToString::to_string).collect())
}
