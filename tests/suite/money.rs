//! Random histories of budgets, estimates, quotas and limits by key: by sixteen callers at once, no
//! limit is exceeded, every report counts once and nothing stays held or reserved, also when their
//! process is killed; one after the other, every database holds the same rows.
//!
//! `FF_MONEY=10000` makes that many operations, `FF_SEED=17` draws others.

mod counted;
mod killed;
mod limited;
mod reserved;

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::sync::Arc;

use ff_core::contracts::{
    CheckAdmissionArgs, CheckAdmissionResult, CreateBudgetArgs, CreateQuotaPolicyArgs,
    RecordSpendArgs, ReleaseAdmissionArgs, ReleaseBudgetArgs, ReportUsageAdminArgs,
    ReportUsageResult, ResetBudgetArgs,
};
use ff_core::engine_backend::Scan;
use ff_core::rules::ctx::{Seeded, Source as _};
use ff_core::types::{BudgetId, ExecutionId, QuotaPolicyId};
use uuid::Uuid;

use self::counted::{Counted, Stored};
use self::limited::Work;
use crate::backends::{self, Bench};

const CALLERS: u64 = 16;
const OPERATIONS: u64 = 800;
const TABLES: [&str; 10] = [
    "ff_budget_policy",
    "ff_budget_usage",
    "ff_budget_usage_dedup",
    "ff_budget_usage_by_exec",
    "ff_budget_reservation",
    "ff_quota_policy",
    "ff_quota_window",
    "ff_quota_admitted",
    "ff_limit_permit",
    "ff_limit_cell",
];

/// The hard limits of every budget here.
const HARD: [(&str, u64); 2] = [("cost", 12), ("tokens", 60)];
/// The slots of every quota here.
const SLOTS: u64 = 3;

fn number(name: &str, otherwise: u64) -> u64 {
    env::var(name).map_or(otherwise, |given| given.parse().expect("a number"))
}

fn budget(number: u64) -> BudgetId {
    BudgetId::from_uuid(Uuid::from_u128(0xB0_0000 + u128::from(number)))
}

fn quota(number: u64) -> QuotaPolicyId {
    QuotaPolicyId::from_uuid(Uuid::from_u128(0x40_0000 + u128::from(number)))
}

fn execution(number: u64) -> ExecutionId {
    ExecutionId::from_parts(7, Uuid::from_u128(0xE0_0000 + u128::from(number)))
}

/// Amounts by dimension.
type Amounts = BTreeMap<String, u64>;

/// One thing that a caller does.
#[derive(Clone, Debug)]
enum Operation {
    /// Reports these amounts, under a key if there is one.
    Report(BudgetId, Amounts, Option<u64>),
    /// Records these amounts as spent by an execution, under a key if there is one.
    Spend(BudgetId, ExecutionId, Amounts, Option<u64>),
    ReleaseBudget(BudgetId, ExecutionId),
    Reset(BudgetId),
    Check(QuotaPolicyId, ExecutionId),
    ReleaseAdmission(QuotaPolicyId, ExecutionId),
    Work(Work),
    Scan(Scan),
    /// Lets this time pass, ms.
    Wait(i64),
}

/// Draws operations. Alone, one may also reset budgets and let time pass.
struct Generator {
    source: Seeded,
    alone: bool,
}

impl Generator {
    fn new(seed: u64, alone: bool) -> Self {
        Self { source: Seeded::new(seed), alone }
    }

    fn below(&mut self, bound: u64) -> u64 {
        (self.source.fraction() * bound as f64) as u64
    }

    fn amounts(&mut self) -> Amounts {
        let cost = ("cost".to_owned(), self.below(4));
        let tokens = ("tokens".to_owned(), self.below(20));
        if self.below(3) == 0 { [cost].into() } else { [cost, tokens].into() }
    }

    /// A key that others draw, too; or none.
    fn key(&mut self) -> Option<u64> {
        (self.below(3) == 0).then(|| self.below(40))
    }

