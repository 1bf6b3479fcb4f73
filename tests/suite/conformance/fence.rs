//! Who may change what a lease covers: every fenced operation against every stale fence. Refused
//! means refused entirely: all rows of all tables stay as they were.

use ff_core::EngineError;
use ff_core::backend::{FailureClass, FailureReason, Frame, FrameKind, Handle};
use ff_core::contracts::{CompleteExecutionArgs, FailExecutionArgs, NewStep, RenewLeaseArgs};
use ff_core::handle_codec::HandlePayload;
use ff_core::types::{
    AttemptId, AttemptIndex, CancelSource, ExecutionId, LeaseEpoch, LeaseId, TimestampMs,
    WorkerInstanceId,
};

use crate::backends::{Bench, START, conformance};
use crate::bench::{
    ACTIVE, COMPLETED, TTL, assert_not_active, assert_refused, fence, id, lane, partition,
    payload_of,
};
use crate::plain::{int, text};

/// Every operation that needs the lease.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fenced {
    Progress,
    Complete,
    FailRetry,
    FailFinal,
    Cancel,
    Delay,
    Renew,
    Append,
    Record,
    TypedComplete,
    TypedFail,
    TypedFailRetry,
    TypedRenew,
}

pub(crate) const EVERY: [Fenced; 13] = [
    Fenced::Progress,
    Fenced::Complete,
    Fenced::FailRetry,
    Fenced::FailFinal,
    Fenced::Cancel,
    Fenced::Delay,
    Fenced::Renew,
    Fenced::Append,
    Fenced::Record,
    Fenced::TypedComplete,
    Fenced::TypedFail,
    Fenced::TypedFailRetry,
    Fenced::TypedRenew,
];

impl Fenced {
    pub(crate) async fn call(self, bench: &Bench, handle: &Handle) -> Result<(), EngineError> {
        let backend = &bench.backend;
        let reason = || FailureReason::new("because");
        match self {
            Self::Progress => backend.progress(handle, Some(50), Some("half".into())).await,
            Self::Complete => backend.complete(handle, Some(b"done".to_vec())).await,
            Self::FailRetry => {
                backend.fail(handle, reason(), FailureClass::Transient).await.map(drop)
            }
            Self::FailFinal => {
                backend.fail(handle, reason(), FailureClass::Permanent).await.map(drop)
            }
            Self::Cancel => backend.cancel(handle, "because").await,
            Self::Delay => backend.delay(handle, TimestampMs(START + 1_000_000)).await,
            Self::Renew => backend.renew(handle).await.map(drop),
            Self::Append => {
                let frame = Frame::new(b"half".to_vec(), FrameKind::Stdout);
                backend.append_frame(handle, frame).await.map(drop)
            }
            Self::Record => {
                let step = NewStep::new(0, "charge", b"paid".to_vec());
                backend.record_step(handle, step).await.map(drop)
            }
            Self::TypedComplete => {
                backend.complete_execution(complete_args(bench, handle)).await.map(drop)
            }
            Self::TypedFail => backend.fail_execution(fail_args(handle, "")).await.map(drop),
            Self::TypedFailRetry => {
                let policy = r#"{"max_retries":3,"backoff":{"type":"fixed","delay_ms":500}}"#;
                backend.fail_execution(fail_args(handle, policy)).await.map(drop)
            }
            Self::TypedRenew => backend.renew_lease(renew_args(handle)).await.map(drop),
        }
    }

    /// How it says that the lease is not the caller's.
    fn mismatch(self) -> &'static str {
        match self {
            Self::Progress
            | Self::Complete
            | Self::FailRetry
            | Self::FailFinal
            | Self::Cancel
            | Self::Delay
            | Self::Renew
            | Self::Append
            | Self::Record => "contention: LeaseConflict",
            Self::TypedComplete | Self::TypedFail | Self::TypedFailRetry | Self::TypedRenew => {
                "state: StaleLease"
            }
        }
    }
}

pub(crate) fn complete_args(bench: &Bench, handle: &Handle) -> CompleteExecutionArgs {
    let HandlePayload { execution_id, attempt_index, .. } = payload_of(handle);
    CompleteExecutionArgs {
        execution_id,
        fence: Some(fence(handle)),
        attempt_index,
        result_payload: Some(b"done".to_vec()),
        result_encoding: None,
        source: CancelSource::LeaseHolder,
        now: bench.clock.now(),
    }
}

