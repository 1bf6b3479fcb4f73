//! Reads what is held of keys, and shows the limit of one.

use std::collections::{BTreeMap, BTreeSet};

use crate::contracts::{LIMIT_HOLDERS_MAX, LimitStatus};
use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::model::partition::PartitionConfig;
use crate::plan::facts::{Facts, Row};
use crate::plan::value::{Storable as _, Value};
use crate::plan::{Expr, List, Predicate, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Transition};
use crate::rules::input::PAGE_MAX;
use crate::rules::key::ExecutionKey;
use crate::rules::limit::cell::Rate;
use crate::rules::limit::define::{info, limits};
use crate::rules::limit::key::{check, governing, limits_of};
use crate::rules::limit::permits::Permits;
use crate::schema::Direction::Ascending;
use crate::schema::limit::{limit, limit_cell, limit_permit};
use crate::schema::{ColumnRef, TableRef};

/// The most rows that are read at once.
const PAGE: usize = 5_000;

/// Reads the limits of some keys, and what is held of them.
#[derive(Clone, Debug)]
pub struct ReadHeld {
    /// The keys, as executions name them.
    pub keys: Vec<String>,
    /// The partitions of this database.
    pub partitions: PartitionConfig,
}

/// The limits of some keys, and what is held of them, as they were read.
#[derive(Clone, Debug)]
pub struct HeldLimits {
    /// The limits, by their keys.
    pub(super) limits: BTreeMap<String, Row>,
    /// The permits of each key.
    pub(super) permits: BTreeMap<String, Permits>,
    /// The last cell that is taken of a key at a rate.
    pub(super) last_cells: BTreeMap<(String, String), i64>,
    pub(super) partitions: PartitionConfig,
}

impl ReadHeld {
    /// The lists that are still to be read.
    #[must_use]
    pub fn unread(&self, facts: &Facts, now: TimestampMs) -> Vec<List> {
        if self.keys.is_empty() {
            return Vec::new();
        }

        let limits = limits_of(&self.keys);
        let limits = facts.list(&limits).is_none().then_some(limits);
        let held = [Pages::PERMITS, Pages::CELLS];
        let pages = held.iter().filter_map(|pages| pages.next(&self.keys, facts, now));
        limits.into_iter().chain(pages).collect()
    }

    /// What was read.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a column of another type.
    pub fn held(&self, facts: &Facts) -> Result<HeldLimits, EngineError> {
        let limits = by_key(facts.list(&limits_of(&self.keys)).unwrap_or_default())?;
        let (permits, last_cells) = (permits_in(facts)?, last_cells_in(facts)?);
        Ok(HeldLimits { limits, permits, last_cells, partitions: self.partitions })
    }
}

impl Transition for ReadHeld {
    type Outcome = HeldLimits;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<HeldLimits>, EngineError> {
        let unread = self.unread(facts, ctx.now);
        if !unread.is_empty() {
            return Ok(Step::Read(unread.into_iter().map(Query::List).collect()));
        }
        self.held(facts).map(Step::Answer)
    }
}

/// The permits that were read, by key.
fn permits_in(facts: &Facts) -> Result<BTreeMap<String, Permits>, EngineError> {
    let mut permits: BTreeMap<_, Permits> = BTreeMap::new();
    for row in facts.pages(Pages::PERMITS.name).flatten() {
        let holder = ExecutionKey {
            partition: row.read(limit_permit::execution_partition)?,
            uuid: row.read(limit_permit::execution_id)?,
        };
        let of_key = permits.entry(row.read(limit_permit::limit_key)?).or_default();
        of_key.insert(row.read(limit_permit::permit)?, holder);
    }
    Ok(permits)
}

/// The last cell that was read of each key at each rate.
fn last_cells_in(facts: &Facts) -> Result<BTreeMap<(String, String), i64>, EngineError> {
    let mut last_cells = BTreeMap::new();
    for row in facts.pages(Pages::CELLS.name).flatten() {
        let numbered = (row.read(limit_cell::limit_key)?, row.read(limit_cell::rate)?);
        let cell = row.read(limit_cell::cell)?;
        let last = last_cells.entry(numbered).or_insert(cell);
        *last = cell.max(*last);
    }
    Ok(last_cells)
}

