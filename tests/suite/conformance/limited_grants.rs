//! Executions with keys whose rows and grants were inserted with plain SQL: redeeming a grant and
//! reclaiming take what they need of a limit, or are refused.

use ff_core::contracts::ReclaimExecutionOutcome;
use ff_core::partition::PartitionConfig;
use ff_core::plan::value::Value;
use ff_core::rules::budget::token::{LIMITED, limit_token};
use ff_core::rules::limit::key::LimitKey;
use ff_core::types::ExecutionId;

use super::limits::{KEY, status};
use crate::backends::{Bench, START, conformance};
use crate::bench::{ACTIVE, WAITING, assert_refused, id, payload_of};
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
