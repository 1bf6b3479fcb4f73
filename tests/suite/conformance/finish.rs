//! Success: by handle, and by fence on rows that were inserted with plain SQL.

use ff_core::contracts::{CompleteExecutionArgs, CompleteExecutionResult};
use ff_core::plan::value::Value;
use ff_core::state::{PublicState, TerminalOutcome};
use ff_core::types::{
    AttemptId, AttemptIndex, CancelSource, ExecutionId, LeaseEpoch, LeaseFence, LeaseId,
    TimestampMs,
};
use serde_json::json;
use uuid::Uuid;

use crate::backends::{START, conformance};
use crate::bench::{
    ACTIVE, COMPLETED, INSTANCE, NAMESPACE, TTL, assert_not_active, assert_refused, id, payload_of,
};
use crate::conformance::fence::complete_args;
use crate::plain::int;

fn typed(id: &ExecutionId, epoch: u64) -> CompleteExecutionArgs {
    CompleteExecutionArgs {
        execution_id: id.clone(),
        fence: Some(LeaseFence {
            lease_id: LeaseId::new(),
            lease_epoch: LeaseEpoch(epoch),
            attempt_id: AttemptId::new(),
        }),
        attempt_index: AttemptIndex(0),
        result_payload: Some(b"ok".to_vec()),
        result_encoding: None,
        source: CancelSource::LeaseHolder,
        now: TimestampMs(START + 5),
    }
}

