//! The executions that have ended, page by page, and the rule that decides about each.
//!
//! No index lists them. The completion outbox does: every end writes one event, in the order of the
//! ends. An execution that was replayed has several; the row itself says how it ended last. Rows
//! without an event, of older databases, are found by key.

use uuid::Uuid;

use crate::contracts::{ExecutionQuery, Newest, RetentionRule, ScannerFilter};
use crate::model::error::EngineError;
use crate::model::ids::{ExecutionId, Namespace, TimestampMs};
use crate::model::partition::PartitionConfig;
use crate::model::state::PublicState;
use crate::plan::facts::{Facts, Row};
use crate::plan::{Expr, Held, Join, List, Predicate, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Transition};
use crate::rules::execution::listing::filters;
use crate::rules::execution::read::text;
use crate::rules::flow::key::FlowKey;
use crate::rules::input;
use crate::rules::key::ExecutionKey;
use crate::schema::execution::{exec_core, finished};
use crate::schema::outbox::completion_event;
use crate::schema::{ColumnRef, Direction};

/// The most events or rows that one statement of a pass looks at.
pub const PAGE: u32 = 500;

/// The states that an execution can end in.
pub const OUTCOMES: [PublicState; 5] = [
    PublicState::Completed,
    PublicState::Failed,
    PublicState::Cancelled,
    PublicState::Expired,
    PublicState::Skipped,
];

/// An execution that had ended when it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// The execution.
    pub key: ExecutionKey,
    /// Its flow.
    pub flow: Option<FlowKey>,
    /// Its lane.
    pub lane: String,
    /// Its outcome; `None` for a word that no engine knows.
    pub outcome: Option<PublicState>,
    /// Its end, Unix ms. Where none is stored, the latest time that the row holds.
    pub at_ms: i64,
    /// The last change of the row, Unix ms; 0 where none is stored.
    changed_at_ms: i64,
    /// Its namespace.
    namespace: Option<String>,
    /// Its tags.
    tags: Option<serde_json::Value>,
    /// The version of the row.
    pub version: i64,
    /// What was read of the row.
    row: Row,
}

/// One page of a walk: the executions on it that have ended, each with the number of the event.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<P> {
    /// Those that have ended, in the order of the walk.
    pub ended: Vec<(P, Ended)>,
    /// The number of events or rows looked at.
    pub looked_at: u64,
    /// The number of rows that cannot be read, which are passed over.
    pub unreadable: u64,
    /// The place of the last of them; `None` if there was none.
    pub last: Option<P>,
}

/// Reads one page of the completion outbox, in either direction.
#[derive(Clone, Copy, Debug)]
pub struct ByEvent {
    /// The number of the event before the page.
    pub from: i64,
    /// Ascending from the oldest event, descending from the newest.
    pub direction: Direction,
}

impl Transition for ByEvent {
    type Outcome = Page<i64>;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Page<i64>>, EngineError> {
        let (name, predicate) = match self.direction {
            Direction::Ascending => {
                ("ends, oldest first", completion_event::event_id.above(self.from))
            }
            Direction::Descending => {
                ("ends, newest first", completion_event::event_id.below(self.from))
            }
        };
        let columns = [completion_event::event_id.column()].into_iter().chain(columns());

        let list = List {
            name: name.into(),
            table: completion_event::REF,
            of_each: None,
            join: Some(Join {
                table: exec_core::REF,
                on: vec![
                    (completion_event::partition_key.column(), exec_core::partition_key.column()),
                    (completion_event::execution_id.column(), exec_core::execution_id.column()),
                ],
            }),
            columns: columns.collect(),
            predicate,
            order: vec![(completion_event::event_id.column(), self.direction)],
            limit: Expr::int(i64::from(PAGE)),
        };
        page(facts, list, |row| row.read(completion_event::event_id))
    }
}

/// Reads one page of executions by key, in one partition or in all.
#[derive(Clone, Copy, Debug)]
pub struct ByKey {
    /// The key before the page.
    pub after: (i16, Uuid),
    /// True if the page stays in that partition.
    pub within_partition: bool,
}

