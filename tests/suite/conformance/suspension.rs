//! A worker lets go of its execution until a condition holds.

use std::time::Duration;

use ff_core::contracts::{
    CompositeBody, IdempotencyKey, ListPendingWaitpointsArgs, ResumeCondition, ResumeExecutionArgs,
    ResumeExecutionResult, SuspendOutcome, SuspensionReasonCode, WaitpointBinding,
};
use ff_core::partition::PartitionKey;
use ff_core::state::PublicState;
use ff_core::types::{ExecutionId, TimestampMs, WaitpointId};
use uuid::Uuid;

use crate::backends::{Bench, START, conformance};
use crate::bench::{
    ACTIVE, TTL, assert_not_active, assert_refused, fence, id, lane, partition, payload_of,
};
use crate::suspended::{RESUMABLE, SUSPENDED, fresh, named, targets};

fn partition_key(id: &ExecutionId) -> PartitionKey {
    (&partition(id)).into()
}

async fn open_waitpoints(bench: &Bench, id: &ExecutionId) -> usize {
    let args = ListPendingWaitpointsArgs::new(id.clone());
    bench.backend.list_pending_waitpoints(args).await.unwrap().entries.len()
}

fn resume(id: &ExecutionId, resume_delay_ms: u64) -> ResumeExecutionArgs {
    let trigger_type = "operator".into();
    ResumeExecutionArgs { execution_id: id.clone(), trigger_type, resume_delay_ms }
}

