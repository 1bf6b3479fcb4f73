//! Lines of an archive as text: written in one way, and read with an error that names the field.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value as Json};

use crate::model::ids::ExecutionId;
use crate::plan::facts::Row;
use crate::plan::{Held, Predicate};
use crate::rules::archive::record::{Record, Rows, Subject, archived_columns, parted_by};
use crate::rules::archive::value::{from_json, to_json};
use crate::rules::flow::end::is_over;
use crate::rules::flow::key::FlowKey;
use crate::rules::key::ExecutionKey;
use crate::schema::execution::{exec_core, finished};
use crate::schema::flow::flow_core;
use crate::schema::{TableRef, VERSION};

/// The version of the form of lines.
const FORM: u64 = 1;

/// The first line of a file.
#[must_use]
pub fn header() -> String {
    format!("{{\"flowfabric_archive\":{FORM},\"schema\":{VERSION}}}")
}

/// An error in a line, with the member of the line that it is about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {what}")]
pub struct LineError {
    /// The member, such as `rows.ff_attempt[0].lease_epoch`.
    pub field: String,
    /// The error in words.
    pub what: String,
}

fn broken<T>(field: impl Into<String>, what: impl Into<String>) -> Result<T, LineError> {
    Err(LineError { field: field.into(), what: what.into() })
}

