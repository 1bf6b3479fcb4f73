//! Why something ended: each attempt keeps what went wrong, each end says why, each lease what
//! ended it.

use ff_core::backend::{FailureClass, FailureReason, Handle};
use ff_core::contracts::{CancelExecutionArgs, CancellationSummary, FailureSummary, TimelineEvent};
use ff_core::engine_backend::Scan;
use ff_core::policy::{BackoffStrategy, ExecutionPolicy, RetryPolicy, TimeoutPolicy};
use ff_core::state::LeaseCause;
use ff_core::types::{CancelSource, ExecutionId, TimestampMs, WorkerId, WorkerInstanceId};
use serde_json::json;

use crate::backends::{Bench, START, conformance};
use crate::bench::{TTL, id, lane, partition};
use crate::plain::{int, text};

async fn fail(bench: &Bench, handle: &Handle, message: &str, class: FailureClass) {
    bench.backend.fail(handle, FailureReason::new(message), class).await.unwrap();
}

async fn events(bench: &Bench, id: &ExecutionId) -> Vec<TimelineEvent> {
    bench.backend.execution_timeline(id).await.unwrap().events
}

/// Why the leases of an execution ended, oldest first, and which instances held them.
async fn causes(bench: &Bench, id: &ExecutionId) -> Vec<(LeaseCause, String)> {
    let events = events(bench, id).await.into_iter();
    let ended = events.filter_map(|event| Some((event.cause?, event.worker_instance_id?)));
    ended.map(|(cause, worker)| (cause, worker.as_str().to_owned())).collect()
}

/// Why an execution ended, as its events say.
async fn reasons(bench: &Bench, id: &ExecutionId) -> Vec<(String, Option<FailureClass>)> {
    let events = events(bench, id).await.into_iter();
    events.filter_map(|event| Some((event.reason?, event.failure_class))).collect()
}

fn once_more() -> ExecutionPolicy {
    ExecutionPolicy {
        retry_policy: Some(RetryPolicy {
            max_retries: 1,
            backoff: BackoffStrategy::Fixed { delay_ms: 0 },
            retryable_categories: Vec::new(),
        }),
        ..ExecutionPolicy::default()
    }
}

