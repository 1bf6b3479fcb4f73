//! Every table and column, described once.
//!
//! Codegen renders the tables into each dialect's DDL, the rules name the columns, the in-memory
//! backend stores rows by them. Table and column names are the reference system's, so that its
//! databases, queries and tools are recognised. One module per family of tables; what a
//! description is made of is said in [`crate::plan::table`].
//!
//! ```
//! use ff_core::schema::{self, execution::exec_core};
//!
//! let core = schema::table("ff_exec_core").unwrap();
//! assert!(core.columns.contains(&exec_core::version.column()));
//! ```

use serde::{Deserialize, Deserializer};

pub mod admin;
pub mod budget;
pub mod count;
pub mod execution;
pub mod fairness;
pub mod flow;
pub mod limit;
pub mod outbox;
pub mod schedule;
pub mod step;
pub mod subscriber;
pub mod suspension;
pub mod worker;

pub use crate::plan::column::{Col, ColumnRef, TableRef};
pub use crate::plan::table::{Column, Count, Default, Direction, Flag, Group, Index, Table};

/// The number of the migration that leads to these tables.
pub const VERSION: u32 = 11;

/// Every table, in creation order.
pub static TABLES: &[&Table] = &[
    &admin::waitpoint_hmac::TABLE,
    &admin::waitpoint_keyring::TABLE,
    &admin::lane_registry::TABLE,
    &admin::partition_config::TABLE,
    &admin::migration_annotation::TABLE,
    &execution::exec_core::TABLE,
    &execution::execution_capabilities::TABLE,
    &execution::attempt::TABLE,
    &execution::claim_grant::TABLE,
    &execution::idempotency_key::TABLE,
    &flow::flow_core::TABLE,
    &flow::edge::TABLE,
    &flow::edge_group::TABLE,
    &flow::pending_cancel_groups::TABLE,
    &flow::cancel_dispatch_outbox::TABLE,
    &flow::cancel_backlog::TABLE,
    &flow::cancel_backlog_member::TABLE,
    &flow::flow_summary::TABLE,
    &suspension::suspension_current::TABLE,
    &suspension::waitpoint_pending::TABLE,
    &suspension::suspend_dedup::TABLE,
    &suspension::signal_dedup::TABLE,
    &suspension::stream_frame::TABLE,
    &suspension::stream_summary::TABLE,
    &suspension::stream_meta::TABLE,
    &outbox::completion_event::TABLE,
    &outbox::lease_event::TABLE,
    &outbox::signal_event::TABLE,
    &outbox::operator_event::TABLE,
    &outbox::instance_tag_event::TABLE,
    &subscriber::subscriber_cursor::TABLE,
    &budget::budget_policy::TABLE,
    &budget::budget_usage::TABLE,
    &budget::budget_usage_dedup::TABLE,
    &budget::budget_usage_by_exec::TABLE,
    &budget::budget_reservation::TABLE,
    &budget::budget_in_use::TABLE,
    &budget::quota_policy::TABLE,
    &budget::quota_window::TABLE,
    &budget::quota_admitted::TABLE,
    &worker::worker_registry::TABLE,
    &worker::worker_registry_event::TABLE,
    &schedule::schedule::TABLE,
    &count::exec_count::TABLE,
    &limit::limit::TABLE,
    &limit::limit_permit::TABLE,
    &limit::limit_cell::TABLE,
    &fairness::fair_lane::TABLE,
    &fairness::fair_weight::TABLE,
    &step::step::TABLE,
];

/// The counts that the database keeps.
pub static COUNTS: &[&Count] = &[&count::EXECUTIONS];

/// The table of that name, if the schema has one.
#[must_use]
pub fn table(name: &str) -> Option<&'static Table> {
    TABLES.iter().copied().find(|table| table.name == name)
}

impl<'de> Deserialize<'de> for TableRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        table(&name)
            .map(TableRef)
            .ok_or_else(|| serde::de::Error::custom(format!("unknown table {name:?}")))
    }
}

impl<'de> Deserialize<'de> for ColumnRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.split_once('.')
            .and_then(|(table_name, column)| table(table_name)?.column(column))
            .ok_or_else(|| serde::de::Error::custom(format!("unknown column {text:?}")))
    }
}
