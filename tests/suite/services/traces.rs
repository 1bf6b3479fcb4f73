//! The trace of a submission, in the handler of its job and in the jobs that the handler submits.

use std::sync::{Arc, Mutex};

use ff_backend_memory::MemoryBackend;
use ff_core::types::{LaneId, Namespace, TimestampMs};
use flowfabric_sql::flow::{FlowSpec, NodeName, NodeSpec, submit};
use flowfabric_sql::telemetry::Traceparent;
use flowfabric_sql::{Client, Context, Failure, Job, Service};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use serde::{Deserialize, Serialize};
use tracing::Instrument as _;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const OTHER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

/// Submits another job, and waits for it.
#[derive(Serialize, Deserialize)]
struct Outer;

impl Job for Outer {
    const KIND: &'static str = "outer";
    type Output = Traces;
}

#[derive(Serialize, Deserialize)]
struct Inner;

impl Job for Inner {
    const KIND: &'static str = "inner";
    type Output = Option<String>;
}

/// The traces that both handlers saw.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Traces {
    outer: Option<String>,
    inner: Option<String>,
}

fn text(traceparent: Option<Traceparent>) -> Option<String> {
    traceparent.map(|traceparent| traceparent.to_string())
}

async fn outer(_: Outer, context: Context<()>) -> Result<Traces, Failure> {
    let child = context.submit_child("inner", &Inner).await?;
    Ok(Traces { outer: text(context.traceparent()), inner: child.result().await? })
}

async fn inner(_: Inner, context: Context<()>) -> Result<Option<String>, Failure> {
    Ok(text(context.traceparent()))
}

/// The traces of a job that is submitted within the span.
async fn traces(explicit: Option<Traceparent>, span: tracing::Span) -> Traces {
    let engine = Arc::new(MemoryBackend::new());
    let client = Client::new(engine.clone());
    let submission = client.submit(&Outer);
    let submission = match explicit {
        Some(traceparent) => submission.traceparent(traceparent),
        None => submission,
    };
    let submitted = async { submission.await.unwrap() }.instrument(span).await;

    let service = Service::builder(engine, ()).handler(outer).handler(inner).build();
    service.run_until_empty().await.unwrap();
    submitted.result().await.unwrap()
}

#[tokio::test]
async fn a_handler_and_its_children_continue_the_trace_of_the_submission() {
    let given: Traceparent = TRACE.parse().unwrap();
    let continued = Traces { outer: Some(TRACE.into()), inner: Some(TRACE.into()) };
    assert_eq!(traces(Some(given), tracing::Span::none()).await, continued);
    let none = Traces { outer: None, inner: None };
    assert_eq!(traces(None, tracing::Span::none()).await, none);
}

/// The traces of a flow's two nodes, the first of which names one, submitted within the span.
async fn traces_of_flow(explicit: Option<Traceparent>, span: tracing::Span) -> [Option<String>; 2] {
    let engine = Arc::new(MemoryBackend::new());
    let node = |name| {
        let (payload, lane) = (b"null".to_vec(), LaneId::new(Inner::LANE));
        NodeSpec::new(NodeName::new(name).unwrap(), Inner::KIND, payload, lane)
    };
    let mut first = node("first");
    first.tags.insert("traceparent".into(), OTHER.into());
    let second = NodeSpec { after: vec![first.name.clone()], ..node("second") };
    let spec = FlowSpec::new("pair", Namespace::new(""), vec![first, second]).unwrap();
    let spec = match explicit {
        Some(traceparent) => spec.traceparent(traceparent),
        None => spec,
    };

    let now = TimestampMs::now();
    let submitted = submit(engine.as_ref(), &spec, now).instrument(span).await.unwrap();
    let client = Client::new(engine.clone());
    let service = Service::builder(engine, ()).handler(inner).build();
    service.run_until_empty().await.unwrap();
    let results = submitted.executions.into_iter().map(|(_, id)| {
        let client = client.clone();
        async move { client.attach::<Inner>(id).result().await.unwrap() }
    });
    futures_util::future::join_all(results).await.try_into().unwrap()
}

#[tokio::test]
async fn each_node_of_a_flow_continues_the_trace_of_the_submission() {
    let other = Some(OTHER.to_owned());
    let given = traces_of_flow(Some(TRACE.parse().unwrap()), tracing::Span::none()).await;
    assert_eq!(given, [other.clone(), Some(TRACE.into())]);
    assert_eq!(traces_of_flow(None, tracing::Span::none()).await, [other, None]);
}

/// What a collector gets.
#[derive(Clone, Debug, Default)]
struct Exported(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Exported {
    async fn export(&self, spans: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(spans);
        Ok(())
    }
}

impl Exported {
    /// The span of that name whose parent is the other one.
    fn child_of(&self, name: &str, parent: &SpanData) -> SpanData {
        let spans = self.0.lock().unwrap();
        let mut found = spans.iter().filter(|span| {
            span.name == name
                && span.parent_span_id == parent.span_context.span_id()
                && span.span_context.trace_id() == parent.span_context.trace_id()
        });
        found.next().unwrap_or_else(|| panic!("no {name} below {parent:?}: {spans:#?}")).clone()
    }

    fn of_name(&self, name: &str) -> SpanData {
        self.0.lock().unwrap().iter().find(|span| span.name == name).unwrap().clone()
    }
}

fn traceparent_of(span: &SpanData) -> Option<String> {
    let context = &span.span_context;
    Some(format!("00-{}-{}-01", context.trace_id(), context.span_id()))
}

/// One thread, to which the subscriber belongs.
#[tokio::test]
async fn the_span_of_a_run_is_a_child_of_the_span_that_submitted_it() {
    let exported = Exported::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exported.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("suite"));
    let subscriber = tracing_subscriber::registry().with(layer.with_filter(LevelFilter::INFO));
    let subscribed = tracing::subscriber::set_default(subscriber);
    let traces = traces(None, tracing::info_span!("request")).await;
    let [_, of_flow] = traces_of_flow(None, tracing::info_span!("flow request")).await;
    drop(subscribed);

    let request = exported.of_name("request");
    let run = exported.child_of("run", &request);
    let child = exported.child_of("run", &run);
    let seen = Traces { outer: traceparent_of(&run), inner: traceparent_of(&child) };
    assert_eq!(traces, seen);
    let run = exported.child_of("run", &exported.of_name("flow request"));
    assert_eq!(of_flow, traceparent_of(&run));
}
