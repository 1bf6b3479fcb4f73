//! Quotas: the window, the slots, admissions that lapse and are released.

use CheckAdmissionResult::{Admitted, AlreadyAdmitted, ConcurrencyExceeded, RateExceeded};
use ff_core::EngineError;
use ff_core::contracts::{
    CheckAdmissionArgs, CheckAdmissionResult, CreateQuotaPolicyArgs, CreateQuotaPolicyResult,
    QuotaPolicyLimits, ReleaseAdmissionArgs, ReleaseAdmissionResult,
};
use ff_core::engine_backend::Scan;
use ff_core::partition::{PartitionConfig, quota_partition};
use ff_core::types::{ExecutionId, QuotaPolicyId};

use crate::backends::{Bench, START, conformance};
use crate::bench::{assert_refused, id};
use crate::conformance::retention::{AGE, old};
use crate::plain::{Cells, int, text};

fn policy_args(bench: &Bench, id: &QuotaPolicyId) -> CreateQuotaPolicyArgs {
    CreateQuotaPolicyArgs {
        quota_policy_id: id.clone(),
        window_seconds: 60,
        max_requests_per_window: 3,
        max_concurrent: 2,
        now: bench.clock.now(),
    }
}

/// Three admissions in a minute, two at once.
fn admission(bench: &Bench, execution: &ExecutionId) -> CheckAdmissionArgs {
    CheckAdmissionArgs {
        execution_id: execution.clone(),
        now: bench.clock.now(),
        window_seconds: 60,
        rate_limit: 3,
        concurrency_cap: 2,
        jitter_ms: None,
    }
}

async fn checked(
    bench: &Bench,
    policy: &QuotaPolicyId,
    args: CheckAdmissionArgs,
) -> Result<CheckAdmissionResult, EngineError> {
    bench.backend.check_admission(policy, "", args).await
}

async fn check(
    bench: &Bench,
    policy: &QuotaPolicyId,
    execution: &ExecutionId,
) -> CheckAdmissionResult {
    checked(bench, policy, admission(bench, execution)).await.unwrap()
}

async fn release(bench: &Bench, policy: &QuotaPolicyId, execution: &ExecutionId) {
    let args = ReleaseAdmissionArgs::new(policy.clone(), execution.clone());
    let released = bench.backend.release_admission(args).await.unwrap();
    assert_eq!(released, ReleaseAdmissionResult::Released);
}

async fn limits(bench: &Bench, policy: &QuotaPolicyId) -> Option<QuotaPolicyLimits> {
    bench.backend.read_quota_policy_limits(policy).await.unwrap()
}

async fn rows(bench: &Bench, table: &str, policy: &QuotaPolicyId) -> Vec<Cells> {
    let rows = bench.plain.rows(table).await;
    rows.into_iter().filter(|row| row.text("quota_policy_id") == policy.to_string()).collect()
}

async fn in_use(bench: &Bench, policy: &QuotaPolicyId) -> i64 {
    let rows = rows(bench, "ff_quota_policy", policy).await;
    rows.first().map_or(0, |row| row.int("active_concurrency").unwrap())
}

fn home(policy: &QuotaPolicyId) -> i64 {
    i64::from(quota_partition(policy, &PartitionConfig::default()).index)
}

async fn insert_policy(bench: &Bench, policy: &QuotaPolicyId, partition: i64, in_use: i64) {
    let row = vec![
        ("partition_key", int(partition)),
        ("quota_policy_id", text(&policy.to_string())),
        ("requests_per_window_seconds", int(60)),
        ("max_requests_per_window", int(3)),
        ("active_concurrency_cap", int(2)),
        ("active_concurrency", int(in_use)),
        ("created_at_ms", int(START)),
        ("updated_at_ms", int(START)),
    ];
    bench.plain.insert("ff_quota_policy", row).await;
}

