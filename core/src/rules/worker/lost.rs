//! Workers that are lost: those that an operator declared dead, and those that are silent for
//! longer than their time to live. Their leases lapse at once.

use serde_json::Value as Json;

use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::model::state::LeaseCause;
use crate::plan::facts::{Facts, Row};
use crate::plan::{Expr, Guard, Held, List, Mutation, Predicate, Query};
use crate::rules::changes::Changes;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Step, Transition, Verdict};
use crate::rules::execution::expire::ExpireLease;
use crate::rules::execution::listing::core_of_current_attempt;
use crate::rules::execution::losses::Losses;
use crate::rules::key::ExecutionKey;
use crate::rules::premise::{Condition, Premise, answer, lookup};
use crate::rules::worker::row::{Liveness, WORKER, WorkerEvent, WorkerKey, is_registered};
use crate::schema::Direction::Ascending;
use crate::schema::execution::{attempt, exec_core, leased, running};
use crate::schema::worker::worker_registry;

/// A worker instance that is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LostWorker {
    /// Declared dead at that time, with the leases that it had taken by then.
    Dead(WorkerKey, TimestampMs),
    /// Silent since this sign of life, until it gives another.
    Silent(WorkerKey, Liveness),
}

impl LostWorker {
    fn key(&self) -> &WorkerKey {
        match self {
            Self::Dead(key, _) | Self::Silent(key, _) => key,
        }
    }

    /// The attempts that the lost worker has leased.
    fn holds(&self) -> Predicate {
        let own = attempt::worker_instance_id.equals(Some(self.key().instance.clone()));
        match self {
            Self::Dead(_, at) => {
                let before = attempt::started_at_ms.is_null();
                own.and(before.or(attempt::started_at_ms.at_most(Some(at.0))))
            }
            Self::Silent(..) => own,
        }
    }

    /// The row of a worker that has given another sign of life, which prevents its loss.
    fn alive(&self) -> Option<Guard> {
        match self {
            Self::Dead(..) => None,
            Self::Silent(key, liveness) => {
                let heard = worker_registry::last_heartbeat_ms.above(liveness.last_ms);
                Some(Guard::new(WORKER, worker_registry::REF, key.columns(), heard))
            }
        }
    }

    /// The instance of the same name in the namespace of the leased execution, where that is
    /// another one. While it is registered, the lease counts as its own.
    fn namesake(&self, lease: &LostLease) -> Option<WorkerKey> {
        let namespace = lease.namespace.as_ref().filter(|own| **own != self.key().namespace)?;
        Some(WorkerKey { namespace: namespace.clone(), ..self.key().clone() })
    }
}

/// The name that plans give the row of the instance of the same name in another namespace.
const NAMESAKE: &str = "namesake";

/// A lease of a lost worker.
#[derive(Clone, Debug, PartialEq)]
pub struct LostLease {
    /// The execution.
    pub key: ExecutionKey,
    /// The namespace of the execution, if it names one.
    pub namespace: Option<String>,
    /// The workers that it has lost before, where they can be read.
    pub losses: Option<Losses>,
    /// The expiry of the lease, Unix ms.
    pub expires_at_ms: Option<i64>,
}

/// Lists leases of a lost worker, by expiry: along the index of all leases.
#[derive(Clone, Debug)]
pub struct LeasesOfLost {
    /// The worker.
    pub worker: LostWorker,
    /// The most leases to list.
    pub limit: u32,
    /// The lease after which the list begins.
    pub after: Option<LostLease>,
}

impl Transition for LeasesOfLost {
    type Outcome = Vec<LostLease>;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        let (due, id) = (attempt::lease_expires_at_ms, attempt::execution_id);
        let mut predicate = leased().and(self.worker.holds()).and(running());
        if let Some(LostLease { key, expires_at_ms, .. }) = &self.after {
            let past = vec![due.with(*expires_at_ms), id.with(key.uuid)];
            predicate = predicate.and(Predicate::After(past));
        }

        let own = [attempt::partition_key.column(), id.column(), due.column()];
        let list = List {
            name: "leases of a lost worker".into(),
            table: attempt::REF,
            join: Some(core_of_current_attempt()),
            of_each: None,
            columns: own
                .into_iter()
                .chain(Losses::columns())
                .chain([exec_core::raw_fields.column()])
                .collect(),
            predicate,
            order: vec![(due.column(), Ascending), (id.column(), Ascending)],
            limit: Expr::int(i64::from(self.limit)),
        };

        let Some(rows) = facts.list(&list) else {
            return Ok(Step::Read(vec![Query::List(list)]));
        };
        Ok(Step::Answer(rows.iter().map(lost_lease).collect::<Result<Vec<_>, _>>()?))
    }
}

fn lost_lease(row: &Row) -> Result<LostLease, EngineError> {
    let partition = row.read(attempt::partition_key)?;
    let raw = row.read(exec_core::raw_fields)?;
    let namespace = raw.get("namespace").and_then(Json::as_str);
    Ok(LostLease {
        key: ExecutionKey { partition, uuid: row.read(attempt::execution_id)? },
        namespace: namespace.map(str::to_owned),
        losses: Losses::read(row).ok(),
        expires_at_ms: row.read(attempt::lease_expires_at_ms)?,
    })
}

