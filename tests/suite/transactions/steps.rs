//! Durable steps within a transaction of the caller: the record and the caller's own rows are
//! stored together, or neither is.

use std::sync::Arc;

use ff_core::contracts::{NewStep, RecordStepOutcome, RevokeLeaseArgs};
use ff_core::types::{ExecutionId, WorkerInstanceId};
use flowfabric_sql::InTransaction as _;
use futures_util::future::join_all;

use super::{Own, is_conflict, on_both, postgres_pool};
use crate::backends::{Bench, postgres_copy, run_connected};
use crate::bench::{assert_not_active, assert_refused};

/// A step at that place.
fn step(position: u32) -> NewStep {
    NewStep::new(position, "charge", b"7".to_vec())
}

/// The places of an execution's steps, as others see them.
pub(super) async fn places(bench: &Bench, id: &ExecutionId) -> Vec<u32> {
    let steps = bench.backend.list_steps(id, None, 1_000).await.unwrap();
    steps.into_iter().map(|step| step.position).collect()
}

/// Takes the lease of an execution from its worker.
pub(super) async fn revoke(bench: &Bench, id: &ExecutionId) {
    let args = RevokeLeaseArgs {
        execution_id: id.clone(),
        expected_lease_id: None,
        worker_instance_id: WorkerInstanceId::new(""),
        reason: "a lost worker".into(),
    };
    bench.backend.revoke_lease(args).await.unwrap();
}

on_both! {
    async fn a_step_is_recorded_with_the_callers_rows_or_not_at_all(bench) {
        bench.with_orders().await;
        let (id, handle) = bench.leased().await;
        let before = bench.rows().await;

        for ending in ["rollback", "drop", "commit"] {
            let mut own = Own::begin(&bench).await;
            own.order(17).await;
            let mut within = own.within(&bench);
            let recorded = within.record_step(&handle, step(0)).await.unwrap();
            assert_eq!(recorded, RecordStepOutcome::Recorded, "{ending}");
            let again = within.record_step(&handle, step(0)).await.unwrap();
            assert!(matches!(again, RecordStepOutcome::Found(_)), "{ending}: {again:?}");
            assert_eq!(within.list_steps(&id, None, 10).await.unwrap().len(), 1);
            assert_eq!(places(&bench, &id).await, [] as [u32; 0], "not before the commit");

            drop(within);
            match ending {
                "commit" => own.commit().await.unwrap(),
                "rollback" => own.rollback().await,
                _ => drop(own),
            }
            if ending != "commit" {
                // A dropped transaction is rolled back by the next use of its connection.
                Own::begin(&bench).await.rollback().await;
                assert!(bench.rows().await == before, "{ending} leaves the rows as they were");
                assert_eq!(bench.orders().await, [] as [i64; 0]);
            }
        }
        assert_eq!((bench.orders().await, places(&bench, &id).await), (vec![17], vec![0]));
        let stored = bench.backend.list_steps(&id, None, 1).await.unwrap().remove(0);
        assert_eq!((stored.name.as_str(), &*stored.value), ("charge", &b"7"[..]));
        bench.backend.complete(&handle, None).await.unwrap();
    }

    async fn a_lost_lease_records_no_step_and_the_transaction_stays_usable(bench) {
        bench.with_orders().await;
        let (lost, revoked) = bench.leased().await;
        let (ended, over) = bench.leased().await;
        let (held, handle) = bench.leased().await;
        bench.backend.complete(&over, None).await.unwrap();
        revoke(&bench, &lost).await;

        let mut own = Own::begin(&bench).await;
        own.order(1).await;
        let mut within = own.within(&bench);
        assert_not_active(within.record_step(&revoked, step(0)).await, "runnable");
        assert_not_active(within.record_step(&over, step(0)).await, "terminal");
        let older = bench.altered(&handle, |payload| payload.lease_epoch.0 += 1);
        assert_refused(within.record_step(&older, step(0)).await, "contention: LeaseConflict");
        let nameless = NewStep::new(0, "", Vec::new());
        let refused = within.record_step(&handle, nameless).await;
        assert_refused(refused, "validation: InvalidInput: step.name: must not be empty");

        // It can still be used.
        within.record_step(&handle, step(0)).await.unwrap();
        drop(within);
        own.order(2).await;
        own.commit().await.unwrap();
        assert_eq!(bench.orders().await, [1, 2]);
        for (id, expected) in [(&lost, vec![]), (&ended, vec![]), (&held, vec![0])] {
            assert_eq!(places(&bench, id).await, expected);
        }
    }

    async fn of_sixteen_callers_one_records_the_step_and_keeps_its_row(bench) {
        bench.with_orders().await;
        let (id, handle) = bench.leased().await;
        let callers = (0..16).map(|number| {
            let (bench, handle) = (Arc::clone(&bench), handle.clone());
            tokio::spawn(async move { race(&bench, &handle, number).await })
        });
        let recorded: Vec<_> = join_all(callers).await.into_iter().map(Result::unwrap).collect();

        let winner = recorded.iter().position(|recorded| *recorded).unwrap();
        assert_eq!(recorded.iter().filter(|recorded| **recorded).count(), 1, "{recorded:?}");
        assert_eq!(bench.orders().await, [i64::try_from(winner).unwrap()]);
        assert_eq!(places(&bench, &id).await, [0]);
    }
}

/// Records the same step as others, and keeps the own row only with it. Returns true if this caller
/// recorded it.
async fn race(bench: &Bench, handle: &ff_core::backend::Handle, number: i64) -> bool {
    for _ in 0..200 {
        let mut own = Own::begin(bench).await;
        own.order(number).await;
        let recorded = own.within(bench).record_step(handle, step(0)).await;
        match recorded {
            Ok(RecordStepOutcome::Recorded) => {
                own.commit().await.unwrap();
                return true;
            }
            Ok(RecordStepOutcome::Found(_)) => {
                own.rollback().await;
                return false;
            }
            conflict => {
                assert!(is_conflict(&conflict), "{conflict:?}");
                own.rollback().await;
            }
        }
    }
    panic!("caller {number} met others two hundred times");
}

#[test]
fn a_session_that_ends_leaves_no_step() {
    run_connected(postgres_copy(), |bench| {
        Box::pin(async move {
            bench.with_orders().await;
            let (id, handle) = bench.leased().await;
            let pool = postgres_pool(&bench);
            let mut own = pool.begin().await.unwrap();
            let pid: i32 =
                sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut *own).await.unwrap();
            sqlx::query("INSERT INTO orders VALUES (1)").execute(&mut *own).await.unwrap();
            let mut within = own.within(bench.backend.as_ref()).unwrap();
            within.record_step(&handle, step(0)).await.unwrap();
            drop(within);

            let end = "SELECT pg_terminate_backend($1, 10000)";
            let ended: bool = sqlx::query_scalar(end).bind(pid).fetch_one(pool).await.unwrap();
            assert!(ended);
            own.commit().await.unwrap_err();
            assert_eq!((bench.orders().await, places(&bench, &id).await), (vec![], vec![]));

            let recorded = bench.backend.record_step(&handle, step(0)).await.unwrap();
            assert_eq!(recorded, RecordStepOutcome::Recorded);
        })
    });
}
