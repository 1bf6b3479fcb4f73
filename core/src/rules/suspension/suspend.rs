//! A worker suspends its execution until a condition holds.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::contracts::{
    AdditionalWaitpointBinding, SuspendArgs, SuspendOutcome, SuspendOutcomeDetails,
    SuspensionReasonCode, WaitpointBinding, WaitpointHmac,
};
use crate::model::error::{ConflictKind, EngineError, StateKind};
use crate::model::handle::{BackendTag, Handle, HandleKind};
use crate::model::handle_codec::HandlePayload;
use crate::model::ids::{TimestampMs, WaitpointId};
use crate::model::policy::stored::suspension_timeout;
use crate::model::state::{AttemptOutcome, BlockingReason, LeaseCause, WaitpointState};
use crate::plan::facts::{Facts, Row};
use crate::plan::{Assign, Expr, List, OnConflict, OnTaken, Plan, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Then, Transition};
use crate::rules::fence::{Fence, OpenLease};
use crate::rules::input;
use crate::rules::key::{CORE, ExecutionKey, held_attempt, held_core};
use crate::rules::keystore::TokenKey;
use crate::rules::premise::{Premise, guards, lookups, unmet};
use crate::rules::status::{Status, lease_ended};
use crate::rules::suspension::close::some_open;
use crate::rules::suspension::collected::Collected;
use crate::rules::suspension::repeat;
use crate::rules::suspension::row::{SUSPENSION, Suspension, suspension_key, suspension_row};
use crate::rules::suspension::satisfied;
use crate::rules::suspension::waitpoint::{Door, opened};
use crate::rules::{handle, outbox};
use crate::schema::ColumnRef;
use crate::schema::Direction::Ascending;
use crate::schema::execution::{attempt, exec_core};
use crate::schema::suspension::{suspension_current, waitpoint_pending};

/// Suspends an execution at waitpoints of its own.
#[derive(Clone, Debug)]
pub struct Suspend {
    tag: BackendTag,
    payload: HandlePayload,
    fence: Fence,
    args: SuspendArgs,
}

impl Suspend {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming what is wrong: no waitpoint, one named twice, a condition
    /// that cannot hold, text with NUL.
    pub fn new(
        tag: BackendTag,
        payload: HandlePayload,
        fence: Fence,
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
        let payload = payload.with_retry(None);
        Ok(Self { tag, payload, fence, args })
    }

    fn key(&self) -> &ExecutionKey {
        &self.fence.key
    }

    /// The queries. Of the waitpoints they read those made earlier, and after a refusal also the
    /// new ones, in case an id is taken.
    fn reads(&self, at: TimestampMs, refusals: u32) -> Vec<Query> {
        let premises: Vec<Premise<SuspendOutcome>> = self.fence.premises(at, OpenLease::Live);
        let mut rows = lookups(&premises);
        rows.push(suspension_row(self.key()));
        rows.extend(self.args.idempotency_key.as_ref().map(|key| repeat::row(self.key(), key)));
        let mut queries = vec![Query::Lookup(rows), Query::List(TokenKey::signing())];

        queries.extend(self.known_waitpoints(refusals).map(Query::List));
        queries
    }

    /// The list of the waitpoints that may exist already; `None` if there are none.
    fn known_waitpoints(&self, refusals: u32) -> Option<List> {
        let asked: Vec<Uuid> = self
            .args
            .waitpoints
            .iter()
            .filter_map(|binding| match binding {
                WaitpointBinding::Fresh { .. } if refusals == 0 => None,
                WaitpointBinding::Fresh { waitpoint_id, .. }
                | WaitpointBinding::UsePending { waitpoint_id } => Some(waitpoint_id.0),
            })
            .collect();
        (!asked.is_empty()).then(|| waitpoints(self.key(), asked))
    }
}

