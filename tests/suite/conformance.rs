//! Backend behaviour: one topic per file, one case per rule, each case on every backend.

mod claim;
mod create;
mod fence;
