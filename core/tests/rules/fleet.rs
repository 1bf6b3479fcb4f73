//! Lanes and workers: what each state lets through, as one reviewed page.

use std::fmt::Write as _;

use ff_core::contracts::{HeartbeatWorkerArgs, MarkWorkerDeadArgs, RegisterWorkerArgs};
use ff_core::plan::Held;
use ff_core::rules::decision::Transition;
use ff_core::rules::lane::{ReadLane, closed_to_claims, closed_to_submissions};
use ff_core::rules::worker::lost::{Forget, Sweep};
use ff_core::rules::worker::registry::{Heartbeat, MarkDead, Register};
use ff_core::rules::worker::row::{Liveness, WorkerKey};
use ff_core::schema::admin::lane_registry;
use ff_core::schema::worker::worker_registry;
use ff_core::state::{ClosedSet as _, LaneState};
use ff_core::types::{LaneId, Namespace, TimestampMs, WorkerId, WorkerInstanceId};

use crate::page::{self, Side};
use crate::stored::{RowOf, Stored, blank};
use crate::{Decided, NOW, decide, outcome};

/// The time to live of every worker here.
const TTL: i64 = 100;
/// The time for which a swept worker stays listed.
const KEPT: i64 = 3_600_000;

fn lane_row(state: LaneState, until: Option<i64>) -> RowOf {
    blank()
        .with(lane_registry::lane_id, "main".into())
        .with(lane_registry::registered_at_ms, 1)
        .with(lane_registry::registered_by, "test".into())
        .with(lane_registry::state, state)
        .with(lane_registry::state_reason, None)
        .with(lane_registry::state_by, None)
        .with(lane_registry::state_since_ms, None)
        .with(lane_registry::state_until_ms, until)
}

