//! Closing what an attempt has open, so that nothing of it outlives the attempt: its waitpoints,
//! the timeout of its wait, what it has reserved of budgets, and the permits that it holds.
//!
//! Every end goes through here, whichever operation makes it. Most executions never have any of
//! this, and their ends must not pay for those that do. So the execution's row is marked once a
//! waitpoint may be open, or something be reserved. A plan that reads nothing relies on the missing
//! marks, and only a refused one is decided again, with the changes that close. A delete in every
//! end instead would probe an index each time, and each partition of a partitioned table. A handle
//! says if its claim has reserved something: such an end is decided with the changes at once.

use crate::model::error::EngineError;
use crate::model::state::LifecyclePhase;
use crate::plan::facts::Row;
use crate::plan::{Assign, Expr, Mutation, Predicate};
use crate::rules::budget::reservation::{none_reserved, released};
use crate::rules::key::CORE;
use crate::rules::limit::held::permits_given_back;
use crate::schema::ColumnRef;
use crate::schema::execution::exec_core;
use crate::schema::suspension::{suspension_current, waitpoint_pending};

/// The mark on an execution's row once a waitpoint of it may be open.
#[must_use]
pub fn some_open() -> (ColumnRef, Assign) {
    exec_core::has_waitpoints.set(true)
}

/// The predicate that the held execution has nothing open, for a plan that has not read it.
#[must_use]
pub fn nothing_open() -> Predicate {
    no_waitpoints().and(exec_core::has_reservations.equals(false))
}

/// The predicate that no waitpoint of the held execution is open.
#[must_use]
pub fn no_waitpoints() -> Predicate {
    exec_core::has_waitpoints.equals(false)
}

/// The change that takes the mark away.
#[must_use]
pub fn none_open() -> (ColumnRef, Assign) {
    exec_core::has_waitpoints.set(false)
}

/// The changes, and those that close what the held execution, read as `core`, has open. They must
/// already change its row: the marks are cleared there. Either mark closes everything, so that ends
/// have two shapes and not four.
///
/// # Errors
/// `Validation(Corruption)` for a stored word outside its set.
pub fn close_as_read(mut changes: Vec<Mutation>, core: &Row) -> Result<Vec<Mutation>, EngineError> {
    let waits = is_waiting(core)?;
    let marked = core.read(exec_core::has_waitpoints)? || core.read(exec_core::has_reservations)?;
    if waits || marked {
        mark(&mut changes, none_open());
        changes.push(delete_waitpoints());
        changes.extend(waits.then(clear_timeout));
        changes = close_reserved(changes);
    }
    Ok(changes)
}

/// The changes, and those that give back whatever the held execution has reserved, which was not
/// read. They give back nothing where it has reserved nothing.
#[must_use]
pub fn close_reserved(mut changes: Vec<Mutation>) -> Vec<Mutation> {
    mark(&mut changes, none_reserved());
    changes.extend([released(), permits_given_back()]);
    changes
}

/// The changes, and those that close the wait of the held execution, read as `core`. Its work goes
/// on, so what it has reserved stays reserved.
///
/// # Errors
/// `Validation(Corruption)` for a stored word outside its set.
pub fn close_wait(mut changes: Vec<Mutation>, core: &Row) -> Result<Vec<Mutation>, EngineError> {
    let waits = is_waiting(core)?;
    if waits || core.read(exec_core::has_waitpoints)? {
        mark(&mut changes, none_open());
        changes.push(delete_waitpoints());
        changes.extend(waits.then(clear_timeout));
    }
    Ok(changes)
}

fn is_waiting(core: &Row) -> Result<bool, EngineError> {
    Ok(core.read(exec_core::lifecycle_phase)? == LifecyclePhase::Suspended)
}

/// Adds a column to the change of the held execution's row.
pub fn mark(changes: &mut [Mutation], column: (ColumnRef, Assign)) {
    for mutation in changes {
        if let Mutation::Update { table, set, .. } = mutation
            && *table == exec_core::REF
        {
            set.push(column.clone());
        }
    }
}

/// The changes that close what each picked execution has open, none of which was read. A waitpoint
/// that is opened while the plan waits for a row may escape them. So the row keeps its mark, and a
/// replay, without which no such waitpoint counts again, closes it. The other mark stays as well;
/// it costs the next end a read.
#[must_use]
pub fn close_unread() -> [Mutation; 4] {
    [delete_waitpoints(), clear_timeout(), released(), permits_given_back()]
}

/// The change that deletes every waitpoint of the held execution.
#[must_use]
pub fn delete_waitpoints() -> Mutation {
    Mutation::delete(waitpoint_pending::REF, waitpoints_of_core())
}

/// The key of every waitpoint of the held execution.
#[must_use]
pub fn waitpoints_of_core() -> Vec<(ColumnRef, Expr)> {
    vec![
        waitpoint_pending::partition_key.with_expr(exec_core::partition_key.of(CORE)),
        waitpoint_pending::execution_id.with_expr(exec_core::execution_id.of(CORE)),
    ]
}

fn clear_timeout() -> Mutation {
    let of_core = vec![
        suspension_current::partition_key.with_expr(exec_core::partition_key.of(CORE)),
        suspension_current::execution_id.with_expr(exec_core::execution_id.of(CORE)),
    ];
    let set = vec![suspension_current::timeout_at_ms.clear(), suspension_current::version.grow(1)];
    Mutation::update(suspension_current::REF, of_core, set)
}
