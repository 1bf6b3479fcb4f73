//! The keys of a flow's rows, and the partition that they are on.
//!
//! A flow and its executions live on the partition that its id hashes to. SQLite databases of older
//! engines keep every flow on partition 0 instead, so a flow that is not at home is looked for
//! there.

use uuid::Uuid;

use crate::model::error::EngineError;
use crate::model::ids::{EdgeId, ExecutionId, FlowId};
use crate::model::partition::{PartitionConfig, flow_partition};
use crate::plan::facts::{Facts, Row};
use crate::plan::{Expr, Guard, Lookup, Predicate, Query};
use crate::rules::input;
use crate::rules::key::{CORE, ExecutionKey};
use crate::rules::premise::{Premise, without_bodies};
use crate::schema::execution::exec_core;
use crate::schema::flow::{edge, edge_group, flow_core};
use crate::schema::{Col, ColumnRef};

/// The name that every plan gives a flow's row.
pub const FLOW: &str = "flow";
/// The name that every plan gives a group's row.
pub const GROUP: &str = "group";
/// The name that every plan gives an edge's row.
pub const EDGE: &str = "edge";

/// The stored form of a flow's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// Its partition.
    pub partition: i16,
    /// Its UUID.
    pub uuid: Uuid,
}

/// The name of the row of an edge's upstream.
pub const UPSTREAM: &str = "upstream";
/// The name of the row of an edge's downstream.
pub const DOWNSTREAM: &str = "downstream";
/// The name of a flow's row in the other place where it may be.
const ELSEWHERE: &str = "elsewhere";
/// The name of a flow's row on partition 0.
const AT_ZERO: &str = "at_zero";

/// The places where a flow may be, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    home: FlowKey,
    other: FlowKey,
}

impl Places {
    /// The places of a flow that is named by its id alone.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` when the partition is beyond what a row can store.
    pub fn of(flow: &FlowId, partitions: &PartitionConfig) -> Result<Self, EngineError> {
        let home = home(flow, partitions)?;
        Ok(Self { home, other: FlowKey { partition: 0, ..home } })
    }

    /// The places of a flow that is named together with a member of it.
    ///
    /// # Errors
    /// As [`Places::of`].
    pub fn with_member(
        flow: &FlowId,
        member: &ExecutionId,
        partitions: &PartitionConfig,
    ) -> Result<Self, EngineError> {
        let other = home(flow, partitions)?;
        let partition = ExecutionKey::of(member)?.partition;
        Ok(Self { home: FlowKey { partition, ..other }, other })
    }

    /// The key where the flow should be.
    #[must_use]
    pub fn home(&self) -> FlowKey {
        self.home
    }

    /// The key where the flow may be instead.
    #[must_use]
    pub fn other(&self) -> FlowKey {
        self.other
    }

    /// The last look-up of a flow that is in neither place: its member is then on another
    /// partition.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` once that look-up was answered: naming the partition
    /// that the flow is on, or with these `words` if it is nowhere.
    pub fn elsewhere(&self, facts: &Facts, words: &'static str) -> Result<Vec<Query>, EngineError> {
        let last = FlowKey { partition: 0, ..self.home };
        if !facts.asked(AT_ZERO) {
            return Ok(vec![Query::Lookup(vec![last.lookup(AT_ZERO)])]);
        }
        match facts.row(AT_ZERO) {
            Some(_) => Err(partition_mismatch(last)),
            None => Err(input::invalid(words)),
        }
    }

    /// The look-ups of the flow in both places.
    #[must_use]
    pub fn lookups(&self) -> Vec<Lookup> {
        vec![self.home.lookup(FLOW), self.other.lookup(ELSEWHERE)]
    }

    /// The flow's rows in both places; only read.
    #[must_use]
    pub fn premises<O>(&self) -> Vec<Premise<O>> {
        vec![
            Premise::read(FLOW, self.home.lookup(FLOW)),
            Premise::read(ELSEWHERE, self.other.lookup(ELSEWHERE)),
        ]
    }

    /// The flow's row that was read, and where it is.
    #[must_use]
    pub fn found<'a>(&self, facts: &'a Facts) -> Option<(FlowKey, &'a Row)> {
        let places = [(FLOW, self.home), (ELSEWHERE, self.other)];
        places.into_iter().find_map(|(name, key)| Some((key, facts.row(name)?)))
    }
}

/// Checks that a member is on the partition of its flow.
///
/// # Errors
/// `Validation(InvalidInput)` naming the flow's partition.
pub fn on_partition_of(flow: FlowKey, member: &ExecutionKey) -> Result<(), EngineError> {
    if member.partition == flow.partition { Ok(()) } else { Err(partition_mismatch(flow)) }
}

/// The refusal of a member that is not on the partition of its flow.
#[must_use]
pub fn partition_mismatch(flow: FlowKey) -> EngineError {
    input::invalid(format!("partition_mismatch: flow is on {{fp:{}}}", flow.partition))
}

fn home(flow: &FlowId, partitions: &PartitionConfig) -> Result<FlowKey, EngineError> {
    let partition = input::partition(flow_partition(flow, partitions).index)?;
    Ok(FlowKey { partition, uuid: flow.0 })
}

impl FlowKey {
    /// The flow's id.
    #[must_use]
    pub fn id(&self) -> FlowId {
        FlowId::from_uuid(self.uuid)
    }

