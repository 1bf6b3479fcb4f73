//! The process of a handler is killed again and again: each step and the handler's own row of it
//! are stored once, together.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::Arc;

use flowfabric_sql::{Client, Completed, Context, Failure, Job, Service};
use serde::{Deserialize, Serialize};

use super::Own;
use super::steps::{places, revoke};
use crate::backends::{self, Bench};
use crate::victims::Place;

/// The number of steps of the job.
const STEPS: u32 = 30;
/// The steps that a process answers for before it is killed. The last one is left alone.
const KILLED_AFTER: [u32; 4] = [1, 4, 2, 9];
/// The name of the test that is the process.
const PROCESS: &str = "transactions::killed::stores_until_it_is_killed";

#[derive(Serialize, Deserialize)]
struct Store;

impl Job for Store {
    const KIND: &'static str = "store";
    type Output = u32;
}

async fn store(_: Store, context: Context<Arc<Bench>>) -> Result<Completed<u32>, Failure> {
    let bench = context.state();
    for number in 0..STEPS {
        let mut own = Own::begin(bench).await;
        let name = format!("store {number}");
        let stored = context.step_within(&name, &mut own, |own| {
            Box::pin(async move {
                own.order(i64::from(number)).await;
                Ok::<_, Failure>(number)
            })
        });
        let stored = stored.await?;
        own.commit().await?;
        println!("\nstored {stored}");
    }

    let mut own = Own::begin(bench).await;
    own.order(i64::from(STEPS)).await;
    context.complete_within(own, STEPS).await
}

async fn work(bench: &Arc<Bench>) {
    let builder = Service::builder(Arc::clone(&bench.backend), Arc::clone(bench));
    builder.handler(store).scanners(None).build().run_until_empty().await.unwrap();
}

/// The process that is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process that other tests start and kill"]
async fn stores_until_it_is_killed() {
    work(&Arc::new(Place::of_this_process().bench().await)).await;
}

/// Starts the process and kills it once it has stored so many steps, read back or not.
fn run_and_kill(place: &Place, stored: u32) {
    let mut child = place.command(PROCESS).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let lines = lines.map(Result::unwrap).filter(|line| line.starts_with("stored "));
    let seen = lines.take(usize::try_from(stored).unwrap()).count();
    // SIGKILL: what is under way is cut off.
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(seen, usize::try_from(stored).unwrap(), "the process ended by itself");
}

async fn killed_again_and_again(bench: Bench, place: &Place) {
    // Without a key: a repeated row would be seen.
    bench.plain.execute("CREATE TABLE orders (number BIGINT NOT NULL)").await;
    let bench = Arc::new(bench);
    let job = Client::new(Arc::clone(&bench.backend)).submit(&Store).await.unwrap();
    let mut before = 0;
    for more in KILLED_AFTER {
        before += more;
        run_and_kill(place, before);
        place.until_its_sessions_end().await;
        revoke(&bench, job.id()).await;
        let recorded = places(&bench, job.id()).await;
        let stored: Vec<_> = recorded.iter().map(|place| i64::from(*place)).collect();
        assert_eq!(bench.orders().await, stored, "each step has its row");
        before = u32::try_from(recorded.len()).unwrap();
    }

    work(&bench).await;
    assert_eq!(job.result().await.unwrap(), STEPS);
    assert_eq!(bench.orders().await, (0..=i64::from(STEPS)).collect::<Vec<_>>());
    assert_eq!(places(&bench, job.id()).await, (0..STEPS).collect::<Vec<_>>());
    assert_eq!(bench.completions(job.id()).await, ["success"]);
    drop(job);
    Arc::into_inner(bench).unwrap().tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_step_is_stored_once_on_sqlite_however_often_its_process_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::Sqlite(directory.path().join("flow.db"));
    killed_again_and_again(place.bench().await, &place).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_step_is_stored_once_on_postgres_however_often_its_process_is_killed() {
    let bench = backends::postgres().await;
    let place = Place::of(&bench);
    killed_again_and_again(bench, &place).await;
}
