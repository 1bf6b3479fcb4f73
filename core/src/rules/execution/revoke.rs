//! Taking a lease away: an operator makes an execution claimable again without waiting for the
//! lease to lapse.

use serde_json::json;

use crate::contracts::{RevokeLeaseArgs, RevokeLeaseResult};
use crate::model::error::EngineError;
use crate::model::handle::BackendTag;
use crate::model::ids::TimestampMs;
use crate::model::state::{AttemptState, LeaseCause, LifecyclePhase, OperatorEventType};
use crate::plan::facts::{Facts, Row};
use crate::plan::{Assign, Guard, Mutation};
use crate::rules::changes::Changes;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Verdict};
use crate::rules::execution::change;
use crate::rules::input;
use crate::rules::key::{ATTEMPT, ExecutionKey, current_attempt};
use crate::rules::outbox;
use crate::rules::premise::{Premise, existing};
use crate::rules::status::Status;
use crate::schema::ColumnRef;
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
        format!("{}:{}:{}:{}", self.tag.word(), self.key.uuid, lease.index, lease.epoch)
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

impl Decision for RevokeLease {
    type Outcome = RevokeLeaseResult;

    const NAME: &'static str = "revoke_lease";

    fn premises(&self, _: TimestampMs) -> Vec<Premise<RevokeLeaseResult>> {
        vec![Premise::execution_as_read(&self.key, Vec::new()), Premise::current_attempt()]
    }

    fn decide(
        &self,
        facts: &Facts,
        at: TimestampMs,
        _: &mut Ctx<'_>,
    ) -> Decided<RevokeLeaseResult> {
        let phase = existing(facts)?.read(exec_core::lifecycle_phase)?;
        let lease = match current(facts.row(ATTEMPT))? {
            None => return Ok(satisfied("no_active_lease")),
            Some(lease) => match self.left_alone(&lease) {
                Some(reason) => return Ok(satisfied(reason)),
                None => lease,
            },
        };

        let same = attempt::lease_epoch
            .equals(lease.epoch)
            .and(attempt::worker_instance_id.equals(Some(lease.owner.clone())));
        let active = phase == LifecyclePhase::Active;
        let changes = Changes::of(active.then(|| released(at)));
        let changes = if active { changes.closing(facts)? } else { changes };

        let why = self.particulars(&lease);
        let changes = changes
            .and([
                change::attempt(dropped()),
                outbox::lease_ended(LeaseCause::Operator, at),
                outbox::operator_acted(OperatorEventType::LeaseRevoked, why, at),
            ])
            .holding([Guard::new(ATTEMPT, attempt::REF, current_attempt(), same)]);

        let revoked = RevokeLeaseResult::Revoked {
            lease_id: self.synthetic_id(&lease),
            lease_epoch: lease.epoch.saturating_add(1).to_string(),
        };
        Verdict::change(changes, revoked)
    }
}

fn satisfied(reason: &str) -> Verdict<RevokeLeaseResult> {
    Verdict::Answer(RevokeLeaseResult::AlreadySatisfied { reason: reason.into() })
}

/// The change of an execution that its worker held: another one may claim it.
fn released(at: TimestampMs) -> Mutation {
    let status = Status::waiting(AttemptState::AttemptInterrupted);
    change::enters(status, at).update()
}

/// The columns of an attempt that loses its lease.
fn dropped() -> Vec<(ColumnRef, Assign)> {
    vec![
        attempt::worker_instance_id.clear(),
        attempt::lease_expires_at_ms.clear(),
        attempt::timeout_at_ms.clear(),
        // The fence of its worker is no longer the current one.
        attempt::lease_epoch.grow(1),
    ]
}
