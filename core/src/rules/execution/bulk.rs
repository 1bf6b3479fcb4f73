//! One action on many executions: which ones it finds, and what it does to each.
//!
//! A bulk action is nothing new: it finds executions that its action applies to, and runs the same
//! transition on each that an operator would run on one.

use crate::contracts::{
    BulkAction, BulkArgs, CancelExecutionArgs, ChangePriorityArgs, ReplayExecutionArgs,
};
use crate::model::error::EngineError;
use crate::model::ids::{CancelSource, ExecutionId, LaneId, TimestampMs};
use crate::model::partition::PartitionConfig;
use crate::model::state::LifecyclePhase;
use crate::plan::facts::Facts;
use crate::plan::{Join, List, Predicate, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Transition};
use crate::rules::execution::cancel::CancelExecution;
use crate::rules::execution::listing::{self, execution_id, limit, split};
use crate::rules::execution::priority::ChangePriority;
use crate::rules::execution::replay::Replay;
use crate::rules::input::{self, PAGE_MAX};
use crate::rules::key::ExecutionKey;
use crate::schema::execution::{claimable, exec_core, unfinished};

/// The executions that an action finds, one batch at a time.
#[derive(Clone, Debug)]
pub struct Matching {
    predicate: Predicate,
    join: Option<Join>,
    page: usize,
}

impl Matching {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the filter that cannot be one, or an empty batch.
    pub fn new(args: &BulkArgs, partitions: &PartitionConfig) -> Result<Self, EngineError> {
        if let BulkAction::Cancel { reason } = &args.action {
            input::text("reason", reason)?;
        }

        let page = usize::try_from(args.query.limit).unwrap_or(PAGE_MAX).min(PAGE_MAX);
        if page == 0 {
            return Err(input::invalid("limit: must be positive"));
        }

        let filters = listing::filters(&args.query, partitions)?;
        let mut filters = listing::few(&args.query, filters);
        if let Some(after) = &args.query.after {
            filters = filters.and(Predicate::After(ExecutionKey::of(after)?.core()));
        }
        let predicate = filters.and(applies(&args.action));
        Ok(Self { predicate, join: listing::with_attempt(&args.query), page })
    }
}

/// The executions that an action applies to.
fn applies(action: &BulkAction) -> Predicate {
    match action {
        BulkAction::Cancel { .. } => unfinished(),
        BulkAction::Replay => exec_core::lifecycle_phase
            .is_one_of(&[LifecyclePhase::Terminal, LifecyclePhase::Cancelled]),
        BulkAction::Reprioritise { .. } => claimable(),
    }
}

/// A batch, and where the next one begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The executions, with their lanes.
    pub found: Vec<(ExecutionId, LaneId)>,
    /// The last of them; `None` when no more follow.
    pub next: Option<ExecutionId>,
}

impl Transition for Matching {
    type Outcome = Batch;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Batch>, EngineError> {
        let list = List {
            name: "executions that an action applies to".into(),
            table: exec_core::REF,
            join: self.join.clone(),
            of_each: None,
            columns: vec![
                exec_core::partition_key.column(),
                exec_core::execution_id.column(),
                exec_core::lane_id.column(),
            ],
            predicate: self.predicate.clone(),
            order: listing::by_id(),
            limit: limit(self.page),
        };
        let Some(rows) = facts.list(&list) else {
            return Ok(Step::Read(vec![Query::List(list)]));
        };

        let mut found = Vec::with_capacity(rows.len());
        for row in rows {
            found.push((execution_id(row)?, LaneId::new(row.read(exec_core::lane_id)?)));
        }

        let (found, more) = split(found, self.page);
        let next = more.then(|| found.last().map(|(id, _)| id.clone())).flatten();
        Ok(Step::Answer(Batch { found, next }))
    }
}

/// The action on one execution.
#[derive(Clone, Debug)]
pub enum Single {
    /// It is cancelled, whichever worker holds it.
    Cancel(CancelExecution),
    /// It is replayed.
    Replay(Replay),
    /// It gets another priority.
    Reprioritise(ChangePriority),
}

impl Single {
    /// The action on this execution.
    ///
    /// # Errors
    /// As the operation on one execution.
    pub fn new(
        action: &BulkAction,
        execution_id: ExecutionId,
        lane_id: LaneId,
        now: TimestampMs,
    ) -> Result<Self, EngineError> {
        match action {
            BulkAction::Cancel { reason } => CancelExecution::new(CancelExecutionArgs {
                execution_id,
                reason: reason.clone(),
                // The caller knows no epochs, and only an override needs none.
                source: CancelSource::OperatorOverride,
                lease_id: None,
                lease_epoch: None,
                attempt_id: None,
                now,
            })
            .map(Self::Cancel),
            BulkAction::Replay => {
                Replay::new(&ReplayExecutionArgs { execution_id, now }).map(Self::Replay)
            }
            BulkAction::Reprioritise { priority } => ChangePriority::new(&ChangePriorityArgs {
                execution_id,
                new_priority: *priority,
                lane_id,
                now,
            })
            .map(Self::Reprioritise),
        }
    }
}
