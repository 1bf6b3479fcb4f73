//! Defining a quota policy, and reading its limits.

use crate::contracts::{CreateQuotaPolicyArgs, CreateQuotaPolicyResult, QuotaPolicyLimits};
use crate::model::error::{EngineError, ValidationKind};
use crate::model::ids::{QuotaPolicyId, TimestampMs};
use crate::model::partition::PartitionConfig;
use crate::plan::facts::{Facts, Row};
use crate::plan::{Assign, Mutation, OnConflict, Query};
use crate::rules::changes::Changes;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Step, Transition, Verdict};
use crate::rules::input;
use crate::rules::premise::Premise;
use crate::rules::quota::key::Places;
use crate::schema::Col;
use crate::schema::budget::quota_policy;

/// The longest window, seconds: 365 days.
const WINDOW_MAX_SECONDS: u64 = 365 * 86_400;

/// The most admissions per window, which a check reads one by one.
const RATE_MAX: u64 = 100_000;

/// The limits of a quota, as rows store them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The length of the window, seconds.
    pub window_seconds: i64,
    /// The most admissions per window; 0 for any number.
    pub rate: i64,
    /// The most admitted executions at once; 0 for any number.
    pub concurrency: i64,
}

impl Limits {
    /// Checks limits, which the caller gave in these fields.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field: a window without length or beyond
    /// `WINDOW_MAX_SECONDS`, a rate beyond `RATE_MAX`, a number beyond `i64::MAX`.
    pub fn check(
        (window_field, window): (&str, u64),
        (rate_field, rate): (&str, u64),
        (cap_field, cap): (&str, u64),
    ) -> Result<Self, EngineError> {
        let bounded = |field: &str, value: u64, least: u64, most: u64| {
            if (least..=most).contains(&value) {
                return i64::try_from(value).map_err(|_| input::invalid(field));
            }
            let problem = format!("{field}: must be between {least} and {most}, got {value}");
            Err(input::invalid(problem))
        };

        Ok(Self {
            window_seconds: bounded(window_field, window, 1, WINDOW_MAX_SECONDS)?,
            rate: bounded(rate_field, rate, 0, RATE_MAX)?,
            concurrency: bounded(cap_field, cap, 0, i64::MAX.unsigned_abs())?,
        })
    }
}

/// Defines a quota policy. The first definition of an id wins; what was admitted before counts.
#[derive(Clone, Debug)]
pub struct CreatePolicy {
    places: Places,
    id: QuotaPolicyId,
    limits: Limits,
    at: TimestampMs,
}

impl CreatePolicy {
    /// Checks the arguments.
    ///
    /// # Errors
    /// As [`Limits::check`].
    pub fn new(
        args: CreateQuotaPolicyArgs,
        partitions: &PartitionConfig,
    ) -> Result<Self, EngineError> {
        let limits = Limits::check(
            ("window_seconds", args.window_seconds),
            ("max_requests_per_window", args.max_requests_per_window),
            ("max_concurrent", args.max_concurrent),
        )?;
        let places = Places::of(&args.quota_policy_id, partitions)?;
        Ok(Self { places, id: args.quota_policy_id, limits, at: args.now })
    }
}

impl Decision for CreatePolicy {
    type Outcome = CreateQuotaPolicyResult;

    const NAME: &'static str = "create_quota_policy";

    fn at(&self, _: &Ctx<'_>) -> TimestampMs {
        self.at
    }

    fn premises(&self, _: TimestampMs) -> Vec<Premise<Self::Outcome>> {
        self.places.premises()
    }

    fn decide(&self, facts: &Facts, at: TimestampMs, _: &mut Ctx<'_>) -> Decided<Self::Outcome> {
        let quota_policy_id = self.id.clone();
        let head = self.places.head(facts);
        if head.defined()?.is_some() {
            let known = CreateQuotaPolicyResult::AlreadySatisfied { quota_policy_id };
            return Ok(Verdict::Answer(known));
        }

        let columns = [
            quota_policy::requests_per_window_seconds.with(self.limits.window_seconds),
            quota_policy::max_requests_per_window.with(self.limits.rate),
            quota_policy::active_concurrency_cap.with(self.limits.concurrency),
            quota_policy::created_at_ms.with(at.0),
            quota_policy::updated_at_ms.with(at.0),
            quota_policy::is_defined.with(true),
        ];
        let change = match head.row {
            Some(_) => {
                let set = columns.map(|(column, value)| (column, Assign::Set(value)));
                head.change(0, set.into(), at)
            }
            None => {
                let row = head.key.head().into_iter().chain(columns).collect();
                Mutation::insert(quota_policy::REF, row, OnConflict::Refuse)
            }
        };

        let changes = Changes::of([change]).holding(head.guard()?);
        Verdict::change(changes, CreateQuotaPolicyResult::Created { quota_policy_id })
    }
}

/// Reads the limits of a policy; `None` where it is not defined.
#[derive(Clone, Debug)]
pub struct ReadLimits {
    places: Places,
}

impl ReadLimits {
    /// The limits of that policy.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` when the partition is beyond what a row can store.
    pub fn of(policy: &QuotaPolicyId, partitions: &PartitionConfig) -> Result<Self, EngineError> {
        Ok(Self { places: Places::of(policy, partitions)? })
    }
}

impl Transition for ReadLimits {
    type Outcome = Option<QuotaPolicyLimits>;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        if !facts.have_rows() {
            return Ok(Step::Read(vec![Query::Lookup(self.places.lookups())]));
        }

        let Some(row) = self.places.head(facts).defined()? else { return Ok(Step::Answer(None)) };
        let limit = |column| limit(&self.places.home().id, row, column);
        let (rate, window, cap) = (
            limit(quota_policy::max_requests_per_window)?,
            limit(quota_policy::requests_per_window_seconds)?,
            limit(quota_policy::active_concurrency_cap)?,
        );
        Ok(Step::Answer(Some(QuotaPolicyLimits::new(rate, window, cap, 0))))
    }
}

fn limit(policy: &str, row: &Row, column: Col<i64>) -> Result<u64, EngineError> {
    let stored = row.read(column)?;
    u64::try_from(stored).map_err(|_| EngineError::Validation {
        kind: ValidationKind::Corruption,
        detail: format!(
            "read_quota_policy_limits: quota_policy={policy} field={} value={stored} (negative)",
            column.column().name
        ),
    })
}
