//! Suspension as the worker states it: the condition to wait for, the policy afterwards, the
//! outcome.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::contracts::{PendingWaitpoint, WaitpointHmac};
use crate::model::handle::Handle;
use crate::model::ids::{SuspensionId, TimestampMs, WaitpointId};
use crate::model::policy::TimeoutBehavior;

/// The deepest allowed nesting of composites, the outermost included.
pub const MAX_COMPOSITE_DEPTH: usize = 4;

/// Makes a call repeatable: a second call with the same key changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Wraps `key` as it is.
    #[must_use]
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into())
    }

    /// The key as it is.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The signals that count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum SignalMatcher {
    /// Signals of this name.
    ByName(String),
    /// Every signal.
    Wildcard,
}

/// A condition made of several parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind")]
#[non_exhaustive]
pub enum CompositeBody {
    /// Holds when all members hold.
    AllOf {
        /// The members; at least one.
        members: Vec<ResumeCondition>,
    },
    /// Holds when enough distinct things arrived.
    Count {
        /// The number needed; at least one.
        n: u32,
        /// The kind of thing to count.
        count_kind: CountKind,
        /// The signals that count; all of them without a matcher.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        matcher: Option<SignalMatcher>,
        /// The keys of the waitpoints where signals count; at least one.
        waitpoints: Vec<String>,
    },
}

impl CompositeBody {
    /// Holds when all of `members` hold.
    #[must_use]
    pub fn all_of(members: impl IntoIterator<Item = ResumeCondition>) -> Self {
        Self::AllOf { members: members.into_iter().collect() }
    }

    /// Holds when `n` distinct things of `count_kind` arrived at `waitpoints`.
    #[must_use]
    pub fn count(
        n: u32,
        count_kind: CountKind,
        matcher: Option<SignalMatcher>,
        waitpoints: impl IntoIterator<Item = String>,
    ) -> Self {
        Self::Count { n, count_kind, matcher, waitpoints: waitpoints.into_iter().collect() }
    }

    /// Checks this composite, which sits `depth` composites deep, and those within it.
    fn validate(&self, depth: usize) -> Result<(), CompositeValidationError> {
        if MAX_COMPOSITE_DEPTH < depth {
            return Err(CompositeValidationError::new(format!(
                "composite depth {depth} exceeds cap {MAX_COMPOSITE_DEPTH}"
            )));
        }

        match self {
            Self::AllOf { members } if members.is_empty() => {
                Err(CompositeValidationError::new("allof_empty_members"))
            }
            Self::AllOf { members } => {
                members.iter().try_for_each(|member| member.validate_at(depth.saturating_add(1)))
            }
            Self::Count { n: 0, .. } => Err(CompositeValidationError::new("count_n_zero")),
            Self::Count { waitpoints, .. } if waitpoints.is_empty() => {
                Err(CompositeValidationError::new("count_waitpoints_empty"))
            }
            Self::Count {
                n,
                count_kind: CountKind::DistinctWaitpoints,
                waitpoints,
                matcher: _,
            } if usize::try_from(*n).map_or(true, |n| waitpoints.len() < n) => {
                Err(CompositeValidationError::new("count_exceeds_waitpoint_set"))
            }
            Self::Count { .. } => Ok(()),
        }
    }
}

/// The kind of thing that a count counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum CountKind {
    /// Waitpoints that got a matching signal.
    DistinctWaitpoints,
    /// Matching signals.
    DistinctSignals,
    /// Sources that sent a matching signal.
    DistinctSources,
}

/// The condition that ends a suspension.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ResumeCondition {
    /// One matching signal at one waitpoint.
    Single {
        /// The key of the waitpoint.
        waitpoint_key: String,
        /// The signals that count.
        matcher: SignalMatcher,
    },
    /// Only an operator.
    OperatorOnly,
    /// Only the timeout.
    TimeoutOnly,
    /// Several parts together.
    Composite(CompositeBody),
}

impl ResumeCondition {
    /// Holds when a signal of that name came, at a waitpoint with that key.
    #[must_use]
    pub fn signal(name: impl Into<String>) -> Self {
        let name = name.into();
        Self::Single { waitpoint_key: name.clone(), matcher: SignalMatcher::ByName(name) }
    }

