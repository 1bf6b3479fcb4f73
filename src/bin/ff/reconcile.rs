//! `ff reconcile`: repairs what rows derive from other rows, where it has drifted.

use std::sync::Arc;

use ff_core::backend::ScannerFilter;
use ff_core::engine_backend::{EngineBackend, Scan};
use ff_core::partition::{Partition, PartitionConfig, PartitionFamily};
use ff_core::types::LaneId;

use super::Global;
use super::failure::Failure;
use super::ids::lane;
use super::table::{Column, Table};
use super::view::{ReconciledView, ScanCountsView};

/// The most counters that one scan repairs.
const BATCH: u32 = 1_000;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Only executions of this lane. May be given many times. Counters are then left alone.
    #[arg(long = "lane", value_name = "LANE")]
    lanes: Vec<String>,
    /// Only executions of this tenant. Counters are then left alone.
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let lanes = arguments.lanes.iter().map(|name| lane(name)).collect::<Result<Vec<_>, _>>()?;
    let some = !lanes.is_empty() || arguments.namespace.is_some();
    let filter = match &arguments.namespace {
        Some(namespace) => ScannerFilter::new().with_namespace(namespace.as_str()),
        None => ScannerFilter::NOOP,
    };

    let engine = global.open_existing().await?;
    let mut reconciled = ReconciledView {
        executions: executions(&engine, &lanes, &filter).await?,
        budgets: None,
        quotas: None,
    };
    if !some {
        reconciled.budgets = Some(counters(&engine, Scan::BudgetReconcile).await?);
        reconciled.quotas = Some(counters(&engine, Scan::QuotaReconcile).await?);
    }

    let output = global.output();
    if output.is_json() {
        output.json(&reconciled)?;
    } else {
        output.table(&table(&reconciled))?;
    }
    let failed = reconciled.rows().any(|(_, counts)| 0 < counts.errors);
    if failed { Err(Failure::partly()) } else { Ok(()) }
}

/// Repairs executions, one partition after the other.
async fn executions(
    engine: &Arc<dyn EngineBackend>,
    lanes: &[LaneId],
    filter: &ScannerFilter,
) -> Result<ScanCountsView, Failure> {
    let mut total = ScanCountsView { processed: 0, errors: 0 };
    for index in 0..PartitionConfig::default().num_flow_partitions {
        let partition = Partition { family: PartitionFamily::Execution, index };
        let counts = engine.reconcile_execution_index(partition, lanes, filter).await;
        total.add(counts.map_err(|error| Failure::engine("repairing executions", &error))?);
    }
    Ok(total)
}

/// Repairs all counters of one kind.
async fn counters(engine: &Arc<dyn EngineBackend>, scan: Scan) -> Result<ScanCountsView, Failure> {
    let mut total = ScanCountsView { processed: 0, errors: 0 };
    loop {
        let counts = engine.scan(scan, BATCH).await;
        let counts = counts.map_err(|error| Failure::engine("repairing counters", &error))?;
        total.add(counts);
        if counts.processed < BATCH {
            return Ok(total);
        }
    }
}

fn table(reconciled: &ReconciledView) -> Table {
    let mut table = Table::new(["kind", "repaired", "errors"].map(|name| Column::whole(name, 0)));
    for (kind, counts) in reconciled.rows() {
        table.row([kind.to_owned(), counts.processed.to_string(), counts.errors.to_string()]);
    }
    table
}
