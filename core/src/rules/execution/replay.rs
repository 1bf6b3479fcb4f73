//! Replays: an operator runs an ended execution again: same execution, same attempt row, new epoch.
//!
//! A member of a flow waits for its upstreams again, unless they are satisfied: its group forgets
//! the ends that were no successes and counts new ones. The flow goes on with it.

use serde_json::{Value as Json, json};

use crate::contracts::{ReplayExecutionArgs, ReplayExecutionResult};
use crate::model::error::{EngineError, StateKind};
use crate::model::ids::TimestampMs;
use crate::model::policy::stored::max_replay_count;
use crate::model::state::{AttemptOutcome, AttemptState, CompletionKind, OperatorEventType};
use crate::plan::facts::{Facts, Row};
use crate::plan::{Assign, Lookup, Pairing, Plan, Predicate, Query, Selection};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Then, Transition};
use crate::rules::flow::edges::{self, an_edge_into};
use crate::rules::flow::end::{flow_of_core_row, with_its_flow};
use crate::rules::flow::key::{
    EDGE, FLOW, FlowKey, GROUP, group_of_core_row, held_edge, held_group,
};
use crate::rules::flow::tally::{Tally, Verdict, policy_of, unmoved as group_unmoved};
use crate::rules::key::{ATTEMPT, CORE, ExecutionKey, current_attempt, held_attempt, held_core};
use crate::rules::outbox;
use crate::rules::premise::{existing, row_and_attempt, unmoved};
use crate::rules::status::Status;
use crate::rules::suspension::close::closed;
use crate::schema::ColumnRef;
use crate::schema::execution::{attempt, exec_core};
use crate::schema::flow::{edge, edge_group};

/// Brings back an execution that has ended.
#[derive(Clone, Debug)]
pub struct Replay {
    key: ExecutionKey,
    at: TimestampMs,
}

/// The state that a replay brings an execution back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Branch {
    /// It may be claimed.
    Normal,
    /// It was skipped by its flow: it waits again, or may be claimed if its group is satisfied.
    SkippedFlowMember { satisfied: bool },
    /// It ended otherwise, while what it waits for is still to come: it waits again.
    BlockedFlowMember,
}

impl Branch {
    fn word(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::SkippedFlowMember { .. } => "skipped_flow_member",
            Self::BlockedFlowMember => "blocked_flow_member",
        }
    }

    fn status(self) -> Status {
        let pending = AttemptState::PendingReplayAttempt;
        match self {
            Self::Normal | Self::SkippedFlowMember { satisfied: true } => Status::waiting(pending),
            Self::SkippedFlowMember { satisfied: false } | Self::BlockedFlowMember => {
                Status::waiting_for_dependencies(pending)
            }
        }
    }

    fn resets_group(self) -> bool {
        self != Self::Normal
    }
}

impl Replay {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for an id that no row can have.
    pub fn new(args: &ReplayExecutionArgs) -> Result<Self, EngineError> {
        Ok(Self { key: ExecutionKey::of(&args.execution_id)?, at: args.now })
    }

    fn lookups(&self) -> Vec<Lookup> {
        let mut rows = row_and_attempt(&self.key);
        rows.push(group_of_core_row(edge_group::REF.columns.to_vec()));
        rows.push(flow_of_core_row());
        rows
    }

    fn guarded(
        &self,
        core: &Row,
        current: Option<&Row>,
        its_flow: Option<&Row>,
        reset: Option<(FlowKey, &Row)>,
    ) -> Result<Plan, EngineError> {
        let mut plan = with_its_flow(Plan::new("replay_execution"), its_flow)?;
        if let Some((flow, group)) = reset {
            let key = flow.group(self.key.uuid);
            plan = plan.guard(GROUP, edge_group::REF, key, group_unmoved(group)?);
        }

        plan = plan.guard(CORE, exec_core::REF, self.key.core(), unmoved(core)?);
        Ok(match current {
            Some(_) => plan.guard(ATTEMPT, attempt::REF, current_attempt(), Predicate::Always),
            None => plan,
        })
    }

    /// The number of replays before this one.
    ///
    /// # Errors
    /// `State(MaxReplaysExhausted)` when that is as often as its policy allows.
    fn replays(core: &Row) -> Result<i64, EngineError> {
        let raw = core.read(exec_core::raw_fields)?;
        let replays = raw.get("replay_count").and_then(Json::as_i64).unwrap_or(0);
        let most = max_replay_count(core.read(exec_core::policy)?.as_ref());

        if i64::from(most) <= replays {
            return Err(EngineError::State(StateKind::MaxReplaysExhausted));
        }

        Ok(replays)
    }

