//! Dropped calls, lost connections, refusing servers.

use crate::*;

fn class_of(error: &EngineError) -> StoreClass {
    assert!(matches!(error, EngineError::Transport { backend: "postgres", .. }), "{error:?}");
    error.store_class().unwrap()
}

#[tokio::test]
async fn a_dropped_call_does_not_stop_its_commit() {
    let backend = backend("dropped").await;
    let mut commit = Box::pin(backend.commit(lane("a", "gone")));
    // One poll submits it.
    let polled = std::future::poll_fn(|context| {
        std::task::Poll::Ready(commit.as_mut().poll(context).is_pending())
    });
    assert!(polled.await);
    drop(commit);
    backend.close_within(Duration::from_secs(10)).await.unwrap();
    let refused = backend.commit(lane("b", "late")).await;
    assert!(matches!(refused, Err(EngineError::Unavailable { .. })), "{refused:?}");
    let again = Database::new("dropped").open(|options| options).await;
    assert!(found_lane(&again, "a").await.is_some());
    assert_eq!(found_lane(&again, "b").await, None);
}

#[tokio::test]
async fn failures_are_classified() {
    let database = Database::fresh("failures").await;
    let backend = database.open(|options| options.max_connections(1)).await;
    backend.commit(lane("a", "x")).await.unwrap();

    // The idle connection is closed, so it is unknown whether the next statement arrived.
    let (pid,): (i32,) =
        sqlx::query_as("SELECT pg_backend_pid()").fetch_one(backend.pool()).await.unwrap();
    let other = PgPool::connect(&database.url).await.unwrap();
    sqlx::query("SELECT pg_terminate_backend($1, 5000)").bind(pid).execute(&other).await.unwrap();
    let lost = backend.commit(lane("b", "x")).await.unwrap_err();
    assert_eq!(class_of(&lost), StoreClass::OutcomeUnknown, "{lost}");
    assert_eq!(backend.commit(lane("c", "x")).await.unwrap(), applied_once());

    // A duplicate outside any plan's gate, with values that no message may show.
    let secret = |kid: &str| {
        Plan::new("add_secret").insert(
            waitpoint_hmac::REF,
            vec![
                waitpoint_hmac::kid.with(kid.into()),
                waitpoint_hmac::secret.with(ff_core::plan::value::Secret(b"hunter2".to_vec())),
                waitpoint_hmac::rotated_at_ms.with(0),
            ],
            OnConflict::Refuse,
        )
    };
    assert_eq!(backend.commit(secret("k")).await.unwrap(), applied_once());
    assert_eq!(backend.commit(secret("k")).await.unwrap(), Commit::Refused);

    // A check constraint of the database.
    let impossible = Plan::new("second_row").insert(
        partition_config::REF,
        vec![
            partition_config::singleton_lock.with(false),
            partition_config::num_flow_partitions.with(1),
            partition_config::num_budget_partitions.with(1),
            partition_config::num_quota_partitions.with(1),
            partition_config::ff_version.with("hunter2".into()),
        ],
        OnConflict::Refuse,
    );
    let checked = backend.commit(impossible).await.unwrap_err();
    assert_eq!(class_of(&checked), StoreClass::Permanent);
    assert!(!format!("{checked:?} {checked}").contains("hunter2"), "{checked:?}");

    let nowhere = Database::new("nowhere").open(|options| options).await;
    let missing = nowhere.read(vec![look_up_lane("a")]).await.unwrap_err();
    assert_eq!(class_of(&missing), StoreClass::Permanent, "{missing}");

    let held = backend.pool().acquire().await.unwrap();
    let impatient = database
        .open(|options| options.max_connections(1).acquire_timeout(Duration::from_millis(50)))
        .await;
    let hogged = impatient.pool().acquire().await.unwrap();
    let exhausted = impatient.commit(lane("d", "x")).await.unwrap_err();
    assert!(
        matches!(exhausted, EngineError::ResourceExhausted { pool: "postgres", max: 1, .. }),
        "{exhausted:?}"
    );
    drop((held, hogged));
}

