//! Values that workers and backends exchange: handles, frames, failures, budgets' usage,
//! connections.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::contracts::ResumeGrant;
use crate::types::{
    ExecutionId, FlowId, SignalId, TimestampMs, WaitpointId, WaitpointToken, WorkerId,
    WorkerInstanceId,
};

pub use crate::contracts::{
    CompositeBody, IdempotencyKey, ResumeCondition, ResumePolicy, ResumeTarget, SignalMatcher,
    SuspendArgs, SuspendOutcome, SuspendOutcomeDetails, SuspensionReasonCode, SuspensionRequester,
    TimeoutBehavior, WaitpointBinding,
};
pub use crate::state::FailureClass;
pub use crate::types::Namespace;

/// In a durable summary's patch, the string that stores a JSON null instead of removing the member.
pub const SUMMARY_NULL_SENTINEL: &str = "__ff_null__";

/// The family of backends that a handle belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum BackendTag {
    /// Valkey.
    Valkey,
    /// Postgres.
    Postgres,
    /// SQLite.
    Sqlite,
    /// The in-memory backend.
    Memory,
}

impl BackendTag {
    /// The byte that stands for this in a handle.
    #[must_use]
    pub const fn wire_byte(self) -> u8 {
        match self {
            Self::Valkey => 0x01,
            Self::Postgres => 0x02,
            Self::Sqlite => 0x03,
            Self::Memory => 0x04,
        }
    }

    /// The tag that `byte` stands for.
    #[must_use]
    pub const fn from_wire_byte(byte: u8) -> Option<Self> {
        match byte {
            0x01 => Some(Self::Valkey),
            0x02 => Some(Self::Postgres),
            0x03 => Some(Self::Sqlite),
            0x04 => Some(Self::Memory),
            _ => None,
        }
    }
}

/// The way a handle was obtained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum HandleKind {
    /// By a claim.
    Fresh,
    /// By claiming a resumed execution.
    Resumed,
    /// By suspending: it names the suspended attempt.
    Suspended,
    /// By reclaiming a lost execution.
    Reclaimed,
}

/// The bytes inside a handle; see [`crate::handle_codec`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HandleOpaque(Box<[u8]>);

impl HandleOpaque {
    /// Wraps the bytes as they are.
    #[must_use]
    pub const fn new(bytes: Box<[u8]>) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The proof that a worker presents to act on the attempt it holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Handle {
    /// The backend that issued the handle.
    pub backend: BackendTag,
    /// The way the handle was obtained: first claim, resume, suspension or reclaim.
    pub kind: HandleKind,
    /// The encoded attempt and lease.
    pub opaque: HandleOpaque,
}

impl Handle {
    /// One parameter per field, in order.
    #[must_use]
    pub const fn new(backend: BackendTag, kind: HandleKind, opaque: HandleOpaque) -> Self {
        Self { backend, kind, opaque }
    }
}

/// The empty handle that stands in where a fresh claim's JSON has none.
#[must_use]
pub fn stub_handle_fresh() -> Handle {
    stub_handle(HandleKind::Fresh)
}

/// The empty handle that stands in where a resumed claim's JSON has none.
#[must_use]
pub fn stub_handle_resumed() -> Handle {
    stub_handle(HandleKind::Resumed)
}

fn stub_handle(kind: HandleKind) -> Handle {
    Handle::new(BackendTag::Valkey, kind, HandleOpaque::new(Box::default()))
}

/// The capability tokens that a worker offers.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CapabilitySet {
    /// The tokens, as given.
    pub tokens: Vec<String>,
}

impl CapabilitySet {
    /// The tokens in their order, repeats and empty ones included.
    #[must_use]
    pub fn new<I, S>(tokens: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        Self { tokens: tokens.into_iter().map(Into::into).collect() }
    }

    /// Returns true if there are no tokens.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }
}

/// The terms on which a worker claims.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClaimPolicy {
    /// The longest wait for work; no wait when absent. Has no effect in this version: a claim
    /// answers at once.
    pub max_wait: Option<Duration>,
    /// The worker.
    pub worker_id: WorkerId,
    /// The running instance of it.
    pub worker_instance_id: WorkerInstanceId,
    /// The lease's duration without renewal, in milliseconds.
    pub lease_ttl_ms: u32,
}

