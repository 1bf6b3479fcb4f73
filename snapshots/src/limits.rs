//! The situations in which limits by key are set, and executions with keys are claimed and stop.

use ff_core::backend::{FailureClass, FailureReason, ResumeToken};
use ff_core::contracts::{
    CapabilitySet, ClaimForWorkerArgs, ClaimResumedExecutionArgs, RateLimit, ResumeExecutionArgs,
    ResumeGrant, Scan, SetLimitArgs,
};
use ff_core::engine_backend::EngineBackend;
use ff_core::policy::{ExecutionPolicy, RoutingRequirements};
use ff_core::types::{AttemptIndex, ExecutionId, LeaseId, TimestampMs, WorkerId, WorkerInstanceId};
use uuid::Uuid;

use super::fixtures::{capabilities, lane, never_retried, partition, retried, worker};
use super::grants::{grant, reclaim, reclaim_grant, redemption};
use super::stage::{NOON, Scene, now};
use super::suspensions::waiting;

const KEY: &str = "tenant/42";

/// Above everything that is submitted otherwise.
const FIRST: i32 = 1_000_000;

fn keyed() -> ExecutionPolicy {
    ExecutionPolicy { limit_keys: vec![KEY.into()], ..ExecutionPolicy::default() }
}

impl Scene {
    pub(super) fn limits(&mut self) {
        self.submit(|args| args.policy = Some(keyed()));
        self.sample("claim", "with a key without a limit", async |b| {
            b.claim(&lane(), &capabilities(), worker()).await
        });

        let limit =
            SetLimitArgs::new(KEY, "operator").with_running(9).with_rate(RateLimit::new(10, 1_000));
        self.sample("set_limit", "both bounds", async |b| b.set_limit(limit).await);
        let mut args = self.args();
        args.policy = Some(keyed());
        self.sample("create_execution", "with a key of a limit", async |b| {
            b.create_execution(args).await
        });
        self.sample("has_claimable", "with a key of a limit", async |b| {
            b.has_claimable(&lane(), &capabilities()).await
        });
        self.sample("claim", "with a key of a limit", async |b| {
            b.claim(&lane(), &capabilities(), worker()).await
        });

        self.sample("read_limit", "one", async |b| b.read_limit(KEY).await);
        self.sample("list_limits", "first page", async |b| b.list_limits(None, 10).await);
        self.sample("list_limits", "next page", async |b| {
            b.list_limits(Some("a".into()), 10).await
        });

        if let Some((_, handle)) = self.held(Some(keyed())) {
            let later = TimestampMs(NOON + 100);
            self.sample("delay", "with a permit", async |b| b.delay(&handle, later).await);
        }
        self.ended_with_a_permit();
        self.resumed_with_a_key();
        self.lapsed_with_a_key();
        self.pass(10_000);
        self.sample("scan", "limit cell expiry", async |b| {
            b.scan(Scan::LimitCellExpiry, 100).await
        });
        self.sample("remove_limit", "one", async |b| b.remove_limit(KEY).await);
        self.sample("remove_limit", "none", async |b| b.remove_limit(KEY).await);
        self.claimed_with_several_keys();
        self.claimed_among_others();
    }

    /// Claims that take one permit, several, cells, and both of several keys.
    fn claimed_with_several_keys(&mut self) {
        for limit in [
            SetLimitArgs::new("run/*", "operator").with_running(9),
            SetLimitArgs::new("start/*", "operator").with_rate(RateLimit::new(10, 1_000)),
        ] {
            let _ = now(self.backend.set_limit(limit));
        }
        for (case, keys) in [
            ("with a permit", &["run/1"] as &[&str]),
            ("with two permits", &["run/1", "run/2"]),
            ("with cells", &["start/1"]),
            ("with permits and cells", &["run/1", "run/2", "start/1"]),
        ] {
            let limit_keys = keys.iter().map(|&key| key.to_owned()).collect();
            let policy = ExecutionPolicy { limit_keys, ..ExecutionPolicy::default() };
            self.submit(|args| (args.policy, args.priority) = (Some(policy), FIRST));
            self.sample("claim", case, async |b| b.claim(&lane(), &capabilities(), worker()).await);
        }
    }

    /// Claims by a worker without capabilities, and behind more executions that it cannot take than
    /// a claim looks at.
    fn claimed_among_others(&mut self) {
        self.submit(|args| args.policy = Some(keyed()));
        let none = CapabilitySet::new(Vec::<String>::new());
        self.sample("claim", "with a key, without capabilities", async |b| {
            b.claim(&lane(), &none, worker()).await
        });

        for _ in 0..40 {
            let mut policy = keyed();
            let mut routing = RoutingRequirements::default();
            routing.required_capabilities.insert("tpu".into());
            policy.routing_requirements = Some(routing);
            self.submit(|args| (args.policy, args.priority) = (Some(policy), FIRST));
        }
        self.sample("claim", "with a key, behind many that need something else", async |b| {
            b.claim(&lane(), &capabilities(), worker()).await
        });
        self.claimed_behind_a_full_key();
    }

