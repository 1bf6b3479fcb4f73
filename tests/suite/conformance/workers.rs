//! The registry of workers, and the leases of workers that are lost.

use std::collections::BTreeSet;

use ff_core::backend::CapabilitySet;
use ff_core::contracts::{
    HeartbeatWorkerArgs, HeartbeatWorkerOutcome, ListLeasesArgs, ListWorkersArgs,
    MarkWorkerDeadArgs, MarkWorkerDeadOutcome, RegisterWorkerArgs, RegisterWorkerOutcome,
};
use ff_core::engine_backend::Scan;
use ff_core::state::PublicState;
use ff_core::types::{LaneId, Namespace, TimestampMs, WorkerId, WorkerInstanceId};

use crate::backends::{Bench, START, conformance};
use crate::bench::{NAMESPACE, TTL, assert_refused, id, lane, payload_of, worker};
use crate::plain::{int, text};

/// The time to live of the workers here, below that of a lease.
const ALIVE_MS: i64 = 1_000;

fn register(bench: &Bench, instance: &str) -> RegisterWorkerArgs {
    RegisterWorkerArgs::new(
        WorkerId::new("w"),
        WorkerInstanceId::new(instance),
        [LaneId::new("b"), LaneId::new("a")].into(),
        ["gpu".to_owned(), "big".to_owned()].into(),
        ALIVE_MS.unsigned_abs(),
        Namespace::new("acme"),
        bench.clock.now(),
    )
}

fn beat(bench: &Bench, instance: &str) -> HeartbeatWorkerArgs {
    let instance = WorkerInstanceId::new(instance);
    HeartbeatWorkerArgs::new(instance, Namespace::new("acme"), bench.clock.now())
}

fn dead(bench: &Bench, instance: &str, reason: &str) -> MarkWorkerDeadArgs {
    let instance = WorkerInstanceId::new(instance);
    MarkWorkerDeadArgs::new(instance, Namespace::new("acme"), reason.into(), bench.clock.now())
}

async fn events(bench: &Bench) -> Vec<String> {
    let rows = bench.plain.rows("ff_worker_registry_event").await;
    let mut events: Vec<(Option<i64>, String)> = rows
        .iter()
        .map(|row| (row.int("event_at_ms"), row.text("event_kind").to_owned()))
        .collect();
    events.sort();
    events.into_iter().map(|(_, kind)| kind).collect()
}

async fn listed(bench: &Bench) -> Vec<String> {
    let page = bench.backend.list_workers(ListWorkersArgs::new()).await.unwrap();
    page.entries.iter().map(|worker| worker.worker_instance_id.as_str().to_owned()).collect()
}

async fn sweep(bench: &Bench) -> u32 {
    bench.backend.scan(Scan::WorkerTtl, 100).await.unwrap().processed
}

