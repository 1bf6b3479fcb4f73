//! Suspended executions by the command line: keys, waitpoints, signals, approvals, resumption.
//! What is secret stands in no output but that of the one command that is asked for it.

use std::sync::Arc;

use ff_core::backend::{CapabilitySet, ClaimPolicy, Handle};
use ff_core::contracts::{
    ResumeCondition, ResumePolicy, SuspendArgs, SuspensionReasonCode, WaitpointBinding,
};
use ff_core::engine_backend::EngineBackend;
use ff_core::types::{LaneId, SuspensionId, TimestampMs, WaitpointId};
use serde_json::{Value as Json, json};

use super::{Finished, ONE, Place, TWO};

const SECRET: &str = "5ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4";

/// A place with a key, whose first execution is suspended at waitpoints with these keys until each
/// has got a signal, whatever its name.
async fn suspended_at(keys: &[&str]) -> (Place, Arc<dyn EngineBackend>) {
    let place = Place::with_two();
    place.out(&["cancel", TWO]);
    place.out(&["keys", "seed", "k1"]);
    let engine = place.engine().await;
    suspend(&engine, keys).await;
    (place, engine)
}

/// Claims what comes next, and suspends it.
pub(super) async fn suspend(engine: &Arc<dyn EngineBackend>, keys: &[&str]) {
    let terms = ClaimPolicy::new("w".into(), "w-1".into(), 30_000, None);
    let lane = LaneId::new("default");
    let handle = engine.claim(&lane, &CapabilitySet::default(), terms).await.unwrap().unwrap();
    suspend_held(engine, &handle, keys).await;
}

/// Suspends what is held, at waitpoints with these keys.
pub(super) async fn suspend_held(engine: &Arc<dyn EngineBackend>, handle: &Handle, keys: &[&str]) {
    let waitpoints = keys.iter().map(|key| WaitpointBinding::Fresh {
        waitpoint_id: WaitpointId::new(),
        waitpoint_key: (*key).to_owned(),
    });
    let waitpoints: Vec<_> = waitpoints.collect();
    let args = SuspendArgs::new(
        SuspensionId::new(),
        waitpoints[0].clone(),
        ResumeCondition::all_of_waitpoints(keys.iter().copied()),
        ResumePolicy::normal(),
        SuspensionReasonCode::WaitingForApproval,
        TimestampMs::now(),
    );
    engine.suspend(handle, args.with_waitpoints(waitpoints)).await.unwrap();
}

impl Place {
    /// The ids of the open waitpoints, by key.
    fn waitpoint(&self, key: &str) -> String {
        let listed = self.json(&["waitpoints", ONE]);
        let mut entries = listed["waitpoints"].as_array().unwrap().iter();
        let entry = entries.find(|entry| entry["waitpoint_key"] == key).expect("it is open");
        entry["waitpoint_id"].as_str().unwrap().to_owned()
    }

    fn token(&self, key: &str) -> String {
        let waitpoint = self.waitpoint(key);
        let printed = self.out(&["waitpoints", ONE, "--waitpoint", &waitpoint, "--token"]);
        printed.strip_suffix('\n').unwrap().to_owned()
    }

    fn signal(&self, token: &str, waitpoint: &str, more: &[&str]) -> Finished {
        let arguments = ["signal", token, "--execution", ONE, "--waitpoint", waitpoint];
        self.ff(&[&arguments, more].concat())
    }

    fn public_state(&self, id: &str) -> Json {
        self.json(&["show", id])["execution"]["public_state"].clone()
    }
}

fn assert_hidden(finished: &Finished, secret: &str) {
    let signature = secret.split_once(':').map_or(secret, |(_, signature)| signature);
    assert!(!finished.out.contains(signature) && !finished.err.contains(signature), "{finished:?}");
}

