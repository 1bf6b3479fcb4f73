//! An execution that asks a person: it suspends, gets an answer, and goes on.
//!
//! `cargo run --example approval` works in memory, `… -- sqlite:approval.db` in a file.

use std::error::Error;
use std::sync::Arc;

use flowfabric_sql::core::contracts::*;
use flowfabric_sql::{
    Ending, EngineBackend, FlowSpec, LaneId, Run, Stop, TimestampMs, Until, Worker, WorkerConfig,
    WorkerError, WorkerReport, flow,
};
use tokio::sync::watch;

/// Asks for approval in its first run. The answer lets it run again, and the second run finds it.
async fn pay(engine: Arc<dyn EngineBackend>, job: Arc<Run>) -> Ending {
    let answers = engine.observe_signals(&job.handle).await.unwrap_or_default();
    if let Some(answer) = answers.first() {
        let paid =
            format!("{} paid: {}", String::from_utf8_lossy(&job.payload), answer.signal_name);
        return Ending::Completed(Some(paid.into_bytes()));
    }

    let approved = ResumeCondition::signal("approved");
    Ending::Suspended(SuspendArgs::until(approved, TimestampMs::now()))
}

/// Pays what can be paid, and ends.
async fn work(engine: &Arc<dyn EngineBackend>) -> Result<WorkerReport, WorkerError> {
    let own = Arc::clone(engine);
    let runner = move |job| pay(Arc::clone(&own), job);
    let mut config = WorkerConfig::new("payments".into(), "payer".into(), "payer-1".into());
    config.until = Until::Empty;

    let worker = Worker::new(Arc::clone(engine), Arc::new(runner), config);
    worker.run(watch::Sender::new(Stop::Not).subscribe()).await
}

/// Pays an invoice. Returns the receipt.
pub(crate) async fn run(url: &str) -> Result<String, Box<dyn Error>> {
    let engine = flowfabric_sql::open(url).await?;
    // The key that signs the tokens of waitpoints. A real one is random: see `ff keys seed`.
    let key = SeedWaitpointHmacSecretArgs::new("example", "5a".repeat(32));
    engine.seed_waitpoint_hmac_secret(key).await?;

    let order = r#"{ "kind": "order", "nodes": [
        { "name": "pay", "kind": "pay", "payload": "invoice 17", "lane": "payments" }
    ] }"#;
    let order = FlowSpec::parse(order)?;
    let submitted = flow::submit(engine.as_ref(), &order, TimestampMs::now()).await?;
    let (_, id) = submitted.executions.into_iter().next().ok_or("nothing submitted")?;

    work(&engine).await?;
    println!("{id} is {}", engine.read_execution_state(&id).await?.ok_or("gone")?);

    // A person lists what waits, and approves. Days may have passed, and machines restarted.
    let open = engine.list_pending_waitpoints(ListPendingWaitpointsArgs::new(id.clone())).await?;
    let waitpoint = open.entries.into_iter().next().ok_or("nothing waits")?.waitpoint_id;
    let (to, lane, day_ms) = (id.clone(), LaneId::new("payments"), 86_400_000);

    let yes =
        DeliverApprovalSignalArgs::new(to, lane, waitpoint, "approved", "Ada", day_ms, None, None);
    engine.deliver_approval_signal(yes).await?;

    work(&engine).await?;
    Ok(String::from_utf8(engine.get_execution_result(&id).await?.unwrap_or_default())?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "sqlite::memory:".into());
    println!("{}", run(&url).await?);
    Ok(())
}
