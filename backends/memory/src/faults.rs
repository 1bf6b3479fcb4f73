//! Faults that a test orders: what a database does when its machine or its network fails.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ff_core::EngineError;
use ff_core::engine_error::{StoreClass, StoreError};

/// A fault of one commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The plan is not applied, and the caller gets an error that a repetition may mend.
    BeforeCommit,
    /// The plan is applied, and the caller gets an error that does not tell so.
    AfterCommit,
    /// The plan is applied, and the caller gets its answer after that time.
    LateAnswer(Duration),
}

/// The faults that are ordered, each for the next commit of one plan.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<Vec<(String, Fault)>>);

impl Faults {
    pub(crate) fn order(&self, plan: &str, fault: Fault) {
        self.lock().push((plan.to_owned(), fault));
    }

    /// Takes the fault that was ordered first for that plan.
    pub(crate) fn take(&self, plan: &str) -> Option<Fault> {
        let mut faults = self.lock();
        let place = faults.iter().position(|(of, _)| of == plan)?;
        Some(faults.remove(place).1)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(String, Fault)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The error of a commit that was not applied, or perhaps was.
pub(crate) fn failure(class: StoreClass) -> EngineError {
    StoreError::new(class, "a fault that the test ordered").in_backend("memory")
}
