//! Best-effort frames: which of them go.

use ff_core::backend::{BestEffortLiveConfig, StreamMode};

use super::{frame, payloads};
use crate::backends::{START, conformance};
use crate::bench::assert_refused;

fn keeping(ttl_ms: u32, floor: u32, ceiling: u32) -> StreamMode {
    let config = BestEffortLiveConfig::new(ttl_ms);
    let config = config.with_maxlen_floor(floor).with_maxlen_ceiling(ceiling);
    StreamMode::best_effort_live_with_config(config)
}

conformance! {
    async fn the_newest_stay_and_durable_frames_are_never_trimmed(bench) {
        let (id, handle) = bench.leased().await;
        let mode = keeping(60_000, 3, 3);
        let mut counts = Vec::new();
        for (payload, mode) in [
            ("d0", StreamMode::durable()),
            ("b1", mode),
            (r#""s2""#, StreamMode::durable_summary()),
            ("b3", mode),
            ("b4", mode),
            ("b5", mode),
            ("d6", StreamMode::durable()),
            ("d7", StreamMode::durable()),
            ("d8", StreamMode::durable()),
            ("b9", mode),
        ] {
            bench.clock.advance(1);
            counts.push(bench.append_as(&handle, payload, mode).await.frame_count);
        }
        assert_eq!(counts, [1, 2, 3, 4, 4, 5, 6, 7, 8, 6]);
        let frames = bench.frames(&id).await;
        assert_eq!(payloads(&frames), ["d0", r#""s2""#, "d6", "d7", "d8", "b9"]);
        let meta = bench.of("ff_stream_meta", &id).await.swap_remove(0);
        assert_eq!((meta.int("next_seq"), meta.int("trimmed_count")), (Some(10), Some(4)));
        assert_eq!(meta.int("maxlen_applied_last"), Some(3));
        let outcome = bench.append(&handle, frame("d10")).await;
        assert_eq!((outcome.stream_id, outcome.frame_count), (format!("{}-10", START + 10), 7));
    }

    async fn old_frames_are_trimmed_even_if_they_are_few(bench) {
        let (id, handle) = bench.leased().await;
        let mode = keeping(100, 64, 64);
        for (payload, mode) in [("d", StreamMode::durable()), ("old", mode), ("young", mode)] {
            bench.append_as(&handle, payload, mode).await;
            bench.clock.advance(1);
        }
        bench.clock.advance(99);
        assert_eq!(bench.append_as(&handle, "new", mode).await.frame_count, 3);
        assert_eq!(payloads(&bench.frames(&id).await), ["d", "young", "new"]);
        bench.clock.advance(1_000);
        assert_eq!(bench.frames(&id).await.len(), 3, "only appends trim");
        assert_eq!(bench.append_as(&handle, "last", mode).await.frame_count, 2);
        assert_eq!(payloads(&bench.frames(&id).await), ["d", "last"]);
    }

    async fn the_length_follows_the_pace_of_the_writer(bench) {
        let (id, handle) = bench.leased().await;
        let config = BestEffortLiveConfig::new(1_000).with_maxlen_floor(1).with_ema_alpha(0.5);
        let mode = StreamMode::best_effort_live_with_config(config);
        let mut lengths = Vec::new();
        for pause in [0, 10, 10, 10, 500, 500] {
            bench.clock.advance(pause);
            bench.append_as(&handle, "x", mode).await;
            let meta = bench.of("ff_stream_meta", &id).await.swap_remove(0);
            lengths.push((meta.float("ema_rate_hz"), meta.int("maxlen_applied_last").unwrap()));
        }
        let expected =
            [(0.0, 1), (50.0, 100), (75.0, 150), (87.5, 176), (44.75, 90), (23.375, 48)];
        assert_eq!(lengths, expected);
    }

    async fn with_defaults_a_short_stream_is_not_trimmed(bench) {
        let (id, handle) = bench.leased().await;
        for _ in 0..70 {
            bench.append_as(&handle, "x", StreamMode::best_effort_live(10_000)).await;
        }
        let frames = bench.frames(&id).await;
        assert_eq!(frames.len(), 64);
        assert_eq!(frames[0].id, format!("{START}-6"));
    }

    async fn configurations_out_of_range_are_refused(bench) {
        let (_, handle) = bench.leased().await;
        let before = bench.everything().await;
        let alpha = |alpha| {
            let config = BestEffortLiveConfig::new(1).with_ema_alpha(alpha);
            StreamMode::best_effort_live_with_config(config)
        };
        for (mode, expected) in [
            (keeping(1, 2, 1), "maxlen_floor 2 exceeds maxlen_ceiling 1"),
            (alpha(0.0), "ema_alpha 0 is not in (0, 1]"),
            (alpha(1.5), "ema_alpha 1.5 is not in (0, 1]"),
            (alpha(f64::NAN), "ema_alpha NaN is not in (0, 1]"),
        ] {
            let result = bench.backend.append_frame(&handle, frame("x").with_mode(mode)).await;
            assert_refused(result, &format!("validation: InvalidInput: frame.mode: {expected}"));
        }
        assert_eq!(bench.everything().await, before);
    }
}
