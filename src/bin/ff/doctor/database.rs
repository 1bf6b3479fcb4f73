//! What a report about the database means for an operator.

use std::time::{SystemTime, UNIX_EPOCH};

use ff_core::engine::{
    DatabaseReport, DiskSpace, NumberSequence, OpenSnapshot, SessionSetting, UnanalysedTable,
};
use ff_core::types::TimestampMs;

use super::Finding;
use super::finding::Severity;
use crate::clock::span;

/// The setting without which transactions fail that meet.
const ISOLATION: &str = "default_transaction_isolation";

/// The length of a table from which statistics matter.
const LARGE_BYTES: i64 = 8 * 1024 * 1024;

/// The length of the log of a SQLite file from which some reader keeps it from being written back.
const LONG_LOG_BYTES: u64 = 1024 * 1024 * 1024;

/// The age of a snapshot that is a warning, and an error.
const SNAPSHOT_MS: (f64, f64) = (600_000.0, 6.0 * 3_600_000.0);

/// The transactions since a snapshot without an age that are a warning, and an error.
const SNAPSHOT_TRANSACTIONS: (f64, f64) = (1e6, 1e8);

/// The difference of two clocks that is a warning; it is no error, since one clock decides.
const SKEW_MS: i64 = 2_000;

/// The share of a disk or a sequence that is used, for a warning and an error.
const DISK_USED: (f64, f64) = (0.9, 0.97);
const NUMBERS_USED: (f64, f64) = (0.6, 0.9);

/// The free bytes below which a disk is full, whatever its size.
const DISK_FREE_BYTES: u64 = 256 * 1024 * 1024;

/// The difference between this machine's clock and the engine's.
pub(super) fn skew_ms(engine: TimestampMs) -> i64 {
    let own = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let own_ms = i64::try_from(own.as_millis()).unwrap_or(i64::MAX);
    own_ms.saturating_sub(engine.0)
}

/// The findings, in the order of the report.
pub(super) fn findings(report: &DatabaseReport, skew_ms: i64) -> Vec<Finding> {
    let settings = report.settings.iter().filter_map(setting);
    let tables = report.tables_without_statistics.iter().filter_map(table);
    let sequences = report.sequences.iter().filter_map(sequence);
    settings
        .chain(report.shares_sessions.then(pooler))
        .chain(report.oldest_snapshot.as_ref().and_then(snapshot))
        .chain(tables)
        .chain(report.disk.as_ref().and_then(disk))
        .chain(report.log_bytes.and_then(log))
        .chain(sequences)
        .chain(skew(skew_ms))
        .collect()
}

fn setting(setting: &SessionSetting) -> Option<Finding> {
    let SessionSetting { name, value, wanted, otherwise, statement, .. } = setting;
    let is_isolation = *name == ISOLATION;
    (value != wanted).then(|| Finding {
        severity: if is_isolation { Severity::Error } else { Severity::Warning },
        kind: if is_isolation { "isolation_level" } else { "session_setting" },
        subject: (*name).to_owned(),
        sentence: format!("sessions have {name} = {value}, not {wanted}: {otherwise}"),
        command: statement.clone(),
    })
}

fn pooler() -> Finding {
    Finding {
        severity: Severity::Warning,
        kind: "transaction_pooler",
        subject: "pooler".to_owned(),
        sentence: "a pooler hands out sessions for single transactions: settings of a session and \
                   notifications are lost, so idle workers only poll"
            .to_owned(),
        command: "ff --no-session-parameters …, with the settings of the role as in \
                  docs/deployment.md#poolers"
            .to_owned(),
    }
}

fn snapshot(snapshot: &OpenSnapshot) -> Option<Finding> {
    let OpenSnapshot { holder, age_ms, transactions, statement, .. } = snapshot;
    let severity = match age_ms {
        Some(ms) => above(*ms, SNAPSHOT_MS),
        None => above(*transactions, SNAPSHOT_TRANSACTIONS),
    };
    let age = age_ms.map_or_else(|| format!("{transactions} transactions"), span);
    Some(Finding {
        severity: severity?,
        kind: "pinned_snapshot",
        subject: holder.clone(),
        sentence: format!("{holder} has kept its snapshot for {age}: removed rows stay until then"),
        command: statement.clone(),
    })
}

fn table(table: &UnanalysedTable) -> Option<Finding> {
    let UnanalysedTable { name, bytes, .. } = table;
    (LARGE_BYTES < *bytes).then(|| Finding {
        severity: Severity::Warning,
        kind: "missing_statistics",
        subject: name.clone(),
        sentence: format!("table {name} of {} has no statistics", size(bytes.unsigned_abs())),
        command: format!("ANALYZE \"{name}\""),
    })
}

fn disk(disk: &DiskSpace) -> Option<Finding> {
    let DiskSpace { directory, free_bytes, total_bytes, .. } = disk;
    let used = 1.0 - share(*free_bytes, *total_bytes);
    let severity = match Severity::above(used, DISK_USED.0, DISK_USED.1) {
        _ if *free_bytes < DISK_FREE_BYTES => Some(Severity::Error),
        severity => severity,
    };
    let (free, total) = (size(*free_bytes), size(*total_bytes));
    Some(Finding {
        severity: severity?,
        kind: "disk_nearly_full",
        subject: directory.clone(),
        sentence: format!("of {total} of the disk of {directory}, {free} are free"),
        command: "ff trim --older-than 30d".to_owned(),
    })
}

