//! The library in one file: submits, works with a retry, and reads the results.
//!
//! `cargo run --example quickstart` works in memory, `… -- sqlite:quickstart.db` in a file.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;

use flowfabric_sql::core::backend::FailureClass;
use flowfabric_sql::{
    BackoffStrategy, CreateExecutionArgs, Ending, ExecutionId, ExecutionPolicy, LaneId, Namespace,
    PartitionConfig, RetryPolicy, Run, ScannerConfig, ScannerSupervisor, Stop, TimestampMs, Until,
    Worker, WorkerConfig,
};
use tokio::sync::watch;

fn greeting_for(lane: &LaneId, name: &str) -> CreateExecutionArgs {
    let id = ExecutionId::solo(lane, &PartitionConfig::default());
    CreateExecutionArgs {
        partition_id: id.partition(),
        execution_id: id,
        namespace: Namespace::new("default"),
        lane_id: lane.clone(),
        execution_kind: "greet".into(),
        input_payload: name.as_bytes().to_vec(),
        payload_encoding: None,
        priority: 0,
        creator_identity: "quickstart".into(),
        idempotency_key: None,
        tags: HashMap::new(),
        policy: Some(ExecutionPolicy {
            retry_policy: Some(RetryPolicy {
                max_retries: 2,
                backoff: BackoffStrategy::Fixed { delay_ms: 100 },
                ..RetryPolicy::default()
            }),
            ..ExecutionPolicy::default()
        }),
        delay_until: None,
        execution_deadline_at: None,
        now: TimestampMs::now(),
    }
}

/// Greets a name; Grace only at the second attempt.
async fn greet(job: Arc<Run>) -> Ending {
    let name = String::from_utf8_lossy(&job.payload);
    if name == "Grace" && job.attempt_index.0 == 0 {
        return Ending::Failed { message: "lost my voice".into(), class: FailureClass::Transient };
    }

    Ending::Completed(Some(format!("Hello, {name}!").into_bytes()))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "sqlite::memory:".into());
    let engine = flowfabric_sql::open(&url).await?;

    let lane = LaneId::new("greetings");
    let mut ids = Vec::new();
    for name in ["Ada", "Grace", "Edsger"] {
        let args = greeting_for(&lane, name);
        ids.push(args.execution_id.clone());
        engine.create_execution(args).await?;
    }

    // Every process that works also runs the scanners: they promote executions with a due retry.
    let scanners = ScannerSupervisor::spawn(Arc::clone(&engine), ScannerConfig::default());
    let config = WorkerConfig {
        concurrency: 2,
        until: Until::Empty,
        ..WorkerConfig::new(lane, "greeter".into(), "greeter-1".into())
    };

    let stop = watch::Sender::new(Stop::Not);
    let worker = Worker::new(Arc::clone(&engine), Arc::new(greet), config);
    let report = worker.run(stop.subscribe()).await?;
    scanners.shutdown(std::time::Duration::from_secs(1)).await;
    println!("{} completed, {} retried", report.completed, report.retried);

    for id in &ids {
        let result = engine.get_execution_result(id).await?.unwrap_or_default();
        let attempts = engine.execution_timeline(id).await?.attempts.len();
        println!("{} ({attempts} attempt(s))", String::from_utf8_lossy(&result));
    }
    Ok(())
}
