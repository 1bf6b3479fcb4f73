//! Grants to claim: issued to one worker, redeemed once, and no obstacle once they lapse.

use ff_core::backend::{BackendTag, HandleKind};
use ff_core::contracts::{
    ClaimExecutionArgs, ClaimGrant, IssueClaimGrantArgs, ScanEligibleArgs, SetLaneStateArgs,
};
use ff_core::engine::run;
use ff_core::engine_backend::Scan;
use ff_core::rules::grant::key::grant_id;
use ff_core::rules::grant::verify::{Unverified, VerifyGrant};
use ff_core::state::{AttemptType, LaneState};
use ff_core::types::{AttemptIndex, ExecutionId, LaneId, TimestampMs};

use crate::backends::{Bench, START, conformance};
use crate::bench::{
    ACTIVE, TTL, WAITING, assert_not_active, assert_refused, id, id_in, lane, partition,
    payload_of, requiring,
};
use crate::granted::{ATTEMPT, GRANT_TTL, LEASE};
use crate::plain::{int, text};
use crate::race::executor;

async fn granted(bench: &Bench, worker: &str) -> ExecutionId {
    let id = bench.create().await;
    bench.backend.issue_claim_grant(bench.grant(&id, worker, &[])).await.unwrap();
    id
}

/// An execution by hand, as a scheduler of the reference leaves it: granted by a row alone.
async fn granted_by_hand(bench: &Bench, states: &str) -> ExecutionId {
    let id = id();
    bench.insert_core(&id, states, Vec::new()).await;
    bench.insert_grant(&id, "claim", Vec::new()).await;
    id
}

async fn eligible(bench: &Bench, partition_of: &ExecutionId, limit: u32) -> Vec<ExecutionId> {
    let args = ScanEligibleArgs::new(lane(), partition(partition_of), limit);
    bench.backend.scan_eligible_executions(args).await.unwrap()
}

