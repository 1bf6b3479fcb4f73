//! Every public name that callers of the reference's Postgres backend use exists under its path and
//! with its signature, and works.

use std::sync::Arc;
use std::time::Duration;

use ff_backend_postgres::dispatch::{DispatchOutcome, dispatch_completion};
use ff_backend_postgres::reconcilers::{
    ScanReport, attempt_timeout, budget_reset, delayed_promoter, dependency,
    edge_cancel_dispatcher, edge_cancel_reconciler, execution_deadline, lease_expiry,
    pending_wp_expiry, suspension_timeout,
};
use ff_backend_postgres::scanner_supervisor::{DEFAULT_DEP_STALE_MS, spawn_scanners};
use ff_backend_postgres::signal::{
    HmacVerifyError, SERIALIZABLE_RETRY_BUDGET, current_active_kid, fetch_kid, hmac_sign,
    hmac_verify, is_retryable_serialization, rotate_waitpoint_hmac_secret_all_impl,
    seed_waitpoint_hmac_secret_impl,
};
use ff_backend_postgres::suspend::{SignalsByWaitpoint, evaluate, slot_of, slot_of_partition_key};
use ff_backend_postgres::{
    MigrationError, PgPool, PostgresBackend, PostgresConnection, PostgresScannerConfig,
    apply_migrations, check_schema_version, flow, flow_staging, pool, stream,
};
use ff_core::EngineError;
use ff_core::backend::{
    BackendConfig, CancelFlowPolicy, CapabilitySet, ClaimPolicy, Frame, FrameKind, ScannerFilter,
};
use ff_core::contracts::{
    AddExecutionToFlowArgs, ApplyDependencyToChildArgs, CreateBudgetArgs, CreateExecutionArgs,
    CreateFlowArgs, EdgeDependencyPolicy, EdgeDirection, ResumeCondition,
    RotateWaitpointHmacSecretAllArgs, SeedOutcome, SeedWaitpointHmacSecretArgs,
    StageDependencyEdgeArgs, StreamCursor, submission_for_tests,
};
use ff_core::engine_backend::{EngineBackend, wait_for_flow_cancellation};
use ff_core::partition::{PartitionConfig, PartitionKey, budget_partition, flow_partition};
use ff_core::state::PublicState;
use ff_core::types::{
    AttemptIndex, BudgetId, EdgeId, ExecutionId, FlowId, LaneId, Namespace, TimestampMs, WorkerId,
    WorkerInstanceId,
};
use sqlx::AssertSqlSafe;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use uuid::Uuid;

const SECRET: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const OTHER_SECRET: &str = "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100";

fn url() -> String {
    std::env::var("FF_PG_TEST_URL").expect("FF_PG_TEST_URL is not set: run scripts/test")
}

/// A pool on a fresh schema that [`apply_migrations`] has filled.
struct Scratch {
    pool: PgPool,
    schema: String,
}

impl Scratch {
    async fn new() -> Self {
        let schema = format!("ff_compat_{}", Uuid::new_v4().simple());
        let options: PgConnectOptions = url().parse().unwrap();
        let options = options.options([("search_path", schema.as_str())]);
        let pool = PgPoolOptions::new().max_connections(8).connect_with(options).await.unwrap();
        let scratch = Self { pool, schema };
        scratch.run(format!("CREATE SCHEMA {}", scratch.schema)).await;
        apply_migrations(&scratch.pool).await.unwrap();
        scratch
    }

    async fn run(&self, sql: String) {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&self.pool).await.unwrap();
    }

    fn backend(&self) -> Arc<PostgresBackend> {
        PostgresBackend::from_pool(self.pool.clone(), PartitionConfig::default())
    }

    async fn drop(self) {
        self.run(format!("DROP SCHEMA {} CASCADE", self.schema)).await;
    }
}

fn lane() -> LaneId {
    LaneId::new("compat")
}

fn submission(id: &ExecutionId) -> CreateExecutionArgs {
    submission_for_tests(id, &lane(), TimestampMs::now())
}

fn terms(lease_ttl_ms: u32) -> ClaimPolicy {
    ClaimPolicy::new(WorkerId::new("w"), WorkerInstanceId::new("w-1"), lease_ttl_ms, None)
}