impl Transition for ByKey {
    type Outcome = Page<(i16, Uuid)>;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        let (partition, uuid) = self.after;
        let (name, predicate) = if self.within_partition {
            let of_partition = exec_core::partition_key.equals(partition);
            let after = exec_core::execution_id.above(uuid);
            ("executions of a partition, by key", of_partition.and(after))
        } else {
            let key =
                [exec_core::partition_key.with(partition), exec_core::execution_id.with(uuid)];
            ("executions by key", Predicate::After(key.into()))
        };

        let list = List {
            name: name.into(),
            table: exec_core::REF,
            join: None,
            of_each: None,
            columns: columns(),
            predicate,
            order: vec![
                (exec_core::partition_key.column(), Direction::Ascending),
                (exec_core::execution_id.column(), Direction::Ascending),
            ],
            limit: Expr::int(i64::from(PAGE)),
        };
        page(facts, list, |row| {
            Ok((row.read(exec_core::partition_key)?, row.read(exec_core::execution_id)?))
        })
    }
}

/// Reads one page of the members of a flow, by id.
#[derive(Clone, Copy, Debug)]
pub struct MembersOf {
    /// The flow.
    pub flow: FlowKey,
    /// The member before the page.
    pub after: Uuid,
}

impl Transition for MembersOf {
    type Outcome = Page<Uuid>;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Page<Uuid>>, EngineError> {
        let list = List {
            name: "members of a flow, by key".into(),
            table: exec_core::REF,
            join: None,
            of_each: None,
            columns: columns(),
            predicate: self.flow.members().and(exec_core::execution_id.above(self.after)),
            order: vec![(exec_core::execution_id.column(), Direction::Ascending)],
            limit: Expr::int(i64::from(PAGE)),
        };
        page(facts, list, |row| row.read(exec_core::execution_id))
    }
}

fn columns() -> Vec<ColumnRef> {
    vec![
        exec_core::partition_key.column(),
        exec_core::execution_id.column(),
        exec_core::flow_id.column(),
        exec_core::lane_id.column(),
        exec_core::lifecycle_phase.column(),
        exec_core::public_state.column(),
        exec_core::terminal_at_ms.column(),
        exec_core::created_at_ms.column(),
        exec_core::started_at_ms.column(),
        exec_core::last_changed_at_ms.column(),
        exec_core::raw_fields.column(),
        exec_core::version.column(),
    ]
}

fn page<P: Copy + Send>(
    facts: &Facts,
    list: List,
    place: impl Fn(&Row) -> Result<P, EngineError>,
) -> Result<Step<Page<P>>, EngineError> {
    let Some(rows) = facts.list(&list) else {
        return Ok(Step::Read(vec![Query::List(list)]));
    };

    let looked_at = rows.len() as u64;
    let mut page = Page { ended: Vec::new(), looked_at, unreadable: 0, last: None };
    for row in rows {
        let at = place(row)?;
        page.last = Some(at);
        if !finished().accepts(row, &Held::default()) {
            continue;
        }
        match Ended::read(row) {
            Ok(ended) => page.ended.push((at, ended)),
            Err(_) => page.unreadable += 1,
        }
    }
    Ok(Step::Answer(page))
}

impl Ended {
    fn read(row: &Row) -> Result<Self, EngineError> {
        let partition = row.read(exec_core::partition_key)?;
        let flow = row.read(exec_core::flow_id)?;
        let raw = row.read(exec_core::raw_fields)?;

        let known = [
            row.read(exec_core::created_at_ms)?,
            row.read(exec_core::started_at_ms)?.unwrap_or_default(),
            row.read(exec_core::last_changed_at_ms)?,
        ];
        let at = row.read(exec_core::terminal_at_ms)?;
        let at_ms = at.or_else(|| known.into_iter().max()).unwrap_or_default();

        Ok(Self {
            key: ExecutionKey { partition, uuid: row.read(exec_core::execution_id)? },
            flow: flow.map(|uuid| FlowKey { partition, uuid }),
            lane: row.read(exec_core::lane_id)?,
            outcome: row.read(exec_core::public_state).ok(),
            at_ms,
            changed_at_ms: row.read(exec_core::last_changed_at_ms)?,
            namespace: text(&raw, "namespace"),
            tags: raw.get("tags").cloned(),
            version: row.read(exec_core::version)?,
            row: row.clone(),
        })
    }

