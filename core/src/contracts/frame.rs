//! Frames of a stream: what a worker appends, in which mode, and what a reader sees.

use std::hash::{Hash, Hasher};

use crate::model::hidden::Hidden;

/// In a durable summary's patch, the string that stores a JSON null instead of removing the member.
pub const SUMMARY_NULL_SENTINEL: &str = "__ff_null__";

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
#[derive(Clone, derive_more::Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SummaryDocument {
    /// The document, as JSON text.
    #[debug("{}", Hidden(document_json))]
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
#[derive(Clone, derive_more::Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Frame {
    /// The content.
    #[debug("{}", Hidden(bytes))]
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

#[cfg(test)]
mod tests {
    use super::*;

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
