//! Rows of a flow, inserted by hand: the downstream execution and the group of its dependencies.

use ff_core::contracts::{EdgeDependencyPolicy, OnSatisfied};
use ff_core::plan::value::Value;
use ff_core::rules::flow::policy::encode;
use ff_core::rules::status::Status;
use ff_core::state::{AttemptState, ClosedSet, CompletionKind};
use serde_json::json;
use uuid::Uuid;

use super::fixtures::lane;
use super::stage::{NOON, Scene};

pub(super) const PARTITION: i16 = 7;
pub(super) const FLOW: Uuid = Uuid::from_u128(0xF);
pub(super) const UPSTREAM: Uuid = Uuid::from_u128(0x1);
pub(super) const SIBLING: Uuid = Uuid::from_u128(0x2);
pub(super) const DOWNSTREAM: Uuid = Uuid::from_u128(0x3);
pub(super) const EDGE: Uuid = Uuid::from_u128(0xE1);
pub(super) const OTHER_EDGE: Uuid = Uuid::from_u128(0xE2);
pub(super) const EVENT: i64 = 17;

/// The state of the downstream execution.
#[derive(Clone, Copy)]
pub(super) enum Child {
    Gone,
    Active,
    Waiting,
    Blocked,
    BlockedAndPutOff,
}

impl Child {
    pub(super) const ALL: [(&'static str, Self); 5] = [
        ("gone", Self::Gone),
        ("active", Self::Active),
        ("waiting", Self::Waiting),
        ("blocked", Self::Blocked),
        ("blocked and put off", Self::BlockedAndPutOff),
    ];
}

/// The verdict of the group once the upstream has ended.
#[derive(Clone, Copy)]
pub(super) enum Group {
    None,
    NoneAndFailed,
    Pending,
    PendingCancellingOthers,
    PendingByOlderCounts,
    Satisfied,
    SatisfiedCancellingOthers,
    Impossible,
}

impl Group {
    pub(super) const ALL: [(&'static str, Self); 8] = [
        ("pending, to cancel the others", Self::PendingCancellingOthers),
        ("no group", Self::None),
        ("no group and badly ended", Self::NoneAndFailed),
        ("pending", Self::Pending),
        ("pending by older counts", Self::PendingByOlderCounts),
        ("satisfied", Self::Satisfied),
        ("satisfied, cancelling the others", Self::SatisfiedCancellingOthers),
        ("impossible", Self::Impossible),
    ];

    pub(super) fn policy(self) -> EdgeDependencyPolicy {
        match self {
            Self::None
            | Self::NoneAndFailed
            | Self::Pending
            | Self::PendingByOlderCounts
            | Self::Impossible => EdgeDependencyPolicy::all_of(),
            Self::PendingCancellingOthers => {
                EdgeDependencyPolicy::quorum(2, OnSatisfied::cancel_remaining())
            }
            Self::Satisfied => EdgeDependencyPolicy::any_of(OnSatisfied::let_run()),
            Self::SatisfiedCancellingOthers => {
                EdgeDependencyPolicy::any_of(OnSatisfied::cancel_remaining())
            }
        }
    }

    /// The end of the upstream.
    pub(super) fn end(self) -> CompletionKind {
        match self {
            Self::None
            | Self::Pending
            | Self::PendingCancellingOthers
            | Self::PendingByOlderCounts
            | Self::Satisfied
            | Self::SatisfiedCancellingOthers => CompletionKind::Success,
            Self::NoneAndFailed | Self::Impossible => CompletionKind::Failed,
        }
    }
}

pub(super) fn text(word: impl Into<String>) -> Value {
    Value::Text(word.into())
}

impl Scene {
    pub(super) fn insert(&self, table: &str, mut cells: Vec<(&str, Value)>) {
        cells.push(("partition_key", Value::Int(i64::from(PARTITION))));
        let _ = self.memory.insert_row(table, cells);
    }

    pub(super) fn insert_execution(&self, uuid: Uuid, status: Status, eligible_at_ms: Option<i64>) {
        self.insert(
            "ff_exec_core",
            vec![
                ("execution_id", Value::Uuid(uuid)),
                ("flow_id", Value::Uuid(FLOW)),
                ("has_waitpoints", Value::Bool(false)),
                ("lane_id", text(lane().as_str())),
                ("lifecycle_phase", text(status.phase.as_str())),
                ("ownership_state", text(status.ownership.as_str())),
                ("eligibility_state", text(status.eligibility.as_str())),
                ("public_state", text(status.public().as_str())),
                ("attempt_state", text(status.attempt.unwrap_or(AttemptState::None).as_str())),
                ("created_at_ms", Value::Int(NOON)),
                ("eligible_at_ms", eligible_at_ms.map_or(Value::Null, Value::Int)),
                ("raw_fields", Value::Json(json!({ "namespace": "billing" }))),
            ],
        );
    }

    pub(super) fn insert_attempt(&self, uuid: Uuid, outcome: &str) {
        self.insert(
            "ff_attempt",
            vec![
                ("execution_id", Value::Uuid(uuid)),
                ("attempt_index", Value::Int(0)),
                ("lease_epoch", Value::Int(1)),
                ("outcome", text(outcome)),
            ],
        );
    }

    pub(super) fn insert_child(&self, child: Child) {
        let attempt = AttemptState::PendingFirstAttempt;
        let (status, eligible) = match child {
            Child::Gone => return,
            Child::Active => (Status::active(), None),
            Child::Waiting => (Status::waiting(attempt), None),
            Child::Blocked => (Status::waiting_for_dependencies(attempt), None),
            Child::BlockedAndPutOff => {
                (Status::waiting_for_dependencies(attempt), Some(NOON + 60_000))
            }
        };
        self.insert_execution(DOWNSTREAM, status, eligible);
    }

    pub(super) fn insert_edge(&self, edge: Uuid, upstream: Uuid, applied: bool) {
        let applied = applied.then_some(NOON);
        self.insert(
            "ff_edge",
            vec![
                ("flow_id", Value::Uuid(FLOW)),
                ("edge_id", Value::Uuid(edge)),
                ("upstream_eid", Value::Uuid(upstream)),
                ("downstream_eid", Value::Uuid(DOWNSTREAM)),
                ("policy", Value::Json(json!({ "applied_at_ms": applied }))),
            ],
        );
    }

    pub(super) fn insert_group(&self, group: Group, others: i64) {
        let (running, dependencies) = match group {
            Group::None | Group::NoneAndFailed => return,
            Group::PendingByOlderCounts => (others, 0),
            Group::Pending
            | Group::PendingCancellingOthers
            | Group::Satisfied
            | Group::SatisfiedCancellingOthers
            | Group::Impossible => (others, others),
        };

        let counts = vec![
            ("running_count", Value::Int(running)),
            ("dependency_count", Value::Int(dependencies)),
        ];
        self.insert_group_of(DOWNSTREAM, &group.policy(), counts);
    }

    /// Inserts the dependency group of an execution, with these further cells.
    pub(super) fn insert_group_of(
        &self,
        downstream: Uuid,
        policy: &EdgeDependencyPolicy,
        mut cells: Vec<(&str, Value)>,
    ) {
        cells.push(("flow_id", Value::Uuid(FLOW)));
        cells.push(("downstream_eid", Value::Uuid(downstream)));
        cells.push(("policy", Value::Json(encode(policy))));
        self.insert("ff_edge_group", cells);
    }
}
