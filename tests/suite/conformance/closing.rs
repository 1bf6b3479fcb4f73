//! What outlives a wait, a lease or an attempt: no waitpoint, no timeout, no answer.

use std::time::Duration;

use ff_core::backend::{CancelFlowPolicy, CancelFlowWait, FailureClass, FailureReason, Handle};
use ff_core::contracts::{
    CancelFlowArgs, IdempotencyKey, ListPendingWaitpointsArgs, ReplayExecutionArgs,
    RevokeLeaseArgs, TimeoutBehavior, WaitpointBinding,
};
use ff_core::engine_backend::Scan;
use ff_core::plan::value::Value;
use ff_core::types::{ExecutionId, TimestampMs, WorkerInstanceId};
use uuid::Uuid;

use crate::backends::{Bench, START, conformance};
use crate::bench::{TTL, assert_refused, payload_of};
use crate::flow::Flow;
use crate::plain::{int, text};
use crate::suspended::{SUSPENDED, Target, cancellation, fresh, named};

const WOKE: &str = "resume_condition_satisfied";

async fn scanned(bench: &Bench, scan: Scan) -> u32 {
    let counts = bench.backend.scan(scan, 10).await.unwrap();
    assert_eq!(counts.errors, 0);
    counts.processed
}

async fn made_ahead(bench: &Bench, id: &ExecutionId, handle: &Handle) -> Target {
    let made = bench.backend.create_waitpoint(handle, "a", Duration::from_hours(1)).await.unwrap();
    let token = made.hmac_token.as_str().to_owned();
    Target { execution: id.clone(), id: made.waitpoint_id, token }
}

/// Suspends anew under the same key: the old token opens nothing, the new one does.
async fn only_the_new_token_opens(bench: &Bench, id: &ExecutionId, old: &Target, how: &str) {
    let handle = bench.claim().await;
    assert_eq!(payload_of(&handle).execution_id, *id, "{how}");
    let args = bench.wait(vec![fresh("a")], named("a", "go"));
    let new = bench.suspend(id, &handle, args).await.remove(0);
    let before = bench.everything().await;
    assert_refused(bench.deliver(old, "go").await, "not found: waitpoint");
    assert_eq!(bench.everything().await, before, "{how}");
    assert_eq!(bench.core(id).await.states(), SUSPENDED, "{how}");
    assert_eq!(bench.deliver(&new, "go").await.unwrap(), WOKE, "{how}");
    bench.backend.complete(&bench.claim().await, None).await.unwrap();
}

async fn nothing_is_open(bench: &Bench, id: &ExecutionId, how: &str) {
    let args = ListPendingWaitpointsArgs::new(id.clone());
    let page = bench.backend.list_pending_waitpoints(args).await.unwrap();
    assert!(page.entries.is_empty(), "{how}: {page:?}");
    for suspension in bench.of("ff_suspension_current", id).await {
        assert_eq!(suspension.int("timeout_at_ms"), None, "{how}");
    }
}

/// A flow of one member that waits, with a timeout.
async fn waiting_flow(bench: &Bench) -> (Flow, Target) {
    let flow = bench.flow(1).await;
    let id = flow.members[0].clone();
    let handle = bench.take(&id).await;
    let until = TimestampMs(bench.clock.now().0 + 60_000);
    let args =
        bench.wait(vec![fresh("a")], named("a", "go")).with_timeout(until, TimeoutBehavior::Fail);
    let target = bench.suspend(&id, &handle, args).await.remove(0);
    (flow, target)
}

