//! The executor against a real server. The behaviour of operations is asserted by the conformance
//! suite; here is what only this backend does: batches, refusals inside them, failures.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ff_backend_postgres::migrate::SchemaName;
use ff_backend_postgres::{ErrorClass, PgPool, PostgresBackend, PostgresError, PostgresOptions};
use ff_core::EngineError;
use ff_core::backend::PrepareOutcome;
use ff_core::engine::{Commit, Executor};
use ff_core::facts::{Answer, Row};
use ff_core::plan::{Expr, List, Lookup, OnConflict, Pairing, Plan, Query, Return, Selection};
use ff_core::schema::Direction::{Ascending, Descending};
use ff_core::schema::admin::{lane_registry, partition_config, waitpoint_hmac};
use ff_core::schema::execution::exec_core;
use ff_core::state::{AttemptState, EligibilityState, LifecyclePhase, OwnershipState, PublicState};
use ff_core::types::TimestampMs;
use ff_core::value::{ColumnType, Value};
use sqlx::{AssertSqlSafe, Executor as _};
use uuid::Uuid;

/// A schema of its own, dropped by the next run at the latest.
struct Database {
    url: String,
    schema: SchemaName,
}

impl Database {
    fn new(name: &str) -> Self {
        let url = std::env::var("FF_PG_TEST_URL").unwrap_or_else(|_| {
            panic!(
                "FF_PG_TEST_URL is unset. These tests need a Postgres 14 or later, for example: \
                 docker run -e POSTGRES_HOST_AUTH_METHOD=trust -p 54999:5432 postgres:17 \
                 with FF_PG_TEST_URL=postgres://postgres@127.0.0.1:54999/postgres"
            )
        });
        Self { url, schema: SchemaName::new(&format!("ff_executor_{name}")).unwrap() }
    }

    async fn fresh(name: &str) -> Self {
        let database = Self::new(name);
        let pool = PgPool::connect(&database.url).await.unwrap();
        let drop = format!("DROP SCHEMA IF EXISTS {} CASCADE", database.schema.as_str());
        pool.execute(AssertSqlSafe(drop)).await.unwrap();
        let backend = database.open(|options| options.migrate(true)).await;
        assert!(matches!(backend.prepare().await.unwrap(), PrepareOutcome::Applied { .. }));
        assert!(matches!(backend.prepare().await.unwrap(), PrepareOutcome::NoOp));
        database
    }

    async fn open(
        &self,
        with: impl FnOnce(PostgresOptions) -> PostgresOptions,
    ) -> Arc<PostgresBackend> {
        let options = PostgresOptions::new(&self.url).schema(self.schema.clone());
        PostgresBackend::open(with(options)).await.unwrap()
    }
}

async fn backend(name: &str) -> Arc<PostgresBackend> {
    Database::fresh(name).await.open(|options| options).await
}

fn applied_once() -> Commit {
    Commit::Applied(vec![Vec::new()])
}

fn lane(name: &str, by: &str) -> Plan {
    Plan::new("add_lane").insert(
        lane_registry::REF,
        vec![
            lane_registry::lane_id.put(name.to_owned()),
            lane_registry::registered_at_ms.put(0),
            lane_registry::registered_by.put(by.to_owned()),
        ],
        OnConflict::Refuse,
    )
}

fn count(name: &str) -> Plan {
    Plan::new("count").update(
        lane_registry::REF,
        vec![lane_registry::lane_id.at(name.to_owned())],
        vec![lane_registry::registered_at_ms.grow(1)],
    )
}

fn look_up_lane(name: &str) -> Query {
    Query::Lookup(vec![Lookup {
        row: "lane".into(),
        table: lane_registry::REF,
        key: vec![lane_registry::lane_id.at(name.to_owned())],
        columns: vec![
            lane_registry::registered_at_ms.column(),
            lane_registry::registered_by.column(),
        ],
    }])
}

