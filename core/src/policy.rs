//! What the submitter of an execution asks for: retries, timeouts, routing, limits.
//!
//! Policies travel and are stored as JSON. Unknown members are ignored, absent optional ones are
//! left out when written.

pub mod check;
pub mod stored;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::state::{ClosedSet as _, FailureClass};
use crate::types::{BudgetId, TimestampMs};

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

/// How often a failed execution is tried again, and after how long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RetryPolicy {
    /// How many attempts may follow the first.
    pub max_retries: u32,
    /// The pause before each of them.
    pub backoff: BackoffStrategy,
    /// The failure categories that are worth another attempt; empty means all that can be: transient
    /// failures and broken workers. In an execution's policy these are words of
    /// [`crate::backend::FailureClass`] (`transient`, `infra_crash`, `timeout`); in the policy that
    /// comes with a typed failure, whatever its `failure_category` may say.
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
    /// Whether a failure of that class is worth another attempt: one that the policy names, or, where it
    /// names none, one that is transient or broke the worker. What is permanent or cancelled never is.
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

    /// Whether a failure of that category, in whatever words its caller has, is worth another attempt:
    /// any, where the policy names none.
    #[must_use]
    pub fn retries_category(&self, category: &str) -> bool {
        self.retryable_categories.is_empty()
            || self.retryable_categories.iter().any(|word| word == category)
    }

    /// Reads the policy that a worker sends along with a failure. It is more lenient than the
    /// stored form: an empty text is no policy; without `max_retries` there are none; a backoff of
    /// missing or unknown type is a fixed second; an exponential one starts at a second, doubles,
    /// and stays under a minute, or at its first
    /// pause where that is longer, where it says nothing else. Whether it makes sense is for [`Self::check`] to say.
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
        /// Whether each pause is shortened at random, so that executions that failed together do
        /// not come back together.
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
                // `min` also replaces what is not a number; the cast saturates, negative pauses at
                // 0.
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

/// How long things may take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimeoutPolicy {
    /// How long one attempt may run, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt_timeout_ms: Option<u64>,
    /// How long the execution may take in all, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_deadline_ms: Option<u64>,
    /// How often its worker may be lost; where it is the default, the number of
    /// [`ExecutionPolicy::max_reclaim_count`] counts.
    #[serde(default = "default_max_reclaim_count")]
    pub max_reclaim_count: u32,
}

/// How suspensions end that name no end themselves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SuspensionPolicy {
    /// How long a suspension may last, in milliseconds; without it the policy is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_timeout_ms: Option<u64>,
    /// What happens then, in a word of [`crate::contracts::TimeoutBehavior`].
    #[serde(default = "default_timeout_behavior")]
    pub timeout_behavior: String,
}

/// What to try in turn. It has no effect in this version: a policy that holds one is refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FallbackPolicy {
    /// The tiers, best first.
    pub tiers: Vec<FallbackTier>,
}

/// One thing to try.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FallbackTier {
    /// Who provides it.
    pub provider: String,
    /// Which of the provider's models.
    pub model: String,
    /// How long it may take, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// Which workers may run the execution.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RoutingRequirements {
    /// The capabilities that the worker must offer, all of them.
    #[serde(default)]
    pub required_capabilities: BTreeSet<String>,
    /// Where it should run. Has no effect in this version: refused where it is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferred_locality: Option<String>,
    /// How isolated it should run. Has no effect in this version: refused where it is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation_level: Option<String>,
}

/// How the execution's frames are kept. It has no effect in this version: a policy that holds one is
/// refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamPolicy {
    /// How durable they are.
    #[serde(default = "default_durability_mode")]
    pub durability_mode: String,
    /// How many are kept.
    #[serde(default = "default_retention_maxlen")]
    pub retention_maxlen: u64,
    /// How long they are kept, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_ttl_ms: Option<u64>,
}

/// Everything that the submitter of an execution asks for. [`ExecutionPolicy::check`] says whether it
/// makes sense.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExecutionPolicy {
    /// Which execution of a lane goes first: the higher one. Counts where the submission itself gives
    /// none, that is, zero.
    #[serde(default)]
    pub priority: i32,
    /// Not to be claimed before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_until: Option<TimestampMs>,
    /// Whether failures are tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_policy: Option<RetryPolicy>,
    /// How long things may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_policy: Option<TimeoutPolicy>,
    /// How often its worker may be lost before it fails.
    #[serde(default = "default_max_reclaim_count")]
    pub max_reclaim_count: u32,
    /// How suspensions end that name no end themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspension_policy: Option<SuspensionPolicy>,
    /// What to try in turn. Has no effect in this version: refused where it is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback_policy: Option<FallbackPolicy>,
    /// How often it may be replayed.
    #[serde(default = "default_max_replay_count")]
    pub max_replay_count: u32,
    /// The budgets that it draws on. Have no effect in this version: refused where there are any.
    #[serde(default)]
    pub budget_ids: Vec<BudgetId>,
    /// Which workers may run it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing_requirements: Option<RoutingRequirements>,
    /// How long a repeat of its idempotency key is a duplicate, in milliseconds. Has no effect in this
    /// version: refused where it is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedup_window_ms: Option<u64>,
    /// How its frames are kept. Has no effect in this version: refused where it is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_policy: Option<StreamPolicy>,
    /// How many signals it may receive.
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
            routing_requirements: None,
            dedup_window_ms: None,
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