/// Waitpoints by id, whichever execution they belong to.
fn waitpoints(key: &ExecutionKey, ids: Vec<Uuid>) -> List {
    let count = i64::try_from(ids.len()).unwrap_or(i64::MAX);
    List {
        name: "waitpoints by id".into(),
        table: waitpoint_pending::REF,
        join: None,
        columns: waitpoint_pending::REF.columns.to_vec(),
        predicate: waitpoint_pending::partition_key
            .equals(key.partition)
            .and(waitpoint_pending::waitpoint_id.is_among(ids)),
        order: vec![(waitpoint_pending::waitpoint_id.column(), Ascending)],
        limit: Expr::int(count),
    }
}

impl Transition for Suspend {
    type Outcome = SuspendOutcome;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<SuspendOutcome>, EngineError> {
        let at = self.args.now;
        let Some(signing) = facts.list(&TokenKey::signing()) else {
            return Ok(Step::Read(self.reads(at, facts.refusals())));
        };

        let premises = self.fence.premises(at, OpenLease::Live);

        // A repeated call is answered before the fence is checked: the first one gave the lease
        // back.
        if let Some(row) = facts.row(repeat::REPEATED)
            && repeat::asked_by(self.tag, row, &self.payload)
        {
            return Ok(Step::Answer(repeat::outcome(self.tag, row)?));
        }

        if let Some(answer) = unmet(&premises, facts)? {
            return Ok(Step::Answer(answer));
        }
        let ended = self.ended_by_policy(facts.row(CORE))?;
        let this = ended.as_ref().unwrap_or(self);

        let signing = TokenKey::of_signing(signing, "suspend")?;
        let listed = this.known_waitpoints(facts.refusals());
        let listed = listed.and_then(|list| facts.list(&list)).unwrap_or_default();
        let doors = this.doors(&signing, listed)?;
        let carried = this.carried(facts.row(SUSPENSION), &doors)?;
        let details = this.details(&doors)?;

        if satisfied::satisfied(&this.args.resume_condition, &carried.by_key()) {
            return Ok(Step::Answer(SuspendOutcome::AlreadySatisfied { details }));
        }

        let handle = handle::mint(this.tag, HandleKind::Suspended, &this.payload);
        let guards = guards(premises, &[], facts)?;
        let plan = Plan { guards, ..Plan::new("suspend") };
        let plan = this.effects(plan, &doors, &carried, &handle)?;
        Ok(Step::Commit(plan, Then::Answer(SuspendOutcome::Suspended { details, handle })))
    }
}

impl Suspend {
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

    /// The waitpoints asked for, in their order, each with its key and token.
    fn doors(&self, signing: &TokenKey, stored: &[Row]) -> Result<Vec<Door>, EngineError> {
        let door = |binding: &WaitpointBinding| match binding {
            WaitpointBinding::Fresh { waitpoint_id, waitpoint_key } => {
                if of(waitpoint_id, stored).is_some() {
                    return Err(EngineError::Conflict(ConflictKind::WaitpointAlreadyExists));
                }
                let (execution, key) = (&self.payload.execution_id, waitpoint_key.clone());
                Ok(Door::signed(signing, execution, waitpoint_id.clone(), key))
            }
            WaitpointBinding::UsePending { waitpoint_id } => self.pending(waitpoint_id, stored),
        };
        self.args.waitpoints.iter().map(door).collect()
    }

    /// A waitpoint made earlier keeps the token that was handed out for it.
    fn pending(&self, id: &WaitpointId, stored: &[Row]) -> Result<Door, EngineError> {
        let Some(row) = of(id, stored) else {
            return Err(EngineError::NotFound { entity: "waitpoint" });
        };
        if row.read(waitpoint_pending::execution_id)? != self.key().uuid {
            return Err(input::invalid("waitpoint belongs to a different execution"));
        }

        let expires_at = row.read(waitpoint_pending::expires_at_ms)?;
        if expires_at.is_some_and(|expires_at| expires_at < self.args.now.0) {
            return Err(EngineError::State(StateKind::PendingWaitpointExpired));
        }

        match row.read(waitpoint_pending::state)? {
            WaitpointState::Pending => Door::stored(row),
            WaitpointState::Active | WaitpointState::Closed => {
                Err(EngineError::State(StateKind::WaitpointNotPending))
            }
        }
    }

