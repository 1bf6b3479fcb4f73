//! What an operation costs on Postgres: how often it asks the server and waits. Counted on the
//! wire, by a proxy that reads the client's messages; statements are prepared beforehand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use ff_backend_postgres::PostgresOptions;
use ff_core::backend::{
    CancelFlowPolicy, CancelFlowWait, CapabilitySet, FailureClass, FailureReason, Frame, FrameKind,
    Handle, StreamMode, TailVisibility,
};
use ff_core::contracts::{
    CancelExecutionArgs, CancelFlowResult, ChangePriorityArgs, ClaimResumedExecutionResult,
    CreateExecutionArgs, CreateFlowArgs, ReplayExecutionArgs, RevokeLeaseArgs, SetLaneStateArgs,
    SetLimitArgs, StreamCursor,
};
use ff_core::handle_codec::HandlePayload;
use ff_core::partition::PartitionConfig;
use ff_core::policy::ExecutionPolicy;
use ff_core::state::LaneState;
use ff_core::types::{
    AttemptIndex, CancelSource, ExecutionId, FlowId, LaneId, Namespace, TimestampMs,
    WorkerInstanceId,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::backends::{self, Bench};
use crate::bench::{id, id_in, lane, payload_of, worker};
use crate::conformance::fence::{complete_args, fail_args, renew_args};
use crate::conformance::signal::resumed;
use crate::plain::PlainSql;
use crate::suspended::{fresh, named};
use crate::wire::{Between, connect};
use flowfabric_sql::InTransaction as _;

/// Stands between client and server and counts how often the client asks for an answer.
struct Proxy {
    url: String,
    asked: Arc<AtomicU64>,
    /// How often the pool asked whether a connection still lives.
    checked: Arc<AtomicU64>,
}

impl Proxy {
    async fn start() -> Self {
        // What is encrypted cannot be counted.
        let Between { listener, server, url } = Between::bind().await;
        let (asked, checked) = <(Arc<AtomicU64>, Arc<AtomicU64>)>::default();
        let counters = [Arc::clone(&asked), Arc::clone(&checked)];
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = connect(&server).await.unwrap();
                // Messages are forwarded in parts, which would wait for each other.
                client.set_nodelay(true).unwrap();
                let (mut from_server, to_server) = server.into_split();
                let (from_client, mut to_client) = client.into_split();
                tokio::spawn(
                    async move { tokio::io::copy(&mut from_server, &mut to_client).await },
                );
                tokio::spawn(forward(from_client, to_server, counters.clone()));
            }
        });
        Self { url, asked, checked }
    }

    /// How often the client asked while `work` ran.
    async fn count<T>(&self, work: impl Future<Output = T>) -> u64 {
        let before = self.asked.load(Ordering::SeqCst);
        work.await;
        self.asked.load(Ordering::SeqCst) - before
    }
}

/// Forwards message by message: a start-up message, which has no type, then typed ones. `Sync` and
/// `Query` are what the client waits for. A `Sync` that follows nothing is the pool's own question
/// whether a connection still lives, asked when it is given back: callers wait for that only where
/// no other connection is free.
async fn forward(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    [asked, checked]: [Arc<AtomicU64>; 2],
) -> std::io::Result<()> {
    let (mut started, mut something) = (false, false);
    loop {
        let mut message = Vec::new();
        if started {
            let kind = client.read_u8().await?;
            message.push(kind);
            let ends = matches!(kind, b'S' | b'Q');
            if ends && (something || kind == b'Q') {
                asked.fetch_add(1, Ordering::SeqCst);
            } else if ends {
                checked.fetch_add(1, Ordering::SeqCst);
            }
            something = !ends;
        }
        let length = client.read_u32().await?;
        message.extend(length.to_be_bytes());
        let body = message.len();
        message.resize(body + usize::try_from(length).unwrap() - 4, 0);
        client.read_exact(&mut message[body..]).await?;
        server.write_all(&message).await?;
        started = true;
    }
}

/// A database behind a proxy, with one connection: everything is prepared where it is measured.
async fn bench() -> (Proxy, Bench) {
    let proxy = Proxy::start().await;
    let url = proxy.url.clone();
    // Nor for the notification of other processes afterwards.
    let with = |options: PostgresOptions| options.max_connections(1).notifies(false);
    let bench = backends::postgres_with(url, with).await;
    (proxy, bench)
}

