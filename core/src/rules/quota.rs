//! Quotas: how many executions are admitted in a time, and at once.
//!
//! A policy's row is its head. Every admission is pinned to the head's version, so no two of them
//! count the same place. An admission of a policy that is not defined makes a head without limits:
//! the limits come with the call. An admission that is over gives its slot back, by the check
//! that needs it or by the scanner.

pub mod admission;
pub mod key;
pub mod lapse;
pub mod policy;
pub mod reconcile;
