//! An explanation agrees with a claim: over random rows, a worker claims an execution if and only
//! if no reason is listed. `FF_SEED=17` draws other rows.

use ff_backend_memory::MemoryBackend;
use ff_core::backend::{CapabilitySet, ClaimPolicy};
use ff_core::contracts::{ClaimingWorker, ExplainExecutionArgs, NotRunning};
use ff_core::engine_backend::EngineBackend as _;
use ff_core::plan::value::Value;
use ff_core::rules::budget::token::{ESTIMATES, token};
use ff_core::rules::ctx::{Seeded, Source as _};
use ff_core::state::{
    BlockingReason, ClosedSet, EligibilityState, LaneState, LifecyclePhase, PublicState,
};
use ff_core::types::{ExecutionId, LaneId, TimestampMs, WorkerId, WorkerInstanceId};
use serde_json::json;
use uuid::Uuid;

const NOW: i64 = 1_000_000;
const CASES: u64 = 4_000;
const LANES: [&str; 2] = ["a", "b"];
const CAPABILITIES: [&str; 3] = ["gpu", "avx", "\u{1}odd"];
const BUDGETS: [u128; 2] = [0xB1, 0xB2];
/// Before, at and after the time of the claim.
const AROUND: [i64; 3] = [NOW - 1, NOW, NOW + 1];

