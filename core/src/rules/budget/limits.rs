//! The limits of a budget, and what they say about a report.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use crate::model::error::EngineError;
use crate::plan::facts::Row;
use crate::rules::budget::over_run::OnHardLimit;
use crate::rules::budget::reservation::Reserved;
use crate::rules::input;
use crate::schema::budget::budget_policy;

/// Hard and soft limits by dimension; 0 for none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// The action on a report that would exceed a hard limit.
    pub on_hard: OnHardLimit,
    /// The limits that no report may exceed.
    pub hard: BTreeMap<String, u64>,
    /// The limits that a report may exceed, which is reported and counted.
    pub soft: BTreeMap<String, u64>,
}

/// The judgement of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    /// It is within all limits.
    Within,
    /// It counts, and exceeds a soft limit.
    Soft(Breach),
    /// It counts, and exceeds a hard limit that only warns.
    Warned(Breach),
    /// It does not count: it would exceed a hard limit.
    Hard(Breach),
}

/// The first limit that a report exceeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// The dimension.
    pub dimension: String,
    /// The total: with the report if it counts, else without.
    pub total: u64,
    /// The limit.
    pub limit: u64,
}

/// The dimension of a policy with a single limit, where it names none.
const ONLY_DIMENSION: &str = "default";

impl Limits {
    /// The limits of a head. Policies of older schedulers have a single one.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a policy that is no JSON.
    pub fn read(head: &Row) -> Result<Self, EngineError> {
        Ok(Self::of(&head.read(budget_policy::policy_json)?))
    }

    /// The limits in a policy. A limit that is no number does not count.
    #[must_use]
    pub fn of(policy: &Json) -> Self {
        let (hard, soft) = (policy.get("hard_limits"), policy.get("soft_limits"));
        let word = policy.get("on_hard_limit").and_then(Json::as_str).unwrap_or_default();
        let on_hard = OnHardLimit::of_word(word);
        let mut limits = Self { on_hard, hard: numbers(hard), soft: numbers(soft) };

        let first = || policy.get("hard")?.as_object()?.values().next()?.as_u64();
        if let Some(limit) = policy.get("hard_limit").and_then(Json::as_u64).or_else(first) {
            let dimension = policy.get("dimension").and_then(Json::as_str);
            let dimension = dimension.unwrap_or(ONLY_DIMENSION);
            limits.hard.entry(dimension.to_owned()).or_insert(limit);
        }
        limits
    }

    /// The hard limits that limit something: none where exceeding them only warns.
    pub fn enforced(&self) -> impl Iterator<Item = (&str, u64)> {
        let warns = self.on_hard == OnHardLimit::Warn;
        let limits = self.hard.iter().filter(move |(_, limit)| !warns && 0 < **limit);
        limits.map(|(dimension, limit)| (dimension.as_str(), *limit))
    }

    /// The same, with the hard limits raised by these overdrafts.
    #[must_use]
    pub fn with_overdrafts(mut self, overdrafts: &BTreeMap<String, i64>) -> Self {
        for (dimension, limit) in &mut self.hard {
            *limit = raised(*limit, overdrafts.get(dimension).copied().unwrap_or(0));
        }
        self
    }

    /// Judges a report of these amounts on top of these totals, where so much is reserved.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming a dimension with a total beyond what a row can store.
    pub fn judge(
        &self,
        totals: &BTreeMap<String, i64>,
        deltas: &BTreeMap<String, i64>,
        reserved: &Reserved,
    ) -> Result<Judged, EngineError> {
        let total = |dimension: &str| totals.get(dimension).copied().unwrap_or(0).max(0);
        let sum = |dimension: &str, delta: i64| total(dimension).checked_add(delta);
        let exceeds = |limits: &BTreeMap<String, u64>, dimension: &str, delta| {
            let limit = limits.get(dimension).copied().filter(|limit| 0 < *limit)?;
            let within = sum(dimension, delta).is_some_and(|sum| sum.unsigned_abs() <= limit);
            (!within).then_some(limit)
        };

        let mut warned = None;
        for (dimension, delta) in deltas {
            let taken = reserved.with(dimension, *delta);
            let Some(limit) = exceeds(&self.hard, dimension, taken) else { continue };
            let before = total(dimension).unsigned_abs();
            let breach = |total| Breach { dimension: dimension.clone(), total, limit };
            if self.on_hard != OnHardLimit::Warn {
                return Ok(Judged::Hard(breach(before)));
            }
            let after = before.saturating_add(delta.max(&0).unsigned_abs());
            warned = warned.or_else(|| Some(breach(after)));
        }

        let mut soft = None;
        for (dimension, delta) in deltas {
            let Some(total) = sum(dimension, *delta).map(i64::unsigned_abs) else {
                let problem = format!("deltas: {dimension}: the total would exceed {}", i64::MAX);
                return Err(input::invalid(problem));
            };
            if soft.is_none()
                && let Some(limit) = exceeds(&self.soft, dimension, *delta)
            {
                soft = Some(Breach { dimension: dimension.clone(), total, limit });
            }
        }
        Ok(match (warned, soft) {
            (Some(breach), _) => Judged::Warned(breach),
            (None, Some(breach)) => Judged::Soft(breach),
            (None, None) => Judged::Within,
        })
    }
}

