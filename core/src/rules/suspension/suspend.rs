//! A worker suspends its execution until a condition holds.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};

use crate::contracts::{
    AdditionalWaitpointBinding, SuspendArgs, SuspendOutcome, SuspendOutcomeDetails,
    SuspensionReasonCode, WaitpointBinding, WaitpointHmac,
};
use crate::model::error::EngineError;
use crate::model::handle::{BackendTag, Handle, HandleKind};
use crate::model::handle_codec::HandlePayload;
use crate::model::ids::{
    AttemptId, AttemptIndex, LaneId, LeaseEpoch, LeaseId, TimestampMs, WorkerInstanceId,
};
use crate::model::policy::stored::suspension_timeout;
use crate::model::state::{AttemptOutcome, BlockingReason, LeaseCause};
use crate::plan::facts::{Facts, Row};
use crate::plan::{Assign, Expr, List, Mutation, OnConflict, OnTaken};
use crate::rules::budget::over_run::Raise;
use crate::rules::changes::Changes;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Verdict};
use crate::rules::execution::change;
use crate::rules::fence::{Fence, OpenLease};
use crate::rules::input;
use crate::rules::key::{ATTEMPT, CORE, ExecutionKey, held_core};
use crate::rules::keystore::TokenKey;
use crate::rules::premise::{Premise, existing};
use crate::rules::status::{Status, lease_ended};
use crate::rules::suspension::binding::{BOUND, Binding, known_waitpoints};
use crate::rules::suspension::close::some_open;
use crate::rules::suspension::collected::Collected;
use crate::rules::suspension::opening::{OpenWaitpoint, open_waitpoints};
use crate::rules::suspension::repeat::{self, REPEATED};
use crate::rules::suspension::row::{SUSPENSION, Suspension, suspension_key, suspension_row};
use crate::rules::suspension::satisfied;
use crate::rules::{handle, outbox};
use crate::schema::ColumnRef;
use crate::schema::execution::{attempt, exec_core};
use crate::schema::suspension::suspension_current;

/// Suspends an execution at waitpoints of its own.
#[derive(Clone, Debug)]
pub struct Suspend {
    tag: BackendTag,
    fence: Fence,
    /// The payload of the worker's handle, where it presented one.
    presented: Option<HandlePayload>,
    args: SuspendArgs,
    /// The hard limit that rises once the condition holds.
    raises: Option<Raise>,
}

impl Suspend {
    /// Checks the arguments. A worker that `presented` no handle gets one made from its rows.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming what is wrong: no waitpoint, one named twice, a condition
    /// that cannot hold, text with NUL.
    pub fn new(
        tag: BackendTag,
        fence: Fence,
        presented: Option<HandlePayload>,
        args: SuspendArgs,
    ) -> Result<Self, EngineError> {
        if args.waitpoints.is_empty() {
            return Err(without_waitpoint());
        }

        let mut ids = BTreeSet::new();
        for binding in &args.waitpoints {
            let id = match binding {
                WaitpointBinding::Fresh { waitpoint_id, waitpoint_key } => {
                    input::name("waitpoint_key", waitpoint_key)?;
                    waitpoint_id
                }
                WaitpointBinding::UsePending { waitpoint_id } => waitpoint_id,
            };
            if !ids.insert(id.0) {
                return Err(input::invalid(format!("waitpoints: {id} is bound twice")));
            }
        }

        satisfied::check(&args.resume_condition, args.timeout_at.is_some())?;
        if let Some(pointer) = &args.continuation_metadata_pointer {
            input::text("continuation_metadata_pointer", pointer)?;
        }
        if let Some(key) = &args.idempotency_key {
            input::name("idempotency_key", key.as_str())?;
        }

        // No failure can be reported under the handle of a suspension, so it needs no retry facts.
        let presented = presented.map(|payload| payload.with_retry(None));
        Ok(Self { tag, fence, presented, args, raises: None })
    }

    /// The same suspension, the end of which raises a hard limit.
    #[must_use]
    pub fn raising(self, raise: Raise) -> Self {
        Self { raises: Some(raise), ..self }
    }