conformance! {
    async fn a_policy_is_defined_once(bench) {
        let id = QuotaPolicyId::new();
        assert_eq!(limits(&bench, &id).await, None);
        let created = bench.backend.create_quota_policy(policy_args(&bench, &id)).await.unwrap();
        assert_eq!(created, CreateQuotaPolicyResult::Created { quota_policy_id: id.clone() });
        let other = CreateQuotaPolicyArgs { max_concurrent: 9, ..policy_args(&bench, &id) };
        let again = bench.backend.create_quota_policy(other).await.unwrap();
        assert_eq!(again, CreateQuotaPolicyResult::AlreadySatisfied { quota_policy_id: id.clone() });
        assert_eq!(limits(&bench, &id).await, Some(QuotaPolicyLimits::new(3, 60, 2, 0)));
    }

    async fn a_policy_is_defined_after_its_first_admission(bench) {
        let policy = QuotaPolicyId::new();
        assert_eq!(check(&bench, &policy, &id()).await, Admitted);
        assert_eq!(limits(&bench, &policy).await, None, "limits come with the call");
        let created = bench.backend.create_quota_policy(policy_args(&bench, &policy)).await.unwrap();
        assert_eq!(created, CreateQuotaPolicyResult::Created { quota_policy_id: policy.clone() });
        assert_eq!(limits(&bench, &policy).await, Some(QuotaPolicyLimits::new(3, 60, 2, 0)));
        assert_eq!(in_use(&bench, &policy).await, 1);
    }

    async fn what_limits_nothing_sensible_is_refused(bench) {
        let policy = QuotaPolicyId::new();
        let args = || policy_args(&bench, &policy);
        for (args, refusal) in [
            (
                CreateQuotaPolicyArgs { window_seconds: 0, ..args() },
                "window_seconds: must be between 1 and 31536000, got 0".to_owned(),
            ),
            (
                CreateQuotaPolicyArgs { max_requests_per_window: 100_001, ..args() },
                "max_requests_per_window: must be between 0 and 100000, got 100001".into(),
            ),
            (
                CreateQuotaPolicyArgs { max_concurrent: u64::MAX, ..args() },
                format!("max_concurrent: must be between 0 and {}, got {}", i64::MAX, u64::MAX),
            ),
        ] {
            let refusal = format!("validation: InvalidInput: {refusal}");
            assert_refused(bench.backend.create_quota_policy(args).await, &refusal);
        }

        let args = CheckAdmissionArgs { window_seconds: 0, ..admission(&bench, &id()) };
        let refusal = "validation: InvalidInput: window_seconds: must be between 1 and 31536000, got 0";
        assert_refused(checked(&bench, &policy, args).await, refusal);
        let dimension = bench.backend.check_admission(&policy, "\0", admission(&bench, &id())).await;
        let refusal = "validation: InvalidInput: dimension: must not contain NUL (at byte 0)";
        assert_refused(dimension, refusal);
        assert!(rows(&bench, "ff_quota_policy", &policy).await.is_empty());
    }

    async fn slots_are_taken_and_released(bench) {
        let policy = QuotaPolicyId::new();
        let (one, two, three) = (id(), id(), id());
        assert_eq!(check(&bench, &policy, &one).await, Admitted);
        assert_eq!(check(&bench, &policy, &one).await, AlreadyAdmitted);
        assert_eq!(check(&bench, &policy, &two).await, Admitted);
        assert_eq!(check(&bench, &policy, &three).await, ConcurrencyExceeded);
        assert_eq!(in_use(&bench, &policy).await, 2);

        release(&bench, &policy, &one).await;
        release(&bench, &policy, &one).await;
        release(&bench, &policy, &three).await;
        assert_eq!(in_use(&bench, &policy).await, 1);
        assert_eq!(check(&bench, &policy, &three).await, Admitted);

        release(&bench, &policy, &two).await;
        release(&bench, &policy, &three).await;
        assert_eq!(in_use(&bench, &policy).await, 0);
        // Their places in the window stay taken.
        let rate = check(&bench, &policy, &one).await;
        assert_eq!(rate, RateExceeded { retry_after_ms: 60_000 });
    }

    async fn an_admission_counts_after_its_execution_was_trimmed(bench) {
        let policy = QuotaPolicyId::new();
        let args = |id: &ExecutionId, concurrency_cap| CheckAdmissionArgs {
            rate_limit: 1,
            concurrency_cap,
            ..admission(&bench, id)
        };
        let done = bench.completed().await;
        assert_eq!(checked(&bench, &policy, args(&done, 1)).await.unwrap(), Admitted);

        bench.clock.advance(AGE);
        assert_eq!(bench.pass_of(old()).await.executions, 1);
        let (rate, slot) = (args(&id(), 1), CheckAdmissionArgs { rate_limit: 0, ..args(&id(), 1) });
        let full = checked(&bench, &policy, rate).await.unwrap();
        assert_eq!(full, RateExceeded { retry_after_ms: 60_000 - AGE.unsigned_abs() });
        assert_eq!(checked(&bench, &policy, slot.clone()).await.unwrap(), ConcurrencyExceeded);

        release(&bench, &policy, &done).await;
        assert_eq!(checked(&bench, &policy, slot).await.unwrap(), Admitted);
        assert_eq!(in_use(&bench, &policy).await, 1);
    }

    async fn the_window_slides(bench) {
        let policy = QuotaPolicyId::new();
        let args = |execution: &ExecutionId| CheckAdmissionArgs {
            concurrency_cap: 0,
            jitter_ms: Some(7),
            ..admission(&bench, execution)
        };
        for _ in 0..3 {
            assert_eq!(checked(&bench, &policy, args(&id())).await.unwrap(), Admitted);
            bench.clock.advance(10_000);
        }
        let late = id();
        let full = checked(&bench, &policy, args(&late)).await.unwrap();
        assert_eq!(full, RateExceeded { retry_after_ms: 30_007 });
        let other = bench.backend.check_admission(&policy, "gpu", args(&late)).await.unwrap();
        assert_eq!(other, Admitted, "another dimension has a window of its own");
        release(&bench, &policy, &late).await;

        bench.clock.advance(30_000);
        let still = checked(&bench, &policy, args(&late)).await.unwrap();
        assert_eq!(still, RateExceeded { retry_after_ms: 7 }, "exactly as old as the window");
        bench.clock.advance(1);
        assert_eq!(checked(&bench, &policy, args(&late)).await.unwrap(), Admitted);
        // The admission that has left the window is gone.
        assert_eq!(rows(&bench, "ff_quota_window", &policy).await.len(), 4);
        assert_eq!(in_use(&bench, &policy).await, 0, "without a cap no slot is taken");
    }

    async fn an_execution_that_is_admitted_again_holds_one_slot(bench) {
        let policy = QuotaPolicyId::new();
        let execution = id();
        for _ in 0..3 {
            assert_eq!(check(&bench, &policy, &execution).await, Admitted);
            assert_eq!(in_use(&bench, &policy).await, 1);
            bench.clock.advance(60_001);
        }
        release(&bench, &policy, &execution).await;
        assert_eq!(in_use(&bench, &policy).await, 0);
        // Released and admitted again at once, it counts once in the window.
        assert_eq!(check(&bench, &policy, &execution).await, Admitted);
        release(&bench, &policy, &execution).await;
        assert_eq!(check(&bench, &policy, &execution).await, Admitted);
    }

    async fn a_check_takes_the_slot_of_an_admission_that_is_over(bench) {
        let policy = QuotaPolicyId::new();
        for _ in 0..2 {
            assert_eq!(check(&bench, &policy, &id()).await, Admitted);
        }
        bench.clock.advance(59_999);
        assert_eq!(check(&bench, &policy, &id()).await, ConcurrencyExceeded);
        bench.clock.advance(2);
        assert_eq!(check(&bench, &policy, &id()).await, Admitted);
        assert_eq!(in_use(&bench, &policy).await, 1);
        assert_eq!(rows(&bench, "ff_quota_admitted", &policy).await.len(), 1);
    }

    async fn the_scanner_gives_back_what_is_over(bench) {
        let (policy, other) = (QuotaPolicyId::new(), QuotaPolicyId::new());
        check(&bench, &policy, &id()).await;
        check(&bench, &policy, &id()).await;
        check(&bench, &other, &id()).await;
        let scan = async |kind| bench.backend.scan(kind, 2).await.unwrap().processed;
        assert_eq!(scan(Scan::AdmissionExpiry).await, 0);
        bench.clock.advance(60_000);
        assert_eq!((scan(Scan::AdmissionExpiry).await, scan(Scan::AdmissionExpiry).await), (2, 1));
        assert_eq!((in_use(&bench, &policy).await, in_use(&bench, &other).await), (0, 0));

        let windows = async || {
            (scan(Scan::QuotaWindowExpiry).await, scan(Scan::QuotaWindowExpiry).await)
        };
        assert_eq!(windows().await, (0, 0), "it is in the window still");
        bench.clock.advance(1);
        assert_eq!(windows().await, (2, 1));
        assert!(bench.plain.rows("ff_quota_window").await.is_empty());
    }

    async fn sixteen_callers_take_no_more_slots_than_there_are(bench) {
        let policy = QuotaPolicyId::new();
        let callers = (0..16).map(|_| {
            let (bench, policy) = (std::sync::Arc::clone(&bench), policy.clone());
            tokio::spawn(async move { check(&bench, &policy, &id()).await == Admitted })
        });
        let admitted = futures_util::future::join_all(callers).await;
        assert_eq!(admitted.into_iter().filter(|one| *one.as_ref().unwrap()).count(), 2);
        assert_eq!(in_use(&bench, &policy).await, 2);
        assert_eq!(rows(&bench, "ff_quota_window", &policy).await.len(), 2);
    }

    async fn policies_of_older_engines_are_found_where_they_are(bench) {
        for (at_zero, in_use_before, expected) in [
            (false, 2, ConcurrencyExceeded),
            (true, 2, ConcurrencyExceeded),
            (false, 1, Admitted),
            (true, 1, Admitted),
        ] {
            let policy = QuotaPolicyId::new();
            let partition = if at_zero { 0 } else { home(&policy) };
            insert_policy(&bench, &policy, partition, in_use_before).await;
            assert_eq!(limits(&bench, &policy).await, Some(QuotaPolicyLimits::new(3, 60, 2, 0)));
            let execution = id();
            assert_eq!(check(&bench, &policy, &execution).await, expected);
            release(&bench, &policy, &execution).await;
            assert_eq!(in_use(&bench, &policy).await, in_use_before, "{at_zero}");
        }
    }

    async fn a_stored_limit_below_zero_is_reported(bench) {
        let policy = QuotaPolicyId::new();
        insert_policy(&bench, &policy, home(&policy), 0).await;
        let key = vec![
            ("partition_key", int(home(&policy))),
            ("quota_policy_id", text(&policy.to_string())),
        ];
        let cells = vec![("max_requests_per_window", int(-1))];
        bench.plain.set("ff_quota_policy", key, cells).await;
        assert_refused(
            bench.backend.read_quota_policy_limits(&policy).await,
            &format!(
                "validation: Corruption: read_quota_policy_limits: quota_policy={policy} \
                 field=max_requests_per_window value=-1 (negative)"
            ),
        );
    }

    async fn slots_that_have_drifted_are_counted_again(bench) {
        let policy = QuotaPolicyId::new();
        check(&bench, &policy, &id()).await;
        let key = || {
            vec![
                ("partition_key", int(home(&policy))),
                ("quota_policy_id", text(&policy.to_string())),
            ]
        };
        let partition = quota_partition(&policy, &PartitionConfig::default());
        for drifted in [0, 7] {
            let cells = vec![("active_concurrency", int(drifted))];
            bench.plain.set("ff_quota_policy", key(), cells).await;
            let now = bench.clock.now();
            let counts = bench.backend.reconcile_quota_counters(partition, now).await.unwrap();
            assert_eq!((counts.processed, counts.errors), (1, 0));
            assert_eq!(in_use(&bench, &policy).await, 1);
        }
        assert_eq!(bench.backend.scan(Scan::QuotaReconcile, 10).await.unwrap().processed, 0);
    }
}
