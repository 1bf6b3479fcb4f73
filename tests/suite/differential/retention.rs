//! Passes of retention in a history, and the named subscribers that hold them back.
//!
//! What ends within one scan has no order that is the same on every database. So no pass keeps the
//! newest, and a subscriber has always read everything so far.

use ff_core::contracts::{HeldBack, RetentionRule, TrimPass};
use ff_core::state::OutboxKind;
use ff_core::types::LaneId;

use super::generator::Generator;
use super::operation::{Operation, Side};

/// A call about what has ended.
#[derive(Clone, Debug)]
pub(super) enum Retention {
    /// Removes what ended in the lane so many ms ago.
    Pass(LaneId, u64),
    /// Stores the position of the newest completion event.
    Read(&'static str),
    Forget(&'static str),
}

impl Generator {
    pub(super) fn retention(&mut self) -> Operation {
        let name = self.pick(&["mailer", "ledger"]);
        Operation::Retention(match self.below(8) {
            0..=3 => Retention::Pass(self.lane(), self.pick(&[0, 500, 5_000])),
            4 | 5 => Retention::Read(name),
            _ => Retention::Forget(name),
        })
    }
}

impl Side {
    pub(super) async fn retention(&mut self, retention: &Retention) -> String {
        let backend = self.bench.backend.clone();
        match retention.clone() {
            Retention::Pass(lane, age) => {
                let rule = RetentionRule::older_than(age).in_lane(lane);
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
            Retention::Read(name) => {
                let rows = self.bench.plain.rows("ff_completion_event").await;
                let newest = rows.iter().filter_map(|row| row.int("event_id")).max();
                let (outbox, position) = (OutboxKind::Completion, newest.unwrap_or(0));
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
