//! The shapes that the generator refuses to render, and the traps of the query builder underneath.

use ff_codegen::{Dialect, Postgres, RenderError, ScriptStep, Sqlite, fused, query, script};
use ff_core::backend::{BackendTag, CapabilitySet, ClaimPolicy};
use ff_core::plan::facts::{Facts, Row};
use ff_core::plan::value::Value;
use ff_core::plan::{
    Expr, Guard, Join, List, Lookup, OnConflict, Pairing, Path, Plan, Predicate, Query, Return,
    Selection,
};
use ff_core::rules::ctx::{Ctx, Seeded};
use ff_core::rules::decision::{Step as Decided, Transition};
use ff_core::rules::execution::claim::Claim;
use ff_core::rules::execution::delay::{Delay, Promote};
use ff_core::rules::execution::expire::ExpireLease;
use ff_core::rules::execution::finish::Complete;
use ff_core::rules::execution::lease::{Progress, Renew};
use ff_core::rules::execution::listing::core_of_current_attempt;
use ff_core::rules::execution::losses::Losses;
use ff_core::rules::execution::tags::SetTag;
use ff_core::rules::fence::{Fence, Lease, Style};
use ff_core::rules::key::{CORE, ExecutionKey, held_core};
use ff_core::schema::Direction::Ascending;
use ff_core::schema::admin::lane_registry;
use ff_core::schema::execution::{attempt, exec_core};
use ff_core::schema::outbox::lease_event;
use ff_core::schema::{ColumnRef, TableRef};
use ff_core::state::LaneState;
use ff_core::types::{ExecutionId, LaneId, TimestampMs, WorkerId, WorkerInstanceId};

fn key() -> ExecutionKey {
    let id = ExecutionId::parse("{fp:7}:00000000-0000-0000-0000-000000000001").unwrap();
    ExecutionKey::of(&id).unwrap()
}

fn no_losses() -> Losses {
    let row = vec![
        (exec_core::lease_reclaim_count.column(), Value::Int(0)),
        (exec_core::policy.column(), Value::Null),
    ];
    Losses::read(&Row::new(row)).unwrap()
}

fn held(name: &'static str) -> Plan {
    Plan::new(name).guard(CORE, exec_core::REF, key().core(), Predicate::Always)
}

fn selection(order: Vec<ColumnRef>) -> Selection {
    Selection {
        row: CORE.into(),
        table: exec_core::REF,
        predicate: Predicate::Always,
        order: order.into_iter().map(|column| (column, Ascending)).collect(),
        pairing: Pairing::UpTo { limit: Expr::int(5), rest: None },
    }
}

/// Both dialects refuse the plan, in both forms, for this rule.
#[track_caller]
fn check(plan: &Plan, rule: &str) {
    let refused = |error: RenderError| match error {
        RenderError::Audit { plan, rule } => format!("{plan}: {rule}"),
        RenderError::Unsupported { dialect, what } => format!("{dialect} cannot {what}"),
    };
    for dialect in [&Postgres as &dyn Dialect, &Sqlite] {
        let expected = format!("p: {rule}");
        assert_eq!(script(dialect, &plan.shape()).map_err(refused).unwrap_err(), expected);
        assert_eq!(fused(dialect, &plan.shape()).map_err(refused).unwrap_err(), expected);
    }
}

#[track_caller]
fn check_query(asked: &Query, expected: &str) {
    for dialect in [&Postgres as &dyn Dialect, &Sqlite] {
        let (shape, _) = asked.clone().into_shape();
        assert_eq!(query(dialect, &shape).unwrap_err().to_string(), expected);
    }
}

