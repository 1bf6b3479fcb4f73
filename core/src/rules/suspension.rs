//! Suspensions: an execution waits for signals, which come in through waitpoints.
//!
//! A suspended execution has one suspension row: the condition that ends the wait and the signals
//! collected so far. Its waitpoints are where senders deliver signals, each with a token of its
//! own. Every end of the wait (signals, an operator, the timeout) goes through [`wake`] or
//! [`timeout`], and is pinned to the version of the suspension row: of two that come at once, one
//! wins.
//!
//! ```
//! use ff_core::contracts::ResumeCondition;
//! use ff_core::rules::suspension::collected::Collected;
//! use ff_core::rules::suspension::satisfied::satisfied;
//! use serde_json::json;
//!
//! // The document of a suspension row, with one signal at the waitpoint `ada`.
//! let id = "00000000-0000-0000-0000-000000000001";
//! let vote = json!([{ "signal_id": id, "signal_name": "yes", "accepted_at": 1_000 }]);
//! let signals = Collected::of(json!({ "ada": vote }))?.by_key();
//!
//! let need = |number| ResumeCondition::signals_at(number, ["ada", "grace", "edsger"]);
//! assert!(satisfied(&need(1), &signals));
//! assert!(!satisfied(&need(2), &signals));
//! # Ok::<(), ff_core::EngineError>(())
//! ```

pub mod approve;
pub mod await_room;
pub mod binding;
pub mod close;
pub mod collected;
pub mod dedup;
pub mod deliver;
pub mod listing;
pub mod opening;
pub mod owner;
pub mod repeat;
pub mod row;
pub mod satisfied;
pub mod suspend;
pub mod timeout;
pub mod waitpoint;
pub mod wake;
