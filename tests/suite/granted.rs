//! The calls about grants that several tests make.

use ff_core::backend::Handle;
use ff_core::contracts::{
    ClaimExecutionArgs, ClaimExecutionResult, ClaimForWorkerArgs, ClaimForWorkerOutcome,
    ClaimGrant, ClaimedExecution, IssueClaimGrantArgs, IssueReclaimGrantArgs, ReclaimExecutionArgs,
};
use ff_core::plan::value::Value;
use ff_core::types::{AttemptId, AttemptIndex, ExecutionId, LeaseId, WorkerId, WorkerInstanceId};
use uuid::Uuid;

use crate::backends::Bench;
use crate::bench::{TTL, lane, partition};
use crate::plain::{Cells, Given, int, text};

/// The life of a grant, ms.
pub(crate) const GRANT_TTL: i64 = 5_000;
/// The lease that a worker names when it redeems a grant.
pub(crate) const LEASE: Uuid = Uuid::from_u128(0x1EA5E);
/// The attempt that it names.
pub(crate) const ATTEMPT: Uuid = Uuid::from_u128(0xA77E);

fn positive(ms: i64) -> u64 {
    u64::try_from(ms).unwrap()
}

fn instance(worker: &str) -> WorkerInstanceId {
    WorkerInstanceId::new(format!("{worker}-1"))
}

impl Bench {
    /// A grant of that execution to a worker with these capabilities.
    pub(crate) fn grant(
        &self,
        id: &ExecutionId,
        worker: &str,
        offered: &[&str],
    ) -> IssueClaimGrantArgs {
        IssueClaimGrantArgs::new(
            id.clone(),
            lane(),
            WorkerId::new(worker),
            instance(worker),
            partition(id),
            offered.iter().map(|&token| token.to_owned()).collect(),
            positive(GRANT_TTL),
            self.clock.now(),
        )
    }

    /// The worker redeems its grant of that execution.
    pub(crate) fn redemption(&self, id: &ExecutionId, worker: &str) -> ClaimExecutionArgs {
        ClaimExecutionArgs::new(
            id.clone(),
            WorkerId::new(worker),
            instance(worker),
            lane(),
            LeaseId::from_uuid(LEASE),
            positive(TTL),
            AttemptId::from_uuid(ATTEMPT),
            AttemptIndex(0),
            String::new(),
            None,
            None,
            self.clock.now(),
        )
    }

    pub(crate) async fn redeemed(&self, id: &ExecutionId, worker: &str) -> ClaimedExecution {
        match self.backend.claim_execution(self.redemption(id, worker)).await.unwrap() {
            ClaimExecutionResult::Claimed(claimed) => claimed,
            other => panic!("{other:?}"),
        }
    }

    /// What the scheduler grants to a worker with these capabilities.
    pub(crate) async fn scheduled(&self, worker: &str, offered: &[&str]) -> Option<ClaimGrant> {
        let offered = offered.iter().map(|&token| token.to_owned()).collect();
        let args = ClaimForWorkerArgs::new(
            lane(),
            WorkerId::new(worker),
            instance(worker),
            offered,
            positive(GRANT_TTL),
        );
        match self.backend.claim_for_worker(args).await.unwrap() {
            ClaimForWorkerOutcome::Granted(grant) => Some(grant),
            ClaimForWorkerOutcome::NoWork => None,
            other => panic!("{other:?}"),
        }
    }

    /// A grant to reclaim that execution.
    pub(crate) fn reclaim_grant(&self, id: &ExecutionId, worker: &str) -> IssueReclaimGrantArgs {
        IssueReclaimGrantArgs::new(
            id.clone(),
            WorkerId::new(worker),
            instance(worker),
            lane(),
            None,
            positive(GRANT_TTL),
            None,
            None,
            std::collections::BTreeSet::new(),
            self.clock.now(),
        )
    }

    /// The worker spends its grant to reclaim that execution.
    pub(crate) fn reclamation(
        &self,
        id: &ExecutionId,
        worker: &str,
        most: Option<u32>,
    ) -> ReclaimExecutionArgs {
        ReclaimExecutionArgs::new(
            id.clone(),
            WorkerId::new(worker),
            instance(worker),
            lane(),
            None,
            LeaseId::from_uuid(LEASE),
            positive(TTL),
            AttemptId::from_uuid(ATTEMPT),
            String::new(),
            most,
            WorkerInstanceId::new("any"),
            AttemptIndex(999),
        )
    }

    /// Both: the grant, and its end.
    pub(crate) async fn reclaimed(&self, id: &ExecutionId, worker: &str) -> Handle {
        use ff_core::contracts::{IssueReclaimGrantOutcome, ReclaimExecutionOutcome};
        let granted = self.backend.issue_reclaim_grant(self.reclaim_grant(id, worker)).await;
        let granted = granted.unwrap();
        assert!(matches!(granted, IssueReclaimGrantOutcome::Granted(_)), "{granted:?}");
        match self.backend.reclaim_execution(self.reclamation(id, worker, None)).await.unwrap() {
            ReclaimExecutionOutcome::Claimed(handle) => handle,
            other => panic!("{other:?}"),
        }
    }

    /// Inserts a grant by hand, for the pool `w` and an instance of it that no test uses.
    pub(crate) async fn insert_grant(&self, id: &ExecutionId, kind: &str, more: Given<'_>) {
        let mut cells: std::collections::HashMap<&str, Value> = [
            ("partition_key", int(i64::from(id.partition()))),
            ("grant_id", Value::Bytes(Uuid::new_v4().as_bytes().to_vec())),
            ("execution_id", Value::Uuid(id.uuid())),
            ("kind", text(kind)),
            ("worker_id", text("w")),
            ("worker_instance_id", text("w-77")),
            ("grant_ttl_ms", int(GRANT_TTL)),
            ("issued_at_ms", int(self.clock.now().0)),
            ("expires_at_ms", int(self.clock.now().0 + GRANT_TTL)),
        ]
        .into();
        cells.extend(more);
        self.plain.insert("ff_claim_grant", cells.into_iter().collect()).await;
    }

    /// The grants of an execution.
    pub(crate) async fn grants(&self, id: &ExecutionId) -> Vec<Cells> {
        self.of("ff_claim_grant", id).await
    }
}