    /// Holds when signals of all these names came, each at a waitpoint of its own.
    #[must_use]
    pub fn signals(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::Composite(CompositeBody::all_of(names.into_iter().map(Self::signal)))
    }

    /// Holds when so many of these waitpoints got a signal.
    ///
    /// ```
    /// use ff_core::contracts::ResumeCondition;
    ///
    /// let two_of_three = ResumeCondition::signals_at(2, ["ada", "grace", "edsger"]);
    /// assert_eq!(two_of_three.referenced_waitpoint_keys(), ["ada", "grace", "edsger"]);
    /// assert!(two_of_three.validate_composite().is_ok());
    /// assert!(ResumeCondition::signals_at(2, ["ada"]).validate_composite().is_err());
    /// ```
    #[must_use]
    pub fn signals_at(need: u32, keys: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let keys = keys.into_iter().map(Into::into);
        Self::Composite(CompositeBody::count(need, CountKind::DistinctWaitpoints, None, keys))
    }

    /// Holds when every one of `waitpoint_keys` got any signal.
    #[must_use]
    pub fn all_of_waitpoints<I, S>(waitpoint_keys: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        Self::Composite(CompositeBody::all_of(waitpoint_keys.into_iter().map(|key| Self::Single {
            waitpoint_key: key.into(),
            matcher: SignalMatcher::Wildcard,
        })))
    }

    /// The keys of all waitpoints that the condition names, each once, in the order of first
    /// mention.
    #[must_use]
    pub fn referenced_waitpoint_keys(&self) -> Vec<String> {
        let mut mentioned = Vec::new();
        self.mention_waitpoint_keys(&mut mentioned);

        let mut seen = BTreeSet::new();
        mentioned.retain(|key| seen.insert(*key));
        mentioned.into_iter().map(str::to_owned).collect()
    }

    fn mention_waitpoint_keys<'a>(&'a self, mentioned: &mut Vec<&'a str>) {
        match self {
            Self::Single { waitpoint_key, .. } => mentioned.push(waitpoint_key),
            Self::OperatorOnly | Self::TimeoutOnly => {}
            Self::Composite(CompositeBody::AllOf { members }) => {
                for member in members {
                    member.mention_waitpoint_keys(mentioned);
                }
            }
            Self::Composite(CompositeBody::Count { waitpoints, .. }) => {
                mentioned.extend(waitpoints.iter().map(String::as_str));
            }
        }
    }

    /// Checks that every composite can hold and that they are not nested too deeply. Other
    /// conditions always pass.
    ///
    /// # Errors
    /// The first broken rule, outermost composite first: the depth, then an empty member list; a
    /// count of zero, no waitpoints, or more distinct waitpoints than are listed.
    pub fn validate_composite(&self) -> Result<(), CompositeValidationError> {
        self.validate_at(1)
    }

    fn validate_at(&self, depth: usize) -> Result<(), CompositeValidationError> {
        match self {
            Self::Single { .. } | Self::OperatorOnly | Self::TimeoutOnly => Ok(()),
            Self::Composite(body) => body.validate(depth),
        }
    }
}

/// The reason why a composite condition was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompositeValidationError {
    /// The broken rule.
    pub detail: String,
}

impl CompositeValidationError {
    fn new(detail: impl Into<String>) -> Self {
        Self { detail: detail.into() }
    }
}

/// The state that a resumed execution enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ResumeTarget {
    /// Runnable, to be claimed again.
    Runnable,
}

/// The actions taken when the resume condition holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ResumePolicy {
    /// The state that the execution enters.
    pub resume_target: ResumeTarget,
    /// True if the signals that ended the suspension are used up.
    pub consume_matched_signals: bool,
    /// True if signals stay buffered until the waitpoint closes.
    pub retain_signal_buffer_until_closed: bool,
    /// The delay of the execution after the condition holds, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume_delay_ms: Option<u64>,
    /// True if the waitpoint closes on resume.
    pub close_waitpoint_on_resume: bool,
}

impl ResumePolicy {
    /// The usual policy: runnable at once, signals used up, waitpoint closed.
    #[must_use]
    pub fn new() -> Self {
        Self {
            resume_target: ResumeTarget::Runnable,
            consume_matched_signals: true,
            retain_signal_buffer_until_closed: false,
            resume_delay_ms: None,
            close_waitpoint_on_resume: true,
        }
    }

