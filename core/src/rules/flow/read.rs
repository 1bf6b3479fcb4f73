//! Reads of one flow: itself, its groups, its edges, its members.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::contracts::{
    EdgeGroupSnapshot, EdgeGroupState, EdgeSnapshot, ExecutionRow, FlowGraph, FlowSnapshot,
    is_namespaced_tag_key,
};
use crate::model::error::EngineError;
use crate::model::ids::{EdgeId, FlowId, Namespace, TimestampMs};
use crate::model::partition::PartitionConfig;
use crate::model::state::PublicFlowState;
use crate::plan::facts::{Facts, Row};
use crate::plan::{Expr, List, Predicate, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Transition};
use crate::rules::execution::listing::{execution_columns, execution_row};
use crate::rules::execution::read::text;
use crate::rules::flow::key::{FlowKey, Places};
use crate::rules::flow::tally::{GroupState, Tally, policy_of};
use crate::schema::Direction::Ascending;
use crate::schema::execution::exec_core;
use crate::schema::flow::{edge, edge_group, flow_core};
use crate::schema::{Col, ColumnRef, TableRef};
use uuid::Uuid;

/// The number of rows of a kind that are read at once.
const PAGE: usize = 1_000;

/// The rows of one flow in a table, by id, read page after page.
pub(super) struct Pages<'a> {
    pub(super) name: &'static str,
    pub(super) table: TableRef,
    pub(super) columns: Vec<ColumnRef>,
    pub(super) of_flow: Predicate,
    pub(super) by: Col<Uuid>,
    pub(super) facts: &'a Facts,
}

impl Pages<'_> {
    /// All rows; or the query to read next.
    pub(super) fn read(&self) -> Result<Result<Vec<Row>, Query>, EngineError> {
        let mut rows = Vec::new();
        let mut after = Predicate::Always;

        for page in self.facts.pages(self.name) {
            rows.extend_from_slice(page);
            // A page that is not full is the last one.
            if page.len() < PAGE {
                return Ok(Ok(rows));
            }
            if let Some(last) = page.last() {
                after = self.by.above(last.read(self.by)?);
            }
        }

        let predicate = self.of_flow.clone().and(after);
        Ok(Err(Query::List(List {
            name: self.name.into(),
            table: self.table,
            join: None,
            of_each: None,
            columns: self.columns.clone(),
            predicate,
            order: vec![(self.by.column(), Ascending)],
            limit: Expr::int(i64::try_from(PAGE).unwrap_or(i64::MAX)),
        })))
    }
}

fn groups_of(flow: FlowKey, facts: &Facts) -> Pages<'_> {
    let of_flow =
        edge_group::partition_key.equals(flow.partition).and(edge_group::flow_id.equals(flow.uuid));
    let columns = edge_group::REF.columns.to_vec();
    let by = edge_group::downstream_eid;
    Pages { name: "groups of a flow", table: edge_group::REF, columns, of_flow, by, facts }
}

fn edges_of(flow: FlowKey, facts: &Facts) -> Pages<'_> {
    let of_flow = flow.edges();
    let columns = edge::REF.columns.to_vec();
    let by = edge::edge_id;
    Pages { name: "edges of a flow", table: edge::REF, columns, of_flow, by, facts }
}

fn members_of(flow: FlowKey, facts: &Facts) -> Pages<'_> {
    let of_flow = flow.members();
    let by = exec_core::execution_id;
    let columns = execution_columns();
    Pages { name: "members of a flow", table: exec_core::REF, columns, of_flow, by, facts }
}

/// A flow and the state of its dependencies; `None` for an unknown one.
#[derive(Clone, Copy, Debug)]
pub struct Describe(Places);

/// A flow with its members and edges; `None` for an unknown one.
#[derive(Clone, Copy, Debug)]
pub struct Graph(Places);

