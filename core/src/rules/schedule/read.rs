//! Reading schedules.

use crate::contracts::{
    LIST_SCHEDULES_MAX, ListSchedulesArgs, ScheduleId, ScheduleInfo, SchedulesPage,
};
use crate::model::error::EngineError;
use crate::model::partition::PartitionConfig;
use crate::plan::facts::Facts;
use crate::plan::{List, Predicate, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Transition};
use crate::rules::execution::listing::{Listing, limit, split};
use crate::rules::input;
use crate::rules::schedule::key::{SCHEDULE, ScheduleKey};
use crate::rules::schedule::row;
use crate::schema::Direction::Ascending;
use crate::schema::schedule::schedule;

/// Reads a schedule; `None` where there is none.
#[derive(Clone, Debug)]
pub struct ReadSchedule(ScheduleKey);

impl ReadSchedule {
    /// Checks the argument.
    ///
    /// # Errors
    /// As [`ScheduleKey::of`].
    pub fn new(id: &ScheduleId, partitions: &PartitionConfig) -> Result<Self, EngineError> {
        Ok(Self(ScheduleKey::of(id, partitions)?))
    }
}

impl Transition for ReadSchedule {
    type Outcome = Option<ScheduleInfo>;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        if !facts.have_rows() {
            return Ok(Step::Read(vec![Query::Lookup(vec![self.0.lookup()])]));
        }
        facts.row(SCHEDULE).map(row::read).transpose().map(Step::Answer)
    }
}

/// The schedules of a namespace, or of all of them, by namespace and name.
///
/// # Errors
/// `Validation(InvalidInput)` for a namespace or a cursor with NUL.
pub fn schedules(args: &ListSchedulesArgs) -> Result<Listing<SchedulesPage>, EngineError> {
    let page = usize::try_from(args.limit.min(LIST_SCHEDULES_MAX)).unwrap_or(0);
    let (namespace, name) = (schedule::namespace, schedule::name);

    let mut predicate = Predicate::Always;
    if let Some(only) = &args.namespace {
        input::text("namespace", only.as_str())?;
        predicate = namespace.equals(only.as_str().to_owned());
    }
    if let Some(after) = &args.after {
        input::text("after", after.namespace.as_str())?;
        input::text("after", &after.name)?;
        let past = vec![
            namespace.with(after.namespace.as_str().to_owned()),
            name.with(after.name.clone()),
        ];
        predicate = predicate.and(Predicate::After(past));
    }

    let list = List {
        name: "schedules".into(),
        table: schedule::REF,
        join: None,
        of_each: None,
        columns: schedule::REF.columns.to_vec(),
        predicate,
        order: vec![(namespace.column(), Ascending), (name.column(), Ascending)],
        limit: limit(page),
    };
    Ok(Listing::new(list, page, |rows, page| {
        let schedules = rows.iter().map(row::read).collect::<Result<Vec<_>, _>>()?;
        let (schedules, more) = split(schedules, page);
        let last = schedules.last().map(|last| last.id.clone());
        Ok(SchedulesPage { schedules, next_cursor: last.filter(|_| more) })
    }))
}
