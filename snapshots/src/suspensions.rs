//! Executions that wait for signals, in every combination that has a shape of its own.

use std::time::Duration;

use ff_core::backend::{Handle, PendingWaitpoint, ResumeToken};
use ff_core::contracts::{
    CancelExecutionArgs, ClaimResumedExecutionArgs, CompositeBody, CountKind,
    DeliverApprovalSignalArgs, DeliverSignalArgs, IdempotencyKey, IssueGrantAndClaimArgs,
    ListPendingWaitpointsArgs, ResumeCondition, ResumeExecutionArgs, ResumeGrant, ResumePolicy,
    RotateWaitpointHmacSecretAllArgs, SeedWaitpointHmacSecretArgs, SignalMatcher, SuspendArgs,
    SuspensionReasonCode, TimeoutBehavior, WaitpointBinding,
};
use ff_core::engine::{Executor as _, run};
use ff_core::engine_backend::{EngineBackend, Scan};
use ff_core::partition::PartitionKey;
use ff_core::plan::Plan;
use ff_core::rules::key::ExecutionKey;
use ff_core::rules::keystore::{ReadKey, ReadSigningKey};
use ff_core::rules::suspension::owner::WaitpointOwner;
use ff_core::rules::suspension::row::suspension_key;
use ff_core::schema::suspension::suspension_current;
use ff_core::types::{
    AttemptIndex, CancelSource, ExecutionId, LeaseId, SignalId, SuspensionId, TimestampMs,
    WaitpointId, WaitpointToken, WorkerId, WorkerInstanceId,
};
use uuid::Uuid;

use super::fixtures::{capabilities, fence_of, lane, partition, worker};
use super::stage::{Scene, now};

const DOOR: WaitpointId = WaitpointId::from_uuid(Uuid::from_u128(0xD00));
const KEY: &str = "approval";

pub(super) fn partition_key(id: &ExecutionId) -> PartitionKey {
    (&partition(id)).into()
}

/// Suspends at one new waitpoint, until its signal comes.
pub(super) fn waiting(at: TimestampMs) -> SuspendArgs {
    let door = WaitpointBinding::Fresh { waitpoint_id: DOOR, waitpoint_key: KEY.into() };
    let matcher = SignalMatcher::ByName("approved".into());

    SuspendArgs::new(
        SuspensionId::from_uuid(Uuid::from_u128(0x5)),
        door,
        ResumeCondition::Single { waitpoint_key: KEY.into(), matcher },
        ResumePolicy::new(),
        SuspensionReasonCode::WaitingForApproval,
        at,
    )
}

pub(super) fn signal(
    id: &ExecutionId,
    name: &str,
    token: &str,
    at: TimestampMs,
) -> DeliverSignalArgs {
    DeliverSignalArgs {
        signal_category: "approval".into(),
        source_type: "person".into(),
        source_identity: "ada".into(),
        ..DeliverSignalArgs::new(
            id.clone(),
            DOOR,
            SignalId::from_uuid(Uuid::from_u128(0x51)),
            name,
            WaitpointToken::new(token),
            at,
        )
    }
}

impl Scene {
    pub(super) fn seed_key(&mut self) {
        let args = SeedWaitpointHmacSecretArgs::new("k1", "00".repeat(32));
        let _ = now(self.backend.seed_waitpoint_hmac_secret(args));
    }

    /// Suspends an execution. Returns it with its handle and its waitpoint's token.
    fn suspend_execution(
        &mut self,
        change: impl FnOnce(SuspendArgs) -> SuspendArgs,
    ) -> Option<(ExecutionId, Handle, String)> {
        let (id, handle) = self.held(None)?;
        let args = change(waiting(self.at()));
        let _ = now(self.backend.suspend(&handle, args));
        let token = now(self.backend.read_waitpoint_token(partition_key(&id), &DOOR))?.ok()??;
        Some((id, handle, token))
    }

    pub(super) fn signing_keys(&mut self) {
        let seed = SeedWaitpointHmacSecretArgs::new("k1", "00".repeat(32));
        let rotate =
            |kid: &str| RotateWaitpointHmacSecretAllArgs::new(kid, "11".repeat(32), 60_000);

        let first = rotate("k0");
        self.in_own_database(|scene| {
            scene.sample("rotate_waitpoint_hmac_secret_all", "first", async |b| {
                b.rotate_waitpoint_hmac_secret_all(first).await
            });
        });

        self.sample("seed_waitpoint_hmac_secret", "first", async |b| {
            b.seed_waitpoint_hmac_secret(seed).await
        });

        let next = rotate("k2");
        self.sample("rotate_waitpoint_hmac_secret_all", "next", async |b| {
            b.rotate_waitpoint_hmac_secret_all(next).await
        });

        self.sample("read_key", "the one that signs", async |b| run(b, &ReadSigningKey).await);
        let named = ReadKey { kid: "k1".into() };
        self.sample("read_key", "by its id", async |b| run(b, &named).await);

        let owner = WaitpointOwner { partition: 7, id: DOOR.clone() };
        self.sample("close_waitpoint", "its execution", async |b| run(b, &owner).await);
    }

