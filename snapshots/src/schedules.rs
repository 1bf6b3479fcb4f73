//! The situations in which schedules are sampled.

use ff_core::contracts::{
    BackfillScheduleArgs, CatchUp, CreateScheduleArgs, ListSchedulesArgs, PauseScheduleArgs,
    ScheduleId, ScheduleSpec, ScheduledWork, UpdateScheduleArgs,
};
use ff_core::engine_backend::{EngineBackend, Scan};
use ff_core::policy::ExecutionPolicy;
use ff_core::rules::scan::DueRow;
use ff_core::rules::schedule::key::ScheduleKey;
use ff_core::state::Overlap;
use ff_core::types::TimestampMs;

use super::fixtures::{capabilities, lane, worker};
use super::money::budget;
use super::stage::{NOON, Scene, now};

const MINUTE: i64 = 60_000;

/// A schedule that a scan passed over.
pub(super) fn stuck_schedule() -> DueRow {
    let (namespace, name) = ("billing".into(), "nightly".into());
    DueRow::Schedule(ScheduleKey { partition: 7, namespace, name })
}

fn id(name: &str) -> ScheduleId {
    ScheduleId::new("billing", name)
}

fn spec() -> ScheduleSpec {
    let mut work = ScheduledWork::new(lane(), "render-invoices");
    work.input_payload = br#"{"until":"{{tick}}"}"#.to_vec();
    ScheduleSpec::new("*/5 * * * *", work).in_zone("Europe/Berlin")
}

fn with_overlap(overlap: Overlap) -> ScheduleSpec {
    let mut spec = spec();
    spec.overlap = overlap;
    spec.catch_up = CatchUp::All { at_most: 10 };
    spec
}

impl Scene {
    pub(super) fn schedules(&mut self) {
        let create = CreateScheduleArgs { id: id("nightly"), spec: spec() };
        for case in ["a new one", "one that exists"] {
            let create = create.clone();
            self.sample("create_schedule", case, async |b| b.create_schedule(create).await);
        }

        let update = UpdateScheduleArgs { id: id("nightly"), spec: with_overlap(Overlap::Queue) };
        self.sample("update_schedule", "another policy", async |b| b.update_schedule(update).await);
        let pause = PauseScheduleArgs {
            id: id("nightly"),
            actor: "ops".into(),
            reason: Some("a release".into()),
        };
        self.sample("pause_schedule", "at work", async |b| b.pause_schedule(pause).await);
        self.sample("resume_schedule", "paused", async |b| b.resume_schedule(&id("nightly")).await);
        self.sample("get_schedule", "one of them", async |b| b.get_schedule(&id("nightly")).await);

        let all = ListSchedulesArgs { limit: 10, ..ListSchedulesArgs::default() };
        let own = ListSchedulesArgs { namespace: Some("billing".into()), ..all.clone() };
        let rest = ListSchedulesArgs { after: Some(id("a")), ..all.clone() };
        let own_rest = ListSchedulesArgs { after: Some(id("a")), ..own.clone() };
        for (case, args) in [
            ("all", all),
            ("of a namespace", own),
            ("after one", rest),
            ("of a namespace, after one", own_rest),
        ] {
            self.sample("list_schedules", case, async |b| b.list_schedules(args).await);
        }

        self.ticks();
        self.tick_with_an_execution();
        self.pass(MINUTE * 60);
        let until = self.at();
        let backfill = BackfillScheduleArgs { id: id("nightly"), from: TimestampMs(NOON), until };
        self.sample("backfill_schedule", "an hour", async |b| b.backfill_schedule(backfill).await);
        self.sample("delete_schedule", "at work", async |b| {
            b.delete_schedule(&id("nightly")).await
        });
    }

    /// A tick with an execution that was submitted by hand before.
    fn tick_with_an_execution(&mut self) {
        self.in_own_database(|scene| {
            let _ = now(scene
                .backend
                .create_schedule(CreateScheduleArgs { id: id("nightly"), spec: spec() }));
            scene.pass(MINUTE * 5);
            let (from, until) = (TimestampMs(NOON), scene.at());
            let span = BackfillScheduleArgs { id: id("nightly"), from, until };
            let _ = now(scene.backend.backfill_schedule(span));
            scene.sample("scan", "schedules, a backfilled tick", async |b| {
                b.scan(Scan::Schedules, 100).await
            });
        });
    }

    /// A tick in each situation, on a database of its own.
    fn ticks(&mut self) {
        let with = |policy| {
            let mut spec = with_overlap(Overlap::Skip);
            spec.work.policy = Some(policy);
            spec
        };
        let with_policy = with(ExecutionPolicy { priority: 3, ..Default::default() });
        let budget_ids = vec![budget(1)];
        let budgeted = with(ExecutionPolicy { budget_ids, ..Default::default() });
        let delay_until = Some(TimestampMs(NOON + 600 * MINUTE));
        let put_off = with(ExecutionPolicy { delay_until, ..Default::default() });
        let mut tagged = with_overlap(Overlap::Skip);
        tagged.work.tags.insert("cairn.instance_id".into(), "eu-1".into());

        let cases = [
            ("skipped", with_overlap(Overlap::Skip)),
            ("waiting", with_overlap(Overlap::Queue)),
            ("cancelling", with_overlap(Overlap::CancelRunning)),
            ("with a policy", with_policy),
            ("with a budget", budgeted),
            ("put off", put_off),
            ("with an instance tag", tagged),
        ];

        for (case, spec) in cases {
            self.in_own_database(|scene| {
                let _ = now(scene
                    .backend
                    .create_schedule(CreateScheduleArgs { id: id("nightly"), spec }));
                for (minutes, which) in [(5, "first tick"), (5, "second tick"), (90, "missed")] {
                    scene.pass(MINUTE * minutes);
                    let case = format!("schedules, {case}: {which}");
                    scene.sample("scan", case, async |b| b.scan(Scan::Schedules, 100).await);
                    let _ = now(scene.backend.claim(&lane(), &capabilities(), worker()));
                }
            });
        }
    }
}
