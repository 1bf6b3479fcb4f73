//! Two operations reach one grant, or one lost lease, at the same time: every order in which their
//! reads and commits can follow each other is played. One of them wins, and the rows say which.

use std::fmt::Debug;

use ff_core::EngineError;
use ff_core::backend::CapabilitySet;
use ff_core::contracts::{ClaimExecutionResult, ClaimForWorkerOutcome, ReclaimExecutionOutcome};
use ff_core::engine::Transition;
use ff_core::partition::PartitionConfig;
use ff_core::rules::execution::claim::Claim;
use ff_core::rules::execution::expire::ExpireLease;
use ff_core::rules::grant::issue::IssueClaimGrant;
use ff_core::rules::grant::reclaim::Reclaim;
use ff_core::rules::grant::redeem::RedeemClaim;
use ff_core::rules::grant::schedule::{Schedule, Scheduled};
use ff_core::rules::key::ExecutionKey;
use ff_core::types::{AttemptId, ExecutionId, LeaseId, WorkerId};
use uuid::Uuid;

use crate::backends::{Bench, conformance};
use crate::bench::{ACTIVE, TTL, lane, payload_of, worker};
use crate::granted::GRANT_TTL;
use crate::race::{Paced, executor};

/// How often the database is asked before both are through, at least once each.
const TURNS: u32 = 5;

/// Both outcomes, after the turns of that order.
async fn both<A: Transition, B: Transition>(
    bench: &Bench,
    order: u32,
    (one, other): (A, B),
) -> (Result<A::Outcome, EngineError>, Result<B::Outcome, EngineError>)
where
    A::Outcome: Debug,
    B::Outcome: Debug,
{
    let executor = executor(bench);
    let (mut one, mut other) = (Paced::new(one), Paced::new(other));
    for turn in 0..TURNS {
        if order & (1 << turn) == 0 {
            one.go_on(executor).await;
        } else {
            other.go_on(executor).await;
        }
    }
    (one.finish(executor).await, other.finish(executor).await)
}

fn orders() -> std::ops::Range<u32> {
    0..1 << TURNS
}

fn redemption(bench: &Bench, id: &ExecutionId, lease: u128) -> RedeemClaim {
    let mut args = bench.redemption(id, "a");
    args.lease_id = LeaseId::from_uuid(Uuid::from_u128(lease));
    args.attempt_id = AttemptId::from_uuid(Uuid::from_u128(lease));
    RedeemClaim::new(bench.tag, args).unwrap()
}

fn claim(bench: &Bench) -> Claim {
    let none = CapabilitySet::default();
    Claim::new(bench.tag, &lane(), &none, worker("w"), 1).unwrap()
}

/// The lease that is stored is the one that was handed out, and the execution ends under it.
async fn ends_under(bench: &Bench, id: &ExecutionId, handle: &ff_core::backend::Handle) {
    let core = bench.core(id).await;
    assert_eq!(core.states(), ACTIVE);
    assert_eq!(core.int("granted_until_ms"), None);
    let current = usize::try_from(core.int("attempt_index").unwrap()).unwrap();
    let attempt = bench.attempt(id, current).await;
    assert_eq!(attempt.uuid("lease_id"), Some(payload_of(handle).lease_id.0));
    bench.backend.complete(handle, None).await.unwrap();
}

