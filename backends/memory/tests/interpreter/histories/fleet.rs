//! Lanes that close and workers that die, around one execution: a closed lane hands out nothing, a
//! dead worker holds nothing, every loss counts once, and the execution is never stuck.

use ff_core::EngineError;
use ff_core::contracts::{
    HeartbeatWorkerArgs, MarkWorkerDeadArgs, RegisterWorkerArgs, SetLaneStateArgs,
};
use ff_core::engine_backend::{EngineBackend as _, Scan};
use ff_core::policy::ExecutionPolicy;
use ff_core::state::LaneState;
use ff_core::types::{Namespace, TimestampMs};

use super::{
    Before, Handles, INDISTINCT, Model, Rows, TICK, World, check_leases, explore, handle_of,
    instance, int, is, lane, name, over, words_of,
};

const LEASE_TICKS: i64 = 3;
const ALIVE_TICKS: i64 = 2;
/// The most workers that may be lost.
const LOSSES: i64 = 1;
const DEPTH: usize = 7;

/// One step of a history. A worker is 0 or 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Tick,
    Claim(usize),
    Renew(usize),
    Complete(usize),
    Register(usize),
    Heartbeat(usize),
    MarkDead(usize),
    Open,
    Pause,
    /// For one tick.
    Disable,
    Scan(Scan),
}

fn all_steps() -> Vec<Step> {
    use Step::*;
    let mut steps = vec![Tick, Open, Pause, Disable];
    steps.extend([Scan(self::Scan::LeaseExpiry), Scan(self::Scan::WorkerTtl)]);
    for worker in [0, 1] {
        steps.extend([Claim(worker), Renew(worker), Complete(worker), Register(worker)]);
        steps.extend([Heartbeat(worker), MarkDead(worker)]);
    }
    steps
}

fn namespace() -> Namespace {
    Namespace::new("acme")
}

/// Whether the lane hands out executions now.
fn is_open(world: &World) -> bool {
    let lanes = world.rows("ff_lane_registry");
    let now = world.now().0;
    lanes.iter().all(|row| {
        let is_over = int(&row["state_until_ms"]).is_some_and(|until| until <= now);
        is(row, "state", "active") || is(row, "state", "draining") || is_over
    })
}

/// Whether a lease is in that worker's name.
fn holds(row: &Rows, worker: usize) -> bool {
    let leased = !row["lease_expires_at_ms"].is_null();
    leased && is(row, "worker_instance_id", instance(worker).as_str())
}

struct Fleet;

impl Fleet {
    async fn close(
        world: &World,
        state: LaneState,
        until: Option<TimestampMs>,
    ) -> Result<(), EngineError> {
        let args = SetLaneStateArgs::new(lane(), state, "ada");
        let args = until.map_or(args.clone(), |until| args.with_until(until));
        world.backend.set_lane_state(args).await
    }

    async fn register(world: &World, worker: usize) -> Result<(), EngineError> {
        let args = RegisterWorkerArgs::new(
            name(worker),
            instance(worker),
            [lane()].into(),
            Default::default(),
            (ALIVE_TICKS * TICK).unsigned_abs(),
            namespace(),
            world.now(),
        );
        world.backend.register_worker(args).await.map(drop)
    }
}

impl Model for Fleet {
    type Step = Step;
    type Held = Handles;

    const TABLES: &[&str] =
        &["ff_exec_core", "ff_attempt", "ff_lane_registry", "ff_worker_registry"];

    fn steps(&self) -> Vec<Step> {
        all_steps()
    }

