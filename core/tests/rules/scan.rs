//! What the scanners look for.

use ff_core::engine_backend::Scan;
use ff_core::plan::facts::Row;
use ff_core::rules::key::ExecutionKey;
use ff_core::rules::scan::ScanScope;
use ff_core::rules::scan::{Due, DueRow, Overdue};
use ff_core::schema::execution::{attempt, exec_core};
use insta::assert_snapshot;
use uuid::Uuid;

use crate::stored::{attempt_row, core_row};
use crate::{answers, asks};

fn due(scan: Scan) -> Due {
    Due { scan, limit: 50, after: None, scope: ScanScope::default() }
}

#[test]
fn each_scan_asks_for_what_is_due_longest_overdue_first() {
    assert_snapshot!(asks(&due(Scan::LeaseExpiry)), @r"
    list lapsed leases
      from ff_attempt join ff_exec_core
        read partition_key, execution_id, lease_expires_at_ms, lease_reclaim_count, policy
        where lease_expires_at_ms is present and lease_expires_at_ms <= 1000000 and lifecycle_phase is active
        order lease_expires_at_ms, execution_id
        limit 50
    ");
    assert_snapshot!(asks(&due(Scan::AttemptTimeout)), @r"
    list attempts out of time
      from ff_attempt join ff_exec_core
        read partition_key, execution_id, timeout_at_ms
        where timeout_at_ms is present and timeout_at_ms <= 1000000 and lifecycle_phase is active
        order timeout_at_ms, execution_id
        limit 50
    ");
    assert_snapshot!(asks(&due(Scan::ExecutionDeadline)), @r"
    list executions past their deadline
      from ff_exec_core
        read partition_key, execution_id, deadline_at_ms
        where deadline_at_ms is present and terminal_at_ms is null and deadline_at_ms <= 1000000 and lifecycle_phase not in (terminal, cancelled)
        order deadline_at_ms, execution_id
        limit 50
    ");
    assert_snapshot!(asks(&due(Scan::DelayedPromotion)), @r"
    list delayed executions that are due
      from ff_exec_core
        read partition_key, execution_id, eligible_at_ms
        where lifecycle_phase in (runnable, pending, eligible, blocked) and eligibility_state is not_eligible_until_time and (eligible_at_ms is null or eligible_at_ms <= 1000000)
        order eligible_at_ms, execution_id
        limit 50
    ");
}

#[test]
fn the_answer_is_the_keys_in_the_order_of_the_list() {
    let other = Uuid::from_u128(2);
    let rows: [Vec<Row>; 2] = [
        vec![core_row().with(exec_core::execution_id, other).row(), core_row().row()],
        vec![attempt_row().with(attempt::execution_id, other).row(), attempt_row().row()],
    ];
    let keys = [other, crate::key().uuid].map(|uuid| ExecutionKey { partition: 7, uuid });
    for scan in Scan::ALL {
        let rows = match scan {
            Scan::LeaseExpiry | Scan::AttemptTimeout => rows[1].clone(),
            Scan::ExecutionDeadline | Scan::DelayedPromotion => rows[0].clone(),
            Scan::DependencyDispatch
            | Scan::SiblingCancel
            | Scan::SuspensionTimeout
            | Scan::WaitpointExpiry
            | Scan::GrantExpiry
            | Scan::BudgetReset
            | Scan::UsageKeyExpiry
            | Scan::IdempotencyKeyExpiry
            | Scan::LimitCellExpiry
            | Scan::AdmissionExpiry
            | Scan::QuotaWindowExpiry
            | Scan::BudgetReconcile
            | Scan::QuotaReconcile
            | Scan::Schedules
            | Scan::CountFold
            | Scan::WorkerTtl => continue,
        };
        let found = answers(&due(scan), vec![rows]).unwrap();
        assert_eq!(found.iter().filter_map(|due| due.row.execution()).collect::<Vec<_>>(), keys);
    }
}

#[test]
fn rows_that_failed_are_skipped() {
    let stuck = Overdue { row: DueRow::Execution(crate::key()), since: Some(17) };
    let past = Due { after: Some(stuck), ..due(Scan::ExecutionDeadline) };
    assert!(asks(&past).contains("after[deadline_at_ms 17, execution_id"), "{}", asks(&past));
}
