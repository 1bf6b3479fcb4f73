//! The pure part of flowfabric-sql.
//!
//! Decides; never acts. No IO, no clock, no randomness, no async runtime: `now` and fresh ids come
//! in through [`ctx::Ctx`], stored rows through [`facts::Facts`], and what must change leaves as a
//! [`plan::Plan`]. The same inputs give the same plan on every machine.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::wildcard_enum_match_arm
    )
)]

pub mod backend;
pub mod capability;
pub mod caps;
pub mod completion_backend;
pub mod contracts;
pub mod crypto;
pub mod ctx;
pub mod engine;
pub mod engine_backend;
pub mod engine_error;
pub mod error;
pub mod facts;
#[cfg(feature = "generate")]
mod generate;
pub mod handle_codec;
pub mod hash;
pub mod opening;
pub mod partition;
pub mod plan;
pub mod policy;
pub mod rules;
pub mod schema;
pub mod state;
pub mod stream_events;
pub mod stream_subscribe;
pub mod types;
pub mod value;
pub mod waitpoint_hmac;

pub use backend::ScannerFilter;
pub use engine_error::{BackendError, BackendErrorKind, EngineError, StoreClass, StoreError};
