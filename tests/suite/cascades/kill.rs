//! The process that dispatches a flow's events is killed at random points, between the commits of a
//! cascade: the next one brings the flow to the same end.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use ff_core::contracts::{EdgeDependencyPolicy, OnSatisfied};
use ff_core::rules::ctx::{Seeded, Source as _};

use super::dag::settle;
use super::graph::{Node, build};
use crate::backends::{Bench, postgres, postgres_url, sqlite_at};
use crate::bench::{lane, worker};
use crate::cli::binary;
use crate::plain::PlainSql;

/// How often it is killed on SQLite; a quarter as often on Postgres. `FF_KILLS` says otherwise.
fn kills() -> usize {
    std::env::var("FF_KILLS").map_or(20, |text| text.parse().expect("a number"))
}

/// A root that fails; what depends on it is skipped, layer after layer, in groups of all kinds.
fn layers(deep: usize, wide: usize) -> Vec<Node> {
    let root =
        |succeeds| Node { parents: Vec::new(), policy: EdgeDependencyPolicy::all_of(), succeeds };
    let mut graph = vec![root(false)];
    for layer in 0..deep {
        for at in 0..wide {
            let first = if layer == 0 { 0 } else { graph.len() - at - wide };
            let parents = if layer == 0 { vec![0] } else { vec![first, first + (at + 1) % wide] };
            let policy = match at % 3 {
                0 => EdgeDependencyPolicy::all_of(),
                1 => EdgeDependencyPolicy::any_of(OnSatisfied::cancel_remaining()),
                _ => EdgeDependencyPolicy::quorum(1, OnSatisfied::let_run()),
            };
            graph.push(Node { parents, policy, succeeds: true });
        }
    }
    graph
}

/// What a cascade leaves: the states, the groups' counts, the number of events of each execution.
#[derive(Debug, PartialEq)]
struct Left {
    states: BTreeMap<String, i64>,
    counts: [i64; 4],
    events: BTreeMap<String, i64>,
    dispatched: usize,
}

async fn left(plain: &PlainSql) -> Left {
    let mut states = BTreeMap::new();
    for core in plain.rows("ff_exec_core").await {
        *states.entry(core.text("public_state").to_owned()).or_default() += 1;
    }
    let groups = plain.rows("ff_edge_group").await;
    let sum = |column| groups.iter().map(|group| group.int(column).unwrap()).sum();
    let counts = ["success_count", "fail_count", "skip_count", "running_count"].map(sum);
    let rows = plain.rows("ff_completion_event").await;
    let dispatched = rows.iter().filter(|row| row.int("dispatched_at_ms").is_some()).count();
    let mut events: BTreeMap<String, i64> = BTreeMap::new();
    for row in rows {
        *events.entry(row.uuid("execution_id").unwrap().to_string()).or_default() += 1;
    }
    Left { states, counts, events, dispatched }
}

/// Builds the flow and lets its root fail; its end is not dispatched yet.
async fn prepare(bench: &Bench) {
    let graph = layers(12, 8);
    build(bench, &graph).await;
    let none = ff_core::backend::CapabilitySet::default();
    let handle = bench.backend.claim(&lane(), &none, worker("w")).await.unwrap().unwrap();
    let reason = ff_core::backend::FailureReason::new("the root fails");
    let class = ff_core::backend::FailureClass::Permanent;
    bench.backend.fail(&handle, reason, class).await.unwrap();
}

