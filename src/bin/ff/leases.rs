//! `ff leases`: lists the leases of running executions.

use ff_core::contracts::{LeaseInfo, ListLeasesArgs};
use ff_core::engine_backend::EngineBackend;
use ff_core::types::{TimestampMs, WorkerInstanceId};

use super::Global;
use super::clock::now;
use super::failure::Failure;
use super::ids::Ids;
use super::output::Output;
use super::pages::all_pages;
use super::table::{Column, Table};
use super::view::{LeaseView, LeasesView};
use super::words::or_dash;

/// The leases that one request lists.
const PAGE: u32 = 1_000;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Only those of this running instance of a worker.
    #[arg(long, value_name = "INSTANCE")]
    worker: Option<String>,
    /// Only those that have expired, and that no scanner has released yet.
    #[arg(long)]
    expired: bool,
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let engine = global.open().await?;
    let now = now(&engine).await?;

    let mut args = ListLeasesArgs::new(PAGE);
    args.worker_instance_id = arguments.worker.map(WorkerInstanceId::new);
    args.expired_by = arguments.expired.then_some(now);
    let leases = all_leases(engine.as_ref(), args).await?;

    let output = global.output();
    if output.is_json() {
        return Ok(output.json(&LeasesView { leases: leases.iter().map(LeaseView::of).collect() })?);
    }
    print(&leases, output, now)
}

/// Reads every page of a listing of leases.
pub(super) async fn all_leases(
    engine: &dyn EngineBackend,
    args: ListLeasesArgs,
) -> Result<Vec<LeaseInfo>, Failure> {
    all_pages(|after| {
        let mut args = args.clone();
        args.after = after;
        async move {
            let page = engine.list_leases(args).await;
            let page = page.map_err(|error| Failure::engine("listing the leases", &error))?;
            Ok((page.leases, page.next_cursor))
        }
    })
    .await
}

fn print(leases: &[LeaseInfo], output: Output, now: TimestampMs) -> Result<(), Failure> {
    if leases.is_empty() {
        return Ok(output.line("no leases")?);
    }

    let times = output.times(now);
    let ids = leases.iter().map(|lease| lease.execution_id.uuid());
    let ids = Ids::of(ids, output.width());
    let mut table = Table::new([
        Column::whole("execution", 0),
        Column::cut("lane", 2),
        Column::cut("worker", 0),
        Column::whole("attempt", 3),
        Column::whole("epoch", 4),
        Column::whole("expires", 1),
    ]);
    for lease in leases {
        table.row([
            ids.execution(&lease.execution_id),
            lease.lane_id.as_str().to_owned(),
            or_dash(lease.worker_instance_id.as_ref().map(WorkerInstanceId::as_str)),
            lease.attempt_index.0.to_string(),
            lease.lease_epoch.0.to_string(),
            times.format(lease.expires_at),
        ]);
    }
    Ok(output.table(&table)?)
}
