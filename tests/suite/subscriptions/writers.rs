//! On Postgres a number is taken before its transaction commits: writers that commit in another
//! order than they numbered their rows, or roll back, against subscribers that come and go.
//!
//! `FF_WRITERS_MS=30000` writes for so long; `FF_SEED=17` draws the same again.

use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use ff_core::ScannerFilter;
use ff_core::engine_backend::EngineBackend;
use ff_core::rules::ctx::{Seeded, Source as _};
use ff_core::stream_subscribe::{
    StreamCursor, decode_postgres_event_cursor, encode_postgres_event_cursor,
};
use sqlx::postgres::{PgPool, PgPoolOptions};

use super::{BOUND, Events};
use crate::backends::{self, Bench};
use crate::bench::{lane, worker};
use crate::plain::PlainSql;
use ff_core::stream_events::LeaseHistoryEvent;
use futures_util::StreamExt as _;

const WRITERS: u64 = 16;
const SUBSCRIBERS: u64 = 4;
const INSERT: &str = "INSERT INTO ff_lease_event \
                      (execution_id, event_type, occurred_at_ms, partition_key) \
                      VALUES (gen_random_uuid()::text, 'renewed', 0, $1)";

fn number(variable: &str, default: u64) -> u64 {
    let Ok(given) = env::var(variable) else { return default };
    given.parse().unwrap_or_else(|_| panic!("{variable} is no number: {given}"))
}

/// When a subscriber leaves, at the latest.
#[derive(Clone, Copy)]
struct Leaves {
    after_events: usize,
    after_ms: usize,
}

/// A number below `bound`.
fn below(source: &mut Seeded, bound: usize) -> usize {
    (source.fraction() * bound as f64) as usize
}

/// Transactions that number their rows, linger, and then commit or roll back.
async fn write(pool: PgPool, mut source: Seeded, end: Instant) {
    while Instant::now() < end {
        let mut transaction = pool.begin().await.unwrap();
        for _ in 0..=below(&mut source, 3) {
            let partition = i16::try_from(below(&mut source, 256)).unwrap();
            sqlx::query(INSERT).bind(partition).execute(&mut *transaction).await.unwrap();
            linger(&mut source).await;
        }
        if below(&mut source, 4) == 0 {
            transaction.rollback().await.unwrap();
        } else {
            transaction.commit().await.unwrap();
        }
    }
}

