//! Several engines over one database divide its timers: each scan takes only what its filter lets
//! through, however much of others is due before it.

use std::time::Duration;

use ff_core::backend::ScannerFilter;
use ff_core::contracts::{EdgeDependencyPolicy, OnSatisfied, TimeoutBehavior};
use ff_core::engine_backend::Scan;
use ff_core::plan::value::Value;
use ff_core::policy::{ExecutionPolicy, TimeoutPolicy};
use ff_core::types::{ExecutionId, TimestampMs};
use serde_json::json;

use crate::backends::{Bench, conformance};
use crate::bench::{INSTANCE, NAMESPACE, TTL, assert_refused};
use crate::flow::End;

/// Every scan of rows that are about an execution. No filter is about budgets, quotas and
/// workers.
fn scans_of_executions() -> impl Iterator<Item = Scan> {
    Scan::ALL.into_iter().filter(|scan| match scan {
        Scan::BudgetReset
        | Scan::UsageKeyExpiry
        | Scan::IdempotencyKeyExpiry
        | Scan::LimitCellExpiry
        | Scan::AdmissionExpiry
        | Scan::QuotaWindowExpiry
        | Scan::BudgetReconcile
        | Scan::QuotaReconcile
        | Scan::Schedules
        | Scan::CountFold
        | Scan::WorkerTtl => false,
        Scan::LeaseExpiry
        | Scan::AttemptTimeout
        | Scan::ExecutionDeadline
        | Scan::DelayedPromotion
        | Scan::DependencyDispatch
        | Scan::SiblingCancel
        | Scan::SuspensionTimeout
        | Scan::WaitpointExpiry
        | Scan::GrantExpiry => true,
    })
}

/// Something that the scan finds due within [`LATER`], and the execution that it is about.
async fn due(bench: &Bench, scan: Scan) -> ExecutionId {
    let soon = TimestampMs(bench.clock.now().0 + 10);
    match scan {
        Scan::LeaseExpiry => bench.leased().await.0,
        Scan::AttemptTimeout => {
            let timeouts = TimeoutPolicy {
                attempt_timeout_ms: Some(10),
                execution_deadline_ms: None,
                max_reclaim_count: 3,
            };
            let timeout_policy = Some(timeouts);
            let policy = ExecutionPolicy { timeout_policy, ..ExecutionPolicy::default() };
            bench.leased_with(&|args| args.policy = Some(policy.clone())).await.0
        }
        Scan::ExecutionDeadline => {
            bench.create_with(&|args| args.execution_deadline_at = Some(soon)).await
        }
        Scan::DelayedPromotion => bench.create_with(&|args| args.delay_until = Some(soon)).await,
        Scan::DependencyDispatch => {
            let flow = bench.flow(1).await;
            bench.end(&flow.members[0], End::Cancelled).await;
            flow.members[0].clone()
        }
        Scan::SiblingCancel => {
            let any = EdgeDependencyPolicy::any_of(OnSatisfied::cancel_remaining());
            let flow = bench.fan_in(2, any).await;
            bench.end(&flow.members[0], End::Success).await;
            bench.backend.scan(Scan::DependencyDispatch, 10).await.unwrap();
            flow.members[2].clone()
        }
        Scan::SuspensionTimeout => {
            let fail = TimeoutBehavior::Fail;
            bench.waiting(|args| args.with_timeout(soon, fail)).await.0
        }
        Scan::WaitpointExpiry => {
            bench.seed().await;
            let (id, handle) = bench.leased().await;
            let soon = Duration::from_millis(10);
            bench.backend.create_waitpoint(&handle, "a", soon).await.unwrap();
            id
        }
        Scan::GrantExpiry => {
            let id = bench.create().await;
            bench.backend.issue_claim_grant(bench.grant(&id, "w", &[])).await.unwrap();
            id
        }
        Scan::BudgetReset
        | Scan::UsageKeyExpiry
        | Scan::IdempotencyKeyExpiry
        | Scan::LimitCellExpiry
        | Scan::AdmissionExpiry
        | Scan::QuotaWindowExpiry
        | Scan::BudgetReconcile
        | Scan::QuotaReconcile
        | Scan::Schedules
        | Scan::CountFold
        | Scan::WorkerTtl => unreachable!("these are about no execution"),
    }
}

