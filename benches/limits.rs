//! The throughput of executions with keys of limits or of fairness beside that of executions
//! without, and their ratio.
//!
//! `cargo bench --bench limits` measures SQLite on temporary files; with `FF_BENCH_PG_URL` set,
//! Postgres too, in schemas of its own that are dropped afterwards. Each load has a database of
//! its own, since a process that has seen no limits claims as if there were none. The loads take
//! turns, so that a noisy machine disturbs all of them. `FF_BENCH_SECONDS` bounds each turn, 1 by
//! default; `FF_BENCH_TURNS` counts them, 5 by default.

#[path = "common/backends.rs"]
#[allow(dead_code)] // Each load here has a database of its own.
mod backends;
#[path = "common/setting.rs"]
mod setting;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ff_backend_sqlite::SqliteBackend;
use ff_bench::{PAYLOAD, Scenario, run, submission, terms};
use ff_core::backend::CapabilitySet;
use ff_core::contracts::SetLimitArgs;
use ff_core::policy::ExecutionPolicy;
use ff_core::types::LaneId;
use futures_util::future::join_all;

use backends::{Backend, Schema};
use setting::setting;

/// The executions that a lane has before each turn.
const BACKLOG: usize = 20_000;

/// The executions in one claim.
const BATCH: u32 = 100;

/// The claims of each caller where only claims are timed: all that they take is held at once.
const CLAIMS: u32 = 5;

/// The most that run at once of a key: more than any load holds.
const MAX_RUNNING: u32 = 10_000;

/// The keys that the executions of a load name: of limits, or of fairness.
#[derive(Clone, Copy)]
enum Keys {
    None,
    One,
    Thousand,
    Fair,
}

impl Keys {
    const ALL: [Self; 4] = [Self::None, Self::One, Self::Thousand, Self::Fair];

    const fn text(self) -> &'static str {
        match self {
            Self::None => "no keys",
            Self::One => "one key",
            Self::Thousand => "1,000 keys",
            Self::Fair => "10 fairness keys",
        }
    }

    /// The policy of the execution of that number.
    fn policy(self, number: usize) -> Option<ExecutionPolicy> {
        let key = match self {
            Self::None => return None,
            Self::One => "tenant/0".to_owned(),
            Self::Thousand => format!("tenant/{}", number % 1_000),
            Self::Fair => {
                let fairness_key = Some(format!("tenant/{}", number % 10));
                return Some(ExecutionPolicy { fairness_key, ..ExecutionPolicy::default() });
            }
        };
        Some(ExecutionPolicy { limit_keys: vec![key], ..ExecutionPolicy::default() })
    }
}

/// What is measured of each load.
#[derive(Clone, Copy)]
enum Figure {
    Batches,
    Pairs,
    Claims,
}

impl Figure {
    const ALL: [Self; 3] = [Self::Batches, Self::Pairs, Self::Claims];

    const fn text(self) -> &'static str {
        match self {
            Self::Batches => "claim 100 + complete, x4",
            Self::Pairs => "claim + complete, x16",
            Self::Claims => "claim 100, x4",
        }
    }
}

/// A database with one load.
struct Loaded {
    backend: Backend,
    keys: Keys,
    /// The executions that wait.
    waiting: usize,
    /// The lives and the seconds of each figure.
    done: [(f64, f64); Figure::ALL.len()],
}

impl Loaded {
    async fn new(backend: Backend, keys: Keys) -> Self {
        let limit = SetLimitArgs::new("tenant/*", "bench").with_running(MAX_RUNNING);
        match keys {
            Keys::None | Keys::Fair => {}
            Keys::One | Keys::Thousand => backend.set_limit(limit).await.expect("sets a limit"),
        }
        Self { backend, keys, waiting: 0, done: Default::default() }
    }

    async fn fill(&mut self, lane: &LaneId) {
        while self.waiting < BACKLOG {
            let one = |number| {
                let mut args = submission(lane, PAYLOAD);
                args.policy = self.keys.policy(number);
                args
            };
            let batch: Vec<_> = (self.waiting..self.waiting + 2_000).map(one).collect();
            self.waiting += batch.len();
            for created in self.backend.create_executions(batch).await {
                created.expect("submits");
            }
        }
    }

