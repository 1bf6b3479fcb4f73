//! Submissions of a history, with their policies.

use std::collections::HashMap;

use ff_core::contracts::CreateExecutionArgs;
use ff_core::policy::check::LIMIT_MAX_MS;
use ff_core::policy::{
    BackoffStrategy, ExecutionPolicy, RetryPolicy, RoutingRequirements, TimeoutPolicy,
};
use ff_core::types::{Namespace, TimestampMs};

use super::generator::Generator;
use super::money::budget;
use crate::bench::NAMESPACE;

impl Generator {
    pub(super) fn submission(&mut self, now: TimestampMs) -> CreateExecutionArgs {
        let id = self.submitted();
        let delay = self.pick(&[None, None, None, Some(500), Some(5_000), Some(-1)]);
        let deadline =
            self.pick(&[None, None, None, None, None, None, Some(1_000), Some(40_000), Some(0)]);
        let mut tags: HashMap<String, String> = HashMap::new();
        for key in ["cairn.instance_id", "team.name", "odd 'key\" \\ ?"] {
            if self.chance(60) {
                tags.insert(key.into(), self.text());
            }
        }
        let key = self.pick(&["", "once", "once", "it's \\ twice"]);
        let idempotency_key = self.chance(20).then(|| key.to_owned());
        let mut policy = self.chance(80).then(|| self.policy(now));
        if let Some(policy) = policy.as_mut().filter(|_| idempotency_key.is_some()) {
            policy.dedup_window_ms = self.pick(&[None, None, Some(500), Some(5_000)]);
            policy.dedup_while_active = self.chance(30);
        }
        CreateExecutionArgs {
            partition_id: id.partition(),
            execution_id: id,
            namespace: Namespace::new(NAMESPACE),
            lane_id: self.lane(),
            execution_kind: if self.chance(70) { "job".into() } else { self.text() },
            input_payload: self.bytes().unwrap_or_default(),
            payload_encoding: self.chance(30).then(|| self.text()),
            priority: self.pick(&[0, 0, 0, 1, -1, i32::MAX, i32::MIN]),
            creator_identity: self.text(),
            idempotency_key,
            tags,
            policy,
            delay_until: delay.map(|ms| TimestampMs(now.0 + ms)),
            execution_deadline_at: deadline.map(|ms| TimestampMs(now.0 + ms)),
            now,
        }
    }

    /// Without jitter: each backend would draw its own.
    fn policy(&mut self, now: TimestampMs) -> ExecutionPolicy {
        let fixed = |delay_ms| BackoffStrategy::Fixed { delay_ms };
        let exponential = |multiplier| BackoffStrategy::Exponential {
            initial_delay_ms: 300,
            max_delay_ms: 2_000,
            multiplier,
            jitter: false,
        };
        let backoffs = [fixed(0), fixed(500), exponential(2.0), exponential(1.5)];
        let retry = RetryPolicy {
            max_retries: self.pick(&[0, 1, 3, 100, 100]),
            backoff: self.pick(&backoffs),
            retryable_categories: Vec::new(),
        };
        let timeouts = TimeoutPolicy {
            attempt_timeout_ms: self.pick(&[
                None,
                None,
                None,
                None,
                Some(50),
                Some(2_000),
                Some(20_000),
                Some(LIMIT_MAX_MS),
            ]),
            execution_deadline_ms: self.pick(&[None, None, Some(60_000), Some(LIMIT_MAX_MS)]),
            max_reclaim_count: self.pick(&[3, 3, 1, 0]),
        };
        let required: &[&str] = self.pick(&[
            &[] as &[&str],
            &[],
            &[],
            &[],
            &["gpu"],
            &["gpu"],
            &["a'b", "käse"],
            &["tpu"],
            &[""],
        ]);
        let routing = RoutingRequirements {
            required_capabilities: required.iter().map(|&token| token.to_owned()).collect(),
            ..RoutingRequirements::default()
        };
        let budgets: &[usize] = self.pick(&[&[] as &[usize], &[], &[0], &[0, 1], &[1, 2, 1]]);
        let estimate: &[(&str, u64)] =
            self.pick(&[&[] as &[(&str, u64)], &[], &[("cost", 2)], &[("cost", 4), ("tokens", 1)]]);
        let keys: &[&str] =
            self.pick(&[&[] as &[&str], &[], &["tenant/1"], &["tenant/1", "api"], &["tenant/2"]]);
        let fairness_key: Option<&str> =
            self.pick(&[None, None, Some("tenant/1"), Some("tenant/2"), Some("tenant/3")]);
        let budget_ids = budgets.iter().filter(|_| self.has_money).map(|&number| budget(number));
        let defined = budgets.iter().all(|number| self.defined.contains(number));
        let reserves = self.has_money && defined && !budgets.is_empty();
        let estimate = estimate.iter().filter(|_| reserves);
        let budget_estimate =
            estimate.map(|&(dimension, amount)| (dimension.to_owned(), amount)).collect();
        let keys = keys.iter().filter(|_| self.has_money);
        ExecutionPolicy {
            budget_ids: budget_ids.collect(),
            budget_estimate,
            limit_keys: keys.map(|&key| key.to_owned()).collect(),
            fairness_key: fairness_key.filter(|_| self.has_money).map(str::to_owned),
            retry_policy: self.chance(70).then_some(retry),
            timeout_policy: self.chance(50).then_some(timeouts),
            routing_requirements: self.chance(50).then_some(routing),
            delay_until: self.chance(10).then_some(TimestampMs(now.0 + 1_000)),
            ..ExecutionPolicy::default()
        }
    }
}
