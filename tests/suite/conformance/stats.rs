//! Counts: every change of an execution is counted where it goes, and folding changes no sum. That
//! the counts are those of the rows is checked after every other case, too.

use ff_core::backend::{FailureClass, FailureReason};
use ff_core::contracts::{
    CancelExecutionArgs, ReplayExecutionArgs, RetentionRule, Stats, StatsArgs, TrimPass,
};
use ff_core::engine_backend::Scan;
use ff_core::state::PublicState;
use ff_core::types::{CancelSource, ExecutionId, LaneId, TimestampMs};

use crate::backends::{Bench, START, conformance};
use crate::bench::{COMPLETED, LANE, WAITING, id, lane, requiring};
use crate::plain::{int, text};

async fn stats(bench: &Bench) -> Stats {
    bench.backend.stats(StatsArgs::new()).await.unwrap()
}

/// The counts, as `kind state n`.
async fn counts(bench: &Bench) -> Vec<String> {
    bench.assert_counted(&bench.plain.rows("ff_exec_core").await).await;
    let counts = stats(bench).await.counts;
    let line = |count: &ff_core::contracts::StateCount| {
        format!("{} {:?} {}", count.execution_kind, count.state, count.count)
    };
    counts.iter().map(line).collect()
}

async fn fold(bench: &Bench) {
    let folded = bench.backend.scan(Scan::CountFold, 1_000).await.unwrap();
    assert_eq!(folded.errors, 0);
}

async fn cancel(bench: &Bench, execution_id: &ExecutionId) {
    let args = CancelExecutionArgs {
        execution_id: execution_id.clone(),
        reason: "not needed".into(),
        source: CancelSource::OperatorOverride,
        lease_id: None,
        lease_epoch: None,
        attempt_id: None,
        now: bench.clock.now(),
    };
    bench.backend.cancel_execution(args).await.unwrap();
}

async fn fail_next(bench: &Bench, class: FailureClass) {
    let handle = bench.claim().await;
    bench.backend.fail(&handle, FailureReason::new("no paper"), class).await.unwrap();
}

