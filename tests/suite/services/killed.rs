//! The process of parents and children is killed again and again: each child is submitted once, and
//! no parent is left waiting.

use std::env;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ff_backend_postgres::migrate::SchemaName;
use ff_backend_postgres::{PostgresBackend, PostgresOptions};
use ff_backend_sqlite::SqliteBackend;
use ff_core::contracts::ExecutionQuery;
use ff_core::engine_backend::EngineBackend;
use flowfabric_sql::{Client, Context, Failure, Job, Service};
use serde::{Deserialize, Serialize};

use crate::backends::{self, postgres_url};
use crate::plain::PlainSql;

/// The parents, and the children of each, one after the other.
const PARENTS: u64 = 4;
const CHILDREN: u64 = 3;
/// How often the process is killed.
const KILLS: u64 = 12;
/// The longest time in which what is left ends.
const BOUND: Duration = Duration::from_secs(120);
/// The name of the test that is the process.
const PROCESS: &str = "services::killed::works_until_it_is_killed";
/// The database of the process: `sqlite:PATH` or `postgres:SCHEMA`.
const PLACE: &str = "FF_CHILDREN_PLACE";

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

async fn engine_at(place: &str) -> Arc<dyn EngineBackend> {
    match place.split_once(':').unwrap() {
        ("sqlite", path) => SqliteBackend::new(path).await.unwrap(),
        (_, schema) => {
            let schema = SchemaName::new(schema).unwrap();
            let options = PostgresOptions::new(postgres_url()).schema(schema);
            PostgresBackend::open(options).await.unwrap()
        }
    }
}

/// The process that is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process that other tests start and kill"]
async fn works_until_it_is_killed() {
    let place = env::var(PLACE).expect("another test starts this one");
    service(engine_at(&place).await).run_until(std::future::pending()).await.unwrap();
}

fn start(place: &str) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args([PROCESS, "--exact", "--ignored", "--nocapture", "--test-threads", "1"]);
    command.env(PLACE, place).stdout(Stdio::null()).spawn().unwrap()
}

async fn killed_again_and_again(place: &str) {
    let engine = engine_at(place).await;
    let client = Client::new(Arc::clone(&engine));
    let mut jobs = Vec::new();
    for parent in 0..PARENTS {
        jobs.push(client.submit(&Sum(parent * 100)).retries(100).await.unwrap());
    }
    for kill in 0..KILLS {
        let mut child = start(place);
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
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("flow.db");
    killed_again_and_again(&format!("sqlite:{}", path.display())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_parent_is_left_waiting_on_postgres_however_often_its_process_is_killed() {
    let bench = backends::postgres().await;
    let PlainSql::Postgres(pool) = &bench.plain else { panic!("Postgres it is") };
    let schema: String =
        sqlx::query_scalar("SELECT current_schema()::text").fetch_one(pool).await.unwrap();
    killed_again_and_again(&format!("postgres:{schema}")).await;
    bench.assert_sound().await;
    bench.tear_down().await;
}
