//! Budgets and quotas: every operation on every stored state, as one reviewed page.

use ff_core::contracts::{
    CheckAdmissionArgs, CreateBudgetArgs, CreateQuotaPolicyArgs, RecordSpendArgs,
    ReleaseAdmissionArgs, ReleaseBudgetArgs, ReportUsageAdminArgs, ResetBudgetArgs,
};
use ff_core::partition::{PartitionConfig, budget_partition, quota_partition};
use ff_core::rules::budget::create::CreateBudget;
use ff_core::rules::budget::dedup::{Dedup, ForgetKey};
use ff_core::rules::budget::key::BudgetKey;
use ff_core::rules::budget::reconcile::ReconcileBudget;
use ff_core::rules::budget::release::ReleaseBudget;
use ff_core::rules::budget::report::Report;
use ff_core::rules::budget::reset::{ResetBudget, ResetIfDue};
use ff_core::rules::quota::admission::{CheckAdmission, ReleaseAdmission};
use ff_core::rules::quota::key::QuotaKey;
use ff_core::rules::quota::lapse::{Lapse, LeaveWindow};
use ff_core::rules::quota::policy::CreatePolicy;
use ff_core::rules::quota::reconcile::ReconcileQuota;
use ff_core::schema::budget::{
    budget_policy, budget_usage, budget_usage_by_exec, budget_usage_dedup, quota_admitted,
    quota_policy, quota_window,
};
use ff_core::types::{BudgetId, QuotaPolicyId, TimestampMs};
use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::page::{self, Situation, Word, operation, pages};
use crate::stored::{RowOf, Stored, blank};
use crate::{NOW, id, key};

/// The period that a budget is in.
const PERIOD: i64 = 2;
/// The length of a window, seconds.
const WINDOW: u64 = 60;
const WINDOW_MS: i64 = 60_000;

fn budget() -> BudgetId {
    BudgetId::from_uuid(Uuid::from_u128(0xB))
}

fn budget_key() -> BudgetKey {
    let partition = budget_partition(&budget(), &PartitionConfig::default()).index;
    BudgetKey { partition: i16::try_from(partition).unwrap(), id: budget().to_string() }
}

fn head(policy: Json) -> RowOf {
    blank()
        .with(budget_policy::partition_key, budget_key().partition)
        .with(budget_policy::budget_id, budget_key().id)
        .with(budget_policy::policy_json, policy)
        .with(budget_policy::created_at_ms, 1)
        .with(budget_policy::updated_at_ms, 1)
        .with(budget_policy::breach_count, 0)
        .with(budget_policy::soft_breach_count, 0)
        .with(budget_policy::last_breach_at_ms, None)
        .with(budget_policy::last_breach_dim, None)
        .with(budget_policy::next_reset_at_ms, None)
        .with(budget_policy::version, 4)
        .with(budget_policy::period, PERIOD)
        .with(budget_policy::is_defined, true)
}

fn heads() -> Vec<Situation> {
    let limits = json!({ "hard_limits": { "cost": 10 }, "soft_limits": { "cost": 5 } });
    let periodic = json!({ "hard_limits": { "cost": 10 }, "reset_interval_ms": 1_000 });
    let older = json!({ "hard_limit": 10, "dimension": "cost" });
    let due = |at| head(periodic.clone()).with(budget_policy::next_reset_at_ms, Some(at));
    vec![
        ("absent", vec![]),
        ("undefined", vec![head(json!({})).with(budget_policy::is_defined, false)]),
        ("unlimited", vec![head(json!({ "hard_limits": { "cost": 0 } }))]),
        ("limited", vec![head(limits)]),
        ("older", vec![head(older)]),
        ("due", vec![due(NOW)]),
        ("not-due", vec![due(NOW + 1)]),
    ]
}

fn totals() -> Vec<Situation> {
    let total = |amount| {
        let row = blank()
            .with(budget_usage::partition_key, budget_key().partition)
            .with(budget_usage::budget_id, budget_key().id)
            .with(budget_usage::dimensions_key, "cost".into())
            .with(budget_usage::current_value, amount)
            .with(budget_usage::overdraft, 0)
            .with(budget_usage::last_reset_at_ms, None)
            .with(budget_usage::updated_at_ms, 1);
        vec![row]
    };
    vec![
        ("none", vec![]),
        ("-1", total(-1)),
        ("3", total(3)),
        ("8", total(8)),
        ("10", total(10)),
        ("most", total(i64::MAX)),
    ]
}

fn contributions() -> Vec<Situation> {
    let of = |period| {
        let row = blank()
            .with(budget_usage_by_exec::partition_key, budget_key().partition)
            .with(budget_usage_by_exec::budget_id, budget_key().id)
            .with(budget_usage_by_exec::execution_id, key().uuid)
            .with(budget_usage_by_exec::dimensions_key, "cost".into())
            .with(budget_usage_by_exec::delta_total, 4)
            .with(budget_usage_by_exec::updated_at_ms, 1)
            .with(budget_usage_by_exec::period, period);
        vec![row]
    };
    vec![("none", vec![]), ("now", of(PERIOD)), ("earlier", of(PERIOD - 1))]
}

