//! Suspension, waitpoints and signals as they travel, and the keys that sign waitpoint tokens.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::hidden::Hidden;
use crate::model::ids::{ExecutionId, LaneId, SignalId, TimestampMs, WaitpointId, WaitpointToken};

/// Delivers a signal to a waitpoint.
#[derive(Clone, derive_more::Debug, Serialize, Deserialize)]
pub struct DeliverSignalArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The waitpoint.
    pub waitpoint_id: WaitpointId,
    /// The id of the signal.
    pub signal_id: SignalId,
    /// The name that matchers compare.
    pub signal_name: String,
    /// The category of the signal.
    pub signal_category: String,
    /// The kind of sender.
    pub source_type: String,
    /// The sender.
    pub source_identity: String,
    /// The content.
    #[serde(default)]
    #[debug("{}", Hidden(payload))]
    pub payload: Option<Vec<u8>>,
    /// The encoding of the content. It is not stored, so any is refused.
    #[serde(default)]
    pub payload_encoding: Option<String>,
    /// Ties the signal to other records.
    #[serde(default)]
    pub correlation_id: Option<String>,
    /// Makes the delivery repeatable.
    #[serde(default)]
    pub idempotency_key: Option<String>,
    /// The scope that the signal is meant for. Has no effect in this version.
    pub target_scope: String,
    /// The time at which the signal was made. Has no effect in this version.
    #[serde(default)]
    pub created_at: Option<TimestampMs>,
    /// The time for which a repeat is recognised, in milliseconds.
    #[serde(default)]
    pub dedup_ttl_ms: Option<u64>,
    /// The delay of a resume, in milliseconds.
    #[serde(default)]
    pub resume_delay_ms: Option<u64>,
    /// The most signals that the execution may receive.
    #[serde(default)]
    pub max_signals_per_execution: Option<u64>,
    /// The most signals that the waitpoint keeps.
    #[serde(default)]
    pub signal_maxlen: Option<u64>,
    /// The token that authorises the delivery.
    pub waitpoint_token: WaitpointToken,
    /// The time of the call.
    pub now: TimestampMs,
}

impl DeliverSignalArgs {
    /// A signal without sender and content.
    #[must_use]
    pub fn new(
        execution_id: ExecutionId,
        waitpoint_id: WaitpointId,
        signal_id: SignalId,
        signal_name: impl Into<String>,
        waitpoint_token: WaitpointToken,
        now: TimestampMs,
    ) -> Self {
        Self {
            execution_id,
            waitpoint_id,
            signal_id,
            signal_name: signal_name.into(),
            signal_category: String::new(),
            source_type: String::new(),
            source_identity: String::new(),
            payload: None,
            payload_encoding: None,
            correlation_id: None,
            idempotency_key: None,
            target_scope: "waitpoint".to_owned(),
            created_at: None,
            dedup_ttl_ms: None,
            resume_delay_ms: None,
            max_signals_per_execution: None,
            signal_maxlen: None,
            waitpoint_token,
            now,
        }
    }
}

/// The outcome of a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeliverSignalResult {
    /// The signal is recorded.
    Accepted {
        /// The signal.
        signal_id: SignalId,
        /// The effect of the signal.
        effect: String,
    },
    /// The same signal was delivered before.
    Duplicate {
        /// The signal of that delivery.
        existing_signal_id: SignalId,
    },
}

/// Delivers an operator's approval; the stored token is used.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeliverApprovalSignalArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The lane of the execution.
    pub lane_id: LaneId,
    /// The waitpoint.
    pub waitpoint_id: WaitpointId,
    /// The name that matchers compare.
    pub signal_name: String,
    /// Ends the idempotency key, to tell approvals of one waitpoint apart.
    pub idempotency_suffix: String,
    /// The time for which a repeat is recognised, in milliseconds.
    pub signal_dedup_ttl_ms: u64,
    /// The most signals that the waitpoint keeps.
    #[serde(default)]
    pub maxlen: Option<u64>,
    /// The most signals that the execution may receive.
    #[serde(default)]
    pub max_signals_per_execution: Option<u64>,
}

impl DeliverApprovalSignalArgs {
    /// An approval made of all its parts.
    #[must_use]
    #[expect(clippy::too_many_arguments, reason = "one per field")]
    pub fn new(
        execution_id: ExecutionId,
        lane_id: LaneId,
        waitpoint_id: WaitpointId,
        signal_name: impl Into<String>,
        idempotency_suffix: impl Into<String>,
        signal_dedup_ttl_ms: u64,
        maxlen: Option<u64>,
        max_signals_per_execution: Option<u64>,
    ) -> Self {
        Self {
            execution_id,
            lane_id,
            waitpoint_id,
            signal_name: signal_name.into(),
            idempotency_suffix: idempotency_suffix.into(),
            signal_dedup_ttl_ms,
            maxlen,
            max_signals_per_execution,
        }
    }
}

