//! Pages: ascending, complete, each with an exact and exclusive cursor.

use ff_core::contracts::{ExecutionQuery, ListExpiredLeasesArgs, Outbox};
use ff_core::partition::PartitionKey;
use ff_core::plan::value::Value;
use ff_core::state::PublicState;
use ff_core::types::{ExecutionId, LaneId, Namespace, TimestampMs};
use serde_json::json;

use crate::backends::{Bench, START, conformance};
use crate::bench::{ACTIVE, COMPLETED, TTL, WAITING, assert_refused, id, id_in, partition};
use crate::plain::{int, text};

fn key(index: u16) -> PartitionKey {
    PartitionKey::from(partition(&id_in(index)))
}

/// Rows of a partition by hand, sorted by UUID.
async fn insert(bench: &Bench, index: u16, count: usize) -> Vec<ExecutionId> {
    let mut ids: Vec<ExecutionId> = (0..count).map(|_| id_in(index)).collect();
    for id in &ids {
        bench.insert_core(id, WAITING, vec![]).await;
    }
    ids.sort();
    ids
}

async fn lanes(bench: &Bench, after: Option<&str>, limit: usize) -> (Vec<String>, Option<String>) {
    let page = bench.backend.list_lanes(after.map(LaneId::new), limit).await.unwrap();
    let name = |lane: LaneId| lane.as_str().to_owned();
    (page.lanes.into_iter().map(name).collect(), page.next_cursor.map(name))
}

