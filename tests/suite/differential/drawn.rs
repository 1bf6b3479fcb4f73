//! Ids that each backend draws for itself where an over-run suspends an execution, and the names
//! that stand for them in compared rows.

use std::collections::HashMap;

use ff_core::plan::value::Value;

use super::operation::Side;
use crate::plain::{Cells, text};

/// The key of the waitpoint that waits for room in a budget. No generated suspension uses it.
const KEY: &str = "budget";

/// Each drawn id or token, and its name. Rows may keep it when the waitpoint is closed.
#[derive(Default)]
pub(super) struct Drawn(HashMap<String, String>);

/// True if the backend drew the ids of that waitpoint.
pub(super) fn is_drawn(waitpoint: &Cells) -> bool {
    waitpoint.text("waitpoint_key") == KEY
}

impl Side {
    /// Notes the ids that this backend drew for waitpoints that are open.
    pub(super) async fn note_drawn(&mut self) {
        for row in self.bench.plain.rows("ff_waitpoint_pending").await {
            if is_drawn(&row) {
                let since = row.int("created_at_ms").unwrap();
                let execution = self.number_if_any(&row);
                let name = |what: &str| format!("{what} of {execution:?} since {since}");
                let waitpoint = row.uuid("waitpoint_id").unwrap().to_string();
                let suspension = row.uuid("suspension_id").map(|id| id.to_string());
                let drawn =
                    [(waitpoint, name("waitpoint")), (row.text("token").to_owned(), name("token"))];
                let suspension = suspension.map(|id| (id, name("suspension")));
                self.drawn.0.extend(drawn.into_iter().chain(suspension));
            }
        }
    }
}

impl Drawn {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes names for the ids in a stored value.
    pub(super) fn rename(&self, value: &mut Value) {
        match value {
            Value::Uuid(id) => {
                let id = id.to_string();
                if let Some(name) = self.0.get(&id) {
                    *value = text(name);
                }
            }
            Value::Text(held) => *held = self.renamed(held),
            Value::Json(held) => {
                *held = serde_json::from_str(&self.renamed(&held.to_string())).unwrap();
            }
            Value::Null
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Float(_)
            | Value::Bytes(_)
            | Value::TextList(_) => {}
        }
    }

    fn renamed(&self, held: &str) -> String {
        self.0.iter().fold(held.to_owned(), |held, (drawn, name)| held.replace(drawn, name))
    }
}
