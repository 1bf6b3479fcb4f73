//! Every rule of the system, once.
//!
//! One file per topic, one small decision per operation. A rule reads arguments, facts and
//! [`crate::ctx::Ctx`], and answers with a plan or a refusal; it never knows which database runs
//! the plan. What two operations share (the fence, the way a state is written, the events) is a
//! value in a file of its own.

pub mod bulk;
pub mod claim;
pub mod create;
pub mod delay;
pub mod expire;
pub mod fail;
pub mod failure;
pub mod fence;
pub mod finish;
pub mod flow;
pub mod handle;
pub mod input;
pub mod key;
pub mod keystore;
pub mod lease;
pub mod listing;
pub mod losses;
pub mod operator;
pub mod outbox;
pub mod premise;
pub mod priority;
pub mod read;
pub mod replay;
pub mod revoke;
pub mod scan;
pub mod status;
pub mod stream;
pub mod suspension;
pub mod tags;
pub mod take;
pub mod timeline;
pub mod unblock;