conformance! {
    async fn a_token_opens_only_the_wait_it_was_made_for(bench) {
        bench.seed().await;
        for end in ["cancelled", "past its deadline", "given up"] {
            let deadline = TimestampMs(bench.clock.now().0 + 1_000);
            let (id, handle) = bench.leased_with(&|args| {
                args.execution_deadline_at = (end == "past its deadline").then_some(deadline);
            }).await;
            let behavior = TimeoutBehavior::Fail;
            let until = TimestampMs(bench.clock.now().0 + 60_000);
            let args = bench.wait(vec![fresh("a")], named("a", "go")).with_timeout(until, behavior);
            let old = bench.suspend(&id, &handle, args).await.remove(0);
            match end {
                "cancelled" => {
                    bench.backend.cancel_execution(cancellation(&bench, &id)).await.unwrap();
                }
                "past its deadline" => {
                    bench.clock.advance(2_000);
                    assert_eq!(scanned(&bench, Scan::ExecutionDeadline).await, 1);
                }
                _ => {
                    bench.clock.advance(60_001);
                    assert_eq!(scanned(&bench, Scan::SuspensionTimeout).await, 1);
                }
            }
            nothing_is_open(&bench, &id, end).await;
            assert_refused(bench.deliver(&old, "go").await, "not found: waitpoint");
            let replay = ReplayExecutionArgs { execution_id: id.clone(), now: bench.clock.now() };
            bench.backend.replay_execution(replay).await.unwrap();
            only_the_new_token_opens(&bench, &id, &old, end).await;
        }
    }

    async fn a_waitpoint_made_ahead_goes_with_its_attempt(bench) {
        bench.seed().await;
        for end in ["failed", "lapsed", "timed out", "revoked"] {
            let (id, handle) = bench.leased_with(&|args| {
                let policy = crate::bench::requiring(&[]);
                let timeouts = ff_core::policy::TimeoutPolicy {
                    attempt_timeout_ms: (end == "timed out").then_some(1_000),
                    execution_deadline_ms: None,
                    max_reclaim_count: 100,
                };
                let retry = ff_core::policy::RetryPolicy {
                    max_retries: 3,
                    backoff: ff_core::policy::BackoffStrategy::Fixed { delay_ms: 0 },
                    retryable_categories: Vec::new(),
                };
                args.policy = Some(ff_core::policy::ExecutionPolicy {
                    timeout_policy: Some(timeouts),
                    retry_policy: Some(retry),
                    ..policy
                });
            }).await;
            let old = made_ahead(&bench, &id, &handle).await;
            match end {
                "failed" => {
                    let (reason, class) = (FailureReason::new("x"), FailureClass::Transient);
                    bench.backend.fail(&handle, reason, class).await.unwrap();
                }
                "lapsed" => {
                    bench.clock.advance(TTL + 1);
                    assert_eq!(scanned(&bench, Scan::LeaseExpiry).await, 1);
                }
                "timed out" => {
                    bench.clock.advance(1_001);
                    assert_eq!(scanned(&bench, Scan::AttemptTimeout).await, 1);
                }
                _ => {
                    let args = RevokeLeaseArgs {
                        execution_id: id.clone(),
                        expected_lease_id: None,
                        worker_instance_id: WorkerInstanceId::new(""),
                        reason: "stuck".into(),
                    };
                    bench.backend.revoke_lease(args).await.unwrap();
                }
            }
            nothing_is_open(&bench, &id, end).await;
            only_the_new_token_opens(&bench, &id, &old, end).await;
        }
    }

    async fn every_end_of_a_lease_closes_what_was_made_under_it(bench) {
        bench.seed().await;
        for end in ["completed", "failed", "cancelled by its worker", "cancelled"] {
            let (id, handle) = bench.leased().await;
            made_ahead(&bench, &id, &handle).await;
            match end {
                "completed" => bench.backend.complete(&handle, None).await.unwrap(),
                "failed" => {
                    let (reason, class) = (FailureReason::new("x"), FailureClass::Permanent);
                    bench.backend.fail(&handle, reason, class).await.map(drop).unwrap();
                }
                "cancelled by its worker" => bench.backend.cancel(&handle, "x").await.unwrap(),
                _ => {
                    let args = cancellation(&bench, &id);
                    bench.backend.cancel_execution(args).await.map(drop).unwrap();
                }
            }
            nothing_is_open(&bench, &id, end).await;
            let core = bench.core(&id).await;
            assert_eq!(*core.value("has_waitpoints"), Value::Bool(false), "{end}");
        }
    }

    async fn a_cancelled_flow_closes_what_its_members_wait_on(bench) {
        bench.seed().await;
        let (flow, target) = waiting_flow(&bench).await;
        let (policy, wait) = (CancelFlowPolicy::CancelAll, CancelFlowWait::NoWait);
        bench.backend.cancel_flow(&flow.id, policy, wait).await.unwrap();
        nothing_is_open(&bench, &flow.members[0], "cancel_flow").await;
        assert_refused(bench.deliver(&target, "go").await, "not found: waitpoint");
        let (flow, target) = waiting_flow(&bench).await;
        let args = CancelFlowArgs {
            flow_id: flow.id,
            reason: "enough".into(),
            cancellation_policy: "cancel_all".into(),
            now: bench.clock.now(),
        };
        bench.backend.cancel_flow_header(args).await.unwrap();
        nothing_is_open(&bench, &flow.members[0], "cancel_flow_header").await;
        assert_refused(bench.deliver(&target, "go").await, "not found: waitpoint");
    }

    async fn a_waitpoint_that_nothing_waits_on_is_not_open(bench) {
        bench.seed().await;
        let (id, handle) = bench.leased().await;
        let ahead = made_ahead(&bench, &id, &handle).await;
        let args = bench.wait(vec![fresh("a")], named("a", "go"));
        let bound = bench.suspend(&id, &handle, args).await.remove(0);
        assert_refused(bench.deliver(&ahead, "go").await, "state: WaitpointNotOpen");
        assert_eq!(bench.core(&id).await.states(), SUSPENDED);
        assert_eq!(bench.deliver(&bound, "go").await.unwrap(), WOKE);
        assert_refused(bench.deliver(&ahead, "go").await, "not found: waitpoint");
    }

    async fn waitpoints_without_a_suspension_count_for_the_current_one(bench) {
        let (id, _, target) = bench.waiting(|args| args).await;
        let key = |target: &Target| vec![
            ("partition_key", int(i64::from(id.partition()))),
            ("waitpoint_id", Value::Uuid(target.id.0)),
        ];
        let unsaid = |since: Value| vec![("suspension_id", Value::Null), ("activated_at_ms", since)];
        // One that an older wait left behind, and one of the wait that lasts.
        bench.plain.set("ff_waitpoint_pending", key(&target), unsaid(int(START - 1))).await;
        assert_refused(bench.deliver(&target, "go").await, "state: WaitpointClosed");
        let another = vec![("suspension_id", Value::Uuid(Uuid::new_v4())), ("state", text("active"))];
        bench.plain.set("ff_waitpoint_pending", key(&target), another).await;
        assert_refused(bench.deliver(&target, "go").await, "state: WaitpointClosed");
        bench.plain.set("ff_waitpoint_pending", key(&target), unsaid(Value::Null)).await;
        assert_eq!(bench.deliver(&target, "go").await.unwrap(), WOKE);
    }

    async fn a_key_of_a_suspension_belongs_to_the_lease_it_was_given_under(bench) {
        bench.seed().await;
        let (id, handle) = bench.leased().await;
        let keyed = || bench
            .wait(vec![fresh("a")], named("a", "go"))
            .with_idempotency_key(IdempotencyKey::new("once"));
        let first = bench.suspend(&id, &handle, keyed()).await.remove(0);
        let again = bench.suspend(&id, &handle, keyed()).await.remove(0);
        assert_eq!(again.token, first.token, "a repetition gets the same answer");
        bench.deliver(&first, "go").await.unwrap();
        let handle = bench.claim().await;
        let second = bench.suspend(&id, &handle, keyed()).await.remove(0);
        assert_ne!(second.token, first.token, "another lease waits anew");
        assert_eq!(bench.core(&id).await.states(), SUSPENDED);
        assert_refused(bench.deliver(&first, "go").await, "not found: waitpoint");
        assert_eq!(bench.deliver(&second, "go").await.unwrap(), WOKE);
    }

    async fn signals_of_a_wait_that_is_over_do_not_end_the_next(bench) {
        let (id, _, target) = bench.waiting(|mut args| {
            args.resume_policy.consume_matched_signals = false;
            args
        }).await;
        assert_eq!(bench.deliver(&target, "go").await.unwrap(), WOKE);
        let handle = bench.claim().await;
        let made = made_ahead(&bench, &id, &handle).await;
        let waitpoint_id = made.id.clone();
        let bindings = vec![WaitpointBinding::UsePending { waitpoint_id }];
        let args = bench.wait(bindings, named("a", "go"));
        let target = bench.suspend(&id, &handle, args).await.remove(0);
        assert_eq!(bench.core(&id).await.states(), SUSPENDED, "a new waitpoint of the old key");
        assert_eq!(bench.deliver(&target, "go").await.unwrap(), WOKE);
    }
}
