//! Schedules: cron expressions with ticks that become executions.
//!
//! No process leads. Every scanner may handle every tick: the execution of a tick has an id that
//! follows from schedule and tick, and the schedule's row moves on to the next tick in the same
//! plan, under a guard of its version. So each tick becomes at most one execution.
//!
//! ```
//! use ff_core::contracts::{ScheduleSpec, ScheduledWork};
//! use ff_core::rules::schedule::calendar::Calendar;
//! use ff_core::types::LaneId;
//!
//! let report = ScheduledWork::new(LaneId::new("reports"), "report");
//! let spec = ScheduleSpec::new("30 2 * * *", report).in_zone("Europe/Berlin");
//! let calendar = Calendar::of(&spec)?;
//! let text = |tick: i64| calendar.local_text(tick);
//!
//! // 2026-03-28T12:00Z. In the night that follows, the clocks skip the hour from two to three.
//! let skipped = calendar.next_after(1_774_699_200_000).and_then(text);
//! assert_eq!(skipped.as_deref(), Some("2026-03-29T03:00:00+02:00"));
//! # Ok::<(), ff_core::EngineError>(())
//! ```

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
