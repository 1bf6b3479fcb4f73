//! `ff submit`: submits a file of executions, and names the bad lines.

mod input;
mod lines;
mod submission;

use std::path::PathBuf;

use ff_core::types::Namespace;

use super::Global;
use super::failure::Failure;
use super::ids::{DEFAULT_LANE, lane};
use super::interrupt::Interrupts;
use super::line::Defaults;
use super::view::SubmittedView;
use super::words::count;
use flowfabric_sql::telemetry::Traceparent;
use input::Input;
use lines::Lines;
use submission::{Counts, End, Outcome, Submission};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A file with one JSON object per line, - for stdin.
    ///
    /// Members: "kind", "payload", and optionally "priority", "lane", "delay_until" (Unix
    /// milliseconds, "2026-01-31T12:00:00Z", or "+5s" from now), "tags", "policy", "id" and
    /// "idempotency_key". A line with an id or such a key can be submitted again: it finds what is
    /// there.
    #[arg(value_name = "FILE.jsonl", default_value = "-")]
    file: PathBuf,
    /// The lane of lines that name none.
    #[arg(long, value_name = "LANE", default_value = DEFAULT_LANE)]
    lane: String,
    /// The tenant that the executions belong to.
    #[arg(long, value_name = "NAME", default_value = "default")]
    namespace: String,
    /// Only these lines, such as 1-3,7,10-; an interrupted submission prints the ones to go on
    /// with.
    #[arg(long, value_name = "LINES")]
    lines: Option<Lines>,
    /// Print the id of each execution, created or found, one per line.
    #[arg(long)]
    ids: bool,
    /// The trace that lines without the tag "traceparent" continue: a W3C traceparent. By default
    /// that of TRACEPARENT in the environment, unless it is malformed.
    #[arg(long, value_name = "TRACEPARENT")]
    traceparent: Option<Traceparent>,
}

/// The trace of this process's caller. A malformed one counts as none, as the W3C asks.
pub(crate) fn traceparent_of_environment() -> Option<Traceparent> {
    let text = std::env::var("TRACEPARENT").ok().filter(|text| !text.is_empty())?;
    text.parse().map_err(|error| tracing::warn!(%error, "TRACEPARENT is ignored")).ok()
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let mut interrupts = Interrupts::new()
        .map_err(|error| Failure::new(format!("listening for signals: {error}")))?;
    let defaults = Defaults {
        lane: lane(&arguments.lane)?,
        namespace: Namespace::new(arguments.namespace),
        traceparent: arguments.traceparent.or_else(traceparent_of_environment),
    };

    let input = Input::open(&arguments.file)?;
    let engine = global.open_or_create().await?;
    let output = global.output();
    let (ids, as_json) = (arguments.ids, output.is_json());

    let mut submission = Submission {
        engine,
        output,
        defaults,
        progress: input.progress(),
        input: input.name.clone(),
        only: arguments.lines,
        print_ids: ids && !as_json,
        outcome: Outcome::collecting((ids && as_json).then(Vec::new)),
    };
    let end = submission.run(input.lines(), &mut interrupts).await;
    submission.progress.finish_and_clear();

    let left = lines_left(&submission, &end);
    let Outcome { counts, ids: collected, print_error, .. } = &submission.outcome;
    if as_json {
        output.json(&SubmittedView {
            created: counts.created,
            duplicate: counts.duplicate,
            failed: counts.failed,
            execution_ids: collected.as_deref(),
            lines_left: left.as_ref().map(ToString::to_string),
        })?;
    } else if !ids {
        let total = counts.created + counts.duplicate + counts.failed;
        output.line(format!("{}: {}", count(total, "execution"), counts_in_words(counts)))?;
    }

    match print_error {
        // A failed print does not stop the submission, so it is reported last.
        Some(error) if end == End::Read => {
            Err(Failure::new(format!("writing the output: {error}")))
        }
        _ => result_of(&submission, end, left),
    }
}

/// The lines to go on with: those that were not submitted, and those that were not read.
fn lines_left(submission: &Submission, end: &End) -> Option<Lines> {
    let Outcome { left, read, .. } = &submission.outcome;
    let rest = (*end != End::Read).then_some(read + 1);

    let lines = Lines::of(left.iter().copied(), rest);
    let lines = match &submission.only {
        Some(only) => lines.and(only),
        None => lines,
    };
    (!lines.is_empty()).then_some(lines)
}

fn counts_in_words(counts: &Counts) -> String {
    let Counts { created, duplicate, failed } = counts;
    format!("{created} created, {duplicate} duplicate, {failed} failed")
}

/// The command's result, for an end of the reading.
fn result_of(submission: &Submission, end: End, left: Option<Lines>) -> Result<(), Failure> {
    let Outcome { counts, read, unsure, .. } = &submission.outcome;
    let (name, totals) = (&submission.input, counts_in_words(counts));

    let failure = match end {
        End::Read if counts.failed == 0 => return Ok(()),
        End::Read => return Err(Failure::partly()),
        End::Interrupted => {
            Failure::interrupted_at(format!("interrupted after line {read} of {name}: {totals}"))
        }
        End::BrokenOff => {
            Failure::new(format!("the submission broke off after line {read} of {name}: {totals}"))
        }
        End::Unreadable(error) => {
            Failure::new(format!("reading {name} after line {read}: {error}: {totals}"))
        }
    };

    let go_on = left.map(|lines| format!("the same command with --lines {lines} goes on"));
    let unsure = (!unsure.is_empty()).then(|| {
        let lines = Lines::of(unsure.iter().copied(), None);
        format!("whether lines {lines} went in is unknown: look with ff ls first")
    });
    let help: Vec<String> = go_on.into_iter().chain(unsure).collect();
    Err(if help.is_empty() { failure } else { failure.with_help(help.join("; ")) })
}
