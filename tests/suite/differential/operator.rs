//! What operators do about executions of a history, and what that comes to.

use ff_core::backend::ScannerFilter;
use ff_core::contracts::{
    ArchivePass, ChangePriorityArgs, ClaimResumedExecutionArgs, ClaimResumedExecutionResult,
    Imported, IssueGrantAndClaimArgs, ReplayExecutionArgs, RevokeLeaseArgs, RevokeLeaseResult,
};
use ff_core::partition::{Partition, PartitionFamily};
use ff_core::rules::archive::check::CheckedFile;
use ff_core::rules::archive::record::Record;
use ff_core::types::{AttemptIndex, LeaseId, TimestampMs, WorkerInstanceId};
use uuid::Uuid;

use super::generator::{Generator, WORKERS};
use super::grants::named;
use super::kind::Kind;
use super::operation::{Held, Operation, Side, Worker, without_backend};
use super::situation::Situation;
use crate::bench::{partition, payload_of};

/// A call of an operator, or of a program that routes executions.
#[derive(Clone, Debug)]
pub(super) struct Order {
    execution: usize,
    now: TimestampMs,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Prioritise(i32),
    /// Any lease, or that one only.
    Revoke(Option<Held>, &'static str),
    Replay,
    TakeOver(u64),
    ClaimResumed(Worker, Uuid),
    /// Ends of the lane that are as old, so many at most.
    Trim(u64, u32),
    /// Trims so many ends of the lane at most, once all ends are archived, and imports them back.
    Archive(u32),
    Reconcile,
}

impl Generator {
    pub(super) fn order(&mut self, kind: Kind, situation: &Situation<'_>) -> Operation {
        let now = self.around(situation.now);
        let rows = situation.rows;
        let execution = match kind {
            Kind::ClaimResumed => self.one_of(&rows.resumed),
            Kind::TakeOver | Kind::ChangePriority => self.one_of(&rows.waiting),
            Kind::Replay | Kind::Trim | Kind::Archive => self.one_of(&rows.ended),
            _ => self.execution(situation),
        };
        let what = match kind {
            Kind::ChangePriority => What::Prioritise(self.pick(&[0, 1, -7, i32::MAX])),
            Kind::Revoke => {
                let expected = self.held(situation).filter(|_| self.chance(30));
                What::Revoke(expected, self.pick(&["", "", "", "able-1", "plain-1"]))
            }
            Kind::Replay => What::Replay,
            Kind::TakeOver => What::TakeOver(self.pick(&[500, 5_000])),
            Kind::ClaimResumed => What::ClaimResumed(self.pick(&WORKERS), self.draw()),
            Kind::Trim => What::Trim(self.pick(&[0, 500, 5_000]), self.pick(&[1, 100])),
            Kind::Archive => What::Archive(self.pick(&[1, 100])),
            Kind::Reconcile => What::Reconcile,
            other => unreachable!("{other:?} is no order of an operator"),
        };
        Operation::Order(Box::new(Order { execution, now, what }))
    }
}

impl Side {
    pub(super) async fn order(&mut self, order: &Order) -> String {
        let backend = self.bench.backend.clone();
        let Order { execution, now, what } = order.clone();
        let (execution_id, lane_id, index) = self.found(execution).await;
        match what {
            What::Prioritise(new_priority) => {
                let args = ChangePriorityArgs { execution_id, new_priority, lane_id, now };
                self.answer(backend.change_priority(args).await)
            }
            What::Revoke(expected, instance) => {
                let expected = expected.map(|held| payload_of(self.handle(held)));
                let args = RevokeLeaseArgs {
                    execution_id,
                    expected_lease_id: expected.map(|payload| payload.lease_id.0.to_string()),
                    worker_instance_id: WorkerInstanceId::new(instance),
                    reason: "it's stuck".into(),
                };
                match backend.revoke_lease(args).await {
                    Ok(RevokeLeaseResult::Revoked { lease_id, lease_epoch }) => {
                        let (lease, named) = (self.name(&lease_id), without_backend(&lease_id));
                        let lease = if named == lease_id { lease } else { named.to_owned() };
                        format!("revoked {lease} of {lease_epoch}")
                    }
                    other => self.answer(other),
                }
            }
            What::Replay => {
                let args = ReplayExecutionArgs { execution_id, now };
                self.answer(backend.replay_execution(args).await)
            }
            What::TakeOver(ttl) => {
                let args = IssueGrantAndClaimArgs::new(execution_id, lane_id, ttl);
                // The lease is drawn by the backend, and no handle stands for it.
                let taken = backend.issue_grant_and_claim(args).await;
                self.answer(taken.map(|taken| (taken.attempt_index, taken.lease_epoch)))
            }
            What::ClaimResumed(worker, lease) => {
                let (worker_id, worker_instance_id) = named(worker);
                let args = ClaimResumedExecutionArgs {
                    execution_id,
                    worker_id,
                    worker_instance_id,
                    lane_id,
                    lease_id: LeaseId::from_uuid(lease),
                    lease_ttl_ms: u64::from(worker.1),
                    current_attempt_index: AttemptIndex(index),
                    remaining_attempt_timeout_ms: None,
                    now,
                };
                let result = backend.claim_resumed_execution(args).await;
                self.claimed(
                    result
                        .map(|ClaimResumedExecutionResult::Claimed(claimed)| vec![claimed.handle]),
                )
            }
            What::Trim(age, most) => {
                let (place, all) = (partition(&execution_id), ScannerFilter::NOOP);
                let trimmed = backend.trim_retention(place, &lane_id, age, now, most, &all).await;
                // An execution that is submitted again begins again.
                self.removed.extend(self.gone().await);
                self.answer(trimmed.map(|count| format!("{count} trimmed")))
            }
            What::Archive(most) => {
                let (place, all) = (partition(&execution_id), ScannerFilter::NOOP);
                let (lines, before) = (self.archived().await, self.gone().await);
                let trimmed = backend.trim_retention(place, &lane_id, 0, now, most, &all).await;
                let trimmed = match trimmed {
                    Ok(trimmed) => trimmed,
                    Err(error) => return self.answer::<()>(Err(error)),
                };
                let back = self.imported(&lines, &before).await;
                assert_eq!((back, self.gone().await), (trimmed, before), "all of them came back");
                format!("{back} back")
            }
            What::Reconcile => {
                let (place, all) = (partition(&execution_id), ScannerFilter::NOOP);
                let counts = backend.reconcile_execution_index(place, &[], &all).await.unwrap();
                assert_eq!((counts.processed, counts.errors), (0, 0), "the engine leaves no drift");
                self.find_no_drift_of_money().await;
                String::new()
            }
        }
    }
}

impl Side {
    /// Asserts that the counters of budgets and quotas are what their rows say.
    async fn find_no_drift_of_money(&self) {
        let (backend, now) = (&self.bench.backend, self.bench.clock.now());
        let places = async |table: &str, family| -> Vec<Partition> {
            let rows = self.bench.plain.rows(table).await;
            let indexes = rows.iter().filter_map(|row| row.int("partition_key"));
            indexes
                .map(|index| Partition { family, index: u16::try_from(index).unwrap() })
                .collect()
        };
        let mut found = Vec::new();
        for place in places("ff_budget_policy", PartitionFamily::Budget).await {
            found.push(backend.reconcile_budget_counters(place, now).await.unwrap());
        }
        for place in places("ff_quota_policy", PartitionFamily::Quota).await {
            found.push(backend.reconcile_quota_counters(place, now).await.unwrap());
        }
        let drifted = found.iter().any(|counts| (counts.processed, counts.errors) != (0, 0));
        assert!(!drifted, "the engine leaves no drift: {found:?}");
    }

