//! The decision table: every operation on every stored state, as one reviewed page.
//!
//! A state is a lifecycle, an owner, and the current attempt's lease as its worker sees it. What
//! makes no difference is collapsed: a line of the page stands for the product of what it lists.

use std::fmt::Write;

use ff_core::EngineError;
use ff_core::backend::{BackendTag, FailureClass, Frame, FrameKind};
use ff_core::contracts::{
    CancelExecutionArgs, ChangePriorityArgs, ClaimResumedExecutionArgs, ImportRun,
    IssueGrantAndClaimArgs, NewStep, ReplayExecutionArgs, ResumeExecutionArgs, RevokeLeaseArgs,
};
use ff_core::engine_error::ContentionKind;
use ff_core::partition::PartitionConfig;
use ff_core::plan::{Assign, Expr, Held, Mutation, Plan};
use ff_core::policy::RetryPolicy;
use ff_core::rules::archive::import::ImportRecord;
use ff_core::rules::archive::record::{Record, Subject};
use ff_core::rules::decision::Transition;
use ff_core::rules::execution::cancel::CancelExecution;
use ff_core::rules::execution::delay::{Delay, Promote};
use ff_core::rules::execution::expire::{ExpireAttempt, ExpireExecution, ExpireLease};
use ff_core::rules::execution::fail::{Fail, RetryRule};
use ff_core::rules::execution::failure::Failure;
use ff_core::rules::execution::finish::{Cancel, Complete};
use ff_core::rules::execution::lease::{Progress, Renew};
use ff_core::rules::execution::priority::ChangePriority;
use ff_core::rules::execution::reconcile::{Drifted, Repair};
use ff_core::rules::execution::replay::Replay;
use ff_core::rules::execution::revoke::RevokeLease;
use ff_core::rules::execution::tags::SetTag;
use ff_core::rules::execution::take::{ClaimByOperator, ClaimResumed};
use ff_core::rules::execution::unblock::Unblock;
use ff_core::rules::fence::{Fence, Style};
use ff_core::rules::flow::await_child::AwaitChild;
use ff_core::rules::flow::wait::WaitChildren;
use ff_core::rules::retention::ended::{ByKey, Ended};
use ff_core::rules::retention::trim::TrimExecution;
use ff_core::rules::status::Status;
use ff_core::rules::step::record::RecordStep;
use ff_core::rules::stream::append::Append;
use ff_core::rules::suspension::timeout::ExpireSuspension;
use ff_core::rules::suspension::wake::Resume;
use ff_core::rules::worker::lost::{LapseOfLost, LostLease, LostWorker};
use ff_core::rules::worker::row::{Liveness, WorkerKey};
use ff_core::schema::ColumnRef;
use ff_core::schema::execution::{attempt, exec_core};
use ff_core::schema::suspension::suspension_current;
use ff_core::state::{
    AttemptOutcome, AttemptState, BlockingReason, ClosedSet, EligibilityState, LifecyclePhase,
    OwnershipState, PublicState, TerminalOutcome,
};
use ff_core::types::{
    AttemptIndex, CancelSource, ExecutionId, LeaseEpoch, LeaseId, TimestampMs, WorkerId,
    WorkerInstanceId,
};
use serde_json::json;

use crate::claim::claim;
use crate::fleet::worker_row;
use crate::page::{self, Side};
use crate::stored::{RowOf, Stored, attempt_row, blank, core_row};
use crate::{
    Decided, EPOCH, LEASE_ID, NOW, decide, fence, grant, id, key, outcome, overriding, takeover,
};

