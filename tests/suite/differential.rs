//! Random histories come to the same outcomes and leave the same rows, in memory, on SQLite in a
//! file and on Postgres; on MariaDB, too, where FF_MARIADB_TEST_URL names a server, and as on an
//! optimistic database, where FF_OCC is set.
//!
//! A history is drawn step by step from its seed. Every step is done on all of them, under the same
//! clock, and its outcomes are compared; the rows are compared every few steps and at the end.
//! `FF_HISTORIES=500` tries more, `FF_SEED=17` one alone, both together that many from there on.

mod drawn;
mod fleet;
mod generator;
mod grants;
mod kind;
mod money;
mod operation;
mod operator;
mod retention;
mod schedules;
mod situation;
mod submission;
mod suspension;

use std::any::Any;
use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ff_core::types::LaneId;
use futures_util::FutureExt as _;

use self::generator::{Generator, LANES, Step};
use self::kind::KINDS;
use self::operation::{Held, Operation, Side};
use self::situation::Situation;
use crate::backends::{self, Bench, START};
use crate::plain::Cells;

const HISTORIES: u64 = 400;
const STEPS: usize = 50;
/// How many steps lie between two looks at the rows. The last look is at the end.
const LOOK: usize = 10;
const _: () = assert!(STEPS.is_multiple_of(LOOK));
/// How many histories run side by side, each on databases of its own.
const RUNNERS: u64 = 4;
const TABLES: [&str; 35] = [
    "ff_exec_core",
    "ff_attempt",
    "ff_claim_grant",
    "ff_idempotency_key",
    "ff_lease_event",
    "ff_completion_event",
    "ff_instance_tag_event",
    "ff_lane_registry",
    "ff_step",
    "ff_stream_frame",
    "ff_stream_summary",
    "ff_stream_meta",
    "ff_suspension_current",
    "ff_waitpoint_pending",
    "ff_signal_dedup",
    "ff_signal_event",
    "ff_suspend_dedup",
    "ff_operator_event",
    "ff_worker_registry",
    "ff_worker_registry_event",
    "ff_budget_policy",
    "ff_budget_usage",
    "ff_budget_usage_dedup",
    "ff_budget_usage_by_exec",
    "ff_budget_reservation",
    "ff_budget_in_use",
    "ff_quota_policy",
    "ff_quota_window",
    "ff_quota_admitted",
    "ff_limit",
    "ff_limit_permit",
    "ff_limit_cell",
    "ff_fair_lane",
    "ff_fair_weight",
    "ff_schedule",
];
/// Tables with numbers of events, which are others in each database.
const UNCOMPARED: [&str; 1] = ["ff_subscriber_cursor"];
/// What has to come about at least once, and how an outcome says so.
const OUTCOMES: [(&str, &str); 41] = [
    ("claimed", "claimed"),
    ("nothing to claim", "nothing"),
    ("retry scheduled", "RetryScheduled"),
    ("terminal failed", "TerminalFailed"),
    ("completed", "Completed {"),
    ("cancelled", "Cancelled {"),
    ("conflict", "LeaseConflict"),
    ("stale", "StaleLease"),
    ("expired lease", "LeaseExpired"),
    ("not active", "ExecutionNotActive"),
    ("duplicate", "Duplicate"),
    ("not found", "NotFound"),
    ("suspended", "SuspendOutcomeDetails"),
    ("woken by a signal", "resume_condition_satisfied"),
    ("a signal kept", "appended_to_waitpoint"),
    ("a step recorded", "Recorded"),
    ("a step found", "Found(StepRecord"),
    ("granted by a scheduler", "granted {"),
    ("a grant lapsed", "ClaimGrantExpired"),
    ("no such grant", "InvalidClaimGrant"),
    ("reclaimable", "reclaimable until"),
    ("not reclaimable", "NotReclaimable"),
    ("reclaimed", "reclaimed"),
    ("lost too often", "ReclaimCapExceeded"),
    ("revoked", "revoked"),
    ("replayed", "Replayed"),
    ("trimmed", "1 trimmed"),
    ("trimmed by a pass", "1 passed"),
    ("held back by a subscriber", "by the subscriber"),
    ("back from an archive", "1 back"),
    ("a lane closed", "LaneClosed"),
    ("a worker anew", "Refreshed"),
    ("a worker reassigned", "reassigned"),
    ("a worker dead", "Marked"),
    ("a worker unknown", "NotRegistered"),
    ("above a soft limit", "SoftBreach"),
    ("above a hard limit", "HardBreach"),
    ("reported twice", "AlreadyApplied"),
    ("admitted already", "AlreadyAdmitted"),
    ("too many at once", "ConcurrencyExceeded"),
    ("too many per window", "RateExceeded"),
];

/// How often each kind of operation is accepted, at least.
const LEAST_ACCEPTED: usize = 5;

