//! One execution: from its creation over claims and ends to what is read of it.

pub mod bulk;
pub mod cancel;
pub mod change;
pub mod claim;
pub mod create;
pub mod delay;
pub mod end;
pub mod expire;
pub mod fail;
pub mod failure;
pub mod finish;
pub mod lease;
pub mod leasing;
pub mod listing;
pub mod losses;
pub mod newest;
pub mod priority;
pub mod read;
pub mod reconcile;
pub mod replay;
pub mod revoke;
pub mod tags;
pub mod take;
pub mod terms;
pub mod timeline;
pub mod unblock;
