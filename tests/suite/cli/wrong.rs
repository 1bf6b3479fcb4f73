//! Wrong values and unknown names: each command says what is wrong with which of them, and changes
//! nothing.

use super::{ONE, Place};

const NONE: &str = "99999999-9999-4999-8999-999999999999";

/// The rows of every table that a person may change, as lists show them.
fn everything(place: &Place) -> Vec<String> {
    let lists: [&[&str]; 6] = [
        &["ls"],
        &["lanes", "ls"],
        &["limits", "ls"],
        &["schedule", "ls", "--all-namespaces"],
        &["budget", "ls"],
        &["events"],
    ];
    lists.map(|list| place.out(&[&["--json"], list].concat())).into()
}

/// Every option that takes a number, a span or a time: the value is named, not an option that the
/// user never wrote.
#[test]
fn a_value_with_a_minus_is_refused_as_a_value() {
    let place = Place::with_two();
    for arguments in [
        &["ls", "--limit", "-1"][..],
        &["ls", "--older-than", "-5s"],
        &["flow", "ls", "--limit", "-1"],
        &["tail", ONE, "--attempt", "-1"],
        &["lanes", "pause", "default", "--until", "-1h"],
        &["budget", "create", "--every", "-1d"],
        &["budget", "create", "--hard", "-1"],
        &["quota", "create", "--rate", "-1"],
        &["limits", "set", "a", "--running", "-1"],
        &["limits", "set", "a", "--rate", "-1/1m"],
        &["fairness", "set", "default", "a", "-1"],
        &["schedule", "preview", "--cron", "@daily", "--count", "-1"],
        &["schedule", "add", "n", "--cron", "@daily", "--kind", "k", "--jitter", "-1s"],
        &["trim", "--older-than", "-1d", "--yes"],
        &["trim", "--keep", "-1", "--yes"],
        &["resume", ONE, "--delay", "-1s"],
        &["keys", "rotate", "k", "--grace", "-1h"],
        &["work", "--lease-ttl-ms", "-1", "--", "true"],
        &["bench", "--seconds", "-1"],
        &["--connections", "-1", "ls"],
        &["--busy-timeout-ms", "-1", "ls"],
    ] {
        let refused = place.ff(arguments);
        assert_eq!(refused.code, 2, "{arguments:?}: {refused:?}");
        assert!(refused.err.starts_with("error: invalid value '-"), "{arguments:?}: {refused:?}");
    }

    // An option in the place of a value is no value, either.
    let refused = place.ff(&["ls", "--limit", "--json"]);
    assert!(refused.err.contains("invalid value '--json' for '--limit <N>'"), "{refused:?}");
    assert_eq!(place.json(&["ls"])["executions"].as_array().unwrap().len(), 2);
}

#[test]
fn an_unknown_name_is_said_with_what_lists_the_known_ones() {
    let place = Place::with_two();
    place.out(&["budget", "create", "--hard", "cost=9"]);
    let before = everything(&place);
    let budget = format!("there is no budget {NONE}\nhelp: ff budget ls lists budgets");
    let quota = format!("there is no quota policy {NONE}");
    let schedule = "there is no schedule none in namespace default\nhelp: ff schedule ls ";

    for (arguments, sentence) in [
        (&["budget", "show", NONE][..], &*budget),
        (&["budget", "report", NONE, "cost=1"], &budget),
        (&["budget", "reset", NONE], &budget),
        (&["budget", "release", NONE, ONE], &budget),
        (&["quota", "show", NONE], &quota),
        (&["quota", "check", NONE, ONE], &quota),
        (&["quota", "release", NONE, ONE], &quota),
        (&["schedule", "show", "none"], schedule),
        (&["schedule", "pause", "none"], schedule),
        (&["schedule", "resume", "none"], schedule),
        (&["schedule", "rm", "none", "--yes"], schedule),
        (&["schedule", "backfill", "none", "--from", "2h"], schedule),
        (&["tail", ONE, "--attempt", "7", "--no-follow"], "has no attempt 7; its last one is 0"),
    ] {
        let refused = place.ff(arguments);
        refused.assert_failed(1);
        assert!(refused.err.contains(sentence), "{arguments:?}: {refused:?}");
    }
    assert_eq!(everything(&place), before);
}

