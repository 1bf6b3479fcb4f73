//! What the submitter of an execution asks for: retries, timeouts, routing, limits.
//!
//! Policies travel and are stored as JSON. Unknown members are ignored, absent optional ones are
//! left out when written.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

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
    /// The failure categories that are worth another attempt.
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
    /// Reads the policy that a worker sends along with a failure. It is more lenient than the
    /// stored form: an empty text is no policy; without `max_retries` there are none; a backoff of
    /// missing or unknown type is a fixed second; an exponential one starts at a second, doubles,
    /// and stays under a minute where it says nothing else.
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
                Ok(BackoffStrategy::Exponential {
                    initial_delay_ms: self.initial_delay_ms.unwrap_or(DEFAULT_DELAY_MS),
                    max_delay_ms: self.max_delay_ms.unwrap_or(DEFAULT_MAX_DELAY_MS),
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
    /// How often it may be reclaimed from a lost worker.
    #[serde(default = "default_max_reclaim_count")]
    pub max_reclaim_count: u32,
}

/// How suspensions end that say nothing themselves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SuspensionPolicy {
    /// How long a suspension may last, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_timeout_ms: Option<u64>,
    /// What happens then.
    #[serde(default = "default_timeout_behavior")]
    pub timeout_behavior: String,
}

/// What to try in turn.
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
    /// Where it should run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferred_locality: Option<String>,
    /// How isolated it should run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation_level: Option<String>,
}

/// How the execution's frames are kept.
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

/// Everything that the submitter of an execution asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExecutionPolicy {
    /// Which execution of a lane goes first: the higher one.
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
    /// How often it may be reclaimed from a lost worker.
    #[serde(default = "default_max_reclaim_count")]
    pub max_reclaim_count: u32,
    /// How suspensions end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspension_policy: Option<SuspensionPolicy>,
    /// What to try in turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback_policy: Option<FallbackPolicy>,
    /// How often it may be replayed.
    #[serde(default = "default_max_replay_count")]
    pub max_replay_count: u32,
    /// The budgets that it draws on.
    #[serde(default)]
    pub budget_ids: Vec<BudgetId>,
    /// Which workers may run it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing_requirements: Option<RoutingRequirements>,
    /// How long a repeat of its idempotency key is a duplicate, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedup_window_ms: Option<u64>,
    /// How its frames are kept.
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
mod tests {
    use super::*;

    fn parse<T: serde::de::DeserializeOwned>(json: &str) -> T {
        serde_json::from_str(json).unwrap()
    }

    fn exponential(initial: u64, max: u64, multiplier: f64, jitter: bool) -> BackoffStrategy {
        BackoffStrategy::Exponential {
            initial_delay_ms: initial,
            max_delay_ms: max,
            multiplier,
            jitter,
        }
    }

    #[test]
    fn defaults_have_these_json_forms() {
        let execution = concat!(
            r#"{"priority":0,"max_reclaim_count":100,"max_replay_count":10,"#,
            r#""budget_ids":[],"max_signals_per_execution":10000}"#,
        );
        assert_eq!(serde_json::to_string(&ExecutionPolicy::default()).unwrap(), execution);
        assert_eq!(parse::<ExecutionPolicy>("{}"), ExecutionPolicy::default());
        let retry = concat!(
            r#"{"max_retries":3,"backoff":{"type":"exponential","initial_delay_ms":1000,"#,
            r#""max_delay_ms":60000,"multiplier":2.0,"jitter":false},"retryable_categories":[]}"#,
        );
        assert_eq!(serde_json::to_string(&RetryPolicy::default()).unwrap(), retry);
        assert_eq!(parse::<RetryPolicy>("{}"), RetryPolicy::default());
        assert_eq!(parse::<RetryPolicy>(retry), RetryPolicy::default());
        let forms = [
            serde_json::to_string(&parse::<TimeoutPolicy>("{}")).unwrap(),
            serde_json::to_string(&parse::<SuspensionPolicy>("{}")).unwrap(),
            serde_json::to_string(&RoutingRequirements::default()).unwrap(),
            serde_json::to_string(&parse::<StreamPolicy>("{}")).unwrap(),
        ];
        assert_eq!(
            forms,
            [
                r#"{"max_reclaim_count":100}"#,
                r#"{"timeout_behavior":"fail"}"#,
                r#"{"required_capabilities":[]}"#,
                r#"{"durability_mode":"buffered","retention_maxlen":10000}"#,
            ]
        );
    }

