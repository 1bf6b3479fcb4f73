//! The changes that a decision asks of the database, as data.
//!
//! A [`Plan`] is the complete list of row changes of one operation together with the guards it
//! relies on. It is all or nothing: it applies only if every guard still holds, and then entirely.
//! The in-memory backend interprets it, codegen renders it into SQL; neither knows a rule, both
//! read the same [`Predicate`] values. A plan prints as a short script, compares with `==`,
//! serialises, and has a [`Shape`]: itself with the values erased, which is what one SQL text
//! stands for.
//!
//! Below the plan lie the descriptions of tables ([`mod@table`], [`mod@column`]) and of what they
//! store ([`value`]); beside it what has been read ([`facts`]).
//!
//! ```
//! use ff_core::plan::Predicate;
//! use ff_core::schema::execution::exec_core;
//!
//! let predicate = exec_core::priority.at_most(5).and(exec_core::lane_id.equals("mail".into()));
//! assert_eq!(predicate.to_string(), "priority <= 5 and lane_id = \"mail\"");
//! ```

pub mod column;
mod display;
mod eval;
mod expr;
pub mod facts;
pub mod key;
mod mutation;
mod predicate;
mod query;
mod shape;
#[macro_use]
pub mod table;
pub mod value;
mod visit;

pub use eval::Held;
pub use expr::{Expr, Name, Path};
pub use mutation::{
    Assign, Guard, Mutation, OnConflict, OnTaken, Pairing, Plan, Rest, Return, Selection,
};
pub use predicate::{Compare, Openings, Predicate};
pub use query::{Join, List, Lookup, OfEach, Query, Sums};
pub use shape::{Bindings, QueryShape, Shape};
