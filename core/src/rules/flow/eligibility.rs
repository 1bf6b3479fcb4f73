//! The eligibility of an execution as far as its dependencies go. Nothing changes: the answer is
//! counted from the edges and the present state of their upstreams, not from its group's counts.

use crate::contracts::{EdgeDependencyPolicy, EvaluateFlowEligibilityResult};
use crate::model::error::EngineError;
use crate::model::ids::ExecutionId;
use crate::model::state::{LifecyclePhase, OwnershipState, PublicState};
use crate::plan::facts::{Facts, Row};
use crate::plan::{List, Lookup, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Transition};
use crate::rules::execution::read::text;
use crate::rules::flow::edges::{edges_into, with_upstreams};
use crate::rules::flow::key::{FlowKey, GROUP, group_of_core_row};
use crate::rules::flow::tally::{GroupState, Tally, policy_of};
use crate::rules::key::{CORE, ExecutionKey};
use crate::rules::premise::execution_row;
use crate::schema::ColumnRef;
use crate::schema::execution::exec_core;
use crate::schema::flow::{edge, edge_group};

/// Evaluates if the dependencies of an execution let it run.
#[derive(Clone, Copy, Debug)]
pub struct Evaluate {
    key: ExecutionKey,
}

impl Evaluate {
    /// The evaluation of that execution.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for an id that no row can have.
    pub fn of(id: &ExecutionId) -> Result<Self, EngineError> {
        Ok(Self { key: ExecutionKey::of(id)? })
    }

    fn lookups(&self) -> Vec<Lookup> {
        let columns = vec![
            exec_core::lifecycle_phase.column(),
            exec_core::ownership_state.column(),
            exec_core::flow_id.column(),
            exec_core::raw_fields.column(),
        ];
        vec![
            execution_row(&self.key, columns),
            group_of_core_row(vec![edge_group::policy.column()]),
        ]
    }

    fn edges(&self, name: &'static str, flow: FlowKey, column: ColumnRef) -> List {
        edges_into(name, flow, self.key.uuid, vec![column])
    }
}

impl Transition for Evaluate {
    type Outcome = EvaluateFlowEligibilityResult;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        let answer = |status: &str| {
            Ok(Step::Answer(EvaluateFlowEligibilityResult::Status { status: status.to_owned() }))
        };

        if !facts.have_rows() {
            return Ok(Step::Read(vec![Query::Lookup(self.lookups())]));
        }

        let Some(core) = facts.row(CORE) else { return answer("not_found") };
        if core.read(exec_core::lifecycle_phase)? != LifecyclePhase::Runnable {
            return answer("not_runnable");
        }
        if core.read(exec_core::ownership_state)? != OwnershipState::Unowned {
            return answer("owned");
        }
        let raw = core.read(exec_core::raw_fields)?;
        if text(&raw, "terminal_outcome").is_some_and(|outcome| outcome != "none") {
            return answer("terminal");
        }

        let Some(flow) = core.read(exec_core::flow_id)? else { return answer("eligible") };
        let flow = FlowKey { partition: self.key.partition, uuid: flow };
        let every = self.edges("edges into an execution", flow, edge::edge_id.column());
        let column = exec_core::public_state.column();
        let known = with_upstreams(self.edges("upstreams of an execution", flow, column));
        let (Some(edges), Some(upstreams)) = (facts.list(&every), facts.list(&known)) else {
            return Ok(Step::Read(vec![Query::List(every), Query::List(known)]));
        };

        let policy = facts.row(GROUP).map(policy_of).transpose()?;
        let policy = policy.unwrap_or(EdgeDependencyPolicy::AllOf);
        let tally = tally(edges.len(), upstreams)?;
        answer(match tally.state(&policy) {
            _ if edges.is_empty() => "eligible",
            GroupState::Satisfied => "eligible",
            GroupState::Impossible => "impossible",
            GroupState::Pending => "blocked_by_dependencies",
        })
    }
}

/// The count of a graph's edges. An upstream that is gone counts as one that has not ended.
fn tally(edges: usize, upstreams: &[Row]) -> Result<Tally, EngineError> {
    let dependencies = i32::try_from(edges).unwrap_or(i32::MAX);
    let mut tally = Tally { dependencies, ..Tally::default() };
    for row in upstreams {
        match row.read(exec_core::public_state)? {
            PublicState::Completed => tally.success += 1,
            PublicState::Failed | PublicState::Cancelled | PublicState::Expired => tally.fail += 1,
            PublicState::Skipped => tally.skip += 1,
            PublicState::Waiting
            | PublicState::Delayed
            | PublicState::RateLimited
            | PublicState::WaitingChildren
            | PublicState::Active
            | PublicState::Suspended
            | PublicState::Resumable => tally.running += 1,
        }
    }
    Ok(tally)
}
