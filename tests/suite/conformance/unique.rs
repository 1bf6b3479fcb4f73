//! Idempotency keys: the first submission with a key counts, for a time or until it has ended.

use CreateExecutionResult::{Created, Duplicate};
use ff_core::contracts::{CreateExecutionArgs, CreateExecutionResult, SetLaneStateArgs};
use ff_core::engine_backend::Scan;
use ff_core::policy::ExecutionPolicy;
use ff_core::state::LaneState;
use ff_core::types::{ExecutionId, Namespace};
use futures_util::future::join_all;

use super::retention::{AGE, old};
use crate::backends::{Bench, conformance};
use crate::bench::{assert_refused, id, lane, payload_of};
use crate::flow::End;

const DAY: i64 = 86_400_000;

/// A new submission with the key `once`.
fn keyed(bench: &Bench, policy: Option<ExecutionPolicy>) -> CreateExecutionArgs {
    CreateExecutionArgs { idempotency_key: Some("once".into()), policy, ..bench.args(&id()) }
}

fn window(ms: u64) -> Option<ExecutionPolicy> {
    Some(ExecutionPolicy { dedup_window_ms: Some(ms), ..ExecutionPolicy::default() })
}

fn while_active() -> Option<ExecutionPolicy> {
    Some(ExecutionPolicy { dedup_while_active: true, ..ExecutionPolicy::default() })
}

/// The execution that the submission came to, and true if it is new.
async fn submit(bench: &Bench, args: CreateExecutionArgs) -> (ExecutionId, bool) {
    match bench.backend.create_execution(args).await.unwrap() {
        Created { execution_id, .. } => (execution_id, true),
        Duplicate { execution_id } => (execution_id, false),
    }
}

/// Asserts that the same submission, with an id of its own, is a repetition of that one.
async fn assert_repeats(bench: &Bench, policy: Option<ExecutionPolicy>, first: &ExecutionId) {
    let before = bench.everything().await;
    assert_eq!(submit(bench, keyed(bench, policy)).await, (first.clone(), false));
    assert_eq!(bench.everything().await, before);
}

async fn assert_is_new(bench: &Bench, policy: Option<ExecutionPolicy>) -> ExecutionId {
    let args = keyed(bench, policy);
    let own = args.execution_id.clone();
    assert_eq!(submit(bench, args).await, (own.clone(), true));
    own
}

/// Ends the only execution that waits, or is under way.
async fn end(bench: &Bench, id: &ExecutionId, end: End) {
    match end {
        End::Success | End::Failed => {
            let handle = bench.claim().await;
            assert_eq!(payload_of(&handle).execution_id, *id);
            if end == End::Failed {
                return bench.fail(&handle).await;
            }
            bench.backend.complete(&handle, None).await.unwrap();
        }
        End::Cancelled => bench.cancel_one(id).await,
    }
}

async fn keys(bench: &Bench) -> usize {
    bench.plain.rows("ff_idempotency_key").await.len()
}

