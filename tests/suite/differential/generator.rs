//! Draws histories: which operation comes next, given the leases that are held.

use std::collections::HashMap;

use ff_core::backend::{BestEffortLiveConfig, FailureClass, StreamMode};
use ff_core::contracts::CreateExecutionArgs;
use ff_core::engine_backend::{ExpirePhase, Scan};
use ff_core::policy::check::LIMIT_MAX_MS;
use ff_core::policy::{
    BackoffStrategy, ExecutionPolicy, RetryPolicy, RoutingRequirements, TimeoutPolicy,
};
use ff_core::rules::ctx::{Seeded, Source as _};
use ff_core::types::{CancelSource, ExecutionId, LaneId, Namespace, TimestampMs};
use uuid::Uuid;

use super::operation::{Held, Operation, Proof, Worker};
use crate::bench::NAMESPACE;

const EXECUTIONS: usize = 8;
const LANES: [&str; 2] = ["bulk", "fast"];
const WORKERS: [Worker; 3] = [
    ("plain", 30_000, &[]),
    ("brief", 1_000, &["gpu"]),
    ("able", 5_000, &["a'b", "gpu", "käse", "gpu"]),
];
/// Texts that are easily mistaken for something else.
const TEXTS: [&str; 12] = [
    "",
    "plain",
    "it's \"quoted\" \\ and escaped \\u0041",
    "$1 ? ?1 :name @p %s {}",
    "line\nbreak\ttab\r",
    "\u{1}\u{7f}\u{80}",
    "null",
    "{\"a\": 1}",
    "käse 漢字 🦀 e\u{301}",
    " padded ",
    "\u{2028}\u{feff}\u{ffff}",
    "00012e5",
];
/// Payloads of frames, most of which are patches too.
const PATCHES: [&str; 9] = [
    r#"{"a":{"b":1,"c":"__ff_null__"},"käse":[1,null]}"#,
    r#"{"a":{"b":null,"c":2.5}}"#,
    r#"{"a":"__ff_null__","z":{"y":{"x":null}}}"#,
    r#"{"n":[-0.0,1e16,-1e16,1.0,0.1,1e300,18446744073709551615]}"#,
    r#"{"a":null,"z":null}"#,
    "null",
    r#"["__ff_null__",{}]"#,
    "no patch \0",
    "{\"a\":\"\0\"}",
];
const SPANS: [i64; 12] = [1, 9, 10, 10, 100, 499, 500, 999, 1_000, 1_001, 5_000, 30_000];
const WIRE_POLICIES: [&str; 8] = [
    "",
    r#"{"max_retries":3,"backoff":{"type":"fixed","delay_ms":0}}"#,
    r#"{"max_retries":3,"backoff":{"type":"fixed","delay_ms":500}}"#,
    r#"{"max_retries":9,"backoff":{"type":"exponential","initial_delay_ms":100}}"#,
    r#"{"max_retries":9,"backoff":{"type":"fixed","delay_ms":18446744073709551615}}"#,
    r#"{"max_retries":1}"#,
    "{}",
    "[]",
];

/// What can be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Create,
    Claim,
    ClaimMany,
    Renew,
    Progress,
    Append,
    Suspend,
    Signal,
    Resume,
    Complete,
    Fail,
    Delay,
    Cancel,
    TypedComplete,
    TypedFail,
    TypedRenew,
    CompleteUnfenced,
    FailUnfenced,
    CancelExecution,
    SetTag,
    ScanLeaseExpiry,
    ScanAttemptTimeout,
    ScanExecutionDeadline,
    ScanDelayedPromotion,
    ScanSuspensionTimeout,
    ScanWaitpointExpiry,
    ExpireLease,
    Promote,
    ExpireAttempt,
    ExpireExecution,
    Advance,
}

/// Every kind, and how often it comes in an average history.
pub(super) const KINDS: [(Kind, usize); 31] = [
    (Kind::Create, 12),
    (Kind::Claim, 14),
    (Kind::ClaimMany, 8),
    (Kind::Renew, 4),
    (Kind::Progress, 4),
    (Kind::Append, 9),
    (Kind::Suspend, 7),
    (Kind::Signal, 14),
    (Kind::Resume, 3),
    (Kind::Complete, 3),
    (Kind::Fail, 6),
    (Kind::Delay, 4),
    (Kind::Cancel, 3),
    (Kind::TypedComplete, 3),
    (Kind::TypedFail, 5),
    (Kind::TypedRenew, 4),
    (Kind::CompleteUnfenced, 3),
    (Kind::FailUnfenced, 2),
    (Kind::CancelExecution, 1),
    (Kind::SetTag, 3),
    (Kind::ScanLeaseExpiry, 3),
    (Kind::ScanAttemptTimeout, 3),
    (Kind::ScanExecutionDeadline, 2),
    (Kind::ScanDelayedPromotion, 4),
    (Kind::ScanSuspensionTimeout, 3),
    (Kind::ScanWaitpointExpiry, 3),
    (Kind::ExpireLease, 3),
    (Kind::Promote, 3),
    (Kind::ExpireAttempt, 2),
    (Kind::ExpireExecution, 2),
    (Kind::Advance, 10),
];

