//! Grants that have lapsed: their rows are dropped, and nothing else changes.

use crate::model::ids::TimestampMs;
use crate::plan::Mutation;
use crate::plan::facts::Facts;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Verdict};
use crate::rules::grant::row::{GRANT, grant_key, lapsed};
use crate::rules::premise::{Condition, Premise, answer, lookup};
use crate::schema::execution::claim_grant;

/// Drops a grant that has lapsed. Changes nothing while it holds, or once it is spent.
#[derive(Clone, Debug)]
pub struct DropLapsed {
    /// The partition of its execution.
    pub partition: i16,
    /// Its id.
    pub grant_id: Vec<u8>,
}

impl Decision for DropLapsed {
    /// True if it was dropped.
    type Outcome = bool;

    const NAME: &'static str = "drop_lapsed_grant";

    fn premises(&self, at: TimestampMs) -> Vec<Premise<bool>> {
        let key = grant_key(self.partition, self.grant_id.clone());
        let due = Condition::new(lapsed(at), answer(false));
        let row = Premise::read(GRANT, lookup(GRANT, claim_grant::REF, key));
        vec![row.or_if_absent(answer(false)).guarded_by(vec![due])]
    }

    fn expects(&self) -> bool {
        true
    }

    fn decide(&self, _: &Facts, _: TimestampMs, _: &mut Ctx<'_>) -> Decided<bool> {
        let key = grant_key(self.partition, self.grant_id.clone());
        Verdict::change([Mutation::delete(claim_grant::REF, key)], true)
    }
}