/// How often what was done and came about.
#[derive(Default)]
struct Tally {
    steps: usize,
    /// Repeated, or under a lease that is not held.
    belated: usize,
    done: BTreeMap<String, (usize, usize)>,
    came: BTreeMap<&'static str, usize>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn random_histories_leave_equal_rows() {
    let (first, count, complete) = histories();
    let next = Arc::new(AtomicU64::new(first));
    let runners: Vec<_> = (0..RUNNERS.min(count))
        .map(|_| tokio::spawn(run_until(Arc::clone(&next), first + count)))
        .collect();
    let (mut tally, mut failures) = (Tally::default(), Vec::new());
    for runner in runners {
        let (more, failed) = runner.await.unwrap();
        tally.add(more);
        failures.extend(failed);
    }
    println!("{count} histories from seed {first}\n{tally}");
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    if complete {
        tally.assert_everything_came_about();
    }
}

/// The first seed, how many, and whether they are enough to expect everything of them.
fn histories() -> (u64, u64, bool) {
    let number = |name: &str| {
        let given = env::var(name).ok()?;
        Some(given.parse().unwrap_or_else(|_| panic!("{name} is no number: {given}")))
    };
    let (count, seed): (Option<u64>, Option<u64>) = (number("FF_HISTORIES"), number("FF_SEED"));
    let count = count.unwrap_or(if seed.is_some() { 1 } else { HISTORIES });
    (seed.unwrap_or(1), count, HISTORIES <= count)
}

/// Runs the next history until `end`, or until one fails.
async fn run_until(next: Arc<AtomicU64>, end: u64) -> (Tally, Option<String>) {
    let mut tally = Tally::default();
    let mut databases = vec![backends::sqlite_file().await, backends::postgres().await];
    if env::var_os("FF_MARIADB_TEST_URL").is_some() {
        databases.push(backends::mariadb().await);
    }
    if env::var_os("FF_OCC").is_some() {
        databases.push(backends::postgres_occ().await);
    }
    let mut failed = None;
    while failed.is_none() {
        let seed = next.fetch_add(1, Ordering::SeqCst);
        if end <= seed {
            break;
        }
        databases.insert(0, backends::memory().await);
        let mut history = History::new(seed, databases);
        let outcome = AssertUnwindSafe(history.run(&mut tally)).catch_unwind().await;
        let difference = outcome.unwrap_or_else(|panic| Err(message(panic.as_ref())));
        failed = difference.err().map(|difference| history.report(&difference));
        databases = history.sides.into_iter().map(|side| side.bench).collect();
        databases.remove(0).tear_down().await;
        for bench in &databases {
            empty(bench).await;
        }
    }
    for bench in databases {
        bench.tear_down().await;
    }
    (tally, failed)
}

