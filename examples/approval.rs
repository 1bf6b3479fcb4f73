//! An execution that asks a person: it suspends, somebody answers, and it goes on.
//!
//! `cargo run --example approval` works in memory, `… -- sqlite:approval.db` in a file.

use std::{collections::HashMap, error::Error, sync::Arc};

use flowfabric_sql::core::contracts::*;
use flowfabric_sql::core::types::{SuspensionId, WaitpointId};
use flowfabric_sql::{
    Ending, EngineBackend, ExecutionId, Job, LaneId, Namespace, PartitionConfig, Stop, TimestampMs,
    Worker, WorkerConfig,
};
use tokio::sync::watch;

/// Asks when it runs for the first time. The answer lets it run again, and there it finds it.
async fn pay(engine: Arc<dyn EngineBackend>, job: Arc<Job>) -> Ending {
    let answers = engine.observe_signals(&job.handle).await.unwrap_or_default();
    if let Some(answer) = answers.first() {
        return Ending::Completed(Some(format!("invoice 17: {}", answer.signal_name).into()));
    }
    let (waitpoint_id, waitpoint_key) = (WaitpointId::new(), "approval".to_owned());
    let waitpoint = WaitpointBinding::Fresh { waitpoint_id, waitpoint_key: waitpoint_key.clone() };
    let matcher = SignalMatcher::ByName("approved".to_owned());
    let condition = ResumeCondition::Single { waitpoint_key, matcher };
    let (policy, reason) = (ResumePolicy::normal(), SuspensionReasonCode::WaitingForApproval);
    let (id, now) = (SuspensionId::new(), TimestampMs::now());
    Ending::Suspended(SuspendArgs::new(id, waitpoint, condition, policy, reason, now))
}

/// Pays what can be paid, and ends.
async fn work(engine: &Arc<dyn EngineBackend>, lane: &LaneId) -> Result<(), Box<dyn Error>> {
    let own = Arc::clone(engine);
    let runner = move |job| pay(Arc::clone(&own), job);
    let mut config = WorkerConfig::new(lane.clone(), "payer".into(), "payer-1".into());
    config.until_empty = true;
    let stop = watch::Sender::new(Stop::Not);
    Worker::new(Arc::clone(engine), Arc::new(runner), config).run(stop.subscribe()).await?;
    Ok(())
}

pub(crate) async fn run(url: &str) -> Result<String, Box<dyn Error>> {
    let engine = flowfabric_sql::open(url).await?;
    // The key that signs what lets somebody answer. A real one is drawn at random: `ff keys seed`.
    let key = SeedWaitpointHmacSecretArgs::new("example", "5a".repeat(32));
    engine.seed_waitpoint_hmac_secret(key).await?;

    let lane = LaneId::new("payments");
    let id = ExecutionId::solo(&lane, &PartitionConfig::default());
    engine
        .create_execution(CreateExecutionArgs {
            partition_id: id.partition(),
            execution_id: id.clone(),
            namespace: Namespace::new("default"),
            lane_id: lane.clone(),
            execution_kind: "pay".into(),
            input_payload: b"invoice 17".to_vec(),
            payload_encoding: None,
            priority: 0,
            creator_identity: "approval".into(),
            idempotency_key: None,
            tags: HashMap::new(),
            policy: None,
            delay_until: None,
            execution_deadline_at: None,
            now: TimestampMs::now(),
        })
        .await?;
    work(&engine, &lane).await?;
    println!("{}", engine.read_execution_state(&id).await?.ok_or("gone")?);

    // Somebody looks what is waiting, and says yes. Days may have passed, and machines restarted.
    let open = engine.list_pending_waitpoints(ListPendingWaitpointsArgs::new(id.clone())).await?;
    let waitpoint = open.entries.into_iter().next().ok_or("nothing waits")?.waitpoint_id;
    let (to, lane_id, day_ms) = (id.clone(), lane.clone(), 86_400_000);
    let yes = DeliverApprovalSignalArgs::new(
        to, lane_id, waitpoint, "approved", "Ada", day_ms, None, None,
    );
    engine.deliver_approval_signal(yes).await?;
    work(&engine, &lane).await?;
    Ok(String::from_utf8(engine.get_execution_result(&id).await?.unwrap_or_default())?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "sqlite::memory:".into());
    println!("{}", run(&url).await?);
    Ok(())
}
