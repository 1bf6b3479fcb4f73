//! The situations in which budgets and quotas are sampled.

use ff_core::backend::UsageDimensions;
use ff_core::contracts::{
    CheckAdmissionArgs, ClaimForWorkerArgs, CreateBudgetArgs, CreateQuotaPolicyArgs,
    RecordSpendArgs, ReleaseAdmissionArgs, ReleaseBudgetArgs, ReportUsageAdminArgs,
    ResetBudgetArgs,
};
use ff_core::engine::run;
use ff_core::engine_backend::{EngineBackend, Scan};
use ff_core::partition::{Partition, PartitionConfig, budget_partition, quota_partition};
use ff_core::plan::value::Value;
use ff_core::policy::ExecutionPolicy;
use ff_core::rules::budget::dedup::Dedup;
use ff_core::rules::budget::key::BudgetKey;
use ff_core::rules::budget::reconcile::ReconcileBudget;
use ff_core::rules::execution::unique::KeyRow;
use ff_core::rules::limit::cell::Cell;
use ff_core::rules::limit::key::LimitKey;
use ff_core::rules::quota::key::QuotaKey;
use ff_core::rules::quota::lapse::{Lapse, LeaveWindow};
use ff_core::rules::quota::reconcile::ReconcileQuota;
use ff_core::rules::scan::DueRow;
use ff_core::schema::budget::{budget_usage, quota_admitted, quota_policy};
use ff_core::types::{
    BudgetId, ExecutionId, QuotaPolicyId, TimestampMs, WorkerId, WorkerInstanceId,
};
use uuid::Uuid;

use super::fixtures::{capabilities, flow, lane, worker};
use super::stage::{NOON, Scene, now};

const HOUR_MS: u64 = 3_600_000;

/// A row of a budget or a quota that a scan passed over.
pub(super) fn stuck_row(scan: Scan) -> DueRow {
    let id = Uuid::from_u128(5).to_string();
    let policy = QuotaKey { partition: 7, id: id.clone() };
    let execution = execution().to_string();

    match scan {
        Scan::UsageKeyExpiry => DueRow::UsageKey(Dedup { partition: 7, key: format!("{id}:a") }),
        Scan::IdempotencyKeyExpiry => {
            DueRow::IdempotencyKey(KeyRow { partition: 7, digest: "0a".into() })
        }
        Scan::LimitCellExpiry => {
            let key = LimitKey { partition: 7, text: "tenant/42".into() };
            let (rate, expires_at) = ("10/1000".into(), TimestampMs(NOON));
            DueRow::LimitCell(Cell { key, rate, number: 1, expires_at })
        }
        Scan::AdmissionExpiry => DueRow::Admission(Lapse { policy, execution, at: None }),
        Scan::QuotaWindowExpiry => {
            let (dimension, admitted_at_ms) = (String::new(), NOON);
            DueRow::Window(LeaveWindow { policy, dimension, admitted_at_ms, execution })
        }
        Scan::QuotaReconcile => DueRow::Quota(policy),
        Scan::BudgetReset
        | Scan::BudgetReconcile
        | Scan::LeaseExpiry
        | Scan::AttemptTimeout
        | Scan::ExecutionDeadline
        | Scan::DelayedPromotion
        | Scan::DependencyDispatch
        | Scan::SiblingCancel
        | Scan::SuspensionTimeout
        | Scan::WaitpointExpiry
        | Scan::GrantExpiry
        | Scan::WorkerTtl
        | Scan::Schedules
        | Scan::CountFold => DueRow::Budget(BudgetKey { partition: 7, id }),
    }
}

fn execution() -> ExecutionId {
    ExecutionId::from_parts(7, Uuid::from_u128(0xE1))
}

pub(super) fn budget(number: u128) -> BudgetId {
    BudgetId::from_uuid(Uuid::from_u128(0xB0 + number))
}

fn quota(number: u128) -> QuotaPolicyId {
    QuotaPolicyId::from_uuid(Uuid::from_u128(0x40 + number))
}

fn admitted(number: u128) -> ExecutionId {
    ExecutionId::from_parts(7, Uuid::from_u128(0xE0 + number))
}

