//! Grants: the order in which they are refused, and what becomes of an execution.

use ff_core::backend::BackendTag;
use ff_core::contracts::{
    BlockExecutionForAdmissionArgs, BlockRouteArgs, BlockingReason, ClaimExecutionArgs,
    IssueClaimGrantArgs, IssueReclaimGrantArgs, ReclaimExecutionArgs,
};
use ff_core::partition::{Partition, PartitionFamily};
use ff_core::rules::decision::Transition;
use ff_core::rules::grant::block::Block;
use ff_core::rules::grant::issue::IssueClaimGrant;
use ff_core::rules::grant::reclaim::{IssueReclaimGrant, Reclaim};
use ff_core::rules::grant::redeem::RedeemClaim;
use ff_core::rules::status::Status;
use ff_core::schema::execution::{attempt, claim_grant, exec_core};
use ff_core::state::{AttemptState, EligibilityState, GrantKind, OwnershipState};
use ff_core::types::{AttemptId, AttemptIndex, LeaseId, TimestampMs, WorkerId, WorkerInstanceId};
use serde_json::json;

use crate::stored::{RowOf, Stored, attempt_row, blank, core_row};
use crate::{Decided, NOW, decide, id, key};

const TAG: BackendTag = BackendTag::Memory;

fn worker() -> (WorkerId, WorkerInstanceId) {
    (WorkerId::new("pool"), WorkerInstanceId::new("w2"))
}

fn place() -> Partition {
    Partition { family: PartitionFamily::Execution, index: 7 }
}

pub(crate) fn issued() -> IssueClaimGrant {
    let (worker, instance) = worker();
    let offered = ["gpu".to_owned()].into();
    let (lane, now) = ("main".into(), TimestampMs(NOW));
    let args = IssueClaimGrantArgs::new(id(), lane, worker, instance, place(), offered, 1_000, now);
    IssueClaimGrant::new(args).unwrap()
}

pub(crate) fn redeemed() -> RedeemClaim {
    let (worker, instance) = worker();
    let args = ClaimExecutionArgs::new(
        id(),
        worker,
        instance,
        "main".into(),
        LeaseId::from_uuid(uuid::Uuid::from_u128(0xC)),
        1_000,
        AttemptId::from_uuid(uuid::Uuid::from_u128(0xD)),
        AttemptIndex(0),
        String::new(),
        None,
        None,
        TimestampMs(NOW),
    );
    RedeemClaim::new(TAG, args).unwrap()
}

pub(crate) fn blocked() -> Block {
    let code = "waiting_for_capable_worker".to_owned();
    let (lane, now) = ("main".into(), TimestampMs(NOW));
    Block::for_route(BlockRouteArgs::new(id(), lane, place(), code, "d".into(), now)).unwrap()
}

pub(crate) fn blocked_for_budget() -> Block {
    let (lane, now) = ("main".into(), TimestampMs(NOW));
    let reason = BlockingReason::WaitingForBudget;
    let args = BlockExecutionForAdmissionArgs::new(id(), lane, place(), reason, None, now);
    Block::for_admission(args).unwrap()
}

pub(crate) fn reclaim_issued() -> IssueReclaimGrant {
    let (worker, instance) = worker();
    let (lane, now) = ("main".into(), TimestampMs(NOW));
    let none = std::collections::BTreeSet::new();
    let args = IssueReclaimGrantArgs::new(
        id(),
        worker,
        instance,
        lane,
        None,
        1_000,
        None,
        None,
        none,
        now,
    );
    IssueReclaimGrant::new(TAG, args).unwrap()
}

pub(crate) fn reclaimed(most: Option<u32>) -> Reclaim {
    let (worker, instance) = worker();
    let args = ReclaimExecutionArgs::new(
        id(),
        worker,
        instance.clone(),
        "main".into(),
        None,
        LeaseId::from_uuid(uuid::Uuid::from_u128(0xC)),
        1_000,
        AttemptId::from_uuid(uuid::Uuid::from_u128(0xD)),
        String::new(),
        most,
        instance,
        AttemptIndex(0),
    );
    Reclaim::new(TAG, args).unwrap()
}

