//! Nothing that is said contains a payload, a result, a frame, a step, a token, a secret or a
//! password: operations with marked content run while every log line, span, metric, argument,
//! answer and error text is written down.

mod life;

use std::fmt::{self, Write as _};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ff_backend_memory::MemoryBackend;
use ff_core::EngineError;
use ff_core::contracts::ResolveDependencyArgs;
use ff_core::engine_backend::EngineBackend as _;
use ff_core::types::{AttemptIndex, EdgeId, FlowId, LaneId, TimestampMs};
use metrics_exporter_prometheus::PrometheusBuilder;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::backends;
use crate::bench::{id, partition};
use crate::metrics::metric;
use crate::suspended::secret;
use crate::tidy::operations::asynchronous_operations;

/// A part of all content.
const MARK: &str = "kept-silent-7f3a";

/// Content of the catalogue's samples.
const SAMPLED: [&str; 4] = [r#"{"invoice":17}"#, "invoice-17.pdf", r#"{"pages":17}"#, r#""paid""#];

/// Everything that is said.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl Said {
    /// Writes down the log and the spans of that work, which stays on this thread. Returns its
    /// metrics.
    fn during(&self, work: impl Future<Output = ()>) -> String {
        let written = self.clone();
        let log = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_span_events(FmtSpan::CLOSE)
            .with_ansi(false)
            .with_writer(move || written.clone())
            .finish();
        let recorder = PrometheusBuilder::new().set_buckets(&[1.0]).unwrap().build_recorder();
        let metrics = recorder.handle();

        let log = tracing::subscriber::set_default(log);
        let recording = metrics::set_default_local_recorder(&recorder);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(work);
        drop((log, recording));

        let text = metrics.render();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            metric(line.split(['{', ' ']).next().unwrap());
        }
        self.note(&text);
        text
    }

    fn note(&self, text: impl fmt::Debug) {
        let mut line = String::new();
        writeln!(line, "{text:?}").unwrap();
        self.0.lock().unwrap().extend_from_slice(line.as_bytes());
    }

    /// Writes down an answer, or all texts of an error. Hands it back.
    fn answer<T: fmt::Debug>(&self, result: Result<T, EngineError>) -> Result<T, EngineError> {
        self.note(&result);
        if let Err(error) = &result {
            self.note(error.to_string());
            self.note(error.sentence());
        }
        result
    }

    /// Writes down a refusal.
    #[track_caller]
    fn refusal<T: fmt::Debug>(&self, result: Result<T, EngineError>) {
        assert!(self.answer(result).is_err(), "it must be refused");
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }

    /// Fails if the content, or another way to write its bytes, was said.
    #[track_caller]
    fn assert_silent_about(&self, contents: &[Vec<u8>]) {
        let said = self.text();
        contents.iter().for_each(|content| assert_silent(&said, content));
    }
}

impl io::Write for Said {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[track_caller]
fn assert_silent(said: &str, content: &[u8]) {
    let numbers = format!("{content:?}");
    let text = String::from_utf8_lossy(content).into_owned();
    let forms = [
        text.clone(),
        text.escape_debug().to_string(),
        hex::encode(content),
        hex::encode_upper(content),
        numbers.trim_matches(['[', ']']).to_owned(),
    ];
    for form in forms {
        let Some(at) = said.find(&form) else { continue };
        let (from, to) = (at.saturating_sub(600), (at + form.len() + 200).min(said.len()));
        let context = String::from_utf8_lossy(&said.as_bytes()[from..to]).into_owned();
        panic!("{text} was said: {context}");
    }
}

/// Opens the database with a password. The server may refuse it, or need none.
async fn open_with_a_password(said: &Said) {
    let url = backends::postgres_url();
    let (scheme, rest) = url.split_once("://").unwrap();
    let (user, host) = rest.split_once('@').unwrap_or(("postgres", rest));
    let user = user.split(':').next().unwrap_or_default();
    let opened = flowfabric_sql::open(&format!("{scheme}://{user}:{MARK}@{host}")).await;
    if let Err(error) = opened {
        said.note(error.to_string());
        said.note(error);
    }
}

#[test]
fn no_content_and_no_secret_is_said() {
    let said = Said::default();
    let keys = [secret(1).into_bytes(), vec![1; 32], secret(2).into_bytes(), vec![2; 32]];
    let mut contents = vec![MARK.as_bytes().to_vec()];
    contents.extend(keys);
    let metrics = said.during(async {
        for bench in
            [backends::memory().await, backends::sqlite_file().await, backends::postgres().await]
        {
            contents.extend(bench.observe(&said).await);
            bench.tear_down().await;
        }
        open_with_a_password(&said).await;
    });

    let expected = ["ff_refusals_total{operation=", "ff_retries_total{plan=", "ff_batch_size"];
    for expected in expected {
        assert!(metrics.contains(expected), "{expected}: {metrics}");
    }
    let log = said.text();
    let has_line =
        |parts: [&str; 3]| log.lines().any(|line| parts.iter().all(|part| line.contains(part)));
    assert!(has_line(["operation=\"create_execution\"", "plan=\"create", "execution_id={fp:"]));
    said.assert_silent_about(&contents);
}

/// Calls the operations that the catalogue has no sample of: they ask nothing of a database, or
/// the same as others.
async fn call_the_rest(said: &Said) {
    let backend = MemoryBackend::new();
    said.answer(backend.ping().await).unwrap();
    said.answer(backend.prepare().await).unwrap();
    said.answer(backend.server_time_ms().await).unwrap();
    said.answer(backend.database_report().await).unwrap();

    let (id, lane, now) = (id(), LaneId::new("any"), TimestampMs(0));
    let _ = said.answer(backend.promote_delayed(partition(&id), &lane, &id, now).await);
    let (flow, edge, first) = (FlowId::new(), EdgeId::new(), AttemptIndex(0));
    let (upstream, outcome) = (id.clone(), "success".to_owned());
    let at = partition(&id);
    let args = ResolveDependencyArgs::new(at, flow, id, upstream, edge, lane, first, outcome, now);
    let _ = said.answer(backend.resolve_dependency(args).await);
    said.answer(backend.shutdown_prepare(Duration::ZERO).await).unwrap();
}

#[test]
fn every_operation_counts_itself_and_says_no_content() {
    let said = Said::default();
    let metrics = said.during(async {
        drop(ff_catalogue::samples());
        call_the_rest(&said).await;
    });
    let is_counted = |name: &String| {
        metrics.contains(&format!("ff_operations_total{{operation=\"{name}\",outcome="))
    };
    let operations = asynchronous_operations();
    let uncounted: Vec<&String> = operations.iter().filter(|name| !is_counted(name)).collect();
    assert!(uncounted.is_empty(), "{uncounted:?}");
    said.assert_silent_about(&SAMPLED.map(|content| content.as_bytes().to_vec()));
}
