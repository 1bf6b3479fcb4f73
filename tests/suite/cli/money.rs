//! Budgets and quotas by the command line.

use serde_json::json;

use super::json::assert_documented;
use super::{ONE, Place};

const BUDGET: &str = "33333333-3333-4333-8333-333333333333";
const QUOTA: &str = "44444444-4444-4444-8444-444444444444";
const A: &str = "{fp:7}:11111111-1111-4111-8111-111111111111";
const B: &str = "{fp:7}:22222222-2222-4222-8222-222222222222";

#[test]
fn a_budget_is_defined_reported_to_and_reset() {
    let place = Place::new();
    let create = [
        "budget",
        "create",
        "--id",
        BUDGET,
        "--hard",
        "cost=10",
        "--soft",
        "cost=5",
        "--soft",
        "tokens=7",
        "--every",
        "1h",
        "--scope-type",
        "tenant",
        "--scope",
        "a",
    ];
    assert_eq!(place.out(&create), format!("budget {BUDGET} is defined\n"));
    let again = place.json(&create);
    assert_eq!(again["outcome"], "already_defined");

    let report = |amount: &str| place.ff(&["budget", "report", BUDGET, amount]);
    assert_eq!(report("cost=5").out, "counted, within all limits\n");
    assert_eq!(report("cost=1").out, "counted; cost is at 6, above its soft limit of 5\n");
    let over = report("cost=5");
    over.assert_failed(1);
    assert!(over.err.contains("cost is at 6 and would exceed its hard limit of 10"), "{over:?}");
    assert_eq!(report("cost=x").code, 2);

    let shown = place.json(&["budget", "show", BUDGET]);
    assert_eq!(shown["usage"], json!({ "cost": 6 }));
    assert_eq!(shown["soft_limits"], json!({ "cost": 5, "tokens": 7 }));
    assert_eq!((&shown["breach_count"], &shown["soft_breach_count"]), (&json!(1), &json!(1)));
    assert_eq!(shown["last_breach_dimension"], "cost");
    let text = place.out(&["budget", "show", BUDGET]);
    assert!(text.contains("scope    tenant a\nbreaches 1 hard, 1 soft\n"), "{text}");
    assert!(text.contains("dimension  used  reserved  hard  raised by  soft"), "{text}");
    assert!(text.contains("cost       6     0         10    -          5"), "{text}");
    assert!(text.contains("tokens     0     0         -     -          7"), "{text}");

    let reset = place.json(&["budget", "reset", BUDGET]);
    assert!(reset["next_reset_at_ms"].is_i64(), "{reset}");
    assert_eq!(place.json(&["budget", "show", BUDGET])["usage"], json!({ "cost": 0 }));
    place.ff(&["budget", "show", ONE]).assert_failed(1);
    let listed = place.out(&["budget", "ls"]);
    assert!(listed.contains(&format!("{BUDGET}  tenant a  1 hard, 1 soft")), "{listed}");
}

#[test]
fn what_an_execution_spent_is_released() {
    let place = Place::new();
    place.out(&["budget", "create", "--id", BUDGET]);
    let spend = ["budget", "report", BUDGET, "cost=5", "--execution", A, "--key", "k"];
    assert_eq!(place.out(&spend), "counted, within all limits\n");
    assert_eq!(place.out(&spend), "counted before\n");
    place.out(&["budget", "report", BUDGET, "cost=2"]);
    assert_eq!(
        place.out(&["budget", "release", BUDGET, A]),
        format!("budget {BUDGET} is released\n")
    );
    assert_eq!(place.json(&["budget", "show", BUDGET])["usage"], json!({ "cost": 2 }));
}

#[test]
fn a_quota_admits_within_its_limits() {
    let place = Place::new();
    let create =
        ["quota", "create", "--id", QUOTA, "--window", "1h", "--rate", "2", "--concurrency", "1"];
    assert_eq!(place.out(&create), format!("quota policy {QUOTA} is defined\n"));
    assert_eq!(place.json(&create)["outcome"], "already_defined");
    let shown = place.out(&["quota", "show", QUOTA]);
    assert_eq!(shown, format!("quota       {QUOTA}\nrate        2 in 1h\nconcurrency 1\n"));

    assert_eq!(place.out(&["quota", "check", QUOTA, A]), format!("{A} is admitted\n"));
    assert_eq!(place.json(&["quota", "check", QUOTA, A])["outcome"], "already_admitted");
    let full = place.ff(&["quota", "check", QUOTA, B]);
    full.assert_failed(1);
    assert!(full.err.contains("too many admitted executions run"), "{full:?}");
    assert_eq!(place.out(&["quota", "release", QUOTA, A]), format!("{A} is released\n"));
    place.out(&["quota", "check", QUOTA, B]);
    let full = place.ff(&["quota", "check", QUOTA, A]);
    full.assert_failed(1);
    assert!(full.err.contains("the window is full for another"), "{full:?}");
    place.ff(&["quota", "show", ONE]).assert_failed(1);
    place.ff(&["quota", "create", "--window", "1ms"]).assert_failed(1);
}

#[test]
fn every_member_is_documented() {
    let place = Place::new();
    let check = |command: &str, arguments: &[&str]| {
        assert_documented(command, &[place.json(arguments)]);
    };
    let id = ["--id", BUDGET];
    let create = ["budget", "create", "--hard", "cost=9", "--soft", "cost=1", "--every", "1d"];
    check("budget create", &[&create[..], &id].concat());
    check("budget report", &["budget", "report", BUDGET, "cost=2"]);
    check("budget show", &["budget", "show", BUDGET]);
    check("budget ls", &["budget", "ls"]);
    check("budget reset", &["budget", "reset", BUDGET]);
    check("budget release", &["budget", "release", BUDGET, A]);
    check("quota create", &["quota", "create", "--id", QUOTA]);
    check("quota show", &["quota", "show", QUOTA]);
    check("quota check", &["quota", "check", QUOTA, A]);
    check("quota release", &["quota", "release", QUOTA, A]);
}
