//! One execution with an estimate, a key of a limit, a fairness key and a quota, and what callers
//! and operators do to them: no limit is exceeded, nothing stays held or reserved after the end,
//! and the execution is never stuck.

use ff_core::EngineError;
use ff_core::backend::{FailureClass, FailureReason, UsageDimensions};
use ff_core::contracts::{
    CancelExecutionArgs, CheckAdmissionArgs, CreateBudgetArgs, CreateQuotaPolicyArgs, RateLimit,
    RecordSpendArgs, ReleaseAdmissionArgs, ReleaseBudgetArgs, ReportUsageAdminArgs,
    ResetBudgetArgs, SetFairnessWeightArgs, SetLimitArgs,
};
use ff_core::engine_backend::{EngineBackend as _, Scan};
use ff_core::plan::value::Value;
use ff_core::policy::ExecutionPolicy;
use ff_core::types::{BudgetId, CancelSource, QuotaPolicyId};
use uuid::Uuid;

use super::{
    Before, Handles, INDISTINCT, Model, TICK, World, check_leases, explore, handle_of, id, int, is,
    lane, over, words_of,
};

const LEASE_TICKS: i64 = 2;
const KEY: &str = "tenant/1";
/// The hard limit of the cost, and the part of it that the execution estimates.
const HARD: u64 = 3;
const ESTIMATE: u64 = 2;
const SLOTS: u64 = 1;
const DEPTH: usize = 3;

/// One step of a history. A worker is 0 or 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Tick,
    Claim(usize),
    Complete(usize),
    Fail(usize),
    CancelByOperator,
    /// Of that cost.
    Report(usize, u64),
    ReportByOperator(u64),
    Spend(u64),
    ReleaseBudget,
    Reset,
    /// The budget or the quota anew, as it is.
    Define,
    /// So many at once.
    SetRunning(u32),
    /// One start in two ticks.
    SetRate,
    RemoveLimit,
    SetWeight,
    RemoveWeight,
    CheckAdmission,
    ReleaseAdmission,
    Scan(Scan),
}

fn all_steps() -> Vec<Step> {
    use Step::*;
    let mut steps = vec![Tick, CancelByOperator, ReportByOperator(1), Spend(1), Spend(3)];
    steps.extend([ReleaseBudget, Reset, Define, SetRunning(0), SetRunning(1), SetRate]);
    steps.extend([RemoveLimit, SetWeight, RemoveWeight, CheckAdmission, ReleaseAdmission]);
    for worker in [0, 1] {
        steps.extend([Claim(worker), Complete(worker), Fail(worker), Report(worker, 2)]);
    }
    let scans = [
        self::Scan::LeaseExpiry,
        self::Scan::LimitCellExpiry,
        self::Scan::BudgetReconcile,
        self::Scan::QuotaReconcile,
    ];
    steps.extend(scans.map(Scan));
    steps
}

fn budget() -> BudgetId {
    BudgetId::from_uuid(Uuid::from_u128(0xB))
}

fn quota() -> QuotaPolicyId {
    QuotaPolicyId::from_uuid(Uuid::from_u128(0x4))
}

struct Money;

impl Money {
    async fn define(&self, world: &World) -> Result<(), EngineError> {
        let args = CreateBudgetArgs {
            budget_id: budget(),
            scope_type: "team".into(),
            scope_id: "a".into(),
            enforcement_mode: String::new(),
            on_hard_limit: String::new(),
            on_soft_limit: String::new(),
            reset_interval_ms: 0,
            dimensions: vec!["cost".into()],
            hard_limits: vec![HARD],
            soft_limits: vec![0],
            now: world.now(),
        };
        world.backend.create_budget(args).await?;
        let args = CreateQuotaPolicyArgs {
            quota_policy_id: quota(),
            window_seconds: 60,
            max_requests_per_window: 100,
            max_concurrent: SLOTS,
            now: world.now(),
        };
        world.backend.create_quota_policy(args).await.map(drop)
    }