/// The lifecycles, each with the row it is stored as, if any.
fn lifecycles() -> Vec<(&'static str, Option<RowOf>)> {
    let runnable = |eligibility| {
        core_row()
            .in_state(Status::waiting(AttemptState::AttemptInterrupted))
            .with(exec_core::eligibility_state, eligibility)
    };
    let delayed = |until| {
        let reason = BlockingReason::WaitingForDelay;
        core_row()
            .in_state(Status::delayed(reason, AttemptState::AttemptInterrupted, TimestampMs(NOW)))
            .with(exec_core::eligible_at_ms, Some(until))
    };
    let blocked = runnable(EligibilityState::BlockedByDependencies)
        .with(exec_core::public_state, PublicState::WaitingChildren);
    let suspended = core_row()
        .with(exec_core::lifecycle_phase, LifecyclePhase::Suspended)
        .with(exec_core::eligibility_state, EligibilityState::NotApplicable)
        .with(exec_core::public_state, PublicState::Suspended)
        .with(exec_core::attempt_state, AttemptState::AttemptInterrupted);
    let submitted = runnable(EligibilityState::EligibleNow)
        .with(exec_core::lifecycle_phase, LifecyclePhase::Submitted);
    let over = |outcome| core_row().in_state(Status::terminal(outcome));
    let rows = vec![
        ("submitted", submitted),
        ("runnable", runnable(EligibilityState::EligibleNow)),
        ("runnable/due", delayed(NOW)),
        ("runnable/delayed", delayed(NOW + 1)),
        ("runnable/blocked", blocked),
        ("runnable/held back", core_row().in_state(Status::held_back(AttemptState::None))),
        ("active", core_row()),
        ("suspended", suspended),
        ("runnable/resumable", core_row().in_state(Status::resumable())),
        ("terminal/completed", over(TerminalOutcome::Success)),
        ("terminal/failed", over(TerminalOutcome::Failed)),
        ("terminal/cancelled", over(TerminalOutcome::Cancelled)),
        ("terminal/skipped", over(TerminalOutcome::Skipped)),
        ("cancelled", core_row().in_state(Status::cancelled())),
    ];
    // Every deadline has passed, so that expiring is decided by the state alone.
    let due = |row: RowOf| row.with(exec_core::deadline_at_ms, Some(NOW));
    let absent = std::iter::once(("absent", None));
    absent.chain(rows.into_iter().map(|(name, row)| (name, Some(due(row))))).collect()
}

/// The leases, as the worker with attempt 0 and epoch 3 sees them: each with the current attempt
/// and the attempts that are stored.
fn leases() -> Vec<(&'static str, i32, Vec<RowOf>)> {
    let live = attempt_row().with(attempt::timeout_at_ms, Some(NOW));
    let ended = attempt_row()
        .with(attempt::worker_instance_id, None)
        .with(attempt::lease_expires_at_ms, None)
        .with(attempt::terminal_at_ms, Some(NOW - 1))
        .with(attempt::outcome, Some(AttemptOutcome::Failed));
    let lapsed = live.clone().with(attempt::lease_expires_at_ms, Some(NOW));
    let older = live.clone().with(attempt::lease_epoch, EPOCH - 1);
    let newer = live.clone().with(attempt::lease_epoch, EPOCH + 1);
    let next = newer.clone().with(attempt::attempt_index, 1);
    vec![
        ("none", 0, vec![]),
        ("live", 0, vec![live]),
        ("lapsed", 0, vec![lapsed]),
        ("older", 0, vec![older]),
        ("newer", 0, vec![newer]),
        ("ended", 0, vec![ended.clone()]),
        ("elsewhere", 1, vec![ended, next]),
    ]
}

type Decide = Box<dyn Fn(&Stored, Option<&RowOf>) -> String>;

fn operation<T: Transition + 'static>(operation: T) -> Decide
where
    T::Outcome: std::fmt::Debug,
{
    Box::new(move |stored, _| match decide(&operation, stored) {
        Decided::Plan(plan, _) => effect(&plan),
        Decided::Answer(_) => "no change".into(),
        Decided::Refused(error) => refusal(&error),
    })
}

/// The state that the plan writes, or that it writes none.
fn effect(plan: &Plan) -> String {
    let word = |column: ColumnRef, set: &[(ColumnRef, Assign)]| {
        set.iter().find_map(|(set, assign)| match assign {
            Assign::Set(Expr::Const(word)) if *set == column => Some(word.to_string()),
            Assign::Set(_) | Assign::Keep(_) | Assign::Add(_) | Assign::Merge { .. } => None,
        })
    };
    let state = plan.mutations.iter().find_map(|mutation| match mutation {
        Mutation::Update { table, set, .. } if *table == exec_core::REF => {
            let phase = word(exec_core::lifecycle_phase.column(), set)?;
            Some(format!("{phase}/{}", word(exec_core::public_state.column(), set)?))
        }
        Mutation::Insert { .. }
        | Mutation::InsertEach { .. }
        | Mutation::Update { .. }
        | Mutation::Delete { .. } => None,
    });
    let removes = |mutation: &Mutation| matches!(mutation, Mutation::Delete { table, .. } if *table == exec_core::REF);
    if plan.mutations.iter().any(removes) {
        return "-> gone".into();
    }
    let adds = |mutation: &Mutation| matches!(mutation, Mutation::Insert { table, .. } if *table == exec_core::REF);
    if plan.mutations.iter().any(adds) {
        return "-> there".into();
    }
    format!("-> {}", state.unwrap_or_else(|| "same state".into()))
}

