//! What a client computes by itself, as examples: each computed here by the code of the engine.

use ff_core::EngineError;
use ff_core::backend::{CompositeBody, ResumeCondition, ResumeSignal, SignalMatcher};
use ff_core::contracts::CountKind;
use ff_core::crypto::hmac::hmac_sign;
use ff_core::partition::{PartitionConfig, solo_partition};
use ff_core::policy::{ExecutionPolicy, RetryPolicy};
use ff_core::rules::execution::failure::said;
use ff_core::rules::suspension::collected::Collected;
use ff_core::rules::suspension::satisfied::satisfied;
use ff_core::state::FailureClass;
use ff_core::types::{ExecutionId, LaneId, SignalId, TimestampMs, WaitpointId};
use serde::Serialize;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::marks::fault;
use super::submit::key_digest;

/// Examples of everything that a client computes.
#[derive(Clone, Debug, Serialize)]
pub struct Vectors {
    /// Lanes, and the partition of an execution that belongs to no flow.
    pub partitions: Vec<Json>,
    /// Namespace, kind and idempotency key of a submission, and their digest.
    pub key_digests: Vec<Json>,
    /// Waitpoint tokens.
    pub tokens: Vec<Json>,
    /// Stored retry policies, classes and retries so far, and the delay of the next attempt, ms; no
    /// delay where none follows. The draw between 0 and 1 is for the jitter.
    pub retries: Vec<Json>,
    /// Failure messages, and the text that is kept of them.
    pub messages: Vec<Json>,
    /// Conditions and collected signals, and if they end the wait.
    pub conditions: Vec<Json>,
    /// The policy of an execution with nothing special, as it is stored.
    pub default_policy: ExecutionPolicy,
    /// The retry policy of one that says nothing of retries.
    pub default_retry_policy: RetryPolicy,
}

/// The examples.
///
/// # Errors
/// `Validation(Corruption)` where one cannot be made: a fault of this crate.
pub fn vectors() -> Result<Vectors, EngineError> {
    Ok(Vectors {
        partitions: ["default", "mail", "workers-a", "gpu"].map(partition).into(),
        key_digests: [("default", "email", "42"), ("billing", "invoice", "2026/11")]
            .map(|(namespace, kind, key)| {
                let digest = key_digest(namespace, kind, key);
                json!({ "namespace": namespace, "kind": kind, "key": key, "digest": digest })
            })
            .into(),
        tokens: vec![token(b"secret"), token(&[7; 100])],
        retries: retries(),
        messages: messages(),
        conditions: conditions()?,
        default_policy: ExecutionPolicy::default(),
        default_retry_policy: RetryPolicy::default(),
    })
}

/// Messages, of which the last one is cut between two characters.
fn messages() -> Vec<Json> {
    let long = format!("{}\u{1f980}", "x".repeat(8_190));
    let messages = ["short".to_owned(), "nul \0 inside".to_owned(), long];
    messages.map(|message| json!({ "message": message, "kept": said(message.as_str()) })).into()
}

fn partition(lane: &str) -> Json {
    let partition = solo_partition(&LaneId::new(lane), &PartitionConfig::default());
    json!({ "lane": lane, "partition": partition.index })
}

fn token(secret: &[u8]) -> Json {
    let execution = ExecutionId::from_parts(86, Uuid::from_u128(1)).to_string();
    let waitpoint = WaitpointId::from_uuid(Uuid::from_u128(2)).to_string();
    let token = hmac_sign(secret, "kid1", format!("{execution}:{waitpoint}").as_bytes());
    json!({
        "secret_hex": hex::encode(secret),
        "kid": "kid1",
        "execution_id": execution,
        "waitpoint_id": waitpoint,
        "token": token,
    })
}

fn retries() -> Vec<Json> {
    let policies = [
        json!(null),
        json!({}),
        json!({ "max_retries": 2, "backoff": { "type": "fixed", "delay_ms": 500 } }),
        json!({ "max_retries": 5_000, "backoff": { "type": "fixed", "delay_ms": 0 } }),
        json!({ "max_retries": 9, "retryable_categories": ["timeout"], "backoff": {
            "type": "exponential", "initial_delay_ms": 100, "max_delay_ms": 1_000,
            "multiplier": 3.0, "jitter": true,
        } }),
        json!({ "max_retries": -1, "backoff": { "type": "unknown" } }),
    ];

    let mut retries = Vec::new();
    for stored in policies {
        let own = Some(&stored).filter(|stored| stored.is_object());
        let policy = own.map(RetryPolicy::of_stored).unwrap_or_default();
        for (word, class) in [
            ("transient", FailureClass::Transient),
            ("timeout", FailureClass::Timeout),
            ("permanent", FailureClass::Permanent),
        ] {
            for count in [0, 1, 3, 101] {
                let again = policy.retries_class(class) && count < policy.max_retries;
                let delay_ms = again.then(|| policy.backoff.delay_ms(count, Some(0.25)));
                retries.push(json!({
                    "policy": stored, "class": word, "retries": count, "draw": 0.25,
                    "delay_ms": delay_ms,
                }));
            }
        }
    }
    retries
}

fn conditions() -> Result<Vec<Json>, EngineError> {
    let one = |key: &str, name: Option<&str>| ResumeCondition::Single {
        waitpoint_key: key.to_owned(),
        matcher: name
            .map_or(SignalMatcher::Wildcard, |name| SignalMatcher::ByName(name.to_owned())),
    };
    let count = |n, kind, name: Option<&str>| {
        let matcher = name.map(|name| SignalMatcher::ByName(name.to_owned()));
        let keys = ["a", "b"].map(str::to_owned);
        ResumeCondition::Composite(CompositeBody::count(n, kind, matcher, keys))
    };
    let both = CompositeBody::all_of([one("a", Some("go")), one("b", None)]);
    let conditions = [
        one("a", Some("go")),
        one("a", None),
        ResumeCondition::OperatorOnly,
        ResumeCondition::TimeoutOnly,
        ResumeCondition::Composite(both),
        count(2, CountKind::DistinctWaitpoints, None),
        count(2, CountKind::DistinctSignals, Some("go")),
        count(2, CountKind::DistinctSources, None),
    ];

    let histories: [&[(&str, &str, &str)]; 5] = [
        &[],
        &[("a", "go", "ann")],
        &[("a", "stop", "ann"), ("b", "go", "ann")],
        &[("a", "go", "ann"), ("a", "go", "bob")],
        &[("a", "go", "ann"), ("b", "go", "ann")],
    ];
    let mut vectors = Vec::new();
    for condition in &conditions {
        let stored = serde_json::to_value(condition).map_err(|error| fault(&error.to_string()))?;
        for history in histories {
            let mut collected = Collected::default();
            for (number, (key, name, source)) in (1..).zip(history) {
                collected.add(key, &signal(number, name, source), None)?;
            }
            vectors.push(json!({
                "condition": stored,
                "member_map": collected.stored(),
                "holds": satisfied(condition, &collected.by_key()),
            }));
        }
    }
    Ok(vectors)
}

fn signal(number: u128, name: &str, source: &str) -> ResumeSignal {
    ResumeSignal {
        signal_id: SignalId::from_uuid(Uuid::from_u128(number)),
        signal_name: name.to_owned(),
        signal_category: "external".to_owned(),
        source_type: "user".to_owned(),
        source_identity: source.to_owned(),
        correlation_id: String::new(),
        accepted_at: TimestampMs(1_700_000_000_000),
        payload: Some(b"yes".to_vec()),
    }
}
