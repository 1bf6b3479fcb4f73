//! Leases that lapse: released, reclaimed, and lost once too often.

use ff_core::backend::ResumeToken;
use ff_core::contracts::ResumeGrant;
use ff_core::engine_backend::{EngineBackend, Scan};
use ff_core::policy::ExecutionPolicy;
use ff_core::types::{WorkerId, WorkerInstanceId};

use super::fixtures::{lane, partition};
use super::stage::Scene;

impl Scene {
    pub(super) fn lost_workers(&mut self) {
        for (most, case) in [(100, "lapsed"), (0, "one worker too many was lost")] {
            let policy = ExecutionPolicy { max_reclaim_count: most, ..ExecutionPolicy::default() };
            self.in_own_database(|scene| {
                let Some((id, _)) = scene.held(Some(policy.clone())) else { return };
                scene.pass(60_000);
                scene.sample("mark_lease_expired_if_due", case, async |b| {
                    b.mark_lease_expired_if_due(partition(&id), &id).await
                });
            });

            self.in_own_database(|scene| {
                let Some(_) = scene.held(Some(policy.clone())) else { return };
                scene.pass(60_000);
                scene.sample("scan", format!("lease expiry, {case}"), async |b| {
                    b.scan(Scan::LeaseExpiry, 100).await
                });
            });

            self.in_own_database(|scene| {
                let Some((id, _)) = scene.held(Some(policy)) else { return };
                scene.pass(60_000);
                let until = scene.at().0.unsigned_abs() + 60_000;
                let place = (&partition(&id)).into();
                let grant = ResumeGrant::new(id, place, "g".into(), until, lane());
                let (worker, instance) =
                    (WorkerId::new("renderer"), WorkerInstanceId::new("renderer-2"));

                let token = ResumeToken::new(grant, worker, instance, 30_000);
                scene.sample("claim_from_resume_grant", case, async |b| {
                    b.claim_from_resume_grant(token).await
                });
            });
        }
    }
}