    /// Claims behind more executions of a full key than a claim looks at first.
    fn claimed_behind_a_full_key(&mut self) {
        let _ =
            now(self.backend.set_limit(SetLimitArgs::new("closed", "operator").with_running(0)));
        for _ in 0..40 {
            let limit_keys = vec!["closed".into()];
            let policy = ExecutionPolicy { limit_keys, ..ExecutionPolicy::default() };
            self.submit(|args| (args.policy, args.priority) = (Some(policy), FIRST + 1));
        }

        for (case, offered) in [
            ("behind a full key", capabilities()),
            ("behind a full key, without capabilities", CapabilitySet::new(Vec::<String>::new())),
        ] {
            self.submit(|args| (args.policy, args.priority) = (Some(keyed()), FIRST));
            self.sample("claim", case, async |b| b.claim(&lane(), &offered, worker()).await);
        }
    }

    /// Ends by handles that say that there is a permit.
    fn ended_with_a_permit(&mut self) {
        let Some((_, handle)) = self.held(Some(keyed())) else { return };
        self.sample("complete", "with a permit", async |b| b.complete(&handle, None).await);
        for (case, policy) in [
            ("with a permit, for good", never_retried()),
            ("with a permit, tried again later", retried(500)),
            ("with a permit, tried again at once", retried(0)),
        ] {
            let policy = ExecutionPolicy { limit_keys: keyed().limit_keys, ..policy };
            let Some((_, handle)) = self.held(Some(policy)) else { return };
            let reason = FailureReason::new("printer on fire");
            self.sample("fail", case, async |b| {
                b.fail(&handle, reason, FailureClass::Transient).await
            });
        }
    }

    /// Executions that were suspended: their claims take permits again.
    fn resumed_with_a_key(&mut self) {
        self.seed_key();
        for by_grant in [false, true] {
            let Some((id, handle)) = self.held(Some(keyed())) else { return };
            let _ = now(self.backend.suspend(&handle, waiting(self.at())));
            let (trigger_type, resume_delay_ms) = ("operator".into(), 0);
            let resume =
                ResumeExecutionArgs { execution_id: id.clone(), trigger_type, resume_delay_ms };
            let _ = now(self.backend.resume_execution(resume));

            if by_grant {
                let token = self.token(&id);
                self.sample("claim_from_resume_grant", "with a key of a limit", async |b| {
                    b.claim_from_resume_grant(token).await
                });
                continue;
            }
            let args = ClaimResumedExecutionArgs {
                execution_id: id,
                worker_id: WorkerId::new("renderer"),
                worker_instance_id: WorkerInstanceId::new("renderer-2"),
                lane_id: lane(),
                lease_id: LeaseId::from_uuid(Uuid::from_u128(0x1EA5E)),
                lease_ttl_ms: 30_000,
                current_attempt_index: AttemptIndex(0),
                remaining_attempt_timeout_ms: None,
                now: self.at(),
            };
            self.sample("claim_resumed_execution", "with a key of a limit", async |b| {
                b.claim_resumed_execution(args).await
            });
        }
    }

    fn lapsed_with_a_key(&mut self) {
        let Some((id, _)) = self.held(Some(keyed())) else { return };
        self.pass(60_000);
        let token = self.token(&id);
        self.sample("claim_from_resume_grant", "lapsed, with a key of a limit", async |b| {
            b.claim_from_resume_grant(token).await
        });
    }

    /// Grants of executions with keys: redeeming them takes permits.
    pub(super) fn limited_grants(&mut self) {
        let limit = SetLimitArgs::new(KEY, "operator").with_running(9);
        let _ = now(self.backend.set_limit(limit.with_rate(RateLimit::new(10, 1_000))));
        let (case, offered) = ("with a key of a limit", capabilities().tokens);
        let (id, at) = (self.submit(|args| args.policy = Some(keyed())), self.at());
        let issued = grant(&id, &offered, at);
        self.sample("issue_claim_grant", case, async |b| b.issue_claim_grant(issued).await);
        let args = redemption(&id, at);
        self.sample("claim_execution", case, async |b| b.claim_execution(args).await);

        self.pass(60_000);
        let args = reclaim_grant(&id, self.at());
        self.sample("issue_reclaim_grant", case, async |b| b.issue_reclaim_grant(args).await);
        let args = reclaim(&id, None);
        self.sample("reclaim_execution", case, async |b| b.reclaim_execution(args).await);

        self.submit(|args| args.policy = Some(keyed()));
        let (pool, instance) = (WorkerId::new("renderer"), WorkerInstanceId::new("renderer-1"));
        let offered = offered.into_iter().collect();
        let args = ClaimForWorkerArgs::new(lane(), pool, instance, offered, 1_000);
        self.sample("claim_for_worker", case, async |b| b.claim_for_worker(args).await);
    }

    fn token(&self, id: &ExecutionId) -> ResumeToken {
        let until = self.at().0.unsigned_abs() + 60_000;
        let place = (&partition(id)).into();
        let grant = ResumeGrant::new(id.clone(), place, "g".into(), until, lane());
        let instance = WorkerInstanceId::new("renderer-2");
        ResumeToken::new(grant, WorkerId::new("renderer"), instance, 30_000)
    }
}