/// An admission of a policy that does not exist.
fn orphan(execution: u128, partition: u16) -> Vec<(&'static str, Value)> {
    vec![
        ("partition_key", Value::Int(i64::from(partition))),
        ("quota_policy_id", Value::Text(quota(3).to_string())),
        ("execution_id", Value::Text(admitted(execution).to_string())),
        ("admitted_at_ms", Value::Int(NOON)),
        ("expires_at_ms", Value::Int(NOON)),
    ]
}

fn of_budget(id: &BudgetId) -> Partition {
    budget_partition(id, &PartitionConfig::default())
}

fn key_partition(of: Partition) -> i16 {
    i16::try_from(of.index).unwrap_or_default()
}

fn of_quota(id: &QuotaPolicyId) -> Partition {
    quota_partition(id, &PartitionConfig::default())
}

fn used(amount: u64) -> UsageDimensions {
    let mut used = UsageDimensions::new();
    used.custom.insert("cost".into(), amount);
    used
}

impl Scene {
    pub(super) fn budget_args(&self, budget_id: BudgetId) -> CreateBudgetArgs {
        CreateBudgetArgs {
            budget_id,
            scope_type: "tenant".into(),
            scope_id: "tenant-a".into(),
            enforcement_mode: "strict".into(),
            on_hard_limit: "fail".into(),
            on_soft_limit: "warn".into(),
            reset_interval_ms: HOUR_MS,
            dimensions: vec!["cost".into(), "tokens".into()],
            hard_limits: vec![100, 0],
            soft_limits: vec![50, 0],
            now: self.at(),
        }
    }

    pub(super) fn budgets(&mut self) {
        let Some((_, handle)) = self.held(None) else { return };
        let (known, unknown) = (budget(1), budget(2));

        self.sample("report_usage", "the first of an unknown budget", async |b| {
            b.report_usage(&handle, &unknown, used(1)).await
        });
        self.sample("report_usage", "the first of an unknown budget, with a key", async |b| {
            b.report_usage(&handle, &budget(3), used(1).with_dedup_key("a")).await
        });
        let args = self.budget_args(unknown.clone());
        self.sample("create_budget", "reported to before", async |b| b.create_budget(args).await);
        let args = self.budget_args(known.clone());
        self.sample("create_budget", "new", async |b| b.create_budget(args).await);

        self.sample("report_usage", "again", async |b| {
            b.report_usage(&handle, &known, used(1)).await
        });
        let at = self.at();
        let report = |amount| ReportUsageAdminArgs::new(vec!["cost".into()], vec![amount], at);
        self.sample("report_usage_admin", "first", async |b| {
            b.report_usage_admin(&budget(6), report(1)).await
        });
        self.sample("report_usage_admin", "first, with a key", async |b| {
            b.report_usage_admin(&budget(7), report(1).with_dedup_key("a".into())).await
        });
        self.sample("report_usage_admin", "again, with a key", async |b| {
            b.report_usage_admin(&known, report(60).with_dedup_key("a".into())).await
        });
        for (case, amount) in [("again", 1), ("beyond a hard limit", 1_000)] {
            self.sample("report_usage_admin", case, async |b| {
                b.report_usage_admin(&known, report(amount)).await
            });
        }
        self.sample("report_usage", "beyond a hard limit, with a key", async |b| {
            b.report_usage(&handle, &known, used(1_000).with_dedup_key("b")).await
        });
        self.sample("report_usage_admin", "beyond a hard limit, with a key", async |b| {
            b.report_usage_admin(&known, report(1_000).with_dedup_key("c".into())).await
        });
        self.sample("report_usage", "beyond a hard limit", async |b| {
            b.report_usage(&handle, &known, used(1_000)).await
        });
        self.spending(&known);

        self.sample("get_budget_status", "known", async |b| b.get_budget_status(&known).await);
        for (case, after) in [("all", None), ("after one", Some(known.clone()))] {
            self.sample("list_budgets", case, async |b| b.list_budgets(after, 10).await);
        }
        self.sample("read_budget_usage_and_limits", "known", async |b| {
            b.read_budget_usage_and_limits(&known).await
        });
        let reset = ResetBudgetArgs { budget_id: known.clone(), now: self.at() };
        self.sample("reset_budget", "by hand", async |b| b.reset_budget(reset).await);
        self.budget_scans(&known);
    }

