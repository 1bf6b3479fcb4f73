//! Two parents of one child end at the same time: every order in which their steps can reach the
//! database is played, and then their statements wait for one lock together. Whatever the order,
//! the child is unblocked, or skipped, exactly once.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ff_backend_postgres::{PostgresBackend, PostgresOptions};
use ff_core::EngineError;
use ff_core::backend::{
    CapabilitySet, CompletionPayload, FailureClass, FailureReason, Handle, PrepareOutcome,
};
use ff_core::contracts::{EdgeDependencyPolicy, OnSatisfied};
use ff_core::engine::{BackendName, Bell, Commit, Executor, Horizon, ProcessState};
use ff_core::engine_backend::EngineBackend as _;
use ff_core::partition::PartitionConfig;
use ff_core::plan::facts::Answer;
use ff_core::plan::{Plan, Query};
use ff_core::rules::ctx::{Seeded, Source};
use ff_core::schema::TABLES;
use ff_core::types::{ExecutionId, TimestampMs};
use sqlx::{AssertSqlSafe, Executor as _};
use tokio::sync::{mpsc, oneshot};

use super::graph::{Built, Node, build};
use crate::backends::{self, Bench, postgres_url};
use crate::bench::{lane, payload_of, worker};
use crate::plain::PlainSql;

/// The scenarios of which every order is played in every run; `FF_ORDERS=all` plays every order of
/// all of them.
const PLAYED_OUT: usize = 2;

/// The orders that are drawn of each other scenario.
const DRAWN: usize = 40;

/// What an actor tells the director.
enum Word {
    /// It is about to ask the database something.
    Asks(usize, oneshot::Sender<()>),
    /// It has nothing more to do.
    Done(usize),
}

/// Asks its director before it asks the database.
struct Actor {
    number: usize,
    inner: Arc<PostgresBackend>,
    director: mpsc::UnboundedSender<Word>,
}

impl Actor {
    async fn cue(&self) {
        let (go, went) = oneshot::channel();
        self.director.send(Word::Asks(self.number, go)).unwrap();
        went.await.unwrap();
    }
}

#[async_trait]
impl Executor for Actor {
    fn backend_name(&self) -> BackendName {
        self.inner.backend_name()
    }

    fn partitions(&self) -> PartitionConfig {
        self.inner.partitions()
    }

    fn now(&self) -> TimestampMs {
        self.inner.now()
    }

    fn source(&self) -> Box<dyn Source> {
        self.inner.source()
    }

    fn process_state(&self) -> &ProcessState {
        self.inner.process_state()
    }

    async fn read(&self, queries: Vec<Query>) -> Result<Vec<Answer>, EngineError> {
        self.cue().await;
        self.inner.read(queries).await
    }

    async fn commit(&self, plan: Plan) -> Result<Commit, EngineError> {
        self.cue().await;
        self.inner.commit(plan).await
    }

    fn bell(&self) -> &Bell {
        self.inner.bell()
    }

    fn ring_for_other_processes(&self) {
        self.inner.ring_for_other_processes();
    }

    async fn sleep(&self, time: Duration) {
        self.inner.sleep(time).await;
    }

    async fn horizon(&self) -> Result<Horizon, EngineError> {
        self.inner.horizon().await
    }

    async fn frontier(&self) -> Result<i64, EngineError> {
        self.inner.frontier().await
    }

    fn share(&self) -> Arc<dyn Executor> {
        self.inner.share()
    }

    async fn ping_database(&self) -> Result<(), EngineError> {
        self.inner.ping_database().await
    }

    async fn prepare_database(&self) -> Result<PrepareOutcome, EngineError> {
        self.inner.prepare_database().await
    }

    async fn close_within(&self, grace: Duration) -> Result<(), EngineError> {
        self.inner.close_within(grace).await
    }
}

/// What both parents do, and what it comes to.
#[derive(Clone)]
struct Scenario {
    policy: EdgeDependencyPolicy,
    succeed: [bool; 2],
    child: &'static str,
}

