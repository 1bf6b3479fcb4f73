//! Signals come in through waitpoints; the one that completes the condition wakes the execution.

use ff_core::backend::{CapabilitySet, HandleKind, ResumeToken};
use ff_core::contracts::{
    ClaimResumedExecutionArgs, ClaimResumedExecutionResult, CompositeBody, CountKind,
    DeliverApprovalSignalArgs, DeliverSignalResult, ResumeCondition, ResumeGrant, WaitpointBinding,
};
use ff_core::plan::value::Value;
use ff_core::types::{
    AttemptIndex, ExecutionId, LaneId, LeaseId, WaitpointId, WaitpointToken, WorkerId,
    WorkerInstanceId,
};
use uuid::Uuid;

use crate::backends::{Bench, START, conformance};
use crate::bench::{
    INSTANCE, NAMESPACE, assert_refused, id_in, lane, partition, payload_of, worker,
};
use crate::plain::{int, text};
use crate::suspended::{RESUMABLE, SUSPENDED, Target, cancellation, fresh, named};

const KEPT: &str = "appended_to_waitpoint";
const WOKE: &str = "resume_condition_satisfied";

/// The arguments with which a worker claims a resumable execution.
pub(crate) fn resumed(bench: &Bench, id: &ExecutionId) -> ClaimResumedExecutionArgs {
    ClaimResumedExecutionArgs {
        execution_id: id.clone(),
        worker_id: WorkerId::new("w"),
        worker_instance_id: WorkerInstanceId::new("w-2"),
        lane_id: lane(),
        lease_id: LeaseId::from_uuid(Uuid::new_v4()),
        lease_ttl_ms: 30_000,
        current_attempt_index: AttemptIndex(0),
        remaining_attempt_timeout_ms: None,
        now: bench.clock.now(),
    }
}

fn approval(target: &Target, lane: LaneId, name: &str, suffix: &str) -> DeliverApprovalSignalArgs {
    let (id, waitpoint) = (target.execution.clone(), target.id.clone());
    DeliverApprovalSignalArgs::new(id, lane, waitpoint, name, suffix, 60_000, None, None)
}

