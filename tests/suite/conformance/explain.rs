//! Explanations: each reason that holds a claim up is listed with what it is, and none where a
//! claim takes the execution.

use ff_core::backend::CapabilitySet;
use ff_core::contracts::{
    AwaitedWaitpoint, ClaimingWorker, ExplainExecutionArgs, IssueClaimGrantArgs, NotRunning,
    RegisterWorkerArgs, SetLaneStateArgs, TimeoutBehavior, UnmetDependency,
};
use ff_core::engine_backend::Scan;
use ff_core::state::{BlockingReason, LaneState, PublicState};
use ff_core::types::{
    AttemptIndex, ExecutionId, LaneId, LeaseEpoch, Namespace, TimestampMs, WorkerId,
    WorkerInstanceId,
};

use super::budget::{budget, report};
use crate::backends::{Bench, START, conformance};
use crate::bench::{NAMESPACE, TTL, assert_refused, id, lane, partition, requiring};
use crate::flow::End;

fn offering(tokens: &[&str]) -> ClaimingWorker {
    ClaimingWorker::new(lane(), CapabilitySet::new(tokens.iter().copied()))
}

async fn reasons_for(bench: &Bench, id: &ExecutionId, tokens: &[&str]) -> Vec<NotRunning> {
    let args = ExplainExecutionArgs::new(id.clone()).for_worker(offering(tokens));
    bench.backend.explain_execution(args).await.unwrap().reasons
}

async fn reasons(bench: &Bench, id: &ExecutionId) -> Vec<NotRunning> {
    reasons_for(bench, id, &[]).await
}

async fn register(bench: &Bench, instance: &str, tokens: &[&str]) {
    let args = RegisterWorkerArgs::new(
        WorkerId::new("pool"),
        WorkerInstanceId::new(instance),
        [lane()].into(),
        tokens.iter().map(|&token| token.to_owned()).collect(),
        1_000,
        Namespace::new(NAMESPACE),
        bench.clock.now(),
    );
    bench.backend.register_worker(args).await.unwrap();
}

fn no_worker(live_in_lane: u32, missing: &[&str]) -> NotRunning {
    let missing = missing.iter().map(|&token| token.to_owned()).collect();
    NotRunning::NoLiveWorker { lane_id: lane(), live_in_lane, missing }
}

