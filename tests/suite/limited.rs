//! What holds of every limit after every case: only work that runs holds a permit, one of each key.

use std::collections::BTreeSet;

use crate::backends::Bench;
use crate::plain::Cells;

impl Bench {
    pub(crate) async fn assert_limits_sound(&self, cores: &[Cells]) {
        let mut held = BTreeSet::new();
        for row in self.plain.rows("ff_limit_permit").await {
            let own = |core: &&Cells| core.uuid("execution_id") == row.uuid("execution_id");
            let core = cores.iter().find(own).unwrap_or_else(|| panic!("{row:?} is of nothing"));
            let runs = core.text("lifecycle_phase") == "active";
            assert!(runs && core.flag("has_reservations"), "{core:?} keeps {row:?}");
            let named = (row.uuid("execution_id"), row.text("limit_key").to_owned());
            assert!(held.insert(named), "{row:?} is a second permit");
        }
    }
}