    fn key(&self) -> &ExecutionKey {
        &self.fence.key
    }
}

impl Decision for Suspend {
    type Outcome = SuspendOutcome;

    const NAME: &'static str = "suspend";

    fn at(&self, _: &Ctx<'_>) -> TimestampMs {
        self.args.now
    }

    fn premises(&self, at: TimestampMs) -> Vec<Premise<SuspendOutcome>> {
        let before = Premise::read(SUSPENSION, suspension_row(self.key()));
        let key = self.args.idempotency_key.as_ref();
        let repeated = key.map(|key| Premise::read(REPEATED, repeat::row(self.key(), key)));

        let fenced = self.fence.premises(at, OpenLease::Live);
        fenced.into_iter().chain([before]).chain(repeated).collect()
    }

    fn lists(&self, refusals: u32) -> Vec<List> {
        let known = known_waitpoints(self.key(), &self.args.waitpoints, refusals);
        [TokenKey::signing()].into_iter().chain(known).collect()
    }

    /// The first call gave the lease back, so a repeated one could not pass the fence.
    fn repeated(&self, facts: &Facts, _: &Ctx<'_>) -> Result<Option<SuspendOutcome>, EngineError> {
        let row = facts.row(REPEATED);
        let same_lease = row.filter(|row| repeat::is_of_lease(self.tag, row, &self.fence));
        same_lease.map(|row| repeat::outcome(self.tag, row)).transpose()
    }

    fn decide(&self, facts: &Facts, at: TimestampMs, _: &mut Ctx<'_>) -> Decided<SuspendOutcome> {
        let ended = self.ended_by_policy(facts.row(CORE))?;
        let this = ended.as_ref().unwrap_or(self);

        let signing = TokenKey::of_signing(facts, Self::NAME)?;
        let binding = Binding {
            key: this.key(),
            execution: &this.key().id(),
            at,
            signing: &signing,
            stored: facts.list_named(BOUND).unwrap_or_default(),
        };
        let waitpoints = binding.bind(&this.args.waitpoints)?;
        let carried = this.carried_signals(facts.row(SUSPENSION), &waitpoints)?;
        let details = this.details(&waitpoints)?;

        if satisfied::satisfied(&this.args.resume_condition, &carried.by_key()) {
            return Ok(Verdict::Answer(SuspendOutcome::AlreadySatisfied { details }));
        }

        let payload = this.payload(facts)?;
        let handle = handle::mint(this.tag, HandleKind::Suspended, &payload);
        let changes = this.changes(&waitpoints, &carried, &details, &handle)?;
        let changes = changes.giving_back_permits();
        Verdict::change(changes, SuspendOutcome::Suspended { details, handle })
    }
}

impl Suspend {
    /// The payload of the suspension's handle: the one that was presented, or one that says what
    /// the rows of the lease say.
    fn payload(&self, facts: &Facts) -> Result<HandlePayload, EngineError> {
        let (None, Some(lease)) = (&self.presented, facts.row(ATTEMPT)) else {
            return self.presented.clone().ok_or(EngineError::NotFound { entity: "attempt" });
        };

        let instance = lease.read(attempt::worker_instance_id)?.unwrap_or_default();
        Ok(HandlePayload::new(
            self.key().id(),
            AttemptIndex(lease.read(attempt::attempt_index)?.unsigned_abs()),
            AttemptId::from_uuid(lease.read(attempt::attempt_id)?.unwrap_or_default()),
            LeaseId::from_uuid(lease.read(attempt::lease_id)?.unwrap_or_default()),
            LeaseEpoch(lease.read(attempt::lease_epoch)?.unsigned_abs()),
            // No row holds the lifetime that the lease was taken with, and no operation reads it.
            0,
            LaneId::new(existing(facts)?.read(exec_core::lane_id)?),
            WorkerInstanceId::new(instance),
        ))
    }

