mod stopped;

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use ff_backend_memory::MemoryBackend;
use ff_core::backend::FailureClass;
use ff_core::contracts::{
    CreateExecutionArgs, DeliverApprovalSignalArgs, ListPendingWaitpointsArgs, ResumeCondition,
    SeedWaitpointHmacSecretArgs, SuspendArgs,
};
use ff_core::engine_backend::Scan;
use ff_core::partition::PartitionConfig;
use ff_core::policy::{ExecutionPolicy, RoutingRequirements};
use ff_core::state::PublicState;
use ff_core::types::{ExecutionId, Namespace, TimestampMs};

use super::*;
use crate::flow::{self, FlowSpec};
use crate::scanner::{ScannerConfig, ScannerSupervisor};

fn engine() -> Arc<dyn EngineBackend> {
    Arc::new(MemoryBackend::new())
}

async fn submit(engine: &Arc<dyn EngineBackend>, needs: Option<&str>) -> ExecutionId {
    let id = ExecutionId::solo(&LaneId::new("default"), &PartitionConfig::default());
    submit_as(engine, id, needs).await
}

async fn submit_as(
    engine: &Arc<dyn EngineBackend>,
    id: ExecutionId,
    needs: Option<&str>,
) -> ExecutionId {
    let lane = LaneId::new("default");
    let required_capabilities = needs.into_iter().map(str::to_owned).collect();
    let routing = RoutingRequirements { required_capabilities, ..Default::default() };

    let args = CreateExecutionArgs {
        execution_id: id.clone(),
        namespace: Namespace::new("default"),
        lane_id: lane,
        execution_kind: "kind".into(),
        input_payload: b"input".to_vec(),
        payload_encoding: None,
        priority: 0,
        creator_identity: "test".into(),
        idempotency_key: None,
        tags: HashMap::new(),
        policy: Some(ExecutionPolicy {
            routing_requirements: Some(routing),
            ..ExecutionPolicy::default()
        }),
        delay_until: None,
        execution_deadline_at: None,
        partition_id: id.partition(),
        now: TimestampMs::now(),
    };
    engine.create_execution(args).await.unwrap();
    id
}

fn config() -> WorkerConfig {
    let mut config = WorkerConfig::new("default".into(), "w".into(), "w-1".into());
    config.until = Until::Empty;
    config
}