/// A waitpoint as listings show it, without its token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PendingWaitpointInfo {
    /// The waitpoint.
    pub waitpoint_id: WaitpointId,
    /// The key of the waitpoint.
    pub waitpoint_key: String,
    /// `pending` or `active`.
    pub state: String,
    /// The names of the signals it waits for; empty when any will do.
    #[serde(default)]
    pub required_signal_names: Vec<String>,
    /// The creation time.
    pub created_at: TimestampMs,
    /// The time at which a suspension began to use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activated_at: Option<TimestampMs>,
    /// The expiry time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<TimestampMs>,
    /// The execution.
    pub execution_id: ExecutionId,
    /// The key that signed its token.
    pub token_kid: String,
    /// The first hex digits of the token's signature, to tell tokens apart.
    pub token_fingerprint: String,
}

impl PendingWaitpointInfo {
    /// A waitpoint for any signal, not yet active, that does not expire.
    #[must_use]
    pub fn new(
        waitpoint_id: WaitpointId,
        waitpoint_key: String,
        state: String,
        created_at: TimestampMs,
        execution_id: ExecutionId,
        token_kid: String,
        token_fingerprint: String,
    ) -> Self {
        Self {
            waitpoint_id,
            waitpoint_key,
            state,
            required_signal_names: Vec::new(),
            created_at,
            activated_at: None,
            expires_at: None,
            execution_id,
            token_kid,
            token_fingerprint,
        }
    }

    /// Sets the time at which a suspension began to use it.
    #[must_use]
    pub fn with_activated_at(mut self, activated_at: TimestampMs) -> Self {
        self.activated_at = Some(activated_at);
        self
    }

    /// Sets the expiry time.
    #[must_use]
    pub fn with_expires_at(mut self, expires_at: TimestampMs) -> Self {
        self.expires_at = Some(expires_at);
        self
    }

    /// Sets the names of the signals it waits for.
    #[must_use]
    pub fn with_required_signal_names(mut self, names: Vec<String>) -> Self {
        self.required_signal_names = names;
        self
    }
}

/// Lists the waitpoints of an execution.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ListPendingWaitpointsArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The last waitpoint of the page before.
    pub after: Option<WaitpointId>,
    /// The most entries to return.
    pub limit: Option<u32>,
}

impl ListPendingWaitpointsArgs {
    /// The first page, of the usual length.
    #[must_use]
    pub fn new(execution_id: ExecutionId) -> Self {
        Self { execution_id, after: None, limit: None }
    }

    /// Continues after a waitpoint.
    #[must_use]
    pub fn with_after(mut self, after: WaitpointId) -> Self {
        self.after = Some(after);
        self
    }

    /// Sets the most entries to return.
    #[must_use]
    pub fn with_limit(mut self, limit: u32) -> Self {
        self.limit = Some(limit);
        self
    }
}

/// A page of waitpoints.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ListPendingWaitpointsResult {
    /// The waitpoints.
    pub entries: Vec<PendingWaitpointInfo>,
    /// The cursor of the next page; absent on the last page.
    pub next_cursor: Option<WaitpointId>,
}

impl ListPendingWaitpointsResult {
    /// The last page.
    #[must_use]
    pub fn new(entries: Vec<PendingWaitpointInfo>) -> Self {
        Self { entries, next_cursor: None }
    }

    /// Sets the cursor of the next page.
    #[must_use]
    pub fn with_next_cursor(mut self, cursor: WaitpointId) -> Self {
        self.next_cursor = Some(cursor);
        self
    }
}

/// The kind of event that a waitpoint waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WaitpointKind {
    /// A signal with a given name.
    SignalName,
    /// A signal with a given correlation id.
    CorrelationId,
    /// An event outside the system.
    External,
}

/// The bearer token of a waitpoint. Never printed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct WaitpointHmac(WaitpointToken);

impl WaitpointHmac {
    /// Wraps a token.
    #[must_use]
    pub fn new(token: impl Into<String>) -> Self {
        Self(WaitpointToken::new(token.into()))
    }

    /// The token.
    #[must_use]
    pub const fn token(&self) -> &WaitpointToken {
        &self.0
    }

    /// The token's raw text: a secret.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Debug for WaitpointHmac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WaitpointHmac").field(&self.0).finish()
    }
}

/// A waitpoint that was made before its suspension.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PendingWaitpoint {
    /// The waitpoint.
    pub waitpoint_id: WaitpointId,
    /// The token that a sender must present.
    pub hmac_token: WaitpointHmac,
}

