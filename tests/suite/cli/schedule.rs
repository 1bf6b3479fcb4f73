//! Schedules by the command line.

use super::Place;
use super::json::assert_documented;

const ADD: [&str; 8] =
    ["schedule", "add", "nightly", "--cron", "0 3 * * *", "--kind", "render", "--overlap=queue"];

#[test]
fn a_schedule_is_added_shown_paused_resumed_and_removed() {
    let place = Place::new();
    let full = ["--time-zone", "Europe/Berlin", "--jitter", "5m", "--payload", "{{tick}}"];
    let added = place.json(&[&ADD[..], &full, &["--tag", "a.b=c", "--catch-up", "3"]].concat());
    assert_eq!((&added["catch_up"], &added["catch_up_at_most"]), (&"all".into(), &3.into()));
    assert_documented("schedule add", &[added]);

    let refused = place.ff(&ADD);
    refused.assert_failed(1);
    assert!(refused.err.contains("--replace changes it"), "{refused:?}");
    assert_eq!(place.out(&[&ADD[..], &["--replace"]].concat()), "schedule nightly is replaced\n");
    let same = place.out(&ADD);
    assert_eq!(same, "schedule nightly exists already: nothing was changed\n");

    let paused = place.json(&["schedule", "pause", "nightly", "--reason", "a release"]);
    assert_eq!(paused["pause"]["reason"], "a release");
    assert_documented("schedule pause", &[paused]);
    let shown = place.out(&["schedule", "show", "nightly"]);
    assert!(shown.contains("by operator: a release"), "{shown}");
    assert_documented("schedule show", &[place.json(&["schedule", "show", "nightly"])]);
    assert_documented("schedule ls", &[place.json(&["schedule", "ls"])]);
    assert!(place.out(&["schedule", "ls"]).contains("paused"));
    assert_documented("schedule resume", &[place.json(&["schedule", "resume", "nightly"])]);

    assert_eq!(place.out(&["schedule", "ls", "--namespace", "other"]), "no schedules\n");
    assert!(place.out(&["schedule", "ls", "--all-namespaces"]).contains("nightly"));
    assert_documented("schedule rm", &[place.json(&["schedule", "rm", "nightly"])]);
    place.ff(&["schedule", "show", "nightly"]).assert_failed(1);
}

#[test]
fn a_preview_prints_the_ticks_around_a_change_of_the_clock() {
    let place = Place::new();
    let cron = ["schedule", "preview", "--cron", "30 2 * * *", "--time-zone", "Europe/Berlin"];
    let from = ["--after", "2027-03-27T12:00:00Z", "--count", "2"];
    let printed = place.out(&[&cron[..], &from].concat());
    let ticks: Vec<&str> = printed.lines().skip(2).filter_map(|l| l.split(' ').next()).collect();
    assert_eq!(ticks, ["2027-03-28T03:00:00+02:00", "2027-03-29T02:30:00+02:00"]);
    assert_documented("schedule preview", &[place.json(&[&cron[..], &from].concat())]);

    place.out(&ADD);
    let stored = ["schedule", "preview", "nightly", "--after", "2027-01-01T00:00:00Z"];
    assert_eq!(place.json(&stored)["ticks"].as_array().unwrap().len(), 10);
}

#[test]
fn a_backfill_submits_past_ticks_once() {
    let place = Place::new();
    place.out(&ADD);
    let week = ["schedule", "backfill", "nightly", "--from", "2026-01-01T00:00:00Z", "--until"];
    let week = [&week[..], &["2026-01-07T23:00:00Z"]].concat();
    assert_eq!(place.out(&week), "7 new executions, 0 were there\n");
    assert_documented("schedule backfill", &[place.json(&week)]);
    assert_eq!(place.json(&["ls"])["executions"].as_array().unwrap().len(), 7);
}

#[test]
fn bad_definitions_name_what_is_wrong() {
    let place = Place::new();
    for (change, why) in [
        (["--cron", "0 25 * * *"], "cron: hour \"25\" (of 0-23)"),
        (["--time-zone", "Mars/Base"], "time_zone: \"Mars/Base\" is not in the tz database"),
        (["--jitter", "2d"], "jitter_ms: must be between 0 and 86400000"),
        (["--catch-up", "0"], "catch_up: must be between 1 and 1000"),
        (["--lane", ""], "lane"),
    ] {
        let base = ["schedule", "add", "x", "--kind", "k"];
        let cron: &[&str] = if change[0] == "--cron" { &[] } else { &["--cron", "@daily"] };
        let refused = place.ff(&[&base[..], cron, &change].concat());
        assert!(refused.code != 0 && refused.err.contains(why), "{refused:?}");
    }
    let refused = place.ff(&["schedule", "add", "x", "--kind", "k"]);
    assert!(refused.code == 2 && refused.err.contains("--cron"), "{refused:?}");
}
