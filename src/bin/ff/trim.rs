//! `ff trim`: removes executions that have ended, with everything that belongs to them.

use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::Arc;

use ff_core::backend::ScannerFilter;
use ff_core::contracts::{RetentionRule, TrimPass, TrimReport};
use ff_core::engine_backend::EngineBackend;
use ff_core::state::PublicState;
use indicatif::ProgressBar;

use super::Global;
use super::failure::Failure;
use super::filter::{one_of, span};
use super::ids::lane;
use super::interrupt::Interrupts;
use super::output::Output;
use super::view::TrimView;
use super::words::count;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Only executions that ended longer ago than this: 12h, 30d. A flow counts from its own end.
    #[arg(long, value_name = "SPAN", value_parser = span)]
    older_than: Option<i64>,
    /// Keep the N executions of each lane that ended last.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    keep: Option<u64>,
    /// Only those of this lane.
    #[arg(long, value_name = "LANE")]
    lane: Option<String>,
    /// Only those with this outcome: completed, failed, cancelled, expired, skipped. May be given
    /// many times.
    #[arg(long = "outcome", value_name = "OUTCOME", value_parser = one_of::<PublicState>)]
    outcomes: Vec<PublicState>,
    /// Only those of this tenant.
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// Only those that this archive contains, as `ff archive` has named it. What ended or changed
    /// since stays.
    #[arg(long, value_name = "NAME", conflicts_with = "sweep")]
    archived: Option<String>,
    /// Look by key as well, for executions of older databases that have no completion event. It
    /// reads every execution.
    #[arg(long)]
    sweep: bool,
    /// Print what would be removed, and what is held back; change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask for confirmation.
    #[arg(long)]
    yes: bool,
}

impl Arguments {
    fn rule(&self) -> Result<RetentionRule, Failure> {
        if self.older_than.is_none() && self.keep.is_none() && self.archived.is_none() {
            let which = "which executions? say --older-than, --keep or --archived";
            return Err(Failure::usage(which));
        }

        let older_than = self.older_than.unwrap_or_default().unsigned_abs();
        let mut rule = RetentionRule::older_than(older_than)
            .keeping(self.keep.unwrap_or_default())
            .with_outcomes(self.outcomes.clone());
        if let Some(name) = &self.lane {
            rule = rule.in_lane(lane(name)?);
        }
        if let Some(namespace) = &self.namespace {
            rule = rule.passing(ScannerFilter::new().with_namespace(namespace.as_str()));
        }
        Ok(rule)
    }
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let rule = arguments.rule()?;
    check_confirmation(arguments.dry_run, arguments.yes)?;

    let engine = global.open_existing().await?;
    let mut pass = TrimPass::new(vec![rule]);
    pass.sweeps = arguments.sweep;
    pass.archive.clone_from(&arguments.archived);
    remove_in(global, &engine, pass, arguments.dry_run, arguments.yes).await
}

/// Checks that a command that removes something can be confirmed.
pub(super) fn check_confirmation(dry_run: bool, yes: bool) -> Result<(), Failure> {
    let has_terminal = io::stdin().is_terminal() && io::stderr().is_terminal();
    if yes || dry_run || has_terminal {
        Ok(())
    } else {
        Err(Failure::usage("there is no terminal to ask at: say --yes or --dry-run"))
    }
}

/// Removes what one rule selects.
pub(super) async fn remove(
    global: &Global,
    engine: &Arc<dyn EngineBackend>,
    rule: RetentionRule,
    dry_run: bool,
    yes: bool,
) -> Result<(), Failure> {
    remove_in(global, engine, TrimPass::new(vec![rule]), dry_run, yes).await
}

async fn remove_in(
    global: &Global,
    engine: &Arc<dyn EngineBackend>,
    pass: TrimPass,
    dry_run: bool,
    yes: bool,
) -> Result<(), Failure> {
    let dry = TrimPass { dry_run: true, ..pass.clone() };
    let (pass, interrupted) = if dry_run {
        to_the_end(engine, dry).await?
    } else {
        if !yes {
            let (dry, _) = to_the_end(engine, dry).await?;
            if !confirm(&dry.report)? {
                return Err(Failure::new("nothing was removed"));
            }
        }
        to_the_end(engine, pass).await?
    };

    print(global.output(), &pass, interrupted)?;
    if interrupted {
        return Err(Failure::interrupted_at("interrupted: there may be more to remove")
            .with_help("the same command again goes on"));
    }
    if pass.report.errors == 0 { Ok(()) } else { Err(Failure::partly()) }
}

/// Takes the pass to its end, or until the command is stopped. A step that has begun is finished.
async fn to_the_end(
    engine: &Arc<dyn EngineBackend>,
    mut pass: TrimPass,
) -> Result<(TrimPass, bool), Failure> {
    let mut interrupts = Interrupts::new()
        .map_err(|error| Failure::new(format!("listening for signals: {error}")))?;
    let interrupted = tokio::spawn(async move { interrupts.next().await });

    let progress = ProgressBar::new_spinner();
    while !pass.is_done() && !interrupted.is_finished() {
        let step = engine.trim_step(pass).await;
        pass = step.map_err(|error| Failure::engine("trimming", &error))?;
        let TrimReport { looked_at, executions, .. } = &pass.report;
        progress.set_message(format!("{looked_at} looked at, {executions} to remove"));
        progress.tick();
    }
    progress.finish_and_clear();

    let stopped = !pass.is_done();
    interrupted.abort();
    Ok((pass, stopped))
}

fn confirm(report: &TrimReport) -> Result<bool, Failure> {
    let failure = |error| Failure::new(format!("asking: {error}"));
    let executions = count(report.executions, "execution");
    write!(io::stderr(), "remove {executions} for good? [y/N] ").map_err(failure)?;

    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(failure)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

fn print(output: Output, pass: &TrimPass, interrupted: bool) -> Result<(), Failure> {
    let report = &pass.report;
    if output.is_json() {
        return Ok(output.json(&TrimView { dry_run: pass.dry_run, interrupted, report })?);
    }

    let (executions, flows) = (count(report.executions, "execution"), count(report.flows, "flow"));
    output.line(if pass.dry_run {
        format!("dry run: would remove {executions} and {flows}, nothing was changed")
    } else {
        format!("removed {executions} and {flows}")
    })?;
    for (table, rows) in &report.rows {
        output.line(format!("  {}", count_of(*rows, table)))?;
    }
    for (reason, held) in &report.held_back {
        output.line(format!("  held back {}: {reason}", count(*held, "execution")))?;
    }
    Ok(())
}

fn count_of(rows: u64, table: &str) -> String {
    format!("{} of {table}", count(rows, "row"))
}
