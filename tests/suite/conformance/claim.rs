//! Claiming: which execution, in which order, by whom, and never twice.

use std::collections::HashSet;
use std::sync::Arc;

use ff_core::backend::{CapabilitySet, Handle};
use ff_core::types::{AttemptIndex, ExecutionId, LaneId, LeaseEpoch, TimestampMs};

use crate::backends::{Bench, START, conformance};
use crate::bench::{
    ACTIVE, INSTANCE, LANE, NAMESPACE, TTL, assert_refused, id, id_in, lane, partition, payload_of,
    requiring, worker,
};
use crate::conformance::fence::Fenced;
use crate::plain::{int, text};

async fn claim_with(bench: &Bench, tokens: &[&str]) -> Option<ExecutionId> {
    let offered = CapabilitySet::new(tokens.iter().copied());
    let claimed = bench.backend.claim(&lane(), &offered, worker("w")).await.unwrap();
    claimed.map(|handle| payload_of(&handle).execution_id)
}

async fn drain(bench: &Bench, limit: u32) -> Vec<ExecutionId> {
    let none = CapabilitySet::default();
    let handles = bench.backend.claim_many(&lane(), &none, worker("w"), limit).await.unwrap();
    handles.iter().map(|handle| payload_of(handle).execution_id).collect()
}

/// Claims by sevens until `wanted` are claimed in all, or nothing has come for long.
async fn worker_loop(
    bench: Arc<Bench>,
    name: String,
    left: Arc<std::sync::atomic::AtomicI64>,
) -> Vec<Handle> {
    use std::sync::atomic::Ordering::SeqCst;
    let mut claimed = Vec::new();
    let mut idle = 0;
    while 0 < left.load(SeqCst) && idle < 2_000 {
        let none = CapabilitySet::default();
        let batch = bench.backend.claim_many(&lane(), &none, worker(&name), 7).await.unwrap();
        idle = if batch.is_empty() { idle + 1 } else { 0 };
        left.fetch_sub(i64::try_from(batch.len()).unwrap(), SeqCst);
        claimed.extend(batch);
        tokio::task::yield_now().await;
    }
    claimed
}