async fn state(engine: &Arc<dyn EngineBackend>, id: &ExecutionId) -> PublicState {
    engine.read_execution_state(id).await.unwrap().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_lane_is_worked_until_it_is_empty() {
    let engine = engine();
    let mut ids = Vec::new();
    for _ in 0..7 {
        ids.push(submit(&engine, None).await);
    }

    let (running, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let seen = Arc::clone(&most);
    let runner = move |job: Arc<Run>| {
        let (running, most) = (Arc::clone(&running), Arc::clone(&most));
        async move {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(10)).await;
            running.fetch_sub(1, Ordering::SeqCst);
            Ending::Completed(Some(job.payload.clone()))
        }
    };

    let mut config = config();
    config.concurrency = 3;
    let worker = Worker::new(Arc::clone(&engine), Arc::new(runner), config);
    let report = worker.run(watch::channel(Stop::Not).1).await.unwrap();

    assert_eq!((report.claimed, report.completed, report.left_waiting), (7, 7, false));
    assert_eq!(seen.load(Ordering::SeqCst), 3);
    for id in &ids {
        assert_eq!(engine.get_execution_result(id).await.unwrap(), Some(b"input".to_vec()));
    }
}

#[tokio::test(start_paused = true)]
async fn work_for_other_capabilities_is_left_and_reported() {
    let engine = engine();
    let id = submit(&engine, Some("gpu")).await;
    let runner = |_: Arc<Run>| async { Ending::Completed(None) };
    let worker = Worker::new(Arc::clone(&engine), Arc::new(runner), config());
    let report = worker.run(watch::channel(Stop::Not).1).await.unwrap();

    assert_eq!((report.claimed, report.left_waiting), (0, true));
    assert_eq!(state(&engine, &id).await, PublicState::Waiting);
}

#[tokio::test(start_paused = true)]
async fn claims_go_round_the_partitions_and_work_on_others_is_left_and_reported() {
    let engine = engine();
    for partition in [3, 3, 3, 3, 5, 9] {
        let id = ExecutionId::from_parts(partition, uuid::Uuid::new_v4());
        submit_as(&engine, id, None).await;
    }
    let order = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&order);
    let runner = move |job: Arc<Run>| {
        seen.lock().unwrap().push(job.execution_id.partition());
        async { Ending::Completed(None) }
    };

    let mut config = config();
    config.scopes = ClaimScopes::one_by_one(&"3-5".parse().unwrap());
    let worker = Worker::new(Arc::clone(&engine), Arc::new(runner), config);
    let report = worker.run(watch::channel(Stop::Not).1).await.unwrap();
    assert_eq!((report.claimed, report.left_waiting, report.left_locked), (5, true, false));
    assert_eq!(*order.lock().unwrap(), [3, 5, 3, 3, 3]);
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_others_is_waited_for() {
    let engine = engine();
    let spec = FlowSpec::parse(
        r#"{ "kind": "f", "nodes": [
            { "name": "a", "kind": "k", "payload": "" },
            { "name": "b", "kind": "k", "payload": "", "after": ["a"] },
            { "name": "c", "kind": "k", "payload": "", "after": ["b"] }
        ] }"#,
    );
    flow::submit(engine.as_ref(), &spec.unwrap(), TimestampMs::now()).await.unwrap();

    let scanners = ScannerSupervisor::spawn(Arc::clone(&engine), ScannerConfig::default());
    let runner = |_: Arc<Run>| async { Ending::Completed(None) };
    let worker = Worker::new(Arc::clone(&engine), Arc::new(runner), config());
    let report = worker.run(watch::channel(Stop::Not).1).await.unwrap();

    assert_eq!((report.claimed, report.completed, report.left_waiting), (3, 3, false));
    assert!(scanners.shutdown(Duration::from_secs(1)).await.unfinished.is_empty());
}

#[tokio::test(start_paused = true)]
async fn failures_are_counted_by_what_follows() {
    let engine = engine();
    let id = submit(&engine, None).await;

    let stop = watch::Sender::new(Stop::Not);
    let next_stop = stop.clone();
    let runner = move |_: Arc<Run>| {
        next_stop.send_replace(Stop::Drain);
        async { Ending::Failed { message: "no".into(), class: FailureClass::Transient } }
    };

    let worker = Worker::new(Arc::clone(&engine), Arc::new(runner), config());
    let report = worker.run(stop.subscribe()).await.unwrap();
    assert_eq!((report.claimed, report.retried, report.failed), (1, 1, 0));
    assert_eq!(state(&engine, &id).await, PublicState::Delayed);
}

#[tokio::test(start_paused = true)]
async fn what_outlasts_the_grace_is_handed_back() {
    let engine = engine();
    let id = submit(&engine, None).await;
    let stop = watch::Sender::new(Stop::Not);

    let next_stop = stop.clone();
    let runner = move |_: Arc<Run>| {
        next_stop.send_replace(Stop::Drain);
        std::future::pending()
    };

    let begun = Instant::now();
    let worker = Worker::new(Arc::clone(&engine), Arc::new(runner), config());
    let report = worker.run(stop.subscribe()).await.unwrap();
    assert_eq!((report.handed_back, begun.elapsed().as_secs()), (1, 10));
    assert_eq!(state(&engine, &id).await, PublicState::Delayed);
}

#[tokio::test(start_paused = true)]
async fn the_second_call_does_not_wait() {
    let engine = engine();
    submit(&engine, None).await;

    let stop = watch::Sender::new(Stop::Not);
    let next_stop = stop.clone();
    let runner = move |_: Arc<Run>| {
        next_stop.send_replace(Stop::Now);
        std::future::pending()
    };

    let begun = Instant::now();
    let worker = Worker::new(engine, Arc::new(runner), config());
    let report = worker.run(stop.subscribe()).await.unwrap();
    assert_eq!((report.handed_back, begun.elapsed().as_secs()), (1, 0));
}

