//! The order service as a process: requests over HTTP, and SIGTERM in the middle of them.

use std::collections::BTreeSet;
use std::io::{self, BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use ff_core::contracts::ExecutionQuery;
use ff_core::state::PublicState;
use serde_json::json;

use crate::http;
use crate::plain::PlainSql;
use crate::victims::{Database, Place, on_postgres, on_sqlite};

#[allow(dead_code, reason = "its main function")]
#[path = "../../../examples/order_service/main.rs"]
mod order_service;

/// The requests at once.
const CLIENTS: usize = 8;
/// The orders after which the process is to end.
const ENOUGH: usize = 12;
/// How long anything here may take.
const BOUND: Duration = Duration::from_secs(60);
/// The name of the test that is the process.
const PROCESS: &str = "examples::orders::serves_until_it_is_terminated";

/// The process that takes orders.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process that other tests start and terminate"]
async fn serves_until_it_is_terminated() {
    order_service::serve(&Place::of_this_process().url(), "127.0.0.1:0").await.unwrap();
}

/// Such a process. Killed when dropped.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(place: &Place) -> Self {
        let mut child = place.command(PROCESS).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, address) = line.split_once("serves http://")?;
            address.parse().ok()
        });
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address: address.expect("it says its address") }
    }

    fn order(&self, key: &str, cents: i64) -> io::Result<(u16, String)> {
        let order = json!({ "cents": cents, "email": "ada@example.com" }).to_string();
        let headers = [("Content-Type", "application/json"), ("Idempotency-Key", key)];
        http::request(self.address, "POST /orders", &headers, &order)
    }

    fn get(&self, path: &str) -> (u16, String) {
        http::request(self.address, &format!("GET {path}"), &[], "").unwrap()
    }

    /// The parcel of an order is on its way, as soon as the order waits for it.
    fn ship(&self, number: &str) {
        let line = format!("POST /orders/{number}/parcel");
        until("the order waits for its parcel", || {
            let (status, answer) = http::request(self.address, &line, &[], "DE-17").unwrap();
            assert!([204, 409].contains(&status), "{status} {answer}");
            (status == 204).then_some(())
        });
    }

    /// The text of an order's email.
    fn email(&self, number: &str) -> String {
        until("the order ends", || {
            let (status, answer) = self.get(&format!("/orders/{number}"));
            assert!([200, 202].contains(&status), "{status} {answer}");
            (status == 200).then_some(answer)
        })
    }

    fn terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    fn ended(&mut self) -> ExitStatus {
        until("the process ends", || self.child.try_wait().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks again until there is something to see.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(begun.elapsed() < BOUND, "{what} did not happen within {BOUND:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The numbers of the stored orders, and the number of executions.
async fn stored(database: &Database) -> (BTreeSet<String>, usize) {
    let sql = "SELECT number FROM orders";
    let orders: Vec<String> = match &database.plain {
        PlainSql::Sqlite(pool) => sqlx::query_scalar(sql).fetch_all(pool).await.unwrap(),
        PlainSql::Postgres(pool) => sqlx::query_scalar(sql).fetch_all(pool).await.unwrap(),
        PlainSql::Memory(_) | PlainSql::MariaDb(_) => panic!("there are no tables of callers"),
    };
    let query = ExecutionQuery::new(1_000);
    let executions = database.engine.list_executions_by(query).await.unwrap().executions;
    (orders.into_iter().collect(), executions.len())
}

/// A request that fails after the submission leaves neither row, and leaves its key free.
async fn a_failed_request_leaves_nothing(server: &Server, database: &Database) {
    assert_eq!(server.order("ada-1", 0).unwrap(), (500, String::new()));
    assert_eq!(stored(database).await, (BTreeSet::new(), 0));
    assert_eq!(server.get("/readyz").0, 200);
    assert_eq!(server.get("/orders/none").0, 404);
}

/// Requests with one key, all at once and one later, are one order. Returns its number.
async fn a_repeated_request_is_one_order(server: &Server, database: &Database) -> String {
    let order = || server.order("ada-1", 4_200).unwrap();
    let mut answers: Vec<_> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(order)).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    answers.push(order());

    let new = answers.iter().filter(|(status, _)| *status == 201).count();
    let numbers: BTreeSet<_> = answers.iter().map(|(_, number)| number.clone()).collect();
    assert_eq!((new, numbers.len()), (1, 1), "{answers:?}");
    assert_eq!(stored(database).await, (numbers.clone(), 1));
    numbers.into_iter().next().unwrap()
}

/// Places orders until the server takes no more.
fn order_until_refused(server: &Server, client: usize, taken: &Sender<String>) {
    for number in 0.. {
        match server.order(&format!("client {client}, order {number}"), 100) {
            Ok((status, number)) => {
                assert_eq!(status, 201, "{number}");
                taken.send(number).unwrap();
            }
            Err(_) => return,
        }
    }
}

/// A process that gets SIGTERM ends well: what it took is stored, and it leaves no job claimed.
async fn sigterm_loses_nothing(server: &mut Server, database: &Database) -> BTreeSet<String> {
    let (taken, numbers) = channel();
    let at_work: &Server = server;
    let mut all = BTreeSet::new();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let taken = taken.clone();
            scope.spawn(move || order_until_refused(at_work, client, &taken));
        }
        drop(taken);
        all.extend(numbers.iter().take(ENOUGH));
        at_work.terminate();
        all.extend(numbers.iter());
    });
    assert!(server.ended().success());

    let (orders, executions) = stored(database).await;
    assert_eq!(orders.len(), executions, "each order has its job");
    assert!(all.is_subset(&orders), "an acknowledged order is missing");
    let mut query = ExecutionQuery::new(1);
    query.public_state = Some(PublicState::Active);
    let active = database.engine.list_executions_by(query).await.unwrap().executions;
    assert!(active.is_empty(), "{active:?}");
    all
}

async fn takes_orders(place: &Place) {
    let database = place.database().await;
    let mut server = Server::start(place);
    a_failed_request_leaves_nothing(&server, &database).await;

    let number = a_repeated_request_is_one_order(&server, &database).await;
    assert_eq!(server.get(&format!("/orders/{number}")).0, 202, "it waits for its parcel");
    server.ship(&number);
    assert_eq!(server.email(&number), format!("4200 cents for order/{number}, parcel DE-17"));

    let taken = sigterm_loses_nothing(&mut server, &database).await;
    let next = Server::start(place);
    for number in taken.iter().take(ENOUGH) {
        next.ship(number);
        assert_eq!(next.email(number), format!("100 cents for order/{number}, parcel DE-17"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_order_service_takes_orders_on_sqlite() {
    on_sqlite(takes_orders).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_order_service_takes_orders_on_postgres() {
    on_postgres(takes_orders).await;
}
