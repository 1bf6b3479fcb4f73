//! Validation of policies: the bounds of every field, checked wherever a policy enters.
//!
//! An accepted policy is honoured. A field that nothing reads yet is refused when it is set, so
//! that no submitter relies on a promise without effect. Rows that already hold such policies are
//! still read: see `stored.rs`.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::{
    BackoffStrategy, CAPS_MAX_BYTES, CAPS_MAX_TOKENS, DEFAULT_MAX_RECLAIM_COUNT, ExecutionPolicy,
    RetryPolicy, RoutingRequirements, SuspensionPolicy, TimeoutPolicy,
};
use crate::model::error::{EngineError, ValidationKind};
use crate::model::ids::TimestampMs;
use crate::model::policy::TimeoutBehavior;

/// The most attempts that may follow the first.
pub const RETRIES_MAX: u32 = 10_000;

/// The most attempts that may follow the first where there is no pause between them.
pub const RETRIES_WITHOUT_PAUSE_MAX: u32 = 100;

/// The longest pause before another attempt: 365 days.
pub const PAUSE_MAX_MS: u64 = 365 * DAY_MS;

/// The longest time that an attempt, an execution or a suspension may be given: 3,650 days.
pub const LIMIT_MAX_MS: u64 = 3_650 * DAY_MS;

/// The largest factor from one pause to the next; the smallest is 1.
pub const MULTIPLIER_MAX: f64 = 1_000.0;

/// The most lost workers or replays that a policy may allow.
pub const COUNT_MAX: u32 = 10_000;

/// The most signals that an execution may be allowed.
pub const SIGNALS_MAX: u32 = 1_000_000;

/// The most budgets of an execution.
const BUDGETS_MAX: usize = 16;

/// The most keys of limits that an execution may name.
const LIMIT_KEYS_MAX: usize = 3;

/// The longest key of a limit or of fairness, in bytes.
const KEY_MAX_BYTES: usize = 256;

/// The greatest weight for limits: the most starts that a limit allows at once.
const LIMIT_WEIGHT_MAX: u32 = 1_000;

/// The most dimensions of one budget.
pub const DIMENSIONS_MAX: usize = 256;

/// The classes of failures that an execution's own retry policy may name. Permanent and cancelled
/// ones are never retried.
pub const RETRYABLE_CATEGORIES: [&str; 3] = ["transient", "infra_crash", "timeout"];

/// The latest time that an execution may be put off to: the end of the year 9999.
pub const TIME_MAX: TimestampMs = TimestampMs(253_402_300_799_999);

const DAY_MS: u64 = 86_400_000;

/// The first fault of a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct PolicyFault {
    /// The path of the field, such as `policy.retry_policy.max_retries`.
    pub field: String,
    /// The rule for the field, and its value.
    pub problem: String,
    kind: ValidationKind,
}

impl PolicyFault {
    fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        let kind = ValidationKind::InvalidInput;
        Self { field: field.into(), problem: problem.into(), kind }
    }

    fn without_effect(field: &str) -> Self {
        Self::new(field, "has no effect in this version")
    }
}

impl From<PolicyFault> for EngineError {
    fn from(fault: PolicyFault) -> Self {
        Self::Validation { kind: fault.kind.clone(), detail: fault.to_string() }
    }
}

impl ExecutionPolicy {
    /// Checks that every field is within its bounds, contradicts no other and has an effect. A
    /// policy that passes survives its JSON form unchanged.
    ///
    /// # Errors
    /// The first fault, with the path of its field.
    pub fn check(&self) -> Result<(), PolicyFault> {
        // Every field is named, so that a new one does not compile until it has its bounds.
        let Self {
            priority: _,
            delay_until,
            retry_policy,
            timeout_policy,
            max_reclaim_count,
            suspension_policy,
            fallback_policy,
            max_replay_count,
            budget_ids,
            budget_estimate,
            limit_keys,
            limit_weight,
            fairness_key,
            routing_requirements,
            dedup_window_ms,
            dedup_while_active,
            stream_policy,
            max_signals_per_execution,
        } = self;

        within("policy.budget_ids", budget_ids.len(), 0, BUDGETS_MAX)?;
        check_estimate(budget_estimate, !budget_ids.is_empty())?;
        check_limit_keys(limit_keys, *limit_weight)?;
        fairness_key.as_ref().map_or(Ok(()), |key| check_key("policy.fairness_key", key))?;
        if let Some(until) = delay_until {
            within("policy.delay_until", until.0, 0, TIME_MAX.0)?;
        }
        if let Some(window) = dedup_window_ms {
            within("policy.dedup_window_ms", *window, 1, LIMIT_MAX_MS)?;
            if *dedup_while_active {
                let problem = "contradicts policy.dedup_window_ms; give one of them";
                return Err(PolicyFault::new("policy.dedup_while_active", problem));
            }
        }
        within("policy.max_reclaim_count", *max_reclaim_count, 0, COUNT_MAX)?;
        within("policy.max_replay_count", *max_replay_count, 0, COUNT_MAX)?;
        within("policy.max_signals_per_execution", *max_signals_per_execution, 1, SIGNALS_MAX)?;

        if let Some(retry) = retry_policy {
            retry.check("policy.retry_policy")?;
            categories_of_classes(retry)?;
        }
        timeout_policy.as_ref().map_or(Ok(()), |own| own.check(*max_reclaim_count))?;
        suspension_policy.as_ref().map_or(Ok(()), SuspensionPolicy::check)?;
        routing_requirements.as_ref().map_or(Ok(()), RoutingRequirements::check)?;

        let set = [
            ("policy.fallback_policy", fallback_policy.is_some()),
            ("policy.stream_policy", stream_policy.is_some()),
        ];
        without_effect(&set)
    }

