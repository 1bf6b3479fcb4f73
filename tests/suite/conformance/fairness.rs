//! Fairness: the keys of a lane that wait take turns, by their weights.

use std::collections::BTreeMap;
use std::fmt::Debug;

use ff_core::backend::{CapabilitySet, Handle};
use ff_core::contracts::{
    ClaimingWorker, ExplainExecutionArgs, SetFairnessWeightArgs, SetLimitArgs,
};
use ff_core::engine_error::EngineError;
use ff_core::policy::ExecutionPolicy;
use ff_core::rules::ctx::{Seeded, Source as _};
use ff_core::types::{ExecutionId, LaneId};

use super::budgeted::claim;
use crate::backends::{Bench, conformance};
use crate::bench::{id, lane, payload_of, requiring, worker};
use crate::stopping::Stop;

fn fair(key: &str) -> ExecutionPolicy {
    let fairness_key = (!key.is_empty()).then(|| key.to_owned());
    ExecutionPolicy { fairness_key, ..ExecutionPolicy::default() }
}

async fn create(bench: &Bench, policy: ExecutionPolicy) -> ExecutionId {
    let id = bench.create_with(&|args| args.policy = Some(policy.clone())).await;
    bench.clock.advance(1);
    id
}

/// Submits so many of each key, one key after the other. Returns the key of each execution.
async fn backlog(bench: &Bench, of: &[(&str, usize)]) -> BTreeMap<ExecutionId, String> {
    let mut keys = BTreeMap::new();
    for &(key, count) in of {
        for _ in 0..count {
            keys.insert(create(bench, fair(key)).await, key.to_owned());
        }
    }
    keys
}

async fn weigh(bench: &Bench, key: &str, weight: u32) {
    let args = SetFairnessWeightArgs::new(lane(), key, weight, "ada");
    bench.backend.set_fairness_weight(args).await.unwrap();
}

/// The keys of so many claims of one execution each.
async fn turns(bench: &Bench, keys: &BTreeMap<ExecutionId, String>, count: usize) -> Vec<String> {
    let mut turns = Vec::new();
    for _ in 0..count {
        let claimed = claim(bench, &[], 1).await;
        turns.extend(claimed.iter().map(|id| keys[id].clone()));
    }
    turns
}

fn counted<'a>(keys: impl IntoIterator<Item = &'a String>) -> BTreeMap<&'a str, usize> {
    let mut counts = BTreeMap::new();
    for key in keys {
        *counts.entry(key.as_str()).or_default() += 1;
    }
    counts
}

/// Checks that in every window of the turns each key got at least its share less one.
fn assert_fair(turns: &[String], weights: &[(String, usize)]) {
    let all: usize = weights.iter().map(|(_, weight)| weight).sum();
    for (key, weight) in weights {
        for from in 0..turns.len() {
            let mut got = 0;
            for (count, turn) in turns[from..].iter().enumerate().map(|(at, turn)| (at + 1, turn)) {
                got += usize::from(turn == key);
                let least = (count * weight / all).saturating_sub(1);
                assert!(least <= got, "{key} got {got} of {count} from {from}: {turns:?}");
            }
        }
    }
}

fn assert_invalid<T: Debug>(outcome: Result<T, EngineError>, field: &str) {
    let error = outcome.expect_err("must be refused");
    assert!(error.to_string().contains(&format!("{field}: ")), "{error}");
}

