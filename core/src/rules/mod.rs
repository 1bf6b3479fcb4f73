//! Every rule of the system, once.
//!
//! One file per topic, one small decision per operation. A rule reads arguments, facts and
//! [`ctx::Ctx`], and answers with a plan or a refusal; it never knows which database runs the plan.
//! What two operations share (the fence, the way a state is written, the events) is a value in a
//! file of its own.
//!
//! Public for tests, tools and the reference's passes; not stable. Callers use
//! `ff_core::engine_backend::EngineBackend` and [`crate::contracts`].

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
pub mod scan;
pub mod schedule;
pub mod status;
pub mod step;
pub mod stream;
pub mod suspension;
pub mod worker;
