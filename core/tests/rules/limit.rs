//! Limits by key: every operation on every stored state, as one reviewed page.

use ff_core::contracts::{RateLimit, SetLimitArgs};
use ff_core::engine_error::EngineError;
use ff_core::partition::PartitionConfig;
use ff_core::plan::facts::Facts;
use ff_core::rules::ctx::Ctx;
use ff_core::rules::decision::{Step, Transition};
use ff_core::rules::key::ExecutionKey;
use ff_core::rules::limit::admit::{Admission, Asking};
use ff_core::rules::limit::cell::{Cell, ForgetCell};
use ff_core::rules::limit::define::{RemoveLimit, SetLimit};
use ff_core::rules::limit::key::LimitKey;
use ff_core::rules::limit::read::{ReadHeld, ReadLimit};
use ff_core::schema::limit::{limit, limit_cell, limit_permit};
use ff_core::types::TimestampMs;
use uuid::Uuid;

use crate::page::{self, Situation, operation, pages};
use crate::stored::{RowOf, blank};
use crate::{NOW, key};

/// The key that the execution names; it is of the family `tenant/*`.
const KEY: &str = "tenant/1";
/// One start in a second, and two at once.
const RATE: &str = "1/1000";
const RATE_MS: i64 = 1_000;

fn of(text: &str) -> LimitKey {
    LimitKey::new(text, &PartitionConfig::default()).unwrap()
}

fn limit_row(text: &str, running: Option<i64>, rate: Option<i64>) -> RowOf {
    blank()
        .with(limit::partition_key, of(text).partition)
        .with(limit::limit_key, text.into())
        .with(limit::max_running, running)
        .with(limit::rate_count, rate)
        .with(limit::rate_per_ms, rate.map(|_| RATE_MS))
        .with(limit::rate_burst, rate.map(|_| 2))
        .with(limit::set_by, "ada".into())
        .with(limit::set_at_ms, 1)
}

fn limits() -> Vec<Situation> {
    vec![
        ("none", vec![]),
        ("one-runs", vec![limit_row(KEY, Some(1), None)]),
        ("none-runs", vec![limit_row(KEY, Some(0), None)]),
        ("rate", vec![limit_row(KEY, None, Some(1))]),
        ("both", vec![limit_row(KEY, Some(1), Some(1))]),
        ("family", vec![limit_row("tenant/*", Some(1), None)]),
        ("exempt", vec![limit_row(KEY, None, None), limit_row("tenant/*", Some(0), None)]),
    ]
}

fn permits() -> Vec<Situation> {
    let held = |by: ExecutionKey| {
        let row = blank()
            .with(limit_permit::partition_key, of(KEY).partition)
            .with(limit_permit::limit_key, KEY.into())
            .with(limit_permit::permit, 0)
            .with(limit_permit::execution_partition, by.partition)
            .with(limit_permit::execution_id, by.uuid)
            .with(limit_permit::taken_at_ms, 1);
        vec![row]
    };
    let other = ExecutionKey { partition: 7, uuid: Uuid::from_u128(0xA) };
    vec![("none", vec![]), ("its-own", held(key())), ("another's", held(other))]
}

/// The number of the cell that has begun.
fn current() -> i64 {
    NOW / RATE_MS
}

fn cells() -> Vec<Situation> {
    let taken = |cell: i64| {
        blank()
            .with(limit_cell::partition_key, of(KEY).partition)
            .with(limit_cell::limit_key, KEY.into())
            .with(limit_cell::rate, RATE.into())
            .with(limit_cell::cell, cell)
            .with(limit_cell::execution_id, Uuid::nil())
            .with(limit_cell::expires_at_ms, (cell + 2) * RATE_MS)
    };
    vec![
        ("none", vec![]),
        ("over", vec![taken(current() - 2)]),
        ("one", vec![taken(current() - 1)]),
        ("two", vec![taken(current() - 1), taken(current())]),
    ]
}

/// What the execution would take.
struct Admit;

impl Transition for Admit {
    type Outcome = String;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<String>, EngineError> {
        let at = ctx.now;
        let read = ReadHeld { keys: vec![KEY.into()], partitions: PartitionConfig::default() };
        let held = match read.step(facts, ctx)? {
            Step::Answer(held) => held,
            Step::Read(queries) => return Ok(Step::Read(queries)),
            Step::Commit(plan, _) => panic!("it changes something: {plan}"),
        };

        let taken = [1, 2].map(|weight| {
            let asking = Asking { execution: key(), keys: vec![KEY.into()], weight };
            let lacks = held.shortages(&asking, at).unwrap();
            let admission = held.clone().admit(&asking, at).unwrap();
            match admission {
                Admission::Admitted(holdings) => {
                    assert_eq!(lacks, [], "explanations agree");
                    let permits = holdings.permits.iter().map(|(_, permit)| *permit);
                    let cells = holdings.cells.iter().map(|taken| taken.number - current());
                    let (permits, cells): (Vec<_>, Vec<_>) = (permits.collect(), cells.collect());
                    format!("{weight} takes permits {permits:?} and cells {cells:?}")
                }
                Admission::Full(key) => {
                    assert!(!lacks.is_empty(), "explanations agree");
                    format!("{weight} finds {key} full")
                }
            }
        });
        Ok(Step::Answer(taken.join("; ")))
    }
}

/// What is shown of the key: its limit, the number that run, and when the next may start.
struct Show;

impl Transition for Show {
    type Outcome = String;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<String>, EngineError> {
        let read = ReadLimit::new(KEY, &PartitionConfig::default())?;
        let status = match read.step(facts, ctx)? {
            Step::Answer(status) => status,
            Step::Read(queries) => return Ok(Step::Read(queries)),
            Step::Commit(plan, _) => panic!("it changes something: {plan}"),
        };
        let shown = status.map_or("no limit".to_owned(), |status| {
            let next = status.next_start.map(|at| at.0 - NOW);
            format!("{}: {} run, next in {next:?} ms", status.limit.limit_key, status.running)
        });
        Ok(Step::Answer(shown))
    }
}

#[test]
fn every_operation_on_every_limit() {
    let partitions = PartitionConfig::default();
    let set = SetLimitArgs::new(KEY, "bo").with_running(2).with_rate(RateLimit::new(3, 1_000));
    let (key, rate) = (of(KEY), RATE.to_owned());
    let cell = Cell { key, rate, number: current() - 2, expires_at: TimestampMs(NOW) };
    let operations = vec![
        ("what a claim takes, by weight", operation(Admit)),
        ("set_limit", operation(SetLimit::new(set, &partitions).unwrap())),
        ("remove_limit", operation(RemoveLimit::new(KEY, &partitions).unwrap())),
        ("read_limit", operation(Show)),
        ("expire_limit_cell", operation(ForgetCell { cell })),
    ];
    let situations = [("limit", limits()), ("permit", permits()), ("cells", cells())];
    page::assert_reviewed("limit_table", &pages(&situations, operations));
}
