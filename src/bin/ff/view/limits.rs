//! Limits of keys.

use ff_core::contracts::{LimitInfo, LimitStatus, RateLimit};
use ff_core::types::ExecutionId;
use serde::Serialize;

/// A limit: `limits set`, and one of `limits ls`.
#[derive(Debug, Serialize)]
pub(crate) struct LimitView<'a> {
    limit_key: &'a str,
    max_running: Option<u32>,
    rate: Option<RateView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    set_by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    set_at_ms: Option<i64>,
}

#[derive(Debug, Serialize)]
struct RateView {
    count: u32,
    per_ms: u64,
    burst: u32,
}

impl RateView {
    fn of(rate: &RateLimit) -> Self {
        Self { count: rate.count, per_ms: rate.per_ms, burst: rate.burst_or_default() }
    }
}

impl<'a> LimitView<'a> {
    pub(crate) fn of(
        limit_key: &'a str,
        max_running: Option<u32>,
        rate: Option<&RateLimit>,
    ) -> Self {
        let rate = rate.map(RateView::of);
        Self { limit_key, max_running, rate, set_by: None, set_at_ms: None }
    }

    pub(crate) fn set_by(self, limit: &'a LimitInfo) -> Self {
        Self { set_by: Some(&limit.set_by), set_at_ms: Some(limit.set_at.0), ..self }
    }
}

/// `limits ls`.
#[derive(Debug, Serialize)]
pub(crate) struct LimitsView<'a> {
    pub(crate) limits: Vec<LimitView<'a>>,
}

/// `limits show`.
#[derive(Debug, Serialize)]
pub(crate) struct LimitStatusView<'a> {
    limit_key: &'a str,
    limit: LimitView<'a>,
    running: u64,
    holders: &'a [ExecutionId],
    next_start_ms: Option<i64>,
}

impl<'a> LimitStatusView<'a> {
    pub(crate) fn of(limit_key: &'a str, status: &'a LimitStatus) -> Self {
        let LimitInfo { limit_key: own, max_running, rate, .. } = &status.limit;
        let limit = LimitView::of(own, *max_running, rate.as_ref()).set_by(&status.limit);
        Self {
            limit_key,
            limit,
            running: status.running,
            holders: &status.holders,
            next_start_ms: status.next_start.map(|at| at.0),
        }
    }
}

/// `limits rm`.
#[derive(Debug, Serialize)]
pub(crate) struct RemovedView<'a> {
    pub(crate) limit_key: &'a str,
    pub(crate) removed: bool,
}