    /// Amounts that others report under the same key, too; or any, without one.
    fn report(&mut self) -> (Amounts, Option<u64>) {
        match self.key() {
            Some(key) => (amounts_of(key), Some(key)),
            None => (self.amounts(), None),
        }
    }

    /// One time in so many the budget that work reserves from, else the other.
    fn budget_of_spending(&mut self, times: u64, other: BudgetId) -> BudgetId {
        if self.below(times) == 0 { budget(reserved::RESERVED) } else { other }
    }

    fn next(&mut self) -> Operation {
        let (budget, quota) = (budget(self.below(3)), quota(self.below(2)));
        let execution = execution(self.below(12));
        match self.below(if self.alone { 17 } else { 14 }) {
            0..3 => {
                let (amounts, key) = self.report();
                Operation::Report(budget, amounts, key)
            }
            3..5 => {
                let budget = self.budget_of_spending(8, budget);
                Operation::Spend(budget, execution, self.amounts(), self.key())
            }
            5 => Operation::ReleaseBudget(self.budget_of_spending(2, budget), execution),
            6..8 => Operation::Check(quota, execution),
            8 => Operation::ReleaseAdmission(quota, execution),
            9 => Operation::Scan(Scan::AdmissionExpiry),
            10..12 => Operation::Work(Work::Submit(self.source.uuid(), self.below(12))),
            12 => Operation::Work(Work::Claim(1 + self.below(3) as u32, self.below(2) == 0)),
            13 => Operation::Work(Work::Stop),
            14 => Operation::Reset(budget),
            15 => Operation::Wait(i64::try_from(self.below(40_000)).unwrap()),
            _ => {
                let scans = [
                    Scan::BudgetReset,
                    Scan::UsageKeyExpiry,
                    Scan::QuotaWindowExpiry,
                    Scan::BudgetReconcile,
                    Scan::LimitCellExpiry,
                ];
                Operation::Scan(scans[usize::try_from(self.below(5)).unwrap()])
            }
        }
    }
}

/// The amounts that every caller reports under that key.
fn amounts_of(key: u64) -> Amounts {
    [("cost".to_owned(), key % 4), ("tokens".to_owned(), key % 7)].into()
}

async fn define(bench: &Bench) {
    for number in 0..4 {
        let args = CreateBudgetArgs {
            budget_id: budget(number),
            scope_type: String::new(),
            scope_id: String::new(),
            enforcement_mode: String::new(),
            on_hard_limit: String::new(),
            on_soft_limit: String::new(),
            reset_interval_ms: number * 50_000,
            dimensions: HARD.iter().map(|(name, _)| (*name).to_owned()).collect(),
            hard_limits: HARD.iter().map(|(_, limit)| *limit).collect(),
            soft_limits: vec![7, 0],
            now: bench.clock.now(),
        };
        bench.backend.create_budget(args).await.unwrap();
    }
    let args = CreateQuotaPolicyArgs {
        quota_policy_id: quota(0),
        window_seconds: 60,
        max_requests_per_window: 1_000,
        max_concurrent: SLOTS,
        now: bench.clock.now(),
    };
    bench.backend.create_quota_policy(args).await.unwrap();
    limited::define(bench).await;
}

