//! The ways in which work stops that is under way.

use ff_core::backend::{FailureClass, FailureReason, Handle};
use ff_core::contracts::{RevokeLeaseArgs, TimeoutBehavior};
use ff_core::engine_backend::Scan;
use ff_core::policy::{BackoffStrategy, ExecutionPolicy, RetryPolicy, TimeoutPolicy};
use ff_core::types::{TimestampMs, WorkerInstanceId};

use crate::backends::Bench;
use crate::bench::{TTL, payload_of};
use crate::suspended::{cancellation, fresh, named};

/// How work stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Completed,
    Failed,
    Retried,
    Cancelled,
    ByAnOperator,
    Lapsed,
    TimedOut,
    PastItsDeadline,
    Revoked,
    /// The worker gives it back for later.
    Delayed,
    /// It waits for a signal.
    Suspended,
    /// It waited for a signal in vain.
    WaitedTooLong,
}

/// After so long, work under [`Stop::policy`] is taken from its worker, ms.
const ATTEMPT_MS: u64 = 5_000;
/// After so long, it is over, ms.
const DEADLINE_MS: u64 = 90_000;
/// So long it waits for a signal, ms.
const WAIT_MS: i64 = 1_000;

impl Stop {
    pub(crate) const ALL: [Self; 12] = [
        Self::Completed,
        Self::Failed,
        Self::Retried,
        Self::Cancelled,
        Self::ByAnOperator,
        Self::Lapsed,
        Self::TimedOut,
        Self::PastItsDeadline,
        Self::Revoked,
        Self::Delayed,
        Self::Suspended,
        Self::WaitedTooLong,
    ];

    /// True if the attempt is over then; otherwise it goes on later.
    pub(crate) fn ends_the_attempt(self) -> bool {
        !matches!(self, Self::Delayed | Self::Suspended)
    }

    /// The policy of work that can stop so.
    pub(crate) fn policy(self, other: ExecutionPolicy) -> ExecutionPolicy {
        ExecutionPolicy {
            timeout_policy: Some(TimeoutPolicy {
                attempt_timeout_ms: Some(ATTEMPT_MS),
                execution_deadline_ms: Some(DEADLINE_MS),
                max_reclaim_count: 100,
            }),
            retry_policy: (self == Self::Retried).then(|| RetryPolicy {
                max_retries: 1,
                backoff: BackoffStrategy::Fixed { delay_ms: 1_000 },
                retryable_categories: Vec::new(),
            }),
            ..other
        }
    }
}

impl Bench {
    /// Stops the work of that handle so; it has the policy of [`Stop::policy`].
    pub(crate) async fn stop(&self, stop: Stop, handle: &Handle) {
        let id = payload_of(handle).execution_id;
        let backend = &self.backend;
        match stop {
            Stop::Completed => backend.complete(handle, None).await.unwrap(),
            Stop::Failed | Stop::Retried => {
                let (reason, class) = (FailureReason::new("x"), FailureClass::Transient);
                backend.fail(handle, reason, class).await.unwrap();
            }
            Stop::Cancelled => backend.cancel(handle, "x").await.unwrap(),
            Stop::ByAnOperator => {
                backend.cancel_execution(cancellation(self, &id)).await.unwrap();
            }
            Stop::Lapsed => self.pass_and_scan(TTL + 1, Scan::LeaseExpiry).await,
            Stop::TimedOut => self.pass_and_scan(ATTEMPT_MS as i64 + 1, Scan::AttemptTimeout).await,
            Stop::PastItsDeadline => {
                self.pass_and_scan(DEADLINE_MS as i64 + 1, Scan::ExecutionDeadline).await;
            }
            Stop::Revoked => {
                let args = RevokeLeaseArgs {
                    execution_id: id,
                    expected_lease_id: None,
                    worker_instance_id: WorkerInstanceId::new(""),
                    reason: "x".into(),
                };
                backend.revoke_lease(args).await.unwrap();
            }
            Stop::Delayed => {
                let later = TimestampMs(self.clock.now().0 + 1_000);
                backend.delay(handle, later).await.unwrap();
            }
            Stop::Suspended => self.wait_for_a_signal(handle).await,
            Stop::WaitedTooLong => {
                self.wait_for_a_signal(handle).await;
                self.pass_and_scan(WAIT_MS + 1, Scan::SuspensionTimeout).await;
            }
        }
    }

    async fn wait_for_a_signal(&self, handle: &Handle) {
        let id = payload_of(handle).execution_id;
        let until = TimestampMs(self.clock.now().0 + WAIT_MS);
        let wait = self.wait(vec![fresh("a")], named("a", "go"));
        let wait = wait.with_timeout(until, TimeoutBehavior::Fail);
        self.suspend(&id, handle, wait).await;
    }

    async fn pass_and_scan(&self, ms: i64, scan: Scan) {
        self.clock.advance(ms);
        assert_eq!(self.backend.scan(scan, 10).await.unwrap().processed, 1, "{scan:?}");
    }
}
