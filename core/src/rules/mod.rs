//! Every rule of the system, once.
//!
//! One file per topic, one small decision per operation. A rule reads arguments, facts and
//! [`ctx::Ctx`], and answers with a plan or a refusal; it never knows which database runs the plan.
//! What two operations share (the fence, the way a state is written, the events) is a value in a
//! file of its own.
//!
//! Public for tests, tools and the reference's passes; not stable. Callers use
//! `ff_core::engine_backend::EngineBackend` and [`crate::contracts`].
//!
//! An operation in, and a plan or a refusal out:
//!
//! ```
//! use ff_core::contracts::SetLaneStateArgs;
//! use ff_core::plan::facts::Facts;
//! use ff_core::rules::ctx::{Ctx, Seeded};
//! use ff_core::rules::decision::{Step, Transition as _};
//! use ff_core::rules::lane::SetLaneState;
//! use ff_core::state::LaneState;
//! use ff_core::types::{LaneId, TimestampMs};
//!
//! let args = SetLaneStateArgs::new(LaneId::new("mail"), LaneState::Draining, "ada");
//! let (operation, mut source) = (SetLaneState::new(args)?, Seeded::new(17));
//! let mut context = Ctx::new(TimestampMs(1_000), &mut source);
//! // Nothing has been read yet. This operation needs nothing, so its first step is the plan.
//! let plan = match operation.step(&Facts::default(), &mut context)? {
//!     Step::Commit(plan, _) => plan.to_string(),
//!     Step::Read(_) | Step::Answer(()) => panic!("a change of state is a plan"),
//! };
//! assert!(plan.starts_with("plan set_lane_state\n"), "{plan}");
//!
//! let unnamed = SetLaneStateArgs::new(LaneId::new(""), LaneState::Draining, "ada");
//! assert!(SetLaneState::new(unnamed).is_err());
//! # Ok::<(), ff_core::EngineError>(())
//! ```

pub mod archive;
pub mod budget;
pub mod changes;
pub mod count;
pub mod ctx;
pub mod decision;
pub mod execution;
pub mod fairness;
pub mod fence;
pub mod flow;
pub mod grant;
pub mod handle;
pub mod input;
pub mod key;
pub mod keyring;
pub mod keystore;
pub mod lane;
pub mod limit;
pub mod outbox;
pub mod premise;
pub mod quota;
pub mod retention;
pub mod row_list;
pub mod scan;
pub mod schedule;
pub mod status;
pub mod step;
pub mod stream;
pub mod suspension;
pub mod worker;
