//! The situations in which the operations on executions are sampled.

use ff_core::backend::{BackendTag, CapabilitySet, FailureClass, FailureReason, ScannerFilter};
use ff_core::contracts::{
    CancelExecutionArgs, ChangePriorityArgs, CompleteExecutionArgs, ExpiredLeasesCursor,
    FailExecutionArgs, ListExpiredLeasesArgs, RenewLeaseArgs, RevokeLeaseArgs,
};
use ff_core::engine::run;
use ff_core::engine_backend::{EngineBackend, ExpirePhase, Scan};
use ff_core::partition::PartitionKey;
use ff_core::plan::facts::Row;
use ff_core::plan::value::Value;
use ff_core::policy::{ExecutionPolicy, RetryPolicy, RoutingRequirements, TimeoutPolicy};
use ff_core::rules::execution::claim::{Claim, Place};
use ff_core::rules::execution::waiting::SomeWait;
use ff_core::rules::flow::key::FlowKey;
use ff_core::rules::flow::siblings::GroupKey;
use ff_core::rules::key::ExecutionKey;
use ff_core::rules::scan::{Due, DueRow, Overdue, ScanScope};
use ff_core::schema::outbox::completion_event;
use ff_core::types::{
    AttemptIndex, CancelSource, ExecutionId, LeaseEpoch, Namespace, TimestampMs, WaitpointId,
    WorkerInstanceId,
};
use ff_core::{handle_codec, rules};
use uuid::Uuid;

use super::fixtures::{
    AT_ONCE, LATER, NEVER, capabilities, fence_of, filtered, lane, never_retried, partition,
    retried, worker,
};
use super::money::stuck_row;
use super::schedules::stuck_schedule;
use super::stage::{NOON, Scene, now};
use super::workers::stuck_worker;

impl Scene {
    pub(super) fn claims(&mut self) {
        self.submit(|args| {
            let required_capabilities = ["gpu".to_owned()].into();
            let routing =
                RoutingRequirements { required_capabilities, ..RoutingRequirements::default() };
            let policy = ExecutionPolicy {
                routing_requirements: Some(routing),
                ..ExecutionPolicy::default()
            };
            args.policy = Some(policy);
        });

        self.sample("claim", "one", async |b| b.claim(&lane(), &capabilities(), worker()).await);
        self.sample("claim_many", "up to ten", async |b| {
            b.claim_many(&lane(), &capabilities(), worker(), 10).await
        });
        let none = CapabilitySet::default();
        self.sample("claim", "without capabilities", async |b| {
            b.claim(&lane(), &none, worker()).await
        });

        for (case, offered) in
            [("from a place", &none), ("from a place, with capabilities", &capabilities())]
        {
            self.sample("claim", case, async |b| {
                let claim = Claim::new(BackendTag::Memory, &lane(), offered, worker(), 1)?;
                run(b, &claim.from(Place::of(0, NOON))).await
            });
        }
        self.sample("claim", "after an empty one", async |b| {
            let claim = Claim::new(BackendTag::Memory, &lane(), &none, worker(), 1)?;
            match SomeWait::of(&claim) {
                Some(look) => run(b, &look).await.map(Some),
                None => Ok(None),
            }
        });
    }

    pub(super) fn leases(&mut self) {
        let Some((_, handle)) = self.held(None) else { return };
        self.sample("renew", "held", async |b| b.renew(&handle).await);
        self.sample("progress", "held", async |b| {
            b.progress(&handle, Some(40), Some("rendering".into())).await
        });

        let until = TimestampMs(NOON + 60_000);
        self.sample("delay", "held", async |b| b.delay(&handle, until).await);

        self.sample("renew", "no longer held", async |b| b.renew(&handle).await);
        self.sample("delay", "no longer held", async |b| b.delay(&handle, until).await);
        self.sample("progress", "no longer held", async |b| {
            b.progress(&handle, Some(41), None).await
        });
    }

    pub(super) fn ends(&mut self) {
        let Some((_, handle)) = self.held(None) else { return };
        let result = || Some(b"invoice-17.pdf".to_vec());
        self.sample("complete", "held", async |b| b.complete(&handle, result()).await);
        self.sample("complete", "over already", async |b| b.complete(&handle, result()).await);

        let Some((_, handle)) = self.held(None) else { return };
        self.sample("cancel", "held", async |b| b.cancel(&handle, "not needed").await);

        let Some((_, handle)) = self.held(None) else { return };
        let _ = now(self.backend.delay(&handle, TimestampMs(NOON + 60_000)));
        self.sample("cancel", "not running", async |b| b.cancel(&handle, "not needed").await);

        let unclaimed = self.submit(|_| ());
        let Ok(mut decoded) = handle_codec::decode(&handle.opaque) else { return };
        decoded.payload.execution_id = unclaimed;
        let handle = rules::handle::mint(handle.backend, handle.kind, &decoded.payload);
        self.sample("cancel", "never claimed", async |b| b.cancel(&handle, "not needed").await);
    }