#[tokio::test]
async fn migrations_apply_once_and_the_schema_version_is_checked() {
    let scratch = Scratch::new().await;

    apply_migrations(&scratch.pool).await.unwrap();
    check_schema_version(&scratch.pool, 22).await.unwrap();
    let newer = check_schema_version(&scratch.pool, 23).await.unwrap_err();
    assert!(matches!(newer, EngineError::Unavailable { op: "schema_version" }), "{newer}");

    scratch.run("DROP TABLE ff_schema_ledger".into()).await;
    let unmigrated = check_schema_version(&scratch.pool, 22).await.unwrap_err();
    assert!(matches!(unmigrated, EngineError::Unavailable { op: "schema_version" }));

    fn named(_: &MigrationError) {}
    let _: fn(&MigrationError) = named;
    scratch.drop().await;
}

#[tokio::test]
async fn pools_are_built_from_configurations() {
    let mut connection = PostgresConnection::new(url());
    connection.max_connections = 2;
    let built = pool::build_pool_from_connection(&connection).await.unwrap();
    assert_eq!(built.options().get_max_connections(), 2);

    let built = pool::build_pool(&BackendConfig::postgres(url())).await.unwrap();
    built.close().await;
    let refused = pool::build_pool(&BackendConfig::valkey("localhost", 6379)).await.unwrap_err();
    assert!(matches!(
        refused,
        EngineError::Unavailable { op: "pg.pool.build (non-Postgres BackendConnection)" }
    ));

    let backend: Arc<dyn EngineBackend> =
        PostgresBackend::connect(BackendConfig::postgres(url())).await.unwrap();
    assert_eq!(backend.backend_label(), "postgres");
}

