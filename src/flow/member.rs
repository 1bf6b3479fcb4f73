//! The executions of a flow's nodes, as the engine is asked to create them, and the engine's rules
//! for them: a flow that breaks one is refused before anything of it exists.

use ff_core::contracts::{CreateExecutionArgs, CreateFlowArgs};
use ff_core::partition::PartitionConfig;
use ff_core::rules::flow::create::CreateFlow;
use ff_core::rules::flow::member::CreateMember;
use ff_core::types::{FlowId, Namespace, TimestampMs};
use uuid::Uuid;

use super::{FlowSpecError, NODE_TAG, NodeSpec, execution_id};

/// The time of a check. No rule for the values of a node depends on it.
const ANY_TIME: TimestampMs = TimestampMs(0);

/// The execution of a node of a flow that is submitted `now`.
///
/// # Errors
/// A description of the overflow, if the node's delay leads too far away.
pub(super) fn execution(
    flow_id: &FlowId,
    namespace: &Namespace,
    node: &NodeSpec,
    now: TimestampMs,
) -> Result<CreateExecutionArgs, String> {
    let execution_id = execution_id(flow_id, &node.name);
    let mut tags = node.tags.clone();
    tags.insert(NODE_TAG.to_owned(), node.name.to_string());

    Ok(CreateExecutionArgs {
        partition_id: execution_id.partition(),
        execution_id,
        namespace: namespace.clone(),
        lane_id: node.lane.clone(),
        execution_kind: node.kind.clone(),
        input_payload: node.payload.clone(),
        payload_encoding: None,
        priority: node.priority,
        creator_identity: "flow".to_owned(),
        idempotency_key: None,
        tags,
        policy: node.policy.clone(),
        delay_until: node.delay_until.map(|delay| delay.at(now)).transpose()?,
        execution_deadline_at: None,
        now,
    })
}

/// Checks what the engine will be asked for by the engine's own rules.
pub(super) fn check(
    kind: &str,
    namespace: &Namespace,
    nodes: &[NodeSpec],
) -> Result<(), FlowSpecError> {
    let (flow_id, partitions) = (FlowId::from_uuid(Uuid::nil()), PartitionConfig::default());
    let args = CreateFlowArgs {
        flow_id: flow_id.clone(),
        flow_kind: kind.to_owned(),
        namespace: namespace.clone(),
        now: ANY_TIME,
    };
    let refused = |reason| FlowSpecError::Flow { reason };
    CreateFlow::new(args, &partitions).map_err(|error| refused(error.sentence()))?;

    for node in nodes {
        let refused = |reason| FlowSpecError::Node { node: node.name.to_string(), reason };
        let args = execution(&flow_id, namespace, node, ANY_TIME).map_err(refused)?;
        let member = CreateMember::new(&flow_id, args, &partitions);
        member.map_err(|error| refused(error.sentence()))?;
    }
    Ok(())
}