conformance! {
    async fn a_claim_leases_the_execution(bench) {
        let id = bench.create().await;
        bench.clock.advance(10);
        let handle = bench.claim().await;
        let payload = payload_of(&handle);
        assert_eq!(payload.execution_id, id);
        assert_eq!(payload.attempt_index, AttemptIndex(0));
        assert_eq!(payload.lease_epoch, LeaseEpoch(1));
        assert_eq!(payload.lane_id.as_str(), LANE);
        assert_eq!(payload.worker_instance_id.as_str(), "w-1");
        assert_eq!(payload.lease_ttl_ms, u64::try_from(TTL).unwrap());
        assert_eq!(handle.backend, bench.tag);

        let core = bench.core(&id).await;
        assert_eq!(core.states(), ACTIVE);
        assert_eq!(core.int("started_at_ms"), Some(START + 10));
        assert_eq!(core.int("total_attempt_count"), Some(1));
        assert_eq!(core.int("attempt_index"), Some(0));
        let attempt = bench.attempt(&id, 0).await;
        assert_eq!(attempt.text("worker_id"), "w");
        assert_eq!(attempt.text("worker_instance_id"), "w-1");
        assert_eq!(attempt.int("lease_epoch"), Some(1));
        assert_eq!(attempt.int("lease_expires_at_ms"), Some(START + 10 + TTL));
        assert_eq!(attempt.int("started_at_ms"), Some(START + 10));
        assert_eq!(attempt.uuid("lease_id"), Some(payload.lease_id.0));
        assert_eq!(attempt.uuid("attempt_id"), Some(payload.attempt_id.0));
        assert_eq!(attempt.text("outcome"), "-");
        let events = bench.of("ff_lease_event", &id).await;
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].text("event_type"), "acquired");
        assert_eq!(events[0].text("execution_id"), id.uuid().to_string());
        assert_eq!(events[0].text("lease_id"), payload.lease_id.to_string());
        assert_eq!(events[0].int("occurred_at_ms"), Some(START + 10));
        assert_eq!(events[0].text("namespace"), NAMESPACE);
        assert_eq!(events[0].text("instance_tag"), INSTANCE);
        assert!(bench.try_claim().await.is_none());
    }

    async fn the_best_goes_first_whatever_its_partition(bench) {
        let mut expected = Vec::new();
        for (priority, age, partition) in
            [(9, 0, 200), (5, 0, 3), (0, 0, 17), (-3, 0, 128), (5, 1, 255), (5, 1, 0), (0, 7, 1)]
        {
            bench.clock.advance(START + age - bench.clock.now().0);
            let id = bench
                .create_with(&|args| {
                    args.execution_id = id_in(partition);
                    args.priority = priority;
                })
                .await;
            expected.push((-priority, age, *id.uuid().as_bytes(), id));
        }
        expected.sort();
        let expected: Vec<ExecutionId> = expected.into_iter().map(|(_, _, _, id)| id).collect();
        let mut claimed = vec![payload_of(&bench.claim().await).execution_id];
        claimed.extend(drain(&bench, 3).await);
        claimed.extend(drain(&bench, 100).await);
        assert_eq!(claimed, expected);
    }

    async fn every_partition_is_served(bench) {
        let ids: Vec<ExecutionId> = (0..256).map(id_in).collect();
        let batch = ids.iter().map(|id| bench.args(id)).collect();
        for result in bench.backend.create_executions(batch).await {
            result.unwrap();
        }
        let mut claimed = HashSet::new();
        for _ in 0..16 {
            claimed.extend(drain(&bench, 16).await);
        }
        assert_eq!(claimed, ids.into_iter().collect());
        assert!(bench.try_claim().await.is_none());
    }

    async fn a_row_that_needs_more_hides_nothing_behind_it(bench) {
        let needy = requiring(&["gpu"]);
        for _ in 0..40 {
            bench
                .create_with(&|args| {
                    args.priority = 9;
                    args.policy = Some(needy.clone());
                })
                .await;
        }
        let plain = bench.create().await;
        assert_eq!(claim_with(&bench, &["cpu"]).await, Some(plain));
        assert_eq!(claim_with(&bench, &["cpu"]).await, None);
        assert!(claim_with(&bench, &["gpu"]).await.is_some());
    }

    async fn every_capability_must_be_offered_verbatim(bench) {
        let both = requiring(&["gpu", "zone:eu's \"1\""]);
        let id = bench.create_with(&|args| args.policy = Some(both.clone())).await;
        for offered in [
            vec![],
            vec!["gpu"],
            vec!["zone:eu's \"1\""],
            vec!["GPU", "zone:eu's \"1\""],
            vec!["gpu,zone:eu's \"1\""],
            vec!["gpu", "zone:eu"],
        ] {
            assert_eq!(claim_with(&bench, &offered).await, None, "{offered:?}");
        }
        assert_eq!(claim_with(&bench, &["x", "zone:eu's \"1\"", "gpu"]).await, Some(id));
    }

    async fn a_lane_is_claimed_from_alone(bench) {
        let other = LaneId::new("other 'lane'");
        let id = bench.create_with(&|args| args.lane_id = other.clone()).await;
        assert!(bench.try_claim().await.is_none());
        let none = CapabilitySet::default();
        let handle = bench.backend.claim(&other, &none, worker("w")).await.unwrap().unwrap();
        assert_eq!(payload_of(&handle).execution_id, id);
    }

    async fn rows_of_older_databases_can_be_claimed(bench) {
        for states in [
            "submitted unowned eligible_now waiting pending -",
            "submitted unowned eligible_now pending pending_first_attempt -",
            "runnable unowned eligible_now waiting initial -",
            "runnable released eligible_now waiting pending_claim waiting_for_worker",
            "pending unowned eligible_now waiting pending -",
            "eligible unowned eligible_now waiting pending -",
            "blocked unowned eligible_now waiting pending -",
            "runnable unowned pending_claim waiting pending -",
        ] {
            let id = id();
            bench.insert_core(&id, states, vec![]).await;
            let handle = bench.try_claim().await.unwrap_or_else(|| panic!("{states}"));
            assert_eq!(payload_of(&handle).execution_id, id, "{states}");
            assert_eq!(bench.core(&id).await.states(), ACTIVE, "{states}");
        }
    }

    async fn nothing_else_is_claimable(bench) {
        for states in [
            ACTIVE,
            "runnable unowned not_eligible_until_time delayed pending_first_attempt -",
            "runnable unowned blocked_by_dependencies waiting_children pending_first_attempt -",
            "runnable unowned blocked_by_budget rate_limited pending_first_attempt -",
            "runnable unowned blocked_by_quota rate_limited pending_first_attempt -",
            "runnable unowned blocked_by_route waiting pending_first_attempt -",
            "runnable unowned blocked_by_lane_state waiting pending_first_attempt -",
            "runnable unowned blocked_by_operator waiting pending_first_attempt -",
            "runnable unowned not_applicable waiting pending_first_attempt -",
            "runnable unowned unheard_of waiting pending_first_attempt -",
            "suspended unowned not_applicable suspended attempt_interrupted waiting_for_signal",
            "terminal unowned not_applicable completed attempt_terminal -",
            "terminal unowned eligible_now completed attempt_terminal -",
            "cancelled unowned not_applicable cancelled attempt_terminal -",
            "cancelled unowned eligible_now cancelled attempt_terminal -",
            "unheard_of unowned eligible_now waiting pending_first_attempt -",
        ] {
            bench.insert_core(&id(), states, vec![]).await;
        }
        let before = bench.everything().await;
        assert!(bench.try_claim().await.is_none());
        assert_eq!(bench.everything().await, before);
    }

    async fn a_granted_execution_is_left_to_the_holder_of_the_grant(bench) {
        let id = id();
        let grant = vec![("granted_until_ms", int(START + 100))];
        bench.insert_core(&id, crate::bench::WAITING, grant).await;
        assert!(bench.try_claim().await.is_none());
        bench.clock.advance(99);
        assert!(bench.try_claim().await.is_none());
        bench.clock.advance(1);
        assert_eq!(payload_of(&bench.claim().await).execution_id, id);
        assert_eq!(bench.core(&id).await.int("granted_until_ms"), None);
    }

    async fn an_attempt_of_older_databases_is_leased_anew(bench) {
        let id = id();
        bench.insert_core(&id, crate::bench::WAITING, vec![("attempt_index", int(3))]).await;
        let left = vec![
            ("worker_id", text("old")),
            ("outcome", text("interrupted")),
            ("terminal_at_ms", int(START - 5)),
        ];
        bench.insert_attempt(&id, 3, 41, left).await;
        let handle = bench.claim().await;
        assert_eq!(payload_of(&handle).attempt_index, AttemptIndex(3));
        assert_eq!(payload_of(&handle).lease_epoch, LeaseEpoch(42));
        let attempt = bench.attempt(&id, 0).await;
        assert_eq!(attempt.text("worker_id"), "w");
        assert_eq!(attempt.text("outcome"), "-");
        assert_eq!(attempt.int("terminal_at_ms"), None);
        bench.backend.complete(&handle, None).await.unwrap();
    }

    async fn a_second_claim_keeps_when_the_first_began(bench) {
        let (id, _) = bench.leased().await;
        bench.clock.advance(TTL);
        bench.backend.mark_lease_expired_if_due(partition(&id), &id).await.unwrap();
        bench.clock.advance(5);
        bench.claim().await;
        let core = bench.core(&id).await;
        assert_eq!(core.int("started_at_ms"), Some(START));
        assert_eq!(core.int("total_attempt_count"), Some(2));
        assert_eq!(bench.attempt(&id, 0).await.int("started_at_ms"), Some(START + TTL + 5));
    }

    async fn epochs_only_grow(bench) {
        let id = bench.create().await;
        let mut last = LeaseEpoch(0);
        for round in 0..24 {
            let handle = bench.claim().await;
            let epoch = payload_of(&handle).lease_epoch;
            assert!(last < epoch, "round {round}: {last} then {epoch}");
            last = epoch;
            match round % 3 {
                0 => {
                    bench.clock.advance(TTL);
                    bench.backend.mark_lease_expired_if_due(partition(&id), &id).await.unwrap();
                }
                1 => {
                    let until = TimestampMs(bench.clock.now().0 + 10);
                    bench.backend.delay(&handle, until).await.unwrap();
                    bench.clock.advance(10);
                    let now = bench.clock.now();
                    bench.backend.promote_delayed(partition(&id), &lane(), &id, now).await.unwrap();
                }
                _ => {
                    let mut args = crate::conformance::fence::fail_args(
                        &handle,
                        r#"{"max_retries":100,"backoff":{"type":"fixed","delay_ms":0}}"#,
                    );
                    args.failure_reason = "again".into();
                    bench.backend.fail_execution(args).await.unwrap();
                }
            }
        }
        assert_eq!(bench.core(&id).await.int("total_attempt_count"), Some(24));
        assert_eq!(bench.attempts(&id).await.len(), 9);
    }

    async fn two_thousand_executions_are_claimed_once_each(bench) {
        let ids: Vec<ExecutionId> = (0..2_000).map(|number| id_in(number % 256)).collect();
        for chunk in ids.chunks(500) {
            let batch = chunk.iter().map(|id| bench.args(id)).collect();
            for result in bench.backend.create_executions(batch).await {
                result.unwrap();
            }
        }
        let left = Arc::new(std::sync::atomic::AtomicI64::new(2_000));
        let workers: Vec<_> = (0..16)
            .map(|number| {
                let name = format!("w{number}");
                tokio::spawn(worker_loop(Arc::clone(&bench), name, Arc::clone(&left)))
            })
            .collect();
        let mut handles = Vec::new();
        for worker in workers {
            handles.extend(worker.await.unwrap());
        }
        assert_eq!(handles.len(), 2_000);
        let claimed: HashSet<ExecutionId> =
            handles.iter().map(|handle| payload_of(handle).execution_id).collect();
        assert_eq!(claimed, ids.into_iter().collect(), "each execution exactly once");
        assert!(handles.iter().all(|handle| payload_of(handle).lease_epoch == LeaseEpoch(1)));
        let leases: HashSet<_> = handles.iter().map(|handle| payload_of(handle).lease_id).collect();
        assert_eq!(leases.len(), 2_000);
        // Every one of them works.
        for chunk in handles.chunks(500) {
            let completions = chunk.iter().map(|handle| Fenced::Complete.call(&bench, handle));
            for result in futures_util::future::join_all(completions).await {
                result.unwrap();
            }
        }
        assert!(bench.try_claim().await.is_none());
    }

    async fn terms_are_checked(bench) {
        bench.create().await;
        let none = CapabilitySet::default();
        let backend = &bench.backend;
        let many = |limit| backend.claim_many(&LANE_ID, &none, worker("w"), limit);
        assert_refused(many(0).await, "validation: InvalidInput: limit: 0 is not in 1..=1000");
        assert_refused(
            many(1_001).await,
            "validation: InvalidInput: limit: 1001 is not in 1..=1000",
        );
        let mut terms = worker("w");
        terms.lease_ttl_ms = 0;
        assert_refused(
            backend.claim(&lane(), &none, terms).await,
            "validation: InvalidInput: lease_ttl_ms: must be positive",
        );
        let mut terms = worker("w");
        terms.worker_instance_id = ff_core::types::WorkerInstanceId::new("");
        assert_refused(
            backend.claim(&lane(), &none, terms).await,
            "validation: InvalidInput: worker_instance_id: must not be empty",
        );
        assert_refused(
            backend.claim(&lane(), &none, worker("\0")).await,
            "validation: InvalidInput: worker_id: must not contain NUL (at byte 0)",
        );
        assert_refused(
            backend.claim(&lane(), &CapabilitySet::new(["a\0"]), worker("w")).await,
            "validation: InvalidInput: capabilities: must not contain NUL (at byte 1)",
        );
        assert_refused(
            backend.claim(&LaneId::new(""), &none, worker("w")).await,
            "validation: InvalidInput: lane_id: lane id is empty",
        );
        assert!(bench.try_claim().await.is_some());
    }
}