fn scenarios() -> Vec<Scenario> {
    let any = EdgeDependencyPolicy::any_of(OnSatisfied::cancel_remaining());
    let two = EdgeDependencyPolicy::quorum(2, OnSatisfied::let_run());
    let one = EdgeDependencyPolicy::quorum(1, OnSatisfied::let_run());
    let scenario =
        |policy: EdgeDependencyPolicy, succeed, child| Scenario { policy, succeed, child };
    vec![
        scenario(EdgeDependencyPolicy::all_of(), [true, true], "waiting"),
        scenario(EdgeDependencyPolicy::all_of(), [true, false], "skipped"),
        scenario(any, [true, true], "waiting"),
        scenario(two, [false, false], "skipped"),
        scenario(one, [true, false], "waiting"),
    ]
}

/// A child with two parents, and the handles by which the parents are held.
struct Stage {
    built: Built,
    handles: [Handle; 2],
    child_version: i64,
}

async fn stage(bench: &Bench, scenario: &Scenario) -> Stage {
    let parent =
        |succeeds| Node { parents: Vec::new(), policy: EdgeDependencyPolicy::all_of(), succeeds };
    let child = Node { parents: vec![0, 1], policy: scenario.policy.clone(), succeeds: true };
    let graph = [parent(scenario.succeed[0]), parent(scenario.succeed[1]), child];
    let built = build(bench, &graph).await;
    let none = CapabilitySet::default();
    let claimed = bench.backend.claim_many(&lane(), &none, worker("w"), 2).await.unwrap();
    let held = |id: &ExecutionId| {
        claimed.iter().find(|handle| payload_of(handle).execution_id == *id).unwrap().clone()
    };
    let handles = [held(&built.ids[0]), held(&built.ids[1])];
    let child_version = bench.core(&built.ids[2]).await.int("version").unwrap();
    Stage { built, handles, child_version }
}

/// Ends a parent, unless it has ended before the play, and tells its child.
async fn act(actor: &Actor, handle: &Handle, succeeds: Option<bool>) {
    if let Some(succeeds) = succeeds {
        end(actor, handle, succeeds).await;
    }
    dispatch_end(actor, handle).await;
    actor.director.send(Word::Done(actor.number)).unwrap();
}

async fn end(backend: &impl Executor, handle: &Handle, succeeds: bool) {
    if succeeds {
        backend.complete(handle, None).await.unwrap();
    } else {
        let reason = FailureReason::new("x");
        backend.fail(handle, reason, FailureClass::Permanent).await.unwrap();
    }
}

async fn dispatch_end(backend: &impl Executor, handle: &Handle) {
    let id = payload_of(handle).execution_id;
    let payload = CompletionPayload::new(id, "", None, backend.now());
    assert_eq!(backend.cascade_completion(&payload).await.unwrap().resolved, 1);
}

/// Plays two actors in the order that `choices` begins, and then the first that can goes on.
/// Returns each choice: the actor that went on, and those that could have.
async fn play(
    backend: &Arc<PostgresBackend>,
    stage: &Stage,
    succeed: [Option<bool>; 2],
    choices: &[usize],
) -> Vec<(usize, Vec<usize>)> {
    let (director, mut words) = mpsc::unbounded_channel();
    let actors = (0..2).map(|number| {
        let actor = Actor { number, inner: Arc::clone(backend), director: director.clone() };
        let handle = stage.handles[number].clone();
        tokio::spawn(async move { act(&actor, &handle, succeed[number]).await })
    });
    let actors: Vec<_> = actors.collect();
    let mut waiting: [Option<oneshot::Sender<()>>; 2] = [None, None];
    let mut done = [false; 2];
    let mut played = Vec::new();
    loop {
        while (0..2).any(|actor| waiting[actor].is_none() && !done[actor]) {
            match words.recv().await.unwrap() {
                Word::Asks(actor, go) => waiting[actor] = Some(go),
                Word::Done(actor) => done[actor] = true,
            }
        }
        let able: Vec<usize> = (0..2).filter(|actor| waiting[*actor].is_some()).collect();
        let Some(first) = able.first() else { break };
        let chosen = choices.get(played.len());
        let next = chosen.filter(|chosen| able.contains(chosen)).unwrap_or(first);
        waiting[*next].take().unwrap().send(()).unwrap();
        played.push((*next, able));
    }
    for actor in actors {
        actor.await.unwrap();
    }
    played
}

