//! The meaning of plans and queries, case by case.

use std::collections::BTreeMap;

use ff_backend_memory::MemoryBackend;
use ff_core::engine::{Commit, Executor};
use ff_core::plan::facts::Answer;
use ff_core::plan::value::{ColumnType, Value};
use ff_core::plan::{
    Compare, Expr, Join, List, Lookup, OnConflict, OnTaken, Pairing, Path, Plan, Predicate, Query,
    Return, Selection,
};
use ff_core::schema::admin::{lane_registry as lane, waitpoint_hmac as hmac};
use ff_core::schema::budget::{budget_policy as policy, budget_usage as usage};
use ff_core::schema::outbox::lease_event;
use ff_core::schema::{Direction, TableRef};
use ff_core::state::LeaseEventType;
use ff_core::types::TimestampMs;
use serde_json::json;

fn backend() -> MemoryBackend {
    MemoryBackend::new().with_seed(7).with_clock(Box::new(|| TimestampMs(1_000)))
}

fn register(plan: Plan, name: &str, by: &str, on_conflict: OnConflict) -> Plan {
    let row = vec![
        lane::lane_id.with(name.into()),
        lane::registered_at_ms.with(5),
        lane::registered_by.with(by.into()),
    ];
    plan.insert(lane::REF, row, on_conflict)
}

fn lane_called(name: &str) -> Vec<(ff_core::schema::ColumnRef, Expr)> {
    vec![lane::lane_id.with(name.into())]
}

async fn commit(backend: &MemoryBackend, plan: Plan) -> Commit {
    backend.commit(plan).await.expect("the plan fits the schema")
}

async fn with_lanes(names: &[&str]) -> MemoryBackend {
    let backend = backend();
    for name in names {
        let plan = register(Plan::new("seed"), name, "seed", OnConflict::Refuse);
        assert_eq!(commit(&backend, plan).await, Commit::Applied(vec![vec![]]));
    }
    backend
}

fn texts(rows: &[BTreeMap<String, Value>], column: &str) -> Vec<String> {
    let text = |row: &BTreeMap<String, Value>| match &row[column] {
        Value::Text(text) => text.clone(),
        other => other.to_string(),
    };
    rows.iter().map(text).collect()
}

fn lanes(pairing: Pairing) -> Selection {
    Selection {
        row: "lane".into(),
        table: lane::REF,
        predicate: Predicate::Always,
        order: vec![(lane::lane_id.column(), Direction::Ascending)],
        pairing,
    }
}

#[tokio::test]
async fn a_guard_needs_its_row_and_its_predicate() {
    let backend = with_lanes(&["a"]).await;
    let guarded = |name: &str, by: &str| {
        let mut plan = Plan::new("touch")
            .guard("lane", lane::REF, lane_called(name), lane::registered_by.equals(by.into()))
            .update(lane::REF, lane_called(name), vec![lane::registered_at_ms.grow(1)]);
        plan.returns = vec![
            Return::Held("lane".into(), Path::column(lane::registered_at_ms.column())),
            Return::Written(lane::registered_at_ms.column()),
        ];
        plan
    };
    let applied = Commit::Applied(vec![vec![Value::Int(5), Value::Int(6)]]);
    assert_eq!(commit(&backend, guarded("a", "seed")).await, applied);
    assert_eq!(commit(&backend, guarded("a", "other")).await, Commit::Refused);
    assert_eq!(commit(&backend, guarded("b", "seed")).await, Commit::Refused);
}

#[tokio::test]
async fn a_refusal_midway_changes_nothing() {
    let backend = with_lanes(&["a"]).await;
    let before = backend.rows(lane::TABLE.name);
    let plan = Plan::new("both").update(
        lane::REF,
        lane_called("a"),
        vec![lane::registered_by.set("changed".into())],
    );
    let plan = register(plan, "b", "both", OnConflict::Refuse);
    let plan = register(plan, "a", "both", OnConflict::Refuse);
    assert_eq!(commit(&backend, plan).await, Commit::Refused);
    assert_eq!(backend.rows(lane::TABLE.name), before);
}

