//! The load of `scripts/soak`: submits, works, suspends and signals through several engines at once
//! while their servers are killed, and notes every change that was acknowledged. In the end all of
//! it must be there, each execution must have ended once, and all must have ended.
//!
//! The script names the databases, inflicts the faults, and says when they are over.

mod callers;
mod events;
mod ledger;
mod verdict;

use std::env;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use flowfabric_sql::{
    EngineBackend, LaneId, OpenOptions, ScannerConfig, ScannerSupervisor, signing,
};
use tokio::sync::watch;

use crate::ledger::Ledger;

/// Submitting and working tasks of each engine.
const SUBMITTERS: usize = 2;
const WORKERS: usize = 6;

/// The most executions that have not ended, as far as the submitters know.
const OPEN: usize = 300;

/// The time that everything has to end, once the faults are over.
const DRAIN: Duration = Duration::from_secs(120);

/// What all tasks share.
pub(crate) struct Soak {
    pub(crate) engines: Vec<Arc<dyn EngineBackend>>,
    pub(crate) lane: LaneId,
    pub(crate) ledger: Ledger,
    pub(crate) phase: watch::Receiver<Phase>,
    /// Where calls go next after a failure.
    turn: AtomicUsize,
    drawn: AtomicU64,
}

/// The part of the soak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Submitters submit.
    Load,
    /// Nothing is submitted; the rest ends.
    Drain,
    Over,
}

impl Soak {
    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// The number of the engine for this try of a call: its own first, then one after the other.
    pub(crate) fn at(&self, own: usize, tries: usize) -> usize {
        let at = if tries == 0 { own } else { self.turn.fetch_add(1, Ordering::Relaxed) };
        at % self.engines.len()
    }

    /// The engine for this try of a call.
    pub(crate) fn engine(&self, own: usize, tries: usize) -> &Arc<dyn EngineBackend> {
        &self.engines[self.at(own, tries)]
    }

    /// A number that no other call gets.
    pub(crate) fn number(&self) -> u64 {
        self.drawn.fetch_add(1, Ordering::Relaxed)
    }
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("scripts/soak sets {name}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the load of scripts/soak"]
async fn load() {
    let stop = PathBuf::from(variable("FF_SOAK_STOP"));
    tracing_subscriber::fmt().with_env_filter("ff_backend_mariadb=debug").init();
    let mut engines = Vec::new();
    for url in variable("FF_SOAK_URLS").split_whitespace() {
        engines.push(OpenOptions::new().open(url).await.unwrap());
    }
    signing::ensure_key(&*engines[0], "soak").await.unwrap();

    let (phases, phase) = watch::channel(Phase::Load);
    let soak = Arc::new(Soak {
        engines,
        lane: LaneId::new("soak"),
        ledger: Ledger::default(),
        phase,
        turn: AtomicUsize::new(0),
        drawn: AtomicU64::new(0),
    });
    let (mut tasks, mut scanners) = (Vec::new(), Vec::new());
    for own in 0..soak.engines.len() {
        scanners.push(ScannerSupervisor::spawn(soak.engines[own].clone(), config()));
        tasks.extend((0..SUBMITTERS).map(|_| tokio::spawn(callers::submit(soak.clone(), own))));
        tasks.extend((0..WORKERS).map(|task| tokio::spawn(callers::work(soak.clone(), own, task))));
        tasks.push(tokio::spawn(callers::signal(soak.clone(), own)));
    }
    let readers: Vec<_> =
        (0..soak.engines.len()).map(|own| tokio::spawn(events::read(soak.clone(), own))).collect();
    println!("soak: ready");

    let started = Instant::now();
    while !stop.exists() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let loaded = started.elapsed();
    phases.send_replace(Phase::Drain);
    let drained = verdict::drain(&soak, DRAIN).await;
    phases.send_replace(Phase::Over);
    for task in tasks {
        task.await.unwrap();
    }
    let mut seen = Vec::new();
    for reader in readers {
        seen.push(reader.await.unwrap());
    }
    for scanner in scanners {
        scanner.shutdown(Duration::from_secs(10)).await;
    }

    let verdict = verdict::judge(&soak, &seen).await;
    soak.ledger.report(loaded, drained);
    verdict.print();
    assert!(verdict.is_clean(), "the soak found what must not be");
}

/// Scanners that look often, since leases are short.
fn config() -> ScannerConfig {
    ScannerConfig {
        lease_expiry: Duration::from_millis(500),
        delayed_promotion: Duration::from_millis(200),
        ..ScannerConfig::default()
    }
}
