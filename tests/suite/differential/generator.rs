//! Draws histories: which operation comes next, given the leases that are held.

use std::collections::BTreeSet;

use ff_core::backend::{BestEffortLiveConfig, FailureClass, StreamMode};
use ff_core::contracts::NewStep;
use ff_core::engine_backend::{ExpirePhase, Scan};
use ff_core::rules::ctx::{Seeded, Source as _};
use ff_core::types::{CancelSource, ExecutionId, LaneId, TimestampMs};
use uuid::Uuid;

use super::kind::{KINDS, Kind, MONEY_SCANS, Theme};
use super::operation::{Held, Operation, Proof, Worker};
use super::situation::Situation;

const EXECUTIONS: usize = 8;
pub(super) const LANES: [&str; 2] = ["bulk", "fast"];
pub(super) const WORKERS: [Worker; 3] = [
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
    /// Whether there are budgets and quotas.
    pub(super) has_money: bool,
    /// The budgets that were defined. What was reserved before may exceed the limits.
    pub(super) defined: BTreeSet<usize>,
}

impl Generator {
    pub(super) fn new(seed: u64) -> Self {
        let mut generator = Self {
            source: Seeded::new(seed),
            weights: Vec::new(),
            ids: Vec::new(),
            created: 0,
            has_money: false,
            defined: BTreeSet::new(),
        };
        for _ in 0..EXECUTIONS {
            let partition = generator.pick(&[0, 3, 255]);
            let id = ExecutionId::from_parts(partition, generator.source.uuid());
            generator.ids.push(id);
        }
        let themes: Vec<_> = Theme::ALL.into_iter().filter(|_| generator.chance(45)).collect();
        generator.has_money = themes.contains(&Theme::Money);
        for (kind, usual) in KINDS {
            let factor = match kind {
                _ if kind.theme().is_some_and(|theme| !themes.contains(&theme)) => 0,
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
            let kind = match self.created < 3 {
                true => Kind::Create,
                false if self.resumes(situation) => Kind::ClaimResumed,
                false => self.kind(),
            };
            let futile = match kind {
                // Once all are there, another submission can only be a duplicate.
                Kind::Create => EXECUTIONS <= self.created,
                Kind::CompleteUnfenced | Kind::FailUnfenced => situation.held.is_empty(),
                _ => situation.rows.make_futile(kind),
            };
            if futile && self.chance(92) {
                continue;
            }
            if let Some(operation) = self.operation(kind, situation) {
                return Step { kind, operation, repeated: false };
            }
        }
    }

    /// True if a resumed execution is claimed by name, before any other claim takes it.
    fn resumes(&mut self, situation: &Situation<'_>) -> bool {
        let is_drawn = |(kind, weight): &(Kind, usize)| *kind == Kind::ClaimResumed && 0 < *weight;
        let may = !situation.rows.resumed.is_empty() && self.weights.iter().any(is_drawn);
        may && self.chance(60)
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
            Kind::ScanGrantExpiry => Operation::Scan(Scan::GrantExpiry, limit),
            Kind::Grant
            | Kind::Schedule
            | Kind::Redeem
            | Kind::GrantReclaim
            | Kind::Reclaim
            | Kind::Block
            | Kind::Unblock => self.granting(kind, situation),
            Kind::ChangePriority
            | Kind::Revoke
            | Kind::Replay
            | Kind::TakeOver
            | Kind::ClaimResumed
            | Kind::Trim
            | Kind::Archive
            | Kind::Reconcile => self.order(kind, situation),
            Kind::SetLane | Kind::Register | Kind::Heartbeat | Kind::MarkDead => {
                self.fleet(kind, now)
            }
            Kind::ScanWorkerTtl => Operation::Scan(Scan::WorkerTtl, limit),
            Kind::CreateBudget
            | Kind::Report
            | Kind::ReportByOperator
            | Kind::Spend
            | Kind::ReleaseBudget
            | Kind::ResetBudget
            | Kind::CreateQuota
            | Kind::CheckAdmission
            | Kind::ReleaseAdmission
            | Kind::SetLimit
            | Kind::SetWeight => self.money(kind, situation)?,
            Kind::ScanMoney => Operation::Scan(self.pick(&MONEY_SCANS), limit),
            Kind::Cron => self.cron(now),
            Kind::ScanSchedules => Operation::Scan(Scan::Schedules, limit),
            Kind::Signal => {
                let execution = self.one_of(&situation.rows.suspended);
                let at = self.around(now);
                self.signal(execution, at)
            }
            Kind::Resume => {
                let execution = self.one_of(&situation.rows.suspended);
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
            | Kind::Step
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
            Kind::Step => {
                let (position, name) = self.pick(&[(0, "a"), (1, "b"), (1, "a"), (10_000, "a")]);
                Operation::Step(
                    held,
                    NewStep::new(position, name, self.bytes().unwrap_or_default()),
                )
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
                let soon = now.0 + 500;
                let until = self.pick(&[soon, soon, now.0 + 5_000, now.0 - 1, 0, i64::MAX]);
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

    /// The next new execution, or one that is there already.
    pub(super) fn submitted(&mut self) -> ExecutionId {
        let execution =
            if self.created < EXECUTIONS { self.created } else { self.below(EXECUTIONS) };
        self.created += 1;
        self.ids[execution].clone()
    }

    /// One that was submitted.
    pub(super) fn submitted_one(&mut self) -> usize {
        self.below(self.created.clamp(1, EXECUTIONS))
    }

    /// Mostly one of these, else any.
    pub(super) fn one_of(&mut self, these: &[usize]) -> usize {
        if these.is_empty() || !self.chance(80) {
            return self.submitted_one();
        }
        self.pick(these)
    }

    /// Mostly a lease that is held, else any that ever was.
    pub(super) fn held(&mut self, situation: &Situation<'_>) -> Option<Held> {
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

    pub(super) fn around(&mut self, now: TimestampMs) -> TimestampMs {
        TimestampMs(now.0 + self.pick(&[0, 0, 0, 0, -1_000, 1_000]))
    }

    /// Often one that is held, else any.
    pub(super) fn execution(&mut self, situation: &Situation<'_>) -> usize {
        match situation.held {
            [] => self.below(EXECUTIONS),
            _ if self.chance(50) => self.below(EXECUTIONS),
            held => self.pick(held).execution,
        }
    }

    pub(super) fn lane(&mut self) -> LaneId {
        LaneId::new(if self.chance(85) { LANES[0] } else { LANES[1] })
    }

    pub(super) fn draw(&mut self) -> Uuid {
        self.source.uuid()
    }

    pub(super) fn text(&mut self) -> String {
        self.pick(&TEXTS).to_owned()
    }

    pub(super) fn bytes(&mut self) -> Option<Vec<u8>> {
        self.pick(&[None, Some(&[][..]), Some(&[0, 255, 39, 92]), Some(b"done")])
            .map(<[u8]>::to_vec)
    }

    pub(super) fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    pub(super) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.source.fraction() * bound as f64) as usize
    }
}