#[tokio::test]
async fn the_keystore_is_reached_through_a_pool() {
    let scratch = Scratch::new().await;
    let pool = &scratch.pool;
    assert_eq!(current_active_kid(pool).await.unwrap(), None);
    assert_eq!(fetch_kid(pool, "k1").await.unwrap(), None);

    let seed = SeedWaitpointHmacSecretArgs::new("k1", SECRET);
    let seeded = seed_waitpoint_hmac_secret_impl(pool, seed, 1_000).await.unwrap();
    assert!(matches!(seeded, SeedOutcome::Seeded { kid } if kid == "k1"));
    let rotate = RotateWaitpointHmacSecretAllArgs::new("k2", OTHER_SECRET, 60_000);
    let rotated = rotate_waitpoint_hmac_secret_all_impl(pool, rotate, 2_000).await.unwrap();
    assert_eq!(rotated.entries.len(), 1);

    let (kid, secret) = current_active_kid(pool).await.unwrap().unwrap();
    assert_eq!((kid.as_str(), hex(&secret)), ("k2", OTHER_SECRET.to_owned()));
    assert_eq!(hex(&fetch_kid(pool, "k1").await.unwrap().unwrap()), SECRET);

    let token = hmac_sign(&secret, "k2", b"message");
    hmac_verify(&secret, "k2", b"message", &token).unwrap();
    let forged = hmac_verify(&secret, "k2", b"another", &token).unwrap_err();
    assert!(matches!(forged, HmacVerifyError::SignatureMismatch));
    assert_eq!(SERIALIZABLE_RETRY_BUDGET, 3);
    assert!(!is_retryable_serialization(&sqlx::Error::PoolClosed));
    scratch.drop().await;
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A flow of two members, the second of which waits for the first.
async fn two_in_a_row(backend: &PostgresBackend) -> (FlowId, EdgeId, [ExecutionId; 2]) {
    let (config, flow_id, now) = (PartitionConfig::default(), FlowId::new(), TimestampMs::now());
    let members = [(); 2].map(|()| ExecutionId::for_flow(&flow_id, &config));
    let created = CreateFlowArgs {
        flow_id: flow_id.clone(),
        flow_kind: "pair".into(),
        namespace: Namespace::new("compat"),
        now,
    };
    backend.create_flow(&created).await.unwrap();

    for id in &members {
        let created: ExecutionId = backend.create_execution(submission(id)).await.unwrap();
        assert_eq!(created, *id);
        let again: ExecutionId = backend.create_execution(submission(id)).await.unwrap();
        assert_eq!(again, *id);
        let added =
            AddExecutionToFlowArgs { flow_id: flow_id.clone(), execution_id: id.clone(), now };
        backend.add_execution_to_flow(&added).await.unwrap();
    }

    let [upstream, downstream] = members.clone();
    let edge_id = EdgeId::new();
    let staged = StageDependencyEdgeArgs {
        flow_id: flow_id.clone(),
        edge_id: edge_id.clone(),
        upstream_execution_id: upstream.clone(),
        downstream_execution_id: downstream.clone(),
        dependency_kind: "success_only".into(),
        data_passing_ref: None,
        expected_graph_revision: 2,
        now,
    };
    backend.stage_dependency_edge(&staged).await.unwrap();
    let applied = ApplyDependencyToChildArgs {
        flow_id: flow_id.clone(),
        edge_id: edge_id.clone(),
        downstream_execution_id: downstream,
        upstream_execution_id: upstream,
        graph_revision: 3,
        dependency_kind: "success_only".into(),
        data_passing_ref: None,
        now,
    };
    backend.apply_dependency_to_child(&applied).await.unwrap();
    (flow_id, edge_id, members)
}

#[tokio::test]
async fn a_completion_is_dispatched_once_by_its_number() {
    let scratch = Scratch::new().await;
    let backend = scratch.backend();
    let (_, _, [_, downstream]) = two_in_a_row(&backend).await;
    let state = async || backend.read_execution_state(&downstream).await.unwrap();
    assert_eq!(state().await, Some(PublicState::WaitingChildren));

    let claimed = backend.claim(&lane(), &CapabilitySet::default(), terms(30_000)).await.unwrap();
    backend.complete(&claimed.unwrap(), None).await.unwrap();
    let event_id: i64 = sqlx::query_scalar("SELECT max(event_id) FROM ff_completion_event")
        .fetch_one(&scratch.pool)
        .await
        .unwrap();

    let first = dispatch_completion(&scratch.pool, event_id).await.unwrap();
    assert_eq!(first, DispatchOutcome::Advanced(1));
    assert_eq!(state().await, Some(PublicState::Waiting));
    let again = dispatch_completion(&scratch.pool, event_id).await.unwrap();
    assert_eq!(again, DispatchOutcome::NoOp);
    let unknown = dispatch_completion(&scratch.pool, i64::MAX).await.unwrap();
    assert_eq!(unknown, DispatchOutcome::NoOp);
    scratch.drop().await;
}

#[tokio::test]
async fn flows_are_reached_through_a_pool() {
    let scratch = Scratch::new().await;
    let (pool, config) = (&scratch.pool, PartitionConfig::default());
    let (flow_id, edge_id, [upstream, downstream]) = two_in_a_row(&scratch.backend()).await;

    let snapshot = flow::describe_flow(pool, &config, &flow_id).await.unwrap().unwrap();
    assert_eq!((snapshot.node_count, snapshot.edge_count), (2, 1));
    let partition = PartitionKey::from(flow_partition(&flow_id, &config));
    assert_eq!(flow::list_flows(pool, partition, None, 10).await.unwrap().flows.len(), 1);
    let from = EdgeDirection::Outgoing { from_node: upstream };
    assert_eq!(flow::list_edges(pool, &config, &flow_id, from).await.unwrap().len(), 1);
    assert!(flow::describe_edge(pool, &config, &flow_id, &edge_id).await.unwrap().is_some());
    let fixed = EdgeDependencyPolicy::AllOf;
    flow::set_edge_group_policy(pool, &config, &flow_id, &downstream, fixed).await.unwrap_err();

    let (backend, moment) = (scratch.backend(), Duration::from_millis(1));
    let late = wait_for_flow_cancellation(backend.as_ref(), &flow_id, moment).await.unwrap_err();
    assert!(matches!(late, EngineError::Timeout { op: "cancel_flow", .. }), "{late}");
    flow::cancel_flow(pool, &config, &flow_id, CancelFlowPolicy::CancelAll).await.unwrap();
    wait_for_flow_cancellation(scratch.backend().as_ref(), &flow_id, Duration::ZERO).await.unwrap();

    let another = CreateFlowArgs {
        flow_id: FlowId::new(),
        flow_kind: "empty".into(),
        namespace: Namespace::new("compat"),
        now: TimestampMs::now(),
    };
    flow_staging::create_flow(pool, &config, &another).await.unwrap();
    scratch.drop().await;
}

#[tokio::test]
async fn a_stream_is_reached_through_a_pool() {
    let scratch = Scratch::new().await;
    let (pool, config) = (&scratch.pool, PartitionConfig::default());
    let backend = scratch.backend();
    let id = ExecutionId::solo(&lane(), &config);
    backend.create_execution(submission(&id)).await.unwrap();
    let handle = backend.claim(&lane(), &CapabilitySet::default(), terms(30_000)).await.unwrap();

    let frame = Frame::new(b"line".to_vec(), FrameKind::Stdout);
    stream::append_frame(pool, &config, &handle.unwrap(), frame).await.unwrap();
    let (from, to) = (StreamCursor::Start, StreamCursor::End);
    let read = stream::read_stream(pool, &id, AttemptIndex(0), from, to, 10).await.unwrap();
    assert_eq!(read.frames.len(), 1);
    assert!(stream::read_summary(pool, &id, AttemptIndex(0)).await.unwrap().is_none());
    scratch.drop().await;
}

#[tokio::test]
async fn a_tick_applies_what_is_due_in_its_partition() {
    let scratch = Scratch::new().await;
    let (pool, backend, noop) = (&scratch.pool, scratch.backend(), ScannerFilter::NOOP);
    let id = ExecutionId::solo(&lane(), &PartitionConfig::default());
    backend.create_execution(submission(&id)).await.unwrap();
    backend.claim(&lane(), &CapabilitySet::default(), terms(60_000)).await.unwrap().unwrap();
    scratch.run("UPDATE ff_attempt SET lease_expires_at_ms = 1".into()).await;
    let own = i16::try_from(id.partition()).unwrap();

    let elsewhere = lease_expiry::scan_tick(pool, (own + 1) % 256, &noop).await.unwrap();
    assert_eq!(elsewhere, ScanReport::default());
    let others = ScannerFilter::new().with_namespace("another");
    let held_back = lease_expiry::scan_tick(pool, own, &others).await.unwrap();
    assert_eq!(held_back, ScanReport::default());
    let here = lease_expiry::scan_tick(pool, own, &noop).await.unwrap();
    assert_eq!(here, ScanReport { processed: 1, errors: 0 });
    assert_eq!(attempt_timeout::scan_tick(pool, own, &noop).await.unwrap(), ScanReport::default());
    let waits = suspension_timeout::scan_tick(pool, own, &noop).await.unwrap();
    assert_eq!(waits, ScanReport::default());
    scratch.drop().await;
}

#[tokio::test]
async fn a_tick_resets_the_budgets_of_its_partition() {
    let scratch = Scratch::new().await;
    let (pool, backend) = (&scratch.pool, scratch.backend());
    let budget_id = BudgetId::new();
    let own = budget_partition(&budget_id, &PartitionConfig::default()).index;
    let args = CreateBudgetArgs {
        budget_id,
        scope_type: String::new(),
        scope_id: String::new(),
        enforcement_mode: String::new(),
        on_hard_limit: String::new(),
        on_soft_limit: String::new(),
        reset_interval_ms: 3_600_000,
        dimensions: Vec::new(),
        hard_limits: Vec::new(),
        soft_limits: Vec::new(),
        now: TimestampMs::now(),
    };
    backend.create_budget(args).await.unwrap();
    scratch.run("UPDATE ff_budget_policy SET next_reset_at_ms = 1".into()).await;

    let own = i16::try_from(own).unwrap();
    let elsewhere = budget_reset::scan_tick(pool, (own + 1) % 32).await.unwrap();
    assert_eq!(elsewhere, ScanReport::default());
    for processed in [1, 0] {
        let here = budget_reset::scan_tick(pool, own).await.unwrap();
        assert_eq!(here, ScanReport { processed, errors: 0 });
    }
    scratch.drop().await;
}

#[tokio::test]
async fn a_completion_is_reconciled_once_it_is_old_enough() {
    let scratch = Scratch::new().await;
    let (pool, backend, noop) = (&scratch.pool, scratch.backend(), ScannerFilter::NOOP);
    two_in_a_row(&backend).await;
    let handle = backend.claim(&lane(), &CapabilitySet::default(), terms(30_000)).await.unwrap();
    backend.complete(&handle.unwrap(), None).await.unwrap();

    let fresh = dependency::reconcile_tick(pool, &noop, 3_600_000).await.unwrap();
    assert_eq!(fresh, dependency::ReconcileReport::default());
    scratch.run("UPDATE ff_completion_event SET committed_at_ms = 1".into()).await;
    let threshold = dependency::DEFAULT_STALE_THRESHOLD_MS;
    let old = dependency::reconcile_tick(pool, &noop, threshold).await.unwrap();
    assert_eq!((old.scanned, old.reconciled, old.errors), (1, 1, 0));
    let again = dependency::reconcile_tick(pool, &noop, threshold).await.unwrap();
    assert_eq!(again.scanned, 0);

    let cancelled = edge_cancel_dispatcher::dispatcher_tick(pool, &noop).await.unwrap();
    assert_eq!((cancelled.dispatched, cancelled.errors), (0, 0));
    let drained = edge_cancel_reconciler::reconciler_tick(pool, &noop).await.unwrap();
    assert_eq!((drained.completed_drain, drained.errors), (0, 0));
    scratch.drop().await;
}

#[tokio::test]
async fn hooks_check_one_row() {
    let scratch = Scratch::new().await;
    let (pool, backend) = (&scratch.pool, scratch.backend());
    let id = ExecutionId::solo(&lane(), &PartitionConfig::default());
    let (own, uuid) = (i16::try_from(id.partition()).unwrap(), id.uuid());
    let now = TimestampMs::now().0;
    let mut delayed = submission(&id);
    delayed.delay_until = Some(TimestampMs(now + 3_600_000));
    backend.create_execution(delayed).await.unwrap();
    let state = async || backend.read_execution_state(&id).await.unwrap().unwrap();

    delayed_promoter::promote_for_execution(pool, own, uuid, now).await.unwrap();
    assert_eq!(state().await, PublicState::Delayed);
    delayed_promoter::promote_for_execution(pool, own, uuid, now + 3_600_000).await.unwrap();
    assert_eq!(state().await, PublicState::Waiting);

    backend.claim(&lane(), &CapabilitySet::default(), terms(60_000)).await.unwrap().unwrap();
    lease_expiry::release_for_execution(pool, own, uuid).await.unwrap();
    attempt_timeout::expire_for_execution(pool, own, uuid).await.unwrap();
    suspension_timeout::expire_for_execution(pool, own, uuid).await.unwrap();
    execution_deadline::expire_for_execution(pool, own, uuid, now).await.unwrap();
    pending_wp_expiry::close_for_execution(pool, own, Uuid::new_v4(), now).await.unwrap();
    assert_eq!(state().await, PublicState::Active);
    scratch.run("UPDATE ff_attempt SET lease_expires_at_ms = 1".into()).await;
    lease_expiry::release_for_execution(pool, own, uuid).await.unwrap();
    assert_eq!(state().await, PublicState::Waiting);
    scratch.drop().await;
}

fn scanners(every: Duration) -> PostgresScannerConfig {
    PostgresScannerConfig {
        attempt_timeout_interval: every,
        lease_expiry_interval: every,
        suspension_timeout_interval: every,
        dependency_reconciler_interval: every,
        edge_cancel_dispatcher_interval: every,
        edge_cancel_reconciler_interval: every,
        budget_reset_interval: every,
        worker_registry_ttl_interval: every,
        dependency_stale_threshold_ms: DEFAULT_DEP_STALE_MS,
        scanner_filter: ScannerFilter::NOOP,
        partition_config: PartitionConfig::default(),
    }
}

#[tokio::test]
async fn installed_scanners_work_until_the_backend_is_drained() {
    let scratch = Scratch::new().await;
    let mut backend = scratch.backend();
    let shared = Arc::clone(&backend);
    assert!(!backend.with_scanners(scanners(Duration::from_millis(10))), "the backend is shared");
    drop(shared);
    // The task that measures the clock may hold the backend for a moment.
    while !backend.with_scanners(scanners(Duration::from_millis(10))) {
        tokio::task::yield_now().await;
    }
    assert!(!backend.with_scanners(scanners(Duration::from_millis(10))), "there are some already");

    let id = ExecutionId::solo(&lane(), &PartitionConfig::default());
    backend.create_execution(submission(&id)).await.unwrap();
    backend.claim(&lane(), &CapabilitySet::default(), terms(60_000)).await.unwrap().unwrap();
    scratch.run("UPDATE ff_attempt SET lease_expires_at_ms = 1".into()).await;
    let released = async {
        while backend.read_execution_state(&id).await.unwrap() != Some(PublicState::Waiting) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), released).await.unwrap();

    let observer = PgPool::connect_with((*scratch.pool.connect_options()).clone()).await.unwrap();
    backend.shutdown_prepare(Duration::from_secs(10)).await.unwrap();
    let handle = spawn_scanners(observer.clone(), scanners(Duration::from_secs(3_600)));
    assert_eq!(handle.shutdown(Duration::from_secs(10)).await, 0);
    Scratch { pool: observer, schema: scratch.schema }.drop().await;
}

#[test]
fn conditions_and_places_are_pure_functions() {
    let signals = SignalsByWaitpoint::new();
    assert!(!evaluate(&ResumeCondition::OperatorOnly, &signals));
    let config = PartitionConfig::default();
    let id = ExecutionId::parse("{fp:7}:550e8400-e29b-41d4-a716-446655440000").unwrap();
    assert_eq!(slot_of(&id, &config), 7);
    let key: PartitionKey = serde_json::from_str("\"{fp:9}\"").unwrap();
    assert_eq!(slot_of_partition_key(&key), Some(9));
    let bad: PartitionKey = serde_json::from_str("\"nine\"").unwrap();
    assert_eq!(slot_of_partition_key(&bad), None);
}