/// A value that the engine would refuse later, or take for something else.
#[test]
fn a_value_without_a_meaning_is_wrong_usage() {
    let place = Place::with_two();
    let before = everything(&place);
    for (arguments, sentence) in [
        (&["ls", "--limit", "0"][..], "0 is not in 1.."),
        (&["dlq", "ls", "--limit", "0"], "0 is not in 1.."),
        (&["flow", "ls", "--limit", "0"], "0 is not in 1.."),
        (&["budget", "ls", "--limit", "0"], "0 is not in 1.."),
        (&["waitpoints", "--limit", "0"], "0 is not in 1.."),
        (&["budget", "create", "--every", "0s"], "a budget cannot be reset all the time"),
        (&["work", "--capability", "", "--", "true"], "a capability is empty"),
        (&["work", "--capability", "a,b", "--", "true"], "a capability holds no comma"),
        (&["explain", ONE, "--capability", ""], "a capability is empty"),
        (&["work", "--name", "", "--", "true"], "a value is required for '--name <NAME>'"),
        (&["revoke", "--yes"], "which leases? name an execution, or say --worker"),
        (&["schedule", "preview"], "which ticks? name a schedule, or say --cron"),
    ] {
        let refused = place.ff(arguments);
        assert_eq!(refused.code, 2, "{arguments:?}: {refused:?}");
        assert!(refused.err.contains(sentence), "{arguments:?}: {refused:?}");
    }
    assert_eq!(everything(&place), before);
}

/// The words of the engine, without those of the backends for each other.
#[test]
fn a_database_that_cannot_be_reached_is_said_in_plain_words() {
    let place = Place::new();
    let refused = place.ff(&["--db", "postgres://127.0.0.1:1/none", "ls"]);
    refused.assert_failed(1);
    assert!(refused.err.contains("opening the database: the database failed: "), "{refused:?}");
    assert!(!refused.err.contains("transport"), "{refused:?}");
}

/// The file is checked by the rules of the engine before its first row exists. A node that is
/// refused later would leave the others for ever, without a way to go on.
#[test]
fn a_flow_that_the_engine_would_refuse_leaves_nothing() {
    let place = Place::new();
    place.out(&["migrate"]);
    let node = |more: &str| format!(r#"{{"name":"b","payload":"",{more}}}"#);
    for (flow, more, code, sentence) in [
        ("f\\u0000", r#""kind":"k""#, 2, "flow.json: flow_kind: must not contain NUL"),
        ("f", r#""kind":"k\u0000""#, 2, "flow.json: node b: execution_kind: must not contain NUL"),
        ("f", r#""kind":"k","tags":{"t":"\u0000"}"#, 2, "flow.json: node b: tags: "),
        ("f", r#""kind":"k","delay_until":"+106751991167d""#, 1, "is too far away"),
    ] {
        let first = r#"{"name":"a","kind":"k","payload":""}"#;
        let nodes = format!("[{first},{}]", node(more));
        place.write("flow.json", &[&format!(r#"{{"kind":"{flow}","nodes":{nodes}}}"#)]);
        let refused = place.ff(&["flow", "submit", "flow.json"]);
        refused.assert_failed(code);
        assert!(refused.err.contains(sentence), "{refused:?}");
        assert_eq!(place.out(&["flow", "ls"]), "no flows\n", "{more}");
        assert_eq!(place.out(&["ls"]), "no executions\n", "{more}");
    }
}

#[test]
fn what_has_ended_cannot_be_cancelled_and_the_message_says_so() {
    let place = Place::with_two();
    place.out(&["work", "--until-empty", "--", "cat"]);
    let refused = place.ff(&["cancel", ONE]);
    refused.assert_failed(1);
    assert!(
        refused.err.contains(": it has ended; it is completed\nhelp: ff replay"),
        "{refused:?}"
    );
}
