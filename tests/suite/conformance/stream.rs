//! Streams: what attempts put out.

mod append;
mod read;
mod summary;
mod tail;
mod trim;

use ff_core::backend::{AppendFrameOutcome, Frame, FrameKind, Handle, StreamMode};
use ff_core::contracts::{StreamCursor, StreamFrame};
use ff_core::plan::value::Value;
use ff_core::types::{AttemptIndex, ExecutionId};

use crate::backends::Bench;
use crate::plain::{Given, int};

/// The attempt of every case that needs only one.
const FIRST: AttemptIndex = AttemptIndex(0);

fn frame(payload: &str) -> Frame {
    Frame::new(payload.as_bytes().to_vec(), FrameKind::Stdout)
}

fn at(id: &str) -> StreamCursor {
    StreamCursor::At(id.to_owned())
}

fn payloads(frames: &[StreamFrame]) -> Vec<&str> {
    frames.iter().map(|frame| frame.fields["payload"].as_str()).collect()
}

impl Bench {
    async fn append(&self, handle: &Handle, frame: Frame) -> AppendFrameOutcome {
        self.backend.append_frame(handle, frame).await.unwrap()
    }

    async fn append_as(
        &self,
        handle: &Handle,
        payload: &str,
        mode: StreamMode,
    ) -> AppendFrameOutcome {
        self.append(handle, frame(payload).with_mode(mode)).await
    }

    /// Every frame of an execution's first attempt.
    async fn frames(&self, id: &ExecutionId) -> Vec<StreamFrame> {
        self.frames_of(id, FIRST).await
    }

    async fn frames_of(&self, id: &ExecutionId, attempt: AttemptIndex) -> Vec<StreamFrame> {
        let all = (StreamCursor::Start, StreamCursor::End);
        let read = self.backend.read_stream(id, attempt, all.0, all.1, u64::MAX);
        read.await.unwrap().frames
    }

    /// A row of a stream's table inserted by hand.
    async fn insert_stream_row(&self, table: &str, id: &ExecutionId, more: Given<'_>) {
        let mut cells = vec![
            ("partition_key", int(i64::from(id.partition()))),
            ("execution_id", Value::Uuid(id.uuid())),
            ("attempt_index", int(0)),
        ];
        cells.extend(more);
        self.plain.insert(table, cells).await;
    }

    /// A frame as older databases number them: within its millisecond.
    async fn insert_frame(&self, id: &ExecutionId, ts_ms: i64, seq: i64, mode: &str) {
        let fields =
            serde_json::json!({"frame_type": "stdout", "payload": format!("{ts_ms}-{seq}")});
        let cells = vec![
            ("ts_ms", int(ts_ms)),
            ("seq", int(seq)),
            ("fields", Value::Json(fields)),
            ("mode", crate::plain::text(mode)),
            ("created_at_ms", int(ts_ms)),
        ];
        self.insert_stream_row("ff_stream_frame", id, cells).await;
    }
}