conformance! {
    async fn of_two_workers_that_redeem_one_grant_one_gets_it(bench) {
        for order in orders() {
            let id = bench.create().await;
            bench.backend.issue_claim_grant(bench.grant(&id, "a", &[])).await.unwrap();
            let pair = (redemption(&bench, &id, 1), redemption(&bench, &id, 2));
            let (one, other) = both(&bench, order, pair).await;
            let how = format!("order {order:05b}: {one:?}, {other:?}");
            let claimed = [one, other].into_iter().filter_map(Result::ok);
            let claimed: Vec<ClaimExecutionResult> = claimed.collect();
            let [ClaimExecutionResult::Claimed(claimed)] = &claimed[..] else { panic!("{how}") };
            ends_under(&bench, &id, &claimed.handle).await;
            assert!(bench.grants(&id).await.is_empty(), "{how}");
            assert_eq!(bench.attempts(&id).await.len(), 1, "{how}");
        }
    }

    async fn a_grant_and_a_claim_never_both_get_an_execution(bench) {
        for order in orders() {
            let id = bench.create().await;
            let issue = IssueClaimGrant::new(bench.grant(&id, "a", &[])).unwrap();
            let (granted, claimed) = both(&bench, order, (issue, claim(&bench))).await;
            let how = format!("order {order:05b}: {granted:?}, {claimed:?}");
            let claimed = claimed.unwrap().handles.pop();
            assert_eq!(granted.is_ok(), claimed.is_none(), "{how}");
            let handle = match claimed {
                Some(handle) => handle,
                None => bench.redeemed(&id, "a").await.handle,
            };
            ends_under(&bench, &id, &handle).await;
        }
    }

    async fn a_late_redemption_and_a_claim_never_both_get_an_execution(bench) {
        for order in orders() {
            let id = bench.create().await;
            bench.backend.issue_claim_grant(bench.grant(&id, "a", &[])).await.unwrap();
            // By its own clock the worker is in time; by the engine's the grant has lapsed.
            let redemption = redemption(&bench, &id, 1);
            bench.clock.advance(GRANT_TTL);
            let (redeemed, claimed) = both(&bench, order, (redemption, claim(&bench))).await;
            let how = format!("order {order:05b}: {redeemed:?}, {claimed:?}");
            let claimed = claimed.unwrap().handles.pop();
            assert_eq!(redeemed.is_ok(), claimed.is_none(), "{how}");
            let handle = match (redeemed, claimed) {
                (Ok(ClaimExecutionResult::Claimed(redeemed)), None) => redeemed.handle,
                (Err(_), Some(handle)) => handle,
                _ => panic!("{how}"),
            };
            ends_under(&bench, &id, &handle).await;
        }
    }

    async fn schedulers_grant_each_execution_once(bench) {
        for order in orders() {
            let ids = [bench.create().await, bench.create().await];
            let schedule = |worker: &str| {
                let instance = format!("{worker}-1").into();
                let args = ff_core::contracts::ClaimForWorkerArgs::new(
                    lane(),
                    WorkerId::new(worker),
                    instance,
                    std::collections::BTreeSet::new(),
                    5_000,
                );
                Schedule::new(bench.tag, PartitionConfig::default(), args).unwrap()
            };
            let (one, other) = both(&bench, order, (schedule("a"), schedule("b"))).await;
            let mut granted = Vec::new();
            for outcome in [one.unwrap(), other.unwrap()] {
                let Scheduled::Ended(ClaimForWorkerOutcome::Granted(grant)) = outcome else {
                    panic!("order {order:05b}: there is work for both")
                };
                granted.push(grant.execution_id);
            }
            assert_ne!(granted[0], granted[1], "order {order:05b}");
            for id in &ids {
                assert_eq!(bench.grants(id).await.len(), 1, "order {order:05b}");
                let worker = if *id == granted[0] { "a" } else { "b" };
                let handle = bench.redeemed(id, worker).await.handle;
                ends_under(&bench, id, &handle).await;
            }
        }
    }

    async fn a_reclaim_and_the_scan_for_lapsed_leases_count_one_loss(bench) {
        for order in orders() {
            let (id, _) = bench.leased().await;
            bench.clock.advance(TTL);
            bench.backend.issue_reclaim_grant(bench.reclaim_grant(&id, "a")).await.unwrap();
            let reclaim = Reclaim::new(bench.tag, bench.reclamation(&id, "a", None)).unwrap();
            let key = ExecutionKey::of(&id).unwrap();
            let expire = ExpireLease { key, expected: None };
            let (reclaimed, expired) = both(&bench, order, (reclaim, expire)).await;
            let how = format!("order {order:05b}: {reclaimed:?}, {expired:?}");
            let Ok(ReclaimExecutionOutcome::Claimed(handle)) = reclaimed else { panic!("{how}") };
            assert_eq!(bench.core(&id).await.int("lease_reclaim_count"), Some(1), "{how}");
            let epoch = if expired.unwrap() { 3 } else { 2 };
            assert_eq!(payload_of(&handle).lease_epoch.0, epoch, "{how}");
            ends_under(&bench, &id, &handle).await;
        }
    }

    async fn sixteen_workers_share_what_is_granted(bench) {
        let mut ids = Vec::new();
        for _ in 0..48 {
            ids.push(bench.create().await);
        }
        let workers: Vec<_> = (0..16)
            .map(|number| {
                let bench = std::sync::Arc::clone(&bench);
                tokio::spawn(async move {
                    let (name, mut got) = (format!("w{number}"), Vec::new());
                    while let Some(grant) = bench.scheduled(&name, &[]).await {
                        let claimed = bench.redeemed(&grant.execution_id, &name).await;
                        bench.backend.complete(&claimed.handle, None).await.unwrap();
                        got.push(grant.execution_id);
                    }
                    got
                })
            })
            .collect();
        let mut got = Vec::new();
        for worker in workers {
            got.extend(worker.await.unwrap());
        }
        got.sort();
        ids.sort();
        assert_eq!(got, ids, "each exactly once");
        assert!(bench.plain.rows("ff_claim_grant").await.is_empty());
    }
}
