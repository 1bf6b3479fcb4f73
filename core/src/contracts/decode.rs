//! Decoding of stored rows, read as text fields, into snapshots.
//!
//! Every failure is corruption: the row cannot be decoded, and a retry does not help. The detail
//! reads `<context>: <field>: <message>`.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;

use super::{
    AttemptSummary, EdgeGroupSnapshot, EdgeSnapshot, ExecutionSnapshot, FlowSnapshot, LeaseSummary,
};
use crate::contracts::is_namespaced_tag_key;
use crate::model::error::{EngineError, ValidationKind};
use crate::model::ids::{
    AttemptId, AttemptIndex, EdgeId, ExecutionId, FlowId, LaneId, LeaseEpoch, LeaseId, Namespace,
    TimestampMs, WaitpointId, WorkerInstanceId,
};
use crate::model::state::{ClosedSet, PublicState};

/// The fields that a stored edge may have.
pub const EDGE_KNOWN_FIELDS: &[&str] = &[
    "edge_id",
    "flow_id",
    "upstream_execution_id",
    "downstream_execution_id",
    "dependency_kind",
    "satisfaction_condition",
    "data_passing_ref",
    "edge_state",
    "created_at",
    "created_by",
];

/// The fields of a stored flow that are not tags.
pub const FLOW_CORE_KNOWN_FIELDS: &[&str] = &[
    "flow_id",
    "flow_kind",
    "namespace",
    "public_flow_state",
    "graph_revision",
    "node_count",
    "edge_count",
    "created_at",
    "last_mutation_at",
    "cancelled_at",
    "cancel_reason",
    "cancellation_policy",
];

/// The fields of one row, and its name in errors.
#[derive(Clone, Copy)]
struct Row<'a> {
    context: &'static str,
    fields: &'a HashMap<String, String>,
}

impl<'a> Row<'a> {
    fn corrupt(self, field: &str, message: impl Display) -> EngineError {
        corruption(format!("{}: {field}: {message}", self.context))
    }

    fn unexpected(self, field: &str) -> EngineError {
        corruption(format!("{}: unexpected field {field:?}", self.context))
    }

