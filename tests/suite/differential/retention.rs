//! Passes of retention in a history, and the named subscribers that hold them back.

use ff_core::contracts::{HeldBack, RetentionRule, TrimPass};
use ff_core::state::OutboxKind;
use ff_core::types::LaneId;

use super::generator::Generator;
use super::operation::{Operation, Side};

/// A call about what has ended.
#[derive(Clone, Debug)]
pub(super) enum Retention {
    /// Removes what ended in the lane so many ms ago, but for that many of the newest.
    Pass(LaneId, u64, u64),
    /// Stores a position: that many completion events before the newest.
    Read(&'static str, usize),
    Forget(&'static str),
}

impl Generator {
    pub(super) fn retention(&mut self) -> Operation {
        let name = self.pick(&["mailer", "ledger"]);
        Operation::Retention(match self.below(8) {
            0..=3 => {
                let (age, keep) = (self.pick(&[0, 500, 5_000]), self.pick(&[0, 0, 1]));
                Retention::Pass(self.lane(), age, keep)
            }
            4 | 5 => Retention::Read(name, self.pick(&[0, 0, 1, 3])),
            _ => Retention::Forget(name),
        })
    }
}

impl Side {
    pub(super) async fn retention(&mut self, retention: &Retention) -> String {
        let backend = self.bench.backend.clone();
        match retention.clone() {
            Retention::Pass(lane, age, keep) => {
                let rule = RetentionRule::older_than(age).keeping(keep).in_lane(lane);
                let mut pass = TrimPass::new(vec![rule]);
                while !pass.is_done() {
                    pass = backend.trim_step(pass).await.unwrap();
                }
                self.removed.extend(self.gone().await);
                let report = pass.report;
                let held_back: Vec<_> = report.held_back.iter().map(held_back).collect();
                format!(
                    "{} passed, {} errors, held back {held_back:?}",
                    report.executions, report.errors
                )
            }
            Retention::Read(name, behind) => {
                let rows = self.bench.plain.rows("ff_completion_event").await;
                let mut numbers: Vec<_> =
                    rows.iter().filter_map(|row| row.int("event_id")).collect();
                numbers.sort_unstable();
                let position = numbers.iter().rev().nth(behind).copied().unwrap_or(0);
                let outbox = OutboxKind::Completion;
                self.answer(backend.store_subscriber_cursor(name, outbox, position).await)
            }
            Retention::Forget(name) => self.answer(backend.drop_subscriber(name).await),
        }
    }
}

/// The reason without the number of an event, which is another in each database.
fn held_back((reason, count): (&HeldBack, &u64)) -> String {
    match reason {
        HeldBack::Subscriber { name, .. } => format!("{count} by {name}"),
        other => format!("{count}: {other}"),
    }
}
