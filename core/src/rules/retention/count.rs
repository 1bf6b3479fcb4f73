//! The rows that would go with an execution or a flow: counted for a dry run, and frames before a
//! removal, since there may be many.

use std::collections::{BTreeMap, HashMap, HashSet};

use uuid::Uuid;

use crate::model::error::EngineError;
use crate::plan::facts::Facts;
use crate::plan::{Expr, Join, List, Predicate, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Transition};
use crate::rules::flow::key::FlowKey;
use crate::rules::key::{ExecutionKey, all_equal};
use crate::rules::retention::dependants;
use crate::rules::retention::trim::PIECE;
use crate::schema::Direction::Ascending;
use crate::schema::TableRef;
use crate::schema::outbox::completion_event;
use crate::schema::suspension::stream_meta;

/// The most rows of one table that are counted of one execution or flow.
const COUNTED: i64 = 10_000;

/// The most streams that one statement lists.
const STREAMS: i64 = 5_000;

/// Counts the rows of an execution, by table.
#[derive(Clone, Copy, Debug)]
pub struct RowsOfExecution(pub ExecutionKey);

/// Counts the rows of a flow, but for those of its members, by table.
#[derive(Clone, Copy, Debug)]
pub struct RowsOfFlow(pub FlowKey);

/// Rows by table.
pub type Rows = BTreeMap<&'static str, u64>;

impl Transition for RowsOfExecution {
    type Outcome = Rows;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Rows>, EngineError> {
        let tables = dependants::of_executions();
        count(facts, tables.map(|(table, of)| (table, of.rows_of(&self.0))))
    }
}

impl Transition for RowsOfFlow {
    type Outcome = Rows;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Rows>, EngineError> {
        let tables = dependants::of_flows();
        count(facts, tables.map(|(table, of)| (table, all_equal(of.of_flow(&self.0)))))
    }
}

fn count(
    facts: &Facts,
    tables: impl Iterator<Item = (TableRef, Predicate)>,
) -> Result<Step<Rows>, EngineError> {
    let lists: Vec<List> = tables.map(|(table, rows)| keys(table, rows)).collect();

    let mut counted = Rows::new();
    for list in &lists {
        let Some(rows) = facts.list(list) else {
            return Ok(Step::Read(lists.into_iter().map(Query::List).collect()));
        };
        if !rows.is_empty() {
            counted.insert(list.table.0.name, rows.len() as u64);
        }
    }
    Ok(Step::Answer(counted))
}

/// The keys of rows, named after their table.
fn keys(table: TableRef, predicate: Predicate) -> List {
    let own = table.key.iter().copied().filter(|column| column.name != "partition_key");
    List {
        name: table.0.name.into(),
        table,
        join: None,
        of_each: None,
        columns: table.key.to_vec(),
        predicate,
        order: own.map(|column| (column, Ascending)).collect(),
        limit: Expr::int(COUNTED),
    }
}

/// Finds the executions with more than [`PIECE`] frames among those with a completion event of a
/// range.
#[derive(Clone, Copy, Debug)]
pub struct LongStreams {
    /// The number before the range.
    pub after: i64,
    /// The last number of the range.
    pub last: i64,
}

/// The executions with many frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Long {
    /// These.
    These(HashSet<Uuid>),
    /// There are too many streams to tell.
    Any,
}

impl Long {
    /// Returns true if the execution may have many frames.
    #[must_use]
    pub fn contains(&self, uuid: Uuid) -> bool {
        match self {
            Self::These(uuids) => uuids.contains(&uuid),
            Self::Any => true,
        }
    }
}

impl Transition for LongStreams {
    type Outcome = Long;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Long>, EngineError> {
        let list = List {
            name: "streams of ended executions".into(),
            table: completion_event::REF,
            of_each: None,
            join: Some(Join {
                table: stream_meta::REF,
                on: vec![
                    (completion_event::partition_key.column(), stream_meta::partition_key.column()),
                    (completion_event::execution_id.column(), stream_meta::execution_id.column()),
                ],
            }),
            columns: vec![
                stream_meta::execution_id.column(),
                stream_meta::next_seq.column(),
                stream_meta::trimmed_count.column(),
            ],
            predicate: completion_event::event_id
                .above(self.after)
                .and(completion_event::event_id.at_most(self.last)),
            order: vec![
                (completion_event::event_id.column(), Ascending),
                (stream_meta::attempt_index.column(), Ascending),
            ],
            limit: Expr::int(STREAMS),
        };
        let Some(rows) = facts.list(&list) else {
            return Ok(Step::Read(vec![Query::List(list)]));
        };
        if i64::try_from(rows.len()).unwrap_or(i64::MAX) == STREAMS {
            return Ok(Step::Answer(Long::Any));
        }

        let mut frames: HashMap<Uuid, i64> = HashMap::new();
        for row in rows {
            let next = i64::from(row.read(stream_meta::next_seq)?);
            // Rows of older databases did not count.
            let count =
                if next == 0 { i64::MAX } else { next - row.read(stream_meta::trimmed_count)? };
            let of_execution = frames.entry(row.read(stream_meta::execution_id)?).or_default();
            *of_execution = of_execution.saturating_add(count);
        }
        let long = frames.into_iter().filter(|(_, count)| i64::from(PIECE) < *count);
        Ok(Step::Answer(Long::These(long.map(|(uuid, _)| uuid).collect())))
    }
}
