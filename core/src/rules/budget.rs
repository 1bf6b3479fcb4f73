//! Budgets: limits of what executions may spend, by dimension.
//!
//! A budget's row is its head. Every change of the budget, of its totals or of what executions
//! contributed is pinned to the head's version, so a report is judged on exactly what it changes: a
//! hard limit holds however many report at once. A report to a budget that is not defined yet is
//! counted, and makes a head without limits.

pub mod create;
pub mod dedup;
pub mod key;
pub mod limits;
pub mod over_run;
pub mod read;
pub mod reconcile;
pub mod release;
pub mod report;
pub mod reservation;
pub mod reset;
pub mod room;
pub mod token;