    /// Executions with budgets: submitted, alone and into a flow, and claimed.
    pub(super) fn budgeted(&mut self) {
        let policy = || ExecutionPolicy {
            budget_ids: vec![budget(1), budget(2)],
            ..ExecutionPolicy::default()
        };
        self.sample("claim", "short, in a process that has seen no budgets", async |b| {
            b.claim(&lane(), &capabilities(), worker()).await
        });

        for is_late in [false, true] {
            for is_tagged in [true, false] {
                self.budgeted_submission(policy(), is_late, is_tagged);
            }
        }
        self.submit(|args| args.policy = Some(policy()));
        let args = self.budget_args(budget(1));
        let _ = now(self.backend.create_budget(args));
        self.sample("has_claimable", "with budgets", async |b| {
            b.has_claimable(&lane(), &capabilities()).await
        });
        self.sample("claim", "with budgets", async |b| {
            b.claim(&lane(), &capabilities(), worker()).await
        });
        self.budgeted_grant(policy());
        self.budgeted_members(policy());
    }

    fn budgeted_submission(&mut self, policy: ExecutionPolicy, is_late: bool, is_tagged: bool) {
        let mut args = self.args();
        args.policy = Some(policy);
        args.delay_until = is_late.then_some(TimestampMs(NOON + 9));
        if !is_tagged {
            args.tags.clear();
        }
        let late = if is_late { ", put off" } else { "" };
        let tag = if is_tagged { "" } else { ", without an instance tag" };
        let case = format!("with budgets{late}{tag}");
        self.sample("create_execution", case, async |b| b.create_execution(args).await);
    }

    /// A scheduler grants an execution with budgets.
    fn budgeted_grant(&mut self, policy: ExecutionPolicy) {
        self.submit(|args| args.policy = Some(policy));
        let (pool, instance) = (WorkerId::new("renderer"), WorkerInstanceId::new("renderer-1"));
        let offered = capabilities().tokens.into_iter().collect();
        let args = ClaimForWorkerArgs::new(lane(), pool, instance, offered, 1_000);
        self.sample("claim_for_worker", "with budgets", async |b| b.claim_for_worker(args).await);
    }

    /// New members of a flow, on its partition.
    fn budgeted_members(&mut self, policy: ExecutionPolicy) {
        let created = self.flow_args(flow());
        let _ = now(self.backend.create_flow(created));
        let mut args = self.args();
        args.execution_id = self.in_flow(&flow());
        args.policy = Some(policy);
        self.sample("create_flow_members", "with budgets", async |b| {
            b.create_flow_members(&flow(), vec![args]).await
        });
    }

    fn spending(&mut self, known: &BudgetId) {
        let spend = |id: &BudgetId, amount, key: &str| {
            let deltas = [("cost".to_owned(), amount)].into();
            RecordSpendArgs::new(id.clone(), execution(), deltas, key)
        };
        for (case, id, amount, key) in [
            ("the first of an unknown budget", budget(4), 2, ""),
            ("the first of an unknown budget, with a key", budget(5), 2, "s1"),
            ("again", known.clone(), 2, ""),
            ("again, with a key", known.clone(), 3, "s2"),
            ("beyond a hard limit", known.clone(), 1_000, ""),
            ("beyond a hard limit, with a key", known.clone(), 1_000, "s3"),
        ] {
            self.sample("record_spend", case, async |b| {
                b.record_spend(spend(&id, amount, key)).await
            });
        }

        for (case, id) in [("spent", known.clone()), ("nothing spent", budget(9))] {
            let args = ReleaseBudgetArgs::new(id, execution());
            self.sample("release_budget", case, async |b| b.release_budget(args).await);
        }
        let _ = now(self.backend.record_spend(spend(known, 4, "")));
    }

    fn budget_scans(&mut self, known: &BudgetId) {
        self.pass(i64::try_from(HOUR_MS).unwrap_or(0));
        self.sample("scan", "budget reset", async |b| b.scan(Scan::BudgetReset, 100).await);
        self.pass(24 * i64::try_from(HOUR_MS).unwrap_or(0));
        self.sample("scan", "usage key expiry", async |b| b.scan(Scan::UsageKeyExpiry, 100).await);

        let key = vec![
            ("partition_key", Value::Int(i64::from(of_budget(known).index))),
            ("budget_id", Value::Text(known.to_string())),
            ("dimensions_key", Value::Text("tokens".into())),
            ("current_value", Value::Int(-1)),
            ("updated_at_ms", Value::Int(NOON)),
        ];
        let _ = self.memory.insert_row(budget_usage::TABLE.name, key);
        // Not by a scan, which logs what has drifted.
        let (partition, id) = (key_partition(of_budget(known)), known.to_string());
        let reconcile = ReconcileBudget { key: BudgetKey { partition, id } };
        self.sample("reconcile_budget_counters", "a total that has drifted", async |b| {
            run(b, &reconcile).await
        });
        self.sample("scan", "budget reconcile", async |b| b.scan(Scan::BudgetReconcile, 100).await);
        let at = self.at();
        self.sample("reconcile_budget_counters", "nothing has drifted", async |b| {
            b.reconcile_budget_counters(of_budget(known), at).await
        });
    }

