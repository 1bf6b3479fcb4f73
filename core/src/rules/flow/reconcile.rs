//! Flows that are stored as open although all of their members have ended.
//!
//! The dispatch of the last member's end ends its flow. Rows that were written by hand, restored in
//! parts, or dispatched by an engine that knew no end of a flow stay open; a repair looks at each
//! open flow, and ends it by the rule of every flow.

use uuid::Uuid;

use crate::model::error::EngineError;
use crate::plan::facts::{Facts, Row};
use crate::plan::{Expr, List, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Transition};
use crate::rules::flow::key::FlowKey;
use crate::schema::Direction::Ascending;
use crate::schema::execution::exec_core;
use crate::schema::flow::{flow_core, unfinished_flow};

/// The most flows on one page.
pub const PAGE: usize = 500;

/// Lists the flows of a partition that have not ended, in the order of their ids.
#[derive(Clone, Copy, Debug)]
pub struct OpenFlows {
    /// The partition.
    pub partition: i16,
    /// The flow after which the page begins.
    pub after: Uuid,
}

impl OpenFlows {
    fn list(self) -> List {
        List {
            name: "flows that may be over".into(),
            table: flow_core::REF,
            join: None,
            of_each: None,
            columns: vec![flow_core::flow_id.column()],
            predicate: flow_core::partition_key
                .equals(self.partition)
                .and(flow_core::flow_id.above(self.after))
                .and(unfinished_flow()),
            order: vec![(flow_core::flow_id.column(), Ascending)],
            limit: Expr::int(PAGE.try_into().unwrap_or(i64::MAX)),
        }
    }
}

impl Transition for OpenFlows {
    type Outcome = Vec<FlowKey>;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        let list = self.list();
        let Some(rows) = facts.list(&list) else {
            return Ok(Step::Read(vec![Query::List(list)]));
        };

        let partition = self.partition;
        let key = |row: &Row| Ok(FlowKey { partition, uuid: row.read(flow_core::flow_id)? });
        rows.iter().map(key).collect::<Result<_, EngineError>>().map(Step::Answer)
    }
}

/// Asks if a flow has a member: one without any goes on.
#[derive(Clone, Copy, Debug)]
pub struct HasMembers(pub FlowKey);

impl Transition for HasMembers {
    type Outcome = bool;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<bool>, EngineError> {
        let list = List {
            name: "a member of a flow".into(),
            table: exec_core::REF,
            join: None,
            of_each: None,
            columns: vec![exec_core::execution_id.column()],
            predicate: self.0.members(),
            order: vec![(exec_core::execution_id.column(), Ascending)],
            limit: Expr::int(1),
        };
        Ok(match facts.list(&list) {
            None => Step::Read(vec![Query::List(list)]),
            Some(rows) => Step::Answer(!rows.is_empty()),
        })
    }
}
