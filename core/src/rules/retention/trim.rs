//! The removal of an ended execution, and of a flow without members.
//!
//! Frames and edges may be many, so they go in pieces of [`PIECE`] rows before the rest. The other
//! rows of one execution are bounded by its policy and by what operators did to it, and go with it
//! in one plan.

use uuid::Uuid;

use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::plan::facts::{Facts, Row};
use crate::plan::{Expr, Guard, List, Mutation, Pairing, Path, Plan, Predicate, Query, Selection};
use crate::rules::changes::Changes;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Step, Then, Transition, Verdict};
use crate::rules::flow::end::is_sealed;
use crate::rules::flow::key::{FLOW, FlowKey};
use crate::rules::key::{CORE, ExecutionKey};
use crate::rules::premise::{Condition, Premise, answer, lookup};
use crate::rules::retention::dependants::{self, Reference};
use crate::rules::retention::ended::Ended;
use crate::schema::Direction::Ascending;
use crate::schema::execution::{exec_core, finished};
use crate::schema::flow::{edge, edge_group, flow_core};
use crate::schema::suspension::{stream_frame, suspend_dedup};
use crate::schema::{Col, ColumnRef, Direction, TableRef};

/// The most rows of one kind that one plan removes.
pub const PIECE: u32 = 1_000;

/// The name that plans give a row that is picked to be removed.
const ROW: &str = "row";

/// Removes an execution with all its rows, if it is still as it was read.
#[derive(Clone, Copy, Debug)]
pub struct TrimExecution {
    key: ExecutionKey,
    version: i64,
}

impl TrimExecution {
    /// The removal of an execution that had ended.
    #[must_use]
    pub fn new(ended: &Ended) -> Self {
        Self { key: ended.key, version: ended.version }
    }
}

impl Decision for TrimExecution {
    /// True if it was removed now.
    type Outcome = bool;

    const NAME: &'static str = "trim_execution";

    fn premises(&self, _: TimestampMs) -> Vec<Premise<bool>> {
        vec![Premise::execution(&self.key, still_as_read(self.version)).or_if_absent(answer(false))]
    }

    fn expects(&self) -> bool {
        true
    }

    fn decide(&self, _: &Facts, _: TimestampMs, _: &mut Ctx<'_>) -> Decided<bool> {
        let changes = Changes::of(dependants::removals());

        // Of these rows, a part of a text names the execution, so the database picks them.
        let keyed =
            Picked { table: suspend_dedup::REF, rows: rows_of(suspend_dedup::REF, &self.key) };
        let partition = exec_core::partition_key.of(CORE);
        let removed = keyed.removal_in(suspend_dedup::partition_key.with_expr(partition));
        let changes = changes.and([removed]).picking(keyed.selection(Pairing::Every));

        Verdict::change(changes, true)
    }
}

fn still_as_read(version: i64) -> Vec<Condition<bool>> {
    vec![
        Condition::new(finished(), answer(false)),
        Condition::new(exec_core::version.equals(version), answer(false)),
    ]
}

/// Rows of one table that the database picks to be removed.
struct Picked {
    table: TableRef,
    rows: Predicate,
}

impl Picked {
    fn selection(&self, pairing: Pairing) -> Selection {
        let (row, predicate) = (ROW.into(), self.rows.clone());
        Selection { row, table: self.table, predicate, order: self.order(), pairing }
    }

    /// The first of these rows, by their keys.
    fn first(&self, name: &'static str, limit: u32) -> List {
        List {
            name: name.into(),
            table: self.table,
            join: None,
            of_each: None,
            columns: self.table.key.to_vec(),
            predicate: self.rows.clone(),
            order: self.order(),
            limit: Expr::int(i64::from(limit)),
        }
    }

    fn order(&self) -> Vec<(ColumnRef, Direction)> {
        let own = self.table.key.iter().filter(|column| column.name != "partition_key");
        own.map(|column| (*column, Ascending)).collect()
    }

    fn removal(&self) -> Mutation {
        Mutation::delete(self.table, self.table.key.iter().copied().map(of_picked).collect())
    }

    /// The removal of a picked row in a partition that is known.
    fn removal_in(&self, partition: (ColumnRef, Expr)) -> Mutation {
        let others = self.table.key.iter().copied().filter(|column| *column != partition.0);
        let key = [partition.clone()].into_iter().chain(others.map(of_picked)).collect();
        Mutation::delete(self.table, key)
    }
}

fn of_picked(column: ColumnRef) -> (ColumnRef, Expr) {
    (column, Expr::Held(ROW.into(), Path::column(column)))
}

fn rows_of(table: TableRef, key: &ExecutionKey) -> Predicate {
    let mut references = dependants::of_executions().filter(|(named, _)| *named == table);
    references.next().map_or(Predicate::Always, |(_, reference)| reference.rows_of(key))
}

/// Removes up to [`PIECE`] rows of one table: frames of an execution, or edges or groups of a flow.
/// Frames of one millisecond go together.
pub struct TrimPiece {
    name: &'static str,
    guards: Vec<Guard>,
    picked: Picked,
    /// The condition on the rows that are removed, from those that were listed.
    piece: fn(&[Row]) -> Result<Predicate, EngineError>,
}

impl TrimPiece {
    /// Frames of an execution that had ended.
    #[must_use]
    pub fn frames(ended: &Ended) -> Self {
        let holds = finished().and(exec_core::version.equals(ended.version));
        let guards = vec![Guard::new(CORE, exec_core::REF, ended.key.core(), holds)];
        let rows = rows_of(stream_frame::REF, &ended.key);
        let picked = Picked { table: stream_frame::REF, rows };
        Self { name: "trim_frames", guards, picked, piece: first_frames }
    }