    /// Checks that it says nothing about an idempotency key, for a submission without one.
    ///
    /// # Errors
    /// The field that would have no effect.
    pub fn check_without_key(&self) -> Result<(), PolicyFault> {
        let fields = [
            ("policy.dedup_window_ms", self.dedup_window_ms.is_some()),
            ("policy.dedup_while_active", self.dedup_while_active),
        ];
        match fields.iter().find(|(_, set)| *set) {
            Some((field, _)) => {
                Err(PolicyFault::new(*field, "has no effect without idempotency_key"))
            }
            None => Ok(()),
        }
    }
}

impl RetryPolicy {
    /// Checks that every field is within its bounds, so that retries end in finite time and in
    /// finitely many attempts. `place` is the path of the policy itself.
    ///
    /// # Errors
    /// The first fault, with the path of its field.
    pub fn check(&self, place: &str) -> Result<(), PolicyFault> {
        let field = |name: &str| format!("{place}.{name}");
        within(&field("max_retries"), self.max_retries, 0, RETRIES_MAX)?;

        match self.backoff {
            BackoffStrategy::Fixed { delay_ms } => {
                within(&field("backoff.delay_ms"), delay_ms, 0, PAUSE_MAX_MS)?;
                if delay_ms == 0 && RETRIES_WITHOUT_PAUSE_MAX < self.max_retries {
                    let problem = format!(
                        "must be between 0 and {RETRIES_WITHOUT_PAUSE_MAX} where backoff.delay_ms \
                         is 0, got {}",
                        self.max_retries
                    );
                    return Err(PolicyFault::new(field("max_retries"), problem));
                }
            }
            BackoffStrategy::Exponential { initial_delay_ms, max_delay_ms, multiplier, .. } => {
                within(&field("backoff.max_delay_ms"), max_delay_ms, 1, PAUSE_MAX_MS)?;
                within(&field("backoff.initial_delay_ms"), initial_delay_ms, 1, max_delay_ms)?;
                within(&field("backoff.multiplier"), multiplier, 1.0, MULTIPLIER_MAX)?;
            }
        }

        let wrong = |text: &&String| text.is_empty() || text.contains('\0');
        match self.retryable_categories.iter().find(wrong) {
            Some(text) => {
                let problem = format!("{text:?} is empty or contains NUL");
                Err(PolicyFault::new(field("retryable_categories"), problem))
            }
            None => Ok(()),
        }
    }
}

/// Checks that an execution's own categories are retryable classes of failures. Any other word
/// would never match a failure that a worker reports.
fn categories_of_classes(retry: &RetryPolicy) -> Result<(), PolicyFault> {
    let unknown = |word: &&String| !RETRYABLE_CATEGORIES.contains(&word.as_str());

    match retry.retryable_categories.iter().find(unknown) {
        None => Ok(()),
        Some(word) => Err(PolicyFault::new(
            "policy.retry_policy.retryable_categories",
            format!("{word:?} is none of {}", RETRYABLE_CATEGORIES.join(", ")),
        )),
    }
}

impl TimeoutPolicy {
    /// Checks the bounds. There are two fields for the cap on lost workers: the one that is not the
    /// default applies, so two different values contradict each other.
    fn check(&self, other_cap: u32) -> Result<(), PolicyFault> {
        let limits = [
            ("policy.timeout_policy.attempt_timeout_ms", self.attempt_timeout_ms),
            ("policy.timeout_policy.execution_deadline_ms", self.execution_deadline_ms),
        ];
        for (field, limit) in limits {
            limit.map_or(Ok(()), |limit| within(field, limit, 1, LIMIT_MAX_MS))?;
        }

        let (field, cap) = ("policy.timeout_policy.max_reclaim_count", self.max_reclaim_count);
        within(field, cap, 0, COUNT_MAX)?;

        let both = cap != DEFAULT_MAX_RECLAIM_COUNT && other_cap != DEFAULT_MAX_RECLAIM_COUNT;
        if both && cap != other_cap {
            let problem =
                format!("{cap} contradicts policy.max_reclaim_count, which is {other_cap}");
            return Err(PolicyFault::new(field, problem));
        }

        Ok(())
    }
}

