//! The process of sixteen callers is killed again and again, and another goes on: no limit is
//! exceeded, and every report counts once or not at all.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use ff_core::contracts::ResetBudgetArgs;
use ff_core::types::BudgetId;

use super::counted::{Counted, Stored};
use super::{
    CALLERS, Generator, OPERATIONS, Operation, assert_within_limits, budget, define,
    give_everything_back, number, perform, reserved,
};
use crate::backends::{self, Bench};
use crate::victims::Place;

/// How often the process is killed.
const KILLS: u64 = 4;
/// The name of the test that is the process.
const PROCESS: &str = "money::killed::spends_until_it_is_killed";

/// What the process says of a report without a key: before it asks, and once it is answered.
const ASKS: &str = "asks";
const COUNTED: &str = "counted";
const REFUSED: &str = "refused";

fn say(word: &str, operation: &Operation) {
    if let Operation::Report(budget, amounts, None) = operation {
        for (dimension, amount) in amounts {
            println!("\n{word} {budget} {dimension} {amount}");
        }
    }
}

async fn spend(bench: Arc<Bench>, seed: u64) {
    let mut generator = Generator::new(seed, false);
    loop {
        let operation = generator.next();
        say(ASKS, &operation);
        let outcome = perform(&bench, &operation).await;
        say(if outcome.starts_with("HardBreach") { REFUSED } else { COUNTED }, &operation);
        println!("\ndone");
    }
}

/// The process that is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process that other tests start and kill"]
async fn spends_until_it_is_killed() {
    let bench = Arc::new(Place::of_this_process().bench().await);
    let seed = number("FF_SEED", 1);
    let callers =
        (0..CALLERS).map(|caller| tokio::spawn(spend(Arc::clone(&bench), seed * 1_000 + caller)));
    futures_util::future::join_all(callers).await;
}

/// Starts the process and kills it once it has done so many operations. Returns what it was
/// answered that counted, and with it what may have counted.
fn run_and_kill(place: &Place, seed: u64, operations: u64) -> [Counted; 2] {
    let mut command = place.command(PROCESS);
    command.env("FF_SEED", seed.to_string()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();

    let (mut done, mut counted, mut may_count) = (0, Counted::default(), Counted::default());
    for line in lines {
        let line = line.unwrap();
        if line == "done" {
            done += 1;
            if done == operations {
                // SIGKILL: what is under way is cut off, and what was written before is read yet.
                child.kill().unwrap();
            }
        }
        let words: Vec<&str> = line.split(' ').collect();
        let [word, budget, dimension, amount] = words[..] else { continue };
        if [ASKS, COUNTED, REFUSED].contains(&word) {
            let (budget, amount) = (BudgetId::parse(budget).unwrap(), amount.parse().unwrap());
            match word {
                ASKS => may_count.note_amount(&budget, dimension, amount),
                COUNTED => counted.note_amount(&budget, dimension, amount),
                _ => may_count.forget_amount(&budget, dimension, amount),
            }
        }
    }
    child.wait().unwrap();
    assert!(operations <= done, "the process ended by itself, after {done} operations");
    [counted, may_count]
}

/// What is stored, once the server has ended the sessions of a killed process.
async fn settled(bench: &Bench) -> Stored {
    let mut before = Stored::of(bench).await;
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let after = Stored::of(bench).await;
        if before == after {
            return after;
        }
        before = after;
    }
}

async fn killed_again_and_again(bench: &Bench, place: &Place) {
    define(bench).await;
    let operations = number("FF_MONEY", OPERATIONS).div_ceil(KILLS);
    let mut before = Stored::default();
    for kill in 0..KILLS {
        let seed = number("FF_SEED", 1) * KILLS + kill;
        let [counted, may_count] = run_and_kill(place, seed, operations);
        let after = settled(bench).await;
        assert_within_limits(bench).await;
        reserved::assert_fits(bench).await;
        after.assert_counted(&before, &counted, &may_count);

        // A new period begins, or the next process would find every budget full.
        for number in 0..3 {
            let args = ResetBudgetArgs { budget_id: budget(number), now: bench.clock.now() };
            bench.backend.reset_budget(args).await.unwrap();
        }
        before = Stored::of(bench).await;
    }
    give_everything_back(bench).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_report_counts_once_on_sqlite_however_often_its_process_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::Sqlite(directory.path().join("flow.db"));
    let bench = place.bench().await;
    killed_again_and_again(&bench, &place).await;
    bench.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_report_counts_once_on_postgres_however_often_its_process_is_killed() {
    let bench = backends::postgres().await;
    killed_again_and_again(&bench, &Place::of(&bench)).await;
    bench.tear_down().await;
}
