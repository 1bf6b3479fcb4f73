//! `docs/json.schema.json`, the schema of all answers: it fits what the commands print, and lists
//! the members that `docs/json.md` explains.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json};

/// The page explains the members of `sql` in prose.
const IN_PROSE: &str = "sql";

fn schema() -> Json {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/json.schema.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The definition of a command's answer.
fn definition<'a>(schema: &'a Json, command: &str) -> &'a Json {
    let found = schema["$defs"].get(command);
    resolved(schema, found.unwrap_or_else(|| panic!("docs/json.schema.json lacks {command}")))
}

fn resolved<'a>(schema: &'a Json, node: &'a Json) -> &'a Json {
    match node.get("$ref") {
        Some(reference) => {
            let name = reference.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
            resolved(schema, &schema["$defs"][name.replace("%20", " ")])
        }
        None => node,
    }
}

/// With `FF_ANSWERS=DIRECTORY` the answers are kept there, to write the schema of a new command.
fn keep(command: &str, answer: &Json) {
    let Some(directory) = std::env::var_os("FF_ANSWERS") else { return };
    let name = format!("{command} {}.json", uuid::Uuid::new_v4().simple());
    std::fs::write(std::path::Path::new(&directory).join(name), answer.to_string()).unwrap();
}

/// The answer is as the schema says.
pub(super) fn assert_valid(command: &str, answer: &Json) {
    keep(command, answer);
    let (schema, mut faults) = (schema(), Vec::new());
    check(&schema, definition(&schema, command), answer, command, &mut faults);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn check(schema: &Json, node: &Json, value: &Json, path: &str, faults: &mut Vec<String>) {
    let node = resolved(schema, node);
    if let Some(types) = node.get("type") {
        let types = types.as_array().cloned().unwrap_or_else(|| vec![types.clone()]);
        if !types.iter().any(|word| is_of(value, word.as_str().unwrap())) {
            faults.push(format!("{path}: {value} is not of {types:?}"));
            return;
        }
    }
    if let Some(words) = node.get("enum").and_then(Json::as_array)
        && !words.contains(value)
    {
        faults.push(format!("{path}: {value} is none of {words:?}"));
    }

    match value {
        Json::Object(members) => check_members(schema, node, members, path, faults),
        Json::Array(items) => {
            let of_items = node.get("items").unwrap_or(&Json::Bool(true));
            items.iter().for_each(|item| {
                check(schema, of_items, item, &format!("{path}[]"), faults);
            });
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

fn check_members(
    schema: &Json,
    node: &Json,
    members: &Map<String, Json>,
    path: &str,
    faults: &mut Vec<String>,
) {
    let required = node.get("required").and_then(Json::as_array).into_iter().flatten();
    for name in required.filter(|name| !members.contains_key(name.as_str().unwrap())) {
        faults.push(format!("{path} lacks {name}"));
    }
    for (name, value) in members {
        let path = format!("{path}.{name}");
        // Readers are to ignore members that they do not know; here they are to be listed.
        let unlisted = Json::Bool(node.get("properties").is_none());
        let of_others = node.get("additionalProperties").unwrap_or(&unlisted);
        match node.get("properties").and_then(|known| known.get(name)).unwrap_or(of_others) {
            Json::Bool(false) => faults.push(format!("{path} is not known")),
            node => check(schema, node, value, &path, faults),
        }
    }
}

fn is_of(value: &Json, word: &str) -> bool {
    match word {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("the validator does not know the type {other}"),
    }
}

/// The paths of the ends of a definition; what is below a member of any type is data.
fn paths(schema: &Json, node: &Json, path: &str, found: &mut BTreeSet<String>) {
    let node = resolved(schema, node);
    let join =
        |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    let others = node.get("additionalProperties").filter(|others| others.is_object());
    let members = node.get("properties").and_then(Json::as_object);
    if let Some(items) = node.get("items") {
        return paths(schema, items, &format!("{path}[]"), found);
    }
    if members.is_none() && others.is_none() {
        found.insert(path.to_owned());
    }
    for (name, node) in members.into_iter().flatten() {
        paths(schema, node, &join(name), found);
    }
    if let Some(others) = others {
        paths(schema, others, &join("*"), found);
    }
}

#[test]
fn the_schema_and_the_page_list_the_same_members() {
    let schema = schema();
    let page = super::json::documented();
    let commands: BTreeSet<&str> = page.keys().map(String::as_str).collect();
    let defined = schema["$defs"].as_object().unwrap();
    let defined: BTreeSet<&str> = defined.keys().map(String::as_str).collect();
    let defined: BTreeSet<&str> = defined.into_iter().filter(|name| *name != "error").collect();
    assert_eq!(commands, defined);

    for (command, (always, perhaps)) in page.iter().filter(|(command, _)| *command != IN_PROSE) {
        let mut found = BTreeSet::new();
        paths(&schema, definition(&schema, command), "", &mut found);
        // What is listed without its members may have some.
        let listed: BTreeSet<String> = always.union(perhaps).cloned().collect();
        let listed_above = |path: &String| {
            let is_above = |known: &&String| {
                let rest = path.strip_prefix(known.as_str());
                rest.is_some_and(|rest| rest.starts_with('.') || rest.starts_with("[]"))
            };
            listed.iter().find(is_above).unwrap_or(path).clone()
        };
        let found: BTreeSet<String> = found.iter().map(listed_above).collect();
        let differing: Vec<_> = found.symmetric_difference(&listed).collect();
        assert!(differing.is_empty(), "{command}: {differing:?}");
    }
}

#[test]
fn errors_are_as_the_schema_says() {
    let place = super::Place::new();
    let printed: Json = serde_json::from_str(&place.out(&["schema"])).unwrap();
    assert_eq!(printed, schema());
    for arguments in [&["--json", "show", "nonsense"][..], &["--json", "ls"], &["--json", "x"]] {
        let error = place.ff(arguments).err;
        assert_valid("error", &serde_json::from_str(&error).unwrap());
    }
}