pub(crate) fn fail_args(handle: &Handle, policy: &str) -> FailExecutionArgs {
    let HandlePayload { execution_id, attempt_index, .. } = payload_of(handle);
    FailExecutionArgs {
        execution_id,
        fence: Some(fence(handle)),
        attempt_index,
        failure_reason: "because".into(),
        failure_category: "any".into(),
        retry_policy_json: policy.into(),
        next_attempt_policy_json: String::new(),
        source: CancelSource::LeaseHolder,
    }
}

pub(crate) fn renew_args(handle: &Handle) -> RenewLeaseArgs {
    let HandlePayload { execution_id, attempt_index, .. } = payload_of(handle);
    RenewLeaseArgs {
        execution_id,
        attempt_index,
        fence: Some(fence(handle)),
        lease_ttl_ms: u64::try_from(TTL).unwrap(),
        lease_history_grace_ms: 0,
    }
}

/// A handle on a row that was inserted by hand, whose lease and attempt have no ids.
pub(crate) fn by_hand(bench: &Bench, id: &ExecutionId, index: u32, epoch: u64) -> Handle {
    bench.forged(&HandlePayload::new(
        id.clone(),
        AttemptIndex(index),
        AttemptId::new(),
        LeaseId::new(),
        LeaseEpoch(epoch),
        u64::try_from(TTL).unwrap(),
        lane(),
        WorkerInstanceId::new("w-1"),
    ))
}

/// Every fenced operation is refused this way and changes nothing.
async fn all_refused(bench: &Bench, handle: &Handle, expected: impl Fn(Fenced) -> String) {
    let before = bench.everything().await;
    for operation in EVERY {
        let error = operation.call(bench, handle).await.expect_err(&format!("{operation:?}"));
        assert_eq!(error.to_string(), expected(operation), "{operation:?}");
        assert_eq!(bench.everything().await, before, "{operation:?} changed something");
    }
}

async fn all_mismatched(bench: &Bench, handle: &Handle) {
    all_refused(bench, handle, |operation| operation.mismatch().to_owned()).await;
}