impl Describe {
    /// The description of that flow.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for an id that no row can have.
    pub fn of(flow: &FlowId, partitions: &PartitionConfig) -> Result<Self, EngineError> {
        Places::of(flow, partitions).map(Self)
    }
}

impl Graph {
    /// The graph of that flow.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for an id that no row can have.
    pub fn of(flow: &FlowId, partitions: &PartitionConfig) -> Result<Self, EngineError> {
        Places::of(flow, partitions).map(Self)
    }
}

impl Transition for Describe {
    type Outcome = Option<FlowSnapshot>;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        if !facts.have_rows() {
            return Ok(Step::Read(vec![Query::Lookup(self.0.lookups())]));
        }
        let Some((flow, row)) = self.0.found(facts) else {
            return Ok(Step::Answer(None));
        };

        match groups_of(flow, facts).read()? {
            Ok(groups) => snapshot(flow, row, &groups).map(Some).map(Step::Answer),
            Err(next) => Ok(Step::Read(vec![next])),
        }
    }
}

impl Transition for Graph {
    type Outcome = Option<FlowGraph>;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        if !facts.have_rows() {
            return Ok(Step::Read(vec![Query::Lookup(self.0.lookups())]));
        }
        let Some((flow, row)) = self.0.found(facts) else {
            return Ok(Step::Answer(None));
        };

        let groups = match groups_of(flow, facts).read()? {
            Ok(read) => read,
            Err(next) => return Ok(Step::Read(vec![next])),
        };
        let members = match members_of(flow, facts).read()? {
            Ok(read) => read,
            Err(next) => return Ok(Step::Read(vec![next])),
        };
        let edges = match edges_of(flow, facts).read()? {
            Ok(read) => read,
            Err(next) => return Ok(Step::Read(vec![next])),
        };

        let members: Vec<ExecutionRow> =
            members.iter().map(execution_row).collect::<Result<_, _>>()?;
        let edges = edges.iter().map(|row| edge(flow, row)).collect::<Result<_, _>>()?;
        let graph = FlowGraph::new(snapshot(flow, row, &groups)?, members, edges);
        Ok(Step::Answer(Some(graph)))
    }
}

fn snapshot(flow: FlowKey, row: &Row, groups: &[Row]) -> Result<FlowSnapshot, EngineError> {
    let raw = row.read(flow_core::raw_fields)?;
    let created = row.read(flow_core::created_at_ms)?;
    let mutated = raw.get("last_mutation_at_ms").and_then(Json::as_i64).unwrap_or(created);

    let state = row.value(flow_core::public_flow_state.column());
    let state_now = row.read(flow_core::public_flow_state).ok();
    let cancelled = state_now == Some(PublicFlowState::Cancelled);

    // A flow that ended with its members was not cancelled.
    let by_members = [PublicFlowState::Completed, PublicFlowState::Failed].map(Some);
    let cancelled_at = row.read(flow_core::terminal_at_ms)?;
    let cancelled_at = cancelled_at.filter(|_| !by_members.contains(&state_now));

    let groups = groups.iter().map(|group| self::group(flow, group, cancelled));
    Ok(FlowSnapshot {
        flow_id: flow.id(),
        flow_kind: text(&raw, "flow_kind").unwrap_or_default(),
        namespace: Namespace::new(text(&raw, "namespace").unwrap_or_else(|| "default".into())),
        public_flow_state: state.and_then(state_word).unwrap_or_default(),
        graph_revision: row.read(flow_core::graph_revision)?.unsigned_abs(),
        node_count: node_count(row)?,
        edge_count: edge_count(row)?,
        created_at: TimestampMs(created),
        last_mutation_at: TimestampMs(mutated),
        cancelled_at: cancelled_at.map(TimestampMs),
        cancel_reason: text(&raw, "cancel_reason"),
        cancellation_policy: text(&raw, "cancellation_policy"),
        tags: flow_tags(&raw),
        edge_groups: groups.collect::<Result<_, _>>()?,
    })
}

