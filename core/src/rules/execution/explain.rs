//! Explaining: every reason why a claim does not take an execution.
//!
//! A claim takes a row that meets a few predicates, unless the row of its lane prevents it. Here
//! the same predicates are evaluated one by one on the rows that were read, so that an explanation
//! without a reason means a claim, and the other way round. Each topic below asks for its rows and
//! finds its reasons; another thing that holds a claim up is one more topic.
//!
//! The place in the lane is no reason: an execution without any is claimed once its turn comes.

mod budgets;
mod grant;
mod lane;
mod limits;
mod state;
mod workers;

use crate::contracts::{ClaimingWorker, ExplainExecutionArgs, Explanation, NotRunning};
use crate::model::error::EngineError;
use crate::model::ids::{LaneId, TimestampMs};
use crate::plan::facts::{Facts, Row};
use crate::plan::{Held, List, Predicate, Query};
use crate::rules::budget::token;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Transition};
use crate::rules::execution::read;
use crate::rules::input;
use crate::rules::key::ExecutionKey;
use crate::rules::premise::{current_attempt_row, execution_row, existing, without_bodies};
use crate::rules::suspension::row::unconditional_suspension_row;
use crate::schema::execution::{exec_core, finished, running};

/// Explains why an execution is not running.
#[derive(Clone, Debug)]
pub struct Explain {
    key: ExecutionKey,
    worker: Option<Claimer>,
}

/// The worker that is to claim it.
#[derive(Clone, Debug)]
struct Claimer {
    lane: LaneId,
    /// The requirements that its capabilities meet.
    offered: Vec<String>,
}

impl Explain {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field: a lane that is no lane name, a capability with
    /// NUL, an id that no row can have.
    pub fn new(args: ExplainExecutionArgs) -> Result<Self, EngineError> {
        let claimer = |worker: ClaimingWorker| -> Result<Claimer, EngineError> {
            input::lane(&worker.lane_id)?;
            let offered = token::offered("capabilities", &worker.capabilities.tokens)?;
            Ok(Claimer { lane: worker.lane_id, offered })
        };
        let worker = args.worker.map(claimer).transpose()?;
        Ok(Self { key: ExecutionKey::of(&args.execution_id)?, worker })
    }
}

/// An execution with what was read of it.
struct Case<'a> {
    key: &'a ExecutionKey,
    worker: Option<&'a Claimer>,
    core: &'a Row,
    facts: &'a Facts,
    at: TimestampMs,
}

/// One thing that may hold a claim up.
struct Topic {
    /// The lists that it needs besides the first look-up.
    asks: fn(&Case<'_>) -> Result<Vec<List>, EngineError>,
    /// Its reasons, once they are read.
    finds: fn(&Case<'_>) -> Result<Vec<NotRunning>, EngineError>,
}

/// The execution's own state comes first.
const STATE: Topic = Topic { asks: state::asks, finds: state::finds };

/// What holds up an execution that waits, whatever its state is.
const OTHERS: [Topic; 5] = [
    Topic { asks: lane::asks, finds: lane::finds },
    Topic { asks: grant::asks, finds: grant::finds },
    Topic { asks: budgets::asks, finds: budgets::finds },
    Topic { asks: limits::asks, finds: limits::finds },
    Topic { asks: workers::asks, finds: workers::finds },
];

impl Case<'_> {
    /// True if the execution's row meets the predicate.
    fn meets(&self, predicate: &Predicate) -> bool {
        predicate.accepts(self.core, &Held::default())
    }

    /// The topics that bear on the execution. One that runs or has ended needs nothing more.
    fn topics(&self) -> impl Iterator<Item = &'static Topic> {
        let waits = !self.meets(&finished().or(running()));
        let others = waits.then_some(&OTHERS).into_iter().flatten();
        std::iter::once(&STATE).chain(others)
    }
}

impl Transition for Explain {
    type Outcome = Explanation;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<Explanation>, EngineError> {
        if !facts.have_rows() {
            let rows = vec![
                execution_row(&self.key, without_bodies(exec_core::REF)),
                current_attempt_row(),
                lane::row(),
                unconditional_suspension_row(&self.key),
            ];
            return Ok(Step::Read(vec![Query::Lookup(rows)]));
        }

        let core = existing(facts)?;
        let (key, worker, at) = (&self.key, self.worker.as_ref(), ctx.now);
        let case = Case { key, worker, core, facts, at };

        let mut unread = Vec::new();
        for topic in case.topics() {
            let lists = (topic.asks)(&case)?.into_iter();
            unread.extend(lists.filter(|list| facts.list(list).is_none()).map(Query::List));
        }
        if !unread.is_empty() {
            return Ok(Step::Read(unread));
        }

        let mut reasons = Vec::new();
        for topic in case.topics() {
            reasons.extend((topic.finds)(&case)?);
        }
        let public_state = core.read(exec_core::public_state)?;
        let explanation =
            Explanation::new(self.key.id(), read::lane(core)?, public_state, at, reasons);
        Ok(Step::Answer(explanation))
    }
}
