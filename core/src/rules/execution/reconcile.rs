//! Drift between what an execution's row derives and what it derives it from.
//!
//! Derived are the public state, from the other states; the time since which it can be claimed,
//! from its creation or due time; and the list of lanes, from the lanes of executions. The engine
//! writes all of them with every change, so only rows that were written by hand or restored in
//! parts drift. Ends are final: an ended execution stays as it is.

use std::collections::BTreeSet;

use uuid::Uuid;

use crate::contracts::ScannerFilter;
use crate::model::error::EngineError;
use crate::model::ids::{LaneId, TimestampMs};
use crate::model::state::{LifecyclePhase, PublicState, TerminalOutcome, derive_public_state};
use crate::plan::facts::{Facts, Row};
use crate::plan::value::Storable as _;
use crate::plan::{Expr, List, Predicate, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Step, Transition, Verdict};
use crate::rules::execution::{change, read};
use crate::rules::input;
use crate::rules::key::ExecutionKey;
use crate::rules::premise::{Condition, Premise, answer};
use crate::rules::scan::passes;
use crate::schema::Direction::Ascending;
use crate::schema::execution::{exec_core, unfinished};

/// The most executions on one page.
const PAGE: usize = 500;

/// An execution that has drifted, and its derived columns as they must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drifted {
    /// The execution.
    pub key: ExecutionKey,
    /// The version that was looked at.
    pub version: i64,
    /// The public state.
    pub public: PublicState,
    /// The time since which it can be claimed, Unix ms; 0 if it never could be.
    pub since_ms: i64,
}

/// One page of the executions that have not ended.
#[derive(Debug, Default)]
pub struct Page {
    /// Those that have drifted.
    pub drifted: Vec<Drifted>,
    /// The lanes of all of them.
    pub lanes: BTreeSet<LaneId>,
    /// Those that cannot be read, and why not.
    pub unreadable: Vec<(ExecutionKey, EngineError)>,
    /// The last execution of the page, if others may follow.
    pub last: Option<Uuid>,
}

/// Looks for drift on one page of a partition's executions, in the order of their ids.
#[derive(Clone, Debug)]
pub struct FindDrift {
    partition: i16,
    after: Uuid,
    chosen: Predicate,
}

impl FindDrift {
    /// The first page of the executions in these lanes, or in any, that pass the filter.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for a partition beyond what a row can store, a lane that is no
    /// lane name, or a filter that no execution can meet.
    pub fn new(
        partition: u16,
        lanes: &[LaneId],
        filter: &ScannerFilter,
    ) -> Result<Self, EngineError> {
        lanes.iter().try_for_each(input::lane)?;

        let mut chosen = unfinished();
        if !lanes.is_empty() {
            let names: Vec<String> = lanes.iter().map(|lane| lane.as_str().to_owned()).collect();
            chosen = chosen.and(Predicate::Among(exec_core::lane_id.column(), names.into_expr()));
        }
        if !filter.is_noop() {
            chosen = chosen.and(passes(filter)?);
        }
        Ok(Self { partition: input::partition(partition)?, after: Uuid::nil(), chosen })
    }

    /// The page that follows this execution.
    #[must_use]
    pub fn after(self, last: Uuid) -> Self {
        Self { after: last, ..self }
    }

    /// The partition, where all of its executions are meant.
    #[must_use]
    pub fn whole_partition(&self) -> Option<i16> {
        (self.chosen == unfinished()).then_some(self.partition)
    }

    fn list(&self) -> List {
        List {
            name: "executions that may have drifted".into(),
            table: exec_core::REF,
            join: None,
            of_each: None,
            columns: vec![
                exec_core::execution_id.column(),
                exec_core::lane_id.column(),
                exec_core::lifecycle_phase.column(),
                exec_core::eligibility_state.column(),
                exec_core::public_state.column(),
                exec_core::created_at_ms.column(),
                exec_core::eligible_at_ms.column(),
                exec_core::claimable_since_ms.column(),
                exec_core::version.column(),
            ],
            predicate: exec_core::partition_key
                .equals(self.partition)
                .and(exec_core::execution_id.above(self.after))
                .and(self.chosen.clone()),
            order: vec![(exec_core::execution_id.column(), Ascending)],
            limit: Expr::int(PAGE.try_into().unwrap_or(i64::MAX)),
        }
    }
}

impl Transition for FindDrift {
    type Outcome = Page;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Page>, EngineError> {
        let list = self.list();
        let Some(rows) = facts.list(&list) else {
            return Ok(Step::Read(vec![Query::List(list)]));
        };

        let mut page = Page::default();
        for row in rows {
            let uuid = row.read(exec_core::execution_id)?;
            let key = ExecutionKey { partition: self.partition, uuid };
            let looked_at = read::lane(row).and_then(|lane| {
                page.lanes.insert(lane);
                drift(key, row)
            });
            match looked_at {
                Ok(drifted) => page.drifted.extend(drifted),
                Err(error) => page.unreadable.push((key, error)),
            }
            page.last = Some(uuid);
        }

        if rows.len() < PAGE {
            page.last = None;
        }
        Ok(Step::Answer(page))
    }
}

/// The derived columns as they must be, if one of them is not.
fn drift(key: ExecutionKey, row: &Row) -> Result<Option<Drifted>, EngineError> {
    let (phase, eligibility) =
        (row.read(exec_core::lifecycle_phase)?, row.read(exec_core::eligibility_state)?);

    // A public state outside its set has drifted like any other.
    let stored = row.read(exec_core::public_state).ok();
    let resumable = stored == Some(PublicState::Resumable);
    let public = derive_public_state(phase, eligibility, TerminalOutcome::None, resumable);

    let recorded = row.read(exec_core::claimable_since_ms)?;
    let since_ms = match phase {
        LifecyclePhase::Submitted | LifecyclePhase::Runnable => {
            read::claimable_since(row)?.unwrap_or(recorded)
        }
        LifecyclePhase::Active
        | LifecyclePhase::Suspended
        | LifecyclePhase::Terminal
        | LifecyclePhase::Cancelled => recorded,
    };

    let version = row.read(exec_core::version)?;
    let is_sound = stored == Some(public) && recorded == since_ms;
    Ok((!is_sound).then_some(Drifted { key, version, public, since_ms }))
}

/// Repairs an execution that is still as it was looked at.
#[derive(Clone, Copy, Debug)]
pub struct Repair(pub Drifted);

impl Decision for Repair {
    /// True if it was repaired.
    type Outcome = bool;

    const NAME: &'static str = "reconcile_execution_index";

    fn premises(&self, _: TimestampMs) -> Vec<Premise<bool>> {
        let as_looked_at = exec_core::version.equals(self.0.version);
        let conditions = vec![Condition::new(as_looked_at, answer(false))];
        vec![Premise::execution(&self.0.key, conditions).or_if_absent(answer(false))]
    }

    fn expects(&self) -> bool {
        true
    }

    fn decide(&self, _: &Facts, now: TimestampMs, _: &mut Ctx<'_>) -> Decided<bool> {
        // Bound, so that every public state shares one shape.
        let public = Expr::text(self.0.public.as_str());
        let derived = [
            exec_core::public_state.set_expr(public),
            exec_core::claimable_since_ms.set(self.0.since_ms),
        ];
        Verdict::change([change::edits(derived, now)], true)
    }
}
