//! The log, and the commands' own lines on stderr. Both are best effort: a thread of its own writes
//! them, so that a stderr that is closed or not read delays nothing and ends nothing. In the log,
//! characters that a terminal would obey are escaped.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

#[cfg(feature = "otel")]
use flowfabric_sql::telemetry::{TARGET, otel::SdkTracerProvider};
#[cfg(feature = "otel")]
use opentelemetry::trace::TracerProvider as _;
#[cfg(feature = "otel")]
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry};

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
pub(super) fn start(
    format: Format,
    #[cfg(feature = "otel")] traces: Option<&SdkTracerProvider>,
) -> Flush {
    let (sender, pieces) = sync_channel(WAITING_MAX);
    let writer = std::thread::Builder::new().name("ff-stderr".into()).spawn(|| write(pieces));
    if writer.is_ok() {
        let _ = STDERR.set(sender);
    }

    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let log = tracing_subscriber::fmt::layer()
        // Messages quote what is stored: no escape sequence passes, not even one of our own.
        .with_ansi(false)
        .log_internal_errors(false)
        .with_writer(|| Stderr);
    let log: Box<dyn Layer<Registry> + Send + Sync> = match format {
        Format::Text => log.with_filter(filter).boxed(),
        Format::Json => log.json().with_filter(filter).boxed(),
    };

    #[cfg(feature = "otel")]
    tracing_subscriber::registry().with(log).with(traces.map(spans_layer)).init();
    #[cfg(not(feature = "otel"))]
    tracing_subscriber::registry().with(log).init();
    Flush(())
}

/// Sends the spans of this project, and those of the runs within, to the collector.
#[cfg(feature = "otel")]
fn spans_layer<S>(provider: &SdkTracerProvider) -> impl Layer<S>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    let own = Targets::new().with_target(TARGET, tracing::Level::DEBUG);
    tracing_opentelemetry::layer().with_tracer(provider.tracer("ff")).with_filter(own)
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