conformance! {
    async fn the_signal_that_completes_the_condition_wakes_the_execution(bench) {
        let (id, handle, target) = bench.waiting(|args| args).await;
        assert_eq!(bench.deliver(&target, "other").await.unwrap(), KEPT);
        assert_eq!(bench.core(&id).await.states(), SUSPENDED);
        bench.clock.advance(7);
        let signal = bench.signal(&target, "go");
        let accepted = bench.backend.deliver_signal(signal.clone()).await.unwrap();
        let effect = WOKE.to_owned();
        let signal_id = signal.signal_id.clone();
        assert_eq!(accepted, DeliverSignalResult::Accepted { signal_id, effect });
        assert_eq!(bench.core(&id).await.states(), RESUMABLE);
        assert_eq!(bench.completions(&id).await, ["resumable"]);
        assert!(bench.of("ff_waitpoint_pending", &id).await.is_empty());
        let suspension = bench.of("ff_suspension_current", &id).await.remove(0);
        assert_eq!(suspension.int("timeout_at_ms"), None);
        let events = bench.of("ff_signal_event", &id).await;
        let effects: Vec<_> = events.iter().map(|event| event.text("effect")).collect();
        assert_eq!(effects, ["buffered", "satisfied"]);
        assert_eq!(events[1].text("signal_id"), signal.signal_id.to_string());
        assert_eq!(events[1].text("waitpoint_id"), target.id.to_string());
        assert_eq!(events[1].text("source_identity"), "ada");
        assert_eq!(events[1].int("delivered_at_ms"), Some(START + 7));
        for event in &events {
            assert_eq!((event.text("namespace"), event.text("instance_tag")), (NAMESPACE, INSTANCE));
        }
        let observed = bench.backend.observe_signals(&handle).await.unwrap();
        let names: Vec<_> = observed.iter().map(|signal| signal.signal_name.as_str()).collect();
        assert_eq!(names, ["other", "go"]);
        let last = &observed[1];
        assert_eq!(last.payload.as_deref(), Some(&b"\x00payload"[..]));
        assert_eq!((last.correlation_id.as_str(), last.accepted_at.0), ("c-1", START + 7));
        assert_refused(bench.deliver(&target, "go").await, "not found: waitpoint");
    }

    async fn a_resumed_execution_goes_on_with_the_same_attempt(bench) {
        let (id, first, target) = bench.waiting(|args| args).await;
        assert_refused(
            bench.backend.claim_resumed_execution(resumed(&bench, &id)).await,
            "contention: NotAResumedExecution",
        );
        bench.deliver(&target, "go").await.unwrap();
        let args = resumed(&bench, &id);
        let claimed = bench.backend.claim_resumed_execution(args.clone()).await.unwrap();
        let ClaimResumedExecutionResult::Claimed(claimed) = claimed;
        assert_eq!(claimed.lease_id, args.lease_id);
        assert_eq!(claimed.attempt_index, AttemptIndex(0));
        assert_eq!(claimed.attempt_id, payload_of(&first).attempt_id, "it is the same attempt");
        assert_eq!(claimed.lease_epoch.0, 3, "suspending and claiming each take one");
        assert_eq!(claimed.handle.kind, HandleKind::Resumed);
        assert_eq!(bench.lease_events(&id).await, ["acquired", "revoked", "acquired"]);
        let again = bench.backend.claim_resumed_execution(resumed(&bench, &id)).await;
        assert_refused(again, "contention: NotAResumedExecution");
        let observed = bench.backend.observe_signals(&claimed.handle).await.unwrap();
        assert_eq!(observed.len(), 1);
        bench.backend.renew(&claimed.handle).await.unwrap();
        bench.backend.complete(&claimed.handle, None).await.unwrap();
        assert_eq!(bench.completions(&id).await, ["resumable", "success"]);
        let missing = resumed(&bench, &id_in(9));
        assert_refused(
            bench.backend.claim_resumed_execution(missing).await,
            "not found: execution",
        );
    }

    async fn a_row_that_is_resumable_and_not_runnable_is_refused_at_once(bench) {
        let (id, _, target) = bench.waiting(|args| args).await;
        bench.deliver(&target, "go").await.unwrap();
        let put = async |phase| {
            let key = vec![
                ("partition_key", int(i64::from(id.partition()))),
                ("execution_id", Value::Uuid(id.uuid())),
            ];
            bench.plain.set("ff_exec_core", key, vec![("lifecycle_phase", text(phase))]).await;
        };
        for phase in ["suspended", "submitted"] {
            put(phase).await;
            let refusal = bench.backend.claim_resumed_execution(resumed(&bench, &id)).await;
            assert_refused(refusal, "contention: NotAResumedExecution");
        }
        put("runnable").await;
        bench.backend.claim_resumed_execution(resumed(&bench, &id)).await.unwrap();
    }

    async fn an_ordinary_claim_takes_a_resumable_execution(bench) {
        let (id, _, target) = bench.waiting(|args| args).await;
        bench.deliver(&target, "go").await.unwrap();
        let none = CapabilitySet::default();
        let handle = bench.backend.claim(&lane(), &none, worker("w")).await.unwrap().unwrap();
        assert_eq!(payload_of(&handle).execution_id, id);
        assert_eq!(bench.core(&id).await.text("public_state"), "active");
        bench.backend.complete(&handle, None).await.unwrap();
    }

    async fn a_resume_token_claims_once_and_in_time(bench) {
        let (id, _, target) = bench.waiting(|args| args).await;
        let token = |until: i64| {
            let key = (&partition(&id)).into();
            let until = until.unsigned_abs();
            let grant = ResumeGrant::new(id.clone(), key, "g".into(), until, lane());
            let instance = WorkerInstanceId::new("w-2");
            ResumeToken::new(grant, WorkerId::new("w"), instance, 30_000)
        };
        let early = bench.backend.claim_from_resume_grant(token(START + 1_000)).await;
        assert_refused(early, "contention: ExecutionNotLeaseable");
        bench.deliver(&target, "go").await.unwrap();
        let lapsed = bench.backend.claim_from_resume_grant(token(START)).await;
        assert_refused(lapsed, "contention: ClaimGrantExpired");
        let handle = bench.backend.claim_from_resume_grant(token(START + 1_000)).await.unwrap();
        let handle = handle.expect("nobody holds it");
        assert_eq!(handle.kind, HandleKind::Resumed);
        assert_eq!(bench.lease_events(&id).await, ["acquired", "revoked", "reclaimed"]);
        let held = bench.backend.claim_from_resume_grant(token(START + 1_000)).await.unwrap();
        assert_eq!(held, None);
        bench.backend.complete(&handle, None).await.unwrap();
        let over = bench.backend.claim_from_resume_grant(token(START + 1_000)).await;
        assert_refused(over, "contention: ExecutionNotLeaseable");
    }

    async fn only_the_token_that_was_handed_out_opens_a_waitpoint(bench) {
        bench.seed().await;
        let (id, handle) = bench.leased().await;
        let args = bench.wait(vec![fresh("a"), fresh("b")], named("a", "go"));
        let targets = bench.suspend(&id, &handle, args).await;
        let (other, other_handle) = bench.leased().await;
        let args = bench.wait(vec![fresh("a")], named("a", "go"));
        let elsewhere = bench.suspend(&other, &other_handle, args).await.remove(0);
        let before = bench.everything().await;
        let good = &targets[0];
        let invalid = "validation: InvalidInput: ";
        for (token, detail) in [
            (String::new(), "waitpoint_token verify: "),
            (good.token.replacen("kid1", "kid2", 1), "waitpoint_token verify: "),
            (targets[1].token.clone(), "waitpoint_token verify: "),
            (elsewhere.token.clone(), "waitpoint_token verify: "),
            (format!("{}00", good.token), "waitpoint_token verify: "),
            (good.token.to_uppercase().replacen("KID1", "kid1", 1), "waitpoint_token does not match minted token"),
        ] {
            let mut signal = bench.signal(good, "go");
            signal.waitpoint_token = WaitpointToken::new(token.clone());
            let error = bench.backend.deliver_signal(signal).await.unwrap_err().to_string();
            assert!(error.starts_with(invalid) && error.contains(detail), "{error}");
            let signature = token.split_once(':').map_or("", |(_, signature)| signature);
            assert!(signature.is_empty() || !error.contains(signature), "{error}");
        }
        let mut foreign = bench.signal(&elsewhere, "go");
        foreign.execution_id = id.clone();
        let error = bench.backend.deliver_signal(foreign).await.unwrap_err().to_string();
        assert!(error.contains("waitpoint belongs to a different execution"), "{error}");
        let mut unknown = bench.signal(good, "go");
        unknown.waitpoint_id = WaitpointId::from_uuid(Uuid::new_v4());
        assert_refused(bench.backend.deliver_signal(unknown).await, "not found: waitpoint");
        assert_eq!(bench.everything().await, before);
    }

    async fn a_repeated_signal_changes_nothing(bench) {
        let (id, _, target) = bench.waiting(|args| args).await;
        let mut signal = bench.signal(&target, "go");
        signal.idempotency_key = Some("once".into());
        bench.backend.deliver_signal(signal.clone()).await.unwrap();
        let before = bench.everything().await;
        let existing_signal_id = signal.signal_id.clone();
        let duplicate = DeliverSignalResult::Duplicate { existing_signal_id };
        let mut again = bench.signal(&target, "go");
        again.idempotency_key = signal.idempotency_key.clone();
        assert_eq!(bench.backend.deliver_signal(again.clone()).await.unwrap(), duplicate);
        again.waitpoint_token = WaitpointToken::new(format!("kid1:{}", "00".repeat(32)));
        let forged = bench.backend.deliver_signal(again).await.unwrap_err().to_string();
        assert!(forged.contains("waitpoint_token verify"), "{forged}");
        assert_eq!(bench.everything().await, before);
        assert_eq!(bench.of("ff_signal_dedup", &id).await.len(), 1);
    }

    async fn a_key_is_forgotten_when_its_time_is_over(bench) {
        let (id, handle, target) = bench.waiting(|args| args).await;
        let keyed = || {
            let mut signal = bench.signal(&target, "other");
            signal.idempotency_key = Some("k".into());
            signal.dedup_ttl_ms = Some(100);
            signal
        };
        for (advance, accepted) in [(0, true), (99, false), (1, true), (99, false)] {
            bench.clock.advance(advance);
            let result = bench.backend.deliver_signal(keyed()).await.unwrap();
            let is_accepted = matches!(result, DeliverSignalResult::Accepted { .. });
            assert_eq!(is_accepted, accepted, "at {}", bench.clock.now().0 - START);
        }
        assert_eq!(bench.backend.observe_signals(&handle).await.unwrap().len(), 2);
        assert_eq!(bench.core(&id).await.states(), SUSPENDED);
    }

    async fn an_execution_receives_no_more_signals_than_it_may(bench) {
        let (id, handle, target) = bench.waiting(|args| args).await;
        let capped = |name: &str| {
            let mut signal = bench.signal(&target, name);
            signal.max_signals_per_execution = Some(2);
            signal
        };
        for _ in 0..2 {
            bench.backend.deliver_signal(capped("other")).await.unwrap();
        }
        let error = bench.backend.deliver_signal(capped("go")).await.unwrap_err().to_string();
        assert!(error.contains("SignalLimitExceeded"), "{error}");
        let mut short = bench.signal(&target, "other");
        short.signal_maxlen = Some(1);
        bench.backend.deliver_signal(short.clone()).await.unwrap();
        let observed = bench.backend.observe_signals(&handle).await.unwrap();
        assert_eq!(observed.len(), 1, "the waitpoint keeps the newest");
        assert_eq!(observed[0].signal_id, short.signal_id);
        short.signal_maxlen = Some(0);
        assert_refused(
            bench.backend.deliver_signal(short).await,
            "validation: InvalidInput: signal_maxlen: must be positive",
        );
        assert_eq!(bench.core(&id).await.states(), SUSPENDED);
    }

    async fn several_signals_from_several_sources(bench) {
        bench.seed().await;
        let (id, handle) = bench.leased().await;
        let keys = ["a".to_owned(), "b".to_owned()];
        let count = CompositeBody::count(2, CountKind::DistinctSources, None, keys);
        let args = bench.wait(vec![fresh("a"), fresh("b")], ResumeCondition::Composite(count));
        let targets = bench.suspend(&id, &handle, args).await;
        let from = |target: &Target, who: &str| {
            let mut signal = bench.signal(target, "vote");
            signal.source_identity = who.to_owned();
            signal
        };
        for (target, who, woke) in
            [(&targets[0], "ada", KEPT), (&targets[1], "ada", KEPT), (&targets[1], "grace", WOKE)]
        {
            let result = bench.backend.deliver_signal(from(target, who)).await.unwrap();
            let DeliverSignalResult::Accepted { effect, .. } = result else { panic!("{result:?}") };
            assert_eq!(effect, woke, "{who}");
        }
        assert_eq!(bench.core(&id).await.states(), RESUMABLE);
    }

    async fn a_resume_delay_is_kept(bench) {
        let (id, _, target) = bench.waiting(|mut args| {
            args.resume_policy.resume_delay_ms = Some(60_000);
            args
        }).await;
        let mut signal = bench.signal(&target, "go");
        signal.resume_delay_ms = Some(500);
        bench.backend.deliver_signal(signal).await.unwrap();
        let core = bench.core(&id).await;
        assert_eq!(core.text("public_state"), "delayed");
        assert_eq!(core.int("eligible_at_ms"), Some(START + 500), "the signal's own delay counts");
        assert!(bench.try_claim().await.is_none());
        bench.clock.advance(500);
        let scan = ff_core::engine_backend::Scan::DelayedPromotion;
        assert_eq!(bench.backend.scan(scan, 10).await.unwrap().processed, 1);
        assert_eq!(bench.core(&id).await.states(), RESUMABLE);
        bench.backend.claim_resumed_execution(resumed(&bench, &id)).await.unwrap();
    }

    async fn what_was_not_used_up_counts_in_the_next_suspension(bench) {
        let (id, _, target) = bench.waiting(|mut args| {
            args.resume_policy.close_waitpoint_on_resume = false;
            args.resume_policy.retain_signal_buffer_until_closed = true;
            args
        }).await;
        bench.deliver(&target, "next").await.unwrap();
        bench.deliver(&target, "go").await.unwrap();
        let row = bench.of("ff_waitpoint_pending", &id).await.remove(0);
        assert_eq!(row.text("state"), "pending", "it stays for the next suspension");
        let handle = bench.claim().await;
        let again = |name: &str| {
            let binding = WaitpointBinding::UsePending { waitpoint_id: target.id.clone() };
            bench.wait(vec![binding], named("a", name))
        };
        let before = bench.everything().await;
        let outcome = bench.backend.suspend(&handle, again("next")).await.unwrap();
        let satisfied = matches!(outcome, ff_core::contracts::SuspendOutcome::AlreadySatisfied { .. });
        assert!(satisfied, "{outcome:?}");
        assert_eq!(bench.everything().await, before, "the worker goes on under its lease");
        let targets = bench.suspend(&id, &handle, again("go")).await;
        assert_eq!(targets[0].token, target.token);
        assert_eq!(bench.core(&id).await.states(), SUSPENDED, "the first go was used up");
        assert_eq!(bench.deliver(&target, "go").await.unwrap(), WOKE);
    }

    async fn an_operators_approval_needs_no_token(bench) {
        let (id, _, target) = bench.waiting(|args| args).await;
        let wrong = bench.backend.deliver_approval_signal(approval(&target, LaneId::new("x"), "go", "1"));
        let error = wrong.await.unwrap_err().to_string();
        assert!(error.contains("lane_mismatch: args.lane_id=x exec_core.lane_id=work"), "{error}");
        let rejected = approval(&target, lane(), "rejected", "1");
        let result = bench.backend.deliver_approval_signal(rejected).await.unwrap();
        let DeliverSignalResult::Accepted { effect, .. } = result else { panic!("{result:?}") };
        assert_eq!(effect, KEPT);
        let approved = approval(&target, lane(), "go", "1");
        let first = bench.backend.deliver_approval_signal(approved.clone()).await.unwrap();
        let DeliverSignalResult::Accepted { effect, signal_id } = first else { panic!("accepted") };
        assert_eq!(effect, WOKE);
        assert_eq!(bench.core(&id).await.states(), RESUMABLE);
        let again = bench.backend.deliver_approval_signal(approved).await.unwrap();
        assert_eq!(again, DeliverSignalResult::Duplicate { existing_signal_id: signal_id });
        let other = approval(&target, lane(), "go", "2");
        assert_refused(bench.backend.deliver_approval_signal(other).await, "not found: waitpoint");
    }

    async fn an_execution_that_is_not_suspended_takes_no_signal(bench) {
        bench.seed().await;
        let (id, handle) = bench.leased().await;
        let minute = std::time::Duration::from_mins(1);
        let made = bench.backend.create_waitpoint(&handle, "a", minute).await.unwrap();
        let token = made.hmac_token.as_str().to_owned();
        let target = Target { execution: id.clone(), id: made.waitpoint_id, token };
        assert_refused(bench.deliver(&target, "go").await, "not found: suspension");
        let (other, _, target) = bench.waiting(|args| args).await;
        bench.backend.cancel_execution(cancellation(&bench, &other)).await.unwrap();
        assert_refused(bench.deliver(&target, "go").await, "not found: waitpoint");
    }

    async fn signals_that_come_at_once_are_all_kept(bench) {
        let (id, handle, target) = bench.waiting(|args| args).await;
        let sends = (0..12).map(|_| bench.deliver(&target, "other"));
        let results = futures_util::future::join_all(sends).await;
        let kept = results.iter().filter(|result| result.is_ok()).count();
        let observed = bench.backend.observe_signals(&handle).await.unwrap();
        assert_eq!(observed.len(), kept, "{results:?}");
        assert_eq!(kept, 12, "{results:?}");
        let both = tokio::join!(bench.deliver(&target, "go"), bench.deliver(&target, "go"));
        let woke = [&both.0, &both.1].into_iter().filter(|result| result.as_ref().is_ok_and(|effect| effect == WOKE)).count();
        assert_eq!(woke, 1, "{both:?}");
        assert_eq!(bench.completions(&id).await, ["resumable"]);
    }
}
