//! Reclaiming: another worker takes an execution over after its lease has lapsed or was revoked.
//!
//! A grant admits the worker. Spending it ends the lost attempt and begins the next one. Both look
//! at the same lease and the same cap; a lapse that a scanner has noticed already is not counted
//! again.

use uuid::Uuid;

use crate::contracts::{
    IssueReclaimGrantArgs, IssueReclaimGrantOutcome, ReclaimExecutionArgs, ReclaimExecutionOutcome,
    ReclaimGrant,
};
use crate::model::error::EngineError;
use crate::model::handle::{BackendTag, HandleKind};
use crate::model::ids::{ExecutionId, LaneId, TimestampMs};
use crate::model::state::{
    AttemptOutcome, ClosedSet as _, GrantKind, LeaseCause, LeaseEventType, LifecyclePhase,
};
use crate::plan::facts::{Facts, Row};
use crate::plan::value::{Storable, Value};
use crate::plan::{Assign, List, Return};
use crate::rules::budget::room::Room;
use crate::rules::changes::Changes;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Then, Verdict};
use crate::rules::execution::change;
use crate::rules::execution::end::End;
use crate::rules::execution::fail::{Fail, execution_ended};
use crate::rules::execution::failure::Failure;
use crate::rules::execution::leasing::{Lease, of_lane};
use crate::rules::execution::losses::Losses;
use crate::rules::execution::terms::{
    Claimant, LeasedAttempt, NewLease, Returned, TakenLease, Terms, retry_facts, retry_returns,
};
use crate::rules::grant::issue::capable;
use crate::rules::grant::key::{GrantName, partition};
use crate::rules::grant::lost::LostLease;
use crate::rules::grant::row::{Grant, Grantee};
use crate::rules::key::{ATTEMPT, ExecutionKey};
use crate::rules::keystore::TokenKey;
use crate::rules::limit::held::Holdings;
use crate::rules::outbox::{self, Reason};
use crate::rules::premise::{Premise, existing};
use crate::rules::status::lease_ended;
use crate::rules::{handle, input};
use crate::schema::ColumnRef;
use crate::schema::execution::{attempt, exec_core};

/// The name of the list of grants to reclaim.
const GRANTS: &str = "reclaim grants of an execution";

/// Admits a worker to an execution with a lease that has lapsed or was revoked.
#[derive(Clone, Debug)]
pub struct IssueReclaimGrant {
    tag: BackendTag,
    id: ExecutionId,
    key: ExecutionKey,
    lane: LaneId,
    grantee: Grantee,
    at: TimestampMs,
}

impl IssueReclaimGrant {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field.
    pub fn new(tag: BackendTag, args: IssueReclaimGrantArgs) -> Result<Self, EngineError> {
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
        let (lane, grantee) = (args.lane_id, grantee.checked()?);
        Ok(Self { tag, id: args.execution_id, key, lane, grantee, at: args.now })
    }

    /// The same, with that room.
    #[must_use]
    pub fn with_room(self, room: Room) -> Self {
        Self { grantee: self.grantee.with_room(room), ..self }
    }
}

impl Decision for IssueReclaimGrant {
    type Outcome = IssueReclaimGrantOutcome;

    const NAME: &'static str = "issue_reclaim_grant";

    fn at(&self, _: &Ctx<'_>) -> TimestampMs {
        self.at
    }

    fn premises(&self, _: TimestampMs) -> Vec<Premise<Self::Outcome>> {
        let conditions = vec![of_lane(&self.lane), capable(&self.grantee)];
        vec![Premise::execution_as_read(&self.key, conditions), Premise::current_attempt()]
    }

    fn lists(&self, _: u32) -> Vec<List> {
        vec![TokenKey::signing()]
    }

    fn decide(&self, facts: &Facts, at: TimestampMs, _: &mut Ctx<'_>) -> Decided<Self::Outcome> {
        let core = existing(facts)?;
        let lost = LostLease::read(core, facts.row(ATTEMPT), at)?;
        let losses = Losses::of_reclaim(core, None, lost.is_some_and(LostLease::is_counted))?;
        if losses.fatal().is_some() {
            return Ok(Verdict::Answer(IssueReclaimGrantOutcome::ReclaimCapExceeded {
                execution_id: self.id.clone(),
                reclaim_count: losses.before(),
            }));
        }
        let Some(lost) = lost else {
            return Ok(Verdict::Answer(IssueReclaimGrantOutcome::NotReclaimable {
                execution_id: self.id.clone(),
                detail: not_reclaimable(core)?,
            }));
        };

        let signing = TokenKey::signing_if_any(facts)?;
        let (kind, until) = (GrantKind::Reclaim, self.grantee.until(at));
        let name =
            GrantName::new(self.tag, kind, &self.key, &self.grantee, until, signing.as_ref());
        let changes = Changes::of([self.grantee.granted(kind, &self.key, name.id, at)])
            .holding(lost.held(at));

        let grant = ReclaimGrant::new(
            self.id.clone(),
            partition(&self.key),
            name.text,
            until.0.unsigned_abs(),
            self.lane.clone(),
        );
        Verdict::change(changes, IssueReclaimGrantOutcome::Granted(grant))
    }
}

