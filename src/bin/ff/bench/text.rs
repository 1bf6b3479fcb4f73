//! The report of a measurement, for people.

use ff_bench::{Measured, Report, Side, Step, Usage};

use super::BenchView;
use crate::output::Output;
use crate::table::{Column, Table};

/// Prints the report.
pub(super) fn print(output: Output, view: &BenchView) -> std::io::Result<()> {
    let BenchView { report, start } = view;
    let Report { database, version, cores, payload_bytes, disk, .. } = report;
    output.line(format!(
        "{database} {version}, {cores} cores, payloads of {payload_bytes} bytes; {} fdatasync/s in {}",
        number(disk.fdatasync_per_s),
        disk.directory.display()
    ))?;

    if let Some(sql) = &report.alteration {
        output.line(format!("altered by: {sql}"))?;
    }

    output.line("")?;
    output.table(&rates(&report.scenarios))?;
    output.line("")?;
    output.table(&lives(&report.scenarios))?;
    output.line("")?;
    output.table(&steps(&report.steps))?;

    if let Some(start) = start {
        output.line("")?;
        output.line(format!(
            "from a submission to its start by an idle worker: p50 {:.2} ms, p95 {:.2} ms, p99 {:.2} ms",
            start.p50_ms, start.p95_ms, start.p99_ms
        ))?;
    }

    let size = report.size;
    let parts = [
        ("tables", Some(size.table_bytes)),
        ("indexes", size.index_bytes),
        ("largest log", size.log_bytes),
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .filter_map(|(name, bytes)| Some(format!("{name} {} bytes", number(bytes? as f64))))
        .collect();
    output.line("")?;
    output.line(format!("size afterwards: {}", parts.join(", ")))
}

fn columns<const N: usize>(names: [&'static str; N]) -> Table {
    Table::new(names.map(|name| Column::whole(name, 0)))
}

/// Rates, the ratio to the ceiling, and the times of a round of calls.
fn rates(scenarios: &[Measured]) -> Table {
    let mut table = columns([
        "scenario",
        "callers",
        "by",
        "lives/s",
        "of ceiling",
        "p50 ms",
        "p95 ms",
        "p99 ms",
    ]);
    for measured in scenarios {
        let Measured { scenario, callers, engine, ceiling, ratio } = measured;
        let ratio = ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2} x"));
        table.row(rate(scenario.name(), &callers.to_string(), "engine", ratio, engine));
        table.row(rate("", "", "ceiling", String::new(), ceiling));
    }
    table
}

fn rate(scenario: &str, callers: &str, by: &str, ratio: String, side: &Side) -> [String; 8] {
    let ms = |ms: f64| format!("{ms:.2}");
    [
        scenario.to_owned(),
        callers.to_owned(),
        by.to_owned(),
        number(side.per_s),
        ratio,
        ms(side.round.p50_ms),
        ms(side.round.p95_ms),
        ms(side.round.p99_ms),
    ]
}

/// The database's work for each life of a scenario.
fn lives(scenarios: &[Measured]) -> Table {
    let mut table = usages("per life");
    for measured in scenarios {
        table.row(usage(measured.scenario.name(), "engine", &measured.engine.per_life));
        table.row(usage("", "ceiling", &measured.ceiling.per_life));
    }
    table
}

/// The cost of each step, by one caller.
fn steps(steps: &[Step]) -> Table {
    let mut table = usages("per step, alone");
    for step in steps {
        table.row(usage(step.step.word(), "engine", &step.engine));
        table.row(usage("", "ceiling", &step.ceiling));
    }
    table
}

fn usages(first: &'static str) -> Table {
    columns([
        first,
        "by",
        "statements",
        "round trips",
        "WAL bytes",
        "WAL records",
        "page images",
        "HOT",
    ])
}

fn usage(what: &str, by: &str, usage: &Usage) -> [String; 8] {
    let dash = || "-".to_owned();
    let count = |count: Option<f64>| count.map_or_else(dash, |count| format!("{count:.2}"));
    [
        what.to_owned(),
        by.to_owned(),
        count(usage.statements),
        count(usage.round_trips),
        usage.wal_bytes.map_or_else(dash, number),
        count(usage.wal_records),
        count(usage.wal_page_images),
        usage.hot_share.map_or_else(dash, |share| format!("{:.0} %", share * 100.0)),
    ]
}

/// A whole number, its thousands apart.
pub(super) fn number(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut apart = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index != 0 && (digits.len() - index) % 3 == 0 {
            apart.push(',');
        }
        apart.push(digit);
    }
    apart
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        let cases = [(0.4, "0"), (999.0, "999"), (1_000.0, "1,000"), (1_234_567.0, "1,234,567")];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
    }
}
