//! Admissions that are over: their slots are given back, their places in the window removed.

use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::plan::facts::{Facts, Row};
use crate::plan::{Expr, List, Mutation};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Verdict};
use crate::rules::premise::{Condition, Premise, answer, lookup};
use crate::rules::quota::admission::given_back;
use crate::rules::quota::key::{ADMITTED, Head, QUOTA, QuotaKey};
use crate::schema::Direction::Ascending;
use crate::schema::budget::{quota_admitted, quota_policy, quota_window};

/// The most admissions that one check ends.
const AT_ONCE: i64 = 100;

/// The admissions of a policy that are over at that time, in either place.
#[must_use]
pub fn lapsed_of(policy: &QuotaKey, at: TimestampMs) -> List {
    let partition = quota_admitted::partition_key;
    List {
        name: "lapsed admissions of a policy".into(),
        table: quota_admitted::REF,
        join: None,
        of_each: None,
        columns: quota_admitted::REF.columns.to_vec(),
        predicate: partition
            .equals(policy.partition)
            .or(partition.equals(0))
            .and(quota_admitted::quota_policy_id.equals(policy.id.clone()))
            .and(quota_admitted::expires_at_ms.at_most(at.0)),
        order: vec![(quota_admitted::execution_id.column(), Ascending)],
        limit: Expr::int(AT_ONCE),
    }
}

/// Ends an admission that is over, and gives its slot back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lapse {
    /// The policy.
    pub policy: QuotaKey,
    /// The execution, as quotas store it.
    pub execution: String,
    /// The time of a caller that has a clock of its own.
    pub at: Option<TimestampMs>,
}

impl Lapse {
    /// The admission in a listed row.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a column of another type.
    pub fn read(row: &Row) -> Result<Self, EngineError> {
        let policy = QuotaKey {
            partition: row.read(quota_admitted::partition_key)?,
            id: row.read(quota_admitted::quota_policy_id)?,
        };
        Ok(Self { policy, execution: row.read(quota_admitted::execution_id)?, at: None })
    }

    /// The same admission, by the clock of a caller.
    #[must_use]
    pub fn by(self, at: TimestampMs) -> Self {
        Self { at: Some(at), ..self }
    }
}

impl Decision for Lapse {
    /// True if it was over.
    type Outcome = bool;

    const NAME: &'static str = "lapse_admission";

    fn at(&self, ctx: &Ctx<'_>) -> TimestampMs {
        self.at.unwrap_or(ctx.now)
    }

    fn premises(&self, at: TimestampMs) -> Vec<Premise<bool>> {
        let over = quota_admitted::expires_at_ms.at_most(at.0);
        let key = self.policy.admission(&self.execution);
        let admission = Premise::read(ADMITTED, lookup(ADMITTED, quota_admitted::REF, key))
            .or_if_absent(answer(false))
            .guarded_by(vec![Condition::new(over, answer(false))]);

        let head = lookup(QUOTA, quota_policy::REF, self.policy.head());
        vec![Premise::read(QUOTA, head), admission]
    }

    fn decide(&self, facts: &Facts, at: TimestampMs, _: &mut Ctx<'_>) -> Decided<bool> {
        let Some(admission) = facts.row(ADMITTED) else { return Ok(Verdict::Answer(false)) };
        let (key, row) = (self.policy.clone(), facts.row(QUOTA));
        let head = Head { key, row, admission: Some(admission) };

        let gone = Mutation::delete(quota_admitted::REF, self.policy.admission(&self.execution));
        Verdict::change(given_back(&head, admission, gone, at)?, true)
    }
}

/// Removes an admission that has left its window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaveWindow {
    /// The policy.
    pub policy: QuotaKey,
    /// The dimension of the window.
    pub dimension: String,
    /// The time of the admission, Unix ms.
    pub admitted_at_ms: i64,
    /// The execution, as quotas store it.
    pub execution: String,
}

/// The name of an admission within its window.
const ADMISSION: &str = "admission";

impl LeaveWindow {
    /// The admission in a listed row.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a column of another type.
    pub fn read(row: &Row) -> Result<Self, EngineError> {
        Ok(Self {
            policy: QuotaKey {
                partition: row.read(quota_window::partition_key)?,
                id: row.read(quota_window::quota_policy_id)?,
            },
            dimension: row.read(quota_window::dimension)?,
            admitted_at_ms: row.read(quota_window::admitted_at_ms)?,
            execution: row.read(quota_window::execution_id)?,
        })
    }
}

impl Decision for LeaveWindow {
    /// True if it had left.
    type Outcome = bool;

    const NAME: &'static str = "leave_quota_window";

    fn premises(&self, at: TimestampMs) -> Vec<Premise<bool>> {
        let left = quota_window::expires_at_ms.at_most(Some(at.0));
        let key = self.policy.in_window(&self.dimension, self.admitted_at_ms, &self.execution);
        let admission = Premise::read(ADMISSION, lookup(ADMISSION, quota_window::REF, key));
        let conditions = vec![Condition::new(left, answer(false))];
        vec![admission.or_if_absent(answer(false)).guarded_by(conditions)]
    }

    fn expects(&self) -> bool {
        true
    }

    fn decide(&self, _: &Facts, _: TimestampMs, _: &mut Ctx<'_>) -> Decided<bool> {
        let key = self.policy.in_window(&self.dimension, self.admitted_at_ms, &self.execution);
        Verdict::change([Mutation::delete(quota_window::REF, key)], true)
    }
}
