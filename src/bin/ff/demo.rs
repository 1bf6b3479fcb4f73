//! `ff demo`: executions outlive the worker that ran them, wait for each other, and wait for
//! people.

mod approval;
mod progress;
mod release;
pub(super) mod task;
mod workers;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ff_core::contracts::{ExecutionQuery, ExecutionTimeline};
use ff_core::engine_backend::EngineBackend;
use ff_core::types::{ExecutionId, LaneId, Namespace, TimestampMs};
use serde::Serialize;

use super::Global;
use super::clock::now;
use super::failure::Failure;
use super::line::{self, Defaults};
use super::ls::pages;
use super::output::Output;
use super::show::print_timeline;
use super::table::{Column, Table};
use super::view::HistoryView;
use super::words::word;
use approval::ApprovalView;
use flowfabric_sql::OpenOptions;
use progress::Progress;
use release::ReleaseView;
use workers::{CONCURRENCY, LEASE_TTL, WorkerProcess};

/// The executions to submit.
const INPUT: &str = include_str!("../../../examples/demo.jsonl");

/// The lane of all of them.
const LANE: &str = "demo";

/// The longest time for the whole demo.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// The pause between two counts of the executions.
const POLL: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {}

pub(super) async fn run(global: &Global, _: Arguments) -> Result<(), Failure> {
    let directory = tempfile::Builder::new()
        .prefix("ff-demo-")
        .tempdir()
        .map_err(|error| Failure::new(format!("creating a temporary directory: {error}")))?;

    let url = format!("sqlite:{}", directory.path().join("demo.db").display());
    let opened = OpenOptions::new().open(&url).await;
    let engine = opened.map_err(|error| Failure::new(format!("{url}: {error}")))?;
    global.session.register(&engine);

    let demo = Demo { engine, url, output: global.output(), start: Instant::now() };
    tokio::select! {
        shown = demo.show() => shown,
        () = tokio::time::sleep(TIME_LIMIT) => {
            Err(Failure::new(format!("not finished after {} s", TIME_LIMIT.as_secs())))
        }
    }
}

struct Demo {
    engine: Arc<dyn EngineBackend>,
    url: String,
    output: Output,
    start: Instant,
}

impl Demo {
    async fn show(&self) -> Result<(), Failure> {
        let recovery = self.first_act().await?;
        let flow = self.second_act().await?;
        let approval = self.third_act().await?;
        if self.output.is_json() {
            self.output.json(&json(&recovery, flow.as_ref(), &approval))?;
        }
        Ok(())
    }

    /// The first act: submits executions, kills a worker that holds some, and reports how all of
    /// them ended.
    async fn first_act(&self) -> Result<Recovery, Failure> {
        self.narrate(
            "Two worker processes share one SQLite file. One of them is killed in the middle of its\n\
             work; nothing is lost, and nothing has to be repaired.\n",
        )?;

        let (total, flaky) = self.submit().await?;
        self.narrate(format!(
            "1. {total} executions are submitted. {flaky} of them fail at their first attempt and\n   \
             are tried again 300 ms later, as their policy says."
        ))?;

        let mut victim = WorkerProcess::start("worker-a", &self.url)?;
        let mut survivor = WorkerProcess::start("worker-b", &self.url)?;
        self.narrate(format!(
            "2. worker-a (process {}) and worker-b (process {}) start, with {CONCURRENCY} commands at a\n   \
             time each. A worker leases what it runs for {} s, and renews the lease meanwhile.",
            victim.pid(),
            survivor.pid(),
            LEASE_TTL.as_secs()
        ))?;

        let held = self.kill_at_work(&mut victim, total).await?;
        self.narrate(format!(
            "3. worker-a is killed with SIGKILL while it holds leases ({}), and has no chance to give\n   \
             them back. No worker may touch those executions until the leases lapse; meanwhile\n   \
             worker-b goes on with the others.",
            held.len()
        ))?;

        self.watch_to_the_end(&mut survivor, total).await?;
        self.conclude(total, held).await
    }

    async fn submit(&self) -> Result<(usize, usize), Failure> {
        let (lane, namespace) = (LaneId::new(LANE), Namespace::new("demo"));
        let defaults = Defaults { lane, namespace, traceparent: None };
        let now = now(&self.engine).await?;
        let read = |line| line::parse(line, &defaults)?.at(now);
        let batch = INPUT.lines().map(read).collect::<Result<Vec<_>, _>>();
        let batch = batch.map_err(|reason| Failure::new(format!("demo input: {reason}")))?;

        let total = batch.len();
        let flaky = batch.iter().filter(|args| args.execution_kind == task::FLAKY).count();

        for answer in self.engine.create_executions(batch).await {
            answer.map_err(|error| Failure::engine("submitting", &error))?;
        }
        Ok((total, flaky))
    }

    /// Kills the worker once a fifth is done and it holds leases. Returns what it still held.
    async fn kill_at_work(
        &self,
        victim: &mut WorkerProcess,
        total: usize,
    ) -> Result<Vec<ExecutionId>, Failure> {
        let mut progress = Progress::new(self.output);
        loop {
            let states = self.states().await?;
            progress.show(&states, total)?;
            let done = states.get("completed").copied().unwrap_or(0);
            if done == total {
                return Err(Failure::new("everything was done before a worker could be killed"));
            }
            if total / 5 <= done && 2 < victim.holds(&self.engine).await?.len() {
                victim.kill().await?;
                // It may have finished them in the last instant; then another one is started and
                // killed.
                let held = victim.holds(&self.engine).await?;
                if !held.is_empty() {
                    progress.end()?;
                    return Ok(held);
                }
                *victim = WorkerProcess::start(victim.name, &self.url)?;
            }
            tokio::time::sleep(POLL / 5).await;
        }
    }

