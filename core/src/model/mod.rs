//! What things are: ids, partitions, states, policies, handles, cursors, errors.
//!
//! The lowest floor. It knows no operation, no plan and no table.
//!
//! ```
//! use ff_core::partition::PartitionConfig;
//! use ff_core::policy::{BackoffStrategy, ExecutionPolicy};
//! use ff_core::types::{ExecutionId, LaneId};
//!
//! // Executions of one lane share a partition, which is part of their ids.
//! let id = ExecutionId::solo(&LaneId::new("mail"), &PartitionConfig::default());
//! assert_eq!(ExecutionId::parse(&id.to_string())?, id);
//!
//! let policy: ExecutionPolicy = serde_json::from_str(
//!     r#"{"retry_policy": {"max_retries": 5, "backoff": {"type": "fixed", "delay_ms": 500}}}"#,
//! )?;
//! let retry = policy.retry_policy.ok_or("it has one")?;
//! assert_eq!(retry.backoff, BackoffStrategy::Fixed { delay_ms: 500 });
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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