    pub(super) fn failures(&mut self) {
        let reason = || FailureReason::new("printer on fire");
        let Some((_, handle)) = self.held(None) else { return };
        self.sample("fail", "for good", async |b| {
            b.fail(&handle, reason(), FailureClass::Permanent).await
        });

        let Some((_, handle)) = self.held(Some(retried(500))) else { return };
        self.sample("fail", "tried again later", async |b| {
            b.fail(&handle, reason(), FailureClass::Transient).await
        });

        let Some((_, handle)) = self.held(Some(retried(0))) else { return };
        self.sample("fail", "tried again at once", async |b| {
            b.fail(&handle, reason(), FailureClass::Transient).await
        });

        for (case, policy) in [
            ("a handle without facts, tried again later", retried(500)),
            ("a handle without facts, tried again at once", retried(0)),
            ("a handle without facts, retries used up", never_retried()),
        ] {
            let Some(handle) = self.claimed_without_retry_facts(policy) else { return };
            self.sample("fail", case, async |b| {
                b.fail(&handle, reason(), FailureClass::Transient).await
            });
        }

        let Some((_, handle)) = self.held(Some(never_retried())) else { return };
        self.sample("fail", "retries used up", async |b| {
            b.fail(&handle, reason(), FailureClass::Transient).await
        });
    }

    pub(super) fn operator(&mut self) {
        let at = self.at();
        let args = |execution_id: ExecutionId| CancelExecutionArgs {
            execution_id,
            reason: "duplicate order".into(),
            source: CancelSource::OperatorOverride,
            lease_id: None,
            lease_epoch: None,
            attempt_id: None,
            now: at,
        };
        let Some((held, _)) = self.held(None) else { return };
        self.sample("cancel_execution", "held", async |b| b.cancel_execution(args(held)).await);

        let waiting = self.submit(|_| ());
        let priority = ChangePriorityArgs {
            execution_id: waiting.clone(),
            new_priority: 1,
            lane_id: lane(),
            now: at,
        };
        self.sample("change_priority", "waiting", async |b| b.change_priority(priority).await);

        let revocation = |execution_id| RevokeLeaseArgs {
            execution_id,
            expected_lease_id: None,
            worker_instance_id: WorkerInstanceId::new(""),
            reason: "worker is stuck".into(),
        };

        let Some((stuck, _)) = self.held(None) else { return };
        self.sample("revoke_lease", "held", async |b| b.revoke_lease(revocation(stuck)).await);

        self.sample("cancel_execution", "waiting", async |b| {
            b.cancel_execution(args(waiting)).await
        });
        // Other sources are no operators, and leave no operator event.
        let others = |execution_id| CancelExecutionArgs {
            source: CancelSource::Custom("billing".into()),
            lease_epoch: Some(LeaseEpoch(1)),
            ..args(execution_id)
        };
        let Some((held, _)) = self.held(None) else { return };
        self.sample("cancel_execution", "held, by no operator", async |b| {
            b.cancel_execution(others(held)).await
        });
        let waiting = self.submit(|_| ());
        self.sample("cancel_execution", "waiting, by no operator", async |b| {
            b.cancel_execution(others(waiting)).await
        });
    }

    pub(super) fn typed(&mut self) {
        let Some((execution_id, handle)) = self.held(None) else { return };
        let fence = fence_of(&handle);
        let attempt_index = AttemptIndex(0);
        let renewal = RenewLeaseArgs {
            execution_id: execution_id.clone(),
            attempt_index,
            fence: fence.clone(),
            lease_ttl_ms: 30_000,
            lease_history_grace_ms: 60_000,
        };
        self.sample("renew_lease", "held", async |b| b.renew_lease(renewal).await);

        let failure = |execution_id, fence, source, policy: &str| FailExecutionArgs {
            execution_id,
            fence,
            attempt_index,
            failure_reason: "printer on fire".into(),
            failure_category: "transient".into(),
            retry_policy_json: policy.into(),
            next_attempt_policy_json: String::new(),
            source,
        };

        let holder = CancelSource::LeaseHolder;
        let later = failure(execution_id, fence, holder.clone(), LATER);
        self.sample("fail_execution", "tried again", async |b| b.fail_execution(later).await);

        let Some((execution_id, handle)) = self.held(None) else { return };
        let at_once = failure(execution_id, fence_of(&handle), holder, AT_ONCE);
        self.sample("fail_execution", "tried again at once", async |b| {
            b.fail_execution(at_once).await
        });

        let Some((execution_id, handle)) = self.held(None) else { return };
        let used_up = failure(execution_id, fence_of(&handle), CancelSource::LeaseHolder, NEVER);
        self.sample("fail_execution", "retries used up", async |b| b.fail_execution(used_up).await);

        for (case, policy) in [
            ("operator override, for good", ""),
            ("operator override, retries used up", NEVER),
            ("operator override, tried again", LATER),
            ("operator override, tried again at once", AT_ONCE),
        ] {
            let Some((execution_id, _)) = self.held(None) else { return };
            let args = failure(execution_id, None, CancelSource::OperatorOverride, policy);
            self.sample("fail_execution", case, async |b| b.fail_execution(args).await);
        }

        let Some((execution_id, _)) = self.held(None) else { return };
        let override_ = CompleteExecutionArgs {
            execution_id,
            fence: None,
            attempt_index,
            result_payload: None,
            result_encoding: None,
            source: CancelSource::OperatorOverride,
            now: self.at(),
        };
        self.sample("complete_execution", "operator override", async |b| {
            b.complete_execution(override_).await
        });
    }

