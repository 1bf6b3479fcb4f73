//! Policies as rows hold them. A rule reads the member that it needs, whatever the others hold. A
//! value out of bounds (older than the checks, or written by plain SQL) counts as its nearest bound
//! or its default, so that no stored policy keeps an attempt from ending.

use serde_json::Value as Json;

use super::check::{
    COUNT_MAX, LIMIT_MAX_MS, MULTIPLIER_MAX, PAUSE_MAX_MS, RETRIES_MAX, RETRIES_WITHOUT_PAUSE_MAX,
    SIGNALS_MAX,
};
use super::{
    BackoffStrategy, DEFAULT_MAX_RECLAIM_COUNT, DEFAULT_MAX_REPLAY_COUNT, DEFAULT_MAX_SIGNALS,
    DEFAULT_MULTIPLIER, RetryPolicy,
};
use crate::model::policy::TimeoutBehavior;

impl RetryPolicy {
    /// The policy that a stored `retry_policy` stands for.
    #[must_use]
    pub fn of_stored(stored: &Json) -> Self {
        let default = Self::default();
        let backoff = stored.get("backoff").map_or(default.backoff, BackoffStrategy::of_stored);

        let retries = number(stored.get("max_retries")).unwrap_or(default.max_retries.into());
        let most = match backoff {
            BackoffStrategy::Fixed { delay_ms: 0 } => RETRIES_WITHOUT_PAUSE_MAX,
            BackoffStrategy::Fixed { .. } | BackoffStrategy::Exponential { .. } => RETRIES_MAX,
        };

        let categories = stored.get("retryable_categories").and_then(Json::as_array);
        let words = categories.into_iter().flatten().filter_map(Json::as_str);

        Self {
            max_retries: count(retries, most),
            backoff,
            retryable_categories: words.map(str::to_owned).collect(),
        }
    }

    /// The retry policy of a stored execution policy, where it has one.
    #[must_use]
    pub fn of_execution(policy: &Json) -> Option<Self> {
        policy.get("retry_policy").filter(|own| own.is_object()).map(Self::of_stored)
    }
}

impl BackoffStrategy {
    fn of_stored(stored: &Json) -> Self {
        let pause = |name: &str| number(stored.get(name));

        match (stored.get("type").and_then(Json::as_str), Self::default()) {
            (Some("fixed"), _) => {
                let delay_ms = pause("delay_ms").unwrap_or(super::DEFAULT_DELAY_MS);
                Self::Fixed { delay_ms: delay_ms.min(PAUSE_MAX_MS) }
            }
            (Some("exponential"), _) => {
                let initial = pause("initial_delay_ms").unwrap_or(super::DEFAULT_DELAY_MS);
                let most = pause("max_delay_ms").unwrap_or(super::DEFAULT_MAX_DELAY_MS);
                let multiplier = stored.get("multiplier").and_then(Json::as_f64);

                Self::Exponential {
                    initial_delay_ms: initial.clamp(1, PAUSE_MAX_MS),
                    max_delay_ms: most.clamp(1, PAUSE_MAX_MS),
                    multiplier: multiplier.unwrap_or(DEFAULT_MULTIPLIER).clamp(1.0, MULTIPLIER_MAX),
                    jitter: stored.get("jitter").and_then(Json::as_bool).unwrap_or(false),
                }
            }
            (Some(_) | None, default) => default,
        }
    }
}

/// The most lost workers of an execution, by its stored policy.
#[must_use]
pub fn max_reclaim_count(policy: Option<&Json>) -> u32 {
    own_reclaim_count(policy).unwrap_or(DEFAULT_MAX_RECLAIM_COUNT)
}

/// The same, where the stored policy says another number than the default. Two fields hold it.
#[must_use]
pub fn own_reclaim_count(policy: Option<&Json>) -> Option<u32> {
    let own = |holder: Option<&Json>| {
        let given = number(holder?.get("max_reclaim_count"));
        let given = given.map(|given| count(given, COUNT_MAX));
        given.filter(|given| *given != DEFAULT_MAX_RECLAIM_COUNT)
    };

    own(policy.and_then(|policy| policy.get("timeout_policy"))).or_else(|| own(policy))
}

/// The most replays of an execution, by its stored policy.
#[must_use]
pub fn max_replay_count(policy: Option<&Json>) -> u32 {
    number(policy.and_then(|policy| policy.get("max_replay_count")))
        .map_or(DEFAULT_MAX_REPLAY_COUNT, |given| count(given, COUNT_MAX))
}

/// The most signals that an execution may receive, by its stored policy.
#[must_use]
pub fn max_signals(policy: Option<&Json>) -> u32 {
    number(policy.and_then(|policy| policy.get("max_signals_per_execution")))
        .map_or(DEFAULT_MAX_SIGNALS, |given| count(given, SIGNALS_MAX))
}

/// The timeout in ms and its action for a suspension that names none, by the execution's stored
/// policy.
#[must_use]
pub fn suspension_timeout(policy: Option<&Json>) -> Option<(u64, TimeoutBehavior)> {
    let own = policy?.get("suspension_policy")?;
    let limit = number(own.get("default_timeout_ms"))?.clamp(1, LIMIT_MAX_MS);
    let word = own.get("timeout_behavior").and_then(Json::as_str).unwrap_or_default();

    Some((limit, TimeoutBehavior::of_word(word)))
}

/// A whole number; a negative one counts as zero.
fn number(stored: Option<&Json>) -> Option<u64> {
    let stored = stored?;
    stored.as_u64().or_else(|| stored.as_i64().map(|_| 0))
}

fn count(given: u64, most: u32) -> u32 {
    u32::try_from(given).map_or(most, |given| given.min(most))
}
