//! Since when an execution can be claimed: every way to become claimable says so, and the longest
//! claimable goes first.

use ff_core::backend::{FailureClass, FailureReason};
use ff_core::contracts::{ResumeExecutionArgs, RevokeLeaseArgs};
use ff_core::engine_backend::Scan;
use ff_core::types::{ExecutionId, TimestampMs, WorkerInstanceId};

use crate::backends::{Bench, START, conformance};
use crate::bench::{TTL, partition, payload_of};
use crate::flow::End;

async fn since(bench: &Bench, id: &ExecutionId) -> i64 {
    bench.core(id).await.int("claimable_since_ms").unwrap() - START
}

async fn fail(bench: &Bench, handle: &ff_core::backend::Handle) {
    let reason = FailureReason::new("no paper");
    bench.backend.fail(handle, reason, FailureClass::Transient).await.unwrap();
}

async fn resume(bench: &Bench, id: &ExecutionId, resume_delay_ms: u64) {
    let args = ResumeExecutionArgs {
        execution_id: id.clone(),
        trigger_type: "operator".into(),
        resume_delay_ms,
    };
    bench.backend.resume_execution(args).await.unwrap();
}

conformance! {
    async fn a_submission_is_claimable_since_its_creation_by_the_engines_clock(bench) {
        bench.clock.advance(3);
        let now = bench.create_with(&|args| args.now = TimestampMs(START + 600_000)).await;
        let due = Some(TimestampMs(START + 70));
        let later = bench.create_with(&|args| args.delay_until = due).await;
        assert_eq!((since(&bench, &now).await, since(&bench, &later).await), (3, 70));
        assert_eq!(bench.core(&now).await.int("created_at_ms"), Some(START + 3));

        bench.clock.advance(200);
        assert_eq!(bench.backend.scan(Scan::DelayedPromotion, 10).await.unwrap().processed, 1);
        assert_eq!(since(&bench, &later).await, 70, "not since the scanner looked");
        let described = bench.backend.describe_execution(&later).await.unwrap().unwrap();
        assert_eq!(described.claimable_since, Some(TimestampMs(START + 70)));
        assert_eq!(described.last_mutation_at, TimestampMs(START + 203));
    }

    async fn a_released_execution_is_claimable_since_its_release(bench) {
        let (lapsed, _) = bench.leased().await;
        bench.clock.advance(TTL);
        bench.backend.mark_lease_expired_if_due(partition(&lapsed), &lapsed).await.unwrap();
        assert_eq!(since(&bench, &lapsed).await, TTL);

        let handle = bench.claim().await;
        assert_eq!(payload_of(&handle).execution_id, lapsed);
        bench.clock.advance(1);
        let revoke = RevokeLeaseArgs {
            execution_id: lapsed.clone(),
            expected_lease_id: None,
            worker_instance_id: WorkerInstanceId::new(""),
            reason: "stuck".into(),
        };
        bench.backend.revoke_lease(revoke).await.unwrap();
        assert_eq!(since(&bench, &lapsed).await, TTL + 1, "an operator took it away");

        let handle = bench.claim().await;
        let until = TimestampMs(bench.clock.now().0 + 9);
        bench.backend.delay(&handle, until).await.unwrap();
        assert_eq!(since(&bench, &lapsed).await, TTL + 10, "its worker put it off");

        bench.clock.advance(50);
        bench.backend.scan(Scan::DelayedPromotion, 10).await.unwrap();
        let handle = bench.claim().await;
        bench.backend.wait_children(&handle).await.unwrap();
        assert_eq!(since(&bench, &lapsed).await, TTL + 51, "it had nothing to wait for");

        let handle = bench.claim().await;
        bench.backend.complete(&handle, None).await.unwrap();
        bench.clock.advance(1);
        bench.replay(&lapsed).await;
        assert_eq!(since(&bench, &lapsed).await, TTL + 52, "it runs again");
    }

    async fn a_resumed_execution_is_claimable_since_its_resumption(bench) {
        let (id, _, target) = bench.waiting(|args| args).await;
        bench.clock.advance(4);
        bench.deliver(&target, "go").await.unwrap();
        assert_eq!(since(&bench, &id).await, 4, "a signal came");
        bench.claim().await;

        let (id, _, _) = bench.waiting(|args| args).await;
        bench.clock.advance(1);
        resume(&bench, &id, 0).await;
        assert_eq!(since(&bench, &id).await, 5, "an operator resumed it");
        bench.claim().await;

        let (id, _, _) = bench.waiting(|args| args).await;
        resume(&bench, &id, 30).await;
        assert_eq!(since(&bench, &id).await, 35, "an operator resumed it for later");
    }

    async fn a_dependent_execution_is_claimable_since_its_upstreams_ended(bench) {
        let flow = bench.flow(2).await;
        let [up, down] = &flow.members[..] else { panic!() };
        bench.connect(&flow, &[(0, 1)]).await;
        assert_eq!(bench.backend.describe_execution(down).await.unwrap().unwrap().claimable_since, None);
        bench.clock.advance(11);
        bench.end_and_dispatch(up, End::Success).await;
        assert_eq!(since(&bench, down).await, 11);

        let held = bench.held_flow(2).await;
        bench.clock.advance(1);
        bench.backend.release_flow(&held.id, bench.clock.now()).await.unwrap();
        for member in &held.members {
            assert_eq!(since(&bench, member).await, 12);
        }
    }

    async fn a_retry_queues_behind_executions_that_waited_longer(bench) {
        let (failing, handle) = bench.leased().await;
        let mut waiting = Vec::new();
        for _ in 0..3 {
            bench.clock.advance(1);
            waiting.push(bench.create().await);
        }
        fail(&bench, &handle).await;
        let due = bench.core(&failing).await.int("eligible_at_ms").unwrap();
        bench.clock.advance(due - bench.clock.now().0 - 1);
        let before_it = bench.create().await;
        bench.clock.advance(2);
        let after_it = bench.create().await;
        bench.backend.scan(Scan::DelayedPromotion, 10).await.unwrap();

        waiting.extend([before_it, failing, after_it]);
        for expected in waiting {
            assert_eq!(payload_of(&bench.claim().await).execution_id, expected);
        }
    }

    async fn every_change_records_its_time(bench) {
        let (id, handle) = bench.leased().await;
        let changed = async || {
            let described = bench.backend.describe_execution(&id).await.unwrap().unwrap();
            described.last_mutation_at.0 - START
        };
        bench.clock.advance(1);
        bench.backend.progress(&handle, Some(5), None).await.unwrap();
        assert_eq!(changed().await, 1, "progress");
        bench.clock.advance(1);
        bench.backend.set_execution_tag(&id, "app.stage", "two").await.unwrap();
        assert_eq!(changed().await, 2, "a tag");
        bench.clock.advance(1);
        bench.backend.delay(&handle, bench.clock.now()).await.unwrap();
        assert_eq!(changed().await, 3, "a delay");
        bench.clock.advance(1);
        bench.backend.scan(Scan::DelayedPromotion, 10).await.unwrap();
        assert_eq!(changed().await, 4, "a promotion");
        bench.clock.advance(1);
        bench.claim().await;
        assert_eq!(changed().await, 5, "a claim");
        bench.clock.advance(TTL);
        bench.backend.scan(Scan::LeaseExpiry, 10).await.unwrap();
        assert_eq!(changed().await, 5 + TTL, "a lease that lapsed");
    }
}
