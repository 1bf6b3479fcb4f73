//! Quotas: how many executions are admitted in a time, and at once.
//!
//! A policy's row is its head. Every admission is pinned to the head's version, so no two of them
//! count the same place. An admission of a policy that is not defined makes a head without limits:
//! the limits come with the call. An admission that is over gives its slot back, by the check
//! that needs it or by the scanner.
//!
//! ```
//! use ff_core::rules::quota::policy::Limits;
//!
//! // 100 admissions a minute, 5 at once.
//! let limits = Limits::check(("window", 60), ("rate", 100), ("concurrency", 5))?;
//! assert_eq!((limits.window_seconds, limits.rate, limits.concurrency), (60, 100, 5));
//! let refusal = Limits::check(("window", 0), ("rate", 100), ("concurrency", 5)).unwrap_err();
//! assert!(refusal.to_string().contains("window: must be between 1 and"), "{refusal}");
//! # Ok::<(), ff_core::EngineError>(())
//! ```

pub mod admission;
pub mod key;
pub mod lapse;
pub mod policy;
pub mod reconcile;