    /// What workers do.
    async fn work(&self, world: &World, step: Step, held: &mut Handles) -> Result<(), EngineError> {
        let backend = &world.backend;
        match step {
            Step::Claim(worker) => {
                // The process is another one in each state, so it remembers nothing.
                backend.remove_limit("none").await?;
                backend.remove_fairness_weight(&lane(), "none").await?;
                let claimed = world.claim(worker, LEASE_TICKS).await?;
                held[worker] = claimed.or(held[worker].take());
            }
            Step::Complete(worker) => backend.complete(&handle_of(held, worker)?, None).await?,
            Step::Fail(worker) => {
                let (reason, class) = (FailureReason::new("r"), FailureClass::Permanent);
                backend.fail(&handle_of(held, worker)?, reason, class).await.map(drop)?;
            }
            Step::Report(worker, cost) => {
                let mut used = UsageDimensions::new();
                used.custom.insert("cost".into(), cost);
                let handle = handle_of(held, worker)?;
                backend.report_usage(&handle, &budget(), used).await.map(drop)?;
            }
            other => unreachable!("{other:?} is no work"),
        }
        Ok(())
    }

    /// What operators do to the budget and the quota.
    async fn spend(&self, world: &World, step: Step) -> Result<(), EngineError> {
        let (backend, now) = (&world.backend, world.now());
        match step {
            Step::ReportByOperator(cost) => {
                let args = ReportUsageAdminArgs::new(vec!["cost".into()], vec![cost], now);
                backend.report_usage_admin(&budget(), args).await.map(drop)
            }
            Step::Spend(cost) => {
                let amounts = [("cost".to_owned(), cost)].into();
                let args = RecordSpendArgs::new(budget(), id(), amounts, String::new());
                backend.record_spend(args).await.map(drop)
            }
            Step::ReleaseBudget => {
                backend.release_budget(ReleaseBudgetArgs::new(budget(), id())).await.map(drop)
            }
            Step::Reset => {
                let args = ResetBudgetArgs { budget_id: budget(), now };
                backend.reset_budget(args).await.map(drop)
            }
            Step::CheckAdmission => {
                let args = CheckAdmissionArgs {
                    execution_id: id(),
                    now,
                    window_seconds: 60,
                    rate_limit: 100,
                    concurrency_cap: SLOTS,
                    jitter_ms: None,
                };
                backend.check_admission(&quota(), "", args).await.map(drop)
            }
            Step::ReleaseAdmission => {
                let args = ReleaseAdmissionArgs::new(quota(), id());
                backend.release_admission(args).await.map(drop)
            }
            other => unreachable!("{other:?} is about no budget"),
        }
    }
}

impl Model for Money {
    type Step = Step;
    type Held = Handles;

    const TABLES: &[&str] = &[
        "ff_exec_core",
        "ff_attempt",
        "ff_budget_usage",
        "ff_budget_reservation",
        "ff_limit",
        "ff_limit_permit",
        "ff_limit_cell",
        "ff_quota_policy",
    ];

    fn steps(&self) -> Vec<Step> {
        all_steps()
    }

    async fn take(
        &self,
        world: &World,
        step: Step,
        handles: &mut Handles,
    ) -> Result<(), EngineError> {
        let backend = &world.backend;
        let set = SetLimitArgs::new(KEY, "ada");
        match step {
            Step::Tick => world.tick(),
            Step::Claim(_) | Step::Complete(_) | Step::Fail(_) | Step::Report(..) => {
                self.work(world, step, handles).await?;
            }
            Step::CancelByOperator => {
                let args = CancelExecutionArgs {
                    execution_id: id(),
                    reason: "r".into(),
                    source: CancelSource::OperatorOverride,
                    lease_id: None,
                    lease_epoch: None,
                    attempt_id: None,
                    now: world.now(),
                };
                backend.cancel_execution(args).await.map(drop)?;
            }
            Step::Define => self.define(world).await?,
            Step::SetRunning(most) => backend.set_limit(set.with_running(most)).await.map(drop)?,
            Step::SetRate => {
                let rate = RateLimit::new(1, 2 * TICK.unsigned_abs());
                backend.set_limit(set.with_rate(rate)).await.map(drop)?;
            }
            Step::RemoveLimit => backend.remove_limit(KEY).await.map(drop)?,
            Step::SetWeight => {
                let args = SetFairnessWeightArgs::new(lane(), KEY, 3, "ada");
                backend.set_fairness_weight(args).await.map(drop)?;
            }
            Step::RemoveWeight => {
                backend.remove_fairness_weight(&lane(), KEY).await.map(drop)?;
            }
            Step::Scan(scan) => backend.scan(scan, 10).await.map(drop)?,
            Step::ReportByOperator(_)
            | Step::Spend(_)
            | Step::ReleaseBudget
            | Step::Reset
            | Step::CheckAdmission
            | Step::ReleaseAdmission => self.spend(world, step).await?,
        }
        Ok(())
    }