    /// Takes one turn. Returns the lives and the seconds.
    async fn turn(&mut self, figure: Figure, lane: &LaneId, time: Duration) -> (f64, f64) {
        self.fill(lane).await;
        let (scenario, callers) = match figure {
            Figure::Batches => (Scenario::Batches, 4),
            Figure::Pairs => (Scenario::Pairs, 16),
            Figure::Claims => return self.claims(lane).await,
        };
        let side = run(&self.backend, scenario, lane, callers, time).await.expect("works");
        self.waiting = self.waiting.saturating_sub(side.lives as usize);
        (side.lives as f64, side.seconds)
    }

    /// Times claims, and completes what they took.
    async fn claims(&mut self, lane: &LaneId) -> (f64, f64) {
        let start = Instant::now();
        let caller = |caller: usize| {
            let (backend, lane) = (Arc::clone(&self.backend), lane.clone());
            tokio::spawn(async move {
                let (none, mut handles) = (CapabilitySet::default(), Vec::new());
                for _ in 0..CLAIMS {
                    let claim = backend.claim_many(&lane, &none, terms(caller), BATCH);
                    handles.extend(claim.await.expect("claims"));
                }
                handles
            })
        };
        let claimed = join_all((0..4).map(caller)).await.into_iter();
        let handles: Vec<_> = claimed.flat_map(|caller| caller.expect("claims")).collect();
        let seconds = start.elapsed().as_secs_f64();

        self.waiting = self.waiting.saturating_sub(handles.len());
        for some in handles.chunks(BATCH as usize) {
            for ended in join_all(some.iter().map(|one| self.backend.complete(one, None))).await {
                ended.expect("completes");
            }
        }
        (handles.len() as f64, seconds)
    }

    fn rate(&self, figure: Figure) -> f64 {
        let (lives, seconds) = self.done[figure as usize];
        lives / seconds
    }
}

async fn measure(name: &str, backends: Vec<Backend>) {
    let time = Duration::from_secs(setting("FF_BENCH_SECONDS", 1));
    let turns = setting("FF_BENCH_TURNS", 5);
    let lane = LaneId::new("bench");
    let loads = backends.into_iter().zip(Keys::ALL);
    let mut loads = join_all(loads.map(|(backend, keys)| Loaded::new(backend, keys))).await;

    // The first turn only warms up.
    for turn in 0..=turns {
        for figure in Figure::ALL {
            for load in &mut loads {
                let (lives, seconds) = load.turn(figure, &lane, time).await;
                let done = &mut load.done[figure as usize];
                if 0 < turn {
                    *done = (done.0 + lives, done.1 + seconds);
                }
            }
        }
    }

    for figure in Figure::ALL {
        let none = loads[0].rate(figure);
        let rate = |load: &Loaded| {
            let rate = load.rate(figure);
            format!("{} {rate:.0} /s ({:.2})", load.keys.text(), rate / none)
        };
        let rates: Vec<String> = loads.iter().map(rate).collect();
        println!("{name:<10} {:<25} {}", figure.text(), rates.join(", "));
    }
}

#[tokio::main]
async fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut files: Vec<Backend> = Vec::new();
    for name in ["none.db", "one.db", "thousand.db", "fair.db"] {
        let file = folder.path().join(name);
        let file = file.to_str().expect("a UTF-8 path");
        files.push(SqliteBackend::new(file).await.expect("opens"));
    }
    measure("sqlite", files).await;

    let mut schemas = Vec::new();
    for _ in Keys::ALL {
        let Some(schema) = Schema::create().await else { return };
        schemas.push(schema);
    }
    let backends = schemas.iter().map(|schema| schema.backend.clone() as Backend);
    measure("postgres", backends.collect()).await;
    for schema in schemas {
        schema.remove().await;
    }
}