/// Reads every limit; `None` where they are more than a page.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimits;

impl Transition for ReadLimits {
    type Outcome = Option<BTreeMap<String, Row>>;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        let limits = limits(Predicate::Always, PAGE_MAX);
        let Some(rows) = facts.list(&limits) else {
            return Ok(Step::Read(vec![Query::List(limits)]));
        };
        let all = (rows.len() <= PAGE_MAX).then(|| by_key(rows)).transpose()?;
        Ok(Step::Answer(all))
    }
}

/// Reads what is taken of some keys, where limits bound it.
#[derive(Clone, Debug, Default)]
pub struct ReadTaken {
    /// The keys with a bound on what runs at once.
    permits_of: Vec<String>,
    /// The keys with a bound on what starts in a time.
    cells_of: Vec<String>,
}

impl ReadTaken {
    /// The read of what is taken of these keys.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a stored number out of its range.
    pub fn of(keys: &BTreeSet<String>, held: &HeldLimits) -> Result<Self, EngineError> {
        let mut read = Self::default();
        for key in keys {
            let Some(row) = governing(key, &held.limits) else { continue };
            read.permits_of.extend(row.read(limit::max_running)?.map(|_| key.clone()));
            read.cells_of.extend(Rate::stored(row)?.map(|_| key.clone()));
        }
        Ok(read)
    }
}

/// What is taken of some keys.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    permits: BTreeMap<String, Permits>,
    last_cells: BTreeMap<(String, String), i64>,
}

impl Transition for ReadTaken {
    type Outcome = Taken;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<Taken>, EngineError> {
        let held = [(Pages::PERMITS, &self.permits_of), (Pages::CELLS, &self.cells_of)];
        let held = held.iter().filter(|(_, keys)| !keys.is_empty());
        let pages = held.filter_map(|(pages, keys)| pages.next(keys, facts, ctx.now));
        let pages: Vec<_> = pages.map(Query::List).collect();
        if !pages.is_empty() {
            return Ok(Step::Read(pages));
        }

        let (permits, last_cells) = (permits_in(facts)?, last_cells_in(facts)?);
        Ok(Step::Answer(Taken { permits, last_cells }))
    }
}

/// A list of the rows that are held of some keys, page by page.
struct Pages {
    name: &'static str,
    table: TableRef,
    /// The key of the limit, and what orders the rows of one key.
    order: &'static [ColumnRef],
    /// The columns that are read besides.
    values: &'static [ColumnRef],
}

impl Pages {
    const PERMITS: Self = Self {
        name: "permits of keys",
        table: limit_permit::REF,
        order: &[
            limit_permit::limit_key.column(),
            limit_permit::permit.column(),
            limit_permit::partition_key.column(),
        ],
        values: &[limit_permit::execution_partition.column(), limit_permit::execution_id.column()],
    };

    const CELLS: Self = Self {
        name: "cells of keys",
        table: limit_cell::REF,
        order: &[
            limit_cell::limit_key.column(),
            limit_cell::rate.column(),
            limit_cell::cell.column(),
            limit_cell::partition_key.column(),
        ],
        values: &[],
    };

    /// The next page; `None` once the last is read.
    fn next(&self, keys: &[String], facts: &Facts, now: TimestampMs) -> Option<List> {
        let after = match facts.pages(self.name).last() {
            None => Predicate::Always,
            Some(page) if page.len() < PAGE => return None,
            Some(page) => self.after(page.last()),
        };
        let key = self.order.first().copied().unwrap_or(limit_permit::limit_key.column());
        let mut predicate = Predicate::Among(key, keys.to_vec().into_expr()).and(after);
        if self.table == limit_cell::REF {
            predicate = predicate.and(limit_cell::expires_at_ms.above(now.0));
        }

        Some(List {
            name: self.name.into(),
            table: self.table,
            join: None,
            of_each: None,
            columns: self.order.iter().chain(self.values).copied().collect(),
            predicate,
            order: self.order.iter().map(|column| (*column, Ascending)).collect(),
            limit: Expr::int(PAGE.try_into().unwrap_or(i64::MAX)),
        })
    }