    /// The id, for logs.
    #[must_use]
    pub fn id(&self) -> ExecutionId {
        self.key.id()
    }

    /// True if the row changed after its end, at that time or later: an archive that was begun then
    /// may hold the row as it was before.
    #[must_use]
    pub fn changed_since(&self, at_ms: i64) -> bool {
        self.at_ms < self.changed_at_ms && at_ms <= self.changed_at_ms
    }

    /// True if the row meets the filters of a query, which were checked before.
    fn matches(&self, query: &ExecutionQuery) -> bool {
        let filters = filters(query, &PartitionConfig::default());
        filters.is_ok_and(|filters| filters.accepts(&self.row, &Held::default()))
    }

    fn passes(&self, filter: &ScannerFilter) -> bool {
        let namespace = filter.namespace.as_ref().map(Namespace::as_str);
        let tagged = filter.instance_tag.as_ref().is_none_or(|(key, value)| {
            let tag = self.tags.as_ref().and_then(|tags| tags.get(key));
            tag.and_then(serde_json::Value::as_str) == Some(value)
        });
        namespace.is_none_or(|wanted| self.namespace.as_deref() == Some(wanted)) && tagged
    }
}

/// Checks the rules of a pass.
///
/// # Errors
/// `Validation(InvalidInput)` naming the field.
pub fn check(rules: &[RetentionRule]) -> Result<(), EngineError> {
    for rule in rules {
        if let Some(lane) = &rule.lane {
            input::lane(lane)?;
        }
        if let Some(state) = rule.outcomes.iter().find(|state| !OUTCOMES.contains(state)) {
            return Err(input::invalid(format!("outcomes: {} is no outcome", state.as_str())));
        }
        if let Some(query) = &rule.matching {
            // The partitions bear on flows alone.
            filters(query, &PartitionConfig::default())?;
            if query.flow_id.is_some() {
                return Err(input::invalid("matching: a flow is removed as a whole"));
            }
            if query.worker.is_some() {
                return Err(input::invalid("matching: the worker is not looked at"));
            }
        }
    }
    Ok(())
}

/// The rule that decides about an execution, with its place among the rules: the first that selects
/// it.
#[must_use]
pub fn rule_of<'a>(
    rules: &'a [RetentionRule],
    ended: &Ended,
) -> Option<(usize, &'a RetentionRule)> {
    rules.iter().enumerate().find(|(_, rule)| {
        rule.lane.as_ref().is_none_or(|lane| lane.as_str() == ended.lane)
            && (rule.outcomes.is_empty()
                || ended.outcome.is_some_and(|outcome| rule.outcomes.contains(&outcome)))
            && ended.passes(&rule.filter)
            && rule.matching.as_ref().is_none_or(|query| ended.matches(query))
    })
}

/// True if the count of the rule keeps an execution: it is among the newest of its lane, or there
/// are no more than the rule keeps.
#[must_use]
pub fn is_kept(rule: &RetentionRule, newest: Option<&Newest>, ended: &Ended) -> bool {
    let of_lane = newest.and_then(|newest| newest.get(&ended.lane));
    rule.keep != 0
        && of_lane
            .is_none_or(|kept| (kept.len() as u64) < rule.keep || kept.contains(&ended.key.uuid))
}

/// The latest end that the rule removes, Unix ms.
#[must_use]
pub fn latest_end(rule: &RetentionRule, now: TimestampMs) -> i64 {
    now.0.saturating_sub(input::span_ms(rule.older_than_ms))
}