    #[test]
    fn null_and_unknown_members_are_ignored() {
        let policy: ExecutionPolicy =
            parse(r#"{"retry_policy":null,"delay_until":null,"new":[1]}"#);
        assert_eq!(policy, ExecutionPolicy::default());
    }

    #[test]
    fn required_members_are_required() {
        assert!(serde_json::from_str::<FallbackPolicy>("{}").is_err());
        assert!(serde_json::from_str::<FallbackTier>(r#"{"provider":"p"}"#).is_err());
        assert!(serde_json::from_str::<BackoffStrategy>(r#"{"type":"fixed"}"#).is_err());
        assert!(serde_json::from_str::<BackoffStrategy>(r#"{"delay_ms":5}"#).is_err());
        assert_eq!(
            parse::<BackoffStrategy>(r#"{"type":"fixed","delay_ms":5}"#),
            BackoffStrategy::Fixed { delay_ms: 5 }
        );
        assert_eq!(
            parse::<BackoffStrategy>(
                r#"{"type":"exponential","initial_delay_ms":1,"max_delay_ms":2,"multiplier":3}"#
            ),
            exponential(1, 2, 3.0, false)
        );
    }

    #[test]
    fn full_policies_round_trip() {
        let json = concat!(
            r#"{"priority":-5,"delay_until":9,"retry_policy":{"max_retries":1,"backoff":"#,
            r#"{"type":"fixed","delay_ms":5},"retryable_categories":["net"]},"timeout_policy":"#,
            r#"{"attempt_timeout_ms":1,"execution_deadline_ms":2,"max_reclaim_count":3},"#,
            r#""max_reclaim_count":4,"suspension_policy":{"default_timeout_ms":5,"#,
            r#""timeout_behavior":"cancel"},"fallback_policy":{"tiers":[{"provider":"p","#,
            r#""model":"m","timeout_ms":6}]},"max_replay_count":7,"#,
            r#""budget_ids":["550e8400-e29b-41d4-a716-446655440000"],"routing_requirements":"#,
            r#"{"required_capabilities":["cuda","gpu"],"preferred_locality":"eu","#,
            r#""isolation_level":"vm"},"dedup_window_ms":8,"stream_policy":"#,
            r#"{"durability_mode":"durable","retention_maxlen":9,"retention_ttl_ms":10},"#,
            r#""max_signals_per_execution":11}"#,
        );
        assert_eq!(serde_json::to_string(&parse::<ExecutionPolicy>(json)).unwrap(), json);
    }

    #[test]
    fn pauses_grow_to_their_maximum() {
        let fixed = BackoffStrategy::Fixed { delay_ms: 500 };
        assert_eq!((fixed.delay_ms(0, None), fixed.delay_ms(9, Some(0.0))), (500, 500));
        let pauses = |strategy: BackoffStrategy| -> Vec<u64> {
            [0, 1, 2, 5, 6, u32::MAX].map(|n| strategy.delay_ms(n, None)).to_vec()
        };
        assert_eq!(
            pauses(BackoffStrategy::default()),
            [1_000, 2_000, 4_000, 32_000, 60_000, 60_000]
        );
        assert_eq!(pauses(exponential(100, 1_000, 1.5, false)), [100, 150, 225, 759, 1_000, 1_000]);
        assert_eq!(pauses(exponential(0, 1_000, 2.0, false)), [0; 6]);
        assert_eq!(pauses(exponential(10, 1_000, -2.0, false)), [10, 0, 40, 0, 640, 0]);
        assert_eq!(pauses(exponential(10, 5, 2.0, false)), [5; 6]);
        assert_eq!(exponential(1, 7, f64::NAN, false).delay_ms(1, None), 7);
        assert_eq!(exponential(1, u64::MAX, f64::INFINITY, false).delay_ms(1, None), u64::MAX);
    }

    #[test]
    fn jitter_shortens_by_up_to_half_when_asked_for() {
        let wanted = exponential(1_000, 60_000, 2.0, true);
        for (draw, expected) in [
            (None, 1_000),
            (Some(0.0), 500),
            (Some(0.5), 750),
            (Some(1.0), 1_000),
            (Some(-3.0), 500),
            (Some(f64::INFINITY), 1_000),
            (Some(f64::NAN), 1_000),
        ] {
            assert_eq!(wanted.delay_ms(0, draw), expected, "{draw:?}");
        }
        assert_eq!(exponential(1_000, 60_000, 2.0, false).delay_ms(0, Some(0.0)), 1_000);
    }

    #[test]
    fn wire_policies_are_lenient_about_what_is_missing() {
        let fixed = |delay_ms| BackoffStrategy::Fixed { delay_ms };
        let cases = [
            ("{}", 0, fixed(1_000)),
            (r#"{"max_retries":null,"backoff":null,"more":1}"#, 0, fixed(1_000)),
            (r#"{"max_retries":3,"backoff":{"type":"fixed","delay_ms":500}}"#, 3, fixed(500)),
            (r#"{"max_retries":1,"backoff":{"type":"fixed"}}"#, 1, fixed(1_000)),
            (r#"{"max_retries":1,"backoff":{"delay_ms":500}}"#, 1, fixed(1_000)),
            (r#"{"max_retries":1,"backoff":{"type":"odd","delay_ms":500}}"#, 1, fixed(1_000)),
            (r#"{"backoff":{"type":"exponential"}}"#, 0, exponential(1_000, 60_000, 2.0, false)),
            (
                concat!(
                    r#"{"backoff":{"type":"exponential","initial_delay_ms":5,"#,
                    r#""multiplier":3,"jitter":true}}"#,
                ),
                0,
                exponential(5, 60_000, 3.0, true),
            ),
        ];
        assert_eq!(RetryPolicy::from_wire_json(""), Ok(None));
        for (text, max_retries, backoff) in cases {
            let expected = RetryPolicy { max_retries, backoff, retryable_categories: Vec::new() };
            assert_eq!(RetryPolicy::from_wire_json(text), Ok(Some(expected)), "{text}");
        }
        let stored = serde_json::to_string(&RetryPolicy::default()).unwrap();
        assert_eq!(RetryPolicy::from_wire_json(&stored), Ok(Some(RetryPolicy::default())));
    }

    #[test]
    fn wire_policies_of_another_shape_are_refused() {
        for text in [
            " ",
            "{",
            "null",
            "3",
            "[3]",
            r#"{"max_retries":-1}"#,
            r#"{"max_retries":"3"}"#,
            r#"{"max_retries":4294967296}"#,
            r#"{"backoff":"fixed"}"#,
            r#"{"backoff":{"type":"exponential","multiplier":1e999}}"#,
            r#"{"backoff":{"type":"exponential","multiplier":NaN}}"#,
        ] {
            assert!(RetryPolicy::from_wire_json(text).is_err(), "{text}");
        }
    }
}