impl ClaimPolicy {
    /// The terms of one worker instance.
    #[must_use]
    pub const fn new(
        worker_id: WorkerId,
        worker_instance_id: WorkerInstanceId,
        lease_ttl_ms: u32,
        max_wait: Option<Duration>,
    ) -> Self {
        Self { max_wait, worker_id, worker_instance_id, lease_ttl_ms }
    }
}

/// The kind of content that a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FrameKind {
    /// Output text: `stdout`.
    Stdout,
    /// Error text: `stderr`.
    Stderr,
    /// A structured event: `event`.
    Event,
    /// Anything else: `blob`.
    Blob,
}

impl FrameKind {
    /// The frame type that stands for this where the writer names none.
    #[must_use]
    pub const fn wire_str(&self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Event => "event",
            Self::Blob => "blob",
        }
    }
}

/// The kind of change that a frame makes to a durable summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PatchKind {
    /// As an RFC 7396 merge patch: `json-merge-patch`.
    JsonMergePatch,
}

impl PatchKind {
    /// The text that stands for this in storage.
    #[must_use]
    pub const fn wire_str(&self) -> &'static str {
        match self {
            Self::JsonMergePatch => "json-merge-patch",
        }
    }
}

/// The retention mode of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StreamMode {
    /// Every frame stays: `durable`.
    #[default]
    Durable,
    /// The frame also patches the attempt's summary document: `summary`.
    DurableSummary {
        /// The format of the patch.
        patch_kind: PatchKind,
    },
    /// Old frames are dropped at a pace that follows the writer's: `best_effort`.
    BestEffortLive {
        /// The bounds on the frames kept.
        config: BestEffortLiveConfig,
    },
}

impl StreamMode {
    /// Every frame stays.
    #[must_use]
    pub const fn durable() -> Self {
        Self::Durable
    }

    /// Frames are merge patches of a summary document.
    #[must_use]
    pub const fn durable_summary() -> Self {
        Self::DurableSummary { patch_kind: PatchKind::JsonMergePatch }
    }

    /// Roughly the frames of the last `ttl_ms` milliseconds stay.
    #[must_use]
    pub const fn best_effort_live(ttl_ms: u32) -> Self {
        Self::best_effort_live_with_config(BestEffortLiveConfig::new(ttl_ms))
    }

    /// Roughly the frames that `config` asks for stay.
    #[must_use]
    pub const fn best_effort_live_with_config(config: BestEffortLiveConfig) -> Self {
        Self::BestEffortLive { config }
    }

    /// The text that stands for this in storage.
    #[must_use]
    pub const fn wire_str(&self) -> &'static str {
        match self {
            Self::Durable => "durable",
            Self::DurableSummary { .. } => "summary",
            Self::BestEffortLive { .. } => "best_effort",
        }
    }
}

/// The frames of a best-effort stream that are kept: those not older than `ttl_ms`, and of these
/// the newest. Their number is what the writer's smoothed rate produces in twice that time, between
/// floor and ceiling. Two configurations are equal when their smoothing has the same bits.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct BestEffortLiveConfig {
    /// The time to cover, in milliseconds; older best-effort frames go.
    pub ttl_ms: u32,
    /// The least number of frames to keep, of those that are young enough.
    pub maxlen_floor: u32,
    /// The most frames to keep.
    pub maxlen_ceiling: u32,
    /// The weight of the latest rate in the smoothed one.
    pub ema_alpha: f64,
}

impl BestEffortLiveConfig {
    /// Covers `ttl_ms` with 64 to 16384 frames and a smoothing of 0.2.
    #[must_use]
    pub const fn new(ttl_ms: u32) -> Self {
        Self { ttl_ms, maxlen_floor: 64, maxlen_ceiling: 16_384, ema_alpha: 0.2 }
    }

    /// The same as [`Self::new`].
    #[must_use]
    pub const fn with_ttl(ttl_ms: u32) -> Self {
        Self::new(ttl_ms)
    }