fn dedup() -> Dedup {
    Dedup::new(&budget_key(), "k").unwrap()
}

fn keys() -> Vec<Situation> {
    let key = |outcome: Json, expires| {
        let row = blank()
            .with(budget_usage_dedup::partition_key, budget_key().partition)
            .with(budget_usage_dedup::dedup_key, dedup().key)
            .with(budget_usage_dedup::outcome_json, outcome)
            .with(budget_usage_dedup::applied_at_ms, 1)
            .with(budget_usage_dedup::expires_at_ms, expires);
        vec![row]
    };
    let ok = || json!({ "kind": "Ok" });
    vec![
        ("new", vec![]),
        ("known", key(ok(), NOW + 1)),
        ("under-way", key(json!({}), NOW + 1)),
        ("unreadable", key(json!({ "kind": "?" }), NOW + 1)),
        ("expired", key(ok(), NOW)),
    ]
}

fn report(amount: u64, dedup: Option<&str>) -> Report {
    let mut args = ReportUsageAdminArgs::new(vec!["cost".into()], vec![amount], TimestampMs(NOW));
    args.dedup_key = dedup.map(str::to_owned);
    Report::of_operator(&budget(), args, &PartitionConfig::default()).unwrap()
}

fn spend(dedup: &str) -> Report {
    let args = RecordSpendArgs::new(budget(), id(), [("cost".to_owned(), 2)].into(), dedup);
    Report::of_execution(args, &PartitionConfig::default()).unwrap()
}

fn creation() -> CreateBudget {
    let args = CreateBudgetArgs {
        budget_id: budget(),
        scope_type: String::new(),
        scope_id: String::new(),
        enforcement_mode: String::new(),
        on_hard_limit: String::new(),
        on_soft_limit: String::new(),
        reset_interval_ms: 0,
        dimensions: vec!["cost".into()],
        hard_limits: vec![10],
        soft_limits: vec![5],
        now: TimestampMs(NOW),
    };
    CreateBudget::new(args, &PartitionConfig::default()).unwrap()
}

#[test]
fn every_operation_on_every_budget() {
    let partitions = PartitionConfig::default();
    let (budget_id, now) = (budget(), TimestampMs(NOW));
    let reset = ResetBudget::new(&ResetBudgetArgs { budget_id, now }, &partitions).unwrap();
    let release = ReleaseBudget::new(&ReleaseBudgetArgs::new(budget(), id()), &partitions).unwrap();
    let operations = vec![
        ("create_budget", operation(creation())),
        ("report_usage of 2", operation(report(2, None))),
        ("report_usage of 2, with a key", operation(report(2, Some("k")))),
        ("report_usage of nothing", operation(report(0, None))),
        ("record_spend of 2", operation(spend(""))),
        ("record_spend of 2, with a key", operation(spend("k"))),
        ("release_budget", operation(release)),
        ("reset_budget", operation(reset)),
        ("scan of resets", operation(ResetIfDue { key: budget_key() })),
        ("scan of keys", operation(ForgetKey { key: dedup() })),
        ("reconcile_budget_counters", operation(ReconcileBudget { key: budget_key() })),
    ];
    let situations = [
        ("key", keys()),
        ("budget", heads()),
        ("total", totals()),
        ("contribution", contributions()),
    ];
    page::assert_reviewed("budget_table", &pages(&situations, operations));
}

fn quota() -> QuotaPolicyId {
    QuotaPolicyId::from_uuid(Uuid::from_u128(0xA))
}

fn quota_key() -> QuotaKey {
    let partition = quota_partition(&quota(), &PartitionConfig::default()).index;
    QuotaKey { partition: i16::try_from(partition).unwrap(), id: quota().to_string() }
}

fn policies() -> Vec<Situation> {
    let policy = |defined, in_use| {
        let row = blank()
            .with(quota_policy::partition_key, quota_key().partition)
            .with(quota_policy::quota_policy_id, quota_key().id)
            .with(quota_policy::requests_per_window_seconds, 1)
            .with(quota_policy::max_requests_per_window, 1)
            .with(quota_policy::active_concurrency_cap, 1)
            .with(quota_policy::active_concurrency, in_use)
            .with(quota_policy::created_at_ms, 1)
            .with(quota_policy::updated_at_ms, 1)
            .with(quota_policy::version, 4)
            .with(quota_policy::is_defined, defined);
        vec![row]
    };
    vec![
        ("absent", vec![]),
        ("undefined", policy(false, 0)),
        ("idle", policy(true, 0)),
        ("one", policy(true, 1)),
        ("two", policy(true, 2)),
    ]
}

fn admission(execution: String, expires: i64, holds_slot: bool) -> RowOf {
    blank()
        .with(quota_admitted::partition_key, quota_key().partition)
        .with(quota_admitted::quota_policy_id, quota_key().id)
        .with(quota_admitted::execution_id, execution)
        .with(quota_admitted::admitted_at_ms, expires - WINDOW_MS)
        .with(quota_admitted::expires_at_ms, expires)
        .with(quota_admitted::holds_slot, holds_slot)
}

