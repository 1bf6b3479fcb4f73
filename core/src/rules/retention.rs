//! Retention: ended executions and flows are removed, with everything that belongs to them.
//!
//! One list says of every table whether its rows belong to an execution, to a flow or to neither
//! ([`dependants`]). The ended executions are found without an index of their own: every end writes
//! one completion event, and the outbox is in the order of the ends ([`ended`]). What holds an
//! execution back is decided before its removal ([`holds`]); a flow is sealed first, so that it
//! never goes on while its members are removed ([`seal`]). Each removal is a plan of its own that
//! guards the row as it was read ([`trim`]).
//!
//! ```
//! use ff_core::rules::retention::dependants;
//!
//! // The tables whose rows go with their execution.
//! let tables: Vec<&str> = dependants::of_executions().map(|(table, _)| table.name).collect();
//! assert!(tables.contains(&"ff_attempt") && !tables.contains(&"ff_lane_registry"));
//! ```

pub mod count;
pub mod dependants;
pub mod ended;
pub mod holds;
pub mod seal;
pub mod subscriber;
pub mod trim;