    pub(super) fn suspensions(&mut self) {
        self.seed_key();
        let at = self.at();
        if let Some((_, handle)) = self.held(None) {
            self.sample("suspend", "one waitpoint", async |b| {
                b.suspend(&handle, waiting(at)).await
            });
        }

        self.in_own_database(|scene| {
            scene.seed_key();
            let Some((id, handle)) = scene.held(None) else { return };
            let Some(fence) = fence_of(&handle) else { return };
            let keyed = waiting(at).with_idempotency_key(IdempotencyKey::new("once"));
            scene.sample("suspend", "with an idempotency key", async |b| {
                b.suspend(&handle, keyed).await
            });
            let triple = waiting(at);
            scene.sample("suspend_by_triple", "suspended already", async |b| {
                b.suspend_by_triple(id, fence, triple).await
            });
        });

        self.in_own_database(|scene| scene.suspended_at_waitpoints_made_earlier(false));
        self.in_own_database(|scene| scene.suspended_at_waitpoints_made_earlier(true));
        self.in_own_database(Scene::suspended_at_both);
    }

    fn make_waitpoint(&mut self, handle: &Handle) -> Option<PendingWaitpoint> {
        let minute = Duration::from_mins(1);
        self.sample("create_waitpoint", "ahead", async |b| {
            b.create_waitpoint(handle, KEY, minute).await
        })?
        .ok()
    }

    fn suspended_at_waitpoints_made_earlier(&mut self, keyed: bool) {
        self.seed_key();
        let Some((_, handle)) = self.held(None) else { return };
        let Some(made) = self.make_waitpoint(&handle) else { return };

        let mut args =
            waiting(self.at()).with_waitpoints(vec![WaitpointBinding::use_pending(&made)]);
        let mut case = "a waitpoint made earlier".to_owned();
        if keyed {
            args = args.with_idempotency_key(IdempotencyKey::new("once"));
            case.push_str(", with an idempotency key");
        }

        self.sample("suspend", case, async |b| b.suspend(&handle, args).await);
    }

    fn suspended_at_both(&mut self) {
        self.seed_key();
        for keyed in [false, true] {
            let Some((_, handle)) = self.held(None) else { return };
            let Some(made) = self.make_waitpoint(&handle) else { return };

            let fresh = WaitpointBinding::fresh_with(WaitpointId::from_uuid(Uuid::from_u128(
                0xF00 + u128::from(keyed),
            )));

            let mut args = waiting(self.at())
                .with_waitpoints(vec![fresh, WaitpointBinding::use_pending(&made)]);
            let mut case = "new and earlier waitpoints".to_owned();
            if keyed {
                args = args.with_idempotency_key(IdempotencyKey::new("once"));
                case.push_str(", with an idempotency key");
            }
            self.sample("suspend", case, async |b| b.suspend(&handle, args).await);
        }
    }

    pub(super) fn signals(&mut self) {
        for closes in [true, false] {
            for keyed in [false, true] {
                for delay in [None, Some(500)] {
                    self.in_own_database(|scene| scene.delivered(closes, keyed, delay));
                }
            }
        }
        self.in_own_database(Scene::approve);
    }

    fn delivered(&mut self, closes: bool, keyed: bool, delay: Option<u64>) {
        self.seed_key();
        let Some((id, handle, token)) = self.suspend_execution(|mut args| {
            args.resume_policy.close_waitpoint_on_resume = closes;
            args.resume_policy.resume_delay_ms = delay;
            args
        }) else {
            return;
        };
        let case = |what: &str| {
            let waitpoints = if closes { "closes" } else { "keeps the waitpoints" };
            let key = if keyed { ", with an idempotency key" } else { "" };
            let delay = if delay.is_some() { ", delayed" } else { "" };
            format!("{what}, {waitpoints}{key}{delay}")
        };

        for (name, what) in [("looked", "kept"), ("approved", "wakes")] {
            let mut args = signal(&id, name, &token, self.at());
            args.idempotency_key = keyed.then(|| name.to_owned());
            self.sample("deliver_signal", case(what), async |b| b.deliver_signal(args).await);
        }

        self.sample("observe_signals", "after", async |b| b.observe_signals(&handle).await);
        if delay.is_some() {
            self.pass(1_000);
            self.sample("scan", "resume delay over", async |b| {
                b.scan(Scan::DelayedPromotion, 100).await
            });
        }
    }

