//! Budgets and quotas of a history: what is drawn, and what it comes to.

use std::collections::BTreeMap;

use ff_core::contracts::{
    CheckAdmissionArgs, CreateBudgetArgs, CreateQuotaPolicyArgs, RateLimit, RecordSpendArgs,
    ReleaseAdmissionArgs, ReleaseBudgetArgs, ReportUsageAdminArgs, ResetBudgetArgs,
    SetFairnessWeightArgs, SetLimitArgs, UsageDimensions,
};
use ff_core::types::{BudgetId, LaneId, QuotaPolicyId, TimestampMs};
use uuid::Uuid;

use super::generator::Generator;
use super::kind::Kind;
use super::operation::{Held, Operation, Side};
use super::situation::Situation;

const BUDGETS: usize = 3;
const QUOTAS: usize = 2;
const KEYS: [Option<&str>; 5] = [None, None, None, Some("once"), Some("it's \\ twice")];

/// A call about a budget or a quota, by its number.
#[derive(Clone, Debug)]
pub(super) enum Money {
    /// With those limits, that interval, and that answer to an over-run.
    CreateBudget(usize, [u64; 2], u64, &'static str, TimestampMs),
    Report(Held, usize, UsageDimensions),
    ReportByOperator(usize, BTreeMap<String, u64>, Option<&'static str>, TimestampMs),
    Spend(usize, usize, BTreeMap<String, u64>, &'static str),
    Release(usize, usize),
    Reset(usize, TimestampMs),
    CreateQuota(usize, u64, TimestampMs),
    /// In that dimension, with that rate and so many slots.
    Check(usize, usize, &'static str, [u64; 2], TimestampMs),
    ReleaseAdmission(usize, usize),
    /// Of that key, with that many at once and that rate a second; none removes it.
    SetLimit(&'static str, Option<(Option<u32>, Option<u32>)>),
    /// Of that fairness key in that lane; none removes it.
    SetWeight(LaneId, &'static str, Option<u32>),
}

impl Money {
    /// The lease that it is done under, if it needs one.
    pub(super) const fn held(&self) -> Option<Held> {
        if let Self::Report(held, ..) = self { Some(*held) } else { None }
    }
}

pub(super) fn budget(number: usize) -> BudgetId {
    BudgetId::from_uuid(Uuid::from_u128(0xB0_0000 + number as u128))
}

fn quota(number: usize) -> QuotaPolicyId {
    QuotaPolicyId::from_uuid(Uuid::from_u128(0x40_0000 + number as u128))
}

impl Generator {
    pub(super) fn money(&mut self, kind: Kind, situation: &Situation<'_>) -> Option<Operation> {
        let now = self.around(situation.now);
        let (budget, quota) = (self.below(BUDGETS), self.below(QUOTAS));
        let execution = self.execution(situation);
        Some(Operation::Money(Box::new(match kind {
            Kind::CreateBudget => {
                let limits = [self.pick(&[0, 3, 6, 12]), self.pick(&[0, 4])];
                self.defined.insert(budget);
                let interval = self.pick(&[0, 0, 1_000, 10_000]);
                let over_run =
                    self.pick(&["", "", "", "warn", "fail", "cancel", "suspend", "suspend"]);
                Money::CreateBudget(budget, limits, interval, over_run, now)
            }
            Kind::Report => {
                let mut usage = UsageDimensions::new().with_input_tokens(self.amount());
                usage.wall_ms = self.pick(&[None, None, Some(5)]);
                usage.custom = self.amounts();
                usage.dedup_key = self.pick(&KEYS).map(str::to_owned);
                Money::Report(self.held(situation)?, budget, usage)
            }
            Kind::ReportByOperator => {
                Money::ReportByOperator(budget, self.amounts(), self.pick(&KEYS), now)
            }
            Kind::Spend => {
                let key = self.pick(&KEYS).unwrap_or_default();
                Money::Spend(budget, execution, self.amounts(), key)
            }
            Kind::ReleaseBudget => Money::Release(budget, execution),
            Kind::ResetBudget => Money::Reset(budget, now),
            Kind::CreateQuota => Money::CreateQuota(quota, self.pick(&[0, 1, 5]), now),
            Kind::CheckAdmission => {
                let limits = [self.pick(&[0, 1, 2, 100]), self.pick(&[0, 1, 2])];
                Money::Check(quota, execution, self.pick(&["", "", "b"]), limits, now)
            }
            Kind::ReleaseAdmission => Money::ReleaseAdmission(quota, execution),
            Kind::SetLimit => {
                let bounds = (self.pick(&[None, Some(1), Some(2)]), self.pick(&[None, Some(3)]));
                let key = self.pick(&["tenant/1", "tenant/*", "api"]);
                Money::SetLimit(key, (!self.chance(20)).then_some(bounds))
            }
            Kind::SetWeight => {
                let (lane, key) = (self.lane(), self.pick(&["tenant/1", "tenant/2", ""]));
                Money::SetWeight(lane, key, self.pick(&[None, Some(1), Some(3), Some(1_000)]))
            }
            other => unreachable!("{other:?} is about no budget, quota or limit"),
        })))
    }

    fn amounts(&mut self) -> BTreeMap<String, u64> {
        let named: &[&str] = self.pick(&[&["cost"] as &[&str], &["cost", "tokens"], &["tokens"]]);
        named.iter().map(|&name| (name.to_owned(), self.amount())).collect()
    }

    /// Rarely one that no row can store.
    fn amount(&mut self) -> u64 {
        let most = self.pick(&[i64::MAX.unsigned_abs(), u64::MAX]);
        if self.chance(3) { most } else { self.pick(&[0, 1, 1, 2, 3, 5]) }
    }
}

impl Side {
    pub(super) async fn money(&self, money: &Money) -> String {
        let backend = &self.bench.backend;
        match money.clone() {
            Money::CreateBudget(..) | Money::CreateQuota(..) => self.define(money).await,
            Money::Report(held, number, usage) => {
                let handle = self.handle(held);
                self.answer(backend.report_usage(handle, &budget(number), usage).await)
            }
            Money::ReportByOperator(number, amounts, key, now) => {
                let (dimensions, deltas) = amounts.into_iter().unzip();
                let mut args = ReportUsageAdminArgs::new(dimensions, deltas, now);
                args.dedup_key = key.map(str::to_owned);
                self.answer(backend.report_usage_admin(&budget(number), args).await)
            }
            Money::Spend(number, execution, amounts, key) => {
                let id = self.ids[execution].clone();
                let args = RecordSpendArgs::new(budget(number), id, amounts, key);
                self.answer(backend.record_spend(args).await)
            }
            Money::Release(number, execution) => {
                let args = ReleaseBudgetArgs::new(budget(number), self.ids[execution].clone());
                self.answer(backend.release_budget(args).await)
            }
            Money::Reset(number, now) => {
                let args = ResetBudgetArgs { budget_id: budget(number), now };
                self.answer(backend.reset_budget(args).await)
            }
            Money::Check(number, execution, dimension, [rate_limit, concurrency_cap], now) => {
                let args = CheckAdmissionArgs {
                    execution_id: self.ids[execution].clone(),
                    now,
                    window_seconds: 5,
                    rate_limit,
                    concurrency_cap,
                    jitter_ms: None,
                };
                self.answer(backend.check_admission(&quota(number), dimension, args).await)
            }
            Money::SetLimit(key, None) => self.answer(backend.remove_limit(key).await),
            Money::SetLimit(key, Some((running, rate))) => {
                let mut args = SetLimitArgs::new(key, "ada");
                args.max_running = running;
                args.rate = rate.map(|count| RateLimit::new(count, 1_000));
                self.answer(backend.set_limit(args).await)
            }
            Money::SetWeight(ref lane, key, None) => {
                self.answer(backend.remove_fairness_weight(lane, key).await)
            }
            Money::SetWeight(ref lane, key, Some(weight)) => {
                let args = SetFairnessWeightArgs::new(lane.clone(), key, weight, "ada");
                self.answer(backend.set_fairness_weight(args).await)
            }
            Money::ReleaseAdmission(number, execution) => {
                let id = self.ids[execution].clone();
                let args = ReleaseAdmissionArgs::new(quota(number), id);
                self.answer(backend.release_admission(args).await)
            }
        }
    }

    async fn define(&self, money: &Money) -> String {
        let backend = &self.bench.backend;
        match money.clone() {
            Money::CreateBudget(number, [hard, soft], reset_interval_ms, on_hard_limit, now) => {
                let args = CreateBudgetArgs {
                    budget_id: budget(number),
                    scope_type: "team".into(),
                    scope_id: "it's ours".into(),
                    enforcement_mode: String::new(),
                    on_hard_limit: on_hard_limit.into(),
                    on_soft_limit: String::new(),
                    reset_interval_ms,
                    dimensions: vec!["cost".into(), "input_tokens".into()],
                    hard_limits: vec![hard, hard],
                    soft_limits: vec![soft, 0],
                    now,
                };
                self.answer(backend.create_budget(args).await)
            }
            Money::CreateQuota(number, max_concurrent, now) => {
                let args = CreateQuotaPolicyArgs {
                    quota_policy_id: quota(number),
                    window_seconds: 5,
                    max_requests_per_window: 100,
                    max_concurrent,
                    now,
                };
                self.answer(backend.create_quota_policy(args).await)
            }
            other => unreachable!("{other:?} defines nothing"),
        }
    }
}
