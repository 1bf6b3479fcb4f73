//! Limits by key among the callers: work with keys is submitted, claimed, ended or left running,
//! and stopped by an operator.

use std::collections::BTreeMap;

use ff_core::backend::CapabilitySet;
use ff_core::contracts::{ExecutionQuery, RateLimit, SetLimitArgs};
use ff_core::policy::ExecutionPolicy;
use ff_core::state::PublicState;
use ff_core::types::ExecutionId;
use uuid::Uuid;

use super::reserved::{estimated, reserved};
use crate::backends::Bench;
use crate::bench::{lane, worker};
use crate::suspended::cancellation;

/// So many executions of each tenant run at once.
const RUNNING: [(&str, usize); 2] = [("tenant/0", 1), ("tenant/1", 3)];
/// The key with a rate, and the most starts at one moment.
const RATED: (&str, usize) = ("api", 20);

/// What a caller does with work that has keys.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// Submits one with the keys of that number.
    Submit(Uuid, u64),
    /// Claims up to so many, and ends them where the flag says so.
    Claim(u32, bool),
    /// An operator ends one that runs.
    Stop,
}

/// The keys with that number: of a tenant, with the rate or without.
fn keys(number: u64) -> Vec<String> {
    let (tenant, _) = RUNNING[usize::try_from(number % 2).unwrap()];
    let rated = number.is_multiple_of(3).then_some(RATED.0);
    [tenant].into_iter().chain(rated).map(str::to_owned).collect()
}

pub(super) async fn define(bench: &Bench) {
    for (key, max) in RUNNING {
        let args = SetLimitArgs::new(key, "ada").with_running(u32::try_from(max).unwrap());
        bench.backend.set_limit(args).await.unwrap();
    }
    let rate = RateLimit::new(60, 60_000).with_burst(u32::try_from(RATED.1).unwrap());
    bench.backend.set_limit(SetLimitArgs::new(RATED.0, "ada").with_rate(rate)).await.unwrap();
}

/// Does it, and says what came of it.
pub(super) async fn perform(bench: &Bench, work: &Work) -> String {
    let backend = &bench.backend;
    match work {
        Work::Submit(uuid, number) => {
            let mut args = bench.args(&ExecutionId::from_parts(7, *uuid));
            let keyed = ExecutionPolicy { limit_keys: keys(*number), ..ExecutionPolicy::default() };
            args.policy = Some(estimated(*number, keyed));
            backend.create_execution(args).await.unwrap();
            "Submitted".to_owned()
        }
        Work::Claim(limit, ends) => {
            let none = CapabilitySet::default();
            let claimed = backend.claim_many(&lane(), &none, worker("w"), *limit).await.unwrap();
            for handle in claimed.iter().filter(|_| *ends) {
                // An operator may have stopped it meanwhile.
                let _ = backend.complete(handle, None).await;
            }
            format!("Claimed {}", claimed.len())
        }
        Work::Stop => {
            let running = ExecutionQuery::new(1).with_public_state(PublicState::Active);
            let page = backend.list_executions_by(running.with_lane_id(lane())).await.unwrap();
            let Some(one) = page.executions.first() else { return "Idle".to_owned() };
            // Its worker may have ended it meanwhile.
            let _ = backend.cancel_execution(cancellation(bench, &one.execution_id)).await;
            "Stopped".to_owned()
        }
    }
}

/// Checks the limits as they are stored now.
pub(super) async fn assert_within_limits(bench: &Bench) {
    let mut held: BTreeMap<String, usize> = BTreeMap::new();
    for row in bench.plain.rows("ff_limit_permit").await {
        *held.entry(row.text("limit_key").to_owned()).or_default() += 1;
    }
    for (key, count) in held {
        let max = RUNNING.iter().find(|(of, _)| *of == key).unwrap().1;
        assert!(count <= max, "{count} of {key} run at once");
    }

    let now = bench.clock.now().0;
    let cells = bench.plain.rows("ff_limit_cell").await;
    let counting = cells.iter().filter(|cell| now < cell.int("expires_at_ms").unwrap()).count();
    assert!(counting <= RATED.1, "{counting} starts of {} at one moment", RATED.0);
}

/// Stops all work, and checks that nothing is held any more.
pub(super) async fn give_everything_back(bench: &Bench) {
    while perform(bench, &Work::Stop).await != "Idle" {}
    assert!(bench.plain.rows("ff_limit_permit").await.is_empty());
    let reserved = reserved(bench).await;
    assert!(reserved.is_empty(), "{reserved:?} stay reserved");
}
