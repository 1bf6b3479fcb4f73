//! Claiming: the one decision where the database picks the row.
//!
//! The plan says which rows qualify and in which order; the database locks the best ones that no
//! other claim holds, across all partitions, and leases each in the same step.

use uuid::Uuid;

use crate::contracts::{CLAIM_MAX, CapabilitySet, ClaimPolicy};
use crate::model::error::EngineError;
use crate::model::handle::{BackendTag, Handle, HandleKind};
use crate::model::handle_codec::{HandlePayload, RetryFacts};
use crate::model::ids::{
    AttemptId, AttemptIndex, LaneId, LeaseEpoch, LeaseId, TimestampMs, WorkerInstanceId,
};
use crate::model::state::LeaseEventType;
use crate::plan::facts::Facts;
use crate::plan::value::{ColumnType, Storable, Value};
use crate::plan::{
    Expr, Mutation, OnConflict, OnTaken, Pairing, Path, Plan, Predicate, Return, Selection,
};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Then, Transition};
use crate::rules::execution::failure::forgiven;
use crate::rules::handle;
use crate::rules::input;
use crate::rules::key::{CORE, ExecutionKey, current_attempt, held_core};
use crate::rules::outbox::{self, Holder};
use crate::rules::status::Status;
use crate::schema::Direction::{Ascending, Descending};
use crate::schema::execution::{attempt, claimable, delayed, exec_core};
use crate::schema::{Col, ColumnRef};

/// The precision of the clock by which a claim passes over reserved executions, ms. Claims of one
/// moment select alike, and so can share a statement; a reservation ends at most this much later.
const MOMENT_MS: i64 = 10;

/// Claims up to `limit` executions of a lane for one worker, best first: by priority, then the
/// longest claimable, then the oldest, then by id.
#[derive(Clone, Debug)]
pub struct Claim {
    tag: BackendTag,
    lane: LaneId,
    capabilities: Vec<String>,
    policy: ClaimPolicy,
    lease_ttl_ms: i64,
    limit: u32,
    takes: Takes,
}

/// The executions that a claim looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    /// Those that wait for a worker.
    Waiting,
    /// Those that waited for a time that has come, and that no scanner has promoted yet.
    Due,
}

impl Claim {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field: a lane that is no lane name, a lease without
    /// length, a limit of 0 or above [`CLAIM_MAX`], text with NUL, a worker instance without a
    /// name.
    pub fn new(
        tag: BackendTag,
        lane: &LaneId,
        capabilities: &CapabilitySet,
        policy: ClaimPolicy,
        limit: u32,
    ) -> Result<Self, EngineError> {
        input::lane(lane)?;
        input::name("worker_id", policy.worker_id.as_str())?;
        input::name("worker_instance_id", policy.worker_instance_id.as_str())?;
        if policy.worker_instance_id.as_str().is_empty() {
            return Err(input::invalid("worker_instance_id: must not be empty"));
        }

        capabilities.tokens.iter().try_for_each(|token| input::text("capabilities", token))?;
        let lease_ttl_ms = input::positive_ms("lease_ttl_ms", u64::from(policy.lease_ttl_ms))?;
        if limit == 0 || limit > CLAIM_MAX {
            return Err(input::invalid(format!("limit: {limit} is not in 1..={CLAIM_MAX}")));
        }

        let (lane, capabilities) = (lane.clone(), capabilities.tokens.clone());
        Ok(Self { tag, lane, capabilities, policy, lease_ttl_ms, limit, takes: Takes::Waiting })
    }

    /// The claim that follows one that took `taken` executions: of those that are due, so that an
    /// idle worker need not wait for a scanner. `None` where the claim got all that it asked for.
    #[must_use]
    pub fn of_what_is_due(&self, taken: usize) -> Option<Self> {
        let taken = u32::try_from(taken).unwrap_or(u32::MAX);
        let limit = self.limit.saturating_sub(taken);
        (0 < limit).then(|| Self { limit, takes: Takes::Due, ..self.clone() })
    }

    /// The executions that this worker may claim now: the eligibility rule.
    #[must_use]
    pub fn eligible(&self, now: TimestampMs) -> Predicate {
        let open = match self.takes {
            Takes::Waiting => claimable(),
            Takes::Due => delayed().and(exec_core::eligible_at_ms.at_most(Some(now.0))),
        };

        let moment = now.0 - now.0.rem_euclid(MOMENT_MS);
        let ungranted = exec_core::granted_until_ms
            .is_null()
            .or(exec_core::granted_until_ms.at_most(Some(moment)));

        exec_core::lane_id
            .equals(self.lane.as_str().to_owned())
            .and(open)
            .and(ungranted)
            .and(sufficient(&self.capabilities))
    }

