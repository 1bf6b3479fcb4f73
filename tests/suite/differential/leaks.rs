//! Nothing that is said contains a payload, a result, a frame, a step, a token, a secret or a
//! password: operations with marked content run while every log line, span, metric, argument,
//! answer and error text is written down.

use std::fmt::{self, Write as _};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ff_backend_memory::MemoryBackend;
use ff_core::backend::{CapabilitySet, Frame, FrameKind, TailVisibility};
use ff_core::contracts::{ExplainExecutionArgs, ResolveDependencyArgs, StreamCursor};
use ff_core::engine_backend::EngineBackend as _;
use ff_core::types::{AttemptIndex, EdgeId, FlowId, TimestampMs};
use flowfabric_sql::Ending;
use metrics_exporter_prometheus::PrometheusBuilder;
use tracing_subscriber::fmt::format::FmtSpan;

use super::schedules::Cron;
use super::*;
use crate::bench::{id, partition, worker};
use crate::metrics::metric;
use crate::suspended::secret;
use crate::tidy::operations::asynchronous_operations;
use crate::transactions::Own;

/// A part of all content.
pub(super) const MARK: &str = "kept-silent-7f3a";

/// A frame that is content, and a patch of a summary.
const FRAME: &str = r#"{"a":"kept-silent-7f3a"}"#;

/// How many histories run under observation.
const OBSERVED: u64 = 2;

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

    fn note_result<T: fmt::Debug>(&self, result: &Result<T, ff_core::EngineError>) {
        self.note(result);
        if let Err(error) = result {
            self.note(error.to_string());
            self.note(error.sentence());
        }
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
        Operation::Step(_, step) => add(&mut step.value),
        Operation::Complete(_, result) | Operation::TypedComplete(_, _, result, _) => {
            add(result.get_or_insert_default());
        }
        Operation::Cron(Cron::Create(_, spec) | Cron::Update(_, spec)) => {
            add(&mut spec.work.input_payload);
        }
        _ => {}
    }
}

/// Writes down the arguments that hold content.
fn note_arguments(operation: &Operation, said: &Said) {
    match operation {
        Operation::Create(args) => said.note(args),
        Operation::Append(_, _, frame) => {
            said.note(Frame::new(frame.as_bytes().to_vec(), FrameKind::Event));
        }
        Operation::Step(_, step) => said.note(step),
        Operation::Suspend(_, args) => said.note(args),
        Operation::Cron(Cron::Create(_, spec) | Cron::Update(_, spec)) => said.note(spec),
        Operation::Complete(_, result) => said.note(Ending::Completed(result.clone())),
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
        said.note_result(&backend.list_steps(id, None, 100).await);
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

/// Submits and completes an execution within transactions of the caller, after a refusal.
async fn observe_transactions(bench: &Bench, said: &Said) {
    let lane = LaneId::new("within");
    let mut args = bench.args(&id());
    args.input_payload = MARK.as_bytes().to_vec();
    args.lane_id = lane.clone();
    said.note(&args);
    let mut own = Own::begin(bench).await;
    said.note_result(&own.within(bench).create_execution(args).await);
    own.commit().await.unwrap();

    let offered = CapabilitySet::default();
    let claimed = bench.backend.claim(&lane, &offered, worker("w")).await.unwrap();
    let handle = claimed.expect("the execution waits");
    let mut own = Own::begin(bench).await;
    let result = || Some(MARK.as_bytes().to_vec());
    said.note_result(&own.within(bench).complete(&handle, result()).await);
    said.note_result(&own.within(bench).complete(&handle, result()).await);
    own.commit().await.unwrap();
}

/// Runs a history on each database. Returns the tokens that came about.
async fn observe_history(seed: u64, said: &Said) -> Vec<Vec<u8>> {
    let benches =
        [backends::memory().await, backends::sqlite_file().await, backends::postgres().await];
    let mut history = History::new(seed, benches);
    history.mark = Some(mark);
    let outcome = history.run(&mut Tally::default()).await;
    let difference = outcome.as_ref().err().cloned().unwrap_or_default();
    assert_eq!(outcome, Ok(()), "{}", history.report(&difference));
    history.steps.iter().for_each(|step| note_arguments(&step.operation, said));
    history.answers.iter().for_each(|answer| said.note(answer));

    let mut tokens = Vec::new();
    for side in &history.sides {
        read_all(side, said).await;
        let waitpoints = side.bench.plain.rows("ff_waitpoint_pending").await;
        tokens.extend(waitpoints.iter().map(|row| row.text("token").as_bytes().to_vec()));
    }
    let [memory, sqlite, postgres] = history.sides.map(|side| side.bench);
    memory.tear_down().await;
    for bench in [sqlite, postgres] {
        observe_transactions(&bench, said).await;
        bench.tear_down().await;
    }
    tokens
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
    let mut contents = vec![MARK.as_bytes().to_vec(), secret(1).into_bytes(), vec![1; 32]];
    let metrics = said.during(async {
        for seed in 1..=OBSERVED {
            contents.extend(observe_history(seed, &said).await);
        }
        open_with_a_password(&said).await;
    });
    assert!(3 < contents.len(), "no waitpoint came about");

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
    said.note_result(&backend.ping().await);
    said.note_result(&backend.prepare().await);
    said.note_result(&backend.server_time_ms().await);

    let (id, lane, now) = (id(), LaneId::new("any"), TimestampMs(0));
    said.note_result(&backend.promote_delayed(partition(&id), &lane, &id, now).await);
    let (flow, edge, first) = (FlowId::new(), EdgeId::new(), AttemptIndex(0));
    let args = ResolveDependencyArgs::new(
        partition(&id),
        flow,
        id.clone(),
        id,
        edge,
        lane,
        first,
        "success".into(),
        now,
    );
    said.note_result(&backend.resolve_dependency(args).await);
    said.note_result(&backend.shutdown_prepare(Duration::ZERO).await);
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

#[test]
fn debug_shows_the_size_of_content() {
    let said = Said::default();
    let content = || MARK.as_bytes().to_vec();
    said.note(Ending::Completed(Some(content())));
    let text = format!("{:?}", Ending::Completed(Some(content())));
    assert_eq!(text, "Completed(<16 bytes>)");
    said.assert_silent_about(&[content()]);
}