/// Checks the first line of a file.
///
/// # Errors
/// A line that is none, and one of a newer form or schema.
pub fn read_header(line: &str) -> Result<(), LineError> {
    let header: Option<Map<String, Json>> = serde_json::from_str(line).ok();
    let header = header.unwrap_or_default();
    for (field, most) in [("flowfabric_archive", FORM), ("schema", u64::from(VERSION))] {
        match header.get(field).and_then(Json::as_u64) {
            None => return broken(field, "this is not the first line of an archive"),
            Some(number) if most < number => {
                let what = format!("written by a newer version: {number}, where {most} is known");
                return broken(field, what);
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// A line, in the order of its members.
#[derive(Serialize)]
struct Line {
    at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    execution: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flow: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    part: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    members: Option<u64>,
    rows: BTreeMap<&'static str, Vec<Json>>,
}

const MEMBERS: [&str; 6] = ["at", "execution", "flow", "part", "members", "rows"];

impl Record {
    /// The text of the line, without its end.
    #[must_use]
    pub fn to_line(&self) -> String {
        let id = self.subject.to_string();
        let (execution, flow) = match self.subject {
            Subject::Execution(_) => (Some(id), None),
            Subject::Flow(_) => (None, Some(id)),
        };

        let filled = self.rows.iter().filter(|(_, rows)| !rows.is_empty());
        let rows = filled.map(|(table, rows)| {
            (table.0.name, rows.iter().map(|row| object(*table, row)).collect())
        });
        let rows = rows.collect();
        let (at, part, members) = (self.at, self.is_part, self.members);
        let line = Line { at, execution, flow, part, members, rows };
        // Maps with text keys and numbers that are finite always have a text.
        serde_json::to_string(&line).unwrap_or_default()
    }

    /// Reads a line.
    ///
    /// # Errors
    /// The first member that is not as it must be.
    pub fn read(text: &str) -> Result<Self, LineError> {
        let line: Map<String, Json> = match serde_json::from_str(text) {
            Ok(line) => line,
            Err(error) => return broken("line", format!("this is no JSON object: {error}")),
        };
        if let Some(unknown) = line.keys().find(|name| !MEMBERS.contains(&name.as_str())) {
            return broken(unknown, "is no member of a line");
        }

        let subject = read_subject(&line)?;
        let record = Self {
            at: read_at(&line)?,
            subject,
            is_part: read_part(&line)?,
            members: read_members(&line)?,
            rows: read_rows(subject, line.get("rows"))?,
        };
        record.check()?;
        Ok(record)
    }

    /// Checks that the rows make up what the line says.
    fn check(&self) -> Result<(), LineError> {
        if self.is_part {
            let whole = self.rows.iter().find(|(table, _)| parted_by(*table).is_none());
            return match whole {
                Some((table, _)) => broken(format!("rows.{}", table.0.name), "is in no part"),
                None => Ok(()),
            };
        }

        let none = Held::default();
        match self.subject {
            Subject::Execution(_) => match self.rows_of(exec_core::REF) {
                [row] if finished().accepts(row, &none) => Ok(()),
                [_] => broken("rows.ff_exec_core[0].lifecycle_phase", "has not ended"),
                _ => broken("rows.ff_exec_core", "expected one row"),
            },
            Subject::Flow(_) => match self.rows_of(flow_core::REF) {
                _ if self.members.is_none() => broken("members", "is missing"),
                [] => Ok(()),
                [row] if is_over(row) => Ok(()),
                [_] => broken("rows.ff_flow_core[0].public_flow_state", "has not ended"),
                _ => broken("rows.ff_flow_core", "expected one row at most"),
            },
        }
    }
}

fn object(table: TableRef, row: &Row) -> Json {
    let member = |column: crate::schema::ColumnRef| {
        Some((column.name.to_owned(), to_json(row.value(column)?)?))
    };
    Json::Object(archived_columns(table).filter_map(member).collect())
}

fn read_at(line: &Map<String, Json>) -> Result<i64, LineError> {
    let at = line.get("at").and_then(Json::as_i64).filter(|at| 0 < *at);
    at.map_or_else(|| broken("at", "expected a number from 1 on"), Ok)
}

fn read_part(line: &Map<String, Json>) -> Result<bool, LineError> {
    match line.get("part") {
        None => Ok(false),
        Some(Json::Bool(part)) => Ok(*part),
        Some(_) => broken("part", "expected true or false"),
    }
}

fn read_members(line: &Map<String, Json>) -> Result<Option<u64>, LineError> {
    let Some(members) = line.get("members") else { return Ok(None) };
    match members.as_u64() {
        None => broken("members", "expected a number"),
        Some(_) if !line.contains_key("flow") => broken("members", "only a flow has them"),
        number @ Some(_) => Ok(number),
    }
}

fn read_subject(line: &Map<String, Json>) -> Result<Subject, LineError> {
    let (field, text) = match (line.get("execution"), line.get("flow")) {
        (Some(text), None) => ("execution", text),
        (None, Some(text)) => ("flow", text),
        (Some(_), Some(_)) => return broken("flow", "a line is about an execution or a flow"),
        (None, None) => return broken("execution", "is missing, and so is flow"),
    };

    let id = text.as_str().and_then(|text| ExecutionId::parse(text).ok());
    let key = id.and_then(|id| ExecutionKey::of(&id).ok());
    match (field, key) {
        ("execution", Some(key)) => Ok(Subject::Execution(key)),
        (_, Some(ExecutionKey { partition, uuid })) => {
            Ok(Subject::Flow(FlowKey { partition, uuid }))
        }
        (_, None) => broken(field, "expected {fp:N}:<uuid>"),
    }
}

fn read_rows(subject: Subject, rows: Option<&Json>) -> Result<Rows, LineError> {
    let Some(Json::Object(by_table)) = rows else { return broken("rows", "expected an object") };
    let tables = subject.tables();
    let known = |name: &str| tables.iter().any(|(table, _)| table.0.name == name);
    if let Some(unknown) = by_table.keys().find(|name| !known(name)) {
        return broken(format!("rows.{unknown}"), "is no table of such a line");
    }

    let mut read = Vec::new();
    for (table, own) in &tables {
        let Some(listed) = by_table.get(table.0.name) else { continue };
        let field = format!("rows.{}", table.0.name);
        let Json::Array(listed) = listed else { return broken(field, "expected a list") };

        let rows = listed.iter().enumerate();
        let rows = rows.map(|(at, row)| read_row(*table, own, &format!("{field}[{at}]"), row));
        read.push((*table, rows.collect::<Result<Vec<_>, _>>()?));
    }
    Ok(read)
}

/// Reads a row that meets the condition on the rows of the line's subject.
fn read_row(table: TableRef, own: &Predicate, field: &str, row: &Json) -> Result<Row, LineError> {
    let Json::Object(members) = row else { return broken(field, "expected an object") };
    let known = |name: &str| archived_columns(table).any(|column| column.name == name);
    if let Some(unknown) = members.keys().find(|name| !known(name)) {
        return broken(format!("{field}.{unknown}"), "is no archived column");
    }

    let mut cells = Vec::with_capacity(table.0.columns.len());
    for column in archived_columns(table) {
        match from_json(column, members.get(column.name)) {
            Ok(value) => cells.push((column, value)),
            Err(what) => return broken(format!("{field}.{}", column.name), what),
        }
    }

    let row = Row::new(cells);
    if own.accepts(&row, &Held::default()) {
        Ok(row)
    } else {
        broken(field, "belongs to something else")
    }
}
