//! Printing, serialising, and erasing the values.

use ff_core::plan::value::{ColumnType, Value};
use ff_core::plan::{
    Expr, Join, List, Lookup, OnConflict, OnTaken, Pairing, Path, Plan, Predicate, Query, Rest,
    Return, Selection,
};
use ff_core::schema::Direction::{Ascending, Descending};
use ff_core::schema::execution::{attempt, exec_core};
use ff_core::state::LifecyclePhase;
use insta::assert_snapshot;
use serde_json::json;
use uuid::Uuid;

/// A plan with every part there is, made of these values.
fn plan(seed: i64) -> Plan {
    let id = Uuid::from_u128(seed.unsigned_abs().into());
    let key = || {
        vec![
            exec_core::partition_key.with_expr(exec_core::partition_key.of("core")),
            exec_core::execution_id.with_expr(exec_core::execution_id.of("core")),
        ]
    };
    let row = vec![
        attempt::partition_key.with(1),
        attempt::execution_id.with(id),
        attempt::attempt_index.with(2),
        attempt::timeout_at_ms.with_expr(Expr::int(seed).plus(Expr::int(seed + 1))),
    ];
    let settle = vec![
        (attempt::worker_id.column(), OnTaken::Overwrite),
        (attempt::lease_epoch.column(), OnTaken::Add),
        (attempt::outcome.column(), OnTaken::Clear),
    ];
    let mut plan = Plan::new("everything")
        .guard(
            "core",
            exec_core::REF,
            vec![exec_core::partition_key.with(1), exec_core::execution_id.with(id)],
            exec_core::lifecycle_phase
                .is(LifecyclePhase::Active)
                .and(exec_core::deadline_at_ms.is_null().or(exec_core::version.equals(seed))),
        )
        .update(
            exec_core::REF,
            key(),
            vec![
                exec_core::deadline_at_ms.set(Some(seed)),
                exec_core::started_at_ms.keep_or(Some(seed)),
                exec_core::version.grow(1),
                exec_core::raw_fields.merge(json!({ "seed": seed })),
                exec_core::blocking_reason.clear(),
            ],
        )
        .insert(attempt::REF, row, OnConflict::Update(settle))
        .delete(attempt::REF, vec![attempt::partition_key.with(1), attempt::execution_id.with(id)]);
    plan.selection = Some(Selection {
        row: "picked".into(),
        table: exec_core::REF,
        predicate: exec_core::required_capabilities.covered_by(vec![format!("c{seed}")]),
        order: vec![
            (exec_core::priority.column(), Descending),
            (exec_core::execution_id.column(), Ascending),
        ],
        pairing: Pairing::UpTo {
            limit: Expr::int(seed),
            rest: Some(Rest {
                predicate: exec_core::eligible_at_ms.at_most(Some(seed)),
                order: vec![(exec_core::execution_id.column(), Ascending)],
            }),
        },
    });
    plan.returns = vec![
        Return::Held("core".into(), exec_core::raw_fields.text_at(&["tags", "a"])),
        Return::Written(attempt::lease_epoch.column()),
    ];
    plan
}

fn query(seed: i64) -> Query {
    Query::List(List {
        name: "some".into(),
        table: attempt::REF,
        of_each: None,
        join: Some(Join {
            table: exec_core::REF,
            on: vec![(attempt::partition_key.column(), exec_core::partition_key.column())],
        }),
        columns: vec![attempt::lease_id.column(), exec_core::lane_id.column()],
        predicate: Predicate::After(vec![attempt::lease_epoch.with(seed)]),
        order: vec![(attempt::lease_epoch.column(), Ascending)],
        limit: Expr::int(seed),
    })
}

