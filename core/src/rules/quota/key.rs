//! The rows of a quota policy, and the partition that they are on.
//!
//! As a budget, a policy lives on the partition that its id hashes to, or in older SQLite databases
//! on partition 0.

use crate::model::error::EngineError;
use crate::model::ids::{QuotaPolicyId, TimestampMs};
use crate::model::partition::{PartitionConfig, quota_partition};
use crate::plan::facts::{Facts, Row};
use crate::plan::{Assign, Expr, Guard, Lookup, Mutation, OnConflict};
use crate::rules::input;
use crate::rules::premise::{Premise, lookup};
use crate::schema::ColumnRef;
use crate::schema::budget::{quota_admitted, quota_policy, quota_window};

/// The name that every plan gives a policy's head.
pub const QUOTA: &str = "quota";
/// The name of the head on partition 0.
const AT_ZERO: &str = "at_zero";
/// The name that every plan gives the admission of an execution.
pub const ADMITTED: &str = "admitted";
/// The name of that admission on partition 0.
const ADMITTED_AT_ZERO: &str = "admitted_at_zero";

/// The stored form of a policy's id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct QuotaKey {
    /// Its partition.
    pub partition: i16,
    /// Its UUID, as text.
    pub id: String,
}

impl QuotaKey {
    /// The key of its head.
    #[must_use]
    pub fn head(&self) -> Vec<(ColumnRef, Expr)> {
        vec![
            quota_policy::partition_key.with(self.partition),
            quota_policy::quota_policy_id.with(self.id.clone()),
        ]
    }

    /// The key of the admission of that execution.
    #[must_use]
    pub fn admission(&self, execution: &str) -> Vec<(ColumnRef, Expr)> {
        vec![
            quota_admitted::partition_key.with(self.partition),
            quota_admitted::quota_policy_id.with(self.id.clone()),
            quota_admitted::execution_id.with(execution.to_owned()),
        ]
    }

    /// The key of an admission within its window.
    #[must_use]
    pub fn in_window(
        &self,
        dimension: &str,
        admitted_at_ms: i64,
        execution: &str,
    ) -> Vec<(ColumnRef, Expr)> {
        vec![
            quota_window::partition_key.with(self.partition),
            quota_window::quota_policy_id.with(self.id.clone()),
            quota_window::dimension.with(dimension.to_owned()),
            quota_window::admitted_at_ms.with(admitted_at_ms),
            quota_window::execution_id.with(execution.to_owned()),
        ]
    }
}

/// The places where a policy may be, best first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    home: QuotaKey,
}

impl Places {
    /// The places of a policy.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` when the partition is beyond what a row can store.
    pub fn of(policy: &QuotaPolicyId, partitions: &PartitionConfig) -> Result<Self, EngineError> {
        let partition = input::partition(quota_partition(policy, partitions).index)?;
        Ok(Self { home: QuotaKey { partition, id: policy.to_string() } })
    }

    /// The key where the policy should be.
    #[must_use]
    pub fn home(&self) -> &QuotaKey {
        &self.home
    }

    fn other(&self) -> QuotaKey {
        QuotaKey { partition: 0, ..self.home.clone() }
    }

    /// The look-ups of the head in both places.
    #[must_use]
    pub fn lookups(&self) -> Vec<Lookup> {
        let head = |row, key: &QuotaKey| lookup(row, quota_policy::REF, key.head());
        vec![head(QUOTA, &self.home), head(AT_ZERO, &self.other())]
    }

    /// The head in both places; only read.
    #[must_use]
    pub fn premises<O>(&self) -> Vec<Premise<O>> {
        let named = [QUOTA, AT_ZERO].into_iter().zip(self.lookups());
        named.map(|(row, lookup)| Premise::read(row, lookup)).collect()
    }

    /// The admission of that execution in both places; only read.
    #[must_use]
    pub fn admissions<O>(&self, execution: &str) -> Vec<Premise<O>> {
        let admission = |row, key: &QuotaKey| {
            Premise::read(row, lookup(row, quota_admitted::REF, key.admission(execution)))
        };
        vec![admission(ADMITTED, &self.home), admission(ADMITTED_AT_ZERO, &self.other())]
    }

    /// The head that was read.
    #[must_use]
    pub fn head<'a>(&self, facts: &'a Facts) -> Head<'a> {
        let at_zero = || facts.row(AT_ZERO).map(|row| (self.other(), row, ADMITTED_AT_ZERO));
        let home = facts.row(QUOTA).map(|row| (self.home.clone(), row, ADMITTED));
        match home.or_else(at_zero) {
            Some((key, row, admitted)) => {
                Head { key, row: Some(row), admission: facts.row(admitted) }
            }
            None => {
                let key = self.home.clone();
                Head { key, row: None, admission: facts.row(ADMITTED) }
            }
        }
    }
}

/// A policy's head with the admission of the execution in question, and where it is: where it
/// should be, if there is none.
#[derive(Clone, Debug)]
pub struct Head<'a> {
    /// Its key.
    pub key: QuotaKey,
    /// The row, if there is one.
    pub row: Option<&'a Row>,
    /// The admission, if there is one.
    pub admission: Option<&'a Row>,
}

impl<'a> Head<'a> {
    /// The row, if the policy is defined.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a column of another type.
    pub fn defined(&self) -> Result<Option<&'a Row>, EngineError> {
        let Some(row) = self.row else { return Ok(None) };
        Ok(row.read(quota_policy::is_defined)?.then_some(row))
    }

    /// The number of slots in use.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a column of another type.
    pub fn in_use(&self) -> Result<i64, EngineError> {
        self.row.map_or(Ok(0), |row| row.read(quota_policy::active_concurrency))
    }

    /// The guard that no execution was admitted since the head was read. Of an absent head,
    /// [`Self::change`] is the guard.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a column of another type.
    pub fn guard(&self) -> Result<Option<Guard>, EngineError> {
        let Some(row) = self.row else { return Ok(None) };
        let same = quota_policy::version.equals(row.read(quota_policy::version)?);
        Ok(Some(Guard::new(QUOTA, quota_policy::REF, self.key.head(), same)))
    }

    /// The change of the head by an admission, with that change of the slots in use. An absent head
    /// is inserted, without limits and as not defined.
    #[must_use]
    pub fn change(&self, slots: i64, set: Vec<(ColumnRef, Assign)>, at: TimestampMs) -> Mutation {
        if self.row.is_some() {
            let counted =
                [quota_policy::version.grow(1), quota_policy::active_concurrency.grow(slots)];
            let set = counted.into_iter().chain(set).collect();
            return Mutation::update(quota_policy::REF, self.key.head(), set);
        }

        let mut row = self.key.head();
        row.extend([
            quota_policy::requests_per_window_seconds.with(0),
            quota_policy::max_requests_per_window.with(0),
            quota_policy::active_concurrency_cap.with(0),
            quota_policy::active_concurrency.with(slots.max(0)),
            quota_policy::created_at_ms.with(at.0),
            quota_policy::updated_at_ms.with(at.0),
            quota_policy::is_defined.with(false),
        ]);
        Mutation::insert(quota_policy::REF, row, OnConflict::Refuse)
    }
}