    fn selection(&self, now: TimestampMs) -> Selection {
        Selection {
            row: CORE.into(),
            table: exec_core::REF,
            predicate: self.eligible(now),
            order: match self.takes {
                Takes::Waiting => vec![
                    (exec_core::priority.column(), Descending),
                    (exec_core::claimable_since_ms.column(), Ascending),
                    (exec_core::created_at_ms.column(), Ascending),
                    (exec_core::execution_id.column(), Ascending),
                ],
                Takes::Due => vec![
                    (exec_core::eligible_at_ms.column(), Ascending),
                    (exec_core::execution_id.column(), Ascending),
                ],
            },
            pairing: Pairing::UpTo(Expr::int(i64::from(self.limit))),
        }
    }

    fn plan(&self, now: TimestampMs, leases: &[NewLease]) -> Plan {
        let lease_ids = leases.iter().map(|lease| Value::Uuid(lease.lease_id)).collect();
        let attempt_ids = leases.iter().map(|lease| Value::Uuid(lease.attempt_id)).collect();
        let lease_id = Expr::each(ColumnType::Uuid, lease_ids);

        let mut plan = Plan::new(match self.takes {
            Takes::Waiting => "claim",
            Takes::Due => "claim_due",
        });
        plan.selection = Some(self.selection(now));

        let mut core = Status::active().assignments(now);
        core.push(exec_core::started_at_ms.keep_or(Some(now.0)));
        core.push(exec_core::total_attempt_count.grow(1));
        core.push(exec_core::granted_until_ms.clear());
        core.push(exec_core::eligible_at_ms.clear());
        plan = plan.update(exec_core::REF, held_core(), core);

        let timeout = Expr::int(now.0).plus(exec_core::attempt_timeout_ms.of(CORE));
        let mut row = current_attempt();
        row.extend([
            attempt::worker_id.with(Some(self.policy.worker_id.as_str().to_owned())),
            attempt::worker_instance_id
                .with(Some(self.policy.worker_instance_id.as_str().to_owned())),
            // The epoch of a first lease; every later one grows the stored epoch instead.
            attempt::lease_epoch.with(1),
            attempt::lease_expires_at_ms.with(Some(now.0.saturating_add(self.lease_ttl_ms))),
            attempt::started_at_ms.with(Some(now.0)),
            attempt::lease_id.with_expr(lease_id.clone()),
            attempt::attempt_id.with_expr(Expr::each(ColumnType::Uuid, attempt_ids)),
            attempt::timeout_at_ms.with_expr(timeout),
        ]);
        plan.mutations.push(Mutation::Insert {
            table: attempt::REF,
            row,
            on_conflict: OnConflict::Update(renewed_lease()),
        });

        let holder = Holder {
            worker_id: self.policy.worker_id.as_str(),
            worker_instance_id: self.policy.worker_instance_id.as_str(),
        };
        plan = outbox::lease_taken(plan, LeaseEventType::Acquired, lease_id, holder, now);

        plan.returns = vec![
            Return::Held(CORE.into(), Path::column(exec_core::partition_key.column())),
            Return::Held(CORE.into(), Path::column(exec_core::execution_id.column())),
            Return::Held(CORE.into(), Path::column(exec_core::attempt_index.column())),
            Return::Written(attempt::lease_epoch.column()),
            Return::Written(attempt::lease_id.column()),
            Return::Written(attempt::attempt_id.column()),
        ];
        plan.returns.extend(retry_returns());
        plan
    }
}

/// These capabilities are all that is required. Without any, only what requires none is left, and
/// the database need not look which requirements there are.
#[must_use]
pub fn sufficient(capabilities: &[String]) -> Predicate {
    if capabilities.is_empty() {
        exec_core::required_capabilities.is_empty()
    } else {
        exec_core::required_capabilities.covered_by(capabilities.to_vec())
    }
}

/// The ids of a lease about to be taken.
#[derive(Clone, Copy, Debug)]
struct NewLease {
    lease_id: Uuid,
    attempt_id: Uuid,
}

impl Transition for Claim {
    /// Best first; fewer than asked for when there is no more work.
    type Outcome = Vec<Handle>;

