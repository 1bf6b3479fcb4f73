//! The row that a decision is about, for its span: the first execution or flow that a plan guards
//! or inserts, or that a query looks up by its key.

use tracing::field::display;
use uuid::Uuid;

use crate::model::ids::ExecutionId;
use crate::plan::value::Value;
use crate::plan::{Expr, Mutation, Plan, Query};
use crate::schema::execution::exec_core;
use crate::schema::flow::flow_core;
use crate::schema::{ColumnRef, TableRef};

/// Names the row of a decision in its span, once. Costs nothing where no subscriber listens.
pub(super) struct Subject<'a> {
    span: &'a tracing::Span,
    is_planned: bool,
    is_known: bool,
}

impl<'a> Subject<'a> {
    /// The subject of a decision that has not begun.
    pub(super) fn of(span: &'a tracing::Span) -> Self {
        Self { span, is_planned: span.is_disabled(), is_known: span.is_disabled() }
    }

    /// Notes a plan and the row that it is about.
    pub(super) fn note_plan(&mut self, plan: &Plan) {
        if self.is_planned {
            return;
        }
        self.span.record("plan", &*plan.name);
        self.is_planned = true;

        for guard in &plan.guards {
            self.note_row(guard.table, &guard.key);
        }
        for mutation in &plan.mutations {
            if let Mutation::Insert { table, row, .. } = mutation {
                self.note_row(*table, row);
            }
        }
    }

    /// Notes the rows that queries look up.
    pub(super) fn note_queries(&mut self, queries: &[Query]) {
        if self.is_known {
            return;
        }
        for query in queries {
            if let Query::Lookup(rows) = query {
                for row in rows {
                    self.note_row(row.table, &row.key);
                }
            }
        }
    }

    fn note_row(&mut self, table: TableRef, row: &[(ColumnRef, Expr)]) {
        if self.is_known {
            return;
        }
        if table == exec_core::REF
            && let Some(id) = execution_id(row)
        {
            self.span.record("execution_id", display(id));
            self.is_known = true;
        } else if table == flow_core::REF
            && let Some(id) = uuid(row, flow_core::flow_id.column())
        {
            self.span.record("flow_id", display(id));
            self.is_known = true;
        }
    }
}

fn execution_id(row: &[(ColumnRef, Expr)]) -> Option<ExecutionId> {
    let Some(Value::Int(partition)) = value(row, exec_core::partition_key.column()) else {
        return None;
    };
    let uuid = uuid(row, exec_core::execution_id.column())?;
    Some(ExecutionId::from_parts(u16::try_from(*partition).ok()?, uuid))
}

fn uuid(row: &[(ColumnRef, Expr)], column: ColumnRef) -> Option<Uuid> {
    let Some(Value::Uuid(uuid)) = value(row, column) else { return None };
    Some(*uuid)
}

/// The value that the row has in the column, if the plan says it.
fn value(row: &[(ColumnRef, Expr)], column: ColumnRef) -> Option<&Value> {
    let (_, expr) = row.iter().find(|(named, _)| *named == column)?;
    let Expr::Value(_, values) = expr else { return None };
    values.first()
}