conformance! {
    async fn keys_take_turns_whoever_came_first(bench) {
        let keys = backlog(&bench, &[("a", 9), ("b", 3), ("", 3)]).await;
        assert_eq!(turns(&bench, &keys, 9).await, ["", "a", "b", "", "a", "b", "", "a", "b"]);
        // What is left is of one key.
        assert_eq!(turns(&bench, &keys, 9).await, ["a"; 6]);
        assert_eq!(claim(&bench, &[], 1).await, []);
    }

    async fn a_weight_counts_as_so_many_turns(bench) {
        weigh(&bench, "big", 3).await;
        let keys = backlog(&bench, &[("big", 20), ("small", 20)]).await;
        let first = turns(&bench, &keys, 8).await;
        assert_eq!(counted(&first), BTreeMap::from([("big", 6), ("small", 2)]));
        assert!(bench.backend.remove_fairness_weight(&lane(), "big").await.unwrap());
        assert!(!bench.backend.remove_fairness_weight(&lane(), "big").await.unwrap());
        let next = turns(&bench, &keys, 8).await;
        assert_eq!(counted(&next), BTreeMap::from([("big", 4), ("small", 4)]));
    }

    async fn claims_of_many_at_once_are_shared_as_one_is(bench) {
        let keys = backlog(&bench, &[("a", 99), ("b", 99), ("c", 99)]).await;
        let claims = (0..3).map(|_| claim(&bench, &[], 40));
        let claimed = futures_util::future::join_all(claims).await.concat();
        let counts = counted(claimed.iter().map(|id| &keys[id]));
        assert_eq!(counts, BTreeMap::from([("a", 40), ("b", 40), ("c", 40)]));
    }

    async fn one_claim_of_many_is_shared_as_many_claims_of_one_are(bench) {
        weigh(&bench, "b", 2).await;
        let keys = backlog(&bench, &[("a", 40), ("b", 40), ("c", 40)]).await;
        for _ in 0..2 {
            let claimed = claim(&bench, &[], 40).await;
            let counts = counted(claimed.iter().map(|id| &keys[id]));
            assert_eq!(counts, BTreeMap::from([("a", 10), ("b", 20), ("c", 10)]));
        }
        // Where a key has no more, the others get all.
        let rest = claim(&bench, &[], 100).await;
        let counts = counted(rest.iter().map(|id| &keys[id]));
        assert_eq!(counts, BTreeMap::from([("a", 20), ("c", 20)]));
    }

    async fn priority_orders_the_executions_of_one_key(bench) {
        let keys = backlog(&bench, &[("a", 2), ("b", 2)]).await;
        let urgent = bench
            .create_with(&|args| (args.policy, args.priority) = (Some(fair("b")), 9))
            .await;
        assert_eq!(turns(&bench, &keys, 1).await, ["a"]);
        assert_eq!(claim(&bench, &[], 1).await, [urgent]);
    }

    async fn a_full_limit_costs_its_key_no_turn_and_hides_nothing(bench) {
        bench.backend.set_limit(SetLimitArgs::new("tenant/1", "ada").with_running(1)).await.unwrap();
        let limited = ExecutionPolicy { limit_keys: vec!["tenant/1".into()], ..fair("a") };
        let first = create(&bench, limited.clone()).await;
        let second = create(&bench, limited).await;
        let keys = backlog(&bench, &[("b", 6), ("c", 6)]).await;
        assert_eq!(claim(&bench, &[], 1).await, std::slice::from_ref(&first));
        assert_eq!(counted(&turns(&bench, &keys, 6).await), BTreeMap::from([("b", 3), ("c", 3)]));
        bench.cancel_one(&first).await;
        let next = claim(&bench, &[], 3).await;
        assert!(next.contains(&second), "{next:?}");
    }

    async fn lanes_and_workers_are_shared_by_what_they_can_run(bench) {
        let other = LaneId::new("other");
        let elsewhere = bench
            .create_with(&|args| (args.lane_id, args.policy) = (other.clone(), Some(fair("a"))))
            .await;
        let keys = backlog(&bench, &[("a", 4), ("b", 4)]).await;
        assert_eq!(turns(&bench, &keys, 2).await, ["a", "b"]);
        let claimed = bench.backend.claim(&other, &CapabilitySet::default(), worker("w")).await;
        assert_eq!(payload_of(&claimed.unwrap().unwrap()).execution_id, elsewhere);

        // A worker that can run one key alone takes it, and no other is charged.
        let routing_requirements = requiring(&["gpu"]).routing_requirements;
        let gpu = ExecutionPolicy { routing_requirements, ..fair("a") };
        create(&bench, gpu).await;
        assert_eq!(claim(&bench, &["gpu"], 9).await.len(), 7);
    }

    async fn what_stops_and_waits_again_takes_a_turn_again(bench) {
        bench.seed().await;
        for stop in Stop::ALL {
            let id = create(&bench, stop.policy(fair("a"))).await;
            let handle = bench.claim().await;
            assert_eq!(payload_of(&handle).execution_id, id, "{stop:?}");
            bench.stop(stop, &handle).await;
            let _ = bench.backend.cancel_execution(
                crate::suspended::cancellation(&bench, &id)).await;
        }
    }

    async fn explanations_name_no_fairness(bench) {
        let id = create(&bench, fair("a")).await;
        create(&bench, fair("b")).await;
        let worker = ClaimingWorker::new(lane(), CapabilitySet::default());
        let args = ExplainExecutionArgs::new(id).for_worker(worker);
        let explained = bench.backend.explain_execution(args).await.unwrap();
        assert_eq!(explained.reasons, []);
        let able = CapabilitySet::default();
        assert!(bench.backend.has_claimable(&lane(), &able).await.unwrap());
        assert!(bench.plain.rows("ff_fair_lane").await.is_empty(), "asking changes nothing");
    }

    /// In every window of n claims each key that waits gets at least its share less one.
    async fn in_every_window_each_key_gets_its_share(bench) {
        let mut source = Seeded::new(7);
        let mut drawn = |most: usize| 1 + (source.fraction() * most as f64) as usize;
        for round in 0..3 {
            let keys = 1 + drawn(5);
            let most = [3, 100, 1_000][drawn(3) - 1];
            let weights: Vec<usize> = (0..keys).map(|_| drawn(most)).collect();
            let all: usize = weights.iter().sum();
            let weights: Vec<(String, usize)> = (0..).map(|key| format!("{round}/{key}"))
                .zip(weights).collect();
            let mut of = Vec::new();
            for (key, weight) in &weights {
                weigh(&bench, key, u32::try_from(*weight).unwrap()).await;
                // One more than it gets of 40 claims.
                of.push((key.as_str(), 40 * weight / all + 3));
            }
            let keys = backlog(&bench, &of).await;
            let turns = turns(&bench, &keys, 40).await;
            assert_eq!(turns.len(), 40);
            assert_fair(&turns, &weights);
            while !claim(&bench, &[], 100).await.is_empty() {}
        }
    }

    async fn racing_claims_share_a_lane_as_one_would(bench) {
        let keys = backlog(&bench, &[("a", 60), ("b", 60), ("c", 60)]).await;
        let none = CapabilitySet::default();
        let one = async || {
            let mut claimed: Vec<Handle> = Vec::new();
            for _ in 0..15 {
                claimed.extend(bench.backend.claim(&lane(), &none, worker("w")).await.unwrap());
            }
            claimed
        };
        let (a, b, c, d) = tokio::join!(one(), one(), one(), one());
        let claimed: Vec<_> = [a, b, c, d].concat();
        let claimed = claimed.iter().map(|handle| &keys[&payload_of(handle).execution_id]);
        assert_eq!(counted(claimed), BTreeMap::from([("a", 20), ("b", 20), ("c", 20)]));
    }

    async fn weights_and_keys_out_of_bounds_are_refused(bench) {
        let set = |key: &str, weight| {
            let args = SetFairnessWeightArgs::new(lane(), key, weight, "ada");
            bench.backend.set_fairness_weight(args)
        };
        assert_invalid(set("a", 0).await, "weight");
        assert_invalid(set("a", 1_001).await, "weight");
        assert_invalid(set("a\0", 1).await, "fairness_key");
        let removed = bench.backend.remove_fairness_weight(&lane(), "a\0").await;
        assert_invalid(removed, "fairness_key");
        let listed = bench.backend.list_fairness_weights(&lane(), Some("\0".into()), 9).await;
        assert_invalid(listed, "cursor");
        for key in ["", "a\0", "\u{1}a"] {
            let mut args = bench.args(&id());
            args.policy =
                Some(ExecutionPolicy { fairness_key: Some(key.into()), ..fair("a") });
            assert_invalid(bench.backend.create_execution(args).await, "policy.fairness_key");
        }
        assert!(bench.plain.rows("ff_fair_weight").await.is_empty());
    }

    async fn weights_are_listed_by_key_page_by_page(bench) {
        for key in ["b", "a", "", "c"] {
            weigh(&bench, key, 7).await;
        }
        weigh(&bench, "a", 8).await;
        let lane = lane();
        let list = |cursor, limit| bench.backend.list_fairness_weights(&lane, cursor, limit);
        assert_eq!(list(None, 0).await.unwrap().weights, []);
        let first = list(None, 3).await.unwrap();
        let listed: Vec<_> = first.weights.iter().map(|w| (w.fairness_key.as_str(), w.weight)).collect();
        assert_eq!(listed, [("", 7), ("a", 8), ("b", 7)]);
        let last = list(first.next_cursor, 3).await.unwrap();
        assert_eq!((last.weights.len(), last.next_cursor), (1, None));
        let elsewhere = bench.backend.list_fairness_weights(&LaneId::new("x"), None, 9).await;
        assert_eq!(elsewhere.unwrap().weights, []);
    }
}
