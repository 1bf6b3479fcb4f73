//! The process of parents and children is killed again and again: each child is submitted once, and
//! no parent is left waiting.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use ff_core::contracts::ExecutionQuery;
use ff_core::engine_backend::EngineBackend;
use flowfabric_sql::{Client, Context, Failure, Job, Service};
use serde::{Deserialize, Serialize};

use crate::victims::{Place, on_postgres, on_sqlite};

/// The parents, and the children of each, one after the other.
const PARENTS: u64 = 4;
const CHILDREN: u64 = 3;
/// How often the process is killed.
const KILLS: u64 = 12;
/// The longest time in which what is left ends.
const BOUND: Duration = Duration::from_secs(120);
/// The name of the test that is the process.
const PROCESS: &str = "services::killed::works_until_it_is_killed";

#[derive(Debug, Serialize, Deserialize)]
struct Sum(u64);

impl Job for Sum {
    const KIND: &'static str = "sum";
    type Output = u64;
}

#[derive(Debug, Serialize, Deserialize)]
struct Part(u64);

impl Job for Part {
    const KIND: &'static str = "part";
    type Output = u64;
}

async fn sum(job: Sum, context: Context<()>) -> Result<u64, Failure> {
    let mut sum = 0;
    for number in 0..CHILDREN {
        let part = Part(job.0 + number);
        sum += context.submit_child(&format!("part {number}"), &part).await?.result().await?;
    }
    Ok(sum)
}

/// Longer than its parent keeps its place.
async fn part(job: Part, _: Context<()>) -> Result<u64, Failure> {
    tokio::time::sleep(Duration::from_millis(120)).await;
    Ok(job.0)
}

fn service(engine: Arc<dyn EngineBackend>) -> Service {
    let builder = Service::builder(engine, ()).handler(sum).handler(part);
    builder.lease(Duration::from_millis(500)).concurrency(3).build()
}

/// The process that is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process that other tests start and kill"]
async fn works_until_it_is_killed() {
    let engine = Place::of_this_process().engine().await;
    service(engine).run_until(std::future::pending()).await.unwrap();
}

async fn killed_again_and_again(place: &Place) {
    let engine = place.engine().await;
    let client = Client::new(Arc::clone(&engine));
    let mut jobs = Vec::new();
    for parent in 0..PARENTS {
        jobs.push(client.submit(&Sum(parent * 100)).retries(100).await.unwrap());
    }
    for kill in 0..KILLS {
        let mut child = place.command(PROCESS).stdout(Stdio::null()).spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(150 + 70 * (kill % 6))).await;
        // SIGKILL: what is under way is cut off.
        child.kill().unwrap();
        child.wait().unwrap();
    }

    let rest = tokio::time::timeout(BOUND, service(Arc::clone(&engine)).run_until_empty());
    rest.await.expect("nothing is left waiting").unwrap();
    for (parent, job) in (0..).zip(jobs) {
        let sum = (0..CHILDREN).map(|number| parent * 100 + number).sum::<u64>();
        assert_eq!(job.result().await.unwrap(), sum);
    }
    let query = ExecutionQuery::new(1_000);
    let all = engine.list_executions_by(query).await.unwrap().executions.len();
    let all = u64::try_from(all).unwrap();
    assert_eq!(all, PARENTS * (1 + CHILDREN), "each child was submitted once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_parent_is_left_waiting_on_sqlite_however_often_its_process_is_killed() {
    on_sqlite(killed_again_and_again).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_parent_is_left_waiting_on_postgres_however_often_its_process_is_killed() {
    on_postgres(killed_again_and_again).await;
}
