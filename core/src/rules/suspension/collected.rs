//! The signals that a suspension has collected, by waitpoint key, as they are stored.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use crate::contracts::{DeliverSignalArgs, ResumeSignal};
use crate::model::error::{EngineError, ValidationKind};
use crate::model::ids::{SignalId, TimestampMs};

/// The key under which the signal of a timeout is collected; no waitpoint has it.
pub const TIMEOUT_KEY: &str = "__timeout__";

/// Signals by waitpoint key, in order of arrival.
pub type ByKey = BTreeMap<String, Vec<ResumeSignal>>;

/// The stored signals by waitpoint key, each list in order of arrival. Entries that are no signals
/// stay as they are stored, and are not looked at.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Collected(Map<String, Json>);

impl Collected {
    /// The signals that a suspension row holds.
    ///
    /// # Errors
    /// `Validation(Corruption)` when it is no object.
    pub fn of(stored: Json) -> Result<Self, EngineError> {
        match stored {
            Json::Object(members) => Ok(Self(members)),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) => {
                Err(corrupt("member_map not a JSON object"))
            }
        }
    }

    /// The form in which they are stored.
    #[must_use]
    pub fn stored(&self) -> Json {
        Json::Object(self.0.clone())
    }

    /// Adds a signal, and keeps the newest `keep` of its key.
    ///
    /// # Errors
    /// `Validation(Corruption)` when what is stored under the key is no list.
    pub fn add(
        &mut self,
        key: &str,
        signal: &ResumeSignal,
        keep: Option<usize>,
    ) -> Result<(), EngineError> {
        let list = self.0.entry(key).or_insert_with(|| json!([]));
        let Json::Array(list) = list else {
            return Err(corrupt("member_map[wp_key] not a JSON array"));
        };

        list.push(entry(signal));
        if let Some(keep) = keep {
            list.drain(..list.len().saturating_sub(keep));
        }
        Ok(())
    }

    /// The signals.
    #[must_use]
    pub fn by_key(&self) -> ByKey {
        let signals = |list: &Json| {
            let list = list.as_array().into_iter().flatten();
            list.filter_map(signal).collect()
        };
        self.0.iter().map(|(key, list)| (key.clone(), signals(list))).collect()
    }

    /// Every signal: by key in byte order, and in order of arrival within one.
    #[must_use]
    pub fn all(&self) -> Vec<ResumeSignal> {
        self.by_key().into_values().flatten().collect()
    }

    /// The signals that pass.
    #[must_use]
    pub fn only(&self, passes: impl Fn(&str, &ResumeSignal) -> bool) -> Self {
        let mut kept = Map::new();
        for (key, signals) in self.by_key() {
            let passed: Vec<Json> =
                signals.iter().filter(|signal| passes(&key, signal)).map(entry).collect();
            if !passed.is_empty() {
                kept.insert(key, Json::Array(passed));
            }
        }
        Self(kept)
    }
}

/// The signal that a delivery brings, accepted at its time.
#[must_use]
pub fn delivered(args: &DeliverSignalArgs) -> ResumeSignal {
    let args = args.clone();
    ResumeSignal {
        signal_id: args.signal_id,
        signal_name: args.signal_name,
        signal_category: args.signal_category,
        source_type: args.source_type,
        source_identity: args.source_identity,
        correlation_id: args.correlation_id.unwrap_or_default(),
        accepted_at: args.now,
        payload: args.payload,
    }
}

/// The signal that announces a timeout.
#[must_use]
pub fn timed_out(signal_id: SignalId, at: TimestampMs) -> ResumeSignal {
    ResumeSignal {
        signal_id,
        signal_name: "timeout".into(),
        signal_category: "timeout".into(),
        source_type: "system".into(),
        source_identity: "suspension_timeout".into(),
        correlation_id: String::new(),
        accepted_at: at,
        payload: None,
    }
}

fn entry(signal: &ResumeSignal) -> Json {
    json!({
        "signal_id": signal.signal_id.to_string(),
        "signal_name": signal.signal_name,
        "signal_category": signal.signal_category,
        "source_type": signal.source_type,
        "source_identity": signal.source_identity,
        "correlation_id": signal.correlation_id,
        "accepted_at": signal.accepted_at.0,
        "payload_hex": signal.payload.as_ref().map(hex::encode),
    })
}

/// A stored signal; `None` for an entry without an id or a name.
fn signal(entry: &Json) -> Option<ResumeSignal> {
    let text = |member: &str| entry.get(member).and_then(Json::as_str).map(str::to_owned);
    Some(ResumeSignal {
        signal_id: SignalId::parse(&text("signal_id")?).ok()?,
        signal_name: text("signal_name")?,
        signal_category: text("signal_category").unwrap_or_default(),
        source_type: text("source_type").unwrap_or_default(),
        source_identity: text("source_identity").unwrap_or_default(),
        correlation_id: text("correlation_id").unwrap_or_default(),
        accepted_at: TimestampMs(entry.get("accepted_at").and_then(Json::as_i64).unwrap_or(0)),
        payload: text("payload_hex").and_then(|payload| hex::decode(payload).ok()),
    })
}

fn corrupt(detail: &str) -> EngineError {
    EngineError::Validation { kind: ValidationKind::Corruption, detail: detail.into() }
}
