//! `ff lanes`: lists lanes, and pauses, drains, disables and resumes them.

use ff_core::contracts::{LaneInfo, SetLaneStateArgs};
use ff_core::engine_backend::EngineBackend;
use ff_core::state::{ClosedSet as _, LaneState};
use ff_core::types::TimestampMs;
use jiff::Timestamp;

use super::Global;
use super::clock::now;
use super::failure::Failure;
use super::filter::span;
use super::ids::lane;
use super::output::{OnClosed, Output};
use super::pages::all_pages;
use super::table::{Column, Table};
use super::view::{LaneView, LanesView};
use super::words::{OPERATOR, or_dash};

/// The lanes that one request lists.
const PAGE: usize = 1_000;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List lanes and their states.
    Ls,
    /// Stop claims from a lane; submissions go on. Work that runs goes on, too.
    Pause(Closing),
    /// Let a lane take submissions and claims again.
    Resume {
        /// The lane.
        #[arg(value_name = "LANE")]
        lane: String,
    },
    /// Refuse submissions to a lane; claims go on until it is empty.
    Drain(Closing),
    /// Refuse submissions to a lane, and stop claims from it.
    Disable(Closing),
}

#[derive(Debug, clap::Args)]
struct Closing {
    /// The lane.
    #[arg(value_name = "LANE")]
    lane: String,
    /// The reason, which refused submissions are told.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// The time from which the lane is active again: a span from now, such as 2h, or a time such as
    /// 2026-01-31T18:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = until)]
    until: Option<Until>,
}

/// The end of a state.
#[derive(Clone, Copy, Debug)]
enum Until {
    At(TimestampMs),
    In(i64),
}

impl Arguments {
    pub(super) const fn on_closed(&self) -> OnClosed {
        match self.command {
            Command::Ls => OnClosed::End,
            Command::Pause(_)
            | Command::Resume { .. }
            | Command::Drain(_)
            | Command::Disable(_) => OnClosed::GoOn,
        }
    }
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let (closing, state) = match arguments.command {
        Command::Ls => return list(global).await,
        Command::Pause(closing) => (closing, LaneState::Paused),
        Command::Drain(closing) => (closing, LaneState::Draining),
        Command::Disable(closing) => (closing, LaneState::Disabled),
        Command::Resume { lane } => {
            (Closing { lane, reason: None, until: None }, LaneState::Active)
        }
    };
    set(global, closing, state).await
}

async fn set(global: &Global, closing: Closing, state: LaneState) -> Result<(), Failure> {
    let lane = lane(&closing.lane)?;
    let engine = global.open_existing().await?;

    let mut args = SetLaneStateArgs::new(lane.clone(), state, OPERATOR);
    args.reason = closing.reason;
    args.until = match closing.until {
        None => None,
        Some(Until::At(at)) => Some(at),
        Some(Until::In(ms)) => Some(TimestampMs(now(&engine).await?.0.saturating_add(ms))),
    };

    let failure = |error| Failure::engine("setting the state of the lane", &error);
    engine.set_lane_state(args).await.map_err(failure)?;
    let info = engine.read_lane(&lane).await.map_err(failure)?;
    let Some(info) = info else { return Err(Failure::new("the lane is gone")) };

    let output = global.output();
    if output.is_json() {
        return Ok(output.json(&LaneView::of(&info))?);
    }
    let times = output.times(now(&engine).await?);
    let until = info.until.map(|at| format!(", until {}", times.format_in_sentence(at)));
    Ok(output.line(format!("{lane} is {}{}", info.state.as_str(), until.unwrap_or_default()))?)
}

async fn list(global: &Global) -> Result<(), Failure> {
    let engine = global.open().await?;
    let lanes = all_lanes(engine.as_ref()).await?;
    let output = global.output();
    if output.is_json() {
        return Ok(output.json(&LanesView { lanes: lanes.iter().map(LaneView::of).collect() })?);
    }
    print(&lanes, output, now(&engine).await?)
}

pub(super) async fn all_lanes(engine: &dyn EngineBackend) -> Result<Vec<LaneInfo>, Failure> {
    all_pages(|after| async move {
        let page = engine.list_lanes(after, PAGE).await;
        let page = page.map_err(|error| Failure::engine("listing the lanes", &error))?;
        Ok((page.details, page.next_cursor))
    })
    .await
}

fn print(lanes: &[LaneInfo], output: Output, now: TimestampMs) -> Result<(), Failure> {
    if lanes.is_empty() {
        return Ok(output.line("no lanes")?);
    }

    let times = output.times(now);
    let mut table = Table::new([
        Column::cut("lane", 0),
        Column::whole("state", 0),
        Column::whole("since", 2),
        Column::whole("until", 1),
        Column::cut("by", 3),
        Column::wrapped("reason", 1),
    ]);
    for lane in lanes {
        table.row([
            lane.lane_id.as_str().to_owned(),
            lane.state.as_str().to_owned(),
            or_dash(lane.since.map(|at| times.format(at))),
            or_dash(lane.until.map(|at| times.format(at))),
            or_dash(lane.actor.as_deref()),
            or_dash(lane.reason.as_deref()),
        ]);
    }
    Ok(output.table(&table)?)
}

fn until(text: &str) -> Result<Until, String> {
    if let Ok(ms) = span(text) {
        return Ok(Until::In(ms));
    }
    let at: Timestamp =
        text.parse().map_err(|_| "expected a span such as 2h, or a time in UTC".to_owned())?;
    Ok(Until::At(TimestampMs(at.as_millisecond())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_span_or_a_time() {
        assert!(matches!(until("2h"), Ok(Until::In(7_200_000))));
        let at = until("1970-01-01T00:00:01Z");
        assert!(matches!(at, Ok(Until::At(TimestampMs(1_000)))), "{at:?}");
        assert!(until("soon").is_err());
    }
}