/// Does it, and says what came of it.
async fn perform(bench: &Bench, operation: &Operation) -> String {
    let backend = &bench.backend;
    let now = bench.clock.now();
    match operation.clone() {
        Operation::Report(budget, amounts, key) => {
            let (dimensions, deltas) = amounts.into_iter().unzip();
            let mut args = ReportUsageAdminArgs::new(dimensions, deltas, now);
            args.dedup_key = key.map(|key| format!("r{key}"));
            format!("{:?}", backend.report_usage_admin(&budget, args).await.unwrap())
        }
        Operation::Spend(budget, execution, amounts, key) => {
            let key = key.map(|key| format!("s{key}")).unwrap_or_default();
            let args = RecordSpendArgs::new(budget, execution, amounts, key);
            format!("{:?}", backend.record_spend(args).await.unwrap())
        }
        Operation::ReleaseBudget(budget, execution) => {
            let args = ReleaseBudgetArgs::new(budget, execution);
            format!("{:?}", backend.release_budget(args).await.unwrap())
        }
        Operation::Reset(budget_id) => {
            let args = ResetBudgetArgs { budget_id, now };
            format!("{:?}", backend.reset_budget(args).await.unwrap())
        }
        Operation::Check(quota, execution_id) => {
            let args = CheckAdmissionArgs {
                execution_id,
                now,
                window_seconds: 60,
                rate_limit: 1_000,
                concurrency_cap: SLOTS,
                jitter_ms: None,
            };
            format!("{:?}", backend.check_admission(&quota, "", args).await.unwrap())
        }
        Operation::ReleaseAdmission(quota, execution) => {
            let args = ReleaseAdmissionArgs::new(quota, execution);
            format!("{:?}", backend.release_admission(args).await.unwrap())
        }
        Operation::Work(work) => limited::perform(bench, &work).await,
        Operation::Scan(scan) => format!("{:?}", backend.scan(scan, 1_000).await.unwrap()),
        Operation::Wait(ms) => {
            bench.clock.advance(ms);
            String::new()
        }
    }
}

/// Checks the limits as they are stored now.
async fn assert_within_limits(bench: &Bench) {
    for row in bench.plain.rows("ff_budget_usage").await {
        let limit = HARD.iter().find(|(name, _)| *name == row.text("dimensions_key")).unwrap().1;
        let used = row.int("current_value").unwrap();
        assert!((0..=i64::try_from(limit).unwrap()).contains(&used), "{row:?}");
    }
    for row in bench.plain.rows("ff_quota_policy").await {
        let in_use = row.int("active_concurrency").unwrap();
        assert!((0..=i64::try_from(SLOTS).unwrap()).contains(&in_use), "{row:?}");
    }
    limited::assert_within_limits(bench).await;
    reserved::assert_within_limits(bench).await;
}

/// Does so many operations, and says what was counted, and if anything was ever reserved.
async fn call(bench: Arc<Bench>, seed: u64, operations: u64) -> (Counted, bool) {
    let mut generator = Generator::new(seed, false);
    let (mut counted, mut has_reserved) = (Counted::default(), false);
    for step in 0..operations {
        let operation = generator.next();
        let outcome = perform(&bench, &operation).await;
        if step % 16 == 0 {
            assert_within_limits(&bench).await;
            has_reserved |= !reserved::reserved(&bench).await.is_empty();
        }
        counted.note(&operation, &outcome);
    }
    (counted, has_reserved)
}

async fn sixteen_callers(bench: Bench) {
    let bench = Arc::new(bench);
    define(&bench).await;
    let (seed, operations) = (number("FF_SEED", 1), number("FF_MONEY", OPERATIONS) / CALLERS);
    let callers = (0..CALLERS)
        .map(|caller| tokio::spawn(call(Arc::clone(&bench), seed * 1_000 + caller, operations)));

    let (mut counted, mut has_reserved) = (Counted::default(), false);
    for caller in futures_util::future::join_all(callers).await {
        let (more, reserved) = caller.unwrap();
        counted.add(&more);
        has_reserved |= reserved;
    }
    assert!(has_reserved, "nothing was ever reserved");
    assert_within_limits(&bench).await;
    reserved::assert_fits(&bench).await;
    let stored = Stored::of(&bench).await;
    stored.assert_counted(&Stored::default(), &counted, &counted);
    give_everything_back(&bench).await;
    Arc::into_inner(bench).unwrap().tear_down().await;
}

