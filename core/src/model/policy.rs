//! The policy of an execution, as its submitter states it: retries, timeouts, routing, limits.
//!
//! Policies travel and are stored as JSON. Unknown members are ignored, absent optional ones are
//! left out when written.

pub mod check;
pub mod stored;
mod timeout;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::model::ids::{BudgetId, TimestampMs};
use crate::model::state::{ClosedSet as _, FailureClass};

pub use timeout::TimeoutBehavior;

/// The longest list of a worker's capabilities, in bytes of comma-separated text; inclusive.
pub const CAPS_MAX_BYTES: usize = 4096;

/// The most capabilities that a worker may offer; inclusive.
pub const CAPS_MAX_TOKENS: usize = 256;

const DEFAULT_MAX_RETRIES: u32 = 3;
const DEFAULT_DELAY_MS: u64 = 1_000;
const DEFAULT_MAX_DELAY_MS: u64 = 60_000;
const DEFAULT_MULTIPLIER: f64 = 2.0;
const DEFAULT_MAX_RECLAIM_COUNT: u32 = 100;
const DEFAULT_MAX_REPLAY_COUNT: u32 = 10;
const DEFAULT_MAX_SIGNALS: u32 = 10_000;
const DEFAULT_RETENTION_MAXLEN: u64 = 10_000;

/// The number of retries of a failed execution, and the pauses before them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RetryPolicy {
    /// The most attempts after the first.
    pub max_retries: u32,
    /// The pause before each of them.
    pub backoff: BackoffStrategy,
    /// The failure categories that are retried; empty means all that are retryable by default:
    /// transient failures and broken workers. In an execution's policy these are words of
    /// [`crate::model::state::FailureClass`] (`transient`, `infra_crash`, `timeout`). In the policy
    /// of a typed failure they are any words that its `failure_category` uses.
    pub retryable_categories: Vec<String>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_retries: DEFAULT_MAX_RETRIES,
            backoff: BackoffStrategy::default(),
            retryable_categories: Vec::new(),
        }
    }
}

impl RetryPolicy {
    /// Returns true if a failure of that class is retried: one that the policy names or, if it
    /// names none, a transient failure or a broken worker. A permanent or cancelled one is never
    /// retried.
    #[must_use]
    pub fn retries_class(&self, class: FailureClass) -> bool {
        let named = self.retryable_categories.iter().any(|word| word == class.as_str());

        match class {
            FailureClass::Transient | FailureClass::InfraCrash => {
                named || self.retryable_categories.is_empty()
            }
            FailureClass::Timeout => named,
            FailureClass::Permanent | FailureClass::Cancelled => false,
        }
    }

    /// Returns true if a failure of that category, in the caller's own words, is retried. Every
    /// category is, where the policy names none.
    #[must_use]
    pub fn retries_category(&self, category: &str) -> bool {
        self.retryable_categories.is_empty()
            || self.retryable_categories.iter().any(|word| word == category)
    }

    /// Reads the policy that a worker sends along with a failure. It is more lenient than the
    /// stored form. An empty text is no policy; without `max_retries` there are no retries; a
    /// backoff of missing or unknown type is a fixed second. By default, an exponential backoff
    /// starts at a second, doubles, and is capped at a minute, or at its first pause where that is
    /// longer. [`Self::check`] validates the result.
    ///
    /// # Errors
    /// When the text is no JSON object of this shape, or its multiplier is not finite.
    pub fn from_wire_json(text: &str) -> Result<Option<Self>, String> {
        if text.is_empty() {
            return Ok(None);
        }

        let members: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(text).map_err(|err| err.to_string())?;
        let wire: WireRetryPolicy =
            serde_json::from_value(members.into()).map_err(|err| err.to_string())?;

        Ok(Some(Self {
            max_retries: wire.max_retries.unwrap_or(0),
            backoff: wire.backoff.unwrap_or_default().resolve()?,
            retryable_categories: wire.retryable_categories.unwrap_or_default(),
        }))
    }
}

