//! The arguments and outcomes of every operation.
//!
//! Types that a later version may extend are `#[non_exhaustive]` and built with `new`. Fields that
//! a caller may leave out of the JSON form have serde defaults.

mod admin;
mod archive;
mod budget;
mod bulk;
pub mod capability;
pub mod caps;
mod claim;
mod condition;
mod connection;
mod creation;
pub mod decode;
mod event;
mod explanation;
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
pub use condition::*;
pub use connection::*;
pub use creation::*;
pub use event::*;
pub use explanation::*;
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
pub use stream::*;
pub use suspension::*;
pub(crate) use tag::is_namespaced_tag_key;
pub use tag::{INSTANCE_TAG, validate_tag_key};
pub use unserved::*;
pub use worker::*;