fn grant(kind: GrantKind, worker: &str, expires: i64) -> RowOf {
    let id = [worker.as_bytes(), kind_word(kind).as_bytes()].concat();
    blank()
        .with(claim_grant::partition_key, key().partition)
        .with(claim_grant::grant_id, id)
        .with(claim_grant::execution_id, key().uuid)
        .with(claim_grant::kind, kind)
        .with(claim_grant::worker_id, worker.into())
        .with(claim_grant::capability_hash, None)
        .with(claim_grant::issued_at_ms, NOW - 10)
        .with(claim_grant::expires_at_ms, expires)
}

fn kind_word(kind: GrantKind) -> &'static str {
    match kind {
        GrantKind::Claim => "claim",
        GrantKind::Reclaim => "reclaim",
    }
}

/// A live grant of each kind.
pub(crate) fn stored() -> [RowOf; 2] {
    [GrantKind::Claim, GrantKind::Reclaim].map(|kind| grant(kind, "pool", NOW + 1))
}

fn word<T: Transition>(operation: &T, stored: &Stored) -> String
where
    T::Outcome: std::fmt::Debug,
{
    match decide(operation, stored) {
        Decided::Plan(plan, _) => format!("plan {}", plan.name),
        decided @ (Decided::Answer(_) | Decided::Refused(_)) => decided.to_string(),
    }
}

/// Each row breaks its own rule and all the rules after it.
fn ladder() -> Vec<(&'static str, RowOf)> {
    let over = core_row()
        .in_state(Status::terminal(ff_core::state::TerminalOutcome::Success))
        .with(exec_core::ownership_state, OwnershipState::Leased);
    let waits = core_row().in_state(Status::waiting(AttemptState::PendingFirstAttempt));
    let waits = waits.with(exec_core::granted_until_ms, Some(NOW + 1));
    let picky = waits.with(exec_core::required_capabilities, vec!["tpu".into()]);
    let blocked =
        picky.clone().with(exec_core::eligibility_state, EligibilityState::BlockedByRoute);
    let leased = blocked.clone().with(exec_core::ownership_state, OwnershipState::Leased);
    let capable = picky.clone().with(exec_core::granted_until_ms, Some(NOW));
    vec![
        ("lane_mismatch", over.clone().with(exec_core::lane_id, "other".into())),
        ("ExecutionNotActive", over),
        ("LeaseConflict", leased),
        ("ExecutionNotLeaseable", blocked),
        ("GrantAlreadyExists", picky),
        ("CapabilityMismatch", capable),
    ]
}

#[test]
fn a_grant_is_refused_in_order() {
    assert_eq!(word(&issued(), &Stored::nothing()), "refused not found: execution");
    for (expected, row) in ladder() {
        let word = word(&issued(), &Stored::of(&row));
        assert!(word.starts_with("refused") && word.contains(expected), "{expected}: {word}");
    }
}

#[test]
fn a_block_is_refused_in_order() {
    let ladder = ladder();
    for blocks in [blocked(), blocked_for_budget()] {
        assert_eq!(word(&blocks, &Stored::nothing()), "refused not found: execution");
        let (_, of_another_lane) = &ladder[0];
        assert!(word(&blocks, &Stored::of(of_another_lane)).contains("lane_mismatch"));
        for (_, row) in [&ladder[1], &ladder[3]] {
            let word = word(&blocks, &Stored::of(row));
            assert!(word.contains("NotClaimable"), "{word}");
        }
        assert_eq!(word(&blocks, &Stored::of(&ladder[5].1)), "plan block_execution");
    }
}