    /// The changes to the execution's row. Its deadline stays if it can still be met.
    fn of_core(
        &self,
        core: &Row,
        status: Status,
        now: TimestampMs,
    ) -> Result<Vec<(ColumnRef, Assign)>, EngineError> {
        let replays = Self::replays(core)?;
        let deadline =
            core.read(exec_core::deadline_at_ms)?.filter(|deadline| self.at.0 < *deadline);

        let mut set = status.assignments(now);
        set.extend([
            exec_core::terminal_at_ms.clear(),
            exec_core::result.clear(),
            exec_core::cancellation_reason.clear(),
            exec_core::cancelled_by.clear(),
            exec_core::deadline_at_ms.set(deadline),
            exec_core::lease_reclaim_count.set(0),
            exec_core::raw_fields.merge(json!({
                "replay_count": replays.saturating_add(1),
                "retry_count": "0",
                "terminal_outcome": "none",
                "last_mutation_at": self.at.0.to_string(),
            })),
        ]);
        Ok(set)
    }

    /// Keeps the group's successes, and makes its other edges count anew.
    fn reset(&self, mut plan: Plan, flow: FlowKey) -> Plan {
        let set = vec![
            edge_group::fail_count.set(0),
            edge_group::skip_count.set(0),
            edge_group::running_count.set(0),
            edge_group::version.grow(1),
        ];

        let otherwise = edge::upstream_outcome.holds_another_than(CompletionKind::Success);
        plan.selection = Some(Selection {
            row: EDGE.into(),
            table: edge::REF,
            predicate: flow.edges_into(self.key.uuid).and(otherwise),
            order: edges::by(edge::upstream_eid),
            pairing: Pairing::Every,
        });

        plan.update(edge_group::REF, held_group(), set).update(
            edge::REF,
            held_edge(),
            vec![edge::upstream_outcome.clear(), edge::version.grow(1)],
        )
    }
}

impl Transition for Replay {
    type Outcome = ReplayExecutionResult;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        let Some(rows) = facts.rows() else {
            return Ok(Step::Read(vec![Query::Lookup(self.lookups())]));
        };
        let core = existing(rows)?;
        let (current, group) = (rows.row(ATTEMPT), rows.row(GROUP));
        if !core.read(exec_core::lifecycle_phase)?.is_terminal() {
            return Err(EngineError::State(StateKind::ExecutionNotTerminal));
        }

        let flow = core.read(exec_core::flow_id)?;
        let flow = flow.map(|uuid| FlowKey { partition: self.key.partition, uuid });
        let branch = branch(flow, current, group)?;

        let mut reset = None;
        if let (true, Some(flow)) = (branch.resets_group(), flow) {
            let edge = an_edge_into(flow, self.key.uuid);
            let Some(edges) = facts.list(&edge) else {
                return Ok(Step::Read(vec![Query::List(edge)]));
            };
            reset = group.filter(|_| !edges.is_empty()).map(|group| (flow, group));
        }

        let status = branch.status();
        let plan = self.guarded(core, current, rows.row(FLOW), reset)?;
        let plan = plan.update(exec_core::REF, held_core(), self.of_core(core, status, ctx.now)?);
        let plan = match current {
            Some(_) => plan.update(attempt::REF, held_attempt(), reopened()),
            None => plan,
        };

        let mut details = json!({ "branch": branch.word() });
        if branch.resets_group()
            && let Some(details) = details.as_object_mut()
        {
            details.insert("groups_reset".into(), u8::from(reset.is_some()).into());
        }
        let event = OperatorEventType::Replayed;
        let plan = outbox::operator_acted(plan, event, details, self.at);

        let plan = match reset {
            Some((flow, _)) => self.reset(plan, flow),
            None => plan,
        };

        let replayed = ReplayExecutionResult::Replayed { public_state: status.public() };
        // Rows of older databases may still have something open.
        Ok(Step::Commit(closed(plan, core)?, Then::Answer(replayed)))
    }
}

/// The changes to the attempt's row: as if it had not run, but for a greater epoch.
fn reopened() -> Vec<(ColumnRef, Assign)> {
    vec![
        attempt::outcome.clear(),
        attempt::terminal_at_ms.clear(),
        attempt::failure_message.clear(),
        attempt::failure_class.clear(),
        attempt::worker_id.clear(),
        attempt::worker_instance_id.clear(),
        attempt::lease_expires_at_ms.clear(),
        attempt::timeout_at_ms.clear(),
        attempt::lease_epoch.grow(1),
    ]
}

/// Decides by the group's counts. Rows of older databases do not say how many edges there are:
/// their skipped members wait, and their others do not.
fn branch(
    flow: Option<FlowKey>,
    current: Option<&Row>,
    group: Option<&Row>,
) -> Result<Branch, EngineError> {
    let outcome = current.map(|row| row.read(attempt::outcome)).transpose()?.flatten();
    let skipped = outcome == Some(AttemptOutcome::Skipped) && flow.is_some();

    let tally = group.map(Tally::read).transpose()?;
    let verdict = match (group, tally) {
        (Some(group), Some(tally)) if 0 < tally.dependencies => {
            Some(tally.verdict(&policy_of(group)?))
        }
        _ => None,
    };

    Ok(match (skipped, verdict) {
        (true, verdict) => {
            Branch::SkippedFlowMember { satisfied: verdict == Some(Verdict::Satisfied) }
        }
        (false, Some(Verdict::Pending | Verdict::Impossible)) => Branch::BlockedFlowMember,
        (false, Some(Verdict::Satisfied) | None) => Branch::Normal,
    })
}
