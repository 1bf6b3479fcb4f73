//! A lease is taken: what every claim writes, and the handle it hands out.

use uuid::Uuid;

use crate::model::error::EngineError;
use crate::model::handle_codec::{HandlePayload, RetryFacts};
use crate::model::ids::{
    AttemptId, AttemptIndex, LaneId, LeaseEpoch, LeaseId, TimestampMs, WorkerId, WorkerInstanceId,
};
use crate::model::state::LeaseEventType;
use crate::plan::value::{ColumnType, Storable, Value};
use crate::plan::{Expr, Mutation, OnConflict, OnTaken, Path, Return};
use crate::rules::ctx::Ctx;
use crate::rules::execution::change;
use crate::rules::execution::failure::forgiven;
use crate::rules::execution::losses::Losses;
use crate::rules::input;
use crate::rules::key::{CORE, ExecutionKey, attempt_of_core, current_attempt};
use crate::rules::outbox::{self, Holder};
use crate::rules::status::Status;
use crate::schema::execution::{attempt, exec_core};
use crate::schema::{Col, ColumnRef};

/// A worker that takes leases, and the lane that it takes them from.
#[derive(Clone, Debug)]
pub struct Claimant {
    worker_id: WorkerId,
    worker_instance_id: WorkerInstanceId,
    lane_id: LaneId,
}

impl Claimant {
    /// Checks the names.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field: a lane that is no lane name, a worker
    /// name with NUL or of too many bytes, an instance without a name.
    pub fn new(
        worker_id: WorkerId,
        worker_instance_id: WorkerInstanceId,
        lane_id: LaneId,
    ) -> Result<Self, EngineError> {
        input::lane(&lane_id)?;
        input::name("worker_id", worker_id.as_str())?;
        input::name("worker_instance_id", worker_instance_id.as_str())?;
        if worker_instance_id.as_str().is_empty() {
            return Err(input::invalid("worker_instance_id: must not be empty"));
        }

        Ok(Self { worker_id, worker_instance_id, lane_id })
    }
}

/// The terms of a lease: the worker that takes it, and for how long.
#[derive(Clone, Debug)]
pub struct Terms {
    claimant: Claimant,
    ttl_ms: i64,
}

/// The lease that a plan takes, of one execution or of each that it picks.
#[derive(Clone, Debug)]
pub struct NewLease {
    /// The event that announces it.
    pub event: LeaseEventType,
    /// Its id.
    pub lease_id: Expr,
    /// The attempt that it covers.
    pub attempt: LeasedAttempt,
    /// The losses of the execution, where the lease is taken from a worker that was lost.
    pub losses: Option<Losses>,
    /// The limits that the caller sets with the lease.
    pub limits: Limits,
}

/// Limits that a lease brings with it; what is not given stays as it is stored.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// The longest run of this attempt, ms.
    pub attempt_timeout_ms: Option<i64>,
    /// The deadline of the execution, Unix ms.
    pub deadline_at_ms: Option<i64>,
}

/// The attempt that a lease covers.
#[derive(Clone, Debug)]
pub enum LeasedAttempt {
    /// It begins, under this id.
    Begins(Expr),
    /// It begins after one that was lost, and takes its place.
    Follows {
        /// Its id.
        id: Expr,
        /// Its index.
        index: i32,
        /// Its first epoch: the one after that of the lost attempt.
        epoch: i64,
    },
    /// It was interrupted, and keeps its id; this one is for a row that holds none.
    GoesOn {
        /// The id for a row that holds none.
        otherwise: Expr,
    },
}

impl NewLease {
    /// The leases of that many picked executions, of attempts that begin.
    pub fn of_each(count: usize, ctx: &mut Ctx<'_>) -> Self {
        let (mut lease_ids, mut attempt_ids) = (Vec::new(), Vec::new());
        for _ in 0..count {
            lease_ids.push(Value::Uuid(ctx.uuid()));
            attempt_ids.push(Value::Uuid(ctx.uuid()));
        }
        Self {
            event: LeaseEventType::Acquired,
            lease_id: Expr::each(ColumnType::Uuid, lease_ids),
            attempt: LeasedAttempt::Begins(Expr::each(ColumnType::Uuid, attempt_ids)),
            losses: None,
            limits: Limits::default(),
        }
    }
}

impl Terms {
    /// Checks the lifetime of the lease, ms, which the caller gave in that field.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field, for a lease without length.
    pub fn new(claimant: Claimant, field: &str, ttl_ms: u64) -> Result<Self, EngineError> {
        Ok(Self { claimant, ttl_ms: input::positive_ms(field, ttl_ms)? })
    }

    /// The lane.
    #[must_use]
    pub fn lane(&self) -> &LaneId {
        &self.claimant.lane_id
    }

    /// The expiry of a lease that is taken at that time.
    #[must_use]
    pub fn expiry(&self, at: TimestampMs) -> TimestampMs {
        TimestampMs(at.0.saturating_add(self.ttl_ms))
    }

