//! The things that rows belong to, and are removed with: one list of every table.

use uuid::Uuid;

use crate::plan::value::ColumnType;
use crate::plan::{Compare, Expr, Mutation, Path, Predicate};
use crate::rules::flow::key::FlowKey;
use crate::rules::key::{CORE, ExecutionKey, all_equal};
use crate::schema::admin::{
    lane_registry, migration_annotation, partition_config, waitpoint_hmac, waitpoint_keyring,
};
use crate::schema::budget::{
    budget_in_use, budget_policy, budget_reservation, budget_usage, budget_usage_by_exec,
    budget_usage_dedup, quota_admitted, quota_policy, quota_window,
};
use crate::schema::count::exec_count;
use crate::schema::execution::{
    attempt, claim_grant, exec_core, execution_capabilities, idempotency_key,
};
use crate::schema::fairness::{fair_lane, fair_weight};
use crate::schema::flow::{
    cancel_backlog, cancel_backlog_member, cancel_dispatch_outbox, edge, edge_group, flow_core,
    flow_summary, pending_cancel_groups,
};
use crate::schema::limit::{limit, limit_cell, limit_permit};
use crate::schema::outbox::{
    completion_event, instance_tag_event, lease_event, operator_event, signal_event,
};
use crate::schema::schedule::schedule;
use crate::schema::step::step;
use crate::schema::subscriber::subscriber_cursor;
use crate::schema::suspension::{
    signal_dedup, stream_frame, stream_meta, stream_summary, suspend_dedup, suspension_current,
    waitpoint_pending,
};
use crate::schema::worker::{worker_registry, worker_registry_event};
use crate::schema::{ColumnRef, TableRef};

/// The thing that the rows of a table belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BelongsTo {
    /// An execution: they go with it.
    Execution(Reference),
    /// A flow: they go with it, once its last member is gone.
    Flow(Reference),
    /// An execution or a flow, by the same columns.
    Either(Reference),
    /// Itself: it names an execution, but outlives it, for this reason, until a scan removes it.
    Itself(&'static str),
    /// Neither. Retention leaves them alone, for this reason.
    Neither(&'static str),
}

/// The columns of a row that name an execution or a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The partition, where it is that of the execution or flow.
    partition: Option<ColumnRef>,
    /// The id.
    id: ColumnRef,
    /// The form of the id.
    form: Form,
}

/// The stored form of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// The UUID; in a text column as its hyphenated form.
    Uuid,
    /// The hyphenated UUID, a colon and a text of the caller.
    Prefix,
}

const fn of(partition: ColumnRef, id: ColumnRef) -> Reference {
    Reference { partition: Some(partition), id, form: Form::Uuid }
}

const fn elsewhere(id: ColumnRef, form: Form) -> Reference {
    Reference { partition: None, id, form }
}

/// A reference by the columns `partition_key` and another.
macro_rules! by {
    ($table:ident, $id:ident) => {
        of($table::partition_key.column(), $table::$id.column())
    };
}

