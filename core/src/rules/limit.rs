//! Limits by key: of the executions that name a key, so many run at once, and so many start in a
//! time.
//!
//! Nothing counts. A claim takes rows for its execution in its own plan: one permit of each key
//! with a bound on what runs, and as many cells of each rate as the execution weighs. The primary
//! key of such a row is its number, and the numbers are bounded. So two claims that read the same
//! can never take the same row, and no claim locks what another one needs. Ends delete permits, and
//! cells expire.
//!
//! ```
//! use ff_core::contracts::SetLimitArgs;
//! use ff_core::partition::PartitionConfig;
//! use ff_core::rules::limit::define::SetLimit;
//!
//! let ten = SetLimitArgs::new("tenant/*", "ada").with_running(10);
//! assert!(SetLimit::new(ten, &PartitionConfig::default()).is_ok());
//! let unnamed = SetLimitArgs::new("", "ada").with_running(10);
//! let refusal = SetLimit::new(unnamed, &PartitionConfig::default()).unwrap_err();
//! assert!(refusal.to_string().contains("limit_key"), "{refusal}");
//! # Ok::<(), ff_core::EngineError>(())
//! ```

pub mod admit;
pub mod cell;
pub mod define;
pub mod held;
pub mod key;
pub mod permits;
pub mod read;
