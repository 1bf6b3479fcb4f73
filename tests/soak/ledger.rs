//! What the callers asked for, and what was acknowledged.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use flowfabric_sql::core::types::{LeaseEpoch, WaitpointId};
use flowfabric_sql::{EngineError, ExecutionId, TimestampMs};

/// The answer to a call that changed something, or had changed it before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acknowledgement {
    /// The engine that answered, and so the database.
    pub(crate) engine: usize,
    /// The failed tries before.
    pub(crate) tries: usize,
    /// False if an earlier try had been applied.
    pub(crate) is_first: bool,
    at: TimestampMs,
}

impl Acknowledgement {
    pub(crate) fn now(engine: usize, tries: usize, is_first: bool) -> Self {
        Self { engine, tries, is_first, at: TimestampMs::now() }
    }
}

impl fmt::Display for Acknowledgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { engine, tries, is_first, at } = self;
        let how = if *is_first { "applied" } else { "applied before" };
        write!(f, "engine {engine} answered \"{how}\" after {tries} failed tries, at {} ms", at.0)
    }
}

/// A result that a worker has asked to be stored.
#[derive(Clone, Debug)]
pub(crate) struct End {
    /// The epoch of the lease under which it was asked for.
    epoch: LeaseEpoch,
    pub(crate) result: Vec<u8>,
    pub(crate) acknowledgement: Option<Acknowledgement>,
}

/// One execution, as its callers know it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// The answer to its submission.
    pub(crate) submission: Option<Acknowledgement>,
    /// The acknowledged grants of its lease.
    pub(crate) epochs: HashSet<LeaseEpoch>,
    pub(crate) ends: Vec<End>,
    pub(crate) is_suspended: bool,
    pub(crate) signals: usize,
}

impl Known {
    pub(crate) fn has_ended(&self) -> bool {
        self.ends.iter().any(|end| end.acknowledgement.is_some())
    }
}

#[derive(Default)]
struct Inner {
    executions: HashMap<ExecutionId, Known>,
    /// Executions that may be suspended, and their waitpoints.
    waiting: VecDeque<(ExecutionId, WaitpointId)>,
    violations: Vec<String>,
    failures: BTreeMap<String, usize>,
    open: usize,
    last: Option<Instant>,
    longest: Duration,
}

/// The notes of all callers.
#[derive(Default)]
pub(crate) struct Ledger(Mutex<Inner>);

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The executions that were not seen to end.
    pub(crate) fn open(&self) -> usize {
        self.lock().open
    }

    pub(crate) fn executions(&self) -> HashMap<ExecutionId, Known> {
        self.lock().executions.clone()
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }

    pub(crate) fn violation(&self, text: String) {
        self.lock().violations.push(text);
    }

    /// Counts a failed call by its text.
    pub(crate) fn failure(&self, call: &str, error: &EngineError) {
        let text = error.to_string();
        // What follows names the execution.
        let text: String = text.split(" {").next().unwrap_or_default().chars().take(140).collect();
        *self.lock().failures.entry(format!("{call}: {text}")).or_default() += 1;
    }

    pub(crate) fn ask_to_submit(&self, id: &ExecutionId) {
        let mut inner = self.lock();
        inner.open += 1;
        inner.executions.insert(id.clone(), Known::default());
    }

    pub(crate) fn submitted(&self, id: &ExecutionId, answer: Acknowledgement) {
        let mut inner = self.lock();
        if let Some(known) = inner.executions.get_mut(id) {
            known.submission = Some(answer);
        }
        if !answer.is_first && answer.tries == 0 {
            inner.violations.push(format!("{id}: a repeat that was none: {answer}"));
        }
    }

    /// Notes a grant.
    pub(crate) fn granted(&self, id: &ExecutionId, epoch: LeaseEpoch) {
        let mut inner = self.lock();
        let known = inner.executions.entry(id.clone()).or_default();
        let is_new = known.epochs.insert(epoch);
        // A late answer is none: the lease has lapsed, and the end came under a later one.
        let ended =
            known.ends.iter().find(|end| end.acknowledgement.is_some() && end.epoch < epoch);
        let ended = ended.map(|end| end.epoch);
        if !is_new {
            inner.violations.push(format!("{id}: epoch {epoch:?} was granted twice"));
        }
        if let Some(end) = ended {
            inner.violations.push(format!("{id}: claimed in {epoch:?}, and ended in {end:?}"));
        }
    }

    /// True if the execution has not been suspended before, as far as is known.
    pub(crate) fn ask_to_suspend(&self, id: &ExecutionId) -> bool {
        let mut inner = self.lock();
        let known = inner.executions.entry(id.clone()).or_default();
        !std::mem::replace(&mut known.is_suspended, true)
    }

    pub(crate) fn ask_to_end(&self, id: &ExecutionId, epoch: LeaseEpoch, result: &[u8]) {
        let end = End { epoch, result: result.to_vec(), acknowledgement: None };
        self.lock().executions.entry(id.clone()).or_default().ends.push(end);
    }

    /// Notes an acknowledged end.
    pub(crate) fn ended(&self, id: &ExecutionId, result: &[u8], answer: Acknowledgement) {
        let mut inner = self.lock();
        let Some(known) = inner.executions.get_mut(id) else { return };
        let had_ended = known.has_ended();
        for end in known.ends.iter_mut().filter(|end| end.result == result) {
            end.acknowledgement = Some(answer);
        }
        inner.open = inner.open.saturating_sub(usize::from(!had_ended));
        if had_ended {
            inner.violations.push(format!("{id}: a second end was acknowledged"));
        }

        let now = Instant::now();
        let pause = inner.last.replace(now).map(|last| now - last).unwrap_or_default();
        inner.longest = inner.longest.max(pause);
    }

    /// Notes an end that no worker got an acknowledgement of.
    pub(crate) fn found_ended(&self) {
        let mut inner = self.lock();
        inner.open = inner.open.saturating_sub(1);
    }

    pub(crate) fn wait_for_signal(&self, id: &ExecutionId, waitpoint: &WaitpointId) {
        self.lock().waiting.push_back((id.clone(), waitpoint.clone()));
    }

    pub(crate) fn next_waiting(&self) -> Option<(ExecutionId, WaitpointId)> {
        self.lock().waiting.pop_front()
    }

    pub(crate) fn signalled(&self, id: &ExecutionId) {
        if let Some(known) = self.lock().executions.get_mut(id) {
            known.signals += 1;
        }
    }

    /// Prints the figures.
    pub(crate) fn report(&self, loaded: Duration, drained: Duration) {
        let inner = self.lock();
        let count = |of: &dyn Fn(&Known) -> usize| inner.executions.values().map(of).sum::<usize>();
        let unknown =
            |known: &Known| known.ends.iter().filter(|end| end.acknowledgement.is_none()).count();
        println!(
            "soak: {} s of load: {} acknowledged submissions, {} claims, {} signals, {} ends",
            loaded.as_secs(),
            count(&|known| usize::from(known.submission.is_some())),
            count(&|known| known.epochs.len()),
            count(&|known| known.signals),
            count(&|known| usize::from(known.has_ended())),
        );
        println!(
            "soak: {} ends without an acknowledgement; longest pause between two ends {} ms; \
             drained in {} ms",
            count(&unknown),
            inner.longest.as_millis(),
            drained.as_millis(),
        );
        for (failure, count) in &inner.failures {
            println!("soak: failed calls: {count} x {failure}");
        }
    }
}
