//! The part of the due rows that one scanner looks after.
//!
//! The database evaluates it: other rows neither fill the page nor are loaded.

use serde_json::{Map, json};

use crate::contracts::{Scan, ScannerFilter};
use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::plan::{Join, List, Predicate};
use crate::rules::execution::listing::core_of_current_attempt;
use crate::rules::input;
use crate::schema::budget::{
    budget_policy, budget_usage_dedup, quota_admitted, quota_policy, quota_window,
};
use crate::schema::execution::{attempt, claim_grant, exec_core, idempotency_key};
use crate::schema::flow::pending_cancel_groups;
use crate::schema::limit::limit_cell;
use crate::schema::outbox::completion_event;
use crate::schema::schedule::schedule;
use crate::schema::suspension::{suspension_current, waitpoint_pending};
use crate::schema::worker::worker_registry;
use crate::schema::{Col, ColumnRef};

/// The due rows that a scan lists; all of them by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanScope {
    /// The filter that a row's execution passes; for sibling cancellations, the downstream
    /// execution.
    pub filter: ScannerFilter,
    /// The only partition, if given.
    pub partition: Option<i16>,
    /// For completion events: only those committed longer ago than this, ms; 0 for all of them.
    pub older_than_ms: i64,
}

impl ScanScope {
    /// Narrows a list to this scope.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for a filter that no execution can meet.
    pub(super) fn narrow(
        &self,
        scan: Scan,
        list: List,
        now: TimestampMs,
    ) -> Result<List, EngineError> {
        let Some(place) = Place::of(scan) else { return Ok(list) };
        let mut list = list;

        if let Some(partition) = self.partition {
            list.predicate = list.predicate.and(place.partition.equals(partition));
        }
        if scan == Scan::DependencyDispatch && 0 < self.older_than_ms {
            let until = now.0.saturating_sub(self.older_than_ms);
            list.predicate = list.predicate.and(completion_event::committed_at_ms.below(until));
        }
        // No filter is about budgets, quotas, keys, workers and schedules: every scanner looks
        // after them.
        if self.filter.is_noop() || place.execution.is_none() {
            return Ok(list);
        }

        list.predicate = list.predicate.and(passes(&self.filter)?);
        list.join = list.join.or_else(|| place.to_its_execution(scan));
        Ok(list)
    }
}

/// The predicate of an execution row that passes the filter.
pub(in crate::rules) fn passes(filter: &ScannerFilter) -> Result<Predicate, EngineError> {
    let mut members = Map::new();
    if let Some(namespace) = &filter.namespace {
        input::text("namespace", namespace.as_str())?;
        members.insert("namespace".into(), namespace.as_str().into());
    }
    if let Some((key, value)) = &filter.instance_tag {
        input::text("instance_tag", key)?;
        input::text("instance_tag", value)?;
        members.insert("tags".into(), json!({ key: value }));
    }

    Ok(exec_core::raw_fields.contains(members.into()))
}

/// The columns by which a listed row names its execution.
struct Place {
    partition: Col<i16>,
    /// `None` for a row that is about no execution.
    execution: Option<ColumnRef>,
}

impl Place {
    /// `None` for rows of the whole database, which every scanner looks after.
    const fn of(scan: Scan) -> Option<Self> {
        let (partition, execution) = match scan {
            Scan::LeaseExpiry | Scan::AttemptTimeout => {
                (attempt::partition_key, attempt::execution_id)
            }
            Scan::ExecutionDeadline | Scan::DelayedPromotion => {
                (exec_core::partition_key, exec_core::execution_id)
            }
            Scan::DependencyDispatch => {
                (completion_event::partition_key, completion_event::execution_id)
            }
            Scan::SiblingCancel => {
                (pending_cancel_groups::partition_key, pending_cancel_groups::downstream_eid)
            }
            Scan::SuspensionTimeout => {
                (suspension_current::partition_key, suspension_current::execution_id)
            }
            Scan::WaitpointExpiry => {
                (waitpoint_pending::partition_key, waitpoint_pending::execution_id)
            }
            Scan::GrantExpiry => (claim_grant::partition_key, claim_grant::execution_id),
            Scan::BudgetReset | Scan::BudgetReconcile => {
                return Self::of_no_execution(budget_policy::partition_key);
            }
            Scan::UsageKeyExpiry => {
                return Self::of_no_execution(budget_usage_dedup::partition_key);
            }
            Scan::IdempotencyKeyExpiry => {
                return Self::of_no_execution(idempotency_key::partition_key);
            }
            Scan::LimitCellExpiry => return Self::of_no_execution(limit_cell::partition_key),
            Scan::WorkerTtl => return Self::of_no_execution(worker_registry::partition_key),
            Scan::AdmissionExpiry => return Self::of_no_execution(quota_admitted::partition_key),
            Scan::QuotaWindowExpiry => return Self::of_no_execution(quota_window::partition_key),
            Scan::QuotaReconcile => return Self::of_no_execution(quota_policy::partition_key),
            Scan::Schedules => return Self::of_no_execution(schedule::partition_key),
            // A count is of no partition.
            Scan::CountFold => return None,
        };

        Some(Self { partition, execution: Some(execution.column()) })
    }

    const fn of_no_execution(partition: Col<i16>) -> Option<Self> {
        Some(Self { partition, execution: None })
    }

    /// The join of a listed row to its execution, where it is not the execution itself.
    fn to_its_execution(&self, scan: Scan) -> Option<Join> {
        let execution = self.execution?;
        match scan {
            Scan::ExecutionDeadline | Scan::DelayedPromotion => return None,
            Scan::LeaseExpiry | Scan::AttemptTimeout => return Some(core_of_current_attempt()),
            Scan::DependencyDispatch
            | Scan::SiblingCancel
            | Scan::SuspensionTimeout
            | Scan::WaitpointExpiry
            | Scan::GrantExpiry
            | Scan::WorkerTtl
            | Scan::BudgetReset
            | Scan::UsageKeyExpiry
            | Scan::IdempotencyKeyExpiry
            | Scan::LimitCellExpiry
            | Scan::AdmissionExpiry
            | Scan::QuotaWindowExpiry
            | Scan::BudgetReconcile
            | Scan::QuotaReconcile
            | Scan::Schedules
            | Scan::CountFold => {}
        }

        let on = vec![
            (self.partition.column(), exec_core::partition_key.column()),
            (execution, exec_core::execution_id.column()),
        ];
        Some(Join { table: exec_core::REF, on })
    }
}
