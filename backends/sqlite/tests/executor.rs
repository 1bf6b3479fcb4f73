//! The executor on real files and in memory: isolation, groups, refusals, locks, shutting down.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use ff_backend_sqlite::{SqliteBackend, SqliteOptions};
use ff_core::EngineError;
use ff_core::engine::{Commit, Executor};
use ff_core::engine_error::StoreClass;
use ff_core::plan::facts::Answer;
use ff_core::plan::value::{ColumnType, Value};
use ff_core::plan::{
    Expr, List, Lookup, OnConflict, Pairing, Path, Plan, Predicate, Query, Return, Selection,
};
use ff_core::schema::admin::{lane_registry as lane, waitpoint_hmac as hmac};
use ff_core::schema::{ColumnRef, Direction, TableRef};
use tempfile::TempDir;

const BOUND: Duration = Duration::from_secs(20);

async fn open(location: &str) -> Arc<SqliteBackend> {
    SqliteBackend::open(SqliteOptions::new(location)).await.expect("the database opens")
}

fn path_in(directory: &TempDir) -> String {
    directory.path().join("flow.db").to_str().expect("UTF-8").to_owned()
}

fn register(plan: Plan, name: &str, on_conflict: OnConflict) -> Plan {
    let row = vec![
        lane::lane_id.with(name.into()),
        lane::registered_at_ms.with(5),
        lane::registered_by.with("test".into()),
    ];
    plan.insert(lane::REF, row, on_conflict)
}

fn one(name: &str) -> Plan {
    register(Plan::new("register"), name, OnConflict::Refuse)
}

fn called(name: &str) -> Vec<(ColumnRef, Expr)> {
    vec![lane::lane_id.with(name.into())]
}

/// Guards lane `name`, registers `first` and `second`.
fn guarded(name: &str, first: &str, second: &str) -> Plan {
    let plan = Plan::new("guarded").guard(
        "lane",
        lane::REF,
        called(name),
        lane::registered_by.equals("test".into()),
    );
    let plan = register(plan, first, OnConflict::Refuse);
    register(plan, second, OnConflict::Refuse)
}

fn applied() -> Commit {
    Commit::Applied(vec![vec![]])
}

async fn names(backend: &SqliteBackend) -> Vec<String> {
    let list = Query::List(List {
        name: "lanes".into(),
        table: lane::REF,
        join: None,
        of_each: None,
        columns: vec![lane::lane_id.column()],
        predicate: Predicate::Always,
        order: vec![(lane::lane_id.column(), Direction::Ascending)],
        limit: Expr::int(1_000),
    });
    let answers = backend.read(vec![list]).await.expect("a read");
    let [Answer::List(rows)] = answers.as_slice() else { panic!("a list answers a list") };
    rows.iter().map(|row| row.read(lane::lane_id).expect("text")).collect()
}

/// Commits the plans as one group: another connection blocks the writer while they are queued.
async fn together(backend: &Arc<SqliteBackend>, plans: [Plan; 4]) -> Vec<Commit> {
    let mut outside = backend.pool_for_test().acquire().await.expect("a connection");
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *outside).await.expect("the lock");
    let commits: Vec<_> = plans
        .into_iter()
        .map(|plan| {
            let backend = Arc::clone(backend);
            tokio::spawn(async move { backend.commit(plan).await })
        })
        .collect();
    tokio::task::yield_now().await;
    sqlx::query("ROLLBACK").execute(&mut *outside).await.expect("the lock is ours");
    let mut outcomes = Vec::new();
    for commit in commits {
        outcomes.push(commit.await.expect("no panic").expect("a commit"));
    }
    outcomes
}

fn class_of(error: &EngineError) -> StoreClass {
    assert!(matches!(error, EngineError::Transport { backend: "sqlite", .. }), "{error}");
    error.store_class().expect("classified")
}

