//! Rows that another session of Postgres holds, as an operator's forgotten transaction does:
//! whatever is about other rows goes on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ff_backend_postgres::PgPool;
use ff_core::backend::{CapabilitySet, Handle};
use ff_core::contracts::SetLimitArgs;
use ff_core::engine_backend::Scan;
use ff_core::policy::ExecutionPolicy;
use ff_core::types::{ExecutionId, TimestampMs};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use sqlx::{AssertSqlSafe, Executor as _, PgConnection, Postgres, Transaction};
use uuid::Uuid;

use crate::backends::{self, Bench};
use crate::bench::{COMPLETED, TTL, lane, payload_of, requiring, worker};
use crate::flow::End;
use crate::plain::PlainSql;
use crate::sessions::leases;

/// Within which everything that is not held has to be done.
const SOON: Duration = Duration::from_millis(1_500);

/// Holds the rows of these executions in each table until it ends.
async fn hold<'a>(
    pool: &PgPool,
    held: impl IntoIterator<Item = (&'a str, &'a ExecutionId)>,
) -> Transaction<'static, Postgres> {
    let mut transaction = pool.begin().await.unwrap();
    for (table, id) in held {
        lock(&mut transaction, table, "execution_id", id.uuid()).await;
    }
    transaction
}

/// Locks the rows of a table with this key until the transaction ends.
async fn lock(transaction: &mut PgConnection, table: &str, key: &str, uuid: Uuid) {
    let sql = format!("SELECT 1 FROM {table} WHERE {key} = '{uuid}' FOR UPDATE");
    let rows = transaction.fetch_all(AssertSqlSafe(sql)).await.unwrap();
    assert!(!rows.is_empty(), "{uuid} has no row in {table}");
}

/// A pool of its own: what holds rows must not take the backend's connections.
async fn beside(bench: &Bench) -> PgPool {
    let PlainSql::Postgres(pool) = &bench.plain else { panic!("Postgres it is") };
    let options = pool.connect_options();
    PgPool::connect_with(options.as_ref().clone()).await.unwrap()
}

