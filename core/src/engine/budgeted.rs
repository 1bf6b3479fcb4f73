//! Claims of executions with budgets: they offer room in the budgets that have it.
//!
//! Most databases have no such executions, and their claims must cost nothing more. So a process
//! remembers for a short time that it has seen none. That is safe: a claim that offers no room
//! takes no execution with a budget. A process knows at once of those that it has submitted itself.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use super::{Executor, run};
use crate::model::error::EngineError;
use crate::model::policy::ExecutionPolicy;
use crate::rules::budget::room::{AnyInUse, OpenBudgets};
use crate::rules::budget::token::token;

/// The time for which a process remembers that there are none, ms.
const PAUSE_MS: i64 = 250;

/// Whether a database has executions with budgets, as one process knows it.
#[derive(Debug, Default)]
pub(super) struct Budgeted {
    exist: AtomicBool,
    /// The time at which there were none, Unix ms.
    none_at_ms: AtomicI64,
}

impl Budgeted {
    /// Notes that an execution with that policy is submitted.
    pub(super) fn note(&self, policy: Option<&ExecutionPolicy>) {
        if policy.is_some_and(|policy| !policy.budget_ids.is_empty()) {
            self.exist.store(true, Ordering::Release);
        }
    }

    fn were_none(&self, now_ms: i64) -> bool {
        let since = now_ms.saturating_sub(self.none_at_ms.load(Ordering::Acquire));
        (0..PAUSE_MS).contains(&since)
    }

    async fn exist<E: Executor + ?Sized>(&self, executor: &E) -> Result<bool, EngineError> {
        if self.exist.load(Ordering::Acquire) {
            return Ok(true);
        }
        let now_ms = executor.now().0;
        if self.were_none(now_ms) {
            return Ok(false);
        }

        // Claims that begin meanwhile do not ask, too.
        self.none_at_ms.store(now_ms, Ordering::Release);
        let exist = run(executor, &AnyInUse).await?;
        self.exist.fetch_or(exist, Ordering::AcqRel);
        Ok(exist)
    }
}

/// The tokens of the budgets that have room; nothing where no execution has a budget.
pub(super) async fn open_budgets<E: Executor + ?Sized>(
    executor: &E,
) -> Result<Vec<String>, EngineError> {
    if !executor.process_state().budgeted.exist(executor).await? {
        return Ok(Vec::new());
    }
    let open = run(executor, &OpenBudgets).await?;
    Ok(open.iter().map(|budget| token(budget)).collect())
}