conformance! {
    async fn a_key_counts_once_for_a_day(bench) {
        let first = assert_is_new(&bench, None).await;
        assert_repeats(&bench, None, &first).await;
        assert_repeats(&bench, while_active(), &first).await;
        end(&bench, &first, End::Success).await;
        bench.clock.advance(DAY - 1);
        assert_repeats(&bench, None, &first).await;

        bench.clock.advance(1);
        let second = assert_is_new(&bench, None).await;
        assert_repeats(&bench, None, &second).await;
        assert_eq!(keys(&bench).await, 1);
    }

    async fn a_key_counts_within_its_namespace_and_kind(bench) {
        let first = assert_is_new(&bench, None).await;
        let kind = CreateExecutionArgs { execution_kind: "other".into(), ..keyed(&bench, None) };
        assert!(submit(&bench, kind).await.1);
        let namespace = Namespace::new("other");
        assert!(submit(&bench, CreateExecutionArgs { namespace, ..keyed(&bench, None) }).await.1);
        let empty = || CreateExecutionArgs {
            idempotency_key: Some(String::new()),
            ..keyed(&bench, None)
        };
        assert!(submit(&bench, empty()).await.1 && submit(&bench, empty()).await.1);
        assert_repeats(&bench, None, &first).await;
        assert_eq!(keys(&bench).await, 3);
    }

    async fn a_key_counts_for_the_window_of_the_first_submission(bench) {
        let first = assert_is_new(&bench, window(5_000)).await;
        bench.clock.advance(4_999);
        assert_repeats(&bench, window(60_000), &first).await;
        bench.clock.advance(1);
        let second = assert_is_new(&bench, window(60_000)).await;
        bench.clock.advance(59_999);
        assert_repeats(&bench, window(1), &second).await;
    }

    async fn a_key_counts_until_its_execution_has_ended(bench) {
        let mut first = assert_is_new(&bench, while_active()).await;
        for how in [End::Success, End::Failed, End::Cancelled] {
            bench.clock.advance(2 * DAY);
            assert_repeats(&bench, while_active(), &first).await;
            end(&bench, &first, how).await;
            first = assert_is_new(&bench, while_active()).await;
        }
        end(&bench, &first, End::Success).await;
        let timed = assert_is_new(&bench, window(1_000)).await;
        end(&bench, &timed, End::Success).await;
        assert_repeats(&bench, while_active(), &timed).await;
        assert_eq!(keys(&bench).await, 1);
    }

    async fn a_trimmed_execution_leaves_a_key_that_expires(bench) {
        let first = assert_is_new(&bench, None).await;
        end(&bench, &first, End::Success).await;
        let mut active = keyed(&bench, while_active());
        active.execution_kind = "other".into();
        let active = submit(&bench, active).await.0;
        end(&bench, &active, End::Success).await;

        bench.clock.advance(AGE);
        assert_eq!(bench.pass_of(old()).await.executions, 2);
        assert_repeats(&bench, None, &first).await;
        bench.assert_gone(&active).await;
        let mut again = keyed(&bench, while_active());
        again.execution_kind = "other".into();
        assert!(submit(&bench, again).await.1);
    }

    async fn a_replayed_execution_has_its_key_again_unless_another_took_it(bench) {
        let first = assert_is_new(&bench, while_active()).await;
        end(&bench, &first, End::Failed).await;
        bench.replay(&first).await;
        assert_repeats(&bench, while_active(), &first).await;

        end(&bench, &first, End::Failed).await;
        let second = assert_is_new(&bench, while_active()).await;
        bench.replay(&first).await;
        assert_repeats(&bench, while_active(), &second).await;
    }

    async fn a_repetition_is_answered_on_a_closed_lane_and_a_refusal_takes_no_key(bench) {
        let first = assert_is_new(&bench, None).await;
        let closed = SetLaneStateArgs::new(lane(), LaneState::Draining, "ada");
        bench.backend.set_lane_state(closed).await.unwrap();
        assert_repeats(&bench, None, &first).await;

        bench.clock.advance(DAY);
        let refused = bench.backend.create_execution(keyed(&bench, None)).await;
        assert!(refused.is_err(), "{refused:?}");
        let open = SetLaneStateArgs::new(lane(), LaneState::Active, "ada");
        bench.backend.set_lane_state(open).await.unwrap();
        assert_is_new(&bench, None).await;
    }

    async fn of_sixty_four_racing_submissions_one_is_new(bench) {
        let mut first = None;
        for policy in [while_active(), while_active(), None, window(1_000), window(1_000)] {
            let racing = (0..64).map(|_| {
                let (args, backend) = (keyed(&bench, policy.clone()), bench.backend.clone());
                tokio::spawn(async move { backend.create_execution(args).await.unwrap() })
            });
            let outcomes = join_all(racing).await.into_iter().map(Result::unwrap);
            let (mut created, mut named) = (Vec::new(), Vec::new());
            for outcome in outcomes {
                match outcome {
                    Created { execution_id, .. } => created.push(execution_id),
                    Duplicate { execution_id } => named.push(execution_id),
                }
            }
            assert_eq!(created.len(), 1);
            assert_eq!(named, vec![created[0].clone(); 63]);
            assert_ne!(first.replace(created[0].clone()), Some(created[0].clone()));
            end(&bench, &created[0], End::Success).await;
            bench.clock.advance(DAY);
        }
        assert_eq!((keys(&bench).await, bench.plain.rows("ff_exec_core").await.len()), (1, 5));
    }

    async fn expired_keys_are_removed(bench) {
        assert_is_new(&bench, window(1_000)).await;
        for kind in ["late", "active"] {
            let policy = if kind == "late" { window(5_000) } else { while_active() };
            let args = keyed(&bench, policy);
            assert!(submit(&bench, CreateExecutionArgs { execution_kind: kind.into(), ..args }).await.1);
        }
        let mut left = 3;
        for (ms, removed) in [(999, 0), (1, 1), (4_000, 1), (DAY, 0)] {
            bench.clock.advance(ms);
            let report = bench.backend.scan(Scan::IdempotencyKeyExpiry, 9).await.unwrap();
            left -= removed;
            assert_eq!((report.processed as usize, keys(&bench).await), (removed, left));
        }
    }

    async fn what_makes_no_sense_about_a_key_is_refused(bench) {
        let invalid = |detail: &str| format!("validation: InvalidInput: {detail}");
        let both = ExecutionPolicy { dedup_window_ms: Some(1), ..while_active().unwrap() };
        let long = "k".repeat(513);
        let with = |key: &str, policy| CreateExecutionArgs {
            idempotency_key: Some(key.into()),
            ..keyed(&bench, policy)
        };
        for (args, detail) in [
            (with("a\0", None), "idempotency_key: must not contain NUL (at byte 1)"),
            (with(&long, None), "idempotency_key: 513 bytes exceed 512"),
            (
                with("once", window(0)),
                "policy.dedup_window_ms: must be between 1 and 315360000000, got 0",
            ),
            (
                with("once", Some(both)),
                "policy.dedup_while_active: contradicts policy.dedup_window_ms; give one of them",
            ),
            (with("", window(9)), "policy.dedup_window_ms: has no effect without idempotency_key"),
            (
                with("", while_active()),
                "policy.dedup_while_active: has no effect without idempotency_key",
            ),
        ] {
            assert_refused(bench.backend.create_execution(args).await, &invalid(detail));
        }
        let flow = bench.flow(1).await;
        let members = vec![keyed(&bench, None)];
        let member = bench.backend.create_flow_members(&flow.id, members).await.remove(0);
        assert_refused(member, &invalid("idempotency_key: has no effect on a member of a flow"));
        assert_eq!(keys(&bench).await, 0);
    }
}
