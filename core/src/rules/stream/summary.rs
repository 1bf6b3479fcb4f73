//! Summaries: documents that the frames of an attempt patch.
//!
//! A patch is merged as RFC 7396 says, with one addition: the string [`SUMMARY_NULL_SENTINEL`]
//! stores a null, which in a merge patch would otherwise remove the member.

use serde_json::{Map, Number, Value as Json};

use crate::contracts::{PatchKind, SUMMARY_NULL_SENTINEL};
use crate::model::error::EngineError;
use crate::plan::facts::Row;
use crate::plan::{Assign, Expr, Guard, Mutation, OnConflict};
use crate::rules::input;
use crate::rules::stream::key::{SUMMARY, summary_of_attempt};
use crate::schema::suspension::stream_summary;

/// Reads a patch.
///
/// # Errors
/// `Validation(InvalidInput)` for what is no JSON, and for texts with NUL, which not every database
/// can store.
pub fn patch_of(bytes: &[u8]) -> Result<Json, EngineError> {
    let mut patch = serde_json::from_slice(bytes)
        .map_err(|error| input::invalid(format!("summary patch not valid JSON: {error}")))?;

    input::json("frame.bytes", &patch)?;
    settle_numbers(&mut patch);
    Ok(patch)
}

/// Rewrites numbers as every database gives them back: databases differ in whether they keep the
/// sign of a zero, and whether large whole floats come back as integers.
fn settle_numbers(document: &mut Json) {
    match document {
        Json::Number(number) => {
            if let Some(float) = number.as_f64().filter(|_| number.is_f64()) {
                *number = settled(float).unwrap_or_else(|| number.clone());
            }
        }
        Json::Array(items) => items.iter_mut().for_each(settle_numbers),
        Json::Object(members) => members.values_mut().for_each(settle_numbers),
        Json::Null | Json::Bool(_) | Json::String(_) => {}
    }
}

fn settled(float: f64) -> Option<Number> {
    /// From here on the shortest text of a whole float is without decimal point.
    const BARE: f64 = 1e16;
    if float == 0.0 {
        return Number::from_f64(0.0);
    }

    // Above the bound every float is whole; the casts are exact within the integers' ranges.
    if BARE <= float && float < u64::MAX as f64 {
        return Some((float as u64).into());
    }
    (float <= -BARE && i64::MIN as f64 <= float).then(|| (float as i64).into())
}

/// Merges a patch into a document.
pub fn merge(document: &mut Json, patch: Json) {
    let Json::Object(patch) = patch else {
        *document = patch;
        return;
    };

    let mut members = match std::mem::take(document) {
        Json::Object(members) => members,
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) => {
            Map::new()
        }
    };

    for (name, member) in patch {
        match member {
            Json::Null => {
                members.remove(&name);
            }
            Json::String(text) if text == SUMMARY_NULL_SENTINEL => {
                members.insert(name, Json::Null);
            }
            Json::Object(_) => merge(members.entry(name).or_insert(Json::Null), member),
            Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) => {
                members.insert(name, member);
            }
        }
    }

    *document = Json::Object(members);
}

/// The change of a summary.
pub struct SummaryChange {
    /// The version that the summary gets.
    pub version: i32,
    /// The condition that it is unchanged since it was read; none where there was none, which the
    /// insert checks.
    pub guard: Option<Guard>,
    /// The change.
    pub mutation: Mutation,
}

