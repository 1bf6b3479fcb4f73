//! The executions of one partition that a scheduler may grant, best first.

use crate::contracts::ScanEligibleArgs;
use crate::model::error::EngineError;
use crate::model::ids::{ExecutionId, LaneId};
use crate::plan::facts::Facts;
use crate::plan::{Expr, List, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Transition};
use crate::rules::execution::claim::{best_first, unreserved};
use crate::rules::execution::listing::execution_id;
use crate::rules::input::{self, PAGE_MAX};
use crate::schema::execution::{claimable, exec_core};

/// Lists the claimable executions of a lane that no grant reserves, whatever they require. A limit
/// of 0 is an empty list; more than 1000 counts as 1000.
#[derive(Clone, Debug)]
pub struct Eligible {
    lane: LaneId,
    partition: i16,
    limit: u32,
}

impl Eligible {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field.
    pub fn new(args: ScanEligibleArgs) -> Result<Self, EngineError> {
        input::lane(&args.lane_id)?;
        let partition = input::partition(args.partition.index)?;
        let limit = args.limit.min(u32::try_from(PAGE_MAX).unwrap_or(u32::MAX));
        Ok(Self { lane: args.lane_id, partition, limit })
    }
}

impl Transition for Eligible {
    type Outcome = Vec<ExecutionId>;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        if self.limit == 0 {
            return Ok(Step::Answer(Vec::new()));
        }

        let list = List {
            name: "executions to grant".into(),
            table: exec_core::REF,
            join: None,
            of_each: None,
            columns: vec![exec_core::partition_key.column(), exec_core::execution_id.column()],
            predicate: exec_core::lane_id
                .equals(self.lane.as_str().to_owned())
                .and(claimable())
                .and(exec_core::partition_key.equals(self.partition))
                .and(unreserved(ctx.now)),
            order: best_first(),
            limit: Expr::int(i64::from(self.limit)),
        };
        match facts.list(&list) {
            None => Ok(Step::Read(vec![Query::List(list)])),
            Some(rows) => {
                Ok(Step::Answer(rows.iter().map(execution_id).collect::<Result<_, _>>()?))
            }
        }
    }
}
