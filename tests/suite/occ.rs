//! What only an engine of optimistic databases meets: processes whose plans conflict, plans that
//! take too long, and operations that it refuses. It runs on plain Postgres, as `postgres-occ`.

use std::collections::HashSet;
use std::time::Duration;

use ff_core::EngineError;
use ff_core::backend::CapabilitySet;
use ff_core::engine_error::{StoreClass, StoreError};
use flowfabric_sql::InTransaction as _;

use crate::backends;
use crate::bench::{assert_not_active, id, lane, payload_of, worker};
use crate::plain::PlainSql;

/// The number of executions that processes compete for.
const EXECUTIONS: usize = 200;

#[test]
fn each_execution_is_claimed_once_by_processes_on_postgres_occ() {
    backends::run_connected(backends::postgres_occ(), |bench| {
        Box::pin(async move {
            for _ in 0..EXECUTIONS {
                bench.create().await;
            }

            let others = [bench.another_process().await, bench.another_process().await];
            let processes = others.into_iter().chain([bench.backend.clone()]);
            let workers =
                processes.flat_map(|process| vec![process; 4]).map(|backend| async move {
                    let (mut claimed, none) = (Vec::new(), CapabilitySet::default());
                    while let Some(handle) =
                        backend.claim(&lane(), &none, worker("w")).await.unwrap()
                    {
                        backend.complete(&handle, None).await.unwrap();
                        assert_not_active(backend.complete(&handle, None).await, "terminal");
                        claimed.push(payload_of(&handle).execution_id);
                    }
                    claimed
                });
            let claimed = futures_util::future::join_all(workers).await.concat();

            assert_eq!(claimed.len(), EXECUTIONS);
            assert_eq!(claimed.into_iter().collect::<HashSet<_>>().len(), EXECUTIONS);
        })
    });
}

#[test]
fn a_plan_that_outlives_its_part_of_the_window_changes_nothing_on_postgres_occ() {
    let no_time = backends::postgres_occ_with(|options| options.lag_window(Duration::ZERO));
    backends::run(no_time, |bench| {
        Box::pin(async move {
            let refusal = bench.backend.create_execution(bench.args(&id())).await.unwrap_err();
            let class = refusal.store_error().map(StoreError::class);
            assert_eq!(class, Some(StoreClass::Retryable), "{refusal:?}");
            assert_eq!(bench.plain.rows("ff_exec_core").await, []);
        })
    });
}

#[test]
fn operations_in_a_transaction_of_the_caller_are_refused_on_postgres_occ() {
    backends::run_connected(backends::postgres_occ(), |bench| {
        Box::pin(async move {
            let PlainSql::Postgres(pool) = &bench.plain else { panic!("Postgres it is") };
            let mut transaction = pool.begin().await.unwrap();
            let mut within = transaction.within(bench.backend.as_ref()).unwrap();
            let refusal = within.create_execution(bench.args(&id())).await.err();
            assert!(matches!(refusal, Some(EngineError::Unavailable { .. })), "{refusal:?}");
            drop(within);
            transaction.rollback().await.unwrap();
        })
    });
}
