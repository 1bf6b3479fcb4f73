//! Nothing that is said contains a payload, a result, a frame, a token or a secret: histories with
//! marked content run while every log line, span, metric, answer and error text is written down.

use std::fmt::{self, Write as _};
use std::io;
use std::sync::{Arc, Mutex};

use ff_core::backend::TailVisibility;
use ff_core::contracts::{ExplainExecutionArgs, StreamCursor};
use ff_core::types::AttemptIndex;
use flowfabric_sql::Ending;
use flowfabric_sql::telemetry::METRICS;
use metrics_exporter_prometheus::PrometheusBuilder;
use tracing_subscriber::fmt::format::FmtSpan;

use super::schedules::Cron;
use super::*;
use crate::suspended::secret;

/// A part of all content.
pub(super) const MARK: &str = "kept-silent-7f3a";

/// A frame that is content, and a patch of a summary.
const FRAME: &str = r#"{"a":"kept-silent-7f3a"}"#;

/// How many histories run under observation.
const OBSERVED: u64 = 2;

/// Everything that is said.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl Said {
    fn note(&self, text: impl fmt::Debug) {
        let mut line = String::new();
        writeln!(line, "{text:?}").unwrap();
        self.0.lock().unwrap().extend_from_slice(line.as_bytes());
    }

    fn note_result<T: fmt::Debug>(&self, result: &Result<T, ff_core::EngineError>) {
        self.note(result);
        if let Err(error) = result {
            self.note(error.to_string());
            self.note(error.sentence());
        }
    }

    /// Fails if the text, or another way to write its bytes, was said.
    #[track_caller]
    fn assert_silent_about(&self, what: &str, content: &[u8]) {
        let said = String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned();
        let numbers = format!("{content:?}");
        let text = String::from_utf8_lossy(content).into_owned();
        let forms = [
            text,
            hex::encode(content),
            hex::encode_upper(content),
            numbers.trim_matches(['[', ']']).to_owned(),
        ];
        for form in forms {
            let Some(at) = said.find(&form) else { continue };
            let (from, to) = (at.saturating_sub(600), (at + form.len() + 200).min(said.len()));
            let context = String::from_utf8_lossy(&said.as_bytes()[from..to]).into_owned();
            panic!("{what} was said: {context}");
        }
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

/// Marks the content that an operation gives to the engine.
fn mark(operation: &mut Operation) {
    let add = |content: &mut Vec<u8>| content.extend_from_slice(MARK.as_bytes());
    match operation {
        Operation::Create(args) => add(&mut args.input_payload),
        Operation::Append(_, _, frame) => *frame = FRAME,
        Operation::Complete(_, result) | Operation::TypedComplete(_, _, result, _) => {
            add(result.get_or_insert_default());
        }
        Operation::Cron(Cron::Create(_, spec) | Cron::Update(_, spec)) => {
            add(&mut spec.work.input_payload);
        }
        _ => {}
    }
}

/// Reads everything that can be read of the executions.
async fn read_all(side: &Side, said: &Said) {
    let backend = &side.bench.backend;
    for id in &side.ids {
        said.note_result(&backend.read_execution_context(id).await);
        said.note_result(&backend.describe_execution(id).await);
        said.note_result(&backend.read_execution_info(id).await);
        said.note_result(&backend.execution_timeline(id).await);
        said.note_result(&backend.explain_execution(ExplainExecutionArgs::new(id.clone())).await);
        for attempt in (0..3).map(AttemptIndex) {
            let (from, to) = (StreamCursor::Start, StreamCursor::End);
            said.note_result(&backend.read_stream(id, attempt, from, to, 100).await);
            let (after, all) = (StreamCursor::from_beginning(), TailVisibility::All);
            said.note_result(&backend.tail_stream(id, attempt, after, 0, 100, all).await);
            said.note_result(&backend.read_summary(id, attempt).await);
        }
    }
    for handle in side.handles() {
        said.note(handle);
        said.note_result(&backend.observe_signals(handle).await);
    }
}

async fn observe(seed: u64, said: &Said) {
    let benches =
        [backends::memory().await, backends::sqlite_file().await, backends::postgres().await];
    let mut history = History::new(seed, benches);
    history.mark = Some(mark);
    let outcome = history.run(&mut Tally::default()).await;
    assert_eq!(
        outcome,
        Ok(()),
        "{}",
        history.report(outcome.as_ref().err().unwrap_or(&String::new()))
    );
    history.steps.iter().for_each(|step| said.note(&step.operation));
    history.answers.iter().for_each(|answer| said.note(answer));

    for side in &history.sides {
        read_all(side, said).await;
        for row in side.bench.plain.rows("ff_waitpoint_pending").await {
            said.assert_silent_about("a token", row.text("token").as_bytes());
        }
    }
    for side in history.sides {
        side.bench.tear_down().await;
    }
}

#[test]
fn no_content_and_no_secret_is_said() {
    let said = Said::default();
    let written = said.clone();
    let log = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(FmtSpan::FULL)
        .with_ansi(false)
        .with_writer(move || written.clone())
        .finish();
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();

    // One thread, to which the log and the recorder belong.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let log = tracing::subscriber::set_default(log);
    let recording = metrics::set_default_local_recorder(&recorder);
    runtime.block_on(async {
        for seed in 1..=OBSERVED {
            observe(seed, &said).await;
        }
    });
    drop((log, recording));

    let text = metrics.render();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let known = METRICS.iter().any(|metric| {
            name.strip_prefix(metric.name)
                .is_some_and(|rest| ["", "_bucket", "_sum", "_count"].contains(&rest))
        });
        assert!(known, "no metric of the table: {line}");
    }
    for expected in ["ff_operations_total{operation=\"create_execution\"", "ff_batch_size"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    said.note(text);

    let log = String::from_utf8_lossy(&said.0.lock().unwrap()).into_owned();
    let has_line =
        |parts: [&str; 3]| log.lines().any(|line| parts.iter().all(|part| line.contains(part)));
    assert!(has_line(["operation=\"create_execution\"", "plan=\"create", "execution_id={fp:"]));
    drop(log);
    said.assert_silent_about("content", MARK.as_bytes());
    said.assert_silent_about("a secret", secret(1).as_bytes());
    said.assert_silent_about("a secret", &[1; 32]);
}

#[test]
fn debug_shows_the_size_of_content() {
    let said = Said::default();
    let content = || MARK.as_bytes().to_vec();
    said.note(Ending::Completed(Some(content())));
    let text = format!("{:?}", Ending::Completed(Some(content())));
    assert_eq!(text, "Completed(<16 bytes>)");
    said.assert_silent_about("a result", MARK.as_bytes());
}
