//! One operation of a history, and what it comes to on one backend in words that hold for all.
//!
//! Ids of leases and attempts are drawn by each backend for itself. An operation therefore names a
//! lease as [`Held`], and an outcome names it the same way.

use std::collections::{HashMap, HashSet};
use std::fmt;

use ff_core::EngineError;
use ff_core::backend::{
    CapabilitySet, ClaimPolicy, FailureClass, FailureReason, Frame, FrameKind, Handle, StreamMode,
};
use ff_core::contracts::{
    CancelExecutionArgs, CompleteExecutionArgs, CreateExecutionArgs, FailExecutionArgs, NewStep,
    RenewLeaseArgs, SuspendArgs,
};
use ff_core::engine_backend::{ExpirePhase, Scan};
use ff_core::engine_error::ContentionKind;
use ff_core::handle_codec::HandlePayload;
use ff_core::plan::value::Value;
use ff_core::types::{
    AttemptId, AttemptIndex, CancelSource, ExecutionId, LaneId, LeaseEpoch, LeaseFence, LeaseId,
    TimestampMs, WorkerId, WorkerInstanceId,
};
use serde_json::Value as Json;
use uuid::Uuid;

use super::drawn::Drawn;
use super::fleet::Fleet;
use super::grants::Granting;
use super::money::Money;
use super::operator::Order;
use super::retention::Retention;
use super::schedules::Cron;
use super::suspension::Sent;
use crate::backends::Bench;
use crate::bench::{fence, partition, payload_of};
use crate::plain::{Cells, text};

/// A lease by what is the same on every backend.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Held {
    pub(super) execution: usize,
    pub(super) attempt: u32,
    pub(super) epoch: u64,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}@{}", self.execution, self.attempt, self.epoch)
    }
}

/// How a typed operation proves that it holds the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    Right,
    Epoch(i64),
    Lease(Uuid),
    Attempt(Uuid),
}

