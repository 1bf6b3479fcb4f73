//! Rows that prevent plans: the interpreter and the rendered statements agree, whatever the rows
//! and the plans are, alone and several at once.

use std::sync::Arc;

use ff_core::engine::Executor;
use ff_core::plan::value::Value;
use ff_core::plan::{Expr, Guard, OnConflict, Pairing, Path, Plan, Predicate, Return, Selection};
use ff_core::rules::ctx::{Seeded, Source as _};
use ff_core::schema::Direction::{Ascending, Descending};
use ff_core::schema::admin::lane_registry as lane;
use ff_core::schema::subscriber::subscriber_cursor as target;
use ff_core::state::{LaneState, OutboxKind};
use futures_util::future::join_all;

use crate::backends::{self, Bench};
use crate::plain::{Given, int, text};

const ROUNDS: usize = 60;
/// The plans of one shape that wait together.
const TOGETHER: usize = 3;
const LANES: [&str; 4] = ["a", "b", "c", "d"];
const STATES: [LaneState; 4] =
    [LaneState::Active, LaneState::Paused, LaneState::Draining, LaneState::Disabled];
/// The time that conditions ask about.
const NOW: i64 = 100;

struct Draws(Seeded);

impl Draws {
    fn below(&mut self, bound: usize) -> usize {
        (self.0.fraction() * bound as f64) as usize
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    /// The stored lanes: some are missing, and each column is sometimes NULL.
    fn lanes(&mut self) -> Vec<Given<'static>> {
        let mut rows = Vec::new();
        for name in LANES {
            if self.below(4) == 0 {
                continue;
            }
            let state = self.pick(&["active", "paused", "draining", "disabled"]);
            let until = self.pick(&[None, Some(NOW - 1), Some(NOW), Some(NOW + 1)]);
            let reason = self.pick(&[None, Some(""), Some("late")]);
            rows.push(vec![
                ("lane_id", text(name)),
                ("registered_at_ms", int(self.pick(&[NOW - 1, NOW, NOW + 1]))),
                ("registered_by", text("test")),
                ("state", text(state)),
                ("state_until_ms", until.map_or(Value::Null, int)),
                ("state_reason", reason.map_or(Value::Null, text)),
            ]);
        }
        rows
    }

    fn states(&mut self) -> Vec<LaneState> {
        STATES.into_iter().filter(|_| self.below(2) == 0).collect()
    }

    /// A condition on a lane. Its values are drawn later, so that several plans share its shape.
    fn condition(&mut self, depth: usize) -> Predicate {
        let reason = self.pick(&[None, Some("late".to_owned())]);
        let until = self.pick(&[Some(NOW), Some(NOW + 1), None]);
        match self.below(if depth == 0 { 9 } else { 12 }) {
            0 => lane::state.is_one_of(&self.states()),
            1 => lane::state.is_none_of(&self.states()),
            2 => lane::state_until_ms.is_null(),
            3 => lane::state_until_ms.is_present(),
            4 => lane::state_until_ms.above(until),
            5 => lane::state_until_ms.at_most(until),
            6 => lane::registered_at_ms.below(NOW),
            7 => lane::state_reason.equals(reason),
            8 => Predicate::Always,
            9 => self.condition(depth - 1).and(self.condition(depth - 1)),
            10 => self.condition(depth - 1).or(self.condition(depth - 1)),
            _ => Predicate::Any(Vec::new()),
        }
    }
}

/// The part of a plan that rows may prevent.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// An insert decides whether it applies.
    Gate,
    /// A guard does.
    Guarded,
    /// The database picks its rows.
    Picks,
}

fn target_at(number: usize) -> Vec<(ff_core::schema::ColumnRef, Expr)> {
    vec![target::name.with(format!("t{number}")), target::outbox.with_chosen(OutboxKind::Lease)]
}