/// One drawn operation.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) kind: Kind,
    pub(super) operation: Operation,
    pub(super) repeated: bool,
}

/// Draws one history.
pub(super) struct Generator {
    source: Seeded,
    weights: Vec<(Kind, usize)>,
    ids: Vec<ExecutionId>,
    created: usize,
}

/// What the next operation may depend on.
pub(super) struct Situation<'a> {
    pub(super) now: TimestampMs,
    /// The leases that are held.
    pub(super) held: &'a [Held],
    /// Every lease that ever was.
    pub(super) known: &'a [Held],
    /// Whether anything waits for a worker.
    pub(super) work: bool,
    /// What was done so far.
    pub(super) history: &'a [Step],
}

impl Generator {
    pub(super) fn new(seed: u64) -> Self {
        let mut generator =
            Self { source: Seeded::new(seed), weights: Vec::new(), ids: Vec::new(), created: 0 };
        for _ in 0..EXECUTIONS {
            let partition = generator.pick(&[0, 3, 255]);
            let id = ExecutionId::from_parts(partition, generator.source.uuid());
            generator.ids.push(id);
        }
        for (kind, usual) in KINDS {
            let factor = match kind {
                Kind::Create | Kind::Claim | Kind::Advance => generator.pick(&[1, 2]),
                _ => generator.pick(&[0, 1, 1, 2, 4]),
            };
            generator.weights.push((kind, usual * factor));
        }
        generator
    }

    pub(super) fn ids(&self) -> Vec<ExecutionId> {
        self.ids.clone()
    }

    pub(super) fn next(&mut self, situation: &Situation<'_>) -> Step {
        if !situation.history.is_empty() && self.chance(30) {
            let again = self.pick(situation.history);
            // A submission is soon repeated often enough.
            if again.kind != Kind::Create || self.chance(30) {
                return Step { repeated: true, ..again };
            }
        }
        loop {
            let kind = if self.created < 3 { Kind::Create } else { self.kind() };
            let futile = match kind {
                // Once all are there, another submission can only be a duplicate.
                Kind::Create => EXECUTIONS <= self.created,
                Kind::Claim | Kind::ClaimMany => !situation.work,
                Kind::CompleteUnfenced | Kind::FailUnfenced => situation.held.is_empty(),
                _ => false,
            };
            if futile && self.chance(80) {
                continue;
            }
            if let Some(operation) = self.operation(kind, situation) {
                return Step { kind, operation, repeated: false };
            }
        }
    }

    fn kind(&mut self) -> Kind {
        let sum = self.weights.iter().map(|(_, weight)| weight).sum();
        let mut left = self.below(sum);
        for (kind, weight) in &self.weights {
            if left < *weight {
                return *kind;
            }
            left -= weight;
        }
        unreachable!("the draw is below the sum")
    }

