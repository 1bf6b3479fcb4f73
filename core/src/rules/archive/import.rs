//! The import of a line: one plan that adds all its rows, or none.
//!
//! The row of the execution or flow decides: where it is there already, nothing is added. Event
//! numbers stay as they are, so a number that another event has refuses the line. Parts come first
//! and are passed over where their rows are there, so that an import that was cut off goes on.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use crate::contracts::{ImportRun, Imported};
use crate::model::error::EngineError;
use crate::model::partition::PartitionConfig;
use crate::model::policy::ExecutionPolicy;
use crate::plan::facts::{Facts, Row};
use crate::plan::value::{ColumnType, Storable as _, Value};
use crate::plan::{Expr, List, Lookup, Mutation, OnConflict, Plan, Predicate, Query};
use crate::rules::archive::record::{Record, Subject, archived_columns, stand_in};
use crate::rules::archive::value::{as_item, to_json};
use crate::rules::budget::room::register_in_use;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Then, Transition};
use crate::rules::execution::read;
use crate::rules::flow::key::FLOW;
use crate::rules::input;
use crate::rules::key::CORE;
use crate::rules::row_list::items;
use crate::schema::admin::lane_registry;
use crate::schema::execution::exec_core;
use crate::schema::flow::flow_core;
use crate::schema::{ColumnRef, Default as Absent, Direction, TableRef};

/// The most taken numbers that one statement lists; the first of them is reported.
const TAKEN: i64 = 10;

/// Adds the rows of a line.
#[derive(Clone, Copy, Debug)]
pub struct ImportRecord<'a> {
    record: &'a Record,
    run: &'a ImportRun,
    partitions: PartitionConfig,
}

impl<'a> ImportRecord<'a> {
    /// The import of a line that was checked.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for a partition that this database does not have.
    pub fn new(
        record: &'a Record,
        run: &'a ImportRun,
        partitions: PartitionConfig,
    ) -> Result<Self, EngineError> {
        let partition = match record.subject {
            Subject::Execution(key) => key.partition,
            Subject::Flow(key) => key.partition,
        };
        let most = partitions.num_flow_partitions;
        if most <= partition.unsigned_abs() {
            let what = format!("partition {partition}: this database has {most}, from 0 on");
            return Err(input::invalid(what));
        }
        Ok(Self { record, run, partitions })
    }

    /// The row of the execution or flow, where the line has it.
    fn head(&self) -> Option<&'a Row> {
        self.record.rows_of(self.head_table()).first()
    }

    fn head_table(&self) -> TableRef {
        match self.record.subject {
            Subject::Execution(_) => exec_core::REF,
            Subject::Flow(_) => flow_core::REF,
        }
    }

    /// The look-up of the row of the execution or flow.
    fn stored(&self) -> Lookup {
        let (row, key) = match self.record.subject {
            Subject::Execution(key) => (CORE, key.core()),
            Subject::Flow(key) => (FLOW, key.row()),
        };
        let table = self.head_table();
        Lookup { row: row.into(), table, key, columns: archived_columns(table).collect() }
    }

    /// The events that have numbers of the line.
    fn taken(&self) -> Vec<List> {
        let lists = self.record.rows.iter().filter_map(|(table, rows)| {
            let number = table.0.identity()?;
            let most = self.run.taken_up_to.get(table.0.name).copied().unwrap_or_default();
            let numbers = rows.iter().filter_map(|row| i64::from_value(row.value(number)?));
            let numbers: Vec<String> =
                numbers.filter(|number| *number <= most).map(|number| number.to_string()).collect();

            (!numbers.is_empty()).then(|| List {
                name: format!("taken numbers of {}", table.0.name).into(),
                table: *table,
                join: None,
                of_each: None,
                columns: vec![number],
                predicate: Predicate::Among(number, numbers.into_expr()),
                order: vec![(number, Direction::Ascending)],
                limit: Expr::int(TAKEN),
            })
        });
        lists.collect()
    }

    /// The answer where the execution or flow is there already.
    fn compared(&self, stored: &Row) -> Imported {
        let same = self.head().is_some_and(|row| {
            let written = |row: &Row, column| row.value(column).and_then(to_json);
            let mut columns = archived_columns(self.head_table());
            columns.all(|column| written(row, column) == written(stored, column))
        });
        if same { Imported::AlreadyThere } else { Imported::Differs }
    }

    fn plan(&self, ctx: &Ctx<'_>) -> Result<Plan, EngineError> {
        let tables = self.record.subject.tables().into_iter().map(|(table, _)| table);
        if self.record.is_part {
            let parts = self
                .record
                .rows
                .iter()
                .map(|(table, rows)| insert_each(*table, rows, OnConflict::Ignore));
            return Ok(Plan::new("import_part").and(parts.collect::<Result<Vec<_>, _>>()?));
        }

        let rest = tables.filter(|table| *table != self.head_table());
        let Some(head) = self.head() else {
            // A flow without a row, of an older database.
            let rest = rest.map(|table| self.rows(table, OnConflict::Ignore));
            return Ok(Plan::new("import_edges").and(rest.collect::<Result<Vec<_>, _>>()?));
        };

        let name = match self.record.subject {
            Subject::Execution(_) => "import_execution",
            Subject::Flow(_) => "import_flow",
        };
        let gate =
            Mutation::insert(self.head_table(), bound(self.head_table(), head), OnConflict::Refuse);
        let rest = rest.map(|table| self.rows(table, OnConflict::Refuse));
        let plan = Plan::new(name).and([gate]).and(rest.collect::<Result<Vec<_>, _>>()?);
        match self.record.subject {
            Subject::Execution(_) => Ok(plan.and(self.registrations(head, ctx)?)),
            Subject::Flow(_) => Ok(plan),
        }
    }

    fn rows(&self, table: TableRef, on_conflict: OnConflict) -> Result<Mutation, EngineError> {
        insert_each(table, self.record.rows_of(table), on_conflict)
    }

    /// The lane and the budgets of the execution, which a replay of it relies on.
    fn registrations(&self, core: &Row, ctx: &Ctx<'_>) -> Result<Vec<Mutation>, EngineError> {
        let lane = read::lane(core)?;
        let registered = vec![
            lane_registry::lane_id.with(lane.as_str().to_owned()),
            lane_registry::registered_at_ms.with(core.read(exec_core::created_at_ms)?),
            lane_registry::registered_by.with("import".to_owned()),
        ];
        let registered = Mutation::insert(lane_registry::REF, registered, OnConflict::Ignore);

        let policy = core.read(exec_core::policy)?;
        // A policy that no engine can read names no budget.
        let policy: Option<ExecutionPolicy> =
            policy.and_then(|policy| serde_json::from_value(policy).ok());
        let in_use =
            policy.map(|policy| register_in_use(&policy, &lane, &self.partitions, ctx.now));
        Ok([registered].into_iter().chain(in_use.transpose()?.flatten()).collect())
    }
}