fn refusal(error: &EngineError) -> String {
    match error {
        EngineError::NotFound { entity } => format!("NotFound({entity})"),
        EngineError::Validation { kind, .. } => format!("{kind:?}"),
        EngineError::Contention(ContentionKind::ExecutionNotActive { .. }) => {
            "ExecutionNotActive".into()
        }
        EngineError::Contention(kind) => format!("{kind:?}"),
        EngineError::State(kind) => format!("{kind:?}"),
        other => other.to_string(),
    }
}

fn by_id(source: CancelSource, epoch: Option<u64>) -> CancelExecution {
    CancelExecution::new(CancelExecutionArgs {
        execution_id: id(),
        reason: "r".into(),
        source,
        lease_id: None,
        lease_epoch: epoch.map(LeaseEpoch),
        attempt_id: None,
        now: TimestampMs(NOW),
    })
    .unwrap()
}

fn fail(fence: Fence, retry: RetryRule) -> Fail {
    Fail { fence, failure: Failure::new(FailureClass::Permanent, "r"), retry }
}

fn operations() -> Vec<(&'static str, Decide)> {
    use FailureClass::{Permanent, Transient};
    use Style::{Handle, Typed};
    let complete = |fence| Complete { fence, result: None, at: None };
    let renew = |style| Renew { fence: fence(style), ttl_ms: 500 };
    let cancel = Cancel { fence: fence(Handle), execution_id: id(), reason: "r".into() };
    let given = || RetryRule::Given(Some(RetryPolicy::default()));
    let claimable: Decide = Box::new(|_, core| {
        let eligible = claim("main", &[], 1).eligible(TimestampMs(NOW));
        let accepted = core.is_some_and(|core| eligible.accepts(&core.row(), &Held::default()));
        if accepted { "-> active/active".into() } else { "not picked".into() }
    });
    let progress = Progress { fence: fence(Handle), percent: Some(1), message: None };
    let delay = Delay { fence: fence(Handle), until: TimestampMs(NOW + 1) };
    let frame = Frame::new(b"a".to_vec(), FrameKind::Stdout);
    let append = Append::new(fence(Handle), &frame, true).unwrap();
    let record = RecordStep::new(fence(Handle), NewStep::new(0, "charge", Vec::new())).unwrap();
    let resume = ResumeExecutionArgs {
        execution_id: id(),
        trigger_type: "operator".into(),
        resume_delay_ms: 0,
    };
    let now = TimestampMs(NOW);
    let priority =
        ChangePriorityArgs { execution_id: id(), new_priority: 9, lane_id: "main".into(), now };
    let replay = ReplayExecutionArgs { execution_id: id(), now };
    let revocation = RevokeLeaseArgs {
        execution_id: id(),
        expected_lease_id: None,
        worker_instance_id: WorkerInstanceId::new(""),
        reason: "r".into(),
    };
    vec![
        ("claim", claimable),
        ("renew", operation(renew(Handle))),
        ("renew_lease", operation(renew(Typed))),
        ("progress", operation(progress)),
        ("complete", operation(complete(fence(Handle)))),
        ("complete_execution", operation(complete(fence(Typed)))),
        ("complete_execution, overriding", operation(complete(overriding()))),
        ("fail, permanent", operation(fail(fence(Handle), RetryRule::ByClass(Permanent, None)))),
        ("fail, transient", operation(fail(fence(Handle), RetryRule::ByClass(Transient, None)))),
        ("fail_execution, no policy", operation(fail(fence(Typed), RetryRule::Given(None)))),
        ("fail_execution, retrying", operation(fail(fence(Typed), given()))),
        ("fail_execution, retrying, overriding", operation(fail(overriding(), given()))),
        ("append_frame", operation(append)),
        ("record_step", operation(record)),
        ("resume_execution", operation(Resume::new(&resume).unwrap())),
        ("claim_resumed_execution", operation(claim_resumed())),
        ("issue_grant_and_claim", operation(by_operator())),
        ("expire_suspension", operation(ExpireSuspension { key: key(), at: None })),
        ("delay", operation(delay)),
        ("cancel", operation(cancel)),
        ("cancel_execution, operator", operation(by_id(CancelSource::OperatorOverride, None))),
        ("cancel_execution, lease holder", operation(by_id(CancelSource::LeaseHolder, Some(3)))),
        ("cancel_execution, no epoch", operation(by_id(CancelSource::FlowCascade, None))),
        ("change_priority", operation(ChangePriority::new(&priority).unwrap())),
        ("revoke_lease", operation(RevokeLease::new(BackendTag::Memory, revocation).unwrap())),
        ("replay_execution", operation(Replay::new(&replay).unwrap())),
        ("unblock_execution", operation(Unblock::new(&id(), "", TimestampMs(NOW)).unwrap())),
        ("wait_children, alone", operation(WaitChildren { fence: fence(Handle) })),
        ("wait_for_child, unknown", operation(awaited())),
        ("set_execution_tag", operation(SetTag::new(&id(), "a.b", "c").unwrap())),
        ("mark_lease_expired_if_due", operation(ExpireLease { key: key(), expected: None })),
        ("mark_worker_dead, its lease", operation(lost())),
        ("scan of silent workers, a lease", operation(silent())),
        ("expire_execution, attempt timeout", operation(ExpireAttempt { key: key(), at: None })),
        ("expire_execution, deadline", operation(ExpireExecution { key: key(), at: None })),
        ("promote_delayed", operation(Promote { key: key(), at: None })),
        ("issue_claim_grant", operation(grant::issued())),
        ("claim_execution", operation(grant::redeemed())),
        ("block_route", operation(grant::blocked())),
        ("block_execution_for_admission", operation(grant::blocked_for_budget())),
        ("issue_reclaim_grant", operation(grant::reclaim_issued())),
        ("reclaim_execution", operation(grant::reclaimed(None))),
        ("reclaim_execution, none allowed", operation(grant::reclaimed(Some(0)))),
        ("claim_from_resume_grant", operation(takeover::by_token())),
        ("trim_retention, its execution", operation(TrimExecution::new(&ended()))),
        ("reconcile_execution_index, its repair", operation(Repair(drifted()))),
        ("import_record", Box::new(|stored, _| imports(stored))),
    ]
}

