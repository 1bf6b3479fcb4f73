//! Appends: ids, order, the stored rows, and the fence.

use std::sync::Arc;

use ff_core::backend::{Frame, FrameKind, StreamMode};
use ff_core::policy::{BackoffStrategy, ExecutionPolicy, RetryPolicy};
use serde_json::json;

use super::{FIRST, frame, payloads};
use crate::backends::{START, conformance};
use crate::bench::{TTL, assert_refused, partition, payload_of};
use crate::plain::int;

const MODES: [StreamMode; 3] =
    [StreamMode::durable(), StreamMode::durable_summary(), StreamMode::best_effort_live(60_000)];

conformance! {
    async fn frames_are_numbered_through_the_attempt(bench) {
        let (id, handle) = bench.leased().await;
        for (seq, mode) in MODES.into_iter().chain(MODES).enumerate() {
            if seq == 3 {
                bench.clock.advance(5);
            }
            let outcome = bench.append_as(&handle, "{}", mode).await;
            let ts_ms = START + if seq < 3 { 0 } else { 5 };
            assert_eq!(outcome.stream_id, format!("{ts_ms}-{seq}"));
            assert_eq!(outcome.frame_count, u64::try_from(seq).unwrap() + 1);
        }
        let ids: Vec<String> = bench.frames(&id).await.into_iter().map(|frame| frame.id).collect();
        let expected: Vec<String> =
            (0..6).map(|seq| format!("{}-{seq}", START + if seq < 3 { 0 } else { 5 })).collect();
        assert_eq!(ids, expected);
        let rows = bench.of("ff_stream_frame", &id).await;
        let modes: Vec<&str> = rows.iter().map(|row| row.text("mode")).collect();
        assert_eq!(modes, ["durable", "summary", "best_effort", "durable", "summary", "best_effort"]);
        assert!(rows.iter().all(|row| row.int("created_at_ms") == row.int("ts_ms")));
        let meta = bench.of("ff_stream_meta", &id).await.swap_remove(0);
        assert_eq!((meta.int("next_seq"), meta.int("trimmed_count")), (Some(6), Some(0)));
        assert_eq!(meta.int("last_append_ts_ms"), Some(START + 5));
    }

    async fn time_never_runs_backwards_within_a_stream(bench) {
        let (id, handle) = bench.leased().await;
        bench.append(&handle, frame("a")).await;
        bench.clock.advance(-1_000);
        for (mode, seq) in MODES.into_iter().zip(1..) {
            let outcome = bench.append_as(&handle, "{}", mode).await;
            assert_eq!(outcome.stream_id, format!("{START}-{seq}"));
        }
        bench.clock.advance(1_001);
        assert_eq!(bench.append(&handle, frame("z")).await.stream_id, format!("{}-4", START + 1));
        assert_eq!(payloads(&bench.frames(&id).await), ["a", "{}", "{}", "{}", "z"]);
    }

    async fn a_frame_stores_what_it_was_given(bench) {
        let (id, handle) = bench.leased().await;
        let kinds = [FrameKind::Stdout, FrameKind::Stderr, FrameKind::Event, FrameKind::Blob];
        for kind in kinds {
            bench.append(&handle, Frame::new(Vec::new(), kind)).await;
        }
        let typed = " Ünïcode\t\"type\" ";
        let given = Frame::with_seq(b"x\xff\0y".to_vec(), FrameKind::Blob, 77)
            .with_frame_type(typed)
            .with_correlation_id("");
        bench.append(&handle, given).await;
        let rows = bench.of("ff_stream_frame", &id).await;
        let fields: Vec<_> = rows.iter().map(|row| row.json("fields").clone()).collect();
        for (fields, word) in fields.iter().zip(["stdout", "stderr", "event", "blob"]) {
            let expected =
                json!({"frame_type": word, "payload": "", "encoding": "utf8", "source": "worker"});
            assert_eq!(*fields, expected);
        }
        assert_eq!(fields[4], json!({
            "frame_type": typed,
            "payload": "x\u{fffd}\u{fffd}y",
            "encoding": "utf8",
            "source": "worker",
            "correlation_id": "",
        }));
        assert_eq!(rows[4].int("seq"), Some(4), "the caller's own number is not used");
    }

    async fn what_no_row_can_store_is_refused(bench) {
        let (_, handle) = bench.leased().await;
        let before = bench.everything().await;
        for (frame, expected) in [
            (frame("").with_frame_type("a\0"), "frame.frame_type: must not contain NUL (at byte 1)"),
            (frame("").with_correlation_id("\0"), "frame.correlation_id: must not contain NUL (at byte 0)"),
        ] {
            let result = bench.backend.append_frame(&handle, frame).await;
            assert_refused(result, &format!("validation: InvalidInput: {expected}"));
        }
        assert_eq!(bench.everything().await, before);
    }

    async fn a_lost_lease_appends_nothing(bench) {
        let (id, old) = bench.leased().await;
        bench.append(&old, frame("before")).await;
        bench.clock.advance(TTL);
        bench.backend.mark_lease_expired_if_due(partition(&id), &id).await.unwrap();
        let current = bench.claim().await;
        assert_eq!(payload_of(&current).execution_id, id);
        let before = bench.everything().await;
        for mode in MODES {
            let late = bench.backend.append_frame(&old, frame("{}").with_mode(mode)).await;
            assert_refused(late, "contention: LeaseConflict");
        }
        assert_eq!(bench.everything().await, before);
        // The attempt goes on in other hands, and so does its stream.
        let outcome = bench.append(&current, frame("after")).await;
        assert_eq!((outcome.stream_id, outcome.frame_count), (format!("{}-1", START + TTL), 2));
        bench.backend.complete(&current, None).await.unwrap();
        let before = bench.everything().await;
        for mode in MODES {
            let late = bench.backend.append_frame(&current, frame("{}").with_mode(mode)).await;
            crate::bench::assert_not_active(late, "terminal");
        }
        assert_eq!(bench.everything().await, before);
    }

    async fn attempts_have_streams_of_their_own(bench) {
        let policy = retried();
        let (id, first) = bench.leased_with(&|args| args.policy = Some(policy.clone())).await;
        bench.append_as(&first, r#"{"a":1}"#, StreamMode::durable_summary()).await;
        let reason = ff_core::backend::FailureReason::new("x");
        let class = ff_core::backend::FailureClass::Transient;
        bench.backend.fail(&first, reason, class).await.unwrap();
        let second = bench.claim().await;
        assert_eq!(payload_of(&second).attempt_index.0, 1);
        let outcome = bench.append(&second, frame("b")).await;
        assert_eq!((outcome.stream_id, outcome.frame_count), (format!("{START}-0"), 1));
        assert_eq!(payloads(&bench.frames(&id).await), [r#"{"a":1}"#]);
        let attempt = payload_of(&second).attempt_index;
        assert_eq!(payloads(&bench.frames_of(&id, attempt).await), ["b"]);
        assert_eq!(bench.backend.read_summary(&id, attempt).await.unwrap(), None);
    }

    async fn a_stream_of_an_older_database_goes_on_after_its_last_frame(bench) {
        for counted in [false, true] {
            let (id, handle) = bench.leased().await;
            for (ts_ms, seq) in [(START - 9, 0), (START - 9, 1), (START - 9, 2), (START + 7, 0)] {
                bench.insert_frame(&id, ts_ms, seq, "durable").await;
            }
            if counted {
                let meta = vec![("last_append_ts_ms", int(START - 9))];
                bench.insert_stream_row("ff_stream_meta", &id, meta).await;
            }
            for (mode, seq) in MODES.into_iter().zip(4..) {
                let outcome = bench.append_as(&handle, "{}", mode).await;
                let expected = (format!("{}-{seq}", START + 7), seq + 1);
                assert_eq!((outcome.stream_id, outcome.frame_count), expected);
            }
            assert_eq!(bench.frames(&id).await.len(), 7);
        }
    }

    async fn writers_side_by_side_get_ids_without_gaps(bench) {
        let (id, handle) = bench.leased().await;
        let writers: Vec<_> = MODES
            .into_iter()
            .chain([StreamMode::durable()])
            .map(|mode| {
                let (bench, handle) = (Arc::clone(&bench), handle.clone());
                tokio::spawn(async move {
                    let mut ids = Vec::new();
                    for _ in 0..25 {
                        ids.push(bench.append_as(&handle, "{}", mode).await.stream_id);
                    }
                    ids
                })
            })
            .collect();
        let mut ids = Vec::new();
        for writer in writers {
            ids.extend(writer.await.unwrap());
        }
        let stored: Vec<String> = bench.frames(&id).await.into_iter().map(|f| f.id).collect();
        let expected: Vec<String> = (0..100).map(|seq| format!("{START}-{seq}")).collect();
        ids.sort_by_key(|id| id.split_once('-').unwrap().1.parse::<u32>().unwrap());
        assert_eq!(ids, expected);
        // Of the best-effort ones, those that others pushed out are gone again.
        let kept: Vec<&String> = expected.iter().filter(|id| stored.contains(id)).collect();
        assert_eq!(stored.iter().collect::<Vec<_>>(), kept);
        assert!(75 <= stored.len(), "{stored:?}");
        let summary = bench.backend.read_summary(&id, FIRST).await.unwrap().unwrap();
        assert_eq!(summary.version, 25);
    }

    async fn a_burst_on_one_handle_is_stored_whole(bench) {
        let (id, handle) = bench.leased().await;
        for mode in MODES {
            let appends = (0..40).map(|_| bench.append_as(&handle, "{}", mode));
            futures_util::future::join_all(appends).await;
        }
        assert_eq!(bench.frames(&id).await.len(), 120);
    }
}

/// A failure is tried again at once.
fn retried() -> ExecutionPolicy {
    let backoff = BackoffStrategy::Fixed { delay_ms: 0 };
    let retry = RetryPolicy { max_retries: 3, backoff, retryable_categories: Vec::new() };
    ExecutionPolicy { retry_policy: Some(retry), ..ExecutionPolicy::default() }
}
