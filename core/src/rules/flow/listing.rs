//! Lists of flows and of edges.

use crate::contracts::{
    EdgeDirection, EdgeSnapshot, FlowCursor, FlowQuery, FlowQueryPage, FlowRow, FlowStatus,
    FlowSummary, ListFlowsPage,
};
use crate::model::error::EngineError;
use crate::model::ids::{EdgeId, FlowId, Namespace, TimestampMs};
use crate::model::partition::{PartitionConfig, PartitionKey};
use crate::model::state::{ClosedSet, PublicFlowState};
use crate::plan::facts::{Facts, Row};
use crate::plan::value::Value;
use crate::plan::{List, Lookup, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Transition};
use crate::rules::execution::listing::{Listing, created_within, limit, split};
use crate::rules::execution::read::text;
use crate::rules::flow::edges::{edges_from, edges_into};
use crate::rules::flow::key::{FlowKey, Places};
use crate::rules::flow::read::{edge, edge_count, node_count};
use crate::rules::input::{self, PAGE_MAX};
use crate::rules::key::ExecutionKey;
use crate::schema::Direction::{Ascending, Descending};
use crate::schema::flow::{edge as edges, flow_core};

/// The flows of a partition by ascending UUID. A limit of 0 is an empty page, whatever the
/// partition; more than 1000 counts as 1000.
///
/// # Errors
/// `Validation(InvalidInput)` for an invalid partition key.
pub fn flows(
    partition: &PartitionKey,
    cursor: Option<&FlowId>,
    limit_given: usize,
) -> Result<Listing<ListFlowsPage>, EngineError> {
    let page = limit_given.min(PAGE_MAX);
    let partition = if page == 0 {
        0
    } else {
        let parsed = partition.parse();
        let parsed = parsed.map_err(|error| input::invalid(format!("partition_key: {error}")))?;
        input::partition(parsed.index)?
    };

    let mut predicate = flow_core::partition_key.equals(partition);
    if let Some(cursor) = cursor {
        predicate = predicate.and(flow_core::flow_id.above(cursor.0));
    }

    let list = List {
        name: "flows of a partition".into(),
        table: flow_core::REF,
        join: None,
        of_each: None,
        columns: vec![
            flow_core::flow_id.column(),
            flow_core::created_at_ms.column(),
            flow_core::public_flow_state.column(),
        ],
        predicate,
        order: vec![(flow_core::flow_id.column(), Ascending)],
        limit: limit(page),
    };

    Ok(Listing::new(list, page, |rows, page| {
        let flows = rows.iter().map(summary).collect::<Result<Vec<_>, _>>()?;
        let (flows, more) = split(flows, page);
        let cursor = more.then(|| flows.last().map(|flow| flow.flow_id.clone())).flatten();
        Ok(ListFlowsPage::new(flows, cursor))
    }))
}

/// The stored word, known or not.
fn word(row: &Row) -> &str {
    match row.value(flow_core::public_flow_state.column()) {
        Some(Value::Text(word)) => word,
        Some(_) | None => "",
    }
}

fn summary(row: &Row) -> Result<FlowSummary, EngineError> {
    Ok(FlowSummary::new(
        FlowId::from_uuid(row.read(flow_core::flow_id)?),
        TimestampMs(row.read(flow_core::created_at_ms)?),
        FlowStatus::from_public_flow_state(word(row)),
    ))
}

