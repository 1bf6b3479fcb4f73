//! The execution of a lane that has waited longest, along the index of claims.
//!
//! The index has the executions of a lane by requirement, priority, and the time since which each
//! is claimable. So the longest waiting of the highest priority is one look for each requirement.
//! Then comes the next lower priority, until there is none. No other row is read.

use crate::contracts::OldestWaiting;
use crate::model::error::EngineError;
use crate::model::ids::{LaneId, TimestampMs};
use crate::plan::facts::{Facts, Row};
use crate::plan::{Expr, List, Query};
use crate::schema::Direction::{Ascending, Descending};
use crate::schema::execution::{claimable, exec_core};

/// The name of the looks.
const NAME: &str = "longest waiting";

/// A lane with priorities that are looked through.
struct Search {
    lane: LaneId,
    /// The highest priority that was not looked for; `None` at the end.
    next: Option<i32>,
    since: Option<i64>,
}

impl Search {
    /// The best execution of that priority or a lower one.
    fn look(&self, priority: i32) -> List {
        // The order of the claim's index, within each requirement.
        List {
            name: NAME.into(),
            table: exec_core::REF,
            join: None,
            of_each: None,
            columns: vec![
                exec_core::priority.column(),
                exec_core::claimable_since_ms.column(),
                exec_core::created_at_ms.column(),
            ],
            predicate: exec_core::lane_id
                .equals(self.lane.as_str().to_owned())
                .and(claimable())
                .and(exec_core::required_capabilities.each())
                .and(exec_core::priority.at_most(priority)),
            order: vec![
                (exec_core::priority.column(), Descending),
                (exec_core::claimable_since_ms.column(), Ascending),
                (exec_core::created_at_ms.column(), Ascending),
                (exec_core::execution_id.column(), Ascending),
            ],
            limit: Expr::int(1),
        }
    }

    fn learn(&mut self, found: Option<&Row>) -> Result<(), EngineError> {
        let Some(row) = found else {
            self.next = None;
            return Ok(());
        };

        // Rows inserted by plain SQL count from their creation.
        let since = match row.read(exec_core::claimable_since_ms)? {
            0 => row.read(exec_core::created_at_ms)?,
            since => since,
        };
        self.since = Some(self.since.map_or(since, |before| before.min(since)));
        self.next = row.read(exec_core::priority)?.checked_sub(1);
        Ok(())
    }
}

/// The longest waiting execution of each of these lanes, or what has to be read before.
pub(super) fn longest(
    lanes: Vec<LaneId>,
    facts: &Facts,
) -> Result<Result<Vec<OldestWaiting>, Vec<Query>>, EngineError> {
    let mut searches: Vec<Search> =
        lanes.into_iter().map(|lane| Search { lane, next: Some(i32::MAX), since: None }).collect();
    let mut answers = facts.pages(NAME);

    // Each round asks one look of every lane that has not come to its end, in their order.
    loop {
        let mut looks = Vec::new();
        for search in &mut searches {
            let Some(priority) = search.next else { continue };
            match answers.next() {
                Some(rows) => search.learn(rows.first())?,
                None => looks.push(Query::List(search.look(priority))),
            }
        }
        if !looks.is_empty() {
            return Ok(Err(looks));
        }
        if searches.iter().all(|search| search.next.is_none()) {
            break;
        }
    }

    let found = searches.into_iter().filter_map(|Search { lane, since, .. }| {
        Some(OldestWaiting { lane_id: lane, since: TimestampMs(since?) })
    });
    Ok(Ok(found.collect()))
}
