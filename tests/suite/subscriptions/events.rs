//! What each subscription delivers, from which cursor on, and what a filter lets through.

use std::collections::HashMap;

use ff_backend_memory::MemoryBackend;
use ff_core::ScannerFilter;
use ff_core::completion_backend::CompletionBackend as _;
use ff_core::contracts::{ChangePriorityArgs, CreateFlowArgs};
use ff_core::partition::PartitionConfig;
use ff_core::plan::value::Value;
use ff_core::state::OperatorEventType;
use ff_core::stream_events::{
    CompletionOutcome, InstanceTagEvent, LeaseHistoryEvent, SignalDeliveryEffect,
};
use ff_core::stream_subscribe::{StreamCursor, encode_valkey_cursor};
use ff_core::types::{ExecutionId, FlowId, Namespace, WorkerInstanceId};
use futures_util::{FutureExt as _, StreamExt as _};
use uuid::Uuid;

use super::{BOUND, beginning, next, take};
use crate::backends::{self, Bench, START, conformance};
use crate::bench::{INSTANCE, NAMESPACE, id, id_in, lane, payload_of};
use crate::plain::{Given, int, text};

const ALL: ScannerFilter = ScannerFilter::NOOP;

fn word(event: &LeaseHistoryEvent) -> &'static str {
    match event {
        LeaseHistoryEvent::Acquired { .. } => "acquired",
        LeaseHistoryEvent::Renewed { .. } => "renewed",
        LeaseHistoryEvent::Expired { .. } => "expired",
        LeaseHistoryEvent::Reclaimed { .. } => "reclaimed",
        LeaseHistoryEvent::Revoked { .. } => "revoked",
        other => panic!("{other:?}"),
    }
}

fn kinds(events: &[LeaseHistoryEvent]) -> Vec<(&ExecutionId, &'static str)> {
    events.iter().map(|event| (event.execution_id(), word(event))).collect()
}

/// A completion by plain SQL.
async fn completion(bench: &Bench, id: &ExecutionId, outcome: &str, more: Given<'_>) {
    let mut cells: HashMap<&str, Value> = HashMap::from([
        ("partition_key", int(i64::from(id.partition()))),
        ("execution_id", Value::Uuid(id.uuid())),
        ("outcome", text(outcome)),
        ("occurred_at_ms", int(START)),
    ]);
    cells.extend(more);
    bench.plain.insert("ff_completion_event", cells.into_iter().collect()).await;
}

/// A signal by plain SQL.
async fn signal(bench: &Bench, id: &ExecutionId, signal_id: &str, more: Given<'_>) {
    let mut cells: HashMap<&str, Value> = HashMap::from([
        ("partition_key", int(i64::from(id.partition()))),
        ("execution_id", text(&id.uuid().to_string())),
        ("signal_id", text(signal_id)),
        ("delivered_at_ms", int(START)),
    ]);
    cells.extend(more);
    bench.plain.insert("ff_signal_event", cells.into_iter().collect()).await;
}