    async fn take(
        &self,
        world: &World,
        step: Step,
        handles: &mut Handles,
    ) -> Result<(), EngineError> {
        let backend = &world.backend;
        match step {
            Step::Tick => world.tick(),
            Step::Claim(worker) => {
                if let Some(claimed) = world.claim(worker, LEASE_TICKS).await? {
                    assert!(is_open(world), "a closed lane hands out nothing");
                    handles[worker] = Some(claimed);
                }
            }
            Step::Renew(worker) => {
                backend.renew(&handle_of(handles, worker)?).await.map(drop)?;
            }
            Step::Complete(worker) => backend.complete(&handle_of(handles, worker)?, None).await?,
            Step::Register(worker) => Self::register(world, worker).await?,
            Step::Heartbeat(worker) => {
                let args = HeartbeatWorkerArgs::new(instance(worker), namespace(), world.now());
                backend.heartbeat_worker(args).await.map(drop)?;
            }
            Step::MarkDead(worker) => {
                let (reason, now) = ("r".to_owned(), world.now());
                let args = MarkWorkerDeadArgs::new(instance(worker), namespace(), reason, now);
                backend.mark_worker_dead(args).await.map(drop)?;
            }
            Step::Open => Self::close(world, LaneState::Active, None).await?,
            Step::Pause => Self::close(world, LaneState::Paused, None).await?,
            Step::Disable => {
                let until = TimestampMs(world.now().0 + TICK);
                Self::close(world, LaneState::Disabled, Some(until)).await?;
            }
            Step::Scan(scan) => assert_eq!(backend.scan(scan, 10).await?.errors, 0),
        }
        Ok(())
    }

    fn fingerprint(&self, world: &World, handles: &Handles) -> String {
        let ignored: Vec<&str> = INDISTINCT
            .into_iter()
            .chain(["registered_at_ms", "registered_by", "state_since_ms", "state_by"])
            .collect();
        format!("{}|{}", world.fingerprint(Self::TABLES, &ignored), words_of(handles))
    }

    fn check(&self, world: &World, before: &Before, history: &[Step]) {
        let (core, attempts) = (world.core(), world.attempts());
        check_leases(&core, &attempts, &history);
        let lost = int(&core["lease_reclaim_count"]).unwrap();
        let lost_before = int(&before.core["lease_reclaim_count"]).unwrap();
        let failed = is(&core, "public_state", "failed");
        assert_eq!(LOSSES < lost, failed, "one loss too many ends it, nothing else: {history:?}");
        let was_held = is(&before.core, "lifecycle_phase", "active");
        let held = is(&core, "lifecycle_phase", "active");
        let completed = matches!(history.last(), Some(Step::Complete(_)));
        let given_up = was_held && !held && !completed;
        assert_eq!(lost - lost_before, i64::from(given_up), "a loss counts once: {history:?}");

        // A worker that is not registered may hold a lease; one that was removed now may not.
        for worker in [0, 1] {
            let is_own = |row: &Rows| is(row, "worker_instance_id", instance(worker).as_str());
            let registered =
                |rows: &[Rows]| rows.iter().any(|row| is_own(row) && row["swept_at_ms"].is_null());
            let removed =
                registered(&before.workers) && !registered(&world.rows("ff_worker_registry"));
            let holds = attempts.iter().any(|row| holds(row, worker));
            assert!(!(removed && holds), "a dead worker holds something: {history:?}");
        }
    }

    fn step_to_the_end(&self, world: &World, handles: &Handles) -> Option<Step> {
        let core = world.core();
        let now = world.now().0;
        let lapsed = |row: &Rows| int(&row["lease_expires_at_ms"]).is_some_and(|at| at <= now);
        if over(&core) {
            return None;
        }
        Some(if is(&core, "lifecycle_phase", "active") {
            match handles[0] {
                Some(_) => Step::Complete(0),
                None if world.attempts().iter().any(lapsed) => Step::Scan(Scan::LeaseExpiry),
                None => Step::Tick,
            }
        } else if is_open(world) {
            Step::Claim(0)
        } else {
            Step::Open
        })
    }
}

#[tokio::test]
async fn closed_lanes_and_dead_workers_keep_no_execution_for_ever() {
    let most = u32::try_from(LOSSES).unwrap();
    let policy = ExecutionPolicy { max_reclaim_count: most, ..ExecutionPolicy::default() };
    let world = World::with_policy(Some(policy)).await;
    let met = explore(&mut Fleet, &world, [None, None], DEPTH).await;
    println!("{met:?}");
    let states: usize = met.by_depth.iter().sum();
    assert!(1_000 < states && met.longest <= 10, "{met:?}");
}
