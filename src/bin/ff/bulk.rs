//! `ff bulk`: applies one operator action to many executions, batch by batch.

use std::sync::Arc;

use ff_core::contracts::{BulkAction, BulkArgs, BulkRefusal, BulkReport, ExecutionQuery};
use ff_core::engine::BulkPreview;
use ff_core::engine_backend::EngineBackend;
use indicatif::{ProgressBar, ProgressStyle};

use super::Global;
use super::clock::now;
use super::confirm::{confirm, has_terminal};
use super::failure::Failure;
use super::filter::FilterArguments;
use super::interrupt::Interrupts;
use super::output::Output;
use super::view::{BulkDryRunView, BulkView};
use super::words::count;

/// The number of plans that a dry run shows.
const PLANS_SHOWN: u32 = 3;

/// The number of refusals that are printed one by one.
const REFUSALS_SHOWN: usize = 10;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Cancel executions that have not ended, even those that workers run.
    Cancel {
        #[command(flatten)]
        target: Target,
        /// The reason, which later readers see.
        #[arg(long, value_name = "TEXT", default_value = "cancelled by an operator")]
        reason: String,
    },
    /// Let executions that have ended run again.
    Replay {
        #[command(flatten)]
        target: Target,
    },
    /// Change the priority of waiting executions.
    Priority {
        /// The priority; the highest is claimed first. It is clamped to 0 to 9000.
        #[arg(value_name = "N", allow_negative_numbers = true)]
        priority: i32,
        #[command(flatten)]
        target: Target,
    },
}

/// The executions to act on, and how.
#[derive(Debug, clap::Args)]
struct Target {
    #[command(flatten)]
    filter: FilterArguments,
    /// Act on all executions; only without a filter.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    batches: Batches,
}

/// The way in which many executions are changed.
#[derive(Debug, clap::Args)]
pub(super) struct Batches {
    /// The number of executions per batch.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 500,
        value_parser = clap::value_parser!(u32).range(1..=1_000)
    )]
    batch: u32,
    /// Print how many executions match, and the plans for the first of them; change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask for confirmation.
    #[arg(long)]
    yes: bool,
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let (action, doing, target) = match arguments.action {
        Action::Cancel { target, reason } => (BulkAction::Cancel { reason }, "cancel", target),
        Action::Replay { target } => (BulkAction::Replay, "replay", target),
        Action::Priority { priority, target } => {
            (BulkAction::Reprioritise { priority }, "reprioritise", target)
        }
    };

    if target.all != target.filter.is_empty() {
        return Err(Failure::usage(if target.all {
            "--all contradicts what says which executions are meant"
        } else {
            "which executions? say --lane, --state, --kind, --flow, --older-than or another \
             filter, or else --all"
        }));
    }

    act(global, action, doing, target.filter, &target.batches).await
}

/// Applies an action to the executions of a filter.
pub(super) async fn act(
    global: &Global,
    action: BulkAction,
    doing: &'static str,
    filter: FilterArguments,
    batches: &Batches,
) -> Result<(), Failure> {
    if !(batches.yes || batches.dry_run || has_terminal()) {
        return Err(Failure::usage("there is no terminal to ask at: say --yes or --dry-run"));
    }

    let filter = filter.check()?;
    let engine = global.open_existing().await?;
    let now = now(&engine).await?;
    let query = filter.query(&engine, batches.batch, now).await?;
    let bulk = Bulk { engine, output: global.output(), doing, action, query };

    if batches.dry_run {
        return bulk.print_dry_run().await;
    }

    // Only the number is needed here.
    let matched = bulk.preview(1).await?.matched;
    if !(batches.yes
        || matched == 0
        || confirm(&format!("{doing} {}", count(matched, "execution")))?)
    {
        return Err(Failure::new("nothing was changed"));
    }
    bulk.run(matched).await
}