/// By then everything is due.
const LATER: i64 = TTL + 1_000;

/// Sets the namespace and the instance of the execution.
async fn belongs(bench: &Bench, id: &ExecutionId, namespace: &str, instance: &str) {
    let mut raw = bench.core(id).await.json("raw_fields").clone();
    raw["namespace"] = json!(namespace);
    raw["tags"] = json!({ "cairn.instance_id": instance, "team": "a.b" });
    bench.set_core(id, vec![("raw_fields", Value::Json(raw))]).await;
}

async fn scan(bench: &Bench, scan: Scan, limit: u32, filter: &ScannerFilter) -> u32 {
    let counts = bench.backend.scan_filtered(scan, limit, filter).await.unwrap();
    assert_eq!(counts.errors, 0, "{}", scan.as_str());
    counts.processed
}

conformance! {
    async fn every_scan_divides_by_namespace_and_by_instance(bench) {
        let tagged = |value: &str| ScannerFilter::new().with_instance_tag("cairn.instance_id", value);
        for kind in scans_of_executions() {
            let mut all = Vec::new();
            for _ in 0..4 {
                all.push(due(&bench, kind).await);
            }
            belongs(&bench, &all[0], "tenant-b", "instance-8").await;
            belongs(&bench, &all[1], "tenant-b", "instance-9").await;
            belongs(&bench, &all[2], "tenant-c", INSTANCE).await;
            bench.clock.advance(LATER);

            // What is due before fills no page of those it is not let through to.
            let ours = tagged(INSTANCE).with_namespace(NAMESPACE);
            assert_eq!(scan(&bench, kind, 1, &ours).await, 1, "{}", kind.as_str());
            assert_eq!(scan(&bench, kind, 9, &ours).await, 0, "{}", kind.as_str());
            assert_eq!(scan(&bench, kind, 9, &tagged(INSTANCE)).await, 1, "{}", kind.as_str());
            assert_eq!(scan(&bench, kind, 9, &tagged("instance-9")).await, 1, "{}", kind.as_str());
            let theirs = ScannerFilter::new().with_namespace("tenant-b");
            assert_eq!(scan(&bench, kind, 9, &theirs).await, 1, "{}", kind.as_str());
            assert_eq!(scan(&bench, kind, 9, &ScannerFilter::NOOP).await, 0, "{}", kind.as_str());

            // The next kind begins with nothing due.
            for kind in Scan::ALL {
                bench.backend.scan(kind, 100).await.unwrap();
            }
            while let Some(handle) = bench.try_claim().await {
                bench.backend.complete(&handle, None).await.unwrap();
            }
        }
    }

    async fn a_tag_is_compared_by_key_and_value(bench) {
        let id = due(&bench, Scan::DelayedPromotion).await;
        belongs(&bench, &id, NAMESPACE, INSTANCE).await;
        bench.clock.advance(LATER);
        for (key, value) in [("team", INSTANCE), ("cairn.instance_id", "a.b"), ("team", "a"), ("", "")] {
            let filter = ScannerFilter::new().with_instance_tag(key, value);
            assert_eq!(scan(&bench, Scan::DelayedPromotion, 9, &filter).await, 0, "{key}={value}");
        }
        let filter = ScannerFilter::new().with_instance_tag("team", "a.b");
        assert_eq!(scan(&bench, Scan::DelayedPromotion, 9, &filter).await, 1);
    }

    async fn a_filter_that_no_text_can_hold_is_refused(bench) {
        for (filter, field) in [
            (ScannerFilter::new().with_namespace("a\0b"), "namespace"),
            (ScannerFilter::new().with_instance_tag("k\0", "v"), "instance_tag"),
            (ScannerFilter::new().with_instance_tag("k", "v\0"), "instance_tag"),
        ] {
            let result = bench.backend.scan_filtered(Scan::LeaseExpiry, 9, &filter).await;
            assert_refused(
                result,
                &format!("validation: InvalidInput: {field}: must not contain NUL (at byte 1)"),
            );
        }
    }
}