    pub(super) fn reads(&mut self) {
        let Some((id, _)) = self.held(None) else { return };

        self.sample("describe_execution", "held", async |b| b.describe_execution(&id).await);
        self.sample("read_execution_info", "held", async |b| b.read_execution_info(&id).await);
        self.sample("read_execution_state", "held", async |b| b.read_execution_state(&id).await);
        self.sample("read_execution_context", "held", async |b| {
            b.read_execution_context(&id).await
        });

        self.sample("has_claimable", "with capabilities", async |b| {
            b.has_claimable(&lane(), &capabilities()).await
        });

        let none = CapabilitySet::default();
        self.sample("has_claimable", "without capabilities", async |b| {
            b.has_claimable(&lane(), &none).await
        });
        self.sample("read_current_attempt_index", "held", async |b| {
            b.read_current_attempt_index(&id).await
        });
        self.sample("read_total_attempt_count", "held", async |b| {
            b.read_total_attempt_count(&id).await
        });
        self.sample("get_execution_result", "held", async |b| b.get_execution_result(&id).await);
        self.sample("get_execution_namespace", "held", async |b| {
            b.get_execution_namespace(&id).await
        });
        self.sample("resolve_execution_flow_id", "held", async |b| {
            b.resolve_execution_flow_id(&id).await
        });

        self.sample("read_exec_core_fields", "held", async |b| {
            b.read_exec_core_fields(partition(&id), &id, &["lane_id", "priority"]).await
        });

        self.sample("set_execution_tag", "known", async |b| {
            b.set_execution_tag(&id, "billing.month", "2026-11").await
        });
        self.sample("get_execution_tag", "known", async |b| {
            b.get_execution_tag(&id, "billing.month").await
        });

        self.sample("execution_timeline", "held", async |b| b.execution_timeline(&id).await);

        let absent = ExecutionId::from_parts(1, Uuid::from_u128(1));
        self.sample("set_execution_tag", "unknown", async |b| {
            b.set_execution_tag(&absent, "billing.month", "2026-11").await
        });
    }

    pub(super) fn listings(&mut self) {
        let id = self.submit(|_| ());
        let key = || PartitionKey::from(&partition(&id));
        self.sample("list_executions", "first page", async |b| {
            b.list_executions(key(), None, 10).await
        });
        self.sample("list_executions", "next page", async |b| {
            b.list_executions(key(), Some(id.clone()), 10).await
        });

        self.sample("list_lanes", "first page", async |b| b.list_lanes(None, 10).await);
        self.sample("list_lanes", "next page", async |b| b.list_lanes(Some(lane()), 10).await);

        for (case, query) in filtered(&id) {
            self.sample("list_executions_by", case, async |b| b.list_executions_by(query).await);
        }

        for chosen in 0..4_u8 {
            let filter = |bit: u8| chosen & bit != 0;
            let mut leases = ListExpiredLeasesArgs::new(self.at());
            leases.namespace = filter(1).then(|| Namespace::new("billing"));
            leases.after = filter(2).then(|| ExpiredLeasesCursor::new(self.at(), id.clone()));
            let case = ["all", "namespace", "after", "namespace, after"][usize::from(chosen)];
            self.sample("list_expired_leases", case, async |b| b.list_expired_leases(leases).await);
        }
    }

