//! Lives of one execution.

use ff_bench::ceiling::{ByHand, NewExecution, NewSignal, NewWait, WaitByHand};
use ff_bench::{
    PAYLOAD, Wait, resumption, signing_key, submission, submission_with_retries, terms,
};
use ff_core::backend::{CapabilitySet, FailOutcome, FailureClass, FailureReason, Handle};
use ff_core::contracts::{ClaimResumedExecutionResult, CreateExecutionArgs, SuspendOutcome};
use ff_core::engine_backend::EngineBackend;
use ff_core::types::{LaneId, TimestampMs};

use super::journal::Journal;
use super::{ENGINE, HAND, hand_terms};
use crate::plain::PlainSql;

/// The reason of every failure.
const REASON: &str = "it fails";

/// The journal of an execution.
fn journal<'a>(plain: &'a PlainSql, args: &CreateExecutionArgs) -> Journal<'a> {
    Journal::of(plain, vec![args.execution_id.uuid()])
}

async fn claim_by_engine(engine: &dyn EngineBackend) -> Handle {
    let none = CapabilitySet::default();
    engine.claim(&LaneId::new(ENGINE), &none, terms(0)).await.unwrap().unwrap()
}

/// Submitted, claimed, completed.
pub(super) async fn plain_lives_are_equal(
    engine: &dyn EngineBackend,
    plain: &PlainSql,
    hand: &mut impl ByHand,
) {
    let args = submission(&LaneId::new(ENGINE), PAYLOAD);
    let mut by_engine = journal(plain, &args);
    engine.create_execution(args).await.unwrap();
    by_engine.after("submit").await;
    let handle = claim_by_engine(engine).await;
    by_engine.after("claim").await;
    engine.complete(&handle, None).await.unwrap();
    by_engine.after("complete").await;

    let args = submission(&LaneId::new(HAND), PAYLOAD);
    let mut by_hand = journal(plain, &args);
    hand.submit(&[NewExecution::of(&args)]).await.unwrap();
    by_hand.after("submit").await;
    let held = hand.claim(&hand_terms(HAND), 1, TimestampMs::now()).await.unwrap();
    by_hand.after("claim").await;
    assert_eq!(hand.complete(&held, TimestampMs::now()).await.unwrap(), 1);
    by_hand.after("complete").await;

    by_engine.assert_equals(&by_hand, &[2, 4, 6]).await;
    assert_eq!(hand.complete(&held, TimestampMs::now()).await.unwrap(), 0, "it has ended");
}

/// Submitted, claimed, failed, claimed again, completed.
pub(super) async fn retries_are_equal(
    engine: &dyn EngineBackend,
    plain: &PlainSql,
    hand: &mut impl ByHand,
) {
    let args = submission_with_retries(&LaneId::new(ENGINE), PAYLOAD);
    let mut by_engine = journal(plain, &args);
    engine.create_execution(args).await.unwrap();
    by_engine.after("submit").await;
    let handle = claim_by_engine(engine).await;
    by_engine.after("claim").await;
    let reason = FailureReason::new(REASON);
    let failed = engine.fail(&handle, reason, FailureClass::Transient).await.unwrap();
    assert!(matches!(failed, FailOutcome::RetryScheduled { .. }), "{failed:?}");
    by_engine.after("fail").await;
    let handle = claim_by_engine(engine).await;
    by_engine.after("claim again").await;
    engine.complete(&handle, None).await.unwrap();
    by_engine.after("complete").await;

    let args = submission_with_retries(&LaneId::new(HAND), PAYLOAD);
    let mut by_hand = journal(plain, &args);
    hand.submit(&[NewExecution::of(&args)]).await.unwrap();
    by_hand.after("submit").await;
    let first = hand.claim(&hand_terms(HAND), 1, TimestampMs::now()).await.unwrap();
    by_hand.after("claim").await;
    assert!(hand.retry(&first[0], REASON, TimestampMs::now()).await.unwrap());
    by_hand.after("fail").await;
    let second = hand.claim(&hand_terms(HAND), 1, TimestampMs::now()).await.unwrap();
    by_hand.after("claim again").await;
    assert!(!hand.retry(&first[0], REASON, TimestampMs::now()).await.unwrap(), "it was taken");
    assert_eq!(hand.complete(&second, TimestampMs::now()).await.unwrap(), 1);
    by_hand.after("complete").await;

    by_engine.assert_equals(&by_hand, &[2, 4, 6, 7, 9]).await;
}

