//! Counts of executions, which the database keeps beside the rows: reading them, and folding the
//! rows that statements have added.

pub mod fold;
pub mod read;
mod waiting;
