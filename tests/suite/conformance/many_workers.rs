//! Sixty-four workers with eight sets of capabilities over many executions. `FF_EXECUTIONS=50000`
//! makes them as many as that.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ff_core::backend::CapabilitySet;
use ff_core::types::ExecutionId;

use crate::backends::{Bench, conformance};
use crate::bench::{id_in, lane, payload_of, requiring, worker};

const WORKERS: usize = 64;

/// What executions require, and what workers offer: each requirement is met by some.
const REQUIREMENTS: [&[&str]; 9] =
    [&[], &["a"], &["b"], &["c"], &["a", "b"], &["b", "c"], &["a", "b", "c"], &["d"], &["nobody"]];
const OFFERS: [&[&str]; 8] =
    [&[], &["a"], &["b", "x"], &["c"], &["b", "a"], &["c", "b"], &["c", "b", "a"], &["d", "a"]];

/// An execution and what it requires; in the order of their lane.
type Waiting = Vec<(ExecutionId, &'static [&'static str])>;

/// The number of executions.
fn scale() -> usize {
    let given = std::env::var("FF_EXECUTIONS").ok();
    given.map_or(600, |count| count.parse().expect("FF_EXECUTIONS is a number"))
}

async fn submitted(bench: &Bench, count: usize) -> Waiting {
    let mut waiting: Vec<(i32, usize, ExecutionId, &'static [&'static str])> = Vec::new();
    for first in (0..count).step_by(100) {
        bench.clock.advance(1);
        let mut batch = Vec::new();
        for number in first..count.min(first + 100) {
            let requires = REQUIREMENTS[number * 7 % REQUIREMENTS.len()];
            let mut args = bench.args(&id_in(u16::try_from(number * 37 % 256).unwrap()));
            args.priority = i32::try_from(number % 3).unwrap();
            args.policy = Some(requiring(requires));
            waiting.push((-args.priority, first, args.execution_id.clone(), requires));
            batch.push(args);
        }
        for created in bench.backend.create_executions(batch).await {
            created.unwrap();
        }
    }
    // Those of one moment are ordered by their UUIDs.
    waiting.sort_by_key(|(last, since, id, _)| (*last, *since, *id.uuid().as_bytes()));
    waiting.into_iter().map(|(.., id, requires)| (id, requires)).collect()
}

fn meets(offer: &[&str], requires: &[&str]) -> bool {
    requires.iter().all(|token| offer.contains(token))
}

async fn taken(bench: &Bench, number: usize, limit: u32) -> Vec<ExecutionId> {
    let offered = CapabilitySet::new(OFFERS[number % OFFERS.len()].iter().copied());
    let name = format!("w{number}");
    let claimed = bench.backend.claim_many(&lane(), &offered, worker(&name), limit).await.unwrap();
    claimed.iter().map(|handle| payload_of(handle).execution_id).collect()
}

conformance! {
    async fn the_oldest_that_matches_is_served_first_and_none_twice(bench) {
        let mut waiting = submitted(&bench, scale()).await;

        // In turns: each gets exactly the best that it can run.
        for number in 0..WORKERS {
            let offer = OFFERS[number % OFFERS.len()];
            let best = waiting.iter().position(|(_, requires)| meets(offer, requires)).unwrap();
            let (id, _) = waiting.remove(best);
            assert_eq!(taken(&bench, number, 1).await, [id], "worker {number}");
        }

        // All at once: each execution goes to one worker that can run it.
        let able = |requires: &[&str]| OFFERS.iter().any(|offer| meets(offer, requires));
        let due = waiting.iter().filter(|(_, requires)| able(requires)).count();
        let left = Arc::new(AtomicUsize::new(due));
        let workers: Vec<_> = (0..WORKERS)
            .map(|number| {
                let (bench, left) = (Arc::clone(&bench), Arc::clone(&left));
                tokio::spawn(async move {
                    let (mut got, mut idle) = (Vec::new(), 0);
                    while 0 < left.load(Ordering::SeqCst) && idle < 2_000 {
                        let more = taken(&bench, number, 5).await;
                        idle = if more.is_empty() { idle + 1 } else { 0 };
                        left.fetch_sub(more.len(), Ordering::SeqCst);
                        got.extend(more);
                        tokio::task::yield_now().await;
                    }
                    got
                })
            })
            .collect();

        let mut unserved: HashMap<ExecutionId, _> = waiting.into_iter().collect();
        for (number, worker) in workers.into_iter().enumerate() {
            for id in worker.await.unwrap() {
                let requires = unserved.remove(&id).expect("served once");
                assert!(meets(OFFERS[number % OFFERS.len()], requires), "worker {number}");
            }
        }
        assert!(unserved.values().all(|requires| !able(requires)), "{unserved:?}");
    }
}