/// Makes a bench as good as new.
async fn empty(bench: &Bench) {
    let deletes = TABLES.iter().chain(&UNCOMPARED).map(|table| format!("DELETE FROM {table}"));
    bench.plain.execute(&deletes.collect::<Vec<_>>().join("; ")).await;
    bench.clock.advance(START - bench.clock.now().0);

    // A process forgets what it remembers where it changes something itself.
    bench.backend.remove_limit("none").await.unwrap();
    for lane in LANES {
        bench.backend.remove_fairness_weight(&LaneId::new(lane), "none").await.unwrap();
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("a panic: {}", text.unwrap_or("of no words"))
}

/// One history on its way.
struct History {
    seed: u64,
    generator: Generator,
    /// In memory, the specification; then on each database.
    sides: Vec<Side>,
    steps: Vec<Step>,
    answers: Vec<String>,
    /// What was looked at last, and was equal.
    seen: BTreeMap<&'static str, Vec<Cells>>,
}

impl History {
    fn new(seed: u64, benches: Vec<Bench>) -> Self {
        let generator = Generator::new(seed);
        let sides = benches.into_iter().map(|bench| Side::new(bench, generator.ids())).collect();
        let (steps, answers, seen) = (Vec::new(), Vec::new(), BTreeMap::new());
        Self { seed, generator, sides, steps, answers, seen }
    }

    async fn run(&mut self, tally: &mut Tally) -> Result<(), String> {
        for side in &self.sides {
            side.bench.seed().await;
        }
        let mut known: Vec<Held> = Vec::new();
        for number in 1..=STEPS {
            let held = self.sides[0].leases().await;
            let rows = self.sides[0].situation().await;
            let fresh: Vec<_> = held.iter().filter(|lease| !known.contains(*lease)).collect();
            known.extend(fresh);
            let now = self.sides[0].bench.clock.now();
            let (known, history) = (&known, &self.steps);
            let situation = Situation { now, held: &held, known, rows: &rows, history };
            let step = self.generator.next(&situation);
            let belated =
                step.repeated || step.operation.held().is_some_and(|lease| !held.contains(&lease));
            self.steps.push(step.clone());
            let answer = self.call(&step.operation).await?;
            tally.count(&step, belated, &answer);
            self.answers.push(answer);
            if number % LOOK == 0 {
                self.compare_rows(number == STEPS).await?;
            }
        }
        self.sides[0].bench.assert_sound().await;
        for side in &self.sides {
            let cores = side.bench.plain.rows("ff_exec_core").await;
            side.bench.assert_counted(&cores).await;
        }
        self.sides[0].bench.assert_reviewed();
        Ok(())
    }

    async fn call(&mut self, operation: &Operation) -> Result<String, String> {
        let calls = self.sides.iter_mut().map(|side| side.call(operation));
        let mut answers = futures_util::future::join_all(calls).await;
        // Only a report beyond a limit draws such ids, and the next step may close the waitpoint.
        if matches!(operation, Operation::Money(_)) {
            futures_util::future::join_all(self.sides.iter_mut().map(Side::note_drawn)).await;
        }
        if answers.iter().all(|answer| *answer == answers[0]) {
            return Ok(answers.remove(0));
        }
        let named = self.sides.iter().zip(&answers);
        let named = named.map(|(side, answer)| format!("{:?}: {answer}", side.bench.tag));
        Err(named.collect::<Vec<_>>().join("\n"))
    }

    /// Compares the tables that have changed in memory since the last look, or all of them.
    async fn compare_rows(&mut self, all: bool) -> Result<(), String> {
        for table in TABLES {
            let expected = self.sides[0].rows(table).await;
            let seen = self.seen.get(table).map_or(&[][..], Vec::as_slice);
            if seen == expected.as_slice() && !all {
                continue;
            }

            let others = self.sides[1..].iter().map(|side| side.rows(table));
            let others = futures_util::future::join_all(others).await;
            for (side, rows) in self.sides[1..].iter().zip(others) {
                if rows != expected {
                    let name = format!("{:?}", side.bench.tag);
                    return Err(format!("{table}: {}", differences(&expected, &name, &rows)));
                }
            }
            self.seen.insert(table, expected);
        }
        Ok(())
    }

    fn report(&self, difference: &str) -> String {
        let Self { seed, steps, answers, .. } = self;
        let mut report = format!("seed {seed} differs after step {}:\n", steps.len());
        for (number, step) in (1..).zip(steps) {
            let answer = answers.get(number - 1).map_or("", String::as_str);
            writeln!(report, "{number:>3} {:?}\n      -> {answer}", step.operation).unwrap();
        }
        write!(report, "{difference}\nreplay: FF_SEED={seed} scripts/test -- differential")
            .unwrap();
        report
    }
}

/// Where rows are not what they are in memory.
fn differences(expected: &[Cells], name: &str, rows: &[Cells]) -> String {
    if expected.len() != rows.len() {
        return format!("memory has {expected:#?}\n{name} has {rows:#?}");
    }
    let mut found = String::new();
    for (expected, row) in expected.iter().zip(rows) {
        for (column, value) in &expected.0 {
            let other = row.0.get(column);
            if other != Some(value) {
                writeln!(found, "{column}: memory has {value:?}, {name} has {other:?}").unwrap();
            }
        }
    }
    format!("{found}{rows:#?}")
}

impl Tally {
    fn count(&mut self, step: &Step, belated: bool, answer: &str) {
        self.steps += 1;
        self.belated += usize::from(belated);
        let (accepted, refused) = self.done.entry(format!("{:?}", step.kind)).or_default();
        *(if answer.starts_with("refused") { refused } else { accepted }) += 1;
        for (outcome, said) in OUTCOMES {
            if answer.contains(said) {
                *self.came.entry(outcome).or_default() += 1;
            }
        }
    }

    fn add(&mut self, more: Self) {
        self.steps += more.steps;
        self.belated += more.belated;
        for (name, (accepted, refused)) in more.done {
            let sum = self.done.entry(name).or_default();
            *sum = (sum.0 + accepted, sum.1 + refused);
        }
        for (name, count) in more.came {
            *self.came.entry(name).or_default() += count;
        }
    }

    fn assert_everything_came_about(&self) {
        for (kind, _) in KINDS {
            let (accepted, _) = self.done.get(&format!("{kind:?}")).copied().unwrap_or_default();
            assert!(LEAST_ACCEPTED <= accepted, "{kind:?} was accepted {accepted} times only");
        }
        for outcome in OUTCOMES.map(|(outcome, _)| outcome) {
            assert!(self.came.contains_key(outcome), "{outcome} never came about");
        }
        let Self { steps, belated, .. } = self;
        assert!(*steps <= 4 * belated, "only {belated} of {steps} steps came too late or twice");
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} steps, {} of them too late or twice", self.steps, self.belated)?;
        for (name, (accepted, refused)) in &self.done {
            writeln!(f, "{name:<22} {accepted:>6} accepted {refused:>6} refused")?;
        }
        self.came.iter().try_for_each(|(name, count)| writeln!(f, "{name:<22} {count:>6}"))
    }
}