    /// Leases the held execution's current attempt. Its epoch grows, or begins with 1.
    #[must_use]
    pub fn take(&self, lease: NewLease, at: TimestampMs) -> [Mutation; 3] {
        let NewLease { event, lease_id, attempt, losses, limits } = lease;
        let (attempt_id, begins, moved) = match attempt {
            LeasedAttempt::Begins(id) => (id, true, None),
            LeasedAttempt::Follows { id, index, epoch } => (id, true, Some((index, epoch))),
            LeasedAttempt::GoesOn { otherwise } => (otherwise, false, None),
        };

        let core = change::enters(Status::active(), at)
            .set(exec_core::started_at_ms.keep_or(Some(at.0)))
            .set_all(begins.then(|| exec_core::total_attempt_count.grow(1)))
            .set(exec_core::granted_until_ms.clear())
            .set(exec_core::eligible_at_ms.clear())
            .set_all(losses.map(|losses| losses.one_more()))
            .set_all(moved.map(|(index, _)| exec_core::attempt_index.set(index)))
            .set_all(limits.deadline_at_ms.map(|at| exec_core::deadline_at_ms.set(Some(at))));

        let timeout = match limits.attempt_timeout_ms {
            Some(limit) => Some(at.0.saturating_add(limit)).into_expr(),
            None => Expr::int(at.0).plus(exec_core::attempt_timeout_ms.of(CORE)),
        };
        let own = |(index, _): (i32, i64)| attempt_of_core(index.into_expr());
        let mut row = moved.map_or_else(current_attempt, own);
        row.extend([
            attempt::worker_id.with(Some(self.claimant.worker_id.as_str().to_owned())),
            attempt::worker_instance_id
                .with(Some(self.claimant.worker_instance_id.as_str().to_owned())),
            // The epoch of a first lease; every later one grows the stored epoch instead.
            attempt::lease_epoch.with(moved.map_or(1, |(_, epoch)| epoch)),
            attempt::lease_expires_at_ms.with(Some(self.expiry(at).0)),
            attempt::started_at_ms.with(Some(at.0)),
            attempt::lease_id.with_expr(lease_id.clone()),
            attempt::attempt_id.with_expr(attempt_id),
            attempt::timeout_at_ms.with_expr(timeout),
        ]);
        let on_conflict = OnConflict::Update(renewed_lease(begins));

        let holder = Holder {
            worker_id: self.claimant.worker_id.as_str(),
            worker_instance_id: self.claimant.worker_instance_id.as_str(),
        };
        [
            core.update(),
            Mutation::Insert { table: attempt::REF, row, on_conflict },
            outbox::lease_taken(event, lease_id, holder, at),
        ]
    }

    /// The payload of the handle of a lease that was taken.
    #[must_use]
    pub fn payload(&self, key: &ExecutionKey, lease: TakenLease) -> HandlePayload {
        HandlePayload::new(
            key.id(),
            AttemptIndex(lease.attempt_index.unsigned_abs()),
            AttemptId::from_uuid(lease.attempt_id),
            LeaseId::from_uuid(lease.lease_id),
            LeaseEpoch(lease.epoch.unsigned_abs()),
            self.ttl_ms.unsigned_abs(),
            self.claimant.lane_id.clone(),
            self.claimant.worker_instance_id.clone(),
        )
    }
}

/// A lease that was taken, as its rows hold it.
#[derive(Clone, Copy, Debug)]
pub struct TakenLease {
    /// The index of the attempt.
    pub attempt_index: i32,
    /// The id of the attempt.
    pub attempt_id: Uuid,
    /// The fencing number.
    pub epoch: i64,
    /// The id of the lease.
    pub lease_id: Uuid,
}

/// The conflict clause of a lease: an attempt that is there already takes everything from the new
/// lease, except that its epoch goes on, and its id where it does not begin.
fn renewed_lease(begins: bool) -> Vec<(ColumnRef, OnTaken)> {
    let mut settle = vec![
        (attempt::worker_id.column(), OnTaken::Overwrite),
        (attempt::worker_instance_id.column(), OnTaken::Overwrite),
        (attempt::lease_epoch.column(), OnTaken::Add),
        (attempt::lease_expires_at_ms.column(), OnTaken::Overwrite),
        (attempt::started_at_ms.column(), OnTaken::Overwrite),
        (attempt::lease_id.column(), OnTaken::Overwrite),
    ];
    settle.extend(begins.then(|| (attempt::attempt_id.column(), OnTaken::Overwrite)));
    settle.extend([
        (attempt::timeout_at_ms.column(), OnTaken::Overwrite),
        (attempt::terminal_at_ms.column(), OnTaken::Clear),
        (attempt::outcome.column(), OnTaken::Clear),
    ]);
    settle.extend(forgiven());
    settle
}

/// The values that [`Terms::payload_of`] reads of each picked execution.
pub(crate) fn lease_returns() -> Vec<Return> {
    let mut returns = vec![
        Return::Held(CORE.into(), Path::column(exec_core::partition_key.column())),
        Return::Held(CORE.into(), Path::column(exec_core::execution_id.column())),
        Return::Held(CORE.into(), Path::column(exec_core::attempt_index.column())),
        Return::Written(attempt::lease_epoch.column()),
        Return::Written(attempt::lease_id.column()),
        Return::Written(attempt::attempt_id.column()),
    ];
    returns.extend(retry_returns());
    returns
}

impl Terms {
    /// The payload of the handle of a picked execution, and its key, from the values of
    /// [`lease_returns`].
    ///
    /// # Errors
    /// `Validation(Corruption)` for a returned value of another type.
    pub(crate) fn payload_of(
        &self,
        row: &[Value],
    ) -> Result<(ExecutionKey, HandlePayload), EngineError> {
        let returned = Returned(row);
        let key = ExecutionKey {
            partition: returned.read(0, exec_core::partition_key)?,
            uuid: returned.read(1, exec_core::execution_id)?,
        };
        let lease = TakenLease {
            attempt_index: returned.read(2, exec_core::attempt_index)?,
            epoch: returned.read(3, attempt::lease_epoch)?,
            lease_id: returned.read(4, attempt::lease_id)?.unwrap_or_default(),
            attempt_id: returned.read(5, attempt::attempt_id)?.unwrap_or_default(),
        };

        let facts = retry_facts(row.get(6), row.get(7));
        Ok((key, self.payload(&key, lease).with_retry(facts)))
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
