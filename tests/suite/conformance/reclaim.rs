//! Reclaiming: another worker takes over what a lost worker held, as often as the cap allows.

use ff_core::backend::HandleKind;
use ff_core::contracts::{
    IssueReclaimGrantArgs, IssueReclaimGrantOutcome, ReclaimExecutionArgs, ReclaimExecutionOutcome,
};
use ff_core::engine_backend::Scan;
use ff_core::policy::ExecutionPolicy;
use ff_core::state::PublicState;
use ff_core::types::ExecutionId;

use crate::backends::{Bench, START, conformance};
use crate::bench::{ACTIVE, FAILED, TTL, assert_refused, id, payload_of};
use crate::granted::{ATTEMPT, GRANT_TTL, LEASE};
use crate::plain::{int, text};

const LAPSED: &str = "active lease_expired_reclaimable not_applicable active running_attempt -";
const REVOKED: &str = "active lease_revoked not_applicable active running_attempt -";

fn capped(most: u32) -> ExecutionPolicy {
    ExecutionPolicy { max_reclaim_count: most, ..ExecutionPolicy::default() }
}

/// An execution by hand, whose owner column says that the lease is lost, whatever its expiry.
async fn lost_by_hand(bench: &Bench, states: &str, count: i64) -> ExecutionId {
    let id = id();
    bench.insert_core(&id, states, vec![("lease_reclaim_count", int(count))]).await;
    let lease = vec![
        ("worker_id", text("old")),
        ("worker_instance_id", text("old-1")),
        ("lease_expires_at_ms", int(START + 600_000)),
    ];
    bench.insert_attempt(&id, 0, 1, lease).await;
    id
}

async fn issue(bench: &Bench, id: &ExecutionId) -> IssueReclaimGrantOutcome {
    bench.backend.issue_reclaim_grant(bench.reclaim_grant(id, "w")).await.unwrap()
}

async fn reclaim(bench: &Bench, id: &ExecutionId, most: Option<u32>) -> ReclaimExecutionOutcome {
    bench.backend.reclaim_execution(bench.reclamation(id, "w", most)).await.unwrap()
}

fn not_found(id: &ExecutionId) -> ReclaimExecutionOutcome {
    ReclaimExecutionOutcome::GrantNotFound { execution_id: id.clone() }
}

#[track_caller]
fn assert_not_reclaimable(outcome: &IssueReclaimGrantOutcome, phase: &str, owner: &str) {
    let IssueReclaimGrantOutcome::NotReclaimable { detail, .. } = outcome else {
        panic!("{outcome:?}")
    };
    let expected =
        format!("execution not reclaimable: lifecycle_phase={phase}, ownership_state={owner}");
    assert_eq!(*detail, expected);
}

/// The execution has ended because its worker was lost that often.
async fn given_up(bench: &Bench, id: &ExecutionId, lost: u32) {
    let core = bench.core(id).await;
    assert_eq!(core.states(), FAILED);
    assert_eq!(core.int("lease_reclaim_count"), Some(i64::from(lost)));
    let attempt = bench.attempts(id).await.pop().unwrap();
    assert_eq!(attempt.text("outcome"), "interrupted_reclaimed");
    let times = if lost == 1 { "once".to_owned() } else { format!("{lost} times") };
    assert_eq!(attempt.text("failure_message"), format!("its worker was lost {times}"));
    assert_eq!((attempt.text("worker_id"), attempt.text("worker_instance_id")), ("-", "-"));
    assert_eq!(attempt.int("lease_expires_at_ms"), None);
    assert_eq!(bench.completions(id).await, ["failed"]);
}

