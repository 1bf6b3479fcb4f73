//! The files of a run, in a directory that is its own and goes with it.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use tempfile::TempDir;

use super::surroundings::Surroundings;

/// The directory of one run.
#[derive(Debug)]
pub(super) struct RunFiles {
    directory: TempDir,
    has_upstream: bool,
}

impl RunFiles {
    /// Makes the directory within that of the worker, with the files that the command reads.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn make(within: &Path, surroundings: &Surroundings) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("run-").tempdir_in(within)?;
        let has_upstream = surroundings.flow_id.is_some();
        let files = Self { directory, has_upstream };

        write(&files.signals(), &surroundings.signals)?;
        if has_upstream {
            write(&files.path("upstream.json"), &surroundings.upstream)?;
        }
        Ok(files)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The signals that the execution has got.
    pub(super) fn signals(&self) -> PathBuf {
        self.path("signals.json")
    }

    /// The place of the condition that a command may write.
    pub(super) fn suspension(&self) -> PathBuf {
        self.path("suspend.json")
    }

    /// The results of the executions that it waited for; none outside flows.
    pub(super) fn upstream(&self) -> Option<PathBuf> {
        self.has_upstream.then(|| self.path("upstream.json"))
    }
}

fn write(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let mut file = io::BufWriter::new(std::fs::File::create_new(path)?);
    serde_json::to_writer(&mut file, value)?;
    file.flush()
}