conformance! {
    async fn a_worker_registers_and_gives_signs_of_life(bench) {
        let args = register(&bench, "w-1").with_version("1.2.3");
        let first = bench.backend.register_worker(args.clone()).await.unwrap();
        assert_eq!(first, RegisterWorkerOutcome::Registered);
        bench.clock.advance(ALIVE_MS - 1);
        let beaten = bench.backend.heartbeat_worker(beat(&bench, "w-1")).await.unwrap();
        let next = TimestampMs(START + 2 * ALIVE_MS - 1);
        assert_eq!(beaten, HeartbeatWorkerOutcome::Refreshed { next_expiry_ms: next });

        let page = bench.backend.list_workers(ListWorkersArgs::new()).await.unwrap();
        let [worker] = page.entries.as_slice() else { panic!("{page:?}") };
        assert_eq!(worker.worker_id.as_str(), "w");
        assert_eq!(worker.namespace.as_str(), "acme");
        assert_eq!(worker.lanes, BTreeSet::from([LaneId::new("a"), LaneId::new("b")]));
        assert_eq!(worker.capabilities, BTreeSet::from(["big".to_owned(), "gpu".to_owned()]));
        assert_eq!(worker.version.as_deref(), Some("1.2.3"));
        assert_eq!(worker.registered_at_ms, TimestampMs(START));
        assert_eq!(worker.last_heartbeat_ms, bench.clock.now());
        assert_eq!(worker.liveness_ttl_ms, ALIVE_MS.unsigned_abs());

        bench.clock.advance(5);
        let again = register(&bench, "w-1");
        let again = bench.backend.register_worker(again).await.unwrap();
        assert_eq!(again, RegisterWorkerOutcome::Refreshed);
        assert_eq!(events(&bench).await, ["registered", "heartbeat", "registered"]);
        let row = &bench.plain.rows("ff_worker_registry").await[0];
        assert_eq!(row.int("registered_at_ms"), Some(START), "kept");
        assert_eq!(row.text("capabilities_csv"), "big,gpu");
    }

    async fn an_instance_belongs_to_one_worker(bench) {
        bench.backend.register_worker(register(&bench, "w-1")).await.unwrap();
        let mut other = register(&bench, "w-1");
        other.worker_id = WorkerId::new("v");
        assert_refused(
            bench.backend.register_worker(other).await,
            "validation: InvalidInput: instance_id reassigned",
        );
    }

    async fn one_that_was_silent_for_too_long_registers_again(bench) {
        let unknown = bench.backend.heartbeat_worker(beat(&bench, "w-1")).await.unwrap();
        assert_eq!(unknown, HeartbeatWorkerOutcome::NotRegistered);
        bench.backend.register_worker(register(&bench, "w-1")).await.unwrap();
        bench.clock.advance(ALIVE_MS);
        let silent = bench.backend.heartbeat_worker(beat(&bench, "w-1")).await.unwrap();
        assert_eq!(silent, HeartbeatWorkerOutcome::NotRegistered);
        let again = bench.backend.register_worker(register(&bench, "w-1")).await.unwrap();
        assert_eq!(again, RegisterWorkerOutcome::Refreshed);
    }

    async fn the_work_of_a_dead_worker_runs_elsewhere_at_once(bench) {
        let id = bench.create().await;
        bench.backend.register_worker(register(&bench, "w-1")).await.unwrap();
        let held = bench.claim().await;
        bench.clock.advance(1);

        let marked = bench.backend.mark_worker_dead(dead(&bench, "w-1", "power cut")).await;
        assert_eq!(marked.unwrap(), MarkWorkerDeadOutcome::Marked);
        assert_eq!(bench.core(&id).await.int("lease_reclaim_count"), Some(1), "it counts");
        let taken = bench.claim().await;
        assert_eq!(payload_of(&taken).execution_id, id);
        assert!(bench.backend.renew(&held).await.is_err());
        assert!(bench.backend.complete(&held, None).await.is_err(), "a late report is refused");
        bench.backend.complete(&taken, None).await.unwrap();

        let lease = bench.of("ff_lease_event", &id).await;
        let lost: Vec<&str> = lease.iter().map(|event| event.text("cause")).collect();
        assert!(lost.contains(&"worker_lost"), "{lost:?}");
        assert_eq!(events(&bench).await, ["registered", "marked_dead"]);
        let again = bench.backend.mark_worker_dead(dead(&bench, "w-1", "again")).await.unwrap();
        assert_eq!(again, MarkWorkerDeadOutcome::NotRegistered);
    }

    async fn a_silent_worker_is_swept_and_its_work_runs_elsewhere(bench) {
        let (first, second) = (bench.create().await, bench.create().await);
        bench.backend.register_worker(register(&bench, "w-1")).await.unwrap();
        bench.claim().await;
        bench.claim().await;
        bench.clock.advance(ALIVE_MS - 1);
        assert_eq!(sweep(&bench).await, 0, "it is alive");
        bench.clock.advance(1);
        assert_eq!(sweep(&bench).await, 1);
        assert_eq!(sweep(&bench).await, 0);

        let page = bench.backend.list_workers(ListWorkersArgs::new()).await.unwrap();
        let [swept] = page.entries.as_slice() else { panic!("{page:?}") };
        assert!(!swept.is_alive(bench.clock.now()), "it is listed as dead");
        assert_eq!(events(&bench).await, ["registered", "ttl_swept"]);
        for id in [&first, &second] {
            let state = bench.backend.read_execution_state(id).await.unwrap();
            assert_eq!(state, Some(PublicState::Waiting));
        }
        const { assert!(ALIVE_MS < TTL, "the leases have not run out") };
    }

    async fn a_swept_worker_stays_listed_for_an_hour(bench) {
        const HOUR: i64 = 3_600_000;
        bench.backend.register_worker(register(&bench, "w-1")).await.unwrap();
        bench.clock.advance(ALIVE_MS);
        assert_eq!(sweep(&bench).await, 1);
        let swept = bench.plain.rows("ff_worker_registry").await;
        assert_eq!(swept[0].int("swept_at_ms"), Some(START + ALIVE_MS));

        // It is registered no longer.
        let beaten = bench.backend.heartbeat_worker(beat(&bench, "w-1")).await.unwrap();
        assert_eq!(beaten, HeartbeatWorkerOutcome::NotRegistered);
        let marked = bench.backend.mark_worker_dead(dead(&bench, "w-1", "x")).await.unwrap();
        assert_eq!(marked, MarkWorkerDeadOutcome::NotRegistered);
        bench.clock.advance(HOUR - 1);
        assert_eq!(sweep(&bench).await, 0);
        assert_eq!(bench.plain.rows("ff_worker_registry").await, swept);
        bench.clock.advance(1);
        assert_eq!(sweep(&bench).await, 1);
        assert!(listed(&bench).await.is_empty());
        assert_eq!(sweep(&bench).await, 0);
    }

    async fn a_swept_worker_registers_as_a_new_one(bench) {
        bench.backend.register_worker(register(&bench, "w-1")).await.unwrap();
        bench.clock.advance(ALIVE_MS);
        assert_eq!(sweep(&bench).await, 1);
        let mut other = register(&bench, "w-1");
        other.worker_id = WorkerId::new("v");
        let anew = bench.backend.register_worker(other.clone()).await.unwrap();
        assert_eq!(anew, RegisterWorkerOutcome::Registered);
        let again = bench.backend.register_worker(other).await.unwrap();
        assert_eq!(again, RegisterWorkerOutcome::Refreshed);
        let row = &bench.plain.rows("ff_worker_registry").await[0];
        assert_eq!((row.text("worker_id"), row.int("swept_at_ms")), ("v", None));
        assert_eq!(row.int("registered_at_ms"), Some(START + ALIVE_MS));
    }

    async fn what_another_worker_holds_is_left_alone(bench) {
        bench.create().await;
        bench.backend.register_worker(register(&bench, "w-2")).await.unwrap();
        let held = bench.claim().await;
        bench.clock.advance(ALIVE_MS);
        assert_eq!(sweep(&bench).await, 1, "w-2 was silent; w-1 never registered");
        bench.backend.renew(&held).await.unwrap();
        let unknown = bench.backend.mark_worker_dead(dead(&bench, "w-1", "x")).await.unwrap();
        assert_eq!(unknown, MarkWorkerDeadOutcome::NotRegistered);
        bench.backend.renew(&held).await.unwrap();
    }

    async fn instances_of_one_name_in_two_namespaces_keep_their_leases_apart(bench) {
        let id = bench.create().await;
        let mut namesake = register(&bench, "w-1");
        namesake.namespace = Namespace::new(NAMESPACE);
        let mark = |namespace: &str| {
            let (instance, namespace) = (WorkerInstanceId::new("w-1"), Namespace::new(namespace));
            MarkWorkerDeadArgs::new(instance, namespace, "x".into(), bench.clock.now())
        };
        for is_silent in [false, true] {
            bench.backend.register_worker(register(&bench, "w-1")).await.unwrap();
            bench.clock.advance(ALIVE_MS / 2);
            namesake.now = bench.clock.now();
            bench.backend.register_worker(namesake.clone()).await.unwrap();
            let held = bench.claim().await;
            bench.clock.advance(ALIVE_MS / 2);

            if is_silent {
                assert_eq!(sweep(&bench).await, 1);
            } else {
                bench.backend.mark_worker_dead(mark("acme")).await.unwrap();
            }
            bench.backend.renew(&held).await.unwrap();
            assert_eq!(bench.public(&id).await, "active", "the other instance holds it");

            if is_silent {
                bench.clock.advance(ALIVE_MS / 2);
                assert_eq!(sweep(&bench).await, 1);
            } else {
                bench.backend.mark_worker_dead(mark(NAMESPACE)).await.unwrap();
            }
            assert_eq!(bench.public(&id).await, "waiting");
        }
    }

    async fn work_that_loses_its_workers_ends_in_the_end(bench) {
        let mut args = bench.args(&id());
        args.policy = Some(ff_core::policy::ExecutionPolicy {
            max_reclaim_count: 2,
            ..ff_core::policy::ExecutionPolicy::default()
        });
        let id = args.execution_id.clone();
        bench.backend.create_execution(args).await.unwrap();
        for _ in 0..3 {
            bench.backend.register_worker(register(&bench, "w-1")).await.unwrap();
            bench.claim().await;
            bench.clock.advance(ALIVE_MS);
            assert_eq!(sweep(&bench).await, 1);
        }
        let state = bench.backend.read_execution_state(&id).await.unwrap();
        assert_eq!(state, Some(PublicState::Failed));
        let attempt = bench.attempt(&id, 0).await;
        assert_eq!(attempt.text("failure_message"), "its worker was lost 3 times");
    }

    async fn many_leases_of_a_dead_worker_lapse_batch_by_batch(bench) {
        let batch = (0..1_100).map(|_| bench.args(&id())).collect();
        for result in bench.backend.create_executions(batch).await {
            result.unwrap();
        }
        bench.backend.register_worker(register(&bench, "w-1")).await.unwrap();
        for _ in 0..1_100 / 100 {
            let none = CapabilitySet::default();
            bench.backend.claim_many(&lane(), &none, worker("w"), 100).await.unwrap();
        }
        bench.backend.mark_worker_dead(dead(&bench, "w-1", "x")).await.unwrap();
        let left = bench.backend.list_leases(ListLeasesArgs::new(10)).await.unwrap();
        assert!(left.leases.is_empty());
    }

    async fn workers_are_paged_by_instance_over_all_namespaces(bench) {
        for instance in ["w-1", "w-2", "w-3"] {
            bench.backend.register_worker(register(&bench, instance)).await.unwrap();
            bench.clock.advance(1);
        }
        let mut other = register(&bench, "w-2");
        other.namespace = Namespace::new("other");
        bench.backend.register_worker(other).await.unwrap();
        assert_eq!(listed(&bench).await, ["w-1", "w-2", "w-2", "w-3"]);

        let mut args = ListWorkersArgs::new();
        args.limit = Some(2);
        let page = bench.backend.list_workers(args.clone()).await.unwrap();
        let names = |page: &ff_core::contracts::ListWorkersResult| -> Vec<String> {
            page.entries.iter().map(|w| w.worker_instance_id.as_str().to_owned()).collect()
        };
        assert_eq!(names(&page), ["w-1"], "one instance is not divided between pages");
        args.after = page.cursor;
        let page = bench.backend.list_workers(args.clone()).await.unwrap();
        assert_eq!(names(&page), ["w-2", "w-2"]);
        args.after = page.cursor;
        let page = bench.backend.list_workers(args.clone()).await.unwrap();
        assert_eq!((names(&page), page.cursor), (vec!["w-3".to_owned()], None));

        args.after = None;
        args.namespace = Some(Namespace::new("other"));
        let page = bench.backend.list_workers(args).await.unwrap();
        assert_eq!(names(&page), ["w-2"]);
    }

    async fn leases_are_listed_by_worker_and_by_expiry(bench) {
        let first = bench.create().await;
        bench.claim().await;
        bench.clock.advance(10);
        bench.create().await;
        bench.claim().await;

        let all = bench.backend.list_leases(ListLeasesArgs::new(1)).await.unwrap();
        assert_eq!(all.leases[0].execution_id, first);
        assert_eq!(all.leases[0].expires_at, TimestampMs(START + TTL));
        let rest = ListLeasesArgs::new(5).with_after(all.next_cursor.unwrap());
        assert_eq!(bench.backend.list_leases(rest).await.unwrap().leases.len(), 1);
        let own = ListLeasesArgs::new(5).with_worker(WorkerInstanceId::new("w-1"));
        assert_eq!(bench.backend.list_leases(own).await.unwrap().leases.len(), 2);
        let others = ListLeasesArgs::new(5).with_worker(WorkerInstanceId::new("w-9"));
        assert!(bench.backend.list_leases(others).await.unwrap().leases.is_empty());
        let expired = ListLeasesArgs::new(5).with_expired_by(TimestampMs(START + TTL));
        assert_eq!(bench.backend.list_leases(expired).await.unwrap().leases.len(), 1);
    }

    async fn old_events_are_removed(bench) {
        bench.backend.register_worker(register(&bench, "w-1")).await.unwrap();
        bench.clock.advance(1);
        bench.backend.heartbeat_worker(beat(&bench, "w-1")).await.unwrap();
        bench.clock.advance(2 * 3_600_000);
        sweep(&bench).await;
        assert_eq!(events(&bench).await, ["registered", "ttl_swept"]);
        bench.clock.advance(7 * 86_400_000 + 1);
        sweep(&bench).await;
        assert!(events(&bench).await.is_empty());
    }

    async fn rows_of_another_engine_are_workers_too(bench) {
        let row = vec![
            ("partition_key", int(3)),
            ("namespace", text("acme")),
            ("worker_instance_id", text("theirs")),
            ("worker_id", text("w")),
            ("lanes", ff_core::plan::value::Value::TextList(vec!["a".into()])),
            ("capabilities_csv", text("")),
            ("last_heartbeat_ms", int(START)),
            ("liveness_ttl_ms", int(10)),
            ("registered_at_ms", int(START)),
        ];
        bench.plain.insert("ff_worker_registry", row).await;
        assert_eq!(listed(&bench).await, ["theirs"]);
        bench.clock.advance(9);
        assert_eq!(sweep(&bench).await, 0);
        bench.clock.advance(1);
        assert_eq!(sweep(&bench).await, 1);
    }

    async fn arguments_that_cannot_be_stored_change_nothing(bench) {
        let good = register(&bench, "w-1");
        let mut no_ttl = good.clone();
        no_ttl.liveness_ttl_ms = 0;
        let mut comma = good.clone();
        comma.capabilities = ["a,b".to_owned()].into();
        let mut bad_lane = good.clone();
        bad_lane.lanes = [LaneId::new("")].into();
        for (args, reason) in [
            (register(&bench, ""), "worker_instance_id: must not be empty"),
            (register(&bench, "\0"), "worker_instance_id: must not contain NUL (at byte 0)"),
            (comma, "capabilities: a token is empty or holds a comma"),
            (bad_lane, "lane_id: lane id is empty"),
        ] {
            assert_refused(
                bench.backend.register_worker(args).await,
                &format!("validation: InvalidInput: {reason}"),
            );
        }
        assert!(bench.backend.register_worker(no_ttl).await.is_err());
        assert_refused(
            bench.backend.mark_worker_dead(dead(&bench, "w-1", &"x".repeat(257))).await,
            "validation: InvalidInput: reason: exceeds 256 bytes (got 257)",
        );
        assert_refused(
            bench.backend.mark_worker_dead(dead(&bench, "w-1", "a\n")).await,
            "validation: InvalidInput: reason: must not contain control characters",
        );
        assert!(bench.plain.rows("ff_worker_registry").await.is_empty());
    }
}
