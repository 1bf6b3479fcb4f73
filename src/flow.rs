//! Flows as callers write them: named nodes that wait for each other, and their submission.
//!
//! A [`FlowSpec`] is read from a file or built in code, and always holds a graph that can be
//! submitted. [`submit`] turns it into executions and dependencies, and resumes an earlier
//! submission of the same flow that was interrupted. When a node runs is the engine's decision.
//!
//! A file is one JSON object:
//!
//! ```
//! let spec = flowfabric_sql::flow::FlowSpec::parse(r#"{
//!     "kind": "greeting",
//!     "nodes": [
//!         { "name": "fetch-a", "kind": "fetch", "payload": "a.example" },
//!         { "name": "fetch-b", "kind": "fetch", "payload": "b.example" },
//!         {
//!             "name": "greet", "kind": "greet", "payload": { "loud": true },
//!             "after": ["fetch-a", "fetch-b"],
//!             "needs": "any", "on_satisfied": "cancel_remaining"
//!         }
//!     ]
//! }"#)?;
//! assert_eq!(spec.nodes().len(), 3);
//! # Ok::<(), flowfabric_sql::flow::FlowSpecError>(())
//! ```
//!
//! Fields of the flow:
//! - `kind` and `nodes`;
//! - optionally `namespace`, `flow_id`, and `lane`, for nodes that name none.
//!
//! Fields of a node:
//! - `name`, `kind` and `payload` (a JSON string's text, or any other JSON value as written);
//! - optionally `lane`, `priority`, `tags` and `policy`;
//! - optionally `delay_until`: Unix milliseconds, a time such as `"2026-01-31T12:00:00Z"`, or a
//!   span from the submission on, such as `"+5s"`;
//! - optionally `after`, the names of the nodes it waits for, and `needs`, the number of them that
//!   must complete: `"all"` (the default), `"any"` or `{"quorum": 2}`;
//! - optionally `on_satisfied`, the fate of the others then: `"let_run"` (the default) or
//!   `"cancel_remaining"`.

mod difference;
// The program reads a line of executions by the same rules.
#[doc(hidden)]
pub mod fields;
mod file;
mod ids;
mod member;
mod order;
mod submission;

use std::collections::{HashMap, HashSet};
use std::fmt;

use ff_core::contracts::EdgeDependencyPolicy;
use ff_core::model::hidden::Hidden;
use ff_core::policy::ExecutionPolicy;
use ff_core::types::{FlowId, LaneId, Namespace};

use crate::telemetry::Traceparent;

pub use fields::NotBefore;
pub use ids::{edge_id, execution_id};
pub use submission::{SubmitError, Submitted, submit, submit_with};

/// The tag that holds the name of an execution's node.
pub const NODE_TAG: &str = "ff.node";

/// The longest name of a node, in characters.
pub const NODE_NAME_MAX: usize = 64;

/// The name of a node, unique within its flow: letters, digits and marks of any script, as Unicode
/// identifiers have them, and `- _ . / : + @`, 64 of them at most.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(String);

/// The reason why a text is not a node's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeNameError {
    /// The name is empty.
    #[error("the name is empty")]
    Empty,
    /// The name is longer than [`NODE_NAME_MAX`]; carries its length in characters.
    #[error("the name has {0} characters, at most {NODE_NAME_MAX} are allowed")]
    TooLong(usize),
    /// The name has a character that is not allowed; carries it.
    #[error(
        "the name has the character {0:?} (U+{code:04X}); allowed are letters, digits and marks of \
         any script and - _ . / : + @",
        code = u32::from(*.0)
    )]
    Character(char),
}

