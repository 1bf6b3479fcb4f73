//! Taking a lease away, and giving what waits another priority.

use ff_core::contracts::{
    ChangePriorityArgs, ChangePriorityResult, RevokeLeaseArgs, RevokeLeaseResult,
};
use ff_core::types::{ExecutionId, WorkerInstanceId};

use crate::backends::{Bench, conformance};
use crate::bench::{COMPLETED, assert_refused, id, lane, payload_of};

fn revocation(id: &ExecutionId, instance: &str, lease: Option<&str>) -> RevokeLeaseArgs {
    RevokeLeaseArgs {
        execution_id: id.clone(),
        expected_lease_id: lease.map(Into::into),
        worker_instance_id: WorkerInstanceId::new(instance),
        reason: "stuck".into(),
    }
}

fn satisfied(reason: &str) -> RevokeLeaseResult {
    RevokeLeaseResult::AlreadySatisfied { reason: reason.into() }
}

fn priority(bench: &Bench, id: &ExecutionId, new_priority: i32) -> ChangePriorityArgs {
    let (execution_id, now) = (id.clone(), bench.clock.now());
    ChangePriorityArgs { execution_id, new_priority, lane_id: lane(), now }
}

conformance! {
    async fn a_revoked_lease_can_be_claimed_at_once(bench) {
        let (id, handle) = bench.leased().await;
        let result = bench.backend.revoke_lease(revocation(&id, "", None)).await.unwrap();
        let RevokeLeaseResult::Revoked { lease_id, lease_epoch } = result else {
            panic!("there was a lease: {result:?}")
        };
        let ending = format!(":{}:0:1", payload_of(&handle).execution_id.uuid());
        assert!(lease_id.ends_with(&ending), "{lease_id}");
        assert_eq!(lease_epoch, "2");
        let waiting = "runnable unowned eligible_now waiting attempt_interrupted waiting_for_worker";
        assert_eq!(bench.core(&id).await.states(), waiting);
        assert_eq!(bench.attempt(&id, 0).await.int("lease_expires_at_ms"), None);
        assert_eq!(bench.lease_events(&id).await, ["acquired", "revoked"]);
        let event = bench.of("ff_operator_event", &id).await.remove(0);
        assert_eq!(event.text("event_type"), "lease_revoked");
        let worker = payload_of(&handle).worker_instance_id;
        let why = serde_json::json!({
            "reason": "stuck", "lease_id": lease_id.clone(), "worker_instance_id": worker,
        });
        assert_eq!(*event.json("details"), why);
        assert_eq!(bench.completions(&id).await, [""; 0]);
        let again = bench.claim().await;
        assert_eq!(payload_of(&again).lease_epoch.0, 3);
        assert_refused(bench.backend.complete(&handle, None).await, "contention: LeaseConflict");
        bench.backend.complete(&again, None).await.unwrap();
    }

    async fn only_the_lease_that_is_named_is_revoked(bench) {
        let (id, handle) = bench.leased().await;
        let held = payload_of(&handle);
        let before = bench.everything().await;
        let backend = &bench.backend;
        let other = backend.revoke_lease(revocation(&id, "somebody", None)).await.unwrap();
        assert_eq!(other, satisfied("different_worker_instance_id"));
        let other = backend.revoke_lease(revocation(&id, "", Some("pg:x:0:1"))).await.unwrap();
        assert_eq!(other, satisfied("lease_id_mismatch"));
        assert_eq!(bench.everything().await, before);
        let named = held.lease_id.to_string();
        let own = revocation(&id, held.worker_instance_id.as_str(), Some(&named));
        let revoked = backend.revoke_lease(own.clone()).await.unwrap();
        assert!(matches!(revoked, RevokeLeaseResult::Revoked { .. }), "{revoked:?}");
        let before = bench.everything().await;
        assert_eq!(backend.revoke_lease(own).await.unwrap(), satisfied("no_active_lease"));
        assert_eq!(bench.everything().await, before);
    }

    async fn without_a_lease_there_is_nothing_to_revoke(bench) {
        let waiting = bench.create().await;
        let result = bench.backend.revoke_lease(revocation(&waiting, "", None)).await.unwrap();
        assert_eq!(result, satisfied("no_active_lease"));
        let unknown = bench.backend.revoke_lease(revocation(&id(), "", None)).await;
        assert_refused(unknown, "not found: execution");
    }

    async fn what_waits_takes_another_priority(bench) {
        let first = bench.create().await;
        let second = bench.create().await;
        for (asked, stored) in [(50, 50), (-5, 0), (1_000_000, 9000)] {
            let changed = bench.backend.change_priority(priority(&bench, &second, asked)).await;
            let execution_id = second.clone();
            assert_eq!(changed.unwrap(), ChangePriorityResult::Changed { execution_id });
            assert_eq!(bench.core(&second).await.int("priority"), Some(stored));
        }
        let events = bench.of("ff_operator_event", &second).await;
        assert_eq!(events.len(), 3);
        assert_eq!(events[0].text("event_type"), "priority_changed");
        assert_eq!(*events[2].json("details"), serde_json::json!({"old_priority": 0, "new_priority": 9000}));
        assert_eq!(payload_of(&bench.claim().await).execution_id, second);
        assert_eq!(payload_of(&bench.claim().await).execution_id, first);
    }

    async fn what_does_not_wait_keeps_its_priority(bench) {
        let (running, _) = bench.leased().await;
        let ended = id();
        bench.insert_core(&ended, COMPLETED, vec![]).await;
        let blocked = id();
        let states = "runnable unowned blocked_by_operator waiting pending_first_attempt paused_by_operator";
        bench.insert_core(&blocked, states, vec![]).await;
        let before = bench.everything().await;
        for id in [&running, &ended, &blocked] {
            let changed = bench.backend.change_priority(priority(&bench, id, 7)).await;
            assert_refused(changed, "contention: ExecutionNotEligible");
        }
        let unknown = bench.backend.change_priority(priority(&bench, &id(), 7)).await;
        assert_refused(unknown, "not found: execution");
        assert_eq!(bench.everything().await, before);
    }
}
