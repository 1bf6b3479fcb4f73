//! Frames by the command line: stored ones, and those appended while a follower reads.

use std::sync::Arc;

use ff_core::backend::{
    CapabilitySet, ClaimPolicy, FailureClass, FailureReason, Frame, FrameKind, Handle, StreamMode,
};
use ff_core::engine_backend::EngineBackend;
use ff_core::types::LaneId;
use serde_json::{Value as Json, json};

use super::{ONE, Place, Running, TWO};

/// Claims the one execution that can be claimed.
async fn claim(engine: &Arc<dyn EngineBackend>) -> Handle {
    let terms = ClaimPolicy::new("w".into(), "w-1".into(), 30_000, None);
    let lane = LaneId::new("default");
    engine.claim(&lane, &CapabilitySet::default(), terms).await.unwrap().unwrap()
}

/// The handle of the execution that is next, by an engine of this process.
pub(super) async fn claimed(place: &Place) -> (Arc<dyn EngineBackend>, Handle) {
    let engine = place.engine().await;
    let handle = claim(&engine).await;
    (engine, handle)
}

/// Gives the attempt a summary, and a frame with it.
pub(super) async fn summarise(engine: &Arc<dyn EngineBackend>, handle: &Handle) {
    let frame = Frame::new(br#"{"done":1}"#.to_vec(), FrameKind::Event);
    engine.append_frame(handle, frame.with_mode(StreamMode::durable_summary())).await.unwrap();
}

async fn running() -> (Place, Arc<dyn EngineBackend>, Handle) {
    let place = Place::new();
    let policy = json!({ "retry_policy": {
        "max_retries": 1, "backoff": { "type": "fixed", "delay_ms": 0 }
    } });
    let line = json!({ "kind": "echo", "payload": "one", "id": ONE, "policy": policy });
    place.write("in.jsonl", &[&line.to_string()]);
    place.out(&["submit", "in.jsonl"]);
    let engine = place.engine().await;
    let handle = claim(&engine).await;
    (place, engine, handle)
}

/// Appends a line of output; its id.
async fn say(engine: &Arc<dyn EngineBackend>, handle: &Handle, text: &str) -> String {
    let frame = Frame::new(text.as_bytes().to_vec(), FrameKind::Stdout);
    engine.append_frame(handle, frame).await.unwrap().stream_id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_is_printed_from_any_frame_on() {
    let (place, engine, handle) = running().await;
    let mut lines = Vec::new();
    for text in ["one\n", "two \u{1b}[31m", "three"] {
        let id = say(&engine, &handle, text).await;
        lines.push((id, text));
    }
    let printed = place.out(&["tail", ONE, "--no-follow"]);
    let expected = [
        format!("{} stdout one", lines[0].0),
        format!("{} stdout two \\u{{1b}}[31m", lines[1].0),
        format!("{} stdout three", lines[2].0),
    ];
    assert!(printed.lines().eq(expected.iter()), "{printed}");
    let later = place.out(&["tail", ONE, "--no-follow", "--from", &lines[1].0]);
    assert!(later.lines().eq(expected[2..].iter()), "{later}");
    let json = place.out(&["--json", "tail", ONE, "--no-follow", "--from", &lines[1].0]);
    let frame: Json = serde_json::from_str(&json).unwrap();
    assert_eq!((&frame["id"], &frame["fields"]["payload"]), (&json!(lines[2].0), &json!("three")));
    assert_eq!(place.ff(&["tail", ONE, "--no-follow", "--attempt", "7"]).code, 1);
    assert_eq!(place.ff(&["tail", TWO, "--no-follow"]).code, 1);
    assert_eq!(place.ff(&["tail", ONE, "--from", "end"]).code, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_follows_every_attempt_to_the_end() {
    let (place, engine, handle) = running().await;
    say(&engine, &handle, "first").await;
    let tail = Running::start(&place, &["tail", ONE]);
    assert!(tail.line().ends_with(" stdout first"));
    say(&engine, &handle, "second").await;
    assert!(tail.line().ends_with(" stdout second"));
    let reason = FailureReason::new("no");
    engine.fail(&handle, reason, FailureClass::Transient).await.unwrap();
    place.out(&["scan", "--until-idle"]);
    let handle = claim(&engine).await;
    say(&engine, &handle, "third").await;
    assert!(tail.line().ends_with(" stdout third"));
    say(&engine, &handle, "last words").await;
    engine.complete(&handle, None).await.unwrap();
    let rest = tail.rest();
    assert_eq!(rest.len(), 1, "{rest:?}");
    assert!(rest[0].ends_with(" stdout last words"), "{rest:?}");
    let first = place.out(&["tail", ONE, "--attempt", "0"]);
    assert_eq!(first.lines().count(), 2, "an attempt that is over is not waited for: {first}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_summary_is_printed_as_it_changes() {
    let (place, engine, handle) = running().await;
    let patch = async |text: &str| {
        let frame = Frame::new(text.as_bytes().to_vec(), FrameKind::Event);
        let frame = frame.with_mode(StreamMode::durable_summary());
        engine.append_frame(&handle, frame).await.unwrap();
    };
    patch(r#"{"done":1,"of":3}"#).await;
    let tail = Running::start(&place, &["tail", ONE, "--summary"]);
    assert!(tail.line().ends_with(r#" event {"done":1,"of":3}"#));
    assert_eq!(tail.line(), r#"summary 1: {"done":1,"of":3}"#);
    patch(r#"{"done":2}"#).await;
    assert!(tail.line().ends_with(r#" event {"done":2}"#));
    assert_eq!(tail.line(), r#"summary 2: {"done":2,"of":3}"#);
    engine.complete(&handle, None).await.unwrap();
    assert_eq!(tail.rest(), Vec::<String>::new());
    let printed = place.out(&["--json", "tail", ONE, "--no-follow", "--summary"]);
    let last: Json = serde_json::from_str(printed.lines().last().unwrap()).unwrap();
    assert_eq!((&last["summary"], &last["version"]), (&json!({ "done": 2, "of": 3 }), &json!(2)));
}