    /// Everything that has ended, as lines of an archive.
    async fn archived(&self) -> Vec<Record> {
        // No other transaction is under way on these tables, so none needs to be waited for.
        let mut pass = ArchivePass::after(0);
        pass.until = Some(i64::MAX);
        let mut records = Vec::new();
        while !pass.is_done() {
            let step = self.bench.backend.archive_step(pass).await.unwrap();
            records.extend(step.lines.iter().map(|line| Record::read(line).unwrap()));
            pass = step.pass;
        }
        records
    }

    /// Imports those of the archived executions that are gone since; their number.
    async fn imported(&self, records: &[Record], before: &[usize]) -> u32 {
        let gone: Vec<_> = self.gone().await;
        let gone = gone.iter().filter(|number| !before.contains(number));
        let gone: Vec<String> = gone.map(|number| self.ids[*number].to_string()).collect();
        let records = records.iter().filter(|record| gone.contains(&record.subject.to_string()));
        let records: Vec<&Record> = records.collect();
        let mut file = CheckedFile::default();
        records.iter().for_each(|record| file.add(record).unwrap());
        file.finish().unwrap();

        let run = self.bench.backend.begin_import(&file).await.unwrap();
        let mut back = 0;
        for record in records.into_iter().filter(|record| !file.is_superseded(record)) {
            let imported = self.bench.backend.import_record(&run, record).await.unwrap();
            assert_eq!(imported, Imported::Added, "{record:?}");
            back += u32::from(!record.is_part);
        }
        back
    }
}