/// A worker's name, lease and capabilities.
pub(super) type Worker = (&'static str, u32, &'static [&'static str]);

/// What is done. Executions are numbers into [`Side::ids`].
#[derive(Clone, Debug)]
pub(super) enum Operation {
    Create(Box<CreateExecutionArgs>),
    Claim(LaneId, Worker),
    ClaimMany(LaneId, Worker, u32),
    Renew(Held),
    Progress(Held, Option<u8>, Option<String>),
    Append(Held, StreamMode, &'static str),
    Step(Held, NewStep),
    Suspend(Held, Box<SuspendArgs>),
    Signal(usize, Box<Sent>),
    Resume(usize, u64),
    Granting(Box<Granting>),
    Order(Box<Order>),
    Fleet(Fleet),
    Money(Box<Money>),
    Cron(Cron),
    Retention(Retention),
    Complete(Held, Option<Vec<u8>>),
    Fail(Held, FailureClass, String),
    Delay(Held, TimestampMs),
    Cancel(Held, String),
    TypedComplete(Held, Proof, Option<Vec<u8>>, TimestampMs),
    TypedFail(Held, Proof, &'static str, String),
    TypedRenew(Held, Proof, u64),
    CompleteUnfenced(usize, CancelSource, TimestampMs),
    FailUnfenced(usize, CancelSource, &'static str),
    CancelExecution(usize, CancelSource, Option<u64>, String, TimestampMs),
    SetTag(usize, &'static str, String),
    Scan(Scan, u32),
    ExpireLease(usize),
    Promote(usize, TimestampMs),
    Expire(usize, ExpirePhase, TimestampMs),
    Advance(i64),
}

impl Operation {
    /// The lease that it is done under, if it needs one.
    pub(super) const fn held(&self) -> Option<Held> {
        match self {
            Self::Renew(held)
            | Self::Progress(held, ..)
            | Self::Append(held, ..)
            | Self::Step(held, _)
            | Self::Suspend(held, _)
            | Self::Complete(held, _)
            | Self::Fail(held, ..)
            | Self::Delay(held, _)
            | Self::Cancel(held, _)
            | Self::TypedComplete(held, ..)
            | Self::TypedFail(held, ..)
            | Self::TypedRenew(held, ..) => Some(*held),
            Self::Money(money) => money.held(),
            _ => None,
        }
    }
}

/// One backend in the course of one history.
pub(super) struct Side {
    pub(super) bench: Bench,
    pub(super) ids: Vec<ExecutionId>,
    handles: HashMap<Held, Handle>,
    names: HashMap<Uuid, String>,
    /// The executions that were removed at some time.
    pub(super) removed: HashSet<usize>,
    pub(super) drawn: Drawn,
}

impl Side {
    pub(super) fn new(bench: Bench, ids: Vec<ExecutionId>) -> Self {
        let (handles, names) = (HashMap::new(), HashMap::new());
        Self { bench, ids, handles, names, removed: HashSet::new(), drawn: Drawn::default() }
    }

    /// Does it, and says what came of it.
    pub(super) async fn call(&mut self, operation: &Operation) -> String {
        let backend = self.bench.backend.clone();
        match operation {
            Operation::Create(args) => {
                self.answer(backend.create_execution(args.as_ref().clone()).await)
            }
            Operation::Claim(lane, worker) => {
                let claimed = backend.claim(lane, &capabilities(*worker), terms(*worker)).await;
                self.claimed(claimed.map(|handle| handle.into_iter().collect()))
            }
            Operation::ClaimMany(lane, worker, limit) => {
                let (offered, terms) = (capabilities(*worker), terms(*worker));
                self.claimed(backend.claim_many(lane, &offered, terms, *limit).await)
            }
            Operation::Scan(scan, limit) => self.answer(backend.scan(*scan, *limit).await),
            Operation::SetTag(execution, key, value) => {
                self.answer(backend.set_execution_tag(&self.ids[*execution], key, value).await)
            }
            Operation::ExpireLease(execution) => {
                let id = &self.ids[*execution];
                self.answer(backend.mark_lease_expired_if_due(partition(id), id).await)
            }
            Operation::Promote(execution, now) => {
                let (id, lane) = (&self.ids[*execution], LaneId::new("any"));
                self.answer(backend.promote_delayed(partition(id), &lane, id, *now).await)
            }
            Operation::Expire(execution, phase, now) => {
                let id = &self.ids[*execution];
                self.answer(backend.expire_execution(partition(id), id, *phase, *now).await)
            }
            Operation::Advance(ms) => {
                self.bench.clock.advance(*ms);
                String::new()
            }
            Operation::CompleteUnfenced(..)
            | Operation::FailUnfenced(..)
            | Operation::CancelExecution(..) => self.intervene(operation).await,
            Operation::TypedComplete(..) | Operation::TypedFail(..) | Operation::TypedRenew(..) => {
                self.call_typed(operation).await
            }
            Operation::Suspend(held, args) => self.suspend(*held, args).await,
            Operation::Signal(execution, sent) => self.signal(*execution, sent).await,
            Operation::Resume(execution, delay_ms) => self.resume(*execution, *delay_ms).await,
            Operation::Granting(granting) => self.granting(granting).await,
            Operation::Order(order) => self.order(order).await,
            Operation::Fleet(fleet) => self.fleet(fleet).await,
            Operation::Money(money) => self.money(money).await,
            Operation::Cron(cron) => self.cron(cron).await,
            Operation::Retention(retention) => self.retention(retention).await,
            Operation::Renew(held)
            | Operation::Progress(held, ..)
            | Operation::Append(held, ..)
            | Operation::Step(held, _)
            | Operation::Complete(held, _)
            | Operation::Fail(held, ..)
            | Operation::Delay(held, _)
            | Operation::Cancel(held, _) => self.call_with_handle(operation, *held).await,
        }
    }

    async fn call_with_handle(&self, operation: &Operation, held: Held) -> String {
        let (backend, handle) = (&self.bench.backend, &self.handles[&held]);
        match operation {
            Operation::Renew(_) => self.answer(backend.renew(handle).await),
            Operation::Progress(_, percent, message) => {
                self.answer(backend.progress(handle, *percent, message.clone()).await)
            }
            Operation::Append(_, mode, payload) => {
                let frame = Frame::new(payload.as_bytes().to_vec(), FrameKind::Event);
                self.answer(backend.append_frame(handle, frame.with_mode(*mode)).await)
            }
            Operation::Step(_, step) => {
                self.answer(backend.record_step(handle, step.clone()).await)
            }
            Operation::Complete(_, result) => {
                self.answer(backend.complete(handle, result.clone()).await)
            }
            Operation::Fail(_, class, message) => {
                let reason = FailureReason::new(message.clone());
                self.answer(backend.fail(handle, reason, *class).await)
            }
            Operation::Delay(_, until) => self.answer(backend.delay(handle, *until).await),
            Operation::Cancel(_, reason) => self.answer(backend.cancel(handle, reason).await),
            other => unreachable!("{other:?} takes no handle"),
        }
    }

    async fn call_typed(&self, operation: &Operation) -> String {
        let backend = &self.bench.backend;
        match operation {
            Operation::TypedComplete(held, proof, result, now) => {
                let mut args = self.completion(held.execution, CancelSource::LeaseHolder, *now);
                args.attempt_index = AttemptIndex(held.attempt);
                args.fence = Some(self.fence(*held, *proof));
                args.result_payload.clone_from(result);
                self.answer(backend.complete_execution(args).await)
            }
            Operation::TypedFail(held, proof, policy, reason) => {
                let mut args = self.failure(held.execution, CancelSource::LeaseHolder, policy);
                args.attempt_index = AttemptIndex(held.attempt);
                args.fence = Some(self.fence(*held, *proof));
                args.failure_reason.clone_from(reason);
                self.answer(backend.fail_execution(args).await)
            }
            Operation::TypedRenew(held, proof, ttl) => {
                let args = RenewLeaseArgs {
                    execution_id: self.ids[held.execution].clone(),
                    attempt_index: AttemptIndex(held.attempt),
                    fence: Some(self.fence(*held, *proof)),
                    lease_ttl_ms: *ttl,
                    lease_history_grace_ms: 0,
                };
                self.answer(backend.renew_lease(args).await)
            }
            other => unreachable!("{other:?} takes no fence"),
        }
    }

    async fn intervene(&self, operation: &Operation) -> String {
        let backend = &self.bench.backend;
        match operation {
            Operation::CompleteUnfenced(execution, source, now) => {
                let args = self.completion(*execution, source.clone(), *now);
                self.answer(backend.complete_execution(args).await)
            }
            Operation::FailUnfenced(execution, source, policy) => {
                let args = self.failure(*execution, source.clone(), policy);
                self.answer(backend.fail_execution(args).await)
            }
            Operation::CancelExecution(execution, source, epoch, reason, now) => {
                let args = CancelExecutionArgs {
                    execution_id: self.ids[*execution].clone(),
                    reason: reason.clone(),
                    source: source.clone(),
                    lease_id: None,
                    lease_epoch: epoch.map(LeaseEpoch),
                    attempt_id: None,
                    now: *now,
                };
                self.answer(backend.cancel_execution(args).await)
            }
            other => unreachable!("{other:?} is no intervention"),
        }
    }

    fn completion(
        &self,
        execution: usize,
        source: CancelSource,
        now: TimestampMs,
    ) -> CompleteExecutionArgs {
        CompleteExecutionArgs {
            execution_id: self.ids[execution].clone(),
            fence: None,
            attempt_index: AttemptIndex(0),
            result_payload: Some(b"by hand".to_vec()),
            result_encoding: None,
            source,
            now,
        }
    }

    fn failure(&self, execution: usize, source: CancelSource, policy: &str) -> FailExecutionArgs {
        FailExecutionArgs {
            execution_id: self.ids[execution].clone(),
            fence: None,
            attempt_index: AttemptIndex(0),
            failure_reason: "by hand".into(),
            failure_category: "any".into(),
            retry_policy_json: policy.into(),
            next_attempt_policy_json: String::new(),
            source,
        }
    }

    fn fence(&self, held: Held, proof: Proof) -> LeaseFence {
        let mut fence = fence(&self.handles[&held]);
        match proof {
            Proof::Right => {}
            Proof::Epoch(by) => fence.lease_epoch.0 = fence.lease_epoch.0.saturating_add_signed(by),
            Proof::Lease(id) => fence.lease_id = LeaseId::from_uuid(id),
            Proof::Attempt(id) => fence.attempt_id = AttemptId::from_uuid(id),
        }
        fence
    }

    pub(super) fn claimed(&mut self, result: Result<Vec<Handle>, EngineError>) -> String {
        let handles = match result {
            Ok(handles) if handles.is_empty() => return "nothing".into(),
            Ok(handles) => handles,
            Err(error) => return self.answer::<()>(Err(error)),
        };
        let mut answer = String::from("claimed");
        for handle in handles {
            let HandlePayload { lease_ttl_ms, lane_id, worker_instance_id, .. } =
                payload_of(&handle);
            let held = self.keep(handle);
            answer += &format!(" {held:?} of {lane_id} by {worker_instance_id} for {lease_ttl_ms}");
        }
        answer
    }

    fn keep(&mut self, handle: Handle) -> Held {
        let payload = payload_of(&handle);
        let execution = self.ids.iter().position(|id| *id == payload.execution_id).unwrap();
        let (attempt, epoch) = (payload.attempt_index.0, payload.lease_epoch.0);
        let held = Held { execution, attempt, epoch };
        self.names.insert(payload.lease_id.0, format!("lease {held:?}"));
        self.names.insert(payload.attempt_id.0, format!("attempt {held:?}"));
        let taken = self.handles.insert(held, handle);
        let anew = self.removed.contains(&execution);
        assert!(taken.is_none() || anew, "{held:?} was leased twice");
        held
    }

    pub(super) fn handle(&self, held: Held) -> &Handle {
        &self.handles[&held]
    }

    pub(super) fn answer<T: fmt::Debug>(&self, result: Result<T, EngineError>) -> String {
        match result {
            Ok(outcome) => format!("{outcome:?}"),
            Err(EngineError::Contention(ContentionKind::ExecutionNotActive {
                terminal_outcome,
                lease_epoch,
                lifecycle_phase,
                attempt_id,
            })) => format!(
                "refused: ExecutionNotActive: {lifecycle_phase:?} {terminal_outcome:?} \
                 {lease_epoch:?} {}",
                self.name(&attempt_id)
            ),
            Err(error) => format!("refused: {error:?}"),
        }
    }

    /// The rows of a table, without what each backend draws or counts for itself. Events keep their
    /// order per execution only: what one scan or claim does to several has none.
    pub(super) async fn rows(&self, table: &str) -> Vec<Cells> {
        let drawn = &self.drawn;
        let mut rows = self.bench.plain.rows(table).await;
        if !drawn.is_empty() {
            rows.iter_mut().flat_map(|row| row.0.values_mut()).for_each(|cell| drawn.rename(cell));
        }
        if table == "ff_waitpoint_pending" {
            rows.sort_by_key(|row| format!("{row:?}"));
        }
        if table == "ff_claim_grant" {
            // Ids are drawn, or name the database.
            rows.iter_mut().for_each(|Cells(row)| drop(row.remove("grant_id")));
            rows.sort_by_key(|row| format!("{row:?}"));
        }
        if rows.first().is_some_and(|Cells(row)| row.contains_key("event_id")) {
            rows.sort_by_key(|row| (row.uuid("execution_id"), row.int("event_id")));
        }
        for Cells(row) in &mut rows {
            row.remove("transaction_id");
            row.remove("event_id");
            row.remove("committed_at_ms");
            if let Some(Value::Json(details)) = row.get_mut("details")
                && let Some(Json::String(lease)) = details.get_mut("lease_id")
            {
                *lease = without_backend(lease).to_owned();
            }
            for column in ["lease_id", "attempt_id"] {
                match row.get_mut(column) {
                    None | Some(Value::Null) => {}
                    Some(Value::Text(id)) => *id = self.name(id),
                    Some(cell) => {
                        let Value::Uuid(id) = *cell else { panic!("{column} is {cell:?}") };
                        *cell = text(&self.name(&id.to_string()));
                    }
                }
            }
        }
        rows
    }

    /// The number of the execution that a row is about, which no schedule has submitted.
    pub(super) fn number(&self, row: &Cells) -> usize {
        self.number_if_any(row).unwrap()
    }

    /// The same; `None` for one that a schedule has submitted.
    pub(super) fn number_if_any(&self, row: &Cells) -> Option<usize> {
        let id = row.uuid("execution_id").unwrap();
        self.ids.iter().position(|own| own.uuid() == id)
    }

    /// Whether a handle stands for the lease.
    pub(super) fn knows(&self, held: Held) -> bool {
        self.handles.contains_key(&held)
    }

    /// The name of a lease or attempt.
    pub(super) fn name(&self, id: &str) -> String {
        match id.parse().ok().and_then(|id: Uuid| self.names.get(&id)) {
            Some(name) => name.clone(),
            None if id.is_empty() => "-".into(),
            None => "an id that no claim gave".into(),
        }
    }
}

/// The name of a lease without an id of its own: it begins with the backend's.
pub(super) fn without_backend(lease: &str) -> &str {
    lease.split_once(':').map_or(lease, |(_, name)| name)
}

fn capabilities((_, _, offered): Worker) -> CapabilitySet {
    CapabilitySet::new(offered.iter().copied())
}

fn terms((name, ttl, _): Worker) -> ClaimPolicy {
    let instance = WorkerInstanceId::new(format!("{name}-1"));
    ClaimPolicy::new(WorkerId::new(name), instance, ttl, None)
}