fn admissions() -> Vec<Situation> {
    let own = |expires, slot| vec![admission(id().to_string(), expires, slot)];
    vec![
        ("none", vec![]),
        ("live", own(NOW + 1, true)),
        ("live-without-slot", own(NOW + 1, false)),
        ("over", own(NOW, true)),
        ("over-without-slot", own(NOW, false)),
    ]
}

fn others() -> Vec<Situation> {
    let other = |expires| vec![admission("{fp:7}:other".into(), expires, true)];
    vec![("none", vec![]), ("live", other(NOW + 1)), ("over", other(NOW))]
}

/// Admissions in the window, at these times.
fn windows() -> Vec<Situation> {
    let at = |times: &[i64]| {
        let row = |at: &i64| {
            blank()
                .with(quota_window::partition_key, quota_key().partition)
                .with(quota_window::quota_policy_id, quota_key().id)
                .with(quota_window::dimension, String::new())
                .with(quota_window::admitted_at_ms, *at)
                .with(quota_window::execution_id, "{fp:7}:other".into())
                .with(quota_window::expires_at_ms, Some(at + WINDOW_MS + 1))
        };
        times.iter().map(row).collect()
    };
    vec![
        ("empty", at(&[])),
        ("one", at(&[NOW - 1])),
        ("full", at(&[NOW - WINDOW_MS, NOW - 1])),
        ("one-left", at(&[NOW - WINDOW_MS - 1, NOW - 1])),
    ]
}

fn check(rate_limit: u64, concurrency_cap: u64) -> CheckAdmission {
    let args = CheckAdmissionArgs {
        execution_id: id(),
        now: TimestampMs(NOW),
        window_seconds: WINDOW,
        rate_limit,
        concurrency_cap,
        jitter_ms: None,
    };
    CheckAdmission::new(&quota(), "", &args, &PartitionConfig::default()).unwrap()
}

#[test]
fn every_operation_on_every_quota() {
    let partitions = PartitionConfig::default();
    let policy = CreateQuotaPolicyArgs {
        quota_policy_id: quota(),
        window_seconds: WINDOW,
        max_requests_per_window: 2,
        max_concurrent: 2,
        now: TimestampMs(NOW),
    };
    let release = ReleaseAdmissionArgs::new(quota(), id());
    let leave = LeaveWindow {
        policy: quota_key(),
        dimension: String::new(),
        admitted_at_ms: NOW - WINDOW_MS - 1,
        execution: "{fp:7}:other".into(),
    };
    let lapse = Lapse { policy: quota_key(), execution: id().to_string(), at: None };
    let operations = vec![
        ("create_quota_policy", operation(CreatePolicy::new(policy, &partitions).unwrap())),
        ("check_admission, two of each", operation(check(2, 2))),
        ("check_admission, two per window", operation(check(2, 0))),
        ("check_admission, two at once", operation(check(0, 2))),
        ("check_admission, without limits", operation(check(0, 0))),
        ("release_admission", operation(ReleaseAdmission::new(&release, &partitions).unwrap())),
        ("scan of admissions", operation(lapse)),
        ("scan of windows", operation(leave)),
        ("reconcile_quota_counters", operation(ReconcileQuota { key: quota_key() })),
    ];
    let situations = [
        ("policy", policies()),
        ("own-admission", admissions()),
        ("another's", others()),
        ("window", windows()),
    ];
    page::assert_reviewed("quota_table", &pages(&situations, operations));
}

#[test]
fn a_report_is_refused_in_order() {
    let word = |operation: &Word, rows: &[&Vec<RowOf>]| {
        operation(&rows.iter().flat_map(|rows| rows.iter()).fold(Stored::nothing(), Stored::with))
    };
    let (heads, totals, keys) = (heads(), totals(), keys());
    let (limited, unlimited) = (&heads[3].1, &heads[2].1);
    let (eight, most) = (&totals[3].1, &totals[5].1);
    let again = operation(report(3, Some("k")));
    assert!(word(&again, &[limited, eight, &keys[3].1]).contains("Corruption"));
    let counted = word(&again, &[limited, eight, &keys[1].1]);
    assert_eq!(counted, "answer Reported { result: Ok, over_run: None }", "it counted before");
    assert!(word(&again, &[limited, eight]).contains("result: HardBreach"));
    assert!(word(&operation(report(2, None)), &[limited, eight]).contains("result: SoftBreach"));
    assert!(word(&again, &[unlimited, most]).contains("the total would exceed"));
}

#[test]
fn an_admission_is_refused_in_order() {
    let word = |own: usize, window: usize, policy: usize| {
        let rows =
            [&admissions()[own].1, &windows()[window].1, &policies()[policy].1].map(Vec::clone);
        let stored = rows.iter().flatten().fold(Stored::nothing(), Stored::with);
        operation(check(2, 2))(&stored)
    };
    assert!(word(1, 2, 4).contains("AlreadyAdmitted"));
    assert!(word(0, 2, 4).contains("RateExceeded"));
    assert!(word(0, 1, 4).contains("ConcurrencyExceeded"));
    assert!(word(0, 1, 3).contains("Admitted"));
}