    /// With another floor.
    #[must_use]
    pub const fn with_maxlen_floor(mut self, maxlen_floor: u32) -> Self {
        self.maxlen_floor = maxlen_floor;
        self
    }

    /// With another ceiling.
    #[must_use]
    pub const fn with_maxlen_ceiling(mut self, maxlen_ceiling: u32) -> Self {
        self.maxlen_ceiling = maxlen_ceiling;
        self
    }

    /// With another smoothing.
    #[must_use]
    pub const fn with_ema_alpha(mut self, ema_alpha: f64) -> Self {
        self.ema_alpha = ema_alpha;
        self
    }

    const fn identity(&self) -> (u32, u32, u32, u64) {
        (self.ttl_ms, self.maxlen_floor, self.maxlen_ceiling, self.ema_alpha.to_bits())
    }
}

impl PartialEq for BestEffortLiveConfig {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for BestEffortLiveConfig {}

impl Hash for BestEffortLiveConfig {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

/// The frames that a follower sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum TailVisibility {
    /// All of them.
    #[default]
    All,
    /// Those that stay: none of best-effort mode.
    ExcludeBestEffort,
}

impl TailVisibility {
    /// The text that stands for this on the wire; empty for all.
    #[must_use]
    pub const fn wire_str(&self) -> &'static str {
        match self {
            Self::All => "",
            Self::ExcludeBestEffort => "exclude_best_effort",
        }
    }
}

/// An attempt's summary, as its patches left it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SummaryDocument {
    /// The document, as JSON text.
    pub document_json: Vec<u8>,
    /// The number of patches merged into it.
    pub version: u64,
    /// The format of those patches.
    pub patch_kind: PatchKind,
    /// The time of the last patch, in Unix milliseconds.
    pub last_updated_ms: u64,
    /// The time of the first patch, in Unix milliseconds.
    pub first_applied_ms: u64,
}

impl SummaryDocument {
    /// One parameter per field, in order.
    #[must_use]
    pub const fn new(
        document_json: Vec<u8>,
        version: u64,
        patch_kind: PatchKind,
        last_updated_ms: u64,
        first_applied_ms: u64,
    ) -> Self {
        Self { document_json, version, patch_kind, last_updated_ms, first_applied_ms }
    }
}

/// One piece of an attempt's output.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Frame {
    /// The content.
    pub bytes: Vec<u8>,
    /// The kind of content.
    pub kind: FrameKind,
    /// The writer's own number for it. Has no effect in this version: the store numbers frames.
    pub seq: Option<u64>,
    /// The writer's own name for its type; the kind's when empty.
    pub frame_type: String,
    /// The writer's own id for related records.
    pub correlation_id: Option<String>,
    /// The retention mode.
    pub mode: StreamMode,
}

impl Frame {
    /// A durable frame.
    #[must_use]
    pub const fn new(bytes: Vec<u8>, kind: FrameKind) -> Self {
        Self {
            bytes,
            kind,
            seq: None,
            frame_type: String::new(),
            correlation_id: None,
            mode: StreamMode::Durable,
        }
    }

    /// A durable frame with a number.
    #[must_use]
    pub const fn with_seq(bytes: Vec<u8>, kind: FrameKind, seq: u64) -> Self {
        let mut frame = Self::new(bytes, kind);
        frame.seq = Some(seq);
        frame
    }

    /// Sets the retention mode.
    #[must_use]
    pub const fn with_mode(mut self, mode: StreamMode) -> Self {
        self.mode = mode;
        self
    }

    /// Sets the writer's own type name.
    #[must_use]
    pub fn with_frame_type(mut self, frame_type: impl Into<String>) -> Self {
        self.frame_type = frame_type.into();
        self
    }

    /// Sets a correlation id.
    #[must_use]
    pub fn with_correlation_id(mut self, correlation_id: impl Into<String>) -> Self {
        self.correlation_id = Some(correlation_id.into());
        self
    }
}

