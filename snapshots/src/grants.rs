//! Grants: issued, redeemed, lapsed; executions that are blocked; leases that are reclaimed.

use ff_core::contracts::{
    BlockExecutionForAdmissionArgs, BlockRouteArgs, BlockingReason, ClaimExecutionArgs,
    ClaimForWorkerArgs, ClaimForWorkerOutcome, IssueClaimGrantArgs, IssueReclaimGrantArgs,
    ReclaimExecutionArgs, ScanEligibleArgs,
};
use ff_core::engine::{Executor as _, run};
use ff_core::engine_backend::{EngineBackend, Scan};
use ff_core::plan::Plan;
use ff_core::policy::ExecutionPolicy;
use ff_core::rules::grant::verify::{ReadGrantee, VerifyGrant};
use ff_core::rules::key::ExecutionKey;
use ff_core::schema::execution::exec_core;
use ff_core::state::OwnershipState;
use ff_core::types::{
    AttemptId, AttemptIndex, ExecutionId, LeaseId, TimestampMs, WorkerId, WorkerInstanceId,
};
use uuid::Uuid;

use super::fixtures::{capabilities, lane, partition};
use super::stage::{Scene, now};

/// The life of the grants here, ms.
const TTL: u64 = 5_000;

fn grantee() -> (WorkerId, WorkerInstanceId) {
    (WorkerId::new("renderer"), WorkerInstanceId::new("renderer-1"))
}

pub(super) fn grant(id: &ExecutionId, offered: &[String], at: TimestampMs) -> IssueClaimGrantArgs {
    let (worker, instance) = grantee();
    let (offered, lane) = (offered.iter().cloned().collect(), lane());
    IssueClaimGrantArgs::new(id.clone(), lane, worker, instance, partition(id), offered, TTL, at)
}

pub(super) fn redemption(id: &ExecutionId, at: TimestampMs) -> ClaimExecutionArgs {
    let (worker, instance) = grantee();
    ClaimExecutionArgs::new(
        id.clone(),
        worker,
        instance,
        lane(),
        LeaseId::from_uuid(Uuid::from_u128(0xA)),
        30_000,
        AttemptId::from_uuid(Uuid::from_u128(0xB)),
        AttemptIndex(0),
        String::new(),
        None,
        None,
        at,
    )
}

pub(super) fn reclaim_grant(id: &ExecutionId, at: TimestampMs) -> IssueReclaimGrantArgs {
    let (worker, instance) = grantee();
    let offered = capabilities().tokens.into_iter().collect();
    let id = id.clone();
    IssueReclaimGrantArgs::new(id, worker, instance, lane(), None, TTL, None, None, offered, at)
}

pub(super) fn reclaim(id: &ExecutionId, most: Option<u32>) -> ReclaimExecutionArgs {
    let (worker, instance) = grantee();
    ReclaimExecutionArgs::new(
        id.clone(),
        worker,
        instance.clone(),
        lane(),
        None,
        LeaseId::from_uuid(Uuid::from_u128(0xA)),
        30_000,
        AttemptId::from_uuid(Uuid::from_u128(0xB)),
        String::new(),
        most,
        instance,
        AttemptIndex(0),
    )
}

impl Scene {
    pub(super) fn grants(&mut self) {
        let id = self.submit(|_| ());
        let scan = ScanEligibleArgs::new(lane(), partition(&id), 10);
        self.sample("scan_eligible_executions", "a lane", async |b| {
            b.scan_eligible_executions(scan).await
        });

        for (case, offered) in
            [("with capabilities", capabilities().tokens), ("without capabilities", Vec::new())]
        {
            let (id, at) = (self.submit(|_| ()), self.at());
            let args = grant(&id, &offered, at);
            self.sample("issue_claim_grant", case, async |b| b.issue_claim_grant(args).await);
            let args = grant(&id, &offered, at);
            self.sample("issue_claim_grant", "already granted", async |b| {
                b.issue_claim_grant(args).await
            });
            self.redeem(&id, case == "with capabilities");

            self.submit(|_| ());
            let (worker, instance) = grantee();
            let offered = offered.into_iter().collect();
            let args = ClaimForWorkerArgs::new(lane(), worker, instance, offered, TTL);
            self.sample("claim_for_worker", case, async |b| b.claim_for_worker(args).await);
        }

        self.verified();

        self.pass(10_000);
        self.sample("scan", "grant expiry", async |b| b.scan(Scan::GrantExpiry, 100).await);
        self.blocks();
    }

    fn verified(&mut self) {
        self.seed_key();
        let id = self.submit(|_| ());
        let (worker, instance) = grantee();
        let none = std::collections::BTreeSet::new();
        let args = ClaimForWorkerArgs::new(lane(), worker, instance, none, TTL);
        let Some(Ok(ClaimForWorkerOutcome::Granted(grant))) =
            now(self.backend.claim_for_worker(args))
        else {
            return;
        };

        if let Ok(verify) = VerifyGrant::new(&grant) {
            self.sample("verify_grant", "signed", async |b| run(b, &verify).await);
        }
        if let Ok(key) = ExecutionKey::of(&id) {
            let read = ReadGrantee { key };
            self.sample("verify_grant", "the worker", async |b| run(b, &read).await);
        }
    }

