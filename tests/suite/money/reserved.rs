//! Estimates among the callers: some of the work reserves from a budget of its own, on which
//! executions also spend.

use std::collections::BTreeMap;

use ff_core::policy::ExecutionPolicy;

use super::{HARD, budget};
use crate::backends::Bench;

/// The number of the budget that work reserves from. No report without an execution uses it up.
pub(super) const RESERVED: u64 = 3;

/// The policy of work with that number, which estimates its cost where it is one of some.
pub(super) fn estimated(number: u64, policy: ExecutionPolicy) -> ExecutionPolicy {
    if number % 4 != 1 {
        return policy;
    }
    ExecutionPolicy {
        budget_ids: vec![budget(RESERVED)],
        budget_estimate: [("cost".to_owned(), 1 + number / 4)].into(),
        ..policy
    }
}

/// What is reserved, by dimension.
pub(super) async fn reserved(bench: &Bench) -> BTreeMap<String, i64> {
    let mut reserved = BTreeMap::new();
    for row in bench.plain.rows("ff_budget_reservation").await {
        assert_eq!(row.text("budget_id"), budget(RESERVED).to_string(), "{row:?}");
        *reserved.entry(row.text("dimensions_key").to_owned()).or_default() +=
            row.int("amount").unwrap();
    }
    reserved
}

/// Checks what is reserved alone: beside the callers, what is used may be read at another moment.
pub(super) async fn assert_within_limits(bench: &Bench) {
    for (dimension, amount) in reserved(bench).await {
        let limit = HARD.iter().find(|(name, _)| *name == dimension).unwrap().1;
        assert!((0..=i64::try_from(limit).unwrap()).contains(&amount), "{dimension}: {amount}");
    }
}

/// Checks what is used and reserved together, once the callers are through.
pub(super) async fn assert_fits(bench: &Bench) {
    let mut taken = reserved(bench).await;
    for row in bench.plain.rows("ff_budget_usage").await {
        if row.text("budget_id") == budget(RESERVED).to_string() {
            let used = row.int("current_value").unwrap();
            *taken.entry(row.text("dimensions_key").to_owned()).or_default() += used;
        }
    }
    for (dimension, limit) in HARD {
        let taken = taken.get(dimension).copied().unwrap_or(0);
        assert!(taken <= i64::try_from(limit).unwrap(), "{taken} of {limit} {dimension} are taken");
    }
}
