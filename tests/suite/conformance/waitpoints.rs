//! Waitpoints of rows that were inserted by plain SQL, as older databases hold them.

use ff_core::backend::Handle;
use ff_core::contracts::{ListPendingWaitpointsArgs, ResumeCondition};
use ff_core::handle_codec::HandlePayload;
use ff_core::plan::value::Value;
use ff_core::types::{
    AttemptId, AttemptIndex, ExecutionId, LeaseEpoch, LeaseId, WaitpointId, WorkerInstanceId,
};
use serde_json::json;
use uuid::Uuid;

use crate::backends::{Bench, START, conformance};
use crate::bench::{assert_refused, id, lane, partition};
use crate::plain::{Given, int, text};
use crate::suspended::{RESUMABLE, SUSPENDED, fresh, named};

/// An execution in a worker's hands, and the handle that its worker would have.
async fn held(bench: &Bench) -> (ExecutionId, Handle) {
    let id = bench.insert_leased(json!({})).await;
    let payload = HandlePayload::new(
        id.clone(),
        AttemptIndex(0),
        AttemptId::from_uuid(Uuid::new_v4()),
        LeaseId::from_uuid(Uuid::new_v4()),
        LeaseEpoch(1),
        30_000,
        lane(),
        WorkerInstanceId::new("w-1"),
    );
    let handle = bench.forged(&payload);
    (id, handle)
}

fn row<'a>(id: &ExecutionId, waitpoint: Uuid, token: &str, state: &str) -> Given<'a> {
    vec![
        ("partition_key", int(i64::from(id.partition()))),
        ("waitpoint_id", Value::Uuid(waitpoint)),
        ("execution_id", Value::Uuid(id.uuid())),
        ("token_kid", text("kid1")),
        ("token", text(token)),
        ("created_at_ms", int(START)),
        ("waitpoint_key", text("by hand")),
        ("state", text(state)),
    ]
}

conformance! {
    async fn as_many_waitpoints_as_asked_for_are_active(bench) {
        bench.seed().await;
        for count in [1, 2, 7] {
            let (id, handle) = held(&bench).await;
            let keys: Vec<String> = (0..count).map(|number| format!("k{number}")).collect();
            let targets = keys.iter().map(|key| fresh(key)).collect();
            let args = bench.wait(targets, ResumeCondition::all_of_waitpoints(keys));
            let targets = bench.suspend(&id, &handle, args).await;
            assert_eq!(bench.core(&id).await.states(), SUSPENDED);
            let rows = bench.of("ff_waitpoint_pending", &id).await;
            assert_eq!(rows.len(), count);
            assert!(rows.iter().all(|row| row.text("state") == "active"));
            for (number, target) in targets.iter().enumerate() {
                let effect = bench.deliver(target, "any").await.unwrap();
                let last = number + 1 == count;
                assert_eq!(effect == "resume_condition_satisfied", last, "{number} of {count}");
            }
            assert_eq!(bench.core(&id).await.states(), RESUMABLE);
        }
    }

    async fn closed_ones_are_hidden_and_odd_tokens_have_no_fingerprint(bench) {
        let (id, _) = held(&bench).await;
        let [open, odd, closed] = [1, 2, 3].map(Uuid::from_u128);
        let token = format!("kid1:{}", "0123456789abcdef".repeat(4));
        bench.plain.insert("ff_waitpoint_pending", row(&id, open, &token, "active")).await;
        bench.plain.insert("ff_waitpoint_pending", row(&id, odd, "", "pending")).await;
        bench.plain.insert("ff_waitpoint_pending", row(&id, closed, &token, "closed")).await;
        let mut args = ListPendingWaitpointsArgs::new(id.clone()).with_limit(1);
        let mut seen = Vec::new();
        loop {
            let page = bench.backend.list_pending_waitpoints(args.clone()).await.unwrap();
            seen.extend(page.entries);
            let Some(next) = page.next_cursor else { break };
            args = args.with_after(next);
        }
        let kids = seen.iter().map(|info| (info.waitpoint_id.0, info.token_kid.as_str()));
        assert_eq!(kids.collect::<Vec<_>>(), [(open, "kid1"), (odd, "")]);
        assert_eq!(seen[0].token_fingerprint, "0123456789abcdef");
        assert_eq!(seen[1].token_fingerprint, "");
        for (waitpoint, expected) in
            [(open, Some(token.clone())), (odd, None), (Uuid::from_u128(9), None)]
        {
            let key = (&partition(&id)).into();
            let waitpoint = WaitpointId::from_uuid(waitpoint);
            let stored = bench.backend.read_waitpoint_token(key, &waitpoint).await.unwrap();
            assert_eq!(stored, expected);
        }
        let missing = ListPendingWaitpointsArgs::new(self::id());
        assert_refused(
            bench.backend.list_pending_waitpoints(missing).await,
            "not found: execution",
        );
    }

    async fn a_suspension_of_an_older_database_goes_on(bench) {
        bench.seed().await;
        let (id, handle) = held(&bench).await;
        let args = bench.wait(vec![fresh("a")], named("a", "go"));
        let target = bench.suspend(&id, &handle, args).await.remove(0);
        // As it was stored before there was a policy, a count or a version.
        let sql = "UPDATE ff_suspension_current SET resume_policy = NULL, requested_by = NULL, \
                   timeout_behavior = NULL, version = 0";
        if !matches!(bench.plain, crate::plain::PlainSql::Memory(_)) {
            bench.plain.execute(sql).await;
        }
        assert_eq!(bench.deliver(&target, "go").await.unwrap(), "resume_condition_satisfied");
        assert_eq!(bench.core(&id).await.states(), RESUMABLE);
    }
}