    fn approve(&mut self) {
        self.seed_key();
        let Some((id, _, _)) = self.suspend_execution(|args| args) else { return };

        let args =
            DeliverApprovalSignalArgs::new(id, lane(), DOOR, "approved", "1", 60_000, None, None);
        self.sample("deliver_approval_signal", "approved", async |b| {
            b.deliver_approval_signal(args).await
        });
    }

    pub(super) fn waits_that_end(&mut self) {
        for behavior in [
            TimeoutBehavior::Fail,
            TimeoutBehavior::Cancel,
            TimeoutBehavior::Expire,
            TimeoutBehavior::AutoResumeWithTimeoutSignal,
            TimeoutBehavior::Escalate,
        ] {
            for closes in [true, false] {
                self.in_own_database(|scene| scene.time_out(behavior, closes));
            }
        }

        self.in_own_database(Scene::cancel_by_no_operator);
        self.in_own_database(Scene::time_out_after_end);
        self.in_own_database(Scene::past_its_deadline);

        for closes in [true, false] {
            for resume_delay_ms in [0, 500] {
                self.in_own_database(|scene| scene.resumed(closes, resume_delay_ms));
            }
        }

        self.in_own_database(Scene::claim_resumed);
        self.in_own_database(Scene::taken_by_an_operator);
    }

    fn taken_by_an_operator(&mut self) {
        let args = |id: ExecutionId| IssueGrantAndClaimArgs::new(id, lane(), 30_000);
        let first = args(self.submit(|_| {}));
        self.sample("issue_grant_and_claim", "first attempt", async |b| {
            b.issue_grant_and_claim(first).await
        });

        self.seed_key();
        let Some((id, _, token)) = self.suspend_execution(|args| args) else { return };
        let delivered = signal(&id, "approved", &token, self.at());
        let _ = now(self.backend.deliver_signal(delivered));

        let resumed = args(id);
        self.sample("issue_grant_and_claim", "resumed", async |b| {
            b.issue_grant_and_claim(resumed).await
        });
    }

    fn time_out(&mut self, behavior: TimeoutBehavior, closes: bool) {
        self.seed_key();
        let soon = TimestampMs(self.at().0 + 1_000);
        let Some((id, _, _)) = self.suspend_execution(|mut args| {
            args.resume_policy.close_waitpoint_on_resume = closes;
            args.with_timeout(soon, behavior)
        }) else {
            return;
        };

        self.pass(2_000);
        let waitpoints = if closes { "" } else { ", keeps the waitpoints" };
        let case = format!("{}{waitpoints}", behavior.as_wire_str());

        let at = self.at();
        self.sample("expire_suspension", case, async |b| {
            b.expire_suspension(partition(&id), &id, at).await
        });
    }

    fn cancellation(&self, id: ExecutionId, source: CancelSource) -> CancelExecutionArgs {
        CancelExecutionArgs {
            execution_id: id,
            reason: "over".into(),
            source,
            lease_id: None,
            lease_epoch: None,
            attempt_id: None,
            now: self.at(),
        }
    }

    fn cancel_by_no_operator(&mut self) {
        self.seed_key();
        let Some((id, _, _)) = self.suspend_execution(|args| args) else { return };
        let args = self.cancellation(id, CancelSource::FlowCascade);
        self.sample("cancel_execution", "suspended, by no operator", async |b| {
            b.cancel_execution(args).await
        });
    }

    fn time_out_after_end(&mut self) {
        self.seed_key();
        let soon = TimestampMs(self.at().0 + 1_000);
        let Some((id, _, _)) =
            self.suspend_execution(|args| args.with_timeout(soon, TimeoutBehavior::Fail))
        else {
            return;
        };

        let args = self.cancellation(id, CancelSource::OperatorOverride);
        let row = ExecutionKey::of(&args.execution_id);
        self.sample("cancel_execution", "suspended", async |b| b.cancel_execution(args).await);
        // An older database left the timeout in place when it cancelled.
        if let Ok(key) = row {
            let set = vec![suspension_current::timeout_at_ms.set(Some(soon.0))];
            let (table, key) = (suspension_current::REF, suspension_key(&key));
            let _ = now(self.memory.commit(Plan::new("by hand").update(table, key, set)));
        }

        self.pass(2_000);
        self.sample("scan", "suspension timeout", async |b| {
            b.scan(Scan::SuspensionTimeout, 100).await
        });
        self.sample("scan", "waitpoint expiry", async |b| b.scan(Scan::WaitpointExpiry, 100).await);
    }

    fn past_its_deadline(&mut self) {
        self.seed_key();
        let deadline = TimestampMs(self.at().0 + 1_000);
        let _ = self.submit(|args| args.execution_deadline_at = Some(deadline));

        let claimed = now(self.backend.claim(&lane(), &capabilities(), worker()));
        let Some(Ok(Some(handle))) = claimed else { return };
        let _ = now(self.backend.suspend(&handle, waiting(self.at())));

        self.pass(2_000);
        self.sample("scan", "deadline while suspended", async |b| {
            b.scan(Scan::ExecutionDeadline, 100).await
        });
    }

