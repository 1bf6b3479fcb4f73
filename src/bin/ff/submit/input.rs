//! The input with the lines: a thread reads them, since a read of a pipe may block for ever.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc::{Receiver, channel};

use crate::failure::Failure;

/// The number of lines read ahead.
const AHEAD: usize = 500;

/// A line with its end, or the error of the read.
pub(super) type Line = io::Result<Vec<u8>>;

/// A file of lines, or stdin.
pub(super) struct Input {
    pub(super) name: String,
    length: Option<u64>,
    reader: Box<dyn BufRead + Send>,
}

impl Input {
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        if path.as_os_str() == "-" {
            let reader = Box::new(BufReader::new(io::stdin()));
            return Ok(Self { name: "stdin".into(), length: None, reader });
        }

        let name = path.display().to_string();
        let failed = |error: io::Error| Failure::new(format!("reading {name}: {error}"));
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(Failure::new(format!("reading {name}: it is a directory")));
        }

        let length = metadata.is_file().then_some(metadata.len());
        Ok(Self { name, length, reader: Box::new(BufReader::new(file)) })
    }

    /// A progress bar; hidden if the length is unknown, and shown only if stderr is a terminal.
    pub(super) fn progress(&self) -> ProgressBar {
        let Some(length) = self.length else { return ProgressBar::hidden() };
        let style = ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes} {msg}");
        let bar = ProgressBar::new(length);
        match style {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        }
    }

    /// The lines as they come. The thread ends with the input, or at the first line after the
    /// receiver is dropped. Until then it may block on input, and the process does not wait for it.
    pub(super) fn lines(mut self) -> Receiver<Line> {
        let (lines, received) = channel(AHEAD);
        std::thread::spawn(move || {
            loop {
                let mut bytes = Vec::new();
                let line = match self.reader.read_until(b'\n', &mut bytes) {
                    Ok(0) => return,
                    Ok(_) => Ok(bytes),
                    Err(error) => Err(error),
                };
                let failed = line.is_err();
                if lines.blocking_send(line).is_err() || failed {
                    return;
                }
            }
        });
        received
    }
}