    fn step(&self, _: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<Vec<Handle>>, EngineError> {
        let mut leases = Vec::new();
        for _ in 0..self.limit {
            leases.push(NewLease { lease_id: ctx.uuid(), attempt_id: ctx.uuid() });
        }

        let plan = self.plan(ctx.now, &leases);
        let claim = self.clone();
        let read = move |rows: Vec<Vec<Value>>| {
            rows.iter().map(|row| claim.claimed(row)).collect::<Result<Vec<_>, _>>()
        };
        Ok(Step::Commit(plan, Then::FromRows(Box::new(read))))
    }
}

impl Claim {
    fn claimed(&self, row: &[Value]) -> Result<Handle, EngineError> {
        let returned = Returned(row);
        let key = ExecutionKey {
            partition: returned.read(0, exec_core::partition_key)?,
            uuid: returned.read(1, exec_core::execution_id)?,
        };

        let attempt_index = returned.read(2, exec_core::attempt_index)?;
        let epoch = returned.read(3, attempt::lease_epoch)?;
        let lease_id = returned.read(4, attempt::lease_id)?.unwrap_or_default();
        let attempt_id = returned.read(5, attempt::attempt_id)?.unwrap_or_default();

        let payload = HandlePayload::new(
            key.id(),
            AttemptIndex(attempt_index.unsigned_abs()),
            AttemptId::from_uuid(attempt_id),
            LeaseId::from_uuid(lease_id),
            LeaseEpoch(epoch.unsigned_abs()),
            u64::from(self.policy.lease_ttl_ms),
            self.lane.clone(),
            WorkerInstanceId::new(self.policy.worker_instance_id.as_str()),
        );
        let payload = payload.with_retry(retry_facts(row.get(6), row.get(7)));
        Ok(handle::mint(self.tag, HandleKind::Fresh, &payload))
    }
}

/// The values of the held execution that its handle carries, so that a failure need not read them.
pub(crate) fn retry_returns() -> [Return; 2] {
    [
        Return::Held(CORE.into(), exec_core::policy.text_at(&["retry_policy"])),
        Return::Held(CORE.into(), exec_core::raw_fields.text_at(&["retry_count"])),
    ]
}

/// The facts in the values of [`retry_returns`]. `None` for a count that is no number: the failure
/// then reads it and reports the fault.
pub(crate) fn retry_facts(policy: Option<&Value>, count: Option<&Value>) -> Option<RetryFacts> {
    let retries = text(count).map_or(Ok(0), str::parse).ok()?;
    RetryFacts::new(text(policy), retries)
}

fn text(value: Option<&Value>) -> Option<&str> {
    match value {
        Some(Value::Text(text)) => Some(text),
        Some(
            Value::Null
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Float(_)
            | Value::Bytes(_)
            | Value::Uuid(_)
            | Value::Json(_)
            | Value::TextList(_),
        )
        | None => None,
    }
}

/// The values that an applied plan reported of one item, by position.
pub(crate) struct Returned<'a>(pub(crate) &'a [Value]);

impl Returned<'_> {
    pub(crate) fn read<T: Storable>(&self, index: usize, column: Col<T>) -> Result<T, EngineError> {
        let value = self.0.get(index).unwrap_or(&Value::Null).clone();
        crate::plan::facts::Row::new(vec![(column.column(), value)]).read(column)
    }
}

/// The conflict clause of a lease: an attempt that is there already takes everything from the new
/// lease, except that its epoch goes on.
#[must_use]
pub fn renewed_lease() -> Vec<(ColumnRef, OnTaken)> {
    let mut settle = vec![
        (attempt::worker_id.column(), OnTaken::Overwrite),
        (attempt::worker_instance_id.column(), OnTaken::Overwrite),
        (attempt::lease_epoch.column(), OnTaken::Add),
        (attempt::lease_expires_at_ms.column(), OnTaken::Overwrite),
        (attempt::started_at_ms.column(), OnTaken::Overwrite),
        (attempt::lease_id.column(), OnTaken::Overwrite),
        (attempt::attempt_id.column(), OnTaken::Overwrite),
        (attempt::timeout_at_ms.column(), OnTaken::Overwrite),
        (attempt::terminal_at_ms.column(), OnTaken::Clear),
        (attempt::outcome.column(), OnTaken::Clear),
    ];
    settle.extend(forgiven());
    settle
}