#[tokio::test]
async fn a_row_the_schema_forbids_is_an_error_and_changes_nothing() {
    let backend = backend();
    let plan = register(Plan::new("both"), "a", "x", OnConflict::Refuse);
    let plan = plan.insert(lane::REF, lane_called("b"), OnConflict::Refuse);
    let error = backend.commit(plan).await.expect_err("a lane needs its other columns");
    assert!(error.to_string().contains("ff_lane_registry.registered_at_ms must not be null"));
    assert!(backend.rows(lane::TABLE.name).is_empty());
}

#[tokio::test]
async fn an_insert_that_finds_its_row_overwrites_adds_clears_or_ignores() {
    let backend = backend();
    let put = |value: i64, reset: Option<i64>, on_conflict| {
        let row = vec![
            usage::partition_key.with(3),
            usage::budget_id.with("b".into()),
            usage::dimensions_key.with("tokens".into()),
            usage::current_value.with(value),
            usage::last_reset_at_ms.with(reset),
            usage::updated_at_ms.with(value * 10),
        ];
        let mut plan = Plan::new("put").insert(usage::REF, row, on_conflict);
        plan.returns = vec![Return::Written(usage::current_value.column())];
        plan
    };
    let upsert = OnConflict::Update(vec![
        (usage::current_value.column(), OnTaken::Add),
        (usage::updated_at_ms.column(), OnTaken::Overwrite),
        (usage::last_reset_at_ms.column(), OnTaken::Clear),
    ]);
    let one = |value| Commit::Applied(vec![vec![value]]);
    assert_eq!(commit(&backend, put(2, Some(9), upsert.clone())).await, one(Value::Int(2)));
    assert_eq!(commit(&backend, put(5, Some(8), upsert)).await, one(Value::Int(7)));
    assert_eq!(commit(&backend, put(1, None, OnConflict::Ignore)).await, one(Value::Null));
    let rows = backend.rows(usage::TABLE.name);
    assert_eq!(rows[0]["current_value"], Value::Int(7));
    assert_eq!(rows[0]["updated_at_ms"], Value::Int(50));
    assert_eq!(rows[0]["last_reset_at_ms"], Value::Null);
}

#[tokio::test]
async fn a_limited_pick_pairs_the_nth_row_with_the_nth_value() {
    let backend = with_lanes(&["a", "b", "c"]).await;
    let names = ["first", "second", "third", "fourth"].map(|name| Value::Text(name.into()));
    let mut plan = Plan::new("pair").update(
        lane::REF,
        vec![lane::lane_id.at_picked()],
        vec![lane::registered_by.set_expr(Expr::each(ColumnType::Text, names.to_vec()))],
    );
    plan.selection = Some(lanes(Pairing::UpTo { limit: Expr::int(2), rest: None }));
    plan.returns = vec![
        Return::Held("lane".into(), Path::column(lane::lane_id.column())),
        Return::Written(lane::registered_by.column()),
    ];
    let text = |text: &str| Value::Text(text.into());
    assert_eq!(
        commit(&backend, plan).await,
        Commit::Applied(vec![vec![text("a"), text("first")], vec![text("b"), text("second")],])
    );
    let by = texts(&backend.rows(lane::TABLE.name), "registered_by");
    assert_eq!(by, ["first", "second", "seed"]);
}