    fn redeem(&mut self, id: &ExecutionId, limited: bool) {
        let mut args = redemption(id, self.at());
        if limited {
            args.attempt_timeout_ms = Some(60_000);
            args.execution_deadline_at = Some(self.at().0 + 600_000);
        }
        let case = if limited { "granted, with limits" } else { "granted" };
        self.sample("claim_execution", case, async |b| b.claim_execution(args).await);
    }

    fn blocks(&mut self) {
        let (id, at) = (self.submit(|_| ()), self.at());
        let (code, detail) = ("waiting_for_capable_worker", "no worker offers gpu");
        let place = partition(&id);
        let route =
            || BlockRouteArgs::new(id.clone(), lane(), place, code.into(), detail.into(), at);
        self.sample("block_route", "claimable", async |b| b.block_route(route()).await);
        self.sample("block_route", "blocked already", async |b| b.block_route(route()).await);

        let id = self.submit(|_| ());
        let (code, place) = ("waiting_for_locality_match".to_owned(), partition(&id));
        let args = BlockRouteArgs::new(id, lane(), place, code, String::new(), at);
        self.sample("block_route", "for want of a place", async |b| b.block_route(args).await);

        for (case, reason) in [
            ("no room in a budget", BlockingReason::WaitingForBudget),
            ("no room in a quota", BlockingReason::WaitingForQuota),
            ("no capable worker", BlockingReason::WaitingForCapableWorker),
        ] {
            let id = self.submit(|_| ());
            let place = partition(&id);
            let args = BlockExecutionForAdmissionArgs::new(id, lane(), place, reason, None, at);
            self.sample("block_execution_for_admission", case, async |b| {
                b.block_execution_for_admission(args).await
            });
        }
    }

    pub(super) fn reclaims(&mut self) {
        for (most, outcome) in [(None, "taken over"), (Some(0), "once too often")] {
            self.in_own_database(|scene| {
                scene.reclaimed(&format!("lapsed, {outcome}"), most, |scene, _| {
                    scene.pass(60_000);
                });
            });
            self.in_own_database(|scene| {
                scene.reclaimed(&format!("released, {outcome}"), most, |scene, _| {
                    scene.pass(60_000);
                    let _ = now(scene.backend.scan(Scan::LeaseExpiry, 10));
                });
            });
            self.in_own_database(|scene| {
                scene.reclaimed(&format!("revoked, {outcome}"), most, |scene, id| {
                    scene.owned(id, OwnershipState::LeaseRevoked);
                });
            });
            self.in_own_database(|scene| {
                scene.reclaimed(&format!("no attempt, {outcome}"), most, |scene, id| {
                    scene.owned(id, OwnershipState::LeaseExpiredReclaimable);
                    scene.without_attempts(id);
                });
            });
        }
    }

    /// An execution that loses its worker in that way, and is then reclaimed.
    fn reclaimed(
        &mut self,
        case: &str,
        most: Option<u32>,
        lose: impl FnOnce(&mut Self, &ExecutionId),
    ) {
        let policy = ExecutionPolicy::default();
        let Some((id, _)) = self.held(Some(policy)) else { return };
        let args = reclaim(&id, most);
        self.sample("reclaim_execution", "no grant", async |b| b.reclaim_execution(args).await);
        lose(self, &id);

        let args = reclaim_grant(&id, self.at());
        self.sample("issue_reclaim_grant", case.to_owned(), async |b| {
            b.issue_reclaim_grant(args).await
        });
        let args = reclaim(&id, most);
        self.sample("reclaim_execution", case.to_owned(), async |b| {
            b.reclaim_execution(args).await
        });
    }

    /// Sets the owner of an execution, as a database of the reference may hold it.
    fn owned(&self, id: &ExecutionId, owner: OwnershipState) {
        let Ok(key) = ExecutionKey::of(id) else { return };
        let set = vec![exec_core::ownership_state.set(owner)];
        let plan = Plan::new("by hand").update(exec_core::REF, key.core(), set);
        let _ = now(self.memory.commit(plan));
    }

    /// Removes the attempts of an execution.
    fn without_attempts(&self, id: &ExecutionId) {
        use ff_core::schema::execution::attempt;
        let Ok(key) = ExecutionKey::of(id) else { return };
        let of_execution =
            vec![attempt::partition_key.with(key.partition), attempt::execution_id.with(key.uuid)];
        let plan = Plan::new("by hand").delete(attempt::REF, of_execution);
        let _ = now(self.memory.commit(plan));
    }
}
