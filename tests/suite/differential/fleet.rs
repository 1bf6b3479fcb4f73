//! Lanes and workers of a history: what operators do about lanes and workers about themselves, and
//! what that comes to.

use ff_core::contracts::{
    HeartbeatWorkerArgs, MarkWorkerDeadArgs, RegisterWorkerArgs, SetLaneStateArgs,
};
use ff_core::state::LaneState;
use ff_core::types::{LaneId, Namespace, TimestampMs, WorkerId};

use super::generator::{Generator, WORKERS};
use super::grants::named;
use super::kind::Kind;
use super::operation::{Operation, Side, Worker};
use crate::bench::NAMESPACE;

/// A call about a lane or a worker.
#[derive(Clone, Debug)]
pub(super) enum Fleet {
    Lane(LaneId, LaneState, Option<TimestampMs>),
    /// The instance of a worker, under the name of that one.
    Register(Worker, Worker, u64, TimestampMs),
    Heartbeat(Worker, TimestampMs),
    MarkDead(Worker, TimestampMs),
}

impl Generator {
    pub(super) fn fleet(&mut self, kind: Kind, now: TimestampMs) -> Operation {
        let (worker, at) = (self.pick(&WORKERS), self.around(now));
        Operation::Fleet(match kind {
            Kind::SetLane => {
                // Mostly a state that ends soon, so that most histories go on.
                let state = self.pick(&[
                    LaneState::Active,
                    LaneState::Active,
                    LaneState::Paused,
                    LaneState::Draining,
                    LaneState::Disabled,
                ]);
                let until = self.pick(&[Some(1), Some(10), Some(500), Some(1_000), None]);
                let until = until.map(|ms| TimestampMs(now.0 + ms));
                let lasts = state != LaneState::Active || self.chance(10);
                Fleet::Lane(self.lane(), state, until.filter(|_| lasts))
            }
            Kind::Register => {
                let name = if self.chance(10) { WORKERS[0] } else { worker };
                Fleet::Register(worker, name, self.pick(&[1_000, 1_000, 10_000]), at)
            }
            Kind::Heartbeat => Fleet::Heartbeat(worker, at),
            Kind::MarkDead => Fleet::MarkDead(worker, at),
            other => unreachable!("{other:?} is about no lane or worker"),
        })
    }
}

impl Side {
    pub(super) async fn fleet(&self, fleet: &Fleet) -> String {
        let backend = &self.bench.backend;
        let namespace = Namespace::new(NAMESPACE);
        match fleet.clone() {
            Fleet::Lane(lane, state, until) => {
                let args = SetLaneStateArgs::new(lane, state, "ada").with_reason("it's late");
                let args = until.map_or(args.clone(), |until| args.with_until(until));
                self.answer(backend.set_lane_state(args).await)
            }
            Fleet::Register(worker, (name, ..), ttl, now) => {
                let lanes = [LaneId::new("bulk"), LaneId::new("fast")].into();
                let offered = worker.2.iter().map(|&token| token.to_owned()).collect();
                let ((_, instance), name) = (named(worker), WorkerId::new(name));
                let args =
                    RegisterWorkerArgs::new(name, instance, lanes, offered, ttl, namespace, now);
                self.answer(backend.register_worker(args.with_version("1.0")).await)
            }
            Fleet::Heartbeat(worker, now) => {
                let args = HeartbeatWorkerArgs::new(named(worker).1, namespace, now);
                self.answer(backend.heartbeat_worker(args).await)
            }
            Fleet::MarkDead(worker, now) => {
                let args =
                    MarkWorkerDeadArgs::new(named(worker).1, namespace, "it's gone".into(), now);
                self.answer(backend.mark_worker_dead(args).await)
            }
        }
    }
}
