//! Admitting executions, and releasing them.

use crate::contracts::{CheckAdmissionArgs, CheckAdmissionResult, ReleaseAdmissionArgs};
use crate::model::error::EngineError;
use crate::model::ids::{QuotaPolicyId, TimestampMs};
use crate::model::partition::PartitionConfig;
use crate::plan::facts::{Facts, Row};
use crate::plan::{Expr, List, Mutation, OnConflict, OnTaken, Pairing, Predicate, Selection};
use crate::rules::changes::Changes;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Verdict};
use crate::rules::input;
use crate::rules::premise::Premise;
use crate::rules::quota::key::{Head, Places};
use crate::rules::quota::lapse::{Lapse, lapsed_of};
use crate::rules::quota::policy::Limits;
use crate::schema::ColumnRef;
use crate::schema::Direction::{Ascending, Descending};
use crate::schema::budget::{quota_admitted, quota_policy, quota_window};

/// The name that plans give the admissions that have left their window.
const OLD: &str = "old";

/// Asks a quota to admit an execution.
#[derive(Clone, Debug)]
pub struct CheckAdmission {
    places: Places,
    execution: String,
    dimension: String,
    limits: Limits,
    jitter_ms: u64,
    at: TimestampMs,
}

/// The answer of a quota, or what stands in its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// The answer.
    Answered(CheckAdmissionResult),
    /// No slot is free, but these admissions are over. Ask again once they have lapsed.
    AfterLapse(Vec<Lapse>),
}

impl CheckAdmission {
    /// Checks the arguments. The limits are those of the call, not those of the policy.
    ///
    /// # Errors
    /// As [`Limits::check`]; `Validation(InvalidInput)` for a dimension with NUL or one that is too
    /// long.
    pub fn new(
        policy: &QuotaPolicyId,
        dimension: &str,
        args: &CheckAdmissionArgs,
        partitions: &PartitionConfig,
    ) -> Result<Self, EngineError> {
        input::name("dimension", dimension)?;
        let limits = Limits::check(
            ("window_seconds", args.window_seconds),
            ("rate_limit", args.rate_limit),
            ("concurrency_cap", args.concurrency_cap),
        )?;

        Ok(Self {
            places: Places::of(policy, partitions)?,
            execution: args.execution_id.to_string(),
            dimension: dimension.to_owned(),
            limits,
            jitter_ms: args.jitter_ms.unwrap_or(0),
            at: args.now,
        })
    }

    /// The earliest admission that is still in the window, ms.
    fn window_start(&self) -> i64 {
        self.at.0.saturating_sub(self.window_ms())
    }

    fn window_ms(&self) -> i64 {
        self.limits.window_seconds.saturating_mul(1_000)
    }

    /// The policy's admissions in this dimension, in either place.
    fn of_dimension(&self) -> Predicate {
        let partition = quota_window::partition_key;
        partition
            .equals(self.places.home().partition)
            .or(partition.equals(0))
            .and(quota_window::quota_policy_id.equals(self.places.home().id.clone()))
            .and(quota_window::dimension.equals(self.dimension.clone()))
    }

    /// The latest admissions in the window, as many as may be.
    fn window(&self) -> List {
        let at = quota_window::admitted_at_ms;
        List {
            name: "admissions in a window".into(),
            table: quota_window::REF,
            join: None,
            of_each: None,
            columns: vec![at.column()],
            predicate: self.of_dimension().and(at.above(self.window_start() - 1)),
            order: vec![
                (at.column(), Descending),
                (quota_window::execution_id.column(), Ascending),
            ],
            limit: Expr::int(self.limits.rate),
        }
    }

    /// The policy's admissions that are over.
    fn lapsed(&self) -> List {
        lapsed_of(self.places.home(), self.at)
    }

    /// The time until the oldest of the admissions that fill the window leaves it, ms.
    fn retry_after(&self, window: &[Row]) -> Result<u64, EngineError> {
        let oldest =
            window.last().map_or(Ok(self.at.0), |row| row.read(quota_window::admitted_at_ms))?;
        let wait = oldest.saturating_add(self.window_ms()).saturating_sub(self.at.0);
        Ok(u64::try_from(wait).unwrap_or(0).saturating_add(self.jitter_ms))
    }

    fn admit(&self, head: &Head<'_>) -> Result<Changes, EngineError> {
        let (at, holds_slot) = (self.at, 0 < self.limits.concurrency);
        let expires = at.0.saturating_add(self.window_ms());
        // An admission that is over gives its slot to the new one.
        let held = head.admission.map_or(Ok(false), |row| row.read(quota_admitted::holds_slot))?;
        let held = held && 0 < head.in_use()?;
        let slots = i64::from(holds_slot) - i64::from(held);

        let given = [
            quota_admitted::admitted_at_ms.with(at.0),
            quota_admitted::expires_at_ms.with(expires),
            quota_admitted::holds_slot.with(holds_slot),
        ];
        let anew = given.iter().map(|(column, _)| (*column, OnTaken::Overwrite)).collect();
        let admission = head.key.admission(&self.execution).into_iter().chain(given).collect();
        let mut window = head.key.in_window(&self.dimension, at.0, &self.execution);
        // At the very end of its time it is in the window still.
        let leaves = expires.saturating_add(1);
        window.push(quota_window::expires_at_ms.with(Some(leaves)));

        let changes = Changes::of([
            head.change(slots, vec![quota_policy::updated_at_ms.set(at.0)], at),
            // An execution that was released and is admitted again at once is there already.
            Mutation::insert(quota_window::REF, window, OnConflict::Ignore),
            Mutation::insert(quota_admitted::REF, admission, OnConflict::Update(anew)),
            Mutation::delete(quota_window::REF, picked()),
        ]);
        Ok(changes.picking(self.left_the_window()).holding(head.guard()?))
    }