#[test]
fn a_row_that_prevents_a_plan_is_named_by_bound_values_and_refuses_something() {
    let lane = |key: Vec<(ColumnRef, Expr)>| {
        Guard::new("lane", lane_registry::REF, key, lane_registry::state.is(LaneState::Paused))
    };
    let named = || vec![lane_registry::lane_id.with("main".into())];
    let grow = vec![exec_core::version.grow(1)];

    check(&held("p").unless(lane(vec![])), "lane is named by less than the key");
    let by_held = vec![lane_registry::lane_id.with_expr(exec_core::lane_id.of(CORE))];
    check(&held("p").unless(lane(by_held)), "lane prevents the plan by more than bound values");
    let nothing = Plan::new("p").unless(lane(named())).update(exec_core::REF, key().core(), grow);
    check(&nothing, "nothing is refused by the rows that prevent the plan");

    let row = vec![lane_registry::lane_id.with("a".into())];
    let mut picks = Plan::new("p").unless(lane(named()));
    picks.selection = Some(selection(vec![exec_core::execution_id.column()]));
    for plan in [
        held("p").unless(lane(named())),
        Plan::new("p").unless(lane(named())).insert(lane_registry::REF, row, OnConflict::Refuse),
        picks,
    ] {
        let script = script(&Sqlite, &plan.shape()).unwrap();
        assert_eq!(script.once.len(), 1, "it costs no statement");
        let sql = &script.once[0].statement().sql;
        assert_eq!(sql.matches("NOT EXISTS(").count(), 1, "{sql}");
        assert_eq!(script.prevents.is_some(), !plan.picks_up_to());
    }
}

#[test]
fn rows_are_named_by_the_bound_values_of_their_key() {
    let named = |by: Vec<(ColumnRef, Expr)>| {
        let mut plan = Plan::new("p").delete(exec_core::REF, held_core());
        plan.selection = Some(Selection { pairing: Pairing::Named(by), ..selection(vec![]) });
        plan
    };
    let rule = "rows are named by other than the bound values of their key";
    check(&named(vec![exec_core::execution_id.with(key().uuid)]), rule);
    let partition = exec_core::partition_key.with(7);
    let held = exec_core::execution_id.with_expr(exec_core::execution_id.of(CORE));
    check(&named(vec![partition, held]), rule);
}

#[test]
fn a_change_names_its_rows_by_their_key() {
    let grow = || vec![exec_core::version.grow(1)];
    let nothing = Plan::new("p").update(exec_core::REF, vec![], grow());
    check(&nothing, "ff_exec_core is changed without its key");
    let partition = vec![exec_core::partition_key.with(7)];
    let whole_partition = Plan::new("p").update(exec_core::REF, partition.clone(), grow());
    check(&whole_partition, "ff_exec_core is changed without its key");
    let by_lane = vec![exec_core::partition_key.with(7), exec_core::lane_id.with("main".into())];
    check(
        &Plan::new("p").update(exec_core::REF, by_lane, grow()),
        "ff_exec_core is changed without its key",
    );
    let lanes = Plan::new("p").delete(lane_registry::REF, vec![]);
    check(&lanes, "ff_lane_registry is changed without its key");
    let gap = vec![attempt::partition_key.with(7), attempt::attempt_index.with(0)];
    check(&Plan::new("p").delete(attempt::REF, gap), "ff_attempt is changed without its key");
    // A leading part of the key that names the rows is enough.
    let attempts = vec![attempt::partition_key.with(7), attempt::execution_id.with(key().uuid)];
    assert!(script(&Sqlite, &Plan::new("p").delete(attempt::REF, attempts).shape()).is_ok());
}

#[test]
fn a_row_is_changed_once() {
    let grow = || vec![exec_core::version.grow(1)];
    let twice = held("p").update(exec_core::REF, held_core(), grow());
    let twice = twice.update(exec_core::REF, held_core(), grow());
    check(&twice, "a row of ff_exec_core is changed twice");
    let and_deleted = held("p").update(exec_core::REF, held_core(), grow());
    let and_deleted = and_deleted.delete(exec_core::REF, held_core());
    check(&and_deleted, "a row of ff_exec_core is changed twice");
}

#[test]
fn a_guard_names_one_row() {
    let partition = vec![exec_core::partition_key.with(7)];
    let loose = Plan::new("p").guard(CORE, exec_core::REF, partition, Predicate::Always);
    check(&loose, "guard core names its row by less than the key");
}