/// Releases every execution, and checks that nothing is held any more.
async fn give_everything_back(bench: &Bench) {
    for number in 0..12 {
        for of in 0..4 {
            perform(bench, &Operation::ReleaseBudget(budget(of), execution(number))).await;
        }
        for of in 0..2 {
            perform(bench, &Operation::ReleaseAdmission(quota(of), execution(number))).await;
        }
    }
    assert!(bench.plain.rows("ff_budget_usage_by_exec").await.is_empty());
    assert!(bench.plain.rows("ff_quota_admitted").await.is_empty());
    for row in bench.plain.rows("ff_quota_policy").await {
        assert_eq!(row.int("active_concurrency"), Some(0), "{row:?}");
    }
    limited::give_everything_back(bench).await;
}

macro_rules! on_every_backend {
    ($($backend:ident)+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn $backend() {
            super::sixteen_callers(crate::backends::$backend().await).await;
        }
    )+};
}

mod no_limit_is_exceeded_by_sixteen_callers {
    on_every_backend!(memory sqlite_memory sqlite_file postgres);
}

/// A key counts once, however many report under it at once, each with an amount of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_key_counts_once_however_many_use_it() {
    for bench in
        [backends::memory().await, backends::sqlite_file().await, backends::postgres().await]
    {
        let bench = Arc::new(bench);
        define(&bench).await;
        let callers = (1..=CALLERS).map(|amount| {
            let bench = Arc::clone(&bench);
            tokio::spawn(async move {
                let args = ReportUsageAdminArgs::new(
                    vec!["tokens".into()],
                    vec![amount],
                    bench.clock.now(),
                );
                let args = args.with_dedup_key("one".into());
                let reported = bench.backend.report_usage_admin(&budget(0), args).await.unwrap();
                assert_eq!(reported, ReportUsageResult::Ok);
            })
        });
        for caller in futures_util::future::join_all(callers).await {
            caller.unwrap();
        }
        let rows = bench.plain.rows("ff_budget_usage").await;
        assert!((1..=16).contains(&rows[0].int("current_value").unwrap()), "{rows:?}");
        assert_eq!(bench.plain.rows("ff_budget_usage_dedup").await.len(), 1);
        Arc::into_inner(bench).unwrap().tear_down().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_same_history_leaves_the_same_rows() {
    let benches =
        [backends::memory().await, backends::sqlite_file().await, backends::postgres().await];
    for bench in &benches {
        define(bench).await;
    }
    let seed = number("FF_SEED", 1);
    let mut generator = Generator::new(seed, true);
    let (mut seen, mut has_reserved) = (BTreeSet::new(), false);
    for step in 0..number("FF_MONEY", OPERATIONS) / 2 {
        let operation = generator.next();
        let mut outcomes = Vec::new();
        for bench in &benches {
            outcomes.push(perform(bench, &operation).await);
        }
        let expected = vec![outcomes[0].clone(); benches.len()];
        assert_eq!(outcomes, expected, "seed {seed}, step {step}: {operation:?}");
        seen.insert(outcomes[0].split([' ', '{']).next().unwrap().to_owned());
        if step % 50 == 0 {
            assert_equal_rows(&benches, &format!("seed {seed}, after step {step}")).await;
            reserved::assert_fits(&benches[0]).await;
            has_reserved |= !reserved::reserved(&benches[0]).await.is_empty();
        }
    }
    assert_equal_rows(&benches, &format!("seed {seed}, at the end")).await;
    assert!(has_reserved, "nothing was ever reserved");
    for word in [
        "Ok",
        "SoftBreach",
        "HardBreach",
        "AlreadyApplied",
        "Admitted",
        "AlreadyAdmitted",
        "Submitted",
        "Claimed",
        "Stopped",
        "Idle",
    ] {
        assert!(seen.contains(word), "{word} never came about: {seen:?}");
    }
    assert!(seen.contains(&format!("{:?}", CheckAdmissionResult::ConcurrencyExceeded)), "{seen:?}");
    for bench in benches {
        bench.tear_down().await;
    }
}

async fn assert_equal_rows(benches: &[Bench], when: &str) {
    for table in TABLES {
        let expected = benches[0].plain.rows(table).await;
        for other in &benches[1..] {
            assert_eq!(other.plain.rows(table).await, expected, "{table}, {when}");
        }
    }
}