    /// The admissions that have left the window.
    fn left_the_window(&self) -> Selection {
        let left = quota_window::admitted_at_ms.below(self.window_start());
        Selection {
            row: OLD.into(),
            table: quota_window::REF,
            predicate: self.of_dimension().and(left),
            order: vec![
                (quota_window::quota_policy_id.column(), Ascending),
                (quota_window::dimension.column(), Ascending),
                (quota_window::admitted_at_ms.column(), Ascending),
                (quota_window::execution_id.column(), Ascending),
            ],
            pairing: Pairing::Every,
        }
    }
}

/// The key of a picked admission.
fn picked() -> Vec<(ColumnRef, Expr)> {
    vec![
        quota_window::partition_key.with_expr(quota_window::partition_key.of(OLD)),
        quota_window::quota_policy_id.with_expr(quota_window::quota_policy_id.of(OLD)),
        quota_window::dimension.with_expr(quota_window::dimension.of(OLD)),
        quota_window::admitted_at_ms.with_expr(quota_window::admitted_at_ms.of(OLD)),
        quota_window::execution_id.with_expr(quota_window::execution_id.of(OLD)),
    ]
}

impl Decision for CheckAdmission {
    type Outcome = Checked;

    const NAME: &'static str = "check_admission";

    fn at(&self, _: &Ctx<'_>) -> TimestampMs {
        self.at
    }

    fn premises(&self, _: TimestampMs) -> Vec<Premise<Checked>> {
        let admissions = self.places.admissions(&self.execution);
        self.places.premises().into_iter().chain(admissions).collect()
    }

    fn lists(&self, _: u32) -> Vec<List> {
        vec![self.window(), self.lapsed()]
    }

    fn decide(&self, facts: &Facts, at: TimestampMs, _: &mut Ctx<'_>) -> Decided<Checked> {
        let head = self.places.head(facts);
        let answer = |result| Ok(Verdict::Answer(Checked::Answered(result)));
        if let Some(admission) = head.admission
            && at.0 < admission.read(quota_admitted::expires_at_ms)?
        {
            return answer(CheckAdmissionResult::AlreadyAdmitted);
        }

        let window = facts.list(&self.window()).unwrap_or_default();
        if 0 < self.limits.rate && self.limits.rate <= i64::try_from(window.len()).unwrap_or(0) {
            let retry_after_ms = self.retry_after(window)?;
            return answer(CheckAdmissionResult::RateExceeded { retry_after_ms });
        }

        if 0 < self.limits.concurrency && self.limits.concurrency <= head.in_use()? {
            let lapsed = facts.list(&self.lapsed()).unwrap_or_default();
            if lapsed.is_empty() {
                return answer(CheckAdmissionResult::ConcurrencyExceeded);
            }
            let lapsed = lapsed.iter().map(|row| Ok(Lapse::read(row)?.by(at)));
            let lapsed = lapsed.collect::<Result<_, EngineError>>()?;
            return Ok(Verdict::Answer(Checked::AfterLapse(lapsed)));
        }

        let admitted = Checked::Answered(CheckAdmissionResult::Admitted);
        Verdict::change(self.admit(&head)?, admitted)
    }
}

/// Releases an admission. Its place in the window stays taken.
#[derive(Clone, Debug)]
pub struct ReleaseAdmission {
    places: Places,
    execution: String,
}

impl ReleaseAdmission {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` when the partition is beyond what a row can store.
    pub fn new(
        args: &ReleaseAdmissionArgs,
        partitions: &PartitionConfig,
    ) -> Result<Self, EngineError> {
        let places = Places::of(&args.quota_policy_id, partitions)?;
        Ok(Self { places, execution: args.execution_id.to_string() })
    }
}

impl Decision for ReleaseAdmission {
    type Outcome = ();

    const NAME: &'static str = "release_admission";

    fn premises(&self, _: TimestampMs) -> Vec<Premise<()>> {
        let admissions = self.places.admissions(&self.execution);
        self.places.premises().into_iter().chain(admissions).collect()
    }

    fn decide(&self, facts: &Facts, at: TimestampMs, _: &mut Ctx<'_>) -> Decided<()> {
        let head = self.places.head(facts);
        let Some(admission) = head.admission else { return Ok(Verdict::Answer(())) };
        let gone = Mutation::delete(quota_admitted::REF, head.key.admission(&self.execution));
        Verdict::change(given_back(&head, admission, gone, at)?, ())
    }
}

/// The changes that end an admission: its slot is free again.
///
/// # Errors
/// `Validation(Corruption)` for a column of another type.
pub(super) fn given_back(
    head: &Head<'_>,
    admission: &Row,
    gone: Mutation,
    at: TimestampMs,
) -> Result<Changes, EngineError> {
    let changes = Changes::of([gone]);
    if head.row.is_none() {
        return Ok(changes);
    }

    let held = admission.read(quota_admitted::holds_slot)? && 0 < head.in_use()?;
    let freed = head.change(-i64::from(held), Vec::new(), at);
    Ok(changes.and([freed]).holding_first(head.guard()?))
}
