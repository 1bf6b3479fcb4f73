//! Reads what is held of keys, and shows the limit of one.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::contracts::{LIMIT_HOLDERS_MAX, LimitStatus};
use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::model::partition::PartitionConfig;
use crate::plan::facts::{Facts, Row};
use crate::plan::value::{Storable as _, Value};
use crate::plan::{Expr, List, Predicate, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Transition};
use crate::rules::key::ExecutionKey;
use crate::rules::limit::cell::Rate;
use crate::rules::limit::define::info;
use crate::rules::limit::key::{check, governing, limits_of};
use crate::schema::Direction::Ascending;
use crate::schema::limit::{limit_cell, limit_permit};
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
    pub(super) limits: Vec<Row>,
    /// The holders of the permits of a key, by number.
    pub(super) permits: BTreeMap<String, BTreeMap<i64, ExecutionKey>>,
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
        let mut permits: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for row in facts.pages(Pages::PERMITS.name).flatten() {
            let holder = ExecutionKey {
                partition: row.read(limit_permit::execution_partition)?,
                uuid: row.read(limit_permit::execution_id)?,
            };
            let of_key = permits.entry(row.read(limit_permit::limit_key)?).or_default();
            of_key.insert(row.read(limit_permit::permit)?, holder);
        }

        let mut last_cells = BTreeMap::new();
        for row in facts.pages(Pages::CELLS.name).flatten() {
            let numbered = (row.read(limit_cell::limit_key)?, row.read(limit_cell::rate)?);
            let cell = row.read(limit_cell::cell)?;
            let last = last_cells.entry(numbered).or_insert(cell);
            *last = cell.max(*last);
        }

        let limits = facts.list(&limits_of(&self.keys)).unwrap_or_default().to_vec();
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
    /// The limit of a key, and what is held of it.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a stored number out of its range.
    pub fn status(&self, key: &str, now: TimestampMs) -> Result<Option<LimitStatus>, EngineError> {
        let Some(row) = governing(key, &self.limits)? else { return Ok(None) };
        let rate = Rate::stored(row)?;
        let last = rate.and_then(|rate| self.last_cell(key, rate));
        let permits = self.permits.get(key);
        let holders = permits.into_iter().flat_map(BTreeMap::values).take(LIMIT_HOLDERS_MAX);
        Ok(Some(LimitStatus {
            limit: info(row)?,
            running: permits.map_or(0, |permits| permits.len() as u64),
            holders: holders.map(ExecutionKey::id).collect(),
            next_start: rate.and_then(|rate| rate.next_start(1, last, now)),
        }))
    }

    pub(super) fn last_cell(&self, key: &str, rate: Rate) -> Option<i64> {
        self.last_cells.get(&(key.to_owned(), rate.to_string())).copied()
    }

    /// True if that execution holds a permit of the key.
    pub(super) fn is_held_by(&self, key: &str, execution: Uuid) -> bool {
        let mut holders = self.permits.get(key).into_iter().flat_map(BTreeMap::values);
        holders.any(|holder| holder.uuid == execution)
    }
}
