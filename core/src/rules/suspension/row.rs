//! A suspension and its waitpoints as rows: how they are found, read and changed.

use serde_json::json;
use uuid::Uuid;

use crate::contracts::{ResumeCondition, ResumePolicy, TimeoutBehavior};
use crate::model::error::{EngineError, ValidationKind};
use crate::plan::facts::Row;
use crate::plan::{Assign, Expr, Lookup, Mutation};
use crate::rules::input;
use crate::rules::key::ExecutionKey;
use crate::rules::premise::{Condition, Premise, lookup};
use crate::rules::suspension::collected::Collected;
use crate::schema::ColumnRef;
use crate::schema::execution::exec_core;
use crate::schema::suspension::{suspension_current, waitpoint_pending};

/// The name that every plan gives a suspension's row.
pub const SUSPENSION: &str = "suspension";
/// The name that every plan gives a waitpoint's row.
pub const WAITPOINT: &str = "waitpoint";

/// A suspension without its condition and its signals, which not every decision reads: those that
/// this version cannot read keep no operator and no timeout from ending the wait.
#[derive(Clone, Debug)]
pub struct Suspension {
    /// Its id.
    pub id: Uuid,
    /// The time when it began, Unix ms.
    pub suspended_at_ms: i64,
    /// The way in which the execution resumes; one that this version cannot read counts as the
    /// default.
    pub policy: ResumePolicy,
    /// The number of signals that the execution has received over all its suspensions.
    pub signal_count: i64,
    /// The time when the wait is given up, Unix ms.
    pub timeout_at_ms: Option<i64>,
    /// The effect of the timeout.
    pub timeout_behavior: TimeoutBehavior,
}

impl Suspension {
    /// Reads a row, with or without its condition and its signals.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a column of another type.
    pub fn read(row: &Row) -> Result<Self, EngineError> {
        let policy = row.read(suspension_current::resume_policy)?;
        let policy = policy.and_then(|policy| serde_json::from_value(policy).ok());
        let behavior = row.read(suspension_current::timeout_behavior)?.unwrap_or_default();

        Ok(Self {
            id: row.read(suspension_current::suspension_id)?,
            suspended_at_ms: row.read(suspension_current::suspended_at_ms)?,
            policy: policy.unwrap_or_default(),
            signal_count: row.read(suspension_current::signal_count)?,
            timeout_at_ms: row.read(suspension_current::timeout_at_ms)?,
            timeout_behavior: TimeoutBehavior::of_word(&behavior),
        })
    }

    /// The condition that ends the wait of a row.
    ///
    /// # Errors
    /// `Validation(Corruption)` for what is none.
    pub fn condition(row: &Row) -> Result<ResumeCondition, EngineError> {
        let stored = row.read(suspension_current::condition)?;
        serde_json::from_value(stored).map_err(|error| EngineError::Validation {
            kind: ValidationKind::Corruption,
            detail: format!("condition: {error}"),
        })
    }

    /// The signals that a row has collected.
    ///
    /// # Errors
    /// `Validation(Corruption)` for what is no object.
    pub fn collected(row: &Row) -> Result<Collected, EngineError> {
        Collected::of(row.read(suspension_current::member_map)?)
    }

    /// The time by which the execution is put off once the condition is met, ms: as the signal
    /// asks, else as the policy says.
    #[must_use]
    pub fn resume_delay_ms(&self, asked: Option<u64>) -> i64 {
        asked.or(self.policy.resume_delay_ms).map_or(0, input::span_ms)
    }
}

/// The change to an execution's open bag once it no longer waits.
#[must_use]
pub fn waits_no_more() -> (ColumnRef, Assign) {
    exec_core::raw_fields.merge(json!({ "current_suspension_id": "", "current_waitpoint_id": "" }))
}

/// The key of an execution's suspension row.
#[must_use]
pub fn suspension_key(key: &ExecutionKey) -> Vec<(ColumnRef, Expr)> {
    vec![
        suspension_current::partition_key.with(key.partition),
        suspension_current::execution_id.with(key.uuid),
    ]
}

/// The look-up of an execution's suspension row.
#[must_use]
pub fn suspension_row(key: &ExecutionKey) -> Lookup {
    lookup(SUSPENSION, suspension_current::REF, suspension_key(key))
}

/// The look-up of an execution's suspension row without the condition, for ends of the wait that do
/// not depend on it: it may be one that this version cannot read.
#[must_use]
pub fn unconditional_suspension_row(key: &ExecutionKey) -> Lookup {
    let mut row = suspension_row(key);
    row.columns.retain(|column| *column != suspension_current::condition.column());
    row
}

/// The suspension row of that look-up, pinned to the version that was read: of two decisions that
/// come at once, one applies.
#[must_use]
pub fn suspension_as_read<O>(lookup: Lookup, conditions: Vec<Condition<O>>) -> Premise<O> {
    let suspension = Premise::read(SUSPENSION, lookup).guarded_by(conditions);
    suspension.pinned_to(suspension_current::version)
}

/// The change of these columns of the held suspension's row.
#[must_use]
pub fn suspension_change(set: impl IntoIterator<Item = (ColumnRef, Assign)>) -> Mutation {
    let held = vec![
        suspension_current::partition_key
            .with_expr(suspension_current::partition_key.of(SUSPENSION)),
        suspension_current::execution_id.with_expr(suspension_current::execution_id.of(SUSPENSION)),
    ];
    Mutation::update(suspension_current::REF, held, set.into_iter().collect())
}

/// The key of the waitpoint row that the plan holds.
#[must_use]
pub fn held_waitpoint() -> Vec<(ColumnRef, Expr)> {
    vec![
        waitpoint_pending::partition_key.with_expr(waitpoint_pending::partition_key.of(WAITPOINT)),
        waitpoint_pending::waitpoint_id.with_expr(waitpoint_pending::waitpoint_id.of(WAITPOINT)),
    ]
}
