//! The time of a claim behind 100,000 older executions that its worker cannot serve, beside that of
//! a claim of a lane without them.
//!
//! `cargo bench --bench obstructed` measures SQLite on a temporary file; with `FF_BENCH_PG_URL`
//! set, Postgres too, in a schema of its own that is dropped afterwards. The lanes take turns, so
//! that a noisy machine disturbs all of them. `FF_BENCH_ROUNDS` is the number of claims, 300 by
//! default.

#[path = "common/backends.rs"]
mod backends;
#[path = "common/setting.rs"]
mod setting;

use std::time::{Duration, Instant};

use ff_bench::{PAYLOAD, Percentiles, submission, terms};
use ff_core::backend::CapabilitySet;
use ff_core::contracts::SetLimitArgs;
use ff_core::policy::{ExecutionPolicy, RoutingRequirements};
use ff_core::types::LaneId;

use backends::{Backend, each_backend};
use setting::setting;

/// The executions that come first and that nobody here can serve.
const OBSTACLES: usize = 100_000;

/// What a worker may offer.
const OFFERED: &str = "gpu";

/// The claims that do not count: they make connections and plans.
const WARM_UP: usize = 20;

/// What comes first in a lane.
#[derive(Clone, Copy)]
enum Obstacles {
    /// Executions that need one of 8 capabilities which no worker has.
    Capabilities,
    /// Executions of a limit that is full.
    FullLimit,
}

impl Obstacles {
    const fn text(self) -> &'static str {
        match self {
            Self::Capabilities => "capabilities that nobody has",
            Self::FullLimit => "a full limit",
        }
    }

    /// The policy of the obstacle of that number.
    fn policy(self, number: usize) -> ExecutionPolicy {
        match self {
            Self::Capabilities => requires(&format!("cluster-{}", number % 8)),
            Self::FullLimit => {
                let limit_keys = vec!["closed".to_owned()];
                ExecutionPolicy { limit_keys, ..ExecutionPolicy::default() }
            }
        }
    }
}

fn requires(capability: &str) -> ExecutionPolicy {
    let required_capabilities = [capability.to_owned()].into();
    let routing = RoutingRequirements { required_capabilities, ..RoutingRequirements::default() };
    ExecutionPolicy { routing_requirements: Some(routing), ..ExecutionPolicy::default() }
}

/// Submits as many executions as that, in order.
async fn submit(
    backend: &Backend,
    lane: &LaneId,
    count: usize,
    policy: impl Fn(usize) -> Option<ExecutionPolicy>,
) {
    for from in (0..count).step_by(2_000) {
        let one = |number| {
            let mut args = submission(lane, PAYLOAD);
            args.policy = policy(number);
            args
        };
        let batch = (from..count.min(from + 2_000)).map(one).collect();
        for created in backend.create_executions(batch).await {
            created.expect("submits");
        }
    }
}

/// Claims one execution at a time from either lane in turns: one with obstacles, one without.
async fn measure(name: &str, backend: &Backend, obstacles: Obstacles) {
    let rounds = setting("FF_BENCH_ROUNDS", 300) as usize;
    let lanes = ["free", "obstructed"];
    let lanes = lanes.map(|lane| LaneId::new(format!("{lane}-{}", obstacles as usize)));
    submit(backend, &lanes[1], OBSTACLES, |number| Some(obstacles.policy(number))).await;
    for lane in &lanes {
        // Half of what can be served needs what only some workers offer.
        let policy = |number: usize| number.is_multiple_of(2).then(|| requires(OFFERED));
        submit(backend, lane, 4 * (rounds + WARM_UP), policy).await;
    }

    for tokens in [&[] as &[&str], &[OFFERED]] {
        let offers = CapabilitySet::new(tokens.iter().copied());
        let mut taken: [Vec<Duration>; 2] = Default::default();
        for round in 0..rounds + WARM_UP {
            for (lane, taken) in lanes.iter().zip(&mut taken) {
                let start = Instant::now();
                let claimed = backend.claim(lane, &offers, terms(0)).await.expect("claims");
                if WARM_UP <= round {
                    taken.push(start.elapsed());
                }
                claimed.expect("an execution that can be served");
            }
        }

        let [free, obstructed] = taken.map(|taken| Percentiles::of(taken).p50_ms);
        println!(
            "{name:<10} {} capabilities, behind {:<30} {obstructed:.3} ms, else {free:.3} ms ({:.2})",
            tokens.len(),
            obstacles.text(),
            obstructed / free
        );
    }
}

#[tokio::main]
async fn main() {
    each_backend(async |name, backend| {
        measure(name, &backend, Obstacles::Capabilities).await;
        // A process that knows of limits claims in another way.
        let closed = SetLimitArgs::new("closed", "bench").with_running(0);
        backend.set_limit(closed).await.expect("sets a limit");
        measure(name, &backend, Obstacles::FullLimit).await;
    })
    .await;
}