#[test]
fn every_state_of_a_lane() {
    let states = LaneState::all();
    let untils = [("for ever", None), ("until now", Some(NOW)), ("until later", Some(NOW + 1))];
    let sides = [
        Side { name: "state", values: states.iter().map(|state| state.as_str()).collect() },
        Side { name: "end", values: untils.iter().map(|(name, _)| *name).collect() },
    ];
    let lane = LaneId::new("main");
    let read = ReadLane::new(&lane).unwrap();
    assert!(outcome(&read, &Stored::nothing()).is_none());

    let (lines, _) = page::lines(&sides, |at| {
        let row = lane_row(states[at[0]], untils[at[1]].1);
        let meets = |guard: ff_core::plan::Guard| guard.holds.accepts(&row.row(), &Held::default());
        let claims = if meets(closed_to_claims(&lane, NOW)) { "no" } else { "" };
        let refuses = meets(closed_to_submissions(&lane, TimestampMs(NOW)));
        let submissions = if refuses { "no" } else { "" };
        let info = outcome(&read, &Stored::nothing().with(&row)).unwrap();
        format!("{}; {claims} claims, {submissions} submissions", info.state.as_str())
            .replace("  ", " ")
    });
    insta::assert_snapshot!(lines.join("\n"), @r"
    active | any: active; claims, submissions
    paused | any but until now: paused; no claims, submissions
    paused | until now: active; claims, submissions
    draining | any but until now: draining; claims, no submissions
    draining | until now: active; claims, submissions
    disabled | any but until now: disabled; no claims, no submissions
    disabled | until now: active; claims, submissions
    ");
}

pub(crate) fn worker_row(key: &WorkerKey, liveness: Liveness) -> RowOf {
    blank()
        .with(worker_registry::partition_key, key.partition)
        .with(worker_registry::namespace, key.namespace.clone())
        .with(worker_registry::worker_instance_id, key.instance.clone())
        .with(worker_registry::worker_id, "pool".into())
        .with(worker_registry::lanes, Vec::new())
        .with(worker_registry::capabilities_csv, String::new())
        .with(worker_registry::last_heartbeat_ms, liveness.last_ms)
        .with(worker_registry::liveness_ttl_ms, liveness.ttl_ms)
        .with(worker_registry::registered_at_ms, 1)
        .with(worker_registry::version, None)
        .with(worker_registry::swept_at_ms, liveness.swept_at_ms)
}

fn key() -> WorkerKey {
    let instance = WorkerInstanceId::new("w1");
    WorkerKey::of(&Namespace::new("acme"), &instance).unwrap()
}

fn register(worker: &str) -> Register {
    let args = RegisterWorkerArgs::new(
        WorkerId::new(worker),
        WorkerInstanceId::new("w1"),
        [LaneId::new("main")].into(),
        Default::default(),
        TTL.unsigned_abs(),
        Namespace::new("acme"),
        TimestampMs(NOW),
    );
    Register::new(args).unwrap()
}

fn heartbeat(at: i64) -> Heartbeat {
    let (instance, namespace) = (WorkerInstanceId::new("w1"), Namespace::new("acme"));
    Heartbeat::new(&HeartbeatWorkerArgs::new(instance, namespace, TimestampMs(at))).unwrap()
}

fn dead() -> MarkDead {
    let (instance, namespace) = (WorkerInstanceId::new("w1"), Namespace::new("acme"));
    let (reason, now) = ("gone".to_owned(), TimestampMs(NOW));
    MarkDead::new(MarkWorkerDeadArgs::new(instance, namespace, reason, now)).unwrap()
}

fn word<T: Transition>(operation: &T, stored: &Stored) -> String
where
    T::Outcome: std::fmt::Debug,
{
    match decide(operation, stored) {
        Decided::Plan(plan, answer) => {
            format!("{}; {}", answer.unwrap_or_default(), page::written(&plan))
        }
        decided @ (Decided::Answer(_) | Decided::Refused(_)) => decided.to_string(),
    }
}

#[test]
fn every_operation_on_every_worker() {
    let at = |last_ms, swept_at_ms| Some(Liveness { last_ms, ttl_ms: TTL, swept_at_ms });
    let rows = [
        ("absent", None),
        ("alive", at(NOW - TTL + 1, None)),
        ("silent", at(NOW - TTL, None)),
        ("swept", at(NOW - TTL - 1, Some(NOW))),
        ("swept long ago", at(NOW - TTL - KEPT, Some(NOW - KEPT))),
    ];
    let sides = [Side { name: "worker", values: rows.iter().map(|(name, _)| *name).collect() }];
    // The scan has read a silent worker.
    let liveness = Liveness { last_ms: NOW - TTL, ttl_ms: TTL, swept_at_ms: None };
    type Word = Box<dyn Fn(&Stored) -> String>;
    let operations: [(&str, Word); 7] = [
        ("register_worker", Box::new(|stored| word(&register("pool"), stored))),
        ("register_worker, as another", Box::new(|stored| word(&register("other"), stored))),
        ("heartbeat_worker", Box::new(|stored| word(&heartbeat(NOW), stored))),
        ("heartbeat_worker, late", Box::new(|stored| word(&heartbeat(NOW - TTL), stored))),
        ("mark_worker_dead", Box::new(|stored| word(&dead(), stored))),
        ("sweep", Box::new(move |stored| word(&Sweep { key: key(), liveness }, stored))),
        ("forget", Box::new(|stored| word(&Forget { key: key() }, stored))),
    ];
    let mut page = String::new();
    for (name, decide) in operations {
        let (lines, _) = page::lines(&sides, |at| {
            let row = rows[at[0]].1.map(|liveness| worker_row(&key(), liveness));
            decide(&row.iter().fold(Stored::nothing(), Stored::with))
        });
        writeln!(page, "{name}").unwrap();
        lines.iter().for_each(|line| writeln!(page, "  {line}").unwrap());
    }
    insta::assert_snapshot!(page, @r"
    register_worker
      absent: Registered; +worker_registry +worker_registry_event
      alive silent: Refreshed; worker_registry +worker_registry_event
      swept swept long ago: Registered; worker_registry +worker_registry_event
    register_worker, as another
      absent: Registered; +worker_registry +worker_registry_event
      alive silent: refused validation: InvalidInput: instance_id reassigned
      swept swept long ago: Registered; worker_registry +worker_registry_event
    heartbeat_worker
      any but alive: answer NotRegistered
      alive: Refreshed { next_expiry_ms: TimestampMs(1000100) }; worker_registry +worker_registry_event
    heartbeat_worker, late
      any but alive silent: answer NotRegistered
      alive: Refreshed { next_expiry_ms: TimestampMs(1000001) }; worker_registry +worker_registry_event
      silent: Refreshed { next_expiry_ms: TimestampMs(1000000) }; worker_registry +worker_registry_event
    mark_worker_dead
      any but alive silent: answer NotRegistered
      alive silent: Marked; -worker_registry +worker_registry_event
    sweep
      any but silent: answer false
      silent: true; worker_registry +worker_registry_event
    forget
      any but swept long ago: answer false
      swept long ago: true; -worker_registry
    ");
}
