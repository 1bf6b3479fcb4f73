//! Following: what comes after a cursor, and waiting for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ff_core::backend::{StreamMode, TailVisibility};
use ff_core::contracts::{StreamCursor, StreamFrames};
use ff_core::types::ExecutionId;

use super::{FIRST, at, frame, payloads};
use crate::backends::{self, Bench, START, conformance, postgres_url};
use crate::bench::{assert_refused, id};

/// Longer than anything here takes; nothing waits that long unless it fails.
const LONG_MS: u64 = 30_000;

/// How many follow one stream at once.
const FOLLOWERS: usize = 200;

impl Bench {
    async fn tail(&self, id: &ExecutionId, after: &str, block_ms: u64) -> StreamFrames {
        self.tail_seeing(id, after, block_ms, TailVisibility::All).await
    }

    async fn tail_seeing(
        &self,
        id: &ExecutionId,
        after: &str,
        block_ms: u64,
        visibility: TailVisibility,
    ) -> StreamFrames {
        self.backend.tail_stream(id, FIRST, at(after), block_ms, 100, visibility).await.unwrap()
    }
}

conformance! {
    async fn a_follower_sees_what_comes_after_the_frame_it_has_seen(bench) {
        let (id, handle) = bench.leased().await;
        for payload in ["a", "b", "c"] {
            bench.append(&handle, frame(payload)).await;
        }
        for (after, expected) in [("0-0", "abc"), ("0", "abc"), (&format!("{START}-0"), "bc"), (&format!("{START}"), "bc"), (&format!("{START}-2"), "")] {
            let found = bench.tail(&id, after, 0).await;
            assert_eq!(payloads(&found.frames).concat(), expected, "after {after}");
            assert!(!found.is_closed());
        }
        let few = bench.backend.tail_stream(&id, FIRST, at("0"), LONG_MS, 2, TailVisibility::All);
        assert_eq!(payloads(&few.await.unwrap().frames), ["a", "b"]);
        let none = bench.backend.tail_stream(&id, FIRST, at("0"), LONG_MS, 0, TailVisibility::All);
        assert_eq!(none.await.unwrap(), StreamFrames::empty_open());
        for cursor in [StreamCursor::Start, StreamCursor::End] {
            let tail = bench.backend.tail_stream(&id, FIRST, cursor, 0, 1, TailVisibility::All);
            assert_refused(
                tail.await,
                "validation: InvalidInput: tail_stream requires concrete after cursor",
            );
        }
    }

    async fn a_follower_may_exclude_best_effort_frames(bench) {
        let (id, handle) = bench.leased().await;
        for (payload, mode) in [
            ("d", StreamMode::durable()),
            ("b", StreamMode::best_effort_live(60_000)),
            ("{}", StreamMode::durable_summary()),
        ] {
            bench.append_as(&handle, payload, mode).await;
        }
        let stay = bench.tail_seeing(&id, "0", 0, TailVisibility::ExcludeBestEffort).await;
        assert_eq!(payloads(&stay.frames), ["d", "{}"]);
        assert_eq!(bench.tail(&id, "0", 0).await.frames.len(), 3);
    }

    async fn a_follower_without_frames_returns_in_time(bench) {
        let began = Instant::now();
        assert_eq!(bench.tail(&id(), "0-0", 120).await, StreamFrames::empty_open());
        assert!(Duration::from_millis(120) <= began.elapsed());
        assert!(began.elapsed() < Duration::from_secs(20));
    }

    async fn a_waiting_follower_gets_the_next_frame(bench) {
        let (id, handle) = bench.leased().await;
        let (following, of) = (Arc::clone(&bench), id.clone());
        let follower = tokio::spawn(async move {
            following.tail_seeing(&of, "0-0", LONG_MS, TailVisibility::ExcludeBestEffort).await
        });
        // Neither another stream's frames nor those that it leaves out are what it waits for.
        let (_, other) = bench.leased().await;
        bench.append(&other, frame("other")).await;
        bench.append_as(&handle, "unseen", StreamMode::best_effort_live(60_000)).await;
        bench.append(&handle, frame("seen")).await;
        let found = follower.await.unwrap();
        assert_eq!(payloads(&found.frames), ["seen"]);
    }

    async fn a_follower_learns_that_the_attempt_has_ended(bench) {
        let (id, handle) = bench.leased().await;
        let (following, of) = (Arc::clone(&bench), id.clone());
        let follower = tokio::spawn(async move { following.tail(&of, "0-0", LONG_MS).await });
        bench.backend.complete(&handle, None).await.unwrap();
        let found = follower.await.unwrap();
        assert_eq!((found.frames.len(), found.closed_reason.as_deref()), (0, Some("success")));
        assert!(bench.tail(&id, "0-0", LONG_MS).await.is_closed(), "and at once from then on");
    }
}

/// Many follow one stream, on far fewer connections.
async fn followers_outnumber_connections(bench: Arc<Bench>) {
    let (id, handle) = bench.leased().await;
    bench.append(&handle, frame("first")).await;
    let first = format!("{START}-0");
    let followers: Vec<_> = (0..FOLLOWERS)
        .map(|_| {
            let (bench, id, first) = (Arc::clone(&bench), id.clone(), first.clone());
            tokio::spawn(async move { (bench.tail(&id, &first, LONG_MS).await, Instant::now()) })
        })
        .collect();
    // Let them read once; then no follower holds a connection, and operations go through.
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(25)).await;
        bench.backend.progress(&handle, Some(1), None).await.unwrap();
        assert!(bench.backend.describe_execution(&id).await.unwrap().is_some());
    }
    let appended = Instant::now();
    bench.append(&handle, frame("second")).await;
    let mut slowest = Duration::ZERO;
    for follower in followers {
        let (found, at) = follower.await.unwrap();
        assert_eq!(payloads(&found.frames), ["second"]);
        slowest = slowest.max(at.saturating_duration_since(appended));
    }
    println!("{FOLLOWERS} followers had the frame {slowest:?} after it was sent");
    assert!(slowest < Duration::from_secs(5), "the slowest of {FOLLOWERS} took {slowest:?}");
}

#[test]
fn followers_outnumber_connections_on_sqlite() {
    backends::run(backends::sqlite_file(), |bench| {
        Box::pin(followers_outnumber_connections(bench))
    });
}

#[test]
fn followers_outnumber_connections_on_postgres() {
    let bench = backends::postgres_with(postgres_url(), |options| options.max_connections(4));
    backends::run(bench, |bench| Box::pin(followers_outnumber_connections(bench)));
}
