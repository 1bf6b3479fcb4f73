//! Failure: another attempt by policy, or the end.

use ff_core::backend::{FailOutcome, FailureClass, FailureReason};
use ff_core::contracts::{FailExecutionArgs, FailExecutionResult};
use ff_core::policy::{BackoffStrategy, ExecutionPolicy, RetryPolicy};
use ff_core::types::{
    AttemptId, AttemptIndex, CancelSource, ExecutionId, LeaseEpoch, LeaseFence, LeaseId,
    TimestampMs,
};
use serde_json::json;

use crate::backends::{START, conformance};
use crate::bench::{
    FAILED, TTL, assert_not_active, assert_refused, fence, lane, partition, payload_of,
};
use crate::conformance::fence::fail_args;

const FIXED: &str = r#"{"max_retries":3,"backoff":{"type":"fixed","delay_ms":500}}"#;
const BACKING_OFF: &str = "runnable unowned not_eligible_until_time delayed pending_retry_attempt waiting_for_retry_backoff";

fn typed(id: &ExecutionId, policy: &str) -> FailExecutionArgs {
    FailExecutionArgs {
        execution_id: id.clone(),
        fence: Some(LeaseFence {
            lease_id: LeaseId::new(),
            lease_epoch: LeaseEpoch(1),
            attempt_id: AttemptId::new(),
        }),
        attempt_index: AttemptIndex(0),
        failure_reason: "boom".into(),
        failure_category: "net".into(),
        retry_policy_json: policy.into(),
        next_attempt_policy_json: String::new(),
        source: CancelSource::LeaseHolder,
    }
}

fn retrying(max_retries: u32, backoff: BackoffStrategy) -> ExecutionPolicy {
    let retry = RetryPolicy { max_retries, backoff, retryable_categories: Vec::new() };
    ExecutionPolicy { retry_policy: Some(retry), ..ExecutionPolicy::default() }
}