/// The outcome of appending a frame.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct AppendFrameOutcome {
    /// The frame's id, `<ts_ms>-<seq>`.
    pub stream_id: String,
    /// The number of frames that the attempt has.
    pub frame_count: u64,
    /// The summary's version, where the frame patched it.
    pub summary_version: Option<u64>,
}

impl AppendFrameOutcome {
    /// The outcome for a frame that patched no summary.
    #[must_use]
    pub fn new(stream_id: impl Into<String>, frame_count: u64) -> Self {
        Self { stream_id: stream_id.into(), frame_count, summary_version: None }
    }

    /// Sets the version of the summary that the frame patched.
    #[must_use]
    pub const fn with_summary_version(mut self, version: u64) -> Self {
        self.summary_version = Some(version);
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
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WaitpointSpec {
    /// The thing that the execution waits for.
    pub kind: WaitpointKind,
    /// The name or id to match, encoded as the kind defines.
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

/// The reason for an attempt's failure.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailureReason {
    /// The reason, in words.
    pub message: String,
    /// Details in the worker's own format.
    pub detail: Option<Vec<u8>>,
}

impl FailureReason {
    /// A reason in words.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), detail: None }
    }

    /// A reason in words, with more to it.
    #[must_use]
    pub fn with_detail(message: impl Into<String>, detail: Vec<u8>) -> Self {
        Self { message: message.into(), detail: Some(detail) }
    }
}

/// The consequence of a failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FailOutcome {
    /// Another attempt.
    RetryScheduled {
        /// Not before this instant.
        delay_until: TimestampMs,
    },
    /// Nothing: the execution is over.
    TerminalFailed,
}

/// The resources that an attempt used.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct UsageDimensions {
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// Time, in milliseconds.
    pub wall_ms: Option<u64>,
    /// Anything else, by its dimension.
    pub custom: BTreeMap<String, u64>,
    /// Reports with the same key count once.
    pub dedup_key: Option<String>,
}

impl UsageDimensions {
    /// Nothing used.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the tokens read.
    #[must_use]
    pub const fn with_input_tokens(mut self, input_tokens: u64) -> Self {
        self.input_tokens = input_tokens;
        self
    }

    /// Sets the tokens written.
    #[must_use]
    pub const fn with_output_tokens(mut self, output_tokens: u64) -> Self {
        self.output_tokens = output_tokens;
        self
    }

    /// Sets the time, in milliseconds.
    #[must_use]
    pub const fn with_wall_ms(mut self, wall_ms: u64) -> Self {
        self.wall_ms = Some(wall_ms);
        self
    }

    /// Makes the report count once per `dedup_key`.
    #[must_use]
    pub fn with_dedup_key(mut self, dedup_key: impl Into<String>) -> Self {
        self.dedup_key = Some(dedup_key.into());
        self
    }
}

/// A resume grant, and the worker that spends it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResumeToken {
    /// The grant.
    pub grant: ResumeGrant,
    /// The worker.
    pub worker_id: WorkerId,
    /// The running instance of it.
    pub worker_instance_id: WorkerInstanceId,
    /// The lease's duration without renewal, in milliseconds.
    pub lease_ttl_ms: u32,
}

impl ResumeToken {
    /// One parameter per field, in order.
    #[must_use]
    pub const fn new(
        grant: ResumeGrant,
        worker_id: WorkerId,
        worker_instance_id: WorkerInstanceId,
        lease_ttl_ms: u32,
    ) -> Self {
        Self { grant, worker_id, worker_instance_id, lease_ttl_ms }
    }
}

/// A renewed lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct LeaseRenewal {
    /// The expiry without another renewal, in Unix milliseconds.
    pub expires_at_ms: u64,
    /// Its epoch.
    pub lease_epoch: u64,
}

impl LeaseRenewal {
    /// One parameter per field, in order.
    #[must_use]
    pub const fn new(expires_at_ms: u64, lease_epoch: u64) -> Self {
        Self { expires_at_ms, lease_epoch }
    }
}

/// The members that a flow's cancellation covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CancelFlowPolicy {
    /// The flow alone: `cancel_flow_only`.
    FlowOnly,
    /// Every member that is not over: `cancel_all`.
    CancelAll,
    /// Every member that has not begun: `cancel_pending`.
    CancelPending,
}