struct Bulk {
    engine: Arc<dyn EngineBackend>,
    output: Output,
    doing: &'static str,
    action: BulkAction,
    query: ExecutionQuery,
}

/// The totals of all batches.
#[derive(Default)]
struct BulkTotals {
    matched: u64,
    applied: u64,
    refused: usize,
    refusals: Vec<BulkRefusal>,
    interrupted: bool,
}

impl Bulk {
    async fn preview(&self, limit: u32) -> Result<BulkPreview, Failure> {
        let mut query = self.query.clone();
        query.limit = limit;
        let args = BulkArgs::new(self.action.clone(), query, now(&self.engine).await?);
        self.engine.preview_bulk(args).await.map_err(|error| self.failure(&error))
    }

    async fn print_dry_run(&self) -> Result<(), Failure> {
        let preview = self.preview(PLANS_SHOWN).await?;
        if self.output.is_json() {
            let BulkPreview { matched, plans, refused, .. } = &preview;
            return Ok(self.output.json(&BulkDryRunView { matched: *matched, plans, refused })?);
        }

        for plan in &preview.plans {
            self.output.lines(&format!("{plan}\n\n"))?;
        }
        for BulkRefusal { execution_id, error } in &preview.refused {
            self.output.line(format!("{execution_id}: {error}"))?;
        }

        let (doing, matched) = (self.doing, count(preview.matched, "execution"));
        Ok(self.output.line(format!("dry run: would {doing} {matched}, nothing was changed"))?)
    }

    async fn run(mut self, matched: u64) -> Result<(), Failure> {
        let mut totals = BulkTotals::default();
        let ended = self.run_batches(matched, &mut totals).await;
        self.print_totals(&totals)?;
        ended?;

        if totals.interrupted {
            return Err(Failure::interrupted_at("interrupted: there may be more to do")
                .with_help("the same command again goes on"));
        }
        if totals.refused == 0 { Ok(()) } else { Err(Failure::partly()) }
    }

    /// Runs batches until nothing is left or the command is stopped. A batch that has begun is
    /// finished.
    async fn run_batches(&mut self, matched: u64, totals: &mut BulkTotals) -> Result<(), Failure> {
        let mut interrupts = Interrupts::new()
            .map_err(|error| Failure::new(format!("listening for signals: {error}")))?;
        let interrupted = tokio::spawn(async move { interrupts.next().await });

        let progress = progress(matched);
        loop {
            let report = self.batch().await.inspect_err(|_| progress.finish_and_clear())?;

            totals.matched += u64::from(report.matched);
            totals.applied += u64::from(report.applied);
            totals.refused += report.refused.len();
            let room = REFUSALS_SHOWN.saturating_sub(totals.refusals.len());
            totals.refusals.extend(report.refused.into_iter().take(room));
            progress.inc(u64::from(report.matched));

            if report.next_cursor.is_none() {
                break;
            }
            self.query.after = report.next_cursor;
            // Checked between batches only, so that none is cut short.
            if interrupted.is_finished() {
                totals.interrupted = true;
                break;
            }
        }
        progress.finish_and_clear();
        Ok(())
    }

    async fn batch(&self) -> Result<BulkReport, Failure> {
        let now = now(&self.engine).await?;
        let args = BulkArgs::new(self.action.clone(), self.query.clone(), now);
        self.engine.run_bulk(args).await.map_err(|error| self.failure(&error))
    }

    fn print_totals(&self, totals: &BulkTotals) -> Result<(), Failure> {
        if self.output.is_json() {
            return Ok(self.output.json(&BulkView {
                matched: totals.matched,
                applied: totals.applied,
                refused: totals.refused,
                first_refusals: &totals.refusals,
                interrupted: totals.interrupted,
            })?);
        }

        let matched = count(totals.matched, "execution");
        self.output
            .line(format!("{matched}: {} applied, {} refused", totals.applied, totals.refused))?;
        for BulkRefusal { execution_id, error } in &totals.refusals {
            self.output.line(format!("  {execution_id}: {error}"))?;
        }

        match totals.refused.saturating_sub(totals.refusals.len()) {
            0 => Ok(()),
            more => Ok(self.output.line(format!("  and {more} more"))?),
        }
    }