#[tokio::test]
async fn the_nth_value_names_a_row_that_takes_the_nth_value() {
    let backend = with_lanes(&["a", "b", "c"]).await;
    let texts_of = |texts: [&str; 4]| {
        let texts = texts.map(|text| Value::Text(text.into()));
        Expr::each(ColumnType::Text, texts.to_vec())
    };
    let mut plan = Plan::new("name").update(
        lane::REF,
        vec![lane::lane_id.at_picked()],
        vec![lane::registered_by.set_expr(texts_of(["first", "second", "third", "fourth"]))],
    );
    let by = Predicate::Compare(
        Path::column(lane::registered_by.column()),
        Compare::Equal,
        texts_of(["seed", "seed", "another", "seed"]),
    );
    let named = vec![lane::lane_id.with_expr(texts_of(["b", "absent", "c", "a"]))];
    plan.selection =
        Some(Selection { predicate: by, order: vec![], ..lanes(Pairing::Named(named)) });
    plan.returns = vec![
        Return::Held("lane".into(), Path::column(lane::lane_id.column())),
        Return::Written(lane::registered_by.column()),
    ];
    let text = |text: &str| Value::Text(text.into());
    assert_eq!(
        commit(&backend, plan.clone()).await,
        Commit::Applied(vec![vec![text("b"), text("first")], vec![text("a"), text("fourth")]])
    );
    let by = texts(&backend.rows(lane::TABLE.name), "registered_by");
    assert_eq!(by, ["fourth", "first", "seed"]);
    assert_eq!(commit(&backend, plan).await, Commit::Applied(vec![]));
}

#[tokio::test]
async fn every_picked_row_changes_and_the_rest_happens_once() {
    let backend = with_lanes(&["a", "b"]).await;
    let count = vec![
        lane::lane_id.with("count".into()),
        lane::registered_at_ms.with_expr(Expr::PickedCount),
        lane::registered_by.with("count".into()),
    ];
    let clear = || {
        let mut plan = Plan::new("clear")
            .delete(lane::REF, vec![lane::lane_id.at_picked()])
            .insert(lane::REF, count.clone(), OnConflict::Refuse);
        plan.selection = Some(lanes(Pairing::Every));
        plan
    };
    assert_eq!(commit(&backend, clear()).await, Commit::Applied(vec![vec![], vec![]]));
    let rows = backend.rows(lane::TABLE.name);
    assert_eq!(texts(&rows, "lane_id"), ["count"]);
    assert_eq!(rows[0]["registered_at_ms"], Value::Int(2));
}

#[tokio::test]
async fn a_pick_that_finds_nothing_applies_to_nothing() {
    let backend = backend();
    for pairing in [Pairing::UpTo { limit: Expr::int(5), rest: None }, Pairing::Every] {
        let mut plan = Plan::new("nothing").delete(lane::REF, vec![lane::lane_id.at_picked()]);
        plan.selection = Some(lanes(pairing));
        assert_eq!(commit(&backend, plan).await, Commit::Applied(vec![]));
    }
}

#[tokio::test]
async fn merge_replaces_members_and_makes_the_object_it_merges_under() {
    let backend = backend();
    let row = vec![
        policy::partition_key.with(0),
        policy::budget_id.with("b".into()),
        policy::policy_json.with(json!({"keep": 1, "replace": {"old": true}})),
        policy::created_at_ms.with(1),
        policy::updated_at_ms.with(1),
    ];
    let plan = Plan::new("create").insert(policy::REF, row, OnConflict::Refuse);
    commit(&backend, plan).await;
    let target = || vec![policy::partition_key.with(0), policy::budget_id.with("b".into())];
    let merge = |assign| Plan::new("merge").update(policy::REF, target(), vec![assign]);
    commit(&backend, merge(policy::policy_json.merge(json!({"replace": {"new": 1}})))).await;
    commit(&backend, merge(policy::policy_json.merge_under("tags", json!({"a": "x"})))).await;
    commit(&backend, merge(policy::policy_json.merge_under("tags", json!({"b": "y"})))).await;
    let expected = json!({"keep": 1, "replace": {"new": 1}, "tags": {"a": "x", "b": "y"}});
    assert_eq!(backend.rows(policy::TABLE.name)[0]["policy_json"], Value::Json(expected));
}

