//! The time from a submission to the start of its run, by an idle worker of the same process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ff_bench::{PAYLOAD, Percentiles, submission};
use ff_core::engine_backend::EngineBackend;
use ff_core::types::LaneId;
use flowfabric_sql::{Ending, Run, Stop, Worker, WorkerConfig};
use tokio::sync::{mpsc, watch};

use crate::failure::Failure;

const LANE: &str = "start";

/// The pause before each submission, after which the worker is idle again.
const IDLE: Duration = Duration::from_millis(20);

/// The submissions at least, however short the measurement.
const FEWEST: usize = 5;

/// Submits executions one after the other, for about this long, and waits for the start of each.
pub(super) async fn measure(
    engine: &Arc<dyn EngineBackend>,
    time: Duration,
) -> Result<Percentiles, Failure> {
    let (started, mut starts) = mpsc::unbounded_channel();
    let runner = move |_: Arc<Run>| {
        // A closed channel means that the measurement is over.
        let _ = started.send(Instant::now());
        async { Ending::Completed(None) }
    };
    let config = WorkerConfig::new(LANE.into(), "bench".into(), "bench-start".into());
    let worker = Worker::new(Arc::clone(engine), Arc::new(runner), config);
    let stop = watch::Sender::new(Stop::Not);
    let working = tokio::spawn(worker.run(stop.subscribe()));

    let (lane, begun) = (LaneId::new(LANE), Instant::now());
    let mut times = Vec::new();
    while times.len() < FEWEST || begun.elapsed() < time {
        tokio::time::sleep(IDLE).await;
        let submitted = Instant::now();
        let created = engine.create_execution(submission(&lane, PAYLOAD)).await;
        created.map_err(|error| Failure::engine("submitting", &error))?;

        let Some(start) = starts.recv().await else { break };
        times.push(start.saturating_duration_since(submitted));
    }

    stop.send_replace(Stop::Drain);
    let ended = working.await.map_err(|error| Failure::new(format!("the worker: {error}")))?;
    ended.map_err(|error| Failure::new(format!("the worker: {error}")))?;
    Ok(Percentiles::of(times))
}