impl PendingWaitpoint {
    /// One parameter per field, in order.
    #[must_use]
    pub const fn new(waitpoint_id: WaitpointId, hmac_token: WaitpointHmac) -> Self {
        Self { waitpoint_id, hmac_token }
    }
}

/// A waitpoint, as it is asked for.
#[derive(Clone, derive_more::Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WaitpointSpec {
    /// The thing that the execution waits for.
    pub kind: WaitpointKind,
    /// The name or id to match, encoded as the kind defines.
    #[debug("{}", Hidden(matcher))]
    pub matcher: Vec<u8>,
    /// The token that a sender must present.
    pub hmac_token: WaitpointHmac,
}

impl WaitpointSpec {
    /// One parameter per field, in order.
    #[must_use]
    pub const fn new(kind: WaitpointKind, matcher: Vec<u8>, hmac_token: WaitpointHmac) -> Self {
        Self { kind, matcher, hmac_token }
    }
}

/// A signal that resumed an execution.
#[derive(Clone, derive_more::Debug, PartialEq, Eq)]
pub struct ResumeSignal {
    /// The signal.
    pub signal_id: SignalId,
    /// Its name.
    pub signal_name: String,
    /// Its category.
    pub signal_category: String,
    /// The kind of sender.
    pub source_type: String,
    /// The sender.
    pub source_identity: String,
    /// The sender's own id for related records.
    pub correlation_id: String,
    /// The time at which it was accepted.
    pub accepted_at: TimestampMs,
    /// The content.
    #[debug("{}", Hidden(payload))]
    pub payload: Option<Vec<u8>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contracts::{
        BufferSignalArgs, CreatePendingWaitpointResult, RotateWaitpointHmacSecretAllArgs,
        RotateWaitpointHmacSecretArgs, SeedWaitpointHmacSecretArgs, SuspendExecutionArgs,
    };
    use serde_json::json;
    use uuid::Uuid;

    const SECRET: &str = "c0ffee";

    #[test]
    fn debug_hides_secrets() {
        let rotate = RotateWaitpointHmacSecretArgs {
            new_kid: "kid1".to_owned(),
            new_secret_hex: SECRET.to_owned(),
            grace_ms: 5,
        };

        let signal: BufferSignalArgs = serde_json::from_value(json!({
            "execution_id": ExecutionId::from_parts(0, Uuid::nil()),
            "waitpoint_id": Uuid::nil(),
            "signal_id": Uuid::nil(),
            "signal_name": "n",
            "signal_category": "c",
            "source_type": "t",
            "source_identity": "i",
            "target_scope": "waitpoint",
            "waitpoint_token": format!("kid1:{SECRET}"),
            "now": 1,
        }))
        .unwrap();

        let created = CreatePendingWaitpointResult::Created {
            waitpoint_id: WaitpointId::from_uuid(Uuid::nil()),
            waitpoint_key: "k".to_owned(),
            waitpoint_token: WaitpointToken::new(format!("kid1:{SECRET}")),
        };

        for text in [
            format!("{rotate:?}"),
            format!("{:?}", RotateWaitpointHmacSecretAllArgs::new("kid1", SECRET, 5)),
            format!("{:?}", SeedWaitpointHmacSecretArgs::new("kid1", SECRET)),
            format!("{signal:?}"),
            format!("{created:?}"),
        ] {
            assert!(!text.contains(SECRET), "{text}");
            assert!(text.contains("kid1") && text.contains("REDACTED"), "{text}");
        }

        assert!(serde_json::to_string(&created).unwrap().contains(SECRET));
    }

    #[test]
    fn suspensions_fail_on_timeout_by_default() {
        let args: SuspendExecutionArgs = serde_json::from_value(json!({
            "execution_id": ExecutionId::from_parts(0, Uuid::nil()),
            "fence": null,
            "attempt_index": 0,
            "suspension_id": Uuid::nil(),
            "waitpoint_id": Uuid::nil(),
            "waitpoint_key": "k",
            "reason_code": "waiting_for_signal",
            "requested_by": "worker",
            "resume_condition_json": "{}",
            "resume_policy_json": "{}",
        }))
        .unwrap();

        assert_eq!(args.timeout_behavior, "fail");
        assert!(!args.use_pending_waitpoint);
    }

    #[test]
    fn a_waitpoint_token_is_never_printed() {
        let pending = PendingWaitpoint::new(
            WaitpointId::from_uuid(uuid::Uuid::nil()),
            WaitpointHmac::new("k1:deadbeef"),
        );
        let debug = format!("{pending:?}");
        assert!(debug.contains("WaitpointHmac(WaitpointToken(k1:<REDACTED:len=8>))"), "{debug}");
        assert_eq!(pending.hmac_token.as_str(), "k1:deadbeef");
    }
}