#[tokio::test]
async fn identity_and_the_clock_fill_what_an_insert_leaves_out() {
    let backend = backend();
    let event = || {
        let row = vec![
            lease_event::partition_key.with(0),
            lease_event::execution_id.with("e".into()),
            lease_event::event_type.with(LeaseEventType::Acquired),
            lease_event::occurred_at_ms.with(1),
        ];
        let mut plan = Plan::new("event").insert(lease_event::REF, row, OnConflict::Refuse);
        plan.returns = vec![Return::Written(lease_event::event_id.column())];
        plan
    };
    let refused = register(event(), "a", "x", OnConflict::Refuse);
    let refused = register(refused, "a", "x", OnConflict::Refuse);
    assert_eq!(commit(&backend, refused).await, Commit::Refused);
    for number in 1..=2 {
        let numbered = Commit::Applied(vec![vec![Value::Int(number)]]);
        assert_eq!(commit(&backend, event()).await, numbered);
    }
}

#[tokio::test]
async fn a_lookup_may_follow_what_an_earlier_row_holds() {
    let backend = with_lanes(&["a"]).await;
    let secret = [("kid", Value::Text("seed".into())), ("secret", Value::Bytes(vec![1]))];
    let cells = secret.into_iter().chain([("rotated_at_ms", Value::Int(1))]);
    backend.insert_row(hmac::TABLE.name, cells).expect("a complete row");
    let look_up = |name: &str| {
        Query::Lookup(vec![
            Lookup {
                row: "lane".into(),
                table: lane::REF,
                key: lane_called(name),
                columns: vec![lane::registered_at_ms.column()],
            },
            Lookup {
                row: "key".into(),
                table: TableRef(&hmac::TABLE),
                key: vec![hmac::kid.with_expr(lane::registered_by.of("lane"))],
                columns: vec![hmac::active.column()],
            },
        ])
    };
    let answers = backend.read(vec![look_up("a"), look_up("b")]).await.expect("a read");
    let Answer::Lookup(found) = &answers[0] else { panic!("a lookup answers a lookup") };
    let found: Vec<_> = found.iter().map(|row| row.as_ref().expect("present")).collect();
    assert_eq!(found[0].read(lane::registered_at_ms).expect("an integer"), 5);
    assert!(found[1].read(hmac::active).expect("a flag"));
    assert_eq!(answers[1], Answer::Lookup(vec![None, None]));
}

#[tokio::test]
async fn a_list_joins_filters_orders_and_stops_at_its_limit() {
    let backend = with_lanes(&["a", "b", "c", "d"]).await;
    for kid in ["a", "b", "d", "z"] {
        let cells = [
            ("kid", Value::Text(kid.into())),
            ("secret", Value::Bytes(vec![1])),
            ("rotated_at_ms", Value::Int(1)),
        ];
        backend.insert_row(hmac::TABLE.name, cells).expect("a complete row");
    }
    let list = Query::List(List {
        name: "joined".into(),
        table: lane::REF,
        of_each: None,
        join: Some(Join {
            table: TableRef(&hmac::TABLE),
            on: vec![(lane::lane_id.column(), hmac::kid.column())],
        }),
        columns: vec![hmac::kid.column()],
        predicate: Predicate::After(vec![lane::lane_id.with("a".into())]),
        order: vec![(lane::lane_id.column(), Direction::Descending)],
        limit: Expr::int(2),
    });
    let answers = backend.read(vec![list]).await.expect("a read");
    let Answer::List(rows) = &answers[0] else { panic!("a list answers a list") };
    let kids: Vec<String> = rows.iter().map(|row| row.read(hmac::kid).expect("text")).collect();
    assert_eq!(kids, ["d", "b"]);
}

#[tokio::test]
async fn the_same_seed_draws_the_same_ids() {
    let draw = |backend: &MemoryBackend| (backend.source().uuid(), backend.source().uuid());
    let (first, second) = (draw(&backend()), draw(&backend()));
    assert_eq!(first, second);
    assert_ne!(first.0, first.1);
}

/// A key component taken from the picked lane.
trait Picked {
    fn at_picked(self) -> (ff_core::schema::ColumnRef, Expr);
}

impl Picked for ff_core::schema::Col<String> {
    fn at_picked(self) -> (ff_core::schema::ColumnRef, Expr) {
        self.with_expr(self.of("lane"))
    }
}