#[derive(Deserialize)]
struct WireRetryPolicy {
    max_retries: Option<u32>,
    backoff: Option<WireBackoff>,
    retryable_categories: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
struct WireBackoff {
    r#type: Option<String>,
    delay_ms: Option<u64>,
    initial_delay_ms: Option<u64>,
    max_delay_ms: Option<u64>,
    multiplier: Option<f64>,
    jitter: Option<bool>,
}

impl WireBackoff {
    fn resolve(self) -> Result<BackoffStrategy, String> {
        match self.r#type.as_deref() {
            Some("exponential") => {
                let multiplier = self.multiplier.unwrap_or(DEFAULT_MULTIPLIER);
                if !multiplier.is_finite() {
                    return Err(format!("backoff multiplier is not finite: {multiplier}"));
                }

                let initial_delay_ms = self.initial_delay_ms.unwrap_or(DEFAULT_DELAY_MS);
                let usual = DEFAULT_MAX_DELAY_MS.max(initial_delay_ms);

                Ok(BackoffStrategy::Exponential {
                    initial_delay_ms,
                    max_delay_ms: self.max_delay_ms.unwrap_or(usual),
                    multiplier,
                    jitter: self.jitter.unwrap_or(false),
                })
            }
            Some("fixed") => {
                Ok(BackoffStrategy::Fixed { delay_ms: self.delay_ms.unwrap_or(DEFAULT_DELAY_MS) })
            }
            Some(_) | None => Ok(BackoffStrategy::Fixed { delay_ms: DEFAULT_DELAY_MS }),
        }
    }
}

/// The pause before another attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum BackoffStrategy {
    /// The same every time.
    Fixed {
        /// The pause, in milliseconds.
        delay_ms: u64,
    },
    /// Growing from attempt to attempt.
    Exponential {
        /// The first pause, in milliseconds.
        initial_delay_ms: u64,
        /// The longest pause, in milliseconds.
        max_delay_ms: u64,
        /// The factor from one pause to the next.
        multiplier: f64,
        /// True if each pause is shortened at random, so that executions that failed together do
        /// not retry together.
        #[serde(default)]
        jitter: bool,
    },
}

impl Default for BackoffStrategy {
    fn default() -> Self {
        Self::Exponential {
            initial_delay_ms: DEFAULT_DELAY_MS,
            max_delay_ms: DEFAULT_MAX_DELAY_MS,
            multiplier: DEFAULT_MULTIPLIER,
            jitter: false,
        }
    }
}

impl BackoffStrategy {
    /// The pause before the next attempt, in milliseconds, after `retries_so_far` retries.
    ///
    /// Exponential: `initial * multiplier ^ retries_so_far`, at most the maximum, truncated. With
    /// jitter asked for and `jitter` drawn from 0 to 1, the pause is scaled by `0.5 + 0.5 *
    /// jitter`; a draw outside that range counts as its nearest end. A multiplier that is not a
    /// number gives the maximum.
    #[must_use]
    pub fn delay_ms(&self, retries_so_far: u32, jitter: Option<f64>) -> u64 {
        match *self {
            Self::Fixed { delay_ms } => delay_ms,
            Self::Exponential {
                initial_delay_ms,
                max_delay_ms,
                multiplier,
                jitter: jitter_wanted,
            } => {
                // `min` also replaces NaN. The cast saturates: a negative pause becomes 0.
                let factor = multiplier.powf(f64::from(retries_so_far)).min(f64::MAX);
                let full = ((initial_delay_ms as f64 * factor) as u64).min(max_delay_ms);

                match jitter {
                    Some(draw) if jitter_wanted && !draw.is_nan() => {
                        (full as f64 * (0.5 + 0.5 * draw.clamp(0.0, 1.0))) as u64
                    }
                    Some(_) | None => full,
                }
            }
        }
    }
}

/// Limits on the time of an attempt and of the whole execution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimeoutPolicy {
    /// The longest run of one attempt, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt_timeout_ms: Option<u64>,
    /// The longest time of the whole execution, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_deadline_ms: Option<u64>,
    /// The most lost workers; at the default, [`ExecutionPolicy::max_reclaim_count`] applies
    /// instead.
    #[serde(default = "default_max_reclaim_count")]
    pub max_reclaim_count: u32,
}

impl Default for TimeoutPolicy {
    fn default() -> Self {
        let max_reclaim_count = default_max_reclaim_count();
        Self { attempt_timeout_ms: None, execution_deadline_ms: None, max_reclaim_count }
    }
}

/// The timeout of suspensions that name none themselves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SuspensionPolicy {
    /// The longest suspension, in milliseconds; without it the policy is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_timeout_ms: Option<u64>,
    /// The action at the timeout, as a word of [`crate::model::policy::TimeoutBehavior`].
    #[serde(default = "default_timeout_behavior")]
    pub timeout_behavior: String,
}

/// Fallbacks to try in turn. It has no effect in this version: a policy that holds one is refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FallbackPolicy {
    /// The tiers, best first.
    pub tiers: Vec<FallbackTier>,
}