    /// The field's text; an empty one counts as absent.
    fn optional(self, field: &str) -> Option<&'a str> {
        let text = self.fields.get(field)?;
        Some(text.as_str()).filter(|text| !text.is_empty())
    }

    fn required(self, field: &str) -> Result<&'a str, EngineError> {
        self.optional(field).ok_or_else(|| self.corrupt(field, "missing or empty"))
    }

    fn read<T, E: Display>(
        self,
        field: &str,
        text: &str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, EngineError> {
        read(text).map_err(|error| self.corrupt(field, format_args!("{error} (raw: {text:?})")))
    }

    fn optional_as<T, E: Display>(
        self,
        field: &str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, EngineError> {
        self.optional(field).map(|text| self.read(field, text, read)).transpose()
    }

    fn required_as<T, E: Display>(
        self,
        field: &str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, EngineError> {
        self.read(field, self.required(field)?, read)
    }

    /// Checks that the stored id, once read, is the one that was asked for.
    fn same_id<T: PartialEq + Display, E: Display>(
        self,
        field: &str,
        asked: &T,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<(), EngineError> {
        let stored = self.required_as(field, read)?;
        if stored == *asked {
            return Ok(());
        }
        Err(self.corrupt(field, format_args!("is {stored}, expected {asked}")))
    }
}

fn corruption(detail: String) -> EngineError {
    EngineError::Validation { kind: ValidationKind::Corruption, detail }
}

fn time(text: &str) -> Result<TimestampMs, std::num::ParseIntError> {
    text.parse().map(TimestampMs)
}

/// The edge that a stored row describes.
///
/// # Errors
/// Corruption, when the row has an unknown field, lacks one, names another edge or flow, or holds a
/// value that cannot be read.
pub fn build_edge_snapshot(
    flow_id: &FlowId,
    edge_id: &EdgeId,
    raw: &HashMap<String, String>,
) -> Result<EdgeSnapshot, EngineError> {
    let row = Row { context: "edge_snapshot: edge_hash", fields: raw };

    let unknown = |field: &&String| !EDGE_KNOWN_FIELDS.contains(&field.as_str());
    // The first in order, so that the message does not depend on the map's order.
    if let Some(field) = raw.keys().filter(unknown).min() {
        return Err(row.unexpected(field));
    }

    row.same_id("edge_id", edge_id, EdgeId::parse)?;
    row.same_id("flow_id", flow_id, FlowId::parse)?;

    Ok(EdgeSnapshot::new(
        edge_id.clone(),
        flow_id.clone(),
        row.required_as("upstream_execution_id", ExecutionId::parse)?,
        row.required_as("downstream_execution_id", ExecutionId::parse)?,
        row.required("dependency_kind")?.to_owned(),
        row.required("satisfaction_condition")?.to_owned(),
        row.optional("data_passing_ref").map(str::to_owned),
        row.required("edge_state")?.to_owned(),
        row.required_as("created_at", time)?,
        row.required("created_by")?.to_owned(),
    ))
}

/// The execution that a stored row and its tags describe; never `Ok(None)`, which callers use for a
/// missing row.
///
/// # Errors
/// Corruption, when the row lacks a field or holds a value that cannot be read.
pub fn build_execution_snapshot(
    execution_id: ExecutionId,
    core: &HashMap<String, String>,
    tags_raw: HashMap<String, String>,
) -> Result<Option<ExecutionSnapshot>, EngineError> {
    let row = Row { context: "describe_execution: exec_core", fields: core };

    let public_state = row.required_as("public_state", |text| {
        PublicState::parse(text).ok_or("unknown public state")
    })?;
    let lane_id = row.required_as("lane_id", |text| LaneId::try_new(text))?;
    let flow_id = row.optional_as("flow_id", FlowId::parse)?;
    let created_at = row.required_as("created_at", time)?;
    let last_mutation_at = row.required_as("last_mutation_at", time)?;
    let total_attempt_count = row.optional_as("total_attempt_count", str::parse)?;

    let current_attempt = attempt_summary(row)?;
    let current_lease = lease_summary(row)?;
    let current_waitpoint = row.optional_as("current_waitpoint_id", WaitpointId::parse)?;

    Ok(Some(ExecutionSnapshot::new(
        execution_id,
        flow_id,
        lane_id,
        Namespace::new(row.optional("namespace").unwrap_or_default()),
        public_state,
        row.optional("blocking_reason").map(str::to_owned),
        row.optional("blocking_detail").map(str::to_owned),
        current_attempt,
        current_lease,
        current_waitpoint,
        created_at,
        last_mutation_at,
        total_attempt_count.unwrap_or_default(),
        tags_raw.into_iter().collect(),
    )))
}

fn attempt_index(row: Row<'_>) -> Result<AttemptIndex, EngineError> {
    row.required_as("current_attempt_index", |text| text.parse().map(AttemptIndex))
}

fn attempt_summary(row: Row<'_>) -> Result<Option<AttemptSummary>, EngineError> {
    let Some(attempt_id) = row.optional_as("current_attempt_id", AttemptId::parse)? else {
        return Ok(None);
    };
    Ok(Some(AttemptSummary::new(attempt_id, attempt_index(row)?)))
}

fn lease_summary(row: Row<'_>) -> Result<Option<LeaseSummary>, EngineError> {
    let worker = row.optional("current_worker_instance_id");
    let expires_at = row.optional_as("lease_expires_at", time)?;
    let (Some(worker), Some(expires_at)) = (worker, expires_at) else {
        return Ok(None);
    };

    let epoch = row.required_as("current_lease_epoch", |text| text.parse().map(LeaseEpoch))?;
    let mut lease = LeaseSummary::new(epoch, WorkerInstanceId::new(worker), expires_at)
        .with_lease_id(row.required_as("current_lease_id", LeaseId::parse)?)
        .with_attempt_index(attempt_index(row)?);
    lease.last_heartbeat_at = row.optional_as("lease_last_renewed_at", time)?;

    Ok(Some(lease))
}

/// The flow that a stored row describes; fields that look like tags become its tags.
///
/// # Errors
/// Corruption, when the row names another flow, lacks a field, has one that is neither known nor a
/// tag, or holds a value that cannot be read.
pub fn build_flow_snapshot(
    flow_id: FlowId,
    raw: &HashMap<String, String>,
    edge_groups: Vec<EdgeGroupSnapshot>,
) -> Result<FlowSnapshot, EngineError> {
    let row = Row { context: "describe_flow: flow_core", fields: raw };
    row.same_id("flow_id", &flow_id, FlowId::parse)?;

    let tags: BTreeMap<String, String> = raw
        .iter()
        .filter(|(field, _)| !FLOW_CORE_KNOWN_FIELDS.contains(&field.as_str()))
        .map(|(field, value)| (field.clone(), value.clone()))
        .collect();
    if let Some(field) = tags.keys().find(|field| !is_namespaced_tag_key(field)) {
        return Err(row.unexpected(field));
    }

    Ok(FlowSnapshot::new(
        flow_id,
        row.required("flow_kind")?.to_owned(),
        Namespace::new(row.required("namespace")?),
        row.required("public_flow_state")?.to_owned(),
        row.required_as("graph_revision", str::parse)?,
        row.required_as("node_count", str::parse)?,
        row.required_as("edge_count", str::parse)?,
        row.required_as("created_at", time)?,
        row.required_as("last_mutation_at", time)?,
        row.optional_as("cancelled_at", time)?,
        row.optional("cancel_reason").map(str::to_owned),
        row.optional("cancellation_policy").map(str::to_owned),
        tags,
        edge_groups,
    ))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const ID: &str = "550e8400-e29b-41d4-a716-446655440000";
    const OTHER: &str = "00000000-0000-0000-0000-000000000000";

    fn row(fields: &[(&str, &str)]) -> HashMap<String, String> {
        let own = |(field, value): &(&str, &str)| ((*field).to_owned(), (*value).to_owned());
        fields.iter().map(own).collect()
    }

    fn with(
        mut base: HashMap<String, String>,
        field: &str,
        value: &str,
    ) -> HashMap<String, String> {
        base.insert(field.to_owned(), value.to_owned());
        base
    }

    fn detail<T: std::fmt::Debug>(result: Result<T, EngineError>) -> String {
        match result {
            Err(EngineError::Validation { kind: ValidationKind::Corruption, detail }) => detail,
            other => panic!("expected corruption, got {other:?}"),
        }
    }

    fn execution_id() -> ExecutionId {
        ExecutionId::from_parts(3, Uuid::nil())
    }

    fn edge_row() -> HashMap<String, String> {
        let member = execution_id();
        row(&[
            ("edge_id", ID),
            ("flow_id", ID),
            ("upstream_execution_id", member.as_str()),
            ("downstream_execution_id", member.as_str()),
            ("dependency_kind", "success_only"),
            ("satisfaction_condition", "all_required"),
            ("data_passing_ref", ""),
            ("edge_state", "pending"),
            ("created_at", "12"),
            ("created_by", "engine"),
        ])
    }

    fn edge(raw: &HashMap<String, String>) -> Result<EdgeSnapshot, EngineError> {
        let flow = FlowId::parse(ID).unwrap();
        build_edge_snapshot(&flow, &EdgeId::parse(ID).unwrap(), raw)
    }

    #[test]
    fn edges_are_read_whole_or_not_at_all() {
        let read = edge(&edge_row()).unwrap();
        assert_eq!(read.data_passing_ref, None);
        assert_eq!(read.created_at, TimestampMs(12));
        assert_eq!(edge_row().len(), EDGE_KNOWN_FIELDS.len());

        let context = "edge_snapshot: edge_hash: ";
        assert_eq!(
            detail(edge(&with(edge_row(), "extra", ""))),
            format!("{context}unexpected field \"extra\"")
        );

        for (field, value) in [
            ("flow_id", OTHER),
            ("edge_id", OTHER),
            ("edge_id", "nope"),
            ("upstream_execution_id", "nope"),
            ("dependency_kind", ""),
            ("created_by", ""),
            ("created_at", "soon"),
        ] {
            let text = detail(edge(&with(edge_row(), field, value)));
            assert!(text.starts_with(&format!("{context}{field}: ")), "{text}");
        }

        let missing = detail(edge(&HashMap::new()));
        assert_eq!(missing, format!("{context}edge_id: missing or empty"));
    }

    fn execution_row() -> HashMap<String, String> {
        row(&[
            ("public_state", "active"),
            ("lane_id", "default"),
            ("namespace", ""),
            ("flow_id", ""),
            ("blocking_reason", ""),
            ("created_at", "1"),
            ("last_mutation_at", "2"),
            ("total_attempt_count", ""),
            ("current_attempt_index", "4"),
        ])
    }

    fn execution(core: &HashMap<String, String>) -> Result<ExecutionSnapshot, EngineError> {
        let tags = row(&[("app.tenant", "t")]);
        build_execution_snapshot(execution_id(), core, tags).map(Option::unwrap)
    }

    #[test]
    fn empty_execution_fields_are_absent() {
        let read = execution(&execution_row()).unwrap();
        assert_eq!(read.public_state, PublicState::Active);
        assert_eq!(read.namespace, Namespace::new(""));
        assert_eq!((read.flow_id, read.blocking_reason), (None, None));
        assert_eq!((read.current_attempt, read.current_lease), (None, None));
        assert_eq!(read.total_attempt_count, 0);
        assert_eq!(read.tags["app.tenant"], "t");
    }

    #[test]
    fn executions_have_a_lease_when_worker_and_expiry_are_known() {
        let mut core = with(execution_row(), "current_worker_instance_id", "w-1");
        assert_eq!(execution(&core).unwrap().current_lease, None);

        core = with(core, "lease_expires_at", "99");
        let context = "describe_execution: exec_core: ";
        assert_eq!(
            detail(execution(&core)),
            format!("{context}current_lease_epoch: missing or empty")
        );

        core = with(core, "current_lease_epoch", "7");
        assert_eq!(
            detail(execution(&core)),
            format!("{context}current_lease_id: missing or empty")
        );

        core = with(core, "current_lease_id", ID);
        core = with(core, "current_attempt_id", ID);
        core = with(core, "lease_last_renewed_at", "50");
        let read = execution(&core).unwrap();
        let expected =
            LeaseSummary::new(LeaseEpoch(7), WorkerInstanceId::new("w-1"), TimestampMs(99))
                .with_lease_id(LeaseId::parse(ID).unwrap())
                .with_attempt_index(AttemptIndex(4))
                .with_last_heartbeat_at(TimestampMs(50));
        assert_eq!(read.current_lease, Some(expected));
        assert_eq!(read.current_attempt.unwrap().attempt_index, AttemptIndex(4));

        core.remove("current_attempt_index");
        assert_eq!(
            detail(execution(&core)),
            format!("{context}current_attempt_index: missing or empty")
        );
    }

    #[test]
    fn execution_errors_name_the_field() {
        for (field, value) in [
            ("public_state", ""),
            ("public_state", "nope"),
            ("lane_id", "a\tb"),
            ("flow_id", "nope"),
            ("created_at", ""),
            ("last_mutation_at", "x"),
            ("total_attempt_count", "-1"),
            ("current_waitpoint_id", "nope"),
        ] {
            let text = detail(execution(&with(execution_row(), field, value)));
            let start = format!("describe_execution: exec_core: {field}: ");
            assert!(text.starts_with(&start), "{text}");
        }
    }

    fn flow_row() -> HashMap<String, String> {
        row(&[
            ("flow_id", ID),
            ("flow_kind", "dag"),
            ("namespace", "ns"),
            ("public_flow_state", "open"),
            ("graph_revision", "3"),
            ("node_count", "2"),
            ("edge_count", "1"),
            ("created_at", "1"),
            ("last_mutation_at", "2"),
            ("cancel_reason", ""),
            ("app.tenant", "t"),
        ])
    }

    fn flow(raw: &HashMap<String, String>) -> Result<FlowSnapshot, EngineError> {
        build_flow_snapshot(FlowId::parse(ID).unwrap(), raw, Vec::new())
    }

    #[test]
    fn flows_keep_tags_and_refuse_other_fields() {
        let read = flow(&flow_row()).unwrap();
        assert_eq!((read.graph_revision, read.cancel_reason), (3, None));
        assert_eq!(read.tags.len(), 1);

        let context = "describe_flow: flow_core: ";
        assert_eq!(
            detail(flow(&with(flow_row(), "Extra.key", ""))),
            format!("{context}unexpected field \"Extra.key\"")
        );

        for (field, value) in [
            ("flow_id", OTHER),
            ("flow_id", ""),
            ("namespace", ""),
            ("flow_kind", ""),
            ("public_flow_state", ""),
            ("graph_revision", "-1"),
            ("node_count", "4294967296"),
            ("edge_count", ""),
            ("created_at", "x"),
            ("last_mutation_at", ""),
            ("cancelled_at", "x"),
        ] {
            let text = detail(flow(&with(flow_row(), field, value)));
            assert!(text.starts_with(&format!("{context}{field}: ")), "{text}");
        }
    }
}