fn log(bytes: u64) -> Option<Finding> {
    (LONG_LOG_BYTES < bytes).then(|| Finding {
        severity: Severity::Warning,
        kind: "long_log",
        subject: "log".to_owned(),
        sentence: format!(
            "the log beside the file has {}: a reader that does not end keeps it from being \
             written back",
            size(bytes)
        ),
        command: "fuser -v FILE, and end the process that reads for so long".to_owned(),
    })
}

fn sequence(sequence: &NumberSequence) -> Option<Finding> {
    let NumberSequence { name, used, last, statement, .. } = sequence;
    let part = share(used.unsigned_abs(), last.unsigned_abs());
    let severity = Severity::above(part, NUMBERS_USED.0, NUMBERS_USED.1)?;
    let archive = "ff archive FILE.jsonl, and ff import FILE.jsonl in a new database";
    Some(Finding {
        severity,
        kind: "numbers_run_out",
        subject: name.clone(),
        sentence: format!("{name} has used {used} of {last} numbers"),
        command: statement.clone().unwrap_or_else(|| archive.to_owned()),
    })
}

fn skew(skew_ms: i64) -> Option<Finding> {
    let (ahead, by) = if skew_ms < 0 { ("behind", -skew_ms) } else { ("ahead of", skew_ms) };
    (SKEW_MS < by).then(|| Finding {
        severity: Severity::Warning,
        kind: "clock_skew",
        subject: "clock".to_owned(),
        sentence: format!(
            "the clock of this machine is {} {ahead} that of the database, which decides what is \
             due",
            span(by)
        ),
        command: "chronyc makestep, or what else sets the clock of the machine that is wrong"
            .to_owned(),
    })
}

#[allow(clippy::cast_precision_loss, reason = "a bound of an operator, not an amount")]
fn above(number: i64, (warning, error): (f64, f64)) -> Option<Severity> {
    Severity::above(number as f64, warning, error)
}

#[allow(clippy::cast_precision_loss, reason = "a share")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// A number of bytes in a unit that suits it, rounded down.
fn size(bytes: u64) -> String {
    const UNITS: [(u32, &str); 3] = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let unit = UNITS.iter().find(|(bits, _)| bytes >> bits != 0);
    unit.map_or_else(
        || format!("{bytes} bytes"),
        |(bits, unit)| format!("{} {unit}", bytes >> bits),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(report: &DatabaseReport, skew_ms: i64) -> Vec<(&'static str, &'static str)> {
        let findings = findings(report, skew_ms);
        findings.iter().map(|finding| (finding.severity.as_str(), finding.kind)).collect()
    }

    #[test]
    fn a_database_without_anything_to_find_has_no_findings() {
        let mut report = DatabaseReport::default();
        assert_eq!(kinds(&report, 1_999), []);
        report.disk = Some(DiskSpace::new("/".to_owned(), 1 << 40, 2 << 40));
        report.log_bytes = Some(64 << 20);
        report.sequences = vec![NumberSequence::new("s".to_owned(), 5, i64::MAX, None)];
        report.oldest_snapshot =
            Some(OpenSnapshot::new("session 1".to_owned(), Some(5), 1, String::new()));
        report.tables_without_statistics = vec![UnanalysedTable::new("t".to_owned(), 8_192)];
        let wanted = "read committed".to_owned();
        let setting =
            SessionSetting::new(ISOLATION, wanted, "read committed", "they fail", String::new());
        report.settings = vec![setting];
        assert_eq!(kinds(&report, -2_000), []);
    }

    #[test]
    fn every_finding_has_its_weight() {
        let mut report = DatabaseReport::default();
        report.settings = ["jit", ISOLATION]
            .map(|name| SessionSetting::new(name, "x".to_owned(), "y", "z", "s".to_owned()))
            .into();
        report.shares_sessions = true;
        let holder = "replication slot a".to_owned();
        report.oldest_snapshot = Some(OpenSnapshot::new(holder, None, 200_000_000, "s".to_owned()));
        report.tables_without_statistics = vec![UnanalysedTable::new("t".to_owned(), 1 << 30)];
        report.disk = Some(DiskSpace::new("/".to_owned(), 200 << 20, 1 << 30));
        report.log_bytes = Some(2 << 30);
        report.sequences = vec![NumberSequence::new("s".to_owned(), 7, 10, None)];
        let expected = [
            ("warning", "session_setting"),
            ("error", "isolation_level"),
            ("warning", "transaction_pooler"),
            ("error", "pinned_snapshot"),
            ("warning", "missing_statistics"),
            ("error", "disk_nearly_full"),
            ("warning", "long_log"),
            ("warning", "numbers_run_out"),
            ("warning", "clock_skew"),
        ];
        assert_eq!(kinds(&report, 5_000), expected);
        assert!(findings(&report, 5_000).iter().all(|finding| !finding.command.is_empty()));
    }
}
