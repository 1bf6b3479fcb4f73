//! One plan or query at a time: inputs, results, refusals.

use crate::*;

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
        key: vec![exec_core::partition_key.with(7), exec_core::execution_id.with(id)],
        columns: columns.clone(),
    };
    let list = Query::List(List {
        name: "list".into(),
        table: exec_core::REF,
        join: None,
        of_each: None,
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
                vec![lane_registry::lane_id.with("a".into())],
                lane_registry::registered_at_ms.at_most(at_most),
            )
            .insert(
                lane_registry::REF,
                vec![
                    lane_registry::lane_id.with("b".into()),
                    lane_registry::registered_at_ms.with(0),
                    lane_registry::registered_by.with_expr(lane_registry::registered_by.of("lane")),
                ],
                OnConflict::Refuse,
            )
    };
    assert_eq!(backend.commit(guarded(-1)).await.unwrap(), Commit::Refused);
    assert_eq!(found_lane(&backend, "b").await, None);
    assert_eq!(backend.commit(guarded(0)).await.unwrap(), applied_once());
    // The guard holds but the row exists: the unique violation refuses the plan.
    assert_eq!(backend.commit(guarded(0)).await.unwrap(), Commit::Refused);
    let copied = found_lane(&backend, "b").await.unwrap();
    assert_eq!(copied.read(lane_registry::registered_by).unwrap(), "first");
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
    // A measurement may be off by half of a round trip.
    assert!((backend.now().0 - before_ms).abs() < 1_000);
    let pooled = PostgresBackend::from_pool(backend.pool().clone(), backend.partitions());
    assert!((pooled.now().0 - before_ms).abs() < 1_000_000);
    assert_eq!(pooled.commit(lane("a", "x")).await.unwrap(), applied_once());
}
