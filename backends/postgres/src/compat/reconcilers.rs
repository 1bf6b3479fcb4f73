//! The reference's scanner ticks, each one scan for one kind of due row, and its hooks for one row.
//!
//! A tick applies up to 1,000 rows. A row that fails is counted, logged and left for a later tick.

use ff_core::EngineError;
use ff_core::backend::ScannerFilter;
use ff_core::engine::{ScanScope, scan_within};
use ff_core::engine_backend::{ReconcileCounts, Scan};
use sqlx::postgres::PgPool;

use super::engine;

/// The most rows that one tick applies.
const BATCH: u32 = 1_000;

/// The result of one tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanReport {
    /// The number of rows that were applied.
    pub processed: u32,
    /// The number of rows that failed.
    pub errors: u32,
}

async fn tick(
    pool: &PgPool,
    scan: Scan,
    scope: &ScanScope,
) -> Result<ReconcileCounts, EngineError> {
    scan_within(engine(pool).await?.as_ref(), scan, BATCH, scope).await
}

async fn tick_of_partition(
    pool: &PgPool,
    scan: Scan,
    partition_key: i16,
    filter: &ScannerFilter,
) -> Result<ScanReport, EngineError> {
    let partition = Some(partition_key);
    let scope = ScanScope { filter: filter.clone(), partition, ..ScanScope::default() };
    let ReconcileCounts { processed, errors } = tick(pool, scan, &scope).await?;
    Ok(ScanReport { processed, errors })
}

/// Attempts that ran longer than their execution allows.
pub mod attempt_timeout {
    use ff_core::engine::run;
    use ff_core::rules::execution::expire::ExpireAttempt;
    use ff_core::rules::key::ExecutionKey;
    use uuid::Uuid;

    use super::{EngineError, PgPool, Scan, ScanReport, ScannerFilter, engine, tick_of_partition};

    /// Ends the attempts of a partition that are out of time.
    ///
    /// # Errors
    /// `Transport` when the database cannot be reached.
    pub async fn scan_tick(
        pool: &PgPool,
        partition_key: i16,
        filter: &ScannerFilter,
    ) -> Result<ScanReport, EngineError> {
        tick_of_partition(pool, Scan::AttemptTimeout, partition_key, filter).await
    }

    /// Ends the current attempt of one execution, if it is out of time.
    ///
    /// # Errors
    /// The rule's refusal, or `Transport`.
    pub async fn expire_for_execution(
        pool: &PgPool,
        partition: i16,
        uuid: Uuid,
    ) -> Result<(), EngineError> {
        let key = ExecutionKey { partition, uuid };
        run(engine(pool).await?.as_ref(), &ExpireAttempt { key, at: None }).await.map(drop)
    }
}

/// Leases that were not renewed in time.
pub mod lease_expiry {
    use ff_core::engine::run;
    use ff_core::rules::execution::expire::ExpireLease;
    use ff_core::rules::key::ExecutionKey;
    use uuid::Uuid;

    use super::{EngineError, PgPool, Scan, ScanReport, ScannerFilter, engine, tick_of_partition};

    /// Releases the executions of a partition after their leases have lapsed.
    ///
    /// # Errors
    /// `Transport` when the database cannot be reached.
    pub async fn scan_tick(
        pool: &PgPool,
        partition_key: i16,
        filter: &ScannerFilter,
    ) -> Result<ScanReport, EngineError> {
        tick_of_partition(pool, Scan::LeaseExpiry, partition_key, filter).await
    }

    /// Releases one execution, if its lease has lapsed.
    ///
    /// # Errors
    /// The rule's refusal, or `Transport`.
    pub async fn release_for_execution(
        pool: &PgPool,
        partition: i16,
        uuid: Uuid,
    ) -> Result<(), EngineError> {
        let key = ExecutionKey { partition, uuid };
        run(engine(pool).await?.as_ref(), &ExpireLease { key, expected: None }).await.map(drop)
    }
}

/// Suspensions past their timeout.
pub mod suspension_timeout {
    use ff_core::engine::run;
    use ff_core::rules::key::ExecutionKey;
    use ff_core::rules::suspension::timeout::ExpireSuspension;
    use uuid::Uuid;

    use super::{EngineError, PgPool, Scan, ScanReport, ScannerFilter, engine, tick_of_partition};