conformance! {
    async fn completing_ends_everything_at_once(bench) {
        let (id, handle) = bench.leased().await;
        bench.clock.advance(9);
        bench.backend.complete(&handle, Some(b"out".to_vec())).await.unwrap();
        let core = bench.core(&id).await;
        assert_eq!(core.states(), COMPLETED);
        assert_eq!(core.bytes("result"), Some(b"out".as_slice()));
        assert_eq!(core.int("terminal_at_ms"), Some(START + 9));
        assert_eq!(core.int("last_changed_at_ms"), Some(START + 9));
        let info = bench.backend.read_execution_info(&id).await.unwrap().unwrap();
        assert_eq!(info.state_vector.terminal_outcome, TerminalOutcome::Success);
        assert_eq!(info.last_mutation_at, (START + 9).to_string());
        let attempt = bench.attempt(&id, 0).await;
        assert_eq!(attempt.text("outcome"), "success");
        assert_eq!(attempt.int("terminal_at_ms"), Some(START + 9));
        assert_eq!(attempt.int("lease_expires_at_ms"), None);
        assert_eq!(attempt.int("timeout_at_ms"), None);
        assert_eq!(attempt.text("worker_instance_id"), "-");
        assert_eq!(attempt.text("worker_id"), "w");
        assert_eq!(attempt.int("lease_epoch"), Some(1));
        let completion = bench.of("ff_completion_event", &id).await.swap_remove(0);
        assert_eq!(completion.text("outcome"), "success");
        assert_eq!(completion.int("occurred_at_ms"), Some(START + 9));
        assert_eq!(completion.text("namespace"), NAMESPACE);
        assert_eq!(completion.text("instance_tag"), INSTANCE);
        assert_eq!(completion.int("dispatched_at_ms"), None);
        assert!(completion.int("committed_at_ms").is_some());
        assert_eq!(bench.lease_events(&id).await, ["acquired", "revoked"]);
        let revoked = bench.of("ff_lease_event", &id).await.swap_remove(1);
        assert_eq!(revoked.text("lease_id"), payload_of(&handle).lease_id.to_string());
    }

    async fn no_result_stores_none_and_an_empty_one_is_empty(bench) {
        let (id, handle) = bench.leased().await;
        bench.backend.complete(&handle, None).await.unwrap();
        assert_eq!(bench.core(&id).await.bytes("result"), None);
        let (id, handle) = bench.leased().await;
        bench.backend.complete(&handle, Some(Vec::new())).await.unwrap();
        assert_eq!(bench.core(&id).await.bytes("result"), Some([].as_slice()));
    }

    async fn by_fence_on_a_row_inserted_by_hand(bench) {
        let id = bench.insert_leased(json!({})).await;
        let result = bench.backend.complete_execution(typed(&id, 1)).await.unwrap();
        let completed = CompleteExecutionResult::Completed {
            execution_id: id.clone(),
            public_state: PublicState::Completed,
        };
        assert_eq!(result, completed);
        let core = bench.core(&id).await;
        assert_eq!(core.states(), COMPLETED);
        assert_eq!(core.bytes("result"), Some(b"ok".as_slice()));
        assert_eq!(core.int("terminal_at_ms"), Some(START + 5));
        let attempt = bench.attempt(&id, 0).await;
        assert_eq!(attempt.text("outcome"), "success");
        assert_eq!(attempt.int("terminal_at_ms"), Some(START + 5));
        assert_eq!(attempt.int("lease_expires_at_ms"), None);
        let events = bench.of("ff_completion_event", &id).await;
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].text("outcome"), "success");
        assert_eq!(events[0].text("namespace"), "-");
        assert_eq!(events[0].text("instance_tag"), "-");
        assert_not_active(bench.backend.complete_execution(typed(&id, 1)).await, "terminal");
    }

    async fn events_name_flow_namespace_and_instance(bench) {
        let (id, flow) = (id(), Uuid::new_v4());
        let raw = json!({ "namespace": "ns 'x'", "tags": { "cairn.instance_id": "i-1" } });
        let more = vec![("flow_id", Value::Uuid(flow)), ("raw_fields", Value::Json(raw))];
        bench.insert_core(&id, ACTIVE, more).await;
        bench.insert_attempt(&id, 0, 1, vec![("lease_expires_at_ms", int(START + TTL))]).await;
        bench.backend.complete_execution(typed(&id, 1)).await.unwrap();
        let event = bench.of("ff_completion_event", &id).await.swap_remove(0);
        assert_eq!(event.uuid("flow_id"), Some(flow));
        assert_eq!(event.text("namespace"), "ns 'x'");
        assert_eq!(event.text("instance_tag"), "i-1");
        let event = bench.of("ff_lease_event", &id).await.swap_remove(0);
        assert_eq!(event.text("namespace"), "ns 'x'");
        assert_eq!(event.text("instance_tag"), "i-1");
        assert_eq!(event.text("lease_id"), "-");
    }

    async fn only_an_operator_may_come_without_a_fence(bench) {
        let id = bench.insert_leased(json!({})).await;
        let before = bench.everything().await;
        for source in [
            CancelSource::LeaseHolder,
            CancelSource::FlowCascade,
            CancelSource::SystemTimeout,
            CancelSource::Custom("operator".into()),
        ] {
            let args = CompleteExecutionArgs { fence: None, source, ..typed(&id, 1) };
            assert_refused(
                bench.backend.complete_execution(args).await,
                "validation: InvalidInput: fence_required",
            );
        }
        assert_eq!(bench.everything().await, before);
        let source = CancelSource::OperatorOverride;
        let args = CompleteExecutionArgs { fence: None, source, ..typed(&id, 1) };
        bench.backend.complete_execution(args.clone()).await.unwrap();
        assert_eq!(bench.core(&id).await.states(), COMPLETED);
        assert_not_active(bench.backend.complete_execution(args).await, "terminal");
    }

    async fn a_fence_that_an_operator_passes_is_checked(bench) {
        let id = bench.insert_leased(json!({})).await;
        let source = CancelSource::OperatorOverride;
        let args = CompleteExecutionArgs { source, ..typed(&id, 2) };
        assert_refused(bench.backend.complete_execution(args).await, "state: StaleLease");
    }

    async fn an_operator_overrides_the_fence_but_not_the_lifecycle(bench) {
        let lapsed = bench.insert_leased(json!({})).await;
        let source = CancelSource::OperatorOverride;
        let now = TimestampMs(START + 10 * TTL);
        let args = CompleteExecutionArgs { fence: None, source, now, ..typed(&lapsed, 1) };
        bench.backend.complete_execution(args.clone()).await.unwrap();
        for (states, phase) in [
            (crate::bench::WAITING, "runnable"),
            ("suspended unowned not_applicable suspended attempt_interrupted -", "suspended"),
            ("submitted unowned eligible_now waiting pending -", "submitted"),
            ("cancelled unowned not_applicable cancelled attempt_terminal -", "cancelled"),
            (crate::bench::FAILED, "terminal"),
        ] {
            let id = id();
            bench.insert_core(&id, states, vec![]).await;
            bench.insert_attempt(&id, 0, 1, vec![]).await;
            let args = CompleteExecutionArgs { execution_id: id, ..args.clone() };
            assert_not_active(bench.backend.complete_execution(args).await, phase);
        }
    }

    async fn the_callers_clock_decides_where_it_gives_one(bench) {
        let id = bench.insert_leased(json!({})).await;
        let late = CompleteExecutionArgs { now: TimestampMs(START + TTL), ..typed(&id, 1) };
        assert_refused(bench.backend.complete_execution(late).await, "state: LeaseExpired");
        bench.clock.advance(10 * TTL);
        bench.backend.complete_execution(typed(&id, 1)).await.unwrap();
        assert_eq!(bench.core(&id).await.int("terminal_at_ms"), Some(START + 5));
    }

    async fn by_fence_after_a_claim(bench) {
        let (id, handle) = bench.leased().await;
        bench.backend.complete_execution(complete_args(&bench, &handle)).await.unwrap();
        assert_eq!(bench.core(&id).await.states(), COMPLETED);
    }

    async fn numbers_beyond_a_row_are_refused(bench) {
        let id = bench.insert_leased(json!({})).await;
        let args = CompleteExecutionArgs { attempt_index: AttemptIndex(u32::MAX), ..typed(&id, 1) };
        assert_refused(
            bench.backend.complete_execution(args).await,
            "validation: InvalidInput: attempt_index 4294967295 exceeds 2147483647",
        );
        assert_refused(
            bench.backend.complete_execution(typed(&id, u64::MAX)).await,
            "validation: InvalidInput: lease_epoch 18446744073709551615 exceeds i64",
        );
    }

    async fn many_completions_at_once_all_count(bench) {
        let mut handles = Vec::new();
        let batch = (0..200).map(|number| bench.args(&crate::bench::id_in(number % 256))).collect();
        for result in bench.backend.create_executions(batch).await {
            result.unwrap();
        }
        while let Some(handle) = bench.try_claim().await {
            handles.push(handle);
        }
        assert_eq!(handles.len(), 200);
        let completions = handles.iter().enumerate().map(|(number, handle)| {
            bench.backend.complete(handle, Some(number.to_string().into_bytes()))
        });
        for result in futures_util::future::join_all(completions).await {
            result.unwrap();
        }
        for (number, handle) in handles.iter().enumerate() {
            let result = bench.backend.get_execution_result(&payload_of(handle).execution_id).await;
            assert_eq!(result.unwrap(), Some(number.to_string().into_bytes()));
        }
    }
}
