//! Grants, blocks and reclaims of one execution: it is never stuck, no lease is held twice, and
//! every lapse counts once.

use std::collections::BTreeSet;

use ff_core::EngineError;
use ff_core::contracts::{
    BlockRouteArgs, ClaimExecutionArgs, ClaimExecutionResult, ClaimForWorkerArgs,
    IssueClaimGrantArgs, IssueGrantAndClaimArgs, IssueReclaimGrantArgs, ReclaimExecutionArgs,
    ReclaimExecutionOutcome, RevokeLeaseArgs,
};
use ff_core::engine_backend::{EngineBackend as _, Scan};
use ff_core::policy::ExecutionPolicy;
use ff_core::types::{AttemptId, AttemptIndex, LeaseId, WorkerInstanceId};
use uuid::Uuid;

use super::{
    Before, Handles, INDISTINCT, Model, TICK, World, check_leases, explore, handle_of, id,
    instance, int, is, lane, name, over, partition, words_of,
};

const LEASE_TICKS: i64 = 2;
const LEASE_MS: u64 = (LEASE_TICKS * TICK).unsigned_abs();
const GRANT_MS: u64 = 20;
/// The most workers that may be lost.
const LOSSES: i64 = 1;
const DEPTH: usize = 8;

/// One step of a history. A worker is 0 or 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Tick,
    Claim(usize),
    Grant(usize),
    Schedule(usize),
    /// A grant and its lease in one, for which no handle is kept.
    TakeOver,
    Redeem(usize),
    GrantReclaim(usize),
    Reclaim(usize),
    Block,
    Unblock,
    Complete(usize),
    Revoke,
    Scan(Scan),
}

fn all_steps() -> Vec<Step> {
    use Step::*;
    let mut steps = vec![Tick, Block, Unblock, Revoke, Scan(self::Scan::LeaseExpiry)];
    steps.extend([TakeOver, Scan(self::Scan::GrantExpiry)]);
    for worker in [0, 1] {
        steps.extend([Claim(worker), Grant(worker), Schedule(worker), Redeem(worker)]);
        steps.extend([GrantReclaim(worker), Reclaim(worker), Complete(worker)]);
    }
    steps
}

struct Grants;

impl Model for Grants {
    type Step = Step;
    type Held = Handles;

    const TABLES: &[&str] = &["ff_exec_core", "ff_attempt", "ff_claim_grant"];

    fn steps(&self) -> Vec<Step> {
        all_steps()
    }

    async fn take(
        &self,
        world: &World,
        step: Step,
        handles: &mut Handles,
    ) -> Result<(), EngineError> {
        let backend = &world.backend;
        match step {
            Step::Tick => world.tick(),
            Step::Claim(worker) => {
                let claimed = world.claim(worker, LEASE_TICKS).await?;
                handles[worker] = claimed.or(handles[worker].take());
            }
            Step::Grant(worker) => {
                let none = BTreeSet::new();
                let args = IssueClaimGrantArgs::new(
                    id(),
                    lane(),
                    name(worker),
                    instance(worker),
                    partition(),
                    none,
                    GRANT_MS,
                    world.now(),
                );
                backend.issue_claim_grant(args).await.map(drop)?;
            }
            Step::Schedule(worker) => {
                let none = BTreeSet::new();
                let (name, instance) = (name(worker), instance(worker));
                let args = ClaimForWorkerArgs::new(lane(), name, instance, none, GRANT_MS);
                backend.claim_for_worker(args).await.map(drop)?;
            }
            Step::TakeOver => {
                let args = IssueGrantAndClaimArgs::new(id(), lane(), LEASE_MS);
                backend.issue_grant_and_claim(args).await.map(drop)?;
            }
            Step::Redeem(worker) => {
                let result = backend.claim_execution(redemption(world, worker)).await?;
                if let ClaimExecutionResult::Claimed(claimed) = result {
                    handles[worker] = Some(claimed.handle);
                }
            }
            Step::GrantReclaim(worker) => {
                let args = IssueReclaimGrantArgs::new(
                    id(),
                    name(worker),
                    instance(worker),
                    lane(),
                    None,
                    GRANT_MS,
                    None,
                    None,
                    BTreeSet::new(),
                    world.now(),
                );
                backend.issue_reclaim_grant(args).await.map(drop)?;
            }
            Step::Reclaim(worker) => {
                let outcome = backend.reclaim_execution(reclamation(worker)).await?;
                if let ReclaimExecutionOutcome::Claimed(handle) = outcome {
                    handles[worker] = Some(handle);
                }
            }
            Step::Block => {
                let (code, now) = ("waiting_for_capable_worker".to_owned(), world.now());
                let args = BlockRouteArgs::new(id(), lane(), partition(), code, String::new(), now);
                backend.block_route(args).await.map(drop)?;
            }
            Step::Unblock => {
                let now = world.now();
                backend.unblock_execution(partition(), &lane(), &id(), "", now).await?;
            }
            Step::Complete(worker) => {
                backend.complete(&handle_of(handles, worker)?, None).await?;
            }
            Step::Revoke => {
                let args = RevokeLeaseArgs {
                    execution_id: id(),
                    expected_lease_id: None,
                    worker_instance_id: WorkerInstanceId::new(""),
                    reason: "r".into(),
                };
                backend.revoke_lease(args).await.map(drop)?;
            }
            Step::Scan(scan) => backend.scan(scan, 10).await.map(drop)?,
        }
        Ok(())
    }