conformance! {
    async fn each_attempt_keeps_its_own_failure(bench) {
        let (id, handle) = bench.leased_with(&|args| args.policy = Some(once_more())).await;
        fail(&bench, &handle, "no paper", FailureClass::Transient).await;
        fail(&bench, &bench.claim().await, "no ink", FailureClass::Permanent).await;

        let timeline = bench.backend.execution_timeline(&id).await.unwrap();
        let failures: Vec<_> = timeline.attempts.iter().map(|at| at.failure.clone()).collect();
        let no_ink = FailureSummary::new("no ink", Some(FailureClass::Permanent));
        let no_paper = FailureSummary::new("no paper", Some(FailureClass::Transient));
        assert_eq!(failures, [Some(no_paper), Some(no_ink.clone())]);
        let ink = ("no ink".to_owned(), Some(FailureClass::Permanent));
        assert_eq!(reasons(&bench, &id).await, [ink]);
        let info = bench.backend.read_execution_info(&id).await.unwrap().unwrap();
        assert_eq!(info.last_failure, Some(no_ink.clone()));
        let described = bench.backend.describe_execution(&id).await.unwrap().unwrap();
        assert_eq!(described.last_failure, Some(no_ink));
    }

    async fn an_attempt_that_begins_anew_has_not_failed(bench) {
        let (id, handle) = bench.leased().await;
        fail(&bench, &handle, "no ink", FailureClass::Permanent).await;
        bench.replay(&id).await;
        assert_eq!(bench.attempt(&id, 0).await.text("failure_message"), "-");
        let again = bench.claim().await;
        bench.backend.complete(&again, None).await.unwrap();
        let attempt = bench.attempt(&id, 0).await;
        assert_eq!((attempt.text("failure_message"), attempt.text("failure_class")), ("-", "-"));
    }

    async fn a_timed_out_execution_shows_the_reason(bench) {
        let timeouts = TimeoutPolicy {
            attempt_timeout_ms: Some(5),
            execution_deadline_ms: None,
            max_reclaim_count: 3,
        };
        let limited = ExecutionPolicy { timeout_policy: Some(timeouts), ..ExecutionPolicy::default() };
        let (slow, _) = bench.leased_with(&|args| args.policy = Some(limited.clone())).await;
        let deadline = Some(TimestampMs(START + 5));
        let late = bench.create_with(&|args| args.execution_deadline_at = deadline).await;
        bench.clock.advance(6);
        for scan in [Scan::AttemptTimeout, Scan::ExecutionDeadline] {
            assert_eq!(bench.backend.scan(scan, 10).await.unwrap().processed, 1);
        }
        for (id, message) in [(&slow, "attempt_timeout"), (&late, "execution_deadline")] {
            let reason = (message.to_owned(), Some(FailureClass::Timeout));
            assert_eq!(reasons(&bench, id).await, [reason]);
            let attempt = bench.attempt(id, 0).await;
            assert_eq!(attempt.text("failure_message"), message);
            assert_eq!(attempt.text("failure_class"), "timeout");
        }
        assert_eq!(causes(&bench, &slow).await, [(LeaseCause::TimedOut, "w-1".into())]);
    }

    async fn a_cancelled_execution_shows_the_reason_and_the_canceller(bench) {
        let (id, _) = bench.leased().await;
        bench.cancel_one(&id).await;
        assert_eq!(reasons(&bench, &id).await, [("enough".to_owned(), None)]);
        let cancellation =
            CancellationSummary::of(Some("enough".into()), Some("operator_override".into()));
        let info = bench.backend.read_execution_info(&id).await.unwrap().unwrap();
        assert_eq!((info.cancellation.clone(), info.last_failure), (cancellation.clone(), None));
        let described = bench.backend.describe_execution(&id).await.unwrap().unwrap();
        assert_eq!(described.cancellation, cancellation);
        assert_eq!(causes(&bench, &id).await, [(LeaseCause::Cancelled, "w-1".into())]);
        let acts = events(&bench, &id).await.into_iter().filter_map(|event| event.details);
        assert_eq!(acts.collect::<Vec<_>>(), [json!({ "reason": "enough" })]);

        // A worker is no operator, and neither is a source with a name of its own.
        let (id, handle) = bench.leased().await;
        bench.backend.cancel(&handle, "enough").await.unwrap();
        assert!(bench.of("ff_operator_event", &id).await.is_empty());
        let id = bench.create().await;
        let args = CancelExecutionArgs {
            execution_id: id.clone(),
            reason: "over budget".into(),
            source: CancelSource::Custom("billing".into()),
            lease_id: None,
            lease_epoch: None,
            attempt_id: None,
            now: bench.clock.now(),
        };
        bench.backend.cancel_execution(args).await.unwrap();
        assert!(bench.of("ff_operator_event", &id).await.is_empty());
        assert_eq!(bench.core(&id).await.text("cancelled_by"), "billing");
    }

    async fn the_detail_of_a_failure_is_kept(bench) {
        for (detail, kept) in [
            (&b"at line 7"[..], "no ink\nat line 7"),
            (b"\xff\0", "no ink\n\u{fffd}\u{fffd}"),
            (b"", "no ink"),
        ] {
            let (id, handle) = bench.leased().await;
            let reason = FailureReason::with_detail("no ink", detail.to_vec());
            bench.backend.fail(&handle, reason, FailureClass::Permanent).await.unwrap();
            assert_eq!(bench.attempt(&id, 0).await.text("failure_message"), kept);
            assert_eq!(reasons(&bench, &id).await[0].0, kept);
        }
    }

    async fn lease_events_name_the_holder_and_the_cause_of_the_end(bench) {
        let (id, handle) = bench.leased_with(&|args| args.policy = Some(once_more())).await;
        let took = &events(&bench, &id).await[0];
        assert_eq!(took.worker_id.as_ref().map(WorkerId::as_str), Some("w"));
        assert_eq!(took.worker_instance_id.as_ref().map(WorkerInstanceId::as_str), Some("w-1"));
        assert_eq!(took.cause, None);

        fail(&bench, &handle, "no paper", FailureClass::Transient).await;
        let handle = bench.claim().await;
        bench.backend.delay(&handle, bench.clock.now()).await.unwrap();
        bench.backend.promote_delayed(partition(&id), &lane(), &id, bench.clock.now()).await.unwrap();
        bench.claim().await;
        bench.clock.advance(TTL);
        bench.backend.scan(Scan::LeaseExpiry, 10).await.unwrap();
        bench.clock.advance(1);
        let handle = bench.claim().await;
        bench.backend.complete(&handle, None).await.unwrap();

        use LeaseCause::{Completed, Delayed, Expired, Failed};
        let expected = [Failed, Delayed, Expired, Completed].map(|cause| (cause, "w-1".to_owned()));
        assert_eq!(causes(&bench, &id).await, expected);
    }

    async fn a_row_that_gives_no_cause_reads_as_before(bench) {
        let id = id();
        bench.plain.insert("ff_lease_event", vec![
            ("execution_id", text(&id.uuid().to_string())),
            ("event_type", text("revoked")),
            ("occurred_at_ms", int(START)),
            ("partition_key", int(i64::from(id.partition()))),
        ]).await;
        let event = &events(&bench, &id).await[0];
        assert_eq!((event.cause, event.worker_instance_id.clone()), (None, None));
    }
}