/// Patches the held attempt's summary, as it was read, at `ts_ms`.
///
/// # Errors
/// `Validation(Corruption)` naming the column that holds what it must not;
/// `Validation(InvalidInput)` when all versions were given out.
pub fn patch_summary(
    summary: Option<&Row>,
    patch: Json,
    ts_ms: Expr,
) -> Result<SummaryChange, EngineError> {
    let stored = summary.map(|row| row.read(stream_summary::version)).transpose()?;
    let version = stored.unwrap_or(0).checked_add(1).ok_or_else(|| {
        input::invalid(format!("frame: the summary has had {} patches", i32::MAX))
    })?;

    let read = summary.map(|row| row.read(stream_summary::document_json)).transpose()?;
    let mut document = read.unwrap_or_else(|| Json::Object(Map::new()));
    merge(&mut document, patch);

    let columns = vec![
        stream_summary::document_json.with(document),
        stream_summary::version.with(version),
        stream_summary::patch_kind.with(Some(PatchKind::JsonMergePatch.wire_str().into())),
        stream_summary::last_updated_ms.with_expr(ts_ms.clone()),
    ];
    let key = summary_of_attempt();

    let (guard, mutation) = match stored {
        Some(stored) => {
            let same = stream_summary::version.equals(stored);
            let unchanged = Guard::new(SUMMARY, stream_summary::REF, key.clone(), same);
            let set = columns.into_iter().map(|(column, expr)| (column, Assign::Set(expr)));
            (Some(unchanged), Mutation::update(stream_summary::REF, key, set.collect()))
        }
        None => {
            let first = stream_summary::first_applied_ms.with_expr(ts_ms);
            let row = key.into_iter().chain(columns).chain([first]).collect();
            (None, Mutation::insert(stream_summary::REF, row, OnConflict::Refuse))
        }
    };
    Ok(SummaryChange { version, guard, mutation })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(document: Json, patch: Json, expected: Json) {
        let mut merged = document;
        merge(&mut merged, patch);
        assert_eq!(merged, expected);
    }

    #[test]
    fn the_examples_of_rfc_7396() {
        for (document, patch, expected) in [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a":"b"}), json!(["c"]), json!(["c"])),
            (json!({"a":"foo"}), json!(null), json!(null)),
            (json!({"a":"foo"}), json!("bar"), json!("bar")),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (json!([1, 2]), json!({"a":"b","c":null}), json!({"a":"b"})),
            (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
        ] {
            check(document, patch, expected);
        }
    }

    #[test]
    fn the_sentinel_stores_a_null_as_a_member_and_stands_for_itself_elsewhere() {
        let sentinel = SUMMARY_NULL_SENTINEL;
        for (document, patch, expected) in [
            (json!({"a":1}), json!({"a":sentinel}), json!({"a":null})),
            (json!({"a":null}), json!({"a":null}), json!({})),
            (json!({"a":null}), json!({"a":{"b":1}}), json!({"a":{"b":1}})),
            (json!({}), json!({"c":{"x":sentinel}}), json!({"c":{"x":null}})),
            (json!({}), json!({"c":[sentinel]}), json!({"c":[sentinel]})),
            (json!({}), json!({"c":[{"x":sentinel}]}), json!({"c":[{"x":sentinel}]})),
            (json!({}), json!(sentinel), json!(sentinel)),
        ] {
            check(document, patch, expected);
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        let refused = patch_of(b"{\"a\":").unwrap_err().to_string();
        assert_eq!(
            refused,
            "validation: InvalidInput: summary patch not valid JSON: EOF while parsing a value at \
             line 1 column 5"
        );
        assert!(patch_of(b"\xff").is_err() && patch_of(b"").is_err() && patch_of(b"1 2").is_err());
        let deep = "[".repeat(200) + &"]".repeat(200);
        assert!(patch_of(deep.as_bytes()).is_err());
        for text in [r#"{"a":"\u0000"}"#, r#"{"\u0000":1}"#, r#"["\u0000"]"#] {
            let refused = patch_of(text.as_bytes()).unwrap_err().to_string();
            assert!(refused.contains("frame.bytes: must not contain NUL"), "{refused}");
        }
    }

    #[test]
    fn numbers_are_what_every_database_gives_back() {
        for (given, settled) in [
            ("-0.0", "0.0"),
            ("1.0", "1.0"),
            ("1e15", "1000000000000000.0"),
            ("1e16", "10000000000000000"),
            ("-1e16", "-10000000000000000"),
            ("18446744073709549568.0", "18446744073709549568"),
            ("1e300", "1e300"),
            ("-1e19", "-1e19"),
            ("0.1", "0.1"),
            ("-7", "-7"),
        ] {
            let patch = patch_of(format!(r#"[{{"n":{given}}}]"#).as_bytes()).unwrap();
            let expected: Json = serde_json::from_str(settled).unwrap();
            assert_eq!(patch[0]["n"], expected, "{given}");
        }
    }

    fn document() -> impl Strategy<Value = Json> {
        let name = || prop::sample::select(vec!["a", "b", "c"]);
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            name().prop_map(Json::from),
            Just(Json::from(SUMMARY_NULL_SENTINEL)),
        ];
        leaf.prop_recursive(4, 32, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
                prop::collection::btree_map(name().prop_map(String::from), inner, 0..4)
                    .prop_map(|members| Json::Object(members.into_iter().collect())),
            ]
        })
    }

    /// The pseudocode of RFC 7396, word by word, with the sentinel.
    fn naive(target: &Json, patch: &Json) -> Json {
        let Some(patch) = patch.as_object() else { return patch.clone() };
        let mut result = target.as_object().cloned().unwrap_or_default();
        for (name, value) in patch {
            if value.is_null() {
                result.remove(name);
            } else if value == SUMMARY_NULL_SENTINEL {
                result.insert(name.clone(), Json::Null);
            } else {
                let inner = result.get(name).cloned().unwrap_or(Json::Null);
                result.insert(name.clone(), naive(&inner, value));
            }
        }
        Json::Object(result)
    }

    proptest! {
        #[test]
        fn merging_follows_the_rfc(target in document(), patch in document()) {
            let mut merged = target.clone();
            merge(&mut merged, patch.clone());
            prop_assert_eq!(&merged, &naive(&target, &patch));
            let once = merged.clone();
            merge(&mut merged, patch);
            prop_assert_eq!(merged, once, "a repeated patch changes nothing");
        }
    }
}
