//! Usage that is reported to a budget: by a worker, by an operator, or as spent by one execution.

mod settle;

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::contracts::{RecordSpendArgs, ReportUsageAdminArgs, ReportUsageResult, UsageDimensions};
use crate::model::error::EngineError;
use crate::model::ids::{BudgetId, ExecutionId, TimestampMs};
use crate::model::partition::PartitionConfig;
use crate::plan::facts::{Facts, Row};
use crate::plan::value::ColumnType;
use crate::plan::{Expr, List, Mutation, OnConflict, OnTaken};
use crate::rules::budget::dedup::Dedup;
use crate::rules::budget::key::{BudgetKey, DIMENSIONS_MAX, Head, Places, dimension};
use crate::rules::budget::limits::{Breach, Judged};
use crate::rules::budget::over_run::OverRun;
use crate::rules::changes::Changes;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Verdict};
use crate::rules::input;
use crate::rules::key::{CORE, ExecutionKey};
use crate::rules::premise::{Premise, execution_row};
use crate::rules::row_list::items;
use crate::schema::budget::{budget_policy, budget_usage, budget_usage_by_exec};
use crate::schema::execution::exec_core;

/// Reports usage. All of it counts, or nothing.
#[derive(Clone, Debug)]
pub struct Report {
    places: Places,
    deltas: BTreeMap<String, i64>,
    dedup: Option<Dedup>,
    by: Reporter,
}

/// The party that reports.
#[derive(Clone, Debug)]
enum Reporter {
    /// An operator, or a worker with a handle that names no execution of this kind of database.
    Anyone,
    /// The worker of an execution: what it has reserved is used first.
    Worker(ExecutionKey),
    /// The same; the budget also remembers the contribution of the execution.
    Spender(ExecutionKey),
}

impl Reporter {
    fn execution(&self) -> Option<ExecutionKey> {
        match self {
            Self::Anyone => None,
            Self::Worker(key) | Self::Spender(key) => Some(*key),
        }
    }

    fn spender(&self) -> Option<Uuid> {
        match self {
            Self::Anyone | Self::Worker(_) => None,
            Self::Spender(key) => Some(key.uuid),
        }
    }
}

/// The answer to a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported {
    /// The caller's answer.
    pub result: ReportUsageResult,
    /// The hard limit that it would have exceeded, if its execution runs.
    pub over_run: Option<OverRun>,
}

impl Reported {
    fn counted(result: ReportUsageResult) -> Self {
        Self { result, over_run: None }
    }
}

impl Report {
    /// The report of a worker: what it names, and the tokens and the time that it gives.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field: too many dimensions, a dimension without a
    /// name, an amount beyond `i64::MAX`, a key with NUL or one that is too long.
    pub fn of_worker(
        budget: &BudgetId,
        used: UsageDimensions,
        partitions: &PartitionConfig,
    ) -> Result<Self, EngineError> {
        let UsageDimensions { input_tokens, output_tokens, wall_ms, custom, dedup_key } = used;
        let mut deltas = custom;
        for (dimension, amount) in [
            ("input_tokens", input_tokens),
            ("output_tokens", output_tokens),
            ("wall_ms", wall_ms.unwrap_or(0)),
        ] {
            if 0 < amount {
                let sum = deltas.entry(dimension.to_owned()).or_default();
                *sum = sum.saturating_add(amount);
            }
        }
        Self::new(budget, deltas, dedup_key.as_deref(), partitions)
    }

    /// The report of an operator. Of a dimension that is named twice, the last amount counts.
    ///
    /// # Errors
    /// As [`Self::of_worker`]; lists of different lengths.
    pub fn of_operator(
        budget: &BudgetId,
        args: ReportUsageAdminArgs,
        partitions: &PartitionConfig,
    ) -> Result<Self, EngineError> {
        if args.dimensions.len() != args.deltas.len() {
            return Err(input::invalid(
                "report_usage_admin: dimensions and deltas length mismatch",
            ));
        }
        let deltas = args.dimensions.into_iter().zip(args.deltas).collect();
        Self::new(budget, deltas, args.dedup_key.as_deref(), partitions)
    }

    /// What one execution spends.
    ///
    /// # Errors
    /// As [`Self::of_worker`].
    pub fn of_execution(
        args: RecordSpendArgs,
        partitions: &PartitionConfig,
    ) -> Result<Self, EngineError> {
        let RecordSpendArgs { budget_id, execution_id, deltas, idempotency_key } = args;
        let report = Self::new(&budget_id, deltas, Some(&idempotency_key), partitions)?;
        Ok(Self { by: Reporter::Spender(ExecutionKey::of(&execution_id)?), ..report })
    }

    /// The same report, made by the worker of that execution. One that no row can have is none.
    #[must_use]
    pub fn made_by(self, execution: Option<&ExecutionId>) -> Self {
        let key = execution.and_then(|id| ExecutionKey::of(id).ok());
        Self { by: key.map_or(Reporter::Anyone, Reporter::Worker), ..self }
    }