    fn resumed(&mut self, closes: bool, resume_delay_ms: u64) {
        self.seed_key();
        let Some((execution_id, _, _)) = self.suspend_execution(|mut args| {
            args.resume_policy.close_waitpoint_on_resume = closes;
            args
        }) else {
            return;
        };

        let waitpoints = if closes { "" } else { ", keeps the waitpoints" };
        let case =
            format!("{}{waitpoints}", if resume_delay_ms == 0 { "at once" } else { "later" });

        let trigger_type = "operator".into();
        let args = ResumeExecutionArgs { execution_id, trigger_type, resume_delay_ms };
        self.sample("resume_execution", case, async |b| b.resume_execution(args).await);
    }

    pub(super) fn lapsed_leases(&mut self) {
        let Some((id, _)) = self.held(None) else { return };
        self.pass(60_000);

        let until = self.at().0.unsigned_abs() + 60_000;
        let grant = ResumeGrant::new(id.clone(), partition_key(&id), "g".into(), until, lane());
        let instance = WorkerInstanceId::new("renderer-2");

        let token = ResumeToken::new(grant, WorkerId::new("renderer"), instance, 30_000);
        self.sample("claim_from_resume_grant", "lapsed", async |b| {
            b.claim_from_resume_grant(token).await
        });
    }

    fn claim_resumed(&mut self) {
        self.seed_key();
        for by_grant in [false, true] {
            let Some((id, _, token)) = self.suspend_execution(|args| args) else { return };
            let delivered = signal(&id, "approved", &token, self.at());
            let _ = now(self.backend.deliver_signal(delivered));

            let (worker_id, worker_instance_id) =
                (WorkerId::new("renderer"), WorkerInstanceId::new("renderer-2"));
            if by_grant {
                let until = self.at().0.unsigned_abs() + 60_000;
                let grant =
                    ResumeGrant::new(id.clone(), partition_key(&id), "g".into(), until, lane());
                let token = ResumeToken::new(grant, worker_id, worker_instance_id, 30_000);
                self.sample("claim_from_resume_grant", "granted", async |b| {
                    b.claim_from_resume_grant(token).await
                });
                continue;
            }

            let args = ClaimResumedExecutionArgs {
                execution_id: id,
                worker_id,
                worker_instance_id,
                lane_id: lane(),
                lease_id: LeaseId::from_uuid(Uuid::from_u128(0x1EA5E)),
                lease_ttl_ms: 30_000,
                current_attempt_index: AttemptIndex(0),
                remaining_attempt_timeout_ms: None,
                now: self.at(),
            };

            let again = args.clone();
            self.sample("claim_resumed_execution", "resumable", async |b| {
                b.claim_resumed_execution(args).await
            });
            self.sample("claim_resumed_execution", "taken already", async |b| {
                b.claim_resumed_execution(again).await
            });
        }
    }

    pub(super) fn waits_that_are_read(&mut self) {
        self.seed_key();
        let several = CompositeBody::count(1, CountKind::DistinctSignals, None, [KEY.to_owned()]);
        let Some((id, handle, _)) = self.suspend_execution(|mut args| {
            args.resume_condition = ResumeCondition::Composite(several);
            args
        }) else {
            return;
        };

        let page = ListPendingWaitpointsArgs::new(id.clone());
        let next = page.clone().with_after(DOOR);

        self.sample("list_pending_waitpoints", "first page", async |b| {
            b.list_pending_waitpoints(page).await
        });
        self.sample("list_pending_waitpoints", "next page", async |b| {
            b.list_pending_waitpoints(next).await
        });

        let key = partition_key(&id);
        self.sample("read_waitpoint_token", "stored", async |b| {
            b.read_waitpoint_token(key.clone(), &DOOR).await
        });
        self.sample("observe_signals", "none yet", async |b| b.observe_signals(&handle).await);

        let at = self.at();
        self.sample("close_waitpoint", "not due", async |b| {
            b.close_waitpoint(partition(&id), &id, &DOOR.to_string(), at).await
        });

        self.sample("list_suspended", "first page", async |b| {
            b.list_suspended(key.clone(), None, 10).await
        });

        let cursor = Some(id.clone());
        self.sample("list_suspended", "next page", async |b| {
            b.list_suspended(key.clone(), cursor, 10).await
        });

        let gone = ExecutionId::from_parts(id.partition(), Uuid::from_u128(1));
        self.sample("list_suspended", "after what went on", async |b| {
            b.list_suspended(key, Some(gone), 10).await
        });
    }
}