type Cells = Vec<(&'static str, Value)>;

/// Random rows of one execution, and of all that its claim depends on.
struct World {
    random: Seeded,
    backend: MemoryBackend,
}

/// A worker as it claims.
struct Worker {
    lanes: Vec<&'static str>,
    capabilities: Vec<&'static str>,
}

fn text(text: impl Into<String>) -> Value {
    Value::Text(text.into())
}

fn budget(number: u128) -> String {
    Uuid::from_u128(number).to_string()
}

fn id() -> ExecutionId {
    ExecutionId::from_parts(7, Uuid::from_u128(1))
}

impl World {
    fn new(seed: u64) -> Self {
        let clock = Box::new(|| TimestampMs(NOW));
        let backend = MemoryBackend::new().with_seed(seed).with_clock(clock);
        Self { random: Seeded::new(seed), backend }
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.random.uuid().as_u128() % u128::try_from(bound).unwrap()).unwrap()
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        let at = self.below(of.len());
        of[at].clone()
    }

    /// True once in so many times.
    fn rarely(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn some<T: Clone>(&mut self, of: &[T]) -> Vec<T> {
        of.iter().filter(|_| self.rarely(2)).cloned().collect()
    }

    fn time(&mut self) -> Value {
        if self.rarely(2) { Value::Null } else { Value::Int(self.one(&AROUND)) }
    }

    fn insert(&self, table: &str, cells: Cells) {
        self.backend.insert_row(table, cells).unwrap();
    }

    fn execution(&mut self) {
        let phases =
            if self.rarely(3) { LifecyclePhase::all() } else { vec![LifecyclePhase::Runnable] };
        let states = match self.below(6) {
            0 | 1 => EligibilityState::all(),
            2 => vec![EligibilityState::NotEligibleUntilTime],
            _ => vec![EligibilityState::EligibleNow],
        };
        let (phase, state) = (self.one(&phases), self.one(&states));
        let until = self.time();
        let granted = if self.rarely(3) { self.time() } else { Value::Null };
        let blocking = self.one(&BlockingReason::all());

        let mut required: Vec<String> = Vec::new();
        for capability in CAPABILITIES {
            if self.rarely(4) {
                let marked = capability.starts_with('\u{1}');
                required.push(if marked {
                    format!("\u{1}{capability}")
                } else {
                    capability.into()
                });
            }
        }
        let budgets: Vec<String> = self.some(&BUDGETS).into_iter().map(budget).collect();
        required.extend(budgets.iter().map(|budget| token(budget)));
        let mut policy = json!({ "budget_ids": budgets });
        if !budgets.is_empty() && self.rarely(2) {
            required.push(token(ESTIMATES));
            let amount = 1 + self.below(4);
            policy["budget_estimate"] = json!({ "cost": amount });
        }
        required.sort();

        let flow = if self.rarely(3) { Value::Uuid(Uuid::from_u128(3)) } else { Value::Null };
        self.insert(
            "ff_exec_core",
            vec![
                ("partition_key", Value::Int(7)),
                ("execution_id", Value::Uuid(id().uuid())),
                ("flow_id", flow),
                ("lane_id", text(LANES[0])),
                ("required_capabilities", Value::TextList(required)),
                ("lifecycle_phase", text(phase.as_str())),
                ("ownership_state", text("unowned")),
                ("eligibility_state", text(state.as_str())),
                ("public_state", text(PublicState::Waiting.as_str())),
                ("attempt_state", text("pending_first_attempt")),
                ("blocking_reason", text(blocking.as_str())),
                ("created_at_ms", Value::Int(1)),
                ("policy", Value::Json(policy)),
                ("eligible_at_ms", until),
                ("granted_until_ms", granted),
            ],
        );
    }

    fn lane(&mut self) {
        if self.rarely(3) {
            return;
        }
        let (state, until) = (self.one(&LaneState::all()), self.time());
        self.insert(
            "ff_lane_registry",
            vec![
                ("lane_id", text(LANES[0])),
                ("registered_at_ms", Value::Int(1)),
                ("registered_by", text("test")),
                ("state", text(state.as_str())),
                ("state_until_ms", until),
            ],
        );
    }

    fn budgets(&mut self) {
        for number in BUDGETS {
            let place =
                || vec![("budget_id", text(budget(number))), ("partition_key", Value::Int(3))];
            let in_use = [place(), vec![("registered_at_ms", Value::Int(1))]].concat();
            self.insert("ff_budget_in_use", in_use);
            if self.rarely(5) {
                continue;
            }

            let action = self.one(&["fail", "fail", "warn"]);
            let policy =
                json!({ "hard_limits": { "cost": 10, "free": 0 }, "on_hard_limit": action });
            let head = vec![
                ("policy_json", Value::Json(policy)),
                ("created_at_ms", Value::Int(1)),
                ("updated_at_ms", Value::Int(1)),
            ];
            self.insert("ff_budget_policy", [place(), head].concat());

            let (used, overdraft) = (self.one(&[-1, 0, 7, 9, 10, 11]), self.one(&[0, 0, 1]));
            let total = vec![
                ("dimensions_key", text("cost")),
                ("current_value", Value::Int(used)),
                ("overdraft", Value::Int(overdraft)),
                ("updated_at_ms", Value::Int(1)),
            ];
            self.insert("ff_budget_usage", [place(), total].concat());
            self.reservation(number);
        }
        let estimates = vec![
            ("budget_id", text(ESTIMATES)),
            ("partition_key", Value::Int(0)),
            ("registered_at_ms", Value::Int(1)),
        ];
        self.insert("ff_budget_in_use", estimates);
    }

    /// What another execution, or this one, has reserved.
    fn reservation(&mut self, number: u128) {
        let (amount, by) = (self.one(&[0, 1, 3]), self.one(&[1, 2]));
        self.insert(
            "ff_budget_reservation",
            vec![
                ("partition_key", Value::Int(7)),
                ("execution_id", Value::Uuid(Uuid::from_u128(by))),
                ("budget_id", text(budget(number))),
                ("dimensions_key", text("cost")),
                ("amount", Value::Int(amount)),
                ("updated_at_ms", Value::Int(1)),
            ],
        );
    }

    /// Registers up to two workers; those that are alive.
    fn fleet(&mut self) -> Vec<Worker> {
        let mut alive = Vec::new();
        for number in 0..self.below(3) {
            let (lanes, capabilities) = (self.some(&LANES), self.some(&CAPABILITIES));
            let (age, swept) = (self.one(&[99, 100, 101, 10]), self.rarely(4));
            if age < 100 && !swept {
                alive.push(Worker { lanes: lanes.clone(), capabilities: capabilities.clone() });
            }
            let lanes = lanes.iter().map(|&lane| lane.to_owned()).collect();
            self.insert(
                "ff_worker_registry",
                vec![
                    ("partition_key", Value::Int(1)),
                    ("namespace", text("n")),
                    ("worker_instance_id", text(format!("w-{number}"))),
                    ("worker_id", text("w")),
                    ("lanes", Value::TextList(lanes)),
                    ("capabilities_csv", text(capabilities.join(","))),
                    ("last_heartbeat_ms", Value::Int(NOW - age)),
                    ("liveness_ttl_ms", Value::Int(100)),
                    ("registered_at_ms", Value::Int(1)),
                    ("swept_at_ms", if swept { Value::Int(NOW) } else { Value::Null }),
                ],
            );
        }
        alive
    }

    /// True if that worker claims the execution. Nothing has changed afterwards.
    async fn claims(&self, lane: &str, capabilities: &[&str]) -> bool {
        let before = self.backend.snapshot();
        let (worker, instance) = (WorkerId::new("w"), WorkerInstanceId::new("w-1"));
        let policy = ClaimPolicy::new(worker, instance, 1_000, None);
        let offered = CapabilitySet::new(capabilities.iter().copied());
        let lane = LaneId::new(lane);
        let claimed = self.backend.claim_many(&lane, &offered, policy, 1).await.unwrap();
        self.backend.restore(&before);
        !claimed.is_empty()
    }

    async fn reasons(&self, args: ExplainExecutionArgs) -> Vec<NotRunning> {
        let tables = ["ff_exec_core", "ff_lane_registry", "ff_budget_policy", "ff_claim_grant"];
        let rows = || tables.map(|table| self.backend.rows(table));
        let before = rows();
        let explained = self.backend.explain_execution(args).await.unwrap();
        assert!(before == rows(), "an explanation changes nothing");
        explained.reasons
    }
}

#[tokio::test]
async fn a_worker_claims_an_execution_if_and_only_if_no_reason_is_listed() {
    let first = std::env::var("FF_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let (mut claimed, mut by_fleet) = (0, 0);
    for seed in first..first + CASES {
        let mut world = World::new(seed);
        world.execution();
        world.lane();
        world.budgets();
        let alive = world.fleet();

        let lane = if world.rarely(5) { LANES[1] } else { LANES[0] };
        let capabilities = world.some(&CAPABILITIES);
        let offered = CapabilitySet::new(capabilities.iter().copied());
        let worker = ClaimingWorker::new(LaneId::new(lane), offered);
        let reasons = world.reasons(ExplainExecutionArgs::new(id()).for_worker(worker)).await;
        let claims = world.claims(lane, &capabilities).await;
        assert_eq!(reasons.is_empty(), claims, "FF_SEED={seed}: {reasons:?}");

        let reasons = world.reasons(ExplainExecutionArgs::new(id())).await;
        let mut some_claims = false;
        for worker in &alive {
            for lane in &worker.lanes {
                some_claims |= world.claims(lane, &worker.capabilities).await;
            }
        }
        assert_eq!(reasons.is_empty(), some_claims, "FF_SEED={seed}, any worker: {reasons:?}");
        claimed += u64::from(claims);
        by_fleet += u64::from(some_claims);
    }
    // Both answers are frequent enough to mean something.
    assert!(CASES / 20 < claimed && claimed < CASES / 2, "{claimed} of {CASES} were claimed");
    assert!(CASES / 50 < by_fleet, "{by_fleet} of {CASES} were claimed by the fleet");
}
