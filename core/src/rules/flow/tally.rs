//! The meaning of a group's counts.
//!
//! One pure function: a policy and a tally in, the group's state out. Everything that looks at a
//! group asks it, and what a plan may rely on without reading again follows from the same numbers.

use crate::contracts::EdgeDependencyPolicy;
use crate::model::error::EngineError;
use crate::model::state::CompletionKind;
use crate::plan::facts::Row;
use crate::plan::{Assign, Expr, Predicate};
use crate::rules::flow::policy;
use crate::schema::ColumnRef;
use crate::schema::flow::edge_group;

/// The way in which an upstream's end counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bucket {
    /// It ended well.
    Success,
    /// It ended otherwise.
    Fail,
    /// It was skipped itself.
    Skip,
}

impl Bucket {
    /// The bucket of this end; `None` for an event that is no end.
    #[must_use]
    pub fn of(end: CompletionKind) -> Option<Self> {
        match end {
            CompletionKind::Success => Some(Self::Success),
            CompletionKind::Skipped => Some(Self::Skip),
            CompletionKind::Failed | CompletionKind::Cancelled | CompletionKind::Expired => {
                Some(Self::Fail)
            }
            CompletionKind::Resumable => None,
        }
    }
}

/// The counts of a group's upstreams, by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// The upstreams that ended well.
    pub success: i32,
    /// The upstreams that ended otherwise.
    pub fail: i32,
    /// The upstreams that were skipped.
    pub skip: i32,
    /// The upstreams that have not ended.
    pub running: i32,
    /// Applied edges; 0 where that was not recorded.
    pub dependencies: i32,
    /// Edges that are staged and not applied yet, where that was asked: a group is not judged
    /// before it is complete.
    pub unapplied: i32,
}

/// The state of a group, by its counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupState {
    /// Undecided.
    Pending,
    /// Enough upstreams ended well.
    Satisfied,
    /// Not enough upstreams can end well any more.
    Impossible,
}

impl Tally {
    /// The counts of a group's row.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a count that is no number.
    pub fn read(group: &Row) -> Result<Self, EngineError> {
        Ok(Self {
            success: group.read(edge_group::success_count)?,
            fail: group.read(edge_group::fail_count)?,
            skip: group.read(edge_group::skip_count)?,
            running: group.read(edge_group::running_count)?,
            dependencies: group.read(edge_group::dependency_count)?,
            unapplied: 0,
        })
    }

    /// The counts in a row being inserted.
    #[must_use]
    pub fn columns(&self) -> Vec<(ColumnRef, Expr)> {
        vec![
            edge_group::success_count.with(self.success),
            edge_group::fail_count.with(self.fail),
            edge_group::skip_count.with(self.skip),
            edge_group::running_count.with(self.running),
            edge_group::dependency_count.with(self.dependencies),
            edge_group::version.with(1),
        ]
    }

    /// The number of upstreams: as recorded, or as the counts of an older row add up.
    #[must_use]
    pub fn total(&self) -> i32 {
        self.dependencies.max(self.sum()).saturating_add(self.unapplied)
    }

    /// The tally of a group that has this many more edges.
    #[must_use]
    pub fn with_unapplied(self, edges: usize) -> Self {
        Self { unapplied: i32::try_from(edges).unwrap_or(i32::MAX), ..self }
    }

    /// Returns true if an upstream ended otherwise than well.
    #[must_use]
    pub fn has_failures(&self) -> bool {
        0 < self.without_success()
    }

    fn sum(&self) -> i32 {
        let ended = self.success.saturating_add(self.fail).saturating_add(self.skip);
        ended.saturating_add(self.running)
    }

    fn without_success(&self) -> i32 {
        self.fail.saturating_add(self.skip)
    }

    /// The state under a policy. Satisfied comes first: enough successes stay enough, whatever
    /// else fails.
    #[must_use]
    pub fn state(&self, policy: &EdgeDependencyPolicy) -> GroupState {
        let total = self.total();
        let needed = needed(policy, total);

        if total == 0 {
            GroupState::Pending
        } else if needed <= self.success {
            GroupState::Satisfied
        } else if total.saturating_sub(self.without_success()) < needed {
            GroupState::Impossible
        } else {
            GroupState::Pending
        }
    }

