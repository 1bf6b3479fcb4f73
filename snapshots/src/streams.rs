//! The situations in which streams are sampled: frames of every mode, on a stream that begins,
//! continues, or comes from an older database.

use ff_core::backend::{Frame, FrameKind, Handle, StreamMode, TailVisibility};
use ff_core::contracts::StreamCursor;
use ff_core::engine_backend::EngineBackend;
use ff_core::handle_codec;
use ff_core::plan::value::Value;
use ff_core::schema::suspension::{stream_frame, stream_meta, stream_summary};
use ff_core::types::AttemptIndex;
use serde_json::json;

use super::stage::{NOON, Scene};

const MODES: [(&str, StreamMode); 3] = [
    ("durable", StreamMode::durable()),
    ("a patch", StreamMode::durable_summary()),
    ("best effort", StreamMode::best_effort_live(10_000)),
];

fn frame(mode: StreamMode) -> Frame {
    Frame::new(br#"{"pages":17}"#.to_vec(), FrameKind::Event).with_mode(mode)
}

impl Scene {
    pub(super) fn streams(&mut self) {
        for (name, mode) in MODES {
            let Some((_, handle)) = self.held(None) else { return };
            self.append(format!("{name}, the first"), &handle, mode);
            self.append(format!("{name}, the next"), &handle, mode);

            let Some((_, handle)) = self.held(None) else { return };
            self.append("durable, the first", &handle, StreamMode::durable());
            self.append(format!("{name}, after a durable one"), &handle, mode);
        }
    }

    /// Streams of older databases, which have no count of their frames.
    pub(super) fn older_streams(&mut self) {
        let patch = StreamMode::durable_summary();
        for with_row in [false, true] {
            for (name, mode) in MODES {
                let Some(handle) = self.older_stream(with_row) else { return };
                self.append(older(name, with_row), &handle, mode);
            }
            let Some(handle) = self.older_stream(with_row) else { return };
            self.insert_summary(&handle);
            self.append(older("a further patch", with_row), &handle, patch);
        }

        let Some((_, handle)) = self.held(None) else { return };
        self.insert_summary(&handle);
        self.append("a further patch, after its frames were deleted", &handle, patch);
    }

    /// A stream with one frame and no count; with `with_row`, it has a row of its own.
    fn older_stream(&mut self, with_row: bool) -> Option<Handle> {
        let (_, handle) = self.held(None)?;
        if with_row {
            self.insert_by_hand(&handle, stream_meta::TABLE.name, Vec::new());
        }

        let frame = vec![
            ("ts_ms", Value::Int(NOON)),
            ("seq", Value::Int(0)),
            ("fields", Value::Json(json!({"payload": "16"}))),
            ("mode", Value::Text("durable".into())),
            ("created_at_ms", Value::Int(NOON)),
        ];
        self.insert_by_hand(&handle, stream_frame::TABLE.name, frame);
        Some(handle)
    }

    fn insert_summary(&self, handle: &Handle) {
        let summary = vec![
            ("document_json", Value::Json(json!({"pages": 16}))),
            ("version", Value::Int(1)),
            ("last_updated_ms", Value::Int(NOON)),
            ("first_applied_ms", Value::Int(NOON)),
        ];
        self.insert_by_hand(handle, stream_summary::TABLE.name, summary);
    }

    pub(super) fn stream_reads(&mut self) {
        let Some((id, handle)) = self.held(None) else { return };
        self.append("a patch, the first", &handle, StreamMode::durable_summary());
        let (first, from) = (AttemptIndex(0), StreamCursor::from_beginning());

        self.sample("read_stream", "all", async |b| {
            b.read_stream(&id, first, StreamCursor::Start, StreamCursor::End, 100).await
        });

        for (case, visibility) in [
            ("every frame", TailVisibility::All),
            ("frames that stay", TailVisibility::ExcludeBestEffort),
        ] {
            self.sample("tail_stream", case, async |b| {
                b.tail_stream(&id, first, from.clone(), 0, 100, visibility).await
            });
        }

        self.sample("read_summary", "patched", async |b| b.read_summary(&id, first).await);
    }

    fn append(
        &mut self,
        case: impl Into<std::borrow::Cow<'static, str>>,
        handle: &Handle,
        mode: StreamMode,
    ) {
        self.sample("append_frame", case, async |b| b.append_frame(handle, frame(mode)).await);
    }

    fn insert_by_hand(&self, handle: &Handle, table: &str, more: Vec<(&'static str, Value)>) {
        let Ok(decoded) = handle_codec::decode(&handle.opaque) else { return };
        let id = decoded.payload.execution_id;

        let mut row = vec![
            ("partition_key", Value::Int(i64::from(id.partition()))),
            ("execution_id", Value::Uuid(id.uuid())),
            ("attempt_index", Value::Int(0)),
        ];
        row.extend(more);
        let _ = self.memory.insert_row(table, row);
    }
}

fn older(name: &str, with_row: bool) -> String {
    let stream = if with_row { "without a count" } else { "without a row of its own" };
    format!("{name}, on a stream {stream}")
}