conformance! {
    async fn a_grant_is_redeemed_once_by_its_worker(bench) {
        let id = granted(&bench, "a").await;
        let core = bench.core(&id).await;
        assert_eq!(core.states(), WAITING, "a grant is no state");
        assert_eq!(core.int("granted_until_ms"), Some(START + GRANT_TTL));
        let grant = bench.grants(&id).await.remove(0);
        assert_eq!((grant.text("kind"), grant.text("worker_instance_id")), ("claim", "a-1"));
        assert!(bench.try_claim().await.is_none(), "other workers pass over it");

        let claimed = bench.redeemed(&id, "a").await;
        assert_eq!((claimed.lease_id.0, claimed.attempt_id.0), (LEASE, ATTEMPT));
        assert_eq!((claimed.lease_epoch.0, claimed.attempt_index.0), (1, 0));
        assert_eq!(claimed.attempt_type, AttemptType::Initial);
        assert_eq!(claimed.lease_expires_at, TimestampMs(START + TTL));
        let core = bench.core(&id).await;
        assert_eq!((core.states().as_str(), core.int("granted_until_ms")), (ACTIVE, None));
        assert_eq!(core.int("total_attempt_count"), Some(1));
        assert_eq!(bench.attempt(&id, 0).await.uuid("lease_id"), Some(LEASE));
        assert!(bench.grants(&id).await.is_empty(), "a redeemed grant is gone");
        assert_eq!(bench.lease_events(&id).await, ["acquired"]);
        let second = bench.backend.claim_execution(bench.redemption(&id, "a")).await;
        assert_not_active(second, "active");

        assert_eq!(claimed.handle.kind, HandleKind::Fresh);
        bench.backend.renew(&claimed.handle).await.unwrap();
        bench.backend.complete(&claimed.handle, None).await.unwrap();
        assert_not_active(
            bench.backend.claim_execution(bench.redemption(&id, "a")).await,
            "terminal",
        );
    }

    async fn a_grant_that_lapses_hides_nothing(bench) {
        let id = granted(&bench, "a").await;
        bench.clock.advance(GRANT_TTL - 1);
        assert!(bench.try_claim().await.is_none());
        let twice = bench.backend.issue_claim_grant(bench.grant(&id, "b", &[])).await;
        assert_refused(twice, "state: GrantAlreadyExists");
        bench.clock.advance(1);
        let late = bench.backend.claim_execution(bench.redemption(&id, "a")).await;
        assert_refused(late, "contention: ClaimGrantExpired");
        assert_eq!(bench.backend.scan(Scan::GrantExpiry, 10).await.unwrap().processed, 1);
        assert!(bench.grants(&id).await.is_empty());
        assert_eq!(bench.core(&id).await.states(), WAITING, "nothing is put back");
        let handle = bench.claim().await;
        assert_eq!(payload_of(&handle).execution_id, id);
    }

    async fn what_is_granted_comes_behind_what_is_claimable(bench) {
        let first = granted(&bench, "a").await;
        let mut behind = Vec::new();
        for _ in 0..3 {
            bench.clock.advance(1);
            behind.push(bench.create().await);
        }
        bench.clock.advance(GRANT_TTL);
        behind.push(bench.create().await);
        let last = behind.pop().unwrap();
        behind.extend([first, last]);
        for expected in behind {
            assert_eq!(payload_of(&bench.claim().await).execution_id, expected);
        }
    }

    async fn a_lapsed_grant_is_issued_again(bench) {
        let id = granted(&bench, "a").await;
        bench.clock.advance(GRANT_TTL);
        bench.backend.issue_claim_grant(bench.grant(&id, "b", &[])).await.unwrap();
        let late = bench.backend.claim_execution(bench.redemption(&id, "a")).await;
        assert_refused(late, "contention: ClaimGrantExpired");
        bench.redeemed(&id, "b").await;
        assert!(bench.grants(&id).await.is_empty(), "every grant of it is spent");
    }

    async fn plain_rows_are_redeemed(bench) {
        let id = granted_by_hand(&bench, WAITING).await;
        assert_eq!(bench.core(&id).await.int("granted_until_ms"), None);
        // The instance of the grant is another one.
        let claimed = bench.redeemed(&id, "w").await;
        assert_eq!((claimed.lease_epoch.0, claimed.attempt_index.0), (1, 0));
        assert!(bench.grants(&id).await.is_empty());
        bench.backend.complete(&claimed.handle, None).await.unwrap();
    }

    async fn plain_rows_refuse_in_order(bench) {
        let unknown = bench.backend.claim_execution(bench.redemption(&id(), "w")).await;
        assert_refused(unknown, "not found: execution");

        let free = id();
        bench.insert_core(&free, WAITING, Vec::new()).await;
        let of = |id: &ExecutionId, worker| bench.backend.claim_execution(bench.redemption(id, worker));
        assert_refused(of(&free, "w").await, "contention: InvalidClaimGrant");
        bench.insert_grant(&free, "reclaim", Vec::new()).await;
        assert_refused(of(&free, "w").await, "contention: InvalidClaimGrant");
        bench.insert_grant(&free, "claim", vec![("worker_id", text("x"))]).await;
        assert_refused(of(&free, "w").await, "contention: InvalidClaimGrant");
        bench.insert_grant(&free, "claim", vec![("expires_at_ms", int(START))]).await;
        assert_refused(of(&free, "w").await, "contention: ClaimGrantExpired");
        assert_eq!(bench.grants(&free).await.len(), 3, "a refusal changes nothing");

        let ended = granted_by_hand(&bench, crate::bench::COMPLETED).await;
        assert_not_active(of(&ended, "w").await, "terminal");
        let leased = WAITING.replace("unowned", "leased");
        let leased = granted_by_hand(&bench, &leased).await;
        assert_refused(of(&leased, "w").await, "contention: LeaseConflict");
        let blocked = WAITING.replace("eligible_now", "blocked_by_dependencies");
        let blocked = granted_by_hand(&bench, &blocked).await;
        assert_refused(of(&blocked, "w").await, "contention: ExecutionNotLeaseable");
    }

    async fn a_grant_without_an_expiry_does_not_lapse(bench) {
        let id = id();
        bench.insert_core(&id, WAITING, Vec::new()).await;
        bench.insert_grant(&id, "claim", vec![("expires_at_ms", int(0))]).await;
        assert_eq!(bench.backend.scan(Scan::GrantExpiry, 10).await.unwrap().processed, 0);
        bench.redeemed(&id, "w").await;
    }

    async fn limits_that_the_worker_brings_count(bench) {
        let id = granted(&bench, "a").await;
        let mut args = bench.redemption(&id, "a");
        args.attempt_timeout_ms = Some(700);
        args.execution_deadline_at = Some(START + 900);
        bench.backend.claim_execution(args).await.unwrap();
        assert_eq!(bench.attempt(&id, 0).await.int("timeout_at_ms"), Some(START + 700));
        assert_eq!(bench.core(&id).await.int("deadline_at_ms"), Some(START + 900));
    }

    async fn a_retry_is_redeemed_as_one(bench) {
        let id = bench.create().await;
        let handle = bench.claim().await;
        let transient = ff_core::backend::FailureClass::Transient;
        let reason = ff_core::backend::FailureReason::new("r");
        bench.backend.fail(&handle, reason, transient).await.unwrap();
        bench.clock.advance(600_000);
        bench.backend.scan(Scan::DelayedPromotion, 10).await.unwrap();
        bench.backend.issue_claim_grant(bench.grant(&id, "a", &[])).await.unwrap();

        let first = bench.backend.claim_execution(bench.redemption(&id, "a")).await;
        assert_refused(
            first,
            "validation: InvalidInput: expected_attempt_index: 0, but the current attempt is 1",
        );
        let mut args = bench.redemption(&id, "a");
        args.expected_attempt_index = AttemptIndex(1);
        let result = bench.backend.claim_execution(args).await.unwrap();
        let ff_core::contracts::ClaimExecutionResult::Claimed(claimed) = result else {
            panic!("{result:?}")
        };
        assert_eq!(claimed.attempt_type, AttemptType::Retry);
        assert_eq!((claimed.lease_epoch.0, claimed.attempt_index.0), (2, 1));
    }

    async fn what_may_not_be_granted_is_refused(bench) {
        let id = bench.create().await;
        let issue = |args| bench.backend.issue_claim_grant(args);
        let unknown = issue(bench.grant(&crate::bench::id(), "a", &[])).await;
        assert_refused(unknown, "not found: execution");
        let mut other = bench.grant(&id, "a", &[]);
        other.lane_id = LaneId::new("other");
        assert_refused(
            issue(other).await,
            "validation: InvalidInput: lane_mismatch: args.lane_id=other exec_core.lane_id=work",
        );

        let delayed = bench
            .create_with(&|args| args.delay_until = Some(TimestampMs(START + 9_000)))
            .await;
        let refused = issue(bench.grant(&delayed, "a", &[])).await;
        assert_refused(refused, "contention: ExecutionNotLeaseable");
        let policy = requiring(&["gpu", "tpu"]);
        let picky = bench.create_with(&|args| args.policy = Some(policy.clone())).await;
        assert_refused(
            issue(bench.grant(&picky, "a", &["gpu"])).await,
            "validation: CapabilityMismatch: worker_capabilities: gpu, tpu are required",
        );
        issue(bench.grant(&picky, "a", &["x", "tpu", "gpu"])).await.unwrap();
        let grant = bench.grants(&picky).await.remove(0);
        assert_eq!(*grant.json("worker_capabilities"), serde_json::json!(["gpu", "tpu", "x"]));

        let claimed = payload_of(&bench.claim().await).execution_id;
        assert_eq!(claimed, id);
        assert_not_active(issue(bench.grant(&id, "a", &[])).await, "active");
    }

    async fn bad_input_is_refused_and_names_the_field(bench) {
        let id = bench.create().await;
        let before = bench.everything().await;
        type Spoil = fn(&mut IssueClaimGrantArgs);
        let spoils: [(Spoil, &str); 7] = [
            (|args| args.grant_ttl_ms = 0, "grant_ttl_ms: must be positive"),
            (|args| args.grant_ttl_ms = u64::MAX, "grant_ttl_ms: 18446744073709551615 exceeds"),
            (|args| args.worker_id = "a\0".into(), "worker_id: must not contain NUL"),
            (|args| args.worker_instance_id = "".into(), "worker_instance_id: must not be empty"),
            (|args| args.capability_hash = Some("\0".into()), "capability_hash: must not"),
            (
                |args| args.worker_capabilities = ["\0".to_owned()].into(),
                "worker_capabilities: must not contain NUL",
            ),
            (|args| args.partition.index += 1, "issue_claim_grant: partition mismatch"),
        ];
        for (spoil, expected) in spoils {
            let mut args = bench.grant(&id, "a", &[]);
            spoil(&mut args);
            let error = bench.backend.issue_claim_grant(args).await.unwrap_err().to_string();
            assert!(error.starts_with(&format!("validation: InvalidInput: {expected}")), "{error}");
        }

        type Spoiled = fn(&mut ClaimExecutionArgs);
        let spoils: [(Spoiled, &str); 5] = [
            (|args| args.lease_ttl_ms = 0, "lease_ttl_ms: must be positive"),
            (|args| args.attempt_timeout_ms = Some(0), "attempt_timeout_ms: must be positive"),
            (|args| args.execution_deadline_at = Some(-1), "execution_deadline_at: -1 is no time"),
            (|args| args.attempt_policy_json = "{\"a\":1}".into(), "attempt_policy_json: has no"),
            (|args| args.expected_attempt_index = AttemptIndex(u32::MAX), "attempt_index 42949"),
        ];
        for (spoil, expected) in spoils {
            let mut args = bench.redemption(&id, "a");
            spoil(&mut args);
            let error = bench.backend.claim_execution(args).await.unwrap_err().to_string();
            assert!(error.starts_with(&format!("validation: InvalidInput: {expected}")), "{error}");
        }
        assert_eq!(bench.everything().await, before);
    }

    async fn eligible_executions_are_listed_best_first(bench) {
        let mut expected = Vec::new();
        for number in 0..6 {
            let priority = number % 3;
            let id = bench
                .create_with(&|args| {
                    args.priority = priority;
                    args.execution_id = id_in(if number == 5 { 8 } else { 7 });
                })
                .await;
            bench.clock.advance(1);
            expected.push((-priority, number, id));
        }
        let (.., elsewhere) = expected.pop().unwrap();
        expected.sort();
        let ids: Vec<ExecutionId> = expected.into_iter().map(|(.., id)| id).collect();
        assert_eq!(eligible(&bench, &ids[0], 10).await, ids);
        assert_eq!(eligible(&bench, &ids[0], 2).await, ids[..2]);
        assert_eq!(eligible(&bench, &elsewhere, 10).await, [elsewhere]);
        assert!(eligible(&bench, &ids[0], 0).await.is_empty());

        bench.backend.issue_claim_grant(bench.grant(&ids[0], "a", &[])).await.unwrap();
        assert_eq!(eligible(&bench, &ids[0], 10).await, ids[1..], "what is granted is not listed");
        bench.clock.advance(GRANT_TTL);
        assert_eq!(eligible(&bench, &ids[0], 1).await, [ids[0].clone()]);
    }

    async fn the_scheduler_grants_what_the_worker_can_run(bench) {
        assert!(bench.scheduled("a", &["gpu"]).await.is_none());
        let policy = requiring(&["tpu"]);
        bench.create_with(&|args| args.policy = Some(policy.clone())).await;
        bench.clock.advance(1);
        let first = bench.create().await;
        bench.clock.advance(1);
        let second = bench.create().await;

        let grant = bench.scheduled("a", &["gpu"]).await.unwrap();
        assert_eq!(grant.execution_id, first);
        assert_eq!(grant.partition().unwrap(), ff_core::partition::Partition {
            family: ff_core::partition::PartitionFamily::Flow,
            index: first.partition(),
        });
        assert_eq!(grant.expires_at_ms, u64::try_from(START + 2 + GRANT_TTL).unwrap());
        assert_eq!(bench.core(&first).await.states(), WAITING);
        assert_eq!(bench.scheduled("b", &[]).await.unwrap().execution_id, second);
        assert!(bench.scheduled("c", &[]).await.is_none(), "what is granted is passed over");
        bench.redeemed(&first, "a").await;
        bench.clock.advance(GRANT_TTL);
        assert_eq!(bench.scheduled("c", &[]).await.unwrap().execution_id, second);
    }

    async fn a_signed_grant_verifies_until_it_lapses_or_is_redeemed(bench) {
        bench.create().await;
        let unsigned = bench.scheduled("a", &[]).await.unwrap();
        bench.seed().await;
        let id = bench.create().await;
        let grant = bench.scheduled("a", &[]).await.unwrap();
        let prefix = match bench.tag {
            BackendTag::Postgres => "pg:",
            BackendTag::Sqlite => "sqlite:",
            BackendTag::MariaDb => "mariadb:",
            _ => "memory:",
        };
        let begins = format!("{prefix}{id}:{}:", START + GRANT_TTL);
        assert!(grant.grant_key.starts_with(&begins), "{}", grant.grant_key);
        let stored = bench.grants(&id).await.remove(0);
        assert_eq!(stored.bytes("grant_id").unwrap(), grant_id(&grant.grant_key));

        let verified = async |grant: &ClaimGrant| match VerifyGrant::new(grant) {
            Ok(verify) => run(executor(&bench), &verify).await.unwrap(),
            Err(malformed) => Err(malformed),
        };
        assert_eq!(verified(&grant).await, Ok(()));
        assert_eq!(verified(&unsigned).await, Err(Unverified::UnknownKid));
        let with_key = |key: String| {
            ClaimGrant::new(grant.execution_id.clone(), grant.partition_key.clone(), key, u64::MAX)
        };
        for (key, why) in [
            (String::new(), Unverified::Malformed),
            (grant.grant_key.replace(&id.uuid().to_string(), "x"), Unverified::Malformed),
            (unsigned.grant_key.clone(), Unverified::Malformed),
            (grant.grant_key.replace(":k", ":other-k"), Unverified::UnknownKid),
            (format!("{}0", &grant.grant_key[..grant.grant_key.len() - 1]), Unverified::SignatureMismatch),
            (grant.grant_key.replace(&(START + GRANT_TTL).to_string(), "1"), Unverified::Expired),
            (
                grant.grant_key.replace(&(START + GRANT_TTL).to_string(), &i64::MAX.to_string()),
                Unverified::SignatureMismatch,
            ),
        ] {
            if key != grant.grant_key {
                assert_eq!(verified(&with_key(key.clone())).await, Err(why), "{key}");
            }
        }

        bench.redeemed(&id, "a").await;
        assert_eq!(verified(&grant).await, Err(Unverified::UnknownGrant));
        bench.clock.advance(GRANT_TTL);
        assert_eq!(verified(&grant).await, Err(Unverified::Expired));
    }

    async fn nothing_of_a_paused_lane_is_scheduled(bench) {
        let id = bench.create().await;
        let state =
            |state| bench.backend.set_lane_state(SetLaneStateArgs::new(lane(), state, "ada"));
        state(LaneState::Paused).await.unwrap();
        assert!(bench.scheduled("a", &[]).await.is_none());
        // Grants of an execution that the caller names go on.
        bench.backend.issue_claim_grant(bench.grant(&id, "b", &[])).await.unwrap();
        bench.clock.advance(GRANT_TTL);
        state(LaneState::Active).await.unwrap();
        assert_eq!(bench.scheduled("a", &[]).await.unwrap().execution_id, id);
    }

    async fn an_operator_takes_what_is_granted(bench) {
        let id = granted(&bench, "a").await;
        let args = ff_core::contracts::IssueGrantAndClaimArgs::new(id.clone(), lane(), 1_000);
        bench.backend.issue_grant_and_claim(args).await.unwrap();
        assert!(bench.grants(&id).await.is_empty());
        let late = bench.backend.claim_execution(bench.redemption(&id, "a")).await;
        assert_not_active(late, "active");
    }

    async fn lapsed_grants_are_dropped_in_batches(bench) {
        for _ in 0..5 {
            granted(&bench, "a").await;
        }
        bench.clock.advance(1);
        let live = granted(&bench, "a").await;
        bench.clock.advance(GRANT_TTL - 1);
        for expected in [2, 2, 1, 0] {
            let counts = bench.backend.scan(Scan::GrantExpiry, 2).await.unwrap();
            assert_eq!((counts.processed, counts.errors), (expected, 0));
        }
        assert_eq!(bench.plain.rows("ff_claim_grant").await.len(), 1);
        assert_eq!(bench.grants(&live).await.len(), 1);
    }
}