async fn linger(source: &mut Seeded) {
    // Most are quick, some are slow.
    let most_ms = if below(source, 10) == 0 { 120 } else { 8 };
    let ms = u64::try_from(below(source, most_ms)).unwrap();
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// Real executions live and end meanwhile.
async fn live(bench: Arc<Bench>, end: Instant) {
    while Instant::now() < end {
        bench.create().await;
        let claimed = bench.backend.claim(&lane(), &Default::default(), worker("w")).await;
        if let Some(handle) = claimed.unwrap() {
            bench.backend.renew(&handle).await.unwrap();
            bench.backend.complete(&handle, None).await.unwrap();
        }
    }
}

/// Reads the outbox in many pieces: leaves after a few events and comes back where it was, or
/// somewhere it has been before. Returns what it saw once `last` is known and was seen.
async fn follow(
    backend: Arc<dyn EngineBackend>,
    mut source: Seeded,
    last: Arc<AtomicI64>,
    leaves: Leaves,
) -> Vec<i64> {
    let mut seen: Vec<i64> = Vec::new();
    // How much of what was seen lies behind.
    let mut at = 0_usize;
    let started = Instant::now();
    loop {
        let reached = at.checked_sub(1).map_or(0, |index| seen[index]);
        if at == seen.len() && 0 < reached && reached == last.load(Ordering::SeqCst) {
            return seen;
        }
        assert!(started.elapsed() < 4 * BOUND, "{} seen, the last is {reached}", seen.len());
        let cursor = encode_postgres_event_cursor(reached);
        let mut events = subscribe(backend.as_ref(), cursor).await;
        for _ in 0..=below(&mut source, leaves.after_events) {
            // Also leaves while it waits.
            let patience = Duration::from_millis(1 + below(&mut source, leaves.after_ms) as u64);
            let Ok(event) = tokio::time::timeout(patience, events.next()).await else { break };
            let event = event.unwrap().unwrap();
            let number = decode_postgres_event_cursor(event.cursor()).unwrap().unwrap();
            match seen.get(at) {
                Some(before) => assert_eq!(*before, number, "the same events again"),
                None => {
                    let newest = seen.last().copied().unwrap_or(0);
                    assert!(newest < number, "{number} after {newest}");
                    seen.push(number);
                }
            }
            at += 1;
        }
        if below(&mut source, 4) == 0 {
            at -= below(&mut source, at.min(200) + 1);
        }
    }
}

async fn subscribe(backend: &dyn EngineBackend, cursor: StreamCursor) -> Events<LeaseHistoryEvent> {
    backend.subscribe_lease_history(cursor, &ScannerFilter::NOOP).await.unwrap()
}

/// As many connections as writers, beside the backend's own.
async fn writers_pool(bench: &Bench) -> PgPool {
    let PlainSql::Postgres(own) = &bench.plain else { panic!("Postgres it is") };
    PgPoolOptions::new()
        .max_connections(u32::try_from(WRITERS).unwrap())
        .connect_with(own.connect_options().as_ref().clone())
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_subscriber_sees_every_event_once_and_in_order() {
    let leaves = Leaves { after_events: 300, after_ms: 200 };
    each_sees_every_event(backends::postgres().await, leaves, 5_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_subscriber_of_postgres_occ_sees_every_event_once_and_in_order() {
    // A subscriber waits at each missing number for the whole window, and one that comes back waits
    // again: what is written in a second takes half a minute to read.
    let leaves = Leaves { after_events: 5_000, after_ms: 4_000 };
    let window = Duration::from_secs(2);
    let bench = backends::postgres_occ_with(|options| options.lag_window(window)).await;
    each_sees_every_event(bench, leaves, 1_000).await;
}

/// Subscribers that come and go see what is written meanwhile, committed late or rolled back; by
/// default for so many milliseconds.
async fn each_sees_every_event(bench: Bench, leaves: Leaves, writers_ms: u64) {
    let span = Duration::from_millis(number("FF_WRITERS_MS", writers_ms));
    let seed = number("FF_SEED", u64::from(uuid::Uuid::new_v4().as_u128() as u32));
    println!("FF_SEED={seed}");
    let bench = Arc::new(bench);
    let pool = writers_pool(&bench).await;
    let last = Arc::new(AtomicI64::new(0));
    let source = |number: u64| Seeded::new(seed.wrapping_mul(1_000).wrapping_add(number));
    let followers: Vec<_> = (0..SUBSCRIBERS)
        .map(|number| {
            let backend = Arc::clone(&bench.backend);
            tokio::spawn(follow(backend, source(100 + number), Arc::clone(&last), leaves))
        })
        .collect();
    let end = Instant::now() + span;
    let mut writers: Vec<_> =
        (0..WRITERS).map(|number| tokio::spawn(write(pool.clone(), source(number), end))).collect();
    writers.push(tokio::spawn(live(Arc::clone(&bench), end)));
    for writer in writers {
        writer.await.unwrap();
    }
    let truth: Vec<i64> =
        sqlx::query_scalar("SELECT event_id FROM ff_lease_event ORDER BY event_id")
            .fetch_all(&pool)
            .await
            .unwrap();
    last.store(*truth.last().unwrap(), Ordering::SeqCst);
    let rolled_back = truth.last().unwrap() - i64::try_from(truth.len()).unwrap();
    println!("{} events, {rolled_back} numbers rolled back", truth.len());
    assert!(0 < rolled_back);
    for follower in followers {
        let seen = follower.await.unwrap();
        assert!(seen == truth, "{} seen of {}", seen.len(), truth.len());
    }
    pool.close().await;
    Arc::into_inner(bench).unwrap().tear_down().await;
}

/// Inserts `$1` rows that are about nothing.
const INSERTS: [&str; 3] = [
    "INSERT INTO ff_lease_event (execution_id, event_type, occurred_at_ms, partition_key) \
     SELECT gen_random_uuid()::text, 'renewed', 0, 0 FROM generate_series(1, $1)",
    "INSERT INTO ff_completion_event (execution_id, outcome, occurred_at_ms, partition_key) \
     SELECT gen_random_uuid(), 'success', 0, 0 FROM generate_series(1, $1)",
    "INSERT INTO ff_operator_event (execution_id, event_type, details, occurred_at_ms, partition_key) \
     SELECT gen_random_uuid()::text, 'replayed', '{\"branch\": \"normal\"}', 0, 0 \
     FROM generate_series(1, $1)",
];

/// Subscribes to the outbox that is inserted into so from now on; yields numbers.
async fn from_now(bench: &Bench, insert: &str) -> Events<i64> {
    fn numbers<T: 'static>(
        events: Events<T>,
        cursor: impl Fn(&T) -> StreamCursor + Send + Copy + 'static,
    ) -> Events<i64> {
        let number =
            move |event: T| decode_postgres_event_cursor(&cursor(&event)).unwrap().unwrap();
        Box::pin(events.map(move |event| event.map(number)))
    }
    let (now, noop) = (StreamCursor::empty(), &ScannerFilter::NOOP);
    let backend = &bench.backend;
    if insert == INSERTS[0] {
        let events = backend.subscribe_lease_history(now, noop).await.unwrap();
        return numbers(events, |event| event.cursor().clone());
    }
    if insert == INSERTS[1] {
        let events = backend.subscribe_completion(now, noop).await.unwrap();
        return numbers(events, |event| event.cursor.clone());
    }
    let events = backend.subscribe_operator_events(now, noop).await.unwrap();
    numbers(events, |event| event.cursor.clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_open_at_the_start_of_a_subscription_is_delivered_however_old() {
    let bench = Arc::new(backends::postgres().await);
    let pool = writers_pool(&bench).await;
    for insert in INSERTS {
        for (late, later) in [(1, 300), (3_000, 40), (700, 1_500)] {
            let mut open = pool.begin().await.unwrap();
            sqlx::query(insert).bind(late).execute(&mut *open).await.unwrap();
            // Committed before the subscription began, each on its own.
            for _ in 0..later.min(40) {
                sqlx::query(insert).bind(later / later.min(40)).execute(&pool).await.unwrap();
            }

            let mut events = from_now(&bench, insert).await;
            open.commit().await.unwrap();
            sqlx::query(insert).bind(1).execute(&pool).await.unwrap();
            let mut heard = Vec::new();
            for _ in 0..=late {
                heard.push(super::next(&mut events).await.unwrap());
            }
            assert!(heard.is_sorted());
            let between = heard[heard.len() - 1] - heard[0] - i64::from(late);
            assert!(i64::from(later / later.min(40)) <= between, "{late} {later} {insert}");
        }
    }
    pool.close().await;
    Arc::into_inner(bench).unwrap().tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_whose_transaction_is_the_latest_to_begin_is_waited_for() {
    let bench = Arc::new(backends::postgres().await);
    let pool = writers_pool(&bench).await;
    let mut events = subscribe(bench.backend.as_ref(), encode_postgres_event_cursor(0)).await;

    // The first to begin numbers its row last and commits first; nothing begins after the second.
    let (mut first, mut second) = (pool.begin().await.unwrap(), pool.begin().await.unwrap());
    let begin = "SELECT (pg_current_xact_id()::text)::bigint";
    let began: i64 = sqlx::query_scalar(begin).fetch_one(&mut *first).await.unwrap();
    sqlx::query(INSERT).bind(1_i16).execute(&mut *second).await.unwrap();
    sqlx::query(INSERT).bind(2_i16).execute(&mut *first).await.unwrap();
    first.commit().await.unwrap();
    assert!(0 < began);

    let early = tokio::time::timeout(Duration::from_millis(300), events.next()).await;
    assert!(early.is_err(), "the lower number may still appear: {early:?}");
    second.commit().await.unwrap();
    let numbers = super::take(&mut events, 2).await;
    let number =
        |event: &LeaseHistoryEvent| decode_postgres_event_cursor(event.cursor()).unwrap().unwrap();
    assert_eq!(numbers.iter().map(number).collect::<Vec<_>>(), [1, 2]);
    pool.close().await;
    Arc::into_inner(bench).unwrap().tear_down().await;
}
