//! The reads of an archive: the rows of an execution or a flow, and the last end of a flow.

use uuid::Uuid;

use crate::model::error::EngineError;
use crate::plan::facts::{Facts, Row};
use crate::plan::value::Storable as _;
use crate::plan::{Expr, Join, List, Lookup, Predicate, Query};
use crate::rules::archive::record::{
    PART, Rows, Subject, archived_columns, behind, order, parted_by,
};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Transition};
use crate::rules::flow::key::{FLOW, FlowKey};
use crate::rules::input;
use crate::rules::key::CORE;
use crate::schema::Direction::{Ascending, Descending};
use crate::schema::execution::exec_core;
use crate::schema::flow::flow_core;
use crate::schema::outbox::completion_event;
use crate::schema::{ColumnRef, TableRef};

/// The most rows that one execution or flow has in a table that is not read in parts.
const MOST: i64 = 100_000;

/// Reads the rows of an execution or a flow; of tables in parts, the first part.
#[derive(Clone, Copy, Debug)]
pub struct ReadWhole(pub Subject);

/// The rows of an execution or a flow.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// These.
    Rows(Rows),
    /// They changed while they were read.
    Changed,
}

impl ReadWhole {
    /// The look-up that shows whether the rows changed while they were read.
    fn version(&self) -> Lookup {
        match self.0 {
            Subject::Execution(key) => Lookup {
                row: CORE.into(),
                table: exec_core::REF,
                key: key.core(),
                columns: vec![exec_core::version.column()],
            },
            Subject::Flow(key) => Lookup {
                row: FLOW.into(),
                table: flow_core::REF,
                key: key.row(),
                columns: vec![flow_core::version.column()],
            },
        }
    }

    /// The version of the row that was listed first, and of the one that was looked up last.
    fn versions(&self, facts: &Facts, rows: &Rows) -> [Option<i64>; 2] {
        let (name, table, column) = match self.0 {
            Subject::Execution(_) => (CORE, exec_core::REF, exec_core::version),
            Subject::Flow(_) => (FLOW, flow_core::REF, flow_core::version),
        };
        let listed = rows.iter().find(|(own, _)| *own == table).and_then(|(_, rows)| rows.first());
        [listed, facts.row(name)].map(|row| row.and_then(|row| row.read(column).ok()))
    }
}

impl Transition for ReadWhole {
    type Outcome = Found;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Found>, EngineError> {
        let lists: Vec<List> =
            self.0.tables().into_iter().map(|(table, rows)| list(table, rows, None)).collect();
        if !facts.have_rows() {
            let version = Query::Lookup(vec![self.version()]);
            return Ok(Step::Read(lists.into_iter().map(Query::List).chain([version]).collect()));
        }

        let mut rows = Rows::new();
        for list in lists {
            let found = facts.list(&list).unwrap_or_default().to_vec();
            if parted_by(list.table).is_none()
                && i64::try_from(found.len()).is_ok_and(|n| n == MOST)
            {
                let what = format!("{} has more than {MOST} rows of {}", self.0, list.table.0.name);
                return Err(input::invalid(what));
            }
            rows.push((list.table, found));
        }

        let [before, after] = self.versions(facts, &rows);
        Ok(Step::Answer(if before == after { Found::Rows(rows) } else { Found::Changed }))
    }
}

/// Reads the next part of the rows of one table.
#[derive(Clone, Debug)]
pub struct ReadPart<'a> {
    /// The thing that they belong to.
    pub subject: Subject,
    /// The table.
    pub table: TableRef,
    /// The last row of the part before.
    pub last: Option<&'a Row>,
}

impl Transition for ReadPart<'_> {
    type Outcome = Vec<Row>;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Vec<Row>>, EngineError> {
        let tables = self.subject.tables().into_iter();
        let rows = tables.filter(|(table, _)| *table == self.table).map(|(_, rows)| rows).next();
        let list = list(self.table, rows.unwrap_or(Predicate::Always), self.last);
        Ok(match facts.list(&list) {
            None => Step::Read(vec![Query::List(list)]),
            Some(rows) => Step::Answer(rows.to_vec()),
        })
    }
}

/// The archived columns of rows, named after their table.
fn list(table: TableRef, rows: Predicate, last: Option<&Row>) -> List {
    let (predicate, limit) = match parted_by(table) {
        Some(columns) => (rows.and(behind(&columns, last)), i64::from(PART)),
        None => (rows, MOST),
    };
    List {
        name: table.0.name.into(),
        table,
        join: None,
        of_each: None,
        columns: archived_columns(table).collect(),
        predicate,
        order: order(table),
        limit: Expr::int(limit),
    }
}

/// The most events of members that one statement lists.
const ENDS: u32 = 1_000;

/// Finds the last completion event of the members of a flow; 0 if there is none.
#[derive(Clone, Copy, Debug)]
pub struct LastEnd {
    /// The flow.
    pub flow: FlowKey,
}

impl LastEnd {
    fn page(&self, after: (Uuid, i64)) -> List {
        let (member, event) = (exec_core::execution_id, completion_event::event_id);
        let behind = Predicate::After(vec![member.with(after.0), event.with(after.1)]);
        List {
            name: "ends in a flow".into(),
            table: exec_core::REF,
            of_each: None,
            join: Some(Join {
                table: completion_event::REF,
                on: vec![
                    (exec_core::partition_key.column(), completion_event::partition_key.column()),
                    (exec_core::execution_id.column(), completion_event::execution_id.column()),
                ],
            }),
            columns: vec![member.column(), event.column()],
            predicate: self.flow.members().and(behind),
            order: vec![(member.column(), Ascending), (event.column(), Ascending)],
            limit: Expr::int(i64::from(ENDS)),
        }
    }
}

impl Transition for LastEnd {
    type Outcome = i64;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<i64>, EngineError> {
        let name = self.page((Uuid::nil(), 0)).name;
        let (mut last, mut after, mut is_complete) = (0, (Uuid::nil(), 0), false);
        for rows in facts.pages(&name) {
            is_complete = rows.len() < ENDS as usize;
            for row in rows {
                let event = row.read(completion_event::event_id)?;
                after = (row.read(exec_core::execution_id)?, event);
                last = event.max(last);
            }
        }
        Ok(if is_complete {
            Step::Answer(last)
        } else {
            Step::Read(vec![Query::List(self.page(after))])
        })
    }
}

/// Finds the highest number of a table that the database numbers; 0 for an empty one.
#[derive(Clone, Copy, Debug)]
pub struct Newest {
    /// The table.
    pub table: TableRef,
    /// Its number.
    pub number: ColumnRef,
}

impl Transition for Newest {
    type Outcome = i64;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<i64>, EngineError> {
        let list = List {
            name: format!("the newest of {}", self.table.0.name).into(),
            table: self.table,
            join: None,
            of_each: None,
            columns: vec![self.number],
            predicate: Predicate::Always,
            order: vec![(self.number, Descending)],
            limit: Expr::int(1),
        };
        let Some(rows) = facts.list(&list) else {
            return Ok(Step::Read(vec![Query::List(list)]));
        };
        let number = rows.first().and_then(|row| row.value(self.number));
        Ok(Step::Answer(number.and_then(i64::from_value).unwrap_or_default()))
    }
}