    async fn watch_to_the_end(
        &self,
        survivor: &mut WorkerProcess,
        total: usize,
    ) -> Result<(), Failure> {
        let mut progress = Progress::new(self.output);
        loop {
            let ended = survivor.ended_within(POLL).await?;
            progress.show(&self.states().await?, total)?;
            if ended {
                return Ok(progress.end()?);
            }
        }
    }

    async fn conclude(&self, total: usize, held: Vec<ExecutionId>) -> Result<Recovery, Failure> {
        let states = self.states().await?;
        let retaken = self.highest_epoch(&held).await?;

        let elapsed = self.start.elapsed();
        self.narrate(format!(
            "4. worker-b found the lapsed leases, ran those executions itself, saw that nothing\n   \
             was left, and ended. All of it took {:.1} s.\n",
            elapsed.as_secs_f64()
        ))?;

        if !self.output.is_json() {
            self.print_states(&states, retaken.as_ref()).await?;
        }

        if states.get("completed").copied() != Some(total) {
            return Err(Failure::new("not every execution completed"));
        }
        Ok(Recovery { submitted: total, by_state: states, held, retaken, elapsed })
    }

    async fn print_states(
        &self,
        states: &BTreeMap<String, usize>,
        retaken: Option<&(ExecutionId, ExecutionTimeline)>,
    ) -> Result<(), Failure> {
        let mut table = Table::new(["state", "executions"].map(|name| Column::whole(name, 0)));
        for (state, count) in states {
            table.row([state.clone(), count.to_string()]);
        }
        self.output.table(&table)?;

        let Some((id, timeline)) = retaken else { return Ok(()) };
        self.output.lines(&format!(
            "\nWhat happened to one that worker-a held, {id}:\n\
             every change of hands raises the lease's epoch. Had worker-a only been slow, its\n\
             late report would have been refused, for showing an old one."
        ))?;
        let created = self.created(id).await?;
        print_timeline(self.output, created, timeline)
    }

    /// The execution with the highest epoch of those that the killed worker held.
    async fn highest_epoch(
        &self,
        held: &[ExecutionId],
    ) -> Result<Option<(ExecutionId, ExecutionTimeline)>, Failure> {
        let mut timelines = Vec::new();
        for id in held {
            let timeline = self.engine.execution_timeline(id).await;
            let timeline = timeline.map_err(|error| Failure::engine("reading", &error))?;
            timelines.push((id.clone(), timeline));
        }

        let epoch = |timeline: &ExecutionTimeline| {
            timeline.attempts.iter().map(|attempt| attempt.lease_epoch).max()
        };
        Ok(timelines.into_iter().max_by_key(|(_, timeline)| epoch(timeline)))
    }

    async fn created(&self, id: &ExecutionId) -> Result<TimestampMs, Failure> {
        let described = self.engine.describe_execution(id).await;
        let described = described.map_err(|error| Failure::engine("reading", &error))?;
        Ok(described.map_or(TimestampMs(0), |execution| execution.created_at))
    }

    /// The number of executions in each state.
    async fn states(&self) -> Result<BTreeMap<String, usize>, Failure> {
        let query = ExecutionQuery::new(0).with_lane_id(LANE.into());
        let mut states = BTreeMap::new();
        for row in pages(&self.engine, query, u32::MAX).await?.0 {
            *states.entry(word(&row.public_state)).or_default() += 1;
        }
        Ok(states)
    }

    fn narrate(&self, text: impl AsRef<str>) -> Result<(), Failure> {
        if self.output.is_json() { Ok(()) } else { Ok(self.output.lines(text.as_ref())?) }
    }
}

/// The results of the first act.
struct Recovery {
    submitted: usize,
    by_state: BTreeMap<String, usize>,
    /// The executions that the killed worker held.
    held: Vec<ExecutionId>,
    retaken: Option<(ExecutionId, ExecutionTimeline)>,
    elapsed: Duration,
}

/// The results of the demo as programs read them.
#[derive(Serialize)]
struct DemoView<'a> {
    submitted: usize,
    by_state: &'a BTreeMap<String, usize>,
    held_by_the_killed_worker: &'a [ExecutionId],
    retaken: Option<RetakenView<'a>>,
    elapsed_ms: u64,
    flow: Option<ReleaseView<'a>>,
    approval: ApprovalView<'a>,
}

#[derive(Serialize)]
struct RetakenView<'a> {
    execution_id: &'a ExecutionId,
    timeline: HistoryView<'a>,
}

fn json<'a>(
    recovery: &'a Recovery,
    flow: Option<&'a release::Released>,
    approval: &'a approval::Approved,
) -> DemoView<'a> {
    DemoView {
        submitted: recovery.submitted,
        by_state: &recovery.by_state,
        held_by_the_killed_worker: &recovery.held,
        retaken: recovery.retaken.as_ref().map(|(execution_id, timeline)| RetakenView {
            execution_id,
            timeline: timeline.into(),
        }),
        elapsed_ms: ms(recovery.elapsed),
        flow: flow.map(ReleaseView::from),
        approval: approval.into(),
    }
}

fn ms(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_input_is_understood_line_by_line() {
        let defaults = Defaults { lane: LANE.into(), namespace: "demo".into(), traceparent: None };
        let mut ids = std::collections::HashSet::new();
        let mut flaky = 0;
        for line in INPUT.lines() {
            let args = line::parse(line, &defaults).unwrap().at(TimestampMs(0)).unwrap();
            assert!(ids.insert(args.execution_id), "{line}");
            flaky += usize::from(args.execution_kind == task::FLAKY);
        }
        assert_eq!((ids.len(), flaky), (300, 15));
    }
}