conformance! {
    async fn lease_events_are_delivered_in_order_stored_ones_first(bench) {
        let past = bench.live().await;
        let mut leases = bench.backend.subscribe_lease_history(beginning(), &ALL).await.unwrap();
        let mut ends = bench.backend.subscribe_completion(beginning(), &ALL).await.unwrap();
        let expected = |id| [(id, "acquired"), (id, "renewed"), (id, "revoked")];
        assert_eq!(kinds(&take(&mut leases, 3).await), expected(&past));
        let end = next(&mut ends).await.unwrap();
        assert_eq!((&end.execution_id, &end.outcome), (&past, &CompletionOutcome::Success));
        assert_eq!(end.at, bench.clock.now());

        // Both wait now.
        assert!(leases.next().now_or_never().is_none());
        assert!(ends.next().now_or_never().is_none());
        bench.clock.advance(5);
        let (id, handle) = bench.leased().await;
        let acquired = next(&mut leases).await.unwrap();
        assert_eq!((acquired.execution_id(), acquired.at()), (&id, bench.clock.now()));
        let LeaseHistoryEvent::Acquired { lease_id, worker_instance_id, .. } = acquired else {
            panic!("acquired first")
        };
        let instance = WorkerInstanceId::new("w-1");
        let expected = (Some(payload_of(&handle).lease_id), Some(instance));
        assert_eq!((lease_id, worker_instance_id), expected);
        bench.backend.renew(&handle).await.unwrap();
        bench.backend.complete(&handle, None).await.unwrap();
        assert_eq!(kinds(&take(&mut leases, 2).await), [(&id, "renewed"), (&id, "revoked")]);
        assert_eq!(next(&mut ends).await.unwrap().execution_id, id);
    }

    async fn an_empty_cursor_means_from_now_on(bench) {
        bench.live().await;
        let mut leases =
            bench.backend.subscribe_lease_history(StreamCursor::empty(), &ALL).await.unwrap();
        // Committed after subscribing, before the first look.
        let id = bench.live().await;
        let events = take(&mut leases, 3).await;
        assert_eq!(kinds(&events), [(&id, "acquired"), (&id, "renewed"), (&id, "revoked")]);
    }

    async fn a_cursor_resumes_exactly(bench) {
        for _ in 0..3 {
            bench.live().await;
        }
        let mut all = bench.backend.subscribe_lease_history(beginning(), &ALL).await.unwrap();
        let events = take(&mut all, 9).await;
        for pair in events.windows(2) {
            assert!(pair[0].cursor().as_bytes() < pair[1].cursor().as_bytes());
        }
        for (index, event) in events.iter().enumerate() {
            let cursor = event.cursor().clone();
            let mut rest = bench.backend.subscribe_lease_history(cursor, &ALL).await.unwrap();
            assert_eq!(take(&mut rest, 8 - index).await, events[index + 1..]);
        }
    }

    async fn a_cursor_of_another_family_is_refused_by_the_call(bench) {
        let valkey = encode_valkey_cursor(1, 2);
        let backend = &bench.backend;
        let errors = [
            backend.subscribe_lease_history(valkey.clone(), &ALL).await.err(),
            backend.subscribe_completion(valkey.clone(), &ALL).await.err(),
            backend.subscribe_signal_delivery(valkey.clone(), &ALL).await.err(),
            backend.subscribe_operator_events(valkey.clone(), &ALL).await.err(),
            backend.subscribe_instance_tags(valkey).await.err(),
        ];
        let operations = [
            "subscribe_lease_history",
            "subscribe_completion",
            "subscribe_signal_delivery",
            "subscribe_operator_events",
            "subscribe_instance_tags",
        ];
        for (error, operation) in errors.into_iter().zip(operations) {
            let error = error.expect("must be refused").to_string();
            assert!(error.starts_with(&format!("validation: InvalidInput: {operation}: ")), "{error}");
        }
    }

    async fn the_events_of_every_partition_come_in_one_order(bench) {
        let mut ends = bench.backend.subscribe_completion(beginning(), &ALL).await.unwrap();
        let ids = [200, 0, 7, 255, 13].map(id_in);
        for id in &ids {
            completion(&bench, id, "success", vec![]).await;
        }
        let events = take(&mut ends, ids.len()).await;
        assert!(events.iter().map(|event| &event.execution_id).eq(&ids));
    }

    async fn every_recorded_end_is_delivered(bench) {
        let cases = [
            ("success", CompletionOutcome::Success),
            ("failed", CompletionOutcome::Failure),
            ("failure", CompletionOutcome::Failure),
            ("cancelled", CompletionOutcome::Cancelled),
            ("expired", CompletionOutcome::Other("expired".into())),
            ("skipped", CompletionOutcome::Other("skipped".into())),
            ("resumable", CompletionOutcome::Other("resumable".into())),
            ("unheard_of", CompletionOutcome::Other("unheard_of".into())),
        ];
        for (outcome, _) in &cases {
            completion(&bench, &id(), outcome, vec![]).await;
        }
        let mut ends = bench.backend.subscribe_completion(beginning(), &ALL).await.unwrap();
        for (_, expected) in cases {
            assert_eq!(next(&mut ends).await.unwrap().outcome, expected);
        }
    }

    async fn the_effect_of_a_signal_is_announced(bench) {
        let (id, sent, waitpoint) = (id(), Uuid::new_v4().to_string(), Uuid::new_v4());
        let told = vec![
            ("effect", text("buffered")),
            ("waitpoint_id", text(&waitpoint.to_string())),
            ("source_identity", text("billing")),
        ];
        signal(&bench, &id, &sent, vec![]).await;
        signal(&bench, &id, &sent, told).await;
        signal(&bench, &id, &sent, vec![("effect", text("deduped"))]).await;
        let mut signals =
            bench.backend.subscribe_signal_delivery(beginning(), &ALL).await.unwrap();
        let events = take(&mut signals, 3).await;
        let effects: Vec<_> = events.iter().map(|event| event.effect.clone()).collect();
        use SignalDeliveryEffect::{Buffered, Deduped, Satisfied};
        assert_eq!(effects, [Satisfied, Buffered, Deduped]);
        assert!(events.iter().all(|event| event.execution_id == id));
        assert!(events.iter().all(|event| event.signal_id.0.to_string() == sent));
        assert_eq!(events[0].waitpoint_id, None);
        assert_eq!(events[1].waitpoint_id.as_ref().map(|id| id.0), Some(waitpoint));
        assert_eq!(events[1].source_identity.as_deref(), Some("billing"));
    }

    async fn every_lease_event_names_the_worker_and_the_cause(bench) {
        let (_, handle) = bench.leased().await;
        bench.backend.renew(&handle).await.unwrap();
        bench.backend.complete(&handle, None).await.unwrap();
        let id = id();
        bench.plain.insert("ff_lease_event", vec![
            ("execution_id", text(&id.uuid().to_string())),
            ("event_type", text("revoked")),
            ("occurred_at_ms", int(START)),
            ("partition_key", int(i64::from(id.partition()))),
        ]).await;
        let mut leases = bench.backend.subscribe_lease_history(beginning(), &ALL).await.unwrap();
        let said: Vec<_> = take(&mut leases, 4).await.into_iter().map(|event| match event {
            LeaseHistoryEvent::Acquired { worker_instance_id, .. }
            | LeaseHistoryEvent::Renewed { worker_instance_id, .. } => {
                worker_instance_id.unwrap().as_str().to_owned()
            }
            LeaseHistoryEvent::Revoked { revoked_by, .. } => revoked_by,
            other => panic!("{other:?}"),
        }).collect();
        assert_eq!(said, ["w-1", "w-1", "completed", "operator"]);
    }

    async fn an_end_says_why(bench) {
        let (_, handle) = bench.leased().await;
        bench.fail(&handle).await;
        let mut ends = bench.backend.subscribe_completion(beginning(), &ALL).await.unwrap();
        let end = next(&mut ends).await.unwrap();
        assert_eq!(end.reason.as_deref(), Some("broken"));
        assert_eq!(end.failure_class, Some(ff_core::state::FailureClass::Permanent));
    }

    async fn operator_actions_are_announced(bench) {
        let mut events =
            bench.backend.subscribe_operator_events(StreamCursor::empty(), &ALL).await.unwrap();
        let id = bench.create().await;
        let (lane_id, now) = (lane(), bench.clock.now());
        let args = ChangePriorityArgs { execution_id: id.clone(), new_priority: 5, lane_id, now };
        bench.backend.change_priority(args).await.unwrap();
        let event = next(&mut events).await.unwrap();
        assert_eq!((event.execution_id, event.event_type), (id, OperatorEventType::PriorityChanged));
        assert_eq!(event.details.unwrap()["new_priority"], 5);
        assert_eq!(event.at, now);
    }

    async fn instance_tags_are_announced_when_set_and_cleared(bench) {
        let mut events = bench.backend.subscribe_instance_tags(beginning()).await.unwrap();
        let tagged = bench.create().await;
        bench.create_with(&|args| args.tags.clear()).await;
        bench.backend.set_execution_tag(&tagged, "team.name", "a").await.unwrap();
        bench.backend.set_execution_tag(&tagged, "cairn.instance_id", "i-2").await.unwrap();
        bench.backend.set_execution_tag(&tagged, "cairn.instance_id", "").await.unwrap();
        let mut told = Vec::new();
        for event in take(&mut events, 3).await {
            told.push(match event {
                InstanceTagEvent::Attached { execution_id, tag, .. } => (execution_id, "+", tag),
                InstanceTagEvent::Cleared { execution_id, tag, .. } => (execution_id, "-", tag),
                other => panic!("{other:?}"),
            });
        }
        let expected = [("+", INSTANCE), ("+", "i-2"), ("-", "i-2")];
        assert_eq!(told, expected.map(|(change, tag)| (tagged.clone(), change, tag.to_owned())));
    }

    async fn members_of_flows_bring_their_instance_tag(bench) {
        let flow_id = FlowId::from_uuid(Uuid::new_v4());
        let (flow_kind, namespace) = ("release".into(), Namespace::new(NAMESPACE));
        let now = bench.clock.now();
        let args = CreateFlowArgs { flow_id: flow_id.clone(), flow_kind, namespace, now };
        bench.backend.create_flow(args).await.unwrap();
        let partitions = PartitionConfig::default();
        let member = ExecutionId::deterministic_for_flow(&flow_id, &partitions, Uuid::new_v4());
        let created = bench.backend.create_flow_members(&flow_id, vec![bench.args(&member)]).await;
        assert!(created.iter().all(Result::is_ok), "{created:?}");
        let mut events = bench.backend.subscribe_instance_tags(beginning()).await.unwrap();
        let event = next(&mut events).await.unwrap();
        let InstanceTagEvent::Attached { execution_id, tag, .. } = event else {
            panic!("{event:?}")
        };
        assert_eq!((execution_id, tag.as_str()), (member, INSTANCE));
    }

    async fn a_filter_wants_every_dimension_and_null_meets_none(bench) {
        let labelled = |namespace: Option<&str>, tag: Option<&str>| {
            let value = |given: Option<&str>| given.map_or(Value::Null, text);
            vec![("namespace", value(namespace)), ("instance_tag", value(tag))]
        };
        let ids = [(); 5].map(|()| id());
        let labels = [
            labelled(Some("a"), Some("i-1")),
            labelled(Some("a"), None),
            labelled(Some("b"), Some("i-1")),
            labelled(None, None),
            labelled(Some("a"), Some("key=i-1")),
        ];
        for (id, label) in ids.iter().zip(labels) {
            completion(&bench, id, "success", label).await;
        }
        let last = id();
        completion(&bench, &last, "success", labelled(Some("a"), Some("i-1"))).await;
        let tagged = |filter: ScannerFilter| filter.with_instance_tag("any.key", "i-1");
        let cases = [
            (ScannerFilter::new().with_namespace("a"), vec![0, 1, 4]),
            (tagged(ScannerFilter::new()), vec![0, 2]),
            (tagged(ScannerFilter::new().with_namespace("a")), vec![0]),
            (ALL, vec![0, 1, 2, 3, 4]),
        ];
        for (filter, expected) in cases {
            let mut ends = bench.backend.subscribe_completion(beginning(), &filter).await.unwrap();
            for index in expected {
                assert_eq!(next(&mut ends).await.unwrap().execution_id, ids[index], "{filter:?}");
            }
            // The last one tells that nothing else came in between.
            assert_eq!(next(&mut ends).await.unwrap().execution_id, last, "{filter:?}");
        }
    }

    async fn events_carry_the_fields_that_filters_compare(bench) {
        let untagged = bench.create_with(&|args| args.tags.clear()).await;
        let first = bench.claim().await;
        let (tagged, second) = bench.leased().await;
        for handle in [first, second] {
            bench.backend.complete(&handle, None).await.unwrap();
        }
        let filter = ScannerFilter::new()
            .with_namespace(NAMESPACE)
            .with_instance_tag("cairn.instance_id", INSTANCE);
        let mut leases =
            bench.backend.subscribe_lease_history(beginning(), &filter).await.unwrap();
        let events = take(&mut leases, 2).await;
        assert_eq!(kinds(&events), [(&tagged, "acquired"), (&tagged, "revoked")]);
        let mut ends = bench.backend.subscribe_completion(beginning(), &filter).await.unwrap();
        assert_eq!(next(&mut ends).await.unwrap().execution_id, tagged);
        assert_ne!(untagged, tagged);
    }

    async fn an_unreadable_row_is_reported_and_skipped(bench) {
        let sent = Uuid::new_v4().to_string();
        let (before, bad, after) = (id(), id(), id());
        signal(&bench, &before, &sent, vec![]).await;
        signal(&bench, &bad, "nonsense", vec![]).await;
        signal(&bench, &after, &sent, vec![]).await;
        let mut signals =
            bench.backend.subscribe_signal_delivery(beginning(), &ALL).await.unwrap();
        assert_eq!(next(&mut signals).await.unwrap().execution_id, before);
        // Nodes of a cluster count in steps.
        let number = bench.of("ff_signal_event", &bad).await[0].int("event_id").unwrap();
        assert_eq!(
            next(&mut signals).await.unwrap_err().to_string(),
            format!(
                "validation: Corruption: ff_signal_event {number}: ff_signal_event.signal_id: \
                 \"nonsense\" is no UUID"
            ),
        );
        assert_eq!(next(&mut signals).await.unwrap().execution_id, after);
    }

    async fn more_than_a_page_arrives_whole(bench) {
        let mut ends =
            bench.backend.subscribe_completion(StreamCursor::empty(), &ALL).await.unwrap();
        let ids: Vec<ExecutionId> = (0..600).map(|_| id()).collect();
        for id in &ids {
            completion(&bench, id, "success", vec![]).await;
        }
        let events = take(&mut ends, ids.len()).await;
        assert!(events.iter().map(|event| &event.execution_id).eq(&ids));
    }

    async fn capabilities_name_the_subscriptions(bench) {
        let supports = bench.backend.capabilities().supports;
        assert!(supports.subscribe_lease_history && supports.subscribe_completion);
        assert!(supports.subscribe_signal_delivery && supports.subscribe_instance_tags);
    }
}

