//! Leases of named executions: under a resume token, and for an operator. Both take what a claim
//! could take, and nothing else.

use std::fmt::Write;

use ff_core::backend::BackendTag;
use ff_core::contracts::{IssueGrantAndClaimArgs, ResumeGrant, ResumeToken};
use ff_core::partition::{Partition, PartitionFamily, PartitionKey};
use ff_core::rules::execution::take::{ClaimByGrant, ClaimByOperator};
use ff_core::rules::status::Status;
use ff_core::schema::execution::attempt;
use ff_core::state::{AttemptState, BlockingReason, EligibilityState, TerminalOutcome};
use ff_core::types::{LaneId, TimestampMs, WorkerId, WorkerInstanceId};
use insta::assert_snapshot;
use uuid::Uuid;

use crate::stored::{Stored, attempt_row, core_row};
use crate::{Decided, NOW, decide, id};

pub(crate) fn by_token() -> ClaimByGrant {
    let family = PartitionFamily::Execution;
    let place = PartitionKey::from(Partition { family, index: id().partition() });
    let until = NOW.unsigned_abs() + 60_000;
    let grant = ResumeGrant::new(id(), place, "grant".into(), until, LaneId::new("main"));
    let (worker, instance) = (WorkerId::new("pool"), WorkerInstanceId::new("w2"));
    let token = ResumeToken::new(grant, worker, instance, 30_000);
    ClaimByGrant::new(BackendTag::Memory, token, Uuid::from_u128(0xC)).unwrap()
}

fn by_operator() -> ClaimByOperator {
    let lane = LaneId::new("main");
    ClaimByOperator::new(IssueGrantAndClaimArgs::new(id(), lane, 30_000)).unwrap()
}

fn states() -> Vec<(&'static str, Status)> {
    let waits = AttemptState::AttemptInterrupted;
    let blocked = |eligibility| Status { eligibility, ..Status::waiting(waits) };
    let until = TimestampMs(NOW + 10);
    vec![
        ("waiting", Status::waiting(waits)),
        ("resumable", Status::resumable()),
        ("active", Status::active()),
        ("delayed", Status::delayed(BlockingReason::WaitingForDelay, waits, until)),
        ("suspended", Status::suspended(BlockingReason::WaitingForSignal)),
        ("waits for others", Status::waiting_for_dependencies(waits)),
        ("blocked by an operator", blocked(EligibilityState::BlockedByOperator)),
        ("blocked by a route", blocked(EligibilityState::BlockedByRoute)),
        ("blocked by its lane", blocked(EligibilityState::BlockedByLaneState)),
        ("completed", Status::terminal(TerminalOutcome::Success)),
        ("cancelled", Status::cancelled()),
    ]
}

#[test]
fn a_named_lease_takes_what_a_claim_could_take() {
    let mut page = String::new();
    for (name, status) in states() {
        let stored = |expires: Option<i64>| {
            let attempt = attempt_row().with(attempt::lease_expires_at_ms, expires);
            Stored::of(&core_row().in_state(status)).and(&attempt)
        };
        let word = |decided: Decided| match decided {
            Decided::Plan(plan, _) => format!("takes it: {}", plan.name),
            Decided::Answer(answer) => answer,
            Decided::Refused(error) => error.to_string(),
        };

        let lapsed = word(decide(&by_token(), &stored(Some(NOW - 1))));
        let live = word(decide(&by_token(), &stored(Some(NOW + 1))));
        let operator = word(decide(&by_operator(), &stored(None)));
        writeln!(page, "{name}\n  token, lapsed: {lapsed}\n  token, live: {live}").unwrap();
        writeln!(page, "  operator: {operator}").unwrap();
    }
    assert_snapshot!(page, @r#"
    waiting
      token, lapsed: takes it: claim_from_resume_grant
      token, live: None
      operator: takes it: issue_grant_and_claim
    resumable
      token, lapsed: takes it: claim_from_resume_grant
      token, live: None
      operator: takes it: issue_grant_and_claim
    active
      token, lapsed: takes it: claim_from_resume_grant
      token, live: None
      operator: contention: ExecutionNotActive { terminal_outcome: "none", lease_epoch: "3", lifecycle_phase: "active", attempt_id: "00000000-0000-0000-0000-00000000000b" }
    delayed
      token, lapsed: contention: ExecutionNotLeaseable
      token, live: contention: ExecutionNotLeaseable
      operator: contention: ExecutionNotLeaseable
    suspended
      token, lapsed: contention: ExecutionNotLeaseable
      token, live: contention: ExecutionNotLeaseable
      operator: contention: ExecutionNotActive { terminal_outcome: "none", lease_epoch: "3", lifecycle_phase: "suspended", attempt_id: "00000000-0000-0000-0000-00000000000b" }
    waits for others
      token, lapsed: contention: ExecutionNotLeaseable
      token, live: contention: ExecutionNotLeaseable
      operator: contention: ExecutionNotLeaseable
    blocked by an operator
      token, lapsed: contention: ExecutionNotLeaseable
      token, live: contention: ExecutionNotLeaseable
      operator: contention: ExecutionNotLeaseable
    blocked by a route
      token, lapsed: contention: ExecutionNotLeaseable
      token, live: contention: ExecutionNotLeaseable
      operator: contention: ExecutionNotLeaseable
    blocked by its lane
      token, lapsed: contention: ExecutionNotLeaseable
      token, live: contention: ExecutionNotLeaseable
      operator: contention: ExecutionNotLeaseable
    completed
      token, lapsed: contention: ExecutionNotLeaseable
      token, live: contention: ExecutionNotLeaseable
      operator: contention: ExecutionNotActive { terminal_outcome: "none", lease_epoch: "3", lifecycle_phase: "terminal", attempt_id: "00000000-0000-0000-0000-00000000000b" }
    cancelled
      token, lapsed: contention: ExecutionNotLeaseable
      token, live: contention: ExecutionNotLeaseable
      operator: contention: ExecutionNotActive { terminal_outcome: "cancelled", lease_epoch: "3", lifecycle_phase: "cancelled", attempt_id: "00000000-0000-0000-0000-00000000000b" }
    "#);
}
