//! `ff doctor`: its findings, their severities and the exit code.

use serde_json::{Value as Json, json};

use super::work::plainly;
use super::{ONE, Place};

/// The findings, but for the disk of this machine. The exit code is 1 if there is an error.
fn findings(place: &Place) -> Vec<Json> {
    let finished = place.ff(&["--json", "doctor"]);
    assert_eq!(finished.err, "", "{finished:?}");
    let answer: Json = serde_json::from_str(&finished.out).unwrap();
    super::json::assert_documented("doctor", std::slice::from_ref(&answer));
    let mut findings = answer["findings"].as_array().unwrap().clone();
    let has_error = findings.iter().any(|finding| finding["severity"] == "error");
    assert_eq!(finished.code, i32::from(has_error), "{finished:?}");
    findings.retain(|finding| finding["kind"] != "disk_nearly_full");
    findings
}

/// The severity and the kind of each, which the page lists.
fn kinds(findings: &[Json]) -> Vec<(String, String)> {
    let page = include_str!("../../../docs/doctor.md");
    let both = |finding: &'_ Json| {
        let kind = finding["kind"].as_str().unwrap();
        assert!(page.contains(&format!("| `{kind}` | ")), "docs/doctor.md lacks {kind}");
        (finding["severity"].as_str().unwrap().to_owned(), kind.to_owned())
    };
    findings.iter().map(both).collect()
}

fn finding(severity: &str, kind: &str) -> (String, String) {
    (severity.to_owned(), kind.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_finds_what_is_wrong_and_what_mends_it() {
    let place = Place::new();
    place.out(&["migrate"]);
    assert_eq!(findings(&place), Vec::<Json>::new());

    let policy = json!({ "routing_requirements": { "required_capabilities": ["gpu"] } });
    let line =
        |lane: &str, policy| json!({ "kind": "k", "payload": "", "lane": lane, "policy": policy });
    let mut one = line("default", json!(null));
    one["id"] = json!(ONE);
    let lines = [one, line("mail", json!(null)), line("mail", json!(null)), line("video", policy)];
    let lines = lines.map(|line| line.to_string());
    place.write("in.jsonl", &lines.each_ref().map(String::as_str));
    place.out(&["submit", "in.jsonl"]);
    place.out(&["lanes", "pause", "mail", "--reason", "repairs"]);
    let (engine, _) = super::tail::claimed(&place).await;
    let videos = super::Running::start(&place, &["work", "--lane", "video", "--", "cat"]);
    let begun = std::time::Instant::now();
    while !place.out(&["workers"]).contains("video") {
        assert!(begun.elapsed() < super::BOUND, "the worker registers");
    }

    let found = findings(&place);
    let expected = [
        finding("error", "no_live_worker"),
        finding("error", "capability_gap"),
        finding("note", "lane_closed"),
    ];
    assert_eq!(kinds(&found), expected);
    assert!(found[0]["sentence"].as_str().unwrap().contains("2 wait for it, such as"), "{found:?}");
    assert_eq!(found[0]["command"], "ff work --lane 'mail' -- COMMAND");
    assert_eq!(found[1]["command"], "ff work --lane 'video' --capability 'gpu' -- COMMAND");
    assert!(found[2]["sentence"].as_str().unwrap().ends_with(": repairs; in it wait 2 executions"));
    drop((engine, videos));

    // A worker that was lost a minute ago, and no scanner; a lane that was closed two days ago.
    let sql = "UPDATE ff_attempt SET lease_expires_at_ms = lease_expires_at_ms - 120000; \
         UPDATE ff_lane_registry SET state_since_ms = state_since_ms - 172800000";
    std::thread::scope(|scope| scope.spawn(|| plainly(&place, sql)).join()).unwrap();
    let found = findings(&place);
    let kinds = kinds(&found);
    assert!(kinds.contains(&finding("error", "no_scanner")), "{found:?}");
    assert!(kinds.contains(&finding("warning", "lane_forgotten")), "{found:?}");
    let text = place.ff(&["doctor"]);
    assert_eq!((text.code, text.err.as_str()), (1, ""), "{text:?}");
    assert!(text.out.contains("error: no scanner has run lease_expiry"), "{text:?}");
    assert!(text.out.contains("\n  mend it by: ff scan\n"), "{text:?}");
}
