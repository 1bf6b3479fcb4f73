//! The claims of this process that are under way: what they take shows in no row yet.
//!
//! Claims of one process that list the same executions then try different ones, with different
//! parts of their limits. Between processes the database decides: the later claim is refused, and
//! lists again.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::rules::limit::admit::{Admission, Asking, UnderWay};
use crate::rules::limit::held::Holdings;
use crate::rules::limit::read::HeldLimits;

/// The claims under way.
#[derive(Debug, Default)]
pub(super) struct ClaimsUnderWay {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    executions: BTreeSet<Uuid>,
    limits: UnderWay,
}

/// The answer to a claim that wants an execution.
pub(super) enum Chosen<'a> {
    /// It may try, with these parts of its limits.
    Try(Attempt<'a>),
    /// Another claim tries it.
    Busy,
    /// This key of a limit has not enough left.
    Full(String),
}

/// A claim of one execution under way, until it is dropped.
pub(super) struct Attempt<'a> {
    claims: &'a ClaimsUnderWay,
    execution: Uuid,
    pub(super) holdings: Holdings,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut state = self.claims.lock();
        state.executions.remove(&self.execution);
        state.limits.remove(&self.holdings);
    }
}

impl ClaimsUnderWay {
    /// The number of executions that claims try.
    pub(super) fn count(&self) -> u32 {
        self.lock().executions.len().try_into().unwrap_or(u32::MAX)
    }

    /// Begins the claim of an execution, if its limits, as they were read, have room.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a stored limit that cannot be read.
    pub(super) fn begin(
        &self,
        held: &HeldLimits,
        asking: &Asking,
        at: TimestampMs,
    ) -> Result<Chosen<'_>, EngineError> {
        let execution = asking.execution.uuid;
        let mut state = self.lock();
        if state.executions.contains(&execution) {
            return Ok(Chosen::Busy);
        }

        let holdings = match held.admit(asking, &state.limits, at)? {
            Admission::Admitted(holdings) => holdings,
            Admission::Full(key) => return Ok(Chosen::Full(key)),
        };
        state.executions.insert(execution);
        state.limits.add(&holdings);
        Ok(Chosen::Try(Attempt { claims: self, execution, holdings }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
