//! The table of metrics and spans agrees with its document and its dashboard.

use std::collections::BTreeSet;
use std::fs;

use flowfabric_sql::telemetry::{METRICS, MetricKind, SPANS};
use serde_json::Value as Json;

use super::{product, root};
use crate::metrics::metric;

#[test]
fn the_document_lists_every_metric_and_every_span() {
    let document = fs::read_to_string(root().join("docs/telemetry.md")).unwrap();
    let quoted = |names: &[&str]| {
        names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    };

    let mut rows: Vec<String> = METRICS
        .iter()
        .map(|metric| {
            let (kind, unit) = (metric.kind.as_str(), metric.unit.as_str());
            let labels = quoted(metric.labels);
            format!("| `{}` | {kind} | {unit} | {labels} | {} |", metric.name, metric.help)
        })
        .collect();
    rows.extend(SPANS.iter().map(|span| {
        let level = span.level.as_str().to_lowercase();
        format!("| `{}` | {level} | {} | {} |", span.name, quoted(span.fields), span.help)
    }));
    for row in rows {
        assert!(document.lines().any(|line| line == row), "docs/telemetry.md has no line {row}");
    }
}

#[test]
fn a_name_says_its_kind_and_its_unit() {
    let mut names = BTreeSet::new();
    for metric in &METRICS {
        let name = metric.name;
        assert!(name.starts_with("ff_") && names.insert(name), "{name}");
        assert_eq!(name.ends_with("_total"), metric.kind == MetricKind::Counter, "{name}");
        assert_eq!(name.ends_with("_seconds"), metric.unit.as_str() == "seconds", "{name}");
        assert_eq!(metric.buckets.is_empty(), metric.kind != MetricKind::Histogram, "{name}");
        assert!(metric.buckets.is_sorted(), "{name}");
        let ids = metric.labels.iter().any(|label| label.ends_with("id"));
        assert!(!ids, "{name}: an id is no label");
    }
}

#[test]
fn the_dashboard_names_metrics_and_labels_that_there_are() {
    let text = fs::read_to_string(root().join("docs/grafana.json")).unwrap();
    let dashboard: Json = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let queries: Vec<&str> = targets.map(|target| target["expr"].as_str().unwrap()).collect();

    let mut shown = BTreeSet::new();
    for query in queries {
        let word = |c: char| c != '_' && !c.is_ascii_alphanumeric();
        for name in query.split(word).filter(|name| name.starts_with("ff_")) {
            let metric = metric(name);
            shown.insert(metric.name);

            let grouped = query.split("by (").skip(1).filter_map(|rest| rest.split(')').next());
            for label in grouped.flat_map(|labels| labels.split(", ")) {
                assert!(label == "le" || metric.labels.contains(&label), "{label}: {query}");
            }
        }
    }
    for metric in &METRICS {
        assert!(shown.contains(metric.name), "the dashboard shows no {}", metric.name);
    }
}

/// Types that hold bytes which are no content, and are printed.
const PRINTED: [(&str, &str); 6] = [
    ("StreamCursor", "the place of a reader"),
    ("GrantName", "the name of a row"),
    ("DropLapsed", "the name of a row"),
    ("Grant", "the name of a row"),
    ("DueRow", "the name of a row"),
    ("PlanRows", "hashes of keys"),
];

/// `Debug` is derived by `derive_more` where a type holds content, with `Hidden` for the content.
#[test]
fn no_derived_debug_prints_bytes() {
    let mut found = Vec::new();
    for (name, text) in product() {
        let lines: Vec<&str> = text.lines().collect();
        for (at, _) in lines.iter().enumerate().filter(|(_, line)| derives_debug(line)) {
            let declared =
                |line: &&str| ["struct ", "enum "].iter().any(|word| line.contains(word));
            let from = at + 1 + lines[at + 1..].iter().position(declared).unwrap();
            let word = |c: char| c != '_' && !c.is_ascii_alphanumeric();
            let mut words =
                lines[from].split(word).skip_while(|word| !["struct", "enum"].contains(word));
            let of = words.nth(1).unwrap();
            if body(&lines[from..]).any(holds_bytes)
                && !PRINTED.iter().any(|(named, _)| *named == of)
            {
                found.push(format!("{name}: {of}"));
            }
        }
    }
    assert!(found.is_empty(), "Debug shows their bytes: {found:#?}");
}

fn derives_debug(line: &str) -> bool {
    let traits =
        line.trim_start().strip_prefix("#[derive(").and_then(|rest| rest.strip_suffix(")]"));
    traits.is_some_and(|traits| traits.split(", ").any(|name| name == "Debug"))
}

/// The lines of a declaration, to its end.
fn body<'a>(lines: &'a [&str]) -> impl Iterator<Item = &'a str> {
    let indent = lines[0].len() - lines[0].trim_start().len();
    let end = lines.iter().position(|line| {
        let is_end = line.len() - line.trim_start().len() == indent;
        is_end && (line.trim() == "}" || line.trim_end().ends_with(';'))
    });
    lines[..=end.unwrap_or(0)].iter().copied()
}

fn holds_bytes(line: &str) -> bool {
    let is_comment = line.trim_start().starts_with("//");
    !is_comment
        && ["Vec<u8>", "[u8]", "(pub Bytes)", ": Bytes", "(Bytes)"]
            .iter()
            .any(|bytes| line.contains(bytes))
}
