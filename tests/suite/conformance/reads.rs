//! Reads of one execution, also of rows that older databases wrote, and of invalid rows.

use ff_core::contracts::{AttemptSummary, ExecutionSnapshot, LeaseSummary};
use ff_core::partition::{Partition, PartitionFamily};
use ff_core::plan::value::Value;
use ff_core::state::{
    AttemptState, BlockingReason, EligibilityState, LifecyclePhase, OwnershipState, PublicState,
    TerminalOutcome,
};
use ff_core::types::{
    AttemptIndex, FlowId, LaneId, LeaseEpoch, Namespace, TimestampMs, WorkerInstanceId,
};
use serde_json::json;
use uuid::Uuid;

use crate::backends::{START, conformance};
use crate::bench::{ACTIVE, LANE, TTL, WAITING, assert_refused, id, partition, payload_of};
use crate::plain::{int, text};

conformance! {
    async fn an_unknown_execution_is_none(bench) {
        let id = id();
        let backend = &bench.backend;
        assert_eq!(backend.describe_execution(&id).await.unwrap(), None);
        assert!(backend.read_execution_info(&id).await.unwrap().is_none());
        assert_eq!(backend.read_execution_state(&id).await.unwrap(), None);
        assert_eq!(backend.get_execution_result(&id).await.unwrap(), None);
        assert_eq!(backend.get_execution_namespace(&id).await.unwrap(), None);
        assert_eq!(backend.resolve_execution_flow_id(&id).await.unwrap(), None);
        let lost = |operation: &str| {
            format!("validation: InvalidInput: {operation}: execution not found: {id}")
        };
        assert_refused(backend.read_execution_context(&id).await, &lost("read_execution_context"));
        assert_refused(
            backend.read_current_attempt_index(&id).await,
            &lost("read_current_attempt_index"),
        );
        assert_refused(
            backend.read_total_attempt_count(&id).await,
            &lost("read_total_attempt_count"),
        );
        // The same UUID elsewhere is another execution.
        let here = bench.create().await;
        let there = ff_core::types::ExecutionId::from_parts(8, here.uuid());
        assert_eq!(backend.describe_execution(&there).await.unwrap(), None);
    }

    async fn a_snapshot_of_a_row_inserted_by_hand(bench) {
        let (id, flow) = (id(), Uuid::new_v4());
        let raw = json!({
            "namespace": "tenant-b",
            "last_mutation_at": (START + 3).to_string(),
            "blocking_detail": "needs a GPU",
            "tags": { "a.b": "c", "n.n": 5 },
        });
        let more = vec![("flow_id", Value::Uuid(flow)), ("raw_fields", Value::Json(raw))];
        bench.insert_core(&id, WAITING, more).await;
        let expected = ExecutionSnapshot::new(
            id.clone(),
            Some(FlowId::from_uuid(flow)),
            LaneId::new(LANE),
            Namespace::new("tenant-b"),
            PublicState::Waiting,
            Some("waiting_for_worker".into()),
            Some("needs a GPU".into()),
            None,
            None,
            None,
            TimestampMs(START),
            TimestampMs(START + 3),
            0,
            [("a.b".to_owned(), "c".to_owned())].into(),
        )
        .with_claimable_since(Some(TimestampMs(START)));
        assert_eq!(bench.backend.describe_execution(&id).await.unwrap(), Some(expected));
        let resolved = bench.backend.resolve_execution_flow_id(&id).await.unwrap();
        assert_eq!(resolved, Some(FlowId::from_uuid(flow)));
    }

    async fn a_snapshot_shows_attempt_and_lease(bench) {
        let (id, handle) = bench.leased().await;
        let payload = payload_of(&handle);
        let snapshot = bench.backend.describe_execution(&id).await.unwrap().unwrap();
        assert_eq!(snapshot.public_state, PublicState::Active);
        assert_eq!(snapshot.blocking_reason, None);
        assert_eq!(snapshot.total_attempt_count, 1);
        let attempt = AttemptSummary::new(payload.attempt_id, AttemptIndex(0));
        assert_eq!(snapshot.current_attempt, Some(attempt));
        let expires = TimestampMs(START + TTL);
        let lease = LeaseSummary::new(LeaseEpoch(1), WorkerInstanceId::new("w-1"), expires)
            .with_attempt_index(AttemptIndex(0))
            .with_lease_id(payload.lease_id);
        assert_eq!(snapshot.current_lease, Some(lease));
        bench.backend.complete(&handle, None).await.unwrap();
        let snapshot = bench.backend.describe_execution(&id).await.unwrap().unwrap();
        assert_eq!(snapshot.current_lease, None);
        assert_eq!(snapshot.public_state, PublicState::Completed);
    }

    async fn reading_changes_nothing(bench) {
        let (id, _) = bench.leased().await;
        let before = bench.everything().await;
        let backend = &bench.backend;
        backend.describe_execution(&id).await.unwrap();
        backend.read_execution_info(&id).await.unwrap();
        backend.read_execution_context(&id).await.unwrap();
        backend.execution_timeline(&id).await.unwrap();
        assert_eq!(bench.everything().await, before);
    }

    async fn old_spellings_are_read(bench) {
        type States = (PublicState, LifecyclePhase, OwnershipState, EligibilityState, AttemptState);
        use {AttemptState as A, EligibilityState as E, LifecyclePhase as L, OwnershipState as O, PublicState as P};
        let cases: [(&str, States); 8] = [
            ("active leased not_applicable running running -", (P::Active, L::Active, O::Leased, E::NotApplicable, A::RunningAttempt)),
            ("terminal released not_applicable success terminated -", (P::Completed, L::Terminal, O::Unowned, E::NotApplicable, A::AttemptTerminal)),
            ("terminal released cancelled cancelled cancelled -", (P::Cancelled, L::Terminal, O::Unowned, E::NotApplicable, A::AttemptTerminal)),
            ("terminal unowned not_applicable failed terminal_failed -", (P::Failed, L::Terminal, O::Unowned, E::NotApplicable, A::AttemptTerminal)),
            ("submitted unowned eligible_now pending pending -", (P::Waiting, L::Submitted, O::Unowned, E::EligibleNow, A::PendingFirstAttempt)),
            ("pending unowned pending_claim waiting initial -", (P::Waiting, L::Runnable, O::Unowned, E::EligibleNow, A::PendingFirstAttempt)),
            ("eligible unowned eligible_now waiting pending_claim -", (P::Waiting, L::Runnable, O::Unowned, E::EligibleNow, A::PendingFirstAttempt)),
            ("blocked unowned blocked_by_dependencies waiting_children pending -", (P::WaitingChildren, L::Runnable, O::Unowned, E::BlockedByDependencies, A::PendingFirstAttempt)),
        ];
        for (stored, expected) in cases {
            let id = id();
            bench.insert_core(&id, stored, vec![]).await;
            let info = bench.backend.read_execution_info(&id).await.unwrap().unwrap();
            let vector = info.state_vector;
            let read = (
                vector.public_state,
                vector.lifecycle_phase,
                vector.ownership_state,
                vector.eligibility_state,
                vector.attempt_state,
            );
            assert_eq!(read, expected, "{stored}");
            assert_eq!(info.public_state, expected.0);
            assert_eq!(vector.blocking_reason, BlockingReason::None);
            let state = bench.backend.read_execution_state(&id).await.unwrap();
            assert_eq!(state, Some(expected.0));
            let snapshot = bench.backend.describe_execution(&id).await.unwrap().unwrap();
            assert_eq!(snapshot.public_state, expected.0);
        }
    }

    async fn an_outcome_is_that_of_the_current_attempt(bench) {
        for (outcome, expected) in [
            ("success", TerminalOutcome::Success),
            ("failed", TerminalOutcome::Failed),
            ("failure", TerminalOutcome::Failed),
            ("cancelled", TerminalOutcome::Cancelled),
            ("expired", TerminalOutcome::Expired),
            ("skipped", TerminalOutcome::Skipped),
            ("retry", TerminalOutcome::None),
        ] {
            let id = id();
            bench.insert_core(&id, crate::bench::COMPLETED, vec![("attempt_index", int(1))]).await;
            bench.insert_attempt(&id, 0, 1, vec![("outcome", text("failed"))]).await;
            bench.insert_attempt(&id, 1, 2, vec![("outcome", text(outcome))]).await;
            let info = bench.backend.read_execution_info(&id).await.unwrap().unwrap();
            assert_eq!(info.state_vector.terminal_outcome, expected, "{outcome}");
        }
        let id = id();
        bench.insert_core(&id, "cancelled unowned cancelled cancelled cancelled -", vec![]).await;
        let info = bench.backend.read_execution_info(&id).await.unwrap().unwrap();
        assert_eq!(info.state_vector.lifecycle_phase, LifecyclePhase::Terminal);
        assert_eq!(info.state_vector.terminal_outcome, TerminalOutcome::Cancelled);
    }

    async fn an_unknown_word_names_table_column_and_value(bench) {
        for (states, column, word) in [
            ("odd unowned eligible_now waiting pending_first_attempt -", "lifecycle_phase", "odd"),
            ("runnable it's eligible_now waiting pending_first_attempt -", "ownership_state", "it's"),
            ("runnable unowned ODD waiting pending_first_attempt -", "eligibility_state", "ODD"),
            ("runnable unowned eligible_now Waiting pending_first_attempt -", "public_state", "Waiting"),
            ("runnable unowned eligible_now waiting %s -", "attempt_state", "%s"),
            ("runnable unowned eligible_now waiting pending_first_attempt $1", "blocking_reason", "$1"),
        ] {
            let id = id();
            bench.insert_core(&id, states, vec![]).await;
            let expected = format!(
                "validation: Corruption: ff_exec_core.{column}: \"{word}\" is not a known value"
            );
            assert_refused(bench.backend.read_execution_info(&id).await, &expected);
            // A read looks only at what it shows.
            if column != "public_state" {
                let state = bench.backend.read_execution_state(&id).await.unwrap();
                assert_eq!(state, Some(PublicState::Waiting));
            } else {
                assert_refused(bench.backend.read_execution_state(&id).await, &expected);
            }
        }
        let id = id();
        bench.insert_core(&id, crate::bench::COMPLETED, vec![]).await;
        bench.insert_attempt(&id, 0, 1, vec![("outcome", text("odd"))]).await;
        assert_refused(
            bench.backend.read_execution_info(&id).await,
            "validation: Corruption: ff_attempt.outcome: \"odd\" is not a known value",
        );
    }

    async fn a_corrupt_row_still_ends(bench) {
        // Only the columns that a rule reads must make sense.
        let id = id();
        let states = "active leased not_applicable odd odd odd";
        bench.insert_core(&id, states, vec![]).await;
        bench.insert_attempt(&id, 0, 1, vec![("lease_expires_at_ms", int(START + TTL))]).await;
        let handle = crate::conformance::fence::by_hand(&bench, &id, 0, 1);
        bench.backend.complete(&handle, None).await.unwrap();
        assert_eq!(bench.core(&id).await.states(), crate::bench::COMPLETED);
    }

    async fn the_wide_read_shows_every_state_of_an_execution(bench) {
        let id = bench.create_with(&|args| args.priority = -4).await;
        let info = bench.backend.read_execution_info(&id).await.unwrap().unwrap();
        assert_eq!(info.namespace, crate::bench::NAMESPACE);
        assert_eq!(info.lane_id, LANE);
        assert_eq!((info.priority, info.execution_kind.as_str()), (-4, "job"));
        assert_eq!(info.created_at, START.to_string());
        assert_eq!((info.started_at, info.completed_at), (None, None));
        assert!(info.state_vector.is_consistent());
        bench.clock.advance(5);
        let handle = bench.claim().await;
        bench.clock.advance(5);
        bench.backend.complete(&handle, Some(b"r".to_vec())).await.unwrap();
        let info = bench.backend.read_execution_info(&id).await.unwrap().unwrap();
        assert_eq!(info.started_at, Some((START + 5).to_string()));
        assert_eq!(info.completed_at, Some((START + 10).to_string()));
        assert_eq!(info.state_vector.terminal_outcome, TerminalOutcome::Success);
        assert!(info.state_vector.is_consistent());
        let result = bench.backend.get_execution_result(&id).await.unwrap();
        assert_eq!(result, Some(b"r".to_vec()));
        let namespace = bench.backend.get_execution_namespace(&id).await.unwrap();
        assert_eq!(namespace.as_deref(), Some(crate::bench::NAMESPACE));
    }

    async fn a_worker_reads_what_it_needs(bench) {
        let (id, _) = bench.leased().await;
        let context = bench.backend.read_execution_context(&id).await.unwrap();
        assert_eq!(context.input_payload, b"input");
        assert_eq!(context.execution_kind, "job");
        assert_eq!(context.tags.len(), 1);
        assert_eq!(bench.backend.read_current_attempt_index(&id).await.unwrap(), AttemptIndex(0));
        assert_eq!(bench.backend.read_total_attempt_count(&id).await.unwrap(), AttemptIndex(1));
        let bare = crate::bench::id();
        bench.insert_core(&bare, ACTIVE, vec![]).await;
        let context = bench.backend.read_execution_context(&bare).await.unwrap();
        assert_eq!(context.input_payload, b"");
        assert_eq!(context.execution_kind, "");
        assert!(context.tags.is_empty());
    }

    async fn named_fields_are_texts(bench) {
        let (id, _) = bench.leased().await;
        let names = [
            "lane_id",
            "lifecycle_phase",
            "public_state",
            "blocking_reason",
            "current_attempt_index",
            "current_worker_instance_id",
            "completed_at",
            "no_such_field",
            "payload",
        ];
        let fields = bench.backend.read_exec_core_fields(partition(&id), &id, &names).await.unwrap();
        let field = |name: &str| fields[name].as_deref();
        assert_eq!(fields.len(), names.len());
        assert_eq!(field("lane_id"), Some(LANE));
        assert_eq!(field("lifecycle_phase"), Some("active"));
        assert_eq!(field("public_state"), Some("active"));
        assert_eq!(field("blocking_reason"), None);
        assert_eq!(field("current_attempt_index"), Some("0"));
        assert_eq!(field("current_worker_instance_id"), Some("w-1"));
        assert_eq!(field("completed_at"), None);
        assert_eq!(field("no_such_field"), None);
        assert_eq!(field("payload"), None);
        let other = Partition { family: PartitionFamily::Execution, index: 9 };
        assert_refused(
            bench.backend.read_exec_core_fields(other, &id, &names).await,
            "validation: InvalidInput: read_exec_core_fields: partition mismatch (arg=9, eid=7)",
        );
    }

    async fn the_backend_reports_its_name_and_capabilities(bench) {
        bench.backend.ping().await.unwrap();
        let time = bench.backend.server_time_ms().await.unwrap();
        assert_eq!(time, u64::try_from(START).unwrap());
        let label = bench.backend.backend_label();
        assert_eq!(bench.backend.capabilities().identity.family, label);
        bench.backend.prepare().await.unwrap();
    }
}
