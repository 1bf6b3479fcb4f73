//! `ff revoke`: takes leases back, of one execution or of one worker.

use std::sync::Arc;

use ff_core::contracts::{ListLeasesArgs, RevokeLeaseArgs, RevokeLeaseResult};
use ff_core::engine_backend::EngineBackend;
use ff_core::types::{ExecutionId, WorkerInstanceId};

use super::Global;
use super::confirm::{confirm, has_terminal};
use super::failure::Failure;
use super::ids::{DEFAULT_LANE, execution_name, lane};
use super::leases::all_leases;
use super::view::{RevocationsView, RevokedView};
use super::words::count;

/// The leases that one request lists.
const PAGE: u32 = 1_000;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The execution: `{fp:N}:UUID` with or without braces, or `N:DIGITS` as lists show it, or the
    /// UUID, or the first digits of it.
    #[arg(value_name = "ID", conflicts_with = "worker")]
    id: Option<String>,
    /// The lane of the execution that is meant, if several have the same UUID.
    #[arg(long, value_name = "LANE", default_value = DEFAULT_LANE)]
    lane: String,
    /// All leases of this running instance of a worker.
    #[arg(long, value_name = "INSTANCE")]
    worker: Option<String>,
    /// The reason, which the events of operators record.
    #[arg(long, value_name = "TEXT", default_value = "revoked by an operator")]
    reason: String,
    /// Do not ask for confirmation.
    #[arg(long)]
    yes: bool,
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    if arguments.id.is_none() && arguments.worker.is_none() {
        return Err(Failure::usage("which leases? name an execution, or say --worker"));
    }
    if !(arguments.yes || has_terminal()) {
        return Err(Failure::usage("there is no terminal to ask at: say --yes"));
    }

    let lane = lane(&arguments.lane)?;
    let name = arguments.id.as_deref().map(|id| execution_name(id, &lane)).transpose();
    let name = name.map_err(Failure::usage)?;

    let engine = global.open_existing().await?;
    let instance = WorkerInstanceId::new(arguments.worker.unwrap_or_default());
    let executions = match name {
        Some(name) => vec![name.find(&engine).await?],
        None => {
            let args = ListLeasesArgs::new(PAGE).with_worker(instance.clone());
            let leases = all_leases(engine.as_ref(), args).await?;
            leases.into_iter().map(|lease| lease.execution_id).collect()
        }
    };

    let question = format!("revoke {}", count(executions.len(), "lease"));
    if !(arguments.yes || executions.is_empty() || confirm(&question)?) {
        return Err(Failure::new("nothing was changed"));
    }
    let mut revoked = Vec::new();
    for id in executions {
        let outcome = revoke(&engine, &id, &instance, &arguments.reason).await?;
        revoked.push((id, outcome));
    }
    print(global, &revoked)
}

async fn revoke(
    engine: &Arc<dyn EngineBackend>,
    id: &ExecutionId,
    instance: &WorkerInstanceId,
    reason: &str,
) -> Result<RevokeLeaseResult, Failure> {
    let args = RevokeLeaseArgs {
        execution_id: id.clone(),
        expected_lease_id: None,
        worker_instance_id: instance.clone(),
        reason: reason.to_owned(),
    };
    let revoked = engine.revoke_lease(args).await;
    revoked.map_err(|error| Failure::new(format!("cannot revoke {id}: {}", error.sentence())))
}

fn print(global: &Global, revoked: &[(ExecutionId, RevokeLeaseResult)]) -> Result<(), Failure> {
    let views = revoked.iter().map(|(id, outcome)| RevokedView {
        execution_id: id,
        outcome: match outcome {
            RevokeLeaseResult::Revoked { .. } => "revoked",
            RevokeLeaseResult::AlreadySatisfied { .. } => "already_satisfied",
        },
    });
    let leases: Vec<RevokedView<'_>> = views.collect();

    let output = global.output();
    if output.is_json() {
        return Ok(output.json(&RevocationsView { leases })?);
    }
    if leases.is_empty() {
        return Ok(output.line("no leases")?);
    }
    for RevokedView { execution_id, outcome } in leases {
        let sentence = if outcome == "revoked" { "its lease is revoked" } else { "it has none" };
        output.line(format!("{execution_id}: {sentence}"))?;
    }
    Ok(())
}
