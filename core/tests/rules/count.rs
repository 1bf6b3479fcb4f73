//! Counts: which rows of them are folded, and what is read of them.

use ff_core::contracts::StatsArgs;
use ff_core::plan::facts::{Answer, Facts, Questions, Row};
use ff_core::plan::value::Value;
use ff_core::rules::count::fold::{Fold, Group, folds};
use ff_core::rules::count::read::ReadStats;
use ff_core::rules::ctx::Ctx;
use ff_core::rules::decision::{Step, Transition as _};
use ff_core::schema::count::exec_count;
use ff_core::state::{FailureClass, PublicState};
use ff_core::types::{LaneId, TimestampMs};

use crate::{Draws, answers};

const MINUTE: i64 = 60_000;

/// The minute of the tests' clock.
const NOW: i64 = 1_000_000 / MINUTE;

fn row(number: i64, kind: &str, state: &str, (class, minute): (&str, i64), n: i64) -> Row {
    let text = |text: &str| Value::Text(text.to_owned());
    Row::new(vec![
        (exec_count::count_id.column(), Value::Int(number)),
        (exec_count::lane_id.column(), text("a")),
        (exec_count::execution_kind.column(), text(kind)),
        (exec_count::public_state.column(), text(state)),
        (exec_count::failure_class.column(), text(class)),
        (exec_count::ended_minute.column(), Value::Int(minute)),
        (exec_count::n.column(), Value::Int(n)),
    ])
}

fn waiting(number: i64, n: i64) -> Row {
    row(number, "k", "waiting", ("", 0), n)
}

fn group(state: &str, class: &str, ended_minute: i64) -> Group {
    Group {
        lane_id: "a".into(),
        execution_kind: "k".into(),
        public_state: state.into(),
        failure_class: class.into(),
        ended_minute,
    }
}

fn folded(rows: &[Row], minute: i64) -> Vec<Fold> {
    folds(rows, TimestampMs(minute * MINUTE)).unwrap()
}

#[test]
fn rows_of_one_group_become_one_and_a_single_one_stays() {
    let other = row(4, "k", "active", ("", 0), 7);
    let rows = [waiting(1, 5), waiting(2, -1), waiting(3, -1), other];
    let into = group("waiting", "", 0);
    assert_eq!(folded(&rows, 0), [Fold::Sum { into, rows: vec![1, 2, 3] }]);
    assert_eq!(folded(&[waiting(1, 5)], 0), []);
}

#[test]
fn rows_that_count_nothing_go() {
    assert_eq!(folded(&[waiting(1, 0), waiting(2, 3)], 0), [Fold::Nothing { rows: vec![1] }]);
}

#[test]
fn the_minute_of_an_old_failure_is_given_up() {
    let failed = |number, minute| row(number, "k", "failed", ("timeout", minute), 1);
    let rows = [failed(1, 0), failed(2, 79), failed(3, 80), failed(4, 81)];
    let into = group("failed", "timeout", 0);
    assert_eq!(folded(&rows, 200), [Fold::Sum { into: into.clone(), rows: vec![1, 2] }]);
    // One row alone moves, too.
    assert_eq!(folded(&[failed(2, 79)], 200), [Fold::Sum { into, rows: vec![2] }]);
}

#[test]
fn sums_become_counts_and_the_failures_of_an_hour() {
    let failed = |kind, class, minute, n| row(0, kind, "failed", (class, minute), n);
    let rows = vec![
        row(0, "k", "completed", ("", 0), 0),
        failed("k", "timeout", NOW - 60, 5),
        failed("k", "timeout", NOW - 59, 1),
        failed("k", "timeout", NOW, 1),
        failed("k", "", NOW, 2),
        failed("l", "permanent", 0, 9),
        // An old spelling of a state is that state.
        row(0, "k", "running", ("", 0), 3),
        row(0, "k", "active", ("", 0), 1),
    ];
    let stats = answers(&ReadStats::new(StatsArgs::new()).unwrap(), vec![rows]).unwrap();
    assert_eq!(stats.at, TimestampMs(1_000_000));
    let counts: Vec<_> = stats
        .counts
        .iter()
        .map(|count| (count.execution_kind.as_str(), count.state, count.count))
        .collect();
    assert_eq!(
        counts,
        [
            ("k", PublicState::Active, 4),
            ("k", PublicState::Failed, 9),
            ("l", PublicState::Failed, 9)
        ]
    );
    assert_eq!(stats.in_state(PublicState::Failed), 18);
    let failures: Vec<_> =
        stats.failures.iter().map(|failure| (failure.failure_class, failure.count)).collect();
    assert_eq!(failures, [(None, 2), (Some(FailureClass::Timeout), 2)]);
}

#[test]
fn each_priority_of_a_lane_is_looked_at_once_from_the_highest() {
    use ff_core::schema::execution::exec_core;
    let head = |priority: i64, since: i64| {
        vec![Row::new(vec![
            (exec_core::priority.column(), Value::Int(priority)),
            (exec_core::claimable_since_ms.column(), Value::Int(since)),
            (exec_core::created_at_ms.column(), Value::Int(40)),
        ])]
    };
    let read = ReadStats::new(StatsArgs::new()).unwrap();
    let mut facts = Facts::default();
    let mut draws = Draws { drawn: 0, fraction: 0.5 };
    let mut ctx = Ctx::new(TimestampMs(1_000_000), &mut draws);
    for rows in [vec![waiting(1, 3)], head(9, 70), head(3, 50), head(-2, 0), vec![]] {
        let Step::Read(queries) = read.step(&facts, &mut ctx).unwrap() else {
            panic!("it looks once for each priority")
        };
        assert_eq!(queries.len(), 1);
        facts.learn(&Questions::of(&queries), vec![Answer::List(rows)]);
    }
    let Step::Answer(stats) = read.step(&facts, &mut ctx).unwrap() else {
        panic!("it looks no further")
    };
    assert_eq!(stats.oldest_waiting.len(), 1);
    assert_eq!(stats.oldest_waiting[0].since, TimestampMs(40), "by plain SQL, since its creation");

    let by_kind = ReadStats::new(StatsArgs::new().with_kind("k")).unwrap();
    assert_eq!(answers(&by_kind, vec![vec![waiting(1, 3)]]).unwrap().oldest_waiting, []);
}

#[test]
fn text_that_no_database_can_hold_is_refused_by_name() {
    for (args, field) in [
        (StatsArgs::new().with_lane(LaneId::new("a\0")), "lane_id"),
        (StatsArgs::new().with_kind("\0"), "execution_kind"),
    ] {
        let refusal = ReadStats::new(args).unwrap_err().to_string();
        assert!(refusal.contains(&format!("{field}: must not contain NUL")), "{refusal}");
    }
}
