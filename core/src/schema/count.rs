//! Counts that the database keeps beside the rows, so that reading them does not grow with the
//! rows.

use crate::model::state::PublicState;
use crate::plan::{Path, Predicate};
use crate::schema::execution::exec_core;
use crate::schema::{Count, Group};

table! {
    /// The number of executions by lane, kind and state. Any number of rows may share a group:
    /// their sum counts.
    exec_count = "ff_exec_count" key [count_id] busy {
        /// The number of the row.
        count_id: i64 = Default::Identity,
        /// The lane of the executions.
        lane_id: String,
        /// The kind of the executions; empty where they have none.
        execution_kind: String,
        /// The state of the executions, as it is stored.
        public_state: String,
        /// The class of the failure of failed executions; empty for all others.
        failure_class: String,
        /// The minute in which failed executions ended, counted from 1970; 0 for all others, and
        /// for those that ended long ago.
        ended_minute: i64,
        /// The number of executions. A change of one adds rows of -1 and of 1.
        n: i64,
    }
    indexes []
}

/// The length of the minutes in which failures are counted, ms.
pub const MINUTE_MS: i64 = 60_000;

/// Executions by lane, kind, state, and how and when they failed.
pub static EXECUTIONS: Count = Count {
    of: exec_core::REF,
    into: exec_count::REF,
    by: &[
        Group {
            column: exec_count::lane_id.column(),
            value: || Path::column(exec_core::lane_id.column()),
            only: None,
            per: 1,
        },
        Group {
            column: exec_count::execution_kind.column(),
            value: || exec_core::raw_fields.text_at(&["execution_kind"]),
            only: None,
            per: 1,
        },
        Group {
            column: exec_count::public_state.column(),
            value: || Path::column(exec_core::public_state.column()),
            only: None,
            per: 1,
        },
        Group {
            column: exec_count::failure_class.column(),
            value: || exec_core::raw_fields.text_at(&["last_failure_class"]),
            only: Some(failed),
            per: 1,
        },
        Group {
            column: exec_count::ended_minute.column(),
            value: || Path::column(exec_core::terminal_at_ms.column()),
            only: Some(failed),
            per: MINUTE_MS,
        },
    ],
    n: exec_count::n.column(),
};

/// Executions that failed for good.
fn failed() -> Predicate {
    exec_core::public_state.is(PublicState::Failed)
}
