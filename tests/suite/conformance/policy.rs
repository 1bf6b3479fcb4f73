//! Policies: what makes no sense or has no effect is refused where it enters, what is accepted
//! counts.

use ff_core::backend::{FailOutcome, FailureClass, FailureReason};
use ff_core::contracts::{ReplayExecutionArgs, TimeoutBehavior};
use ff_core::plan::value::Value;
use ff_core::policy::ExecutionPolicy;
use ff_core::types::{ExecutionId, TimestampMs};
use serde_json::{Value as Json, json};

use crate::backends::{Bench, START, conformance};
use crate::bench::{assert_refused, fence, id, id_in};
use crate::conformance::fence::fail_args;
use crate::flow::member_of;
use crate::suspended::{fresh, named, targets};

fn policy(document: Json) -> ExecutionPolicy {
    serde_json::from_value(document).unwrap()
}

const SENSELESS: [(&str, &str); 3] = [
    (
        r#"{"retry_policy":{"backoff":{"type":"exponential","initial_delay_ms":1000,"max_delay_ms":60000,"multiplier":-2}}}"#,
        "policy.retry_policy.backoff.multiplier: must be between 1 and 1000, got -2",
    ),
    (
        r#"{"retry_policy":{"max_retries":4294967295}}"#,
        "policy.retry_policy.max_retries: must be between 0 and 10000, got 4294967295",
    ),
    (r#"{"stream_policy":{}}"#, "policy.stream_policy: has no effect in this version"),
];

async fn replayed(bench: &Bench, id: &ExecutionId) -> Result<(), ff_core::EngineError> {
    let args = ReplayExecutionArgs { execution_id: id.clone(), now: bench.clock.now() };
    bench.backend.replay_execution(args).await.map(drop)
}

/// Puts a policy into the row, as plain SQL or an older version may have.
async fn stored(bench: &Bench, id: &ExecutionId, document: Json) {
    bench.set_core(id, vec![("policy", Value::Json(document))]).await;
}

conformance! {
    async fn a_policy_without_sense_is_refused_wherever_one_enters(bench) {
        let flow = bench.empty_flow().await;
        for (document, expected) in SENSELESS {
            let expected = format!("validation: InvalidInput: {expected}");
            let senseless: ExecutionPolicy = serde_json::from_str(document).unwrap();
            let mut args = bench.args(&id());
            args.policy = Some(senseless.clone());
            assert_refused(bench.backend.create_execution(args).await, &expected);
            let mut args = bench.member_args(&member_of(&flow.id));
            args.policy = Some(senseless);
            let member = bench.backend.create_flow_members(&flow.id, vec![args]).await.remove(0);
            assert_refused(member, &expected);
        }
        assert!(bench.plain.rows("ff_exec_core").await.is_empty());

        let (_, handle) = bench.leased().await;
        for (document, expected) in [
            (
                r#"{"max_retries":2,"backoff":{"type":"exponential","multiplier":0.5}}"#,
                "retry_policy_json.backoff.multiplier: must be between 1 and 1000, got 0.5",
            ),
            (
                r#"{"max_retries":101,"backoff":{"type":"fixed","delay_ms":0}}"#,
                "retry_policy_json.max_retries: must be between 0 and 100 where backoff.delay_ms is 0, got 101",
            ),
        ] {
            let expected = format!("validation: InvalidPolicyJson: {expected}");
            assert_refused(
                bench.backend.fail_execution(fail_args(&handle, document)).await,
                &expected,
            );
        }
        assert_eq!(fence(&handle).lease_epoch.0, 1);
        bench.backend.complete(&handle, None).await.unwrap();
    }

    async fn the_policys_priority_counts_where_the_call_gives_none(bench) {
        let urgent = policy(json!({ "priority": 9 }));
        let by_policy = bench.create_with(&|args| {
            args.priority = 0;
            args.policy = Some(urgent.clone());
        }).await;
        let by_call = bench.create_with(&|args| {
            args.priority = -3;
            args.policy = Some(urgent.clone());
        }).await;
        assert_eq!(bench.core(&by_policy).await.int("priority"), Some(9));
        assert_eq!(bench.core(&by_call).await.int("priority"), Some(-3));
    }

    async fn an_execution_is_replayed_as_often_as_its_policy_allows(bench) {
        let twice = policy(json!({ "max_replay_count": 2 }));
        let never = policy(json!({ "max_replay_count": 0 }));
        let (capped, handle) = bench.leased_with(&|args| args.policy = Some(twice.clone())).await;
        bench.backend.complete(&handle, None).await.unwrap();
        for _ in 0..2 {
            replayed(&bench, &capped).await.unwrap();
            bench.backend.complete(&bench.claim().await, None).await.unwrap();
        }
        assert_refused(replayed(&bench, &capped).await, "state: MaxReplaysExhausted");
        assert_eq!(bench.core(&capped).await.raw("replay_count"), 2);

        let (final_one, handle) = bench.leased_with(&|args| args.policy = Some(never.clone())).await;
        bench.backend.complete(&handle, None).await.unwrap();
        assert_refused(replayed(&bench, &final_one).await, "state: MaxReplaysExhausted");
    }

    async fn the_lower_cap_on_signals_counts(bench) {
        bench.seed().await;
        let two = policy(json!({ "max_signals_per_execution": 2 }));
        let (id, handle) = bench.leased_with(&|args| args.policy = Some(two.clone())).await;
        let target = bench.suspend(&id, &handle, bench.wait(vec![fresh("a")], named("a", "go"))).await.remove(0);
        let capped = |most: Option<u64>| {
            let mut signal = bench.signal(&target, "other");
            signal.max_signals_per_execution = most;
            signal
        };
        let exceeded = |limit: &str| format!("validation: SignalLimitExceeded: max_signals_per_execution: {limit}");
        bench.backend.deliver_signal(capped(None)).await.unwrap();
        assert_refused(
            bench.backend.deliver_signal(capped(Some(1))).await,
            &exceeded("1 of 1 received"),
        );
        bench.backend.deliver_signal(capped(Some(500))).await.unwrap();
        for most in [None, Some(500)] {
            assert_refused(
                bench.backend.deliver_signal(capped(most)).await,
                &exceeded("2 of 2 received"),
            );
        }
    }

    async fn a_suspension_that_names_no_end_ends_by_the_policy(bench) {
        bench.seed().await;
        let patient = policy(json!({
            "suspension_policy": { "default_timeout_ms": 700, "timeout_behavior": "cancel" },
        }));
        let mut ends = Vec::new();
        for own in [None, Some((TimestampMs(START + 50), TimeoutBehavior::Expire))] {
            let (id, handle) = bench.leased_with(&|args| args.policy = Some(patient.clone())).await;
            let args = bench.wait(vec![fresh("a")], named("a", "go"));
            let args = match own {
                Some((at, behavior)) => args.with_timeout(at, behavior),
                None => args,
            };
            let outcome = bench.backend.suspend(&handle, args).await.unwrap();
            assert_eq!(targets(&id, &outcome).len(), 1);
            let row = bench.of("ff_suspension_current", &id).await.remove(0);
            ends.push((row.int("timeout_at_ms").unwrap(), row.text("timeout_behavior").to_owned()));
        }
        let expected = [(START + 700, "cancel".to_owned()), (START + 50, "expire".to_owned())];
        assert_eq!(ends, expected);
    }

    async fn a_stored_policy_that_cannot_be_read_back_keeps_no_attempt_from_ending(bench) {
        let infinite = json!({ "type": "exponential", "initial_delay_ms": 100, "max_delay_ms": 900, "multiplier": null });
        for (document, delay) in [
            (json!({ "retry_policy": { "max_retries": 3, "backoff": infinite } }), 100),
            (json!({ "retry_policy": { "max_retries": 3, "backoff": { "type": "fixed", "delay_ms": 7 } }, "budget_ids": 4 }), 7),
            (json!({ "retry_policy": { "max_retries": "x", "backoff": "soon" } }), 1_000),
        ] {
            let id = bench.create_with(&|args| args.execution_id = id_in(3)).await;
            stored(&bench, &id, document).await;
            let handle = bench.claim().await;
            let reason = FailureReason::new("no luck");
            let outcome = bench.backend.fail(&handle, reason, FailureClass::Transient).await.unwrap();
            let delay_until = TimestampMs(START + delay);
            assert_eq!(outcome, FailOutcome::RetryScheduled { delay_until });
        }
    }
}
