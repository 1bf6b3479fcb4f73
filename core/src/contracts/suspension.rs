//! Suspension, waitpoints and signals as they travel, and the keys that sign waitpoint tokens.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::engine_error::EngineError;
use crate::types::{
    AttemptId, AttemptIndex, ExecutionId, LaneId, LeaseEpoch, LeaseFence, LeaseId, SignalId,
    SuspensionId, TimestampMs, WaitpointId, WaitpointToken,
};

/// The text that replaces a secret in `Debug` output.
const REDACTED: &str = "<REDACTED>";

fn default_timeout_behavior() -> String {
    "fail".to_owned()
}

/// Suspends an execution, with condition and policy as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SuspendExecutionArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The fence that the worker presents to prove its lease.
    pub fence: Option<LeaseFence>,
    /// The attempt.
    pub attempt_index: AttemptIndex,
    /// The id of the new suspension.
    pub suspension_id: SuspensionId,
    /// The waitpoint.
    pub waitpoint_id: WaitpointId,
    /// The key of the waitpoint.
    pub waitpoint_key: String,
    /// The reason for the suspension.
    pub reason_code: String,
    /// The party that asked for the suspension.
    pub requested_by: String,
    /// The condition that ends the suspension, as JSON.
    pub resume_condition_json: String,
    /// The policy once the condition holds, as JSON.
    pub resume_policy_json: String,
    /// A pointer to the state that the worker needs in order to continue.
    #[serde(default)]
    pub continuation_metadata_pointer: Option<String>,
    /// The time at which the suspension times out.
    #[serde(default)]
    pub timeout_at: Option<TimestampMs>,
    /// True if the waitpoint was created earlier.
    #[serde(default)]
    pub use_pending_waitpoint: bool,
    /// The action on timeout.
    #[serde(default = "default_timeout_behavior")]
    pub timeout_behavior: String,
}

/// The outcome of a suspension.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SuspendExecutionResult {
    /// The execution is suspended.
    Suspended {
        /// The suspension.
        suspension_id: SuspensionId,
        /// The waitpoint.
        waitpoint_id: WaitpointId,
        /// The key of the waitpoint.
        waitpoint_key: String,
        /// The token that lets its bearer signal the waitpoint.
        waitpoint_token: WaitpointToken,
    },
    /// The condition already holds: the worker continues.
    AlreadySatisfied {
        /// The suspension.
        suspension_id: SuspensionId,
        /// The waitpoint.
        waitpoint_id: WaitpointId,
        /// The key of the waitpoint.
        waitpoint_key: String,
        /// The token that lets its bearer signal the waitpoint.
        waitpoint_token: WaitpointToken,
    },
}

/// Creates a waitpoint before the suspension that will use it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CreatePendingWaitpointArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The lease that the worker holds.
    pub lease_id: LeaseId,
    /// The epoch that the worker holds.
    pub lease_epoch: LeaseEpoch,
    /// The attempt.
    pub attempt_index: AttemptIndex,
    /// The id of the attempt.
    pub attempt_id: AttemptId,
    /// The id of the new waitpoint.
    pub waitpoint_id: WaitpointId,
    /// The key of the new waitpoint.
    pub waitpoint_key: String,
    /// The time for which the waitpoint stays pending, in milliseconds.
    pub expires_in_ms: u64,
}

/// The outcome of creating a waitpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CreatePendingWaitpointResult {
    /// The waitpoint exists.
    Created {
        /// The waitpoint.
        waitpoint_id: WaitpointId,
        /// The key of the waitpoint.
        waitpoint_key: String,
        /// The token that lets its bearer signal the waitpoint.
        waitpoint_token: WaitpointToken,
    },
}

/// Closes a waitpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CloseWaitpointArgs {
    /// The waitpoint.
    pub waitpoint_id: WaitpointId,
    /// The reason for closing it.
    pub reason: String,
}

/// The outcome of closing a waitpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CloseWaitpointResult {
    /// The waitpoint is closed.
    Closed,
}

/// Times out a suspension.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExpireSuspensionArgs {
    /// The execution.
    pub execution_id: ExecutionId,
}

/// The outcome of a timeout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExpireSuspensionResult {
    /// The suspension timed out.
    Expired {
        /// The timeout behaviour that was applied.
        behavior_applied: String,
    },
    /// There was nothing to time out.
    AlreadySatisfied {
        /// The reason nothing was done.
        reason: String,
    },
}

/// Delivers a signal to a waitpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
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
    pub payload: Option<Vec<u8>>,
    /// The encoding of the content. Has no effect in this version: it is not stored.
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

/// Keeps a signal for a waitpoint that no suspension uses yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BufferSignalArgs {
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
    pub payload: Option<Vec<u8>>,
    /// The encoding of the content.
    #[serde(default)]
    pub payload_encoding: Option<String>,
    /// Makes the delivery repeatable.
    #[serde(default)]
    pub idempotency_key: Option<String>,
    /// The scope that the signal is meant for.
    pub target_scope: String,
    /// The token that authorises the delivery.
    pub waitpoint_token: WaitpointToken,
    /// The time of the call.
    pub now: TimestampMs,
}

/// The outcome of buffering a signal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BufferSignalResult {
    /// The signal is kept.
    Buffered {
        /// The signal.
        signal_id: SignalId,
    },
    /// The same signal was buffered before.
    Duplicate {
        /// The signal of that call.
        existing_signal_id: SignalId,
    },
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