    /// The guard of the flow's row.
    #[must_use]
    pub fn guard(&self, holds: Predicate) -> Guard {
        Guard::new(FLOW, flow_core::REF, self.row(), holds)
    }

    /// The guard of the group of what `downstream` waits for.
    #[must_use]
    pub fn group_guard(&self, downstream: Uuid, holds: Predicate) -> Guard {
        Guard::new(GROUP, edge_group::REF, self.group(downstream), holds)
    }

    /// The key of the flow's row.
    #[must_use]
    pub fn row(&self) -> Vec<(ColumnRef, Expr)> {
        vec![flow_core::partition_key.with(self.partition), flow_core::flow_id.with(self.uuid)]
    }

    /// The key of the group of what `downstream` waits for.
    #[must_use]
    pub fn group(&self, downstream: Uuid) -> Vec<(ColumnRef, Expr)> {
        vec![
            edge_group::partition_key.with(self.partition),
            edge_group::flow_id.with(self.uuid),
            edge_group::downstream_eid.with(downstream),
        ]
    }

    /// The key of an edge.
    #[must_use]
    pub fn edge(&self, id: &EdgeId) -> Vec<(ColumnRef, Expr)> {
        vec![
            edge::partition_key.with(self.partition),
            edge::flow_id.with(self.uuid),
            edge::edge_id.with(id.0),
        ]
    }

    /// Every edge of this flow.
    #[must_use]
    pub fn edges(&self) -> Predicate {
        edge::partition_key.equals(self.partition).and(edge::flow_id.equals(self.uuid))
    }

    /// Every edge into `downstream`.
    #[must_use]
    pub fn edges_into(&self, downstream: Uuid) -> Predicate {
        self.edges().and(edge::downstream_eid.equals(downstream))
    }

    /// Every execution of this flow.
    #[must_use]
    pub fn members(&self) -> Predicate {
        exec_core::partition_key
            .equals(self.partition)
            .and(exec_core::flow_id.equals(Some(self.uuid)))
    }

    /// The key of an execution of this flow.
    #[must_use]
    pub fn member(&self, uuid: Uuid) -> ExecutionKey {
        ExecutionKey { partition: self.partition, uuid }
    }

    fn lookup(&self, row: &'static str) -> Lookup {
        let columns = flow_core::REF.columns.to_vec();
        Lookup { row: row.into(), table: flow_core::REF, key: self.row(), columns }
    }
}

/// The key of the flow's row that the plan holds.
#[must_use]
pub fn held_flow() -> Vec<(ColumnRef, Expr)> {
    vec![
        flow_core::partition_key.with_expr(flow_core::partition_key.of(FLOW)),
        flow_core::flow_id.with_expr(flow_core::flow_id.of(FLOW)),
    ]
}

/// The key of the group's row that the plan holds.
#[must_use]
pub fn held_group() -> Vec<(ColumnRef, Expr)> {
    vec![
        edge_group::partition_key.with_expr(edge_group::partition_key.of(GROUP)),
        edge_group::flow_id.with_expr(edge_group::flow_id.of(GROUP)),
        edge_group::downstream_eid.with_expr(edge_group::downstream_eid.of(GROUP)),
    ]
}

/// The key of the edge's row that the plan holds.
#[must_use]
pub fn held_edge() -> Vec<(ColumnRef, Expr)> {
    vec![
        edge::partition_key.with_expr(edge::partition_key.of(EDGE)),
        edge::flow_id.with_expr(edge::flow_id.of(EDGE)),
        edge::edge_id.with_expr(edge::edge_id.of(EDGE)),
    ]
}

/// The look-up of an edge.
#[must_use]
pub fn edge_row(flow: FlowKey, id: &EdgeId) -> Lookup {
    let columns = edge::REF.columns.to_vec();
    Lookup { row: EDGE.into(), table: edge::REF, key: flow.edge(id), columns }
}

/// The group that the edge looked up before it belongs to.
#[must_use]
pub fn group_of_edge_row() -> Lookup {
    let key = vec![
        edge_group::partition_key.with_expr(edge::partition_key.of(EDGE)),
        edge_group::flow_id.with_expr(edge::flow_id.of(EDGE)),
        edge_group::downstream_eid.with_expr(edge::downstream_eid.of(EDGE)),
    ];
    let columns = edge_group::REF.columns.to_vec();
    Lookup { row: GROUP.into(), table: edge_group::REF, key, columns }
}

/// The execution at one end of the edge looked up before it.
#[must_use]
pub fn end_of_edge_row(row: &'static str, end: Col<Uuid>) -> Lookup {
    let key = vec![
        exec_core::partition_key.with_expr(edge::partition_key.of(EDGE)),
        exec_core::execution_id.with_expr(end.of(EDGE)),
    ];
    let columns = without_bodies(exec_core::REF);
    Lookup { row: row.into(), table: exec_core::REF, key, columns }
}

/// The group of what the execution looked up before it waits for, by these columns.
#[must_use]
pub fn group_of_core_row(columns: Vec<ColumnRef>) -> Lookup {
    let key = vec![
        edge_group::partition_key.with_expr(exec_core::partition_key.of(CORE)),
        edge_group::flow_id.with_expr(exec_core::flow_id.of(CORE)),
        edge_group::downstream_eid.with_expr(exec_core::execution_id.of(CORE)),
    ];
    Lookup { row: GROUP.into(), table: edge_group::REF, key, columns }
}
