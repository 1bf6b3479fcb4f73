//! The situations in which streams are sampled: frames of every mode, on a stream that begins, goes on,
//! or was begun by an older database.

use ff_core::backend::{Frame, FrameKind, Handle, StreamMode, TailVisibility};
use ff_core::contracts::StreamCursor;
use ff_core::engine_backend::EngineBackend;
use ff_core::schema::suspension::{stream_meta, stream_summary};
use ff_core::types::{AttemptIndex, ExecutionId};
use ff_core::value::Value;
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

    /// Streams whose frames nobody counted.
    pub(super) fn older_streams(&mut self) {
        for (name, mode) in MODES {
            let Some((id, handle)) = self.held(None) else { return };
            self.put_by_hand(&id, stream_meta::TABLE.name, Vec::new());
            self.append(format!("{name}, on a stream that nobody counted"), &handle, mode);
        }
        for case in ["without a row of its own", "that nobody counted"] {
            let Some((id, handle)) = self.held(None) else { return };
            if case == "that nobody counted" {
                self.put_by_hand(&id, stream_meta::TABLE.name, Vec::new());
            }
            let summary = vec![
                ("document_json", Value::Json(json!({"pages": 16}))),
                ("version", Value::Int(1)),
                ("last_updated_ms", Value::Int(NOON)),
                ("first_applied_ms", Value::Int(NOON)),
            ];
            self.put_by_hand(&id, stream_summary::TABLE.name, summary);
            let mode = StreamMode::durable_summary();
            self.append(format!("a further patch, on a stream {case}"), &handle, mode);
        }
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

    fn put_by_hand(&self, id: &ExecutionId, table: &str, more: Vec<(&'static str, Value)>) {
        let mut row = vec![
            ("partition_key", Value::Int(i64::from(id.partition()))),
            ("execution_id", Value::Uuid(id.uuid())),
            ("attempt_index", Value::Int(0)),
        ];
        row.extend(more);
        let _ = self.memory.insert_row(table, row);
    }
}
