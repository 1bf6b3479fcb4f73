//! Heap allocations: of the parts of an operation, and of whole operations through each backend,
//! counted over all threads. Printed as a table; nothing here is timed.
//!
//! `cargo bench --bench allocations` counts memory and SQLite; with `FF_BENCH_PG_URL` set, Postgres
//! too, in a schema of its own that is dropped afterwards.

#[path = "common/backends.rs"]
mod backends;
#[path = "common/parts.rs"]
mod parts;

use std::alloc::System;
use std::sync::Arc;

use ff_backend_memory::MemoryBackend;
use ff_bench::{PAYLOAD, submission, terms};
use ff_core::backend::{CapabilitySet, Handle};
use ff_core::types::LaneId;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, Stats, StatsAlloc};

use backends::{Backend, each_backend};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The operations that fill caches before they count, and those that count.
const WARM_UP: u32 = 50;
const COUNTED: u32 = 200;

/// Allocations and allocated bytes, as means.
fn print(what: &str, stats: Stats, runs: u32) {
    let mean = |total: usize| total as f64 / f64::from(runs);
    let count = mean(stats.allocations + stats.reallocations);
    println!("{what:<44} {count:>8.1} allocations {:>10.0} bytes", mean(stats.bytes_allocated));
}

fn add(total: &mut Stats, change: Stats) {
    total.allocations += change.allocations;
    total.reallocations += change.reallocations;
    total.bytes_allocated += change.bytes_allocated;
}

fn of_parts() {
    for part in parts::parts() {
        let mut total = Stats::default();
        for round in 0..WARM_UP + COUNTED {
            let mut run = part.prepare();
            let region = Region::new(ALLOCATOR);
            run();
            if WARM_UP <= round {
                add(&mut total, region.change());
            }
        }
        print(&part.name, total, COUNTED);
    }
}

async fn of_operations(name: &str, backend: Backend) {
    let (lane, none) = (LaneId::new("bench"), CapabilitySet::default());
    let (mut create, mut claim, mut complete) = <(Stats, Stats, Stats)>::default();
    for round in 0..WARM_UP + COUNTED {
        let submitted = submission(&lane, PAYLOAD);
        let (terms, counts) = (terms(0), WARM_UP <= round);

        let region = Region::new(ALLOCATOR);
        backend.create_execution(submitted).await.expect("creates");
        let created = region.change();

        let region = Region::new(ALLOCATOR);
        let handle: Option<Handle> = backend.claim(&lane, &none, terms).await.expect("claims");
        let claimed = region.change();

        let handle = handle.expect("there is one");
        let region = Region::new(ALLOCATOR);
        backend.complete(&handle, None).await.expect("completes");
        if counts {
            add(&mut create, created);
            add(&mut claim, claimed);
            add(&mut complete, region.change());
        }
    }

    print(&format!("create on {name}"), create, COUNTED);
    print(&format!("claim on {name}"), claim, COUNTED);
    print(&format!("complete on {name}"), complete, COUNTED);
}

#[tokio::main]
async fn main() {
    of_parts();
    of_operations("memory", Arc::new(MemoryBackend::new())).await;
    each_backend(async |name, backend| of_operations(name, backend).await).await;
}
