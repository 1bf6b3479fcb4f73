//! Limits that executions share by key: setting one, and reading it with what holds it.

use crate::model::ids::{ExecutionId, TimestampMs};

/// The most executions of one key that a limit may allow to run at once; inclusive.
pub const LIMIT_RUNNING_MAX: u32 = 10_000;

/// The most executions that a rate may let start at once; inclusive.
pub const LIMIT_BURST_MAX: u32 = 1_000;

/// The most executions that a rate may count; inclusive.
pub const LIMIT_RATE_MAX: u32 = 1_000_000;

/// The holders of permits that a limit that is read names; there may be more.
pub const LIMIT_HOLDERS_MAX: usize = 100;

/// A bound on the executions that start in a time: a token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimit {
    /// The executions, each with its weight, that start in that time; 1 to [`LIMIT_RATE_MAX`].
    pub count: u32,
    /// The time, in milliseconds.
    pub per_ms: u64,
    /// The executions that may start at once after a pause, 1 to [`LIMIT_BURST_MAX`]; `count`, or
    /// that bound if it is smaller, when absent.
    pub burst: Option<u32>,
}

impl RateLimit {
    /// So many executions in that time.
    #[must_use]
    pub fn new(count: u32, per_ms: u64) -> Self {
        Self { count, per_ms, burst: None }
    }

    /// The same, where so many may start at once.
    #[must_use]
    pub fn with_burst(self, burst: u32) -> Self {
        Self { burst: Some(burst), ..self }
    }

    /// The executions that may start at once after a pause.
    #[must_use]
    pub fn burst_or_default(&self) -> u32 {
        self.burst.unwrap_or(self.count.min(LIMIT_BURST_MAX))
    }
}

/// Sets the limit of a key, in place of the one that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetLimitArgs {
    /// The key that executions name, such as `tenant/42`. One that ends in `/*`, such as
    /// `tenant/*`, is the limit of each key of that family that has none of its own.
    pub limit_key: String,
    /// The most executions of the key that run at once; any number when absent.
    pub max_running: Option<u32>,
    /// The executions of the key that start in a time; any number when absent.
    pub rate: Option<RateLimit>,
    /// The operator that sets the limit.
    pub actor: String,
}

impl SetLimitArgs {
    /// A limit without bounds, which [`Self::with_running`] and [`Self::with_rate`] give it.
    #[must_use]
    pub fn new(limit_key: impl Into<String>, actor: impl Into<String>) -> Self {
        let (limit_key, actor) = (limit_key.into(), actor.into());
        Self { limit_key, max_running: None, rate: None, actor }
    }

    /// The same with that many executions at once.
    #[must_use]
    pub fn with_running(self, max: u32) -> Self {
        Self { max_running: Some(max), ..self }
    }

    /// The same with that rate.
    #[must_use]
    pub fn with_rate(self, rate: RateLimit) -> Self {
        Self { rate: Some(rate), ..self }
    }
}

/// A limit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitInfo {
    /// The key, or the family of keys.
    pub limit_key: String,
    /// The most executions of the key that run at once.
    pub max_running: Option<u32>,
    /// The executions of the key that start in a time.
    pub rate: Option<RateLimit>,
    /// The operator that set it.
    pub set_by: String,
    /// The time when it was set.
    pub set_at: TimestampMs,
}

/// The limit of a key, and what holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitStatus {
    /// The limit: the key's own, or that of its family.
    pub limit: LimitInfo,
    /// The executions that hold a permit of the key.
    pub running: u64,
    /// Some of them, by permit; at most [`LIMIT_HOLDERS_MAX`].
    pub holders: Vec<ExecutionId>,
    /// The time from which the rate lets the next execution of weight 1 start; `None` for now.
    pub next_start: Option<TimestampMs>,
}

/// A page of limits, by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListLimitsPage {
    /// The limits.
    pub limits: Vec<LimitInfo>,
    /// The key after which the next page begins; `None` on the last.
    pub next_cursor: Option<String>,
}
