//! Registrations, heartbeats, and the removal of a worker instance.

use crate::contracts::{
    HeartbeatWorkerArgs, HeartbeatWorkerOutcome, MARK_WORKER_DEAD_REASON_MAX_BYTES,
    MarkWorkerDeadArgs, MarkWorkerDeadOutcome, RegisterWorkerArgs, RegisterWorkerOutcome,
};
use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::plan::facts::Facts;
use crate::plan::{Mutation, OnConflict};
use crate::rules::changes::Changes;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Verdict};
use crate::rules::input;
use crate::rules::premise::{Condition, Premise, answer, refuse};
use crate::rules::worker::row::{Liveness, WORKER, WorkerEvent, WorkerKey, is_registered};
use crate::schema::worker::worker_registry;

/// Registers an instance, or replaces its record; an instance belongs to one worker until it is
/// gone.
#[derive(Clone, Debug)]
pub struct Register {
    key: WorkerKey,
    ttl_ms: i64,
    args: RegisterWorkerArgs,
}

impl Register {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field: names that cannot be stored, a lane that is no
    /// lane name, a capability with a comma, a time to live of 0.
    pub fn new(args: RegisterWorkerArgs) -> Result<Self, EngineError> {
        let key = WorkerKey::of(&args.namespace, &args.worker_instance_id)?;
        input::name("worker_id", args.worker_id.as_str())?;
        input::name("version", args.version.as_deref().unwrap_or_default())?;
        args.lanes.iter().try_for_each(input::lane)?;

        for token in &args.capabilities {
            input::text("capabilities", token)?;
            // The stored list has commas between its tokens.
            if token.is_empty() || token.contains(',') {
                return Err(input::invalid("capabilities: a token is empty or holds a comma"));
            }
        }

        let ttl_ms = input::positive_ms("liveness_ttl_ms", args.liveness_ttl_ms)?;
        Ok(Self { key, ttl_ms, args })
    }
}

impl Decision for Register {
    type Outcome = RegisterWorkerOutcome;

    const NAME: &'static str = "register_worker";

    fn at(&self, _: &Ctx<'_>) -> TimestampMs {
        self.args.now
    }

    fn premises(&self, _: TimestampMs) -> Vec<Premise<Self::Outcome>> {
        let same = worker_registry::worker_id.equals(self.args.worker_id.as_str().to_owned());
        let same = same.or(worker_registry::swept_at_ms.is_present());
        let reassigned = refuse(|_| input::invalid("instance_id reassigned"));
        vec![
            Premise::read(WORKER, self.key.lookup())
                .guarded_by(vec![Condition::new(same, reassigned)]),
        ]
    }

    fn decide(&self, facts: &Facts, at: TimestampMs, _: &mut Ctx<'_>) -> Decided<Self::Outcome> {
        let args = &self.args;
        let lanes = args.lanes.iter().map(|lane| lane.as_str().to_owned()).collect();
        let tokens: Vec<&str> = args.capabilities.iter().map(String::as_str).collect();
        let registered = self.key.event(WorkerEvent::Registered, None, at);

        if let Some(row) = facts.row(WORKER) {
            let gone = Liveness::read(row)?.swept_at_ms.is_some();
            let mut set = vec![
                worker_registry::lanes.set(lanes),
                worker_registry::capabilities_csv.set(tokens.join(",")),
                worker_registry::last_heartbeat_ms.set(at.0),
                worker_registry::liveness_ttl_ms.set(self.ttl_ms),
                worker_registry::version.set(args.version.clone()),
            ];
            if gone {
                set.extend([
                    worker_registry::worker_id.set(args.worker_id.as_str().to_owned()),
                    worker_registry::registered_at_ms.set(at.0),
                    worker_registry::swept_at_ms.clear(),
                ]);
            }
            let update = Mutation::update(worker_registry::REF, self.key.columns(), set);
            let (anew, again) =
                (RegisterWorkerOutcome::Registered, RegisterWorkerOutcome::Refreshed);
            let changes = Changes::of([update, registered]);
            // Of two that find it swept, the second finds it registered.
            let changes = if gone {
                changes.relying_on(WORKER, worker_registry::swept_at_ms.is_present())
            } else {
                changes.relying_on(WORKER, is_registered())
            };
            return Verdict::change(changes, if gone { anew } else { again });
        }

        let mut row = self.key.columns();
        row.extend([
            worker_registry::worker_id.with(args.worker_id.as_str().to_owned()),
            worker_registry::lanes.with(lanes),
            worker_registry::capabilities_csv.with(tokens.join(",")),
            worker_registry::last_heartbeat_ms.with(at.0),
            worker_registry::liveness_ttl_ms.with(self.ttl_ms),
            worker_registry::registered_at_ms.with(at.0),
            worker_registry::version.with(args.version.clone()),
        ]);
        let insert = Mutation::insert(worker_registry::REF, row, OnConflict::Refuse);
        Verdict::change([insert, registered], RegisterWorkerOutcome::Registered)
    }
}

