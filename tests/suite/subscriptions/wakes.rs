//! Who waits is woken by what another process commits, holds no connection meanwhile, and loses
//! nothing when a connection is lost.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ff_backend_postgres::{PgPool, PostgresBackend, PostgresOptions};
use ff_core::engine_backend::EngineBackend;
use ff_core::stream_events::InstanceTagEvent;
use ff_core::stream_subscribe::{StreamCursor, encode_postgres_event_cursor};
use ff_core::types::ExecutionId;
use ff_core::{EngineError, ScannerFilter};
use futures_util::StreamExt as _;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use uuid::Uuid;

use super::{BOUND, Events, beginning, next};
use crate::backends::{self, Bench, postgres_url};
use crate::bench::{id, id_in};
use crate::plain::PlainSql;

/// How soon a wake-up arrives; half of what looking now and then would take on average is luck.
const PROMPT: Duration = Duration::from_millis(250);

fn execution(event: &InstanceTagEvent) -> &ExecutionId {
    match event {
        InstanceTagEvent::Attached { execution_id, .. }
        | InstanceTagEvent::Cleared { execution_id, .. } => execution_id,
        other => panic!("{other:?}"),
    }
}

/// The pool that `bench` has for plain SQL.
fn pool(bench: &Bench) -> &PgPool {
    let PlainSql::Postgres(pool) = &bench.plain else { panic!("Postgres it is") };
    pool
}

/// Another process, as far as the database can see.
async fn another(bench: &Bench) -> Arc<PostgresBackend> {
    let at = bench.clock.now();
    let options = PostgresOptions::new(postgres_url()).schema(bench.schema()).clock(move || at);
    PostgresBackend::open(options).await.unwrap()
}

/// A bench with connections of a name of their own, and that name.
async fn named(with: impl FnOnce(PostgresOptions) -> PostgresOptions) -> (Bench, Connections) {
    let name = format!("ff_{}", Uuid::new_v4().simple());
    let url = postgres_url();
    let separator = if url.contains('?') { '&' } else { '?' };
    let bench =
        backends::postgres_with(format!("{url}{separator}application_name={name}"), with).await;
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .connect_with(PgConnectOptions::from_str(&url).unwrap())
        .await
        .unwrap();
    (bench, Connections { name, pool })
}

/// The connections of one backend, seen from outside.
struct Connections {
    name: String,
    pool: PgPool,
}

impl Connections {
    /// The process ids of those whose last statement began like this.
    async fn that_ran(&self, beginning: &str) -> Vec<i32> {
        sqlx::query_scalar(
            "SELECT pid FROM pg_stat_activity \
             WHERE application_name = $1 AND starts_with(query, $2) ORDER BY pid",
        )
        .bind(&self.name)
        .bind(beginning)
        .fetch_all(&self.pool)
        .await
        .unwrap()
    }

