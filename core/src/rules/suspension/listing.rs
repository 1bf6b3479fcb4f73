//! Lists of what waits: suspended executions, their waitpoints, the signals they have.

use crate::contracts::{
    ListPendingWaitpointsArgs, ListPendingWaitpointsResult, ListSuspendedPage,
    PendingWaitpointInfo, ResumeSignal, SuspendedExecutionEntry,
};
use crate::model::error::EngineError;
use crate::model::ids::{ExecutionId, TimestampMs, WaitpointId};
use crate::model::partition::PartitionKey;
use crate::model::state::{ClosedSet, LifecyclePhase, WaitpointState};
use crate::plan::facts::{Facts, Row};
use crate::plan::{Join, List, Predicate, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Transition};
use crate::rules::execution::listing::split;
use crate::rules::input::{self, PAGE_MAX};
use crate::rules::key::ExecutionKey;
use crate::rules::keystore::fingerprint;
use crate::rules::premise::{execution_row, existing, lookup};
use crate::rules::suspension::collected::Collected;
use crate::rules::suspension::row::{SUSPENSION, WAITPOINT, suspension_row};
use crate::rules::suspension::waitpoint;
use crate::schema::Direction::Ascending;
use crate::schema::execution::exec_core;
use crate::schema::suspension::{suspension_current, waitpoint_pending};

/// The number of waitpoints on a page unless the caller gives one.
const WAITPOINTS_DEFAULT: u32 = 100;

/// The open waitpoints of an execution, by id.
#[derive(Clone, Debug)]
pub struct Waitpoints {
    key: ExecutionKey,
    after: Option<WaitpointId>,
    page: usize,
}

impl Waitpoints {
    /// A page of 1 to 1000, 100 unless said otherwise.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for a partition beyond what a row can store.
    pub fn of(args: &ListPendingWaitpointsArgs) -> Result<Self, EngineError> {
        let asked = usize::try_from(args.limit.unwrap_or(WAITPOINTS_DEFAULT)).unwrap_or(PAGE_MAX);
        let page = asked.clamp(1, PAGE_MAX);
        let key = ExecutionKey::of(&args.execution_id)?;
        Ok(Self { key, after: args.after.clone(), page })
    }

    /// The list of them.
    #[must_use]
    pub fn list(&self) -> List {
        let open = [WaitpointState::Pending, WaitpointState::Active];
        let mut predicate = waitpoint_pending::partition_key
            .equals(self.key.partition)
            .and(waitpoint_pending::execution_id.equals(self.key.uuid))
            .and(waitpoint_pending::state.is_one_of(&open));
        if let Some(after) = &self.after {
            predicate = predicate.and(waitpoint_pending::waitpoint_id.above(after.0));
        }

        List {
            name: "open waitpoints".into(),
            table: waitpoint_pending::REF,
            join: None,
            of_each: None,
            columns: waitpoint_pending::REF.columns.to_vec(),
            predicate,
            order: vec![(waitpoint_pending::waitpoint_id.column(), Ascending)],
            limit: crate::rules::execution::listing::limit(self.page),
        }
    }
}

impl Transition for Waitpoints {
    type Outcome = ListPendingWaitpointsResult;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        let list = self.list();
        let Some(rows) = facts.list(&list) else {
            let core = execution_row(&self.key, vec![exec_core::version.column()]);
            return Ok(Step::Read(vec![Query::Lookup(vec![core]), Query::List(list)]));
        };

        existing(facts)?;

        let info = |row: &Row| waitpoint_info(row, &self.key);
        let entries = rows.iter().map(info).collect::<Result<Vec<_>, _>>()?;
        let (entries, more) = split(entries, self.page);
        let next = more.then(|| entries.last().map(|entry| entry.waitpoint_id.clone())).flatten();

        let page = ListPendingWaitpointsResult::new(entries);
        Ok(Step::Answer(match next {
            Some(next) => page.with_next_cursor(next),
            None => page,
        }))
    }
}

fn waitpoint_info(row: &Row, key: &ExecutionKey) -> Result<PendingWaitpointInfo, EngineError> {
    let (kid, print) = fingerprint(&row.read(waitpoint_pending::token)?);
    let kid = if kid.is_empty() { kid } else { row.read(waitpoint_pending::token_kid)? };

    let mut info = PendingWaitpointInfo::new(
        WaitpointId::from_uuid(row.read(waitpoint_pending::waitpoint_id)?),
        row.read(waitpoint_pending::waitpoint_key)?,
        row.read(waitpoint_pending::state)?.as_str().to_owned(),
        TimestampMs(row.read(waitpoint_pending::created_at_ms)?),
        key.id(),
        kid,
        print,
    )
    .with_required_signal_names(row.read(waitpoint_pending::required_signal_names)?);

    if let Some(at) = row.read(waitpoint_pending::activated_at_ms)? {
        info = info.with_activated_at(TimestampMs(at));
    }
    if let Some(at) = row.read(waitpoint_pending::expires_at_ms)? {
        info = info.with_expires_at(TimestampMs(at));
    }
    Ok(info)
}

/// The stored token of a waitpoint.
#[derive(Clone, Debug)]
pub struct Token {
    partition: i16,
    id: WaitpointId,
}

