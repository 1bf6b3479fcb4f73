//! The process of an app is killed again and again while orders come in: all of them end, no step
//! runs again once it was acknowledged, and the app's own table has the rows of each step once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flowfabric_sql::{Client, Completed, Context, Failure, Job, Service, Submitted};
use serde::{Deserialize, Serialize};

use super::Own;
use crate::plain::PlainSql;
use crate::victims::{Database, Place, on_postgres, on_sqlite};

/// The children of an order, one after the other.
const PARCELS: i64 = 2;
/// The orders that come in between two kills.
const MORE: i64 = 3;
/// The least number of kills.
const KILLS: u32 = 6;
/// The longest time between two kills.
const LIFE: Duration = Duration::from_secs(1);
/// The longest time in which what is left ends.
const BOUND: Duration = Duration::from_secs(120);
/// The name of the test that is the process.
const PROCESS: &str = "transactions::app::serves_until_it_is_killed";
/// The variable that names the log of the process.
const LOG: &str = "FF_VICTIM_LOG";

/// An order: it is charged, sent in parcels, approved and closed.
#[derive(Serialize, Deserialize)]
struct Order(i64);

impl Job for Order {
    const KIND: &'static str = "order";
    type Output = i64;
}

/// A parcel of an order.
#[derive(Serialize, Deserialize)]
struct Parcel(i64, i64);

impl Job for Parcel {
    const KIND: &'static str = "parcel";
    type Output = i64;
}

/// The state of the app: its database, and its log.
struct App {
    database: Database,
    log: File,
}

impl App {
    async fn open(place: &Place, log: &Path) -> Arc<Self> {
        let log = OpenOptions::new().create(true).append(true).open(log).unwrap();
        Arc::new(Self { database: place.database().await, log })
    }

    /// Appends a line, which the end of the process cannot tear.
    fn log(&self, line: String) {
        (&self.log).write_all(line.as_bytes()).unwrap();
    }

    async fn work(self: Arc<Self>, stopped: impl Future<Output = ()>) {
        let builder = Service::builder(Arc::clone(&self.database.engine), self);
        let builder = builder.handler(order).handler(parcel).concurrency(6);
        builder.lease(LIFE).build().run_until(stopped).await.unwrap();
    }
}

/// A step of an order under a lease of its job, in the log.
struct Step<'a> {
    context: &'a Context<Arc<App>>,
    order: i64,
    name: String,
}

impl<'a> Step<'a> {
    fn new(context: &'a Context<Arc<App>>, order: i64, name: impl Into<String>) -> Self {
        Self { context, order, name: name.into() }
    }

    fn line(&self, event: &str) -> String {
        let Self { context, order, name } = self;
        format!("{event} {order} {name} {}\n", context.run().lease_epoch.0)
    }

    fn acknowledged(&self) {
        self.context.state().log(self.line("acknowledged"));
    }

    /// Runs it with a row in the app's table, both in one transaction.
    async fn stored(&self) -> Result<(), Failure> {
        let (app, order) = (Arc::clone(self.context.state()), self.order);
        let (name, line) = (self.name.clone(), self.line("ran"));

        let mut own = Own::on(&app.database.plain).await;
        let stored = self.context.step_within(&self.name, &mut own, |own| {
            Box::pin(async move {
                app.log(line);
                own.effect(order, &name).await?;
                Ok::<_, Failure>(())
            })
        });
        stored.await?;
        own.commit().await?;
        self.acknowledged();
        Ok(())
    }

    /// Runs it outside of the database.
    async fn called(&self) -> Result<(), Failure> {
        let call = async {
            self.context.state().log(self.line("ran"));
            Ok::<_, Failure>(())
        };
        self.context.step(&self.name, || call).await?;
        self.acknowledged();
        Ok(())
    }

    /// Completes the job with it.
    async fn completed(&self, output: i64) -> Result<Completed<i64>, Failure> {
        let app = self.context.state();
        let mut own = Own::on(&app.database.plain).await;
        app.log(self.line("ran"));
        own.effect(self.order, &self.name).await?;
        let completed = self.context.complete_within(own, output).await?;
        self.acknowledged();
        Ok(completed)
    }
}

async fn order(job: Order, context: Context<Arc<App>>) -> Result<Completed<i64>, Failure> {
    let step = |name| Step::new(&context, job.0, name);
    step("reserve").stored().await?;
    step("call").called().await?;
    step("charge").stored().await?;

    let mut sum = 0;
    for number in 0..PARCELS {
        let (name, parcel) = (format!("parcel {number}"), Parcel(job.0, number));
        sum += context.submit_child(&name, &parcel).await?.result().await?;
    }
    let approval: i64 = context.wait_for("approved").await?.json()?;
    step("close").completed(sum + approval).await
}

async fn parcel(job: Parcel, context: Context<Arc<App>>) -> Result<i64, Failure> {
    let Parcel(order, number) = job;
    Step::new(&context, order, format!("pack-{number}")).stored().await?;
    tokio::time::sleep(Duration::from_millis(60)).await;
    Step::new(&context, order, format!("send-{number}")).stored().await?;
    Ok(order + number)
}

/// The steps of an order and its parcels.
fn steps() -> BTreeSet<String> {
    let parcels =
        (0..PARCELS).flat_map(|number| ["pack", "send"].map(|it| format!("{it}-{number}")));
    ["reserve", "call", "charge", "close"].map(str::to_owned).into_iter().chain(parcels).collect()
}