#[test]
fn only_held_rows_are_read() {
    let ghost = exec_core::version.of("ghost");
    let set = || vec![exec_core::deadline_at_ms.set_expr(ghost.clone())];
    check(&held("p").update(exec_core::REF, held_core(), set()), "ghost is read but not held");
    let sum = vec![exec_core::deadline_at_ms.set_expr(Expr::int(1).plus(ghost.clone()))];
    check(&held("p").update(exec_core::REF, held_core(), sum), "ghost is read but not held");
    let mut reported = held("p");
    reported.returns =
        vec![Return::Held("ghost".into(), Path::column(exec_core::version.column()))];
    check(&reported, "ghost is read but not held");
    check(
        &Plan::new("p").update(exec_core::REF, held_core(), vec![exec_core::version.grow(1)]),
        "core is read but not held",
    );
}

#[test]
fn only_written_tables_are_reported() {
    let mut plan = held("p");
    plan.returns = vec![Return::Written(attempt::lease_epoch.column())];
    check(&plan, "ff_attempt.lease_epoch is returned but not written");
}

#[test]
fn a_picked_order_is_total() {
    let mut plan = Plan::new("p");
    plan.selection = Some(selection(vec![exec_core::priority.column()]));
    check(&plan, "the picked order does not end in the primary key");
    plan.selection = Some(selection(vec![]));
    check(&plan, "the picked order does not end in the primary key");
    plan.selection = Some(selection(vec![exec_core::execution_id.column()]));
    assert!(script(&Sqlite, &plan.shape()).is_ok());
}

#[test]
fn an_insert_has_columns() {
    check(
        &Plan::new("p").insert(attempt::REF, vec![], OnConflict::Ignore),
        "an insert without columns",
    );
}

fn list(order: Vec<ColumnRef>) -> Query {
    Query::List(List {
        name: "lanes".into(),
        table: lane_registry::REF,
        join: None,
        of_each: None,
        columns: vec![lane_registry::lane_id.column()],
        predicate: lane_registry::lane_id.above("a".into()),
        order: order.into_iter().map(|column| (column, Ascending)).collect(),
        limit: Expr::int(9),
    })
}

#[test]
fn a_list_is_ordered_and_a_look_up_keyed() {
    check_query(&list(vec![]), "lanes: a bounded list needs an order that is total");
    let lookup = |key| {
        Query::Lookup(vec![Lookup {
            row: CORE.into(),
            table: exec_core::REF,
            key,
            columns: vec![exec_core::lane_id.column()],
        }])
    };
    check_query(
        &lookup(vec![exec_core::partition_key.with(7)]),
        "lookup of ff_exec_core: core is named by less than the key",
    );
    assert!(query(&Sqlite, &lookup(key().core()).into_shape().0).is_ok());
}

#[test]
fn the_order_of_a_list_is_total() {
    let list = |table: TableRef, join, predicate, order: &[ColumnRef]| {
        Query::List(List {
            name: "p".into(),
            table,
            join,
            of_each: None,
            columns: vec![table.key[0]],
            predicate,
            order: order.iter().map(|column| (*column, Ascending)).collect(),
            limit: Expr::int(9),
        })
    };
    let (id, index, due) =
        (attempt::execution_id, attempt::attempt_index, attempt::lease_expires_at_ms.column());
    let refused = "p: a bounded list needs an order that is total";
    let attempts =
        |join, predicate, order: &[ColumnRef]| list(attempt::REF, join, predicate, order);

    // The order needs the key, or the part of it that the predicate does not fix.
    check_query(&attempts(None, Predicate::Always, &[due]), refused);
    check_query(&attempts(None, Predicate::Always, &[due, id.column()]), refused);
    check_query(&attempts(None, index.above(3), &[due, id.column()]), refused);
    let either = index.equals(3).or(index.equals(4));
    check_query(&attempts(None, either, &[due, id.column()]), refused);
    let total = [
        attempts(None, Predicate::Always, &[due, id.column(), index.column()]),
        attempts(None, index.equals(3), &[due, id.column()]),
        attempts(Some(core_of_current_attempt()), Predicate::Always, &[due, id.column()]),
        list(lease_event::REF, None, Predicate::Always, &[lease_event::event_id.column()]),
    ];
    for query_of in total {
        assert!(query(&Sqlite, &query_of.into_shape().0).is_ok());
    }

    // A joined row that the order does not determine is listed in any order.
    let on = vec![(exec_core::execution_id.column(), id.column())];
    let many = Some(Join { table: attempt::REF, on });
    let order = [exec_core::execution_id.column()];
    check_query(&list(exec_core::REF, many, Predicate::Always, &order), refused);
}

