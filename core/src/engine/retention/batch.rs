//! The executions of one page that a rule removes: what holds them back, and their removal.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use futures_util::future::join_all;
use uuid::Uuid;

use crate::contracts::{HeldBack, Newest, TrimPass};
use crate::engine::{Executor, run};
use crate::model::error::EngineError;
use crate::model::state::OutboxKind;
use crate::rules::flow::end::EndFlow;
use crate::rules::flow::key::FlowKey;
use crate::rules::retention::count::{Long, RowsOfExecution, RowsOfFlow};
use crate::rules::retention::ended::{Ended, MembersOf, is_kept, latest_end, rule_of};
use crate::rules::retention::holds::{Hold, Unread};
use crate::rules::retention::seal::{Seal, Sealed};
use crate::rules::retention::trim::{FlowTrimmed, PIECE, TrimExecution, TrimFlow, TrimPiece};

/// The most removals that are under way at once.
const AT_ONCE: usize = 100;

/// One page of a pass.
pub(super) struct Removal<'a> {
    pub(super) executor: &'a dyn Executor,
    pub(super) pass: &'a mut TrimPass,
    pub(super) holds: Vec<Hold>,
    pub(super) newest: &'a [Newest],
    pub(super) long: &'a Long,
}

impl Removal<'_> {
    /// Takes out the executions with events that a subscriber has not read.
    pub(super) async fn hold_back_unread(
        &mut self,
        due: &mut Vec<Ended>,
    ) -> Result<(), EngineError> {
        for hold in &self.holds {
            let among: Vec<Uuid> = due.iter().map(|ended| ended.key.uuid).collect();
            if among.is_empty() {
                return Ok(());
            }

            let unread = run(self.executor, &Unread { hold, among }).await?;
            due.retain(|ended| !unread.contains(&ended.key.uuid));
            if !unread.is_empty() {
                let held = self.pass.report.held_back.entry(hold.reason.clone()).or_default();
                *held += unread.len() as u64;
            }
        }
        Ok(())
    }

    /// Takes out the executions that the archive, begun at that time, may hold as they were before
    /// a late change.
    pub(super) fn hold_back_changed(&mut self, due: &mut Vec<Ended>, began_at_ms: i64) {
        let before = due.len();
        due.retain(|ended| !ended.changed_since(began_at_ms));
        let changed = before - due.len();
        if changed != 0 {
            let held = self.pass.report.held_back.entry(HeldBack::ChangedSince).or_default();
            *held += changed as u64;
        }
    }

    /// Seals the flows of these executions, and takes out the members of those that are needed.
    pub(super) async fn hold_back_flows(
        &mut self,
        due: &mut Vec<Ended>,
    ) -> Result<(), EngineError> {
        let mut flows: HashMap<FlowKey, Option<HeldBack>> = HashMap::new();
        for ended in due.iter() {
            let Some(flow) = ended.flow else { continue };
            if let Entry::Vacant(unknown) = flows.entry(flow) {
                unknown.insert(self.seal(flow, ended).await?);
            }
        }

        let reason = |ended: &Ended| ended.flow.and_then(|flow| flows.get(&flow)?.as_ref());
        for reason in due.iter().filter_map(reason) {
            *self.pass.report.held_back.entry(reason.clone()).or_default() += 1;
        }
        due.retain(|ended| reason(ended).is_none());
        Ok(())
    }

    async fn seal(&self, flow: FlowKey, ended: &Ended) -> Result<Option<HeldBack>, EngineError> {
        let Some((_, rule)) = rule_of(&self.pass.rules, ended) else { return Ok(None) };
        let completions =
            self.holds.iter().filter(|hold| hold.outbox == OutboxKind::Completion).collect();
        let until_ms = latest_end(rule, self.executor.now());
        let seal = Seal { flow, until_ms, holds: completions, dry_run: self.pass.dry_run };

        match run(self.executor, &seal).await? {
            Sealed::Yes => Ok(None),
            Sealed::No(reason) => Ok(Some(reason)),
            Sealed::NotEnded => {
                // An older engine ended no flow with its members. The time begins to count now.
                if !self.pass.dry_run {
                    run(self.executor, &EndFlow { flow }).await?;
                }
                Ok(Some(HeldBack::RecentFlow))
            }
        }
    }

    /// Removes the executions, and the flows that have no member any more.
    pub(super) async fn remove(&mut self, due: &[Ended]) -> Result<(), EngineError> {
        if self.pass.dry_run {
            return self.count(due).await;
        }

        for chunk in due.chunks(AT_ONCE) {
            let removals = chunk.iter().map(|ended| remove_one(self.executor, ended, self.long));
            for (ended, removed) in chunk.iter().zip(join_all(removals).await) {
                match removed {
                    Ok(true) => self.pass.report.executions += 1,
                    // It was replayed or removed meanwhile.
                    Ok(false) => {}
                    Err(error) => {
                        self.pass.report.errors += 1;
                        tracing::warn!(execution = %ended.key.id(), %error, "not removed");
                    }
                }
            }
        }

        let mut flows: Vec<FlowKey> = due.iter().filter_map(|ended| ended.flow).collect();
        flows.sort_by_key(|flow| flow.uuid);
        flows.dedup();
        for flow in flows {
            if remove_flow(self.executor, flow).await? {
                self.pass.report.flows += 1;
            }
        }
        Ok(())
    }

    /// Counts what would be removed.
    async fn count(&mut self, due: &[Ended]) -> Result<(), EngineError> {
        for ended in due {
            let rows = run(self.executor, &RowsOfExecution(ended.key)).await?;
            self.pass.report.executions += 1;
            self.add(rows);

            if let Some(flow) = ended.flow
                && self.pass.flows_counted.insert(flow.uuid)
                && self.removes_all_of(flow).await?
            {
                self.pass.report.flows += 1;
                let rows = run(self.executor, &RowsOfFlow(flow)).await?;
                self.add(rows);
            }
        }
        Ok(())
    }

    fn add(&mut self, rows: impl IntoIterator<Item = (&'static str, u64)>) {
        for (table, count) in rows {
            *self.pass.report.rows.entry(table).or_default() += count;
        }
    }

    /// True if the rules remove every member of a flow.
    async fn removes_all_of(&self, flow: FlowKey) -> Result<bool, EngineError> {
        let now = self.executor.now();
        let mut after = Uuid::nil();
        loop {
            let page = run(self.executor, &MembersOf { flow, after }).await?;
            let Some(last) = page.last else { return Ok(true) };
            let removed = |ended: &Ended| {
                rule_of(&self.pass.rules, ended).is_some_and(|(place, rule)| {
                    ended.at_ms <= latest_end(rule, now)
                        && !is_kept(rule, self.newest.get(place), ended)
                })
            };
            let all = page.ended.len() as u64 == page.looked_at
                && page.ended.iter().all(|(_, ended)| removed(ended));
            if !all {
                return Ok(false);
            }
            after = last;
        }
    }
}

/// Removes an execution, its frames first where there may be many.
async fn remove_one(
    executor: &dyn Executor,
    ended: &Ended,
    long: &Long,
) -> Result<bool, EngineError> {
    if long.contains(ended.key.uuid) {
        while run(executor, &TrimPiece::frames(ended)).await? == PIECE {}
    }
    run(executor, &TrimExecution::new(ended)).await
}

/// Removes a flow that has no member, its edges and groups first. Returns true if it is gone.
async fn remove_flow(executor: &dyn Executor, flow: FlowKey) -> Result<bool, EngineError> {
    loop {
        match run(executor, &TrimFlow { flow }).await? {
            FlowTrimmed::Gone => return Ok(true),
            FlowTrimmed::Stays => return Ok(false),
            FlowTrimmed::HasEdges { is_there } => {
                while run(executor, &TrimPiece::edges(flow, is_there)).await? == PIECE {}
                while run(executor, &TrimPiece::groups(flow, is_there)).await? == PIECE {}
            }
        }
    }
}