    /// The same as [`Self::new`].
    #[must_use]
    pub fn normal() -> Self {
        Self::new()
    }
}

impl Default for ResumePolicy {
    fn default() -> Self {
        Self::new()
    }
}

/// The reason for a suspension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum SuspensionReasonCode {
    /// It waits for a signal.
    WaitingForSignal,
    /// It waits for an approval.
    WaitingForApproval,
    /// It waits for a callback.
    WaitingForCallback,
    /// It waits for the result of a tool.
    WaitingForToolResult,
    /// It waits for an operator's review.
    WaitingForOperatorReview,
    /// A policy paused it.
    PausedByPolicy,
    /// A budget paused it.
    PausedByBudget,
    /// It stopped between two steps.
    StepBoundary,
    /// It was paused by hand.
    ManualPause,
}

impl SuspensionReasonCode {
    /// The name as it is stored and sent.
    #[must_use]
    pub fn as_wire_str(self) -> &'static str {
        match self {
            Self::WaitingForSignal => "waiting_for_signal",
            Self::WaitingForApproval => "waiting_for_approval",
            Self::WaitingForCallback => "waiting_for_callback",
            Self::WaitingForToolResult => "waiting_for_tool_result",
            Self::WaitingForOperatorReview => "waiting_for_operator_review",
            Self::PausedByPolicy => "paused_by_policy",
            Self::PausedByBudget => "paused_by_budget",
            Self::StepBoundary => "step_boundary",
            Self::ManualPause => "manual_pause",
        }
    }
}

/// The party that asked for a suspension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum SuspensionRequester {
    /// The worker that holds the lease.
    Worker,
    /// An operator.
    Operator,
    /// A policy.
    Policy,
    /// The system's timeout policy.
    SystemTimeoutPolicy,
}

impl SuspensionRequester {
    /// The name as it is stored and sent.
    #[must_use]
    pub fn as_wire_str(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Operator => "operator",
            Self::Policy => "policy",
            Self::SystemTimeoutPolicy => "system_timeout_policy",
        }
    }
}

/// The waitpoint that a suspension waits at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum WaitpointBinding {
    /// A waitpoint that the suspension creates.
    Fresh {
        /// Its id.
        waitpoint_id: WaitpointId,
        /// Its key within the execution.
        waitpoint_key: String,
    },
    /// A waitpoint created earlier.
    UsePending {
        /// Its id.
        waitpoint_id: WaitpointId,
    },
}

impl WaitpointBinding {
    /// A waitpoint to create under `id`, with the key `wpk:<id>`.
    #[must_use]
    pub fn fresh_with(id: WaitpointId) -> Self {
        Self::Fresh { waitpoint_key: format!("wpk:{id}"), waitpoint_id: id }
    }

    /// The waitpoint `pending`.
    #[must_use]
    pub fn use_pending(pending: &PendingWaitpoint) -> Self {
        Self::UsePending { waitpoint_id: pending.waitpoint_id.clone() }
    }
}

#[cfg(feature = "generate")]
impl WaitpointBinding {
    /// A binding to a waitpoint of its own, with a fresh random id.
    #[must_use]
    pub fn fresh() -> Self {
        Self::fresh_with(WaitpointId::new())
    }
}

/// Suspends an execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SuspendArgs {
    /// The id of the new suspension.
    pub suspension_id: SuspensionId,
    /// The waitpoints where signals arrive; the first one is the primary.
    pub waitpoints: Vec<WaitpointBinding>,
    /// The condition that ends the suspension.
    pub resume_condition: ResumeCondition,
    /// The policy once the condition holds.
    pub resume_policy: ResumePolicy,
    /// The reason for the suspension.
    pub reason_code: SuspensionReasonCode,
    /// The party that asked for the suspension.
    pub requested_by: SuspensionRequester,
    /// The time at which the suspension times out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_at: Option<TimestampMs>,
    /// The action on timeout.
    pub timeout_behavior: TimeoutBehavior,
    /// A pointer to the state that the worker needs in order to continue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continuation_metadata_pointer: Option<String>,
    /// The time of the call.
    pub now: TimestampMs,
    /// Makes the call repeatable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<IdempotencyKey>,
}

