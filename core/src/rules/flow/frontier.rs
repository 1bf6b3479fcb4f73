//! The steps of a search along edges: each reads those that lead on from the executions that the
//! step before has reached.

use std::collections::BTreeSet;

use uuid::Uuid;

use crate::model::error::EngineError;
use crate::plan::facts::Row;
use crate::plan::{Expr, List, Predicate};
use crate::rules::input;
use crate::schema::flow::edge;

/// The most edges that one step reads.
const EDGES: i64 = 10_000;

/// An edge from one of these executions. Mostly there is one, and a planner that knows no
/// statistics finds the edges of one faster than those of a list.
#[must_use]
pub fn leads_on_from(frontier: &BTreeSet<Uuid>) -> Predicate {
    match frontier.first() {
        Some(one) if frontier.len() == 1 => edge::upstream_eid.equals(*one),
        Some(_) | None => edge::upstream_eid.is_among(frontier.iter().copied()),
    }
}

/// The list, with as many edges as a step reads.
#[must_use]
pub fn step(list: List) -> List {
    List { limit: Expr::int(EDGES), ..list }
}

/// Refuses to go on after a step that may not have read every edge.
///
/// # Errors
/// `Validation(InvalidInput)`: `graph_too_wide`.
pub fn refuse_too_wide(edges: &[Row]) -> Result<(), EngineError> {
    if i64::try_from(edges.len()) == Ok(EDGES) {
        let detail = format!("graph_too_wide: more than {EDGES} edges to follow at once");
        return Err(input::invalid(detail));
    }
    Ok(())
}
