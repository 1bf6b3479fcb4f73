//! The states that rules write, and the public state of every stored one.

use std::fmt::Write;

use ff_core::rules::status::Status;
use ff_core::state::{
    AttemptState, BlockingReason, ClosedSet, EligibilityState, LifecyclePhase, OwnershipState,
    TerminalOutcome,
};
use ff_core::types::TimestampMs;
use insta::assert_snapshot;

#[test]
fn the_named_states() {
    let first = AttemptState::PendingFirstAttempt;
    let named = [
        ("waiting", Status::waiting(first)),
        ("resumable", Status::resumable()),
        ("suspended", Status::suspended(BlockingReason::WaitingForSignal)),
        ("delayed", Status::delayed(BlockingReason::WaitingForDelay, first, TimestampMs(9))),
        ("active", Status::active()),
        ("terminal success", Status::terminal(TerminalOutcome::Success)),
        ("terminal failed", Status::terminal(TerminalOutcome::Failed)),
        ("terminal cancelled", Status::terminal(TerminalOutcome::Cancelled)),
        ("terminal expired", Status::terminal(TerminalOutcome::Expired)),
        ("terminal skipped", Status::terminal(TerminalOutcome::Skipped)),
        ("cancelled", Status::cancelled()),
    ];
    let mut page = String::new();
    for (name, status) in named {
        let words = [
            status.phase.as_str(),
            status.ownership.as_str(),
            status.eligibility.as_str(),
            status.blocking.map_or("-", ClosedSet::as_str),
            status.attempt.map_or("", ClosedSet::as_str),
        ];
        writeln!(page, "{name}: {} => {}", words.join(" "), status.public().as_str()).unwrap();
    }
    assert_snapshot!(page, @r"
    waiting: runnable unowned eligible_now waiting_for_worker pending_first_attempt => waiting
    resumable: runnable unowned eligible_now waiting_for_worker attempt_interrupted => resumable
    suspended: suspended unowned not_applicable waiting_for_signal attempt_interrupted => suspended
    delayed: runnable unowned not_eligible_until_time waiting_for_delay pending_first_attempt => delayed
    active: active leased not_applicable - running_attempt => active
    terminal success: terminal unowned not_applicable - attempt_terminal => completed
    terminal failed: terminal unowned not_applicable - attempt_terminal => failed
    terminal cancelled: terminal unowned not_applicable - attempt_terminal => cancelled
    terminal expired: terminal unowned not_applicable - attempt_terminal => expired
    terminal skipped: terminal unowned not_applicable - attempt_terminal => skipped
    cancelled: cancelled unowned not_applicable - attempt_terminal => cancelled
    ");
}

#[test]
fn the_public_state_follows_from_phase_eligibility_and_outcome() {
    let mut page = String::new();
    for phase in LifecyclePhase::all() {
        for eligibility in EligibilityState::all() {
            let public = |outcome, ownership| {
                let blocking = None;
                let attempt = None;
                let resumable = false;
                let due = None;
                Status { phase, ownership, eligibility, blocking, outcome, attempt, resumable, due }
                    .public()
            };
            let told: Vec<_> = TerminalOutcome::all()
                .into_iter()
                .map(|outcome| {
                    let told = public(outcome, OwnershipState::Unowned);
                    for ownership in OwnershipState::all() {
                        assert_eq!(public(outcome, ownership), told, "ownership has no say");
                    }
                    told.as_str()
                })
                .collect();
            let mut distinct = told.clone();
            distinct.dedup();
            let told = if distinct.len() == 1 { distinct[0].to_owned() } else { told.join(" ") };
            let line = format!("{} | {} => {told}\n", phase.as_str(), eligibility.as_str());
            page.push_str(&line);
        }
    }
    assert_snapshot!(page, @r"
    submitted | eligible_now => waiting
    submitted | not_eligible_until_time => waiting
    submitted | blocked_by_dependencies => waiting
    submitted | blocked_by_budget => waiting
    submitted | blocked_by_quota => waiting
    submitted | blocked_by_route => waiting
    submitted | blocked_by_lane_state => waiting
    submitted | blocked_by_operator => waiting
    submitted | not_applicable => waiting
    runnable | eligible_now => waiting
    runnable | not_eligible_until_time => delayed
    runnable | blocked_by_dependencies => waiting_children
    runnable | blocked_by_budget => rate_limited
    runnable | blocked_by_quota => rate_limited
    runnable | blocked_by_route => waiting
    runnable | blocked_by_lane_state => waiting
    runnable | blocked_by_operator => waiting
    runnable | not_applicable => waiting
    active | eligible_now => active
    active | not_eligible_until_time => active
    active | blocked_by_dependencies => active
    active | blocked_by_budget => active
    active | blocked_by_quota => active
    active | blocked_by_route => active
    active | blocked_by_lane_state => active
    active | blocked_by_operator => active
    active | not_applicable => active
    suspended | eligible_now => suspended
    suspended | not_eligible_until_time => suspended
    suspended | blocked_by_dependencies => suspended
    suspended | blocked_by_budget => suspended
    suspended | blocked_by_quota => suspended
    suspended | blocked_by_route => suspended
    suspended | blocked_by_lane_state => suspended
    suspended | blocked_by_operator => suspended
    suspended | not_applicable => suspended
    terminal | eligible_now => failed completed failed cancelled expired skipped
    terminal | not_eligible_until_time => failed completed failed cancelled expired skipped
    terminal | blocked_by_dependencies => failed completed failed cancelled expired skipped
    terminal | blocked_by_budget => failed completed failed cancelled expired skipped
    terminal | blocked_by_quota => failed completed failed cancelled expired skipped
    terminal | blocked_by_route => failed completed failed cancelled expired skipped
    terminal | blocked_by_lane_state => failed completed failed cancelled expired skipped
    terminal | blocked_by_operator => failed completed failed cancelled expired skipped
    terminal | not_applicable => failed completed failed cancelled expired skipped
    cancelled | eligible_now => cancelled
    cancelled | not_eligible_until_time => cancelled
    cancelled | blocked_by_dependencies => cancelled
    cancelled | blocked_by_budget => cancelled
    cancelled | blocked_by_quota => cancelled
    cancelled | blocked_by_route => cancelled
    cancelled | blocked_by_lane_state => cancelled
    cancelled | blocked_by_operator => cancelled
    cancelled | not_applicable => cancelled
    ");
}
