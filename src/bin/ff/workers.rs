//! `ff workers`: lists workers, whether they are alive, and what they hold.

use std::collections::HashMap;

use ff_core::contracts::{LeaseInfo, ListLeasesArgs, ListWorkersArgs, WorkerInfo};
use ff_core::engine_backend::EngineBackend;
use ff_core::types::{LaneId, TimestampMs, WorkerInstanceId};

use super::Global;
use super::clock::now;
use super::failure::Failure;
use super::leases::all_leases;
use super::output::Output;
use super::pages::all_pages;
use super::table::{Column, Table};
use super::view::{WorkerView, WorkersView};
use super::words::{count, or_dash};

/// The entries that one request lists.
const PAGE: u32 = 1_000;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {}

/// A worker as it is listed.
struct Listed {
    state: &'static str,
    worker: WorkerInfo,
    held: Vec<LeaseInfo>,
}

pub(super) async fn run(global: &Global, Arguments {}: Arguments) -> Result<(), Failure> {
    let engine = global.open().await?;
    let workers = all_workers(engine.as_ref()).await?;
    let leases = all_leases(engine.as_ref(), ListLeasesArgs::new(PAGE)).await?;
    let now = now(&engine).await?;

    let mut held: HashMap<WorkerInstanceId, Vec<LeaseInfo>> = HashMap::new();
    for lease in leases {
        if let Some(instance) = lease.worker_instance_id.clone() {
            held.entry(instance).or_default().push(lease);
        }
    }
    let listed = workers.into_iter().map(|worker| Listed {
        state: state(&worker, now),
        held: held.remove(&worker.worker_instance_id).unwrap_or_default(),
        worker,
    });
    let listed: Vec<Listed> = listed.collect();

    let output = global.output();
    if output.is_json() {
        let views = listed.iter().map(|one| WorkerView::of(one.state, &one.worker, &one.held));
        return Ok(output.json(&WorkersView { workers: views.collect() })?);
    }
    print(&listed, output, now)
}

/// Alive; silent, after a heartbeat that did not come; or dead, when its time to live is over. Dead
/// workers stay listed for an hour.
fn state(worker: &WorkerInfo, now: TimestampMs) -> &'static str {
    let silent_ms = now.0.saturating_sub(worker.last_heartbeat_ms.0).unsigned_abs();
    if !worker.is_alive(now) {
        "dead"
    } else if worker.liveness_ttl_ms / 2 < silent_ms {
        "silent"
    } else {
        "alive"
    }
}

async fn all_workers(engine: &dyn EngineBackend) -> Result<Vec<WorkerInfo>, Failure> {
    all_pages(|after| async move {
        let mut args = ListWorkersArgs::new();
        args.after = after;
        let page = engine.list_workers(args).await;
        let page = page.map_err(|error| Failure::engine("listing the workers", &error))?;
        Ok((page.entries, page.cursor))
    })
    .await
}

fn print(workers: &[Listed], output: Output, now: TimestampMs) -> Result<(), Failure> {
    if workers.is_empty() {
        return Ok(output.line("no workers")?);
    }

    let times = output.times(now);
    let mut table = Table::new([
        Column::cut("worker", 0),
        Column::whole("state", 0),
        Column::whole("heartbeat", 1),
        Column::cut("lanes", 2),
        Column::cut("capabilities", 4),
        Column::cut("version", 5),
        Column::whole("holds", 1),
    ]);
    for Listed { state, worker, held } in workers {
        let lanes: Vec<&str> = worker.lanes.iter().map(LaneId::as_str).collect();
        let tokens: Vec<&str> = worker.capabilities.iter().map(String::as_str).collect();
        let listed = |names: Vec<&str>| or_dash((!names.is_empty()).then(|| names.join(", ")));
        table.row([
            worker.worker_instance_id.as_str().to_owned(),
            (*state).to_owned(),
            times.format(worker.last_heartbeat_ms),
            listed(lanes),
            listed(tokens),
            or_dash(worker.version.as_deref()),
            count(held.len(), "lease"),
        ]);
    }
    Ok(output.table(&table)?)
}
