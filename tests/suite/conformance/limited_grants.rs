//! Grants of executions with keys: what a limit bounds is decided when the worker starts, and a
//! scheduler passes over what could not start now. So it is with rows that were inserted with plain
//! SQL.

use ff_core::contracts::{IssueReclaimGrantOutcome, ReclaimExecutionOutcome};
use ff_core::partition::PartitionConfig;
use ff_core::plan::value::Value;
use ff_core::rules::budget::token::{LIMITED, limit_token};
use ff_core::rules::limit::key::LimitKey;
use ff_core::types::ExecutionId;

use super::budgeted::claim;
use super::limits::{KEY, create, keyed, running, status};
use crate::backends::{Bench, START, conformance};
use crate::bench::{ACTIVE, TTL, WAITING, assert_refused, id, payload_of};
use crate::granted::GRANT_TTL;
use crate::plain::{int, text};

const FULL: &str = "state: LimitReached { limit_key: \"tenant/42\" }";

/// A limit of one execution at once, by hand, and the note that there are executions with keys.
async fn one_at_once_by_hand(bench: &Bench) {
    let place = LimitKey::new(KEY, &PartitionConfig::default()).unwrap();
    let limit = vec![
        ("partition_key", int(place.partition.into())),
        ("limit_key", text(KEY)),
        ("max_running", int(1)),
        ("set_by", text("ada")),
        ("set_at_ms", int(START)),
    ];
    bench.plain.insert("ff_limit", limit).await;
    let note = vec![
        ("budget_id", text(LIMITED)),
        ("partition_key", int(0)),
        ("registered_at_ms", int(START)),
    ];
    bench.plain.insert("ff_budget_in_use", note).await;
}

/// An execution with a key, by hand, and a grant of that kind to the worker `w`. One that is active
/// has a lease that has lapsed.
async fn granted_by_hand(bench: &Bench, states: &str, kind: &str) -> ExecutionId {
    let id = id();
    let required = Value::TextList(vec![limit_token(KEY)]);
    bench.insert_core(&id, states, vec![("required_capabilities", required)]).await;
    if states == ACTIVE {
        let lease = vec![
            ("worker_id", text("old")),
            ("worker_instance_id", text("old-1")),
            ("lease_expires_at_ms", int(START)),
        ];
        bench.insert_attempt(&id, 0, 1, lease).await;
    }
    bench.insert_grant(&id, kind, Vec::new()).await;
    id
}

conformance! {
    async fn a_grant_is_redeemed_while_its_limit_has_room(bench) {
        running(&bench, KEY, 1).await;
        let ids = [create(&bench, keyed(&[KEY])).await, create(&bench, keyed(&[KEY])).await];
        for (id, worker) in ids.iter().zip(["a", "b"]) {
            bench.backend.issue_claim_grant(bench.grant(id, worker, &[])).await.unwrap();
        }

        let first = bench.redeemed(&ids[0], "a").await;
        assert_eq!(status(&bench, KEY).await.holders, ids[..1]);
        let refused = bench.backend.claim_execution(bench.redemption(&ids[1], "b")).await;
        assert_refused(refused, FULL);
        assert_eq!(bench.grants(&ids[1]).await.len(), 1, "a refusal spends no grant");

        bench.backend.complete(&first.handle, None).await.unwrap();
        bench.redeemed(&ids[1], "b").await;
        assert_eq!(status(&bench, KEY).await.holders, ids[1..]);
    }

    async fn a_scheduler_passes_over_full_limits(bench) {
        running(&bench, KEY, 1).await;
        running(&bench, "tenant/7", 0).await;
        // More than it looks at in one go.
        for key in [KEY, "tenant/7"].repeat(12) {
            create(&bench, keyed(&[key])).await;
        }
        let plain = bench.create().await;
        let granted = async || bench.scheduled("w", &[]).await.map(|grant| grant.execution_id);

        let runs = claim(&bench, &[], 1).await.remove(0);
        assert_eq!(granted().await, Some(plain));
        assert_eq!(granted().await, None);

        bench.cancel_one(&runs).await;
        let next = granted().await.unwrap();
        assert_eq!(bench.core(&next).await.int("granted_until_ms"), Some(bench.clock.now().0 + GRANT_TTL));
        bench.redeemed(&next, "w").await;
        assert_eq!(granted().await, None);
        assert_eq!(status(&bench, KEY).await.holders, [next]);
    }

    async fn a_lost_execution_with_a_key_is_reclaimed_with_one_permit(bench) {
        running(&bench, KEY, 1).await;
        let id = create(&bench, keyed(&[KEY])).await;
        bench.claim().await;
        bench.clock.advance(TTL);
        let issued = bench.backend.issue_reclaim_grant(bench.reclaim_grant(&id, "w")).await.unwrap();
        assert!(matches!(issued, IssueReclaimGrantOutcome::Granted(_)), "{issued:?}");
        let outcome = bench.backend.reclaim_execution(bench.reclamation(&id, "w", None)).await.unwrap();
        let ReclaimExecutionOutcome::Claimed(handle) = outcome else { panic!("{outcome:?}") };
        assert_eq!(status(&bench, KEY).await.holders, [id]);
        bench.backend.complete(&handle, None).await.unwrap();
        assert_eq!(status(&bench, KEY).await.running, 0);
    }

    async fn plain_rows_are_redeemed_and_reclaimed_within_their_limit(bench) {
        one_at_once_by_hand(&bench).await;
        let free = granted_by_hand(&bench, WAITING, "claim").await;
        let lost = granted_by_hand(&bench, ACTIVE, "reclaim").await;

        let first = bench.redeemed(&free, "w").await;
        assert_eq!(status(&bench, KEY).await.holders, [free]);
        let reclaim = async || bench.backend.reclaim_execution(bench.reclamation(&lost, "w", None)).await;
        assert_refused(reclaim().await, FULL);
        assert_eq!(bench.attempts(&lost).await.len(), 1, "a refusal changes nothing");
        assert_eq!(bench.grants(&lost).await.len(), 1);

        bench.backend.complete(&first.handle, None).await.unwrap();
        let ReclaimExecutionOutcome::Claimed(handle) = reclaim().await.unwrap() else { panic!("room") };
        assert_eq!(payload_of(&handle).lease_epoch.0, 2);
        assert_eq!(bench.core(&lost).await.states(), ACTIVE);
        assert_eq!(status(&bench, KEY).await.holders, std::slice::from_ref(&lost));

        let late = granted_by_hand(&bench, WAITING, "claim").await;
        assert_refused(bench.backend.claim_execution(bench.redemption(&late, "w")).await, FULL);
        bench.cancel_one(&lost).await;
        bench.redeemed(&late, "w").await;
    }
}