/// Releases an execution of a lost worker, as if its lease had lapsed: the same changes follow. A
/// lease that counts as that of a registered instance of the same name is left alone.
#[derive(Clone, Debug)]
pub struct LapseOfLost {
    /// The worker.
    pub worker: LostWorker,
    /// The lease, as it was listed.
    pub lease: LostLease,
}

impl Decision for LapseOfLost {
    /// True if the execution was released or ended.
    type Outcome = bool;

    const NAME: &'static str = "expire_lease_of_lost_worker";

    fn premises(&self, _: TimestampMs) -> Vec<Premise<bool>> {
        let held = attempt::lease_expires_at_ms.is_present().and(self.worker.holds());
        let mut premises = ExpireLease::premises_of(&self.lease.key, held);
        if let LostWorker::Silent(key, _) = &self.worker {
            premises.push(Premise::read(WORKER, key.lookup()));
        }
        if let Some(namesake) = self.worker.namesake(&self.lease) {
            let row = lookup(NAMESAKE, worker_registry::REF, namesake.columns());
            premises.push(Premise::read(NAMESAKE, row));
        }
        premises
    }

    fn expects(&self) -> bool {
        self.lease.losses.is_some()
    }

    fn decide(&self, facts: &Facts, at: TimestampMs, _: &mut Ctx<'_>) -> Decided<bool> {
        if let (LostWorker::Silent(_, then), Some(row)) = (&self.worker, facts.row(WORKER))
            && then.last_ms < Liveness::read(row)?.last_ms
        {
            return Ok(Verdict::Answer(false));
        }
        if facts.row(NAMESAKE).is_some_and(|row| is_registered().accepts(row, &Held::default())) {
            return Ok(Verdict::Answer(false));
        }

        let lease = ExpireLease { key: self.lease.key, expected: self.lease.losses };
        let Some(changes) = lease.lapses(LeaseCause::WorkerLost, facts, at)? else {
            return Ok(Verdict::Answer(false));
        };
        let namesake = self
            .worker
            .namesake(&self.lease)
            .map(|key| Guard::new(NAMESAKE, worker_registry::REF, key.columns(), is_registered()));
        Verdict::change(changes.unless(self.worker.alive()).unless(namesake), true)
    }
}

/// The time for which a swept instance stays listed, ms.
const SWEPT_KEPT_MS: i64 = 3_600_000;

/// The condition that an instance is registered, or was swept so long ago that it is forgotten.
#[must_use]
pub fn due_for_sweep(now: TimestampMs) -> Predicate {
    let long_ago = now.0.saturating_sub(SWEPT_KEPT_MS);
    is_registered().or(worker_registry::swept_at_ms.at_most(Some(long_ago)))
}

/// Sweeps a silent instance, once its leases have lapsed: it is registered no longer, and stays
/// listed for an hour. Changes nothing if it has given a sign of life since.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// The instance.
    pub key: WorkerKey,
    /// Its last sign of life, as the scan read it.
    pub liveness: Liveness,
}

impl Decision for Sweep {
    /// True if it was swept.
    type Outcome = bool;

    const NAME: &'static str = "sweep_worker";

    fn premises(&self, _: TimestampMs) -> Vec<Premise<bool>> {
        let silent = self.liveness.unchanged();
        vec![
            Premise::read(WORKER, self.key.lookup())
                .or_if_absent(answer(false))
                .guarded_by(vec![Condition::new(silent, answer(false))]),
        ]
    }

    fn expects(&self) -> bool {
        true
    }

    fn decide(&self, _: &Facts, at: TimestampMs, _: &mut Ctx<'_>) -> Decided<bool> {
        let swept = vec![worker_registry::swept_at_ms.set(Some(at.0))];
        let changes = Changes::of([
            Mutation::update(worker_registry::REF, self.key.columns(), swept),
            self.key.event(WorkerEvent::TtlSwept, None, at),
        ]);
        Verdict::change(changes, true)
    }
}

/// Removes an instance that was swept an hour ago. Changes nothing if it has registered since.
#[derive(Clone, Debug)]
pub struct Forget {
    /// The instance.
    pub key: WorkerKey,
}

impl Decision for Forget {
    /// True if it was removed.
    type Outcome = bool;

    const NAME: &'static str = "forget_worker";

    fn premises(&self, at: TimestampMs) -> Vec<Premise<bool>> {
        let long_ago = at.0.saturating_sub(SWEPT_KEPT_MS);
        let swept = worker_registry::swept_at_ms.at_most(Some(long_ago));
        vec![
            Premise::read(WORKER, self.key.lookup())
                .or_if_absent(answer(false))
                .guarded_by(vec![Condition::new(swept, answer(false))]),
        ]
    }

    fn expects(&self) -> bool {
        true
    }

    fn decide(&self, _: &Facts, _: TimestampMs, _: &mut Ctx<'_>) -> Decided<bool> {
        Verdict::change([Mutation::delete(worker_registry::REF, self.key.columns())], true)
    }
}
