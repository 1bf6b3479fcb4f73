//! `ff tail`: prints the frames that an execution's attempts write, while they run.

mod follow;

use std::sync::Arc;
use std::time::Duration;

use ff_core::backend::{FrameKind, TailVisibility};
use ff_core::contracts::{StreamCursor, StreamFrame};
use ff_core::engine_backend::EngineBackend;
use ff_core::types::{AttemptIndex, ExecutionId};
use serde_json::Value as Json;

use super::Global;
use super::failure::Failure;
use super::ids::IdArguments;
use super::output::Output;
use super::refusal::missing;
use super::shown::escaped;
use super::view::{FrameView, SummaryView};
pub(super) use follow::is_over;
use follow::{Observed, WhenEmpty};

/// The number of frames read at a time.
const PAGE: u64 = 1_000;

/// The longest wait for frames before the execution's state is checked.
const WAIT: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    id: IdArguments,
    /// Only the frames of this attempt, counted from 0; by default, from the current attempt on.
    #[arg(long, value_name = "N")]
    attempt: Option<u32>,
    /// The place to begin: `start`, or after a frame, by its id as printed.
    #[arg(long, value_name = "FRAME", default_value = "start", value_parser = from)]
    from: StreamCursor,
    /// End after the frames so far, instead of waiting for more until the execution is over.
    #[arg(long)]
    no_follow: bool,
    /// Print the attempt's summary document, too, whenever it has changed.
    #[arg(long)]
    summary: bool,
}

fn from(text: &str) -> Result<StreamCursor, String> {
    match text.parse() {
        Ok(StreamCursor::Start) => Ok(StreamCursor::from_beginning()),
        Ok(at @ StreamCursor::At(_)) => Ok(at),
        Ok(StreamCursor::End) | Err(_) => Err("expected start or the id of a frame".to_owned()),
    }
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let name = arguments.id.name()?;
    let engine = global.open().await?;
    let id = name.find(&engine).await?;

    let mut tail = Tail {
        attempt: AttemptIndex(0),
        after: arguments.from,
        summary: arguments.summary.then_some(0),
        output: global.output(),
        engine,
        id,
    };

    let Observed { is_over, current_attempt: current } = tail.observe().await?;
    // An attempt to come is waited for, if it may come.
    let waits = !arguments.no_follow && !is_over;
    if let Some(attempt) = arguments.attempt.filter(|attempt| current.0 < *attempt && !waits) {
        let none = format!("{} has no attempt {attempt}; its last one is {current}", tail.id);
        return Err(Failure::new(none));
    }
    tail.attempt = arguments.attempt.map_or(current, AttemptIndex);
    tail.print_all(arguments.attempt.is_none(), !arguments.no_follow).await
}

/// The position of the printing.
struct Tail {
    engine: Arc<dyn EngineBackend>,
    output: Output,
    id: ExecutionId,
    attempt: AttemptIndex,
    after: StreamCursor,
    /// The version of the summary that was printed last; absent if none is asked for.
    summary: Option<u64>,
}

impl Tail {
    async fn print_all(&mut self, every_attempt: bool, follow: bool) -> Result<(), Failure> {
        let mut wait = follow;
        loop {
            if self.print_page(wait).await? {
                continue;
            }

            if wait {
                // Frames written before this read are there after it, so they are drained next.
                let observed = self.observe().await?;
                match follow::when_empty(observed, self.attempt) {
                    WhenEmpty::Wait => {}
                    WhenEmpty::Drain => wait = false,
                }
                continue;
            }

            if !follow {
                return Ok(());
            }
            // The attempt writes nothing any more; a later one may.
            if !every_attempt || self.observe().await?.current_attempt <= self.attempt {
                return Ok(());
            }

            self.attempt = AttemptIndex(self.attempt.0.saturating_add(1));
            self.after = StreamCursor::from_beginning();
            self.summary = self.summary.map(|_| 0);
            wait = true;
        }
    }

    /// Prints the next frames, and waits for them if `wait` is set. Returns true if there were any.
    async fn print_page(&mut self, wait: bool) -> Result<bool, Failure> {
        let wait_ms = if wait { u64::try_from(WAIT.as_millis()).unwrap_or(0) } else { 0 };
        let (after, all) = (self.after.clone(), TailVisibility::All);
        let page = self.engine.tail_stream(&self.id, self.attempt, after, wait_ms, PAGE, all).await;
        let page = page.map_err(|error| self.failure(&error))?;

        for frame in &page.frames {
            self.print_frame(frame)?;
        }
        if let Some(last) = page.frames.last() {
            self.after = StreamCursor::At(last.id.clone());
        }

        self.print_summary().await?;
        Ok(!page.frames.is_empty())
    }

