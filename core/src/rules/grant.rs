//! Grants: permissions for one worker to claim or to reclaim one execution, until a time.
//!
//! A grant to claim reserves its execution: the row says until when, and the claims of other
//! workers pass over it. Nothing has to be put back when it lapses. A grant to reclaim reserves
//! nothing: it admits a worker to an execution after its lease has lapsed. Each is spent once.

pub mod block;
pub mod eligible;
pub mod issue;
pub mod key;
pub mod lapse;
pub mod lost;
pub mod reclaim;
pub mod redeem;
pub mod row;
pub mod schedule;
pub mod verify;