/// A hard limit that is raised by an overdraft; 0 stays none.
#[must_use]
pub fn raised(limit: u64, overdraft: i64) -> u64 {
    if limit == 0 { 0 } else { limit.saturating_add(overdraft.max(0).unsigned_abs()) }
}

fn numbers(limits: Option<&Json>) -> BTreeMap<String, u64> {
    let numbers = |limits: &Map<String, Json>| {
        let limits = limits.iter();
        limits.filter_map(|(name, limit)| Some((name.clone(), limit.as_u64()?))).collect()
    };
    limits.and_then(Json::as_object).map(numbers).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOTHING: Reserved = Reserved { own: BTreeMap::new(), others: BTreeMap::new() };

    fn amounts(of: &[(&str, i64)]) -> BTreeMap<String, i64> {
        of.iter().map(|(name, amount)| ((*name).to_owned(), *amount)).collect()
    }

    fn breach(dimension: &str, total: u64, limit: u64) -> Breach {
        Breach { dimension: dimension.to_owned(), total, limit }
    }

    fn limits() -> Limits {
        let hard = json!({ "cost": 10, "tokens": 100, "free": 0, "odd": "x" });
        Limits::of(&json!({ "hard_limits": hard, "soft_limits": { "cost": 5, "tokens": 50 } }))
    }

    #[test]
    fn a_limit_may_be_reached_and_not_exceeded() {
        let totals = amounts(&[("cost", 4)]);
        for (delta, expected) in [
            (1, Judged::Within),
            (2, Judged::Soft(breach("cost", 6, 5))),
            (6, Judged::Soft(breach("cost", 10, 5))),
            (7, Judged::Hard(breach("cost", 4, 10))),
            (i64::MAX, Judged::Hard(breach("cost", 4, 10))),
        ] {
            let judged = limits().judge(&totals, &amounts(&[("cost", delta)]), &NOTHING);
            assert_eq!(judged.unwrap(), expected, "{delta}");
        }
    }

    #[test]
    fn the_first_dimension_that_exceeds_its_limit_is_named_and_hard_limits_come_first() {
        let none = BTreeMap::new();
        let judged =
            limits().judge(&none, &amounts(&[("cost", 7), ("tokens", 101)]), &NOTHING).unwrap();
        assert_eq!(judged, Judged::Hard(breach("tokens", 0, 100)));
        let judged =
            limits().judge(&none, &amounts(&[("cost", 7), ("tokens", 51)]), &NOTHING).unwrap();
        assert_eq!(judged, Judged::Soft(breach("cost", 7, 5)));
    }

    #[test]
    fn what_has_no_limit_is_limited_by_what_a_row_can_store() {
        let totals = amounts(&[("free", 1), ("odd", -3)]);
        let judge = |delta| limits().judge(&totals, &amounts(&[("free", delta)]), &NOTHING);
        assert_eq!(judge(i64::MAX - 1).unwrap(), Judged::Within);
        assert!(judge(i64::MAX).unwrap_err().to_string().contains("deltas: free"));
        // A total below zero counts as zero.
        let judged = limits().judge(&totals, &amounts(&[("odd", i64::MAX)]), &NOTHING).unwrap();
        assert_eq!(judged, Judged::Within);
    }

    #[test]
    fn what_is_reserved_is_taken_already_and_used_first() {
        let totals = amounts(&[("cost", 2)]);
        let (own, others) = (amounts(&[("cost", 3)]), amounts(&[("cost", 4)]));
        let reserved = Reserved { own, others };
        let judge = |delta| limits().judge(&totals, &amounts(&[("cost", delta)]), &reserved);

        // 2 are used, 7 reserved, 3 of them by the reporter: 1 of 10 is free.
        assert_eq!(judge(3).unwrap(), Judged::Within);
        assert_eq!(judge(4).unwrap(), Judged::Soft(breach("cost", 6, 5)));
        assert_eq!(judge(5).unwrap(), Judged::Hard(breach("cost", 2, 10)));
        let raised = limits().with_overdrafts(&amounts(&[("cost", 1), ("free", 7)]));
        let judged = raised.judge(&totals, &amounts(&[("cost", 5)]), &reserved).unwrap();
        assert_eq!(judged, Judged::Soft(breach("cost", 7, 5)));
        assert_eq!(raised.hard.get("free"), Some(&0), "no limit stays none");
    }

    #[test]
    fn a_policy_of_an_older_scheduler_has_one_limit() {
        let older = json!({ "hard_limit": 10, "dimension": "tokens" });
        assert_eq!(Limits::of(&older).enforced().collect::<Vec<_>>(), [("tokens", 10)]);
        let older = json!({ "hard": { "any": 7 } });
        assert_eq!(Limits::of(&older).enforced().collect::<Vec<_>>(), [("default", 7)]);
        assert_eq!(Limits::of(&json!([1])), Limits::default());
    }
}
