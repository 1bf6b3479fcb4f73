//! `ff stats`: counts executions by lane, kind and state, without reading them.

use std::collections::BTreeMap;
use std::time::Duration;

use ff_core::contracts::{Stats, StatsArgs};
use ff_core::engine_backend::EngineBackend;
use ff_core::state::{ClosedSet as _, FailureClass, PublicState};
use ff_core::types::TimestampMs;

use super::Global;
use super::failure::Failure;
use super::ids::lane;
use super::interrupt::Interrupts;
use super::output::{Output, is_terminal};
use super::table::{Column, Table};
use super::view::StatsView;
use super::words::or_dash;

/// The pause between two pictures.
const PAUSE: Duration = Duration::from_secs(1);

/// The states of a column each, and those that share one.
const STATES: [(&str, u8, &[PublicState]); 9] = [
    ("waiting", 0, &[PublicState::Waiting, PublicState::Resumable]),
    ("running", 0, &[PublicState::Active]),
    ("delayed", 0, &[PublicState::Delayed]),
    (
        "blocked",
        1,
        &[PublicState::Suspended, PublicState::RateLimited, PublicState::WaitingChildren],
    ),
    ("completed", 0, &[PublicState::Completed]),
    ("failed", 0, &[PublicState::Failed]),
    ("cancelled", 2, &[PublicState::Cancelled]),
    ("expired", 2, &[PublicState::Expired]),
    ("skipped", 3, &[PublicState::Skipped]),
];

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Only executions of this lane.
    #[arg(long, value_name = "LANE")]
    lane: Option<String>,
    /// Only executions of this kind; the longest waits are not shown then.
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Print the counts again every second, until Ctrl-C.
    #[arg(long)]
    watch: bool,
}

impl Arguments {
    pub(super) const fn watches(&self) -> bool {
        self.watch
    }
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let mut args = StatsArgs::new();
    args.lane_id = arguments.lane.as_deref().map(lane).transpose()?;
    args.execution_kind = arguments.kind;
    let engine = global.open().await?;
    let output = global.output();
    if !arguments.watch {
        return print(&read(engine.as_ref(), &args).await?, output);
    }

    let stopped = |error| Failure::new(format!("listening for signals: {error}"));
    let mut interrupts = Interrupts::new().map_err(stopped)?;
    loop {
        let stats = tokio::select! {
            stats = read(engine.as_ref(), &args) => stats?,
            () = interrupts.next() => return Ok(()),
        };
        if output.is_json() {
            output.json_line(&StatsView::of(&stats))?;
        } else {
            if is_terminal() {
                output.clear()?;
            }
            print(&stats, output)?;
        }

        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = interrupts.next() => return Ok(()),
        }
    }
}

async fn read(engine: &dyn EngineBackend, args: &StatsArgs) -> Result<Stats, Failure> {
    let stats = engine.stats(args.clone()).await;
    stats.map_err(|error| Failure::engine("reading the counts", &error))
}

fn print(stats: &Stats, output: Output) -> Result<(), Failure> {
    if output.is_json() {
        return Ok(output.json(&StatsView::of(stats))?);
    }
    if stats.counts.is_empty() {
        return Ok(output.line("no executions")?);
    }

    output.table(&counts(stats, output))?;
    if !stats.failures.is_empty() {
        output.line("")?;
        output.line("failed in the last hour")?;
        output.table(&failures(stats))?;
    }
    Ok(())
}

/// A row for each lane and kind; the longest wait of a lane stands in its first.
fn counts(stats: &Stats, output: Output) -> Table {
    let mut rows: BTreeMap<(&str, &str), BTreeMap<&str, u64>> = BTreeMap::new();
    for count in &stats.counts {
        let row = rows.entry((count.lane_id.as_str(), count.execution_kind.as_str())).or_default();
        *row.entry(column_of(count.state)).or_default() += count.count;
    }

    let times = output.times(stats.at);
    let mut columns = vec![Column::cut("lane", 0), Column::cut("kind", 1)];
    columns.extend(STATES.iter().map(|(name, rank, _)| Column::whole(name, *rank)));
    columns.push(Column::whole("oldest waiting", 1));
    let mut table = Table::new(columns);
    let mut shown = "";
    for ((lane, kind), counts) in &rows {
        let waits = |at: &&ff_core::contracts::OldestWaiting| at.lane_id.as_str() == *lane;
        let oldest = stats.oldest_waiting.iter().find(waits).filter(|_| shown != *lane);
        shown = lane;

        let mut cells = vec![(*lane).to_owned(), (*kind).to_owned()];
        cells.extend(STATES.iter().map(|(name, ..)| {
            counts.get(name).filter(|count| **count != 0).map_or_else(String::new, u64::to_string)
        }));
        let since: Option<TimestampMs> = oldest.map(|oldest| oldest.since);
        cells.push(since.map_or_else(String::new, |at| times.format(at)));
        table.row(cells);
    }
    table
}

fn column_of(state: PublicState) -> &'static str {
    let column = STATES.iter().find(|(_, _, states)| states.contains(&state));
    column.map_or("blocked", |(name, ..)| name)
}

fn failures(stats: &Stats) -> Table {
    let mut table = Table::new([
        Column::cut("lane", 0),
        Column::cut("kind", 1),
        Column::whole("class", 0),
        Column::whole("failed", 0),
    ]);
    for failure in &stats.failures {
        table.row([
            failure.lane_id.as_str().to_owned(),
            failure.execution_kind.clone(),
            or_dash(failure.failure_class.map(FailureClass::as_str)),
            failure.count.to_string(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_a_column() {
        for state in PublicState::all() {
            let of = STATES.iter().filter(|(_, _, states)| states.contains(&state)).count();
            assert_eq!(of, 1, "{state:?}");
        }
    }
}