#[test]
fn a_plan_prints_as_a_script() {
    assert_snapshot!(plan(5), @r#"
    plan everything
      guard core = ff_exec_core[partition_key 1, execution_id 00000000-0000-0000-0000-000000000005]
        where lifecycle_phase is active and (deadline_at_ms is null or version = 5)
      pick picked from ff_exec_core
        where required_capabilities covered by ["c5"]
        order priority descending, execution_id
        then where eligible_at_ms <= 5
        order execution_id
        limit 5, skipping locked rows
      update ff_exec_core[partition_key core.partition_key, execution_id core.execution_id]
        deadline_at_ms := 5
        started_at_ms keeps its value, else := 5
        version += 1
        raw_fields merges {"seed":5}
        blocking_reason := null
      insert ff_attempt
        partition_key := 1
        execution_id := 00000000-0000-0000-0000-000000000005
        attempt_index := 2
        timeout_at_ms := 5 + 6
        if present: update
          worker_id := inserted
          lease_epoch += inserted
          outcome := null
      delete ff_attempt[partition_key 1, execution_id 00000000-0000-0000-0000-000000000005]
      return core.raw_fields->tags->a, new ff_attempt.lease_epoch
    "#);
    let every = Plan {
        selection: Some(Selection { pairing: Pairing::Every, ..plan(5).selection.unwrap() }),
        guards: vec![],
        mutations: vec![],
        returns: vec![],
        ..plan(5)
    };
    assert_snapshot!(every, @r#"
    plan everything
      pick picked from ff_exec_core
        where required_capabilities covered by ["c5"]
        order priority descending, execution_id
        every row, waiting for its lock
    "#);
    assert_snapshot!(plan(5).shape().plan(), @r"
    plan everything
      guard core = ff_exec_core[partition_key ?0:smallint, execution_id ?1:uuid]
        where lifecycle_phase is active and (deadline_at_ms is null or version = ?2:bigint)
      pick picked from ff_exec_core
        where required_capabilities covered by ?3:text_list
        order priority descending, execution_id
        then where eligible_at_ms <= ?5:bigint
        order execution_id
        limit ?4:bigint, skipping locked rows
      update ff_exec_core[partition_key core.partition_key, execution_id core.execution_id]
        deadline_at_ms := ?6:bigint
        started_at_ms keeps its value, else := ?7:bigint
        version += ?8:bigint
        raw_fields merges ?9:json
        blocking_reason := null
      insert ff_attempt
        partition_key := ?10:smallint
        execution_id := ?11:uuid
        attempt_index := ?12:int
        timeout_at_ms := ?13:bigint + ?14:bigint
        if present: update
          worker_id := inserted
          lease_epoch += inserted
          outcome := null
      delete ff_attempt[partition_key ?15:smallint, execution_id ?16:uuid]
      return core.raw_fields->tags->a, new ff_attempt.lease_epoch
    ");
}

#[test]
fn a_query_prints_as_a_script() {
    assert_snapshot!(query(5), @r"
    list some
      from ff_attempt join ff_exec_core
        read lease_id, lane_id
        where after[lease_epoch 5]
        order lease_epoch
        limit 5
    ");
    let lookup = Query::Lookup(vec![Lookup {
        row: "core".into(),
        table: exec_core::REF,
        key: vec![exec_core::partition_key.with(1)],
        columns: vec![exec_core::lane_id.column()],
    }]);
    assert_snapshot!(lookup, @r"
    lookup
      core = ff_exec_core[partition_key 1]
        read lane_id
    ");
}

#[test]
fn plans_of_one_shape_differ_in_values_alone() {
    assert_ne!(plan(5), plan(6));
    assert_eq!(plan(5).shape(), plan(6).shape());
    assert_eq!(query(5).into_shape().0, query(6).into_shape().0);
    let mut each = plan(5);
    each.mutations.clear();
    assert_ne!(plan(5).shape(), each.shape());
}

#[test]
fn constants_columns_and_names_belong_to_the_shape() {
    let guarded = |phase| {
        let holds = exec_core::lifecycle_phase.is(phase);
        Plan::new("p").guard("core", exec_core::REF, vec![exec_core::partition_key.with(1)], holds)
    };
    let (active, suspended) = (guarded(LifecyclePhase::Active), guarded(LifecyclePhase::Suspended));
    assert_ne!(active.shape(), suspended.shape());
    assert_ne!(Plan { name: "q".into(), ..active.clone() }.shape(), active.shape());
    let set = |assign| Plan::new("p").update(exec_core::REF, vec![], vec![assign]).shape();
    let deadline = exec_core::deadline_at_ms;
    assert_eq!(set(deadline.set(Some(1))), set(deadline.set(None)), "NULL is a value like others");
    assert_ne!(set(deadline.set(None)), set(deadline.clear()), "unless it is always NULL");
    assert_ne!(set(deadline.set(None)), set(exec_core::eligible_at_ms.set(None)));
}

#[test]
fn slots_are_numbered_as_the_plan_is_read() {
    let (shape, bindings) = plan(5).into_shape();
    let values: Vec<String> =
        (0..bindings.len()).map(|slot| bindings.value(slot, 0).to_string()).collect();
    let id = "00000000-0000-0000-0000-000000000005";
    let capabilities = r#"["c5"]"#;
    let expected = [
        "1",
        id,
        "5",
        capabilities,
        "5",
        "5",
        "5",
        "5",
        "1",
        r#"{"seed":5}"#,
        "1",
        id,
        "2",
        "5",
        "6",
        "1",
        id,
    ];
    assert_eq!(values, expected);
    assert_eq!(shape.slot_types().len(), bindings.len());
    assert_eq!(
        shape.slot_types()[..3],
        [ColumnType::SmallInt, ColumnType::Uuid, ColumnType::BigInt]
    );
    assert!(!bindings.is_empty());
    assert!(Plan::new("nothing").into_shape().1.is_empty());
    let again = shape.plan().clone().into_shape();
    assert_eq!((again.0, again.1.len()), (shape, 0), "a shape has no values left");
}

#[test]
fn a_slot_gives_each_picked_row_its_own_value_or_all_of_them_the_same() {
    let mut plan = Plan::new("pair").update(
        exec_core::REF,
        vec![exec_core::partition_key.with(1)],
        vec![
            exec_core::version
                .set_expr(Expr::each(ColumnType::BigInt, vec![Value::Int(7), Value::Int(8)])),
        ],
    );
    plan.returns = vec![Return::Held("core".into(), Path::column(exec_core::version.column()))];
    let (_, bindings) = plan.into_shape();
    // An update binds its target before what it sets.
    assert_eq!((bindings.value(0, 0), bindings.value(0, 1)), (&Value::Int(1), &Value::Int(1)));
    assert_eq!((bindings.value(1, 0), bindings.value(1, 1)), (&Value::Int(7), &Value::Int(8)));
    assert_eq!(bindings.value(9, 0), &Value::Null);
}

#[test]
fn a_plan_and_a_query_survive_their_serialised_form() {
    let text = serde_json::to_string(&plan(5)).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan(5));
    let shape = plan(5).shape().plan().clone();
    let text = serde_json::to_string(&shape).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), shape);
    let text = serde_json::to_string(&query(5)).unwrap();
    assert_eq!(serde_json::from_str::<Query>(&text).unwrap(), query(5));
    for unknown in [
        text.replace("ff_attempt", "ff_nowhere"),
        text.replace("ff_attempt.lease_id", "ff_attempt.nothing"),
    ] {
        assert!(serde_json::from_str::<Query>(&unknown).is_err(), "{unknown}");
    }
}

#[test]
fn only_a_leading_refusing_insert_is_a_gate() {
    let insert = |plan: Plan, on_conflict| {
        plan.insert(attempt::REF, vec![attempt::partition_key.with(1)], on_conflict)
    };
    assert!(insert(Plan::new("p"), OnConflict::Refuse).gate().is_some());
    assert!(insert(Plan::new("p"), OnConflict::Ignore).gate().is_none());
    assert!(
        insert(Plan::new("p").delete(attempt::REF, vec![]), OnConflict::Refuse).gate().is_none()
    );
    let guarded = Plan::new("p").guard("core", exec_core::REF, vec![], Predicate::Always);
    assert!(insert(guarded, OnConflict::Refuse).gate().is_none());
    assert!(Plan::new("p").gate().is_none());
}
