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

/// `archive`.
#[derive(Debug, Serialize)]
pub(crate) struct ArchiveView<'a> {
    pub(crate) archive: &'a str,
    pub(crate) executions: u64,
    pub(crate) flows: u64,
    pub(crate) event_id: i64,
    pub(crate) bytes: u64,
    pub(crate) waits_for_flow: Option<&'a str>,
}

/// `import`.
#[derive(Debug, Serialize)]
pub(crate) struct ImportView {
    pub(crate) executions: u64,
    pub(crate) flows: u64,
    pub(crate) already_there: u64,
    pub(crate) differing: u64,
    pub(crate) superseded: u64,
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
