//! Durable steps: what a worker has done of an execution, as rows that later runs read back.
//!
//! A worker records each step with its result, under the fence of its lease ([`record`]). A later
//! run reads them ([`read`]) and does not do again what is recorded. A fork ([`fork`]) is a new
//! execution that begins with some steps of another one.

pub mod fork;
pub mod read;
pub mod record;