impl SuspensionPolicy {
    fn check(&self) -> Result<(), PolicyFault> {
        let behavior = self.timeout_behavior.as_str();
        if TimeoutBehavior::of_word(behavior).as_wire_str() != behavior {
            let problem = format!("{behavior:?} is no way to end a suspension");
            return Err(PolicyFault::new("policy.suspension_policy.timeout_behavior", problem));
        }

        let field = "policy.suspension_policy.default_timeout_ms";
        match self.default_timeout_ms {
            Some(limit) => within(field, limit, 1, LIMIT_MAX_MS),
            None => Err(PolicyFault::new(field, "is missing: the policy has no effect without it")),
        }
    }
}

impl RoutingRequirements {
    fn check(&self) -> Result<(), PolicyFault> {
        let place = "policy.routing_requirements";
        capabilities_fit(&self.required_capabilities)?;

        without_effect(&[
            (&format!("{place}.preferred_locality"), self.preferred_locality.is_some()),
            (&format!("{place}.isolation_level"), self.isolation_level.is_some()),
        ])
    }
}

fn capabilities_fit(required: &std::collections::BTreeSet<String>) -> Result<(), PolicyFault> {
    let field = "policy.routing_requirements.required_capabilities".to_owned();
    let refuse = |problem: String| {
        Err(PolicyFault { field, problem, kind: ValidationKind::InvalidCapabilities })
    };

    if required.len() > CAPS_MAX_TOKENS {
        return refuse(format!("{} tokens exceed {CAPS_MAX_TOKENS}", required.len()));
    }

    let bytes: usize = required.iter().map(String::len).sum();
    if bytes > CAPS_MAX_BYTES {
        return refuse(format!("{bytes} bytes exceed {CAPS_MAX_BYTES}"));
    }

    if let Some(token) = required.iter().find(|token| token.is_empty() || token.contains('\0')) {
        return refuse(format!("token {token:?} is empty or contains NUL"));
    }
    Ok(())
}

fn without_effect(fields: &[(&str, bool)]) -> Result<(), PolicyFault> {
    match fields.iter().find(|(_, set)| *set) {
        Some((field, _)) => Err(PolicyFault::without_effect(field)),
        None => Ok(()),
    }
}

/// Checks the amounts of an estimate. The names of dimensions are those of budgets, which the
/// submission checks.
fn check_estimate(estimate: &BTreeMap<String, u64>, has_budgets: bool) -> Result<(), PolicyFault> {
    const FIELD: &str = "policy.budget_estimate";
    if !estimate.is_empty() && !has_budgets {
        return Err(PolicyFault::new(FIELD, "has no effect without policy.budget_ids"));
    }
    within(FIELD, estimate.len(), 0, DIMENSIONS_MAX)?;
    for (dimension, amount) in estimate {
        within(&format!("{FIELD}.{dimension}"), *amount, 1, i64::MAX.unsigned_abs())?;
    }
    Ok(())
}

/// Checks the keys of limits, and the weight that is counted for them.
fn check_limit_keys(keys: &[String], weight: Option<u32>) -> Result<(), PolicyFault> {
    const KEYS: &str = "policy.limit_keys";
    const WEIGHT: &str = "policy.limit_weight";
    within(KEYS, keys.len(), 0, LIMIT_KEYS_MAX)?;
    for (place, key) in keys.iter().enumerate() {
        let field = format!("{KEYS}[{place}]");
        check_key(&field, key)?;
        let fault = |problem: &str| Err(PolicyFault::new(field, format!("{key:?} {problem}")));
        if key.ends_with("/*") {
            return fault("stands for a family of keys; name one of them");
        }
        if keys.iter().take(place).any(|before| before == key) {
            return fault("is given twice");
        }
    }

    match weight {
        Some(_) if keys.is_empty() => {
            Err(PolicyFault::new(WEIGHT, "has no effect without policy.limit_keys"))
        }
        Some(weight) => within(WEIGHT, weight, 1, LIMIT_WEIGHT_MAX),
        None => Ok(()),
    }
}

/// Checks a key of a limit or of fairness. The requirements of executions mark such keys by U+0001.
fn check_key(field: &str, key: &str) -> Result<(), PolicyFault> {
    let problem = if key.is_empty() || key.contains('\0') {
        "is empty or contains NUL".to_owned()
    } else if key.starts_with('\u{1}') {
        "begins with U+0001".to_owned()
    } else if KEY_MAX_BYTES < key.len() {
        format!("exceeds {KEY_MAX_BYTES} bytes")
    } else {
        return Ok(());
    };
    Err(PolicyFault::new(field, format!("{key:?} {problem}")))
}

/// Checks one field's bounds, both inclusive. NaN is within no bounds.
fn within<T: PartialOrd + Display>(
    field: &str,
    value: T,
    least: T,
    most: T,
) -> Result<(), PolicyFault> {
    if least <= value && value <= most {
        return Ok(());
    }

    let problem = format!("must be between {least} and {most}, got {value}");
    Err(PolicyFault::new(field, problem))
}
