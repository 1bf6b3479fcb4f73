//! Schedules of a history. What their ticks submit waits in a lane of its own, which no worker of a
//! history claims from.

use ff_core::contracts::{
    BackfillScheduleArgs, CatchUp, CreateScheduleArgs, PauseScheduleArgs, ScheduleId, ScheduleSpec,
    ScheduledWork, UpdateScheduleArgs,
};
use ff_core::state::Overlap;
use ff_core::types::{LaneId, TimestampMs};

use super::generator::Generator;
use super::operation::{Operation, Side};
use crate::bench::NAMESPACE;

/// A call about a schedule.
#[derive(Clone, Debug)]
pub(super) enum Cron {
    Create(ScheduleId, Box<ScheduleSpec>),
    Update(ScheduleId, Box<ScheduleSpec>),
    Pause(ScheduleId, Option<String>),
    Resume(ScheduleId),
    Delete(ScheduleId),
    /// From then, until then.
    Backfill(ScheduleId, TimestampMs, TimestampMs),
}

impl Generator {
    pub(super) fn cron(&mut self, now: TimestampMs) -> Operation {
        let id = ScheduleId::new(NAMESPACE, self.pick(&["nightly", "hourly"]));
        Operation::Cron(match self.below(8) {
            0..=2 => Cron::Create(id, Box::new(self.spec())),
            3 => Cron::Update(id, Box::new(self.spec())),
            4 => Cron::Pause(id, self.chance(50).then(|| "repairs".to_owned())),
            5 => Cron::Resume(id),
            6 => {
                let span = self.pick(&[0, 1_000, 3_000]);
                Cron::Backfill(id, TimestampMs(now.0 - span), now)
            }
            _ => Cron::Delete(id),
        })
    }

    fn spec(&mut self) -> ScheduleSpec {
        let mut work = ScheduledWork::new(LaneId::new("cron"), "tick");
        work.input_payload = self.pick(&["", "{{tick}}", "{{tick_ms}}"]).into();
        work.priority = self.pick(&[0, 0, 9]);

        let cron = self.pick(&["* * * * * *", "*/2 * * * * *", "15 * * * * *", "@hourly"]);
        let mut spec = ScheduleSpec::new(cron, work).in_zone(self.pick(&["UTC", "Europe/Berlin"]));
        spec.jitter_ms = self.pick(&[0, 0, 500]);
        spec.overlap = self.pick(&[Overlap::Skip, Overlap::Queue, Overlap::CancelRunning]);
        spec.catch_up =
            self.pick(&[CatchUp::Latest, CatchUp::SkipMissed, CatchUp::All { at_most: 3 }]);
        spec
    }
}

impl Side {
    pub(super) async fn cron(&self, cron: &Cron) -> String {
        let backend = &self.bench.backend;
        match cron.clone() {
            Cron::Create(id, spec) => {
                let args = CreateScheduleArgs { id, spec: *spec };
                self.answer(backend.create_schedule(args).await)
            }
            Cron::Update(id, spec) => {
                let args = UpdateScheduleArgs { id, spec: *spec };
                self.answer(backend.update_schedule(args).await)
            }
            Cron::Pause(id, reason) => {
                let args = PauseScheduleArgs { id, actor: "ada".into(), reason };
                self.answer(backend.pause_schedule(args).await)
            }
            Cron::Resume(id) => self.answer(backend.resume_schedule(&id).await),
            Cron::Delete(id) => self.answer(backend.delete_schedule(&id).await),
            Cron::Backfill(id, from, until) => {
                let args = BackfillScheduleArgs { id, from, until };
                self.answer(backend.backfill_schedule(args).await)
            }
        }
    }
}