#[test]
fn keys_are_seeded_and_replaced_and_never_shown() {
    let place = Place::new();
    place.write("secret", &[SECRET, ""]);
    let other = SECRET.replace('5', "6");
    place.write("other", &[&other]);
    for (arguments, code, expected) in [
        (vec!["keys", "seed", "k1"], 0, "key k1 signs from now on\n"),
        (vec!["keys", "seed", "k1"], 0, "key k1 is there already: nothing was changed\n"),
        (vec!["keys", "seed", "k1", "--secret-file", "secret"], 1, ""),
        (vec!["keys", "seed", "k2", "--secret-file", "secret"], 1, ""),
        (vec!["keys", "seed", "k:2"], 1, ""),
        (vec!["keys", "rotate", "k2", "--secret-file", "secret"], 2, ""),
        (
            vec!["keys", "rotate", "k2", "--secret-file", "secret", "--grace", "1h"],
            0,
            "key k2 signs from now on; tokens of k1 stay valid for 3600 s\n",
        ),
        (
            vec!["keys", "rotate", "k2", "--secret-file", "secret", "--grace", "1h"],
            0,
            "key k2 is there already: nothing was changed\n",
        ),
        (vec!["keys", "rotate", "k2", "--secret-file", "other", "--grace", "1h"], 1, ""),
        (
            vec!["keys", "seed", "k2", "--secret-file", "secret"],
            0,
            "key k2 is there already: nothing was changed\n",
        ),
        (vec!["keys", "seed", "k2", "--secret-file", "missing"], 1, ""),
    ] {
        let finished = place.ff(&arguments);
        assert_eq!(
            (finished.code, finished.out.as_str()),
            (code, expected),
            "{arguments:?}: {finished:?}"
        );
        assert_eq!(finished.err.is_empty(), code == 0, "{arguments:?}: {finished:?}");
        assert_hidden(&finished, SECRET);
        assert_hidden(&finished, &other);
    }
    let arguments = ["--json", "keys", "rotate", "k3", "--secret-file", "-", "--grace", "0s"];
    let finished = place.ff_reading(&arguments, &other);
    assert_hidden(&finished, &other);
    let rotated: Json = serde_json::from_str(&finished.out).unwrap();
    assert_eq!((&rotated["kid"], &rotated["previous_kid"]), (&json!("k3"), &json!("k2")));
    let finished = place.ff_reading(&["keys", "seed", "k4", "--secret-file", "-"], "no hex digits");
    assert_eq!(finished.code, 1, "{finished:?}");
    assert_hidden(&finished, "no hex digits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_is_listed_without_its_token() {
    let (place, _engine) = suspended_at(&["review", "budget"]).await;
    let (token, other) = (place.token("review"), place.token("budget"));
    let fingerprint = &token.strip_prefix("k1:").unwrap()[..16];
    let all = place.ff(&["waitpoints"]);
    let mut lines = all.out.lines();
    assert!(lines.next().unwrap().trim_start().starts_with("execution"), "{all:?}");
    assert_eq!(all.out.matches(ONE).count(), 2, "{all:?}");
    for expected in ["review", "budget", "active", "any signal", "k1", fingerprint] {
        assert!(all.out.contains(expected), "{expected}: {all:?}");
    }
    assert_eq!(place.out(&["waitpoints", ONE]), all.out);
    assert_eq!(place.out(&["waitpoints", TWO]), "no open waitpoints\n");
    let listed = place.json(&["waitpoints", ONE, "--waitpoint", &place.waitpoint("review")]);
    let entries = listed["waitpoints"].as_array().unwrap();
    assert_eq!((entries.len(), &entries[0]["token_fingerprint"]), (1, &json!(fingerprint)));
    for arguments in [
        vec!["waitpoints"],
        vec!["--json", "waitpoints"],
        vec!["waitpoints", ONE, "--token"],
        vec!["show", ONE],
        vec!["--json", "show", ONE],
        vec!["--json", "ls"],
        vec!["events"],
        vec!["--json", "events"],
        vec!["approve", ONE],
    ] {
        let finished = place.ff(&arguments);
        assert_hidden(&finished, &token);
        assert_hidden(&finished, &other);
    }
    let ambiguous = place.ff(&["waitpoints", ONE, "--token"]);
    assert_eq!((ambiguous.code, ambiguous.out.as_str()), (1, ""), "{ambiguous:?}");
    assert!(ambiguous.err.contains("2 open waitpoints: name one"), "{ambiguous:?}");
    assert_eq!(place.ff(&["waitpoints", TWO, "--token"]).code, 1);
    assert_eq!(place.ff(&["waitpoints", "--token"]).code, 2, "of which execution is not said");
    assert_eq!(place.ff(&["waitpoints", "33333333-3333-4333-8333-333333333333"]).code, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_is_listed_page_by_page() {
    let place = Place::with_two();
    assert_eq!(place.out(&["waitpoints"]), "no open waitpoints\n");
    place.out(&["keys", "seed", "k1"]);
    let engine = place.engine().await;
    suspend(&engine, &["review", "budget"]).await;
    suspend(&engine, &["review"]).await;
    assert_eq!(place.json(&["waitpoints"])["waitpoints"].as_array().unwrap().len(), 3);
    let first = place.out(&["waitpoints", "--limit", "1"]);
    let more = first.lines().last().unwrap();
    let after = more.strip_prefix("more: --after '").unwrap().strip_suffix('\'').unwrap();
    let second = place.out(&["waitpoints", "--limit", "1", "--after", after]);
    // The newest comes first; both may be of one millisecond.
    let named = |page: &str| [ONE, TWO].map(|id| page.matches(id).count());
    let pages = [named(&first), named(&second)];
    // The last line of the first page names the execution once more.
    assert!([[[3, 0], [0, 1]], [[0, 2], [2, 0]]].contains(&pages), "{first}\n{second}");
    assert_eq!(place.ff(&["waitpoints", ONE, "--limit", "1"]).code, 2, "of one, all");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signals_with_their_tokens_let_an_execution_go_on() {
    let (place, _engine) = suspended_at(&["review", "budget"]).await;
    let (review, budget) = (place.waitpoint("review"), place.waitpoint("budget"));
    let (token, other) = (place.token("review"), place.token("budget"));
    let forged = format!("k1:{SECRET}");
    for wrong in [forged.as_str(), &other, "nonsense", "k9:00"] {
        let finished = place.signal(wrong, &review, &[]);
        finished.assert_failed(1);
        assert_eq!(finished.out, "");
        assert_hidden(&finished, wrong);
    }
    place.signal(&token, "no-such-key", &[]).assert_failed(1);
    let first = place.signal(&token, "review", &["--key", "once", "--payload", "fine"]);
    let still_waits = format!("the signal is collected; {{fp:86}}:{ONE} still waits\n");
    assert_eq!((first.code, first.out.as_str()), (0, still_waits.as_str()), "{first:?}");
    let again = place.signal(&token, &review, &["--key", "once", "--payload", "fine"]);
    assert!(again.out.ends_with(": nothing was changed\n"), "{again:?}");
    assert_eq!(place.public_state(ONE), "suspended");
    // The token comes by stdin, the payload from a file.
    place.write("payload", &["fine"]);
    let arguments = ["--json", "signal", "-", "--execution", ONE, "--waitpoint", &budget];
    let rest = ["--payload-file", "payload", "--source", "finance", "--correlation", "c-1"];
    let finished = place.ff_reading(&[arguments.as_slice(), &rest].concat(), &format!("{other}\n"));
    assert_eq!(finished.code, 0, "{finished:?}");
    assert_hidden(&finished, &other);
    let answer: Json = serde_json::from_str(&finished.out).unwrap();
    assert_eq!(answer["outcome"], "resumed", "{answer}");
    assert_eq!(place.out(&["waitpoints"]), "no open waitpoints\n");
    let worked = place.json(&["work", "--until-empty", "--", "cat"]);
    assert_eq!(worked["completed"], 1);
    assert_eq!(place.out(&["result", ONE]), "one");
    assert_eq!(place.json(&["show", ONE])["attempts"].as_array().unwrap().len(), 1);
    assert_eq!(place.signal(&token, &review, &[]).code, 1, "it is over");
    let both = ["signal", "-", "--execution", ONE, "--waitpoint", &budget, "--payload-file", "-"];
    assert_eq!(place.ff_reading(&both, &other).code, 2, "only one of them can come by stdin");
    assert_eq!(place.ff_reading(&both[..6], "\n").code, 2, "no token");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_approves_without_a_token() {
    let (place, _engine) = suspended_at(&["review"]).await;
    let waitpoint = place.waitpoint("review");
    let (elsewhere, unknown) = (WaitpointId::new().to_string(), WaitpointId::new().to_string());
    assert_eq!(place.ff(&["approve", ONE, &elsewhere]).code, 1);
    assert_eq!(place.ff(&["approve", TWO]).code, 1, "it waits for nothing");
    assert_eq!(place.ff(&["approve", &unknown]).code, 1);
    let finished = place.out(&["approve", ONE, &waitpoint, "--name", "fine"]);
    assert_eq!(finished, format!("{{fp:86}}:{ONE} resumes\n"));
    assert_eq!(place.public_state(ONE), "resumable");
    place.out(&["work", "--until-empty", "--", "cat"]);
    assert_eq!(place.out(&["result", ONE]), "one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_resumes_any_suspended_execution() {
    let (place, _engine) = suspended_at(&["review"]).await;
    assert_eq!(place.ff(&["resume", TWO]).code, 1, "it is not suspended");
    assert_eq!(place.ff(&["resume", ONE, "--delay", "soon"]).code, 2);
    let resumed = place.json(&["resume", ONE, "--delay", "300ms"]);
    assert_eq!(resumed["public_state"], "delayed");
    place.out(&["work", "--until-empty", "--", "cat"]);
    assert_eq!(place.out(&["result", ONE]), "one");
    let (place, _engine) = suspended_at(&["review"]).await;
    assert_eq!(place.out(&["resume", ONE]), format!("{{fp:86}}:{ONE} is waiting\n"));
    assert_eq!(place.ff(&["resume", ONE]).code, 1, "it is not suspended any more");
}
