//! `ff limits`: sets limits of keys, shows what holds them, lists and removes them.

use ff_core::contracts::{LimitInfo, RateLimit, SetLimitArgs};
use ff_core::engine_backend::EngineBackend;
use ff_core::types::TimestampMs;

use super::Global;
use super::clock::{now, span as span_text};
use super::failure::Failure;
use super::filter::span;
use super::output::{OnClosed, Output};
use super::pages::all_pages;
use super::table::{Column, Table};
use super::view::{LimitStatusView, LimitView, LimitsView, RemovedView};
use super::words::{OPERATOR, or_dash};

/// The limits that one request lists.
const PAGE: usize = 1_000;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List the limits.
    Ls,
    /// Show the limit of a key, and the executions that hold it.
    Show {
        /// The key, as executions name it in `limit_keys` of their policy.
        #[arg(value_name = "KEY")]
        key: String,
    },
    /// Set the limit of a key, in place of the one that it has. Work that runs goes on.
    Set(Set),
    /// Remove the limit of a key, or of a family of keys.
    Rm {
        /// The key, or the family.
        #[arg(value_name = "KEY")]
        key: String,
    },
}

#[derive(Debug, clap::Args)]
struct Set {
    /// The key, such as tenant/42. One that ends in /*, such as tenant/*, is a family: each of its
    /// keys that has no limit of its own gets this one.
    #[arg(value_name = "KEY")]
    key: String,
    /// The most executions that run at once; any number if it is absent.
    #[arg(long, value_name = "N")]
    running: Option<u32>,
    /// The most executions that start in a time, such as 100/1m; any number if it is absent.
    #[arg(long, value_name = "N/SPAN", value_parser = rate)]
    rate: Option<RateLimit>,
    /// The most executions that start at once after a pause; as many as the rate counts, up to
    /// 1000, if it is absent.
    #[arg(long, value_name = "N", requires = "rate")]
    burst: Option<u32>,
}

impl Arguments {
    pub(super) const fn on_closed(&self) -> OnClosed {
        match self.action {
            Action::Ls | Action::Show { .. } => OnClosed::End,
            Action::Set(_) | Action::Rm { .. } => OnClosed::GoOn,
        }
    }
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    match arguments.action {
        Action::Ls => list(global).await,
        Action::Show { key } => show(global, &key).await,
        Action::Set(set) => set_limit(global, set).await,
        Action::Rm { key } => remove(global, &key).await,
    }
}

async fn set_limit(global: &Global, set: Set) -> Result<(), Failure> {
    let engine = global.open_existing().await?;
    let mut args = SetLimitArgs::new(set.key.clone(), OPERATOR);
    args.max_running = set.running;
    args.rate = set.rate.map(|rate| set.burst.map_or(rate, |burst| rate.with_burst(burst)));
    let failure = |error| Failure::engine("setting the limit", &error);
    engine.set_limit(args.clone()).await.map_err(failure)?;

    let output = global.output();
    if output.is_json() {
        let (running, rate) = (args.max_running, args.rate.as_ref());
        return Ok(output.json(&LimitView::of(&set.key, running, rate))?);
    }
    let bounds = bounds(args.max_running, args.rate.as_ref());
    Ok(output.line(format!("{}: {bounds}", set.key))?)
}

async fn show(global: &Global, key: &str) -> Result<(), Failure> {
    let engine = global.open().await?;
    let failure = |error| Failure::engine("reading the limit", &error);
    let Some(status) = engine.read_limit(key).await.map_err(failure)? else {
        return Err(Failure::new(format!("{key} has no limit; ff limits set gives it one")));
    };

    let output = global.output();
    if output.is_json() {
        return Ok(output.json(&LimitStatusView::of(key, &status))?);
    }
    let limit = &status.limit;
    let of = if limit.limit_key == key { "" } else { " (of its family)" };
    output.line(format!("{key}: {}{of}", bounds(limit.max_running, limit.rate.as_ref())))?;
    let times = output.times(now(&engine).await?);
    if let Some(at) = status.next_start {
        output.line(format!("the next may start {}", times.format_in_sentence(at)))?;
    }
    output.line(format!("{} hold a permit", status.running))?;
    for holder in &status.holders {
        output.line(format!("  {holder}"))?;
    }
    Ok(())
}

async fn remove(global: &Global, key: &str) -> Result<(), Failure> {
    let engine = global.open_existing().await?;
    let removed = engine.remove_limit(key).await;
    let removed = removed.map_err(|error| Failure::engine("removing the limit", &error))?;
    let output = global.output();
    if output.is_json() {
        return Ok(output.json(&RemovedView { limit_key: key, removed })?);
    }
    let what = if removed { "has no limit any more" } else { "has no limit" };
    Ok(output.line(format!("{key} {what}"))?)
}

async fn list(global: &Global) -> Result<(), Failure> {
    let engine = global.open().await?;
    let limits = all_limits(engine.as_ref()).await?;
    let output = global.output();
    if output.is_json() {
        let limits = limits.iter().map(|limit| {
            LimitView::of(&limit.limit_key, limit.max_running, limit.rate.as_ref()).set_by(limit)
        });
        return Ok(output.json(&LimitsView { limits: limits.collect() })?);
    }
    print(&limits, output, now(&engine).await?)
}

async fn all_limits(engine: &dyn EngineBackend) -> Result<Vec<LimitInfo>, Failure> {
    all_pages(|after| async move {
        let page = engine.list_limits(after, PAGE).await;
        let page = page.map_err(|error| Failure::engine("listing the limits", &error))?;
        Ok((page.limits, page.next_cursor))
    })
    .await
}

fn print(limits: &[LimitInfo], output: Output, now: TimestampMs) -> Result<(), Failure> {
    if limits.is_empty() {
        return Ok(output.line("no limits")?);
    }

    let times = output.times(now);
    let mut table = Table::new([
        Column::cut("key", 0),
        Column::whole("running", 0),
        Column::whole("rate", 0),
        Column::whole("set", 1),
        Column::cut("by", 2),
    ]);
    for limit in limits {
        table.row([
            limit.limit_key.clone(),
            or_dash(limit.max_running),
            or_dash(limit.rate.as_ref().map(rate_text)),
            times.format(limit.set_at),
            limit.set_by.clone(),
        ]);
    }
    Ok(output.table(&table)?)
}

/// The bounds of a limit, in words.
fn bounds(running: Option<u32>, rate: Option<&RateLimit>) -> String {
    let running = running.map(|max| format!("at most {max} at once"));
    let rate = rate.map(|rate| format!("at most {} start", rate_text(rate)));
    let all: Vec<String> = running.into_iter().chain(rate).collect();
    if all.is_empty() { "no bounds".to_owned() } else { all.join(", ") }
}

fn rate_text(rate: &RateLimit) -> String {
    let per = span_text(i64::try_from(rate.per_ms).unwrap_or(i64::MAX));
    let burst = rate.burst.map(|burst| format!(" (burst {burst})"));
    format!("{}/{per}{}", rate.count, burst.unwrap_or_default())
}

fn rate(text: &str) -> Result<RateLimit, String> {
    let expected = || "expected a number and a span, such as 100/1m".to_owned();
    let (count, per) = text.split_once('/').ok_or_else(expected)?;
    let count = count.parse().map_err(|_| expected())?;
    let per = span(per)?;
    Ok(RateLimit::new(count, u64::try_from(per).map_err(|_| expected())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_in_a_time() {
        assert_eq!(rate("100/1m"), Ok(RateLimit::new(100, 60_000)));
        for bad in ["100", "x/1m", "1/soon", "/"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }
}