impl SuspendArgs {
    /// A suspension asked for by the worker, at one waitpoint and without a timeout.
    #[must_use]
    pub fn new(
        suspension_id: SuspensionId,
        waitpoint: WaitpointBinding,
        resume_condition: ResumeCondition,
        resume_policy: ResumePolicy,
        reason_code: SuspensionReasonCode,
        now: TimestampMs,
    ) -> Self {
        Self {
            suspension_id,
            waitpoints: vec![waitpoint],
            resume_condition,
            resume_policy,
            reason_code,
            requested_by: SuspensionRequester::Worker,
            timeout_at: None,
            timeout_behavior: TimeoutBehavior::Fail,
            continuation_metadata_pointer: None,
            now,
            idempotency_key: None,
        }
    }

    /// A suspension until the condition holds, with a fresh waitpoint for each key that it names.
    #[cfg(feature = "generate")]
    #[must_use]
    pub fn until(condition: ResumeCondition, now: TimestampMs) -> Self {
        let keys = condition.referenced_waitpoint_keys().into_iter();
        let mut waitpoints = keys.map(|waitpoint_key| WaitpointBinding::Fresh {
            waitpoint_id: WaitpointId::new(),
            waitpoint_key,
        });
        // A wait for an operator or a time alone has a waitpoint as well.
        let primary = waitpoints.next().unwrap_or_else(WaitpointBinding::fresh);

        let (policy, reason) = (ResumePolicy::normal(), SuspensionReasonCode::WaitingForSignal);
        let args = Self::new(SuspensionId::new(), primary, condition, policy, reason, now);
        waitpoints.fold(args, Self::with_waitpoint)
    }

    /// The first waitpoint; absent only when the list was emptied.
    #[must_use]
    pub fn primary(&self) -> Option<&WaitpointBinding> {
        self.waitpoints.first()
    }

    /// Sets the suspension's timeout and the action on it.
    #[must_use]
    pub fn with_timeout(mut self, at: TimestampMs, behavior: TimeoutBehavior) -> Self {
        self.timeout_at = Some(at);
        self.timeout_behavior = behavior;
        self
    }

    /// Sets the party that asked for the suspension.
    #[must_use]
    pub fn with_requester(mut self, requester: SuspensionRequester) -> Self {
        self.requested_by = requester;
        self
    }

    /// Sets the pointer to the state that the worker needs in order to continue.
    #[must_use]
    pub fn with_continuation_metadata_pointer(mut self, p: String) -> Self {
        self.continuation_metadata_pointer = Some(p);
        self
    }

    /// Makes the call repeatable under `key`.
    #[must_use]
    pub fn with_idempotency_key(mut self, key: IdempotencyKey) -> Self {
        self.idempotency_key = Some(key);
        self
    }

    /// Adds a waitpoint after those already there.
    #[must_use]
    pub fn with_waitpoint(mut self, binding: WaitpointBinding) -> Self {
        self.waitpoints.push(binding);
        self
    }

    /// Replaces all waitpoints.
    #[must_use]
    pub fn with_waitpoints(mut self, bindings: Vec<WaitpointBinding>) -> Self {
        self.waitpoints = bindings;
        self
    }
}

/// The suspension and waitpoints that a call created.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SuspendOutcomeDetails {
    /// The suspension.
    pub suspension_id: SuspensionId,
    /// The primary waitpoint.
    pub waitpoint_id: WaitpointId,
    /// The key of the primary waitpoint.
    pub waitpoint_key: String,
    /// The token that lets its bearer signal the primary waitpoint.
    pub waitpoint_token: WaitpointHmac,
    /// The waitpoints after the primary, in the order asked for.
    pub additional_waitpoints: Vec<AdditionalWaitpointBinding>,
}

impl SuspendOutcomeDetails {
    /// A suspension at one waitpoint.
    #[must_use]
    pub fn new(
        suspension_id: SuspensionId,
        waitpoint_id: WaitpointId,
        waitpoint_key: String,
        waitpoint_token: WaitpointHmac,
    ) -> Self {
        Self {
            suspension_id,
            waitpoint_id,
            waitpoint_key,
            waitpoint_token,
            additional_waitpoints: Vec::new(),
        }
    }

