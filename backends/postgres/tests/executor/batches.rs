//! Many callers at once: shared statements, rows that several callers want, one connection.

use ff_core::plan::Path;

use crate::*;

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
        vec![exec_core::deadline_at_ms.set_expr(Expr::each(ColumnType::BigInt, deadlines))],
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
        pairing: Pairing::UpTo { limit: Expr::int(i64::try_from(slots).unwrap()), rest: None },
    });
    plan.returns = vec![
        Return::Held(row.into(), ff_core::plan::Path::column(exec_core::priority.column())),
        Return::Written(exec_core::deadline_at_ms.column()),
    ];
    plan
}

/// Names lanes, and has each that `by` registered take a number.
fn name(by: &str, lanes: &[(&str, i64)]) -> Plan {
    let names = lanes.iter().map(|(name, _)| Value::Text((*name).into())).collect();
    let numbers = lanes.iter().map(|(_, number)| Value::Int(*number)).collect();
    let held = vec![lane_registry::lane_id.with_expr(lane_registry::lane_id.of("lane"))];
    let number = Expr::each(ColumnType::BigInt, numbers);
    let mut plan = Plan::new("name").update(
        lane_registry::REF,
        held,
        vec![lane_registry::registered_at_ms.set_expr(number)],
    );
    let named = lane_registry::lane_id.with_expr(Expr::each(ColumnType::Text, names));
    plan.selection = Some(Selection {
        row: "lane".into(),
        table: lane_registry::REF,
        predicate: lane_registry::registered_by.equals(by.into()),
        order: vec![],
        pairing: Pairing::Named(vec![named]),
    });
    plan.returns = vec![
        Return::Held("lane".into(), Path::column(lane_registry::lane_id.column())),
        Return::Written(lane_registry::registered_at_ms.column()),
    ];
    plan
}

#[tokio::test(flavor = "multi_thread")]
async fn plans_that_name_rows_get_their_own_and_pass_over_held_and_absent_ones() {
    let database = Database::fresh("named").await;
    let backend = database.open(|options| options.max_in_flight(1)).await;
    for name in ["a", "b", "c", "d"] {
        backend.commit(lane(name, "x")).await.unwrap();
    }
    backend.commit(lane("other", "y")).await.unwrap();
    let mut holder = backend.pool().begin().await.unwrap();
    let hold =
        format!("SELECT 1 FROM {} WHERE lane_id = 'd' FOR UPDATE", lane_registry::TABLE.name);
    holder.execute(AssertSqlSafe(hold)).await.unwrap();

    let plans = [
        vec![("c", 1), ("absent", 2), ("a", 3)],
        vec![("d", 4), ("other", 5)],
        vec![("b", 6), ("a", 7)],
    ];
    let commits: Vec<_> = plans
        .iter()
        .map(|lanes| {
            let (backend, plan) = (Arc::clone(&backend), name("x", lanes));
            tokio::spawn(async move { backend.commit(plan).await })
        })
        .collect();
    let rows = |rows: &[(&str, i64)]| {
        let row =
            |(name, number): &(&str, i64)| vec![Value::Text((*name).into()), Value::Int(*number)];
        Commit::Applied(rows.iter().map(row).collect())
    };
    let expected = [rows(&[("c", 1), ("a", 3)]), rows(&[]), rows(&[("b", 6), ("a", 7)])];
    for (commit, expected) in commits.into_iter().zip(expected) {
        assert_eq!(commit.await.unwrap().unwrap(), expected);
    }
    holder.rollback().await.unwrap();
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
    // One statement at a time, so that the calls are queued together.
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
            Commit::Prevented => panic!("no row prevents it"),
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
    // A caller may skip rows that another has locked and later releases; no row is picked twice.
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

#[tokio::test(flavor = "multi_thread")]
async fn picks_that_wait_together_share_a_statement_and_the_first_get_the_best_rows() {
    let database = Database::fresh("shared_picks").await;
    let backend = database.open(|options| options.max_connections(1)).await;
    for n in 0..4 {
        backend.commit(execution(Uuid::from_u128(n), n as i32, None)).await.unwrap();
    }

    // While the only connection is taken, the picks wait together.
    let taken = backend.pool().acquire().await.unwrap();
    let (three, two, one, ()) = tokio::join!(
        backend.commit(pick(3)),
        backend.commit(pick(2)),
        backend.commit(pick(1)),
        async { drop(taken) },
    );

    let row = |priority, slot| vec![Value::Int(priority), Value::Int(slot)];
    let best = vec![row(3, 1), row(2, 2), row(1, 3)];
    let outcomes = [three.unwrap(), two.unwrap(), one.unwrap()];
    assert_eq!(outcomes, [best, vec![row(0, 1)], vec![]].map(Commit::Applied));

    let sql = format!("SELECT count(DISTINCT xmin::text) FROM {}", exec_core::TABLE.name);
    let transactions: i64 =
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(backend.pool()).await.unwrap();
    assert_eq!(transactions, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn unnamed_statements_leave_nothing_on_the_server() {
    let database = Database::fresh("unnamed").await;
    let backend =
        database.open(|options| options.unnamed_statements(true).max_connections(1)).await;
    backend.ping_database().await.unwrap();
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