conformance! {
    async fn a_suspension_gives_the_lease_back_and_opens_its_waitpoints(bench) {
        bench.seed().await;
        let (id, handle) = bench.leased().await;
        let targets = ["a", "b", "c"].map(fresh);
        let until = TimestampMs(START + 60_000);
        let args = bench.wait(targets.to_vec(), ResumeCondition::all_of_waitpoints(["a", "b", "c"]))
            .with_timeout(until, ff_core::contracts::TimeoutBehavior::Cancel)
            .with_continuation_metadata_pointer("s3://left".into());
        let opened_doors = bench.suspend(&id, &handle, args.clone()).await;
        assert_eq!(opened_doors.len(), 3);
        assert_eq!(bench.core(&id).await.states(), SUSPENDED);
        let attempt = bench.attempt(&id, 0).await;
        assert_eq!(attempt.int("lease_epoch"), Some(2));
        assert_eq!(attempt.text("outcome"), "attempt_interrupted");
        assert_eq!(attempt.int("lease_expires_at_ms"), None);
        assert_eq!(bench.lease_events(&id).await, ["acquired", "revoked"]);
        let rows = bench.of("ff_waitpoint_pending", &id).await;
        assert_eq!(rows.len(), 3);
        for row in &rows {
            assert_eq!(row.text("state"), "active");
            assert_eq!(row.int("created_at_ms"), Some(START));
            assert_eq!(row.int("activated_at_ms"), Some(START));
            assert_eq!(row.int("expires_at_ms"), Some(until.0));
        }
        let suspension = bench.of("ff_suspension_current", &id).await.remove(0);
        assert_eq!(suspension.text("reason_code"), "waiting_for_signal");
        assert_eq!(suspension.text("timeout_behavior"), "cancel");
        assert_eq!(suspension.text("requested_by"), "worker");
        assert_eq!(suspension.text("continuation_metadata_pointer"), "s3://left");
        assert_eq!(suspension.int("timeout_at_ms"), Some(until.0));
        assert!(bench.try_claim().await.is_none());
        assert_not_active(bench.backend.complete(&handle, None).await, "suspended");
        assert_not_active(bench.backend.suspend(&handle, args).await, "suspended");
    }

    async fn what_it_waits_for_is_the_reason_given(bench) {
        bench.seed().await;
        for (reason, blocking) in [
            (SuspensionReasonCode::WaitingForApproval, "waiting_for_approval"),
            (SuspensionReasonCode::WaitingForCallback, "waiting_for_callback"),
            (SuspensionReasonCode::WaitingForToolResult, "waiting_for_tool_result"),
            (SuspensionReasonCode::WaitingForOperatorReview, "paused_by_operator"),
            (SuspensionReasonCode::PausedByBudget, "waiting_for_budget"),
            (SuspensionReasonCode::StepBoundary, "paused_by_policy"),
        ] {
            let (id, handle) = bench.leased().await;
            let mut args = bench.wait(vec![fresh("a")], named("a", "go"));
            args.reason_code = reason;
            bench.suspend(&id, &handle, args).await;
            assert_eq!(bench.core(&id).await.text("blocking_reason"), blocking);
        }
    }

    async fn a_fence_suspends_as_a_handle_does(bench) {
        bench.seed().await;
        let (id, handle) = bench.leased().await;
        let args = bench.wait(vec![fresh("a")], named("a", "go"));
        let mut stale = fence(&handle);
        stale.lease_epoch.0 += 1;
        let other = bench.backend.suspend_by_triple(id.clone(), stale, args.clone()).await;
        assert_refused(other, "state: StaleLease");
        let outcome = bench.backend.suspend_by_triple(id.clone(), fence(&handle), args).await;
        let outcome = outcome.unwrap();
        assert_eq!(targets(&id, &outcome).len(), 1);
        let SuspendOutcome::Suspended { handle: own, .. } = outcome else {
            panic!("it is suspended")
        };

        // The handle says what the worker's own would have said.
        let (own, leased) = (payload_of(&own), payload_of(&handle));
        assert_eq!((own.execution_id, own.lane_id), (leased.execution_id, leased.lane_id));
        assert_eq!(own.worker_instance_id, leased.worker_instance_id);
        assert_eq!((own.lease_epoch, own.lease_id), (leased.lease_epoch, leased.lease_id));
        assert_eq!(bench.core(&id).await.states(), SUSPENDED);
        let args = bench.wait(vec![fresh("a")], named("a", "go"));
        let unknown = bench.backend.suspend_by_triple(self::id(), fence(&handle), args).await;
        assert_refused(unknown, "not found: execution");
    }

    async fn a_lease_that_lapsed_or_went_elsewhere_cannot_suspend(bench) {
        bench.seed().await;
        let (id, handle) = bench.leased().await;
        let args = bench.wait(vec![fresh("a")], named("a", "go"));
        let stale = bench.altered(&handle, |payload| payload.lease_epoch.0 -= 1);
        let before = bench.everything().await;
        assert_refused(
            bench.backend.suspend(&stale, args.clone()).await,
            "contention: LeaseConflict",
        );
        bench.clock.advance(TTL + 1);
        let mut late = args;
        late.now = bench.clock.now();
        assert_refused(bench.backend.suspend(&handle, late).await, "state: LeaseExpired");
        assert_eq!(bench.everything().await, before);
        assert_eq!(bench.core(&id).await.states(), ACTIVE);
    }

    async fn what_cannot_be_waited_for_is_refused(bench) {
        bench.seed().await;
        let (_, handle) = bench.leased().await;
        let before = bench.everything().await;
        let target = fresh("a");
        let invalid = "validation: InvalidInput";
        for (args, detail) in [
            (bench.wait(vec![], named("a", "go")), "suspend requires at least one waitpoint binding"),
            (bench.wait(vec![fresh("a")], ResumeCondition::TimeoutOnly), "timeout_only_without_deadline"),
            (
                bench.wait(
                    vec![fresh("a")],
                    ResumeCondition::Composite(CompositeBody::all_of([])),
                ),
                "allof_empty_members",
            ),
            (bench.wait(vec![fresh("a")], named("a", "")), "a signal name must not be empty"),
            (bench.wait(vec![target.clone(), target], named("a", "go")), "is bound twice"),
        ] {
            let error = bench.backend.suspend(&handle, args).await.unwrap_err().to_string();
            assert!(error.contains(invalid) && error.contains(detail), "{error}");
        }
        assert_eq!(bench.everything().await, before);
    }

    async fn without_a_key_nothing_is_suspended(bench) {
        let (_, handle) = bench.leased().await;
        let args = bench.wait(vec![fresh("a")], named("a", "go"));
        let error = bench.backend.suspend(&handle, args).await.unwrap_err().to_string();
        assert!(error.contains("ff_waitpoint_hmac empty — seed a kid before suspend"), "{error}");
        let error = bench.backend.create_waitpoint(&handle, "a", Duration::from_secs(1)).await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains("seed a kid before create_waitpoint"), "{error}");
    }

    async fn a_repetition_under_the_same_key_gets_the_same_answer(bench) {
        bench.seed().await;
        let (id, handle) = bench.leased().await;
        let args = bench.wait(vec![fresh("a"), fresh("b")], named("a", "go"))
            .with_idempotency_key(IdempotencyKey::new("once"));
        let first = bench.backend.suspend(&handle, args.clone()).await.unwrap();
        let before = bench.everything().await;
        let mut other = bench.wait(vec![fresh("x")], named("x", "go"));
        other.idempotency_key = args.idempotency_key.clone();
        for again in [args, other] {
            assert_eq!(bench.backend.suspend(&handle, again).await.unwrap(), first);
        }
        assert_eq!(bench.everything().await, before);
        let (another, handle) = bench.leased().await;
        assert_eq!(another.partition(), id.partition());
        let args = bench.wait(vec![fresh("a")], named("a", "go"))
            .with_idempotency_key(IdempotencyKey::new("once"));
        let second = bench.backend.suspend(&handle, args).await.unwrap();
        assert_ne!(second, first, "keys belong to their execution");
    }

    async fn a_waitpoint_made_earlier_keeps_its_token(bench) {
        bench.seed().await;
        let (id, handle) = bench.leased().await;
        let minute = Duration::from_mins(1);
        let made = bench.backend.create_waitpoint(&handle, "a", minute).await.unwrap();
        let row = bench.of("ff_waitpoint_pending", &id).await.remove(0);
        assert_eq!((row.text("state"), row.int("activated_at_ms")), ("pending", None));
        assert_eq!(row.int("expires_at_ms"), Some(START + 60_000));
        let binding = WaitpointBinding::use_pending(&made);
        let args = bench.wait(vec![binding, fresh("b")], named("a", "go"));
        let targets = bench.suspend(&id, &handle, args).await;
        assert_eq!(targets[0].token, made.hmac_token.as_str());
        let rows = bench.of("ff_waitpoint_pending", &id).await;
        assert!(rows.iter().all(|row| row.text("state") == "active"));
        assert!(rows.iter().all(|row| row.int("expires_at_ms").is_none()));
        assert_eq!(bench.deliver(&targets[0], "go").await.unwrap(), "resume_condition_satisfied");
        assert_eq!(bench.core(&id).await.states(), RESUMABLE);
    }

    async fn an_invalid_waitpoint_is_refused(bench) {
        bench.seed().await;
        let (_, other) = bench.leased().await;
        let foreign = bench.backend.create_waitpoint(&other, "a", Duration::from_mins(1)).await;
        let (_, handle) = bench.leased().await;
        let use_of = |binding| bench.wait(vec![binding], named("a", "go"));
        let foreign = use_of(WaitpointBinding::use_pending(&foreign.unwrap()));
        let error = bench.backend.suspend(&handle, foreign).await.unwrap_err().to_string();
        assert!(error.contains("waitpoint belongs to a different execution"), "{error}");
        let waitpoint_id = WaitpointId::from_uuid(Uuid::new_v4());
        let unknown = use_of(WaitpointBinding::UsePending { waitpoint_id });
        assert_refused(bench.backend.suspend(&handle, unknown).await, "not found: waitpoint");
        let made = bench.backend.create_waitpoint(&handle, "a", Duration::from_millis(5)).await;
        bench.clock.advance(6);
        let late = use_of(WaitpointBinding::use_pending(&made.unwrap()));
        assert_refused(
            bench.backend.suspend(&handle, late).await,
            "state: PendingWaitpointExpired",
        );
        let stale = bench.altered(&handle, |payload| payload.lease_epoch.0 += 1);
        let made = bench.backend.create_waitpoint(&stale, "a", Duration::from_mins(1)).await;
        assert_refused(made, "contention: LeaseConflict");
    }

    async fn the_id_of_a_waitpoint_is_taken_once(bench) {
        let (id, _, target) = bench.waiting(|args| args).await;
        let (_, handle) = bench.leased().await;
        let before = bench.everything().await;
        let waitpoint_id = target.id.clone();
        let taken = WaitpointBinding::Fresh { waitpoint_id, waitpoint_key: "b".into() };
        let args = bench.wait(vec![fresh("a"), taken], named("b", "go"));
        let refusal = bench.backend.suspend(&handle, args).await;
        assert_refused(refusal, "conflict: WaitpointAlreadyExists");
        assert_eq!(bench.everything().await, before, "nothing of it is left");
        assert_eq!(bench.deliver(&target, "go").await.unwrap(), "resume_condition_satisfied");
        assert_eq!(bench.core(&id).await.states(), RESUMABLE);
    }

    async fn an_operator_ends_the_wait(bench) {
        let (id, handle, target) = bench.waiting(|args| args).await;
        let resumed = bench.backend.resume_execution(resume(&id, 0)).await.unwrap();
        let waiting = PublicState::Waiting;
        assert_eq!(resumed, ResumeExecutionResult::Resumed { public_state: waiting });
        let states = "runnable unowned eligible_now waiting attempt_interrupted waiting_for_worker";
        assert_eq!(bench.core(&id).await.states(), states);
        assert_eq!(open_waitpoints(&bench, &id).await, 0);
        assert_eq!(bench.completions(&id).await, ["resumable"]);
        assert_refused(bench.deliver(&target, "go").await, "not found: waitpoint");
        let again = bench.backend.resume_execution(resume(&id, 0)).await;
        assert_refused(again, "state: ExecutionNotSuspended");
        assert_refused(
            bench.backend.resume_execution(resume(&self::id(), 0)).await,
            "not found: execution",
        );
        assert_not_active(bench.backend.complete(&handle, None).await, "runnable");
        let handle = bench.claim().await;
        assert_eq!(payload_of(&handle).lease_epoch.0, 3);
        bench.backend.complete(&handle, None).await.unwrap();
    }

    async fn a_resume_can_be_put_off(bench) {
        let (id, _, _) = bench.waiting(|args| args).await;
        let resumed = bench.backend.resume_execution(resume(&id, 500)).await.unwrap();
        let delayed = PublicState::Delayed;
        assert_eq!(resumed, ResumeExecutionResult::Resumed { public_state: delayed });
        let core = bench.core(&id).await;
        assert_eq!(core.text("blocking_reason"), "waiting_for_resume_delay");
        assert_eq!(core.int("eligible_at_ms"), Some(START + 500));
        assert!(bench.try_claim().await.is_none());
        bench.clock.advance(500);
        let now = bench.clock.now();
        bench.backend.promote_delayed(partition(&id), &lane(), &id, now).await.unwrap();
        assert_eq!(bench.core(&id).await.states(), RESUMABLE);
        let handle = bench.claim().await;
        bench.backend.complete(&handle, None).await.unwrap();
    }

    async fn waitpoints_are_listed_by_pages_and_without_their_tokens(bench) {
        bench.seed().await;
        let (id, handle) = bench.leased().await;
        let targets: Vec<_> = (0..5).map(|n| fresh(&format!("k{n}"))).collect();
        let opened = bench.suspend(&id, &handle, bench.wait(targets, named("k0", "go"))).await;
        let mut args = ListPendingWaitpointsArgs::new(id.clone()).with_limit(2);
        let mut seen = Vec::new();
        loop {
            let page = bench.backend.list_pending_waitpoints(args.clone()).await.unwrap();
            assert!(page.entries.len() <= 2);
            seen.extend(page.entries);
            let Some(next) = page.next_cursor else { break };
            args = args.with_after(next);
        }
        assert_eq!(seen.len(), 5);
        assert!(seen.is_sorted_by_key(|info| *info.waitpoint_id.as_bytes()));
        for info in &seen {
            let target = opened.iter().find(|target| target.id == info.waitpoint_id).unwrap();
            assert_eq!(info.token_kid, "kid1");
            assert_eq!(target.token, format!("kid1:{}", &target.token[5..]));
            assert_eq!(info.token_fingerprint, target.token[5..21]);
            let names: &[&str] = if info.waitpoint_key == "k0" { &["go"] } else { &[] };
            assert_eq!(info.required_signal_names, names);
        }
        let token = bench.backend.read_waitpoint_token(partition_key(&id), &opened[0].id).await;
        assert_eq!(token.unwrap().as_deref(), Some(opened[0].token.as_str()));
        let unknown = WaitpointId::from_uuid(Uuid::new_v4());
        let token = bench.backend.read_waitpoint_token(partition_key(&id), &unknown).await;
        assert_eq!(token.unwrap(), None);
        let args = ListPendingWaitpointsArgs::new(self::id());
        assert_refused(bench.backend.list_pending_waitpoints(args).await, "not found: execution");
    }

    async fn the_suspended_are_listed_the_longest_first(bench) {
        bench.seed().await;
        let mut expected = Vec::new();
        for _ in 0..5 {
            let (id, handle) = bench.leased().await;
            let args = bench.wait(vec![fresh("a")], named("a", "go"));
            bench.suspend(&id, &handle, args).await;
            expected.push(id);
            bench.clock.advance(10);
        }
        let gone = expected.remove(1);
        bench.backend.resume_execution(resume(&gone, 0)).await.unwrap();
        let key = partition_key(&expected[0]);
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let page = bench.backend.list_suspended(key.clone(), cursor, 2).await.unwrap();
            assert!(page.entries.iter().all(|entry| entry.reason == "waiting_for_signal"));
            seen.extend(page.entries.into_iter().map(|entry| entry.execution_id));
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, expected);
        let empty = bench.backend.list_suspended(key, None, 0).await.unwrap();
        assert!(empty.entries.is_empty() && empty.next_cursor.is_none());
    }

    async fn handles_of_other_backends_are_refused(bench) {
        let (_, handle) = bench.leased().await;
        let mut foreign = handle.clone();
        foreign.backend = ff_core::backend::BackendTag::Valkey;
        let args = bench.wait(vec![fresh("a")], named("a", "go"));
        for error in [
            bench.backend.suspend(&foreign, args).await.unwrap_err(),
            bench.backend.create_waitpoint(&foreign, "a", Duration::ZERO).await.unwrap_err(),
            bench.backend.observe_signals(&foreign).await.unwrap_err(),
        ] {
            assert!(error.to_string().contains("HandleFromOtherBackend"), "{error}");
        }
    }
}
