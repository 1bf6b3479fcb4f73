//! The log on stderr: what a terminal would obey is written out there, too.

use std::io::{self, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::shown::Shown;

/// Starts the log, as `RUST_LOG` asks for it.
pub(super) fn start() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        // Messages quote what is stored: no escape sequence passes, not even one of our own.
        .with_ansi(false)
        .with_writer(Stderr)
        .init();
}

/// Writes each event as one line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stderr;

impl Write for Stderr {
    /// An event arrives whole, with the end of its line.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        // Nothing can be done about a closed stderr.
        let _ = writeln!(io::stderr(), "{}", Shown::from(text.trim_end_matches('\n')));
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Stderr {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        *self
    }
}
