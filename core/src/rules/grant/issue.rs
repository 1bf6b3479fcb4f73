//! Granting the claim of one execution to one worker.

use crate::contracts::IssueClaimGrantArgs;
use crate::model::error::{EngineError, StateKind, ValidationKind};
use crate::model::ids::{LaneId, TimestampMs};
use crate::model::state::GrantKind;
use crate::plan::facts::Facts;
use crate::rules::budget::room::Room;
use crate::rules::budget::token;
use crate::rules::changes::Changes;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Verdict};
use crate::rules::execution::change;
use crate::rules::execution::claim::unreserved;
use crate::rules::execution::leasing::leasable;
use crate::rules::grant::row::{Grantee, reserved};
use crate::rules::input;
use crate::rules::key::ExecutionKey;
use crate::rules::premise::{Condition, Premise, existing, refuse};
use crate::schema::execution::exec_core;

/// Reserves a claimable execution for one worker, which then redeems the grant.
#[derive(Clone, Debug)]
pub struct IssueClaimGrant {
    key: ExecutionKey,
    lane: LaneId,
    grantee: Grantee,
    at: TimestampMs,
}

impl IssueClaimGrant {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field.
    pub fn new(args: IssueClaimGrantArgs) -> Result<Self, EngineError> {
        input::same_partition("issue_claim_grant", &args.partition, &args.execution_id)?;
        let grantee = Grantee {
            worker_id: args.worker_id,
            worker_instance_id: args.worker_instance_id,
            lane_id: Some(args.lane_id.clone()),
            capabilities: args.worker_capabilities,
            capability_hash: args.capability_hash,
            route_snapshot_json: args.route_snapshot_json,
            admission_summary: args.admission_summary,
            room: Vec::new(),
            full: None,
            ttl_ms: input::positive_ms("grant_ttl_ms", args.grant_ttl_ms)?,
        };

        let key = ExecutionKey::of(&args.execution_id)?;
        Ok(Self { key, lane: args.lane_id, grantee: grantee.checked()?, at: args.now })
    }

    /// The same, with that room.
    #[must_use]
    pub fn with_room(self, room: Room) -> Self {
        Self { grantee: self.grantee.with_room(room), ..self }
    }
}

/// The condition that a worker with that grant can run the execution, and that its budgets have
/// room.
pub(super) fn capable<O>(grantee: &Grantee) -> Condition<O> {
    let capabilities = grantee.capabilities.clone();
    let lacks = refuse(move |facts: &Facts| {
        let required = existing(facts).and_then(|core| core.read(exec_core::required_capabilities));
        let required = match required {
            Ok(required) => token::capabilities_of(required),
            Err(unreadable) => return unreadable,
        };

        if required.iter().all(|token| capabilities.contains(token)) {
            return EngineError::State(StateKind::BudgetExceeded);
        }
        EngineError::Validation {
            kind: ValidationKind::CapabilityMismatch,
            detail: format!("worker_capabilities: {} are required", required.join(", ")),
        }
    });
    Condition::new(grantee.suffices(), lacks)
}

impl Decision for IssueClaimGrant {
    type Outcome = ();

    const NAME: &'static str = "issue_claim_grant";

    fn at(&self, _: &Ctx<'_>) -> TimestampMs {
        self.at
    }

    fn premises(&self, at: TimestampMs) -> Vec<Premise<()>> {
        let granted = refuse(|_| EngineError::State(StateKind::GrantAlreadyExists));
        let mut conditions = leasable(&self.lane);
        conditions.push(Condition::new(unreserved(at), granted));
        conditions.push(capable(&self.grantee));
        vec![Premise::execution(&self.key, conditions)]
    }

    fn expects(&self) -> bool {
        true
    }

    fn decide(&self, _: &Facts, at: TimestampMs, ctx: &mut Ctx<'_>) -> Decided<()> {
        let id = ctx.uuid().as_bytes().to_vec();
        let changes = Changes::of([
            change::edits(reserved(self.grantee.until(at)), at),
            self.grantee.granted(GrantKind::Claim, &self.key, id, at),
        ]);
        Verdict::change(changes, ())
    }
}