conformance! {
    async fn each_change_of_a_life_is_counted(bench) {
        assert_eq!(counts(&bench).await, [""; 0]);
        let due = Some(TimestampMs(START + 60_000));
        let first = bench.create().await;
        bench.clock.advance(1);
        bench.create_with(&|args| args.execution_kind = "other".into()).await;
        let later = bench.create_with(&|args| args.delay_until = due).await;
        assert_eq!(
            counts(&bench).await,
            ["job Delayed 1", "job Waiting 1", "other Waiting 1"]
        );

        let handle = bench.claim().await;
        assert_eq!(counts(&bench).await, ["job Active 1", "job Delayed 1", "other Waiting 1"]);
        bench.backend.complete(&handle, None).await.unwrap();
        cancel(&bench, &later).await;
        fail_next(&bench, FailureClass::Permanent).await;
        assert_eq!(
            counts(&bench).await,
            ["job Cancelled 1", "job Completed 1", "other Failed 1"]
        );

        let now = bench.clock.now();
        let replay = ReplayExecutionArgs { execution_id: first, now };
        bench.backend.replay_execution(replay).await.unwrap();
        fold(&bench).await;
        assert_eq!(
            counts(&bench).await,
            ["job Cancelled 1", "job Waiting 1", "other Failed 1"]
        );

        let mut pass = TrimPass::new(vec![RetentionRule::older_than(0)]);
        while !pass.is_done() {
            pass = bench.backend.trim_step(pass).await.unwrap();
        }
        assert_eq!(counts(&bench).await, ["job Waiting 1"]);
    }

    async fn rows_by_plain_sql_are_counted(bench) {
        let by_hand = id();
        bench.insert_core(&by_hand, WAITING, vec![]).await;
        bench.insert_core(&id(), COMPLETED, vec![("lane_id", text("other"))]).await;
        assert_eq!(counts(&bench).await, [" Completed 1", " Waiting 1"]);
        let lane = bench.backend.stats(StatsArgs::new().with_lane(LaneId::new("other"))).await;
        assert_eq!(lane.unwrap().in_state(PublicState::Completed), 1);

        let key = vec![
            ("partition_key", int(i64::from(by_hand.partition()))),
            ("execution_id", ff_core::plan::value::Value::Uuid(by_hand.uuid())),
        ];
        bench.plain.set("ff_exec_core", key, vec![("lane_id", text("other"))]).await;
        assert_eq!(counts(&bench).await, [" Completed 1", " Waiting 1"]);
        bench.plain.clear("ff_exec_core").await;
        assert_eq!(counts(&bench).await, [""; 0]);
    }

    async fn failures_of_the_last_hour_are_counted_by_class(bench) {
        let failures = async || {
            let failures = stats(&bench).await.failures;
            failures.iter().map(|one| (one.failure_class, one.count)).collect::<Vec<_>>()
        };
        let classes = [FailureClass::Permanent, FailureClass::Permanent, FailureClass::Timeout];
        for (number, class) in (0..).zip(classes) {
            bench.create_with(&|args| {
                let never = serde_json::json!({ "retry_policy": { "max_retries": 0 } });
                args.policy = Some(serde_json::from_value(never).unwrap());
            }).await;
            fail_next(&bench, class).await;
            let (permanent, timeout) = (Some(FailureClass::Permanent), Some(FailureClass::Timeout));
            if number == 2 {
                bench.clock.advance(29 * 60_000);
                assert_eq!(failures().await, [(permanent, 1), (timeout, 1)]);
                bench.clock.advance(60_000);
            } else {
                bench.clock.advance(30 * 60_000);
            }
        }
        let timeout = Some(FailureClass::Timeout);
        // They failed 90, 60 and 30 minutes ago: the minute before the window is not part of it.
        assert_eq!(failures().await, [(timeout, 1)]);

        // Long afterwards they are failed still, and one row counts those of a class.
        bench.clock.advance(5 * 3_600_000);
        fold(&bench).await;
        fold(&bench).await;
        assert_eq!(failures().await, []);
        assert_eq!(counts(&bench).await, ["job Failed 3"]);
        assert_eq!(bench.plain.rows("ff_exec_count").await.len(), 2);
    }

    async fn the_longest_wait_of_a_lane_is_found_behind_every_priority_and_requirement(bench) {
        assert_eq!(stats(&bench).await.oldest_waiting, []);
        let policy = requiring(&["gpu"]);
        for (priority, needs) in [(5, false), (-3, true), (0, false), (7, true)] {
            bench.clock.advance(10);
            bench.create_with(&|args| {
                args.priority = priority;
                args.policy = needs.then(|| policy.clone());
            }).await;
        }
        bench.clock.advance(10);
        bench.create_with(&|args| args.lane_id = LaneId::new("another")).await;
        let since = async || {
            let oldest = stats(&bench).await.oldest_waiting;
            oldest.iter().map(|one| (one.lane_id.clone(), one.since.0 - START)).collect::<Vec<_>>()
        };
        let another = (LaneId::new("another"), 50);
        assert_eq!(since().await, [another.clone(), (lane(), 10)]);
        bench.claim().await;
        assert_eq!(since().await, [another.clone(), (lane(), 20)], "one that needs a gpu");
        let one = bench.backend.stats(StatsArgs::new().with_lane(LaneId::new(LANE))).await.unwrap();
        assert_eq!(one.oldest_waiting.len(), 1);
        let by_kind = bench.backend.stats(StatsArgs::new().with_kind("job")).await.unwrap();
        assert_eq!((by_kind.in_state(PublicState::Waiting), by_kind.oldest_waiting.len()), (4, 0));
    }

    async fn folding_at_once_changes_no_count(bench) {
        for _ in 0..6 {
            let (_, handle) = bench.leased().await;
            bench.backend.complete(&handle, None).await.unwrap();
        }
        let folds = (0..4).map(|_| fold(&bench));
        let (more, _) = tokio::join!(bench.leased(), futures_util::future::join_all(folds));
        assert_eq!(counts(&bench).await, ["job Active 1", "job Completed 6"]);
        bench.backend.complete(&more.1, None).await.unwrap();

        // What every statement has added becomes one row for each group that counts something.
        for _ in 0..3 {
            fold(&bench).await;
        }
        assert_eq!(counts(&bench).await, ["job Completed 7"]);
        assert_eq!(bench.plain.rows("ff_exec_count").await.len(), 1);
        let again = bench.backend.scan(Scan::CountFold, 1_000).await.unwrap();
        assert_eq!(again.processed, 0, "nothing is left to fold");
    }
}
