//! Renders flowfabric-sql's schema, queries and plans into SQL.
//!
//! The input is data from `ff-core`: tables, [`ff_core::plan::Shape`]s and
//! [`ff_core::plan::QueryShape`]s. The output is text with placeholders and the list of their
//! parameters: one text per shape. This crate knows no rule and no state name; only [`adopt`]
//! knows words that the reference stores. A dialect is one file of answers to the questions of
//! [`dialect::Dialect`].
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

pub mod adopt;
mod answer;
pub mod audit;
mod by_shape;
mod clauses;
pub mod ddl;
pub mod dialect;
mod flags;
mod fused;
pub mod history;
pub mod inspection;
mod lists;
pub mod migrations;
mod names;
pub mod opening;
mod query;
mod reads;
pub mod reference;
mod render;
mod scalar;
mod script;
pub mod statement;
mod writer;

pub use answer::answer;
pub use by_shape::ByShape;
pub use dialect::{DIALECTS, Dialect, MariaDb, Postgres, PostgresOcc, Sqlite};
pub use fused::fused;
pub use query::{now_ms, query};
pub use render::{Rendered, render};
pub use script::script;
pub use statement::{
    Arity, Bind, BindSource, Fused, Param, RenderError, Script, ScriptStep, Statement,
};
