//! The rules, one topic per file: stored rows and a command in, a plan or a refusal out.

mod budget;
mod cancel;
mod claim;
mod complete;
mod condition;
mod count;
mod create;
mod delay;
mod expire;
mod fail;
mod fairness;
mod fleet;
mod flow;
mod grant;
mod lease;
mod limit;
mod listed;
mod listing;
mod money;
mod page;
mod precedence;
mod read;
mod reconcile;
mod scan;
mod schedule;
mod schedules;
mod stored;
mod table;
mod tags;
mod takeover;
mod token;
mod words;

use std::fmt::{Debug, Display, Formatter};

use ff_core::EngineError;
use ff_core::plan::Plan;
use ff_core::plan::facts::{Answer, Facts, Questions, Row};
use ff_core::rules::ctx::{Ctx, Source};
use ff_core::rules::decision::{Step, Then, Transition};
use ff_core::rules::fence::{Fence, Lease, Style};
use ff_core::rules::key::ExecutionKey;
use ff_core::types::{ExecutionId, TimestampMs};
use uuid::Uuid;

use stored::Stored;

/// The backend's clock.
const NOW: i64 = 1_000_000;
/// The epoch of the stored lease.
const EPOCH: i64 = 3;
const LEASE_ID: Uuid = Uuid::from_u128(0xA);
const ATTEMPT_ID: Uuid = Uuid::from_u128(0xB);

fn id() -> ExecutionId {
    ExecutionId::from_parts(7, Uuid::from_u128(1))
}

fn key() -> ExecutionKey {
    ExecutionKey::of(&id()).unwrap()
}

/// The lease that the stored attempt holds.
fn lease() -> Lease {
    Lease { epoch: EPOCH, lease_id: LEASE_ID, attempt_id: ATTEMPT_ID }
}

/// The fence of the worker that holds the stored lease.
fn fence(style: Style) -> Fence {
    Fence { key: key(), attempt_index: 0, lease: Some(lease()), style, has_reservations: false }
}

/// The fence of an operator who overrides it.
fn overriding() -> Fence {
    Fence { lease: None, ..fence(Style::Typed) }
}

/// Draws that are known beforehand: ids count up, chance is always the same.
struct Draws {
    drawn: u128,
    fraction: f64,
}

impl Source for Draws {
    fn uuid(&mut self) -> Uuid {
        self.drawn += 1;
        Uuid::from_u128(0xF000 + self.drawn)
    }

    fn fraction(&mut self) -> f64 {
        self.fraction
    }
}

/// What an operation comes to on stored rows.
enum Decided {
    /// It changes this, and answers that; a claim's answer follows from what it finds.
    Plan(Plan, Option<String>),
    /// It changes nothing.
    Answer(String),
    /// It is refused.
    Refused(EngineError),
}

impl Display for Decided {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Decided::Plan(plan, Some(answer)) => write!(f, "{plan}\nanswer {answer}"),
            Decided::Plan(plan, None) => write!(f, "{plan}"),
            Decided::Answer(answer) => write!(f, "answer {answer}"),
            Decided::Refused(error) => write!(f, "refused {error}"),
        }
    }
}

/// Runs an operation on stored rows, up to the plan that they permit.
#[track_caller]
fn decide<T: Transition>(operation: &T, stored: &Stored) -> Decided
where
    T::Outcome: Debug,
{
    decide_with(operation, stored, 0.5)
}

