//! A worker process dies without a word: its execution runs again, once, and the dead one's voice
//! counts for nothing.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use ff_backend_sqlite::{SqliteBackend, SqliteOptions};
use ff_core::backend::{BackendTag, Handle, HandleKind};
use ff_core::engine_backend::EngineBackend as _;
use ff_core::handle_codec::{self, HandlePayload};
use ff_core::types::{
    AttemptId, AttemptIndex, ExecutionId, LaneId, LeaseEpoch, LeaseId, WorkerInstanceId,
};
use serde_json::json;

use crate::bench::assert_refused;
use crate::cli::binary;
use crate::plain::{Cells, PlainSql};

const ID: &str = "11111111-1111-4111-8111-111111111111";

/// How long anything here may take.
const BOUND: Duration = Duration::from_secs(60);

/// Says that it runs and in which epoch, then waits for the file `go`, for a bounded time.
const COMMAND: &str = "echo $FF_LEASE_EPOCH >> log; n=0; \
     while [ ! -e go ] && [ $n -lt 600 ]; do sleep 0.1; n=$((n+1)); done; printf %s $FF_LEASE_EPOCH";

/// Killed when dropped: nothing outlives a failed test.
struct Worker(Child);

impl Worker {
    fn start(directory: &Path) -> Self {
        let arguments =
            ["work", "--until-empty", "--lease-ttl-ms", "1500", "--", "sh", "-c", COMMAND];
        let mut command = binary(directory);
        Self(command.args(arguments).stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Looks again until there is something to see.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(started.elapsed() < BOUND, "{what} did not happen within {BOUND:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn epochs(directory: &Path) -> Vec<u64> {
    let log = std::fs::read_to_string(directory.join("log")).unwrap_or_default();
    log.lines().map(|line| line.parse().unwrap()).collect()
}

/// The handle that the holder of this attempt's lease has.
fn handle(attempt: &Cells) -> Handle {
    let number = |column| u64::try_from(attempt.int(column).unwrap()).unwrap();
    let partition = u16::try_from(number("partition_key")).unwrap();
    let payload = HandlePayload::new(
        ExecutionId::from_parts(partition, attempt.uuid("execution_id").unwrap()),
        AttemptIndex(u32::try_from(number("attempt_index")).unwrap()),
        AttemptId::from_uuid(attempt.uuid("attempt_id").unwrap()),
        LeaseId::from_uuid(attempt.uuid("lease_id").unwrap()),
        LeaseEpoch(number("lease_epoch")),
        1_500,
        LaneId::new("default"),
        WorkerInstanceId::new(attempt.text("worker_instance_id")),
    );
    let opaque = handle_codec::encode(BackendTag::Sqlite, &payload);
    Handle::new(BackendTag::Sqlite, HandleKind::Fresh, opaque)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_worker_loses_its_execution_to_the_next() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path();
    let line = json!({ "kind": "slow", "payload": "", "id": ID }).to_string();
    std::fs::write(directory.join("in.jsonl"), line).unwrap();
    let submitted = binary(directory).args(["submit", "in.jsonl"]).output().unwrap();
    assert!(submitted.status.success(), "{submitted:?}");

    let mut first = Worker::start(directory);
    until("the first run", async || (epochs(directory) == [1]).then_some(())).await;
    let location = directory.join("ff.db");
    let options = SqliteOptions::new(location.to_str().unwrap()).migrate(false);
    let backend = SqliteBackend::open(options).await.unwrap();
    let plain = PlainSql::Sqlite(backend.pool_for_test().clone());
    let dead = handle(&plain.rows("ff_attempt").await[0]);
    // SIGKILL: no farewell, no release.
    first.0.kill().unwrap();
    first.0.wait().unwrap();

    let mut second = Worker::start(directory);
    let ran = until("the second run", async || {
        let ran = epochs(directory);
        (ran.len() == 2).then_some(ran)
    })
    .await;
    assert!(ran[0] < ran[1], "{ran:?}");
    assert_refused(
        backend.complete(&dead, Some(b"dead".to_vec())).await,
        "contention: LeaseConflict",
    );
    assert_refused(backend.renew(&dead).await.map(drop), "contention: LeaseConflict");

    std::fs::write(directory.join("go"), "").unwrap();
    let status = until("the end of the second worker", async || second.0.try_wait().unwrap()).await;
    assert!(status.success(), "{status}");
    assert_eq!(epochs(directory), ran, "it ran exactly once more");
    let core = plain.rows("ff_exec_core").await.remove(0);
    assert_eq!(core.text("public_state"), "completed");
    assert_eq!(core.bytes("result"), Some(ran[1].to_string().as_bytes()));
    assert_eq!(plain.rows("ff_completion_event").await.len(), 1);
    let error = backend.complete(&dead, Some(b"dead".to_vec())).await.unwrap_err().to_string();
    assert!(error.starts_with("contention: ExecutionNotActive"), "{error}");
}
