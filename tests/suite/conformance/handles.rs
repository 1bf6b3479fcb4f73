//! Handles that are none, or another backend's.

use ff_core::backend::{
    BackendTag, FailOutcome, FailureClass, FailureReason, Handle, HandleKind, HandleOpaque,
};
use ff_core::contracts::{ClaimResumedExecutionResult, SuspendOutcome};
use ff_core::handle_codec::{self, RetryFacts};
use ff_core::policy::{BackoffStrategy, ExecutionPolicy, RetryPolicy};
use ff_core::types::TimestampMs;

use crate::backends::{Bench, START, conformance};
use crate::bench::payload_of;
use crate::conformance::fence::Fenced;
use crate::conformance::signal::resumed;
use crate::suspended::{fresh, named, targets};

/// Every operation that takes a handle.
const BY_HANDLE: [Fenced; 9] = [
    Fenced::Progress,
    Fenced::Complete,
    Fenced::FailRetry,
    Fenced::FailFinal,
    Fenced::Cancel,
    Fenced::Delay,
    Fenced::Renew,
    Fenced::Append,
    Fenced::Record,
];

async fn all_refused(bench: &Bench, handle: &Handle, expected: &str) {
    let before = bench.everything().await;
    for operation in BY_HANDLE {
        let backend = &bench.backend;
        let result = match operation {
            Fenced::Progress => backend.progress(handle, None, None).await,
            Fenced::Complete => backend.complete(handle, None).await,
            Fenced::FailRetry | Fenced::FailFinal => {
                let reason = ff_core::backend::FailureReason::new("x");
                let class = ff_core::backend::FailureClass::Transient;
                backend.fail(handle, reason, class).await.map(drop)
            }
            Fenced::Cancel => backend.cancel(handle, "x").await,
            Fenced::Append | Fenced::Record => operation.call(bench, handle).await,
            Fenced::Delay => backend.delay(handle, bench.clock.now()).await,
            _ => backend.renew(handle).await.map(drop),
        };
        let error = result.unwrap_err().to_string();
        assert!(error.starts_with(expected), "{operation:?}: {error}");
    }
    assert_eq!(bench.everything().await, before);
}

/// A policy that retries after that pause; it names one category that often.
fn retrying(max_retries: u32, delay_ms: u64, categories: usize) -> ExecutionPolicy {
    let retry = RetryPolicy {
        max_retries,
        backoff: BackoffStrategy::Fixed { delay_ms },
        retryable_categories: vec!["transient".to_owned(); categories],
    };
    ExecutionPolicy { retry_policy: Some(retry), ..ExecutionPolicy::default() }
}

impl Bench {
    async fn leased_by(&self, policy: &ExecutionPolicy) -> Handle {
        self.leased_with(&|args| args.policy = Some(policy.clone())).await.1
    }

    async fn failed(&self, handle: &Handle) -> FailOutcome {
        let reason = FailureReason::new("boom");
        self.backend.fail(handle, reason, FailureClass::Transient).await.unwrap()
    }
}

/// A retry after that pause.
fn after(delay_ms: i64) -> FailOutcome {
    FailOutcome::RetryScheduled { delay_until: TimestampMs(START + delay_ms) }
}