    /// Applies the timeouts of a partition's suspensions.
    ///
    /// # Errors
    /// `Transport` when the database cannot be reached.
    pub async fn scan_tick(
        pool: &PgPool,
        partition_key: i16,
        filter: &ScannerFilter,
    ) -> Result<ScanReport, EngineError> {
        tick_of_partition(pool, Scan::SuspensionTimeout, partition_key, filter).await
    }

    /// Applies the timeout of one execution's suspension, if it has passed.
    ///
    /// # Errors
    /// The rule's refusal, or `Transport`.
    pub async fn expire_for_execution(
        pool: &PgPool,
        partition: i16,
        uuid: Uuid,
    ) -> Result<(), EngineError> {
        let key = ExecutionKey { partition, uuid };
        run(engine(pool).await?.as_ref(), &ExpireSuspension { key, at: None }).await.map(drop)
    }
}

/// Executions past their deadline.
pub mod execution_deadline {
    use ff_core::engine::run;
    use ff_core::rules::execution::expire::ExpireExecution;
    use ff_core::rules::key::ExecutionKey;
    use ff_core::types::TimestampMs;
    use uuid::Uuid;

    use super::{EngineError, PgPool, engine};

    /// Ends one execution, if its deadline has passed at the caller's time (Unix ms).
    ///
    /// # Errors
    /// The rule's refusal, or `Transport`.
    pub async fn expire_for_execution(
        pool: &PgPool,
        partition: i16,
        uuid: Uuid,
        now_ms: i64,
    ) -> Result<(), EngineError> {
        let (key, at) = (ExecutionKey { partition, uuid }, Some(TimestampMs(now_ms)));
        run(engine(pool).await?.as_ref(), &ExpireExecution { key, at }).await.map(drop)
    }
}

/// Delays that have ended.
pub mod delayed_promoter {
    use ff_core::engine::run;
    use ff_core::rules::execution::delay::Promote;
    use ff_core::rules::key::ExecutionKey;
    use ff_core::types::TimestampMs;
    use uuid::Uuid;

    use super::{EngineError, PgPool, engine};

    /// Makes one delayed execution claimable, if its time has come at the caller's time (Unix ms).
    ///
    /// # Errors
    /// The rule's refusal, or `Transport`.
    pub async fn promote_for_execution(
        pool: &PgPool,
        partition: i16,
        uuid: Uuid,
        now_ms: i64,
    ) -> Result<(), EngineError> {
        let (key, at) = (ExecutionKey { partition, uuid }, Some(TimestampMs(now_ms)));
        run(engine(pool).await?.as_ref(), &Promote { key, at }).await.map(drop)
    }
}

/// Waitpoints that no signal reached in time.
pub mod pending_wp_expiry {
    use ff_core::engine::run;
    use ff_core::rules::suspension::owner::WaitpointOwner;
    use ff_core::rules::suspension::waitpoint::CloseWaitpoint;
    use ff_core::types::{TimestampMs, WaitpointId};
    use uuid::Uuid;

    use super::{EngineError, PgPool, engine};

    /// Closes one waitpoint, if its time is up at the caller's time (Unix ms). An unknown waitpoint
    /// is closed already.
    ///
    /// # Errors
    /// `Transport` when the database cannot be reached.
    pub async fn close_for_execution(
        pool: &PgPool,
        partition: i16,
        waitpoint: Uuid,
        now_ms: i64,
    ) -> Result<(), EngineError> {
        let engine = engine(pool).await?;
        let id = WaitpointId::from_uuid(waitpoint);
        let owner = run(engine.as_ref(), &WaitpointOwner { partition, id: id.clone() }).await?;

        let Some(execution) = owner else { return Ok(()) };
        let at = Some(TimestampMs(now_ms));
        run(engine.as_ref(), &CloseWaitpoint { execution, id, at }).await.map(drop)
    }
}

/// Budgets that are reset on a schedule.
pub mod budget_reset {
    use ff_core::backend::ScannerFilter;

    use super::{EngineError, PgPool, Scan, ScanReport, tick_of_partition};

    /// Resets the budgets of a partition that are due.
    ///
    /// # Errors
    /// `Transport` when the database cannot be reached.
    pub async fn scan_tick(pool: &PgPool, partition_key: i16) -> Result<ScanReport, EngineError> {
        tick_of_partition(pool, Scan::BudgetReset, partition_key, &ScannerFilter::NOOP).await
    }
}