/// The time that a flow's cancellation waits for its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CancelFlowWait {
    /// Not at all.
    NoWait,
    /// At most this long.
    WaitTimeout(Duration),
    /// Until all are over.
    WaitIndefinite,
}

/// An execution that finished.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompletionPayload {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The outcome.
    pub outcome: String,
    /// Its result, where the backend carries it.
    pub payload_bytes: Option<Vec<u8>>,
    /// The time at which it ended.
    pub produced_at_ms: TimestampMs,
    /// Its flow, if it has one.
    pub flow_id: Option<FlowId>,
    /// The reason for a failure, cancellation or skip; `None` for a success.
    pub reason: Option<String>,
    /// The class of the failure, where it failed and the class is known.
    pub failure_class: Option<FailureClass>,
}

impl CompletionPayload {
    /// The payload of an execution without a flow.
    #[must_use]
    pub fn new(
        execution_id: ExecutionId,
        outcome: impl Into<String>,
        payload_bytes: Option<Vec<u8>>,
        produced_at_ms: TimestampMs,
    ) -> Self {
        Self {
            execution_id,
            outcome: outcome.into(),
            payload_bytes,
            produced_at_ms,
            flow_id: None,
            reason: None,
            failure_class: None,
        }
    }

    /// Sets the flow that the execution belongs to.
    #[must_use]
    pub fn with_flow_id(mut self, flow_id: FlowId) -> Self {
        self.flow_id = Some(flow_id);
        self
    }

    /// Sets the reason and the failure class.
    #[must_use]
    pub fn with_reason(mut self, reason: Option<String>, class: Option<FailureClass>) -> Self {
        self.reason = reason;
        self.failure_class = class;
        self
    }
}

/// A signal that resumed an execution.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    pub payload: Option<Vec<u8>>,
}

/// The outcome of preparing a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PrepareOutcome {
    /// Nothing had to be done.
    NoOp,
    /// A preparation was applied.
    Applied {
        /// The preparation, in words.
        description: String,
    },
}

impl PrepareOutcome {
    /// The outcome of a preparation that was applied.
    #[must_use]
    pub fn applied(description: impl Into<String>) -> Self {
        Self::Applied { description: description.into() }
    }
}

/// Limits on the duration of a backend's requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackendTimeouts {
    /// One request; the client's own limit when absent.
    pub request: Option<Duration>,
}

impl BackendTimeouts {
    /// The client's own limits.
    #[must_use]
    pub const fn new() -> Self {
        Self { request: None }
    }
}

/// The reconnect policy of a backend's client; the client's own numbers where absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackendRetry {
    /// The base of the growing pause.
    pub exponent_base: Option<u32>,
    /// The factor that the pause is multiplied by.
    pub factor: Option<u32>,
    /// The number of tries.
    pub number_of_retries: Option<u32>,
    /// The variation of the pause, in percent.
    pub jitter_percent: Option<u32>,
}

impl BackendRetry {
    /// The client's own numbers.
    #[must_use]
    pub const fn new() -> Self {
        Self { exponent_base: None, factor: None, number_of_retries: None, jitter_percent: None }
    }
}

/// The address of a Valkey server or cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ValkeyConnection {
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
    /// True if the connection is encrypted.
    pub tls: bool,
    /// True if the address is that of a cluster.
    pub cluster: bool,
}

impl ValkeyConnection {
    /// A single server, unencrypted.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port, tls: false, cluster: false }
    }
}

/// The address of a Postgres and the size of its pool. The password is never printed.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PostgresConnection {
    /// The URL, password included.
    pub url: String,
    /// The most connections in the pool.
    pub max_connections: u32,
    /// The fewest connections in the pool.
    pub min_connections: u32,
    /// The longest wait for a connection.
    pub acquire_timeout: Duration,
}

impl PostgresConnection {
    /// Up to ten connections, half a minute to wait for one.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            max_connections: 10,
            min_connections: 0,
            acquire_timeout: Duration::from_secs(30),
        }
    }
}