/// The engine's clock moves only as the test says; tokio's paused clock moves by itself.
#[tokio::test(start_paused = true)]
async fn a_lease_is_kept_while_work_runs_and_work_ends_with_it() {
    let clock = Arc::new(AtomicI64::new(1_000));
    let time = Arc::clone(&clock);
    let memory =
        MemoryBackend::new().with_clock(Box::new(move || TimestampMs(time.load(Ordering::SeqCst))));
    let engine: Arc<dyn EngineBackend> = Arc::new(memory);
    let id = submit(&engine, None).await;

    let stop = watch::Sender::new(Stop::Not);
    let looked = Arc::new(Mutex::new(Vec::new()));
    let (expire, next_stop, leases) = (Arc::clone(&engine), stop.clone(), Arc::clone(&looked));

    let runner = move |job: Arc<Run>| {
        let (engine, clock) = (Arc::clone(&expire), Arc::clone(&clock));
        let (next_stop, leases) = (next_stop.clone(), Arc::clone(&leases));
        async move {
            next_stop.send_replace(Stop::Drain);
            for _ in 0..4 {
                tokio::time::sleep(Duration::from_millis(501)).await;
                clock.fetch_add(501, Ordering::SeqCst);
                let lease = engine.describe_execution(&job.execution_id).await.unwrap().unwrap();
                leases.lock().unwrap().push(lease.current_lease.unwrap().expires_at.0);
            }
            clock.fetch_add(60_000, Ordering::SeqCst);
            engine.scan(Scan::LeaseExpiry, 1).await.unwrap();
            std::future::pending().await
        }
    };

    let mut config = config();
    config.lease_ttl_ms = 1_500;
    let worker = Worker::new(Arc::clone(&engine), Arc::new(runner), config);
    let report = worker.run(stop.subscribe()).await.unwrap();

    assert_eq!((report.lost, report.claimed), (1, 1));
    assert_eq!(*looked.lock().unwrap(), [2_500, 3_001, 3_502, 4_003]);
    assert_eq!(state(&engine, &id).await, PublicState::Waiting);
}

/// Suspends until a signal of any name comes at the waitpoint `answer`.
fn until_answered() -> SuspendArgs {
    SuspendArgs::until(ResumeCondition::signals_at(1, ["answer"]), TimestampMs::now())
}

#[tokio::test(start_paused = true)]
async fn a_task_suspends_and_runs_again_with_what_has_come() {
    let engine = engine();
    let key = SeedWaitpointHmacSecretArgs::new("k1", "5a".repeat(32));
    engine.seed_waitpoint_hmac_secret(key).await.unwrap();
    let id = submit(&engine, None).await;

    let own = Arc::clone(&engine);
    let runner = Arc::new(move |job: Arc<Run>| {
        let engine = Arc::clone(&own);
        async move {
            let signals = engine.observe_signals(&job.handle).await.unwrap();
            match signals.first() {
                None => Ending::Suspended(until_answered()),
                Some(signal) => Ending::Completed(Some(signal.signal_name.clone().into_bytes())),
            }
        }
    });
    let work = async || {
        let worker = Worker::new(Arc::clone(&engine), Arc::clone(&runner) as _, config());
        worker.run(watch::channel(Stop::Not).1).await.unwrap()
    };

    let report = work().await;
    assert_eq!((report.claimed, report.suspended, report.left_waiting), (1, 1, false));
    assert_eq!(state(&engine, &id).await, PublicState::Suspended);
    assert_eq!(work().await.claimed, 0, "no answer yet");

    let args = ListPendingWaitpointsArgs::new(id.clone());
    let waitpoint = engine.list_pending_waitpoints(args).await.unwrap().entries.remove(0);
    let (lane, waitpoint_id) = (LaneId::new("default"), waitpoint.waitpoint_id);
    let yes = DeliverApprovalSignalArgs::new(
        id.clone(),
        lane,
        waitpoint_id,
        "yes",
        "k",
        1_000,
        None,
        None,
    );
    engine.deliver_approval_signal(yes).await.unwrap();

    let report = work().await;
    assert_eq!((report.claimed, report.completed, report.suspended), (1, 1, 0));
    assert_eq!(engine.get_execution_result(&id).await.unwrap(), Some(b"yes".to_vec()));
}