/// One of the plans that wait together, on a target of its own.
fn plan(kind: Kind, number: usize, unless: Vec<Guard>) -> Plan {
    let mut plan = Plan::new("prevented");
    let row = target_at(number)
        .into_iter()
        .chain([target::event_id.with(7), target::updated_at_ms.with(NOW)])
        .collect();
    match kind {
        Kind::Gate => plan = plan.insert(target::REF, row, OnConflict::Refuse),
        Kind::Guarded => {
            let small = target::event_id.at_most(1);
            plan = plan.guard("target", target::REF, target_at(number), small).update(
                target::REF,
                target_at(number),
                vec![target::updated_at_ms.set(NOW)],
            );
            plan.returns =
                vec![Return::Held("target".into(), Path::column(target::event_id.column()))];
        }
        Kind::Picks => {
            plan.selection = Some(Selection {
                row: "target".into(),
                table: target::REF,
                predicate: target::name.equals(format!("t{number}")),
                order: vec![
                    (target::event_id.column(), Descending),
                    (target::name.column(), Ascending),
                    (target::outbox.column(), Ascending),
                ],
                pairing: Pairing::UpTo { limit: Expr::int(2), rest: None },
            });
            let picked = vec![
                target::name.with_expr(target::name.of("target")),
                target::outbox.with_expr(target::outbox.of("target")),
            ];
            plan = plan.update(target::REF, picked, vec![target::event_id.grow(10)]);
            plan.returns =
                vec![Return::Held("target".into(), Path::column(target::event_id.column()))];
        }
    }
    unless.into_iter().fold(plan, Plan::unless)
}

/// The database of a bench and its executor.
struct Side {
    bench: Bench,
    executor: Arc<dyn Executor>,
}

impl Side {
    async fn of(bench: Bench) -> Self {
        Self { executor: bench.executor().await, bench }
    }

    /// Stores these lanes, and targets of which every third is missing.
    async fn fill(&self, lanes: &[Given<'static>]) {
        let plain = &self.bench.plain;
        for table in ["ff_lane_registry", "ff_subscriber_cursor"] {
            plain.clear(table).await;
        }
        for row in lanes {
            plain.insert("ff_lane_registry", row.clone()).await;
        }
        for number in (0..TOGETHER).filter(|number| number % 3 != 2) {
            for (outbox, event) in [("lease", 1), ("signal", 3), ("completion", 2)] {
                let event = int(event + i64::try_from(number).unwrap());
                let row = vec![
                    ("name", text(&format!("t{number}"))),
                    ("outbox", text(outbox)),
                    ("event_id", event),
                    ("updated_at_ms", int(0)),
                ];
                plain.insert("ff_subscriber_cursor", row).await;
            }
        }
    }

    /// Commits the plans at once, and says what came of each and what is stored afterwards.
    async fn commit(&self, plans: &[Plan]) -> String {
        let commits = plans.iter().map(|plan| self.executor.commit(plan.clone()));
        let outcomes: Vec<_> =
            join_all(commits).await.into_iter().map(|outcome| outcome.unwrap()).collect();
        format!("{outcomes:?}\n{:#?}", self.bench.plain.rows("ff_subscriber_cursor").await)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_interpreter_and_the_databases_agree_about_rows_that_prevent_a_plan() {
    let sides = [
        Side::of(backends::memory().await).await,
        Side::of(backends::sqlite_file().await).await,
        Side::of(backends::postgres().await).await,
    ];
    let mut draws = Draws(Seeded::new(12));
    let (mut prevented, mut applied) = (0, 0);
    for round in 0..ROUNDS {
        let lanes = draws.lanes();
        let kind = draws.pick(&[Kind::Gate, Kind::Guarded, Kind::Picks]);
        let conditions: Vec<_> = (0..1 + draws.below(2)).map(|_| draws.condition(2)).collect();
        let mut plans = Vec::new();
        for number in 0..TOGETHER {
            let named = |(row, condition): (&'static str, &Predicate)| {
                let key = vec![lane::lane_id.with(draws.pick(&LANES).to_owned())];
                Guard::new(row, lane::REF, key, condition.clone())
            };
            let unless = ["lane", "other"].into_iter().zip(&conditions).map(named).collect();
            plans.push(plan(kind, number, unless));
        }

        let mut outcomes = Vec::new();
        for side in &sides {
            side.fill(&lanes).await;
            outcomes.push(side.commit(&plans).await);
        }
        for outcome in &outcomes {
            assert_eq!(outcome, &outcomes[0], "round {round}: {kind:?}\n{}\n{lanes:#?}", plans[0]);
        }
        prevented += outcomes[0].matches("Prevented").count();
        applied += outcomes[0].matches("Applied").count();
    }
    println!("{applied} applied, {prevented} prevented");
    assert!(ROUNDS / 4 < prevented && ROUNDS / 4 < applied, "{applied}, {prevented}");
    for side in sides {
        drop(side.executor);
        side.bench.tear_down().await;
    }
}
