//! The text of an exporter, compared with the table of metrics.

use flowfabric_sql::telemetry::{METRICS, Metric, MetricKind};

/// The names that Prometheus makes of a histogram's.
pub(crate) const OF_A_HISTOGRAM: [&str; 3] = ["_bucket", "_sum", "_count"];

/// The metric of that name, as an exporter or a query writes it.
pub(crate) fn metric(name: &str) -> &'static Metric {
    let is = |metric: &&Metric| {
        name.strip_prefix(metric.name).is_some_and(|rest| match metric.kind {
            MetricKind::Histogram => OF_A_HISTOGRAM.contains(&rest),
            MetricKind::Counter | MetricKind::Gauge => rest.is_empty(),
        })
    };
    METRICS.iter().find(is).unwrap_or_else(|| panic!("the table has no metric {name}"))
}

/// Fails on a line of an exporter that the table does not describe: its metric, kind, help or
/// labels. Fails if a metric is missing, but for those.
#[track_caller]
pub(crate) fn assert_described(text: &str, but_for: &[&str]) {
    let mut shown = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(comment) = line.strip_prefix("# ") {
            let described = METRICS.iter().any(|metric| {
                comment == format!("HELP {} {}", metric.name, metric.help)
                    || comment == format!("TYPE {} {}", metric.name, metric.kind.as_str())
            });
            assert!(described, "not as in the table: {line}");
            continue;
        }

        let metric = metric(line.split(['{', ' ']).next().unwrap());
        let labels = line.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}'));
        let named = labels.map_or("", |(labels, _)| labels).split(',');
        let named = named.filter_map(|label| Some(label.split_once('=')?.0));
        let labels: Vec<&str> = named.filter(|label| *label != "le").collect();
        assert_eq!(labels, metric.labels, "{line}");
        shown.push(metric.name);
    }

    for metric in METRICS.iter().filter(|metric| !but_for.contains(&metric.name)) {
        assert!(shown.contains(&metric.name), "no {}: {text}", metric.name);
    }
}
