//! The log, and the commands' own lines on stderr. Both are best effort: a thread of its own writes
//! them, so that a stderr that is closed or not read delays nothing and ends nothing. In the log,
//! characters that a terminal would obey are escaped.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::shown::Shown;

/// The number of pieces of text that may wait to be written; further ones are dropped.
const WAITING_MAX: usize = 4_096;

/// The time that the process waits at its end for text that is still to be written.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

/// The format of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// One line of text for each event.
    #[default]
    Text,
    /// One JSON object for each event.
    Json,
}

enum Piece {
    Text(Vec<u8>),
    /// A request for an answer once everything before it has been written.
    Mark(SyncSender<()>),
}

static STDERR: OnceLock<SyncSender<Piece>> = OnceLock::new();

/// A guard held until the process ends. Its drop waits, for a bounded time, until the log is
/// written.
#[must_use]
pub(super) struct Flush(());

impl Drop for Flush {
    fn drop(&mut self) {
        let Some(sender) = STDERR.get() else { return };
        let (written, mark) = sync_channel(1);
        if sender.try_send(Piece::Mark(written)).is_ok() {
            // A reader that has gone away for good is not waited for any longer.
            let _ = mark.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

/// Starts the log on stderr, with the filter in `RUST_LOG`; warnings and errors without one.
pub(super) fn start(format: Format) -> Flush {
    let (sender, pieces) = sync_channel(WAITING_MAX);
    let writer = std::thread::Builder::new().name("ff-stderr".into()).spawn(|| write(pieces));
    if writer.is_ok() {
        let _ = STDERR.set(sender);
    }

    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // Messages quote what is stored: no escape sequence passes, not even one of our own.
        .with_ansi(false)
        .log_internal_errors(false)
        .with_writer(|| Stderr);

    match format {
        Format::Text => log.init(),
        Format::Json => log.json().init(),
    }
    Flush(())
}

/// Writes bytes to stderr, if it takes them.
pub(super) fn write_to_stderr(bytes: &[u8]) {
    match STDERR.get() {
        // A reader that is too slow, or gone, is not waited for.
        Some(sender) => match sender.try_send(Piece::Text(bytes.to_vec())) {
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        },
        None => {
            let _ = io::stderr().write_all(bytes);
        }
    }
}

fn write(pieces: Receiver<Piece>) {
    let mut stderr = io::stderr();
    for piece in pieces {
        match piece {
            // Text that cannot be written is lost.
            Piece::Text(text) => drop(stderr.write_all(&text)),
            Piece::Mark(written) => drop(written.try_send(())),
        }
    }
}

/// Writes each event as one line.
struct Stderr;

impl Write for Stderr {
    /// Takes one whole event, with the end of its line.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = format!("{}\n", Shown::from(text.trim_end_matches('\n')));
        write_to_stderr(line.as_bytes());
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
