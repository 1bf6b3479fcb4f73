//! What holds of every budget after every case: what is used and reserved is within its limits, and
//! only work that is under way has reserved anything.

use std::collections::BTreeMap;

use crate::backends::Bench;
use crate::plain::Cells;

impl Bench {
    pub(crate) async fn assert_budgets_sound(&self, cores: &[Cells]) {
        let mut taken: BTreeMap<(String, String), i64> = BTreeMap::new();
        for row in self.plain.rows("ff_budget_reservation").await {
            let own = |core: &&Cells| core.uuid("execution_id") == row.uuid("execution_id");
            let core = cores.iter().find(own).unwrap_or_else(|| panic!("{row:?} is of nothing"));
            let over = matches!(core.text("lifecycle_phase"), "terminal" | "cancelled");
            assert!(!over && core.flag("has_reservations"), "{core:?} keeps {row:?}");
            let amount = row.int("amount").unwrap();
            assert!(0 <= amount, "{row:?}");
            *taken.entry(dimension_of(&row)).or_default() += amount;
        }

        let mut overdrafts = BTreeMap::new();
        for row in self.plain.rows("ff_budget_usage").await {
            *taken.entry(dimension_of(&row)).or_default() += row.int("current_value").unwrap();
            overdrafts.insert(dimension_of(&row), row.int("overdraft").unwrap());
        }
        for head in self.plain.rows("ff_budget_policy").await {
            // Rows by hand may say anything, and a limit that warns limits nothing.
            let policy = head.json("policy_json");
            let engine = head.int("version").unwrap() != 0 || head.text("scope_type") == "tenant";
            if !engine || policy["on_hard_limit"] == "warn" {
                continue;
            }
            for (dimension, limit) in policy["hard_limits"].as_object().into_iter().flatten() {
                let key = (head.text("budget_id").to_owned(), dimension.clone());
                let limit = limit.as_i64().filter(|limit| 0 < *limit).unwrap_or(i64::MAX);
                let raised = limit.saturating_add(overdrafts.get(&key).copied().unwrap_or(0));
                let taken = taken.get(&key).copied().unwrap_or(0);
                assert!(taken <= raised, "{key:?}: {taken} of {raised} are used or reserved");
            }
        }
    }
}

fn dimension_of(row: &Cells) -> (String, String) {
    (row.text("budget_id").to_owned(), row.text("dimensions_key").to_owned())
}
