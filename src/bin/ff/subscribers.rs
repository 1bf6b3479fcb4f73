//! `ff subscribers`: lists the named subscribers and how far they have read, and drops one.

use super::Global;
use super::clock::now;
use super::failure::Failure;
use super::table::{Column, Table};
use super::view::{DroppedView, SubscribersView};
use super::words::{count, word};
use ff_core::types::TimestampMs;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List all subscribers; this is what the command does without a word.
    Ls,
    /// Forget how far a subscriber has read: nothing is kept for it any more.
    Drop {
        /// The subscriber.
        #[arg(value_name = "NAME")]
        name: String,
    },
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    match arguments.action {
        None | Some(Action::Ls) => list(global).await,
        Some(Action::Drop { name }) => drop_one(global, &name).await,
    }
}

async fn list(global: &Global) -> Result<(), Failure> {
    let engine = global.open().await?;
    let cursors = engine.list_subscriber_cursors().await;
    let cursors = cursors.map_err(|error| Failure::engine("listing subscribers", &error))?;

    let output = global.output();
    if output.is_json() {
        return Ok(output.json(&SubscribersView { subscribers: &cursors })?);
    }

    let times = output.times(now(&engine).await?);
    let names = ["subscriber", "kind", "cursor", "moved"];
    let mut table = Table::new(names.map(|name| Column::whole(name, 0)));
    for cursor in &cursors {
        let moved = times.format(TimestampMs(cursor.updated_at_ms));
        table.row([cursor.name.clone(), word(&cursor.outbox), cursor.event_id.to_string(), moved]);
    }
    Ok(output.table(&table)?)
}

async fn drop_one(global: &Global, name: &str) -> Result<(), Failure> {
    let engine = global.open_existing().await?;
    let dropped = engine.drop_subscriber(name).await;
    let cursors = dropped.map_err(|error| Failure::engine("dropping a subscriber", &error))?;
    if cursors == 0 {
        return Err(Failure::new(format!("there is no subscriber {name}")));
    }

    let output = global.output();
    if output.is_json() {
        return Ok(output.json(&DroppedView { name, cursors })?);
    }
    Ok(output.line(format!("{name} is dropped, with {}", count(cursors, "cursor")))?)
}
