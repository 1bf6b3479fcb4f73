//! Summaries: patches merged into a document.

use ff_core::backend::{PatchKind, StreamMode, SummaryDocument};
use serde_json::{Value as Json, json};

use super::{FIRST, frame, payloads};
use crate::backends::{START, conformance};
use crate::bench::{assert_refused, id};

const SUMMARY: StreamMode = StreamMode::durable_summary();

fn document(summary: &SummaryDocument) -> Json {
    serde_json::from_slice(&summary.document_json).unwrap()
}

conformance! {
    async fn patches_merge_and_count_versions(bench) {
        let (id, handle) = bench.leased().await;
        let patches = [r#"{"b":{"z":1,"a":2}}"#, r#"{"a":1}"#, r#"{"a":42,"c":{"x":"__ff_null__"},"b":{"z":null}}"#];
        for (patch, version) in patches.into_iter().zip(1..) {
            let outcome = bench.append_as(&handle, patch, SUMMARY).await;
            assert_eq!((outcome.summary_version, outcome.frame_count), (Some(version), version));
            bench.clock.advance(10);
        }
        let summary = bench.backend.read_summary(&id, FIRST).await.unwrap().unwrap();
        assert_eq!(document(&summary), json!({"a": 42, "b": {"a": 2}, "c": {"x": null}}));
        assert_eq!(summary.document_json, br#"{"a":42,"b":{"a":2},"c":{"x":null}}"#, "members by name");
        let start = u64::try_from(START).unwrap();
        let expected = (3, PatchKind::JsonMergePatch, start + 20, start);
        let SummaryDocument { version, patch_kind, last_updated_ms, first_applied_ms, .. } = summary;
        assert_eq!((version, patch_kind, last_updated_ms, first_applied_ms), expected);
        let row = bench.of("ff_stream_summary", &id).await.swap_remove(0);
        assert_eq!(row.text("patch_kind"), "json-merge-patch");
        assert_eq!(payloads(&bench.frames(&id).await), patches, "the frames stay as well");
    }

    async fn a_patch_that_is_no_object_replaces_the_document(bench) {
        let (id, handle) = bench.leased().await;
        for (patch, expected) in [
            (r#"{"a":1}"#, json!({"a": 1})),
            (r#"[1,"__ff_null__",null]"#, json!([1, "__ff_null__", null])),
            (r#""__ff_null__""#, json!("__ff_null__")),
            ("null", json!(null)),
            (r#"{"n":[-0.0,1e16,1.5,18446744073709551615]}"#, json!({"n": [0.0, 10_000_000_000_000_000_u64, 1.5, u64::MAX]})),
            (r#"{"n":1e300}"#, json!({"n": 1e300})),
        ] {
            bench.append_as(&handle, patch, SUMMARY).await;
            let summary = bench.backend.read_summary(&id, FIRST).await.unwrap().unwrap();
            assert_eq!(document(&summary), expected, "{patch}");
        }
    }

    async fn what_is_no_patch_changes_nothing(bench) {
        let (_, handle) = bench.leased().await;
        bench.append_as(&handle, "{}", SUMMARY).await;
        let before = bench.everything().await;
        for (patch, expected) in [
            ("{", "summary patch not valid JSON: EOF while parsing an object at line 1 column 1"),
            (r#"{"a":"\u0000"}"#, "frame.bytes: must not contain NUL (at byte 0)"),
        ] {
            let given = frame(patch).with_mode(SUMMARY);
            let result = bench.backend.append_frame(&handle, given).await;
            assert_refused(result, &format!("validation: InvalidInput: {expected}"));
        }
        assert_eq!(bench.everything().await, before);
    }

    async fn a_summary_of_an_older_database_goes_on(bench) {
        let (id, handle) = bench.leased().await;
        let cells = vec![
            ("document_json", ff_core::plan::value::Value::Json(json!({"old": true}))),
            ("version", crate::plain::int(41)),
            ("last_updated_ms", crate::plain::int(1)),
            ("first_applied_ms", crate::plain::int(1)),
        ];
        bench.insert_stream_row("ff_stream_summary", &id, cells).await;
        let outcome = bench.append_as(&handle, r#"{"new":1}"#, SUMMARY).await;
        assert_eq!(outcome.summary_version, Some(42));
        let summary = bench.backend.read_summary(&id, FIRST).await.unwrap().unwrap();
        assert_eq!(document(&summary), json!({"new": 1, "old": true}));
        assert_eq!((summary.first_applied_ms, summary.patch_kind), (1, PatchKind::JsonMergePatch));
    }

    async fn without_patches_there_is_no_summary(bench) {
        assert_eq!(bench.backend.read_summary(&id(), FIRST).await.unwrap(), None);
        let (id, handle) = bench.leased().await;
        bench.append(&handle, frame("x")).await;
        assert_eq!(bench.backend.read_summary(&id, FIRST).await.unwrap(), None);
    }
}