conformance! {
    async fn a_lapsed_lease_is_reclaimed_in_a_new_attempt(bench) {
        let (id, old) = bench.leased().await;
        assert_not_reclaimable(&issue(&bench, &id).await, "active", "leased");
        bench.clock.advance(TTL);
        let handle = bench.reclaimed(&id, "w").await;

        assert_eq!(handle.kind, HandleKind::Reclaimed);
        let held = payload_of(&handle);
        assert_eq!((held.attempt_index.0, held.lease_epoch.0), (1, 2));
        assert_eq!((held.lease_id.0, held.attempt_id.0), (LEASE, ATTEMPT));
        let core = bench.core(&id).await;
        assert_eq!(core.states(), ACTIVE);
        assert_eq!((core.int("attempt_index"), core.int("lease_reclaim_count")), (Some(1), Some(1)));
        let lost = bench.attempt(&id, 0).await;
        assert_eq!(lost.text("outcome"), "interrupted_reclaimed");
        assert_eq!((lost.text("worker_id"), lost.text("worker_instance_id")), ("-", "-"));
        assert_eq!(lost.int("lease_expires_at_ms"), None);
        assert_eq!(bench.lease_events(&id).await, ["acquired", "reclaimed"]);
        assert!(bench.grants(&id).await.is_empty());

        // No scanner finds the old lease, and the old worker changes nothing.
        for scan in [Scan::LeaseExpiry, Scan::AttemptTimeout] {
            assert_eq!(bench.backend.scan(scan, 10).await.unwrap().processed, 0);
        }
        assert!(bench.backend.complete(&old, None).await.is_err());
        assert_eq!(reclaim(&bench, &id, None).await, not_found(&id));
        bench.backend.renew(&handle).await.unwrap();
        bench.backend.complete(&handle, None).await.unwrap();
    }

    async fn a_lapse_that_a_scanner_has_counted_is_not_counted_again(bench) {
        let policy = capped(1);
        let (id, _) = bench.leased_with(&|args| args.policy = Some(policy.clone())).await;
        bench.clock.advance(TTL);
        assert_eq!(bench.backend.scan(Scan::LeaseExpiry, 10).await.unwrap().processed, 1);
        let handle = bench.reclaimed(&id, "w").await;
        let held = payload_of(&handle);
        assert_eq!((held.attempt_index.0, held.lease_epoch.0), (1, 3));
        let core = bench.core(&id).await;
        assert_eq!((core.states().as_str(), core.int("lease_reclaim_count")), (ACTIVE, Some(1)));
        assert_eq!(bench.lease_events(&id).await, ["acquired", "expired", "reclaimed"]);
    }

    async fn work_that_kills_each_worker_that_takes_it_over_ends(bench) {
        // Twice it may be lost: noticed by a scanner, by a worker that reclaims, in any order.
        for by_scanner in [[true, false, true], [false, true, false], [false, false, false]] {
            let policy = capped(2);
            let (id, _) = bench.leased_with(&|args| args.policy = Some(policy.clone())).await;
            for (lost, scanned) in by_scanner[..2].iter().enumerate() {
                bench.clock.advance(TTL);
                if *scanned {
                    bench.backend.scan(Scan::LeaseExpiry, 10).await.unwrap();
                    bench.claim().await;
                } else {
                    bench.reclaimed(&id, "w").await;
                }
                let count = i64::try_from(lost).unwrap() + 1;
                assert_eq!(bench.core(&id).await.int("lease_reclaim_count"), Some(count));
            }

            bench.clock.advance(TTL);
            if by_scanner[2] {
                bench.backend.scan(Scan::LeaseExpiry, 10).await.unwrap();
            } else {
                let refused = issue(&bench, &id).await;
                let IssueReclaimGrantOutcome::ReclaimCapExceeded { reclaim_count, .. } = refused
                else {
                    panic!("{refused:?}")
                };
                assert_eq!(reclaim_count, 2);
                bench.insert_grant(&id, "reclaim", Vec::new()).await;
                let over = reclaim(&bench, &id, None).await;
                let execution_id = id.clone();
                let expected =
                    ReclaimExecutionOutcome::ReclaimCapExceeded { execution_id, reclaim_count: 3 };
                assert_eq!(over, expected);
                given_up(&bench, &id, 3).await;
            }
            let info = bench.backend.read_execution_info(&id).await.unwrap().unwrap();
            assert_eq!(info.public_state, PublicState::Failed);
            let attempt = bench.attempts(&id).await.pop().unwrap();
            assert_eq!(attempt.text("failure_message"), "its worker was lost 3 times");
            assert!(bench.try_claim().await.is_none());
        }
    }

    async fn plain_rows_whose_owner_is_lost_are_reclaimed(bench) {
        for (states, count, after) in [(LAPSED, 0, 1), (REVOKED, 4, 5), (LAPSED, -1, 1)] {
            let id = lost_by_hand(&bench, states, count).await;
            let IssueReclaimGrantOutcome::Granted(grant) = issue(&bench, &id).await else {
                panic!("{states}")
            };
            assert_eq!(grant.expires_at_ms, u64::try_from(START + GRANT_TTL).unwrap());
            let ReclaimExecutionOutcome::Claimed(handle) = reclaim(&bench, &id, None).await else {
                panic!("{states}")
            };
            let held = payload_of(&handle);
            assert_eq!((held.attempt_index.0, held.lease_epoch.0), (1, 2));
            let core = bench.core(&id).await;
            assert_eq!((core.states().as_str(), core.int("lease_reclaim_count")), (ACTIVE, Some(after)));
            bench.backend.complete(&handle, None).await.unwrap();
        }
    }

    async fn epochs_grow_across_reclaims(bench) {
        let (id, _) = bench.leased().await;
        for round in 1..=3 {
            bench.clock.advance(TTL);
            let held = payload_of(&bench.reclaimed(&id, "w").await);
            assert_eq!((held.attempt_index.0, held.lease_epoch.0), (round, u64::from(round) + 1));
        }
    }

    async fn a_cap_of_the_call_counts_before_that_of_the_policy(bench) {
        for (count, most, reported) in [(5, 5, 6), (4, 4, 5), (0, 0, 1), (-3, 0, 1)] {
            let id = lost_by_hand(&bench, LAPSED, count).await;
            issue(&bench, &id).await;
            let execution_id = id.clone();
            let expected =
                ReclaimExecutionOutcome::ReclaimCapExceeded { execution_id, reclaim_count: reported };
            assert_eq!(reclaim(&bench, &id, Some(most)).await, expected);
            given_up(&bench, &id, reported).await;
            assert_eq!(bench.lease_events(&id).await, ["revoked"]);
            assert!(bench.grants(&id).await.is_empty());
        }

        let id = lost_by_hand(&bench, LAPSED, 4).await;
        issue(&bench, &id).await;
        let claimed = reclaim(&bench, &id, Some(5)).await;
        assert!(matches!(claimed, ReclaimExecutionOutcome::Claimed(_)), "{claimed:?}");
    }

    async fn by_default_a_thousand_are_too_many(bench) {
        let id = lost_by_hand(&bench, LAPSED, 1_000).await;
        let before = bench.everything().await;
        let execution_id = id.clone();
        let expected =
            IssueReclaimGrantOutcome::ReclaimCapExceeded { execution_id, reclaim_count: 1_000 };
        assert_eq!(issue(&bench, &id).await, expected);
        assert_eq!(bench.everything().await, before);
        let id = lost_by_hand(&bench, LAPSED, 999).await;
        assert!(matches!(issue(&bench, &id).await, IssueReclaimGrantOutcome::Granted(_)));
    }

    async fn an_execution_without_attempts_is_reclaimed_too(bench) {
        for most in [None, Some(0)] {
            let id = id();
            bench.insert_core(&id, LAPSED, Vec::new()).await;
            issue(&bench, &id).await;
            match reclaim(&bench, &id, most).await {
                ReclaimExecutionOutcome::Claimed(handle) => {
                    let held = payload_of(&handle);
                    assert_eq!((held.attempt_index.0, held.lease_epoch.0), (1, 1));
                }
                ReclaimExecutionOutcome::ReclaimCapExceeded { reclaim_count, .. } => {
                    assert_eq!((most, reclaim_count), (Some(0), 1));
                    given_up(&bench, &id, 1).await;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    async fn the_grant_decides_first(bench) {
        let id = lost_by_hand(&bench, LAPSED, 0).await;
        assert_eq!(reclaim(&bench, &id, None).await, not_found(&id));
        bench.insert_grant(&id, "claim", Vec::new()).await;
        assert_eq!(reclaim(&bench, &id, None).await, not_found(&id));
        bench.insert_grant(&id, "reclaim", vec![("worker_id", text("x"))]).await;
        assert_refused(
            bench.backend.reclaim_execution(bench.reclamation(&id, "w", None)).await,
            "validation: InvalidInput: reclaim_execution: grant.worker_id=x != args.worker_id=w",
        );
        let newer = vec![("issued_at_ms", int(START + 1)), ("expires_at_ms", int(START))];
        bench.insert_grant(&id, "reclaim", newer).await;
        assert_eq!(reclaim(&bench, &id, None).await, not_found(&id), "the latest has lapsed");

        let absent = crate::bench::id();
        assert_eq!(reclaim(&bench, &absent, None).await, not_found(&absent));
        bench.insert_grant(&absent, "reclaim", Vec::new()).await;
        let refused = bench.backend.reclaim_execution(bench.reclamation(&absent, "w", None)).await;
        assert_refused(refused, "not found: execution");
        let unknown = crate::bench::id();
        let refused = bench.backend.issue_reclaim_grant(bench.reclaim_grant(&unknown, "w")).await;
        assert_refused(refused, "not found: execution");
    }

    async fn what_has_ended_or_goes_on_is_not_reclaimed(bench) {
        let id = lost_by_hand(&bench, LAPSED, 0).await;
        issue(&bench, &id).await;
        bench.set_core(&id, vec![("lifecycle_phase", text("terminal"))]).await;
        let before = bench.everything().await;
        let ReclaimExecutionOutcome::NotReclaimable { detail, .. } = reclaim(&bench, &id, None).await
        else {
            panic!("it has ended")
        };
        assert_eq!(detail, "execution terminal: lifecycle_phase=terminal");
        assert_eq!(bench.everything().await, before, "the grant stays");

        // Renewed between the grant and its use.
        let (id, handle) = bench.leased().await;
        bench.clock.advance(TTL);
        issue(&bench, &id).await;
        bench.backend.scan(Scan::LeaseExpiry, 10).await.unwrap();
        let taken = bench.claim().await;
        let outcome = reclaim(&bench, &id, None).await;
        let ReclaimExecutionOutcome::NotReclaimable { detail, .. } = outcome else {
            panic!("{outcome:?}")
        };
        let expected = "execution not reclaimable: lifecycle_phase=active, ownership_state=leased";
        assert_eq!(detail, expected);
        assert!(bench.backend.complete(&handle, None).await.is_err());
        bench.backend.complete(&taken, None).await.unwrap();

        let waiting = bench.create().await;
        assert_not_reclaimable(&issue(&bench, &waiting).await, "runnable", "unowned");
    }

    async fn what_the_lost_worker_waited_for_is_closed(bench) {
        bench.seed().await;
        let (id, handle) = bench.leased().await;
        let day = std::time::Duration::from_secs(86_400);
        bench.backend.create_waitpoint(&handle, "a", day).await.unwrap();
        bench.clock.advance(TTL);
        let taken = bench.reclaimed(&id, "w").await;
        let waitpoints = bench.of("ff_waitpoint_pending", &id).await;
        assert!(waitpoints.iter().all(|row| row.text("state") == "closed"), "{waitpoints:?}");
        bench.backend.complete(&taken, None).await.unwrap();
    }

    async fn bad_input_is_refused_and_names_the_field(bench) {
        let id = lost_by_hand(&bench, LAPSED, 0).await;
        issue(&bench, &id).await;
        let before = bench.everything().await;
        type Issue = fn(&mut IssueReclaimGrantArgs);
        let spoils: [(Issue, &str); 4] = [
            (|args| args.grant_ttl_ms = 0, "grant_ttl_ms: must be positive"),
            (|args| args.worker_id = "".into(), "worker_id: must not be empty"),
            (|args| args.route_snapshot_json = Some("\0".into()), "route_snapshot_json: must not"),
            (|args| args.admission_summary = Some("\0".into()), "admission_summary: must not"),
        ];
        for (spoil, expected) in spoils {
            let mut args = bench.reclaim_grant(&id, "w");
            spoil(&mut args);
            let error = bench.backend.issue_reclaim_grant(args).await.unwrap_err().to_string();
            assert!(error.starts_with(&format!("validation: InvalidInput: {expected}")), "{error}");
        }

        type Reclaim = fn(&mut ReclaimExecutionArgs);
        let spoils: [(Reclaim, &str); 3] = [
            (|args| args.lease_ttl_ms = 0, "lease_ttl_ms: must be positive"),
            (|args| args.attempt_policy_json = "[1]".into(), "attempt_policy_json: has no effect"),
            (|args| args.worker_instance_id = "".into(), "worker_instance_id: must not be empty"),
        ];
        for (spoil, expected) in spoils {
            let mut args = bench.reclamation(&id, "w", None);
            spoil(&mut args);
            let error = bench.backend.reclaim_execution(args).await.unwrap_err().to_string();
            assert!(error.starts_with(&format!("validation: InvalidInput: {expected}")), "{error}");
        }
        assert_eq!(bench.everything().await, before);
    }
}
