//! What the callers asked for, and what was acknowledged.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use flowfabric_sql::core::types::{LeaseEpoch, WaitpointId};
use flowfabric_sql::{EngineError, ExecutionId};

/// A result that a worker has asked to be stored.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) result: Vec<u8>,
    pub(crate) is_acknowledged: bool,
}

/// One execution, as its callers know it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    pub(crate) is_submitted: bool,
    /// The acknowledged grants of its lease.
    pub(crate) epochs: HashSet<LeaseEpoch>,
    pub(crate) ends: Vec<End>,
    pub(crate) is_suspended: bool,
    pub(crate) signals: usize,
}

impl Known {
    pub(crate) fn has_ended(&self) -> bool {
        self.ends.iter().any(|end| end.is_acknowledged)
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

    pub(crate) fn submitted(&self, id: &ExecutionId) {
        if let Some(known) = self.lock().executions.get_mut(id) {
            known.is_submitted = true;
        }
    }

    /// Notes a grant.
    pub(crate) fn granted(&self, id: &ExecutionId, epoch: LeaseEpoch) {
        let mut inner = self.lock();
        let known = inner.executions.entry(id.clone()).or_default();
        let is_new = known.epochs.insert(epoch);
        let had_ended = known.has_ended();
        if !is_new {
            inner.violations.push(format!("{id}: epoch {epoch:?} was granted twice"));
        }
        if had_ended {
            inner.violations.push(format!("{id}: claimed in epoch {epoch:?} after its end"));
        }
    }

    /// True if the execution has not been suspended before, as far as is known.
    pub(crate) fn ask_to_suspend(&self, id: &ExecutionId) -> bool {
        let mut inner = self.lock();
        let known = inner.executions.entry(id.clone()).or_default();
        !std::mem::replace(&mut known.is_suspended, true)
    }

    pub(crate) fn ask_to_end(&self, id: &ExecutionId, result: &[u8]) {
        let end = End { result: result.to_vec(), is_acknowledged: false };
        self.lock().executions.entry(id.clone()).or_default().ends.push(end);
    }

    /// Notes an acknowledged end.
    pub(crate) fn ended(&self, id: &ExecutionId, result: &[u8]) {
        let mut inner = self.lock();
        let Some(known) = inner.executions.get_mut(id) else { return };
        let had_ended = known.has_ended();
        for end in known.ends.iter_mut().filter(|end| end.result == result) {
            end.is_acknowledged = true;
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
        let unknown = |known: &Known| known.ends.iter().filter(|end| !end.is_acknowledged).count();
        println!(
            "soak: {} s of load: {} acknowledged submissions, {} claims, {} signals, {} ends",
            loaded.as_secs(),
            count(&|known| usize::from(known.is_submitted)),
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