/// Every table of the schema. A test fails for a table that is not here.
static TABLES: &[(TableRef, BelongsTo)] = &[
    (waitpoint_hmac::REF, BelongsTo::Neither("keys outlive what they signed")),
    (waitpoint_keyring::REF, BelongsTo::Neither("one row for the installation")),
    (lane_registry::REF, BelongsTo::Neither("a lane outlives its executions")),
    (partition_config::REF, BelongsTo::Neither("one row for the installation")),
    (migration_annotation::REF, BelongsTo::Neither("the ledger of migrations")),
    (exec_core::REF, BelongsTo::Execution(by!(exec_core, execution_id))),
    (
        execution_capabilities::REF,
        BelongsTo::Execution(elsewhere(execution_capabilities::execution_id.column(), Form::Uuid)),
    ),
    (attempt::REF, BelongsTo::Execution(by!(attempt, execution_id))),
    (claim_grant::REF, BelongsTo::Execution(by!(claim_grant, execution_id))),
    // A key that expires outlives its execution, and is no row of it.
    (
        idempotency_key::REF,
        BelongsTo::Execution(of(
            idempotency_key::execution_partition.column(),
            idempotency_key::held_by_execution.column(),
        )),
    ),
    (flow_core::REF, BelongsTo::Flow(by!(flow_core, flow_id))),
    (edge::REF, BelongsTo::Flow(by!(edge, flow_id))),
    (edge_group::REF, BelongsTo::Flow(by!(edge_group, flow_id))),
    (pending_cancel_groups::REF, BelongsTo::Flow(by!(pending_cancel_groups, flow_id))),
    (cancel_dispatch_outbox::REF, BelongsTo::Flow(by!(cancel_dispatch_outbox, flow_id))),
    (cancel_backlog::REF, BelongsTo::Flow(by!(cancel_backlog, flow_id))),
    (cancel_backlog_member::REF, BelongsTo::Flow(by!(cancel_backlog_member, flow_id))),
    (flow_summary::REF, BelongsTo::Flow(by!(flow_summary, flow_id))),
    (suspension_current::REF, BelongsTo::Execution(by!(suspension_current, execution_id))),
    (waitpoint_pending::REF, BelongsTo::Execution(by!(waitpoint_pending, execution_id))),
    (
        suspend_dedup::REF,
        BelongsTo::Execution(Reference {
            partition: Some(suspend_dedup::partition_key.column()),
            id: suspend_dedup::idempotency_key.column(),
            form: Form::Prefix,
        }),
    ),
    (signal_dedup::REF, BelongsTo::Execution(by!(signal_dedup, execution_id))),
    (step::REF, BelongsTo::Execution(by!(step, execution_id))),
    (stream_frame::REF, BelongsTo::Execution(by!(stream_frame, execution_id))),
    (stream_summary::REF, BelongsTo::Execution(by!(stream_summary, execution_id))),
    (stream_meta::REF, BelongsTo::Execution(by!(stream_meta, execution_id))),
    (completion_event::REF, BelongsTo::Execution(by!(completion_event, execution_id))),
    (lease_event::REF, BelongsTo::Execution(by!(lease_event, execution_id))),
    (signal_event::REF, BelongsTo::Execution(by!(signal_event, execution_id))),
    (operator_event::REF, BelongsTo::Either(by!(operator_event, execution_id))),
    (instance_tag_event::REF, BelongsTo::Execution(by!(instance_tag_event, execution_id))),
    (subscriber_cursor::REF, BelongsTo::Neither("positions, which only operators drop")),
    (budget_policy::REF, BelongsTo::Neither("a budget outlives what was spent of it")),
    (budget_usage::REF, BelongsTo::Neither("the totals of a budget")),
    (budget_usage_dedup::REF, BelongsTo::Neither("belongs to a budget, and expires")),
    (
        budget_usage_by_exec::REF,
        BelongsTo::Execution(elsewhere(budget_usage_by_exec::execution_id.column(), Form::Uuid)),
    ),
    (budget_reservation::REF, BelongsTo::Execution(by!(budget_reservation, execution_id))),
    (budget_in_use::REF, BelongsTo::Neither("a budget outlives what was submitted with it")),
    (quota_policy::REF, BelongsTo::Neither("a quota outlives what it admitted")),
    (quota_window::REF, BelongsTo::Itself("it counts until its window is over")),
    (quota_admitted::REF, BelongsTo::Itself("it holds a slot until it is released or lapses")),
    (worker_registry::REF, BelongsTo::Neither("a worker outlives what it ran")),
    (worker_registry_event::REF, BelongsTo::Neither("the log of a worker")),
    (schedule::REF, BelongsTo::Neither("a schedule outlives what it submitted")),
    (exec_count::REF, BelongsTo::Neither("the database keeps it")),
    (limit::REF, BelongsTo::Neither("a limit outlives what it limited")),
    (
        limit_permit::REF,
        BelongsTo::Execution(of(
            limit_permit::execution_partition.column(),
            limit_permit::execution_id.column(),
        )),
    ),
    (limit_cell::REF, BelongsTo::Itself("it counts until its time is over")),
    (fair_lane::REF, BelongsTo::Neither("the turns of a lane")),
    (fair_weight::REF, BelongsTo::Neither("a weight outlives what it was given for")),
];

impl BelongsTo {
    /// The columns that name an execution, if rows belong to one.
    fn execution(self) -> Option<Reference> {
        match self {
            Self::Execution(reference) | Self::Either(reference) => Some(reference),
            Self::Flow(_) | Self::Itself(_) | Self::Neither(_) => None,
        }
    }

    /// The columns that name a flow, if rows belong to one.
    fn flow(self) -> Option<Reference> {
        match self {
            Self::Flow(reference) | Self::Either(reference) => Some(reference),
            Self::Execution(_) | Self::Itself(_) | Self::Neither(_) => None,
        }
    }
}

