//! Cancelling an execution from outside, whatever it is doing.

use serde_json::json;

use crate::contracts::{CancelExecutionArgs, CancelExecutionResult};
use crate::model::error::{EngineError, StateKind};
use crate::model::ids::CancelSource;
use crate::model::state::{LeaseCause, OperatorEventType};
use crate::plan::facts::{Facts, Row};
use crate::plan::{Plan, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Then, Transition};
use crate::rules::execution::finish::{End, already_ended};
use crate::rules::input;
use crate::rules::key::{ATTEMPT, CORE, ExecutionKey, current_attempt, held_attempt, held_core};
use crate::rules::outbox::{self, Reason};
use crate::rules::premise::{existing, row_and_attempt, unmoved};
use crate::rules::status::Status;
use crate::rules::suspension::close::closed;
use crate::schema::execution::{attempt, exec_core};

/// Cancels an execution by id, whatever it is doing. Cancelling what is cancelled changes nothing;
/// any other end is an error that names it. Only an operator's override needs no epoch while a
/// worker holds the lease.
#[derive(Clone, Debug)]
pub struct CancelExecution {
    key: ExecutionKey,
    args: CancelExecutionArgs,
}

impl CancelExecution {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field.
    pub fn new(args: CancelExecutionArgs) -> Result<Self, EngineError> {
        input::text("reason", &args.reason)?;
        input::text("source", args.source.as_str())?;
        Ok(Self { key: ExecutionKey::of(&args.execution_id)?, args })
    }

    /// The epoch of the lease, if a worker holds it: exactly while the attempt row names its
    /// instance.
    fn holder_epoch(current: Option<&Row>) -> Result<Option<i64>, EngineError> {
        let Some(row) = current else { return Ok(None) };
        let owner = row.read(attempt::worker_instance_id)?.filter(|owner| !owner.is_empty());
        owner.map(|_| row.read(attempt::lease_epoch)).transpose()
    }

    fn may_break_lease(&self, epoch: i64) -> Result<(), EngineError> {
        if self.args.source == CancelSource::OperatorOverride {
            return Ok(());
        }

        let Some(given) = self.args.lease_epoch else {
            let id = &self.args.execution_id;
            return Err(input::invalid(format!(
                "cancel_execution: execution_id={id}: lease_epoch required when source != \
                 operator_override and execution is active"
            )));
        };

        if i64::try_from(given.0) == Ok(epoch) {
            Ok(())
        } else {
            Err(EngineError::State(StateKind::StaleLease))
        }
    }

    fn plan(&self, plan: Plan, held: bool) -> Plan {
        let (end, at) = (End::CANCELLED, self.args.now);
        let mut core = end.as_status(Status::cancelled(), at);
        core.push(exec_core::cancellation_reason.keep_or(Some(self.args.reason.clone())));
        core.push(exec_core::cancelled_by.keep_or(Some(self.args.source.as_str().to_owned())));
        let mutated = json!({ "last_mutation_at": at.0.to_string() });
        core.push(exec_core::raw_fields.merge(mutated));
        let plan = plan.update(exec_core::REF, held_core(), core);

        let reason = Reason::Given(&self.args.reason);
        if !held {
            let plan = outbox::completed(end.record_attempt(plan, at), end.event, reason, at);
            return self.announce_act(plan);
        }

        let mut lease = end.of_attempt(at);
        lease.push(attempt::lease_epoch.grow(1));
        let plan = plan.update(attempt::REF, held_attempt(), lease);
        let plan = outbox::completed(plan, end.event, reason, at);
        self.announce_act(outbox::lease_ended(plan, LeaseCause::Cancelled, at))
    }

    /// Announces the cancellation as an operator's act, if the source is an operator.
    fn announce_act(&self, plan: Plan) -> Plan {
        match &self.args.source {
            CancelSource::OperatorOverride => {
                let why = json!({ "reason": self.args.reason });
                outbox::operator_acted(plan, OperatorEventType::Cancelled, why, self.args.now)
            }
            CancelSource::LeaseHolder
            | CancelSource::FlowCascade
            | CancelSource::SystemTimeout
            | CancelSource::Custom(_) => plan,
        }
    }
}

impl Transition for CancelExecution {
    type Outcome = CancelExecutionResult;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        let Some(rows) = facts.rows() else {
            return Ok(Step::Read(vec![Query::Lookup(row_and_attempt(&self.key))]));
        };
        let core = existing(rows)?;

        let execution_id = self.args.execution_id.clone();
        let public_state = Status::cancelled().public();
        let cancelled = CancelExecutionResult::Cancelled { execution_id, public_state };
        if core.read(exec_core::lifecycle_phase)?.is_terminal() {
            already_ended("cancel_execution", &self.args.execution_id, core)?;
            return Ok(Step::Answer(cancelled));
        }

        let version = unmoved(core)?;
        let plan =
            Plan::new("cancel_execution").guard(CORE, exec_core::REF, self.key.core(), version);

        let holder = Self::holder_epoch(rows.row(ATTEMPT))?;
        let plan = match holder {
            Some(epoch) => {
                self.may_break_lease(epoch)?;
                let same = attempt::lease_epoch.equals(epoch);
                plan.guard(ATTEMPT, attempt::REF, current_attempt(), same)
            }
            None => plan,
        };

        let plan = closed(self.plan(plan, holder.is_some()), core)?;
        Ok(Step::Commit(plan, Then::Answer(cancelled)))
    }
}