/// The states of an execution with a lease that was not lost.
fn not_reclaimable(core: &Row) -> Result<String, EngineError> {
    Ok(format!(
        "execution not reclaimable: lifecycle_phase={}, ownership_state={}",
        core.read(exec_core::lifecycle_phase)?.as_str(),
        core.read(exec_core::ownership_state)?.as_str()
    ))
}

/// Spends a grant to reclaim: the lost attempt ends, and the worker leases the next one. One loss
/// more than the cap ends the execution as failed.
#[derive(Clone, Debug)]
pub struct Reclaim {
    tag: BackendTag,
    id: ExecutionId,
    lease: Lease,
    worker: String,
    capability_hash: Option<String>,
    attempt_id: Uuid,
    most: Option<u32>,
}

impl Reclaim {
    /// Checks the arguments. The numbers and the instance of the lost attempt are those that are
    /// stored, whatever the caller believes.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field; also for a policy of the attempt, because the
    /// policy of the execution counts for all attempts.
    pub fn new(tag: BackendTag, args: ReclaimExecutionArgs) -> Result<Self, EngineError> {
        Fail::no_policy_of_an_attempt("attempt_policy_json", &args.attempt_policy_json)?;
        let worker = args.worker_id.as_str().to_owned();
        let claimant = Claimant::new(args.worker_id, args.worker_instance_id, args.lane_id)?;
        let terms = Terms::new(claimant, "lease_ttl_ms", args.lease_ttl_ms)?;

        let key = ExecutionKey::of(&args.execution_id)?;
        Ok(Self {
            tag,
            id: args.execution_id,
            lease: Lease { key, terms, lease_id: args.lease_id.0, holdings: Holdings::default() },
            worker,
            capability_hash: args.capability_hash,
            attempt_id: args.attempt_id.0,
            most: args.max_reclaim_count,
        })
    }

    /// The same, which takes these parts of the limits of its keys.
    #[must_use]
    pub fn with_holdings(mut self, holdings: Holdings) -> Self {
        self.lease.holdings = holdings;
        self
    }

    /// The grant to spend; `None` if there is none, or only one that has lapsed.
    fn grant(&self, facts: &Facts, at: TimestampMs) -> Result<Option<Grant>, EngineError> {
        let Some(row) = facts.list_named(GRANTS).and_then(<[Row]>::first) else {
            return Ok(None);
        };
        let grant = Grant::read(GrantKind::Reclaim, &self.lease.key, row)?;
        if grant.worker_id != self.worker {
            let (granted, given) = (&grant.worker_id, &self.worker);
            return Err(input::invalid(format!(
                "reclaim_execution: grant.worker_id={granted} != args.worker_id={given}"
            )));
        }

        match (&grant.capability_hash, &self.capability_hash) {
            (Some(granted), Some(given)) if granted != given => {
                return Err(input::invalid(format!(
                    "reclaim_execution: grant.capability_hash={granted} != \
                     args.capability_hash={given}"
                )));
            }
            (Some(_) | None, Some(_) | None) => {}
        }
        Ok(Some(grant).filter(|grant| !grant.has_lapsed(at)))
    }

    fn not_found(&self) -> ReclaimExecutionOutcome {
        ReclaimExecutionOutcome::GrantNotFound { execution_id: self.id.clone() }
    }

    fn not_reclaimable(&self, core: &Row) -> Result<ReclaimExecutionOutcome, EngineError> {
        let phase = core.read(exec_core::lifecycle_phase)?;
        let detail = match phase {
            LifecyclePhase::Terminal | LifecyclePhase::Cancelled => {
                format!("execution terminal: lifecycle_phase={}", phase.as_str())
            }
            LifecyclePhase::Submitted
            | LifecyclePhase::Runnable
            | LifecyclePhase::Active
            | LifecyclePhase::Suspended => not_reclaimable(core)?,
        };
        let execution_id = self.id.clone();
        Ok(ReclaimExecutionOutcome::NotReclaimable { execution_id, detail })
    }

    /// The changes that begin the attempt after the lost one.
    fn taken(
        &self,
        losses: Losses,
        lost: LostLease,
        at: TimestampMs,
    ) -> Result<(Changes, i32), EngineError> {
        let index = lost.attempt_index.checked_add(1);
        let index =
            index.ok_or_else(|| input::invalid("attempt_index: cannot grow any further"))?;
        let id = Some(self.attempt_id).into_expr();
        let attempt = LeasedAttempt::Follows { id, index, epoch: lost.next_epoch() };
        let lease = self.lease.of(LeaseEventType::Reclaimed, attempt);

        // The values that are returned are those of the first attempt that is written.
        let taken = self.lease.terms.take(NewLease { losses: Some(losses), ..lease }, at);
        let changes = Changes::of(taken)
            .and(lost.has_attempt.then(|| change::attempt(interrupted(at))))
            .returning([Return::Written(attempt::lease_epoch.column())])
            .returning(retry_returns());
        Ok((changes, index))
    }

