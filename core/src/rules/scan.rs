//! Which rows are due: what the scanners look for, a bounded batch at a time, the longest overdue
//! first.

use crate::EngineError;
use crate::ctx::Ctx;
use crate::engine::{Step, Transition};
use crate::engine_backend::Scan;
use crate::facts::{Facts, Row};
use crate::plan::{Expr, List, Query};
use crate::rules::key::ExecutionKey;
use crate::rules::listing::{by_expiry, core_of_current_attempt, lapsed_leases};
use crate::schema::Direction::Ascending;
use crate::schema::execution::{attempt, delayed, exec_core, has_live_deadline, timed};
use crate::state::LifecyclePhase;
use crate::types::TimestampMs;

/// Lists the executions that a scan has to look at.
#[derive(Clone, Copy, Debug)]
pub struct Due {
    /// For what.
    pub scan: Scan,
    /// At most how many.
    pub limit: u32,
}

impl Transition for Due {
    type Outcome = Vec<ExecutionKey>;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        let Some(rows) = facts.list(0) else {
            return Ok(Step::Read(vec![Query::List(self.list(ctx.now))]));
        };
        let read = match self.scan {
            Scan::LeaseExpiry | Scan::AttemptTimeout => key_of_attempt,
            Scan::ExecutionDeadline | Scan::DelayedPromotion => key_of_core,
        };
        let keys = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        Ok(Step::Answer(keys))
    }
}

impl Due {
    fn list(&self, now: TimestampMs) -> List {
        let of_core = vec![exec_core::partition_key.column(), exec_core::execution_id.column()];
        let of_attempt = vec![attempt::partition_key.column(), attempt::execution_id.column()];
        let limit = Expr::int(i64::from(self.limit));
        let id = (exec_core::execution_id.column(), Ascending);
        match self.scan {
            Scan::LeaseExpiry => List {
                name: "lapsed leases".into(),
                table: attempt::REF,
                join: Some(core_of_current_attempt()),
                columns: of_attempt,
                predicate: lapsed_leases(now),
                order: by_expiry(),
                limit,
            },
            Scan::AttemptTimeout => List {
                name: "attempts out of time".into(),
                table: attempt::REF,
                join: Some(core_of_current_attempt()),
                columns: of_attempt,
                predicate: timed()
                    .and(attempt::timeout_at_ms.at_most(Some(now.0)))
                    .and(exec_core::lifecycle_phase.is(LifecyclePhase::Active)),
                order: vec![
                    (attempt::timeout_at_ms.column(), Ascending),
                    (attempt::execution_id.column(), Ascending),
                ],
                limit,
            },
            Scan::ExecutionDeadline => List {
                name: "executions past their deadline".into(),
                table: exec_core::REF,
                join: None,
                columns: of_core,
                predicate: has_live_deadline().and(exec_core::deadline_at_ms.at_most(Some(now.0))),
                order: vec![(exec_core::deadline_at_ms.column(), Ascending), id],
                limit,
            },
            Scan::DelayedPromotion => List {
                name: "delayed executions that are due".into(),
                table: exec_core::REF,
                join: None,
                columns: of_core,
                predicate: delayed().and(
                    exec_core::eligible_at_ms
                        .is_null()
                        .or(exec_core::eligible_at_ms.at_most(Some(now.0))),
                ),
                order: vec![(exec_core::eligible_at_ms.column(), Ascending), id],
                limit,
            },
        }
    }
}

fn key_of_core(row: &Row) -> Result<ExecutionKey, EngineError> {
    let partition = row.read(exec_core::partition_key)?;
    Ok(ExecutionKey { partition, uuid: row.read(exec_core::execution_id)? })
}

fn key_of_attempt(row: &Row) -> Result<ExecutionKey, EngineError> {
    let partition = row.read(attempt::partition_key)?;
    Ok(ExecutionKey { partition, uuid: row.read(attempt::execution_id)? })
}
