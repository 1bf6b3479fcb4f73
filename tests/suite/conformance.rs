//! Backend behaviour: one topic per file, one case per rule, each case on every backend.

mod cancel;
mod claim;
mod create;
mod delay;
mod fail;
mod fence;
mod finish;
mod lease;
