//! The scanners: what is due, a bounded batch at a time, the longest overdue first.

use ff_core::engine_backend::Scan;
use ff_core::plan::value::Value;
use ff_core::policy::{ExecutionPolicy, TimeoutPolicy};
use ff_core::types::{ExecutionId, TimestampMs};
use serde_json::json;

use crate::backends::{Bench, START, conformance};
use crate::bench::{ACTIVE, TTL, id, id_in, payload_of};
use crate::plain::{int, text};

async fn scan(bench: &Bench, scan: Scan, limit: u32) -> (u32, u32) {
    let counts = bench.backend.scan(scan, limit).await.unwrap();
    (counts.processed, counts.errors)
}

async fn public(bench: &Bench, id: &ExecutionId) -> String {
    bench.core(id).await.text("public_state").to_owned()
}

conformance! {
    async fn nothing_is_due_in_an_empty_database(bench) {
        for kind in Scan::ALL {
            assert_eq!(scan(&bench, kind, 100).await, (0, 0));
        }
    }

    async fn lapsed_leases_are_released(bench) {
        let mut leased = Vec::new();
        for partition in [0, 200, 13] {
            bench.create_with(&|args| args.execution_id = id_in(partition)).await;
            leased.push(payload_of(&bench.claim().await).execution_id);
            bench.clock.advance(10);
        }
        bench.clock.advance(TTL - 20);
        assert_eq!(scan(&bench, Scan::LeaseExpiry, 1).await, (1, 0));
        assert_eq!(public(&bench, &leased[0]).await, "waiting", "the longest overdue first");
        assert_eq!(scan(&bench, Scan::LeaseExpiry, 100).await, (1, 0));
        assert_eq!(public(&bench, &leased[1]).await, "waiting");
        assert_eq!(public(&bench, &leased[2]).await, "active");
        assert_eq!(scan(&bench, Scan::LeaseExpiry, 100).await, (0, 0));
    }

    async fn attempts_out_of_time_are_ended(bench) {
        let timeouts = TimeoutPolicy {
            attempt_timeout_ms: Some(100),
            execution_deadline_ms: None,
            max_reclaim_count: 3,
        };
        let policy = ExecutionPolicy { timeout_policy: Some(timeouts), ..ExecutionPolicy::default() };
        let (timed, _) = bench.leased_with(&|args| args.policy = Some(policy.clone())).await;
        let (untimed, _) = bench.leased().await;
        bench.clock.advance(99);
        assert_eq!(scan(&bench, Scan::AttemptTimeout, 100).await, (0, 0));
        bench.clock.advance(1);
        assert_eq!(scan(&bench, Scan::AttemptTimeout, 100).await, (1, 0));
        assert_eq!(public(&bench, &timed).await, "expired");
        assert_eq!(public(&bench, &untimed).await, "active");
    }

    async fn missed_deadlines_end_executions(bench) {
        let mut ids = Vec::new();
        for after in [30, 10, 20, 1_000] {
            let deadline = Some(TimestampMs(START + after));
            ids.push(bench.create_with(&|args| args.execution_deadline_at = deadline).await);
        }
        bench.clock.advance(30);
        assert_eq!(scan(&bench, Scan::ExecutionDeadline, 2).await, (2, 0));
        let mut states = Vec::new();
        for id in &ids {
            states.push(public(&bench, id).await);
        }
        assert_eq!(states, ["waiting", "expired", "expired", "waiting"]);
        assert_eq!(scan(&bench, Scan::ExecutionDeadline, 2).await, (1, 0));
        assert_eq!(scan(&bench, Scan::ExecutionDeadline, 2).await, (0, 0));
    }

    async fn the_delayed_are_woken(bench) {
        let mut ids = Vec::new();
        for after in [30, 10, 20] {
            let until = Some(TimestampMs(START + after));
            ids.push(bench.create_with(&|args| args.delay_until = until).await);
        }
        assert_eq!(scan(&bench, Scan::DelayedPromotion, 100).await, (0, 0));
        bench.clock.advance(20);
        assert_eq!(scan(&bench, Scan::DelayedPromotion, 1).await, (1, 0));
        assert_eq!(public(&bench, &ids[1]).await, "waiting");
        assert_eq!(scan(&bench, Scan::DelayedPromotion, 100).await, (1, 0));
        assert_eq!(public(&bench, &ids[0]).await, "delayed");
    }

    async fn a_poisoned_row_stops_no_other_row(bench) {
        let poisoned = id();
        let raw = json!({ "retry_count": "many" });
        bench.insert_core(&poisoned, ACTIVE, vec![("raw_fields", Value::Json(raw))]).await;
        let overdue = vec![
            ("worker_instance_id", text("w-1")),
            ("lease_expires_at_ms", int(START + TTL)),
            ("timeout_at_ms", int(START - 10)),
        ];
        bench.insert_attempt(&poisoned, 0, 1, overdue.clone()).await;
        let mut sound = Vec::new();
        for _ in 0..5 {
            let id = id();
            bench.insert_core(&id, ACTIVE, vec![]).await;
            bench.insert_attempt(&id, 0, 1, overdue.clone()).await;
            sound.push(id);
        }
        assert_eq!(scan(&bench, Scan::AttemptTimeout, 100).await, (5, 1));
        for id in &sound {
            assert_eq!(public(&bench, id).await, "expired");
        }
        assert_eq!(bench.core(&poisoned).await.states(), ACTIVE);
        assert_eq!(scan(&bench, Scan::AttemptTimeout, 100).await, (0, 1));
    }

    async fn rows_that_fail_take_no_place_from_those_that_do_not(bench) {
        let raw = |retries: serde_json::Value| Value::Json(json!({ "retry_count": retries }));
        let mut sound = Vec::new();
        for number in 0..8 {
            let id = id();
            let retries = if number % 2 == 0 { json!("many") } else { json!(0) };
            bench.insert_core(&id, ACTIVE, vec![("raw_fields", raw(retries))]).await;
            let overdue = vec![
                ("worker_instance_id", text("w-1")),
                ("lease_expires_at_ms", int(START + TTL)),
                ("timeout_at_ms", int(START - 100 + number)),
            ];
            bench.insert_attempt(&id, 0, 1, overdue).await;
            if number % 2 == 1 {
                sound.push(id);
            }
        }
        // One that failed is looked at once, and what is applied is still bounded by the limit.
        let counts = scan(&bench, Scan::AttemptTimeout, 3).await;
        assert_eq!(counts, (3, 3));
        assert_eq!(public(&bench, &sound[2]).await, "expired");
        assert_eq!(public(&bench, &sound[3]).await, "active");
        assert_eq!(scan(&bench, Scan::AttemptTimeout, 3).await, (1, 4));
        assert_eq!(scan(&bench, Scan::AttemptTimeout, 3).await, (0, 4));
    }

    async fn scanners_may_run_side_by_side(bench) {
        let mut ids = Vec::new();
        for number in 0..40 {
            ids.push(bench.create_with(&|args| args.execution_id = id_in(number)).await);
            bench.claim().await;
        }
        bench.clock.advance(TTL);
        let scanners: Vec<_> = (0..4)
            .map(|_| {
                let bench = std::sync::Arc::clone(&bench);
                tokio::spawn(async move { scan(&bench, Scan::LeaseExpiry, 100).await })
            })
            .collect();
        let mut processed = 0;
        for scanner in scanners {
            let (did, errors) = scanner.await.unwrap();
            assert_eq!(errors, 0);
            processed += did;
        }
        assert_eq!(processed, 40);
        for id in &ids {
            assert_eq!(bench.lease_events(id).await, ["acquired", "expired"]);
        }
    }
}
