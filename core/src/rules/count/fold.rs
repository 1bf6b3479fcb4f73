//! Folding: the rows of one group become one row with their sum.
//!
//! The database picks the rows, deletes them and inserts their sum in one plan. So the sum of a
//! group stays what it is, however many scanners fold at the same time: a row that another scanner
//! has folded is not there to be picked.

use std::collections::BTreeMap;

use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::plan::facts::{Facts, Row};
use crate::plan::{Expr, List, OnConflict, Pairing, Path, Plan, Predicate, Return, Selection};
use crate::rules::count::read::WINDOW_MINUTES;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Then, Transition};
use crate::schema::Direction::Ascending;
use crate::schema::count::{MINUTE_MS, exec_count};

/// The most rows that one scan lists: more than a busy database adds between two scans.
const LISTED: i64 = 50_000;

/// The most rows that one plan folds.
const FOLDED: usize = 5_000;

/// The minutes after which failures are counted without the minute of their end.
const KEPT_MINUTES: i64 = 2 * WINDOW_MINUTES;

/// The name of a picked row in plans.
const COUNT: &str = "count";

/// One group of executions, as the columns of a count name it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    /// The lane.
    pub lane_id: String,
    /// The kind; empty where the executions have none.
    pub execution_kind: String,
    /// The state, as it is stored.
    pub public_state: String,
    /// The class of the failure; empty where they have not failed.
    pub failure_class: String,
    /// The minute of the end; 0 where it does not matter.
    pub ended_minute: i64,
}

/// Replaces rows of the counts by one row with their sum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fold {
    /// Rows of one group.
    Sum {
        /// The group of the new row.
        into: Group,
        /// The numbers of the rows.
        rows: Vec<i64>,
    },
    /// Rows that count nothing, which need no row at all.
    Nothing {
        /// The numbers of the rows.
        rows: Vec<i64>,
    },
}

/// The rows of the counts, in the order of their numbers.
#[must_use]
pub fn rows() -> List {
    List {
        name: "rows of the counts".into(),
        table: exec_count::REF,
        join: None,
        of_each: None,
        columns: exec_count::REF.columns.to_vec(),
        predicate: Predicate::Always,
        order: vec![(exec_count::count_id.column(), Ascending)],
        limit: Expr::int(LISTED),
    }
}

/// The folds of these rows.
///
/// # Errors
/// `Validation(Corruption)` for a row that cannot be read.
pub fn folds(rows: &[Row], now: TimestampMs) -> Result<Vec<Fold>, EngineError> {
    let kept_since = now.0 / MINUTE_MS - KEPT_MINUTES;
    let mut groups: BTreeMap<Group, (bool, Vec<i64>)> = BTreeMap::new();
    let mut empty = Vec::new();

    for row in rows {
        let number = row.read(exec_count::count_id)?;
        if row.read(exec_count::n)? == 0 {
            empty.push(number);
            continue;
        }
        let mut group = Group::read(row)?;
        let is_old = group.ended_minute != 0 && group.ended_minute < kept_since;
        if is_old {
            group.ended_minute = 0;
        }
        let (moves, of_group) = groups.entry(group).or_default();
        *moves |= is_old;
        of_group.push(number);
    }

    let mut folds: Vec<Fold> =
        empty.chunks(FOLDED).map(|rows| Fold::Nothing { rows: rows.to_vec() }).collect();
    for (into, (moves, rows)) in groups {
        // One row of its own minute is as it should be.
        if moves || 1 < rows.len() {
            let part = |rows: &[i64]| Fold::Sum { into: into.clone(), rows: rows.to_vec() };
            folds.extend(rows.chunks(FOLDED).map(part));
        }
    }
    Ok(folds)
}

impl Group {
    fn read(row: &Row) -> Result<Self, EngineError> {
        Ok(Self {
            lane_id: row.read(exec_count::lane_id)?,
            execution_kind: row.read(exec_count::execution_kind)?,
            public_state: row.read(exec_count::public_state)?,
            failure_class: row.read(exec_count::failure_class)?,
            ended_minute: row.read(exec_count::ended_minute)?,
        })
    }
}

impl Fold {
    /// What it is about, for logs.
    #[must_use]
    pub fn subject(&self) -> String {
        match self {
            Self::Sum { into, .. } => format!("{}/{}", into.lane_id, into.public_state),
            Self::Nothing { rows } => format!("{} rows", rows.len()),
        }
    }

    fn plan(&self) -> Plan {
        let (rows, only) = match self {
            Self::Sum { rows, .. } => (rows, Predicate::Always),
            Self::Nothing { rows } => (rows, exec_count::n.equals(0)),
        };
        let mut plan = Plan::new("fold_counts");
        plan.selection = Some(Selection {
            row: COUNT.into(),
            table: exec_count::REF,
            predicate: exec_count::count_id.is_among(rows.iter().copied()).and(only),
            order: vec![(exec_count::count_id.column(), Ascending)],
            pairing: Pairing::Every,
        });

        if let Self::Sum { into, .. } = self {
            let row = vec![
                exec_count::lane_id.with(into.lane_id.clone()),
                exec_count::execution_kind.with(into.execution_kind.clone()),
                exec_count::public_state.with(into.public_state.clone()),
                exec_count::failure_class.with(into.failure_class.clone()),
                exec_count::ended_minute.with(into.ended_minute),
                exec_count::n.with_expr(Expr::PickedSum(exec_count::n.column())),
            ];
            plan = plan.insert(exec_count::REF, row, OnConflict::Refuse);
        }
        let picked = vec![exec_count::count_id.with_expr(exec_count::count_id.of(COUNT))];
        plan = plan.delete(exec_count::REF, picked);
        let number = Path::column(exec_count::count_id.column());
        plan.returns = vec![Return::Held(COUNT.into(), number)];
        plan
    }
}

impl Transition for Fold {
    /// True if rows were folded.
    type Outcome = bool;

    fn step(&self, _: &Facts, _: &mut Ctx<'_>) -> Result<Step<bool>, EngineError> {
        let then = Then::FromRows(Box::new(|rows| Ok(!rows.is_empty())));
        Ok(Step::Commit(self.plan(), then))
    }
}