    fn print_frame(&self, frame: &StreamFrame) -> Result<(), Failure> {
        if self.output.is_json() {
            return Ok(self.output.json_line(&FrameView::new(self.attempt, frame))?);
        }
        Ok(frame_lines(frame).into_iter().try_for_each(|line| self.output.line(line))?)
    }

    async fn print_summary(&mut self) -> Result<(), Failure> {
        let Some(printed) = self.summary else { return Ok(()) };
        let summary = self.engine.read_summary(&self.id, self.attempt).await;
        let summary = summary.map_err(|error| self.failure(&error))?;

        let Some(summary) = summary.filter(|summary| summary.version != printed) else {
            return Ok(());
        };

        self.summary = Some(summary.version);
        let (attempt_index, version) = (self.attempt, summary.version);
        let text = String::from_utf8_lossy(&summary.document_json);

        if self.output.is_json() {
            let document = serde_json::from_str(&text);
            let summary = document.unwrap_or_else(|_| Json::String(text.clone().into_owned()));
            return Ok(self.output.json_line(&SummaryView { attempt_index, summary, version })?);
        }
        Ok(self.output.line(format!("summary {version}: {}", text.trim_end()))?)
    }

    /// The execution's state and its current attempt.
    async fn observe(&self) -> Result<Observed, Failure> {
        let state = self.engine.read_execution_state(&self.id).await;
        let state = state.map_err(|error| self.failure(&error))?;
        let Some(state) = state else {
            return Err(missing(&self.id));
        };
        // In this order, so that an attempt that began in between is seen, and an end counts only
        // for the last attempt.
        let current_attempt = self.engine.read_current_attempt_index(&self.id).await;
        let current_attempt = current_attempt.map_err(|error| self.failure(&error))?;
        Ok(Observed { is_over: follow::is_over(state), current_attempt })
    }

    fn failure(&self, error: &ff_core::EngineError) -> Failure {
        Failure::engine(&format!("reading the frames of {}", self.id), error)
    }
}

/// A frame as lines: its id, its type, and a line of its payload each. Only output has several.
pub(super) fn frame_lines(frame: &StreamFrame) -> Vec<String> {
    let field = |name: &str| frame.fields.get(name).map_or("", String::as_str);
    let (kind, payload) = (field("frame_type"), field("payload").trim_end());
    let correlation = frame.fields.get("correlation_id");
    let correlation = correlation.map(|id| format!("[{}] ", escaped(id))).unwrap_or_default();

    let line = |text: &str| {
        format!("{} {} {correlation}{}", frame.id, escaped(kind), escaped(text.trim_end()))
    };
    let is_output = [FrameKind::Stdout, FrameKind::Stderr].iter().any(|of| of.wire_str() == kind);
    if is_output && !payload.is_empty() {
        return payload.lines().map(line).collect();
    }
    vec![line(payload)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(fields: &[(&str, &str)]) -> StreamFrame {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        StreamFrame { id: "17-0".to_owned(), fields: fields.collect() }
    }

    #[test]
    fn a_frame_is_a_line_and_output_may_be_several() {
        let fields = [("frame_type", "stdout"), ("payload", "one\ntwo\n"), ("source", "worker")];
        assert_eq!(frame_lines(&frame(&fields)), ["17-0 stdout one", "17-0 stdout two"]);
        let fields = [("frame_type", "event"), ("payload", "x\ny"), ("correlation_id", "c 1")];
        assert_eq!(frame_lines(&frame(&fields)), ["17-0 event [c 1] x\\ny"]);
        assert_eq!(frame_lines(&frame(&[])), ["17-0  "]);
    }

    #[test]
    fn a_tail_begins_at_the_start_or_after_a_frame() {
        assert_eq!(from("start"), Ok(StreamCursor::from_beginning()));
        assert_eq!(from("17-3"), Ok(StreamCursor::At("17-3".to_owned())));
        for bad in ["", "end", "now", "17-"] {
            assert!(from(bad).is_err(), "{bad}");
        }
    }
}