#[tokio::test]
async fn a_new_file_is_readable_for_its_owner_only() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = path_in(&directory);
    let backend = open(&path).await;
    assert_eq!(backend.commit(one("a")).await.expect("a commit"), applied());
    for file in [path.clone(), format!("{path}-wal"), format!("{path}-shm")] {
        let mode = std::fs::metadata(&file).expect("the file is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[tokio::test]
async fn a_missing_directory_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let missing = directory.path().join("missing");
    let path = missing.join("flow.db");
    let error = SqliteBackend::new(path.to_str().expect("UTF-8")).await.expect_err("no directory");
    assert!(error.message().contains(missing.to_str().expect("UTF-8")), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_corrupt() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = path_in(&directory);
    std::fs::write(&path, vec![b'x'; 8192]).expect("a file");
    let error = SqliteBackend::open(SqliteOptions::new(path)).await.expect_err("no database");
    assert_eq!(error.class(), StoreClass::Corrupt, "{error}");
}

#[tokio::test]
async fn what_is_committed_is_there_when_opened_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let location = format!("sqlite://{}", path_in(&directory));
    let backend = open(&location).await;
    assert_eq!(backend.commit(one("a")).await.expect("a commit"), applied());
    backend.close_within(BOUND).await.expect("nothing is queued");
    assert_eq!(names(&*open(&location).await).await, ["a"]);
}

#[tokio::test]
async fn two_memory_databases_share_nothing() {
    let (first, second) = (open(":memory:").await, open(":memory:").await);
    first.commit(one("a")).await.expect("a commit");
    assert_eq!(names(&first).await, ["a"]);
    assert!(names(&second).await.is_empty());
}

#[tokio::test]
async fn a_named_memory_database_is_shared() {
    let uri = "file:executor_shared?mode=memory&cache=shared";
    let (first, second) = (open(uri).await, open(uri).await);
    let commits = (0..50).map(|number| {
        let backend = Arc::clone(if number % 2 == 0 { &first } else { &second });
        tokio::spawn(async move { backend.commit(one(&format!("{number:02}"))).await })
    });
    for commit in commits.collect::<Vec<_>>() {
        assert_eq!(commit.await.expect("no panic").expect("a commit"), applied());
    }
    assert_eq!(names(&first).await.len(), 50);
    assert_eq!(names(&first).await, names(&second).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_commits_are_grouped_and_each_is_judged_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let backend = open(&path_in(&directory)).await;
    let commits: Vec<_> = (0..200)
        .map(|number| {
            let backend = Arc::clone(&backend);
            // Every name comes twice: exactly one of the two applies.
            tokio::spawn(async move { backend.commit(one(&format!("{:03}", number / 2))).await })
        })
        .collect();
    let mut outcomes = (0, 0);
    for commit in commits {
        match commit.await.expect("no panic").expect("a commit") {
            Commit::Applied(_) => outcomes.0 += 1,
            Commit::Refused => outcomes.1 += 1,
            Commit::Prevented => panic!("no row prevents it"),
        }
    }
    assert_eq!(outcomes, (100, 100));
    assert_eq!(names(&backend).await.len(), 100);
}

#[tokio::test]
async fn a_refusal_leaves_nothing_alone_or_in_a_group() {
    let directory = tempfile::tempdir().expect("a directory");
    let backend = open(&path_in(&directory)).await;
    backend.commit(one("a")).await.expect("a commit");
    for plan in [guarded("a", "b", "a"), guarded("x", "b", "c")] {
        assert_eq!(backend.commit(plan).await.expect("a commit"), Commit::Refused);
    }
    assert_eq!(names(&backend).await, ["a"]);
    let plans = [one("b"), guarded("a", "c", "a"), guarded("x", "d", "e"), guarded("a", "f", "g")];
    assert_eq!(
        together(&backend, plans).await,
        [applied(), Commit::Refused, Commit::Refused, applied()]
    );
    assert_eq!(names(&backend).await, ["a", "b", "f", "g"]);
}

#[tokio::test]
async fn a_plan_that_fails_takes_no_other_with_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let backend = open(&path_in(&directory)).await;
    let broken = || {
        let plan = register(Plan::new("broken"), "half", OnConflict::Ignore);
        plan.insert(lane::REF, called("no other column"), OnConflict::Refuse)
    };
    let error = backend.commit(broken()).await.expect_err("a lane needs its other columns");
    assert_eq!(class_of(&error), StoreClass::Permanent);
    let plans = (0..100).map(|number| match number % 10 {
        0 => broken(),
        _ => one(&format!("{number:02}")),
    });
    let commits: Vec<_> = plans
        .map(|plan| {
            let backend = Arc::clone(&backend);
            tokio::spawn(async move { backend.commit(plan).await })
        })
        .collect();
    let mut failed = 0;
    for commit in commits {
        match commit.await.expect("no panic") {
            Ok(outcome) => assert_eq!(outcome, applied()),
            Err(_) => failed += 1,
        }
    }
    assert_eq!(failed, 10);
    assert_eq!(names(&backend).await.len(), 90);
}

#[tokio::test]
async fn a_dropped_call_does_not_stop_its_commit() {
    let directory = tempfile::tempdir().expect("a directory");
    let backend = open(&path_in(&directory)).await;
    {
        let commit = backend.commit(one("a"));
        tokio::pin!(commit);
        // Polled once it is queued; then dropped.
        let polled =
            std::future::poll_fn(|task| std::task::Poll::Ready(commit.as_mut().poll(task)));
        assert!(polled.await.is_pending());
    }
    assert_eq!(backend.commit(one("b")).await.expect("a commit"), applied());
    assert_eq!(names(&backend).await, ["a", "b"]);
}

#[tokio::test]
async fn a_lock_held_elsewhere_is_waited_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = path_in(&directory);
    let (backend, other) = (open(&path).await, open(&path).await);
    let mut outside = other.pool_for_test().acquire().await.expect("a connection");
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *outside).await.expect("the lock");
    let plan = guarded("outside", "b", "c");
    let mut commit = tokio::spawn(async move { backend.commit(plan).await });
    let early = tokio::time::timeout(Duration::from_millis(50), &mut commit).await;
    assert!(early.is_err(), "the commit waits for the lock");
    let insert = "INSERT INTO ff_lane_registry (lane_id, registered_at_ms, registered_by) \
        VALUES ('outside', 1, 'test')";
    sqlx::query(insert).execute(&mut *outside).await.expect("an insert");
    sqlx::query("COMMIT").execute(&mut *outside).await.expect("the lock is ours");
    let outcome = tokio::time::timeout(BOUND, commit).await.expect("the lock is free");
    assert_eq!(outcome.expect("no panic").expect("a commit"), applied());
    assert_eq!(names(&other).await, ["b", "c", "outside"]);
}

