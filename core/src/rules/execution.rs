//! One execution: from its creation over claims and ends to what is read of it.
//!
//! A failure is tried again as the policy says:
//!
//! ```
//! use ff_core::policy::RetryPolicy;
//! use ff_core::rules::ctx::{Ctx, Seeded};
//! use ff_core::rules::execution::fail::next_delay;
//! use ff_core::types::TimestampMs;
//!
//! let mut source = Seeded::new(17);
//! let mut context = Ctx::new(TimestampMs(0), &mut source);
//! let policy = RetryPolicy::default();
//! let pauses = [0, 1, 2, 3].map(|retries| next_delay(Some(&policy), retries, &mut context));
//! assert_eq!(pauses, [Some(1_000), Some(2_000), Some(4_000), None]);
//! ```

pub mod bulk;
pub mod cancel;
pub mod candidates;
pub mod change;
pub mod claim;
pub mod create;
pub mod delay;
pub mod end;
pub mod expire;
pub mod explain;
pub mod fail;
pub mod failure;
pub mod finish;
pub mod lease;
pub mod leasing;
pub mod listed;
pub mod listing;
pub mod losses;
pub mod newest;
pub mod priority;
pub mod read;
pub mod reconcile;
pub mod replay;
pub mod reserve;
pub mod revoke;
pub mod tags;
pub mod take;
pub mod terms;
pub mod timeline;
pub mod unblock;
pub mod unique;
pub mod waiting;
