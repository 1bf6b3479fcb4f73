//! Cancelling an execution from outside, whatever it is doing.

use serde_json::json;

use crate::contracts::{CancelExecutionArgs, CancelExecutionResult};
use crate::model::error::{EngineError, StateKind};
use crate::model::ids::{CancelSource, TimestampMs};
use crate::model::state::{LeaseCause, OperatorEventType};
use crate::plan::facts::{Facts, Row};
use crate::plan::{Guard, Mutation};
use crate::rules::changes::Changes;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Verdict};
use crate::rules::execution::change;
use crate::rules::execution::end::{End, already_ended};
use crate::rules::input;
use crate::rules::key::{ATTEMPT, ExecutionKey, current_attempt};
use crate::rules::outbox::{self, Reason};
use crate::rules::premise::{Condition, Premise};
use crate::rules::status::Status;
use crate::schema::execution::{attempt, exec_core, unfinished};

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

    /// The changes; `held` if a worker holds the lease.
    fn changes(&self, held: bool) -> Changes {
        let (end, at) = (End::CANCELLED, self.args.now);
        let core = end
            .as_status(Status::cancelled(), at)
            .set(exec_core::cancellation_reason.keep_or(Some(self.args.reason.clone())))
            .set(exec_core::cancelled_by.keep_or(Some(self.args.source.as_str().to_owned())));

        let attempt = if held {
            let mut lease = end.of_attempt(at);
            lease.push(attempt::lease_epoch.grow(1));
            change::attempt(lease)
        } else {
            end.record_attempt(at)
        };
        let completed = outbox::completed(end.event, Reason::Given(&self.args.reason), at);
        let lease_ended = held.then(|| outbox::lease_ended(LeaseCause::Cancelled, at));

        Changes::of([core.update(), attempt, completed]).and(lease_ended).and(self.operator_act())
    }

    /// The event of the cancellation as an operator's act, if the source is an operator.
    fn operator_act(&self) -> Option<Mutation> {
        match &self.args.source {
            CancelSource::OperatorOverride => {
                let why = json!({ "reason": self.args.reason });
                Some(outbox::operator_acted(OperatorEventType::Cancelled, why, self.args.now))
            }
            CancelSource::LeaseHolder
            | CancelSource::FlowCascade
            | CancelSource::SystemTimeout
            | CancelSource::Custom(_) => None,
        }
    }
}

impl Decision for CancelExecution {
    type Outcome = CancelExecutionResult;

    const NAME: &'static str = "cancel_execution";

    fn premises(&self, _: TimestampMs) -> Vec<Premise<Self::Outcome>> {
        let id = self.args.execution_id.clone();
        let over = already_ended(Self::NAME, id, self.cancelled());
        vec![
            Premise::execution_as_read(&self.key, vec![Condition::new(unfinished(), over)]),
            Premise::current_attempt(),
        ]
    }

    fn decide(&self, facts: &Facts, _: TimestampMs, _: &mut Ctx<'_>) -> Decided<Self::Outcome> {
        let holder = Self::holder_epoch(facts.row(ATTEMPT))?;
        let changes = self.changes(holder.is_some());

        let Some(epoch) = holder else {
            return Verdict::change(changes.closing(facts)?, self.cancelled());
        };
        self.may_break_lease(epoch)?;
        let same = attempt::lease_epoch.equals(epoch);
        let changes = changes.holding([Guard::new(ATTEMPT, attempt::REF, current_attempt(), same)]);
        Verdict::change(changes.closing(facts)?, self.cancelled())
    }
}

impl CancelExecution {
    fn cancelled(&self) -> CancelExecutionResult {
        let execution_id = self.args.execution_id.clone();
        CancelExecutionResult::Cancelled {
            execution_id,
            public_state: Status::cancelled().public(),
        }
    }
}
