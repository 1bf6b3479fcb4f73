//! The arguments and outcomes of every operation.
//!
//! Types that a later version may extend are `#[non_exhaustive]` and built with `new`. Fields that
//! a caller may leave out of the JSON form have serde defaults.
//!
//! ```
//! use ff_core::contracts::{FailureReason, ResumeCondition, SuspendArgs};
//! use ff_core::types::TimestampMs;
//!
//! let approved = SuspendArgs::until(ResumeCondition::signal("approved"), TimestampMs(0));
//! assert_eq!(approved.waitpoints.len(), 1);
//! let busy = FailureReason::new("429 Too Many Requests").retried_after(30_000);
//! assert_eq!(busy.retry_after_ms, Some(30_000));
//! ```

mod admin;
mod archive;
mod budget;
mod bulk;
pub mod capability;
pub mod caps;
mod claim;
mod claim_scope;
mod condition;
mod connection;
mod creation;
pub mod decode;
mod event;
mod explanation;
mod fairness;
mod flow;
mod frame;
mod graph;
mod lane;
mod lease;
mod lifecycle;
mod limit;
mod opening;
mod retention;
mod scan;
mod schedule;
mod snapshot;
mod stats;
mod step;
mod stream;
mod suspension;
mod tag;
mod unserved;
mod worker;

pub use crate::model::edge::EdgeSnapshot;
pub use crate::model::policy::TimeoutBehavior;
pub use admin::*;
pub use archive::*;
pub use budget::*;
pub use bulk::*;
pub use caps::CapabilitySet;
pub use claim::*;
pub use claim_scope::*;
pub use condition::*;
pub use connection::*;
pub use creation::*;
pub use event::*;
pub use explanation::*;
pub use fairness::*;
pub use flow::*;
pub use frame::*;
pub use graph::*;
pub use lane::*;
pub use lease::*;
pub use lifecycle::*;
pub use limit::*;
pub use opening::*;
pub use retention::*;
pub use scan::*;
pub use schedule::*;
pub use snapshot::*;
pub use stats::*;
pub use step::*;
pub use stream::*;
pub use suspension::*;
pub(crate) use tag::is_namespaced_tag_key;
pub use tag::{INSTANCE_TAG, validate_tag_key};
pub use unserved::*;
pub use worker::*;