impl Transition for ImportRecord<'_> {
    type Outcome = Imported;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<Imported>, EngineError> {
        let taken = self.taken();
        if !facts.have_rows() {
            let row = Query::Lookup(vec![self.stored()]);
            return Ok(Step::Read(
                [row].into_iter().chain(taken.into_iter().map(Query::List)).collect(),
            ));
        }

        let stored = facts.row(CORE).or_else(|| facts.row(FLOW));
        match (stored, self.record.is_part) {
            (Some(stored), false) => return Ok(Step::Answer(self.compared(stored))),
            (Some(_), true) => return Ok(Step::Answer(Imported::AlreadyThere)),
            (None, _) => {}
        }
        for list in &taken {
            let number = facts.list(list).and_then(|rows| rows.first());
            let number = number.and_then(|row| row.value(*list.columns.first()?));
            if let Some(number) = number {
                let what = "another event has this number";
                let (table, column) = (list.table.0.name, "event_id");
                return Err(input::invalid(format!("{table}.{column}: {number}: {what}")));
            }
        }
        if facts.refusals() != 0 {
            let what = "another row has the key of one of these";
            return Err(input::invalid(format!("rows: {what}")));
        }

        Ok(Step::Commit(self.plan(ctx)?, Then::Answer(Imported::Added)))
    }
}

/// The columns of a row that is added, in the order of the schema.
fn imported_columns(table: TableRef) -> impl Iterator<Item = ColumnRef> {
    table.0.columns.iter().copied().filter(|column| column.default != Absent::Transaction)
}

fn bound(table: TableRef, row: &Row) -> Vec<(ColumnRef, Expr)> {
    let cell = |column: ColumnRef| {
        let value = row.value(column).cloned().unwrap_or(Value::Null);
        (column, Expr::Value(column.ty, vec![value]))
    };
    imported_columns(table).map(cell).collect()
}

/// One row more for each of these, whatever their number.
fn insert_each(
    table: TableRef,
    rows: &[Row],
    on_conflict: OnConflict,
) -> Result<Mutation, EngineError> {
    let list: Vec<Json> = rows.iter().map(|row| item(table, row)).collect();
    let row = imported_columns(table).map(|column| (column, Expr::item(column.ty, column.name)));
    Ok(Mutation::insert_each(table, items(&list)?, row.collect(), on_conflict))
}

fn item(table: TableRef, row: &Row) -> Json {
    let member = |column: ColumnRef| {
        let value = row.value(column).cloned().or_else(|| stand_in(column))?;
        Some((column.name.to_owned(), as_item(&value)?))
    };
    Json::Object(imported_columns(table).filter_map(member).collect::<Map<_, _>>())
}

/// Has a table number its next row above a number, by a row that is gone again. For a database that
/// counts the numbers that rows are given.
#[must_use]
pub fn number_above(table: TableRef, number: i64) -> Option<Plan> {
    let identity = table.0.identity()?;
    let value = |column: &ColumnRef| {
        let value = match column.ty {
            _ if *column == identity => Value::Int(number),
            ColumnType::SmallInt | ColumnType::Int | ColumnType::BigInt => Value::Int(0),
            ColumnType::Bool => Value::Bool(false),
            ColumnType::Float => Value::Float(0.0),
            ColumnType::Text => {
                Value::Text((column.spellings)().first().map_or("", |word| word).into())
            }
            ColumnType::Bytes => Value::Bytes(Vec::new()),
            ColumnType::Uuid => Value::Uuid(uuid::Uuid::nil()),
            ColumnType::Json => Value::Json(Json::Null),
            ColumnType::TextList => Value::TextList(Vec::new()),
        };
        (*column, Expr::Value(column.ty, vec![value]))
    };

    let needed = |column: &&ColumnRef| {
        **column == identity || (!column.nullable && column.default == Absent::Required)
    };
    let row = table.0.columns.iter().filter(needed).map(value).collect();
    let key = table.0.key.iter().map(value).collect();
    // A row that has the number already shows that it was counted.
    let plan = Plan::new("number_above").insert(table, row, OnConflict::Refuse);
    Some(plan.delete(table, key))
}

/// The outboxes with the number of their rows.
pub fn outboxes() -> impl Iterator<Item = (TableRef, ColumnRef)> {
    let tables: BTreeMap<&str, TableRef> =
        crate::schema::TABLES.iter().map(|table| (table.name, TableRef(table))).collect();
    tables.into_values().filter_map(|table| Some((table, table.0.identity()?)))
}