#[tokio::test]
async fn a_row_that_is_locked_too_long_times_the_caller_out_but_not_the_commit() {
    let database = Database::fresh("locked").await;
    let backend =
        database.open(|options| options.request_timeout(Duration::from_millis(100))).await;
    backend.commit(lane("a", "x")).await.unwrap();
    let other = database.open(|options| options).await;
    let mut holder = other.pool().begin().await.unwrap();
    let lock = format!("SELECT 1 FROM {} FOR UPDATE", lane_registry::TABLE.name);
    holder.execute(AssertSqlSafe(lock)).await.unwrap();
    let timed_out = backend.commit(count("a")).await;
    assert!(matches!(timed_out, Err(EngineError::Timeout { op: "commit", .. })), "{timed_out:?}");
    let drained = backend.close_within(Duration::from_millis(50)).await;
    assert!(matches!(drained, Err(EngineError::Timeout { op: "drain", .. })), "{drained:?}");
    holder.rollback().await.unwrap();
    backend.close_within(Duration::from_secs(10)).await.unwrap();
    assert_eq!(counted(&other, "a").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_the_server_refuses_fails_alone() {
    let database = Database::fresh("poison").await;
    let backend = database.open(|options| options.max_in_flight(1)).await;
    // A JSON text that the column cannot hold.
    let mut poison = execution(Uuid::from_u128(99), 0, None);
    poison = {
        let ff_core::plan::Mutation::Insert { table, mut row, on_conflict } =
            poison.mutations.remove(0)
        else {
            panic!("an insert")
        };
        row.retain(|(column, _)| *column != exec_core::policy.column());
        row.push(exec_core::policy.with(Some(serde_json(r#"{"a": "\u0000"}"#))));
        Plan::new("add_execution").insert(table, row, on_conflict)
    };
    let good = (0..20).map(|n| execution(Uuid::from_u128(n), 0, None));
    let calls: Vec<_> = good
        .chain([poison])
        .map(|plan| {
            let backend = Arc::clone(&backend);
            tokio::spawn(async move { backend.commit(plan).await })
        })
        .collect();
    let (mut applied, mut errors) = (0, Vec::new());
    for call in calls {
        match call.await.unwrap() {
            Ok(Commit::Applied(_)) => applied += 1,
            Ok(Commit::Refused | Commit::Prevented) => panic!("nothing to refuse"),
            Err(error) => errors.push(error),
        }
    }
    assert_eq!((applied, errors.len()), (20, 1));
    assert!(matches!(errors[0], EngineError::Validation { .. }), "{:?}", errors[0]);
}

#[tokio::test]
async fn every_session_has_the_settings_that_statements_are_written_for() {
    let database = Database::fresh("settings").await;
    let own = format!(
        "{}{}options=-c%20jit%3Don",
        database.url,
        if database.url.contains('?') { '&' } else { '?' }
    );
    let with_own = Database { url: own, ..Database::new("settings") };
    for (backend, expected) in [
        (
            database.open(|options| options).await,
            "force_generic_plan off off off read committed 250ms",
        ),
        (
            with_own.open(|options| options).await,
            "force_generic_plan off off on read committed 250ms",
        ),
        (
            database.open(|options| options.session_parameters(false)).await,
            "auto on on on read committed 0",
        ),
    ] {
        let found: String = sqlx::query_scalar(
            "SELECT concat_ws(' ', current_setting('plan_cache_mode'), \
             current_setting('enable_seqscan'), current_setting('enable_bitmapscan'), \
             current_setting('jit'), \
             current_setting('transaction_isolation'), current_setting('lock_timeout'))",
        )
        .fetch_one(backend.pool())
        .await
        .unwrap();
        assert_eq!(found, expected);
        backend.commit(lane(expected, "x")).await.unwrap();
    }
}

/// Runs this in every session of the pool, and returns their process ids.
pub(crate) async fn in_every_session(backend: &PostgresBackend, sql: &'static str) -> Vec<i32> {
    let mut held = Vec::new();
    let mut pids = Vec::new();
    for _ in 0..backend.pool().options().get_max_connections() {
        let mut connection = backend.pool().acquire().await.unwrap();
        sqlx::raw_sql(sql).execute(&mut *connection).await.unwrap();
        let pid = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut *connection).await;
        pids.push(pid.unwrap());
        held.push(connection);
    }
    pids
}

/// Returns when the server has ended these sessions.
pub(crate) async fn ended(other: &PgPool, pids: &[i32]) {
    for _ in 0..500 {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY($1)";
        let left: i64 = sqlx::query_scalar(sql).bind(pids).fetch_one(other).await.unwrap();
        if left == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the sessions went on for ten seconds");
}

#[tokio::test]
async fn a_session_that_turned_read_only_is_given_up_at_once() {
    let database = Database::fresh("read_only").await;
    let backend = database.open(|options| options.max_connections(3)).await;
    in_every_session(&backend, "SET default_transaction_read_only = on").await;
    for name in ["a", "b", "c", "d"] {
        assert_eq!(backend.commit(lane(name, "x")).await.unwrap(), applied_once());
        assert!(found_lane(&backend, name).await.is_some());
    }

    // A server that is always read-only refuses with a retryable error, and each call asks it
    // again.
    let url = format!(
        "{}{}options=-c%20default_transaction_read_only%3Don",
        database.url,
        if database.url.contains('?') { '&' } else { '?' }
    );
    let standby = Database { url, ..Database::new("read_only") };
    let standby = standby.open(|options| options).await;
    let refused = standby.commit(lane("e", "x")).await.unwrap_err();
    assert_eq!(class_of(&refused), StoreClass::Retryable, "{refused}");
    assert!(found_lane(&standby, "a").await.is_some());
}

#[tokio::test]
async fn no_call_fails_because_the_server_ended_sessions_that_idled() {
    let database = Database::fresh("idled").await;
    let other = PgPool::connect(&database.url).await.unwrap();

    // The server reports that the session was idle, so the statement never ran.
    let backend = database.open(|options| options.max_connections(3)).await;
    let pids = in_every_session(&backend, "SET idle_session_timeout = 50").await;
    ended(&other, &pids).await;
    assert_eq!(backend.commit(lane("a", "x")).await.unwrap(), applied_once());
    let pids = in_every_session(&backend, "SET idle_session_timeout = 50").await;
    ended(&other, &pids).await;
    assert!(found_lane(&backend, "a").await.is_some());

    // The server does not report it, but the connection is tested before it is used.
    let backend =
        database.open(|options| options.max_connections(3).ping_after(Duration::ZERO)).await;
    for name in ["b", "c"] {
        let pids = in_every_session(&backend, "SELECT 1").await;
        let end = "SELECT pg_terminate_backend(pid, 5000) FROM unnest($1::int[]) AS pid";
        sqlx::query(end).bind(&pids).execute(&other).await.unwrap();
        ended(&other, &pids).await;
        assert_eq!(backend.commit(lane(name, "x")).await.unwrap(), applied_once());
    }

    // A read may always be repeated.
    let backend = database.open(|options| options.max_connections(3)).await;
    let pids = in_every_session(&backend, "SELECT 1").await;
    let end = "SELECT pg_terminate_backend(pid, 5000) FROM unnest($1::int[]) AS pid";
    sqlx::query(end).bind(&pids).execute(&other).await.unwrap();
    assert!(found_lane(&backend, "c").await.is_some());
}

/// Each runtime ends just when the connection of the last plan is kept for the next one.
#[test]
fn a_runtime_that_ends_behind_a_commit_ends() {
    let (ended, end) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = || tokio::runtime::Runtime::new().unwrap();
        let database = runtime().block_on(Database::fresh("ends"));
        for round in 0..20 {
            let commits = async {
                let backend = database.open(|options| options).await;
                for number in 0..round {
                    backend.commit(lane(&format!("{round}-{number}"), "x")).await.unwrap();
                }
            };
            runtime().block_on(commits);
        }
        ended.send(()).unwrap();
    });
    end.recv_timeout(Duration::from_secs(60)).expect("each runtime ends");
}
