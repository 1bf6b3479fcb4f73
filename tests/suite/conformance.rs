//! Backend behaviour: one topic per file, one case per rule, each case on every backend.

mod cancel;
mod claim;
mod create;
mod delay;
mod expire;
mod fail;
pub(crate) mod fence;
mod finish;
mod handles;
mod input;
mod lease;
mod listing;
mod operator;
mod reads;
mod revoke;
mod scan;
mod tags;
