//! Passes of retention in a history, and the named subscribers and the archive that hold them back.
//!
//! What ends within one scan has no order that is the same on every database. So no pass keeps the
//! newest, and a subscriber has always read everything so far.

use ff_core::contracts::{ArchivePass, HeldBack, RetentionRule, TrimPass};
use ff_core::state::OutboxKind;
use ff_core::types::LaneId;

use super::generator::Generator;
use super::operation::{Operation, Side};

/// The one archive of a history.
const ARCHIVE: &str = "cold";

/// A call about what has ended.
#[derive(Clone, Debug)]
pub(super) enum Retention {
    /// Removes what ended in the lane so many ms ago.
    Pass(LaneId, u64),
    /// The same of what the archive contains.
    PassArchived(LaneId, u64),
    /// Writes what ended since the archive was last written.
    Archive,
    /// Stores the position of the newest completion event.
    Read(&'static str),
    Forget(&'static str),
}

impl Generator {
    pub(super) fn retention(&mut self) -> Operation {
        let age = self.pick(&[0, 500, 5_000]);
        Operation::Retention(match self.below(11) {
            0..=3 => Retention::Pass(self.lane(), age),
            4 | 5 => Retention::Read(self.pick(&["mailer", "ledger"])),
            6 => Retention::PassArchived(self.lane(), age),
            7 | 8 => Retention::Archive,
            // An archive that nobody writes any more holds everything back.
            _ => Retention::Forget(self.pick(&["mailer", "ledger", ARCHIVE])),
        })
    }
}

impl Side {
    pub(super) async fn retention(&mut self, retention: &Retention) -> String {
        let backend = self.bench.backend.clone();
        match retention.clone() {
            Retention::Pass(lane, age) => self.pass(None, lane, age).await,
            Retention::PassArchived(lane, age) => {
                self.pass(Some(ARCHIVE.to_owned()), lane, age).await
            }
            Retention::Archive => self.archive().await,
            Retention::Read(name) => {
                let rows = self.bench.plain.rows("ff_completion_event").await;
                let newest = rows.iter().filter_map(|row| row.int("event_id")).max();
                let (outbox, position) = (OutboxKind::Completion, newest.unwrap_or(0));
                self.answer(backend.store_subscriber_cursor(name, outbox, position).await)
            }
            Retention::Forget(name) => self.answer(backend.drop_subscriber(name).await),
        }
    }

    async fn pass(&mut self, archive: Option<String>, lane: LaneId, age: u64) -> String {
        let rule = RetentionRule::older_than(age).in_lane(lane);
        let mut pass = TrimPass { archive, ..TrimPass::new(vec![rule]) };
        while !pass.is_done() {
            pass = match self.bench.backend.trim_step(pass).await {
                Ok(pass) => pass,
                refused => return self.answer(refused),
            };
        }

        self.removed.extend(self.gone().await);
        let report = pass.report;
        let held_back: Vec<_> = report.held_back.iter().map(held_back).collect();
        format!("{} passed, {} errors, held back {held_back:?}", report.executions, report.errors)
    }

    async fn archive(&self) -> String {
        let backend = &self.bench.backend;
        let cursors = backend.list_subscriber_cursors().await.unwrap();
        let written = cursors.iter().find(|cursor| cursor.name == ARCHIVE);
        let mut pass = ArchivePass::after(written.map_or(0, |cursor| cursor.event_id));
        let mut lines = 0;
        while !pass.is_done() {
            let step = backend.archive_step(pass).await.unwrap();
            lines += step.lines.len();
            pass = step.pass;
        }

        let stored = backend.store_archive_position(ARCHIVE, pass.position, "a file").await;
        format!("{} executions in {lines} lines, {}", pass.executions, self.answer(stored))
    }
}

/// The reason without the number of an event, which is another in each database.
fn held_back((reason, count): (&HeldBack, &u64)) -> String {
    match reason {
        HeldBack::Subscriber { name, .. } => format!("{count} by the subscriber {name}"),
        other => format!("{count}: {other}"),
    }
}