conformance! {
    async fn another_backends_handle_is_refused(bench) {
        let (_, handle) = bench.leased().await;
        let payload = payload_of(&handle);
        let tags = [BackendTag::Valkey, BackendTag::Postgres, BackendTag::Sqlite, BackendTag::Memory];
        for tag in tags.into_iter().filter(|tag| *tag != bench.tag) {
            let own = bench.tag;
            let inner = handle_codec::encode(tag, &payload);
            let outside = Handle::new(tag, HandleKind::Fresh, inner.clone());
            let expected =
                format!("validation: HandleFromOtherBackend: expected={own:?} actual={tag:?}");
            all_refused(&bench, &outside, &expected).await;
            let inside = Handle::new(own, HandleKind::Fresh, inner);
            all_refused(&bench, &inside, &format!("{expected} (embedded tag)")).await;
        }
        bench.backend.complete(&handle, None).await.unwrap();
    }

    async fn the_first_version_belongs_to_another_backend(bench) {
        let (_, handle) = bench.leased().await;
        let bytes = handle_codec::v1_handle_for_tests(&payload_of(&handle)).into_boxed_slice();
        let old = Handle::new(bench.tag, HandleKind::Fresh, HandleOpaque::new(bytes));
        let own = bench.tag;
        let expected =
            format!("validation: HandleFromOtherBackend: expected={own:?} actual=Valkey");
        all_refused(&bench, &old, &expected).await;
    }

    async fn bytes_that_are_no_handle_are_corruption(bench) {
        let (_, handle) = bench.leased().await;
        let whole = handle.opaque.as_bytes().to_vec();
        let mut longer = whole.clone();
        longer.push(0);
        let mut broken = vec![Vec::new(), vec![9; 40], longer, b"' OR 1=1 --".to_vec()];
        broken.extend([1, 2, 3, 7, 20, whole.len() - 1].map(|length| whole[..length].to_vec()));
        for bytes in broken {
            let opaque = HandleOpaque::new(bytes.into_boxed_slice());
            let handle = Handle::new(bench.tag, HandleKind::Fresh, opaque);
            all_refused(&bench, &handle, "validation: Corruption: handle_codec: ").await;
        }
    }

    async fn a_handle_works_however_it_was_obtained(bench) {
        let (_, handle) = bench.leased().await;
        for kind in [HandleKind::Resumed, HandleKind::Suspended, HandleKind::Reclaimed] {
            let same = Handle::new(handle.backend, kind, handle.opaque.clone());
            bench.backend.renew(&same).await.unwrap();
        }
    }

    async fn another_process_fails_an_execution_by_what_the_handle_knows(bench) {
        let elsewhere = bench.another_process().await;
        for (max_retries, delay_ms, expected) in
            [(3, 500, after(500)), (0, 500, FailOutcome::TerminalFailed), (1, 0, after(0))]
        {
            let handle = bench.leased_by(&retrying(max_retries, delay_ms, 0)).await;
            assert_eq!(payload_of(&handle).retry.unwrap().retries(), 0);
            let reason = FailureReason::new("boom");
            let outcome = elsewhere.fail(&handle, reason, FailureClass::Transient).await.unwrap();
            assert_eq!(outcome, expected);
        }

        // The only one that waits for nothing has been retried once, which its handle knows.
        assert_eq!(payload_of(&bench.claim().await).retry.unwrap().retries(), 1);
    }

    async fn a_handle_without_retry_facts_fails_by_the_stored_policy(bench) {
        let handle = bench.leased_by(&retrying(3, 700, 0)).await;
        let older = bench.altered(&handle, |payload| payload.retry = None);
        assert_eq!(bench.failed(&older).await, after(700));

        let long = bench.leased_by(&retrying(3, 900, 200)).await;
        assert_eq!(payload_of(&long).retry, None, "its policy is longer than a handle carries");
        assert!(long.opaque.as_bytes().len() < 300);
        assert_eq!(bench.failed(&long).await, after(900));

        let handle = bench.leased_by(&retrying(3, 800, 0)).await;
        let garbled = RetryFacts::new(Some(r#"{"max_retries":"#), 7);
        let garbled = bench.altered(&handle, |payload| payload.retry = garbled.clone());
        assert_eq!(bench.failed(&garbled).await, after(800));
    }

    async fn edited_retry_facts_open_nothing_and_stay_within_the_bounds_of_policies(bench) {
        let endless = r#"{"max_retries":4294967295,"backoff":{"type":"fixed","delay_ms":0}}"#;
        let facts = |retries| RetryFacts::new(Some(endless), retries);
        let handle = bench.leased_by(&retrying(0, 500, 0)).await;

        let late = bench.altered(&handle, |payload| {
            payload.retry = facts(0);
            payload.lease_epoch.0 += 1;
        });
        all_refused(&bench, &late, "contention: LeaseConflict").await;

        let spent = bench.altered(&handle, |payload| payload.retry = facts(u32::MAX));
        assert_eq!(bench.failed(&spent).await, FailOutcome::TerminalFailed);

        for (retries, expected) in [(99, after(0)), (100, FailOutcome::TerminalFailed)] {
            let handle = bench.leased_by(&retrying(0, 500, 0)).await;
            let edited = bench.altered(&handle, |payload| payload.retry = facts(retries));
            assert_eq!(bench.failed(&edited).await, expected);
            assert_eq!(bench.try_claim().await.is_some(), expected == after(0));
        }
    }

    async fn a_resumed_handle_knows_the_retries_and_a_suspended_one_does_not(bench) {
        let policy = retrying(3, 600, 0);
        let (id, handle) = bench.leased_with(&|args| args.policy = Some(policy.clone())).await;
        bench.seed().await;
        let args = bench.wait(vec![fresh("a")], named("a", "go"));
        let outcome = bench.backend.suspend(&handle, args).await.unwrap();
        let SuspendOutcome::Suspended { handle: suspended, .. } = &outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(payload_of(suspended), payload_of(&handle).with_retry(None));
        bench.deliver(&targets(&id, &outcome)[0], "go").await.unwrap();

        let claimed = bench.backend.claim_resumed_execution(resumed(&bench, &id)).await.unwrap();
        let ClaimResumedExecutionResult::Claimed(claimed) = claimed;
        assert_eq!(payload_of(&claimed.handle).retry, payload_of(&handle).retry);
        assert_eq!(bench.failed(&claimed.handle).await, after(600));
    }
}