impl fmt::Debug for PostgresConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresConnection")
            .field("url", &redacted_url(&self.url))
            .field("max_connections", &self.max_connections)
            .field("min_connections", &self.min_connections)
            .field("acquire_timeout", &self.acquire_timeout)
            .finish()
    }
}

const REDACTED: &str = "<REDACTED>";

/// `url` without its password and without its parameters, which may hold another. A part that does
/// not read plainly as `scheme://user:password@host` is left out rather than guessed at.
fn redacted_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return REDACTED.to_owned();
    };

    let (place, parameters) = match rest.split_once('?') {
        // An `@` behind the `?` may end a password that contains a `?`: no part is safe to show.
        Some((_, parameters)) if parameters.contains('@') => {
            return format!("{scheme}://{REDACTED}");
        }
        Some((place, _)) => (place, format!("?{REDACTED}")),
        None => (rest, String::new()),
    };

    let place = match place.rsplit_once('@') {
        Some((login, host)) => match login.split_once(':') {
            Some((user, _)) => format!("{user}:{REDACTED}@{host}"),
            None => format!("{login}@{host}"),
        },
        None => place.to_owned(),
    };

    format!("{scheme}://{place}{parameters}")
}

/// The store that a backend connects to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackendConnection {
    /// A Valkey.
    Valkey(ValkeyConnection),
    /// A Postgres.
    Postgres(PostgresConnection),
}

/// The store that a backend connects to, with its timeouts and retries.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackendConfig {
    /// The address.
    pub connection: BackendConnection,
    /// The limits on the duration of requests.
    pub timeouts: BackendTimeouts,
    /// The reconnect policy.
    pub retry: BackendRetry,
}

impl BackendConfig {
    /// With the client's own timeouts and retries.
    #[must_use]
    pub const fn new(connection: BackendConnection) -> Self {
        Self { connection, timeouts: BackendTimeouts::new(), retry: BackendRetry::new() }
    }

    /// A single Valkey server, unencrypted.
    #[must_use]
    pub fn valkey(host: impl Into<String>, port: u16) -> Self {
        Self::new(BackendConnection::Valkey(ValkeyConnection::new(host, port)))
    }

    /// A Postgres.
    #[must_use]
    pub fn postgres(url: impl Into<String>) -> Self {
        Self::new(BackendConnection::Postgres(PostgresConnection::new(url)))
    }
}

/// The executions that a scanner or subscriber handles: those that meet every condition that is
/// set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScannerFilter {
    /// The namespace to match; any when absent.
    pub namespace: Option<Namespace>,
    /// The instance tag to match, as key and value; any when absent.
    pub instance_tag: Option<(String, String)>,
}

impl ScannerFilter {
    /// Lets everything through.
    pub const NOOP: Self = Self { namespace: None, instance_tag: None };

    /// A filter without conditions.
    #[must_use]
    pub const fn new() -> Self {
        Self::NOOP
    }

    /// Restricts the filter to `namespace`.
    #[must_use]
    pub fn with_namespace(mut self, namespace: impl Into<Namespace>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// Restricts the filter to the instance tag `key` = `value`.
    #[must_use]
    pub fn with_instance_tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.instance_tag = Some((key.into(), value.into()));
        self
    }

    /// Returns true if the filter lets everything through.
    #[must_use]
    pub const fn is_noop(&self) -> bool {
        self.namespace.is_none() && self.instance_tag.is_none()
    }

