//! placeholder
pub mod migrate;
