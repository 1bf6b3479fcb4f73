//! Answers about what is removed, and the named subscribers that hold it back.

use ff_core::contracts::{SubscriberCursor, TrimReport};
use serde::Serialize;

/// `trim`.
#[derive(Debug, Serialize)]
pub(crate) struct TrimView<'a> {
    pub(crate) dry_run: bool,
    pub(crate) interrupted: bool,
    #[serde(flatten)]
    pub(crate) report: &'a TrimReport,
}

/// `subscribers`.
#[derive(Debug, Serialize)]
pub(crate) struct SubscribersView<'a> {
    pub(crate) subscribers: &'a [SubscriberCursor],
}

/// `subscribers drop`.
#[derive(Debug, Serialize)]
pub(crate) struct DroppedView<'a> {
    pub(crate) name: &'a str,
    pub(crate) cursors: u32,
}