    /// Returns true if the filter lets an execution through: one of `namespace`, with the value
    /// `instance_tag` under the filter's tag key. An absent value meets no condition.
    #[must_use]
    pub fn matches(&self, namespace: Option<&Namespace>, instance_tag: Option<&str>) -> bool {
        self.namespace.as_ref().is_none_or(|wanted| namespace == Some(wanted))
            && self.instance_tag.as_ref().is_none_or(|(_, wanted)| instance_tag == Some(wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_their_bytes_name_each_other() {
        let tags = [
            (BackendTag::Valkey, 0x01),
            (BackendTag::Postgres, 0x02),
            (BackendTag::Sqlite, 0x03),
            (BackendTag::Memory, 0x04),
        ];

        for (tag, byte) in tags {
            assert_eq!(tag.wire_byte(), byte);
            assert_eq!(BackendTag::from_wire_byte(byte), Some(tag));
        }

        assert_eq!(BackendTag::from_wire_byte(0x00), None);
        assert_eq!(BackendTag::from_wire_byte(0x05), None);
    }

    #[test]
    fn a_handle_travels_as_names_and_byte_numbers() {
        let handle = Handle::new(
            BackendTag::Postgres,
            HandleKind::Fresh,
            HandleOpaque::new(Box::new([2, 1, 2])),
        );
        let text = r#"{"backend":"Postgres","kind":"Fresh","opaque":[2,1,2]}"#;
        assert_eq!(serde_json::to_string(&handle).unwrap(), text);
        assert_eq!(serde_json::from_str::<Handle>(text).unwrap(), handle);
    }

    #[test]
    fn a_filter_wants_all_that_is_set_and_nothing_else() {
        let (ours, theirs) = (Namespace::new("ours"), Namespace::new("theirs"));
        let noop = ScannerFilter::NOOP;
        assert!(noop.is_noop() && noop.matches(None, None));
        assert!(noop.matches(Some(&theirs), Some("x")));

        let namespace = ScannerFilter::new().with_namespace("ours");
        assert!(!namespace.is_noop());
        assert!(namespace.matches(Some(&ours), None));
        assert!(!namespace.matches(Some(&theirs), None));
        assert!(!namespace.matches(None, Some("ours")));

        let tag = ScannerFilter::new().with_instance_tag("cairn.instance_id", "i-1");
        assert!(tag.matches(None, Some("i-1")));
        assert!(!tag.matches(None, Some("i-2")));
        assert!(!tag.matches(Some(&ours), None));

        let both = tag.with_namespace("ours");
        assert!(both.matches(Some(&ours), Some("i-1")));
        assert!(!both.matches(Some(&theirs), Some("i-1")));
        assert!(!both.matches(Some(&ours), Some("i-2")));
    }

    #[test]
    fn the_password_is_never_printed() {
        let cases = [
            ("postgres://me:s3cret@db:5432/ff", "postgres://me:<REDACTED>@db:5432/ff"),
            ("postgres://me:s3cret@s3cret/s3cret@db/ff", "postgres://me:<REDACTED>@db/ff"),
            ("postgres://me@db/ff?password=s3cret", "postgres://me@db/ff?<REDACTED>"),
            ("postgres://db/ff?password=x@s3cret", "postgres://<REDACTED>"),
            ("postgres://me:s3cret?s3cret@db/ff", "postgres://<REDACTED>"),
            ("postgres://db:5432/ff", "postgres://db:5432/ff"),
            ("host=db password=s3cret", "<REDACTED>"),
        ];

        for (url, expected) in cases {
            let debug = format!("{:?}", BackendConfig::postgres(url));
            assert!(debug.contains(&format!("url: {expected:?}")), "{debug}");
            assert!(!debug.contains("s3cret"), "{debug}");
        }
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

    #[test]
    fn best_effort_configs_are_equal_by_their_bits() {
        let config = BestEffortLiveConfig::with_ttl(500);
        assert_eq!(
            (config.maxlen_floor, config.maxlen_ceiling, config.ema_alpha.to_bits()),
            (64, 16_384, 0.2_f64.to_bits())
        );
        assert_eq!(config.with_ema_alpha(f64::NAN), config.with_ema_alpha(f64::NAN));
        assert_ne!(config.with_ema_alpha(0.0), config.with_ema_alpha(-0.0));
    }

    #[test]
    fn modes_have_their_stored_names() {
        assert_eq!(StreamMode::durable().wire_str(), "durable");
        assert_eq!(StreamMode::durable_summary().wire_str(), "summary");
        assert_eq!(StreamMode::best_effort_live(1).wire_str(), "best_effort");
        assert_eq!(TailVisibility::All.wire_str(), "");
        assert_eq!(TailVisibility::ExcludeBestEffort.wire_str(), "exclude_best_effort");
    }
}
