//! The arguments and outcomes of every operation.
//!
//! Types that a later version may extend are `#[non_exhaustive]` and built with `new`. Fields that
//! a caller may leave out of the JSON form have serde defaults.

mod budget;
mod bulk;
mod condition;
mod creation;
pub mod decode;
mod flow;
mod graph;
mod lifecycle;
mod snapshot;
mod stream;
mod suspension;
mod worker;

pub use budget::*;
pub use bulk::*;
pub use condition::*;
pub use creation::*;
pub use flow::*;
pub use graph::*;
pub use lifecycle::*;
pub use snapshot::*;
pub use stream::*;
pub use suspension::*;
pub use worker::*;