/// One thing to try.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FallbackTier {
    /// The provider.
    pub provider: String,
    /// The provider's model.
    pub model: String,
    /// The longest time that it may take, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// Requirements on the workers that may run the execution.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RoutingRequirements {
    /// The capabilities that the worker must offer, all of them.
    #[serde(default)]
    pub required_capabilities: BTreeSet<String>,
    /// The locality to run in. Has no effect in this version: refused where it is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferred_locality: Option<String>,
    /// The isolation to run in. Has no effect in this version: refused where it is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation_level: Option<String>,
}

/// The retention of the execution's frames. It has no effect in this version: a policy that holds
/// one is refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamPolicy {
    /// The durability of the frames.
    #[serde(default = "default_durability_mode")]
    pub durability_mode: String,
    /// The most frames that are kept.
    #[serde(default = "default_retention_maxlen")]
    pub retention_maxlen: u64,
    /// The time for which frames are kept, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_ttl_ms: Option<u64>,
}

/// The policy that the submitter of an execution states. [`ExecutionPolicy::check`] validates it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExecutionPolicy {
    /// The priority within the lane: higher goes first. It applies where the submission's own
    /// priority is zero.
    #[serde(default)]
    pub priority: i32,
    /// The time before which it cannot be claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_until: Option<TimestampMs>,
    /// The retries of failures; none when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_policy: Option<RetryPolicy>,
    /// Limits on the time of an attempt and of the whole execution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_policy: Option<TimeoutPolicy>,
    /// The most lost workers before it fails.
    #[serde(default = "default_max_reclaim_count")]
    pub max_reclaim_count: u32,
    /// The timeout of suspensions that name none themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspension_policy: Option<SuspensionPolicy>,
    /// Fallbacks to try in turn. Has no effect in this version: refused where it is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback_policy: Option<FallbackPolicy>,
    /// The most replays.
    #[serde(default = "default_max_replay_count")]
    pub max_replay_count: u32,
    /// The budgets that it draws on: it is claimed only while each of them has room.
    #[serde(default)]
    pub budget_ids: Vec<BudgetId>,
    /// The amounts that it is expected to use, by dimension. A claim reserves them in each of its
    /// budgets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub budget_estimate: BTreeMap<String, u64>,
    /// The keys of limits that it counts for, such as `tenant/42`: it is claimed only while each of
    /// them has room.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limit_keys: Vec<String>,
    /// The number of executions that it counts as, where a limit bounds the starts in a time; 1
    /// when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_weight: Option<u32>,
    /// The key by which claims of its lane are shared, such as a tenant: the keys that wait take
    /// turns, by their weights in the lane. Executions without one are as of one key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fairness_key: Option<String>,
    /// Requirements on the workers that may run it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing_requirements: Option<RoutingRequirements>,
    /// The time for which a repeat of its idempotency key is a duplicate, in milliseconds; a day
    /// when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedup_window_ms: Option<u64>,
    /// True if a repeat of its idempotency key is a duplicate until the execution has ended,
    /// instead of for a time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dedup_while_active: bool,
    /// The retention of its frames. Has no effect in this version: refused where it is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_policy: Option<StreamPolicy>,
    /// The most signals that it may receive.
    #[serde(default = "default_max_signals")]
    pub max_signals_per_execution: u32,
}

impl Default for ExecutionPolicy {
    fn default() -> Self {
        Self {
            priority: 0,
            delay_until: None,
            retry_policy: None,
            timeout_policy: None,
            max_reclaim_count: DEFAULT_MAX_RECLAIM_COUNT,
            suspension_policy: None,
            fallback_policy: None,
            max_replay_count: DEFAULT_MAX_REPLAY_COUNT,
            budget_ids: Vec::new(),
            budget_estimate: BTreeMap::new(),
            limit_keys: Vec::new(),
            limit_weight: None,
            fairness_key: None,
            routing_requirements: None,
            dedup_window_ms: None,
            dedup_while_active: false,
            stream_policy: None,
            max_signals_per_execution: DEFAULT_MAX_SIGNALS,
        }
    }
}

const fn default_max_reclaim_count() -> u32 {
    DEFAULT_MAX_RECLAIM_COUNT
}

const fn default_max_replay_count() -> u32 {
    DEFAULT_MAX_REPLAY_COUNT
}

const fn default_max_signals() -> u32 {
    DEFAULT_MAX_SIGNALS
}

const fn default_retention_maxlen() -> u64 {
    DEFAULT_RETENTION_MAXLEN
}

fn default_timeout_behavior() -> String {
    "fail".to_owned()
}

fn default_durability_mode() -> String {
    "buffered".to_owned()
}

#[cfg(test)]
mod tests;