    fn admission(&self, number: u128, cap: u64) -> CheckAdmissionArgs {
        CheckAdmissionArgs {
            execution_id: admitted(number),
            now: self.at(),
            window_seconds: 60,
            rate_limit: 10,
            concurrency_cap: cap,
            jitter_ms: None,
        }
    }

    pub(super) fn quotas(&mut self) {
        let (known, unknown) = (quota(1), quota(2));
        let args = self.admission(1, 1);
        self.sample("check_admission", "the first of an unknown policy", async |b| {
            b.check_admission(&unknown, "", args).await
        });
        for (case, id) in [("admitted before", unknown.clone()), ("new", known.clone())] {
            let args = CreateQuotaPolicyArgs {
                quota_policy_id: id,
                window_seconds: 60,
                max_requests_per_window: 10,
                max_concurrent: 1,
                now: self.at(),
            };
            self.sample("create_quota_policy", case, async |b| b.create_quota_policy(args).await);
        }

        let args = self.admission(1, 1);
        self.sample("check_admission", "admitted", async |b| {
            b.check_admission(&known, "", args).await
        });
        self.sample("read_quota_policy_limits", "known", async |b| {
            b.read_quota_policy_limits(&known).await
        });
        let args = ReleaseAdmissionArgs::new(known.clone(), admitted(1));
        self.sample("release_admission", "admitted", async |b| b.release_admission(args).await);
        self.quotas_that_lapse(&known);
    }

    fn quotas_that_lapse(&mut self, known: &QuotaPolicyId) {
        let args = self.admission(2, 1);
        let _ = now(self.backend.check_admission(known, "", args));
        self.pass(60_000);
        let args = self.admission(3, 1);
        self.sample(
            "check_admission",
            "every slot is held by an admission that is over",
            async |b| b.check_admission(known, "", args).await,
        );

        // Admissions of a policy that was removed by hand.
        let _ = self.memory.insert_row(quota_admitted::TABLE.name, orphan(8, 3));
        self.pass(60_001);
        self.sample("scan", "admission expiry", async |b| b.scan(Scan::AdmissionExpiry, 100).await);
        self.sample("scan", "quota window expiry", async |b| {
            b.scan(Scan::QuotaWindowExpiry, 100).await
        });

        let home = of_quota(&quota(3)).index;
        let _ = self.memory.insert_row(quota_admitted::TABLE.name, orphan(9, home));
        let args = ReleaseAdmissionArgs::new(quota(3), admitted(9));
        self.sample("release_admission", "of no policy", async |b| b.release_admission(args).await);

        let key = vec![
            ("partition_key", Value::Int(i64::from(of_quota(known).index))),
            ("quota_policy_id", Value::Text(quota(4).to_string())),
            ("requests_per_window_seconds", Value::Int(60)),
            ("max_requests_per_window", Value::Int(1)),
            ("active_concurrency_cap", Value::Int(1)),
            ("active_concurrency", Value::Int(3)),
            ("created_at_ms", Value::Int(NOON)),
            ("updated_at_ms", Value::Int(NOON)),
        ];
        let _ = self.memory.insert_row(quota_policy::TABLE.name, key);
        let (partition, id) = (key_partition(of_quota(known)), quota(4).to_string());
        let reconcile = ReconcileQuota { key: QuotaKey { partition, id } };
        self.sample("reconcile_quota_counters", "slots that have drifted", async |b| {
            run(b, &reconcile).await
        });
        self.sample("scan", "quota reconcile", async |b| b.scan(Scan::QuotaReconcile, 100).await);
        let at = self.at();
        self.sample("reconcile_quota_counters", "nothing has drifted", async |b| {
            b.reconcile_quota_counters(of_quota(known), at).await
        });
    }
}
