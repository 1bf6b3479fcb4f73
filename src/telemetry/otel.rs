//! Spans for an OpenTelemetry collector: the exporter, and the trace that a run continues.

use std::time::Duration;

use async_trait::async_trait;
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use tokio::runtime::Handle;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

pub use opentelemetry_sdk::trace::SdkTracerProvider;

use super::Traceparent;

/// The longest time that a request to the collector takes.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A provider of tracers that sends spans in batches, as the environment says: by default to
/// `http://localhost:4318/v1/traces`. It sends over plain HTTP, to a collector nearby.
///
/// # Errors
/// The environment's setting that is wrong.
pub fn tracer_provider(
    runtime: &Handle,
    service: &'static str,
) -> Result<SdkTracerProvider, ExporterBuildError> {
    let client = HyperClient::with_default_connector(TIMEOUT, None);
    let client = Sender { client, runtime: runtime.clone() };
    let exporter = SpanExporter::builder().with_http().with_http_client(client).build()?;

    let resource = Resource::builder().with_service_name(service).build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

/// Sends requests on the runtime of the process: the thread that batches spans has none.
#[derive(Debug)]
struct Sender {
    client: HyperClient,
    runtime: Handle,
}

#[async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        self.runtime.spawn(async move { client.send_bytes(request).await }).await?
    }
}

/// Makes a span a child of the submitter's.
pub(super) fn continue_trace(span: &tracing::Span, traceparent: Option<Traceparent>) {
    let Some(traceparent) = traceparent else { return };
    let parent = SpanContext::new(
        TraceId::from(traceparent.trace_id()),
        SpanId::from(traceparent.parent_id()),
        if traceparent.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::default() },
        true,
        TraceState::default(),
    );
    // Without a layer for OpenTelemetry there is no span to have a parent.
    let _ = span.set_parent(opentelemetry::Context::new().with_remote_span_context(parent));
}

/// The traceparent of a span that a collector gets.
pub(super) fn traceparent_of(span: &tracing::Span) -> Option<Traceparent> {
    let context = span.context();
    let own = context.span().span_context().clone();
    let trace_id = u128::from_be_bytes(own.trace_id().to_bytes());
    let parent_id = u64::from_be_bytes(own.span_id().to_bytes());
    Traceparent::new(trace_id, parent_id, own.is_sampled()).ok()
}
