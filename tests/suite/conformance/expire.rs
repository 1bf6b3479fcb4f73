//! Time runs out: leases lapse, attempts take too long, executions miss their deadline.

use ff_core::engine_backend::ExpirePhase;
use ff_core::partition::{Partition, PartitionFamily};
use ff_core::policy::{BackoffStrategy, ExecutionPolicy, RetryPolicy, TimeoutPolicy};
use ff_core::types::{AttemptIndex, LeaseEpoch, TimestampMs};
use serde_json::json;

use crate::backends::{Bench, START, conformance};
use crate::bench::{
    EXPIRED, TTL, assert_not_active, assert_refused, id, lane, partition, payload_of,
};
use crate::plain::int;

fn limited(attempt_timeout_ms: u64, retries: Option<u32>) -> ExecutionPolicy {
    let timeouts = TimeoutPolicy {
        attempt_timeout_ms: Some(attempt_timeout_ms),
        execution_deadline_ms: None,
        max_reclaim_count: 3,
    };
    let retry = |max_retries| RetryPolicy {
        max_retries,
        backoff: BackoffStrategy::Fixed { delay_ms: 200 },
        retryable_categories: Vec::new(),
    };
    ExecutionPolicy {
        timeout_policy: Some(timeouts),
        retry_policy: retries.map(retry),
        ..ExecutionPolicy::default()
    }
}

async fn expire(bench: &Bench, id: &ff_core::types::ExecutionId, phase: ExpirePhase) {
    bench.backend.expire_execution(partition(id), id, phase, bench.clock.now()).await.unwrap();
}