    fn new(
        budget: &BudgetId,
        deltas: BTreeMap<String, u64>,
        key: Option<&str>,
        partitions: &PartitionConfig,
    ) -> Result<Self, EngineError> {
        if DIMENSIONS_MAX < deltas.len() {
            let problem = format!("dimensions: {} exceed {DIMENSIONS_MAX}", deltas.len());
            return Err(input::invalid(problem));
        }

        let places = Places::of(budget, partitions)?;
        let amount = |(name, amount): (String, u64)| {
            dimension("dimensions", &name)?;
            match i64::try_from(amount) {
                Ok(amount) => Ok((name, amount)),
                Err(_) => {
                    let problem = format!("deltas: {name}: {amount} exceeds {}", i64::MAX);
                    Err(input::invalid(problem))
                }
            }
        };
        let deltas = deltas.into_iter().map(amount).collect::<Result<_, EngineError>>()?;
        let key = key.filter(|key| !key.is_empty());
        let dedup = key.map(|key| Dedup::new(places.home(), key)).transpose()?;
        Ok(Self { places, deltas, dedup, by: Reporter::Anyone })
    }

    /// The changes of a report that counts: the totals, and the contribution of the spender.
    fn counted(
        &self,
        head: &Head<'_>,
        facts: &Facts,
        at: TimestampMs,
    ) -> Result<Vec<Mutation>, EngineError> {
        let mut changes = vec![change_totals(&head.key, &self.deltas, OnTaken::Add, at)?];
        if let Some(spender) = self.by.spender() {
            let before = facts.list(&self.places.contributions_of(spender)).unwrap_or_default();
            changes.push(self.contribution(head, spender, before, at)?);
        }
        Ok(changes)
    }

    fn contribution(
        &self,
        head: &Head<'_>,
        spender: Uuid,
        before: &[Row],
        at: TimestampMs,
    ) -> Result<Mutation, EngineError> {
        let before = head.contributed(before)?;
        let after = self.deltas.iter().map(|(dimension, delta)| {
            let before = before.get(dimension).copied().unwrap_or(0);
            (dimension.clone(), before.saturating_add(*delta))
        });

        let mut row = head.key.contributions_of(spender);
        row.extend([
            budget_usage_by_exec::dimensions_key
                .with_expr(Expr::item(ColumnType::Text, "dimension")),
            budget_usage_by_exec::delta_total.with_expr(Expr::item(ColumnType::BigInt, "amount")),
            budget_usage_by_exec::updated_at_ms.with(at.0),
            budget_usage_by_exec::period.with(head.period()?),
        ]);
        // The head pins what was read, so the sum is written, not added to a sum of an earlier
        // period.
        let anew = OnConflict::Update(vec![
            (budget_usage_by_exec::delta_total.column(), OnTaken::Overwrite),
            (budget_usage_by_exec::updated_at_ms.column(), OnTaken::Overwrite),
            (budget_usage_by_exec::period.column(), OnTaken::Overwrite),
        ]);
        let items = amounts(&after.collect())?;
        Ok(Mutation::insert_each(budget_usage_by_exec::REF, items, row, anew))
    }

    /// The change of the head: the breaches, and the version. All columns are written in either
    /// case, so that every report has one shape.
    fn judged(head: &Head<'_>, judged: &Judged, at: TimestampMs) -> Result<Mutation, EngineError> {
        let Some(row) = head.row else { return Ok(head.change(Vec::new(), at)) };

        let mut last = row.read(budget_policy::last_breach_at_ms)?;
        let mut dimension: Option<String> = row.read(budget_policy::last_breach_dim)?;
        let mut updated = row.read(budget_policy::updated_at_ms)?;
        let (mut hard, mut soft) = (0, 0);
        match judged {
            Judged::Within => {}
            Judged::Soft(_) => (soft, updated) = (1, at.0),
            Judged::Warned(breach) | Judged::Hard(breach) => {
                (hard, updated, last) = (1, at.0, Some(at.0));
                dimension = Some(breach.dimension.clone());
            }
        }

        let set = vec![
            budget_policy::breach_count.grow(hard),
            budget_policy::soft_breach_count.grow(soft),
            budget_policy::last_breach_at_ms.set(last),
            budget_policy::last_breach_dim.set(dimension),
            budget_policy::updated_at_ms.set(updated),
        ];
        Ok(head.change(set, at))
    }
}

/// The change of the totals of these dimensions, to these amounts or by them. A total that is not
/// there begins with its amount.
pub(super) fn change_totals(
    key: &BudgetKey,
    of: &BTreeMap<String, i64>,
    taken: OnTaken,
    at: TimestampMs,
) -> Result<Mutation, EngineError> {
    let mut row = key.usage();
    row.extend([
        budget_usage::dimensions_key.with_expr(Expr::item(ColumnType::Text, "dimension")),
        budget_usage::current_value.with_expr(Expr::item(ColumnType::BigInt, "amount")),
        budget_usage::updated_at_ms.with(at.0),
    ]);
    let changed = OnConflict::Update(vec![
        (budget_usage::current_value.column(), taken),
        (budget_usage::updated_at_ms.column(), OnTaken::Overwrite),
    ]);
    Ok(Mutation::insert_each(budget_usage::REF, amounts(of)?, row, changed))
}

