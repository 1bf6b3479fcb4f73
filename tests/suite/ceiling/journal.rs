//! The rows of a life after each of its steps, so that two lives can be compared.

use ff_core::plan::value::Value;
use ff_core::schema;
use serde_json::Value as Json;
use uuid::Uuid;

use crate::plain::{Cells, PlainSql};

/// The tables that a life changes, by rows of its own.
const TABLES: [&str; 12] = [
    "ff_exec_core",
    "ff_attempt",
    "ff_completion_event",
    "ff_lease_event",
    "ff_instance_tag_event",
    "ff_suspension_current",
    "ff_waitpoint_pending",
    "ff_signal_event",
    "ff_flow_core",
    "ff_edge",
    "ff_edge_group",
    "ff_operator_event",
];

/// Columns whose values differ from life to life, beside ids and times.
const OWN: [&str; 6] =
    ["partition_key", "lane_id", "event_id", "upstream_event_id", "transaction_id", "token"];

/// The least number that counts as a time, Unix ms.
const A_TIME: i64 = 1_000_000_000_000;

/// A row of a table, without what is its own.
type Stored = (&'static str, Cells);

/// The rows of one life, step by step.
pub(super) struct Journal<'a> {
    plain: &'a PlainSql,
    /// The ids of the life, by which its rows are found. Both lives name theirs in one order.
    ids: Vec<Uuid>,
    steps: Vec<(String, Vec<Stored>)>,
}

impl<'a> Journal<'a> {
    pub(super) fn of(plain: &'a PlainSql, ids: Vec<Uuid>) -> Self {
        Self { plain, ids, steps: Vec::new() }
    }

    /// Records the rows after a step.
    pub(super) async fn after(&mut self, step: impl Into<String>) {
        let mut found = Vec::new();
        for table in TABLES {
            let mut rows = self.plain.rows(table).await;
            rows.retain(|row| self.has(row));
            rows.sort_by_key(|row| {
                row.0.values().map(|value| self.place(value)).collect::<Vec<_>>()
            });
            found.extend(rows.into_iter().map(|row| (table, self.anonymous(row))));
        }
        self.steps.push((step.into(), found));
    }

    /// Checks that the other life has left as many rows after each step, and the same ones, and
    /// that neither has left a row in another table.
    pub(super) async fn assert_equals(&self, other: &Self, counts: &[usize]) {
        let found: Vec<usize> = other.steps.iter().map(|(_, rows)| rows.len()).collect();
        assert_eq!(found, counts, "the rows after each step");
        for ((step, rows), (other_step, other_rows)) in self.steps.iter().zip(&other.steps) {
            assert_eq!(step, other_step);
            for (row, other) in rows.iter().zip(other_rows) {
                assert_eq!(row, other, "after {step}");
            }
            assert_eq!(rows.len(), other_rows.len(), "after {step}");
        }
        assert_eq!(self.steps.len(), other.steps.len());

        let others = schema::TABLES.iter().map(|table| table.name);
        for table in others.filter(|table| !TABLES.contains(table)) {
            let rows = self.plain.rows(table).await;
            assert!(!rows.iter().any(|row| self.has(row) || other.has(row)), "a row in {table}");
        }
    }

    /// Returns true if a row names an id of the life.
    fn has(&self, row: &Cells) -> bool {
        row.0.values().any(|value| self.place(value).is_some())
    }

    /// The place of a value among the life's ids.
    fn place(&self, value: &Value) -> Option<usize> {
        let id = match value {
            Value::Uuid(id) => *id,
            Value::Text(text) => Uuid::parse_str(text).ok()?,
            _ => return None,
        };
        self.ids.iter().position(|own| *own == id)
    }

    /// The row with a mark where a value is an id, a time, or otherwise its own.
    fn anonymous(&self, mut row: Cells) -> Cells {
        for (name, value) in &mut row.0 {
            let marked = match &*value {
                Value::Null => None,
                _ if OWN.contains(&name.as_str()) => Some("set".to_owned()),
                Value::Uuid(id) => Some(self.mark(*id)),
                Value::Text(text) => Uuid::parse_str(text).ok().map(|id| self.mark(id)),
                Value::Int(number) => (A_TIME < *number).then(|| "a time".to_owned()),
                _ => None,
            };
            match value {
                Value::Json(document) => self.mark_members(document),
                value => *value = marked.map_or_else(|| value.clone(), Value::Text),
            }
        }
        row
    }

    fn mark(&self, id: Uuid) -> String {
        let place = self.ids.iter().position(|own| *own == id);
        place.map_or_else(|| "an id".to_owned(), |place| format!("id {place}"))
    }

    fn mark_members(&self, document: &mut Json) {
        let marked = match &*document {
            Json::Number(number) => {
                number.as_i64().filter(|number| A_TIME < *number).map(|_| "a time".to_owned())
            }
            Json::String(text) => match (Uuid::parse_str(text), text.parse::<i64>()) {
                (Ok(id), _) => Some(self.mark(id)),
                (Err(_), Ok(number)) => (A_TIME < number).then(|| "a time, as text".to_owned()),
                (Err(_), Err(_)) => None,
            },
            _ => None,
        };
        match document {
            Json::Array(list) => list.iter_mut().for_each(|item| self.mark_members(item)),
            Json::Object(members) => {
                members.values_mut().for_each(|member| self.mark_members(member));
            }
            document => *document = marked.map_or_else(|| document.clone(), Json::String),
        }
    }
}
