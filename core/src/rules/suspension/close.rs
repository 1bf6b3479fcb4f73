//! Closing an attempt's waitpoints and the timeout of its wait, so that neither outlives it.
//!
//! Every end goes through here, whichever operation makes it. Most executions never have a
//! waitpoint, and their ends must not pay for those that do. So the execution's row is marked once
//! a waitpoint may be open. A plan that reads nothing relies on the missing mark, and only a
//! refused one is decided again, with the changes that close. A delete in every end instead would
//! probe an index each time, and each partition of a partitioned table.

use crate::model::error::EngineError;
use crate::model::state::LifecyclePhase;
use crate::plan::facts::Row;
use crate::plan::{Assign, Expr, Mutation, Plan};
use crate::rules::key::CORE;
use crate::rules::premise::Known;
use crate::schema::ColumnRef;
use crate::schema::execution::exec_core;
use crate::schema::suspension::{suspension_current, waitpoint_pending};

/// The mark on an execution's row once a waitpoint of it may be open.
#[must_use]
pub fn some_open() -> (ColumnRef, Assign) {
    exec_core::has_waitpoints.set(true)
}

/// Closes what the held execution, read as `core`, has open. The plan must already change its row:
/// the mark is cleared there.
///
/// # Errors
/// `Validation(Corruption)` for a stored word outside its set.
pub fn closed(plan: Plan, core: &Row) -> Result<Plan, EngineError> {
    let waits = core.read(exec_core::lifecycle_phase)? == LifecyclePhase::Suspended;
    if !waits && !core.read(exec_core::has_waitpoints)? {
        return Ok(plan);
    }

    let plan = without_waitpoints(plan);
    Ok(if waits { without_timeout(plan) } else { plan })
}

/// Deletes every waitpoint of the held execution. The plan must already change its row: the mark is
/// cleared there.
#[must_use]
pub fn without_waitpoints(mut plan: Plan) -> Plan {
    for mutation in &mut plan.mutations {
        if let Mutation::Update { table, set, .. } = mutation
            && *table == exec_core::REF
        {
            set.push(exec_core::has_waitpoints.set(false));
        }
    }

    deleted(plan)
}

/// The same where the execution may not have been read: then the plan relies on there being nothing
/// to close.
///
/// # Errors
/// As [`closed`].
pub fn closed_if_read(mut plan: Plan, known: &Known) -> Result<Plan, EngineError> {
    if let Some(core) = known.row(CORE) {
        return closed(plan, core);
    }

    for guard in plan.guards.iter_mut().filter(|guard| guard.row == CORE) {
        guard.holds = guard.holds.clone().and(exec_core::has_waitpoints.equals(false));
    }
    Ok(plan)
}

/// The same for each picked execution, none of which was read. A waitpoint that is opened while the
/// plan waits for a row may escape it. So the row keeps its mark, and a replay, without which no
/// such waitpoint counts again, closes it.
#[must_use]
pub fn closed_unread(plan: Plan) -> Plan {
    without_timeout(deleted(plan))
}

fn deleted(plan: Plan) -> Plan {
    plan.delete(waitpoint_pending::REF, waitpoints_of_core())
}

/// Every waitpoint of the held execution.
#[must_use]
pub fn waitpoints_of_core() -> Vec<(ColumnRef, Expr)> {
    vec![
        waitpoint_pending::partition_key.with_expr(exec_core::partition_key.of(CORE)),
        waitpoint_pending::execution_id.with_expr(exec_core::execution_id.of(CORE)),
    ]
}

fn without_timeout(plan: Plan) -> Plan {
    let of_core = vec![
        suspension_current::partition_key.with_expr(exec_core::partition_key.of(CORE)),
        suspension_current::execution_id.with_expr(exec_core::execution_id.of(CORE)),
    ];
    let set = vec![suspension_current::timeout_at_ms.clear(), suspension_current::version.grow(1)];
    plan.update(suspension_current::REF, of_core, set)
}