    fn operation(&mut self, kind: Kind, situation: &Situation<'_>) -> Option<Operation> {
        let now = situation.now;
        let limit = self.pick(&[1, 2, 100]);
        Some(match kind {
            Kind::Create => Operation::Create(Box::new(self.submission(now))),
            Kind::Claim => Operation::Claim(self.lane(), self.pick(&WORKERS)),
            Kind::ClaimMany => {
                let limit = self.pick(&[0, 1, 2, 2, 3, 3, 4, 4]);
                Operation::ClaimMany(self.lane(), self.pick(&WORKERS), limit)
            }
            Kind::CompleteUnfenced => Operation::CompleteUnfenced(
                self.execution(situation),
                self.source(),
                self.around(now),
            ),
            Kind::FailUnfenced => {
                let policy = self.pick(&WIRE_POLICIES);
                Operation::FailUnfenced(self.execution(situation), self.source(), policy)
            }
            Kind::CancelExecution => {
                let (execution, epoch) =
                    (self.execution(situation), self.pick(&[None, Some(1), Some(2)]));
                let (source, reason, now) = (self.source(), self.text(), self.around(now));
                Operation::CancelExecution(execution, source, epoch, reason, now)
            }
            Kind::SetTag => {
                let key = self.pick(&["team.name", "team.name.x_1", "a.b", "no key"]);
                Operation::SetTag(self.execution(situation), key, self.text())
            }
            Kind::ScanLeaseExpiry => Operation::Scan(Scan::LeaseExpiry, limit),
            Kind::ScanAttemptTimeout => Operation::Scan(Scan::AttemptTimeout, limit),
            Kind::ScanExecutionDeadline => Operation::Scan(Scan::ExecutionDeadline, limit),
            Kind::ScanDelayedPromotion => Operation::Scan(Scan::DelayedPromotion, limit),
            Kind::ScanSuspensionTimeout => Operation::Scan(Scan::SuspensionTimeout, limit),
            Kind::ScanWaitpointExpiry => Operation::Scan(Scan::WaitpointExpiry, limit),
            Kind::Signal => {
                let execution = self.below(self.created.clamp(1, EXECUTIONS));
                let at = self.around(now);
                self.signal(execution, at)
            }
            Kind::Resume => {
                let execution = self.below(EXECUTIONS);
                Operation::Resume(execution, self.pick(&[0, 0, 500]))
            }
            Kind::ExpireLease => Operation::ExpireLease(self.execution(situation)),
            Kind::Promote => Operation::Promote(self.execution(situation), self.around(now)),
            Kind::ExpireAttempt => Operation::Expire(
                self.execution(situation),
                ExpirePhase::AttemptTimeout,
                self.around(now),
            ),
            Kind::ExpireExecution => {
                let phase = ExpirePhase::ExecutionDeadline;
                Operation::Expire(self.execution(situation), phase, self.around(now))
            }
            Kind::Advance => Operation::Advance(self.pick(&SPANS)),
            Kind::Renew
            | Kind::Progress
            | Kind::Append
            | Kind::Suspend
            | Kind::Complete
            | Kind::Fail
            | Kind::Delay
            | Kind::Cancel
            | Kind::TypedComplete
            | Kind::TypedFail
            | Kind::TypedRenew => {
                let held = self.held(situation)?;
                self.leased(kind, held, now)
            }
        })
    }

    fn leased(&mut self, kind: Kind, held: Held, now: TimestampMs) -> Operation {
        match kind {
            Kind::Renew => Operation::Renew(held),
            Kind::Progress => {
                let percent = self.pick(&[None, Some(0), Some(50), Some(100), Some(101)]);
                let message = self.chance(60).then(|| self.text());
                Operation::Progress(held, percent, message)
            }
            Kind::Append => {
                let config = BestEffortLiveConfig::new(self.pick(&[0, 20, 40_000]));
                let config = config.with_maxlen_floor(1).with_maxlen_ceiling(self.pick(&[2, 9]));
                let mode = self.pick(&[
                    StreamMode::durable(),
                    StreamMode::durable_summary(),
                    StreamMode::best_effort_live_with_config(config.with_ema_alpha(0.3)),
                ]);
                Operation::Append(held, mode, self.pick(&PATCHES))
            }
            Kind::Suspend => self.suspension(held, now),
            Kind::Complete => Operation::Complete(held, self.bytes()),
            Kind::Fail => {
                let class = self.pick(&[
                    FailureClass::Transient,
                    FailureClass::Transient,
                    FailureClass::InfraCrash,
                    FailureClass::Permanent,
                    FailureClass::Timeout,
                    FailureClass::Cancelled,
                ]);
                Operation::Fail(held, class, self.text())
            }
            Kind::Delay => {
                let until =
                    self.pick(&[now.0 + 500, now.0 + 500, now.0 + 5_000, now.0 - 1, 0, i64::MAX]);
                Operation::Delay(held, TimestampMs(until))
            }
            Kind::Cancel => Operation::Cancel(held, self.text()),
            Kind::TypedComplete => {
                let (proof, at) = (self.proof(), self.around(now));
                Operation::TypedComplete(held, proof, self.bytes(), at)
            }
            Kind::TypedFail => {
                let policy = self.pick(&WIRE_POLICIES);
                Operation::TypedFail(held, self.proof(), policy, self.text())
            }
            Kind::TypedRenew => {
                let ttl = self.pick(&[0, 1, 1_000, 30_000, u64::MAX, i64::MAX.unsigned_abs()]);
                Operation::TypedRenew(held, self.proof(), ttl)
            }
            other => unreachable!("{other:?} needs no lease"),
        }
    }

    fn submission(&mut self, now: TimestampMs) -> CreateExecutionArgs {
        // The next new one, or one that is there already.
        let execution =
            if self.created < EXECUTIONS { self.created } else { self.below(EXECUTIONS) };
        self.created += 1;
        let id = self.ids[execution].clone();
        let delay = self.pick(&[None, None, None, Some(500), Some(5_000), Some(-1)]);
        let deadline =
            self.pick(&[None, None, None, None, None, None, Some(1_000), Some(40_000), Some(0)]);
        let mut tags: HashMap<String, String> = HashMap::new();
        for key in ["cairn.instance_id", "team.name", "odd 'key\" \\ ?"] {
            if self.chance(60) {
                tags.insert(key.into(), self.text());
            }
        }
        CreateExecutionArgs {
            partition_id: id.partition(),
            execution_id: id,
            namespace: Namespace::new(NAMESPACE),
            lane_id: self.lane(),
            execution_kind: self.text(),
            input_payload: self.bytes().unwrap_or_default(),
            payload_encoding: self.chance(30).then(|| self.text()),
            priority: self.pick(&[0, 0, 0, 1, -1, i32::MAX, i32::MIN]),
            creator_identity: self.text(),
            idempotency_key: self.chance(30).then(|| self.text()),
            tags,
            policy: self.chance(80).then(|| self.policy(now)),
            delay_until: delay.map(|ms| TimestampMs(now.0 + ms)),
            execution_deadline_at: deadline.map(|ms| TimestampMs(now.0 + ms)),
            now,
        }
    }