    /// The same, with the end that the execution's policy gives to a suspension that names none.
    fn ended_by_policy(&self, core: Option<&Row>) -> Result<Option<Self>, EngineError> {
        let (None, Some(core)) = (self.args.timeout_at, core) else { return Ok(None) };
        let policy = core.read(exec_core::policy)?;
        Ok(suspension_timeout(policy.as_ref()).map(|(limit, behavior)| {
            let mut this = self.clone();
            let ends = self.args.now.0.saturating_add(input::span_ms(limit));
            this.args.timeout_at = Some(TimestampMs(ends));
            this.args.timeout_behavior = behavior;
            this
        }))
    }

    /// The signals that the previous suspension leaves to this one at the waitpoints that it kept:
    /// those that it did not use up, if its policy keeps them. A new waitpoint of the same key is
    /// another one.
    fn carried_signals(
        &self,
        before: Option<&Row>,
        waitpoints: &[OpenWaitpoint],
    ) -> Result<Collected, EngineError> {
        let Some(row) = before else { return Ok(Collected::default()) };
        let before = Suspension::read(row)?;
        let (consumes, retains) = (
            before.policy.consume_matched_signals,
            before.policy.retain_signal_buffer_until_closed
                && !before.policy.close_waitpoint_on_resume,
        );

        // Signals of an earlier wait that cannot be read do not count for this one.
        let read = (Suspension::condition(row), Suspension::collected(row));
        let (Ok(condition), Ok(collected)) = read else { return Ok(Collected::default()) };
        Ok(collected.only(|key, signal| {
            let kept = |one: &OpenWaitpoint| one.key == key && one.kept_by == Some(before.id);
            let here = waitpoints.iter().any(kept);
            let matched = satisfied::counts(&condition, key, signal);
            here && if matched { !consumes } else { retains }
        }))
    }

    fn details(&self, waitpoints: &[OpenWaitpoint]) -> Result<SuspendOutcomeDetails, EngineError> {
        let suspension_id = self.args.suspension_id.clone();
        let (primary, extras) = waitpoints.split_first().ok_or_else(without_waitpoint)?;
        let token = |one: &OpenWaitpoint| WaitpointHmac::new(one.token.clone());
        let extras = extras.iter().map(|extra| {
            AdditionalWaitpointBinding::new(extra.id.clone(), extra.key.clone(), token(extra))
        });

        let (id, key, hmac) = (primary.id.clone(), primary.key.clone(), token(primary));
        Ok(SuspendOutcomeDetails::new(suspension_id, id, key, hmac)
            .with_additional_waitpoints(extras.collect()))
    }

    fn changes(
        &self,
        waitpoints: &[OpenWaitpoint],
        carried: &Collected,
        details: &SuspendOutcomeDetails,
        handle: &Handle,
    ) -> Result<Changes, EngineError> {
        let (args, at) = (&self.args, self.args.now);
        let on_conflict = OnConflict::Update(replaced_suspension());
        let key = args.idempotency_key.as_ref();
        let answer = key.map(|key| repeat::store_answer(self.key(), key, details, handle, at));

        Ok(Changes::of([
            Mutation::update(exec_core::REF, held_core(), self.core(waitpoints)),
            change::attempt(given_back_lease()),
            Mutation::insert(suspension_current::REF, self.suspension(carried)?, on_conflict),
        ])
        .and(open_waitpoints(waitpoints, args)?)
        .and([outbox::lease_ended(LeaseCause::Suspended, at)])
        .and(answer.transpose()?))
    }

    fn core(&self, waitpoints: &[OpenWaitpoint]) -> Vec<(ColumnRef, Assign)> {
        let reason = blocking_reason(self.args.reason_code);
        let mut set = Status::suspended(reason).assignments(self.args.now);

        // The reason is data to the plan, not one of its cases.
        set.retain(|(column, _)| *column != exec_core::blocking_reason.column());
        set.push(exec_core::blocking_reason.set_chosen(Some(reason)));
        set.push(some_open());

        let primary = waitpoints.first().map(|first| first.id.to_string()).unwrap_or_default();
        set.push(exec_core::raw_fields.merge(json!({
            "current_suspension_id": self.args.suspension_id.to_string(),
            "current_waitpoint_id": primary,
        })));
        set
    }