/// The wait for an execution of which there is no row.
fn awaited() -> AwaitChild {
    let child = uuid::Uuid::from_u128(0xC41D);
    let child = ExecutionId::from_parts(id().partition(), child);
    AwaitChild::new(fence(Style::Handle), &child).unwrap()
}

/// The lease of the worker that the rows name, which is dead.
fn lost() -> LapseOfLost {
    let lease = LostLease { key: key(), namespace: None, losses: None, expires_at_ms: None };
    LapseOfLost { worker: LostWorker::Dead(worker_key(), TimestampMs(NOW)), lease }
}

/// A lease of the worker that the rows name, which is silent.
fn silent() -> LapseOfLost {
    let lease = LostLease { key: key(), namespace: None, losses: None, expires_at_ms: None };
    LapseOfLost { worker: LostWorker::Silent(worker_key(), liveness()), lease }
}

fn worker_key() -> WorkerKey {
    WorkerKey { partition: 1, namespace: "acme".into(), instance: "w1".into() }
}

fn liveness() -> Liveness {
    Liveness { last_ms: NOW - 100, ttl_ms: 100, swept_at_ms: None }
}

/// The row of the silent worker.
fn silent_worker() -> RowOf {
    worker_row(&worker_key(), liveness())
}

/// An ended execution, as retention lists it.
fn ended() -> Ended {
    let row = core_row().in_state(Status::terminal(TerminalOutcome::Success));
    let by_key = ByKey { after: (key().partition, uuid::Uuid::nil()), within_partition: true };
    let page = outcome(&by_key, &Stored::of(&row.with(exec_core::terminal_at_ms, Some(NOW))));
    page.ended.into_iter().next().unwrap().1
}

