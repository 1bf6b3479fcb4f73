//! Claiming by capabilities: what a worker may take, and that all of it comes in one order, however
//! many requirements it is spread over.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ff_core::backend::CapabilitySet;
use ff_core::plan::value::Value;
use ff_core::types::{ExecutionId, LaneId, TimestampMs};

use crate::backends::{Bench, START, conformance};
use crate::bench::{id_in, lane, payload_of, requiring, worker};

/// What executions require here: none, one alone, parts of each other, and apart from each other.
const REQUIREMENTS: [&[&str]; 7] =
    [&[], &["gpu"], &["avx", "gpu"], &["avx"], &["tpu"], &["gpu", "tpu"], &["käse", "zone:\"1\\"]];

/// An execution that waits, as this test expects it to be claimed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    last: i32,
    since: i64,
    uuid: [u8; 16],
    id: ExecutionId,
    lane: LaneId,
    requires: Vec<&'static str>,
}

fn offering(tokens: &[&str]) -> CapabilitySet {
    CapabilitySet::new(tokens.iter().copied())
}

async fn taken(bench: &Bench, lane: &LaneId, tokens: &[&str], limit: u32) -> Vec<ExecutionId> {
    let offered = offering(tokens);
    let claimed = bench.backend.claim_many(lane, &offered, worker("w"), limit).await.unwrap();
    claimed.iter().map(|handle| payload_of(handle).execution_id).collect()
}

async fn requiring_row(bench: &Bench, tokens: &[&str]) -> ExecutionId {
    let policy = requiring(tokens);
    bench.create_with(&|args| args.policy = Some(policy.clone())).await
}

/// Replaces a requirement by hand.
async fn require(bench: &Bench, id: &ExecutionId, tokens: &[&str]) {
    let key = vec![
        ("partition_key", Value::Int(i64::from(id.partition()))),
        ("execution_id", Value::Uuid(id.uuid())),
    ];
    let list = Value::TextList(tokens.iter().map(|&token| token.to_owned()).collect());
    bench.plain.set("ff_exec_core", key, vec![("required_capabilities", list)]).await;
}

/// Executions of every requirement, in two lanes, of four priorities and ages.
async fn mixed(bench: &Bench, count: i64) -> Vec<Waiting> {
    let lanes = [lane(), LaneId::new("other")];
    let mut waiting = Vec::new();
    for number in 0..count {
        let at = usize::try_from(number).unwrap();
        let (requires, since) = (REQUIREMENTS[at % 7], START + number / 20);
        let (priority, lane) = (i32::try_from(number * 5 % 4).unwrap(), &lanes[at % 5 / 4]);
        bench.clock.advance(since - bench.clock.now().0);
        let policy = requiring(requires);
        let id = bench
            .create_with(&|args| {
                args.execution_id = id_in(u16::try_from(number * 37 % 256).unwrap());
                args.lane_id = lane.clone();
                args.priority = priority;
                args.policy = Some(policy.clone());
            })
            .await;
        let (uuid, lane) = (*id.uuid().as_bytes(), lane.clone());
        let requires = requires.to_vec();
        waiting.push(Waiting { last: -priority, since, uuid, id, lane, requires });
    }
    waiting.sort();
    waiting
}

