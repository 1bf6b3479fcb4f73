//! Setting, removing and listing limits.

use crate::contracts::{LIMIT_RUNNING_MAX, LimitInfo, ListLimitsPage, SetLimitArgs};
use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::model::partition::PartitionConfig;
use crate::plan::facts::{Facts, Row};
use crate::plan::{List, Mutation, OnConflict, OnTaken, Plan, Predicate, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Step, Then, Transition, Verdict};
use crate::rules::execution::listing::{limit as one_more, split};
use crate::rules::input::{self, PAGE_MAX};
use crate::rules::limit::cell::{Rate, number, rate_in};
use crate::rules::limit::key::{LIMIT, LimitKey, check};
use crate::rules::premise::{Premise, answer};
use crate::schema::Direction::Ascending;
use crate::schema::limit::limit;

/// Sets the limit of a key or a family. What runs already goes on.
#[derive(Clone, Debug)]
pub struct SetLimit {
    key: LimitKey,
    args: SetLimitArgs,
}

impl SetLimit {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field: a key that is empty or too long, a number out
    /// of its bounds, text with NUL.
    pub fn new(args: SetLimitArgs, partitions: &PartitionConfig) -> Result<Self, EngineError> {
        check("limit_key", &args.limit_key)?;
        input::name("actor", &args.actor)?;
        if let Some(max) = args.max_running.filter(|max| LIMIT_RUNNING_MAX < *max) {
            let most = LIMIT_RUNNING_MAX;
            return Err(input::invalid(format!("max_running: {max} exceeds {most}")));
        }
        args.rate.as_ref().map(Rate::new).transpose()?;
        Ok(Self { key: LimitKey::new(&args.limit_key, partitions)?, args })
    }
}

impl Transition for SetLimit {
    type Outcome = ();

    fn step(&self, _: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<()>, EngineError> {
        let SetLimitArgs { limit_key: _, max_running, rate, actor } = &self.args;
        let per_ms = rate.map(|rate| i64::try_from(rate.per_ms).unwrap_or(i64::MAX));
        let cells = vec![
            limit::max_running.with(max_running.map(i64::from)),
            limit::rate_count.with(rate.map(|rate| i64::from(rate.count))),
            limit::rate_per_ms.with(per_ms),
            limit::rate_burst.with(rate.and_then(|rate| rate.burst).map(i64::from)),
            limit::set_by.with(actor.clone()),
            limit::set_at_ms.with(ctx.now.0),
        ];
        let anew = cells.iter().map(|(column, _)| (*column, OnTaken::Overwrite)).collect();
        let row = self.key.of_limit().into_iter().chain(cells).collect();
        let set = Mutation::insert(limit::REF, row, OnConflict::Update(anew));
        Ok(Step::Commit(Plan::new("set_limit").and([set]), Then::Answer(())))
    }
}

/// Removes the limit of a key or a family.
#[derive(Clone, Debug)]
pub struct RemoveLimit {
    key: LimitKey,
}

impl RemoveLimit {
    /// Checks the key.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for a key that is empty or too long, or that holds NUL.
    pub fn new(key: &str, partitions: &PartitionConfig) -> Result<Self, EngineError> {
        check("limit_key", key)?;
        Ok(Self { key: LimitKey::new(key, partitions)? })
    }
}

impl Decision for RemoveLimit {
    /// True if there was one.
    type Outcome = bool;

    const NAME: &'static str = "remove_limit";

    fn premises(&self, _: TimestampMs) -> Vec<Premise<bool>> {
        let row = Premise::read(LIMIT, self.key.lookup());
        vec![row.or_if_absent(answer(false)).guarded_by(Vec::new())]
    }

    fn expects(&self) -> bool {
        true
    }

    fn decide(&self, _: &Facts, _: TimestampMs, _: &mut Ctx<'_>) -> Decided<bool> {
        Verdict::change([Mutation::delete(limit::REF, self.key.of_limit())], true)
    }
}

/// Lists the limits by key. A limit of 0 is an empty page.
#[derive(Clone, Debug)]
pub struct ListLimits {
    list: List,
    page: usize,
}

impl ListLimits {
    /// The limits after the cursor.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for a cursor with NUL.
    pub fn new(cursor: Option<&str>, page: usize) -> Result<Self, EngineError> {
        let page = page.min(PAGE_MAX);
        input::text("cursor", cursor.unwrap_or_default())?;
        let predicate =
            cursor.map_or(Predicate::Always, |cursor| limit::limit_key.above(cursor.to_owned()));

        Ok(Self { list: limits(predicate, page), page })
    }
}

/// The list of a page of limits by key, and of one more.
pub(super) fn limits(predicate: Predicate, page: usize) -> List {
    let (key, partition) = (limit::limit_key.column(), limit::partition_key.column());
    List {
        name: "limits".into(),
        table: limit::REF,
        join: None,
        of_each: None,
        columns: limit::REF.columns.to_vec(),
        predicate,
        order: vec![(key, Ascending), (partition, Ascending)],
        limit: one_more(page),
    }
}

impl Transition for ListLimits {
    type Outcome = ListLimitsPage;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<ListLimitsPage>, EngineError> {
        if self.page == 0 {
            return Ok(Step::Answer(ListLimitsPage::default()));
        }
        let Some(rows) = facts.list(&self.list) else {
            return Ok(Step::Read(vec![Query::List(self.list.clone())]));
        };

        let limits = rows.iter().map(info).collect::<Result<Vec<_>, _>>()?;
        let (limits, more) = split(limits, self.page);
        let next_cursor = more.then(|| limits.last().map(|last| last.limit_key.clone())).flatten();
        Ok(Step::Answer(ListLimitsPage { limits, next_cursor }))
    }
}

/// A limit, as its row says.
///
/// # Errors
/// `Validation(Corruption)` for a number out of its range.
pub fn info(row: &Row) -> Result<LimitInfo, EngineError> {
    let max = row.read(limit::max_running)?;
    Ok(LimitInfo {
        limit_key: row.read(limit::limit_key)?,
        max_running: max.map(|max| number("max_running", max)).transpose()?,
        rate: rate_in(row)?,
        set_by: row.read(limit::set_by)?,
        set_at: TimestampMs(row.read(limit::set_at_ms)?),
    })
}