/// The import of an archived execution.
fn imports(stored: &Stored) -> String {
    let row = core_row().in_state(Status::terminal(TerminalOutcome::Success));
    let record = Record {
        at: 1,
        subject: Subject::Execution(key()),
        is_part: false,
        members: None,
        rows: vec![(exec_core::REF, vec![row.with(exec_core::terminal_at_ms, Some(NOW)).row()])],
    };
    let run = ImportRun { taken_up_to: [].into() };
    match decide(&ImportRecord::new(&record, &run, PartitionConfig::default()).unwrap(), stored) {
        Decided::Plan(plan, _) => effect(&plan),
        Decided::Answer(answer) => format!("{answer:?}"),
        Decided::Refused(error) => refusal(&error),
    }
}

/// An execution that was found to have drifted.
fn drifted() -> Drifted {
    Drifted { key: key(), version: 9, public: PublicState::Waiting, since_ms: NOW }
}

fn by_operator() -> ClaimByOperator {
    ClaimByOperator::new(IssueGrantAndClaimArgs::new(id(), "main".into(), 1_000)).unwrap()
}

fn claim_resumed() -> ClaimResumed {
    let args = ClaimResumedExecutionArgs {
        execution_id: id(),
        worker_id: WorkerId::new("pool"),
        worker_instance_id: WorkerInstanceId::new("w2"),
        lane_id: "main".into(),
        lease_id: LeaseId::from_uuid(LEASE_ID),
        lease_ttl_ms: 1_000,
        current_attempt_index: AttemptIndex(0),
        remaining_attempt_timeout_ms: None,
        now: TimestampMs(NOW),
    };
    ClaimResumed::new(BackendTag::Memory, args).unwrap()
}

/// The suspension that the execution is in or was in last: out of time, so that giving up is
/// decided by the state alone.
fn suspension() -> RowOf {
    blank()
        .with(suspension_current::partition_key, key().partition)
        .with(suspension_current::execution_id, key().uuid)
        .with(suspension_current::suspension_id, uuid::Uuid::nil())
        .with(suspension_current::suspended_at_ms, NOW - 9)
        .with(suspension_current::condition, json!("OperatorOnly"))
        .with(suspension_current::member_map, json!({}))
        .with(suspension_current::resume_policy, None)
        .with(suspension_current::timeout_at_ms, Some(NOW - 1))
        .with(suspension_current::timeout_behavior, Some("expire".into()))
        .with(suspension_current::signal_count, 0)
        .with(suspension_current::version, 1)
}

#[test]
fn every_operation_on_every_state() {
    let (lifecycles, owners, leases) = (lifecycles(), OwnershipState::all(), leases());
    let sides = [
        Side { name: "lifecycle", values: lifecycles.iter().map(|(name, _)| *name).collect() },
        Side { name: "owner", values: owners.iter().map(|owner| owner.as_str()).collect() },
        Side { name: "lease", values: leases.iter().map(|(name, ..)| *name).collect() },
    ];
    let mut page = page::heading(&sides);
    let mut count = 0;
    for (name, decide) in operations() {
        let (lines, decisions) = page::lines(&sides, |at| {
            let ((_, core), owner, (_, current, attempts)) =
                (&lifecycles[at[0]], owners[at[1]], &leases[at[2]]);
            let core = core.clone().map(|core| {
                let core = core.with(exec_core::ownership_state, owner);
                core.with(exec_core::attempt_index, *current)
            });
            let stored = core.as_ref().map_or(Stored::nothing(), Stored::of);
            let stored = attempts.iter().fold(stored, Stored::and).with(&suspension());
            let stored = grant::stored().iter().fold(stored, Stored::with).with(&silent_worker());
            decide(&stored, core.as_ref())
        });
        count += decisions;
        writeln!(page, "\n{name}").unwrap();
        lines.iter().for_each(|line| writeln!(page, "  {line}").unwrap());
    }
    writeln!(page, "\n{count} decisions").unwrap();
    page::assert_reviewed("decision_table", &page);
}
