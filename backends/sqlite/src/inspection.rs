//! A report about the database's file, for operators: its disk, its log, its sequences.

use std::path::Path;

use ff_codegen::inspection::sqlite as texts;
use ff_core::engine::{DatabaseReport, DiskSpace, NumberSequence};
use sqlx::Connection as _;

use crate::connect::Connections;
use crate::error::SqliteError;

/// Reads it. A database in memory has none.
///
/// # Errors
/// Those of a read. A disk that cannot be measured is no error, and is left out.
pub(crate) async fn inspect(connections: &Connections) -> Result<DatabaseReport, SqliteError> {
    let mut report = DatabaseReport::default();
    let Some(file) = connections.file() else { return Ok(report) };

    report.disk = disk(file);
    report.log_bytes = log_bytes(file);

    let mut connection = connections.reader().await.map_err(SqliteError::read)?;
    let used = sqlx::query_as(texts::SEQUENCES).fetch_all(&mut connection).await;
    let _ = connection.close().await;
    let used: Vec<(String, i64)> = used.map_err(SqliteError::read)?;
    let fact = |(name, used)| NumberSequence::new(name, used, i64::MAX, None);
    report.sequences = used.into_iter().map(fact).collect();
    Ok(report)
}

fn disk(file: &Path) -> Option<DiskSpace> {
    let directory = file.parent().filter(|path| !path.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    let found = rustix::fs::statvfs(directory).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    let directory = directory.display().to_string();
    Some(DiskSpace::new(directory, bytes(found.f_bavail), bytes(found.f_blocks)))
}

fn log_bytes(file: &Path) -> Option<u64> {
    let mut log = file.as_os_str().to_owned();
    log.push("-wal");
    std::fs::metadata(log).ok().map(|found| found.len())
}