    fn failure(&self, error: &ff_core::EngineError) -> Failure {
        Failure::engine(&format!("bulk {}", self.doing), error)
    }
}

/// A progress bar; it is shown only if stderr is a terminal.
fn progress(length: u64) -> ProgressBar {
    let bar = ProgressBar::new(length);
    match ProgressStyle::with_template("{wide_bar} {pos}/{len} {eta}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use async_trait::async_trait;
    use ff_core::EngineError;
    use ff_core::types::ExecutionId;
    use uuid::Uuid;

    use super::super::output::OnClosed;
    use super::*;

    /// A backend that answers by script, and notes where each batch began.
    struct Fake {
        script: Mutex<VecDeque<Result<BulkReport, EngineError>>>,
        asked: Mutex<Vec<Option<ExecutionId>>>,
    }

    #[async_trait]
    impl EngineBackend for Fake {
        async fn run_bulk(&self, args: BulkArgs) -> Result<BulkReport, EngineError> {
            self.asked.lock().unwrap().push(args.query.after);
            self.script.lock().unwrap().pop_front().unwrap()
        }

        async fn server_time_ms(&self) -> Result<u64, EngineError> {
            Ok(0)
        }
    }

    fn id(number: u128) -> ExecutionId {
        ExecutionId::from_parts(0, Uuid::from_u128(number))
    }

    fn report(applied: u32, refused: u128, next: Option<ExecutionId>) -> BulkReport {
        let mut report = BulkReport::default();
        let refusal =
            |number| BulkRefusal { execution_id: id(number), error: "it moved on".to_owned() };
        report.refused = (0..refused).map(refusal).collect();
        report.matched = applied + u32::try_from(refused).unwrap();
        (report.applied, report.next_cursor) = (applied, next);
        report
    }

    fn bulk(script: Vec<Result<BulkReport, EngineError>>) -> (Arc<Fake>, Bulk) {
        let script = Mutex::new(script.into());
        let fake = Arc::new(Fake { script, asked: Mutex::default() });
        let (engine, output) = (Arc::clone(&fake) as _, Output::new(true, None, OnClosed::End));
        let (action, query) = (BulkAction::Replay, ExecutionQuery::new(500));
        (fake, Bulk { engine, output, doing: "replay", action, query })
    }

    #[tokio::test]
    async fn batches_follow_each_other_and_refusals_are_counted_beyond_those_printed() {
        let script = || vec![Ok(report(3, 8, Some(id(1)))), Ok(report(2, 8, None))];
        let (fake, mut bulk) = bulk(script());
        let mut totals = BulkTotals::default();
        bulk.run_batches(21, &mut totals).await.unwrap();
        assert_eq!(*fake.asked.lock().unwrap(), [None, Some(id(1))]);
        assert_eq!(
            (totals.matched, totals.applied, totals.refused, totals.refusals.len()),
            (21, 5, 16, 10)
        );

        *fake.script.lock().unwrap() = script().into();
        assert!(bulk.run(21).await.is_err(), "some were refused");
    }

    #[tokio::test]
    async fn what_was_done_before_a_failure_is_counted() {
        let down = EngineError::Unavailable { op: "x" };
        let (_, mut bulk) = bulk(vec![Ok(report(3, 0, Some(id(1)))), Err(down)]);
        let mut totals = BulkTotals::default();
        assert!(bulk.run_batches(9, &mut totals).await.is_err());
        assert_eq!((totals.matched, totals.applied), (3, 3));
        let (_, bulk) = self::bulk(vec![Ok(report(3, 0, None))]);
        assert!(bulk.run(3).await.is_ok());
    }
}
