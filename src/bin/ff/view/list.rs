//! Lists: executions, flows, waitpoints, frames, events.

use std::collections::BTreeMap;

use ff_core::contracts::{ExecutionRow, FlowRow, PendingWaitpointInfo, StreamFrame};
use ff_core::types::{AttemptIndex, ExecutionId, TimestampMs, WaitpointId};
use serde::Serialize;
use serde_json::Value as Json;

use super::{FlowRowView, RowView};
use crate::events::Event;

/// `ls`.
#[derive(Debug, Serialize)]
pub(crate) struct ExecutionsView<'a> {
    executions: Vec<RowView<'a>>,
    next_cursor: Option<&'a ExecutionId>,
}

impl<'a> ExecutionsView<'a> {
    /// The rows, with the reason of each if reasons are given.
    pub(crate) fn new(
        rows: &'a [ExecutionRow],
        reasons: Option<&'a [String]>,
        next: Option<&'a ExecutionId>,
    ) -> Self {
        let executions = match reasons {
            None => rows.iter().map(RowView::from).collect(),
            Some(reasons) => {
                let both = rows.iter().zip(reasons);
                both.map(|(row, reason)| RowView::with_reason(row, reason)).collect()
            }
        };
        Self { executions, next_cursor: next }
    }
}

/// `flow ls`.
#[derive(Debug, Serialize)]
pub(crate) struct FlowsView<'a> {
    flows: Vec<FlowRowView<'a>>,
    next_cursor: Option<&'a str>,
}

impl<'a> FlowsView<'a> {
    pub(crate) fn new(rows: &'a [FlowRow], next: Option<&'a str>) -> Self {
        Self { flows: rows.iter().map(FlowRowView::from).collect(), next_cursor: next }
    }
}

/// `waitpoints`.
#[derive(Debug, Serialize)]
pub(crate) struct WaitpointsView<'a> {
    waitpoints: Vec<WaitpointView<'a>>,
    next_cursor: Option<&'a ExecutionId>,
}

impl<'a> WaitpointsView<'a> {
    pub(crate) fn new(
        waitpoints: &'a [PendingWaitpointInfo],
        next: Option<&'a ExecutionId>,
    ) -> Self {
        Self { waitpoints: waitpoints.iter().map(WaitpointView::from).collect(), next_cursor: next }
    }
}

/// One waitpoint, without its token.
#[derive(Debug, Serialize)]
pub(crate) struct WaitpointView<'a> {
    waitpoint_id: &'a WaitpointId,
    waitpoint_key: &'a str,
    execution_id: &'a ExecutionId,
    state: &'a str,
    required_signal_names: &'a [String],
    token_kid: &'a str,
    token_fingerprint: &'a str,
    created_at_ms: TimestampMs,
    activated_at_ms: Option<TimestampMs>,
    expires_at_ms: Option<TimestampMs>,
}

impl<'a> From<&'a PendingWaitpointInfo> for WaitpointView<'a> {
    fn from(waitpoint: &'a PendingWaitpointInfo) -> Self {
        Self {
            waitpoint_id: &waitpoint.waitpoint_id,
            waitpoint_key: &waitpoint.waitpoint_key,
            execution_id: &waitpoint.execution_id,
            state: &waitpoint.state,
            required_signal_names: &waitpoint.required_signal_names,
            token_kid: &waitpoint.token_kid,
            token_fingerprint: &waitpoint.token_fingerprint,
            created_at_ms: waitpoint.created_at,
            activated_at_ms: waitpoint.activated_at,
            expires_at_ms: waitpoint.expires_at,
        }
    }
}

/// `waitpoints --token`.
#[derive(Debug, Serialize)]
pub(crate) struct TokenView<'a> {
    pub(crate) waitpoint_id: &'a WaitpointId,
    pub(crate) token: &'a str,
}

/// A line of `tail`.
#[derive(Debug, Serialize)]
pub(crate) struct FrameView<'a> {
    attempt_index: AttemptIndex,
    id: &'a str,
    fields: &'a BTreeMap<String, String>,
}

impl<'a> FrameView<'a> {
    pub(crate) fn new(attempt_index: AttemptIndex, frame: &'a StreamFrame) -> Self {
        Self { attempt_index, id: &frame.id, fields: &frame.fields }
    }
}

/// A line of `tail --summary`.
#[derive(Debug, Serialize)]
pub(crate) struct SummaryView {
    pub(crate) attempt_index: AttemptIndex,
    pub(crate) summary: Json,
    pub(crate) version: u64,
}

/// A line of `events`.
#[derive(Debug, Serialize)]
pub(crate) struct AnnouncedView<'a> {
    kind: &'static str,
    /// The cursor as `--from` takes it.
    cursor: String,
    at_ms: TimestampMs,
    execution_id: &'a str,
    event: &'a str,
    /// Fields that only some kinds have.
    #[serde(flatten)]
    details: BTreeMap<&'static str, &'a Json>,
}

impl<'a> From<&'a Event> for AnnouncedView<'a> {
    fn from(event: &'a Event) -> Self {
        Self {
            kind: event.kind.as_str(),
            cursor: event.cursor_text(),
            at_ms: event.at,
            execution_id: &event.execution_id,
            event: &event.what,
            details: event.details.iter().map(|(name, value)| (*name, value)).collect(),
        }
    }
}
