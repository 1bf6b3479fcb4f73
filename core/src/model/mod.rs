//! What things are: ids, partitions, states, policies, handles, cursors, errors.
//!
//! The lowest floor. It knows no operation, no plan and no table.

pub mod crypto;
pub mod cursor;
pub mod edge;
pub mod error;
#[cfg(feature = "generate")]
mod generate;
pub mod handle;
pub mod handle_codec;
pub mod hash;
pub mod hidden;
pub mod ids;
pub mod partition;
pub mod policy;
pub mod state;