#[tokio::test]
async fn a_lock_held_for_too_long_is_retryable() {
    let directory = tempfile::tempdir().expect("a directory");
    let options = SqliteOptions::new(path_in(&directory)).busy_timeout(Duration::from_millis(20));
    let backend = SqliteBackend::open(options).await.expect("the database opens");
    let mut outside = backend.pool_for_test().acquire().await.expect("a connection");
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *outside).await.expect("the lock");
    let error = backend.commit(one("a")).await.expect_err("the lock is held");
    assert_eq!(class_of(&error), StoreClass::Retryable, "{error}");
    sqlx::query("ROLLBACK").execute(&mut *outside).await.expect("the lock is ours");
    assert_eq!(backend.commit(one("a")).await.expect("a commit"), applied());
}

#[tokio::test]
async fn a_drained_backend_has_done_everything_and_takes_no_more() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = path_in(&directory);
    let backend = open(&path).await;
    let queued: Vec<_> = (0..20)
        .map(|number| {
            let backend = Arc::clone(&backend);
            tokio::spawn(async move { backend.commit(one(&format!("{number:02}"))).await })
        })
        .collect();
    tokio::task::yield_now().await;
    backend.close_within(BOUND).await.expect("in time");
    for commit in queued {
        assert_eq!(commit.await.expect("no panic").expect("a commit"), applied());
    }
    for error in [
        backend.commit(one("late")).await.expect_err("closed"),
        backend.read(Vec::new()).await.expect_err("closed"),
        backend.ping_database().await.expect_err("closed"),
    ] {
        assert!(matches!(error, EngineError::Unavailable { op: "sqlite: shut down" }), "{error}");
    }
    backend.close_within(BOUND).await.expect("again is as good");
    assert!(!std::fs::exists(format!("{path}-wal")).expect("readable"), "the log is worked in");
    assert_eq!(names(&*open(&path).await).await.len(), 20);
}

/// Picks `count` lanes from the last on, and writes the n-th of three texts into the n-th.
fn pair(count: i64) -> Plan {
    let texts = ["first", "second", "third"].map(|text| Value::Text(text.into()));
    let mut plan = Plan::new("pair").update(
        lane::REF,
        vec![lane::lane_id.with_expr(lane::lane_id.of("lane"))],
        vec![lane::registered_by.set_expr(Expr::each(ColumnType::Text, texts.to_vec()))],
    );
    plan.selection = Some(Selection {
        row: "lane".into(),
        table: lane::REF,
        predicate: lane::registered_by.equals("test".into()),
        order: vec![(lane::lane_id.column(), Direction::Descending)],
        pairing: Pairing::UpTo { limit: Expr::int(count), rest: None },
    });
    plan.returns = vec![
        Return::Held("lane".into(), Path::column(lane::lane_id.column())),
        Return::Held("lane".into(), Path::column(lane::registered_by.column())),
        Return::Written(lane::registered_by.column()),
    ];
    plan
}

/// A database with five lanes.
async fn with_lanes(directory: &TempDir) -> Arc<SqliteBackend> {
    let backend = open(&path_in(directory)).await;
    for name in ["a", "b", "c", "d", "e"] {
        backend.commit(one(name)).await.expect("a commit");
    }
    backend
}

fn rows<const N: usize>(rows: [[&str; 3]; N]) -> Commit {
    let row = |texts: [&str; 3]| texts.map(|text| Value::Text(text.into())).to_vec();
    Commit::Applied(rows.map(row).to_vec())
}