/// The tables with rows of executions.
pub fn of_executions() -> impl Iterator<Item = (TableRef, Reference)> {
    TABLES.iter().filter_map(|(table, belongs)| Some((*table, belongs.execution()?)))
}

/// The tables with rows of flows.
pub fn of_flows() -> impl Iterator<Item = (TableRef, Reference)> {
    TABLES.iter().filter_map(|(table, belongs)| Some((*table, belongs.flow()?)))
}

impl Reference {
    /// The columns and values that name the rows of the execution that a plan holds; `None` where
    /// only a part of a text names it.
    fn held_execution(&self) -> Option<Vec<(ColumnRef, Expr)>> {
        let id = match self.form {
            Form::Uuid => exec_core::execution_id.of(CORE),
            Form::Prefix => return None,
        };
        Some(self.with(exec_core::partition_key.of(CORE), id))
    }

    /// The columns and values that name the rows of a flow.
    #[must_use]
    pub fn of_flow(&self, flow: &FlowKey) -> Vec<(ColumnRef, Expr)> {
        self.with(partition_expr(flow.partition), self.uuid(flow.uuid))
    }

    fn with(&self, partition: Expr, id: Expr) -> Vec<(ColumnRef, Expr)> {
        let partition = self.partition.map(|column| (column, partition));
        partition.into_iter().chain([(self.id, id)]).collect()
    }

    fn uuid(&self, uuid: Uuid) -> Expr {
        match self.id.ty {
            ColumnType::Text => Expr::text(uuid.to_string()),
            ColumnType::SmallInt
            | ColumnType::Int
            | ColumnType::BigInt
            | ColumnType::Bool
            | ColumnType::Float
            | ColumnType::Bytes
            | ColumnType::Uuid
            | ColumnType::Json
            | ColumnType::TextList => exec_core::execution_id.with(uuid).1,
        }
    }

    /// The rows of an execution, as a condition.
    #[must_use]
    pub fn rows_of(&self, key: &ExecutionKey) -> Predicate {
        let partition = partition_expr(key.partition);
        match self.form {
            Form::Uuid => all_equal(self.with(partition, self.uuid(key.uuid))),
            Form::Prefix => self.begins_with(key),
        }
    }

    /// The rows with a text that begins with the UUID of an execution and a colon.
    fn begins_with(&self, key: &ExecutionKey) -> Predicate {
        let compare = |compare, end: char| {
            let text = Expr::text(format!("{}{end}", key.uuid));
            Predicate::Compare(Path::column(self.id), compare, text)
        };
        let partition = self.partition.map(|column| (column, partition_expr(key.partition)));
        // A semicolon is the character behind the colon.
        let between = compare(Compare::Above, ':').and(compare(Compare::Below, ';'));
        all_equal(partition.into_iter().collect()).and(between)
    }
}

/// The removal of every row of the execution that a plan holds, where equal columns name it.
pub fn removals() -> impl Iterator<Item = Mutation> {
    of_executions()
        .filter_map(|(table, reference)| Some(Mutation::delete(table, reference.held_execution()?)))
}

fn partition_expr(partition: i16) -> Expr {
    exec_core::partition_key.with(partition).1
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::schema;

    #[test]
    fn every_table_is_named_once() {
        let named: BTreeSet<&str> = TABLES.iter().map(|(table, _)| table.name).collect();
        let all: BTreeSet<&str> = schema::TABLES.iter().map(|table| table.name).collect();
        assert_eq!(named, all, "say in rules/retention/dependants.rs what its rows belong to");
        assert_eq!(TABLES.len(), schema::TABLES.len());
    }

    #[test]
    fn a_reference_names_columns_of_its_table() {
        for (table, belongs) in TABLES {
            let references = belongs.execution().into_iter().chain(belongs.flow());
            for Reference { partition, id, .. } in references {
                assert_eq!(id.table, table.name);
                assert!(partition.is_none_or(|column| column.table == table.name));
            }
        }
    }

    /// A table whose columns name an execution or a flow belongs to it, or says why not.
    #[test]
    fn what_names_an_execution_or_a_flow_belongs_to_it() {
        for (table, belongs) in TABLES {
            let has = |name: &str| table.column(name).is_some();
            if has("execution_id") || has("flow_id") {
                assert!(!matches!(belongs, BelongsTo::Neither(_)), "{}", table.name);
            }
        }
    }
}
