//! A lease lapses while its worker renews it, by two clocks that are a millisecond apart. Every
//! order of the reads and commits of a renewal and of a caller that takes the lapsed lease is
//! played on every database: exactly one of them succeeds, and the rows agree.

use std::fmt::Debug;

use ff_core::EngineError;
use ff_core::backend::{Handle, ResumeToken};
use ff_core::contracts::ResumeGrant;
use ff_core::engine::{Executor, Transition};
use ff_core::rules::execution::expire::ExpireLease;
use ff_core::rules::execution::lease::Renew;
use ff_core::rules::execution::take::ClaimByGrant;
use ff_core::rules::fence::Fence;
use ff_core::rules::key::ExecutionKey;
use ff_core::types::{ExecutionId, WorkerId, WorkerInstanceId};
use uuid::Uuid;

use crate::backends::{self, Bench};
use crate::bench::{TTL, lane, partition, payload_of};
use crate::race::{Paced, executor};

/// The number of questions to the database: two of each caller, and one more of the loser.
const QUESTIONS: u32 = 5;

fn renewal(handle: &Handle) -> Renew {
    Renew { fence: Fence::of_handle(&payload_of(handle)).unwrap(), ttl_ms: TTL }
}

fn by_grant(bench: &Bench, id: &ExecutionId) -> ClaimByGrant {
    let until = bench.clock.now().0.unsigned_abs() + 600_000;
    let place = (&partition(id)).into();
    let grant = ResumeGrant::new(id.clone(), place, "grant".into(), until, lane());
    let instance = WorkerInstanceId::new("w-9");
    let ttl = u32::try_from(TTL).unwrap();
    let token = ResumeToken::new(grant, WorkerId::new("w"), instance, ttl);
    ClaimByGrant::new(bench.tag, token, Uuid::new_v4()).unwrap()
}

/// Plays one order at the end of a lease. The clock of the renewal says that it is still live, the
/// other one that it has lapsed.
async fn play<T: Transition<Outcome: Debug>>(
    bench: &Bench,
    executor: &dyn Executor,
    order: u32,
    renew: Renew,
    take: T,
) -> (bool, Result<T::Outcome, EngineError>) {
    let (mut renew, mut take) = (Paced::new(renew), Paced::new(take));
    bench.clock.advance(TTL - 1);
    for turn in 0..QUESTIONS {
        if order & (1 << turn) == 0 {
            renew.go_on(executor).await;
        } else {
            bench.clock.advance(1);
            take.go_on(executor).await;
            bench.clock.advance(-1);
        }
    }
    let renewed = renew.finish(executor).await.is_ok();
    bench.clock.advance(1);
    (renewed, take.finish(executor).await)
}

/// Plays every order with one kind of taker; `taken` tells if it succeeded.
async fn one_succeeds<T: Transition<Outcome: Debug>>(
    bench: &Bench,
    take: impl Fn(&ExecutionId) -> T,
    taken: impl Fn(&Result<T::Outcome, EngineError>) -> bool,
) {
    let executor = executor(bench);
    let mut renewals = 0;
    for order in 0..1 << QUESTIONS {
        let (id, handle) = bench.leased().await;
        let (renewed, outcome) = play(bench, executor, order, renewal(&handle), take(&id)).await;
        let how = format!("order {order:05b}: renewed {renewed}, {outcome:?}");
        assert_ne!(renewed, taken(&outcome), "{how}");
        let epoch = bench.attempt(&id, 0).await.int("lease_epoch");
        assert_eq!(epoch == Some(1), renewed, "{how}");
        assert_eq!(bench.lease_events(&id).await.contains(&"renewed".into()), renewed, "{how}");

        renewals += u32::from(renewed);
        bench.cancel_one(&id).await;
    }
    assert!(0 < renewals && renewals < 1 << QUESTIONS, "{renewals}");
}

async fn case(bench: Bench) {
    let by_grant = |id: &ExecutionId| by_grant(&bench, id);
    one_succeeds(&bench, by_grant, |outcome| matches!(outcome, Ok(Some(_)))).await;
    let by_scan =
        |id: &ExecutionId| ExpireLease { key: ExecutionKey::of(id).unwrap(), expected: None };
    one_succeeds(&bench, by_scan, |outcome| matches!(outcome, Ok(true))).await;
    bench.assert_sound().await;
    bench.tear_down().await;
}

#[tokio::test]
async fn a_renewal_or_the_next_claim_wins_in_memory() {
    case(backends::memory().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_or_the_next_claim_wins_on_sqlite() {
    case(backends::sqlite_memory().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_or_the_next_claim_wins_on_postgres() {
    case(backends::postgres().await).await;
}
