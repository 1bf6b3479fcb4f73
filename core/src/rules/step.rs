//! Durable steps: what a worker has done of an execution, as rows that later runs read back.
//!
//! A worker records each step with its result, under the fence of its lease ([`record`]). A later
//! run reads them ([`read`]) and does not do again what is recorded. A fork ([`fork`]) is a new
//! execution that begins with some steps of another one.
//!
//! ```
//! use ff_core::rules::step::record::{name, position};
//!
//! assert_eq!(position("step.position", 3)?, 3);
//! assert!(position("step.position", 10_000).is_err());
//! assert!(name("step.name", "").is_err());
//! # Ok::<(), ff_core::EngineError>(())
//! ```

pub mod fork;
pub mod read;
pub mod record;