    fn suspension(&self, carried: &Collected) -> Result<Vec<(ColumnRef, Expr)>, EngineError> {
        let args = &self.args;
        let json = |field: &str, value: Result<Json, serde_json::Error>| {
            value.map_err(|error| input::invalid(format!("{field}: {error}")))
        };
        let condition = json("resume_condition", serde_json::to_value(&args.resume_condition))?;
        let policy = json("resume_policy", serde_json::to_value(&args.resume_policy))?;

        let mut row = suspension_key(self.key());
        row.extend([
            suspension_current::suspension_id.with(args.suspension_id.0),
            suspension_current::suspended_at_ms.with(args.now.0),
            suspension_current::timeout_at_ms.with(args.timeout_at.map(|at| at.0)),
            suspension_current::reason_code.with(Some(args.reason_code.as_wire_str().into())),
            suspension_current::condition.with(condition),
            suspension_current::satisfied_set.with(json!([])),
            suspension_current::member_map.with(carried.stored()),
            suspension_current::timeout_behavior
                .with(Some(args.timeout_behavior.as_wire_str().into())),
            suspension_current::resume_policy.with(Some(policy)),
            suspension_current::requested_by.with(Some(args.requested_by.as_wire_str().into())),
            suspension_current::continuation_metadata_pointer
                .with(args.continuation_metadata_pointer.clone()),
            suspension_current::version.with(1),
            suspension_current::raises.with(self.raises.as_ref().map(Raise::stored).transpose()?),
        ]);
        Ok(row)
    }
}

fn without_waitpoint() -> EngineError {
    input::invalid("suspend requires at least one waitpoint binding")
}

/// The changes that give the lease back: its epoch is no longer the current one.
fn given_back_lease() -> Vec<(ColumnRef, Assign)> {
    let mut set = lease_ended(AttemptOutcome::AttemptInterrupted);
    set.push(attempt::lease_epoch.grow(1));
    set
}

/// The conflict clause of a suspension: it replaces the one before, but the signals are counted on.
fn replaced_suspension() -> Vec<(ColumnRef, OnTaken)> {
    let taken = [
        suspension_current::suspension_id.column(),
        suspension_current::suspended_at_ms.column(),
        suspension_current::timeout_at_ms.column(),
        suspension_current::reason_code.column(),
        suspension_current::condition.column(),
        suspension_current::satisfied_set.column(),
        suspension_current::member_map.column(),
        suspension_current::timeout_behavior.column(),
        suspension_current::resume_policy.column(),
        suspension_current::requested_by.column(),
        suspension_current::continuation_metadata_pointer.column(),
        suspension_current::raises.column(),
    ];

    let mut set: Vec<_> = taken.into_iter().map(|column| (column, OnTaken::Overwrite)).collect();
    set.push((suspension_current::version.column(), OnTaken::Add));
    set
}

/// The blocking reason that a suspension's reason stands for.
fn blocking_reason(reason: SuspensionReasonCode) -> BlockingReason {
    match reason {
        SuspensionReasonCode::WaitingForSignal => BlockingReason::WaitingForSignal,
        SuspensionReasonCode::WaitingForApproval => BlockingReason::WaitingForApproval,
        SuspensionReasonCode::WaitingForCallback => BlockingReason::WaitingForCallback,
        SuspensionReasonCode::WaitingForToolResult => BlockingReason::WaitingForToolResult,
        SuspensionReasonCode::PausedByBudget => BlockingReason::WaitingForBudget,
        SuspensionReasonCode::PausedByPolicy | SuspensionReasonCode::StepBoundary => {
            BlockingReason::PausedByPolicy
        }
        SuspensionReasonCode::WaitingForOperatorReview | SuspensionReasonCode::ManualPause => {
            BlockingReason::PausedByOperator
        }
    }
}