    pub(super) fn scans(&mut self) {
        self.lost_workers();
        self.passes_by();

        let ours = ScannerFilter::new().with_instance_tag("cairn.instance_id", "eu-1");
        for scan in Scan::ALL {
            let case = format!("{}, of an instance", scan.as_str());
            self.sample("scan", case, async |b| b.scan_filtered(scan, 100, &ours).await);
        }

        self.sample("scan", "delayed promotion, nothing due", async |b| {
            b.scan(Scan::DelayedPromotion, 100).await
        });

        let timed = |retry: Option<RetryPolicy>| {
            let timeouts = TimeoutPolicy {
                attempt_timeout_ms: Some(1_000),
                execution_deadline_ms: None,
                max_reclaim_count: 100,
            };
            let timeout_policy = Some(timeouts);
            ExecutionPolicy { retry_policy: retry, timeout_policy, ..ExecutionPolicy::default() }
        };

        let _ = self.held(Some(timed(None)));
        let _ = self.held(Some(timed(retried(500).retry_policy)));
        let _ = self.held(Some(timed(retried(0).retry_policy)));
        self.pass(5_000);
        self.sample("scan", "attempt timeout", async |b| b.scan(Scan::AttemptTimeout, 100).await);

        let held = self.held(None);
        let deadline = TimestampMs(self.at().0 + 1_000);
        let waiting = self.submit(|args| args.execution_deadline_at = Some(deadline));
        self.pass(5_000);
        self.sample("scan", "execution deadline", async |b| {
            b.scan(Scan::ExecutionDeadline, 100).await
        });

        let at = self.at();
        self.sample("expire_execution", "deadline", async |b| {
            let phase = ExpirePhase::ExecutionDeadline;
            b.expire_execution(partition(&waiting), &waiting, phase, at).await
        });

        self.pass(60_000);
        self.sample("scan", "lease expiry", async |b| b.scan(Scan::LeaseExpiry, 100).await);
        self.sample("scan", "delayed promotion", async |b| {
            b.scan(Scan::DelayedPromotion, 100).await
        });

        let Some((id, _)) = held else { return };
        let at = self.at();
        self.sample("mark_lease_expired_if_due", "released already", async |b| {
            b.mark_lease_expired_if_due(partition(&id), &id).await
        });
        self.sample("promote_delayed", "not delayed", async |b| {
            b.promote_delayed(partition(&id), &lane(), &id, at).await
        });

        let later = TimestampMs(self.at().0 + 1_000);
        let _ = self.submit(|args| {
            args.execution_deadline_at = Some(later);
            args.priority = i32::MAX;
        });
        let _ = now(self.backend.claim(&lane(), &capabilities(), worker()));

        self.pass(2_000);
        self.sample("scan", "deadline while held", async |b| {
            b.scan(Scan::ExecutionDeadline, 100).await
        });
    }

    /// Scans that begin after rows which could not be handled.
    fn passes_by(&mut self) {
        let key = ExecutionKey { partition: 7, uuid: Uuid::from_u128(1) };
        let flow = FlowKey { partition: 7, uuid: Uuid::from_u128(2) };
        let event = Row::new(vec![(completion_event::event_id.column(), Value::Int(5))]);

        for scan in Scan::ALL {
            let row = match scan {
                Scan::LeaseExpiry
                | Scan::AttemptTimeout
                | Scan::ExecutionDeadline
                | Scan::DelayedPromotion
                | Scan::SuspensionTimeout => DueRow::Execution(key),
                Scan::DependencyDispatch => DueRow::Event(event.clone()),
                Scan::SiblingCancel => DueRow::Siblings(GroupKey { flow, downstream: key.uuid }),
                Scan::WaitpointExpiry => {
                    DueRow::Waitpoint(key, WaitpointId::from_uuid(Uuid::from_u128(3)))
                }
                Scan::GrantExpiry => DueRow::Grant(key, vec![4; 32]),
                Scan::WorkerTtl => stuck_worker(),
                Scan::BudgetReset
                | Scan::UsageKeyExpiry
                | Scan::IdempotencyKeyExpiry
                | Scan::LimitCellExpiry
                | Scan::AdmissionExpiry
                | Scan::QuotaWindowExpiry
                | Scan::BudgetReconcile
                | Scan::QuotaReconcile => stuck_row(scan),
                Scan::Schedules => stuck_schedule(),
                // It lists no rows of which one could be stuck.
                Scan::CountFold => continue,
            };

            let after = Some(Overdue { row, since: Some(NOON) });
            let filter = ScannerFilter::new().with_namespace("billing");
            let all = ScanScope::default();
            let namespace = ScanScope { filter, ..all.clone() };
            let partition = ScanScope { partition: Some(7), older_than_ms: 1_000, ..all.clone() };

            for (scope, of_what) in [
                (all, ""),
                (namespace, ", of a namespace"),
                (partition, ", of a partition and old"),
            ] {
                let case = format!("{}{of_what}, past stuck rows", scan.as_str());
                let due = Due { scan, limit: 100, after: after.clone(), scope };
                self.sample("scan", case, async |b| run(b, &due).await);
            }
        }
    }
}
