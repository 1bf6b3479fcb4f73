//! Backend behaviour: one topic per file, one case per rule, each case on every backend.

mod bulk;
mod cancel;
mod claim;
mod create;
mod delay;
mod expire;
mod fail;
pub(crate) mod fence;
mod finish;
mod flow;
mod handles;
mod input;
mod keystore;
mod lease;
mod listing;
mod operator;
mod reads;
mod replay;
mod revoke;
mod scan;
pub(crate) mod signal;
mod stream;
mod suspension;
mod tags;
mod timeout;
mod unblock;
mod waitpoints;
