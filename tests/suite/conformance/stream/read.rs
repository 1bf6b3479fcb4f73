//! Reading: ranges, pages, ends.

use ff_core::contracts::{StreamCursor, StreamFrames};
use ff_core::plan::value::Value;
use ff_core::types::TimestampMs;
use serde_json::json;

use super::{FIRST, at, frame, payloads};
use crate::backends::{START, conformance};
use crate::bench::{assert_refused, id};
use crate::plain::{int, text};

conformance! {
    async fn bounds_are_inclusive_and_may_be_any_cursor(bench) {
        let (id, handle) = bench.leased().await;
        for payload in ["a", "b", "c", "d"] {
            bench.append(&handle, frame(payload)).await;
            if payload == "b" {
                bench.clock.advance(1);
            }
        }
        let (early, late) = (START, START + 1);
        let id_of = |ts_ms, seq: i32| at(&format!("{ts_ms}-{seq}"));
        let bare = |ts_ms: i64| at(&ts_ms.to_string());
        use StreamCursor::{End, Start};
        for (from, to, expected) in [
            (Start, End, "abcd"),
            (id_of(early, 1), id_of(late, 2), "bc"),
            (id_of(early, 1), id_of(early, 1), "b"),
            (id_of(early, 2), End, "cd"),
            (Start, id_of(late, 1), "ab"),
            (bare(early), bare(early), "a"),
            (bare(late), End, "cd"),
            (Start, bare(late), "ab"),
            (End, Start, ""),
            (Start, Start, ""),
            (End, End, ""),
            (id_of(late, 3), id_of(early, 0), ""),
            (at("0-0"), at(&format!("{}-{}", i64::MAX, i32::MAX)), "abcd"),
        ] {
            let case = format!("{from} to {to}");
            let read = bench.backend.read_stream(&id, FIRST, from, to, 100).await.unwrap();
            assert_eq!(payloads(&read.frames).concat(), expected, "{case}");
            assert_eq!((read.closed_at, read.closed_reason), (None, None));
        }
    }

    async fn pages_follow_each_other(bench) {
        let (id, handle) = bench.leased().await;
        for number in 0..7 {
            bench.append(&handle, frame(&number.to_string())).await;
        }
        let (mut from, mut seen) = (StreamCursor::Start, Vec::new());
        loop {
            let page = bench.backend.read_stream(&id, FIRST, from, StreamCursor::End, 3).await.unwrap();
            let fresh: Vec<_> =
                page.frames.into_iter().filter(|frame| !seen.contains(frame)).collect();
            if fresh.is_empty() {
                break;
            }
            seen.extend(fresh);
            // The last frame is read again.
            from = at(&seen.last().unwrap().id);
        }
        assert_eq!(payloads(&seen).concat(), "0123456");
        let none = bench.backend.read_stream(&id, FIRST, StreamCursor::Start, StreamCursor::End, 0);
        assert_eq!(none.await.unwrap(), StreamFrames::empty_open());
    }

    async fn an_unknown_execution_or_attempt_has_no_frames(bench) {
        assert_eq!(bench.frames(&id()).await, []);
        let (id, handle) = bench.leased().await;
        bench.append(&handle, frame("a")).await;
        assert_eq!(bench.frames_of(&id, ff_core::types::AttemptIndex(1)).await, []);
        let elsewhere = ff_core::types::ExecutionId::from_parts(8, id.uuid());
        assert_eq!(bench.frames(&elsewhere).await, []);
        let beyond = ff_core::types::AttemptIndex(u32::MAX);
        let read = bench.backend.read_stream(&id, beyond, StreamCursor::Start, StreamCursor::End, 1);
        assert_refused(
            read.await,
            "validation: InvalidInput: attempt_index 4294967295 exceeds 2147483647",
        );
    }

    async fn cursors_that_name_no_frame_are_refused(bench) {
        for (cursor, half) in [
            ("", "ms"), ("x-1", "ms"), ("-1", "ms"), ("9223372036854775808", "ms"),
            ("1-x", "seq"), ("1-", "seq"), ("1-2147483648", "seq"),
        ] {
            let expected = format!("validation: InvalidInput: bad stream cursor '{cursor}' ({half})");
            let (id, end) = (id(), StreamCursor::End);
            assert_refused(
                bench.backend.read_stream(&id, FIRST, at(cursor), end.clone(), 1).await,
                &expected,
            );
            assert_refused(
                bench.backend.read_stream(&id, FIRST, end, at(cursor), 0).await,
                &expected,
            );
            let tail = bench.backend.tail_stream(&id, FIRST, at(cursor), 0, 1, Default::default());
            assert_refused(tail.await, &expected);
        }
    }

    async fn fields_read_as_texts(bench) {
        let id = id();
        let fields = json!({"text": "a\"b", "number": 1.5, "none": null, "list": [1, "x"], "flag": true});
        for (seq, fields) in [(0, fields), (1, json!([1])), (2, json!(null))] {
            let cells = vec![
                ("ts_ms", int(1)), ("seq", int(seq)), ("fields", Value::Json(fields)),
                ("mode", text("durable")), ("created_at_ms", int(1)),
            ];
            bench.insert_stream_row("ff_stream_frame", &id, cells).await;
        }
        let frames = bench.frames(&id).await;
        let read: Vec<_> = frames[0].fields.iter().map(|(name, field)| (name.as_str(), field.as_str())).collect();
        let expected =
            [("flag", "true"), ("list", r#"[1,"x"]"#), ("none", "null"), ("number", "1.5"), ("text", "a\"b")];
        assert_eq!(read, expected);
        assert!(frames[1].fields.is_empty() && frames[2].fields.is_empty());
        assert_eq!(frames.iter().map(|frame| frame.id.as_str()).collect::<Vec<_>>(), ["1-0", "1-1", "1-2"]);
    }

    async fn a_stream_is_closed_once_its_attempt_has_ended(bench) {
        let (id, handle) = bench.leased().await;
        bench.append(&handle, frame("a")).await;
        let all = || bench.backend.read_stream(&id, FIRST, StreamCursor::Start, StreamCursor::End, 9);
        assert!(!all().await.unwrap().is_closed());
        bench.clock.advance(3);
        bench.backend.complete(&handle, None).await.unwrap();
        let read = all().await.unwrap();
        assert_eq!(payloads(&read.frames), ["a"]);
        assert_eq!(read.closed_at, Some(TimestampMs(START + 3)));
        assert_eq!(read.closed_reason.as_deref(), Some("success"));
    }
}