/// Runs the scanners on a database until nothing is due, or until they are killed.
fn scan(directory: &Path, url: &[&str], kill_after: Option<Duration>) -> bool {
    let mut command = binary(directory);
    command.args(url).args(["scan", "--until-idle"]).stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    let Some(after) = kill_after else {
        let status = child.wait().unwrap();
        assert!(status.success(), "{status}");
        return false;
    };
    let started = Instant::now();
    while started.elapsed() < after {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    // SIGKILL: nothing is finished, nothing is given back.
    child.kill().unwrap();
    child.wait().unwrap();
    true
}

async fn on_sqlite(path: &Path) -> Left {
    let bench = sqlite_at(path).await;
    let left = left(&bench.plain).await;
    bench.assert_sound().await;
    bench.backend.shutdown_prepare(Duration::from_secs(10)).await.unwrap();
    bench.tear_down().await;
    left
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_reaches_the_same_end_however_often_the_scanner_is_killed() {
    let place = tempfile::tempdir().unwrap();
    let begun = place.path().join("begun.db");
    let bench = sqlite_at(&begun).await;
    prepare(&bench).await;
    bench.backend.shutdown_prepare(Duration::from_secs(10)).await.unwrap();
    bench.tear_down().await;
    let copy = |name: &str| {
        let to = place.path().join(name);
        for suffix in ["", "-wal"] {
            let from = format!("{}{suffix}", begun.display());
            let to = format!("{}{suffix}", to.display());
            let _ = std::fs::remove_file(&to);
            let _ = std::fs::remove_file(format!("{to}-shm"));
            if Path::new(&from).exists() {
                std::fs::copy(from, to).unwrap();
            }
        }
        let _ = std::fs::remove_file(format!("{}-shm", to.display()));
        to
    };
    let url = |path: &Path| format!("sqlite:{}", path.display());
    let whole = copy("whole.db");
    let started = Instant::now();
    scan(place.path(), &["--db", &url(&whole)], None);
    let takes = started.elapsed();
    let expected = on_sqlite(&whole).await;
    assert_eq!(expected.states["skipped"], 96, "{expected:?}");
    assert!(expected.events.values().all(|events| *events == 1));

    let mut chance = Seeded::new(7);
    let (mut killed, mut midway) = (0, 0);
    while killed < kills() {
        let path = copy("killed.db");
        let after = takes.mul_f64(chance.fraction());
        if !scan(place.path(), &["--db", &url(&path)], Some(after)) {
            continue;
        }
        killed += 1;
        let so_far = on_sqlite(&path).await;
        midway += usize::from(0 < so_far.dispatched && so_far != expected);
        scan(place.path(), &["--db", &url(&path)], None);
        assert_eq!(on_sqlite(&path).await, expected, "killed after {after:?}");
    }
    println!(
        "{killed} kills, {midway} of them in the middle of the cascade, which takes {takes:?}"
    );
    assert!(kills() / 10 <= midway, "only {midway} of {killed} kills met the cascade");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_reaches_the_same_end_however_often_the_scanner_is_killed() {
    let place = tempfile::tempdir().unwrap();
    let mut chance = Seeded::new(11);
    let (mut killed, mut midway, mut takes) = (0, 0, Duration::ZERO);
    let mut expected: Option<BTreeMap<String, i64>> = None;
    while killed < kills().div_ceil(4) {
        let bench = postgres().await;
        let schema = bench.schema();
        prepare(&bench).await;
        let url = postgres_url();
        let arguments = ["--db", url.as_str(), "--schema", schema.as_str()];
        let Some(states) = &expected else {
            let started = Instant::now();
            settle(&bench).await;
            takes = started.elapsed() + Duration::from_millis(100);
            expected = Some(left(&bench.plain).await.states);
            bench.tear_down().await;
            continue;
        };
        if scan(place.path(), &arguments, Some(takes.mul_f64(chance.fraction()))) {
            killed += 1;
        }
        let so_far = left(&bench.plain).await;
        midway += usize::from(0 < so_far.dispatched && so_far.states != *states);
        scan(place.path(), &arguments, None);
        let after = left(&bench.plain).await;
        assert_eq!(after.states, *states);
        assert!(after.events.values().all(|events| *events == 1), "{after:?}");
        assert_eq!(after.counts[3], 0, "nobody runs: {after:?}");
        bench.assert_sound().await;
        bench.tear_down().await;
    }
    println!("{killed} kills, {midway} of them in the middle of the cascade");
}
