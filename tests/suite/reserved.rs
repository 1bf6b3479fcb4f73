//! What holds of every budget after every case: what is used and reserved is within its limits, and
//! only work that is under way has reserved anything.

use std::collections::BTreeMap;

use crate::backends::Bench;
use crate::plain::Cells;

impl Bench {
    pub(crate) async fn assert_budgets_sound(&self, cores: &[Cells]) {
        let mut reserved: BTreeMap<(String, String), i64> = BTreeMap::new();
        for row in self.plain.rows("ff_budget_reservation").await {
            let own = |core: &&Cells| core.uuid("execution_id") == row.uuid("execution_id");
            let core = cores.iter().find(own).unwrap_or_else(|| panic!("{row:?} is of nothing"));
            let over = matches!(core.text("lifecycle_phase"), "terminal" | "cancelled");
            assert!(!over && core.flag("has_reservations"), "{core:?} keeps {row:?}");
            let amount = row.int("amount").unwrap();
            assert!(0 <= amount, "{row:?}");
            *reserved.entry(dimension_of(&row)).or_default() += amount;
        }

        let mut totals = BTreeMap::new();
        for row in self.plain.rows("ff_budget_usage").await {
            let (used, overdraft) = (row.int("current_value"), row.int("overdraft"));
            totals.insert(dimension_of(&row), (used.unwrap(), overdraft.unwrap()));
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
                let (used, overdraft) = totals.get(&key).copied().unwrap_or_default();
                let (raised, reserved) = (limit.saturating_add(overdraft), reserved.get(&key));
                // A budget may be defined below what was used of it before.
                let taken = reserved.map_or(used.min(raised), |reserved| used + reserved);
                assert!(taken <= raised, "{key:?}: {taken} of {raised} are used or reserved");
            }
        }
    }
}

fn dimension_of(row: &Cells) -> (String, String) {
    (row.text("budget_id").to_owned(), row.text("dimensions_key").to_owned())
}