    fn fingerprint(&self, world: &World, held: &Handles) -> String {
        let indistinct: Vec<&str> = INDISTINCT.into_iter().chain(CHANGED).collect();
        let tables = [Self::TABLES, &["ff_budget_usage_by_exec", "ff_fair_weight"]].concat();
        format!("{} {}", world.fingerprint(&tables, &indistinct), words_of(held))
    }

    fn check(&self, world: &World, _: &Before, history: &[Step]) {
        let core = world.core();
        check_leases(&core, &world.attempts(), &history);
        let sum = |table: &str, column: &str| -> i64 {
            world.rows(table).iter().filter_map(|row| int(&row[column])).sum()
        };
        let permits = world.rows("ff_limit_permit").len();
        let most = usize::from(is(&core, "lifecycle_phase", "active"));
        assert!(permits <= most, "{permits} permits: {history:?}");

        let reserved = sum("ff_budget_reservation", "amount");
        let taken = sum("ff_budget_usage", "current_value") + reserved;
        assert!((0..=i64::try_from(HARD).unwrap()).contains(&taken), "{taken}: {history:?}");
        assert!(!over(&core) || reserved == 0, "{reserved} stay reserved: {history:?}");

        let slots = sum("ff_quota_policy", "active_concurrency");
        let holders = world.rows("ff_quota_admitted");
        let holders = holders.iter().filter(|row| row["holds_slot"] == Value::Bool(true)).count();
        assert_eq!(slots, i64::try_from(holders).unwrap(), "{history:?}");
    }

    fn step_to_the_end(&self, world: &World, handles: &Handles) -> Option<Step> {
        let core = world.core();
        let now = world.now().0;
        let lapsed = world
            .attempts()
            .iter()
            .any(|row| int(&row["lease_expires_at_ms"]).is_some_and(|expires| expires <= now));
        let used: i64 =
            world.rows("ff_budget_usage").iter().filter_map(|row| int(&row["current_value"])).sum();
        let has_room = used + i64::try_from(ESTIMATE).unwrap() <= i64::try_from(HARD).unwrap();
        let is_closed = |row: &super::Rows| int(&row["max_running"]) == Some(0);
        if over(&core) {
            return None;
        }

        Some(match is(&core, "lifecycle_phase", "active") {
            true if handles[0].is_some() => Step::Complete(0),
            true if lapsed => Step::Scan(Scan::LeaseExpiry),
            true => Step::Tick,
            false if world.rows("ff_limit").iter().any(is_closed) => Step::RemoveLimit,
            false if !has_room => Step::Reset,
            false if !world.rows("ff_limit_cell").is_empty() => match world
                .rows("ff_limit_cell")
                .iter()
                .all(|row| int(&row["expires_at_ms"]).is_some_and(|expires| expires <= now))
            {
                true => Step::Scan(Scan::LimitCellExpiry),
                false => Step::Tick,
            },
            false => Step::Claim(0),
        })
    }
}

/// The columns that count changes, or say when one was made.
const CHANGED: [&str; 6] =
    ["updated_at_ms", "set_at_ms", "taken_at_ms", "created_at_ms", "last_breach_at_ms", "set_by"];

fn policy() -> ExecutionPolicy {
    ExecutionPolicy {
        budget_ids: vec![budget()],
        budget_estimate: [("cost".to_owned(), ESTIMATE)].into(),
        limit_keys: vec![KEY.into()],
        fairness_key: Some(KEY.into()),
        ..ExecutionPolicy::default()
    }
}

#[tokio::test]
async fn whatever_is_done_to_budgets_and_limits_nothing_stays_held() {
    let world = World::with_policy(Some(policy())).await;
    Money.define(&world).await.unwrap();
    let met = explore(&mut Money, &world, Handles::default(), DEPTH).await;
    assert!(met.by_depth.iter().all(|states| 0 < *states), "{met:?}");
    assert!((1..=12).contains(&met.longest), "{met:?}");
}