conformance! {
    async fn what_waits_in_its_lane_has_no_reason_and_what_it_lacks_is_named(bench) {
        let id = bench.create_with(&|args| args.policy = Some(requiring(&["avx", "gpu"]))).await;
        assert_eq!(reasons_for(&bench, &id, &["gpu", "avx"]).await, []);
        let missing = vec!["avx".to_owned()];
        assert_eq!(reasons_for(&bench, &id, &["gpu"]).await, [NotRunning::MissingCapabilities { missing }]);

        let worker = ClaimingWorker::new(LaneId::new("other"), CapabilitySet::new(["avx", "gpu"]));
        let args = ExplainExecutionArgs::new(id.clone()).for_worker(worker);
        let other = bench.backend.explain_execution(args).await.unwrap();
        let worker_lane_id = LaneId::new("other");
        assert_eq!(other.reasons, [NotRunning::AnotherLane { lane_id: lane(), worker_lane_id }]);
        assert_eq!((other.public_state, other.at_ms), (PublicState::Waiting, TimestampMs(START)));
    }

    async fn a_worker_that_could_claim_it_must_be_alive(bench) {
        let id = bench.create_with(&|args| args.policy = Some(requiring(&["gpu"]))).await;
        let explained = async || {
            let args = ExplainExecutionArgs::new(id.clone());
            bench.backend.explain_execution(args).await.unwrap().reasons
        };
        assert_eq!(explained().await, [no_worker(0, &["gpu"])]);
        register(&bench, "w-1", &["avx"]).await;
        assert_eq!(explained().await, [no_worker(1, &["gpu"])]);
        register(&bench, "w-2", &["avx", "gpu"]).await;
        assert_eq!(explained().await, []);
        bench.clock.advance(1_000);
        assert_eq!(explained().await, [no_worker(0, &["gpu"])]);
    }

    async fn several_reasons_are_all_listed_and_nothing_changes(bench) {
        let budget = budget(&bench).await;
        let policy = ff_core::policy::ExecutionPolicy {
            budget_ids: vec![budget.clone()],
            ..requiring(&["gpu"])
        };
        let due = Some(TimestampMs(START + 100));
        let id = bench
            .create_with(&|args| {
                args.policy = Some(policy.clone());
                args.delay_until = due;
            })
            .await;
        report(&bench, &budget, &[("cost", 10)]).await;
        let pause = SetLaneStateArgs::new(lane(), LaneState::Paused, "ada")
            .with_reason("repairs")
            .with_until(TimestampMs(START + 50));
        bench.backend.set_lane_state(pause).await.unwrap();

        let before = bench.everything().await;
        let delayed = NotRunning::Delayed {
            until_ms: TimestampMs(START + 100),
            blocking_reason: Some(BlockingReason::WaitingForDelay),
        };
        let paused = NotRunning::LaneClosed {
            lane_id: lane(),
            state: LaneState::Paused,
            actor: Some("ada".into()),
            reason: Some("repairs".into()),
            since_ms: Some(TimestampMs(START)),
            until_ms: Some(TimestampMs(START + 50)),
        };
        let full = NotRunning::BudgetWithoutRoom {
            budget_id: budget.to_string(),
            dimension: "cost".into(),
            used: 10,
            reserved: 0,
            requested: 0,
            limit: 10,
        };
        let incapable = NotRunning::MissingCapabilities { missing: vec!["gpu".into()] };
        let all = [delayed.clone(), paused, full.clone(), incapable.clone()];
        assert_eq!(reasons(&bench, &id).await, all);
        assert_eq!(bench.everything().await, before, "looking changes nothing");

        bench.clock.advance(50);
        assert_eq!(reasons(&bench, &id).await, [delayed, full.clone(), incapable]);
        bench.clock.advance(50);
        assert_eq!(reasons_for(&bench, &id, &["gpu"]).await, [full], "it is due");
    }

    async fn a_grant_names_its_holder_until_it_lapses(bench) {
        let id = bench.create().await;
        let args = IssueClaimGrantArgs::new(
            id.clone(),
            lane(),
            WorkerId::new("w"),
            WorkerInstanceId::new("w-1"),
            partition(&id),
            std::collections::BTreeSet::new(),
            500,
            bench.clock.now(),
        );
        bench.backend.issue_claim_grant(args).await.unwrap();
        let reserved = NotRunning::Reserved {
            worker_id: Some(WorkerId::new("w")),
            worker_instance_id: Some(WorkerInstanceId::new("w-1")),
            until_ms: TimestampMs(START + 500),
        };
        assert_eq!(reasons(&bench, &id).await, [reserved]);
        bench.clock.advance(500);
        assert_eq!(reasons(&bench, &id).await, []);
        assert!(bench.try_claim().await.is_some());
    }

    async fn what_runs_and_what_has_ended_say_so(bench) {
        let (id, handle) = bench.leased().await;
        let running = NotRunning::Running {
            worker_id: Some(WorkerId::new("w")),
            worker_instance_id: Some(WorkerInstanceId::new("w-1")),
            attempt_index: AttemptIndex(0),
            lease_epoch: LeaseEpoch(1),
            lease_expires_at_ms: Some(TimestampMs(START + TTL)),
        };
        assert_eq!(reasons(&bench, &id).await, std::slice::from_ref(&running));
        bench.clock.advance(TTL);
        let since_ms = TimestampMs(START + TTL);
        let overdue = NotRunning::ScanDue { scan: Scan::LeaseExpiry, since_ms };
        assert_eq!(reasons(&bench, &id).await, [running, overdue]);
        bench.backend.scan(Scan::LeaseExpiry, 10).await.unwrap();
        assert_eq!(reasons(&bench, &id).await, []);

        assert!(bench.backend.complete(&handle, None).await.is_err(), "the lease is gone");
        let handle = bench.claim().await;
        bench.backend.complete(&handle, None).await.unwrap();
        let ended_at_ms = Some(bench.clock.now());
        let ended = NotRunning::Ended { outcome: PublicState::Completed, ended_at_ms };
        assert_eq!(reasons(&bench, &id).await, [ended]);
    }

    async fn a_suspended_execution_says_what_it_waits_for(bench) {
        let timeout = TimestampMs(START + 1_000);
        let (id, _, target) = bench.waiting(|args| args.with_timeout(timeout, TimeoutBehavior::Fail)).await;
        let waits = NotRunning::Suspended {
            blocking_reason: Some(BlockingReason::WaitingForSignal),
            waitpoints: vec![AwaitedWaitpoint {
                waitpoint_id: target.id.clone(),
                waitpoint_key: "a".into(),
                required_signal_names: vec!["go".into()],
            }],
            timeout_at_ms: Some(timeout),
        };
        assert_eq!(reasons(&bench, &id).await, std::slice::from_ref(&waits));
        bench.clock.advance(1_000);
        let overdue = NotRunning::ScanDue { scan: Scan::SuspensionTimeout, since_ms: timeout };
        assert_eq!(reasons(&bench, &id).await, [waits, overdue]);
    }

    async fn a_member_names_the_upstreams_that_it_waits_for(bench) {
        let flow = bench.flow(3).await;
        for upstream in [0, 1] {
            let edge = bench.stage(&flow, upstream, 2).await;
            bench.apply(&edge).await;
        }
        let waits = |unmet: Vec<(usize, PublicState)>| {
            let unmet = unmet.into_iter().map(|(at, public_state)| UnmetDependency {
                execution_id: flow.members[at].clone(),
                public_state,
                outcome: None,
            });
            let flow_id = Some(flow.id.clone());
            NotRunning::WaitingForDependencies { flow_id, unmet: unmet.collect() }
        };
        let worker = |id: &ExecutionId| {
            let worker = ClaimingWorker::new(crate::flow::lane_of(id), CapabilitySet::default());
            ExplainExecutionArgs::new(id.clone()).for_worker(worker)
        };
        let explained = async || {
            bench.backend.explain_execution(worker(&flow.members[2])).await.unwrap().reasons
        };
        let reasons = explained().await;
        let [NotRunning::WaitingForDependencies { unmet, .. }] = reasons.as_slice() else {
            panic!("{reasons:?}")
        };
        assert_eq!(unmet.len(), 2);

        bench.clock.advance(5);
        bench.end(&flow.members[0], End::Success).await;
        let ended = bench.clock.now();
        let reasons = explained().await;
        let overdue = NotRunning::ScanDue { scan: Scan::DependencyDispatch, since_ms: ended };
        assert!(reasons.contains(&overdue), "{reasons:?}");
        bench.backend.scan(Scan::DependencyDispatch, 10).await.unwrap();
        assert_eq!(explained().await, [waits(vec![(1, PublicState::Waiting)])]);
    }

    async fn a_member_of_a_flow_that_is_not_released_is_held_back(bench) {
        let flow = bench.held_flow(1).await;
        let args = ExplainExecutionArgs::new(flow.members[0].clone());
        let explained = bench.backend.explain_execution(args).await.unwrap();
        let held = NotRunning::HeldBack { flow_id: flow.id.clone() };
        assert_eq!(explained.reasons.first(), Some(&held));
    }

    async fn an_unknown_execution_and_bad_arguments_are_refused(bench) {
        let args = ExplainExecutionArgs::new(id());
        let explained = bench.backend.explain_execution(args.clone()).await;
        assert_refused(explained, "not found: execution");
        let worker = ClaimingWorker::new(LaneId::new(""), CapabilitySet::default());
        let explained = bench.backend.explain_execution(args.clone().for_worker(worker)).await;
        assert_refused(explained, "validation: InvalidInput: lane_id: lane id is empty");
        let explained = bench.backend.explain_execution(args.for_worker(offering(&["a\0"]))).await;
        assert_refused(
            explained,
            "validation: InvalidInput: capabilities: must not contain NUL (at byte 1)",
        );
    }
}