#[test]
fn a_limit_is_bound() {
    let Query::List(mut unbound) = list(vec![lane_registry::lane_id.column()]) else { panic!() };
    unbound.limit = Expr::PickedCount;
    check_query(&Query::List(unbound), "lanes: the limit is a bound value");
    let (shape, bindings) = list(vec![lane_registry::lane_id.column()]).into_shape();
    assert_eq!(bindings.len(), 2);
    let postgres = query(&Postgres, &shape).unwrap().sql;
    let sqlite = query(&Sqlite, &shape).unwrap().sql;
    assert!(postgres.ends_with("LIMIT $2"), "{postgres}");
    assert!(sqlite.ends_with("LIMIT ?2"), "{sqlite}");
}

/// The plan that an operation commits without reading.
fn planned<T: Transition>(operation: &T) -> Plan {
    let mut source = Seeded::new(7);
    match operation.step(&Facts::default(), &mut Ctx::new(TimestampMs(1_000), &mut source)) {
        Ok(Decided::Commit(plan, _)) => plan,
        Ok(Decided::Read(_) | Decided::Answer(_)) | Err(_) => panic!("it decides unread"),
    }
}

fn claim(limit: u32) -> Plan {
    let policy = ClaimPolicy::new(WorkerId::new("pool"), WorkerInstanceId::new("w"), 50, None);
    let (lane, capabilities) = (LaneId::new("main"), CapabilitySet::new(["gpu"]));
    planned(&Claim::new(BackendTag::Postgres, &lane, &capabilities, policy, limit).unwrap())
}

fn plans() -> Vec<Plan> {
    let lease = Lease { epoch: 3, lease_id: key().uuid, attempt_id: key().uuid };
    let fence = || Fence {
        key: key(),
        attempt_index: 0,
        lease: Some(lease),
        style: Style::Handle,
        has_reservations: false,
    };
    let overriding = Fence { lease: None, ..fence() };
    let result = Some(vec![1]);
    let mut plans = vec![
        claim(1),
        claim(9),
        planned(&Complete { fence: fence(), result: result.clone(), at: None }),
        planned(&Complete { fence: overriding, result, at: None }),
        planned(&Delay { fence: fence(), until: TimestampMs(2_000) }),
        planned(&Renew { fence: fence(), ttl_ms: 50 }),
        planned(&Progress { fence: fence(), percent: Some(5), message: Some("m".into()) }),
        planned(&Promote { key: key(), at: None }),
        planned(&ExpireLease { key: key(), expected: Some(no_losses()) }),
        planned(&SetTag::new(&key().id(), "a.b", "c").unwrap()),
    ];
    let count = vec![
        lane_registry::lane_id.with("l".into()),
        lane_registry::registered_at_ms.with_expr(Expr::PickedCount),
        lane_registry::registered_by.with("b".into()),
    ];
    let mut every = Plan::new("every")
        .update(exec_core::REF, held_core(), vec![exec_core::version.grow(1)])
        .insert(TableRef(&lane_registry::TABLE), count, OnConflict::Ignore);
    let pairing = Pairing::Every;
    every.selection =
        Some(Selection { pairing, ..selection(vec![exec_core::execution_id.column()]) });
    plans.push(every);
    plans
}

fn statements(dialect: &dyn Dialect, plan: &Plan) -> Vec<(String, usize)> {
    let script = script(dialect, &plan.shape()).unwrap();
    let steps = script.once.into_iter().chain(script.each);
    let statement = |step| match step {
        ScriptStep::Guard { statement, .. }
        | ScriptStep::Pick { statement, .. }
        | ScriptStep::Write { statement, .. } => (statement.sql, statement.binds.len()),
    };
    steps.map(statement).collect()
}

/// The numbers of all placeholders, in order.
fn numbers(sql: &str, mark: char) -> Vec<usize> {
    let after = sql.split(mark).skip(1);
    after
        .map(|rest| {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().unwrap_or_else(|_| panic!("{mark} without a number in {sql}"))
        })
        .collect()
}

