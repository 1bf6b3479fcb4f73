//! Workers that are lost: every lapse counts, and one too many ends the execution.

use ff_core::backend::ResumeToken;
use ff_core::contracts::{ReplayExecutionArgs, ResumeGrant, RevokeLeaseArgs};
use ff_core::engine_backend::Scan;
use ff_core::policy::ExecutionPolicy;
use ff_core::types::{ExecutionId, WorkerId, WorkerInstanceId};
use serde_json::json;

use crate::backends::{Bench, conformance};
use crate::bench::{FAILED, TTL, assert_refused, lane, partition, payload_of};
use crate::plain::int;

const RELEASED: &str =
    "runnable unowned eligible_now waiting attempt_interrupted waiting_for_worker";

fn capped(most: u32) -> ExecutionPolicy {
    let document = json!({ "max_reclaim_count": most, "retry_policy": { "max_retries": 0 } });
    serde_json::from_value(document).unwrap()
}

async fn scanned(bench: &Bench) {
    let counts = bench.backend.scan(Scan::LeaseExpiry, 10).await.unwrap();
    assert_eq!((counts.processed, counts.errors), (1, 0));
}

async fn marked(bench: &Bench, id: &ExecutionId) {
    bench.backend.mark_lease_expired_if_due(partition(id), id).await.unwrap();
}

fn taking_over(bench: &Bench, id: &ExecutionId) -> ResumeToken {
    let until = bench.clock.now().0.unsigned_abs() + 60_000;
    let place = (&partition(id)).into();
    let grant = ResumeGrant::new(id.clone(), place, "grant".into(), until, lane());
    let instance = WorkerInstanceId::new("w-9");
    ResumeToken::new(grant, WorkerId::new("w"), instance, u32::try_from(TTL).unwrap())
}

async fn replayed(bench: &Bench, id: &ExecutionId) {
    let args = ReplayExecutionArgs { execution_id: id.clone(), now: bench.clock.now() };
    bench.backend.replay_execution(args).await.unwrap();
}

async fn failed_for(bench: &Bench, id: &ExecutionId, message: &str) {
    assert_eq!(bench.core(id).await.states(), FAILED);
    let attempt = bench.attempt(id, 0).await;
    assert_eq!(attempt.text("outcome"), "failed");
    assert_eq!(attempt.text("failure_message"), message);
    assert_eq!(attempt.text("failure_class"), "infra_crash");
    assert_eq!(bench.completions(id).await, ["failed"]);
}

conformance! {
    async fn work_that_kills_its_worker_ends_in_the_end(bench) {
        let policy = capped(2);
        let (id, _) = bench.leased_with(&|args| args.policy = Some(policy.clone())).await;
        for lost in 1..=2 {
            bench.clock.advance(TTL);
            if lost == 1 { scanned(&bench).await } else { marked(&bench, &id).await }
            let core = bench.core(&id).await;
            assert_eq!((core.states().as_str(), core.int("lease_reclaim_count")), (RELEASED, Some(lost)));
            bench.claim().await;
        }
        bench.clock.advance(TTL);
        scanned(&bench).await;
        failed_for(&bench, &id, "its worker was lost 3 times").await;
        assert_eq!(bench.core(&id).await.int("lease_reclaim_count"), Some(3));
        assert!(bench.try_claim().await.is_none());
        let events = bench.lease_events(&id).await;
        assert_eq!(events.iter().filter(|event| *event == "expired").count(), 3);

        // An operator who brings it back begins to count anew.
        replayed(&bench, &id).await;
        assert_eq!(bench.core(&id).await.int("lease_reclaim_count"), Some(0));
    }

    async fn a_policy_may_allow_no_lost_worker(bench) {
        let policy = capped(0);
        let (id, _) = bench.leased_with(&|args| args.policy = Some(policy.clone())).await;
        bench.clock.advance(TTL);
        marked(&bench, &id).await;
        failed_for(&bench, &id, "its worker was lost once").await;
    }

    async fn without_a_policy_a_hundred_may_be_lost(bench) {
        for (before, after) in [(-7, Some(1)), (99, Some(100)), (100, None)] {
            let (id, _) = bench.leased().await;
            bench.set_core(&id, vec![("lease_reclaim_count", int(before))]).await;
            bench.clock.advance(TTL);
            scanned(&bench).await;
            match after {
                Some(count) => {
                    let core = bench.core(&id).await;
                    let now = (core.states(), core.int("lease_reclaim_count"));
                    assert_eq!(now, (RELEASED.to_owned(), Some(count)));
                    let handle = bench.claim().await;
                    bench.backend.complete(&handle, None).await.unwrap();
                }
                None => failed_for(&bench, &id, "its worker was lost 101 times").await,
            }
        }
    }

    async fn taking_over_a_lapsed_lease_counts_too(bench) {
        let policy = capped(1);
        let (id, _) = bench.leased_with(&|args| args.policy = Some(policy.clone())).await;
        bench.clock.advance(TTL);
        let taken = bench.backend.claim_from_resume_grant(taking_over(&bench, &id)).await.unwrap();
        assert_eq!(payload_of(&taken.unwrap()).lease_epoch.0, 2);
        assert_eq!(bench.core(&id).await.int("lease_reclaim_count"), Some(1));
        bench.clock.advance(TTL);
        let second = bench.backend.claim_from_resume_grant(taking_over(&bench, &id)).await;
        assert_refused(second, "contention: ExecutionNotLeaseable");
        failed_for(&bench, &id, "its worker was lost 2 times").await;
    }

    async fn a_lease_that_is_taken_away_is_no_loss(bench) {
        let policy = capped(0);
        let (id, handle) = bench.leased_with(&|args| args.policy = Some(policy.clone())).await;
        let instance = payload_of(&handle).worker_instance_id;
        let args = RevokeLeaseArgs {
            execution_id: id.clone(),
            expected_lease_id: None,
            worker_instance_id: instance,
            reason: "drain".into(),
        };
        bench.backend.revoke_lease(args).await.unwrap();
        assert_eq!(bench.core(&id).await.int("lease_reclaim_count"), Some(0));
        bench.backend.complete(&bench.claim().await, None).await.unwrap();
    }
}
