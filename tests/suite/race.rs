//! A signal that is enough and the timeout reach one suspension at the same time: every order in
//! which their reads and commits can follow each other is played, on every database. One of them
//! wins, and the row says which.

use std::fmt::Debug;

use ff_backend_mariadb::MariaDbBackend;
use ff_backend_memory::MemoryBackend;
use ff_backend_postgres::PostgresBackend;
use ff_backend_sqlite::SqliteBackend;
use ff_catalogue::Recorder;
use ff_core::EngineError;
use ff_core::contracts::{DeliverSignalResult, TimeoutBehavior};
use ff_core::engine::{Commit, Executor, Step, Then, Transition};
use ff_core::plan::facts::{Facts, Questions};
use ff_core::rules::ctx::Ctx;
use ff_core::rules::key::ExecutionKey;
use ff_core::rules::suspension::deliver::Deliver;
use ff_core::rules::suspension::timeout::ExpireSuspension;
use ff_core::types::TimestampMs;

use crate::backends::{self, Bench, postgres_url};
use crate::bench::{CANCELLED, EXPIRED, FAILED};
use crate::suspended::RESUMABLE;

/// How often the database is asked before both are through: twice each, and twice more by the
/// loser.
const QUESTIONS: u32 = 6;

/// An operation that asks the database one thing at a time.
pub(crate) struct Paced<T: Transition> {
    transition: T,
    facts: Facts,
    outcome: Option<Result<T::Outcome, EngineError>>,
}

impl<T: Transition> Paced<T>
where
    T::Outcome: Debug,
{
    pub(crate) fn new(transition: T) -> Self {
        Self { transition, facts: Facts::default(), outcome: None }
    }

    /// Decides, and asks the next thing, unless it is through.
    pub(crate) async fn go_on(&mut self, executor: &dyn Executor) {
        if self.outcome.is_some() {
            return;
        }
        let decided = {
            let mut source = executor.source();
            self.transition.step(&self.facts, &mut Ctx::new(executor.now(), source.as_mut()))
        };
        self.outcome = match decided {
            Err(error) => Some(Err(error)),
            Ok(Step::Answer(outcome)) => Some(Ok(outcome)),
            Ok(Step::Read(queries)) => {
                let questions = Questions::of(&queries);
                self.facts.learn(&questions, executor.read(queries).await.unwrap());
                None
            }
            Ok(Step::Commit(plan, then)) => match executor.commit(plan).await.unwrap() {
                Commit::Refused => {
                    self.facts = Facts::after_refusals(self.facts.refusals() + 1);
                    None
                }
                Commit::Prevented => {
                    self.facts = Facts::after_prevention(self.facts.refusals() + 1);
                    None
                }
                Commit::Applied(rows) => Some(match then {
                    Then::Answer(outcome) => Ok(outcome),
                    Then::FromRows(read) => read(rows),
                }),
            },
        };
    }

    pub(crate) async fn finish(
        mut self,
        executor: &dyn Executor,
    ) -> Result<T::Outcome, EngineError> {
        loop {
            match self.outcome {
                Some(outcome) => return outcome,
                None => self.go_on(executor).await,
            }
        }
    }
}

/// What the backend under test is built on.
pub(crate) fn executor(bench: &Bench) -> &dyn Executor {
    let any = bench.backend.as_any();
    if let Some(memory) = any.downcast_ref::<Recorder<MemoryBackend>>() {
        memory
    } else if let Some(sqlite) = any.downcast_ref::<SqliteBackend>() {
        sqlite
    } else if let Some(mariadb) = any.downcast_ref::<MariaDbBackend>() {
        mariadb
    } else {
        any.downcast_ref::<PostgresBackend>().expect("one of the backends")
    }
}

