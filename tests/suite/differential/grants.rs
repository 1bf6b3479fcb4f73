//! Grants, blocks and reclaims of a history: what is drawn, and what they come to.

use ff_core::backend::CapabilitySet;
use ff_core::contracts::{
    BlockExecutionForAdmissionArgs, BlockRouteArgs, BlockingReason, ClaimExecutionArgs,
    ClaimExecutionResult, ClaimForWorkerArgs, ClaimForWorkerOutcome, IssueClaimGrantArgs,
    IssueReclaimGrantArgs, IssueReclaimGrantOutcome, ReclaimExecutionArgs, ReclaimExecutionOutcome,
};
use ff_core::types::{
    AttemptId, AttemptIndex, ExecutionId, LaneId, LeaseId, TimestampMs, WorkerId, WorkerInstanceId,
};
use uuid::Uuid;

use super::generator::{Generator, WORKERS};
use super::kind::Kind;
use super::operation::{Operation, Side, Worker};
use super::situation::{Granted, Situation};
use crate::bench::partition;

/// A call about a grant, before it is known what the execution looks like.
#[derive(Clone, Debug)]
pub(super) struct Granting {
    what: What,
    worker: Worker,
    ttl: u64,
    now: TimestampMs,
}

#[derive(Clone, Debug)]
enum What {
    Issue(usize),
    Schedule(LaneId),
    /// Of the current attempt, or of one so much later.
    Redeem(usize, [Uuid; 2], u32),
    GrantReclaim(usize),
    Reclaim(usize, [Uuid; 2], Option<u32>),
    Block(usize, Option<BlockingReason>),
    Unblock(usize),
}

impl Generator {
    pub(super) fn granting(&mut self, kind: Kind, situation: &Situation<'_>) -> Operation {
        let now = self.around(situation.now);
        let ids = [self.draw(), self.draw()];
        let (mut execution, mut worker) = (self.submitted_one(), self.grantee());
        if let Some(granted) = self.granted(kind, situation) {
            (execution, worker) = (granted.execution, granted.worker);
        }
        match kind {
            Kind::GrantReclaim => execution = self.one_of(&situation.rows.lapsed),
            Kind::Grant | Kind::Block => execution = self.one_of(&situation.rows.waiting),
            _ => {}
        }
        let what = match kind {
            Kind::Grant => What::Issue(execution),
            Kind::Schedule => What::Schedule(self.lane()),
            Kind::Redeem => What::Redeem(execution, ids, self.pick(&[0, 0, 0, 0, 1])),
            Kind::GrantReclaim => What::GrantReclaim(execution),
            Kind::Reclaim => {
                What::Reclaim(execution, ids, self.pick(&[None, None, Some(0), Some(2)]))
            }
            Kind::Block => {
                let reasons = [
                    None,
                    Some(BlockingReason::WaitingForBudget),
                    Some(BlockingReason::WaitingForQuota),
                ];
                What::Block(execution, self.pick(&reasons))
            }
            Kind::Unblock => What::Unblock(execution),
            other => unreachable!("{other:?} is about no grant"),
        };
        let ttl = self.pick(&[500, 500, 5_000, 5_000]);
        Operation::Granting(Box::new(Granting { what, worker, ttl, now }))
    }

    fn grantee(&mut self) -> Worker {
        self.pick(&[WORKERS[2], WORKERS[2], WORKERS[2], WORKERS[0]])
    }

    /// Mostly a grant that is there, for a call that spends one.
    fn granted(&mut self, kind: Kind, situation: &Situation<'_>) -> Option<Granted> {
        let reclaims = match kind {
            Kind::Redeem => false,
            Kind::Reclaim => true,
            _ => return None,
        };
        let grants = situation.rows.granted.iter().copied();
        let grants: Vec<_> = grants.filter(|grant| grant.reclaims == reclaims).collect();
        (!grants.is_empty() && self.chance(85)).then(|| self.pick(&grants))
    }
}

