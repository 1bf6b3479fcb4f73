//! What an operator does to an execution from outside.

use ff_core::contracts::{CancelExecutionArgs, CancelExecutionResult, IssueGrantAndClaimArgs};
use ff_core::state::PublicState;
use ff_core::types::{CancelSource, ExecutionId, LaneId, LeaseEpoch, TimestampMs};

use crate::backends::{Bench, START, conformance};
use crate::bench::{
    ACTIVE, COMPLETED, LANE, assert_not_active, assert_refused, id, id_in, partition, requiring,
};

const CANCELLED: &str = "cancelled unowned not_applicable cancelled attempt_terminal -";

fn cancel(bench: &Bench, id: &ExecutionId, source: CancelSource) -> CancelExecutionArgs {
    CancelExecutionArgs {
        execution_id: id.clone(),
        reason: "enough".into(),
        source,
        lease_id: None,
        lease_epoch: None,
        attempt_id: None,
        now: bench.clock.now(),
    }
}

conformance! {
    async fn an_operator_claims_what_could_be_claimed(bench) {
        let picky = Some(requiring(&["gpu"]));
        let id = bench.create_with(&|args| args.policy = picky.clone()).await;
        let args = |lane: &str| IssueGrantAndClaimArgs::new(id.clone(), LaneId::new(lane), 30_000);
        let error = bench.backend.issue_grant_and_claim(args("other")).await.unwrap_err();
        assert!(error.to_string().contains("lane_mismatch"), "{error}");
        let taken = bench.backend.issue_grant_and_claim(args(LANE)).await.unwrap();
        assert_eq!((taken.lease_epoch.0, taken.attempt_index.0), (1, 0));
        assert_eq!(bench.core(&id).await.states(), ACTIVE);
        let attempt = bench.attempt(&id, 0).await;
        assert_eq!(attempt.text("worker_id"), "operator");
        assert_eq!(attempt.uuid("lease_id"), Some(taken.lease_id.0));
        assert!(attempt.uuid("attempt_id").is_some());
        assert_eq!(bench.core(&id).await.int("total_attempt_count"), Some(1));
        assert_eq!(bench.lease_events(&id).await, ["acquired"]);
        assert_not_active(bench.backend.issue_grant_and_claim(args(LANE)).await, "active");
        assert!(bench.of("ff_claim_grant", &id).await.is_empty());
        bench.clock.advance(30_001);
        bench.backend.mark_lease_expired_if_due(partition(&id), &id).await.unwrap();
        let again = bench.backend.issue_grant_and_claim(args(LANE)).await.unwrap();
        assert_eq!(again.lease_epoch.0, 3, "epochs go on");
        let kept = bench.attempt(&id, 0).await.uuid("attempt_id");
        assert_eq!(kept, attempt.uuid("attempt_id"), "an interrupted attempt goes on");
        let unknown = IssueGrantAndClaimArgs::new(id_in(9), LaneId::new(LANE), 1);
        assert_refused(bench.backend.issue_grant_and_claim(unknown).await, "not found: execution");
    }

    async fn an_operator_cannot_claim_what_waits_for_its_time(bench) {
        let later = Some(TimestampMs(START + 5_000));
        let id = bench.create_with(&|args| args.delay_until = later).await;
        let args = IssueGrantAndClaimArgs::new(id, LaneId::new(LANE), 30_000);
        let before = bench.everything().await;
        let early = bench.backend.issue_grant_and_claim(args).await;
        assert_refused(early, "contention: ExecutionNotLeaseable");
        assert_eq!(bench.everything().await, before);
    }

    async fn an_operator_cancels_what_runs(bench) {
        let (id, handle) = bench.leased().await;
        let args = cancel(&bench, &id, CancelSource::OperatorOverride);
        let result = bench.backend.cancel_execution(args).await.unwrap();
        let public_state = PublicState::Cancelled;
        let cancelled = CancelExecutionResult::Cancelled { execution_id: id.clone(), public_state };
        assert_eq!(result, cancelled);
        let core = bench.core(&id).await;
        assert_eq!(core.states(), CANCELLED);
        assert_eq!(core.text("cancellation_reason"), "enough");
        assert_eq!(core.text("cancelled_by"), "operator_override");
        assert_eq!(core.int("terminal_at_ms"), Some(START));
        assert_eq!(bench.attempt(&id, 0).await.text("outcome"), "cancelled");
        assert_eq!(bench.completions(&id).await, ["cancelled"]);
        assert_eq!(bench.lease_events(&id).await, ["acquired", "revoked"]);
        assert_not_active(bench.backend.complete(&handle, None).await, "cancelled");
        let info = bench.backend.read_execution_info(&id).await.unwrap().unwrap();
        assert_eq!(info.public_state, PublicState::Cancelled);
    }

    async fn an_operator_cancels_what_waits(bench) {
        let id = bench.create().await;
        let args = cancel(&bench, &id, CancelSource::OperatorOverride);
        bench.backend.cancel_execution(args.clone()).await.unwrap();
        assert_eq!(bench.core(&id).await.states(), CANCELLED);
        assert_eq!(bench.completions(&id).await, ["cancelled"]);
        assert_eq!(bench.lease_events(&id).await, [""; 0]);
        assert!(bench.try_claim().await.is_none());
        let before = bench.everything().await;
        bench.backend.cancel_execution(args).await.unwrap();
        assert_eq!(bench.everything().await, before, "cancelling twice changes nothing");
    }

    async fn others_need_the_epoch_of_a_running_one(bench) {
        let (id, _) = bench.leased().await;
        let mut args = cancel(&bench, &id, CancelSource::FlowCascade);
        let before = bench.everything().await;
        assert_refused(
            bench.backend.cancel_execution(args.clone()).await,
            &format!(
                "validation: InvalidInput: cancel_execution: execution_id={id}: lease_epoch \
                 required when source != operator_override and execution is active"
            ),
        );
        for epoch in [0, 2, u64::MAX] {
            args.lease_epoch = Some(LeaseEpoch(epoch));
            assert_refused(bench.backend.cancel_execution(args.clone()).await, "state: StaleLease");
        }
        assert_eq!(bench.everything().await, before);
        args.lease_epoch = Some(LeaseEpoch(1));
        bench.backend.cancel_execution(args).await.unwrap();
        assert_eq!(bench.core(&id).await.text("cancelled_by"), "flow_cascade");
    }

    async fn another_end_is_named(bench) {
        let id = id();
        bench.insert_core(&id, COMPLETED, vec![]).await;
        let args = cancel(&bench, &id, CancelSource::OperatorOverride);
        let error = bench.backend.cancel_execution(args).await.unwrap_err().to_string();
        let expected = format!("cancel_execution: execution_id={id}: already terminal in state 'completed'");
        assert!(error.ends_with(&expected), "{error}");
        let unknown = crate::bench::id();
        let args = cancel(&bench, &unknown, CancelSource::OperatorOverride);
        assert_refused(bench.backend.cancel_execution(args).await, "not found: execution");
    }

    async fn a_claim_and_a_cancellation_leave_consistent_rows(bench) {
        for _ in 0..20 {
            let id = bench.create().await;
            let (claiming, cancelling) = (std::sync::Arc::clone(&bench), std::sync::Arc::clone(&bench));
            let args = cancel(&bench, &id, CancelSource::OperatorOverride);
            let claim = tokio::spawn(async move { claiming.try_claim().await });
            let cancelled = tokio::spawn(async move { cancelling.backend.cancel_execution(args).await });
            let handle = claim.await.unwrap();
            cancelled.await.unwrap().unwrap();
            assert_eq!(bench.core(&id).await.states(), CANCELLED);
            if let Some(handle) = handle {
                assert_not_active(bench.backend.complete(&handle, None).await, "cancelled");
            }
        }
    }
}