    /// Edges of a flow without members.
    #[must_use]
    pub fn edges(flow: FlowKey, is_there: bool) -> Self {
        let picked = Picked { table: edge::REF, rows: flow.edges() };
        let piece = |rows: &[Row]| Ok(edge::edge_id.is_among(ids(rows, edge::edge_id)?));
        Self { name: "trim_edges", guards: of_flow(flow, is_there), picked, piece }
    }

    /// Groups of a flow without members.
    #[must_use]
    pub fn groups(flow: FlowKey, is_there: bool) -> Self {
        let picked = Picked { table: edge_group::REF, rows: groups_of(flow) };
        let piece = |rows: &[Row]| {
            let downstream = edge_group::downstream_eid;
            Ok(downstream.is_among(ids(rows, downstream)?))
        };
        Self { name: "trim_groups", guards: of_flow(flow, is_there), picked, piece }
    }
}

fn groups_of(flow: FlowKey) -> Predicate {
    edge_group::partition_key.equals(flow.partition).and(edge_group::flow_id.equals(flow.uuid))
}

fn of_flow(flow: FlowKey, is_there: bool) -> Vec<Guard> {
    if is_there { vec![sealed(flow)] } else { Vec::new() }
}

fn ids(rows: &[Row], column: Col<Uuid>) -> Result<Vec<Uuid>, EngineError> {
    rows.iter().map(|row| row.read(column)).collect()
}

/// The listed frames of the first attempt among them, and those of the same millisecond.
fn first_frames(rows: &[Row]) -> Result<Predicate, EngineError> {
    let attempts = rows.iter().map(|row| row.read(stream_frame::attempt_index));
    let attempts = attempts.collect::<Result<Vec<_>, _>>()?;
    let first = attempts.first().copied().unwrap_or_default();

    let mut of_first = rows.iter().zip(&attempts).filter(|(_, attempt)| **attempt == first);
    let last = of_first.next_back().map(|(row, _)| row.read(stream_frame::ts_ms)).transpose()?;
    let until = stream_frame::ts_ms.at_most(last.unwrap_or_default());
    Ok(stream_frame::attempt_index.equals(first).and(until))
}

impl Transition for TrimPiece {
    /// The number of rows that were listed; 0 also where the guard no longer holds.
    type Outcome = u32;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<u32>, EngineError> {
        if facts.refusals() != 0 {
            return Ok(Step::Answer(0));
        }
        let list = self.picked.first(self.name, PIECE);
        let Some(rows) = facts.list(&list) else {
            return Ok(Step::Read(vec![Query::List(list)]));
        };
        if rows.is_empty() {
            return Ok(Step::Answer(0));
        }

        let picked = Picked {
            table: self.picked.table,
            rows: self.picked.rows.clone().and((self.piece)(rows)?),
        };
        let plan = Plan {
            guards: self.guards.clone(),
            selection: Some(picked.selection(Pairing::Every)),
            ..Plan::new(self.name)
        };
        let listed = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        Ok(Step::Commit(plan.and([picked.removal()]), Then::Answer(listed)))
    }
}

fn sealed(flow: FlowKey) -> Guard {
    flow.guard(flow_core::sealed_at_ms.is_present())
}

/// Removes a flow with all its rows, if it has no member left and is sealed.
#[derive(Clone, Copy, Debug)]
pub struct TrimFlow {
    /// The flow.
    pub flow: FlowKey,
}

/// The answer of [`TrimFlow`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowTrimmed {
    /// It is gone now.
    Gone,
    /// It has edges or groups, which go first; its own row is there, or was never.
    HasEdges {
        /// True if the flow has a row.
        is_there: bool,
    },
    /// It stays: it has members, or goes on.
    Stays,
}

impl TrimFlow {
    fn lists(&self) -> [List; 3] {
        let one = |name, table, rows| Picked { table, rows }.first(name, 1);
        [
            one("a member that is left", exec_core::REF, self.flow.members()),
            one("an edge that is left", edge::REF, self.flow.edges()),
            one("a group that is left", edge_group::REF, groups_of(self.flow)),
        ]
    }
}

impl Transition for TrimFlow {
    type Outcome = FlowTrimmed;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<FlowTrimmed>, EngineError> {
        let lists = self.lists();
        if !facts.have_rows() {
            let row = Query::Lookup(vec![lookup(FLOW, flow_core::REF, self.flow.row())]);
            return Ok(Step::Read([row].into_iter().chain(lists.map(Query::List)).collect()));
        }

        let row = facts.row(FLOW);
        let [members, edges, groups] =
            lists.map(|list| facts.list(&list).is_none_or(<[_]>::is_empty));
        if !members || row.is_some_and(|row| !is_sealed(row)) {
            return Ok(Step::Answer(FlowTrimmed::Stays));
        }
        if !(edges && groups) {
            return Ok(Step::Answer(FlowTrimmed::HasEdges { is_there: row.is_some() }));
        }

        let removal = |(table, reference): (TableRef, Reference)| {
            Mutation::delete(table, reference.of_flow(&self.flow))
        };
        let guards = row.map(|_| sealed(self.flow)).into_iter().collect();
        let plan = Plan { guards, ..Plan::new("trim_flow") };
        let plan = plan.and(dependants::of_flows().map(removal));
        Ok(Step::Commit(plan, Then::Answer(FlowTrimmed::Gone)))
    }
}
