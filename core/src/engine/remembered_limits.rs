//! What the claims of one process know of limits, from one claim to the next.
//!
//! A claim must know which limits there are, and which of their permits are free. It need not know
//! the latter exactly: a permit or cell that another process took meanwhile refuses the plan that
//! takes it, and then its key is read anew. So is a key that seems full: ends of other processes,
//! and of this one, give permits back that still count as taken here. The limits themselves are
//! read anew after a short time, and at once where this process changes one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use super::in_flight::{Loss, note};
use super::lock::lock;
use super::obstacles::KnownObstacles;
use super::remembered::is_fresh;
use super::{Executor, run};
use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::rules::execution::candidates::Candidate;
use crate::rules::limit::admit::{Admission, Asking};
use crate::rules::limit::held::Holdings;
use crate::rules::limit::read::{HeldLimits, ReadHeld, ReadLimits, ReadTaken};

/// The time for which a key of which another process took is read each time, ms.
const CONTENDED_MS: i64 = 5_000;

/// The most keys to remember. If there are more, all are forgotten.
const CAPACITY: usize = 10_000;

/// What a process remembers between its claims.
#[derive(Debug, Default)]
pub(super) struct RememberedLimits(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    known: Option<KnownLimits>,
    /// The number of times that all was forgotten.
    forgotten: u64,
}

/// The limits, and what is known to be taken of some keys.
#[derive(Debug)]
pub(super) struct KnownLimits {
    held: HeldLimits,
    /// The keys of which it is known what is taken.
    keys: BTreeSet<String>,
    /// The keys of which others take, and until when that counts, Unix ms.
    contended: BTreeMap<String, i64>,
    /// The time at which every limit was read; `None` where only those of some keys were.
    read_at: Option<TimestampMs>,
    /// The number of times that the process had forgotten all before.
    forgotten: u64,
    /// What stood before the executions that the last claims took.
    pub(super) obstacles: KnownObstacles,
}

impl RememberedLimits {
    /// Takes what is remembered, for a claim that has its turn, but for what claims before it have
    /// not taken after all.
    pub(super) fn take(&self, executor: &dyn Executor) -> KnownLimits {
        let losses = executor.process_state().in_flight.losses();
        let mut memory = lock(&self.0);
        let forgotten = memory.forgotten;
        let known = memory.known.take();
        let mut known =
            known.unwrap_or_else(|| KnownLimits { forgotten, ..KnownLimits::none(executor) });

        if !losses.is_empty() {
            // A key may have counted as full only for these.
            known.obstacles.doubt();
        }
        for Loss { holdings, is_overtaken } in losses {
            if is_overtaken {
                known.forget(&holdings, executor.now());
            } else {
                known.unlearn(&holdings);
            }
        }
        known
    }

    /// Remembers it for the next claim.
    pub(super) fn put_back(&self, known: KnownLimits) {
        let mut memory = lock(&self.0);
        if known.forgotten == memory.forgotten && known.keys.len() <= CAPACITY {
            memory.known = Some(known);
        }
    }

    /// Forgets all: a limit was changed.
    pub(super) fn forget(&self) {
        let mut memory = lock(&self.0);
        memory.known = None;
        memory.forgotten += 1;
    }
}

impl KnownLimits {
    /// Nothing, for a claim that only asks.
    pub(super) fn none(executor: &dyn Executor) -> Self {
        let held = HeldLimits::of(BTreeMap::new(), executor.partitions());
        let (keys, contended) = (BTreeSet::new(), BTreeMap::new());
        let obstacles = KnownObstacles::default();
        Self { held, keys, contended, read_at: None, forgotten: 0, obstacles }
    }

    /// Reads what is taken of full keys. Returns those with enough left for what was refused.
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub(super) async fn freed(
        &mut self,
        executor: &dyn Executor,
        refused: &BTreeMap<String, Asking>,
    ) -> Result<Vec<String>, EngineError> {
        let keys: BTreeSet<String> = refused.keys().cloned().collect();
        self.keys.retain(|key| !keys.contains(key));
        self.know(executor, &keys).await?;

        let mut freed = Vec::new();
        for (key, asking) in refused {
            if self.held.shortages(asking, executor.now())?.is_empty() {
                freed.push(key.clone());
            }
        }
        Ok(freed)
    }