conformance! {
    async fn without_a_policy_it_is_the_end(bench) {
        let id = bench.insert_leased(json!({})).await;
        let result = bench.backend.fail_execution(typed(&id, "")).await.unwrap();
        assert_eq!(result, FailExecutionResult::TerminalFailed);
        let core = bench.core(&id).await;
        assert_eq!(core.states(), FAILED);
        assert_eq!(core.int("terminal_at_ms"), Some(START));
        assert_eq!(core.raw("failure_reason"), "boom");
        assert_eq!(core.raw("terminal_outcome"), "failed");
        let attempt = bench.attempt(&id, 0).await;
        assert_eq!(attempt.text("outcome"), "failed");
        assert_eq!(attempt.int("terminal_at_ms"), Some(START));
        assert_eq!(attempt.int("lease_expires_at_ms"), None);
        assert_eq!(bench.completions(&id).await, ["failed"]);
        assert_eq!(bench.lease_events(&id).await, ["revoked"]);
        assert_not_active(bench.backend.fail_execution(typed(&id, "")).await, "terminal");
    }

    async fn with_a_policy_there_is_another_attempt(bench) {
        let id = bench.insert_leased(json!({})).await;
        let result = bench.backend.fail_execution(typed(&id, FIXED)).await.unwrap();
        let scheduled = FailExecutionResult::RetryScheduled {
            delay_until: TimestampMs(START + 500),
            next_attempt_index: AttemptIndex(1),
        };
        assert_eq!(result, scheduled);
        let core = bench.core(&id).await;
        assert_eq!(core.states(), BACKING_OFF);
        assert_eq!(core.int("attempt_index"), Some(1));
        assert_eq!(core.int("eligible_at_ms"), Some(START + 500));
        assert_eq!(core.int("deadline_at_ms"), None);
        assert_eq!(core.int("terminal_at_ms"), None);
        assert_eq!(core.raw("retry_count"), "1");
        assert_eq!(core.raw("failure_reason"), "boom");
        assert_eq!(core.raw("pending_retry_reason"), "boom");
        assert_eq!(core.raw("pending_previous_attempt_index"), "0");
        assert_eq!(core.raw("delay_until"), (START + 500).to_string());
        let ended = bench.attempt(&id, 0).await;
        assert_eq!(ended.text("outcome"), "failed");
        assert_eq!(ended.int("terminal_at_ms"), Some(START));
        assert_eq!(ended.int("lease_expires_at_ms"), None);
        assert_eq!(bench.completions(&id).await, [""; 0]);
        assert_eq!(bench.lease_events(&id).await, ["revoked"]);
    }

    async fn a_policy_for_the_next_attempt_alone_is_refused(bench) {
        let id = bench.insert_leased(json!({})).await;
        let with = |text: &str| FailExecutionArgs {
            next_attempt_policy_json: text.into(),
            ..typed(&id, FIXED)
        };
        let before = bench.everything().await;
        for text in [r#"{"attempt_timeout_ms":5}"#, "[]", "{"] {
            let refusal = bench.backend.fail_execution(with(text)).await.unwrap_err().to_string();
            let expected = "validation: InvalidInput: next_attempt_policy_json: has no effect";
            assert!(refusal.starts_with(expected), "{refusal}");
        }
        assert_eq!(bench.everything().await, before);
        let result = bench.backend.fail_execution(with("{}")).await.unwrap();
        assert!(matches!(result, FailExecutionResult::RetryScheduled { .. }), "{result:?}");
    }

    async fn the_next_attempt_runs_when_its_time_has_come(bench) {
        let id = bench.insert_leased(json!({})).await;
        bench.backend.fail_execution(typed(&id, FIXED)).await.unwrap();
        assert!(bench.try_claim().await.is_none());
        bench.clock.advance(500);
        bench.backend.promote_delayed(partition(&id), &lane(), &id, bench.clock.now()).await.unwrap();
        let waiting = "runnable unowned eligible_now waiting pending_retry_attempt waiting_for_worker";
        assert_eq!(bench.core(&id).await.states(), waiting);
        let handle = bench.claim().await;
        assert_eq!(payload_of(&handle).attempt_index, AttemptIndex(1));
        assert_eq!(payload_of(&handle).lease_epoch, LeaseEpoch(2));
        bench.backend.complete(&handle, None).await.unwrap();
        let attempts = bench.attempts(&id).await;
        let outcomes: Vec<&str> = attempts.iter().map(|row| row.text("outcome")).collect();
        assert_eq!(outcomes, ["failed", "success"]);
    }

    async fn retries_are_counted_across_spellings(bench) {
        for (stored, expected) in [
            (json!({ "retry_count": "2" }), "3"),
            (json!({ "retry_count": 2 }), "3"),
            (json!({ "retry_count": null }), "1"),
            (json!({ "retry_count": -4 }), "1"),
        ] {
            let id = bench.insert_leased(stored).await;
            bench.backend.fail_execution(typed(&id, FIXED)).await.unwrap();
            assert_eq!(bench.core(&id).await.raw("retry_count"), expected);
        }
        for spent in [json!("3"), json!(3), json!("99")] {
            let id = bench.insert_leased(json!({ "retry_count": spent })).await;
            let result = bench.backend.fail_execution(typed(&id, FIXED)).await.unwrap();
            assert_eq!(result, FailExecutionResult::TerminalFailed);
        }
        for corrupt in [json!("x"), json!([]), json!(1.5)] {
            let id = bench.insert_leased(json!({ "retry_count": corrupt })).await;
            let before = bench.everything().await;
            assert_refused(
                bench.backend.fail_execution(typed(&id, FIXED)).await,
                &format!(
                    "validation: Corruption: ff_exec_core.raw_fields: retry_count {corrupt} is not a count"
                ),
            );
            assert_eq!(bench.everything().await, before);
        }
    }

    async fn the_same_fence_rules(bench) {
        let id = bench.insert_leased(json!({})).await;
        let before = bench.everything().await;
        for policy in ["", FIXED] {
            let args = FailExecutionArgs { fence: None, ..typed(&id, policy) };
            assert_refused(
                bench.backend.fail_execution(args).await,
                "validation: InvalidInput: fence_required",
            );
            let mut args = typed(&id, policy);
            args.fence.as_mut().unwrap().lease_epoch = LeaseEpoch(2);
            assert_refused(bench.backend.fail_execution(args).await, "state: StaleLease");
        }
        assert_eq!(bench.everything().await, before);
        let source = CancelSource::OperatorOverride;
        let args = FailExecutionArgs { fence: None, source, ..typed(&id, FIXED) };
        bench.backend.fail_execution(args.clone()).await.unwrap();
        assert_not_active(bench.backend.fail_execution(args).await, "runnable");
    }

    async fn policies_are_checked(bench) {
        let id = bench.insert_leased(json!({})).await;
        for policy in ["{", "null", "[3]", r#"{"max_retries":-1}"#, r#"{"backoff":"fixed"}"#] {
            let error = bench.backend.fail_execution(typed(&id, policy)).await.unwrap_err();
            let text = error.to_string();
            assert!(text.starts_with("validation: InvalidPolicyJson: retry_policy_json: "), "{text}");
        }
    }

    /// A report that was refused for its words would let the lease lapse, and the work begin again.
    async fn a_failure_with_any_text_ends_the_attempt(bench) {
        let long = format!("\0{}", "\u{1f980}".repeat(3_000));
        let kept = format!("\u{fffd}{}\u{2026} (cut, 12003 bytes in all)", "\u{1f980}".repeat(2_047));

        let id = bench.insert_leased(json!({})).await;
        let args = FailExecutionArgs { failure_reason: long.clone(), ..typed(&id, "") };
        bench.backend.fail_execution(args).await.unwrap();
        assert_eq!(bench.attempt(&id, 0).await.text("failure_message"), kept);
        assert_eq!(bench.core(&id).await.raw("failure_reason"), kept);

        for class in [FailureClass::Permanent, FailureClass::Transient] {
            let (id, handle) = bench.leased().await;
            let reason = FailureReason::new(long.clone());
            bench.backend.fail(&handle, reason, class).await.unwrap();
            assert_eq!(bench.attempt(&id, 0).await.text("failure_message"), kept);
        }
    }

    async fn the_policy_decides_which_failures_are_retried(bench) {
        let patient = |categories: &[&str]| {
            let categories = json!({ "retry_policy": { "retryable_categories": categories } });
            serde_json::from_value::<ExecutionPolicy>(categories).unwrap()
        };
        for (policy, class, again) in [
            (patient(&[]), FailureClass::Transient, true),
            (patient(&[]), FailureClass::Timeout, false),
            (patient(&["timeout"]), FailureClass::Timeout, true),
            (patient(&["timeout"]), FailureClass::Transient, false),
            (patient(&["infra_crash", "transient"]), FailureClass::InfraCrash, true),
            (patient(&["infra_crash", "transient"]), FailureClass::Permanent, false),
        ] {
            let (_, handle) = bench.leased_with(&|args| args.policy = Some(policy.clone())).await;
            let outcome = bench.backend.fail(&handle, FailureReason::new("x"), class).await.unwrap();
            let retried = matches!(outcome, FailOutcome::RetryScheduled { .. });
            assert_eq!(retried, again, "{class:?} {policy:?}");
        }
        let only = |word: &str| format!(r#"{{"max_retries":3,"retryable_categories":["{word}"]}}"#);
        for (word, again) in [("net", true), ("disk", false)] {
            let id = bench.insert_leased(json!({})).await;
            let result = bench.backend.fail_execution(typed(&id, &only(word))).await.unwrap();
            assert_eq!(matches!(result, FailExecutionResult::RetryScheduled { .. }), again, "{word}");
        }
    }

    async fn a_transient_failure_is_tried_again_by_default(bench) {
        let (id, mut handle) = bench.leased().await;
        let mut now = START;
        for (retry, pause) in [1_000, 2_000, 4_000].into_iter().enumerate() {
            let class = if retry == 1 { FailureClass::InfraCrash } else { FailureClass::Transient };
            let outcome = bench.backend.fail(&handle, FailureReason::new("flaky"), class).await;
            let delay_until = TimestampMs(now + pause);
            assert_eq!(outcome.unwrap(), FailOutcome::RetryScheduled { delay_until });
            assert_eq!(bench.core(&id).await.states(), BACKING_OFF);
            assert_eq!(bench.attempt(&id, retry).await.text("outcome"), "retry");
            bench.clock.advance(pause);
            now += pause;
            bench.backend.promote_delayed(partition(&id), &lane(), &id, bench.clock.now()).await.unwrap();
            handle = bench.claim().await;
            assert_eq!(payload_of(&handle).attempt_index.0, u32::try_from(retry + 1).unwrap());
        }
        let class = FailureClass::Transient;
        let outcome = bench.backend.fail(&handle, FailureReason::new("flaky"), class).await.unwrap();
        assert_eq!(outcome, FailOutcome::TerminalFailed);
        let core = bench.core(&id).await;
        assert_eq!(core.states(), FAILED);
        assert_eq!(core.raw("last_failure_message"), "flaky");
        assert_eq!(core.int("total_attempt_count"), Some(4));
        assert_eq!(bench.completions(&id).await, ["failed"]);
    }

    async fn other_failures_are_final(bench) {
        for class in [FailureClass::Permanent, FailureClass::Timeout, FailureClass::Cancelled] {
            let (id, handle) = bench.leased().await;
            let outcome = bench.backend.fail(&handle, FailureReason::new("no"), class).await.unwrap();
            assert_eq!(outcome, FailOutcome::TerminalFailed);
            assert_eq!(bench.core(&id).await.states(), FAILED);
            assert_eq!(bench.attempt(&id, 0).await.text("outcome"), "failed");
            assert_eq!(bench.lease_events(&id).await, ["acquired", "revoked"]);
        }
    }

    async fn the_executions_own_policy_counts(bench) {
        let none = retrying(0, BackoffStrategy::default());
        let (_, handle) = bench.leased_with(&|args| args.policy = Some(none.clone())).await;
        let class = FailureClass::Transient;
        let outcome = bench.backend.fail(&handle, FailureReason::new("x"), class).await.unwrap();
        assert_eq!(outcome, FailOutcome::TerminalFailed);

        let at_once = retrying(1, BackoffStrategy::Fixed { delay_ms: 0 });
        let (id, handle) = bench.leased_with(&|args| args.policy = Some(at_once.clone())).await;
        let outcome = bench.backend.fail(&handle, FailureReason::new("x"), class).await.unwrap();
        assert_eq!(outcome, FailOutcome::RetryScheduled { delay_until: TimestampMs(START) });
        let waiting = "runnable unowned eligible_now waiting pending_retry_attempt waiting_for_worker";
        assert_eq!(bench.core(&id).await.states(), waiting);
        let handle = bench.claim().await;
        let outcome = bench.backend.fail(&handle, FailureReason::new("x"), class).await.unwrap();
        assert_eq!(outcome, FailOutcome::TerminalFailed);
    }

    async fn a_failure_may_name_the_pause_and_the_policy_the_end(bench) {
        let two = retrying(2, BackoffStrategy::Fixed { delay_ms: 500 });
        let (id, mut handle) = bench.leased_with(&|args| args.policy = Some(two.clone())).await;
        let (mut now, class) = (START, FailureClass::Transient);
        // A pause of nothing would get around the bound of retries without one.
        for (asked, pause) in [(90_000, 90_000), (0, 1)] {
            let reason = FailureReason::new("busy").retried_after(asked);
            let outcome = bench.backend.fail(&handle, reason, class).await.unwrap();
            now += pause;
            assert_eq!(outcome, FailOutcome::RetryScheduled { delay_until: TimestampMs(now) });
            assert_eq!(bench.core(&id).await.states(), BACKING_OFF);
            bench.clock.advance(pause);
            bench.backend.promote_delayed(partition(&id), &lane(), &id, bench.clock.now()).await.unwrap();
            handle = bench.claim().await;
        }

        let reason = || FailureReason::new("busy").retried_after(90_000);
        let outcome = bench.backend.fail(&handle, reason(), class).await.unwrap();
        assert_eq!(outcome, FailOutcome::TerminalFailed);
        let (_, handle) = bench.leased_with(&|args| args.policy = Some(two.clone())).await;
        let class = FailureClass::Permanent;
        let outcome = bench.backend.fail(&handle, reason(), class).await.unwrap();
        assert_eq!(outcome, FailOutcome::TerminalFailed);
    }

    async fn jitter_shortens_a_pause_by_at_most_half(bench) {
        let policy = retrying(5, BackoffStrategy::Exponential {
            initial_delay_ms: 10_000,
            max_delay_ms: 60_000,
            multiplier: 2.0,
            jitter: true,
        });
        let mut pauses = std::collections::BTreeSet::new();
        for _ in 0..12 {
            let (_, handle) = bench.leased_with(&|args| args.policy = Some(policy.clone())).await;
            let class = FailureClass::Transient;
            match bench.backend.fail(&handle, FailureReason::new("x"), class).await.unwrap() {
                FailOutcome::RetryScheduled { delay_until } => pauses.insert(delay_until.0 - START),
                FailOutcome::TerminalFailed => panic!("must be tried again"),
            };
        }
        assert!(pauses.iter().all(|pause| (5_000..=10_000).contains(pause)), "{pauses:?}");
        assert!(1 < pauses.len(), "{pauses:?}");
    }

    async fn a_lapsed_lease_cannot_fail(bench) {
        let (_, handle) = bench.leased().await;
        bench.clock.advance(TTL);
        assert_refused(
            bench.backend.fail_execution(fail_args(&handle, FIXED)).await,
            "state: LeaseExpired",
        );
        assert_eq!(fence(&handle).lease_epoch, LeaseEpoch(1));
    }
}