/// How the execution ends when the timeout comes first.
fn given_up(behavior: TimeoutBehavior) -> &'static str {
    match behavior {
        TimeoutBehavior::Fail => FAILED,
        TimeoutBehavior::Cancel => CANCELLED,
        TimeoutBehavior::Expire => EXPIRED,
        TimeoutBehavior::AutoResumeWithTimeoutSignal => RESUMABLE,
        other => panic!("{other:?} leaves the execution waiting"),
    }
}

/// Plays one order; whether the signal won.
async fn play(bench: &Bench, behavior: TimeoutBehavior, order: u32) -> bool {
    let until = bench.clock.now();
    let (id, _, target) = bench.waiting(|args| args.with_timeout(until, behavior)).await;
    let key = ExecutionKey::of(&id).unwrap();
    let late = Some(TimestampMs(until.0 + 1));
    let mut signal = Paced::new(Deliver::new(bench.signal(&target, "go")).unwrap());
    let mut timeout = Paced::new(ExpireSuspension { key, at: late });
    let executor = executor(bench);
    for turn in 0..QUESTIONS {
        if order & (1 << turn) == 0 {
            signal.go_on(executor).await;
        } else {
            timeout.go_on(executor).await;
        }
    }
    let (signal, timeout) = (signal.finish(executor).await, timeout.finish(executor).await);
    let how = format!("{behavior:?}, order {order:06b}: {signal:?}, {timeout:?}");
    let woke = match &signal {
        Ok(DeliverSignalResult::Accepted { effect, .. }) => effect == "resume_condition_satisfied",
        Ok(DeliverSignalResult::Duplicate { .. }) => panic!("{how}"),
        Err(_) => false,
    };
    assert_ne!(woke, timeout.unwrap(), "{how}");
    let suspension = bench.of("ff_suspension_current", &id).await.remove(0);
    let timed_out = suspension.json("member_map").get("__timeout__").is_some();
    let states = bench.core(&id).await.states();
    assert_eq!(suspension.int("timeout_at_ms"), None, "{how}");
    assert_eq!(bench.completions(&id).await.len(), 1, "{how}");
    assert_eq!(bench.of("ff_signal_event", &id).await.len(), usize::from(woke), "{how}");
    assert_eq!(states, if woke { RESUMABLE } else { given_up(behavior) }, "{how}");
    let resumes = behavior == TimeoutBehavior::AutoResumeWithTimeoutSignal;
    assert_eq!(timed_out, !woke && resumes, "{how}");
    // Nobody else may claim it in place of the next one.
    if states == RESUMABLE {
        let handle = bench.claim().await;
        bench.backend.complete(&handle, None).await.unwrap();
    }
    woke
}

/// One that ends the execution, and the one that does not: the other two differ in words only.
const UNLIKE: [TimeoutBehavior; 2] =
    [TimeoutBehavior::Fail, TimeoutBehavior::AutoResumeWithTimeoutSignal];

const ALL: [TimeoutBehavior; 4] =
    [UNLIKE[0], TimeoutBehavior::Cancel, TimeoutBehavior::Expire, UNLIKE[1]];

async fn one_wins(bench: Bench, behaviors: &[TimeoutBehavior]) {
    for behavior in behaviors.iter().copied() {
        let (mut signals, mut timeouts) = (0, 0);
        for order in 0..1 << QUESTIONS {
            if play(&bench, behavior, order).await {
                signals += 1;
            } else {
                timeouts += 1;
            }
        }
        assert!(signals > 10 && timeouts > 10, "{signals} {timeouts}");
    }
    bench.assert_sound().await;
    bench.tear_down().await;
}

#[tokio::test]
async fn a_signal_or_the_timeout_wins_in_memory() {
    one_wins(backends::memory().await, &ALL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_or_the_timeout_wins_on_sqlite() {
    one_wins(backends::sqlite_memory().await, &UNLIKE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_or_the_timeout_wins_on_postgres() {
    one_wins(backends::postgres_with(postgres_url(), |options| options).await, &UNLIKE).await;
}
