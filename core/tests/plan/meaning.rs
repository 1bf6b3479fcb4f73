//! What expressions, predicates and assignments mean.

use ff_core::plan::facts::Row;
use ff_core::plan::value::{ColumnType, Storable, Value};
use ff_core::plan::{Assign, Compare, Expr, Held, Path, Predicate};
use ff_core::schema::ColumnRef;
use ff_core::schema::execution::{attempt, exec_core};
use ff_core::state::{LifecyclePhase, OwnershipState};
use serde_json::json;
use uuid::Uuid;

fn row(cells: Vec<(ColumnRef, Value)>) -> Row {
    Row::new(cells)
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

#[track_caller]
fn check(predicate: &Predicate, cells: Vec<(ColumnRef, Value)>, expected: bool) {
    assert_eq!(predicate.accepts(&row(cells), &Held::default()), expected, "{predicate}");
}

#[test]
fn comparisons() {
    let expires = attempt::lease_expires_at_ms;
    let at = |value| vec![(expires.column(), Value::Int(value))];
    for (predicate, below, equal, above) in [
        (expires.equals(Some(5)), false, true, false),
        (expires.below(Some(5)), true, false, false),
        (expires.at_most(Some(5)), true, true, false),
        (expires.above(Some(5)), false, false, true),
    ] {
        check(&predicate, at(4), below);
        check(&predicate, at(5), equal);
        check(&predicate, at(6), above);
    }
}

#[test]
fn a_comparison_that_meets_null_is_false() {
    let expires = attempt::lease_expires_at_ms;
    for compare in [Compare::Equal, Compare::Below, Compare::AtMost, Compare::Above] {
        let with = |value: Option<i64>| {
            Predicate::Compare(Path::column(expires.column()), compare, value.into_expr())
        };
        check(&with(Some(5)), vec![(expires.column(), Value::Null)], false);
        check(&with(Some(5)), vec![], false);
        check(&with(None), vec![(expires.column(), Value::Int(5))], false);
        check(&with(None), vec![(expires.column(), Value::Null)], false);
        // Nor does a value of another type compare.
        check(&with(Some(5)), vec![(expires.column(), text("5"))], false);
    }
}

#[test]
fn null_and_present_are_the_only_ones_that_see_null() {
    let column = attempt::lease_id;
    let (null, id) = (Value::Null, Value::Uuid(Uuid::nil()));
    for (value, is_null) in [(null, true), (id, false)] {
        check(&column.is_null(), vec![(column.column(), value.clone())], is_null);
        check(&column.is_present(), vec![(column.column(), value)], !is_null);
    }
    check(&column.is_null(), vec![], true);
    check(&column.is_present(), vec![], false);
}

#[test]
fn membership_counts_every_spelling_and_never_null() {
    let phase = exec_core::lifecycle_phase;
    let runnable = phase.is(LifecyclePhase::Runnable);
    for (word, expected) in
        [("runnable", true), ("pending", true), ("eligible", true), ("active", false), ("", false)]
    {
        check(&runnable, vec![(phase.column(), text(word))], expected);
    }
    check(&runnable, vec![(phase.column(), Value::Null)], false);
    let owner = exec_core::ownership_state;
    let taken = owner.is_none_of(&[OwnershipState::Unowned]);
    for (word, expected) in [("leased", true), ("unowned", false), ("released", false)] {
        check(&taken, vec![(owner.column(), text(word))], expected);
    }
    // A word outside the set is none of its members; NULL is no word.
    check(&taken, vec![(owner.column(), text("limbo"))], true);
    check(&taken, vec![(owner.column(), Value::Null)], false);
}

#[test]
fn a_chosen_member_is_bound_with_every_spelling() {
    let phase = exec_core::lifecycle_phase;
    let chosen = phase.is_one_of_chosen(&[LifecyclePhase::Runnable]);
    for (word, expected) in [("runnable", true), ("blocked", true), ("active", false)] {
        check(&chosen, vec![(phase.column(), text(word))], expected);
    }
    check(&chosen, vec![(phase.column(), Value::Null)], false);
}

#[test]
fn all_of_nothing_holds_and_any_of_nothing_does_not() {
    check(&Predicate::Always, vec![], true);
    check(&Predicate::All(vec![]), vec![], true);
    check(&Predicate::Any(vec![]), vec![], false);
    let (yes, no) = (Predicate::Always, Predicate::Any(vec![]));
    check(&Predicate::All(vec![yes.clone(), no.clone()]), vec![], false);
    check(&Predicate::Any(vec![no.clone(), yes.clone()]), vec![], true);
    check(&Predicate::AnyApart(vec![]), vec![], false);
    check(&Predicate::AnyApart(vec![no, yes]), vec![], true);
}

#[test]
fn and_flattens_and_forgets_always() {
    let (a, b) = (attempt::lease_id.is_null(), attempt::lease_id.is_present());
    assert_eq!(Predicate::Always.and(Predicate::Always), Predicate::Always);
    assert_eq!(Predicate::Always.and(a.clone()), a);
    assert_eq!(a.clone().and(Predicate::Always), a);
    let both = Predicate::All(vec![a.clone(), b.clone()]);
    assert_eq!(a.clone().and(b.clone()), both);
    assert_eq!(both.clone().and(a.clone()), Predicate::All(vec![a.clone(), b.clone(), a.clone()]));
    assert_eq!(a.clone().or(b.clone()), Predicate::Any(vec![a, b]));
}

#[test]
fn covered_means_that_nothing_is_missing() {
    let column = exec_core::required_capabilities;
    let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let offering = |words: &[&str]| column.covered_by(list(words));
    let requiring = |words: &[&str]| vec![(column.column(), Value::TextList(list(words)))];
    check(&offering(&[]), requiring(&[]), true);
    check(&offering(&["a"]), requiring(&[]), true);
    check(&offering(&["a", "b"]), requiring(&["b", "a"]), true);
    check(&offering(&["a", "a"]), requiring(&["a", "a", "a"]), true);
    check(&offering(&["a"]), requiring(&["a", "b"]), false);
    check(&offering(&["A"]), requiring(&["a"]), false);
    check(&offering(&["a"]), vec![(column.column(), Value::Null)], false);
    check(&offering(&["a"]), vec![(column.column(), text("a"))], false);
}

#[test]
fn the_first_text_of_a_list_comes_before_a_bound_or_not() {
    let column = exec_core::required_capabilities;
    let begins = column.begins_below(" ");
    for (list, expected) in [
        (&[] as &[&str], false),
        (&["\u{1}limit:a", "gpu"], true),
        (&["\u{1f}"], true),
        (&[""], true),
        (&[" "], false),
        (&["gpu", "\u{1}limit:a"], false),
        (&["\u{e4}"], false),
    ] {
        let list = list.iter().map(|text| (*text).to_owned()).collect();
        check(&begins, vec![(column.column(), Value::TextList(list))], expected);
    }
    check(&begins, vec![(column.column(), Value::Null)], false);
}

#[test]
fn empty_is_what_nothing_covers() {
    let column = exec_core::required_capabilities;
    let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    for stored in [
        Value::TextList(list(&[])),
        Value::TextList(list(&[""])),
        Value::TextList(list(&["a", "b"])),
        Value::Null,
        text(""),
    ] {
        let expected = matches!(&stored, Value::TextList(words) if words.is_empty());
        check(&column.is_empty(), vec![(column.column(), stored.clone())], expected);
        check(&column.covered_by(Vec::new()), vec![(column.column(), stored)], expected);
    }
}

#[test]
fn after_reads_its_columns_as_one_tuple_and_is_exclusive() {
    let (partition, id) = (exec_core::partition_key, exec_core::execution_id);
    let after = Predicate::After(vec![partition.with(3), id.with(Uuid::from_u128(5))]);
    let at = |p: i64, n: u128| {
        vec![(partition.column(), Value::Int(p)), (id.column(), Value::Uuid(Uuid::from_u128(n)))]
    };
    for (p, n, expected) in
        [(2, 9, false), (3, 4, false), (3, 5, false), (3, 6, true), (4, 0, true)]
    {
        check(&after, at(p, n), expected);
    }
    // The first column decides before a NULL in a later one is met.
    let null = |p: i64| vec![(partition.column(), Value::Int(p)), (id.column(), Value::Null)];
    check(&after, null(4), true);
    check(&after, null(3), false);
    check(&Predicate::After(vec![]), at(3, 5), false);
}

#[test]
fn texts_and_uuids_are_ordered_by_their_bytes() {
    let lane = exec_core::lane_id;
    for (stored, than, expected) in [
        ("b", "a", true),
        ("a", "B", true),
        ("é", "z", true),
        ("a", "aa", false),
        ("10", "9", false),
    ] {
        check(&lane.above(than.to_owned()), vec![(lane.column(), text(stored))], expected);
    }
}

#[test]
fn a_path_reads_text_behind_keys() {
    let document = json!({
        "text": "t", "number": 3, "flag": true, "null": null, "deep": { "er": "d" }, "list": ["l"],
    });
    let row = row(vec![(exec_core::raw_fields.column(), Value::Json(document))]);
    let read = |keys: &[&'static str]| exec_core::raw_fields.text_at(keys).read(&row);
    assert_eq!(read(&["text"]), text("t"));
    assert_eq!(read(&["number"]), text("3"));
    assert_eq!(read(&["flag"]), text("true"));
    assert_eq!(read(&["null"]), Value::Null);
    assert_eq!(read(&["absent"]), Value::Null);
    assert_eq!(read(&["deep", "er"]), text("d"));
    assert_eq!(read(&["deep"]), text(r#"{"er":"d"}"#));
    assert_eq!(read(&["text", "er"]), Value::Null);
    assert_eq!(exec_core::lane_id.of("core").ty(), ColumnType::Text);
    assert_eq!(exec_core::raw_fields.text_of("core", &["a"]).ty(), ColumnType::Text);
    assert_eq!(exec_core::raw_fields.text_of("core", &[]).ty(), ColumnType::Json);
}

#[test]
fn expressions() {
    let core = row(vec![(exec_core::created_at_ms.column(), Value::Int(40))]);
    let mut held = Held::default();
    held.hold("core", &core);
    held.picked = 3;
    let created = || exec_core::created_at_ms.of("core");
    assert_eq!(Expr::int(2).plus(created()).evaluate(&held), Value::Int(42));
    assert_eq!(
        Expr::int(2).plus(exec_core::deadline_at_ms.of("core")).evaluate(&held),
        Value::Null
    );
    assert_eq!(exec_core::created_at_ms.of("other").evaluate(&held), Value::Null);
    assert_eq!(Expr::int(i64::MAX).plus(Expr::int(1)).evaluate(&held), Value::Int(i64::MAX));
    assert_eq!(Expr::int(i64::MIN).plus(Expr::int(-1)).evaluate(&held), Value::Int(i64::MIN));
    assert_eq!(Expr::PickedCount.evaluate(&held), Value::Int(3));
    let each = Expr::each(ColumnType::BigInt, vec![Value::Int(7), Value::Int(8)]);
    assert_eq!(each.evaluate(&held), Value::Int(7));
    held.item = 1;
    assert_eq!(each.evaluate(&held), Value::Int(8));
    assert_eq!(Expr::int(5).evaluate(&held), Value::Int(5), "one value is every row's");
}

#[test]
fn assignments() {
    let after = |assign: &Assign, now: &Value| assign.apply(now, &Held::default());
    let (_, set) = exec_core::deadline_at_ms.set(Some(5));
    assert_eq!(after(&set, &Value::Int(1)), Value::Int(5));
    let (_, clear) = exec_core::deadline_at_ms.clear();
    assert_eq!(after(&clear, &Value::Int(1)), Value::Null);
    let (_, keep) = exec_core::started_at_ms.keep_or(Some(5));
    assert_eq!(after(&keep, &Value::Int(1)), Value::Int(1));
    assert_eq!(after(&keep, &Value::Null), Value::Int(5));
    let (_, grow) = exec_core::version.grow(2);
    assert_eq!(after(&grow, &Value::Int(1)), Value::Int(3));
    assert_eq!(after(&grow, &Value::Int(i64::MAX)), Value::Int(i64::MAX));
    assert_eq!(after(&grow, &Value::Null), Value::Null);
}

#[test]
fn merges() {
    let merged = |assign: (ColumnRef, Assign), now: serde_json::Value| {
        let Value::Json(after) = assign.1.apply(&Value::Json(now), &Held::default()) else {
            panic!("a document stays one")
        };
        after
    };
    let raw = exec_core::raw_fields;
    let top = || raw.merge(json!({ "a": 1, "b": { "new": 1 } }));
    assert_eq!(
        merged(top(), json!({ "b": { "old": 1 }, "c": 3 })),
        json!({ "a": 1, "b": { "new": 1 }, "c": 3 })
    );
    assert_eq!(merged(top(), json!([1])), json!({ "a": 1, "b": { "new": 1 } }));
    assert_eq!(merged(raw.merge(json!({ "a": null })), json!({ "a": 1 })), json!({ "a": null }));
    let under = || raw.merge_under("tags", json!({ "a": "x" }));
    assert_eq!(
        merged(under(), json!({ "tags": { "a": "w", "b": "y" }, "c": 3 })),
        json!({ "tags": { "a": "x", "b": "y" }, "c": 3 })
    );
    assert_eq!(merged(under(), json!({})), json!({ "tags": { "a": "x" } }));
    assert_eq!(merged(under(), json!({ "tags": 3 })), json!({ "tags": { "a": "x" } }));
    assert_eq!(merged(under(), json!({ "tags": null })), json!({ "tags": { "a": "x" } }));
    let from_null = under().1.apply(&Value::Null, &Held::default());
    assert_eq!(from_null, Value::Json(json!({ "tags": { "a": "x" } })));
}

#[test]
fn a_uuid_in_a_text_column_is_hyphenated() {
    let id = Value::Uuid(Uuid::from_u128(0xAB));
    let hyphenated = text("00000000-0000-0000-0000-0000000000ab");
    assert_eq!(id.clone().stored_as(ColumnType::Text), hyphenated);
    assert_eq!(id.clone().stored_as(ColumnType::Uuid), id);
    assert_eq!(Value::Int(5).stored_as(ColumnType::Text), Value::Int(5));
}

#[test]
fn the_larger_of_two_is_the_first_where_one_is_null() {
    for (one, other, expected) in [
        (Some(1), Some(2), Value::Int(2)),
        (Some(2), Some(1), Value::Int(2)),
        (Some(1), None, Value::Int(1)),
        (None, Some(1), Value::Null),
        (None::<i64>, None::<i64>, Value::Null),
    ] {
        let larger = one.into_expr().or_later(other.into_expr());
        assert_eq!(larger.evaluate(&Held::default()), expected, "{larger}");
    }
}