/// What `operation` costs on a freshly leased execution, once it is warm.
async fn cost<F: Future<Output = ()>>(
    operation: impl Fn(Arc<Bench>, Handle) -> F + Send + 'static,
) -> u64 {
    let (proxy, bench) = bench().await;
    let measured = Arc::new(AtomicU64::new(0));
    let bench = Arc::new(bench);
    for round in 0..3 {
        let (_, handle) = bench.leased().await;
        let before = bench.backend.traffic();
        let cost = proxy.count(operation(Arc::clone(&bench), handle)).await;
        measured.store(cost, Ordering::SeqCst);

        // Earlier rounds also prepare their statements.
        let counted = bench.backend.traffic().since(before);
        let agree = counted.round_trips == cost && counted.statements == cost;
        assert!(round < 2 || agree, "{cost} on the wire, {counted:?} by the backend");
    }
    Arc::into_inner(bench).unwrap().tear_down().await;
    measured.load(Ordering::SeqCst)
}

macro_rules! costs {
    ($($name:ident: $expected:expr, |$bench:ident, $handle:ident| $work:expr;)+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let cost = cost(|$bench, $handle| async move { $work.await.unwrap(); }).await;
            assert_eq!(cost, $expected, "round trips");
        }
    )+};
}

costs! {
    creating_costs_one: 1, |bench, _handle| {
        let mut args = bench.args(&id());
        args.lane_id = LaneId::new("another");
        bench.backend.create_execution(args)
    };
    a_repeated_creation_costs_one: 1, |bench, handle| {
        bench.backend.create_execution(bench.args(&payload_of(&handle).execution_id))
    };
    creating_with_a_key_costs_one: 1, |bench, handle| {
        let mut args = bench.args(&id());
        args.lane_id = LaneId::new("another");
        args.idempotency_key = Some(payload_of(&handle).execution_id.to_string());
        bench.backend.create_execution(args)
    };
    a_repeated_key_costs_two: 2, |bench, _handle| async {
        let mut args = bench.args(&id());
        args.lane_id = LaneId::new("another");
        args.idempotency_key = Some("once".into());
        bench.backend.create_execution(args).await
    };
    renewing_costs_one: 1, |bench, handle| bench.backend.renew(&handle);
    progress_costs_one: 1, |bench, handle| bench.backend.progress(&handle, Some(7), None);
    completing_costs_one: 1, |bench, handle| bench.backend.complete(&handle, Some(vec![1]));
    delaying_costs_one: 1, |bench, handle| bench.backend.delay(&handle, TimestampMs(i64::MAX));
    failing_for_good_costs_one: 1, |bench, handle| {
        bench.backend.fail(&handle, FailureReason::new("x"), FailureClass::Permanent)
    };
    failing_with_a_retry_costs_one: 1, |bench, handle| {
        bench.backend.fail(&handle, FailureReason::new("x"), FailureClass::Transient)
    };
    cancelling_costs_two: 2, |bench, handle| bench.backend.cancel(&handle, "x");
    completing_by_fence_costs_one: 1, |bench, handle| {
        bench.backend.complete_execution(complete_args(&bench, &handle))
    };
    renewing_by_fence_costs_one: 1, |bench, handle| bench.backend.renew_lease(renew_args(&handle));
    failing_by_fence_costs_one: 1, |bench, handle| {
        bench.backend.fail_execution(fail_args(&handle, ""))
    };
    describing_costs_one: 1, |bench, handle| async {
        bench.backend.describe_execution(&payload_of(&handle).execution_id).await
    };
    finding_no_work_costs_one: 1, |bench, _handle| async {
        assert!(bench.try_claim().await.is_none());
        Ok::<(), ()>(())
    };
}