impl Token {
    /// The token of that waitpoint.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for an invalid partition key.
    pub fn of(partition: &PartitionKey, id: &WaitpointId) -> Result<Self, EngineError> {
        let parsed =
            partition.parse().map_err(|error| input::invalid(format!("partition_key: {error}")))?;
        Ok(Self { partition: input::partition(parsed.index)?, id: id.clone() })
    }
}

impl Transition for Token {
    type Outcome = Option<String>;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        if !facts.have_rows() {
            let key = waitpoint::waitpoint_key(self.partition, &self.id);
            let row = lookup(WAITPOINT, waitpoint_pending::REF, key);
            return Ok(Step::Read(vec![Query::Lookup(vec![row])]));
        }
        let Some(row) = facts.row(WAITPOINT) else { return Ok(Step::Answer(None)) };
        let token = row.read(waitpoint_pending::token)?;
        Ok(Step::Answer((!token.is_empty()).then_some(token)))
    }
}

/// The signals that an execution's suspension has collected.
#[derive(Clone, Copy, Debug)]
pub struct Signals {
    /// The execution.
    pub key: ExecutionKey,
}

impl Transition for Signals {
    type Outcome = Vec<ResumeSignal>;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        if !facts.have_rows() {
            return Ok(Step::Read(vec![Query::Lookup(vec![suspension_row(&self.key)])]));
        }
        let Some(row) = facts.row(SUSPENSION) else { return Ok(Step::Answer(Vec::new())) };
        let collected = Collected::of(row.read(suspension_current::member_map)?)?;
        Ok(Step::Answer(collected.all()))
    }
}

/// The suspended executions of a partition, the longest suspended first.
#[derive(Clone, Debug)]
pub struct Suspended {
    partition: i16,
    cursor: Option<ExecutionId>,
    page: usize,
}

impl Suspended {
    /// A limit of 0 is an empty page; more than 1000 counts as 1000.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for an invalid partition key.
    pub fn of(
        partition: &PartitionKey,
        cursor: Option<ExecutionId>,
        limit: usize,
    ) -> Result<Self, EngineError> {
        let partition = input::partition_key("list_suspended", partition)?;
        Ok(Self { partition, cursor, page: limit.min(PAGE_MAX) })
    }

    fn list(&self, cursor: Option<&Row>) -> Result<List, EngineError> {
        let (since, id) = (suspension_current::suspended_at_ms, suspension_current::execution_id);
        let mut predicate = suspension_current::partition_key
            .equals(self.partition)
            .and(exec_core::lifecycle_phase.is(LifecyclePhase::Suspended));

        if let Some(after) = &self.cursor {
            // The execution that the cursor names may have gone on since: then by id alone.
            predicate = predicate.and(match cursor {
                Some(row) => {
                    Predicate::After(vec![since.with(row.read(since)?), id.with(after.uuid())])
                }
                None => id.above(after.uuid()),
            });
        }

        Ok(List {
            name: "suspended executions".into(),
            table: suspension_current::REF,
            of_each: None,
            join: Some(Join {
                table: exec_core::REF,
                on: vec![
                    (suspension_current::partition_key.column(), exec_core::partition_key.column()),
                    (id.column(), exec_core::execution_id.column()),
                ],
            }),
            columns: vec![
                suspension_current::partition_key.column(),
                id.column(),
                since.column(),
                suspension_current::reason_code.column(),
            ],
            predicate,
            order: vec![(since.column(), Ascending), (id.column(), Ascending)],
            limit: crate::rules::execution::listing::limit(self.page),
        })
    }

    fn answer(&self, rows: &[Row]) -> Result<ListSuspendedPage, EngineError> {
        let entry = |row: &Row| {
            let uuid = row.read(suspension_current::execution_id)?;
            Ok(SuspendedExecutionEntry::new(
                ExecutionKey { partition: self.partition, uuid }.id(),
                row.read(suspension_current::suspended_at_ms)?,
                row.read(suspension_current::reason_code)?.unwrap_or_default(),
            ))
        };

        let entries = rows.iter().map(entry).collect::<Result<Vec<_>, EngineError>>()?;
        let (entries, more) = split(entries, self.page);
        let cursor = more.then(|| entries.last().map(|entry| entry.execution_id.clone())).flatten();
        Ok(ListSuspendedPage::new(entries, cursor))
    }
}

impl Transition for Suspended {
    type Outcome = ListSuspendedPage;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        if self.page == 0 {
            return Ok(Step::Answer(ListSuspendedPage::new(Vec::new(), None)));
        }

        // The page begins behind the execution that the cursor names, wherever that is now.
        let after = match (&self.cursor, facts.have_rows()) {
            (None, _) => None,
            (Some(cursor), false) => {
                let key = ExecutionKey { partition: self.partition, uuid: cursor.uuid() };
                return Ok(Step::Read(vec![Query::Lookup(vec![suspension_row(&key)])]));
            }
            (Some(_), true) => facts.row(SUSPENSION),
        };

        let list = self.list(after)?;
        match facts.list(&list) {
            None => Ok(Step::Read(vec![Query::List(list)])),
            Some(rows) => self.answer(rows).map(Step::Answer),
        }
    }
}