#[tokio::test]
async fn a_limited_pick_pairs_rows_with_values_alone_or_in_a_group() {
    let directory = tempfile::tempdir().expect("a directory");
    let backend = with_lanes(&directory).await;
    let alone = backend.commit(pair(2)).await.expect("a commit");
    assert_eq!(alone, rows([["e", "test", "first"], ["d", "test", "second"]]));
    // The first of a picked row's changes is rolled back when the second refuses the plan.
    let refused = register(pair(2), "a", OnConflict::Refuse);
    let plans = [pair(1), refused, pair(2), pair(3)];
    let expected = [
        rows([["c", "test", "first"]]),
        Commit::Refused,
        rows([["b", "test", "first"], ["a", "test", "second"]]),
        rows([]),
    ];
    assert_eq!(together(&backend, plans).await, expected);
}

/// Names lanes, and writes the n-th of their texts into the n-th.
fn name(lanes: [[&str; 2]; 3]) -> Plan {
    let each = |of: usize| {
        let texts = lanes.map(|lane| Value::Text(lane[of].into()));
        Expr::each(ColumnType::Text, texts.to_vec())
    };
    let mut plan = pair(0);
    plan.mutations = Plan::new("name")
        .update(
            lane::REF,
            vec![lane::lane_id.with_expr(lane::lane_id.of("lane"))],
            vec![lane::registered_by.set_expr(each(1))],
        )
        .mutations;
    let named = vec![lane::lane_id.with_expr(each(0))];
    plan.selection = plan.selection.map(|selection| Selection {
        order: vec![],
        pairing: Pairing::Named(named),
        ..selection
    });
    plan
}

#[tokio::test]
async fn named_rows_take_their_own_values_alone_or_in_a_group() {
    let directory = tempfile::tempdir().expect("a directory");
    let backend = with_lanes(&directory).await;
    let alone = backend.commit(name([["e", "1"], ["absent", "2"], ["b", "3"]])).await;
    assert_eq!(alone.expect("a commit"), rows([["e", "test", "1"], ["b", "test", "3"]]));
    let refused = register(name([["a", "4"], ["c", "5"], ["d", "6"]]), "a", OnConflict::Refuse);
    let plans = [
        name([["b", "7"], ["d", "8"], ["e", "9"]]),
        refused,
        name([["c", "10"], ["a", "11"], ["d", "12"]]),
        name([["a", "13"], ["b", "14"], ["c", "15"]]),
    ];
    let expected = [
        rows([["d", "test", "8"]]),
        Commit::Refused,
        rows([["c", "test", "10"], ["a", "test", "11"]]),
        rows([]),
    ];
    assert_eq!(together(&backend, plans).await, expected);
}

#[tokio::test]
async fn a_lookup_answers_each_row_and_names_a_corrupt_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let backend = open(&path_in(&directory)).await;
    backend.commit(one("a")).await.expect("a commit");
    let look_up = || {
        let lookup = |row: &'static str, key, columns| Lookup {
            row: row.into(),
            table: lane::REF,
            key,
            columns,
        };
        Query::Lookup(vec![
            lookup("first", called("a"), vec![lane::registered_at_ms.column()]),
            lookup("second", called("b"), vec![]),
            Lookup {
                row: "key".into(),
                table: TableRef(&hmac::TABLE),
                key: vec![hmac::kid.with_expr(lane::lane_id.of("first"))],
                columns: vec![hmac::secret.column(), hmac::active.column()],
            },
        ])
    };
    let secret = "INSERT INTO ff_waitpoint_hmac (kid, secret, rotated_at_ms, active) \
                  VALUES ('a', x'0102', 1, 1)";
    let outside = backend.pool_for_test();
    sqlx::query(secret).execute(outside).await.expect("an insert");
    let answers = backend.read(vec![look_up()]).await.expect("a read");
    let Answer::Lookup(rows) = &answers[0] else { panic!("a lookup answers a lookup") };
    let read = |index: usize| rows[index].as_ref().expect("present");
    assert_eq!(read(0).read(lane::registered_at_ms).expect("an integer"), 5);
    assert!(rows[1].is_none());
    assert_eq!(read(2).read(hmac::secret).expect("bytes").0, [1, 2]);
    assert!(read(2).read(hmac::active).expect("a flag"));
    let spoil = "UPDATE ff_lane_registry SET registered_at_ms = 'soon'";
    sqlx::query(spoil).execute(outside).await.expect("an update");
    let error = backend.read(vec![look_up()]).await.expect_err("text is no number");
    let text = error.to_string();
    assert!(text.contains("ff_lane_registry.registered_at_ms"), "{text}");
    assert!(!text.contains("soon"), "values are not shown: {text}");
}