/// The next order that was not played, if there is one.
fn next(played: &[(usize, Vec<usize>)]) -> Option<Vec<usize>> {
    let turn = |at: &usize| played[*at].1.iter().any(|other| played[*at].0 < *other);
    let last = (0..played.len()).rev().find(turn)?;
    let mut choices: Vec<usize> = played[..last].iter().map(|(went, _)| *went).collect();
    choices.push(*played[last].1.iter().find(|other| played[last].0 < **other).unwrap());
    Some(choices)
}

async fn assert_once(bench: &Bench, stage: &Stage, scenario: &Scenario, how: &str) {
    let [first, second, child] = &stage.built.ids[..] else { panic!("three nodes") };
    let core = bench.core(child).await;
    assert_eq!(core.text("public_state"), scenario.child, "{how}");
    assert_eq!(core.int("version"), Some(stage.child_version + 1), "changed once: {how}");
    let skips = usize::from(scenario.child == "skipped");
    assert_eq!(bench.completions(child).await.len(), skips, "{how}");
    let groups = bench.plain.rows("ff_edge_group").await;
    let group = groups.iter().find(|row| row.uuid("downstream_eid") == Some(child.uuid())).unwrap();
    let well = i64::try_from(scenario.succeed.iter().filter(|well| **well).count()).unwrap();
    assert_eq!(group.int("success_count"), Some(well), "{how}");
    assert_eq!(group.int("fail_count"), Some(2 - well), "{how}");
    assert_eq!(group.int("running_count"), Some(0), "{how}");
    for parent in [first, second] {
        let events = bench.of("ff_completion_event", parent).await;
        assert_eq!(events.len(), 1, "{how}");
        assert!(events[0].int("dispatched_at_ms").is_some(), "{how}");
    }
}

/// Makes room for the next order.
async fn clear(bench: &Bench) {
    let deletes: Vec<String> =
        TABLES.iter().map(|table| format!("DELETE FROM {}", table.name)).collect();
    let PlainSql::Postgres(pool) = &bench.plain else { panic!("Postgres it is") };
    pool.execute(AssertSqlSafe(deletes.join("; "))).await.unwrap();
}

