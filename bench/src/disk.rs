//! The speed of the disk: every durable commit waits for it once.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::error::BenchError;

/// The bytes that are written before each flush: a page.
const BLOCK: [u8; 4096] = [0x5a; 4096];

/// The speed of a disk.
#[derive(Clone, Debug, Serialize)]
pub struct Disk {
    /// The directory of the file that was measured.
    pub directory: PathBuf,
    /// The number of `fdatasync` per second, each after one page was overwritten.
    pub fdatasync_per_s: f64,
}

impl Disk {
    /// Measures with a file in this directory, for this long.
    pub(crate) fn measure(directory: &Path, time: Duration) -> Result<Self, BenchError> {
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

        let fdatasync_per_s = f64::from(flushes) / begun.elapsed().as_secs_f64();
        Ok(Self { directory: directory.to_owned(), fdatasync_per_s })
    }
}
