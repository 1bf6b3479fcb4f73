//! The speed of the disk: every durable commit waits for it once.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::BenchError;

/// The bytes that are written before each flush: a page.
const BLOCK: [u8; 4096] = [0x5a; 4096];

/// The number of `fdatasync` per second on a file in this directory, each after one page was
/// overwritten.
pub(crate) fn flushes_per_second(directory: &Path, time: Duration) -> Result<f64, BenchError> {
    let failed = |source| BenchError::File {
        what: format!("measuring the disk at {}", directory.display()),
        source,
    };
    let mut file = tempfile::tempfile_in(directory).map_err(failed)?;

    let (begun, mut flushes) = (Instant::now(), 0_u32);
    while begun.elapsed() < time {
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        file.write_all(&BLOCK).map_err(failed)?;
        file.sync_data().map_err(failed)?;
        flushes += 1;
    }
    Ok(f64::from(flushes) / begun.elapsed().as_secs_f64())
}
