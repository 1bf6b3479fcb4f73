//! The spans of this process, sent to the collector that the environment names.

use std::io;
use std::time::Duration;

use flowfabric_sql::telemetry::otel::{SdkTracerProvider, tracer_provider};
use tokio::runtime::Handle;

use super::log;

/// The variables that name a collector, by the standard of OpenTelemetry.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// The longest wait for the last spans to be sent.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// A provider that sends to the collector; `None` if the environment names none.
pub(super) fn provider(runtime: &Handle) -> Option<SdkTracerProvider> {
    let is_set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    ENDPOINTS.iter().find(|name| is_set(name))?;

    let provider = tracer_provider(runtime, "ff").map_err(io::Error::other);
    provider
        .map_err(|error| {
            // The log has not begun.
            log::write_to_stderr(format!("no spans are sent: {error}\n").as_bytes());
        })
        .ok()
}

/// Sends the last spans.
pub(super) fn flush(provider: Option<&SdkTracerProvider>) {
    let Some(provider) = provider else { return };
    if let Err(error) = provider.shutdown_with_timeout(FLUSH_TIMEOUT) {
        tracing::warn!(%error, "the last spans were not sent");
    }
}
