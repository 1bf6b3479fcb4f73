//! Budgets: limits of what executions may spend, by dimension.
//!
//! A budget's row is its head. Every change of the budget, of its totals or of what executions
//! contributed is pinned to the head's version, so a report is judged on exactly what it changes: a
//! hard limit holds however many report at once. A report to a budget that is not defined yet is
//! counted, and makes a head without limits.
//!
//! ```
//! use ff_core::contracts::CreateBudgetArgs;
//! use ff_core::partition::PartitionConfig;
//! use ff_core::rules::budget::create::CreateBudget;
//! use ff_core::types::{BudgetId, TimestampMs};
//!
//! let args = CreateBudgetArgs {
//!     budget_id: BudgetId::parse("00000000-0000-0000-0000-000000000001")?,
//!     scope_type: "tenant".into(),
//!     scope_id: "42".into(),
//!     enforcement_mode: "strict".into(),
//!     on_hard_limit: "fail".into(),
//!     on_soft_limit: "warn".into(),
//!     reset_interval_ms: 86_400_000,
//!     dimensions: vec!["tokens".into()],
//!     hard_limits: vec![1_000_000],
//!     soft_limits: vec![],
//!     now: TimestampMs(0),
//! };
//! let refusal = CreateBudget::new(args.clone(), &PartitionConfig::default()).unwrap_err();
//! assert!(refusal.to_string().contains("length mismatch"), "{refusal}");
//! let args = CreateBudgetArgs { soft_limits: vec![800_000], ..args };
//! assert!(CreateBudget::new(args, &PartitionConfig::default()).is_ok());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod create;
pub mod dedup;
pub mod key;
pub mod limits;
pub mod over_run;
pub mod read;
pub mod reconcile;
pub mod release;
pub mod report;
pub mod reservation;
pub mod reset;
pub mod room;
pub mod token;
