//! Flows: executions that wait for each other.
//!
//! An edge says that one execution waits for another. All edges into an execution are one group: it
//! counts how their upstreams ended, and its policy says how many successes are enough. An end is
//! applied to each edge of its execution ([`hop`]); what a group's counts mean is decided in one
//! place ([`tally`]), and what follows for the execution in another ([`child`]).
//!
//! Every decision on a group locks in one order: flow, group, execution, attempt, edge.
//!
//! ```
//! use ff_core::contracts::{EdgeDependencyPolicy, OnSatisfied};
//! use ff_core::rules::flow::tally::{GroupState, Tally};
//!
//! let quorum = EdgeDependencyPolicy::quorum(3, OnSatisfied::CancelRemaining);
//! let undecided = Tally { success: 2, fail: 2, running: 1, dependencies: 5, ..Tally::default() };
//! assert_eq!(undecided.state(&quorum), GroupState::Pending);
//! let satisfied = Tally { success: 3, running: 0, ..undecided };
//! assert_eq!(satisfied.state(&quorum), GroupState::Satisfied);
//! let impossible = Tally { fail: 3, running: 0, ..undecided };
//! assert_eq!(impossible.state(&quorum), GroupState::Impossible);
//! ```

pub mod apply;
pub mod await_child;
pub mod cancel;
pub mod child;
pub mod create;
pub mod cycle;
pub mod dispatch;
pub mod edges;
pub mod eligibility;
pub mod end;
pub mod frontier;
pub mod hop;
pub mod key;
pub mod listing;
pub mod member;
pub mod policy;
pub mod read;
pub mod reconcile;
pub mod siblings;
pub mod stage;
pub mod summary;
pub mod tags;
pub mod tally;
pub mod wait;