conformance! {
    async fn a_lapsed_lease_is_released(bench) {
        let (id, _) = bench.leased().await;
        bench.clock.advance(TTL);
        bench.backend.mark_lease_expired_if_due(partition(&id), &id).await.unwrap();
        let core = bench.core(&id).await;
        let released = "runnable unowned eligible_now waiting attempt_interrupted waiting_for_worker";
        assert_eq!(core.states(), released);
        assert_eq!(core.raw("lease_expired_at_ms"), json!(START + TTL));
        let attempt = bench.attempt(&id, 0).await;
        assert_eq!(attempt.text("outcome"), "lease_expired_reclaimable");
        assert_eq!(attempt.int("lease_epoch"), Some(2), "the old worker is shut out at once");
        assert_eq!(attempt.int("lease_expires_at_ms"), None);
        assert_eq!(attempt.int("terminal_at_ms"), None);
        assert_eq!(attempt.text("worker_instance_id"), "-");
        assert_eq!(bench.lease_events(&id).await, ["acquired", "expired"]);
        let again = bench.claim().await;
        assert_eq!(payload_of(&again).attempt_index, AttemptIndex(0));
        assert_eq!(payload_of(&again).lease_epoch, LeaseEpoch(3));
        assert_eq!(bench.lease_events(&id).await, ["acquired", "expired", "acquired"]);
    }

    async fn a_live_lease_is_left_alone(bench) {
        let (id, handle) = bench.leased().await;
        bench.clock.advance(TTL - 1);
        let before = bench.everything().await;
        bench.backend.mark_lease_expired_if_due(partition(&id), &id).await.unwrap();
        assert_eq!(bench.everything().await, before);
        bench.backend.complete(&handle, None).await.unwrap();
        bench.clock.advance(1_000_000);
        let before = bench.everything().await;
        bench.backend.mark_lease_expired_if_due(partition(&id), &id).await.unwrap();
        let unknown = crate::bench::id();
        bench.backend.mark_lease_expired_if_due(partition(&unknown), &unknown).await.unwrap();
        assert_eq!(bench.everything().await, before);
    }

    async fn a_lease_is_released_once(bench) {
        let (id, _) = bench.leased().await;
        bench.clock.advance(TTL);
        let calls: Vec<_> = (0..8)
            .map(|_| {
                let (bench, id) = (std::sync::Arc::clone(&bench), id.clone());
                tokio::spawn(async move {
                    bench.backend.mark_lease_expired_if_due(partition(&id), &id).await.unwrap();
                })
            })
            .collect();
        for call in calls {
            call.await.unwrap();
        }
        assert_eq!(bench.lease_events(&id).await, ["acquired", "expired"]);
        assert_eq!(bench.attempt(&id, 0).await.int("lease_epoch"), Some(2));
    }

    async fn an_attempt_that_takes_too_long_is_tried_again_by_policy(bench) {
        let policy = limited(100, Some(1));
        let (id, handle) = bench.leased_with(&|args| args.policy = Some(policy.clone())).await;
        assert_eq!(bench.attempt(&id, 0).await.int("timeout_at_ms"), Some(START + 100));
        bench.clock.advance(99);
        let before = bench.everything().await;
        expire(&bench, &id, ExpirePhase::AttemptTimeout).await;
        assert_eq!(bench.everything().await, before);
        bench.clock.advance(1);
        expire(&bench, &id, ExpirePhase::AttemptTimeout).await;
        let core = bench.core(&id).await;
        let backing_off = "runnable unowned not_eligible_until_time delayed pending_retry_attempt waiting_for_retry_backoff";
        assert_eq!(core.states(), backing_off);
        assert_eq!(core.int("attempt_index"), Some(1));
        assert_eq!(core.int("eligible_at_ms"), Some(START + 300));
        assert_eq!(bench.attempt(&id, 0).await.text("outcome"), "interrupted");
        assert_eq!(bench.lease_events(&id).await, ["acquired", "expired"]);
        assert_not_active(bench.backend.complete(&handle, None).await, "runnable");

        bench.clock.advance(200);
        bench.backend.promote_delayed(partition(&id), &lane(), &id, bench.clock.now()).await.unwrap();
        let second = bench.claim().await;
        assert_eq!(payload_of(&second).attempt_index, AttemptIndex(1));
        bench.clock.advance(100);
        expire(&bench, &id, ExpirePhase::AttemptTimeout).await;
        assert_eq!(bench.core(&id).await.states(), EXPIRED);
        assert_eq!(bench.attempt(&id, 1).await.text("outcome"), "expired");
        assert_eq!(bench.completions(&id).await, ["expired"]);
    }

    async fn without_a_policy_an_attempt_that_takes_too_long_is_the_end(bench) {
        let policy = limited(100, None);
        let (id, handle) = bench.leased_with(&|args| args.policy = Some(policy.clone())).await;
        bench.clock.advance(100);
        expire(&bench, &id, ExpirePhase::AttemptTimeout).await;
        assert_eq!(bench.core(&id).await.states(), EXPIRED);
        assert_eq!(bench.completions(&id).await, ["expired"]);
        assert_eq!(bench.lease_events(&id).await, ["acquired", "expired"]);
        assert_not_active(bench.backend.renew(&handle).await, "terminal");
    }

    async fn renewing_does_not_stretch_an_attempt(bench) {
        let policy = limited(100, None);
        let (id, handle) = bench.leased_with(&|args| args.policy = Some(policy.clone())).await;
        bench.clock.advance(60);
        bench.backend.renew(&handle).await.unwrap();
        bench.clock.advance(60);
        expire(&bench, &id, ExpirePhase::AttemptTimeout).await;
        assert_eq!(bench.core(&id).await.states(), EXPIRED);
    }

    async fn a_deadline_ends_what_waits(bench) {
        let deadline = Some(TimestampMs(START + 50));
        let id = bench.create_with(&|args| args.execution_deadline_at = deadline).await;
        bench.clock.advance(49);
        let before = bench.everything().await;
        expire(&bench, &id, ExpirePhase::ExecutionDeadline).await;
        assert_eq!(bench.everything().await, before);
        bench.clock.advance(1);
        expire(&bench, &id, ExpirePhase::ExecutionDeadline).await;
        let core = bench.core(&id).await;
        assert_eq!(core.states(), EXPIRED);
        assert_eq!(core.int("terminal_at_ms"), Some(START + 50));
        assert_eq!(core.raw("terminal_outcome"), "expired");
        assert_eq!(bench.attempt(&id, 0).await.text("outcome"), "expired");
        assert_eq!(bench.completions(&id).await, ["expired"]);
        assert_eq!(bench.lease_events(&id).await, [""; 0]);
        assert!(bench.try_claim().await.is_none());
        let before = bench.everything().await;
        expire(&bench, &id, ExpirePhase::ExecutionDeadline).await;
        assert_eq!(bench.everything().await, before);
    }

    async fn a_deadline_ends_what_runs(bench) {
        let deadline = Some(TimestampMs(START + 50));
        let (id, handle) = bench.leased_with(&|args| args.execution_deadline_at = deadline).await;
        bench.clock.advance(50);
        expire(&bench, &id, ExpirePhase::ExecutionDeadline).await;
        assert_eq!(bench.core(&id).await.states(), EXPIRED);
        assert_eq!(bench.lease_events(&id).await, ["acquired", "expired"]);
        assert_not_active(bench.backend.complete(&handle, None).await, "terminal");
    }

    async fn a_deadline_ends_what_is_delayed(bench) {
        let id = bench
            .create_with(&|args| {
                args.delay_until = Some(TimestampMs(START + 500));
                args.execution_deadline_at = Some(TimestampMs(START + 50));
            })
            .await;
        bench.clock.advance(50);
        expire(&bench, &id, ExpirePhase::ExecutionDeadline).await;
        let core = bench.core(&id).await;
        assert_eq!(core.states(), EXPIRED);
        assert_eq!(core.int("eligible_at_ms"), None);
    }

    async fn what_has_ended_does_not_expire(bench) {
        for states in [
            crate::bench::COMPLETED,
            crate::bench::FAILED,
            crate::bench::CANCELLED,
            "cancelled unowned not_applicable cancelled attempt_terminal -",
        ] {
            let id = id();
            let more = vec![("deadline_at_ms", int(START - 1)), ("terminal_at_ms", int(START - 2))];
            bench.insert_core(&id, states, more).await;
            let before = bench.everything().await;
            expire(&bench, &id, ExpirePhase::ExecutionDeadline).await;
            expire(&bench, &id, ExpirePhase::AttemptTimeout).await;
            assert_eq!(bench.everything().await, before, "{states}");
        }
    }

    async fn the_partition_must_be_the_ids_own(bench) {
        let id = bench.create().await;
        let other = Partition { family: PartitionFamily::Execution, index: 8 };
        assert_refused(
            bench.backend.mark_lease_expired_if_due(other, &id).await,
            "validation: InvalidInput: mark_lease_expired_if_due: partition mismatch (arg=8, eid=7)",
        );
        let phase = ExpirePhase::ExecutionDeadline;
        assert_refused(
            bench.backend.expire_execution(other, &id, phase, bench.clock.now()).await,
            "validation: InvalidInput: expire_execution: partition mismatch (arg=8, eid=7)",
        );
    }
}