/// Flows of all partitions that match a query, newest first.
///
/// # Errors
/// `Validation(InvalidInput)` for a namespace or a kind with NUL.
pub fn matching(query: &FlowQuery) -> Result<Listing<FlowQueryPage>, EngineError> {
    let page = usize::try_from(query.limit).unwrap_or(PAGE_MAX).min(PAGE_MAX);

    let mut members = serde_json::Map::new();
    if let Some(namespace) = &query.namespace {
        input::text("namespace", namespace.as_str())?;
        members.insert("namespace".into(), namespace.as_str().into());
    }
    if let Some(kind) = &query.flow_kind {
        input::text("flow_kind", kind)?;
        members.insert("flow_kind".into(), kind.as_str().into());
    }

    let states = match query.state {
        Some(state) => vec![state],
        None => PublicFlowState::all(),
    };

    let created = flow_core::created_at_ms;
    let within = created_within(created, query.created_since, query.created_by);
    let mut predicate = flow_core::public_flow_state
        .is_one_of_chosen(&states)
        .and(within)
        .and(flow_core::raw_fields.contains(members.into()));
    if let Some(after) = &query.after {
        let tied =
            created.equals(after.created_at.0).and(flow_core::flow_id.above(after.flow_id.0));
        predicate = predicate
            .and(created.at_most(after.created_at.0))
            .and(created.below(after.created_at.0).or(tied));
    }

    let list = List {
        name: "flows matching a query".into(),
        table: flow_core::REF,
        join: None,
        of_each: None,
        columns: flow_core::REF.columns.to_vec(),
        predicate,
        order: vec![
            (flow_core::created_at_ms.column(), Descending),
            (flow_core::flow_id.column(), Ascending),
        ],
        limit: limit(page),
    };

    Ok(Listing::new(list, page, |rows, page| {
        let flows = rows.iter().map(flow_row).collect::<Result<Vec<_>, _>>()?;
        let (flows, more) = split(flows, page);
        let last = more.then(|| flows.last()).flatten();
        let cursor = last
            .map(|flow| FlowCursor { created_at: flow.created_at, flow_id: flow.flow_id.clone() });
        Ok(FlowQueryPage::new(flows, cursor))
    }))
}

fn flow_row(row: &Row) -> Result<FlowRow, EngineError> {
    let raw = row.read(flow_core::raw_fields)?;
    Ok(FlowRow::new(
        FlowId::from_uuid(row.read(flow_core::flow_id)?),
        text(&raw, "flow_kind").unwrap_or_default(),
        Namespace::new(text(&raw, "namespace").unwrap_or_else(|| "default".into())),
        word(row).to_owned(),
        node_count(row)?,
        edge_count(row)?,
        TimestampMs(row.read(flow_core::created_at_ms)?),
    ))
}

/// The edges to or from one execution, by id.
#[derive(Clone, Debug)]
pub struct Edges {
    flow: FlowKey,
    direction: EdgeDirection,
    subject: ExecutionKey,
}

impl Edges {
    /// The edges of an execution of that flow, which lives where the execution does.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for ids that no row can have.
    pub fn of(flow: &FlowId, direction: EdgeDirection) -> Result<Self, EngineError> {
        let subject = ExecutionKey::of(direction.subject())?;
        let flow = FlowKey { partition: subject.partition, uuid: flow.0 };
        Ok(Self { flow, direction, subject })
    }
}

impl Transition for Edges {
    type Outcome = Vec<EdgeSnapshot>;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        let with_this_end = match self.direction {
            EdgeDirection::Outgoing { .. } => edges_from,
            EdgeDirection::Incoming { .. } => edges_into,
        };
        let columns = edges::REF.columns.to_vec();
        let list = with_this_end("edges of an execution", self.flow, self.subject.uuid, columns);
        let Some(rows) = facts.list(&list) else {
            return Ok(Step::Read(vec![Query::List(list)]));
        };

        let mut found =
            rows.iter().map(|row| edge(self.flow, row)).collect::<Result<Vec<_>, _>>()?;
        found.sort_unstable_by_key(|edge| edge.edge_id.0);
        Ok(Step::Answer(found))
    }
}

/// One edge; `None` for an unknown one.
#[derive(Clone, Debug)]
pub struct Edge {
    places: Places,
    id: EdgeId,
}

impl Edge {
    /// An edge of that flow.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for an id that no row can have.
    pub fn of(
        flow: &FlowId,
        id: &EdgeId,
        partitions: &PartitionConfig,
    ) -> Result<Self, EngineError> {
        Ok(Self { places: Places::of(flow, partitions)?, id: id.clone() })
    }
}

impl Transition for Edge {
    type Outcome = Option<EdgeSnapshot>;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        let places = [("edge", self.places.home()), ("elsewhere", self.places.other())];
        if !facts.have_rows() {
            let lookup = |(row, flow): (&'static str, FlowKey)| Lookup {
                row: row.into(),
                table: edges::REF,
                key: flow.edge(&self.id),
                columns: edges::REF.columns.to_vec(),
            };
            return Ok(Step::Read(vec![Query::Lookup(places.map(lookup).into())]));
        }

        let found = places.into_iter().find_map(|(name, flow)| Some((flow, facts.row(name)?)));
        Ok(Step::Answer(found.map(|(flow, row)| edge(flow, row)).transpose()?))
    }
}
