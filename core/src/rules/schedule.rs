//! Schedules: cron expressions with ticks that become executions.
//!
//! No process leads. Every scanner may handle every tick: the execution of a tick has an id that
//! follows from schedule and tick, and the schedule's row moves on to the next tick in the same
//! plan, under a guard of its version. So each tick becomes at most one execution.

pub mod backfill;
pub mod calendar;
pub mod create;
pub mod fire;
pub mod key;
pub mod pause;
pub mod preview;
pub mod read;
pub mod row;
pub mod spec;
pub mod submission;
pub mod turn;