impl Own {
    /// The row of a step, in a table without a key: a repeated row would be seen.
    async fn effect(&mut self, order: i64, step: &str) -> Result<(), sqlx::Error> {
        let sql = "INSERT INTO effects VALUES ($1, $2)";
        match self {
            Self::Sqlite(own) => {
                sqlx::query(sql).bind(order).bind(step).execute(&mut **own).await.map(drop)
            }
            Self::Postgres(own) => {
                sqlx::query(sql).bind(order).bind(step).execute(&mut **own).await.map(drop)
            }
        }
    }
}

/// The rows of the app's table.
async fn effects(plain: &PlainSql) -> Vec<(i64, String)> {
    let sql = "SELECT number, step FROM effects ORDER BY number, step";
    match plain {
        PlainSql::Sqlite(pool) => sqlx::query_as(sql).fetch_all(pool).await.unwrap(),
        PlainSql::Postgres(pool) => sqlx::query_as(sql).fetch_all(pool).await.unwrap(),
        PlainSql::Memory(_) | PlainSql::MariaDb(_) => panic!("there are no tables of callers"),
    }
}

/// The process that is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process that other tests start and kill"]
async fn serves_until_it_is_killed() {
    let log = std::env::var(LOG).expect("another test starts this one");
    let app = App::open(&Place::of_this_process(), Path::new(&log)).await;
    app.work(std::future::pending()).await;
}

/// The customer and the approver, who are in no process that is killed.
struct Customer {
    client: Client,
    orders: Vec<Submitted<Order>>,
    /// The orders that are not approved yet.
    open: VecDeque<usize>,
}

impl Customer {
    async fn order(&mut self) {
        let number = i64::try_from(self.orders.len()).unwrap() * 10;
        self.open.push_back(self.orders.len());
        self.orders.push(self.client.submit(&Order(number)).retries(1_000).await.unwrap());
    }

    /// Approves the orders that wait for it, until that time.
    async fn approve_until(&mut self, end: Instant) {
        while Instant::now() < end {
            let Some(order) = self.open.pop_front() else { break };
            if self.orders[order].signal("approved", &1_000_i64).await.is_err() {
                self.open.push_back(order);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        tokio::time::sleep(end.saturating_duration_since(Instant::now())).await;
    }
}

/// How long the process is killed again and again.
fn time() -> Duration {
    let ms = std::env::var("FF_APP_KILLS_MS").map_or(3_000, |ms| ms.parse().unwrap());
    Duration::from_millis(ms)
}

async fn killed_again_and_again(place: &Place) {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let app = App::open(place, &log).await;
    app.database
        .plain
        .execute("CREATE TABLE effects (number BIGINT NOT NULL, step TEXT NOT NULL)")
        .await;
    let client = Client::new(Arc::clone(&app.database.engine));
    let mut customer = Customer { client, orders: Vec::new(), open: VecDeque::new() };

    let (begun, life) = (Instant::now(), LIFE.min(time() / KILLS));
    let mut kills = 0;
    while begun.elapsed() < time() {
        let mut command = place.command(PROCESS);
        let mut child = command.env(LOG, &log).stdout(Stdio::null()).spawn().unwrap();
        for _ in 0..MORE {
            customer.order().await;
        }
        customer.approve_until(Instant::now() + life).await;
        // SIGKILL: what is under way is cut off.
        child.kill().unwrap();
        assert!(!child.wait().unwrap().success(), "the process ended by itself");
        kills += 1;
    }

    let at_work = tokio::spawn(Arc::clone(&app).work(std::future::pending()));
    let rest = async {
        while !customer.open.is_empty() {
            customer.approve_until(Instant::now() + Duration::from_millis(50)).await;
        }
        for (number, order) in (0..).zip(&customer.orders) {
            let sum = (0..PARCELS).map(|parcel| number * 10 + parcel).sum::<i64>();
            assert_eq!(order.result().await.unwrap(), sum + 1_000);
        }
    };
    tokio::time::timeout(BOUND, rest).await.expect("nothing is left waiting");
    at_work.abort();

    let orders = 0..i64::try_from(customer.orders.len()).unwrap();
    println!("{kills} kills, {} orders", orders.end);
    assert_ran_once(&fs::read_to_string(log).unwrap(), orders.clone());
    let stored: BTreeSet<_> = steps().into_iter().filter(|step| step != "call").collect();
    let each = orders.flat_map(|order| stored.iter().map(move |it| (order * 10, it.clone())));
    assert_eq!(effects(&app.database.plain).await, each.collect::<Vec<_>>());
}

/// Fails where a step of an order never ran, or ran once more under the lease in which it was
/// acknowledged or a later one. A run that has lost its lease may begin a step, and stores nothing.
fn assert_ran_once(log: &str, orders: impl Iterator<Item = i64>) {
    let mut acknowledged = BTreeMap::<(i64, &str), u64>::new();
    for line in log.lines() {
        let words: Vec<_> = line.split(' ').collect();
        let [event, order, step, epoch] = words[..] else { panic!("{line}") };
        let (step, epoch): ((i64, &str), u64) =
            ((order.parse().unwrap(), step), epoch.parse().unwrap());
        match (event, acknowledged.get(&step).copied()) {
            ("acknowledged", None) => drop(acknowledged.insert(step, epoch)),
            ("ran", Some(stored)) => assert!(epoch < stored, "{line}: after {stored}"),
            _ => {}
        }
    }

    let names = steps();
    for order in orders {
        for step in names.iter().filter(|step| *step != "close") {
            assert!(acknowledged.contains_key(&(order * 10, step.as_str())), "{step} of {order}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_ends_its_work_on_sqlite_however_often_it_is_killed() {
    on_sqlite(killed_again_and_again).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_ends_its_work_on_postgres_however_often_it_is_killed() {
    on_postgres(killed_again_and_again).await;
}