async fn found_lane(backend: &PostgresBackend, name: &str) -> Option<Row> {
    match backend.read(vec![look_up_lane(name)]).await.unwrap().remove(0) {
        Answer::Lookup(mut rows) => rows.remove(0),
        Answer::List(_) => panic!("a look-up was asked"),
    }
}

async fn counted(backend: &PostgresBackend, name: &str) -> i64 {
    found_lane(backend, name).await.unwrap().read(lane_registry::registered_at_ms).unwrap()
}

fn execution(id: Uuid, priority: i32, deadline_at_ms: Option<i64>) -> Plan {
    Plan::new("add_execution").insert(
        exec_core::REF,
        vec![
            exec_core::partition_key.put(7),
            exec_core::execution_id.put(id),
            exec_core::lane_id.put("fast".into()),
            exec_core::required_capabilities.put(vec!["gpu".into(), r#"a"b\c,{}"#.into()]),
            exec_core::lifecycle_phase.put(LifecyclePhase::Runnable),
            exec_core::ownership_state.put(OwnershipState::Unowned),
            exec_core::eligibility_state.put(EligibilityState::EligibleNow),
            exec_core::public_state.put(PublicState::Waiting),
            exec_core::attempt_state.put(AttemptState::None),
            exec_core::priority.put(priority),
            exec_core::created_at_ms.put(i64::MAX),
            exec_core::deadline_at_ms.put(deadline_at_ms),
            exec_core::payload.put(Some(vec![0, 255, 1])),
            exec_core::policy.put(Some(serde_json(r#"{"a": [1, null, "\"ü"]}"#))),
        ],
        OnConflict::Refuse,
    )
}

fn serde_json(text: &str) -> sqlx::types::JsonValue {
    text.parse().unwrap()
}

/// Picks up to `slots` executions, best first, and lets each take a deadline of its own.
fn pick(slots: usize) -> Plan {
    let deadlines = (1..=slots).map(|n| Value::Int(i64::try_from(n).unwrap())).collect();
    let row = "picked";
    let mut plan = Plan::new("pick").update(
        exec_core::REF,
        vec![
            (exec_core::partition_key.column(), exec_core::partition_key.of(row)),
            (exec_core::execution_id.column(), exec_core::execution_id.of(row)),
        ],
        vec![exec_core::deadline_at_ms.set_to(Expr::each(ColumnType::BigInt, deadlines))],
    );
    plan.selection = Some(Selection {
        row: row.into(),
        table: exec_core::REF,
        predicate: exec_core::deadline_at_ms.is_null().and(
            exec_core::required_capabilities.covered_by(vec![
                "gpu".into(),
                r#"a"b\c,{}"#.into(),
                "more".into(),
            ]),
        ),
        order: vec![
            (exec_core::priority.column(), Descending),
            (exec_core::execution_id.column(), Ascending),
        ],
        pairing: Pairing::Slots(Expr::int(i64::try_from(slots).unwrap())),
    });
    plan.returns = vec![
        Return::Held(row.into(), ff_core::plan::Path::column(exec_core::priority.column())),
        Return::Written(exec_core::deadline_at_ms.column()),
    ];
    plan
}

fn class_of(error: &EngineError) -> ErrorClass {
    let EngineError::Transport { backend: "postgres", source } = error else {
        panic!("no transport error: {error:?}")
    };
    source.downcast_ref::<PostgresError>().unwrap().class()
}

#[tokio::test]
async fn every_type_comes_back_as_it_went() {
    let backend = backend("types").await;
    let (id, missing) = (Uuid::from_u128(7), Uuid::from_u128(8));
    assert_eq!(backend.commit(execution(id, -3, None)).await.unwrap(), applied_once());
    let columns = vec![
        exec_core::partition_key.column(),
        exec_core::execution_id.column(),
        exec_core::flow_id.column(),
        exec_core::required_capabilities.column(),
        exec_core::lifecycle_phase.column(),
        exec_core::priority.column(),
        exec_core::created_at_ms.column(),
        exec_core::payload.column(),
        exec_core::policy.column(),
    ];
    let look_up = |id: Uuid, row: &'static str| Lookup {
        row: row.into(),
        table: exec_core::REF,
        key: vec![exec_core::partition_key.at(7), exec_core::execution_id.at(id)],
        columns: columns.clone(),
    };
    let list = Query::List(List {
        name: "list".into(),
        table: exec_core::REF,
        join: None,
        columns: columns.clone(),
        predicate: exec_core::priority.below(0),
        order: vec![(exec_core::execution_id.column(), Ascending)],
        limit: Expr::int(10),
    });
    let lookups = Query::Lookup(vec![look_up(missing, "one"), look_up(id, "two")]);
    let answers = backend.read(vec![lookups, list]).await.unwrap();
    let [Answer::Lookup(rows), Answer::List(listed)] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!(rows[0], None);
    let row = rows[1].as_ref().unwrap();
    assert_eq!(listed, std::slice::from_ref(row));
    assert_eq!(row.read(exec_core::execution_id).unwrap(), id);
    assert_eq!(row.read(exec_core::flow_id).unwrap(), None);
    assert_eq!(row.read(exec_core::required_capabilities).unwrap(), ["gpu", r#"a"b\c,{}"#]);
    assert_eq!(row.read(exec_core::lifecycle_phase).unwrap(), LifecyclePhase::Runnable);
    assert_eq!(row.read(exec_core::priority).unwrap(), -3);
    assert_eq!(row.read(exec_core::created_at_ms).unwrap(), i64::MAX);
    assert_eq!(row.read(exec_core::payload).unwrap(), Some(vec![0, 255, 1]));
    assert_eq!(
        row.read(exec_core::policy).unwrap(),
        Some(serde_json(r#"{"a": [1, null, "\"ü"]}"#))
    );
}

#[tokio::test]
async fn a_plan_reports_what_it_wrote_and_null_where_it_wrote_nothing() {
    let backend = backend("written").await;
    let mut gated = lane("a", "first");
    gated.returns = vec![Return::Written(lane_registry::registered_by.column())];
    let first = Commit::Applied(vec![vec![Value::Text("first".into())]]);
    assert_eq!(backend.commit(gated.clone()).await.unwrap(), first);
    assert_eq!(backend.commit(gated).await.unwrap(), Commit::Refused);
    let mut ignored = lane("a", "second");
    let ff_core::plan::Mutation::Insert { on_conflict, .. } = &mut ignored.mutations[0] else {
        panic!("an insert")
    };
    *on_conflict = OnConflict::Ignore;
    ignored.returns = vec![Return::Written(lane_registry::registered_by.column())];
    let nothing = Commit::Applied(vec![vec![Value::Null]]);
    assert_eq!(backend.commit(ignored).await.unwrap(), nothing);
}

#[tokio::test]
async fn what_does_not_hold_is_refused_and_changes_nothing() {
    let backend = backend("refusal").await;
    assert_eq!(backend.commit(lane("a", "first")).await.unwrap(), applied_once());
    assert_eq!(backend.commit(lane("a", "second")).await.unwrap(), Commit::Refused);

    let guarded = |at_most: i64| {
        Plan::new("guarded")
            .guard(
                "lane",
                lane_registry::REF,
                vec![lane_registry::lane_id.at("a".into())],
                lane_registry::registered_at_ms.at_most(at_most),
            )
            .insert(
                lane_registry::REF,
                vec![
                    lane_registry::lane_id.put("b".into()),
                    lane_registry::registered_at_ms.put(0),
                    lane_registry::registered_by.put_expr(lane_registry::registered_by.of("lane")),
                ],
                OnConflict::Refuse,
            )
    };
    assert_eq!(backend.commit(guarded(-1)).await.unwrap(), Commit::Refused);
    assert_eq!(found_lane(&backend, "b").await, None);
    assert_eq!(backend.commit(guarded(0)).await.unwrap(), applied_once());
    // The guard holds, the row is there: the unique violation refuses.
    assert_eq!(backend.commit(guarded(0)).await.unwrap(), Commit::Refused);
    let copied = found_lane(&backend, "b").await.unwrap();
    assert_eq!(copied.read(lane_registry::registered_by).unwrap(), "first");
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_plans_share_statements() {
    let database = Database::fresh("batch").await;
    let backend = database.open(|options| options.max_in_flight(2)).await;
    let calls: Vec<_> = (0..500)
        .map(|n| {
            let backend = Arc::clone(&backend);
            tokio::spawn(async move { backend.commit(lane(&format!("l{n}"), "batch")).await })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap(), applied_once());
    }
    let sql =
        format!("SELECT count(*), count(DISTINCT xmin::text) FROM {}", lane_registry::TABLE.name);
    let (rows, transactions): (i64, i64) =
        sqlx::query_as(AssertSqlSafe(sql)).fetch_one(backend.pool()).await.unwrap();
    assert_eq!(rows, 500);
    assert!(transactions < 250, "{transactions} transactions for 500 plans");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_equal_keys_exactly_one_applies() {
    let database = Database::fresh("duplicates").await;
    // One statement at a time, so that the calls meet in the queue.
    let backend = database.open(|options| options.max_in_flight(1)).await;
    let calls: Vec<_> = (0..60)
        .map(|n| {
            let backend = Arc::clone(&backend);
            let name = format!("l{}", n % 10);
            tokio::spawn(async move { (name.clone(), backend.commit(lane(&name, "x")).await) })
        })
        .collect();
    let (mut applied, mut refused) = (Vec::new(), 0);
    for call in calls {
        let (name, outcome) = call.await.unwrap();
        match outcome.unwrap() {
            Commit::Applied(_) => applied.push(name),
            Commit::Refused => refused += 1,
        }
    }
    assert_eq!((applied.len(), refused), (10, 50));
    assert_eq!(applied.into_iter().collect::<HashSet<_>>().len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_addition_to_one_row_counts() {
    let backend = backend("additions").await;
    backend.commit(lane("a", "x")).await.unwrap();
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let backend = Arc::clone(&backend);
            tokio::spawn(async move { backend.commit(count("a")).await })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap(), applied_once());
    }
    assert_eq!(counted(&backend, "a").await, 100);
}

#[tokio::test]
async fn a_caller_who_leaves_does_not_stop_the_commit() {
    let backend = backend("dropped").await;
    let mut commit = Box::pin(backend.commit(lane("a", "gone")));
    // One poll submits it.
    let polled = std::future::poll_fn(|context| {
        std::task::Poll::Ready(commit.as_mut().poll(context).is_pending())
    });
    assert!(polled.await);
    drop(commit);
    backend.drain(Duration::from_secs(10)).await.unwrap();
    let refused = backend.commit(lane("b", "late")).await;
    assert!(matches!(refused, Err(EngineError::Unavailable { .. })), "{refused:?}");
    let again = Database::new("dropped").open(|options| options).await;
    assert!(found_lane(&again, "a").await.is_some());
    assert_eq!(found_lane(&again, "b").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_serves_sixty_four_callers() {
    let database = Database::fresh("pool_of_one").await;
    let backend = database.open(|options| options.max_connections(1)).await;
    let calls: Vec<_> = (0..64)
        .map(|n| {
            let backend = Arc::clone(&backend);
            tokio::spawn(async move {
                let name = format!("l{}", n % 32);
                backend.commit(lane(&name, "x")).await.unwrap();
                backend.commit(count(&name)).await.unwrap();
                assert!(found_lane(&backend, &name).await.is_some());
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    for n in 0..32 {
        assert_eq!(counted(&backend, &format!("l{n}")).await, 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn picked_rows_go_to_one_caller_each_best_first() {
    let backend = backend("picked").await;
    for n in 0..40 {
        backend.commit(execution(Uuid::from_u128(n), n as i32, None)).await.unwrap();
    }
    assert_eq!(backend.commit(pick(0)).await.unwrap(), Commit::Applied(Vec::new()));
    let best = backend.commit(pick(3)).await.unwrap();
    let row = |priority, slot| vec![Value::Int(priority), Value::Int(slot)];
    assert_eq!(best, Commit::Applied(vec![row(39, 1), row(38, 2), row(37, 3)]));
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let backend = Arc::clone(&backend);
            tokio::spawn(async move { backend.commit(pick(5)).await.unwrap() })
        })
        .collect();
    let mut priorities = Vec::new();
    for call in calls {
        let Commit::Applied(rows) = call.await.unwrap() else { panic!("a pick is never refused") };
        priorities.extend(rows.into_iter().map(|row| row[0].clone()));
    }
    // A caller may skip rows that another has locked and then lets go of; nobody gets one twice.
    let distinct: HashSet<_> = priorities.iter().cloned().collect();
    assert_eq!(distinct.len(), priorities.len());
    while let Commit::Applied(rows) = backend.commit(pick(5)).await.unwrap() {
        if rows.is_empty() {
            break;
        }
        priorities.extend(rows.into_iter().map(|row| row[0].clone()));
    }
    assert_eq!(priorities.len(), 37);
}

#[tokio::test]
async fn every_qualifying_row_is_reported_and_none_is_no_refusal() {
    let backend = backend("every").await;
    for n in 0..3 {
        backend.commit(execution(Uuid::from_u128(n), n as i32, None)).await.unwrap();
    }
    let raise = |below: i32| {
        let row = "picked";
        let mut plan = Plan::new("raise").update(
            exec_core::REF,
            vec![
                (exec_core::partition_key.column(), exec_core::partition_key.of(row)),
                (exec_core::execution_id.column(), exec_core::execution_id.of(row)),
            ],
            vec![exec_core::priority.grow(100)],
        );
        plan.selection = Some(Selection {
            row: row.into(),
            table: exec_core::REF,
            predicate: exec_core::priority.below(below),
            order: vec![(exec_core::execution_id.column(), Ascending)],
            pairing: Pairing::Every,
        });
        plan.returns = vec![Return::Written(exec_core::priority.column())];
        plan
    };
    assert_eq!(backend.commit(raise(-5)).await.unwrap(), Commit::Applied(Vec::new()));
    let raised = Commit::Applied(vec![vec![Value::Int(100)], vec![Value::Int(101)]]);
    assert_eq!(backend.commit(raise(2)).await.unwrap(), raised);
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
        row.push(exec_core::policy.put(Some(serde_json(r#"{"a": "\u0000"}"#))));
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
            Ok(Commit::Refused) => panic!("nothing to refuse"),
            Err(error) => errors.push(error),
        }
    }
    assert_eq!((applied, errors.len()), (20, 1));
    assert_eq!(class_of(&errors[0]), ErrorClass::Permanent);
}

#[tokio::test]
async fn a_value_of_the_wrong_type_is_never_sent() {
    let backend = backend("misfit").await;
    let mut plan = lane("a", "x");
    let ff_core::plan::Mutation::Insert { row, .. } = &mut plan.mutations[0] else {
        panic!("an insert")
    };
    row[0].1 = Expr::Value(ColumnType::Text, vec![Value::Int(1)]);
    let refused = backend.commit(plan).await;
    assert!(matches!(refused, Err(EngineError::Validation { .. })), "{refused:?}");
}

#[tokio::test]
async fn failures_say_what_they_mean() {
    let database = Database::fresh("failures").await;
    let backend = database.open(|options| options.max_connections(1)).await;
    backend.commit(lane("a", "x")).await.unwrap();

    // The connection dies while it idles: nobody can know whether the next statement got through.
    let (pid,): (i32,) =
        sqlx::query_as("SELECT pg_backend_pid()").fetch_one(backend.pool()).await.unwrap();
    let other = PgPool::connect(&database.url).await.unwrap();
    sqlx::query("SELECT pg_terminate_backend($1, 5000)").bind(pid).execute(&other).await.unwrap();
    let lost = backend.commit(lane("b", "x")).await.unwrap_err();
    assert_eq!(class_of(&lost), ErrorClass::OutcomeUnknown, "{lost}");
    assert_eq!(backend.commit(lane("c", "x")).await.unwrap(), applied_once());

    // A duplicate outside any plan's gate, with values that must not be told.
    let secret = |kid: &str| {
        Plan::new("add_secret").insert(
            waitpoint_hmac::REF,
            vec![
                waitpoint_hmac::kid.put(kid.into()),
                waitpoint_hmac::secret.put(b"hunter2".to_vec()),
                waitpoint_hmac::rotated_at_ms.put(0),
            ],
            OnConflict::Refuse,
        )
    };
    assert_eq!(backend.commit(secret("k")).await.unwrap(), applied_once());
    assert_eq!(backend.commit(secret("k")).await.unwrap(), Commit::Refused);

    // A check of the database itself.
    let impossible = Plan::new("second_row").insert(
        partition_config::REF,
        vec![
            partition_config::singleton_lock.put(false),
            partition_config::num_flow_partitions.put(1),
            partition_config::num_budget_partitions.put(1),
            partition_config::num_quota_partitions.put(1),
            partition_config::ff_version.put("hunter2".into()),
        ],
        OnConflict::Refuse,
    );
    let checked = backend.commit(impossible).await.unwrap_err();
    assert_eq!(class_of(&checked), ErrorClass::Permanent);
    assert!(!format!("{checked:?} {checked}").contains("hunter2"), "{checked:?}");

    let nowhere = Database::new("nowhere").open(|options| options).await;
    let missing = nowhere.read(vec![look_up_lane("a")]).await.unwrap_err();
    assert_eq!(class_of(&missing), ErrorClass::Permanent, "{missing}");

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
    let drained = backend.drain(Duration::from_millis(50)).await;
    assert!(matches!(drained, Err(EngineError::Timeout { op: "drain", .. })), "{drained:?}");
    holder.rollback().await.unwrap();
    backend.drain(Duration::from_secs(10)).await.unwrap();
    assert_eq!(counted(&other, "a").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn unnamed_statements_leave_nothing_on_the_server() {
    let database = Database::fresh("unnamed").await;
    let backend =
        database.open(|options| options.unnamed_statements(true).max_connections(1)).await;
    backend.ping().await.unwrap();
    let calls: Vec<_> = (0..20)
        .map(|n| {
            let backend = Arc::clone(&backend);
            tokio::spawn(async move {
                backend.commit(lane(&format!("l{}", n % 10), "x")).await.unwrap()
            })
        })
        .collect();
    let mut applied = 0;
    for call in calls {
        applied += usize::from(call.await.unwrap() == applied_once());
    }
    assert_eq!(applied, 10);
    assert!(found_lane(&backend, "l0").await.is_some());
    let (named,): (i64,) = sqlx::query_as("SELECT count(*) FROM pg_prepared_statements")
        .persistent(false)
        .fetch_one(backend.pool())
        .await
        .unwrap();
    assert_eq!(named, 0);
}

#[tokio::test]
async fn the_clock_is_the_databases_or_the_callers() {
    let database = Database::fresh("clock").await;
    let fixed = database.open(|options| options.clock(|| TimestampMs::from_millis(42))).await;
    assert_eq!(fixed.now(), TimestampMs::from_millis(42));
    let backend = database.open(|options| options).await;
    let (before_ms,): (i64,) =
        sqlx::query_as("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
            .fetch_one(backend.pool())
            .await
            .unwrap();
    // Half of a round trip is what a measurement may be off by.
    assert!((backend.now().0 - before_ms).abs() < 1_000);
    let pooled = PostgresBackend::from_pool(backend.pool().clone(), backend.partitions());
    assert!((pooled.now().0 - before_ms).abs() < 1_000_000);
    assert_eq!(pooled.commit(lane("a", "x")).await.unwrap(), applied_once());
}