/// The list of these amounts, for the rows that are written of it.
fn amounts(of: &BTreeMap<String, i64>) -> Result<Expr, EngineError> {
    let item = |(dimension, amount)| json!({ "dimension": dimension, "amount": amount });
    items(&of.iter().map(item).collect::<Vec<Json>>())
}

impl Decision for Report {
    type Outcome = Reported;

    const NAME: &'static str = "report_usage";

    fn premises(&self, _: TimestampMs) -> Vec<Premise<Reported>> {
        let dedup = self.dedup.as_ref().map(Dedup::premise);
        let columns =
            || vec![exec_core::lifecycle_phase.column(), exec_core::has_reservations.column()];
        let core =
            self.by.execution().map(|key| Premise::read(CORE, execution_row(&key, columns())));
        self.places.premises().into_iter().chain(dedup).chain(core).collect()
    }

    fn lists(&self, _: u32) -> Vec<List> {
        let contributions = self.by.spender().map(|spender| self.places.contributions_of(spender));
        [self.places.usage(), self.reservations()].into_iter().chain(contributions).collect()
    }

    fn repeated(&self, facts: &Facts, ctx: &Ctx<'_>) -> Result<Option<Reported>, EngineError> {
        let Some(first) = Dedup::first(facts, ctx.now)? else { return Ok(None) };
        let first = Dedup::answer(first)?;

        // An interrupted caller repeats its report so that the over-run has its effect.
        let over_run = match &first {
            ReportUsageResult::HardBreach { dimension, current_usage, hard_limit } => {
                let (total, limit) = (*current_usage, *hard_limit);
                let breach = Breach { dimension: dimension.clone(), total, limit };
                let head = self.places.head(facts);
                self.over_run(&head, facts, &self.reserved(facts)?, &breach)?
            }
            ReportUsageResult::Ok
            | ReportUsageResult::SoftBreach { .. }
            | ReportUsageResult::AlreadyApplied => None,
        };
        let result = match self.by {
            Reporter::Spender(_) => ReportUsageResult::AlreadyApplied,
            Reporter::Anyone | Reporter::Worker(_) => first,
        };
        Ok(Some(Reported { result, over_run }))
    }

    fn decide(&self, facts: &Facts, at: TimestampMs, _: &mut Ctx<'_>) -> Decided<Self::Outcome> {
        let head = self.places.head(facts);
        let rows = facts.list(&self.places.usage()).unwrap_or_default();
        let totals = head.totals(rows)?;
        let new = self.deltas.keys().filter(|dimension| !totals.contains_key(*dimension)).count();
        if 0 < new && DIMENSIONS_MAX < totals.len() + new {
            let count = totals.len() + new;
            return Err(input::invalid(format!("dimensions: {count} exceed {DIMENSIONS_MAX}")));
        }

        let reserved = self.reserved(facts)?;
        let limits = head.limits()?.with_overdrafts(&head.overdrafts(rows)?);
        let judged = limits.judge(&totals, &self.deltas, &reserved)?;
        let mut changes = vec![Self::judged(&head, &judged, at)?];
        let mut settlement = None;
        if !matches!(judged, Judged::Hard(_)) {
            changes.extend(self.counted(&head, facts, at)?);
            settlement = self.settlement(&reserved, at)?;
        }

        let mut outcome = Reported::counted(ReportUsageResult::Ok);
        match judged {
            Judged::Within => {}
            Judged::Soft(Breach { dimension, total, limit })
            | Judged::Warned(Breach { dimension, total, limit }) => {
                let (current_usage, soft_limit) = (total, limit);
                outcome.result =
                    ReportUsageResult::SoftBreach { dimension, current_usage, soft_limit };
            }
            Judged::Hard(breach) => {
                outcome.over_run = self.over_run(&head, facts, &reserved, &breach)?;
                let Breach { dimension, total: current_usage, limit: hard_limit } = breach;
                outcome.result =
                    ReportUsageResult::HardBreach { dimension, current_usage, hard_limit };
            }
        }

        // A report that is approved later counts when it is repeated.
        let waits = outcome.over_run.as_ref().is_some_and(OverRun::suspends);
        let answered = self.dedup.as_ref().filter(|_| !waits);
        changes.extend(answered.map(|dedup| dedup.record(&outcome.result, at)));

        let (settled, own) = settlement.unzip();
        let changes = Changes::of(changes).and(settled);
        let changes = changes.holding_first(own).holding(head.guard()?);
        let spends = self.by.spender().is_some();
        let changes = if spends { changes.named("record_spend") } else { changes };
        Verdict::change(changes, outcome)
    }
}