fn state_word(stored: &crate::plan::value::Value) -> Option<String> {
    if let crate::plan::value::Value::Text(word) = stored { Some(word.clone()) } else { None }
}

fn flow_tags(raw: &Json) -> BTreeMap<String, String> {
    let members = raw.as_object().into_iter().flatten();
    let tags = members.filter(|(name, _)| is_namespaced_tag_key(name));
    tags.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

/// The number of a flow's members: those that are counted in its own column, and those that an
/// older engine counted in the open bag.
///
/// # Errors
/// `Validation(Corruption)` naming the column that holds what it must not.
pub fn node_count(flow: &Row) -> Result<u32, EngineError> {
    counted(flow, flow_core::node_count, "node_count")
}

/// The number of a flow's edges, counted likewise.
///
/// # Errors
/// `Validation(Corruption)` naming the column that holds what it must not.
pub fn edge_count(flow: &Row) -> Result<u32, EngineError> {
    counted(flow, flow_core::edge_count, "edge_count")
}

fn counted(flow: &Row, column: Col<i32>, member: &str) -> Result<u32, EngineError> {
    let own = u32::try_from(flow.read(column)?).unwrap_or(0);
    let raw = flow.read(flow_core::raw_fields)?;

    let older = raw.get(member).and_then(|count| match count {
        Json::Number(number) => number.as_u64().and_then(|count| u32::try_from(count).ok()),
        Json::String(digits) => digits.parse().ok(),
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => None,
    });
    Ok(own.saturating_add(older.unwrap_or(0)))
}

fn group(flow: FlowKey, row: &Row, cancelled: bool) -> Result<EdgeGroupSnapshot, EngineError> {
    let (policy, tally) = (policy_of(row)?, Tally::read(row)?);
    let count = |number: i32| u32::try_from(number).unwrap_or(0);
    let target = row.read(edge_group::k_target)?;

    let state = match tally.state(&policy) {
        GroupState::Satisfied => EdgeGroupState::Satisfied,
        // Rows of older databases say in their target what their counts cannot.
        _ if 0 < target && target <= tally.success => EdgeGroupState::Satisfied,
        GroupState::Impossible => EdgeGroupState::Impossible,
        GroupState::Pending if cancelled => EdgeGroupState::Cancelled,
        GroupState::Pending => EdgeGroupState::Pending,
    };

    Ok(EdgeGroupSnapshot {
        downstream_execution_id: flow.member(row.read(edge_group::downstream_eid)?).id(),
        policy,
        total_deps: count(tally.total()),
        satisfied_count: count(tally.success),
        failed_count: count(tally.fail),
        skipped_count: count(tally.skip),
        running_count: count(tally.running),
        group_state: state,
    })
}

/// The edge of a stored row.
///
/// # Errors
/// `Validation(Corruption)` naming the column that holds what it must not.
pub fn edge(flow: FlowKey, row: &Row) -> Result<EdgeSnapshot, EngineError> {
    let record = row.read(edge::policy)?;
    let or = |member: &str, default: &str| text(&record, member).unwrap_or_else(|| default.into());
    Ok(EdgeSnapshot {
        edge_id: EdgeId::from_uuid(row.read(edge::edge_id)?),
        flow_id: flow.id(),
        upstream_execution_id: flow.member(row.read(edge::upstream_eid)?).id(),
        downstream_execution_id: flow.member(row.read(edge::downstream_eid)?).id(),
        dependency_kind: or("dependency_kind", "success_only"),
        satisfaction_condition: or("satisfaction_condition", "all_required"),
        data_passing_ref: text(&record, "data_passing_ref")
            .filter(|reference| !reference.is_empty()),
        edge_state: or("edge_state", "pending"),
        created_at: TimestampMs(record.get("created_at_ms").and_then(Json::as_i64).unwrap_or(0)),
        created_by: or("created_by", "engine"),
    })
}