conformance! {
    async fn a_partition_is_paged_by_ascending_id(bench) {
        let ids = insert(&bench, 3, 7).await;
        insert(&bench, 4, 2).await;
        let list = |cursor, limit| bench.backend.list_executions(key(3), cursor, limit);
        let page = list(None, 3).await.unwrap();
        assert_eq!(page.executions, ids[0..3]);
        assert_eq!(page.next_cursor.as_ref(), Some(&ids[2]));
        let page = list(page.next_cursor, 3).await.unwrap();
        assert_eq!(page.executions, ids[3..6]);
        let page = list(page.next_cursor, 3).await.unwrap();
        assert_eq!(page.executions, ids[6..7]);
        assert_eq!(page.next_cursor, None);
        let page = list(None, 7).await.unwrap();
        assert_eq!((page.executions.len(), page.next_cursor), (7, None), "an exact page is the last");
        let page = list(Some(ids[6].clone()), 3).await.unwrap();
        assert_eq!((page.executions.len(), page.next_cursor), (0, None));
        let page = list(None, 0).await.unwrap();
        assert_eq!((page.executions.len(), page.next_cursor), (0, None));
        let page = bench.backend.list_executions(key(5), None, 10).await.unwrap();
        assert_eq!((page.executions.len(), page.next_cursor), (0, None));
        // A cursor need not exist any more.
        let between = ExecutionId::from_parts(3, uuid::Uuid::from_u128(ids[0].uuid().as_u128() + 1));
        assert_eq!(list(Some(between), 2).await.unwrap().executions, ids[1..3]);
    }

    async fn a_page_holds_a_thousand_at_most(bench) {
        let batch = (0..1_003).map(|_| bench.args(&id_in(6))).collect();
        for result in bench.backend.create_executions(batch).await {
            result.unwrap();
        }
        let page = bench.backend.list_executions(key(6), None, usize::MAX).await.unwrap();
        assert_eq!(page.executions.len(), 1_000);
        let last = page.executions.last().cloned();
        assert!(page.executions.is_sorted());
        assert_eq!(page.next_cursor, last);
        let page = bench.backend.list_executions(key(6), last, 5_000).await.unwrap();
        assert_eq!((page.executions.len(), page.next_cursor), (3, None));
    }

    async fn an_invalid_partition_key_is_refused(bench) {
        let parsed = |text: &str| serde_json::from_value::<PartitionKey>(json!(text)).unwrap();
        for (text, reason) in [
            ("7", "partition key is not wrapped in braces"),
            ("{fp}", "partition key has no <prefix>:<index> body"),
            ("{x:1}", "partition key has an unknown family prefix: x"),
            ("{fp:99999}", "partition key has an invalid index: 99999"),
        ] {
            assert_refused(
                bench.backend.list_executions(parsed(text), None, 10).await,
                &format!("validation: InvalidInput: list_executions: partition: '{text}': {reason}"),
            );
        }
        assert_refused(
            bench.backend.list_executions(parsed("{fp:40000}"), None, 10).await,
            "validation: InvalidInput: partition index 40000 exceeds i16 range (max 32767)",
        );
    }

    async fn lanes_are_paged_by_name(bench) {
        // Bytes decide, not a locale: upper case first.
        for lane in ["b", "B", "a", "a ", "Z'", "~"] {
            bench.create_with(&|args| args.lane_id = LaneId::new(lane)).await;
        }
        let all = ["B", "Z'", "a", "a ", "b", "~"].map(str::to_owned).to_vec();
        assert_eq!(lanes(&bench, None, 10).await, (all.clone(), None));
        assert_eq!(lanes(&bench, None, 6).await, (all.clone(), None));
        assert_eq!(lanes(&bench, None, 2).await, (all[0..2].to_vec(), Some("Z'".into())));
        assert_eq!(lanes(&bench, Some("Z'"), 3).await, (all[2..5].to_vec(), Some("b".into())));
        assert_eq!(lanes(&bench, Some("b"), 3).await, (all[5..].to_vec(), None));
        assert_eq!(lanes(&bench, None, 0).await, (vec![], None));
    }

    async fn an_invalid_stored_lane_is_corruption(bench) {
        let row = vec![
            ("lane_id", text("tab\there")),
            ("registered_at_ms", int(START)),
            ("registered_by", text("hand")),
        ];
        bench.plain.insert("ff_lane_registry", row).await;
        let error = bench.backend.list_lanes(None, 10).await.unwrap_err().to_string();
        let expected = "validation: Corruption: ff_lane_registry.lane_id: \"tab\\there\": ";
        assert!(error.starts_with(expected), "{error}");
    }

    async fn queries_filter_and_page_over_partitions(bench) {
        let mut ids = Vec::new();
        for (partition, lane, states, namespace) in [
            (9, "x", WAITING, "n'1"),
            (2, "x", COMPLETED, "n'1"),
            (200, "x", WAITING, "n2"),
            (2, "y", WAITING, "n'1"),
            (30, "x", WAITING, "n'1"),
        ] {
            let id = id_in(partition);
            let raw = json!({ "namespace": namespace, "execution_kind": "k" });
            let more = vec![
                ("lane_id", text(lane)),
                ("raw_fields", Value::Json(raw)),
                ("priority", int(i64::from(partition))),
            ];
            bench.insert_core(&id, states, more).await;
            ids.push(id);
        }
        let find = async |query: ExecutionQuery| {
            let page = bench.backend.list_executions_by(query).await.unwrap();
            let found: Vec<_> = page.executions.iter().map(|row| row.execution_id.clone()).collect();
            (found, page.next_cursor)
        };
        let mut all = ids.clone();
        all.sort_by_key(|id| (id.partition(), id.uuid()));
        assert_eq!(find(ExecutionQuery::new(10)).await, (all.clone(), None));
        assert_eq!(find(ExecutionQuery::new(5)).await, (all.clone(), None));
        assert_eq!(find(ExecutionQuery::new(2)).await, (all[0..2].to_vec(), Some(all[1].clone())));
        let after = ExecutionQuery::new(2).with_after(all[1].clone());
        assert_eq!(find(after).await, (all[2..4].to_vec(), Some(all[3].clone())));
        let after = ExecutionQuery::new(2).with_after(all[3].clone());
        assert_eq!(find(after).await, (all[4..].to_vec(), None));
        assert_eq!(find(ExecutionQuery::new(0)).await, (vec![], None));
        let only = ExecutionQuery::new(10)
            .with_lane_id(LaneId::new("x"))
            .with_public_state(PublicState::Waiting)
            .with_namespace(Namespace::new("n'1"));
        assert_eq!(find(only).await, (vec![ids[0].clone(), ids[4].clone()], None));
        let none = ExecutionQuery::new(10).with_lane_id(LaneId::new("' OR 1=1 --"));
        assert_eq!(find(none).await, (vec![], None));
        let row = bench.backend.list_executions_by(ExecutionQuery::new(10)).await.unwrap();
        let row = row.executions.iter().find(|row| row.execution_id == ids[0]).unwrap();
        assert_eq!((row.lane_id.as_str(), row.execution_kind.as_str()), ("x", "k"));
        assert_eq!((row.priority, row.public_state), (9, PublicState::Waiting));
    }

    async fn flows_tags_and_ages_filter(bench) {
        let flow = bench.flow(2).await;
        let member = &flow.members[0];
        bench.clock.advance(10);
        let tagged = bench.create_with(&|args| {
            args.tags.insert("team.name".into(), "a'b".into());
            args.tags.insert("team.other".into(), "x".into());
        }).await;
        bench.backend.set_execution_tag(member, "team.name", "a'b").await.unwrap();
        let find = async |query: ExecutionQuery| {
            let page = bench.backend.list_executions_by(query).await.unwrap();
            page.executions.into_iter().map(|row| row.execution_id).collect::<Vec<_>>()
        };
        let sorted = |ids: &[&ExecutionId]| {
            let mut ids: Vec<ExecutionId> = ids.iter().map(|&id| id.clone()).collect();
            ids.sort_by_key(|id| (id.partition(), id.uuid()));
            ids
        };
        let all = ExecutionQuery::new(10);
        let of_flow = all.clone().with_flow_id(flow.id.clone());
        assert_eq!(find(of_flow.clone()).await, sorted(&[member, &flow.members[1]]));
        let both = of_flow.clone().with_tag("team.name", "a'b");
        assert_eq!(find(both).await, sorted(&[member]));
        let by_tag = all.clone().with_tag("team.name", "a'b");
        let newest_first = [tagged.clone(), member.clone()];
        assert_eq!(find(by_tag.clone()).await, newest_first);
        let mut one = by_tag.clone();
        one.limit = 1;
        assert_eq!(find(one.clone()).await, newest_first[..1]);
        assert_eq!(find(one.clone().with_after(tagged.clone())).await, newest_first[1..]);
        assert_eq!(find(one.with_after(member.clone())).await, []);
        let gone = id();
        assert_refused(
            bench.backend.list_executions_by(all.clone().with_after(gone.clone())).await,
            &format!(
                "validation: InvalidInput: after: there is no execution {gone}; list again from the start"
            ),
        );
        for (key, value) in [("team.name", "a"), ("team.name", ""), ("team.nam", "a'b"), ("a.b", "x")] {
            assert_eq!(find(all.clone().with_tag(key, value)).await, []);
        }
        let early = by_tag.with_created_by(TimestampMs(START + 9));
        assert_eq!(find(early.clone()).await, sorted(&[member]));
        assert_eq!(find(early.with_created_by(TimestampMs(START - 1))).await, []);
        let mut page = of_flow.clone();
        page.limit = 1;
        let first = find(page.clone()).await;
        assert_eq!(find(page.with_after(first[0].clone())).await, find(of_flow).await[1..]);
        // A flow of an older database is on partition 0; on any other it is not looked for.
        let older = crate::flow::elsewhere();
        let (there, lost) = (id_in(0), id_in(crate::flow::home(&older).index ^ 1));
        for id in [&there, &lost] {
            bench.insert_core(id, WAITING, vec![("flow_id", Value::Uuid(older.0))]).await;
        }
        let expected = if lost.partition() == 0 { sorted(&[&there, &lost]) } else { vec![there] };
        assert_eq!(find(all.clone().with_flow_id(older)).await, expected);
        assert_refused(
            bench.backend.list_executions_by(all.clone().with_tag("Team", "x")).await,
            "validation: InvalidInput: invalid tag key: \"Team\" is not of the form <namespace>.<name>",
        );
        assert_refused(
            bench.backend.list_executions_by(all.with_tag("a.b", "\0")).await,
            "validation: InvalidInput: tag: must not contain NUL (at byte 0)",
        );
    }

    async fn an_old_spelling_is_found_by_its_meaning(bench) {
        let id = id();
        bench.insert_core(&id, "active leased not_applicable running running -", vec![]).await;
        let query = ExecutionQuery::new(10).with_public_state(PublicState::Active);
        let page = bench.backend.list_executions_by(query).await.unwrap();
        assert_eq!(page.executions.len(), 1);
        assert_eq!(page.executions[0].public_state, PublicState::Active);
    }

    async fn lapsed_leases_are_paged_by_expiry(bench) {
        let mut leases = Vec::new();
        for (partition, expires, namespace) in
            [(4, 30, "n1"), (250, 10, "n1"), (1, 20, "n2"), (1, 20, "n1"), (5, 1_000, "n1")]
        {
            let id = id_in(partition);
            let raw = json!({ "namespace": namespace });
            bench.insert_core(&id, ACTIVE, vec![("raw_fields", Value::Json(raw))]).await;
            let lease = vec![
                ("worker_instance_id", text("w-9")),
                ("lease_expires_at_ms", int(START + expires)),
            ];
            bench.insert_attempt(&id, 0, 6, lease).await;
            leases.push((expires, id.uuid(), id, namespace));
        }
        // Neither of these is a live lease of an active execution.
        let waiting = id();
        bench.insert_core(&waiting, WAITING, vec![]).await;
        bench.insert_attempt(&waiting, 0, 1, vec![("lease_expires_at_ms", int(START))]).await;
        leases.retain(|(expires, ..)| *expires <= 30);
        leases.sort_by_key(|(expires, uuid, ..)| (*expires, *uuid));
        let ids: Vec<_> = leases.iter().map(|(_, _, id, _)| id.clone()).collect();

        let as_of = TimestampMs(START + 30);
        let mut args = ListExpiredLeasesArgs::new(as_of);
        let all = bench.backend.list_expired_leases(args.clone()).await.unwrap();
        let found: Vec<_> = all.entries.iter().map(|entry| entry.execution_id.clone()).collect();
        assert_eq!((found, all.cursor), (ids.clone(), None));
        let first = &all.entries[0];
        assert_eq!(first.lease_epoch.0, 6);
        assert_eq!(first.worker_instance_id.as_str(), "w-9");
        assert_eq!(first.expires_at_ms, TimestampMs(START + 10));

        args.limit = Some(2);
        let page = bench.backend.list_expired_leases(args.clone()).await.unwrap();
        assert_eq!(page.entries, all.entries[0..2]);
        args.after = page.cursor;
        assert!(args.after.is_some());
        let page = bench.backend.list_expired_leases(args.clone()).await.unwrap();
        assert_eq!((page.entries.as_slice(), page.cursor), (&all.entries[2..4], None));
        args.after = None;
        args.namespace = Some(Namespace::new("n2"));
        let page = bench.backend.list_expired_leases(args).await.unwrap();
        assert_eq!(page.entries.len(), 1);
        let before = ListExpiredLeasesArgs::new(TimestampMs(START + 9));
        assert_eq!(bench.backend.list_expired_leases(before).await.unwrap().entries, []);
    }

    async fn a_timeline_lists_attempts_and_events_in_order(bench) {
        let (id, _) = bench.leased().await;
        bench.clock.advance(TTL);
        bench.backend.mark_lease_expired_if_due(partition(&id), &id).await.unwrap();
        bench.clock.advance(1);
        let handle = bench.claim().await;
        bench.clock.advance(1);
        bench.backend.complete(&handle, None).await.unwrap();
        let timeline = bench.backend.execution_timeline(&id).await.unwrap();
        assert_eq!(timeline.attempts.len(), 1);
        assert_eq!(timeline.attempts[0].lease_epoch.0, 3);
        assert_eq!(timeline.attempts[0].ended_at, Some(TimestampMs(START + TTL + 2)));
        let entries: Vec<_> = timeline
            .events
            .iter()
            .map(|event| (event.at.0 - START, event.outbox, event.event.as_str()))
            .collect();
        let expected = [
            (0, Outbox::Lease, "acquired"),
            (TTL, Outbox::Lease, "expired"),
            (TTL + 1, Outbox::Lease, "acquired"),
            (TTL + 2, Outbox::Lease, "revoked"),
            (TTL + 2, Outbox::Completion, "success"),
        ];
        assert_eq!(entries, expected);
        let unknown = bench.backend.execution_timeline(&crate::bench::id()).await.unwrap();
        assert_eq!((unknown.attempts.len(), unknown.events.len()), (0, 0));
    }
}