/// The pool would ask behind each of them. It does so from time to time, and where the machine
/// pauses between two statements.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_goes_to_the_next_statement_without_a_question() {
    let (proxy, bench) = bench().await;
    let calls = 50;
    for _ in 0..calls {
        assert!(bench.try_claim().await.is_none());
    }
    let checked = proxy.checked.load(Ordering::SeqCst);
    assert!(2 * checked < calls, "{checked} questions in {calls} calls");
    bench.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_what_another_process_claimed_costs_one() {
    let (proxy, bench) = bench().await;
    let elsewhere = bench.another_process().await;
    let none = CapabilitySet::default();
    for round in 0..3 {
        bench.create_with(&|_| {}).await;
        let handle = elsewhere.claim(&lane(), &none, worker("w")).await.unwrap().unwrap();
        for (handle, expected) in
            [(bench.altered(&handle, |payload| payload.lease_epoch.0 += 1), 2), (handle, 1)]
        {
            let (reason, class) = (FailureReason::new("x"), FailureClass::Transient);
            let cost = proxy.count(bench.backend.fail(&handle, reason, class)).await;
            assert!(round < 2 || cost == expected, "{cost} round trips for a failure");
        }
    }
    bench.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claiming_within_a_limit_costs_two_and_each_end_one() {
    let (proxy, bench) = bench().await;
    let limit = SetLimitArgs::new("tenant/*", "op").with_running(1_000);
    bench.backend.set_limit(limit).await.unwrap();
    let keyed = |args: &mut CreateExecutionArgs| {
        let limit_keys = vec!["tenant/7".to_owned()];
        args.policy = Some(ExecutionPolicy { limit_keys, ..ExecutionPolicy::default() });
    };
    for round in 0..3 {
        for (informed, fails, expected) in
            [(true, false, 1), (true, true, 1), (false, false, 3), (false, true, 3)]
        {
            bench.create_with(&keyed).await;
            let mut handle = None;
            let cost = proxy.count(async { handle = Some(bench.claim().await) }).await;
            assert!(round < 2 || cost == 2, "{cost} round trips for a claim within a limit");

            // A handle that an older version minted does not say that there is a permit.
            let old = |payload: &mut HandlePayload| payload.has_reservations = informed;
            let handle = bench.altered(&handle.unwrap(), old);
            let cost = match fails {
                true => {
                    let (reason, class) = (FailureReason::new("x"), FailureClass::Permanent);
                    let fail = bench.backend.fail(&handle, reason, class);
                    let ends = async { fail.await.map(|_| ()).unwrap() };
                    proxy.count(ends).await
                }
                false => {
                    let complete = bench.backend.complete(&handle, None);
                    proxy.count(async { complete.await.unwrap() }).await
                }
            };
            assert!(round < 2 || cost == expected, "{cost} round trips for an end");
        }
    }
    bench.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claiming_by_turns_costs_three_and_each_end_one() {
    let (proxy, bench) = bench().await;
    for number in 0..30 {
        let key = format!("tenant/{}", number % 3);
        let keyed = |args: &mut CreateExecutionArgs| {
            let fairness_key = Some(key.clone());
            args.policy = Some(ExecutionPolicy { fairness_key, ..ExecutionPolicy::default() });
        };
        bench.create_with(&keyed).await;
    }
    for round in 0..15 {
        let mut handle = None;
        let cost = proxy.count(async { handle = Some(bench.claim().await) }).await;
        // It knows the turns, lists what waits, and stores the turns before it takes its execution.
        assert!(round < 10 || cost == 3, "{cost} round trips for a claim by turns");
        let handle = handle.unwrap();
        let complete = bench.backend.complete(&handle, None);
        let cost = proxy.count(async { complete.await.unwrap() }).await;
        assert!(round < 10 || cost == 1, "{cost} round trips for an end");
    }
    bench.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claiming_costs_one_however_many_are_claimed() {
    let (proxy, bench) = bench().await;
    let none = CapabilitySet::default();
    for (round, limit) in [1, 1, 1, 16, 16, 16].into_iter().enumerate() {
        let batch = (0..limit).map(|number| bench.args(&id_in(number))).collect();
        for result in bench.backend.create_executions(batch).await {
            result.unwrap();
        }
        let limit = u32::from(limit);
        let cost = proxy
            .count(async {
                let lane = lane();
                let claim = bench.backend.claim_many(&lane, &none, worker("w"), limit);
                assert_eq!(claim.await.unwrap().len(), usize::try_from(limit).unwrap());
            })
            .await;
        assert!(round % 3 < 2 || cost == 1, "{cost} round trips for {limit}");
    }
    bench.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_claim_costs_one_and_the_next_that_finds_something_two() {
    let (proxy, bench) = bench().await;
    let mut found = 0;
    for _ in 0..3 {
        for _ in 0..3 {
            found = proxy.count(async { assert!(bench.try_claim().await.is_none()) }).await;
        }
        assert_eq!(found, 1, "a look that finds nothing");
        bench.create().await;
        found = proxy.count(async { assert!(bench.try_claim().await.is_some()) }).await;
    }
    assert_eq!(found, 2, "a look and a claim");
    bench.tear_down().await;
}

/// What waits in a paused lane misleads every look, so one claim in two has none before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_that_misled_is_not_repeated_at_once() {
    let (proxy, bench) = bench().await;
    bench.create().await;
    let pause = SetLaneStateArgs::new(lane(), LaneState::Paused, "op");
    bench.backend.set_lane_state(pause).await.unwrap();
    let mut costs = Vec::new();
    for _ in 0..6 {
        costs.push(proxy.count(async { assert!(bench.try_claim().await.is_none()) }).await);
    }
    assert_eq!(costs[3..], [2, 1, 2], "{costs:?}");
    bench.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_together_shares_a_round_trip() {
    let (proxy, bench) = bench().await;
    let mut cost = 0;
    for _ in 0..3 {
        let batch = (0..200).map(|number| bench.args(&id_in(number))).collect();
        cost = proxy.count(bench.backend.create_executions(batch)).await;
    }
    assert!(cost <= 20, "{cost} round trips for 200 submissions");
    bench.tear_down().await;
}

/// Makes a flow of that many members, some of them held by workers, and cancels it.
async fn cancelling_a_flow(proxy: &Proxy, bench: &Bench, members: usize) -> u64 {
    let flow = FlowId::new();
    let args = CreateFlowArgs {
        flow_id: flow.clone(),
        flow_kind: "batch".into(),
        namespace: Namespace::new("tenant-a"),
        now: bench.clock.now(),
    };
    bench.backend.create_flow(args).await.unwrap();
    let batch = (0..members)
        .map(|_| bench.args(&ExecutionId::for_flow(&flow, &PartitionConfig::default())));
    for result in bench.backend.create_flow_members(&flow, batch.collect()).await {
        result.unwrap();
    }
    bench.backend.release_flow(&flow, bench.clock.now()).await.unwrap();
    let none = CapabilitySet::default();
    let held = u32::try_from(members / 4).unwrap();
    bench.backend.claim_many(&lane(), &none, worker("w"), held.max(1)).await.unwrap();
    let cancelled = AtomicUsize::new(0);
    let cost = proxy
        .count(async {
            let cancel = bench.backend.cancel_flow(
                &flow,
                CancelFlowPolicy::CancelAll,
                CancelFlowWait::WaitIndefinite,
            );
            let CancelFlowResult::Cancelled { member_execution_ids, .. } = cancel.await.unwrap()
            else {
                panic!("it is cancelled at once");
            };
            cancelled.store(member_execution_ids.len(), Ordering::SeqCst);
        })
        .await;
    assert_eq!(cancelled.load(Ordering::SeqCst), members);
    cost
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelling_a_flow_costs_two_however_many_members_it_has() {
    let (proxy, bench) = bench().await;
    for (round, members) in [4, 4, 40, 1_000].into_iter().enumerate() {
        let cost = cancelling_a_flow(&proxy, &bench, members).await;
        assert!(round == 0 || cost == 2, "{cost} round trips for {members} members");
    }
    bench.tear_down().await;
}

costs! {
    cancelling_by_id_costs_two: 2, |bench, handle| async {
        let args = CancelExecutionArgs {
            execution_id: payload_of(&handle).execution_id,
            reason: "x".into(),
            source: CancelSource::OperatorOverride,
            lease_id: None,
            lease_epoch: None,
            attempt_id: None,
            now: bench.clock.now(),
        };
        bench.backend.cancel_execution(args).await
    };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revoking_a_lease_costs_two() {
    let (proxy, bench) = bench().await;
    for round in 0..3 {
        let (execution_id, _) = bench.leased().await;
        let args = RevokeLeaseArgs {
            execution_id,
            expected_lease_id: None,
            worker_instance_id: WorkerInstanceId::new(""),
            reason: "x".into(),
        };
        let cost = proxy.count(async { bench.backend.revoke_lease(args).await.unwrap() }).await;
        assert!(round < 2 || cost == 2, "{cost} round trips for revoking a lease");
        // What was taken away may be claimed: the next round wants a fresh one.
        bench.backend.complete(&bench.claim().await, None).await.unwrap();
    }
    bench.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_replaying_and_reordering_cost_two() {
    let (proxy, bench) = bench().await;
    for round in 0..3 {
        let (execution_id, handle) = bench.leased().await;
        let cost = proxy.count(async { bench.backend.wait_children(&handle).await.unwrap() }).await;
        assert!(round < 2 || cost == 2, "{cost} round trips for waiting for nobody");
        let handle = bench.claim().await;
        bench.backend.complete(&handle, None).await.unwrap();
        let now = bench.clock.now();
        let replay = ReplayExecutionArgs { execution_id: execution_id.clone(), now };
        let cost =
            proxy.count(async { bench.backend.replay_execution(replay).await.unwrap() }).await;
        assert!(round < 2 || cost == 2, "{cost} round trips for a replay");
        let change = ChangePriorityArgs { execution_id, new_priority: 9, lane_id: lane(), now };
        let cost =
            proxy.count(async { bench.backend.change_priority(change).await.unwrap() }).await;
        assert!(round < 2 || cost == 2, "{cost} round trips for another priority");
        assert!(bench.try_claim().await.is_some());
    }
    bench.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_a_child_of_a_flow_costs_two_and_its_end_one() {
    let (proxy, bench) = bench().await;
    for round in 0..3 {
        let (child, ending) = bench.leased().await;
        for joined in [false, true] {
            let (_, handle) = bench.leased().await;
            let wait = bench.backend.wait_for_child(&handle, &child);
            let cost = proxy.count(async { wait.await.unwrap() }).await;
            // The first makes both members of a flow.
            let expected = if joined { 2 } else { 10 };
            assert!(round < 2 || cost == expected, "{cost} round trips for a wait");
        }
        let complete = bench.backend.complete(&ending, None);
        let cost = proxy.count(async { complete.await.unwrap() }).await;
        assert!(round < 2 || cost == 1, "{cost} round trips for the end of a child");
    }
    bench.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn suspending_costs_three_and_a_signal_two() {
    let (proxy, bench) = bench().await;
    for round in 0..4 {
        bench.seed().await;
        let (id, handle) = bench.leased().await;
        let args = bench.wait(vec![fresh("a"), fresh("b")], named("a", "go"));
        let (mut targets, backend) = (Vec::new(), &bench.backend);
        let suspend = async { targets = bench.suspend(&id, &handle, args).await };
        let cost = proxy.count(suspend).await;
        assert!(round < 2 || cost == 3, "{cost} round trips for a suspension");
        for name in ["other", "go"] {
            let cost = proxy.count(bench.deliver(&targets[0], name)).await;
            assert!(round < 2 || cost == 2, "{cost} round trips for the signal {name}");
        }
        let mut claimed = None;
        let claim = async {
            claimed = backend.claim_resumed_execution(resumed(&bench, &id)).await.ok();
        };
        let cost = proxy.count(claim).await;
        assert!(round < 2 || cost == 1, "{cost} round trips for taking up what was resumed");

        let Some(ClaimResumedExecutionResult::Claimed(claimed)) = claimed else {
            panic!("{claimed:?}");
        };
        let (reason, class) = (FailureReason::new("x"), FailureClass::Transient);
        let cost = proxy.count(backend.fail(&claimed.handle, reason, class)).await;
        assert!(round < 2 || cost == 1, "{cost} round trips for its failure");
    }
    bench.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn completing_in_a_transaction_costs_three() {
    let (proxy, bench) = bench().await;
    let PlainSql::Postgres(pool) = &bench.plain else { panic!("the bench is on Postgres") };
    for round in 0..3 {
        let (_, handle) = bench.leased().await;
        let mut own = pool.begin().await.unwrap();
        let mut within = own.within(bench.backend.as_ref()).unwrap();
        let cost = proxy.count(async { within.complete(&handle, None).await.unwrap() }).await;
        drop(within);
        own.commit().await.unwrap();
        assert!(round < 2 || cost == 3, "{cost} round trips");
    }
    bench.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_durable_frame_costs_one_once_the_stream_has_begun() {
    let (proxy, bench) = bench().await;
    let stdout = |mode| Frame::new(b"{}".to_vec(), FrameKind::Stdout).with_mode(mode);
    for round in 0..3 {
        let (id, handle) = bench.leased().await;
        for (name, mode, expected) in [
            ("the first frame", StreamMode::durable(), 2),
            ("the next frame", StreamMode::durable(), 1),
            ("the first patch", StreamMode::durable_summary(), 2),
            ("the next patch", StreamMode::durable_summary(), 2),
            ("a best-effort frame", StreamMode::best_effort_live(1_000), 2),
            ("a durable frame after them", StreamMode::durable(), 1),
        ] {
            let append = async { bench.backend.append_frame(&handle, stdout(mode)).await.unwrap() };
            let cost = proxy.count(append).await;
            assert!(round < 2 || cost == expected, "{cost} round trips for {name}");
        }
        let (attempt, backend) = (AttemptIndex(0), &bench.backend);
        let (from, to) = (StreamCursor::Start, StreamCursor::End);
        let read = async { backend.read_stream(&id, attempt, from, to, 9).await.unwrap() };
        let cost = proxy.count(read).await;
        assert!(round < 2 || cost == 2, "{cost} round trips for reading a stream");
        let (from, all) = (StreamCursor::from_beginning(), TailVisibility::All);
        let tail = async { backend.tail_stream(&id, attempt, from, 0, 9, all).await.unwrap() };
        let cost = proxy.count(tail).await;
        assert!(round < 2 || cost == 2, "{cost} round trips for what follows a frame");
        let cost = proxy.count(async { backend.read_summary(&id, attempt).await.unwrap() }).await;
        assert!(round < 2 || cost == 1, "{cost} round trips for a summary");
    }
    bench.tear_down().await;
}
