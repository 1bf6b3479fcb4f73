//! Slots in use that have drifted from the admissions that hold them.

use crate::model::error::EngineError;
use crate::plan::facts::Facts;
use crate::plan::facts::Row;
use crate::plan::{Expr, List, Predicate, Query};
use crate::rules::changes::Changes;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Then, Transition};
use crate::rules::input::PAGE_MAX;
use crate::rules::premise::lookup;
use crate::rules::quota::key::{Head, QUOTA, QuotaKey};
use crate::schema::Direction::Ascending;
use crate::schema::budget::{quota_admitted, quota_policy};

const ADMISSIONS: &str = "admissions of a policy";

/// Sets the slots in use to the number of admissions that hold one.
#[derive(Clone, Debug)]
pub struct ReconcileQuota {
    /// The policy.
    pub key: QuotaKey,
}

impl ReconcileQuota {
    /// The admissions that hold a slot, after that row.
    fn page(&self, after: Option<&Row>) -> Result<List, EngineError> {
        let execution = quota_admitted::execution_id;
        let mut predicate = quota_admitted::partition_key
            .equals(self.key.partition)
            .and(quota_admitted::quota_policy_id.equals(self.key.id.clone()))
            .and(quota_admitted::holds_slot.equals(true));
        if let Some(row) = after {
            let after = vec![execution.with(row.read(execution)?)];
            predicate = predicate.and(Predicate::After(after));
        }

        Ok(List {
            name: ADMISSIONS.into(),
            table: quota_admitted::REF,
            join: None,
            of_each: None,
            columns: vec![execution.column()],
            predicate,
            order: vec![(execution.column(), Ascending)],
            limit: Expr::int(PAGE_MAX.try_into().unwrap_or(i64::MAX)),
        })
    }
}

impl Transition for ReconcileQuota {
    /// True if the number had drifted.
    type Outcome = bool;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<bool>, EngineError> {
        if !facts.have_rows() {
            let head = lookup(QUOTA, quota_policy::REF, self.key.head());
            return Ok(Step::Read(vec![Query::Lookup(vec![head]), Query::List(self.page(None)?)]));
        }
        let last = facts.pages(ADMISSIONS).last().unwrap_or_default();
        if PAGE_MAX <= last.len() {
            return Ok(Step::Read(vec![Query::List(self.page(last.last())?)]));
        }

        let Some(row) = facts.row(QUOTA) else { return Ok(Step::Answer(false)) };
        let head = Head { key: self.key.clone(), row: Some(row), admission: None };
        let held = i64::try_from(facts.pages(ADMISSIONS).flatten().count()).unwrap_or(i64::MAX);
        let drift = held - head.in_use()?;
        if drift == 0 {
            return Ok(Step::Answer(false));
        }

        let change = head.change(drift, Vec::new(), ctx.now);
        let changes = Changes::of([change]).holding(head.guard()?);
        let plan = changes.planned::<bool>("reconcile_quota", Vec::new(), facts)?;
        Ok(Step::Commit(plan, Then::Answer(true)))
    }
}