    /// Chooses what each of these takes, best first; it counts as taken from then on.
    ///
    /// # Errors
    /// Those of reading, and `Validation(Corruption)` for a stored number out of its range.
    pub(super) async fn admit(
        &mut self,
        executor: &dyn Executor,
        candidates: &[Candidate],
    ) -> Result<Vec<Admission>, EngineError> {
        let asking = |candidate: &Candidate| candidate.limits.clone();
        let all: Vec<Asking> = candidates.iter().map(asking).collect();
        let keys = all.iter().flat_map(|asking| asking.keys.iter().cloned()).collect();
        let mut fresh = self.know(executor, &keys).await?;

        let mut admissions = self.choose(&all, Vec::new(), executor.now())?;
        loop {
            // What seems full may have been given back since it was read.
            let stale = |admission: &Admission| match admission {
                Admission::Full(key) => (!fresh.contains(key)).then(|| key.clone()),
                Admission::Admitted(_) => None,
            };
            let stale: BTreeSet<String> = admissions.iter().filter_map(stale).collect();
            if stale.is_empty() {
                return Ok(admissions);
            }

            self.keys.retain(|key| !stale.contains(key));
            self.read_at = None;
            fresh.extend(self.know(executor, &keys).await?);
            fresh.extend(stale);
            admissions = self.choose(&all, admissions, executor.now())?;
        }
    }

    /// Chooses what those take that were not admitted before. What is full for one is full for all
    /// that come after it.
    fn choose(
        &mut self,
        all: &[Asking],
        before: Vec<Admission>,
        now: TimestampMs,
    ) -> Result<Vec<Admission>, EngineError> {
        for (asking, admission) in all.iter().zip(&before) {
            if let Admission::Admitted(holdings) = admission {
                self.held.note(holdings, asking.execution);
            }
        }

        let (mut full, mut before) = (BTreeSet::new(), before.into_iter());
        let mut admissions = Vec::with_capacity(all.len());
        for asking in all {
            let known = asking.keys.iter().find(|key| full.contains(*key));
            let admission = match (before.next(), known) {
                (Some(admitted @ Admission::Admitted(_)), _) => admitted,
                (Some(Admission::Full(_)) | None, Some(key)) => Admission::Full(key.clone()),
                (Some(Admission::Full(_)) | None, None) => self.held.admit_waiting(asking, now)?,
            };
            if let Admission::Full(key) = &admission {
                full.insert(key.clone());
            }
            admissions.push(admission);
        }
        Ok(admissions)
    }

    /// Forgets what is taken of the keys of these: another process has taken some of it, so that
    /// for some time it is read each time.
    pub(super) fn forget(&mut self, holdings: &Holdings, now: TimestampMs) {
        for key in holdings.keys() {
            self.contended.insert(key.to_owned(), now.0.saturating_add(CONTENDED_MS));
        }
    }

    /// Forgets what is taken of the keys of these, which were not taken after all.
    pub(super) fn unlearn(&mut self, holdings: &Holdings) {
        for key in holdings.keys() {
            self.keys.remove(key);
        }
    }

    /// Forgets the keys that are contended at that time.
    fn forget_contended(&mut self, now: TimestampMs) {
        if self.contended.is_empty() {
            return;
        }
        self.contended
            .retain(|_, until| (now.0..=now.0.saturating_add(CONTENDED_MS)).contains(until));
        self.keys.retain(|key| !self.contended.contains_key(key));
    }

    /// Reads what is not known of these keys, and the limits, if it is time to. Returns the keys
    /// of which it was read what is taken.
    async fn know(
        &mut self,
        executor: &dyn Executor,
        keys: &BTreeSet<String>,
    ) -> Result<BTreeSet<String>, EngineError> {
        if keys.is_empty() {
            return Ok(BTreeSet::new());
        }
        self.forget_contended(executor.now());
        // Asked for before a read: what is taken by then shows in it.
        let in_flight = || executor.process_state().in_flight.holdings();
        if !self.are_limits_known(executor.now()) {
            let read_at = executor.now();
            let Some(limits) = run(executor, &ReadLimits).await? else {
                // They are too many to be read each time.
                let partitions = executor.partitions();
                let read = ReadHeld { keys: keys.iter().cloned().collect(), partitions };
                let in_flight = in_flight();
                self.held = run(executor, &read).await?;
                note(&mut self.held, &in_flight);
                (self.keys, self.read_at) = (BTreeSet::new(), None);
                return Ok(keys.clone());
            };
            if limits != *self.held.limits() {
                self.held = HeldLimits::of(limits, executor.partitions());
                self.keys.clear();
            }
            self.read_at = Some(read_at);
        }

        let unknown: BTreeSet<String> = keys.difference(&self.keys).cloned().collect();
        if unknown.is_empty() {
            return Ok(unknown);
        }
        let (read, in_flight) = (ReadTaken::of(&unknown, &self.held)?, in_flight());
        self.held.replace(&unknown, run(executor, &read).await?);
        note(&mut self.held, &in_flight);
        self.keys.extend(unknown.iter().cloned());
        Ok(unknown)
    }

    fn are_limits_known(&self, now: TimestampMs) -> bool {
        self.read_at.is_some_and(|read_at| is_fresh(read_at.0, now.0))
    }
}
