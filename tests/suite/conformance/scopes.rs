//! Claims from some partitions: what they take, what hides nothing, and what they share.

use ff_core::backend::CapabilitySet;
use ff_core::contracts::{ClaimScope, PartitionSet, SetLimitArgs};
use ff_core::engine_error::EngineError;
use ff_core::policy::ExecutionPolicy;
use ff_core::types::{ExecutionId, TimestampMs};

use crate::backends::{Bench, conformance};
use crate::bench::{id_in, lane, payload_of, requiring, worker};

fn of(partitions: &str) -> ClaimScope {
    ClaimScope::Of(partitions.parse().unwrap())
}

async fn create(bench: &Bench, partition: u16, policy: Option<ExecutionPolicy>) -> ExecutionId {
    let id = id_in(partition);
    let args = |args: &mut ff_core::contracts::CreateExecutionArgs| {
        args.execution_id = id.clone();
        args.policy = policy.clone();
    };
    bench.create_with(&args).await;
    bench.clock.advance(1);
    id
}

async fn claims(
    bench: &Bench,
    scope: ClaimScope,
    tokens: &[&str],
    limit: u32,
) -> Result<Vec<ExecutionId>, EngineError> {
    let offered = CapabilitySet::new(tokens.iter().copied());
    let terms = worker("w").in_scope(scope);
    let claimed = bench.backend.claim_many(&lane(), &offered, terms, limit).await?;
    Ok(claimed.iter().map(|handle| payload_of(handle).execution_id).collect())
}

async fn claim(bench: &Bench, scope: ClaimScope, tokens: &[&str], limit: u32) -> Vec<ExecutionId> {
    claims(bench, scope, tokens, limit).await.unwrap()
}

