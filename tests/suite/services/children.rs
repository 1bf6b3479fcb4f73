//! Children of handlers: a parent waits without a place and without a look, and the end of its
//! child makes it run again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ff_core::contracts::ReplayExecutionArgs;
use ff_core::engine_backend::EngineBackend;
use ff_core::policy::{ExecutionPolicy, RetryPolicy};
use ff_core::state::PublicState;
use ff_core::types::{ExecutionId, TimestampMs};
use flowfabric_sql::{Client, Context, Failure, Job, JobError, Service, Submitted};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use super::on_each;
/// The longest time from the end of a child to the next run of its parent. A service looks for
/// ends ten times in a second.
const SOON: Duration = Duration::from_millis(700);

#[derive(Debug, Serialize, Deserialize)]
struct Ship {
    children: u32,
}

impl Job for Ship {
    const KIND: &'static str = "ship";
    type Output = Vec<String>;
}

#[derive(Debug, Serialize, Deserialize)]
struct Label(u32);

impl Job for Label {
    const KIND: &'static str = "label";
    type Output = u32;
}

#[derive(Default)]
struct Yard {
    /// How often the handler of the parent ran.
    runs: AtomicU32,
    /// Lets the children end.
    go: Notify,
}

type Shared = Arc<Yard>;

/// Reports what became of each child.
async fn ship(job: Ship, context: Context<Shared>) -> Result<Vec<String>, Failure> {
    context.state().runs.fetch_add(1, Ordering::SeqCst);
    let mut ended = Vec::new();
    for number in 0..job.children {
        let child = context.submit_child(&format!("label {number}"), &Label(number)).await?;
        ended.push(match child.result().await {
            Ok(label) => format!("{label}"),
            Err(Failure::Fail(reason)) => reason,
            Err(waits) => return Err(waits),
        });
    }
    Ok(ended)
}

async fn label(job: Label, context: Context<Shared>) -> Result<u32, Failure> {
    context.state().go.notified().await;
    Ok(job.0 * 10)
}

/// A service with one place, that runs until it is stopped.
struct Running {
    stop: oneshot::Sender<()>,
    service: JoinHandle<()>,
}

impl Running {
    fn start(engine: &Arc<dyn EngineBackend>, yard: &Shared) -> Self {
        let builder = Service::builder(Arc::clone(engine), Arc::clone(yard));
        let service = builder.handler(ship).handler(label).concurrency(1).build();
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async move { stopped.await.unwrap_or_default() };
        let service = tokio::spawn(async move { service.run_until(stopped).await.unwrap() });
        Self { stop, service }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.service.await.unwrap();
    }
}

/// Waits until the job is in that state.
async fn until(job: &Submitted<Ship>, state: PublicState) {
    while job.status().await.unwrap() != state {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_child_wakes_its_parent_which_has_not_looked_meanwhile() {
    on_each(|engine| async move {
        let yard = Shared::default();
        let job = Client::new(Arc::clone(&engine)).submit(&Ship { children: 1 }).await.unwrap();
        let running = Running::start(&engine, &yard);
        until(&job, PublicState::WaitingChildren).await;

        // The one place is the child's. Its parent would have looked at it by now.
        tokio::time::sleep(Duration::from_millis(1_300)).await;
        assert_eq!(job.status().await.unwrap(), PublicState::WaitingChildren);
        assert_eq!(yard.runs.load(Ordering::SeqCst), 1);
        let ended = Instant::now();
        yard.go.notify_one();
        assert_eq!(job.result().await.unwrap(), ["0"]);
        assert!(ended.elapsed() < SOON, "it took {:?}", ended.elapsed());
        assert_eq!(yard.runs.load(Ordering::SeqCst), 2);
        running.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parent_goes_on_whatever_becomes_of_its_child() {
    on_each(|engine| async move {
        let client = Client::new(Arc::clone(&engine));
        for what in ["cancelled", "replayed"] {
            let yard = Shared::default();
            let job = client.submit(&Ship { children: 1 }).await.unwrap();
            let running = Running::start(&engine, &yard);
            until(&job, PublicState::WaitingChildren).await;
            let id = child_of(&engine, job.id()).await;
            let label = client.attach::<Label>(id.clone());
            label.cancel("enough").await.unwrap();
            if what == "replayed" {
                // Before its parent has run again, or after it.
                let replay =
                    ReplayExecutionArgs { execution_id: id.clone(), now: TimestampMs::now() };
                engine.replay_execution(replay).await.unwrap();
            }
            let ended = loop {
                // A run that is about to be dropped may take one.
                yard.go.notify_one();
                match job.result_within(Duration::from_millis(50)).await {
                    Err(JobError::StillRunning(_)) => {}
                    ended => break ended.unwrap(),
                }
            };
            let cancelled = "child \"label 0\": the job was cancelled";
            match what {
                "replayed" => assert!(ended == ["0"] || ended == [cancelled], "{ended:?}"),
                _ => assert_eq!(ended, [cancelled], "{what}"),
            }
            running.stop().await;
        }
    })
    .await;
}

/// Waits for its parent, which waits for it.
#[derive(Debug, Serialize, Deserialize)]
struct Back(ExecutionId);

impl Job for Back {
    const KIND: &'static str = "back";
    type Output = ();

    fn policy() -> ExecutionPolicy {
        let never = RetryPolicy { max_retries: 0, ..RetryPolicy::default() };
        ExecutionPolicy { retry_policy: Some(never), ..ExecutionPolicy::default() }
    }
}

/// Submits a job that waits for this one.
#[derive(Debug, Serialize, Deserialize)]
struct Forth;

impl Job for Forth {
    const KIND: &'static str = "forth";
    type Output = ();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_waits_for_its_parent_fails_and_its_parent_goes_on() {
    async fn back(job: Back, context: Context<()>) -> Result<(), Failure> {
        let parked = Some(PublicState::WaitingChildren);
        while context.engine().read_execution_state(&job.0).await? != parked {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Err(Failure::WaitFor(job.0))
    }
    async fn forth(_: Forth, context: Context<()>) -> Result<(), Failure> {
        let back = Back(context.run().execution_id.clone());
        context.submit_child("back", &back).await?.result().await
    }

    on_each(|engine| async move {
        let job = Client::new(Arc::clone(&engine)).submit(&Forth).await.unwrap();
        let builder = Service::builder(Arc::clone(&engine), ()).handler(back).handler(forth);
        builder.build().run_until_empty().await.unwrap();
        let error = job.result().await.unwrap_err().to_string();
        assert!(
            error.contains("its ending was refused: the dependency would close a cycle"),
            "{error}"
        );
    })
    .await;
}

/// The child of that parent.
async fn child_of(engine: &Arc<dyn EngineBackend>, parent: &ExecutionId) -> ExecutionId {
    let steps = engine.list_steps(parent, None, 1).await.unwrap();
    serde_json::from_slice(&steps[0].value).unwrap()
}
