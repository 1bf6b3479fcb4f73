//! Decisions that rely on an absent row: no plan can guard a row that does not exist, so
//! each of them is pinned by a row that does, or by an insert that refuses. Every order in which
//! the reads and commits of two callers can follow each other is played, on every database.

use std::fmt::Debug;

use ff_core::EngineError;
use ff_core::contracts::{
    DeliverSignalArgs, DeliverSignalResult, RotateWaitpointHmacSecretAllArgs,
    SeedWaitpointHmacSecretArgs,
};
use ff_core::engine::{Executor, Transition};
use ff_core::plan::value::Value;
use ff_core::rules::keyring::{Rotate, Seed};
use ff_core::rules::suspension::deliver::Deliver;

use crate::backends::{self, Bench, postgres_url};
use crate::race::{Paced, executor};
use crate::suspended::secret;

/// How often the database is asked before one of both is through: twice each, and once more.
const QUESTIONS: u32 = 5;

/// Plays one order of the questions of two callers.
async fn play<A, B>(
    executor: &dyn Executor,
    order: u32,
    one: A,
    other: B,
) -> (Result<A::Outcome, EngineError>, Result<B::Outcome, EngineError>)
where
    A: Transition<Outcome: Debug>,
    B: Transition<Outcome: Debug>,
{
    let (mut one, mut other) = (Paced::new(one), Paced::new(other));
    for turn in 0..QUESTIONS {
        if order & (1 << turn) == 0 {
            one.go_on(executor).await;
        } else {
            other.go_on(executor).await;
        }
    }
    (one.finish(executor).await, other.finish(executor).await)
}

fn seed(kid: &str) -> Seed {
    Seed::new(SeedWaitpointHmacSecretArgs::new(kid, secret(1))).unwrap()
}

fn rotate(kid: &str) -> Rotate {
    Rotate::new(RotateWaitpointHmacSecretAllArgs::new(kid, secret(2), 60_000)).unwrap()
}

async fn active_keys(bench: &Bench) -> Vec<String> {
    let rows = bench.plain.rows("ff_waitpoint_hmac").await;
    let active = rows.iter().filter(|row| *row.value("active") == Value::Bool(true));
    active.map(|row| row.text("kid").to_owned()).collect()
}

async fn no_keys(bench: &Bench) {
    for table in ["ff_waitpoint_hmac", "ff_waitpoint_keyring"] {
        bench.plain.execute(&format!("DELETE FROM {table}")).await;
    }
}

/// Who meets whom where there is no key yet.
const MEETINGS: [&str; 3] = ["two seeds", "two rotations", "a seed and a rotation"];

/// Of two first seeds one wins and the other learns which; rotations follow one another.
async fn one_key_signs(bench: &Bench, meeting: &str, order: u32) {
    let executor = executor(bench);
    let (fine, expected) = match meeting {
        "two seeds" => {
            let (a, b) = play(executor, order, seed("a"), seed("b")).await;
            (a.is_ok() != b.is_ok(), if a.is_ok() { "a" } else { "b" })
        }
        "two rotations" => {
            let (a, b) = play(executor, order, rotate("a"), rotate("b")).await;
            // The one that was through last signs.
            let last = if active_keys(bench).await == ["a"] { "a" } else { "b" };
            (a.is_ok() && b.is_ok(), last)
        }
        _ => {
            let (_, b) = play(executor, order, seed("a"), rotate("b")).await;
            (b.is_ok(), "b")
        }
    };
    assert!(fine, "{meeting}, order {order:05b}");
    assert_eq!(active_keys(bench).await, [expected], "{meeting}, order {order:05b}");
}

async fn one_key_signs_in_every_order(bench: Bench) {
    for order in 0..1 << QUESTIONS {
        for meeting in MEETINGS {
            one_key_signs(&bench, meeting, order).await;
            no_keys(&bench).await;
        }
    }
    bench.tear_down().await;
}

/// A signal that is sent twice under one key counts once, however its two senders meet.
async fn one_signal_counts(bench: Bench) {
    let executor = executor(&bench);
    for order in 0..1 << QUESTIONS {
        let (_, _, target) = bench.waiting(|args| args).await;
        let signal = || DeliverSignalArgs {
            idempotency_key: Some("once".into()),
            ..bench.signal(&target, "other")
        };
        let deliver = || Deliver::new(signal()).unwrap();
        let (a, b) = play(executor, order, deliver(), deliver()).await;
        let (a, b) = (a.unwrap(), b.unwrap());
        let repeated =
            |result: &DeliverSignalResult| matches!(result, DeliverSignalResult::Duplicate { .. });
        assert!(repeated(&a) != repeated(&b), "order {order:05b}: {a:?} {b:?}");
        assert_eq!(bench.of("ff_signal_event", &target.execution).await.len(), 1);
    }
    bench.assert_sound().await;
    bench.tear_down().await;
}

#[tokio::test]
async fn one_key_signs_in_memory() {
    for order in 0..1 << QUESTIONS {
        for meeting in MEETINGS {
            one_key_signs(&backends::memory().await, meeting, order).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_signs_on_sqlite() {
    one_key_signs_in_every_order(backends::sqlite_memory().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_signs_on_postgres() {
    let bench = backends::postgres_with(postgres_url(), |options| options).await;
    one_key_signs_in_every_order(bench).await;
}

#[tokio::test]
async fn one_signal_counts_in_memory() {
    one_signal_counts(backends::memory().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_signal_counts_on_sqlite() {
    one_signal_counts(backends::sqlite_memory().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_signal_counts_on_postgres() {
    one_signal_counts(backends::postgres_with(postgres_url(), |options| options).await).await;
}