/// Records a sign of life of an instance. One that was silent for too long has to register again.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    key: WorkerKey,
    at: TimestampMs,
}

impl Heartbeat {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field.
    pub fn new(args: &HeartbeatWorkerArgs) -> Result<Self, EngineError> {
        let key = WorkerKey::of(&args.namespace, &args.worker_instance_id)?;
        Ok(Self { key, at: args.now })
    }
}

impl Decision for Heartbeat {
    type Outcome = HeartbeatWorkerOutcome;

    const NAME: &'static str = "heartbeat_worker";

    fn at(&self, _: &Ctx<'_>) -> TimestampMs {
        self.at
    }

    fn premises(&self, _: TimestampMs) -> Vec<Premise<Self::Outcome>> {
        let unknown = answer(HeartbeatWorkerOutcome::NotRegistered);
        vec![Premise::read(WORKER, self.key.lookup()).or_if_absent(unknown).guarded_by(Vec::new())]
    }

    fn decide(&self, facts: &Facts, at: TimestampMs, _: &mut Ctx<'_>) -> Decided<Self::Outcome> {
        let liveness = facts.row(WORKER).map(Liveness::read).transpose()?;
        let Some(liveness) = liveness.filter(|liveness| liveness.is_alive(at)) else {
            return Ok(Verdict::Answer(HeartbeatWorkerOutcome::NotRegistered));
        };

        // A heartbeat that was sent earlier and comes later takes nothing back.
        let last_ms = liveness.last_ms.max(at.0);
        let set = vec![worker_registry::last_heartbeat_ms.set(last_ms)];
        let update = Mutation::update(worker_registry::REF, self.key.columns(), set);

        let changes = Changes::of([update, self.key.event(WorkerEvent::Heartbeat, None, at)])
            .relying_on(WORKER, liveness.unchanged());
        let next_expiry_ms = TimestampMs(last_ms.saturating_add(liveness.ttl_ms));
        Verdict::change(changes, HeartbeatWorkerOutcome::Refreshed { next_expiry_ms })
    }
}

/// Removes an instance that is dead, or has ended. One that was swept counts as removed.
#[derive(Clone, Debug)]
pub struct MarkDead {
    key: WorkerKey,
    reason: String,
    at: TimestampMs,
}

impl MarkDead {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field: a reason that is too long or has control
    /// characters.
    pub fn new(args: MarkWorkerDeadArgs) -> Result<Self, EngineError> {
        let key = WorkerKey::of(&args.namespace, &args.worker_instance_id)?;
        let (most, bytes) = (MARK_WORKER_DEAD_REASON_MAX_BYTES, args.reason.len());
        if most < bytes {
            return Err(input::invalid(format!("reason: exceeds {most} bytes (got {bytes})")));
        }
        if args.reason.chars().any(char::is_control) {
            return Err(input::invalid("reason: must not contain control characters"));
        }
        Ok(Self { key, reason: args.reason, at: args.now })
    }

    /// The instance that it removes.
    #[must_use]
    pub fn key(&self) -> &WorkerKey {
        &self.key
    }
}

impl Decision for MarkDead {
    type Outcome = MarkWorkerDeadOutcome;

    const NAME: &'static str = "mark_worker_dead";

    fn at(&self, _: &Ctx<'_>) -> TimestampMs {
        self.at
    }

    fn premises(&self, _: TimestampMs) -> Vec<Premise<Self::Outcome>> {
        let unknown = || answer(MarkWorkerDeadOutcome::NotRegistered);
        vec![
            Premise::read(WORKER, self.key.lookup())
                .or_if_absent(unknown())
                .guarded_by(vec![Condition::new(is_registered(), unknown())]),
        ]
    }

    fn expects(&self) -> bool {
        true
    }

    fn decide(&self, _: &Facts, at: TimestampMs, _: &mut Ctx<'_>) -> Decided<Self::Outcome> {
        let changes = [
            Mutation::delete(worker_registry::REF, self.key.columns()),
            self.key.event(WorkerEvent::MarkedDead, Some(&self.reason), at),
        ];
        Verdict::change(changes, MarkWorkerDeadOutcome::Marked)
    }
}
