//! The pure part of flowfabric-sql.
//!
//! Decides; never acts. No IO, no clock, no randomness, no async runtime: `now` and fresh ids come
//! in through [`rules::ctx::Ctx`], stored rows through [`plan::facts::Facts`], and what must change
//! leaves as a [`plan::Plan`]. The same inputs give the same plan on every machine.
//!
//! Six floors; none imports a floor above it:
//! - [`model`]: what things are, from ids to errors;
//! - [`contracts`]: what callers say and hear;
//! - [`mod@plan`]: the language of plans, reads, tables and stored values;
//! - [`schema`]: every table and column;
//! - [`rules`]: the decisions;
//! - `engine`: the loop that runs them on a backend, behind the feature `engine`.
//!
//! The reference's paths, such as [`types`] and [`backend`], name the same things from the root.
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

pub mod contracts;
#[cfg(feature = "engine")]
pub mod engine;
pub mod model;
mod paths;
#[macro_use]
pub mod plan;
pub mod rules;
pub mod schema;

pub use paths::*;