conformance! {
    async fn an_older_epoch_changes_nothing(bench) {
        let (id, old) = bench.leased().await;
        bench.clock.advance(TTL);
        bench.backend.mark_lease_expired_if_due(partition(&id), &id).await.unwrap();
        // The very same worker takes it again: the epoch tells the two leases apart, not the name.
        let current = bench.claim().await;
        assert_eq!(payload_of(&current).execution_id, id);
        assert_eq!(payload_of(&current).attempt_index, payload_of(&old).attempt_index);
        assert!(payload_of(&old).lease_epoch < payload_of(&current).lease_epoch);
        all_mismatched(&bench, &old).await;
        bench.backend.complete(&current, None).await.unwrap();
    }

    async fn only_the_epoch_differs(bench) {
        let (_, current) = bench.leased().await;
        for epoch in [0, 2, 3, 1_000_000, u64::try_from(i64::MAX).unwrap()] {
            let other = bench.altered(&current, |payload| payload.lease_epoch = LeaseEpoch(epoch));
            all_mismatched(&bench, &other).await;
        }
        bench.backend.complete(&current, None).await.unwrap();
    }

    async fn the_ids_of_lease_and_attempt_are_compared_where_the_row_has_them(bench) {
        let (_, current) = bench.leased().await;
        let other = bench.altered(&current, |payload| payload.lease_id = LeaseId::new());
        all_mismatched(&bench, &other).await;
        let other = bench.altered(&current, |payload| payload.attempt_id = AttemptId::new());
        all_mismatched(&bench, &other).await;
        bench.backend.complete(&current, None).await.unwrap();
    }

    async fn an_ended_attempt_changes_nothing(bench) {
        let (id, first) = bench.leased().await;
        Fenced::FailRetry.call(&bench, &first).await.unwrap();
        bench.clock.advance(1_000);
        bench.backend.promote_delayed(partition(&id), &lane(), &id, bench.clock.now()).await.unwrap();
        let second = bench.claim().await;
        assert_eq!(payload_of(&second).attempt_index, AttemptIndex(1));
        all_mismatched(&bench, &first).await;
        // Not with the new epoch on the old attempt, nor with the old one on the new.
        let mixed =
            bench.altered(&first, |payload| payload.lease_epoch = payload_of(&second).lease_epoch);
        all_mismatched(&bench, &mixed).await;
        let mixed =
            bench.altered(&second, |payload| payload.lease_epoch = payload_of(&first).lease_epoch);
        all_mismatched(&bench, &mixed).await;
        bench.backend.complete(&second, None).await.unwrap();
    }

    async fn an_attempt_that_never_was_is_not_found(bench) {
        let (_, current) = bench.leased().await;
        let other = bench.altered(&current, |payload| payload.attempt_index = AttemptIndex(5));
        all_refused(&bench, &other, |_| "not found: attempt".into()).await;
    }

    async fn a_lapsed_lease_changes_nothing(bench) {
        let (_, handle) = bench.leased().await;
        bench.clock.advance(TTL);
        all_refused(&bench, &handle, |_| "state: LeaseExpired".into()).await;
        bench.clock.advance(1_000_000);
        all_refused(&bench, &handle, |_| "state: LeaseExpired".into()).await;
    }

    async fn a_lease_is_live_until_it_lapses(bench) {
        for operation in EVERY {
            let (_, handle) = bench.leased().await;
            bench.clock.advance(TTL - 1);
            operation.call(&bench, &handle).await.unwrap_or_else(|e| panic!("{operation:?}: {e}"));
            if matches!(operation, Fenced::Progress | Fenced::Renew | Fenced::Append | Fenced::Record | Fenced::TypedRenew) {
                bench.backend.complete(&handle, None).await.unwrap();
            }
        }
    }

    async fn an_end_is_final(bench) {
        for end in [Fenced::Complete, Fenced::FailFinal, Fenced::Cancel, Fenced::TypedComplete, Fenced::TypedFail] {
            let (id, handle) = bench.leased().await;
            end.call(&bench, &handle).await.unwrap();
            let before = bench.everything().await;
            let public = bench.core(&id).await.text("public_state").to_owned();
            for operation in EVERY {
                let result = operation.call(&bench, &handle).await;
                match (operation, public.as_str()) {
                    (Fenced::Cancel, "cancelled") => result.unwrap(),
                    (Fenced::Cancel, state) => assert_refused(
                        result,
                        &format!(
                            "validation: InvalidInput: cancel: execution_id={id}: \
                             already terminal in state '{state}'"
                        ),
                    ),
                    (_, _) => assert_not_active(result, "terminal"),
                }
                assert_eq!(bench.everything().await, before, "{operation:?} after {end:?}");
            }
        }
    }

    async fn a_refusal_after_the_end_names_the_outcome(bench) {
        let (_, handle) = bench.leased().await;
        bench.backend.complete(&handle, None).await.unwrap();
        let attempt_id = payload_of(&handle).attempt_id;
        assert_refused(
            bench.backend.complete(&handle, None).await,
            &format!(
                "contention: ExecutionNotActive {{ terminal_outcome: \"success\", \
                 lease_epoch: \"1\", lifecycle_phase: \"terminal\", \
                 attempt_id: \"{attempt_id}\" }}"
            ),
        );
    }

    async fn a_released_lease_changes_nothing(bench) {
        let (id, handle) = bench.leased().await;
        bench.clock.advance(TTL);
        bench.backend.mark_lease_expired_if_due(partition(&id), &id).await.unwrap();
        let before = bench.everything().await;
        for operation in EVERY {
            let result = operation.call(&bench, &handle).await;
            match operation {
                Fenced::Cancel => assert_refused(result, "contention: LeaseConflict"),
                _ => assert_not_active(result, "runnable"),
            }
            assert_eq!(bench.everything().await, before, "{operation:?}");
        }
    }

    async fn an_unknown_execution_is_not_found(bench) {
        let handle = by_hand(&bench, &id(), 0, 1);
        all_refused(&bench, &handle, |_| "not found: execution".into()).await;
    }

    async fn refusals_keep_their_order(bench) {
        // Each row breaks every rule from its own on: the first of them is the refusal.
        let revoked = id();
        let states = "active lease_revoked not_applicable active running_attempt -";
        bench.insert_core(&revoked, states, vec![]).await;
        all_refused(&bench, &by_hand(&bench, &revoked, 0, 9), |_| "state: LeaseRevoked".into()).await;

        let ended = id();
        bench.insert_core(&ended, COMPLETED, vec![]).await;
        let handle = by_hand(&bench, &ended, 0, 9);
        for operation in EVERY.into_iter().filter(|operation| *operation != Fenced::Cancel) {
            assert_not_active(operation.call(&bench, &handle).await, "terminal");
        }

        let revoked_and_ended = id();
        let states = "terminal lease_revoked not_applicable completed attempt_terminal -";
        bench.insert_core(&revoked_and_ended, states, vec![]).await;
        let handle = by_hand(&bench, &revoked_and_ended, 0, 9);
        for operation in EVERY.into_iter().filter(|operation| *operation != Fenced::Cancel) {
            assert_refused(operation.call(&bench, &handle).await, "state: LeaseRevoked");
        }

        let unclaimed = id();
        bench.insert_core(&unclaimed, ACTIVE, vec![]).await;
        let handle = by_hand(&bench, &unclaimed, 0, 9);
        all_refused(&bench, &handle, |_| "not found: attempt".into()).await;

        let lapsed = id();
        bench.insert_core(&lapsed, ACTIVE, vec![]).await;
        let lease = vec![("worker_instance_id", text("w-1")), ("lease_expires_at_ms", int(START))];
        bench.insert_attempt(&lapsed, 0, 4, lease).await;
        all_mismatched(&bench, &by_hand(&bench, &lapsed, 0, 9)).await;
        let handle = by_hand(&bench, &lapsed, 0, 4);
        all_refused(&bench, &handle, |_| "state: LeaseExpired".into()).await;
    }

    async fn a_lease_without_a_recorded_expiry_is_live_but_cannot_be_renewed(bench) {
        let id = id();
        bench.insert_core(&id, ACTIVE, vec![]).await;
        bench.insert_attempt(&id, 0, 1, vec![]).await;
        let handle = by_hand(&bench, &id, 0, 1);
        assert_refused(Fenced::Renew.call(&bench, &handle).await, "state: LeaseExpired");
        assert_refused(Fenced::TypedRenew.call(&bench, &handle).await, "state: LeaseExpired");
        Fenced::Progress.call(&bench, &handle).await.unwrap();
        Fenced::Complete.call(&bench, &handle).await.unwrap();
        assert_eq!(bench.core(&id).await.states(), COMPLETED);
    }

    async fn sixteen_completions_make_one_end(bench) {
        let (id, handle) = bench.leased().await;
        let calls: Vec<_> = (0..16)
            .map(|number: u8| {
                let (bench, handle) = (std::sync::Arc::clone(&bench), handle.clone());
                tokio::spawn(async move { bench.backend.complete(&handle, Some(vec![number])).await })
            })
            .collect();
        let mut completed = 0;
        for call in calls {
            match call.await.unwrap() {
                Ok(()) => completed += 1,
                Err(error) => assert_not_active::<()>(Err(error), "terminal"),
            }
        }
        assert_eq!(completed, 1);
        assert_eq!(bench.completions(&id).await, ["success"]);
        assert_eq!(bench.lease_events(&id).await, ["acquired", "revoked"]);
    }

    async fn a_renewal_and_an_expiry_do_not_both_win(bench) {
        for _ in 0..20 {
            let (id, handle) = bench.leased().await;
            bench.clock.advance(TTL - 1);
            let (renewing, expiring) = (std::sync::Arc::clone(&bench), std::sync::Arc::clone(&bench));
            let (held, due) = (handle.clone(), id.clone());
            let renewal = tokio::spawn(async move { renewing.backend.renew(&held).await.is_ok() });
            let expiry = tokio::spawn(async move {
                expiring.clock.advance(1);
                expiring.backend.mark_lease_expired_if_due(partition(&due), &due).await.unwrap();
            });
            let renewed = renewal.await.unwrap();
            expiry.await.unwrap();
            let core = bench.core(&id).await;
            if core.text("lifecycle_phase") == "active" {
                // Renewed, or the expiry ran before it was due: either way the lease still has a
                // holder.
                let expires = bench.attempt(&id, 0).await.int("lease_expires_at_ms").unwrap();
                assert!(renewed || expires <= bench.clock.now().0);
                if renewed {
                    bench.backend.complete(&handle, None).await.unwrap();
                } else {
                    bench.backend.mark_lease_expired_if_due(partition(&id), &id).await.unwrap();
                }
            }
            if let Some(left) = bench.try_claim().await {
                bench.backend.complete(&left, None).await.unwrap();
            }
        }
    }
}
