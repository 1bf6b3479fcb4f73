//! Processes whose wall clocks are set while they work: time goes on, and no lease lapses early.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use ff_backend_postgres::{PostgresBackend, PostgresOptions};
use ff_core::engine::Executor as _;
use ff_core::engine_backend::{EngineBackend, Scan};
use ff_core::types::TimestampMs;

use crate::backends::{self, postgres_url};
use crate::sessions::leases_of;

const TEN_MINUTES: i64 = 600_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_lease_lapses_because_the_wall_clock_of_a_scanner_is_set() {
    let bench = backends::postgres().await;
    let options = || PostgresOptions::new(postgres_url()).schema(bench.schema()).max_connections(4);
    let worker = PostgresBackend::open(options()).await.unwrap();
    let off_ms = Arc::new(AtomicI64::new(0));
    let offset = Arc::clone(&off_ms);
    let wall = move || TimestampMs(TimestampMs::now().0 + offset.load(Ordering::SeqCst));
    let scanner = PostgresBackend::open(options().wall_clock(wall)).await.unwrap();

    for step in [TEN_MINUTES, -TEN_MINUTES, -TEN_MINUTES, TEN_MINUTES, 2 * TEN_MINUTES] {
        let handles = leases_of(&bench, worker.as_ref(), 20).await;
        off_ms.fetch_add(step, Ordering::SeqCst);
        for handle in handles {
            let counts = scanner.scan(Scan::LeaseExpiry, 100).await.unwrap();
            assert_eq!((counts.processed, counts.errors), (0, 0), "after {step} ms");
            worker.renew(&handle).await.unwrap();
            worker.complete(&handle, None).await.unwrap();
        }
        // What is measured anew is the database's time as well.
        EngineBackend::ping(scanner.as_ref()).await.unwrap();
        let apart = scanner.now().0 - worker.now().0;
        assert!(apart.abs() < 1_000, "{apart} ms apart after {step} ms");
    }
    for backend in [worker, scanner] {
        backend.close_within(Duration::from_secs(10)).await.unwrap();
    }
    bench.tear_down().await;
}