#[test]
fn a_redemption_is_refused_in_order() {
    let lapsed = grant(GrantKind::Claim, "pool", NOW);
    assert_eq!(word(&redeemed(), &Stored::nothing().with(&lapsed)), "refused not found: execution");
    for (expected, row) in ladder().into_iter().take(4) {
        let row = row.with(exec_core::attempt_index, 1);
        let word = word(&redeemed(), &Stored::of(&row).with(&lapsed));
        assert!(word.starts_with("refused") && word.contains(expected), "{expected}: {word}");
    }

    let waits = core_row().in_state(Status::waiting(AttemptState::PendingFirstAttempt));
    let later = Stored::of(&waits.clone().with(exec_core::attempt_index, 1)).with(&lapsed);
    assert!(word(&redeemed(), &later).contains("the current attempt is 1"));
    let stored = Stored::of(&waits);
    assert!(word(&redeemed(), &stored).contains("InvalidClaimGrant"));
    let of_another = stored.clone().with(&grant(GrantKind::Claim, "other", NOW + 1));
    assert!(word(&redeemed(), &of_another).contains("InvalidClaimGrant"));
    let late = of_another.with(&lapsed);
    assert!(word(&redeemed(), &late).contains("ClaimGrantExpired"));
    let live = stored.with(&grant(GrantKind::Claim, "pool", NOW + 1));
    assert_eq!(word(&redeemed(), &live), "plan claim_execution");
}

#[test]
fn a_reclaim_is_refused_in_order() {
    let spend = |stored: &Stored| word(&reclaimed(Some(0)), stored);
    let over = core_row().in_state(Status::terminal(ff_core::state::TerminalOutcome::Success));
    assert!(spend(&Stored::of(&over)).contains("GrantNotFound"));
    let of_another = grant(GrantKind::Reclaim, "other", NOW);
    assert!(spend(&Stored::of(&over).with(&of_another)).contains("grant.worker_id=other"));
    let lapsed = grant(GrantKind::Reclaim, "pool", NOW);
    assert!(spend(&Stored::of(&over).with(&lapsed)).contains("GrantNotFound"));
    assert!(spend(&Stored::nothing().with(&lapsed)).contains("GrantNotFound"));

    let live = grant(GrantKind::Reclaim, "pool", NOW + 1);
    assert_eq!(spend(&Stored::nothing().with(&live)), "refused not found: execution");
    assert!(spend(&Stored::of(&over).with(&live)).contains("execution terminal"));
    let held = Stored::held().with(&live);
    assert!(spend(&held).contains("not reclaimable: lifecycle_phase=active"));
    let lost = attempt_row().with(attempt::lease_expires_at_ms, Some(NOW));
    let lost = Stored::of(&core_row()).and(&lost).with(&live);
    assert_eq!(spend(&lost), "plan reclaim_execution");
    assert_eq!(word(&reclaimed(None), &lost), "plan reclaim_execution");
}

#[test]
fn the_cap_is_that_of_the_call_then_of_the_policy_then_a_thousand() {
    let live = grant(GrantKind::Reclaim, "pool", NOW + 1);
    let lost = attempt_row().with(attempt::lease_expires_at_ms, Some(NOW));
    let policy = |most: u32| Some(json!({ "max_reclaim_count": most }));
    // In the policies, 100 is the number that every policy has unless it says another.
    for (policy, most, count, ends) in [
        (None, None, 999, false),
        (None, None, 1_000, true),
        (policy(100), None, 999, false),
        (policy(2), None, 1, false),
        (policy(2), None, 2, true),
        (policy(2), Some(3), 2, false),
        (policy(9), Some(3), 3, true),
        (None, Some(u32::MAX), i32::MAX, false),
    ] {
        let core = core_row()
            .with(exec_core::policy, policy.clone())
            .with(exec_core::lease_reclaim_count, count);
        let decided = decide(&reclaimed(most), &Stored::of(&core).and(&lost).with(&live));
        let ended = decided.to_string().contains("ReclaimCapExceeded");
        assert_eq!(ended, ends, "{policy:?}, {most:?}, {count}");
    }
}
