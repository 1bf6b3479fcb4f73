//! Taking a lease away: an operator makes an execution claimable again without waiting for the
//! lease to lapse.

use serde_json::json;

use crate::contracts::{RevokeLeaseArgs, RevokeLeaseResult};
use crate::model::error::EngineError;
use crate::model::handle::BackendTag;
use crate::model::state::{AttemptState, LeaseCause, LifecyclePhase, OperatorEventType};
use crate::plan::facts::{Facts, Row};
use crate::plan::{Plan, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Then, Transition};
use crate::rules::input;
use crate::rules::key::{ATTEMPT, CORE, ExecutionKey, current_attempt, held_attempt, held_core};
use crate::rules::outbox;
use crate::rules::premise::{existing, row_and_attempt, unmoved};
use crate::rules::status::Status;
use crate::rules::suspension::close::closed;
use crate::schema::execution::{attempt, exec_core};

/// Drops the current lease, and announces the reason. One that is revoked already, or belongs to
/// another worker or lease than the caller names, is left alone, and the answer says why.
#[derive(Clone, Debug)]
pub struct RevokeLease {
    key: ExecutionKey,
    tag: BackendTag,
    args: RevokeLeaseArgs,
}

/// The lease of an attempt row.
struct Current {
    index: i32,
    epoch: i64,
    owner: String,
    stored_id: Option<String>,
}

impl RevokeLease {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field.
    pub fn new(tag: BackendTag, args: RevokeLeaseArgs) -> Result<Self, EngineError> {
        input::text("reason", &args.reason)?;
        input::name("worker_instance_id", args.worker_instance_id.as_str())?;
        Ok(Self { key: ExecutionKey::of(&args.execution_id)?, tag, args })
    }

    /// The name of a lease made from its row, for callers that do not know its own id.
    fn synthetic_id(&self, lease: &Current) -> String {
        let family = match self.tag {
            BackendTag::Postgres => "pg",
            BackendTag::Sqlite => "sqlite",
            BackendTag::Memory => "memory",
            BackendTag::Valkey => "valkey",
        };

        format!("{family}:{}:{}:{}", self.key.uuid, lease.index, lease.epoch)
    }

    /// The particulars of the operator event.
    fn particulars(&self, lease: &Current) -> serde_json::Value {
        json!({
            "reason": self.args.reason,
            "lease_id": self.synthetic_id(lease),
            "worker_instance_id": lease.owner,
        })
    }

    /// The reason for leaving the lease alone, if there is one.
    fn left_alone(&self, lease: &Current) -> Option<&'static str> {
        let instance = self.args.worker_instance_id.as_str();
        if !instance.is_empty() && instance != lease.owner {
            return Some("different_worker_instance_id");
        }

        let expected = self.args.expected_lease_id.as_deref().filter(|id| !id.is_empty())?;
        let known =
            expected == self.synthetic_id(lease) || Some(expected) == lease.stored_id.as_deref();
        (!known).then_some("lease_id_mismatch")
    }
}

fn current(row: Option<&Row>) -> Result<Option<Current>, EngineError> {
    let Some(row) = row else { return Ok(None) };
    let owner = row.read(attempt::worker_instance_id)?.filter(|owner| !owner.is_empty());
    let Some(owner) = owner else { return Ok(None) };

    Ok(Some(Current {
        index: row.read(attempt::attempt_index)?,
        epoch: row.read(attempt::lease_epoch)?,
        owner,
        stored_id: row.read(attempt::lease_id)?.map(|id| id.to_string()),
    }))
}

impl Transition for RevokeLease {
    type Outcome = RevokeLeaseResult;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        let Some(rows) = facts.rows() else {
            return Ok(Step::Read(vec![Query::Lookup(row_and_attempt(&self.key))]));
        };
        let core = existing(rows)?;

        let satisfied = |reason: &str| {
            Ok(Step::Answer(RevokeLeaseResult::AlreadySatisfied { reason: reason.into() }))
        };
        let Some(lease) = current(rows.row(ATTEMPT))? else {
            return satisfied("no_active_lease");
        };
        if let Some(reason) = self.left_alone(&lease) {
            return satisfied(reason);
        }

        let active = core.read(exec_core::lifecycle_phase)? == LifecyclePhase::Active;
        let version = unmoved(core)?;
        let same = attempt::lease_epoch
            .equals(lease.epoch)
            .and(attempt::worker_instance_id.equals(Some(lease.owner.clone())));
        let plan = Plan::new("revoke_lease")
            .guard(CORE, exec_core::REF, self.key.core(), version)
            .guard(ATTEMPT, attempt::REF, current_attempt(), same);

        let plan = if active {
            let mut set = Status::waiting(AttemptState::AttemptInterrupted).assignments(ctx.now);
            let mutated = json!({ "last_mutation_at": ctx.now.0.to_string() });
            set.push(exec_core::raw_fields.merge(mutated));
            closed(plan.update(exec_core::REF, held_core(), set), core)?
        } else {
            plan
        };

        let dropped = vec![
            attempt::worker_instance_id.clear(),
            attempt::lease_expires_at_ms.clear(),
            attempt::timeout_at_ms.clear(),
            // The fence of its worker is no longer the current one.
            attempt::lease_epoch.grow(1),
        ];
        let plan = plan.update(attempt::REF, held_attempt(), dropped);
        let plan = outbox::lease_ended(plan, LeaseCause::Operator, ctx.now);
        let why = self.particulars(&lease);
        let plan = outbox::operator_acted(plan, OperatorEventType::LeaseRevoked, why, ctx.now);

        let revoked = RevokeLeaseResult::Revoked {
            lease_id: self.synthetic_id(&lease),
            lease_epoch: lease.epoch.saturating_add(1).to_string(),
        };
        Ok(Step::Commit(plan, Then::Answer(revoked)))
    }
}