    /// The tally after `change`.
    #[must_use]
    pub fn after(&self, change: Change) -> Self {
        Self {
            success: self.success.saturating_add(change.success),
            fail: self.fail.saturating_add(change.fail),
            skip: self.skip.saturating_add(change.skip),
            running: self.running.saturating_add(change.running),
            dependencies: self.dependencies.saturating_add(change.dependencies),
            unapplied: self.unapplied,
        }
    }

    /// The predicate that a group's row must still hold so that one more end in `bucket` decides
    /// nothing, just as it decides nothing now. Counts that concurrent hops change need not be read
    /// again while they stay within its bounds. Older rows, with counts that have to add up, are
    /// pinned.
    ///
    /// # Errors
    /// `Validation(Corruption)` when the stored version is no number.
    pub fn stays_pending(
        &self,
        group: &Row,
        policy: &EdgeDependencyPolicy,
        bucket: Bucket,
    ) -> Result<Predicate, EngineError> {
        if self.dependencies < self.sum() {
            return unchanged(group);
        }

        // One more success must still leave one missing; one more failure must still leave enough.
        let needed = needed(policy, self.dependencies);
        let spare = self.dependencies.saturating_sub(needed).saturating_sub(1);
        let (success, fail, skip) = match bucket {
            Bucket::Success => (needed.saturating_sub(2), i32::MAX, i32::MAX),
            Bucket::Fail => (i32::MAX, spare.saturating_sub(self.skip), self.skip),
            Bucket::Skip => (i32::MAX, self.fail, spare.saturating_sub(self.fail)),
        };

        Ok(edge_group::dependency_count
            .equals(self.dependencies)
            .and(edge_group::success_count.at_most(success))
            .and(edge_group::fail_count.at_most(fail))
            .and(edge_group::skip_count.at_most(skip)))
    }
}

/// The number of successes that a group of `total` upstreams needs.
#[must_use]
pub fn needed(policy: &EdgeDependencyPolicy, total: i32) -> i32 {
    match policy {
        EdgeDependencyPolicy::AllOf => total,
        EdgeDependencyPolicy::AnyOf { .. } => 1,
        EdgeDependencyPolicy::Quorum { k, .. } => i32::try_from(*k).unwrap_or(i32::MAX),
    }
}

/// The predicate that a group's row is unchanged since it was read: its version is the same.
///
/// # Errors
/// `Validation(Corruption)` when the stored version is no number.
pub fn unchanged(group: &Row) -> Result<Predicate, EngineError> {
    Ok(edge_group::version.equals(group.read(edge_group::version)?))
}

/// The policy of a group's row.
///
/// # Errors
/// `Validation(Corruption)` when the stored policy is no JSON document.
pub fn policy_of(group: &Row) -> Result<EdgeDependencyPolicy, EngineError> {
    Ok(policy::decode(&group.read(edge_group::policy)?))
}

/// A change to the counts of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    success: i32,
    fail: i32,
    skip: i32,
    running: i32,
    dependencies: i32,
}

impl Change {
    /// One more edge is applied.
    #[must_use]
    pub fn dependency() -> Self {
        Self { dependencies: 1, ..Self::default() }
    }

    /// This many more upstreams are running.
    #[must_use]
    pub fn running(self, by: i32) -> Self {
        Self { running: by, ..self }
    }

    /// The predicate that keeps the number of running upstreams from falling below zero, however
    /// many hops are applied at once.
    #[must_use]
    pub fn keeps_running_count(&self) -> Predicate {
        edge_group::running_count.above(self.running.saturating_neg().saturating_sub(1))
    }

    /// One upstream more has ended so.
    #[must_use]
    pub fn one_more(self, bucket: Bucket) -> Self {
        self.moved(bucket, 1)
    }

    /// One upstream that was counted so no longer is.
    #[must_use]
    pub fn one_less(self, bucket: Bucket) -> Self {
        self.moved(bucket, -1)
    }

    fn moved(mut self, bucket: Bucket, by: i32) -> Self {
        match bucket {
            Bucket::Success => self.success += by,
            Bucket::Fail => self.fail += by,
            Bucket::Skip => self.skip += by,
        }
        self
    }

    /// The columns that move, every one of them, so that all changes share one shape.
    #[must_use]
    pub fn assignments(&self) -> Vec<(ColumnRef, Assign)> {
        vec![
            edge_group::success_count.grow(self.success),
            edge_group::fail_count.grow(self.fail),
            edge_group::skip_count.grow(self.skip),
            edge_group::running_count.grow(self.running),
            edge_group::dependency_count.grow(self.dependencies),
            edge_group::version.grow(1),
        ]
    }
}