impl Side {
    pub(super) async fn granting(&mut self, granting: &Granting) -> String {
        let backend = self.bench.backend.clone();
        let Granting { what, worker, ttl, now } = granting.clone();
        let (name, instance) = named(worker);
        let offered = CapabilitySet::new(worker.2.iter().copied()).tokens.into_iter().collect();
        match what {
            What::Issue(execution) => {
                let (id, lane, _) = self.found(execution).await;
                let place = partition(&id);
                let args =
                    IssueClaimGrantArgs::new(id, lane, name, instance, place, offered, ttl, now);
                self.answer(backend.issue_claim_grant(args).await)
            }
            What::Schedule(lane) => {
                let args = ClaimForWorkerArgs::new(lane, name, instance, offered, ttl);
                // The key of a grant names the database.
                let outcome = backend.claim_for_worker(args).await;
                self.answer(outcome.map(|outcome| match outcome {
                    ClaimForWorkerOutcome::Granted(grant) => {
                        format!("granted {} until {}", grant.execution_id, grant.expires_at_ms)
                    }
                    other => format!("{other:?}"),
                }))
            }
            What::GrantReclaim(execution) => {
                let (id, lane, _) = self.found(execution).await;
                let args = IssueReclaimGrantArgs::new(
                    id, name, instance, lane, None, ttl, None, None, offered, now,
                );
                let outcome = backend.issue_reclaim_grant(args).await;
                self.answer(outcome.map(|outcome| match outcome {
                    IssueReclaimGrantOutcome::Granted(grant) => {
                        format!("reclaimable until {}", grant.expires_at_ms)
                    }
                    other => format!("{other:?}"),
                }))
            }
            What::Redeem(..) | What::Reclaim(..) => self.spend(granting).await,
            What::Block(execution, reason) => self.block(execution, reason, now).await,
            What::Unblock(execution) => {
                let (id, lane, _) = self.found(execution).await;
                self.answer(backend.unblock_execution(partition(&id), &lane, &id, "", now).await)
            }
        }
    }

    async fn spend(&mut self, granting: &Granting) -> String {
        let backend = self.bench.backend.clone();
        let Granting { what, worker, now, .. } = granting.clone();
        let ((name, instance), ttl) = (named(worker), u64::from(worker.1));
        match what {
            What::Redeem(execution, [lease, attempt], later) => {
                let (id, lane, index) = self.found(execution).await;
                let args = ClaimExecutionArgs::new(
                    id,
                    name,
                    instance,
                    lane,
                    LeaseId::from_uuid(lease),
                    ttl,
                    AttemptId::from_uuid(attempt),
                    AttemptIndex(index + later),
                    String::new(),
                    None,
                    None,
                    now,
                );
                let result = backend.claim_execution(args).await;
                self.claimed(result.map(|result| match result {
                    ClaimExecutionResult::Claimed(claimed) => vec![claimed.handle],
                    other => panic!("{other:?}"),
                }))
            }
            What::Reclaim(execution, [lease, attempt], most) => {
                let (id, lane, index) = self.found(execution).await;
                let args = ReclaimExecutionArgs::new(
                    id,
                    name,
                    instance.clone(),
                    lane,
                    None,
                    LeaseId::from_uuid(lease),
                    ttl,
                    AttemptId::from_uuid(attempt),
                    String::new(),
                    most,
                    instance,
                    AttemptIndex(index),
                );
                match backend.reclaim_execution(args).await {
                    Ok(ReclaimExecutionOutcome::Claimed(handle)) => {
                        format!("re{}", self.claimed(Ok(vec![handle])))
                    }
                    other => self.answer(other),
                }
            }
            other => unreachable!("{other:?} spends nothing"),
        }
    }

    async fn block(
        &self,
        execution: usize,
        reason: Option<BlockingReason>,
        now: TimestampMs,
    ) -> String {
        let (id, lane, _) = self.found(execution).await;
        let (place, backend) = (partition(&id), &self.bench.backend);
        match reason {
            None => {
                let (code, detail) = ("waiting_for_locality_match".into(), "it's far".into());
                let args = BlockRouteArgs::new(id, lane, place, code, detail, now);
                self.answer(backend.block_route(args).await)
            }
            Some(reason) => {
                let args = BlockExecutionForAdmissionArgs::new(id, lane, place, reason, None, now);
                self.answer(backend.block_execution_for_admission(args).await)
            }
        }
    }

    /// An execution with its lane and its current attempt.
    pub(super) async fn found(&self, execution: usize) -> (ExecutionId, LaneId, u32) {
        let id = self.ids[execution].clone();
        let rows = self.bench.of("ff_exec_core", &id).await;
        let row = rows.first();
        let lane = row.map_or("bulk", |row| row.text("lane_id"));
        let index = row.and_then(|row| row.int("attempt_index")).unwrap_or(0);
        (id, LaneId::new(lane), u32::try_from(index).unwrap())
    }
}

pub(super) fn named((name, ..): Worker) -> (WorkerId, WorkerInstanceId) {
    (WorkerId::new(name), WorkerInstanceId::new(format!("{name}-1")))
}
