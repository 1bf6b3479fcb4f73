//! The table of metrics and spans agrees with its document and its dashboard.

use std::collections::BTreeSet;
use std::fs;

use flowfabric_sql::telemetry::{METRICS, MetricKind, SPANS};
use serde_json::Value as Json;

use super::root;

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
            let metric = METRICS.iter().find(|metric| {
                let rest = name.strip_prefix(metric.name);
                let histogram = ["_bucket", "_sum", "_count"];
                rest.is_some_and(|rest| match metric.kind {
                    MetricKind::Histogram => histogram.contains(&rest),
                    MetricKind::Counter | MetricKind::Gauge => rest.is_empty(),
                })
            });
            let metric = metric.unwrap_or_else(|| panic!("there is no metric {name}: {query}"));
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