    fn fingerprint(&self, world: &World, handles: &Handles) -> String {
        format!("{}|{}", world.fingerprint(Self::TABLES, &INDISTINCT), words_of(handles))
    }

    fn check(&self, world: &World, _: &Before, history: &[Step]) {
        let core = world.core();
        check_leases(&core, &world.attempts(), &history);
        let lost = int(&core["lease_reclaim_count"]).unwrap();
        let failed = is(&core, "public_state", "failed");
        assert_eq!(LOSSES < lost, failed, "one loss too many ends it, nothing else: {history:?}");
        assert_eq!(!core["terminal_at_ms"].is_null(), over(&core), "{history:?}");
    }

    fn step_to_the_end(&self, world: &World, handles: &Handles) -> Option<Step> {
        let core = world.core();
        let now = world.now().0;
        let granted = int(&core["granted_until_ms"]).is_some_and(|until| now < until);
        let lapsed =
            |row: &super::Rows| int(&row["lease_expires_at_ms"]).is_some_and(|at| at <= now);
        if over(&core) {
            return None;
        }
        Some(if is(&core, "lifecycle_phase", "active") {
            match handles[0] {
                Some(_) => Step::Complete(0),
                None if world.attempts().iter().any(lapsed) => Step::Scan(Scan::LeaseExpiry),
                None => Step::Tick,
            }
        } else if is(&core, "eligibility_state", "blocked_by_route") {
            Step::Unblock
        } else if granted {
            Step::Tick
        } else {
            Step::Claim(0)
        })
    }
}

fn redemption(world: &World, worker: usize) -> ClaimExecutionArgs {
    let index = int(&world.core()["attempt_index"]).unwrap();
    ClaimExecutionArgs::new(
        id(),
        name(worker),
        instance(worker),
        lane(),
        LeaseId::from_uuid(Uuid::from_u128(5)),
        LEASE_MS,
        AttemptId::from_uuid(Uuid::from_u128(6)),
        AttemptIndex(u32::try_from(index).unwrap()),
        String::new(),
        None,
        None,
        world.now(),
    )
}

fn reclamation(worker: usize) -> ReclaimExecutionArgs {
    ReclaimExecutionArgs::new(
        id(),
        name(worker),
        instance(worker),
        lane(),
        None,
        LeaseId::from_uuid(Uuid::from_u128(5)),
        LEASE_MS,
        AttemptId::from_uuid(Uuid::from_u128(6)),
        String::new(),
        None,
        instance(worker),
        AttemptIndex(0),
    )
}

#[tokio::test]
async fn grants_blocks_and_reclaims_lead_nowhere_but_to_an_end() {
    let most = u32::try_from(LOSSES).unwrap();
    let policy = ExecutionPolicy { max_reclaim_count: most, ..ExecutionPolicy::default() };
    let world = World::with_policy(Some(policy)).await;
    let met = explore(&mut Grants, &world, [None, None], DEPTH).await;
    println!("{met:?}");
    let states: usize = met.by_depth.iter().sum();
    assert!(1_000 < states && met.longest <= 10, "{met:?}");
}
