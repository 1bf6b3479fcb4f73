//! Waits for children: both executions become members of a flow, and then the one waits.
//!
//! Each step may be repeated, so a process may die between any two of them.

use super::{Executor, run};
use crate::contracts::{AddExecutionToFlowArgs, ChildWait, CreateFlowArgs};
use crate::model::error::{ContentionKind, EngineError};
use crate::model::ids::{ExecutionId, Namespace};
use crate::rules::execution::read;
use crate::rules::fence::Fence;
use crate::rules::flow::await_child::{AwaitChild, Awaited, FLOW_KIND, flow_of_children};
use crate::rules::flow::create::CreateFlow;
use crate::rules::flow::member::AddExecution;

/// How often both executions are made members of a flow. Nothing takes one out of its flow, so two
/// refusals are the most that other waits can cause.
const TRIES: u32 = 3;

/// Parks the execution of the fence until the other one has ended. Where that one belongs to no
/// flow, it becomes a member of the flow of children, and so does its parent if it has none.
pub(super) async fn wait_for_child(
    executor: &dyn Executor,
    fence: Fence,
    child: &ExecutionId,
) -> Result<ChildWait, EngineError> {
    let parent = fence.key.id();
    let wait = AwaitChild::new(fence, child)?;
    let mut refusal = EngineError::Contention(ContentionKind::RetryExhausted);
    for _ in 0..TRIES {
        let parent_has_one = match run(executor, &wait).await? {
            Awaited::Answered(answer) => return Ok(answer),
            Awaited::NoFlow { parent_has_one } => parent_has_one,
        };

        let members = [(!parent_has_one).then_some(&parent), Some(child)];
        // Another wait may have made one of them a member of its flow, which is as good.
        if let Err(error) = join(executor, &parent, members.into_iter().flatten()).await {
            refusal = error;
        }
    }
    match run(executor, &wait).await? {
        Awaited::Answered(answer) => Ok(answer),
        Awaited::NoFlow { .. } => Err(refusal),
    }
}

/// Makes these executions members of the flow of the parent's children.
async fn join(
    executor: &dyn Executor,
    parent: &ExecutionId,
    members: impl Iterator<Item = &ExecutionId>,
) -> Result<(), EngineError> {
    let (partitions, now) = (executor.partitions(), executor.now());
    let flow_id = flow_of_children(parent, &partitions)?;
    let namespace = run(executor, &read::namespace(parent)?).await?.unwrap_or_default();

    let (flow_kind, namespace) = (FLOW_KIND.to_owned(), Namespace::new(namespace));
    let flow = CreateFlowArgs { flow_id: flow_id.clone(), flow_kind, namespace, now };
    run(executor, &CreateFlow::new(flow, &partitions)?).await?;
    for member in members {
        let (flow_id, execution_id) = (flow_id.clone(), member.clone());
        let args = AddExecutionToFlowArgs { flow_id, execution_id, now };
        run(executor, &AddExecution::new(args, &partitions)?).await?;
    }
    Ok(())
}