static LANE_ID: std::sync::LazyLock<LaneId> = std::sync::LazyLock::new(lane);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_row_of_sqlite_stops_no_other() {
    let bench = crate::backends::sqlite_memory().await;
    let broken = bench.create().await;
    let needy = bench.create_with(&|args| args.policy = Some(requiring(&["gpu"]))).await;
    for (column, text, id) in
        [("raw_fields", "{\"tags\":", &broken), ("required_capabilities", "[", &needy)]
    {
        let hex = id.uuid().simple().to_string();
        let sql =
            format!("UPDATE ff_exec_core SET {column} = '{text}' WHERE execution_id = x'{hex}'");
        bench.plain.execute(&sql).await;
    }
    let sound = bench.create().await;

    let claimed: HashSet<_> = drain(&bench, 9).await.into_iter().collect();
    assert_eq!(
        claimed,
        HashSet::from([broken.clone(), sound]),
        "and who needs what, is claimed by none"
    );
    bench.clock.advance(TTL);
    let lapsed = bench.backend.scan(ff_core::engine_backend::Scan::LeaseExpiry, 9).await.unwrap();
    assert_eq!((lapsed.processed, lapsed.errors), (2, 0));
    for handle in [bench.claim().await, bench.claim().await] {
        bench.backend.complete(&handle, None).await.unwrap();
    }
    let described = bench.backend.describe_execution(&broken).await.unwrap().unwrap();
    assert_eq!(described.public_state, ff_core::state::PublicState::Completed);
    bench.tear_down().await;
}