    /// Sets the waitpoints after the primary.
    #[must_use]
    pub fn with_additional_waitpoints(mut self, extras: Vec<AdditionalWaitpointBinding>) -> Self {
        self.additional_waitpoints = extras;
        self
    }
}

/// A waitpoint of a suspension, other than the primary.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdditionalWaitpointBinding {
    /// The waitpoint.
    pub waitpoint_id: WaitpointId,
    /// Its key within the execution.
    pub waitpoint_key: String,
    /// The token that lets its bearer signal it.
    pub waitpoint_token: WaitpointHmac,
}

impl AdditionalWaitpointBinding {
    /// A waitpoint with its key and token.
    #[must_use]
    pub fn new(
        waitpoint_id: WaitpointId,
        waitpoint_key: String,
        waitpoint_token: WaitpointHmac,
    ) -> Self {
        Self { waitpoint_id, waitpoint_key, waitpoint_token }
    }
}

/// The outcome of a suspension.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SuspendOutcome {
    /// The execution is suspended and the lease is gone.
    Suspended {
        /// The suspension and its waitpoints.
        details: SuspendOutcomeDetails,
        /// Names the suspended attempt; it holds no lease.
        handle: Handle,
    },
    /// The condition already holds: the worker keeps its lease and continues.
    AlreadySatisfied {
        /// The suspension and its waitpoints.
        details: SuspendOutcomeDetails,
    },
}

