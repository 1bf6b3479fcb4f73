//! A worker gives its execution up for good.

use ff_core::types::{LeaseEpoch, WorkerInstanceId};

use crate::backends::{START, conformance};
use crate::bench::{CANCELLED, assert_refused, id, payload_of};
use crate::conformance::fence::by_hand;
use crate::plain::text;

conformance! {
    async fn cancelling_ends_everything_at_once(bench) {
        let (id, handle) = bench.leased().await;
        bench.backend.cancel(&handle, "it's over").await.unwrap();
        let core = bench.core(&id).await;
        assert_eq!(core.states(), CANCELLED);
        assert_eq!(core.int("terminal_at_ms"), Some(START));
        assert_eq!(core.text("cancellation_reason"), "it's over");
        assert_eq!(core.text("cancelled_by"), "worker");
        let attempt = bench.attempt(&id, 0).await;
        assert_eq!(attempt.text("outcome"), "cancelled");
        assert_eq!(attempt.int("terminal_at_ms"), Some(START));
        assert_eq!(attempt.int("lease_expires_at_ms"), None);
        assert_eq!(attempt.text("worker_instance_id"), "-");
        assert_eq!(bench.completions(&id).await, ["cancelled"]);
        assert_eq!(bench.lease_events(&id).await, ["acquired", "revoked"]);
    }

    async fn cancelling_twice_changes_nothing(bench) {
        let (_, handle) = bench.leased().await;
        bench.backend.cancel(&handle, "first").await.unwrap();
        let before = bench.everything().await;
        bench.clock.advance(1_000_000);
        bench.backend.cancel(&handle, "second").await.unwrap();
        assert_eq!(bench.everything().await, before);
    }

    async fn what_ended_already_is_named(bench) {
        for (states, state) in [
            ("terminal unowned not_applicable completed attempt_terminal -", "completed"),
            ("terminal unowned not_applicable success attempt_terminal -", "completed"),
            ("terminal unowned not_applicable failed attempt_terminal -", "failed"),
            ("terminal unowned not_applicable expired attempt_terminal -", "expired"),
            ("terminal unowned not_applicable skipped attempt_terminal -", "skipped"),
        ] {
            let id = id();
            bench.insert_core(&id, states, vec![]).await;
            let before = bench.everything().await;
            let expected = format!(
                "validation: InvalidInput: cancel: execution_id={id}: already terminal in state '{state}'"
            );
            assert_refused(bench.backend.cancel(&by_hand(&bench, &id, 0, 1), "x").await, &expected);
            assert_eq!(bench.everything().await, before);
        }
        for states in [
            "terminal unowned not_applicable cancelled attempt_terminal -",
            "cancelled unowned not_applicable cancelled attempt_terminal -",
            "cancelled unowned cancelled cancelled cancelled -",
        ] {
            let id = id();
            bench.insert_core(&id, states, vec![]).await;
            let before = bench.everything().await;
            bench.backend.cancel(&by_hand(&bench, &id, 0, 1), "x").await.unwrap();
            assert_eq!(bench.everything().await, before);
        }
    }

    async fn an_unclaimed_execution_can_be_cancelled(bench) {
        let id = bench.create().await;
        bench.backend.cancel(&by_hand(&bench, &id, 0, 1), "never mind").await.unwrap();
        assert_eq!(bench.core(&id).await.states(), CANCELLED);
        assert_eq!(bench.attempt(&id, 0).await.text("outcome"), "cancelled");
        assert_eq!(bench.completions(&id).await, ["cancelled"]);
        assert_eq!(bench.lease_events(&id).await, [""; 0]);
        assert!(bench.try_claim().await.is_none());
    }

    async fn a_lost_lease_cannot_suspend(bench) {
        let (id, handle) = bench.leased().await;
        let other = bench.altered(&handle, |payload| {
            payload.lease_epoch = LeaseEpoch(0);
            payload.worker_instance_id = WorkerInstanceId::new("w-1");
        });
        assert_refused(bench.backend.cancel(&other, "x").await, "contention: LeaseConflict");
        assert_eq!(bench.core(&id).await.states(), crate::bench::ACTIVE);
        assert_eq!(payload_of(&handle).lease_epoch, LeaseEpoch(1));
    }

    async fn a_workers_reason_is_stored_without_nul(bench) {
        let (id, handle) = bench.leased().await;
        bench.backend.cancel(&handle, "a\0").await.unwrap();
        assert_eq!(bench.core(&id).await.text("cancellation_reason"), "a\u{fffd}");
    }

    async fn an_unknown_word_is_named(bench) {
        let id = id();
        bench.insert_core(&id, "odd unowned not_applicable waiting attempt_terminal -", vec![]).await;
        assert_refused(
            bench.backend.cancel(&by_hand(&bench, &id, 0, 1), "x").await,
            "validation: Corruption: ff_exec_core.lifecycle_phase: \"odd\" is not a known value",
        );
        let id = crate::bench::id();
        let more = vec![("cancelled_by", text("x"))];
        bench.insert_core(&id, "terminal unowned not_applicable odd attempt_terminal -", more).await;
        assert_refused(
            bench.backend.cancel(&by_hand(&bench, &id, 0, 1), "x").await,
            "validation: Corruption: ff_exec_core.public_state: \"odd\" is not a known value",
        );
    }
}
