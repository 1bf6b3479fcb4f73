//! The doctor's findings as JSON.

use ff_core::types::TimestampMs;
use serde::Serialize;

use crate::doctor::Finding;

/// `doctor`.
#[derive(Debug, Serialize)]
pub(crate) struct DoctorView<'a> {
    at_ms: TimestampMs,
    findings: &'a [Finding],
}

impl<'a> DoctorView<'a> {
    pub(crate) const fn of(at_ms: TimestampMs, findings: &'a [Finding]) -> Self {
        Self { at_ms, findings }
    }
}
