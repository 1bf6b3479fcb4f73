//! Not now: a worker puts its execution off, and the promoter wakes what is due.

use ff_core::partition::{Partition, PartitionFamily};
use ff_core::plan::value::Value;
use ff_core::types::{AttemptIndex, LeaseEpoch, TimestampMs};
use serde_json::json;

use crate::backends::{START, conformance};
use crate::bench::{assert_refused, id, lane, partition, payload_of};
use crate::plain::int;

const PUT_OFF: &str =
    "runnable unowned not_eligible_until_time delayed attempt_interrupted waiting_for_delay";

conformance! {
    async fn a_delay_releases_the_lease(bench) {
        let deadline = Some(TimestampMs(START + 77_000));
        let (id, handle) = bench.leased_with(&|args| args.execution_deadline_at = deadline).await;
        bench.backend.delay(&handle, TimestampMs(START + 1_000)).await.unwrap();
        let core = bench.core(&id).await;
        assert_eq!(core.states(), PUT_OFF);
        assert_eq!(core.int("eligible_at_ms"), Some(START + 1_000));
        assert_eq!(core.int("deadline_at_ms"), Some(START + 77_000), "a deadline is no delay");
        let attempt = bench.attempt(&id, 0).await;
        assert_eq!(attempt.text("outcome"), "interrupted");
        assert_eq!(attempt.int("terminal_at_ms"), None);
        assert_eq!(attempt.int("lease_expires_at_ms"), None);
        assert_eq!(attempt.text("worker_instance_id"), "-");
        assert_eq!(bench.lease_events(&id).await, ["acquired", "revoked"]);
        assert!(bench.try_claim().await.is_none());
    }

    async fn a_resumed_attempt_continues_in_a_new_epoch(bench) {
        let (id, handle) = bench.leased().await;
        bench.backend.delay(&handle, TimestampMs(START + 1_000)).await.unwrap();
        bench.clock.advance(1_000);
        bench.backend.promote_delayed(partition(&id), &lane(), &id, bench.clock.now()).await.unwrap();
        let again = bench.claim().await;
        assert_eq!(payload_of(&again).attempt_index, AttemptIndex(0));
        assert_eq!(payload_of(&again).lease_epoch, LeaseEpoch(2));
        assert_refused(bench.backend.complete(&handle, None).await, "contention: LeaseConflict");
        bench.backend.complete(&again, None).await.unwrap();
    }

    async fn a_delay_to_a_past_time_puts_an_execution_before_no_other(bench) {
        let (delayed, handle) = bench.leased().await;
        let other = bench.create().await;
        bench.clock.advance(1);
        bench.backend.delay(&handle, TimestampMs(0)).await.unwrap();
        assert_eq!(bench.core(&delayed).await.int("eligible_at_ms"), Some(START + 1));
        bench.backend.promote_delayed(partition(&delayed), &lane(), &delayed, bench.clock.now())
            .await.unwrap();
        assert_eq!(bench.core(&delayed).await.int("claimable_since_ms"), Some(START + 1));
        assert_eq!(payload_of(&bench.claim().await).execution_id, other);
    }

    async fn nothing_is_woken_before_its_time(bench) {
        let until = Some(TimestampMs(START + 1_000));
        let id = bench.create_with(&|args| args.delay_until = until).await;
        let before = bench.everything().await;
        let early = TimestampMs(START + 999);
        bench.backend.promote_delayed(partition(&id), &lane(), &id, early).await.unwrap();
        assert_eq!(bench.everything().await, before);
        let due = TimestampMs(START + 1_000);
        bench.backend.promote_delayed(partition(&id), &lane(), &id, due).await.unwrap();
        let core = bench.core(&id).await;
        assert_eq!(core.states(), crate::bench::WAITING);
        assert_eq!(core.int("eligible_at_ms"), None);
    }

    async fn a_claim_takes_what_is_due_before_a_scanner_wakes_it(bench) {
        let due = |ms| Some(TimestampMs(START + ms));
        let put_off = bench.create_with(&|args| args.delay_until = due(5)).await;
        let later = bench.create_with(&|args| args.delay_until = due(6)).await;
        let (retried, handle) = bench.leased().await;
        let reason = ff_core::backend::FailureReason::new("no paper");
        bench.backend.fail(&handle, reason, ff_core::state::FailureClass::Transient).await.unwrap();
        let retry_at = bench.core(&retried).await.int("eligible_at_ms").unwrap();
        let (paused, handle) = bench.leased().await;
        bench.backend.delay(&handle, TimestampMs(retry_at + 1)).await.unwrap();
        assert!(bench.try_claim().await.is_none(), "nothing is due");

        bench.clock.advance(5);
        let waiting = bench.create().await;
        let none = ff_core::backend::CapabilitySet::default();
        let claim = bench.backend.claim_many(&lane(), &none, crate::bench::worker("w"), 9).await;
        let claimed: Vec<_> = claim.unwrap().iter().map(|at| payload_of(at).execution_id).collect();
        assert_eq!(claimed, [waiting, put_off], "what waits goes first");
        bench.clock.advance(retry_at);
        for (expected, attempt, epoch) in [(later, 0, 1), (retried, 1, 2), (paused, 0, 2)] {
            let payload = payload_of(&bench.claim().await);
            assert_eq!(payload.execution_id, expected);
            assert_eq!(payload.attempt_index, AttemptIndex(attempt));
            assert_eq!(payload.lease_epoch, LeaseEpoch(epoch));
            assert_eq!(bench.core(&expected).await.states(), crate::bench::ACTIVE);
        }
        assert!(bench.try_claim().await.is_none());
    }

    async fn only_the_delayed_are_woken(bench) {
        for states in [
            crate::bench::ACTIVE,
            crate::bench::COMPLETED,
            "runnable unowned blocked_by_dependencies waiting_children pending_first_attempt -",
            "suspended unowned not_eligible_until_time suspended attempt_interrupted -",
        ] {
            let id = id();
            bench.insert_core(&id, states, vec![("eligible_at_ms", int(START))]).await;
            let before = bench.everything().await;
            bench.backend.promote_delayed(partition(&id), &lane(), &id, bench.clock.now()).await.unwrap();
            assert_eq!(bench.everything().await, before, "{states}");
        }
        let unknown = id();
        let now = bench.clock.now();
        bench.backend.promote_delayed(partition(&unknown), &lane(), &unknown, now).await.unwrap();
    }

    async fn a_delayed_row_of_older_databases_wakes(bench) {
        let id = id();
        let states = "runnable unowned not_eligible_until_time delayed pending_retry_attempt waiting_for_retry_backoff";
        bench.insert_core(&id, states, vec![("raw_fields", Value::Json(json!({})))]).await;
        bench.backend.promote_delayed(partition(&id), &lane(), &id, bench.clock.now()).await.unwrap();
        let waiting = "runnable unowned eligible_now waiting pending_retry_attempt waiting_for_worker";
        assert_eq!(bench.core(&id).await.states(), waiting);
    }

    async fn the_partition_must_be_the_ids_own(bench) {
        let id = bench.create().await;
        let other = Partition { family: PartitionFamily::Execution, index: 8 };
        assert_refused(
            bench.backend.promote_delayed(other, &lane(), &id, bench.clock.now()).await,
            "validation: InvalidInput: promote_delayed: partition mismatch (arg=8, eid=7)",
        );
    }
}