impl NodeName {
    /// Checks and wraps a name.
    ///
    /// # Errors
    /// The first rule broken, in the order of [`NodeNameError`]'s variants.
    pub fn new(text: impl Into<String>) -> Result<Self, NodeNameError> {
        let text = text.into();
        let length = text.chars().count();
        if length == 0 {
            return Err(NodeNameError::Empty);
        }
        if NODE_NAME_MAX < length {
            return Err(NodeNameError::TooLong(length));
        }

        match text.chars().find(|c| !is_allowed(*c)) {
            Some(other) => Err(NodeNameError::Character(other)),
            None => Ok(Self(text)),
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// True for the characters of a name. Marks belong to the letters before them: most words of Hindi
/// or Thai have some.
fn is_allowed(character: char) -> bool {
    character.is_alphanumeric()
        || unicode_ident::is_xid_continue(character)
        || "-_./:+@".contains(character)
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One node: the execution to create, and the nodes that it waits for.
#[derive(Clone, derive_more::Debug, PartialEq)]
pub struct NodeSpec {
    /// Its name; the execution carries it as the tag [`NODE_TAG`].
    pub name: NodeName,
    /// The kind of work, for the worker that runs it.
    pub kind: String,
    /// The input.
    #[debug("{}", Hidden(payload))]
    pub payload: Vec<u8>,
    /// The lane that it is claimed from.
    pub lane: LaneId,
    /// The priority; the highest is claimed first.
    pub priority: i32,
    /// The earliest time at which it may run.
    pub delay_until: Option<NotBefore>,
    /// Free labels.
    pub tags: HashMap<String, String>,
    /// Retries, timeouts, routing and limits.
    pub policy: Option<ExecutionPolicy>,
    /// The nodes that it waits for.
    pub after: Vec<NodeName>,
    /// The number of them that it needs.
    pub needs: EdgeDependencyPolicy,
}

impl NodeSpec {
    /// A node that waits for nothing, with every optional field at its default.
    #[must_use]
    pub fn new(name: NodeName, kind: impl Into<String>, payload: Vec<u8>, lane: LaneId) -> Self {
        Self {
            name,
            kind: kind.into(),
            payload,
            lane,
            priority: 0,
            delay_until: None,
            tags: HashMap::new(),
            policy: None,
            after: Vec::new(),
            needs: EdgeDependencyPolicy::AllOf,
        }
    }

    /// Checks the rules that do not depend on other nodes.
    fn check(&self) -> Result<(), FlowSpecError> {
        let node = || self.name.clone();
        if self.tags.contains_key(NODE_TAG) {
            return Err(FlowSpecError::ReservedTag { node: node() });
        }

        let mut seen = HashSet::new();
        for other in &self.after {
            if *other == self.name {
                return Err(FlowSpecError::WaitsForItself { node: node() });
            }
            if !seen.insert(other) {
                return Err(FlowSpecError::Repeated { node: node(), other: other.clone() });
            }
        }

        match &self.needs {
            EdgeDependencyPolicy::Quorum { k, .. } => {
                let of = self.after.len();
                let fits = usize::try_from(*k).is_ok_and(|k| (1..=of).contains(&k));
                if fits { Ok(()) } else { Err(FlowSpecError::Quorum { node: node(), k: *k, of }) }
            }
            EdgeDependencyPolicy::AnyOf { .. } if self.after.is_empty() => {
                Err(FlowSpecError::AnyOfNone { node: node() })
            }
            _ => Ok(()),
        }
    }
}

/// A flow that can be submitted.
// Invariant: there is a node, names are unique, whatever a node waits for exists, and each node
// stands after all that it waits for. The engine's rules accept the values of each.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowSpec {
    kind: String,
    namespace: Namespace,
    flow_id: Option<FlowId>,
    nodes: Vec<NodeSpec>,
}

impl FlowSpec {
    /// Checks the graph, and orders the nodes so that each follows all that it waits for. A given
    /// order that does so is kept.
    ///
    /// # Errors
    /// The rule that the graph breaks, and the node that breaks it.
    pub fn new(
        kind: impl Into<String>,
        namespace: Namespace,
        nodes: Vec<NodeSpec>,
    ) -> Result<Self, FlowSpecError> {
        if nodes.is_empty() {
            return Err(FlowSpecError::NoNodes);
        }

        let mut names = HashSet::new();
        for node in &nodes {
            if !names.insert(node.name.clone()) {
                return Err(FlowSpecError::Duplicate { node: node.name.clone() });
            }
        }

        for node in &nodes {
            node.check()?;
            if let Some(other) = node.after.iter().find(|other| !names.contains(*other)) {
                let (node, other) = (node.name.clone(), other.clone());
                return Err(FlowSpecError::Unknown { node, other });
            }
        }

        let kind = kind.into();
        member::check(&kind, &namespace, &nodes)?;
        let nodes = order::sort(nodes)?;
        Ok(Self { kind, namespace, flow_id: None, nodes })
    }

    /// Reads a flow's file; the module describes it.
    ///
    /// # Errors
    /// The broken rule, with the node or the line that breaks it.
    pub fn parse(text: &str) -> Result<Self, FlowSpecError> {
        file::parse(text)
    }

    /// Lets the run of each node continue that trace, unless the node's tags name one. Without it,
    /// a submission takes the trace of the span that it is made in.
    #[must_use]
    pub fn traceparent(mut self, traceparent: Traceparent) -> Self {
        for node in &mut self.nodes {
            traceparent.add_to(&mut node.tags);
        }
        self
    }

    /// Sets the flow's id, so that a repeated submission finds what an earlier one created.
    #[must_use]
    pub fn with_flow_id(mut self, flow_id: FlowId) -> Self {
        self.flow_id = Some(flow_id);
        self
    }

    /// The kind of the flow.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The tenant that it belongs to.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The id that the flow is submitted under; none for a new one.
    #[must_use]
    pub fn flow_id(&self) -> Option<&FlowId> {
        self.flow_id.as_ref()
    }

    /// The nodes, each after all that it waits for.
    #[must_use]
    pub fn nodes(&self) -> &[NodeSpec] {
        &self.nodes
    }

    /// The number of dependencies.
    #[must_use]
    pub fn edge_count(&self) -> usize {
        self.nodes.iter().map(|node| node.after.len()).sum()
    }
}

/// The reason why a flow cannot be submitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FlowSpecError {
    /// The file is not understood; carries the reason and the place.
    #[error("{0}")]
    NotUnderstood(String),
    /// There are no nodes.
    #[error("a flow needs at least one node")]
    NoNodes,
    /// A field of the flow has a value that no row can hold.
    #[error("{reason}")]
    Flow {
        /// The reason, which names the field.
        reason: String,
    },
    /// A field of a node has a value without meaning, or one that no row can hold.
    #[error("node {node}: {reason}")]
    Node {
        /// The node: its name, or its number if its name is not valid.
        node: String,
        /// The reason.
        reason: String,
    },
    /// Two nodes share a name.
    #[error("node {node}: there are two of that name")]
    Duplicate {
        /// The name.
        node: NodeName,
    },
    /// A node sets the tag that holds its name.
    #[error("node {node}: the tag {NODE_TAG} holds the node's name and cannot be set")]
    ReservedTag {
        /// The node.
        node: NodeName,
    },
    /// A node waits for itself.
    #[error("node {node}: it waits for itself")]
    WaitsForItself {
        /// The node.
        node: NodeName,
    },
    /// A node names the same upstream twice.
    #[error("node {node}: it waits for {other} twice")]
    Repeated {
        /// The node.
        node: NodeName,
        /// The upstream.
        other: NodeName,
    },
    /// A node waits for a node that does not exist.
    #[error("node {node}: it waits for {other}, and there is no such node")]
    Unknown {
        /// The node.
        node: NodeName,
        /// The missing upstream.
        other: NodeName,
    },
    /// A node needs none of its upstreams, or more than it has.
    #[error("node {node}: a quorum of {k} out of {of} cannot be")]
    Quorum {
        /// The node.
        node: NodeName,
        /// The number that it needs.
        k: u32,
        /// The number of its upstreams.
        of: usize,
    },
    /// A node needs any of its upstreams, and has none.
    #[error("node {node}: it needs any of those it waits for, and waits for none")]
    AnyOfNone {
        /// The node.
        node: NodeName,
    },
    /// Nodes wait for each other in a cycle.
    #[error("the nodes wait for each other in a cycle: {}", cycle(.path))]
    Cycle {
        /// The cycle: each node is followed by one that waits for it.
        path: Vec<NodeName>,
    },
}

/// The nodes of a cycle and the first of them again.
fn cycle(path: &[NodeName]) -> String {
    let names: Vec<&str> = path.iter().chain(path.first()).map(NodeName::as_str).collect();
    names.join(" → ")
}

#[cfg(test)]
mod tests;
