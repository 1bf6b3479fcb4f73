//! Applies plans as scripts: several statements inside one transaction.
//!
//! A database without fused statements needs a [`ScriptConnection`] and nothing else to commit
//! plans. [`apply_group`] then runs the guards, checks what they find, binds the found values to
//! the writes, takes refused plans back, and commits. [`Statements`] keeps what was rendered, and
//! [`settle`] answers the callers. This crate knows no SQL and no driver: `ff-codegen` renders the
//! steps, the connection runs them.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod connection;
mod found;
mod group;
mod order;
mod plan_run;
mod statements;

pub use connection::{BoundValue, Failure, ScriptConnection, StepResult};
pub use group::{BoundPlan, Outcome, apply_group};
pub use order::{Order, plans_of, settle};
pub use plan_run::apply_behind_savepoint;
pub use statements::{BoundQuery, PlanScript, Read, Statements, bound};
