//! `ff fairness`: sets, lists and removes the weights of fairness keys in a lane.

use ff_core::contracts::{FairnessWeight, SetFairnessWeightArgs};
use ff_core::engine_backend::EngineBackend;
use ff_core::types::LaneId;

use super::Global;
use super::clock::now;
use super::failure::Failure;
use super::ids::lane;
use super::output::{OnClosed, Output};
use super::pages::all_pages;
use super::table::{Column, Table};
use super::view::{FairnessWeightRemovedView, FairnessWeightView, FairnessWeightsView};
use super::words::OPERATOR;

/// The weights that one request lists.
const PAGE: usize = 1_000;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List the weights of a lane.
    Ls {
        /// The lane.
        #[arg(value_name = "LANE")]
        lane: String,
    },
    /// Give a key a weight, in place of the one that it has.
    Set {
        /// The lane.
        #[arg(value_name = "LANE")]
        lane: String,
        /// The key, as executions name it in `fairness_key` of their policy; '' for those without.
        #[arg(value_name = "KEY")]
        key: String,
        /// The weight, from 1 to 1000: so many starts for each start of a key of weight 1.
        #[arg(value_name = "WEIGHT")]
        weight: u32,
    },
    /// Remove the weight of a key, which then counts as 1.
    Rm {
        /// The lane.
        #[arg(value_name = "LANE")]
        lane: String,
        /// The key.
        #[arg(value_name = "KEY")]
        key: String,
    },
}

impl Arguments {
    pub(super) const fn on_closed(&self) -> OnClosed {
        match self.action {
            Action::Ls { .. } => OnClosed::End,
            Action::Set { .. } | Action::Rm { .. } => OnClosed::GoOn,
        }
    }
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    match arguments.action {
        Action::Ls { lane: name } => list(global, &lane(&name)?).await,
        Action::Set { lane: name, key, weight } => set(global, lane(&name)?, &key, weight).await,
        Action::Rm { lane: name, key } => remove(global, &lane(&name)?, &key).await,
    }
}

async fn set(global: &Global, lane: LaneId, key: &str, weight: u32) -> Result<(), Failure> {
    let engine = global.open_existing().await?;
    let args = SetFairnessWeightArgs::new(lane.clone(), key, weight, OPERATOR);
    let set = engine.set_fairness_weight(args).await;
    set.map_err(|error| Failure::engine("setting the weight", &error))?;

    let output = global.output();
    if output.is_json() {
        return Ok(output.json(&FairnessWeightView::of(&lane, key, weight))?);
    }
    Ok(output.line(format!("{} has weight {weight} in {lane}", named(key)))?)
}

async fn remove(global: &Global, lane: &LaneId, key: &str) -> Result<(), Failure> {
    let engine = global.open_existing().await?;
    let removed = engine.remove_fairness_weight(lane, key).await;
    let removed = removed.map_err(|error| Failure::engine("removing the weight", &error))?;

    let output = global.output();
    if output.is_json() {
        let view = FairnessWeightRemovedView { lane_id: lane, fairness_key: key, removed };
        return Ok(output.json(&view)?);
    }
    let what = if removed { "counts as 1 from now on" } else { "has no weight" };
    Ok(output.line(format!("{} {what} in {lane}", named(key)))?)
}

async fn list(global: &Global, lane: &LaneId) -> Result<(), Failure> {
    let engine = global.open().await?;
    let weights = all_weights(engine.as_ref(), lane).await?;
    let output = global.output();
    if output.is_json() {
        let weights = weights.iter().map(|weight| {
            FairnessWeightView::of(&weight.lane_id, &weight.fairness_key, weight.weight)
                .set_by(weight)
        });
        return Ok(output.json(&FairnessWeightsView { weights: weights.collect() })?);
    }
    let now = now(&engine).await?;
    print(&weights, output, now)
}

async fn all_weights(
    engine: &dyn EngineBackend,
    lane: &LaneId,
) -> Result<Vec<FairnessWeight>, Failure> {
    all_pages(|after| async move {
        let page = engine.list_fairness_weights(lane, after, PAGE).await;
        let page = page.map_err(|error| Failure::engine("listing the weights", &error))?;
        Ok((page.weights, page.next_cursor))
    })
    .await
}

fn print(
    weights: &[FairnessWeight],
    output: Output,
    now: ff_core::types::TimestampMs,
) -> Result<(), Failure> {
    if weights.is_empty() {
        return Ok(output.line("no weights: every key counts as 1")?);
    }

    let times = output.times(now);
    let mut table = Table::new([
        Column::cut("key", 0),
        Column::whole("weight", 0),
        Column::whole("set", 1),
        Column::cut("by", 2),
    ]);
    for weight in weights {
        table.row([
            named(&weight.fairness_key).to_owned(),
            weight.weight.to_string(),
            times.format(weight.set_at),
            weight.set_by.clone(),
        ]);
    }
    Ok(output.table(&table)?)
}

/// The key, or words for the executions without one.
fn named(key: &str) -> &str {
    if key.is_empty() { "(without a key)" } else { key }
}