    /// The signals that the previous suspension leaves to this one at the waitpoints that it kept:
    /// those that it did not use up, if its policy keeps them. A new waitpoint of the same key is
    /// another one.
    fn carried(&self, before: Option<&Row>, doors: &[Door]) -> Result<Collected, EngineError> {
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
            let here = doors.iter().any(|door| door.key == key && door.kept_by == Some(before.id));
            let matched = satisfied::counts(&condition, key, signal);
            here && if matched { !consumes } else { retains }
        }))
    }

    fn details(&self, doors: &[Door]) -> Result<SuspendOutcomeDetails, EngineError> {
        let suspension_id = self.args.suspension_id.clone();
        let (primary, extras) = doors.split_first().ok_or_else(without_waitpoint)?;
        let token = |door: &Door| WaitpointHmac::new(door.token.clone());
        let extras = extras.iter().map(|door| {
            AdditionalWaitpointBinding::new(door.id.clone(), door.key.clone(), token(door))
        });

        let (id, key, hmac) = (primary.id.clone(), primary.key.clone(), token(primary));
        Ok(SuspendOutcomeDetails::new(suspension_id, id, key, hmac)
            .with_additional_waitpoints(extras.collect()))
    }

    fn effects(
        &self,
        plan: Plan,
        doors: &[Door],
        carried: &Collected,
        handle: &Handle,
    ) -> Result<Plan, EngineError> {
        let (args, at) = (&self.args, self.args.now);
        let plan = plan.update(exec_core::REF, held_core(), self.core(doors)).update(
            attempt::REF,
            held_attempt(),
            let_go(),
        );

        let row = self.suspension(carried)?;
        let plan = plan.insert(suspension_current::REF, row, OnConflict::Update(renewed()));
        let plan = opened(plan, doors, args)?;
        let plan = plan.and([outbox::lease_ended(LeaseCause::Suspended, at)]);

        match &args.idempotency_key {
            None => Ok(plan),
            Some(key) => repeat::kept(plan, self.key(), key, &self.details(doors)?, handle, at),
        }
    }

    fn core(&self, doors: &[Door]) -> Vec<(ColumnRef, Assign)> {
        let reason = blocking(self.args.reason_code);
        let mut set = Status::suspended(reason).assignments(self.args.now);

        // The reason is data to the plan, not one of its cases.
        set.retain(|(column, _)| *column != exec_core::blocking_reason.column());
        set.push(exec_core::blocking_reason.set_chosen(Some(reason)));
        set.push(some_open());

        let primary = doors.first().map(|door| door.id.to_string()).unwrap_or_default();
        set.push(exec_core::raw_fields.merge(json!({
            "current_suspension_id": self.args.suspension_id.to_string(),
            "current_waitpoint_id": primary,
            "last_mutation_at": self.args.now.0.to_string(),
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
        ]);
        Ok(row)
    }
}

/// The row of a waitpoint among those that were read.
fn of<'a>(id: &WaitpointId, stored: &'a [Row]) -> Option<&'a Row> {
    let same = |row: &&Row| row.read(waitpoint_pending::waitpoint_id).is_ok_and(|own| own == id.0);
    stored.iter().find(same)
}

fn without_waitpoint() -> EngineError {
    input::invalid("suspend requires at least one waitpoint binding")
}

/// The changes that give the lease back: its epoch is no longer the current one.
fn let_go() -> Vec<(ColumnRef, Assign)> {
    let mut set = lease_ended(AttemptOutcome::AttemptInterrupted);
    set.push(attempt::lease_epoch.grow(1));
    set
}

/// The conflict clause of a suspension: it replaces the one before, but the signals are counted on.
fn renewed() -> Vec<(ColumnRef, OnTaken)> {
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
    ];

    let mut set: Vec<_> = taken.into_iter().map(|column| (column, OnTaken::Overwrite)).collect();
    set.push((suspension_current::version.column(), OnTaken::Add));
    set
}

/// The blocking reason that a suspension's reason stands for.
fn blocking(reason: SuspensionReasonCode) -> BlockingReason {
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