/// Waits until two sessions wait for what `holder` has locked, one behind the other or both at
/// once.
async fn both_wait(pool: &ff_backend_postgres::PgPool, holder: i32, how: &str) {
    let started = std::time::Instant::now();
    loop {
        let waiting: i64 = sqlx::query_scalar(
            "WITH RECURSIVE blocked(pid) AS (SELECT pid FROM pg_stat_activity \
             WHERE $1 = any(pg_blocking_pids(pid)) UNION \
             SELECT a.pid FROM pg_stat_activity a JOIN blocked b \
             ON b.pid = any(pg_blocking_pids(a.pid))) SELECT count(*) FROM blocked",
        )
        .bind(holder)
        .fetch_one(pool)
        .await
        .unwrap();
        if waiting == 2 {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "{waiting} wait: {how}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn second_backend(bench: &Bench) -> Arc<PostgresBackend> {
    let at = bench.clock.now();
    let options = PostgresOptions::new(postgres_url()).schema(bench.schema()).clock(move || at);
    PostgresBackend::open(options).await.unwrap()
}

/// Plays one order of a scenario, in which the parents end during the play or before it. Returns
/// its choices.
async fn play_one(
    bench: &Bench,
    backend: &Arc<PostgresBackend>,
    scenario: &Scenario,
    ends: bool,
    choices: &[usize],
) -> Vec<(usize, Vec<usize>)> {
    let stage = stage(bench, scenario).await;
    if !ends {
        for (handle, succeeds) in stage.handles.iter().zip(scenario.succeed) {
            end(backend.as_ref(), handle, succeeds).await;
        }
    }

    let succeed = scenario.succeed.map(|succeeds| ends.then_some(succeeds));
    let played = play(backend, &stage, succeed, choices).await;
    let went: Vec<usize> = played.iter().map(|(went, _)| *went).collect();
    let how = format!("{:?} {:?} in order {went:?}", scenario.policy, scenario.succeed);
    assert_once(bench, &stage, scenario, &how).await;
    clear(bench).await;
    played
}

/// Plays so many orders that are drawn.
async fn play_some(bench: &Bench, backend: &Arc<PostgresBackend>, scenario: &Scenario) {
    let mut source = Seeded::new(11);
    for _ in 0..DRAWN {
        let choices: Vec<usize> = (0..16).map(|_| usize::from(source.fraction() < 0.5)).collect();
        play_one(bench, backend, scenario, false, &choices).await;
    }
}

/// Plays every order of a scenario.
async fn play_all(bench: &Bench, backend: &Arc<PostgresBackend>, scenario: &Scenario, ends: bool) {
    let (mut choices, mut orders) = (Vec::new(), 0);
    loop {
        let played = play_one(bench, backend, scenario, ends, &choices).await;
        orders += 1;
        match next(&played) {
            Some(other) => choices = other,
            None => break,
        }
    }
    // Five steps each, or four, if neither has to look again.
    assert!(if ends { 252 } else { 70 } <= orders, "{orders} orders of {:?}", scenario.policy);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_every_order_of_hops_the_child_changes_once() {
    let bench = backends::postgres().await;
    let backend = second_backend(&bench).await;
    for (number, scenario) in scenarios().iter().enumerate() {
        if number < PLAYED_OUT || std::env::var("FF_ORDERS").is_ok_and(|orders| orders == "all") {
            play_all(&bench, &backend, scenario, false).await;
        } else {
            play_some(&bench, &backend, scenario).await;
        }
    }
    drop(backend);
    bench.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_every_order_of_ends_and_hops_the_child_changes_once() {
    let bench = backends::postgres().await;
    let backend = second_backend(&bench).await;
    let both = scenarios().swap_remove(0);
    play_all(&bench, &backend, &both, true).await;
    drop(backend);
    bench.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_that_wait_for_one_lock_change_the_child_once() {
    let bench = backends::postgres().await;
    let PlainSql::Postgres(pool) = &bench.plain else { panic!("Postgres it is") };
    // Two processes, as far as the database can see: their plans never share a statement.
    let [one, two] = [second_backend(&bench).await, second_backend(&bench).await];
    for scenario in scenarios() {
        for round in 0..5 {
            let how = format!("{:?} {:?}, round {round}", scenario.policy, scenario.succeed);
            let stage = stage(&bench, &scenario).await;
            end(one.as_ref(), &stage.handles[0], scenario.succeed[0]).await;
            end(two.as_ref(), &stage.handles[1], scenario.succeed[1]).await;
            let mut held = pool.begin().await.unwrap();
            held.execute("SELECT 1 FROM ff_edge_group FOR UPDATE").await.unwrap();
            let holder: i32 =
                sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut *held).await.unwrap();
            let dispatchers = [(&one, 0), (&two, 1)].map(|(backend, number)| {
                let (backend, handle) = (Arc::clone(backend), stage.handles[number].clone());
                tokio::spawn(async move { dispatch_end(backend.as_ref(), &handle).await })
            });
            both_wait(pool, holder, &how).await;
            held.commit().await.unwrap();
            for dispatcher in dispatchers {
                dispatcher.await.unwrap();
            }
            assert_once(&bench, &stage, &scenario, &how).await;
            clear(&bench).await;
        }
    }
    drop((one, two));
    bench.tear_down().await;
}