fn id_of(handle: &Handle) -> ExecutionId {
    payload_of(handle).execution_id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_passes_over_held_rows_of_every_requirement() {
    let bench = backends::postgres().await;
    let other = beside(&bench).await;
    let mut ids = Vec::new();
    for (priority, tokens) in
        [(9, &["gpu"] as &[&str]), (8, &[]), (7, &["gpu"]), (6, &["avx", "gpu"]), (5, &[])]
    {
        let policy = requiring(tokens);
        let id = bench
            .create_with(&|args| {
                args.priority = priority;
                args.policy = Some(policy.clone());
            })
            .await;
        ids.push(id);
    }
    let held = [("ff_exec_core", &ids[0]), ("ff_exec_core", &ids[1])];
    let holder = hold(&other, held).await;

    let able = CapabilitySet::new(["avx", "gpu"]);
    let claim = async |limit| {
        let claimed = bench.backend.claim_many(&lane(), &able, worker("w"), limit).await.unwrap();
        claimed.iter().map(id_of).collect::<Vec<_>>()
    };
    assert_eq!(claim(1).await, ids[2..3]);
    assert_eq!(claim(9).await, ids[3..]);
    assert_eq!(claim(9).await, []);
    holder.rollback().await.unwrap();
    assert_eq!(claim(9).await, ids[..2]);
    bench.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_within_a_limit_passes_over_held_rows() {
    let bench = backends::postgres().await;
    let other = beside(&bench).await;
    let limit = SetLimitArgs::new("tenant/*", "op").with_running(3);
    bench.backend.set_limit(limit).await.unwrap();
    let mut ids = Vec::new();
    for priority in [9, 8, 7, 6] {
        let id = bench
            .create_with(&|args| {
                let limit_keys = vec!["tenant/7".to_owned()];
                args.priority = priority;
                args.policy = Some(ExecutionPolicy { limit_keys, ..ExecutionPolicy::default() });
            })
            .await;
        ids.push(id);
    }
    let held = [("ff_exec_core", &ids[0]), ("ff_exec_core", &ids[2])];
    let holder = hold(&other, held).await;

    let claim = async |limit| {
        let (lane, none) = (lane(), CapabilitySet::default());
        let claimed = bench.backend.claim_many(&lane, &none, worker("w"), limit);
        let claimed = tokio::time::timeout(SOON, claimed).await.expect("it waits for no row");
        claimed.unwrap().iter().map(id_of).collect::<Vec<_>>()
    };
    assert_eq!(claim(9).await, [ids[1].clone(), ids[3].clone()]);
    holder.rollback().await.unwrap();
    assert_eq!(claim(9).await, ids[..1]);
    bench.assert_sound().await;
    bench.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ending_executions_does_not_wait_for_locked_ones() {
    let bench = Arc::new(backends::postgres().await);
    let other = beside(&bench).await;
    let handles = leases(&bench, 200).await;
    let ids: Vec<ExecutionId> = handles.iter().step_by(40).map(id_of).collect();
    // Some by the execution, some by its attempt; as the first of a batch and in its midst.
    let tables = ["ff_exec_core", "ff_attempt"].into_iter().cycle();
    let holder = hold(&other, tables.zip(&ids)).await;

    let started = Instant::now();
    let calls = handles.iter().map(|handle| {
        let (bench, handle) = (Arc::clone(&bench), handle.clone());
        let call = tokio::spawn(async move { bench.backend.complete(&handle, None).await });
        async move { call.await.unwrap().unwrap() }
    });
    let mut calls: FuturesUnordered<_> = calls.collect();
    for answered in 0..195 {
        let left = SOON.saturating_sub(started.elapsed());
        let next = tokio::time::timeout(left, calls.next()).await;
        next.unwrap_or_else(|_| panic!("{answered} of 195 were answered in time"));
    }
    // Those that wait do not stand in the way of further calls either.
    for handle in leases(&bench, 20).await {
        bench.backend.renew(&handle).await.unwrap();
        bench.backend.complete(&handle, None).await.unwrap();
    }
    assert_eq!(calls.len(), 5);

    holder.rollback().await.unwrap();
    while calls.next().await.is_some() {}
    for id in &ids {
        assert_eq!(bench.core(id).await.states(), COMPLETED);
    }
    bench.assert_sound().await;
    other.close().await;
    Arc::into_inner(bench).unwrap().tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_connection_serves_others_while_a_row_is_held() {
    let bench =
        backends::postgres_with(backends::postgres_url(), |options| options.max_connections(1));
    let bench = Arc::new(bench.await);
    let other = beside(&bench).await;
    let handles = leases(&bench, 3).await;
    let id = id_of(&handles[0]);
    let holder = hold(&other, [("ff_exec_core", &id)]).await;
    let (waiting, handle) = (Arc::clone(&bench), handles[0].clone());
    let waits = tokio::spawn(async move { waiting.backend.complete(&handle, None).await });
    for handle in &handles[1..] {
        tokio::time::timeout(SOON, bench.backend.complete(handle, None)).await.unwrap().unwrap();
    }
    assert!(!waits.is_finished());
    holder.rollback().await.unwrap();
    waits.await.unwrap().unwrap();
    other.close().await;
    Arc::into_inner(bench).unwrap().tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_leaves_locked_rows_for_the_next_scan() {
    let bench = backends::postgres().await;
    let other = beside(&bench).await;
    let handles = leases(&bench, 30).await;
    let (leased, delayed) = handles.split_at(15);
    for handle in delayed {
        let until = TimestampMs(bench.clock.now().0 + TTL);
        bench.backend.delay(handle, until).await.unwrap();
    }
    bench.clock.advance(TTL + 1);

    for (scan, handles) in [
        (Scan::LeaseExpiry, leased),
        // Nothing else is due: it is looked at again, and left again.
        (Scan::LeaseExpiry, &leased[..1]),
        (Scan::DelayedPromotion, delayed),
    ] {
        let ids: Vec<ExecutionId> = handles.iter().map(id_of).collect();
        let before = bench.core(&ids[0]).await.states();
        let holder = hold(&other, [("ff_exec_core", &ids[0])]).await;
        let started = Instant::now();
        let counts = bench.backend.scan(scan, 100).await.unwrap();
        assert!(started.elapsed() < SOON, "{scan:?} took {:?}", started.elapsed());
        let others = u32::try_from(ids.len() - 1).unwrap();
        assert_eq!((counts.processed, counts.errors), (others, 0), "{scan:?}");
        assert_eq!(bench.core(&ids[0]).await.states(), before);
        for id in &ids[1..] {
            assert_ne!(bench.core(id).await.states(), before, "{scan:?}");
        }
        holder.rollback().await.unwrap();
    }
    assert_eq!(bench.backend.scan(Scan::LeaseExpiry, 100).await.unwrap().processed, 1);
    assert_eq!(bench.backend.scan(Scan::DelayedPromotion, 100).await.unwrap().processed, 1);
    bench.assert_sound().await;
    other.close().await;
    bench.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_leaves_the_ends_of_members_for_the_next_scan_while_their_flow_is_locked() {
    let bench = backends::postgres().await;
    let other = beside(&bench).await;
    let flow = bench.flow(3).await;
    for member in &flow.members {
        bench.end(member, End::Success).await;
    }
    let state = async || bench.flow_row(&flow.id).await.text("public_flow_state").to_owned();

    let mut holder = other.begin().await.unwrap();
    lock(&mut holder, "ff_flow_core", "flow_id", flow.id.0).await;
    let counts = bench.backend.scan(Scan::DependencyDispatch, 100).await.unwrap();
    assert_eq!((counts.processed, counts.errors), (0, 0));
    assert_eq!(state().await, "open");

    holder.rollback().await.unwrap();
    let counts = bench.backend.scan(Scan::DependencyDispatch, 100).await.unwrap();
    assert_eq!((counts.processed, counts.errors), (3, 0));
    assert_eq!(state().await, "completed");
    bench.assert_sound().await;
    other.close().await;
    bench.tear_down().await;
}
