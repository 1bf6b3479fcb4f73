//! The situations in which ended executions are removed, and named subscribers keep positions.

use ff_core::ScannerFilter;
use ff_core::backend::{Frame, FrameKind};
use ff_core::contracts::{RetentionRule, TrimPass};
use ff_core::engine_backend::{EngineBackend, Scan};
use ff_core::rules::status::Status;
use ff_core::state::{OutboxKind, TerminalOutcome};
use ff_core::types::ExecutionId;

use super::fixtures::{flow, lane, partition};
use super::flow_rows::{Group, UPSTREAM};
use super::stage::{Scene, now};

const OUTBOXES: [OutboxKind; 5] = [
    OutboxKind::Completion,
    OutboxKind::Lease,
    OutboxKind::Signal,
    OutboxKind::Operator,
    OutboxKind::Tag,
];

impl Scene {
    pub(super) fn retention(&mut self) {
        let Some(id) = self.completed(1) else { return };
        let at = self.at();
        self.sample("trim_retention", "one execution", async |b| {
            b.trim_retention(partition(&id), &lane(), 0, at, 10, &ScannerFilter::NOOP).await
        });

        self.completed(1_001);
        self.completed(1);
        self.trimmed("executions, by count and age", TrimPass::new(vec![rule().keeping(1)]));
        let dry = TrimPass { dry_run: true, ..TrimPass::new(vec![rule()]) };
        self.trimmed("a dry run", dry);

        self.in_own_database(Scene::trimmed_flow);
        self.in_own_database(Scene::trimmed_flow_without_a_row);
        self.in_own_database(Scene::subscribers);
    }

    /// A flow that an operator cancelled, with an edge.
    fn trimmed_flow(&mut self) {
        self.cancelled_flow();
        self.pass(1);
        self.trimmed("a flow, dry", TrimPass { dry_run: true, ..TrimPass::new(vec![rule()]) });
        self.trimmed("a flow", TrimPass::new(vec![rule()]));
    }

    /// A flow with an edge, which an operator cancelled.
    pub(super) fn cancelled_flow(&mut self) {
        self.create_flow();
        let members = self.members(2);
        let [parent, child] = members.as_slice() else { return };
        self.depends(1, parent, child);
        let at = self.at();
        let _ = now(self.backend.release_flow(&flow(), at));
        self.cancel_one(parent);
        for _ in 0..3 {
            let _ = now(self.backend.scan(Scan::DependencyDispatch, 100));
        }
    }

    /// A flow of an older database: no row, no events, and a member that ended.
    fn trimmed_flow_without_a_row(&mut self) {
        let status = Status::terminal(TerminalOutcome::Success);
        self.insert_execution(UPSTREAM, status, None);
        self.insert_edge(super::flow_rows::EDGE, UPSTREAM, true);
        self.insert_group(Group::Pending, 1);
        self.pass(1);
        let sweep = TrimPass { sweeps: true, ..TrimPass::new(vec![rule()]) };
        self.trimmed("a flow without a row", sweep);
    }

    fn subscribers(&mut self) {
        for (at, outbox) in OUTBOXES.into_iter().enumerate() {
            let number = i64::try_from(at).unwrap_or_default();
            self.sample("store_subscriber_cursor", "any", async |b| {
                b.store_subscriber_cursor("audit", outbox, number).await
            });
        }
        self.sample("list_subscriber_cursors", "all", async |b| b.list_subscriber_cursors().await);

        self.create_flow();
        let members = self.members(1);
        let at = self.at();
        let _ = now(self.backend.release_flow(&flow(), at));
        members.iter().for_each(|id| self.cancel_one(id));
        let _ = now(self.backend.scan(Scan::DependencyDispatch, 100));
        let _ = self.completed(0);
        self.pass(1);

        self.read_all();
        self.trimmed("with subscribers", TrimPass::new(vec![rule()]));
        let archived = TrimPass { archive: Some("archive".into()), ..TrimPass::new(vec![rule()]) };
        let _ = self.completed(0);
        self.read_all();
        self.sample("store_archive_position", "any", async |b| {
            b.store_archive_position("archive", 1_000_000, "4096 cafe").await
        });
        self.trimmed("that are archived", archived);

        self.sample("drop_subscriber", "that is there", async |b| b.drop_subscriber("audit").await);
    }

    /// Stores that everything was read.
    fn read_all(&mut self) {
        for outbox in OUTBOXES {
            let _ = now(self.backend.store_subscriber_cursor("audit", outbox, 1_000_000));
        }
    }

    fn trimmed(&mut self, case: &'static str, mut pass: TrimPass) {
        while !pass.is_done() {
            let step = pass.clone();
            let stepped = self.sample("trim_step", case, async |b| b.trim_step(step).await);
            match stepped {
                Some(Ok(next)) => pass = next,
                Some(Err(_)) | None => return,
            }
        }
    }

    /// An execution that has completed, with so many frames.
    pub(super) fn completed(&mut self, frames: usize) -> Option<ExecutionId> {
        let (id, handle) = self.held(None)?;
        for _ in 0..frames {
            let frame = Frame::new(b"x".to_vec(), FrameKind::Stdout);
            let _ = now(self.backend.append_frame(&handle, frame));
        }
        let _ = now(self.backend.complete(&handle, None));
        Some(id)
    }
}

fn rule() -> RetentionRule {
    RetentionRule::older_than(0)
}
