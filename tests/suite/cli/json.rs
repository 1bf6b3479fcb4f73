//! The answers of `--json`, member by member, against the document that lists them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};

use super::{ONE, Place, TWO};

/// The members by command, as the document lists them, and those that need not be there.
pub(super) fn documented() -> BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)> {
    let text = include_str!("../../../docs/json.md");
    let mut sections = BTreeMap::new();
    for section in text.split("\n## ").skip(1) {
        let (heading, body) = section.split_once('\n').unwrap();
        let mut members = (BTreeSet::new(), BTreeSet::new());
        for item in body.split("\n- ").skip(1) {
            let into = if item.contains("perhaps") { &mut members.1 } else { &mut members.0 };
            // Within parentheses stand words that members may have as values.
            let outside =
                item.split('(').map(|part| part.split_once(')').map_or(part, |(_, rest)| rest));
            for part in item.split('(').next().into_iter().chain(outside.skip(1)) {
                let names = part.split('`').skip(1).step_by(2);
                let is_member = |name: &&str| !name.starts_with('-') && !name.contains(' ');
                into.extend(names.filter(is_member).map(str::to_owned));
            }
        }
        for command in heading.split('`').skip(1).step_by(2) {
            sections.insert(command.to_owned(), members.clone());
        }
    }
    sections
}