#[track_caller]
fn numbered(sql: &str, mark: char, binds: usize) {
    let mut used = numbers(sql, mark);
    used.sort_unstable();
    used.dedup();
    assert_eq!(used, (1..=binds).collect::<Vec<_>>(), "{sql}");
}

#[test]
fn placeholders_are_the_numbers_from_one_and_each_is_used() {
    for plan in plans() {
        let fused = fused(&Postgres, &plan.shape()).unwrap();
        numbered(&fused.sql, '$', fused.params.len());
        for (sql, binds) in statements(&Postgres, &plan) {
            numbered(&sql, '$', binds);
        }
        for (sql, binds) in statements(&Sqlite, &plan) {
            numbered(&sql, '?', binds);
        }
    }
    let (shape, bindings) = list(vec![lane_registry::lane_id.column()]).into_shape();
    numbered(&query(&Postgres, &shape).unwrap().sql, '$', bindings.len());
    numbered(&query(&Sqlite, &shape).unwrap().sql, '?', bindings.len());
}

#[test]
fn claimers_skip_what_others_claim_where_the_database_has_locks() {
    let fused = fused(&Postgres, &claim(3).shape()).unwrap().sql;
    let script = statements(&Postgres, &claim(3)).remove(0).0;
    for sql in [fused, script] {
        // What waits for a worker, and what is due.
        assert_eq!(sql.matches("FOR NO KEY UPDATE").count(), 2, "{sql}");
        assert_eq!(sql.matches("FOR NO KEY UPDATE SKIP LOCKED").count(), 2, "{sql}");
        assert!(sql.contains("LIMIT $"), "{sql}");
    }
}

#[test]
fn guards_and_whole_picks_wait_for_their_locks() {
    for plan in plans().iter().filter(|plan| plan.name != "claim") {
        let fused = fused(&Postgres, &plan.shape()).unwrap().sql;
        let rows = plan.guards.len() + plan.selection.iter().count();
        assert_eq!(fused.matches("FOR ").count(), rows, "{fused}");
        assert!(!fused.contains("SKIP LOCKED"), "{fused}");
    }
}

#[test]
fn a_database_with_one_writer_has_no_row_locks() {
    for plan in plans() {
        for (sql, _) in statements(&Sqlite, &plan) {
            assert!(!sql.contains("FOR ") && !sql.contains("LOCKED"), "{sql}");
        }
    }
    let pick = statements(&Sqlite, &claim(3)).remove(0).0;
    assert!(pick.contains("LIMIT ?"), "{pick}");
}

#[test]
fn a_database_without_arrays_says_that_it_has_no_fused_form() {
    let error = fused(&Sqlite, &claim(3).shape()).unwrap_err();
    assert!(matches!(error, RenderError::Unsupported { dialect: "sqlite", .. }), "{error}");
}

#[test]
fn a_constant_with_a_quote_stays_one_constant() {
    let word = "it's; DROP TABLE ff_exec_core --";
    let holds = Predicate::OneOf(exec_core::lifecycle_phase.column(), vec![word.into()]);
    let plan = Plan::new("p").guard(CORE, exec_core::REF, key().core(), holds);
    // Postgres has its own form for texts that hold a quote or a backslash.
    let escaped = r"= E'it\'s; DROP TABLE ff_exec_core --'";
    let script = statements(&Postgres, &plan).remove(0).0;
    assert!(script.contains(escaped), "{script}");
    let fused = fused(&Postgres, &plan.shape()).unwrap().sql;
    assert!(fused.contains(escaped), "{fused}");
    let sqlite = statements(&Sqlite, &plan).remove(0).0;
    assert!(sqlite.contains("= 'it''s; DROP TABLE ff_exec_core --'"), "{sqlite}");
}

#[test]
fn no_value_is_written_into_a_text() {
    let plan = planned(&SetTag::new(&key().id(), "acme.team", "sec'ret").unwrap());
    for dialect in [&Postgres as &dyn Dialect, &Sqlite] {
        for (sql, _) in statements(dialect, &plan) {
            assert!(!sql.contains("sec") && !sql.contains("acme"), "{sql}");
        }
    }
}