conformance! {
    async fn a_claim_takes_only_executions_of_its_scope_in_their_order(bench) {
        let mut of_partition = Vec::new();
        for partition in [9, 3, 4, 3, 9, 4, 3] {
            of_partition.push((partition, create(&bench, partition, None).await));
        }
        let those = |partitions: &[u16]| -> Vec<ExecutionId> {
            let of = of_partition.iter().filter(|(partition, _)| partitions.contains(partition));
            of.map(|(_, id)| id.clone()).collect()
        };

        assert_eq!(claim(&bench, of("5"), &[], 10).await, []);
        assert_eq!(claim(&bench, of("3"), &[], 2).await, those(&[3])[..2]);
        assert_eq!(claim(&bench, of("3-4"), &["gpu"], 10).await, [
            &of_partition[2].1,
            &of_partition[5].1,
            &of_partition[6].1,
        ].map(Clone::clone));
        assert_eq!(claim(&bench, of("0-3,9"), &["gpu"], 10).await, those(&[9]));
        assert_eq!(claim(&bench, ClaimScope::Everywhere, &[], 10).await, []);
    }

    async fn nothing_outside_the_scope_hides_what_is_in_it(bench) {
        for _ in 0..80 {
            create(&bench, 1, None).await;
            create(&bench, 1, Some(requiring(&["gpu"]))).await;
            create(&bench, 2, Some(requiring(&["tpu"]))).await;
        }
        let (plain, able) = (create(&bench, 2, None).await, requiring(&["gpu"]));
        let able = create(&bench, 2, Some(able)).await;
        assert_eq!(claim(&bench, of("2"), &[], 5).await, [plain]);
        assert_eq!(claim(&bench, of("2,5"), &["gpu"], 5).await, [able]);
        assert_eq!(claim(&bench, of("2"), &["gpu"], 5).await, []);
        assert_eq!(claim(&bench, of("1"), &["gpu"], 200).await.len(), 160);
    }

    async fn a_scope_of_all_partitions_is_everywhere(bench) {
        let mut ids = Vec::new();
        for partition in [200, 0, 255] {
            ids.push(create(&bench, partition, None).await);
        }
        assert_eq!(claim(&bench, of("0-255"), &[], 10).await, ids);
    }

    async fn a_scope_of_partitions_that_there_are_not_is_refused(bench) {
        for partitions in ["256", "0-256", "32767"] {
            let refused = claims(&bench, of(partitions), &[], 1).await.unwrap_err();
            assert!(refused.to_string().contains("is not below 256"), "{refused}");
        }
        assert!(PartitionSet::new([]).is_err());
    }

    async fn what_is_due_is_taken_of_the_scope(bench) {
        let mut ids = Vec::new();
        for partition in [4, 3] {
            let id = id_in(partition);
            let due = TimestampMs(bench.clock.now().0 + 100);
            bench.create_with(&|args| {
                (args.execution_id, args.delay_until) = (id.clone(), Some(due));
            }).await;
            ids.push(id);
        }
        assert_eq!(claim(&bench, of("3"), &[], 5).await, []);
        bench.clock.advance(200);
        assert_eq!(claim(&bench, of("3"), &[], 5).await, [ids[1].clone()]);
        assert_eq!(claim(&bench, of("4"), &[], 5).await, [ids[0].clone()]);
    }

    async fn a_limit_counts_over_all_scopes_and_hides_nothing_in_one(bench) {
        let one = SetLimitArgs::new("printer", "ada").with_running(1);
        bench.backend.set_limit(one).await.unwrap();
        let keyed = |key: &str| {
            Some(ExecutionPolicy { limit_keys: vec![key.into()], ..ExecutionPolicy::default() })
        };
        let first = create(&bench, 3, keyed("printer")).await;
        let second = create(&bench, 4, keyed("printer")).await;
        let behind = create(&bench, 4, keyed("scanner")).await;
        let elsewhere = create(&bench, 5, keyed("scanner")).await;

        assert_eq!(claim(&bench, of("3"), &[], 5).await, [first]);
        assert_eq!(claim(&bench, of("4"), &[], 5).await, [behind]);
        assert_eq!(claim(&bench, of("4"), &["gpu"], 5).await, []);
        assert_eq!(claim(&bench, of("5"), &[], 5).await, [elsewhere]);
        let raised = SetLimitArgs::new("printer", "ada").with_running(2);
        bench.backend.set_limit(raised).await.unwrap();
        assert_eq!(claim(&bench, of("4"), &[], 5).await, [second]);
    }

    async fn keys_take_turns_within_a_scope(bench) {
        let fair = |key: &str| {
            let fairness_key = Some(key.to_owned());
            Some(ExecutionPolicy { fairness_key, ..ExecutionPolicy::default() })
        };
        let mut ids = Vec::new();
        for (key, partition) in [("a", 3), ("a", 3), ("a", 4), ("b", 3), ("b", 4), ("b", 3)] {
            ids.push(create(&bench, partition, fair(key)).await);
        }
        let expected = [0, 3, 1, 5].map(|place: usize| ids[place].clone());
        assert_eq!(claim(&bench, of("3"), &[], 10).await, expected);
        let rest = [2, 4].map(|place: usize| ids[place].clone());
        assert_eq!(claim(&bench, of("4"), &[], 10).await, rest);
    }

    async fn claims_of_different_scopes_at_once_take_each_their_own(bench) {
        let printer = SetLimitArgs::new("printer", "ada").with_running(100);
        bench.backend.set_limit(printer).await.unwrap();
        for number in 0..40 {
            let limit_keys = if number % 3 == 0 { vec!["printer".into()] } else { Vec::new() };
            let policy = ExecutionPolicy { limit_keys, ..ExecutionPolicy::default() };
            create(&bench, number % 4, Some(policy)).await;
        }
        let scopes = ["0", "1", "2", "3", "0", "2"];
        let claimed = futures_util::future::join_all(
            scopes.map(|scope| claim(&bench, of(scope), &[], 5)),
        ).await;
        let mut all = Vec::new();
        for (scope, claimed) in scopes.iter().zip(claimed) {
            let partitions: PartitionSet = scope.parse().unwrap();
            for id in claimed {
                assert!(partitions.iter().any(|one| one == id.partition()), "{scope}: {id}");
                all.push(id);
            }
        }
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count, "each is taken once");
    }
}