/// Replaces the signing key of one partition.
///
/// `Debug` hides the secret.
#[derive(Clone)]
pub struct RotateWaitpointHmacSecretArgs {
    /// The id of the new key.
    pub new_kid: String,
    /// The new key, in hex.
    pub new_secret_hex: String,
    /// The time for which tokens of the old key stay valid, in milliseconds.
    pub grace_ms: u64,
}

impl fmt::Debug for RotateWaitpointHmacSecretArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RotateWaitpointHmacSecretArgs")
            .field("new_kid", &self.new_kid)
            .field("new_secret_hex", &REDACTED)
            .field("grace_ms", &self.grace_ms)
            .finish()
    }
}

/// The outcome of replacing a signing key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RotateWaitpointHmacSecretOutcome {
    /// The new key signs from now on.
    Rotated {
        /// The key that signed before, if there was one.
        previous_kid: Option<String>,
        /// The key that signs now.
        new_kid: String,
        /// The number of expired keys that were removed.
        gc_count: u32,
    },
    /// The key was there already, with the same secret.
    Noop {
        /// The key.
        kid: String,
    },
}

/// Replaces the signing key everywhere.
///
/// `Debug` hides the secret.
#[derive(Clone)]
#[non_exhaustive]
pub struct RotateWaitpointHmacSecretAllArgs {
    /// The id of the new key.
    pub new_kid: String,
    /// The new key, in hex.
    pub new_secret_hex: String,
    /// The time for which tokens of the old key stay valid, in milliseconds.
    pub grace_ms: u64,
}

impl RotateWaitpointHmacSecretAllArgs {
    /// The new key with its id, and the grace of the old one.
    #[must_use]
    pub fn new(
        new_kid: impl Into<String>,
        new_secret_hex: impl Into<String>,
        grace_ms: u64,
    ) -> Self {
        Self { new_kid: new_kid.into(), new_secret_hex: new_secret_hex.into(), grace_ms }
    }
}

impl fmt::Debug for RotateWaitpointHmacSecretAllArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RotateWaitpointHmacSecretAllArgs")
            .field("new_kid", &self.new_kid)
            .field("new_secret_hex", &REDACTED)
            .field("grace_ms", &self.grace_ms)
            .finish()
    }
}

/// The outcome of replacing the signing key in one partition.
#[derive(Debug)]
#[non_exhaustive]
pub struct RotateWaitpointHmacSecretAllEntry {
    /// The partition.
    pub partition: u16,
    /// The outcome in that partition.
    pub result: Result<RotateWaitpointHmacSecretOutcome, EngineError>,
}

impl RotateWaitpointHmacSecretAllEntry {
    /// The result of one partition.
    #[must_use]
    pub fn new(
        partition: u16,
        result: Result<RotateWaitpointHmacSecretOutcome, EngineError>,
    ) -> Self {
        Self { partition, result }
    }
}

/// The outcome of replacing the signing key everywhere.
#[derive(Debug)]
#[non_exhaustive]
pub struct RotateWaitpointHmacSecretAllResult {
    /// One entry per partition.
    pub entries: Vec<RotateWaitpointHmacSecretAllEntry>,
}

impl RotateWaitpointHmacSecretAllResult {
    /// The results of all partitions.
    #[must_use]
    pub fn new(entries: Vec<RotateWaitpointHmacSecretAllEntry>) -> Self {
        Self { entries }
    }
}

/// Installs the first signing key.
///
/// `Debug` hides the secret.
#[derive(Clone)]
#[non_exhaustive]
pub struct SeedWaitpointHmacSecretArgs {
    /// The id of the key.
    pub kid: String,
    /// The key, in hex.
    pub secret_hex: String,
}

impl SeedWaitpointHmacSecretArgs {
    /// The key with its id.
    #[must_use]
    pub fn new(kid: impl Into<String>, secret_hex: impl Into<String>) -> Self {
        Self { kid: kid.into(), secret_hex: secret_hex.into() }
    }
}

impl fmt::Debug for SeedWaitpointHmacSecretArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeedWaitpointHmacSecretArgs")
            .field("kid", &self.kid)
            .field("secret_hex", &REDACTED)
            .finish()
    }
}

/// The outcome of installing the first signing key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SeedOutcome {
    /// The key signs from now on.
    Seeded {
        /// The key.
        kid: String,
    },
    /// A key of this id was there already.
    AlreadySeeded {
        /// The key.
        kid: String,
        /// True if the stored key has the same secret.
        same_secret: bool,
    },
}

/// Lists the keys that tokens are checked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListWaitpointHmacKidsArgs {}

/// The keys that tokens are checked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitpointHmacKids {
    /// The key that signs, if there is one.
    pub current_kid: Option<String>,
    /// The older keys that still verify tokens.
    pub verifying: Vec<VerifyingKid>,
}

/// An older key that still verifies tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyingKid {
    /// The key.
    pub kid: String,
    /// The time until which its tokens are valid, in Unix milliseconds.
    pub expires_at_ms: i64,
}

#[cfg(test)]
mod tests {
    use super::*;
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
    fn suspensions_fail_on_timeout_unless_told_otherwise() {
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
}