/// The paths of the members of an answer. What stands below a star or an end is data.
fn paths(value: &Json, path: &str, known: &BTreeSet<String>, found: &mut BTreeSet<String>) {
    let join =
        |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    if known.contains(path) {
        found.insert(path.to_owned());
        return;
    }
    match value {
        Json::Object(members) => {
            let any = join("*");
            let is_data =
                known.iter().any(|known| known == &any || known.starts_with(&format!("{any}.")));
            for (name, value) in members {
                paths(value, &if is_data { any.clone() } else { join(name) }, known, found);
            }
        }
        Json::Array(items) => {
            items.iter().for_each(|item| paths(item, &format!("{path}[]"), known, found));
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {
            found.insert(path.to_owned());
        }
    }
}

/// Whether the answer has nothing where the member would be: no list, no object, no item.
fn is_absent(value: &Json, path: &str) -> bool {
    let mut values = vec![value.clone()];
    for step in path.replace("[]", ".[]").trim_start_matches('.').split('.') {
        values = match step {
            "[]" => values.iter().filter_map(Json::as_array).flatten().cloned().collect(),
            "*" => values
                .iter()
                .filter_map(Json::as_object)
                .flat_map(|o| o.values().cloned())
                .collect(),
            name => {
                let inside = values.iter().filter(|value| value.is_object());
                inside.map(|value| value[name].clone()).collect()
            }
        };
        if values.is_empty() {
            return true;
        }
    }
    false
}

pub(super) fn assert_documented(command: &str, answers: &[Json]) {
    let (always, perhaps) = documented().remove(command).unwrap_or_else(|| panic!("{command}"));
    let known: BTreeSet<String> = always.union(&perhaps).cloned().collect();
    let mut found = BTreeSet::new();
    for answer in answers {
        paths(answer, "", &known, &mut found);
    }
    // An object that is null has no members to look for.
    let parents: BTreeSet<&str> = known
        .iter()
        .flat_map(|path| path.match_indices('.').filter_map(|(at, _)| path.get(..at)))
        .collect();
    let unknown: Vec<_> = found
        .iter()
        .filter(|path| !known.contains(*path) && !parents.contains(path.as_str()))
        .collect();
    assert!(
        unknown.is_empty(),
        "{command} has members that docs/json.md does not list: {unknown:?}"
    );
    let missing: Vec<_> = always
        .iter()
        .filter(|path| !found.contains(*path))
        .filter(|path| !answers.iter().all(|answer| is_absent(answer, path)))
        .collect();
    assert!(missing.is_empty(), "{command} lacks members that docs/json.md lists: {missing:?}");
    for answer in answers {
        super::schema::assert_valid(command, answer);
        assert_times(command, answer);
    }
}

/// No member is a time without its unit.
fn assert_times(command: &str, value: &Json) {
    match value {
        Json::Object(members) => {
            for (name, value) in members {
                let is_time = name.ends_with("_at") || name == "at" || name == "time";
                assert!(!is_time, "{command}: {name} has no unit");
                if name != "plans" {
                    assert_times(command, value);
                }
            }
        }
        Json::Array(items) => items.iter().for_each(|item| assert_times(command, item)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

fn lines(text: &str) -> Vec<Json> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_member_is_documented() {
    let place = Place::new();
    let check = |command: &str, arguments: &[&str]| {
        let answer = place.json(arguments);
        assert_documented(command, std::slice::from_ref(&answer));
        answer
    };
    check("migrate", &["migrate"]);
    let tags = json!({ "a.b": "c" });
    let line =
        |id: &str| json!({ "kind": "echo", "payload": "x", "id": id, "tags": tags }).to_string();
    place.write("in.jsonl", &[&line(ONE), &line(TWO)]);
    let submitted = check("submit", &["submit", "--ids", "in.jsonl"]);
    assert_eq!(submitted["execution_ids"].as_array().unwrap().len(), 2);
    check("ls", &["ls"]);
    check("priority", &["priority", ONE, "3"]);
    check("cancel", &["cancel", ONE]);
    check("replay", &["replay", ONE]);
    check("steps", &["steps", ONE]);
    check("keys seed", &["keys", "seed", "k1"]);
    check("keys rotate", &["keys", "rotate", "k2", "--grace", "1h"]);
    check("bulk --dry-run", &["bulk", "priority", "5", "--all", "--dry-run"]);
    check("bulk", &["bulk", "priority", "5", "--all", "--yes"]);
    // A replay queues behind what has waited longer; this one is to be claimed next.
    place.out(&["priority", ONE, "9"]);
    check("scan --until-idle", &["scan", "--until-idle"]);
    check("reconcile", &["reconcile"]);
    check("sql", &["sql", "claim"]);

    let (engine, handle) = super::tail::claimed(&place).await;
    super::tail::summarise(&engine, &handle).await;
    let tailed = lines(&place.out(&["--json", "tail", ONE, "--no-follow", "--summary"]));
    let (frames, summaries): (Vec<_>, Vec<_>) =
        tailed.into_iter().partition(|line| line.get("fields").is_some());
    assert_documented("tail", &frames);
    assert_documented("tail --summary", &summaries);
    check("show", &["show", ONE]);
    super::suspension::suspend_held(&engine, &handle, &["review"]).await;
    check("waitpoints", &["waitpoints"]);
    check("waitpoints --token", &["waitpoints", ONE, "--token"]);
    check("approve", &["approve", ONE]);
    check("work", &["work", "--until-empty", "--", "cat"]);
    check("show", &["show", ONE]);

    let node = |name: &str, after: &[&str]| json!({ "name": name, "kind": "k", "payload": "", "after": after });
    let flow = json!({ "kind": "f", "nodes": [node("a", &[]), node("b", &["a"])] });
    place.write("flow.json", &[&flow.to_string()]);
    let submitted = check("flow submit", &["flow", "submit", "flow.json"]);
    let flow = submitted["flow_id"].as_str().unwrap();
    check("flow ls", &["flow", "ls"]);
    check("flow show", &["flow", "show", flow]);
    check("flow cancel", &["flow", "cancel", flow]);
    check("flow show", &["flow", "show", flow]);
    let cancelled = check("ls", &["ls", "--state", "cancelled"]);
    check("show", &["show", cancelled["executions"][0]["execution_id"].as_str().unwrap()]);
    assert_documented("events", &lines(&place.out(&["--json", "events"])));

    check("archive", &["archive", "a.jsonl"]);
    check("subscribers", &["subscribers"]);
    check("import", &["import", "a.jsonl"]);
    check("subscribers drop", &["subscribers", "drop", "a"]);
    check("fork", &["fork", ONE]);
}