// Only SQLite lets in a value of another type than its column's.
#[test]
fn a_row_that_makes_its_page_unreadable_is_reported_and_skipped() {
    backends::run(backends::sqlite_file(), |bench| {
        Box::pin(async move {
            let (before, after) = (id(), id());
            completion(&bench, &before, "success", vec![]).await;
            let bad = "INSERT INTO ff_completion_event \
                   (partition_key, execution_id, outcome, occurred_at_ms) \
                   VALUES (7, x'00', 'success', 0)";
            bench.plain.execute(bad).await;
            completion(&bench, &after, "success", vec![]).await;
            let mut ends = bench.backend.subscribe_completion(beginning(), &ALL).await.unwrap();
            assert_eq!(next(&mut ends).await.unwrap().execution_id, before);
            let error = next(&mut ends).await.unwrap_err().to_string();
            assert!(
                error.starts_with("validation: Corruption: ff_completion_event 2: "),
                "{error}"
            );
            assert_eq!(next(&mut ends).await.unwrap().execution_id, after);
            // What must hold of every row cannot be asked of such a one.
            bench.plain.execute("DELETE FROM ff_completion_event").await;
        })
    });
}

#[tokio::test]
async fn completions_can_be_had_without_cursors() {
    let backend = MemoryBackend::new();
    let filter = ScannerFilter::new().with_namespace("a");
    let mut all = backend.subscribe_completions().await.unwrap();
    let mut filtered = backend.subscribe_completions_filtered(&filter).await.unwrap();
    let flow = Uuid::new_v4();
    let ids = [id(), id()];
    for (id, namespace) in ids.iter().zip([Value::Null, text("a")]) {
        let cells = [
            ("partition_key", int(i64::from(id.partition()))),
            ("execution_id", Value::Uuid(id.uuid())),
            ("flow_id", Value::Uuid(flow)),
            ("outcome", text("failed")),
            ("occurred_at_ms", int(START)),
            ("namespace", namespace),
        ];
        backend.insert_row("ff_completion_event", cells).unwrap();
    }
    let payload = all.next().await.unwrap();
    assert_eq!((&payload.execution_id, payload.outcome.as_str()), (&ids[0], "failed"));
    assert_eq!(payload.flow_id, Some(FlowId::from_uuid(flow)));
    assert_eq!(payload.produced_at_ms.0, START);
    assert_eq!(all.next().await.unwrap().execution_id, ids[1]);
    assert_eq!(filtered.next().await.unwrap().execution_id, ids[1]);
    // A clone is the same database, also to those who wait.
    let mut waiting = backend.clone().subscribe_completions().await.unwrap();
    let task = tokio::spawn(async move { waiting.next().await.unwrap().execution_id });
    let third = id();
    let cells = [
        ("partition_key", int(i64::from(third.partition()))),
        ("execution_id", Value::Uuid(third.uuid())),
        ("outcome", text("success")),
        ("occurred_at_ms", int(START)),
    ];
    backend.insert_row("ff_completion_event", cells).unwrap();
    assert_eq!(tokio::time::timeout(BOUND, task).await.unwrap().unwrap(), third);
}