    fn handed_out(
        &self,
        index: i32,
        rows: &[Vec<Value>],
    ) -> Result<ReclaimExecutionOutcome, EngineError> {
        let row = rows.first().map_or(&[][..], Vec::as_slice);
        let lease = TakenLease {
            attempt_index: index,
            attempt_id: self.attempt_id,
            epoch: Returned(row).read(0, attempt::lease_epoch)?,
            lease_id: self.lease.lease_id,
        };
        let payload = self.lease.terms.payload(&self.lease.key, lease);
        let payload = payload
            .with_retry(retry_facts(row.get(1), row.get(2)))
            .with_reservations(!self.lease.holdings.is_empty());
        let handle = handle::mint(self.tag, HandleKind::Reclaimed, &payload);
        Ok(ReclaimExecutionOutcome::Claimed(handle))
    }
}

/// The end of an attempt that lost its worker.
const LOST: End = End { attempt: AttemptOutcome::InterruptedReclaimed, ..End::FAILED };

/// The columns of an attempt that lost its worker.
fn interrupted(at: TimestampMs) -> Vec<(ColumnRef, Assign)> {
    let mut set = lease_ended(LOST.attempt);
    set.push(attempt::worker_id.clear());
    set.push(attempt::terminal_at_ms.keep_or(Some(at.0)));
    set
}

/// The changes that end an execution after its worker was lost once too often.
fn given_up(failure: &Failure, losses: Losses, lost: LostLease, at: TimestampMs) -> Changes {
    let (attempt, announced) = if lost.has_attempt {
        let columns = interrupted(at).into_iter().chain(failure.of_attempt()).collect();
        (change::attempt(columns), outbox::lease_ended(LeaseCause::Failed, at))
    } else {
        let recorded = LOST.record_failed_attempt(failure, at);
        (recorded, outbox::unnamed_lease_ended(LeaseCause::Failed, at))
    };

    let ended = Changes::of([
        execution_ended(failure, LOST, Some(losses.one_more()), at),
        attempt,
        outbox::completed(LOST.event, Reason::Failure(failure), at),
    ]);
    // A lease that a scanner has ended has been announced.
    ended.and((!lost.is_counted()).then_some(announced))
}

impl Decision for Reclaim {
    type Outcome = ReclaimExecutionOutcome;

    const NAME: &'static str = "reclaim_execution";

    fn premises(&self, at: TimestampMs) -> Vec<Premise<Self::Outcome>> {
        // A call without a grant learns nothing about the execution.
        let reclaim = self.clone();
        let absent = Box::new(move |facts: &Facts| match reclaim.grant(facts, at)? {
            Some(_) => Err(EngineError::NotFound { entity: "execution" }),
            None => Ok(reclaim.not_found()),
        });
        let core = Premise::execution_as_read(&self.lease.key, Vec::new()).or_if_absent(absent);
        vec![core, Premise::current_attempt()]
    }

    fn lists(&self, _: u32) -> Vec<List> {
        vec![Grant::list(GRANTS, GrantKind::Reclaim, &self.lease.key)]
    }

    fn decide(&self, facts: &Facts, at: TimestampMs, _: &mut Ctx<'_>) -> Decided<Self::Outcome> {
        let Some(grant) = self.grant(facts, at)? else {
            return Ok(Verdict::Answer(self.not_found()));
        };
        let core = existing(facts)?;
        let Some(lost) = LostLease::read(core, facts.row(ATTEMPT), at)? else {
            return Ok(Verdict::Answer(self.not_reclaimable(core)?));
        };

        let losses = Losses::of_reclaim(core, self.most, lost.is_counted())?;
        let spent = |changes: Changes| {
            let held = lost.held(at).into_iter().chain([grant.held(at)]);
            changes.and([grant.spent()]).holding(held)
        };

        if let Some(failure) = losses.fatal() {
            let outcome = ReclaimExecutionOutcome::ReclaimCapExceeded {
                execution_id: self.id.clone(),
                reclaim_count: losses.after(),
            };
            let ended = spent(given_up(&failure, losses, lost, at));
            return Verdict::change(ended.closing(facts)?, outcome);
        }

        let (changes, index) = self.taken(losses, lost, at)?;
        let reclaim = self.clone();
        let read = move |rows: Vec<Vec<Value>>| reclaim.handed_out(index, &rows);
        let changes = spent(changes).closing_wait(core)?;
        let changes = self.lease.holding(changes, facts, at)?;
        Ok(Verdict::Change(changes, Then::FromRows(Box::new(read))))
    }
}