    /// The one that listens, once there is another than `before`.
    async fn listening(&self, before: Option<i32>) -> i32 {
        let started = Instant::now();
        loop {
            let pids = self.that_ran("LISTEN").await;
            if let [pid] = pids[..]
                && Some(pid) != before
            {
                return pid;
            }
            assert!(started.elapsed() < BOUND, "nobody listens: {pids:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends them, and returns when they are gone.
    async fn terminate(&self, pids: &[i32]) {
        for pid in pids {
            let gone: bool = sqlx::query_scalar("SELECT pg_terminate_backend($1, $2)")
                .bind(pid)
                .bind(i64::try_from(BOUND.as_millis()).unwrap())
                .fetch_one(&self.pool)
                .await
                .unwrap();
            assert!(gone, "{pid}");
        }
    }
}

/// How long it takes until a waiting subscriber has what `other` commits: the median of several.
async fn delay(
    bench: &Bench,
    other: &dyn EngineBackend,
    mut events: Events<InstanceTagEvent>,
) -> Duration {
    let mut delays = Vec::new();
    for _ in 0..9 {
        let waiting = tokio::spawn(async move {
            let event = next(&mut events).await.unwrap();
            (Instant::now(), event, events)
        });
        // So that it waits by then; if it does not, it has no need to be woken.
        tokio::time::sleep(Duration::from_millis(60)).await;
        let id = id();
        other.create_execution(bench.args(&id)).await.unwrap();
        let committed = Instant::now();
        let woken;
        let event;
        (woken, event, events) = waiting.await.unwrap();
        assert_eq!(execution(&event), &id);
        delays.push(woken.saturating_duration_since(committed));
    }
    delays.sort();
    println!("{delays:?}");
    delays[delays.len() / 2]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process_wakes_a_subscriber_of_a_sqlite_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flow.db");
    let [bench, other] = [backends::sqlite_at(&path).await, backends::sqlite_at(&path).await];
    let events = bench.backend.subscribe_instance_tags(StreamCursor::empty()).await.unwrap();
    let delay = delay(&bench, other.backend.as_ref(), events).await;
    assert!(delay < PROMPT, "{delay:?}");
    bench.tear_down().await;
    other.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process_wakes_a_subscriber_of_postgres() {
    let bench = backends::postgres().await;
    let other = another(&bench).await;
    let events = bench.backend.subscribe_instance_tags(StreamCursor::empty()).await.unwrap();
    let delay = delay(&bench, other.as_ref(), events).await;
    assert!(delay < PROMPT, "{delay:?}");
    drop(other);
    bench.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listening_connection_that_is_killed_loses_nothing() {
    let (bench, connections) = named(|options| options).await;
    let other = another(&bench).await;
    let mut events = bench.backend.subscribe_instance_tags(StreamCursor::empty()).await.unwrap();
    let mut listening = None;
    for _ in 0..3 {
        let pid = connections.listening(listening).await;
        let ids: Vec<ExecutionId> = (0..40).map(|_| id()).collect();
        let expected = ids.clone();
        let waiting = tokio::spawn(async move {
            for id in expected {
                assert_eq!(execution(&next(&mut events).await.unwrap()), &id);
            }
            events
        });
        for (number, id) in ids.iter().enumerate() {
            other.create_execution(bench.args(id)).await.unwrap();
            if number == 20 {
                connections.terminate(&[pid]).await;
            }
        }
        events = waiting.await.unwrap();
        listening = Some(pid);
    }
    connections.listening(listening).await;
    let delay = delay(&bench, other.as_ref(), events).await;
    assert!(delay < PROMPT, "{delay:?}");
    drop(other);
    bench.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_is_reported_with_the_cursor_and_the_stream_continues() {
    let (bench, connections) = named(|options| options.max_connections(1).notifies(false)).await;
    let mut events = bench.backend.subscribe_instance_tags(beginning()).await.unwrap();
    let ids = [id(), id()];
    bench.backend.create_execution(bench.args(&ids[0])).await.unwrap();
    assert_eq!(execution(&next(&mut events).await.unwrap()), &ids[0]);
    let started = Instant::now();
    while pool(&bench).num_idle() != 1 {
        assert!(started.elapsed() < BOUND, "the connection is not given back");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let pids = connections.that_ran("SELECT").await;
    assert!(!pids.is_empty());
    connections.terminate(&pids).await;
    let error = next(&mut events).await.unwrap_err();
    let EngineError::StreamDisconnected { cursor } = error else { panic!("{error}") };
    assert_eq!(cursor, encode_postgres_event_cursor(1));
    another(&bench).await.create_execution(bench.args(&ids[1])).await.unwrap();
    assert_eq!(execution(&next(&mut events).await.unwrap()), &ids[1]);
    bench.tear_down().await;
}

/// The server's session would go on listening for another client of the pooler.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_pooler_no_connection_listens_and_nothing_is_missed() {
    let (bench, connections) = named(|options| options.unnamed_statements(true)).await;
    let mut events = bench.backend.subscribe_instance_tags(beginning()).await.unwrap();
    let ids = [id(), id()];
    bench.backend.create_execution(bench.args(&ids[0])).await.unwrap();
    assert_eq!(execution(&next(&mut events).await.unwrap()), &ids[0]);
    let waiting = tokio::spawn(async move { next(&mut events).await.unwrap() });
    another(&bench).await.create_execution(bench.args(&ids[1])).await.unwrap();
    assert_eq!(execution(&waiting.await.unwrap()), &ids[1]);
    assert_eq!(connections.that_ran("LISTEN").await, [] as [i32; 0]);
    bench.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_subscriber_holds_no_connection() {
    let (bench, connections) =
        named(|options| options.max_connections(2).acquire_timeout(Duration::from_secs(20))).await;
    let mut waiting = Vec::new();
    for _ in 0..12 {
        let all = ScannerFilter::NOOP;
        let mut ends =
            bench.backend.subscribe_completion(StreamCursor::empty(), &all).await.unwrap();
        waiting.push(tokio::spawn(async move {
            let mut heard = Vec::new();
            for _ in 0..5 {
                heard.push(next(&mut ends).await.unwrap().execution_id);
            }
            heard
        }));
    }
    let mut ended = Vec::new();
    for partition in [0, 1, 2, 3, 4] {
        bench.create_with(&|args| args.execution_id = id_in(partition)).await;
        let handle = bench.claim().await;
        bench.backend.complete(&handle, None).await.unwrap();
        ended.push(crate::bench::payload_of(&handle).execution_id);
    }
    for waiter in waiting {
        assert_eq!(waiter.await.unwrap(), ended);
    }
    let all = connections.that_ran("").await;
    assert!(all.len() <= 3, "two of the pool, and one that listens: {all:?}");
    bench.tear_down().await;
}

/// Shuts the backend down under a subscriber that waits, and one that has not read yet.
async fn ends_with(backend: &dyn EngineBackend) {
    let mut waits = backend.subscribe_instance_tags(StreamCursor::empty()).await.unwrap();
    let mut idle = backend.subscribe_instance_tags(beginning()).await.unwrap();
    let waiting = tokio::spawn(async move { (next(&mut waits).await, waits.next().await) });
    backend.shutdown_prepare(BOUND).await.unwrap();
    let ends = [waiting.await.unwrap(), (next(&mut idle).await, idle.next().await)];
    for (error, after) in ends {
        let error = error.unwrap_err();
        assert!(matches!(error, EngineError::Unavailable { .. }), "{error}");
        assert!(after.is_none());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_ends_with_its_backend_on_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    let bench = backends::sqlite_at(&directory.path().join("flow.db")).await;
    ends_with(bench.backend.as_ref()).await;
    bench.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_ends_with_its_backend_on_postgres() {
    let bench = backends::postgres().await;
    let backend = another(&bench).await;
    ends_with(backend.as_ref()).await;
    drop(backend);
    bench.tear_down().await;
}