    /// Without jitter: each backend would draw its own.
    fn policy(&mut self, now: TimestampMs) -> ExecutionPolicy {
        let fixed = |delay_ms| BackoffStrategy::Fixed { delay_ms };
        let exponential = |multiplier| BackoffStrategy::Exponential {
            initial_delay_ms: 300,
            max_delay_ms: 2_000,
            multiplier,
            jitter: false,
        };
        let backoffs = [fixed(0), fixed(500), exponential(2.0), exponential(1.5)];
        let retry = RetryPolicy {
            max_retries: self.pick(&[0, 1, 3, 100, 100]),
            backoff: self.pick(&backoffs),
            retryable_categories: Vec::new(),
        };
        let timeouts = TimeoutPolicy {
            attempt_timeout_ms: self.pick(&[
                None,
                None,
                None,
                None,
                Some(50),
                Some(2_000),
                Some(20_000),
                Some(LIMIT_MAX_MS),
            ]),
            execution_deadline_ms: self.pick(&[None, None, Some(60_000), Some(LIMIT_MAX_MS)]),
            max_reclaim_count: 3,
        };
        let required: &[&str] = self.pick(&[
            &[] as &[&str],
            &[],
            &[],
            &[],
            &["gpu"],
            &["gpu"],
            &["a'b", "käse"],
            &["tpu"],
            &[""],
        ]);
        let routing = RoutingRequirements {
            required_capabilities: required.iter().map(|&token| token.to_owned()).collect(),
            ..RoutingRequirements::default()
        };
        ExecutionPolicy {
            retry_policy: self.chance(70).then_some(retry),
            timeout_policy: self.chance(50).then_some(timeouts),
            routing_requirements: self.chance(50).then_some(routing),
            delay_until: self.chance(10).then_some(TimestampMs(now.0 + 1_000)),
            ..ExecutionPolicy::default()
        }
    }

    /// Mostly a lease that is held, else any that ever was.
    fn held(&mut self, situation: &Situation<'_>) -> Option<Held> {
        let Situation { held, known, .. } = situation;
        let from = if self.chance(70) { held } else { known };
        (!from.is_empty()).then(|| self.pick(from))
    }

    fn proof(&mut self) -> Proof {
        let other = self.source.uuid();
        let right = Proof::Right;
        self.pick(&[
            right,
            right,
            right,
            right,
            right,
            Proof::Epoch(1),
            Proof::Epoch(-1),
            Proof::Epoch(i64::MAX),
            Proof::Lease(other),
            Proof::Attempt(other),
        ])
    }

    fn source(&mut self) -> CancelSource {
        let named = CancelSource::Custom("it's me".into());
        let overriding = CancelSource::OperatorOverride;
        let (holder, cascade) = (CancelSource::LeaseHolder, CancelSource::FlowCascade);
        if self.chance(60) {
            return overriding;
        }
        self.pick(&[holder, cascade, named])
    }

    fn around(&mut self, now: TimestampMs) -> TimestampMs {
        TimestampMs(now.0 + self.pick(&[0, 0, 0, 0, -1_000, 1_000]))
    }

    /// Often one that is held, else any.
    fn execution(&mut self, situation: &Situation<'_>) -> usize {
        match situation.held {
            [] => self.below(EXECUTIONS),
            _ if self.chance(50) => self.below(EXECUTIONS),
            held => self.pick(held).execution,
        }
    }

    fn lane(&mut self) -> LaneId {
        LaneId::new(if self.chance(85) { LANES[0] } else { LANES[1] })
    }

    pub(super) fn draw(&mut self) -> Uuid {
        self.source.uuid()
    }

    fn text(&mut self) -> String {
        self.pick(&TEXTS).to_owned()
    }

    fn bytes(&mut self) -> Option<Vec<u8>> {
        self.pick(&[None, Some(&[][..]), Some(&[0, 255, 39, 92]), Some(b"done")])
            .map(<[u8]>::to_vec)
    }

    pub(super) fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    pub(super) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.source.fraction() * bound as f64) as usize
    }
}