/// Submitted, claimed, suspended, signalled, claimed again, completed.
pub(super) async fn waits_are_equal(
    engine: &dyn EngineBackend,
    plain: &PlainSql,
    hand: &mut impl WaitByHand,
) {
    let by_engine = waits_by_engine(engine, plain).await;
    let by_hand = waits_by_hand(plain, hand).await;
    by_engine.assert_equals(&by_hand, &[2, 4, 7, 8, 9, 11]).await;
}

async fn waits_by_engine<'a>(engine: &dyn EngineBackend, plain: &'a PlainSql) -> Journal<'a> {
    engine.seed_waitpoint_hmac_secret(signing_key()).await.unwrap();
    let lane = LaneId::new(ENGINE);
    let args = submission(&lane, PAYLOAD);
    let (id, mut journal) = (args.execution_id.clone(), journal(plain, &args));
    engine.create_execution(args).await.unwrap();
    journal.after("submit").await;
    let handle = claim_by_engine(engine).await;
    journal.after("claim").await;

    let wait = Wait::fresh();
    let suspended = engine.suspend(&handle, wait.suspension()).await.unwrap();
    journal.after("suspend").await;
    let SuspendOutcome::Suspended { details, .. } = suspended else { panic!("{suspended:?}") };
    assert!(*details.waitpoint_token.token() == wait.token(&id), "both sign the same way");
    engine.deliver_signal(wait.signal(&id, wait.token(&id))).await.unwrap();
    journal.after("signal").await;

    let resumed = engine.claim_resumed_execution(resumption(id, &lane, 0)).await.unwrap();
    journal.after("claim again").await;
    let ClaimResumedExecutionResult::Claimed(claimed) = resumed;
    engine.complete(&claimed.handle, None).await.unwrap();
    journal.after("complete").await;
    journal
}

async fn waits_by_hand<'a>(plain: &'a PlainSql, hand: &mut impl WaitByHand) -> Journal<'a> {
    let args = submission(&LaneId::new(HAND), PAYLOAD);
    let (id, mut journal) = (args.execution_id.clone(), journal(plain, &args));
    hand.submit(&[NewExecution::of(&args)]).await.unwrap();
    journal.after("submit").await;
    let (terms, now) = (hand_terms(HAND), TimestampMs::now());
    let held = hand.claim(&terms, 1, now).await.unwrap();
    journal.after("claim").await;

    let wait = Wait::fresh();
    let new = NewWait::of(&wait, &id);
    assert!(hand.suspend(&held[0], &new, TimestampMs::now()).await.unwrap());
    journal.after("suspend").await;
    assert!(!hand.suspend(&held[0], &new, TimestampMs::now()).await.unwrap(), "it waits");
    let resumed = hand.claim_resumed(&id, &terms, TimestampMs::now()).await.unwrap();
    assert!(resumed.is_none(), "nothing has woken it");
    let signal = NewSignal::of(&wait.signal(&id, wait.token(&id)));
    assert!(hand.signal(&signal).await.unwrap());
    journal.after("signal").await;
    assert!(!hand.signal(&signal).await.unwrap(), "nothing waits for it");

    let resumed = hand.claim_resumed(&id, &terms, TimestampMs::now()).await.unwrap().unwrap();
    journal.after("claim again").await;
    assert_eq!(hand.complete(&held, TimestampMs::now()).await.unwrap(), 0, "it was taken");
    assert_eq!(hand.complete(&[resumed], TimestampMs::now()).await.unwrap(), 1);
    journal.after("complete").await;
    journal
}

/// Many at once leave what one leaves.
pub(super) async fn groups_are_lives(plain: &PlainSql, hand: &mut impl ByHand) {
    let lane = LaneId::new("group");
    let new: Vec<_> = (0..3).map(|_| submission(&lane, PAYLOAD)).collect();
    let batch: Vec<_> = new.iter().map(NewExecution::of).collect();
    hand.submit(&batch).await.unwrap();

    let held = hand.claim(&hand_terms("group"), 100, TimestampMs::now()).await.unwrap();
    assert_eq!(held.len(), 3);
    assert_eq!(hand.complete(&held, TimestampMs::now()).await.unwrap(), 3);

    let mut first = journal(plain, &new[0]);
    first.after("complete").await;
    for other in &new[1..] {
        let mut other = journal(plain, other);
        other.after("complete").await;
        first.assert_equals(&other, &[6]).await;
    }
}
