//! Every public name that callers of the reference's SQLite backend use exists under its path and
//! with its signature, and works.

use std::time::Duration;

use ff_backend_sqlite::pubsub::OutboxEvent;
use ff_backend_sqlite::{
    IsRetryableBusy, MAX_ATTEMPTS, SqliteBackend, SqliteScannerConfig, is_retryable_sqlite_busy,
    retry_serializable,
};
use ff_core::backend::{CapabilitySet, ClaimPolicy};
use ff_core::contracts::submission_for_tests;
use ff_core::engine_backend::EngineBackend;
use ff_core::partition::PartitionConfig;
use ff_core::state::PublicState;
use ff_core::types::{ExecutionId, LaneId, TimestampMs, WorkerId, WorkerInstanceId};

async fn submit(backend: &SqliteBackend) -> ExecutionId {
    let lane = LaneId::new("compat");
    let id = ExecutionId::solo(&lane, &PartitionConfig::default());
    let args = submission_for_tests(&id, &lane, TimestampMs::now());
    backend.create_execution(args).await.unwrap();
    id
}

fn terms() -> ClaimPolicy {
    ClaimPolicy::new(WorkerId::new("w"), WorkerInstanceId::new("w-1"), 60_000, None)
}

#[tokio::test]
async fn a_database_opens_with_and_without_a_write_ahead_log() {
    let directory = tempfile::tempdir().unwrap();

    for (name, wal, mode) in [("a.db", true, "wal"), ("b.db", false, "delete")] {
        let path = directory.path().join(name);
        let backend = SqliteBackend::new_with_tuning(path.to_str().unwrap(), 2, wal).await.unwrap();
        submit(&backend).await;
        let found: String = sqlx::query_scalar("PRAGMA journal_mode")
            .fetch_one(backend.pool_for_test())
            .await
            .unwrap();
        assert_eq!(found, mode, "{name}");
        backend.shutdown_prepare(Duration::from_secs(10)).await.unwrap();
    }
}

#[tokio::test]
async fn completions_come_through_the_channel_of_tests() {
    let backend = SqliteBackend::new(":memory:").await.unwrap();
    let mut completions = backend.subscribe_completion_for_test();
    let id = submit(&backend).await;
    let lane = LaneId::new("compat");
    let handle = backend.claim(&lane, &CapabilitySet::default(), terms()).await.unwrap().unwrap();
    backend.complete(&handle, None).await.unwrap();

    let event = tokio::time::timeout(Duration::from_secs(10), completions.recv()).await;
    let OutboxEvent { event_id, partition_key } = event.unwrap().unwrap();
    assert!(0 < event_id);
    assert_eq!(partition_key, i64::from(id.partition()));
}

#[tokio::test]
async fn scanners_are_installed_once_and_drained_with_the_backend() {
    let backend = SqliteBackend::new(":memory:").await.unwrap();
    let config = SqliteScannerConfig {
        budget_reset_interval: Duration::ZERO,
        worker_registry_ttl_interval: Duration::ZERO,
    };
    assert!(backend.with_scanners(config.clone()));
    assert!(!backend.with_scanners(config));

    let id = submit(&backend).await;
    let lane = LaneId::new("compat");
    backend.claim(&lane, &CapabilitySet::default(), terms()).await.unwrap().unwrap();
    sqlx::query("UPDATE ff_attempt SET lease_expires_at_ms = 1")
        .execute(backend.pool_for_test())
        .await
        .unwrap();
    let released = async {
        while backend.read_execution_state(&id).await.unwrap() != Some(PublicState::Waiting) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), released).await.unwrap();
    backend.shutdown_prepare(Duration::from_secs(10)).await.unwrap();
}

#[derive(Debug, PartialEq)]
struct Locked(bool);

impl IsRetryableBusy for Locked {
    fn is_retryable_busy(&self) -> bool {
        self.0
    }
}

#[tokio::test]
async fn what_meets_a_lock_is_tried_three_times() {
    for (locked, tries) in [(true, MAX_ATTEMPTS), (false, 1)] {
        let mut tried = 0;
        let result: Result<(), Locked> = retry_serializable(|| {
            tried += 1;
            async move { Err(Locked(locked)) }
        })
        .await;
        assert_eq!((result, tried), (Err(Locked(locked)), tries));
    }
    assert!(!is_retryable_sqlite_busy(&sqlx::Error::PoolClosed));
    assert!(!sqlx::Error::PoolClosed.is_retryable_busy());
}