    fn after(&self, row: Option<&Row>) -> Predicate {
        let Some(row) = row else { return Predicate::Always };
        let value = |column: &ColumnRef| {
            let value = row.value(*column).cloned().unwrap_or(Value::Null);
            (*column, Expr::each(column.ty, vec![value]))
        };
        Predicate::After(self.order.iter().map(value).collect())
    }
}

/// Reads the limit of a key, and what is held of it; `None` for a key without a limit.
#[derive(Clone, Debug)]
pub struct ReadLimit(ReadHeld);

impl ReadLimit {
    /// Checks the key.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for a key that is empty or too long, or that holds NUL.
    pub fn new(key: &str, partitions: &PartitionConfig) -> Result<Self, EngineError> {
        check("limit_key", key)?;
        Ok(Self(ReadHeld { keys: vec![key.to_owned()], partitions: *partitions }))
    }
}

impl Transition for ReadLimit {
    type Outcome = Option<LimitStatus>;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        let unread = self.0.unread(facts, ctx.now);
        if !unread.is_empty() {
            return Ok(Step::Read(unread.into_iter().map(Query::List).collect()));
        }
        let Some(key) = self.0.keys.first() else { return Ok(Step::Answer(None)) };
        self.0.held(facts)?.status(key, ctx.now).map(Step::Answer)
    }
}

impl HeldLimits {
    /// These limits, of which nothing is known to be taken.
    #[must_use]
    pub fn of(limits: BTreeMap<String, Row>, partitions: PartitionConfig) -> Self {
        let (permits, last_cells) = (BTreeMap::new(), BTreeMap::new());
        Self { limits, permits, last_cells, partitions }
    }

    /// The limits, by their keys.
    #[must_use]
    pub fn limits(&self) -> &BTreeMap<String, Row> {
        &self.limits
    }

    /// Replaces what is known to be taken of these keys.
    pub fn replace(&mut self, keys: &BTreeSet<String>, taken: Taken) {
        for key in keys {
            self.permits.remove(key);
        }
        self.last_cells.retain(|(key, _), _| !keys.contains(key));
        self.permits.extend(taken.permits);
        self.last_cells.extend(taken.last_cells);
    }

    /// The limit of a key, and what is held of it.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a stored number out of its range.
    pub fn status(&self, key: &str, now: TimestampMs) -> Result<Option<LimitStatus>, EngineError> {
        let Some(row) = governing(key, &self.limits) else { return Ok(None) };
        let rate = Rate::stored(row)?;
        let last = rate.and_then(|rate| self.last_cell(key, rate));
        let permits = self.permits.get(key);
        let holders = permits.into_iter().flat_map(Permits::holders).take(LIMIT_HOLDERS_MAX);
        Ok(Some(LimitStatus {
            limit: info(row)?,
            running: permits.map_or(0, |permits| permits.count() as u64),
            holders: holders.map(ExecutionKey::id).collect(),
            next_start: rate.and_then(|rate| rate.next_start(1, last, now)),
        }))
    }

    pub(super) fn last_cell(&self, key: &str, rate: Rate) -> Option<i64> {
        self.last_cells.get(&(key.to_owned(), rate.to_string())).copied()
    }
}

/// These limits, by their keys.
///
/// # Errors
/// `Validation(Corruption)` for a column of another type.
pub(super) fn by_key(limits: &[Row]) -> Result<BTreeMap<String, Row>, EngineError> {
    limits.iter().map(|row| Ok((row.read(limit::limit_key)?, row.clone()))).collect()
}
