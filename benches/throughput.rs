//! Throughput and latency of the life of an execution, per backend, one engine for all of it.
//!
//! `cargo bench --bench throughput` measures SQLite on a temporary file; with `FF_BENCH_PG_URL`
//! set, Postgres too, in a schema of its own that is dropped afterwards. `FF_BENCH_SECONDS` bounds
//! each measurement, 5 by default. The loads are those of `ff bench`, which says more; this
//! benchmark prints what older commits print, for `scripts/bench-against`.

#[path = "common/backends.rs"]
mod backends;
#[path = "common/setting.rs"]
mod setting;

use std::time::{Duration, Instant};

use ff_bench::{PAYLOAD, Scenario, fill, run};
use ff_core::types::LaneId;

use backends::{Backend, each_backend};
use setting::setting;

/// The time for each figure that is a latency.
const LATENCY: Duration = Duration::from_secs(1);

async fn measure(name: &str, backend: Backend, time: Duration) {
    let backlog = if name == "postgres" { 200_000 } else { 50_000 };
    let lane = LaneId::new("bench");
    let start = Instant::now();
    fill(backend.as_ref(), &lane, PAYLOAD, backlog).await.expect("submits");
    let submitted = backlog as f64 / start.elapsed().as_secs_f64();
    println!("{name:<10} submit in batches      {submitted:>10.0} /s");

    for (scenario, callers, text) in [
        (Scenario::Pairs, 16, "claim+complete, 1 at a time x16"),
        (Scenario::Batches, 4, "claim 100 + complete, x4       "),
    ] {
        let side = run(&backend, scenario, &lane, callers, time).await.expect("works");
        println!("{name:<10} {text} {:>10.0} /s", side.per_s);
    }

    for (scenario, lane, text) in [
        (Scenario::EmptyClaim, "empty", "empty claim           "),
        (Scenario::Mixed, "quick", "create+claim+complete "),
    ] {
        let side = run(&backend, scenario, &LaneId::new(lane), 1, LATENCY).await.expect("works");
        println!(
            "{name:<10} {text} p50 {:.3} ms p99 {:.3} ms",
            side.round.p50_ms, side.round.p99_ms
        );
    }
}

#[tokio::main]
async fn main() {
    let time = Duration::from_secs(setting("FF_BENCH_SECONDS", 5));
    each_backend(async |name, backend| measure(name, backend, time).await).await;
}
