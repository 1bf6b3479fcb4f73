//! Retention: what goes, what stays, and that nothing is left of what goes.

use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

use ff_core::backend::{Frame, FrameKind, IdempotencyKey, ScannerFilter, StreamMode};
use ff_core::contracts::{HeldBack, RetentionRule, TrimPass, TrimReport};
use ff_core::plan::value::Value;
use ff_core::state::{ClosedSet as _, OutboxKind, PublicState};
use ff_core::types::{ExecutionId, LaneId};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use serde_json::json;
use uuid::Uuid;

use super::signal::resumed;
use crate::backends::{Bench, START, conformance};
use crate::bench::{COMPLETED, INSTANCE, NAMESPACE, assert_refused, id, id_in, lane, partition};
use crate::flow::End;
use crate::plain::{int, text};

/// How long ago what goes has ended.
pub(super) const AGE: i64 = 10_000;
/// The tables that name executions and go on counting without them.
const OUTLIVING: [&str; 4] =
    ["ff_idempotency_key", "ff_quota_admitted", "ff_quota_window", "ff_limit_cell"];

impl Bench {
    /// The tables with a row that names this id.
    pub(super) async fn tables_naming(&self, uuid: Uuid) -> Vec<&'static str> {
        let named = uuid.to_string();
        let mut tables = Vec::new();
        for (table, rows) in self.everything().await {
            // Members have lanes of their own, which are named after them; so are their counts.
            let is_of_lanes = matches!(table, "ff_lane_registry" | "ff_exec_count");
            if !is_of_lanes && rows.iter().any(|row| format!("{row:?}").contains(&named)) {
                tables.push(table);
            }
        }
        tables
    }

    /// One call of the contract's operation.
    async fn trim(&self, id: &ExecutionId, batch: u32) -> u32 {
        let age = AGE.unsigned_abs();
        let (now, all) = (self.clock.now(), ScannerFilter::NOOP);
        let trimmed =
            self.backend.trim_retention(partition(id), &lane(), age, now, batch, &all).await;
        trimmed.unwrap()
    }

    /// A whole pass.
    pub(super) async fn pass(&self, mut pass: TrimPass) -> TrimReport {
        while !pass.is_done() {
            pass = self.backend.trim_step(pass).await.unwrap();
        }
        assert_eq!(pass.report.errors, 0);
        pass.report
    }

    pub(super) async fn pass_of(&self, rule: RetentionRule) -> TrimReport {
        self.pass(TrimPass::new(vec![rule])).await
    }

    pub(super) async fn exists(&self, id: &ExecutionId) -> bool {
        !self.of("ff_exec_core", id).await.is_empty()
    }

    /// An execution that has completed.
    pub(super) async fn completed(&self) -> ExecutionId {
        let (id, handle) = self.leased().await;
        self.backend.complete(&handle, None).await.unwrap();
        id
    }

    /// An execution that has rows in every table that it can have rows in.
    pub(super) async fn with_all_rows(&self) -> ExecutionId {
        let (id, _, target) =
            self.waiting(|args| args.with_idempotency_key(IdempotencyKey::new("once"))).await;
        let mut signal = self.signal(&target, "go");
        signal.idempotency_key = Some("first".into());
        self.backend.deliver_signal(signal).await.unwrap();
        let claimed = self.backend.claim_resumed_execution(resumed(self, &id)).await.unwrap();
        let ff_core::contracts::ClaimResumedExecutionResult::Claimed(claimed) = claimed;
        for mode in [StreamMode::durable(), StreamMode::durable_summary()] {
            let frame = Frame::new(b"{}".to_vec(), FrameKind::Stdout).with_mode(mode);
            self.backend.append_frame(&claimed.handle, frame).await.unwrap();
        }
        self.backend.set_execution_tag(&id, "cairn.instance_id", "another").await.unwrap();
        self.backend.set_execution_tag(&id, "cairn.instance_id", INSTANCE).await.unwrap();
        self.backend.complete(&claimed.handle, None).await.unwrap();
        self.replay(&id).await;
        self.cancel_one(&id).await;
        self.insert_rest(&id).await;
        id
    }

    /// Rows that other families write, by hand.
    async fn insert_rest(&self, id: &ExecutionId) {
        let own = || {
            vec![
                ("partition_key", int(i64::from(id.partition()))),
                ("execution_id", Value::Uuid(id.uuid())),
            ]
        };
        let capability =
            vec![("execution_id", Value::Uuid(id.uuid())), ("capability", text("gpu"))];
        self.plain.insert("ff_execution_capabilities", capability).await;
        let mut waitpoint = own();
        waitpoint.extend([
            ("waitpoint_id", Value::Uuid(Uuid::new_v4())),
            ("token_kid", text("k")),
            ("token", text("k:00")),
            ("created_at_ms", int(START)),
        ]);
        self.plain.insert("ff_waitpoint_pending", waitpoint).await;
        let mut grant = own();
        grant.extend([
            ("grant_id", Value::Bytes(id.uuid().as_bytes().to_vec())),
            ("kind", text("claim")),
            ("worker_id", text("w")),
            ("worker_instance_id", text("w-1")),
            ("grant_ttl_ms", int(1)),
            ("issued_at_ms", int(START)),
            ("expires_at_ms", int(START)),
        ]);
        self.plain.insert("ff_claim_grant", grant).await;
        let spent = vec![
            ("partition_key", int(3)),
            ("budget_id", text(&Uuid::new_v4().to_string())),
            ("execution_id", Value::Uuid(id.uuid())),
            ("dimensions_key", text("tokens")),
            ("updated_at_ms", int(START)),
        ];
        self.plain.insert("ff_budget_usage_by_exec", spent).await;
    }

    /// Every row that belongs to an execution or a flow belongs to one that exists.
    pub(super) async fn assert_no_orphan(&self) {
        let existing: HashSet<Uuid> =
            [("ff_exec_core", "execution_id"), ("ff_flow_core", "flow_id")]
                .map(|(table, id)| async move {
                    let rows = self.plain.rows(table).await;
                    rows.iter().filter_map(|row| row.uuid(id)).collect::<Vec<_>>()
                })
                .into_iter()
                .collect::<FuturesUnordered<_>>()
                .flat_map(futures_util::stream::iter)
                .collect()
                .await;
        for (table, rows) in self.everything().await {
            if OUTLIVING.contains(&table) {
                continue;
            }
            let columns = ["execution_id", "flow_id", "idempotency_key"];
            let known = ff_core::schema::table(table).unwrap();
            let columns = columns.into_iter().filter(|column| known.column(column).is_some());
            for column in
                columns.filter(|column| *column != "idempotency_key" || table == "ff_suspend_dedup")
            {
                for row in &rows {
                    let text = match row.value(column) {
                        Value::Null => continue,
                        Value::Uuid(uuid) => uuid.to_string(),
                        other => other.to_string().replace('"', ""),
                    };
                    // An id stands alone, behind its partition, or before a key.
                    let id = text.rsplit_once("}:").map_or(text.as_str(), |(_, uuid)| uuid);
                    let id: Uuid = id.get(..36).unwrap_or(id).parse().unwrap();
                    assert!(existing.contains(&id), "{table}: {row:?}");
                }
            }
        }
    }

    /// What an execution may leave behind after its row is gone: nothing.
    pub(super) async fn assert_gone(&self, id: &ExecutionId) {
        assert_eq!(self.tables_naming(id.uuid()).await, <[&str; 0]>::default(), "{id}");
    }
}