impl SuspendOutcome {
    /// The suspension and its waitpoints, in either case.
    #[must_use]
    pub fn details(&self) -> &SuspendOutcomeDetails {
        match self {
            Self::Suspended { details, .. } | Self::AlreadySatisfied { details } => details,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use uuid::Uuid;

    fn single(key: &str) -> ResumeCondition {
        ResumeCondition::Single { waitpoint_key: key.to_owned(), matcher: SignalMatcher::Wildcard }
    }

    fn count(n: u32, count_kind: CountKind, waitpoints: &[&str]) -> ResumeCondition {
        let waitpoints = waitpoints.iter().map(|&key| key.to_owned());
        ResumeCondition::Composite(CompositeBody::count(n, count_kind, None, waitpoints))
    }

    fn all_of(members: impl IntoIterator<Item = ResumeCondition>) -> ResumeCondition {
        ResumeCondition::Composite(CompositeBody::all_of(members))
    }

    #[test]
    fn conditions_have_a_fixed_json_form() {
        let by_name = ResumeCondition::Composite(CompositeBody::count(
            2,
            CountKind::DistinctSources,
            Some(SignalMatcher::ByName("ok".to_owned())),
            ["a".to_owned()],
        ));

        let cases: [(ResumeCondition, Value); 6] = [
            (single("a"), json!({"Single": {"waitpoint_key": "a", "matcher": "Wildcard"}})),
            (ResumeCondition::OperatorOnly, json!("OperatorOnly")),
            (ResumeCondition::TimeoutOnly, json!("TimeoutOnly")),
            (
                ResumeCondition::all_of_waitpoints(["a"]),
                json!({"Composite": {"kind": "AllOf", "members": [
                    {"Single": {"waitpoint_key": "a", "matcher": "Wildcard"}}
                ]}}),
            ),
            (
                count(1, CountKind::DistinctSignals, &["a", "b"]),
                json!({"Composite": {
                    "kind": "Count", "n": 1, "count_kind": "DistinctSignals",
                    "waitpoints": ["a", "b"]
                }}),
            ),
            (
                by_name,
                json!({"Composite": {
                    "kind": "Count", "n": 2, "count_kind": "DistinctSources",
                    "matcher": {"ByName": "ok"}, "waitpoints": ["a"]
                }}),
            ),
        ];

        for (condition, form) in cases {
            assert_eq!(serde_json::to_value(&condition).unwrap(), form);
            assert_eq!(serde_json::from_value::<ResumeCondition>(form).unwrap(), condition);
        }
    }

    #[test]
    fn composites_are_checked() {
        use CountKind::{DistinctSignals, DistinctSources, DistinctWaitpoints};

        let nested = |levels: usize| (0..levels).fold(single("a"), |inner, _| all_of([inner]));
        let cases = [
            (single("a"), None),
            (ResumeCondition::OperatorOnly, None),
            (ResumeCondition::TimeoutOnly, None),
            (nested(MAX_COMPOSITE_DEPTH), None),
            (nested(MAX_COMPOSITE_DEPTH + 1), Some("composite depth 5 exceeds cap 4")),
            (all_of([]), Some("allof_empty_members")),
            (all_of([single("a"), all_of([])]), Some("allof_empty_members")),
            (count(0, DistinctSignals, &[]), Some("count_n_zero")),
            (count(1, DistinctSignals, &[]), Some("count_waitpoints_empty")),
            (count(3, DistinctWaitpoints, &["a", "b"]), Some("count_exceeds_waitpoint_set")),
            (count(2, DistinctWaitpoints, &["a", "b"]), None),
            (count(3, DistinctSignals, &["a"]), None),
            (count(3, DistinctSources, &["a"]), None),
            (all_of([count(0, DistinctSources, &["a"])]), Some("count_n_zero")),
        ];

        for (condition, refusal) in cases {
            let detail = condition.validate_composite().err().map(|err| err.detail);
            assert_eq!(detail.as_deref(), refusal, "{condition:?}");
        }
    }

    #[test]
    fn referenced_keys_come_once_in_order() {
        let condition = all_of([
            single("b"),
            count(1, CountKind::DistinctSignals, &["c", "b", "c"]),
            all_of([single("a"), single("b")]),
            ResumeCondition::TimeoutOnly,
        ]);
        assert_eq!(condition.referenced_waitpoint_keys(), ["b", "c", "a"]);
        assert!(ResumeCondition::OperatorOnly.referenced_waitpoint_keys().is_empty());
    }

    #[test]
    fn fresh_bindings_name_their_key_after_the_id() {
        assert_eq!(
            WaitpointBinding::fresh_with(WaitpointId::from_uuid(Uuid::nil())),
            WaitpointBinding::Fresh {
                waitpoint_id: WaitpointId::from_uuid(Uuid::nil()),
                waitpoint_key: "wpk:00000000-0000-0000-0000-000000000000".to_owned(),
            }
        );
    }

    #[test]
    fn suspend_args_build_up_and_leave_out_what_is_absent() {
        let id = |n| WaitpointId::from_uuid(Uuid::from_u128(n));
        let args = SuspendArgs::new(
            SuspensionId::from_uuid(Uuid::nil()),
            WaitpointBinding::fresh_with(id(1)),
            ResumeCondition::TimeoutOnly,
            ResumePolicy::default(),
            SuspensionReasonCode::StepBoundary,
            TimestampMs(5),
        );
        let form = serde_json::to_value(&args).unwrap();
        for absent in ["timeout_at", "continuation_metadata_pointer", "idempotency_key"] {
            assert_eq!(form.get(absent), None);
        }
        serde_json::from_value::<SuspendArgs>(form).unwrap();

        let args = args
            .with_timeout(TimestampMs(9), TimeoutBehavior::Escalate)
            .with_waitpoint(WaitpointBinding::fresh_with(id(2)));
        assert_eq!(
            (args.timeout_at, args.timeout_behavior),
            (Some(TimestampMs(9)), TimeoutBehavior::Escalate)
        );
        assert_eq!(args.waitpoints.len(), 2);
        assert_eq!(args.primary(), Some(&WaitpointBinding::fresh_with(id(1))));
        assert_eq!(args.with_waitpoints(Vec::new()).primary(), None);
    }

    #[test]
    fn outcomes_hide_their_tokens() {
        let id = WaitpointId::from_uuid(Uuid::nil());
        let token = WaitpointHmac::new("kid1:c0ffee");
        let extra = AdditionalWaitpointBinding::new(id.clone(), "b".to_owned(), token.clone());
        let outcome = SuspendOutcome::AlreadySatisfied {
            details: SuspendOutcomeDetails::new(
                SuspensionId::from_uuid(Uuid::nil()),
                id,
                "a".to_owned(),
                token,
            )
            .with_additional_waitpoints(vec![extra]),
        };

        assert!(!format!("{outcome:?}").contains("c0ffee"));
        assert_eq!(outcome.details().additional_waitpoints.len(), 1);
    }
}
