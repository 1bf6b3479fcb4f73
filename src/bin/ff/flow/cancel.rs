//! `ff flow cancel`: ends a flow, for an operator.

use clap::ValueEnum;
use ff_core::backend::{CancelFlowPolicy, CancelFlowWait};
use ff_core::contracts::CancelFlowResult;

use super::flow_name::{FlowName, missing};
use crate::Global;
use crate::failure::Failure;
use crate::view::FlowCancelledView;
use crate::words::count;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The flow: its id, or the first digits of it.
    #[arg(value_name = "FLOW")]
    flow: FlowName,
    /// The executions that are cancelled with it.
    #[arg(long, value_enum, default_value_t = Policy::All)]
    policy: Policy,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Policy {
    /// All that have not ended, even those that workers run.
    All,
    /// Those that have not begun.
    Pending,
    /// None: the flow only takes no new members.
    FlowOnly,
}

impl Policy {
    const fn of_engine(self) -> CancelFlowPolicy {
        match self {
            Self::All => CancelFlowPolicy::CancelAll,
            Self::Pending => CancelFlowPolicy::CancelPending,
            Self::FlowOnly => CancelFlowPolicy::FlowOnly,
        }
    }
}

/// The outcome for the executions.
#[derive(Default)]
struct Members {
    covered: Vec<String>,
    failed: Vec<String>,
    /// True if they are cancelled later.
    later: bool,
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let engine = global.open_existing().await?;
    let id = arguments.flow.find(&engine).await?;
    let failed = |error| Failure::engine(&format!("cancelling flow {id}"), &error);
    // The engine treats a missing flow like one without executions.
    if engine.describe_flow(&id).await.map_err(failed)?.is_none() {
        return Err(missing(&id));
    }

    let policy = arguments.policy.of_engine();
    let cancelled = engine.cancel_flow(&id, policy, CancelFlowWait::NoWait).await;
    let Members { covered, failed, later } = match cancelled.map_err(failed)? {
        CancelFlowResult::Cancelled { member_execution_ids: covered, .. } => {
            Members { covered, ..Members::default() }
        }
        CancelFlowResult::CancellationScheduled { member_execution_ids: covered, .. } => {
            Members { covered, later: true, ..Members::default() }
        }
        CancelFlowResult::PartiallyCancelled {
            member_execution_ids: covered,
            failed_member_execution_ids: failed,
            ..
        } => Members { covered, failed, later: false },
    };

    let output = global.output();
    if output.is_json() {
        output.json(&FlowCancelledView {
            flow_id: &id,
            executions: &covered,
            failed: &failed,
            scheduled: later,
        })?;
    } else {
        let are = if covered.len() == 1 { "is" } else { "are" };
        let how = if later { "later" } else { "with it" };
        let executions = count(covered.len(), "execution");
        output.line(format!("flow {id} is cancelled; {executions} {are} cancelled {how}"))?;
        for execution in &failed {
            output.line(format!("could not be cancelled: {execution}"))?;
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(Failure::partly()) }
}