#[track_caller]
fn decide_with<T: Transition>(operation: &T, stored: &Stored, fraction: f64) -> Decided
where
    T::Outcome: Debug,
{
    let mut facts = Facts::default();
    for _ in 0..4 {
        let mut draws = Draws { drawn: 0, fraction };
        match operation.step(&facts, &mut Ctx::new(TimestampMs(NOW), &mut draws)) {
            Err(error) => return Decided::Refused(error),
            Ok(Step::Answer(outcome)) => return Decided::Answer(format!("{outcome:?}")),
            Ok(Step::Read(queries)) => {
                let answers = queries.iter().map(|query| stored.answer(query)).collect();
                facts.learn(&Questions::of(&queries), answers);
            }
            Ok(Step::Commit(plan, then)) if stored.permits(&plan) => {
                let answer = match then {
                    Then::Answer(outcome) => Some(format!("{outcome:?}")),
                    Then::FromRows(_) => None,
                };
                return Decided::Plan(plan, answer);
            }
            Ok(Step::Commit(..)) => facts = Facts::after_refusals(facts.refusals() + 1),
        }
    }
    panic!("the plan's guards refuse rows that the rule accepts");
}

/// What an operation asks first.
#[track_caller]
fn asks<T: Transition>(operation: &T) -> String {
    let mut draws = Draws { drawn: 0, fraction: 0.5 };
    let step = operation.step(&Facts::default(), &mut Ctx::new(TimestampMs(NOW), &mut draws));
    let Ok(Step::Read(queries)) = step else { panic!("it asks nothing") };
    queries.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// What an operation asks once it has these rows.
#[track_caller]
fn asks_next<T: Transition>(operation: &T, rows: Vec<Option<Row>>) -> String {
    let mut draws = Draws { drawn: 0, fraction: 0.5 };
    let mut ctx = Ctx::new(TimestampMs(NOW), &mut draws);
    let mut facts = Facts::default();
    let Ok(Step::Read(queries)) = operation.step(&facts, &mut ctx) else {
        panic!("it asks nothing")
    };
    facts.learn(&Questions::of(&queries), vec![Answer::Lookup(rows)]);
    match operation.step(&facts, &mut ctx) {
        Ok(Step::Read(queries)) => {
            queries.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        }
        Ok(Step::Answer(_) | Step::Commit(..)) => panic!("it asks no more"),
        Err(error) => error.to_string(),
    }
}

/// What an operation answers to a list.
#[track_caller]
fn answers<T: Transition>(operation: &T, lists: Vec<Vec<Row>>) -> Result<T::Outcome, EngineError> {
    let mut draws = Draws { drawn: 0, fraction: 0.5 };
    let mut facts = Facts::default();
    match operation.step(&facts, &mut Ctx::new(TimestampMs(NOW), &mut draws))? {
        Step::Read(queries) => {
            facts.learn(&Questions::of(&queries), lists.into_iter().map(Answer::List).collect());
        }
        Step::Answer(outcome) => return Ok(outcome),
        Step::Commit(..) => panic!("it asks first"),
    }
    match operation.step(&facts, &mut Ctx::new(TimestampMs(NOW), &mut draws))? {
        Step::Answer(outcome) => Ok(outcome),
        Step::Read(_) | Step::Commit(..) => panic!("it wants more"),
    }
}

/// The refusal of an operation, in words.
#[track_caller]
fn check<T: Transition>(operation: &T, stored: &Stored, expected: &str)
where
    T::Outcome: Debug,
{
    let decision = match decide(operation, stored) {
        Decided::Plan(plan, answer) => {
            format!("plan {} {}", plan.name, answer.unwrap_or_default())
        }
        decision @ (Decided::Answer(_) | Decided::Refused(_)) => decision.to_string(),
    };
    assert_eq!(decision, expected);
}

/// What a read answers.
#[track_caller]
fn outcome<T: Transition>(operation: &T, stored: &Stored) -> T::Outcome {
    let mut facts = Facts::default();
    loop {
        let mut draws = Draws { drawn: 0, fraction: 0.5 };
        match operation.step(&facts, &mut Ctx::new(TimestampMs(NOW), &mut draws)) {
            Ok(Step::Answer(outcome)) => return outcome,
            Ok(Step::Read(queries)) => {
                let answers = queries.iter().map(|query| stored.answer(query)).collect();
                facts.learn(&Questions::of(&queries), answers);
            }
            Ok(Step::Commit(..)) | Err(_) => panic!("a read answers"),
        }
    }
}
