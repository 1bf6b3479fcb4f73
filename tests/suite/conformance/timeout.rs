//! Nobody came: suspensions and waitpoints out of time.

use std::time::Duration;

use ff_core::contracts::{ResumeExecutionArgs, TimeoutBehavior};
use ff_core::engine_backend::Scan;
use ff_core::plan::value::Value;
use ff_core::types::TimestampMs;
use serde_json::json;

use crate::backends::{Bench, START, conformance};
use crate::bench::{CANCELLED, EXPIRED, FAILED, assert_refused, partition};
use crate::suspended::{RESUMABLE, SUSPENDED, cancellation};

const UNTIL: TimestampMs = TimestampMs(START + 1_000);

async fn processed(bench: &Bench, scan: Scan) -> usize {
    let counts = bench.backend.scan(scan, 10).await.unwrap();
    assert_eq!(counts.errors, 0);
    usize::try_from(counts.processed).unwrap()
}

conformance! {
    async fn a_suspension_ends_by_its_timeout_behavior(bench) {
        for (behavior, states, completion, reason) in [
            (TimeoutBehavior::Fail, FAILED, "failed", "suspension_timeout_fail"),
            (TimeoutBehavior::Cancel, CANCELLED, "cancelled", "suspension_timeout_cancel"),
            (TimeoutBehavior::Expire, EXPIRED, "expired", "suspension_timeout_expire"),
        ] {
            let (id, _, target) = bench.waiting(|args| {
                args.with_timeout(TimestampMs(bench.clock.now().0 + 1_000), behavior)
            }).await;
            bench.clock.advance(1_000);
            assert_eq!(processed(&bench, Scan::SuspensionTimeout).await, 0, "not before it is over");
            bench.clock.advance(1);
            assert_eq!(processed(&bench, Scan::SuspensionTimeout).await, 1);
            let core = bench.core(&id).await;
            assert_eq!(core.states(), states);
            assert_eq!(core.text("cancellation_reason"), reason);
            assert_eq!(core.raw("last_failure_message"), "suspension_timeout");
            assert_eq!(core.int("terminal_at_ms"), Some(bench.clock.now().0));
            assert_eq!(bench.attempt(&id, 0).await.text("outcome"), completion);
            assert_eq!(bench.completions(&id).await, [completion]);
            assert!(bench.of("ff_waitpoint_pending", &id).await.is_empty());
            let late = bench.deliver(&target, "go").await;
            assert_refused(late, "not found: waitpoint");
            assert_eq!(processed(&bench, Scan::SuspensionTimeout).await, 0);
        }
    }

    async fn a_timeout_may_resume_with_a_signal_that_reports_it(bench) {
        let behavior = TimeoutBehavior::AutoResumeWithTimeoutSignal;
        let (id, handle, _) = bench.waiting(|args| args.with_timeout(UNTIL, behavior)).await;
        bench.clock.advance(1_001);
        let (now, place) = (bench.clock.now(), partition(&id));
        bench.backend.expire_suspension(place, &id, now).await.unwrap();
        assert_eq!(bench.core(&id).await.states(), RESUMABLE);
        assert_eq!(bench.completions(&id).await, ["resumable"]);
        let suspension = bench.of("ff_suspension_current", &id).await.remove(0);
        let signals = suspension.json("member_map")["__timeout__"].as_array().unwrap().clone();
        assert_eq!(signals.len(), 1);
        assert_eq!(signals[0]["signal_name"], "timeout");
        assert_eq!(suspension.int("timeout_at_ms"), None);
        let observed = bench.backend.observe_signals(&handle).await.unwrap();
        assert_eq!(observed[0].signal_name, "timeout");
        let handle = bench.claim().await;
        bench.backend.complete(&handle, None).await.unwrap();
    }

    async fn an_escalated_suspension_waits_for_an_operator(bench) {
        let behavior = TimeoutBehavior::Escalate;
        let (id, _, _) = bench.waiting(|args| args.with_timeout(UNTIL, behavior)).await;
        bench.clock.advance(1_001);
        assert_eq!(processed(&bench, Scan::SuspensionTimeout).await, 1);
        let core = bench.core(&id).await;
        assert_eq!(core.text("public_state"), "suspended");
        assert_eq!(core.text("blocking_reason"), "paused_by_operator");
        let suspension = bench.of("ff_suspension_current", &id).await.remove(0);
        assert_eq!(suspension.text("reason_code"), "waiting_for_operator_review");
        assert_eq!(processed(&bench, Scan::SuspensionTimeout).await, 0);
        assert!(bench.completions(&id).await.is_empty());
    }

    async fn an_escalated_wait_still_takes_its_signal(bench) {
        let behavior = TimeoutBehavior::Escalate;
        for when in ["between its end and the scan", "after the scan"] {
            let until = TimestampMs(bench.clock.now().0 + 1_000);
            let (id, _, target) = bench.waiting(|args| args.with_timeout(until, behavior)).await;
            bench.clock.advance(1_001);
            assert_eq!(processed(&bench, Scan::WaitpointExpiry).await, 0, "{when}");
            if when == "after the scan" {
                assert_eq!(processed(&bench, Scan::SuspensionTimeout).await, 1);
                bench.clock.advance(3_600_000);
                assert_eq!(processed(&bench, Scan::WaitpointExpiry).await, 0);
            }
            let answer = bench.deliver(&target, "go").await.unwrap();
            assert_eq!(answer, "resume_condition_satisfied", "{when}");
            assert_eq!(bench.core(&id).await.states(), RESUMABLE);
            let handle = bench.claim().await;
            bench.backend.complete(&handle, None).await.unwrap();
        }
    }

    async fn what_cannot_be_read_keeps_no_timeout_and_no_operator_from_ending_the_wait(bench) {
        for column in ["condition", "resume_policy", "member_map"] {
            let behavior = TimeoutBehavior::Expire;
            let until = TimestampMs(bench.clock.now().0 + 1_000);
            let (expires, _, _) = bench.waiting(|args| args.with_timeout(until, behavior)).await;
            let (resumes, _, _) = bench.waiting(|args| args).await;
            let (cancelled, _, _) = bench.waiting(|args| args.with_timeout(until, behavior)).await;
            for id in [&expires, &resumes, &cancelled] {
                let partition = Value::Int(i64::from(id.partition()));
                let key = vec![
                    ("partition_key", partition),
                    ("execution_id", Value::Uuid(id.uuid())),
                ];
                let of_another_version = vec![(column, Value::Json(json!(["of", "a", "version"])))];
                bench.plain.set("ff_suspension_current", key, of_another_version).await;
            }

            let resume = ResumeExecutionArgs {
                execution_id: resumes.clone(),
                trigger_type: "operator".into(),
                resume_delay_ms: 0,
            };
            bench.backend.resume_execution(resume).await.unwrap();
            assert_eq!(bench.core(&resumes).await.text("public_state"), "waiting", "{column}");
            let handle = bench.claim().await;
            bench.backend.complete(&handle, None).await.unwrap();
            bench.backend.cancel_execution(cancellation(&bench, &cancelled)).await.unwrap();
            bench.clock.advance(1_001);
            assert_eq!(processed(&bench, Scan::SuspensionTimeout).await, 1, "{column}");
            assert_eq!(bench.core(&expires).await.states(), EXPIRED, "{column}");
        }
    }

    async fn what_ended_before_its_timeout_is_left_alone(bench) {
        let behavior = TimeoutBehavior::Fail;
        let (gone, _, _) = bench.waiting(|args| args.with_timeout(UNTIL, behavior)).await;
        bench.backend.cancel_execution(cancellation(&bench, &gone)).await.unwrap();
        let (woken, _, target) = bench.waiting(|args| args.with_timeout(UNTIL, behavior)).await;
        bench.deliver(&target, "go").await.unwrap();
        bench.clock.advance(2_000);
        assert_eq!(processed(&bench, Scan::SuspensionTimeout).await, 0, "no timeout is left");
        assert_eq!(bench.core(&woken).await.states(), RESUMABLE);
        assert_eq!(bench.core(&gone).await.text("public_state"), "cancelled");
        assert_eq!(bench.completions(&gone).await, ["cancelled"]);
    }

    async fn nothing_is_given_up_before_its_time(bench) {
        let behavior = TimeoutBehavior::Fail;
        let (id, _, _) = bench.waiting(|args| args.with_timeout(UNTIL, behavior)).await;
        let before = bench.everything().await;
        bench.backend.expire_suspension(partition(&id), &id, UNTIL).await.unwrap();
        assert_eq!(bench.everything().await, before);
        assert_eq!(bench.core(&id).await.states(), SUSPENDED);
    }

    async fn a_waitpoint_closes_when_its_time_is_over(bench) {
        bench.seed().await;
        let (id, handle) = bench.leased().await;
        let second = Duration::from_secs(1);
        let made = bench.backend.create_waitpoint(&handle, "a", second).await.unwrap();
        let waitpoint = made.waitpoint_id.to_string();
        let close = |at| bench.backend.close_waitpoint(partition(&id), &id, &waitpoint, at);
        close(UNTIL).await.unwrap();
        assert_eq!(bench.of("ff_waitpoint_pending", &id).await.len(), 1);
        assert_eq!(processed(&bench, Scan::WaitpointExpiry).await, 0);
        bench.clock.advance(1_001);
        assert_eq!(processed(&bench, Scan::WaitpointExpiry).await, 1);
        assert!(bench.of("ff_waitpoint_pending", &id).await.is_empty());
        close(bench.clock.now()).await.unwrap();
        let wrong = bench.backend.close_waitpoint(partition(&id), &id, "x", UNTIL).await;
        let wrong = wrong.unwrap_err().to_string();
        assert!(wrong.contains("waitpoint_id not a UUID"), "{wrong}");
    }
}