pub(super) fn old() -> RetentionRule {
    RetentionRule::older_than(AGE.unsigned_abs())
}

conformance! {
    async fn nothing_is_left_of_an_execution_with_rows_in_every_table(bench) {
        let gone = bench.with_all_rows().await;
        let expected = bench.tables_naming(gone.uuid()).await;
        for table in [
            "ff_attempt", "ff_budget_usage_by_exec", "ff_claim_grant", "ff_completion_event",
            "ff_exec_core", "ff_execution_capabilities", "ff_instance_tag_event", "ff_lease_event",
            "ff_operator_event", "ff_signal_dedup", "ff_signal_event", "ff_stream_frame", "ff_stream_meta", "ff_stream_summary",
            "ff_suspend_dedup", "ff_suspension_current", "ff_waitpoint_pending",
        ] {
            assert!(expected.contains(&table), "{table} of {expected:?}");
        }
        let like = bench.with_all_rows().await;
        bench.set_core(&like, vec![("lane_id", text("other"))]).await;
        let before = bench.tables_naming(like.uuid()).await;
        bench.clock.advance(AGE);
        assert_eq!(bench.trim(&gone, 10).await, 1);
        bench.assert_gone(&gone).await;
        assert_eq!(bench.tables_naming(like.uuid()).await, before, "of another lane");
        assert_eq!(bench.trim(&gone, 10).await, 0);

        assert_eq!(bench.pass_of(old()).await.executions, 1);
        bench.assert_gone(&like).await;
    }

    async fn only_what_ended_long_enough_ago_in_that_lane_and_partition_goes(bench) {
        let (ended, running) = (bench.completed().await, bench.leased().await.0);
        bench.clock.advance(AGE - 1);
        assert_eq!(bench.trim(&ended, 10).await, 0);
        let younger = bench.completed().await;
        bench.clock.advance(1);
        let elsewhere = id_in(8);
        assert_eq!(bench.trim(&elsewhere, 10).await, 0);
        let other = LaneId::new("other");
        let all = ScannerFilter::NOOP;
        let place = partition(&ended);
        for (lane, filter, expected) in [
            (&other, all.clone(), 0),
            (&lane(), ScannerFilter::new().with_namespace("theirs"), 0),
            (&lane(), ScannerFilter::new().with_instance_tag("cairn.instance_id", "x"), 0),
            (&lane(), ScannerFilter::new().with_instance_tag("cairn.instance_id", INSTANCE)
                .with_namespace(NAMESPACE), 1),
        ] {
            let age = AGE.unsigned_abs();
            let now = bench.clock.now();
            let trimmed = bench.backend.trim_retention(place, lane, age, now, 10, &filter);
            assert_eq!(trimmed.await.unwrap(), expected);
        }
        assert!(bench.exists(&younger).await && bench.exists(&running).await);
    }

    async fn every_end_goes_cancelled_ones_and_rows_without_an_end_time_too(bench) {
        let mut ids = vec![bench.completed().await];
        let (failed, handle) = bench.leased().await;
        bench.fail(&handle).await;
        let cancelled = bench.create().await;
        bench.cancel_one(&cancelled).await;
        ids.extend([failed, cancelled]);
        let words = "cancelled unowned not_applicable cancelled attempt_terminal -";
        for (states, ended) in [(words, int(START)), (COMPLETED, int(START)), (COMPLETED, Value::Null)] {
            let id = id();
            bench.insert_core(&id, states, vec![("terminal_at_ms", ended)]).await;
            ids.push(id);
        }
        bench.clock.advance(AGE);
        assert_eq!(bench.trim(&ids[0], 10).await, 6);
        for id in &ids {
            bench.assert_gone(id).await;
        }
    }

    async fn those_that_ended_first_go_first(bench) {
        let mut ids = Vec::new();
        for _ in 0..5 {
            ids.push(bench.completed().await);
            bench.clock.advance(1);
        }
        bench.clock.advance(AGE);
        assert_eq!(bench.trim(&ids[0], 0).await, 0);
        assert_eq!(bench.trim(&ids[0], 2).await, 2);
        let mut left = Vec::new();
        for id in &ids {
            left.push(bench.exists(id).await);
        }
        assert_eq!(left, [false, false, true, true, true]);
        assert_eq!(bench.trim(&ids[0], 10).await, 3);
    }

    async fn a_count_keeps_the_newest_of_each_lane(bench) {
        let mut of_lanes: BTreeMap<&str, Vec<ExecutionId>> = BTreeMap::new();
        for lane in ["a", "b", "a", "a", "b", "a", "c"] {
            let id = bench.create_with(&|args| args.lane_id = LaneId::new(lane)).await;
            bench.cancel_one(&id).await;
            of_lanes.entry(lane).or_default().push(id);
            bench.clock.advance(1);
        }
        let keep = RetentionRule::older_than(0).keeping(2);
        let only_b = keep.clone().in_lane(LaneId::new("b"));
        assert_eq!(bench.pass_of(only_b).await.executions, 0);
        assert_eq!(bench.pass_of(keep.clone().in_lane(LaneId::new("a"))).await.executions, 2);
        for (at, id) in of_lanes["a"].iter().enumerate() {
            assert_eq!(bench.exists(id).await, 2 <= at, "{at}");
        }
        assert_eq!(bench.pass_of(keep).await.executions, 0);
        // A replayed execution has two events, and counts once.
        let again = &of_lanes["a"][3];
        bench.replay(again).await;
        bench.cancel_one(again).await;
        let one = RetentionRule::older_than(0).keeping(1);
        assert_eq!(bench.pass_of(one).await.executions, 2);
        assert!(bench.exists(again).await && bench.exists(&of_lanes["c"][0]).await);
    }

    async fn the_first_rule_that_selects_an_execution_decides(bench) {
        let completed = bench.completed().await;
        let (failed, handle) = bench.leased().await;
        bench.fail(&handle).await;
        let other = bench.create_with(&|args| args.lane_id = LaneId::new("audit")).await;
        bench.cancel_one(&other).await;
        bench.clock.advance(AGE);
        let for_ever = RetentionRule::older_than(u64::MAX);
        let rules = vec![
            for_ever.clone().in_lane(LaneId::new("audit")),
            for_ever.with_outcomes([PublicState::Failed, PublicState::Expired]),
            old(),
        ];
        let report = bench.pass(TrimPass::new(rules)).await;
        assert_eq!((report.executions, report.looked_at), (1, 3));
        bench.assert_gone(&completed).await;
        assert!(bench.exists(&failed).await && bench.exists(&other).await);
        let only_failed = old().with_outcomes([PublicState::Failed]);
        assert_eq!(bench.pass_of(only_failed).await.executions, 1);
        bench.assert_gone(&failed).await;
    }

    async fn a_flow_stays_whole_until_it_is_over_and_dispatched_and_old(bench) {
        let flow = bench.flow(3).await;
        bench.connect(&flow, &[(0, 1), (1, 2)]).await;
        bench.end_and_dispatch(&flow.members[0], End::Success).await;
        bench.clock.advance(AGE);
        let held = async |reason: HeldBack, count| {
            let report = bench.pass_of(old()).await;
            assert_eq!(report.executions, 0);
            assert_eq!(report.held_back, BTreeMap::from([(reason, count)]));
        };
        held(HeldBack::LiveFlow, 1).await;
        assert_eq!(bench.trim(&flow.members[0], 10).await, 0);

        bench.end_and_dispatch(&flow.members[1], End::Success).await;
        bench.end(&flow.members[2], End::Failed).await;
        bench.clock.advance(AGE);
        held(HeldBack::Undispatched, 3).await;
        bench.settle().await;
        held(HeldBack::RecentFlow, 3).await;
        bench.clock.advance(AGE);
        let report = bench.pass_of(old()).await;
        assert_eq!((report.executions, report.flows), (3, 1));
        for id in &flow.members {
            bench.assert_gone(id).await;
        }
        assert_eq!(bench.tables_naming(flow.id.0).await, <[&str; 0]>::default());
    }

    async fn a_flow_with_removed_members_never_goes_on(bench) {
        let mut flow = bench.flow(2).await;
        bench.connect(&flow, &[(0, 1)]).await;
        bench.end_and_dispatch(&flow.members[0], End::Failed).await;
        assert_eq!(bench.public(&flow.members[1]).await, "skipped");
        bench.clock.advance(AGE);
        let only_failed = old().with_outcomes([PublicState::Failed]);
        let report = bench.pass_of(only_failed).await;
        assert_eq!((report.executions, report.flows), (1, 0));
        // What it waited for is gone: replayed, it would wait for ever.
        let args = ff_core::contracts::ReplayExecutionArgs {
            execution_id: flow.members[1].clone(),
            now: bench.clock.now(),
        };
        let refused = bench.backend.replay_execution(args).await;
        assert_refused(refused, "validation: InvalidInput: flow_is_being_removed");
        let late = crate::flow::member_of(&flow.id);
        bench.backend.create_execution(bench.member_args(&late)).await.unwrap();
        let refused = bench.add(&flow, &late).await;
        assert_refused(refused, "validation: InvalidInput: flow_already_terminal");
        bench.cancel_one(&late).await;
        let report = bench.pass_of(old()).await;
        assert_eq!((report.executions, report.flows), (1, 1));
        flow.members.push(late);
        assert!(bench.exists(&flow.members[2]).await);
        assert_eq!(bench.tables_naming(flow.id.0).await, <[&str; 0]>::default());
    }

    async fn a_cancelled_flow_goes_with_what_is_owed(bench) {
        let flow = bench.flow(2).await;
        let args = ff_core::contracts::CancelFlowArgs {
            flow_id: flow.id.clone(),
            reason: "too late".into(),
            cancellation_policy: "cancel_all".into(),
            now: bench.clock.now(),
        };
        bench.backend.cancel_flow_header(args).await.unwrap();
        bench.settle().await;
        assert!(bench.tables_naming(flow.id.0).await.contains(&"ff_cancel_backlog_member"));
        bench.clock.advance(AGE);
        assert_eq!(bench.pass_of(old()).await.flows, 1);
        assert_eq!(bench.tables_naming(flow.id.0).await, <[&str; 0]>::default());
    }

    async fn events_that_a_subscriber_has_not_read_hold_their_executions_back(bench) {
        let ids = [bench.completed().await, bench.completed().await];
        bench.clock.advance(AGE);
        let event = |table: &'static str, at: usize| {
            let (bench, ids) = (&bench, &ids);
            async move {
                let rows = bench.of(table, &ids[at]).await;
                rows.iter().filter_map(|row| row.int("event_id")).max().unwrap()
            }
        };
        for (outbox, table) in
            [(OutboxKind::Completion, "ff_completion_event"), (OutboxKind::Lease, "ff_lease_event")]
        {
            let read = event(table, 0).await;
            bench.backend.store_subscriber_cursor("audit", outbox, read).await.unwrap();
            let dry = TrimPass { dry_run: true, ..TrimPass::new(vec![old()]) };
            let report = bench.pass(dry).await;
            let held = HeldBack::Subscriber { name: "audit".into(), outbox: outbox.as_str(), cursor: read };
            assert_eq!((report.executions, &report.held_back), (1, &BTreeMap::from([(held, 1)])));
            assert_eq!(bench.backend.drop_subscriber("audit").await.unwrap(), 1);
        }

        bench.backend.store_subscriber_cursor("audit", OutboxKind::Operator, 0).await.unwrap();
        let read = event("ff_completion_event", 0).await;
        bench.backend.store_subscriber_cursor("late", OutboxKind::Completion, 0).await.unwrap();
        bench.backend.store_subscriber_cursor("late", OutboxKind::Completion, read).await.unwrap();
        assert_eq!(bench.pass_of(old()).await.executions, 1);
        bench.assert_gone(&ids[0]).await;
        assert!(bench.exists(&ids[1]).await);
        let cursors = bench.backend.list_subscriber_cursors().await.unwrap();
        let listed: Vec<_> = cursors.iter().map(|at| (at.name.as_str(), at.outbox, at.event_id)).collect();
        assert_eq!(
            listed,
            [("audit", OutboxKind::Operator, 0), ("late", OutboxKind::Completion, read)]
        );
        assert_eq!(cursors[1].updated_at_ms, bench.clock.now().0);
        assert_eq!(bench.backend.drop_subscriber("late").await.unwrap(), 1);
        assert_eq!(bench.backend.drop_subscriber("late").await.unwrap(), 0);
        assert_eq!(bench.pass_of(old()).await.executions, 1);
        bench.assert_gone(&ids[1]).await;
    }

    async fn an_unread_end_holds_a_whole_flow_back(bench) {
        let flow = bench.flow(2).await;
        bench.end_and_dispatch(&flow.members[0], End::Success).await;
        let rows = bench.of("ff_completion_event", &flow.members[0]).await;
        let read = rows[0].int("event_id").unwrap();
        bench.end_and_dispatch(&flow.members[1], End::Success).await;
        bench.clock.advance(AGE);
        bench.backend.store_subscriber_cursor("s", OutboxKind::Completion, read).await.unwrap();
        let report = bench.pass_of(old()).await;
        assert_eq!(report.executions, 0);
        assert_eq!(report.held_back.values().sum::<u64>(), 2);
    }

    async fn a_replayed_execution_goes_by_its_last_end(bench) {
        let id = bench.completed().await;
        bench.clock.advance(AGE);
        bench.replay(&id).await;
        assert_eq!(bench.pass_of(old()).await.executions, 0);
        bench.cancel_one(&id).await;
        assert_eq!(bench.pass_of(old()).await.executions, 0);
        bench.clock.advance(AGE);
        assert_eq!(bench.pass_of(old()).await.executions, 1);
        bench.assert_gone(&id).await;
    }

    async fn of_a_replay_and_a_removal_one_happens(bench) {
        let mut ids = Vec::new();
        for _ in 0..20 {
            ids.push(bench.completed().await);
        }
        bench.clock.advance(AGE);
        let replays = ids.iter().map(|id| async {
            let args = ff_core::contracts::ReplayExecutionArgs {
                execution_id: id.clone(),
                now: bench.clock.now(),
            };
            bench.backend.replay_execution(args).await.is_ok()
        });
        let (replayed, report) = tokio::join!(join_all(replays), bench.pass_of(old()));
        let came_back = replayed.iter().filter(|replayed| **replayed).count() as u64;
        assert_eq!(report.executions + came_back, 20);
        for (id, replayed) in ids.iter().zip(replayed) {
            if replayed {
                assert_eq!(bench.public(id).await, "waiting");
                assert_eq!(bench.attempts(id).await.len(), 1);
            } else {
                bench.assert_gone(id).await;
            }
        }
    }

    async fn a_dry_run_counts_and_changes_nothing(bench) {
        let one = bench.with_all_rows().await;
        let flow = bench.flow(2).await;
        bench.connect(&flow, &[(0, 1)]).await;
        bench.end_and_dispatch(&flow.members[0], End::Failed).await;
        bench.clock.advance(AGE);
        let before = bench.everything().await;
        let dry = TrimPass { dry_run: true, ..TrimPass::new(vec![old()]) };
        let report = bench.pass(dry).await;
        assert_eq!(bench.everything().await, before);
        assert_eq!((report.executions, report.flows), (3, 1));
        let wet = bench.pass_of(old()).await;
        assert_eq!((wet.executions, wet.flows), (3, 1));
        bench.assert_gone(&one).await;

        let after = bench.everything().await;
        for ((table, before), (_, after)) in before.iter().zip(&after) {
            // What is removed is counted by further rows.
            if *table == "ff_exec_count" {
                continue;
            }
            let gone = (before.len() - after.len()) as u64;
            assert_eq!(report.rows.get(table).copied().unwrap_or_default(), gone, "{table}");
        }
    }

    async fn rows_without_an_event_are_found_by_key(bench) {
        let ids = [id(), id_in(200)];
        for id in &ids {
            bench.insert_core(id, COMPLETED, vec![("terminal_at_ms", int(START))]).await;
            bench.insert_attempt(id, 0, 1, vec![("outcome", text("success"))]).await;
        }
        bench.clock.advance(AGE);
        assert_eq!(bench.pass_of(old()).await.executions, 0);
        let sweep = TrimPass { sweeps: true, ..TrimPass::new(vec![old()]) };
        assert_eq!(bench.pass(sweep).await.executions, 2);
        for id in &ids {
            bench.assert_gone(id).await;
        }
    }

    async fn many_frames_go_in_pieces(bench) {
        let (id, handle) = bench.leased().await;
        let first = Frame::new(b"x".to_vec(), FrameKind::Stdout);
        bench.backend.append_frame(&handle, first).await.unwrap();
        for number in 1..1_100 {
            let cells = vec![
                ("partition_key", int(i64::from(id.partition()))),
                ("execution_id", Value::Uuid(id.uuid())),
                ("attempt_index", int(0)),
                ("ts_ms", int(START)),
                ("seq", int(number)),
                ("fields", Value::Json(json!({}))),
                ("mode", text("durable")),
                ("created_at_ms", int(START)),
            ];
            bench.plain.insert("ff_stream_frame", cells).await;
        }
        let key = vec![
            ("partition_key", int(i64::from(id.partition()))),
            ("execution_id", Value::Uuid(id.uuid())),
            ("attempt_index", int(0)),
        ];
        bench.plain.set("ff_stream_meta", key, vec![("next_seq", int(1_100))]).await;
        bench.backend.complete(&handle, None).await.unwrap();
        bench.clock.advance(AGE);
        assert_eq!(bench.pass_of(old()).await.executions, 1);
        bench.assert_gone(&id).await;
    }

    async fn a_flow_that_nothing_has_ended_is_ended_first(bench) {
        let flow = crate::flow::elsewhere();
        let place = crate::flow::home(&flow).index;
        bench.insert_flow(&flow, place, "open", json!({})).await;
        let id = crate::flow::member_of(&flow);
        let cells = vec![("flow_id", Value::Uuid(flow.0)), ("terminal_at_ms", int(START))];
        bench.insert_core(&id, COMPLETED, cells).await;
        bench.clock.advance(AGE);
        let sweep = || TrimPass { sweeps: true, ..TrimPass::new(vec![old()]) };
        assert_eq!(bench.pass(sweep()).await.executions, 0);
        assert_eq!(bench.flow_row(&flow).await.text("public_flow_state"), "completed");
        bench.clock.advance(AGE);
        let report = bench.pass(sweep()).await;
        assert_eq!((report.executions, report.flows), (1, 1));

        // Members of a flow that has no row go by their own time.
        let lost = crate::flow::elsewhere();
        let id = crate::flow::member_of(&lost);
        let cells = vec![("flow_id", Value::Uuid(lost.0)), ("terminal_at_ms", int(START))];
        bench.insert_core(&id, COMPLETED, cells).await;
        let report = bench.pass(sweep()).await;
        assert_eq!((report.executions, report.flows), (1, 1));
        bench.assert_gone(&id).await;
    }

    async fn a_mixture_leaves_what_is_live_and_no_orphan(bench) {
        let number = std::env::var("FF_RETENTION").ok().and_then(|text| text.parse().ok());
        let mut live = Vec::new();
        for round in 0..number.unwrap_or(40_usize) / 10 {
            for _ in 0..4 {
                bench.completed().await;
            }
            let (_, handle) = bench.leased().await;
            bench.fail(&handle).await;
            let cancelled = bench.create().await;
            bench.cancel_one(&cancelled).await;
            if round % 10 == 0 {
                bench.with_all_rows().await;
            }
            let flow = bench.flow(3).await;
            bench.connect(&flow, &[(0, 1), (1, 2)]).await;
            bench.end_and_dispatch(&flow.members[0], End::Success).await;
            if round % 2 == 0 {
                bench.end_and_dispatch(&flow.members[1], End::Failed).await;
            } else {
                live.extend(flow.members);
            }
        }
        let (running, _) = bench.leased().await;
        live.push(running);
        bench.clock.advance(AGE);

        let (before, started) = (bench.plain.rows("ff_exec_core").await.len(), Instant::now());
        let (mut pass, mut steps) = (TrimPass::new(vec![old()]), Vec::new());
        while !pass.is_done() {
            let begun = Instant::now();
            pass = bench.backend.trim_step(pass).await.unwrap();
            steps.push(begun.elapsed());
        }
        let (report, took, longest) = (pass.report, started.elapsed(), steps.iter().max());
        let (removed, count) = (report.executions, steps.len());
        println!("{removed} in {took:?} on {:?}: {count} steps up to {longest:?}", bench.tag);
        assert_eq!(report.errors, 0);
        let left = bench.plain.rows("ff_exec_core").await;
        assert_eq!(left.len() + usize::try_from(report.executions).unwrap(), before);
        let mut left: Vec<Uuid> = left.iter().filter_map(|row| row.uuid("execution_id")).collect();
        left.sort();
        let mut live: Vec<Uuid> = live.iter().map(ExecutionId::uuid).collect();
        live.sort();
        assert_eq!(left, live);
        bench.assert_no_orphan().await;
    }

    async fn bad_input_is_named(bench) {
        let invalid = |detail: &str| format!("validation: InvalidInput: {detail}");
        for (name, detail) in [
            ("", "name: must not be empty"),
            ("a\0", "name: must not contain NUL (at byte 1)"),
        ] {
            let stored = bench.backend.store_subscriber_cursor(name, OutboxKind::Lease, 1).await;
            assert_refused(stored, &invalid(detail));
            assert_refused(bench.backend.drop_subscriber(name).await, &invalid(detail));
        }
        let stored = bench.backend.store_subscriber_cursor("s", OutboxKind::Lease, -1).await;
        assert_refused(stored, &invalid("event_id: -1 is negative"));

        let active = old().with_outcomes([PublicState::Active]);
        let refused = bench.backend.trim_step(TrimPass::new(vec![active])).await;
        assert_refused(refused, &invalid("outcomes: active is no outcome"));
        let id = bench.completed().await;
        bench.clock.advance(AGE);
        let archived = TrimPass { archive: Some("a".into()), ..TrimPass::new(vec![old()]) };
        let mut pass = bench.backend.trim_step(archived).await.unwrap();
        let refused = loop {
            match bench.backend.trim_step(pass).await {
                Ok(next) => pass = next,
                Err(error) => break error,
            }
        };
        assert_eq!(refused.to_string(), invalid("archive: a has not been written yet"));
        assert!(bench.exists(&id).await);
    }
}
