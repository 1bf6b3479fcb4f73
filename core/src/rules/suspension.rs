//! Suspensions: an execution waits for signals, which come in through waitpoints.
//!
//! A suspended execution has one suspension row: the condition that ends the wait and the signals
//! collected so far. Its waitpoints are where senders deliver signals, each with a token of its
//! own. Every end of the wait (signals, an operator, the timeout) goes through [`wake`] or
//! [`timeout`], and is pinned to the version of the suspension row: of two that come at once, one
//! wins.

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
