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
use crate::plan::{Assign, Mutation, Pairing, Query, Selection};
use crate::rules::changes::Changes;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Verdict};
use crate::rules::execution::change;
use crate::rules::flow::edges::{self, an_edge_into};
use crate::rules::flow::end::{flow_of_core_row, its_flow_goes_on};
use crate::rules::flow::key::{
    EDGE, FLOW, FlowKey, GROUP, group_of_core_row, held_edge, held_group,
};
use crate::rules::flow::tally::{GroupState, Tally, policy_of, unchanged as group_unchanged};
use crate::rules::key::{ATTEMPT, ExecutionKey};
use crate::rules::outbox;
use crate::rules::premise::{Condition, Premise, existing, of_a_known_phase, refuse};
use crate::rules::status::Status;
use crate::schema::ColumnRef;
use crate::schema::execution::{attempt, exec_core, finished};
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

    /// The change of the execution's row. Its deadline stays if it can still be met.
    fn of_core(
        &self,
        core: &Row,
        status: Status,
        now: TimestampMs,
    ) -> Result<Mutation, EngineError> {
        let replays = Self::replays(core)?;
        let deadline =
            core.read(exec_core::deadline_at_ms)?.filter(|deadline| self.at.0 < *deadline);

        let columns = [
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
            })),
        ];
        Ok(change::enters(status, now).set_all(columns).update())
    }

    /// Keeps the successes of the flow's group, and makes its other edges count anew.
    fn reset(&self, changes: Changes, flow: FlowKey, group: &Row) -> Result<Changes, EngineError> {
        let counts = vec![
            edge_group::fail_count.set(0),
            edge_group::skip_count.set(0),
            edge_group::running_count.set(0),
            edge_group::version.grow(1),
        ];
        let edges = vec![edge::upstream_outcome.clear(), edge::version.grow(1)];

        let otherwise = edge::upstream_outcome.holds_another_than(CompletionKind::Success);
        let selection = Selection {
            row: EDGE.into(),
            table: edge::REF,
            predicate: flow.edges_into(self.key.uuid).and(otherwise),
            order: edges::by(edge::upstream_eid),
            pairing: Pairing::Every,
        };

        Ok(changes
            .and([
                Mutation::Update { table: edge_group::REF, target: held_group(), set: counts },
                Mutation::Update { table: edge::REF, target: held_edge(), set: edges },
            ])
            .picking(selection)
            .holding_first([flow.group_guard(self.key.uuid, group_unchanged(group)?)]))
    }

    /// The event of the replay.
    fn announcement(&self, branch: Branch, is_reset: bool) -> Mutation {
        let details = if branch.resets_group() {
            json!({ "branch": branch.word(), "groups_reset": u8::from(is_reset) })
        } else {
            json!({ "branch": branch.word() })
        };
        outbox::operator_acted(OperatorEventType::Replayed, details, self.at)
    }
}

impl Decision for Replay {
    type Outcome = ReplayExecutionResult;

    const NAME: &'static str = "replay_execution";

    fn premises(&self, _: TimestampMs) -> Vec<Premise<Self::Outcome>> {
        let not_ended = refuse(|_| EngineError::State(StateKind::ExecutionNotTerminal));
        let group = group_of_core_row(edge_group::REF.columns.to_vec());
        vec![
            Premise::execution_as_read(
                &self.key,
                vec![Condition::new(finished(), of_a_known_phase(not_ended))],
            ),
            Premise::current_attempt().guarded_by(Vec::new()),
            Premise::read(GROUP, group),
            Premise::read(FLOW, flow_of_core_row()),
        ]
    }

    fn decide(&self, facts: &Facts, now: TimestampMs, _: &mut Ctx<'_>) -> Decided<Self::Outcome> {
        let (core, current, group) = (existing(facts)?, facts.row(ATTEMPT), facts.row(GROUP));
        let flow = core.read(exec_core::flow_id)?;
        let flow = flow.map(|uuid| FlowKey { partition: self.key.partition, uuid });
        let branch = branch(flow, current, group)?;

        let mut reset = None;
        if let (true, Some(flow)) = (branch.resets_group(), flow) {
            let edge = an_edge_into(flow, self.key.uuid);
            let Some(edges) = facts.list(&edge) else {
                return Ok(Verdict::AlsoRead(vec![Query::List(edge)]));
            };
            reset = group.filter(|_| !edges.is_empty()).map(|group| (flow, group));
        }

        let status = branch.status();
        let (its_flow, reopened_flow) = its_flow_goes_on(facts.row(FLOW))?;
        let changes = Changes::of(reopened_flow)
            .and([self.of_core(core, status, now)?])
            .and(current.map(|_| change::attempt(reopened())))
            .and([self.announcement(branch, reset.is_some())])
            .holding_first(its_flow);
        let changes = match reset {
            Some((flow, group)) => self.reset(changes, flow, group)?,
            None => changes,
        };

        let replayed = ReplayExecutionResult::Replayed { public_state: status.public() };
        // Rows of older databases may still have something open.
        Verdict::change(changes.closing(facts)?, replayed)
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
    let state = match (group, tally) {
        (Some(group), Some(tally)) if 0 < tally.dependencies => {
            Some(tally.state(&policy_of(group)?))
        }
        _ => None,
    };

    Ok(match (skipped, state) {
        (true, state) => {
            Branch::SkippedFlowMember { satisfied: state == Some(GroupState::Satisfied) }
        }
        (false, Some(GroupState::Pending | GroupState::Impossible)) => Branch::BlockedFlowMember,
        (false, Some(GroupState::Satisfied) | None) => Branch::Normal,
    })
}
