//! A flow's file: its fields, and the flow that they describe.

use std::collections::HashMap;

use ff_core::contracts::{EdgeDependencyPolicy, OnSatisfied};
use ff_core::policy::ExecutionPolicy;
use ff_core::types::{FlowId, LaneId, Namespace};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{FlowSpec, FlowSpecError, NodeName, NodeSpec, NotBefore, fields};

/// The lane of nodes that name none, if the file names none either.
const DEFAULT_LANE: &str = "default";

/// The namespace if none is named.
const DEFAULT_NAMESPACE: &str = "default";

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct File {
    kind: String,
    namespace: Option<String>,
    lane: Option<String>,
    flow_id: Option<String>,
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a node: an object")]
struct Node {
    name: String,
    kind: String,
    payload: Box<RawValue>,
    lane: Option<String>,
    priority: Option<i32>,
    delay_until: Option<NotBefore>,
    #[serde(default, deserialize_with = "fields::tags")]
    tags: HashMap<String, String>,
    policy: Option<fields::Unique>,
    #[serde(default)]
    after: Vec<String>,
    needs: Option<Needs>,
    on_satisfied: Option<OnSatisfied>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Needs {
    All,
    Any,
    Quorum(u32),
}

pub(super) fn parse(text: &str) -> Result<FlowSpec, FlowSpecError> {
    // Editors on Windows may write a byte order mark.
    let text = text.trim_start_matches('\u{feff}');
    let file: File = serde_json::from_str(text).map_err(|error| not_understood(&error))?;
    let of_flow = |field: &str, error: &dyn std::fmt::Display| {
        FlowSpecError::NotUnderstood(format!("{field}: {error}"))
    };

    let lane = LaneId::try_new(file.lane.unwrap_or_else(|| DEFAULT_LANE.to_owned()))
        .map_err(|error| of_flow("lane", &error))?;
    let flow_id = file.flow_id.as_deref().map(FlowId::parse).transpose();
    let flow_id = flow_id.map_err(|error| of_flow("flow_id", &error))?;

    let mut nodes = Vec::with_capacity(file.nodes.len());
    for (number, node) in (1..).zip(file.nodes) {
        nodes.push(understood(number, node, &lane)?);
    }

    let namespace = Namespace::new(file.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE));
    let spec = FlowSpec::new(file.kind, namespace, nodes)?;
    Ok(match flow_id {
        Some(flow_id) => spec.with_flow_id(flow_id),
        None => spec,
    })
}

fn not_understood(error: &serde_json::Error) -> FlowSpecError {
    let reason = fields::wrong_json(error);
    let (line, column) = (error.line(), error.column());
    FlowSpecError::NotUnderstood(format!("{reason}, line {line} column {column}"))
}

fn understood(number: u64, node: Node, lane: &LaneId) -> Result<NodeSpec, FlowSpecError> {
    let unnamed = node.name.clone();
    let name = NodeName::new(node.name).map_err(|error| FlowSpecError::Node {
        node: format!("{number} ({unnamed:?})"),
        reason: error.to_string(),
    })?;

    let wrong = |reason| FlowSpecError::Node { node: name.to_string(), reason };
    let lane = match node.lane {
        Some(text) => LaneId::try_new(text).map_err(|error| wrong(format!("lane: {error}")))?,
        None => lane.clone(),
    };

    let policy = node.policy.map(fields::policy).transpose().map_err(wrong)?;
    // No member of a flow has a key.
    let keyless = policy.as_ref().map_or(Ok(()), ExecutionPolicy::check_without_key);
    keyless.map_err(|fault| wrong(fault.to_string()))?;
    let after = node.after.into_iter().map(|other| {
        NodeName::new(other.clone()).map_err(|error| wrong(format!("after {other:?}: {error}")))
    });
    let after = after.collect::<Result<_, _>>()?;
    // The node's own priority wins over its policy's.
    let of_policy = policy.as_ref().map_or(0, |policy| policy.priority);

    Ok(NodeSpec {
        payload: fields::payload(&node.payload).map_err(wrong)?,
        needs: needs(node.needs, node.on_satisfied).map_err(wrong)?,
        name,
        kind: node.kind,
        lane,
        priority: node.priority.unwrap_or(of_policy),
        delay_until: node.delay_until,
        tags: node.tags,
        policy,
        after,
    })
}

fn needs(
    needs: Option<Needs>,
    on_satisfied: Option<OnSatisfied>,
) -> Result<EdgeDependencyPolicy, String> {
    let then = on_satisfied.clone().unwrap_or(OnSatisfied::LetRun);
    match needs.unwrap_or(Needs::All) {
        Needs::All if on_satisfied.is_some() => {
            Err("on_satisfied: where all are needed, there are no others".to_owned())
        }
        Needs::All => Ok(EdgeDependencyPolicy::all_of()),
        Needs::Any => Ok(EdgeDependencyPolicy::any_of(then)),
        Needs::Quorum(k) => Ok(EdgeDependencyPolicy::quorum(k, then)),
    }
}