conformance! {
    async fn the_order_runs_across_all_requirements_that_a_worker_meets(bench) {
        let mut waiting = mixed(&bench, 140).await;
        let offers: [&[&str]; 6] = [
            &["avx", "gpu"],
            &["tpu", "x"],
            &[],
            &["gpu", "tpu", "avx"],
            &["zone:\"1\\", "käse", "unheard of"],
            &["gpu"],
        ];
        for (round, offer) in offers.iter().cycle().take(24).enumerate() {
            // One, a few, and towards the end more than there are.
            let limit = [1, 3, 7, 40][round / 6];
            let meets = |row: &&Waiting| {
                row.lane == lane() && row.requires.iter().all(|token| offer.contains(token))
            };
            let best = waiting.iter().filter(meets).take(limit);
            let best: Vec<ExecutionId> = best.map(|row| row.id.clone()).collect();
            let claimed = taken(&bench, &lane(), offer, u32::try_from(limit).unwrap()).await;
            assert_eq!(claimed, best, "round {round}, offering {offer:?}");
            waiting.retain(|row| !best.contains(&row.id));
        }
        let left: Vec<_> = waiting.iter().filter(|row| row.lane == lane()).collect();
        assert!(left.is_empty(), "{} are left", left.len());
        assert_eq!(taken(&bench, &LaneId::new("other"), &["gpu"], 100).await.len(), 8);
    }

    async fn a_requirement_that_was_changed_by_hand_is_the_one_that_counts(bench) {
        let first = requiring_row(&bench, &["gpu"]).await;
        bench.clock.advance(1);
        let second = requiring_row(&bench, &["gpu"]).await;
        bench.clock.advance(1);
        let third = bench.create().await;
        require(&bench, &second, &[]).await;
        require(&bench, &third, &["tpu", "avx", "tpu"]).await;

        assert_eq!(taken(&bench, &lane(), &["cpu"], 9).await, [second]);
        assert!(taken(&bench, &lane(), &[], 9).await.is_empty());
        assert!(taken(&bench, &lane(), &["tpu"], 9).await.is_empty());
        assert_eq!(taken(&bench, &lane(), &["avx", "gpu", "tpu"], 9).await, [first, third]);
    }

    async fn what_is_due_comes_in_one_order_across_requirements(bench) {
        let mut due = Vec::new();
        for number in 0..21 {
            let policy = requiring(REQUIREMENTS[usize::try_from(number).unwrap() % 7]);
            let until = START + 100 + number * 8 % 21;
            let id = bench
                .create_with(&|args| {
                    args.policy = Some(policy.clone());
                    args.delay_until = Some(TimestampMs(until));
                })
                .await;
            due.push((until, number % 7, id));
        }
        due.sort();
        assert!(taken(&bench, &lane(), &["gpu"], 9).await.is_empty());
        bench.clock.advance(115);

        // Those that require nothing, or the one or the other.
        let expected = |list: &[i64]| -> Vec<ExecutionId> {
            let open = due.iter().filter(|(until, of, _)| *until <= START + 115 && list.contains(of));
            open.map(|(_, _, id)| id.clone()).collect()
        };
        let mut claimed = taken(&bench, &lane(), &["gpu", "avx"], 2).await;
        claimed.extend(taken(&bench, &lane(), &["gpu", "avx"], 99).await);
        assert_eq!(claimed, expected(&[0, 1, 2, 3]));
        assert!(taken(&bench, &lane(), &[], 99).await.is_empty());
        assert_eq!(taken(&bench, &lane(), &["tpu"], 99).await, expected(&[4]));
    }

    async fn there_is_work_only_for_those_that_can_do_it(bench) {
        requiring_row(&bench, &["gpu", "tpu"]).await;
        requiring_row(&bench, &["avx"]).await;
        for (tokens, expected) in [
            (&[] as &[&str], false),
            (&["gpu"], false),
            (&["tpu", "x"], false),
            (&["tpu", "gpu"], true),
            (&["x", "avx"], true),
        ] {
            let found = bench.backend.has_claimable(&lane(), &offering(tokens)).await.unwrap();
            assert_eq!(found, expected, "{tokens:?}");
        }
        bench.create().await;
        assert!(bench.backend.has_claimable(&lane(), &offering(&[])).await.unwrap());
        assert!(bench.backend.has_claimable(&lane(), &offering(&["gpu"])).await.unwrap());
    }

    async fn workers_of_several_abilities_take_each_execution_once(bench) {
        let waiting = mixed(&bench, 280).await;
        let waiting: Vec<Waiting> = waiting.into_iter().filter(|row| row.lane == lane()).collect();
        let left = Arc::new(AtomicUsize::new(waiting.len()));
        let offers: [&'static [&'static str]; 4] =
            [&["avx", "gpu"], &["gpu", "tpu"], &[], &["käse", "zone:\"1\\", "tpu", "gpu", "avx"]];
        let workers: Vec<_> = (0..12)
            .map(|number| {
                let (bench, left) = (Arc::clone(&bench), Arc::clone(&left));
                let offer = offers[number % 4];
                tokio::spawn(async move { all_there_is(&bench, offer, &left).await })
            })
            .collect();
        let mut claimed = Vec::new();
        for worker in workers {
            claimed.extend(worker.await.unwrap());
        }

        assert_eq!(claimed.len(), waiting.len());
        let by_id: HashSet<&ExecutionId> = claimed.iter().map(|(id, _)| id).collect();
        assert_eq!(by_id, waiting.iter().map(|row| &row.id).collect(), "each exactly once");
        for (id, offer) in &claimed {
            let row = waiting.iter().find(|row| row.id == *id).unwrap();
            assert!(row.requires.iter().all(|token| offer.contains(token)), "{offer:?}");
        }
    }
}

/// Claims by fives until nothing is left, or nothing has come for long.
async fn all_there_is(
    bench: &Bench,
    offer: &'static [&'static str],
    left: &AtomicUsize,
) -> Vec<(ExecutionId, &'static [&'static str])> {
    let (mut claimed, mut idle) = (Vec::new(), 0);
    while 0 < left.load(Ordering::SeqCst) && idle < 2_000 {
        let more = taken(bench, &lane(), offer, 5).await;
        idle = if more.is_empty() { idle + 1 } else { 0 };
        left.fetch_sub(more.len(), Ordering::SeqCst);
        claimed.extend(more.into_iter().map(|id| (id, offer)));
        tokio::task::yield_now().await;
    }
    claimed
}
