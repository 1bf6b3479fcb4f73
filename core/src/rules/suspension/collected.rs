//! The signals that a suspension has collected, by waitpoint key, as they are stored.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use crate::EngineError;
use crate::backend::ResumeSignal;
use crate::engine_error::ValidationKind;
use crate::types::{SignalId, TimestampMs};

/// The key under which the signal of a timeout is collected; no waitpoint has it.
pub const TIMEOUT_KEY: &str = "__timeout__";

/// Signals by waitpoint key, each list in order of arrival. Entries that are no signals stay as they
/// are stored, and are not looked at.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Collected(Map<String, Json>);

impl Collected {
    /// What a suspension row holds.
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

    /// As it is stored.
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

    /// The signals of a key, in order of arrival.
    #[must_use]
    pub fn at(&self, key: &str) -> Vec<ResumeSignal> {
        let list = self.0.get(key).and_then(Json::as_array);
        list.into_iter().flatten().filter_map(signal).collect()
    }

    /// The keys under which something is stored, in byte order.
    #[must_use]
    pub fn keys(&self) -> Vec<&str> {
        let sorted: BTreeMap<&str, ()> = self.0.keys().map(|key| (key.as_str(), ())).collect();
        sorted.into_keys().collect()
    }

    /// Every signal: by key in byte order, and in order of arrival within one.
    #[must_use]
    pub fn all(&self) -> Vec<ResumeSignal> {
        self.keys().into_iter().flat_map(|key| self.at(key)).collect()
    }

    /// Only those signals that pass.
    #[must_use]
    pub fn only(&self, passes: impl Fn(&str, &ResumeSignal) -> bool) -> Self {
        let mut kept = Map::new();
        for key in self.keys() {
            let signals: Vec<Json> =
                self.at(key).iter().filter(|signal| passes(key, signal)).map(entry).collect();
            if !signals.is_empty() {
                kept.insert(key.to_owned(), Json::Array(signals));
            }
        }
        Self(kept)
    }
}

/// The signal that tells of a timeout.
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
