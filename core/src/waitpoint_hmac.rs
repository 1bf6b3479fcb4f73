//! The types around a waitpoint's signed token, gathered under one path.

pub use crate::backend::WaitpointHmac;
pub use crate::contracts::{
    ListWaitpointHmacKidsArgs, RotateWaitpointHmacSecretAllArgs, RotateWaitpointHmacSecretAllEntry,
    RotateWaitpointHmacSecretAllResult, RotateWaitpointHmacSecretArgs,
    RotateWaitpointHmacSecretOutcome, VerifyingKid, WaitpointHmacKids,
};