/// Completion events that were not dispatched.
pub mod dependency {
    use super::{EngineError, PgPool, Scan, ScanScope, ScannerFilter, tick};

    /// The usual age for [`reconcile_tick`], in ms.
    pub const DEFAULT_STALE_THRESHOLD_MS: i64 = 1_000;

    /// The result of one tick.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct ReconcileReport {
        /// The number of events that were found.
        pub scanned: u64,
        /// The number of events that this tick dispatched.
        pub reconciled: u64,
        /// The number of events that another scanner dispatched meanwhile. They are not counted
        /// here, so this is 0.
        pub noop: u64,
        /// The number of events that the filter excluded. The database evaluates it, so this is 0.
        pub filtered: u64,
        /// The number of events that failed.
        pub errors: u64,
    }

    /// Dispatches the completion events that are older than `stale_threshold_ms`.
    ///
    /// # Errors
    /// `Transport` when the database cannot be reached.
    pub async fn reconcile_tick(
        pool: &PgPool,
        filter: &ScannerFilter,
        stale_threshold_ms: i64,
    ) -> Result<ReconcileReport, EngineError> {
        let filter = filter.clone();
        let scope = ScanScope { filter, older_than_ms: stale_threshold_ms, ..ScanScope::default() };
        let counts = tick(pool, Scan::DependencyDispatch, &scope).await?;

        let (reconciled, errors) = (u64::from(counts.processed), u64::from(counts.errors));
        let scanned = reconciled + errors;
        Ok(ReconcileReport { scanned, reconciled, errors, ..ReconcileReport::default() })
    }
}

/// Siblings to cancel.
pub mod edge_cancel_dispatcher {
    use super::{EngineError, PgPool, Scan, ScanScope, ScannerFilter, tick};

    /// The result of one tick.
    #[derive(Clone, Debug, Default)]
    pub struct DispatchReport {
        /// The number of groups that were settled: their siblings are cancelled or had ended.
        pub dispatched: u64,
        /// Groups that no longer exist. They are settled here like any other, so this is 0.
        pub orphaned: u64,
        /// Groups left for the reference's second scan. One scan does both here, so this is 0.
        pub skipped_for_reconciler: u64,
        /// Groups that another scanner held. They are not counted here, so this is 0.
        pub skipped_locked: u64,
        /// The number of groups that failed.
        pub errors: u64,
    }

    /// Cancels the siblings that satisfied groups no longer need.
    ///
    /// # Errors
    /// `Transport` when the database cannot be reached.
    pub async fn dispatcher_tick(
        pool: &PgPool,
        filter: &ScannerFilter,
    ) -> Result<DispatchReport, EngineError> {
        let scope = ScanScope { filter: filter.clone(), ..ScanScope::default() };
        let counts = tick(pool, Scan::SiblingCancel, &scope).await?;
        let (dispatched, errors) = (u64::from(counts.processed), u64::from(counts.errors));
        Ok(DispatchReport { dispatched, errors, ..DispatchReport::default() })
    }
}

/// The reference's second scan for siblings to cancel.
pub mod edge_cancel_reconciler {
    use super::{EngineError, PgPool, ScannerFilter, edge_cancel_dispatcher};

    /// The result of one tick.
    #[derive(Clone, Debug, Default)]
    pub struct ReconcileReport {
        /// Stale rows that were removed. The first scan settles them here, so this is 0.
        pub sremmed_stale: u64,
        /// The number of groups that were settled.
        pub completed_drain: u64,
        /// Groups that were left unchanged; none here.
        pub no_op: u64,
        /// The number of groups that failed.
        pub errors: u64,
    }

    /// The same scan as [`edge_cancel_dispatcher::dispatcher_tick`], which leaves nothing for a
    /// second one.
    ///
    /// # Errors
    /// `Transport` when the database cannot be reached.
    pub async fn reconciler_tick(
        pool: &PgPool,
        filter: &ScannerFilter,
    ) -> Result<ReconcileReport, EngineError> {
        let report = edge_cancel_dispatcher::dispatcher_tick(pool, filter).await?;
        let (completed_drain, errors) = (report.dispatched, report.errors);
        Ok(ReconcileReport { completed_drain, errors, ..ReconcileReport::default() })
    }
}
