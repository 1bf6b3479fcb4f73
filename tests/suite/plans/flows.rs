//! Large flows on cold statistics: no statement about a flow scans a table, and none that is about
//! an edge, a group or an execution reads all that the flow has of them.
//!
//! 20,000 empty flows, 20 of 500 executions that are over and one of 1,000 that begins, each
//! execution waiting for two others; with `FF_SCALE=full` ten times as many of the latter two.
//! Every statement that the catalogue samples is explained; then the engine works on the large
//! flow, and on Postgres the index entries are counted that it has read.

use std::collections::BTreeMap;

use ff_catalogue::{Call, Sample, samples};
use ff_codegen::{Postgres, ScriptStep, Sqlite};
use ff_core::backend::{CancelFlowPolicy, CancelFlowWait, CapabilitySet};
use ff_core::contracts::{
    ApplyDependencyToChildResult, CancelFlowResult, EdgeDirection, StageDependencyEdgeArgs,
    StageDependencyEdgeResult,
};
use ff_core::engine_backend::Scan;
use ff_core::types::{EdgeId, TimestampMs};
use uuid::Uuid;

use super::explain::{self, Explained};
use super::rows::{LAYER, Layered, insert_headers, insert_waits};
use super::{Scans, cold, scale_of};
use crate::backends::{self, Bench, START, postgres_url};
use crate::bench::{lane, worker};
use crate::flow::applying;
use crate::plain::PlainSql;

/// The operations that are about flows.
const OPERATIONS: [&str; 22] = [
    "ack_cancel_member",
    "add_execution_to_flow",
    "apply_dependency_to_child",
    "cancel_flow",
    "cancel_flow_header",
    "cascade_completion",
    "create_flow",
    "create_flow_members",
    "describe_edge",
    "describe_flow",
    "drain_sibling_cancel_group",
    "evaluate_flow_eligibility",
    "get_flow_tag",
    "list_edges",
    "project_flow_summary",
    "read_flow_graph",
    "reconcile_sibling_cancel_group",
    "release_flow",
    "set_edge_group_policy",
    "set_flow_tag",
    "stage_dependency_edge",
    "wait_children",
];

/// What an index of a table is asked for where one row, or what hangs on one row, is meant.
fn narrow(table: &str) -> &'static [&'static str] {
    match table {
        "ff_edge" => &["edge_id", "upstream_eid", "downstream_eid"],
        "ff_edge_group" | "ff_pending_cancel_groups" => &["downstream_eid"],
        "ff_exec_core"
        | "ff_attempt"
        | "ff_cancel_backlog_member"
        | "ff_waitpoint_pending"
        | "ff_suspension_current"
        | "ff_budget_reservation"
        | "ff_limit_permit" => &["execution_id"],
        "ff_completion_event" => &["execution_id", "event_id"],
        "ff_flow_core" | "ff_flow_summary" | "ff_cancel_backlog" => &["flow_id"],
        "ff_lane_registry" => &["lane_id"],
        other => panic!("no flow reads {other}"),
    }
}

/// Whether the operation is there to read all that a flow has in that table.
fn reads_a_whole_flow(operation: &str, table: &str) -> bool {
    match operation {
        "read_flow_graph" => true,
        "describe_flow" => table == "ff_edge_group",
        "cancel_flow" | "project_flow_summary" | "release_flow" => table == "ff_exec_core",
        "cancel_flow_header" => ["ff_exec_core", "ff_cancel_backlog_member"].contains(&table),
        "ack_cancel_member" => table == "ff_cancel_backlog_member",
        _ => false,
    }
}

/// Looking for the edges of several executions at once reads the flow's until there are statistics.
const READS_ALL_EDGES_WHILE_COLD: [&str; 1] = ["would close a wide cycle"];

/// The first of a few given executions that still runs: a planner without statistics walks a
/// partition's executions in order instead of looking up the few.
const GOES_WIDE_WHILE_COLD: (&str, &str) = ("reconcile_sibling_cancel_group", "still running");

/// A work list is walked along an index that holds nothing but what is owed.
const WORK_LISTS: [&str; 4] = [
    "ff_completion_event_pending_dispatch_idx",
    "ff_pending_cancel_groups_enqueued_idx",
    "ff_exec_core_flow_unfinished_idx",
    BADLY_ENDED,
];

/// Says how a flow has ended, without a look at the members that ended well.
const BADLY_ENDED: &str = "ff_exec_core_flow_badly_ended_idx";

/// The operations that ask for a member that ended badly, once all members are over.
const ENDS_A_FLOW: [&str; 2] = ["add_execution_to_flow", "scan"];

/// What is sampled of flows, each text of an operation once, with its number of parameters.
fn statements(render: impl Fn(&Call) -> Vec<(String, usize)>) -> Vec<(Sample, String, usize)> {
    let of_flows = |sample: &Sample| {
        // A tick of one partition, for callers of the reference, reads that partition's list.
        let is_scan = sample.operation == "scan"
            && !sample.case.contains("of a partition")
            && ["dispatch", "sibling"].iter().any(|word| sample.case.contains(word));
        is_scan || OPERATIONS.contains(&sample.operation)
    };
    let mut texts = BTreeMap::new();
    for sample in samples().into_iter().filter(of_flows) {
        for (sql, parameters) in render(&sample.call) {
            texts.entry((sample.operation, sql)).or_insert((sample.clone(), parameters));
        }
    }
    for operation in OPERATIONS {
        assert!(
            texts.keys().any(|(sampled, _)| *sampled == operation),
            "{operation} is not sampled"
        );
    }
    let each = |((_, sql), (sample, parameters))| (sample, sql, parameters);
    texts.into_iter().map(each).collect()
}

/// What is wrong with how a statement would run.
fn complaints(sample: &Sample, explained: &Explained) -> Vec<String> {
    if GOES_WIDE_WHILE_COLD == (sample.operation, sample.case.as_ref()) {
        return Vec::new();
    }
    let what = format!("{}, {}", sample.operation, sample.case);
    let scans = explained.scans_a_table.then(|| format!("{what} scans a table:\n{explained}"));
    let wide = explained.accesses.iter().filter_map(|access| {
        let table = access.table();
        let excused = WORK_LISTS.iter().any(|list| access.uses(list))
            || (access.asks_for(&["flow_id"]) && reads_a_whole_flow(sample.operation, table))
            || (table == "ff_edge" && READS_ALL_EDGES_WHILE_COLD.contains(&sample.case.as_ref()));
        let fine = excused || access.asks_for(narrow(table));
        (!fine).then(|| format!("{what} reads much of {table}:\n{explained}"))
    });
    scans.into_iter().chain(wide).collect()
}

/// Asserts that every operation that ends a flow goes by the index of what ended badly.
fn assert_ends_go_by_their_index(used: &[&'static str]) {
    for operation in ENDS_A_FLOW {
        assert!(used.contains(&operation), "{operation} does not use {BADLY_ENDED}");
    }
}

/// The flows that are over, and then the large one.
async fn fill(bench: &Bench) -> Layered {
    let part = scale_of(10);
    insert_headers(bench, 20_000).await;
    insert_waits(bench, 5_000).await;
    for number in 1..=200 / part {
        Layered::new(number, 500).insert(bench, true).await;
    }
    let large = Layered::new(500, 10_000 / part);
    large.insert(bench, false).await;
    large
}

/// What the engine does with a large flow.
struct Work<'a> {
    bench: &'a Bench,
    flow: Layered,
}

impl Work<'_> {
    /// The ends of the first layer reach the second, whose executions are then claimed.
    async fn dispatch(&self) {
        let counts = self.bench.backend.scan(Scan::DependencyDispatch, 100).await.unwrap();
        assert_eq!((i64::from(counts.processed), counts.errors), (LAYER, 0));
        let none = CapabilitySet::default();
        let released = self.bench.backend.claim_many(&lane(), &none, worker("w"), 100).await;
        assert_eq!(released.unwrap().len(), usize::try_from(LAYER).unwrap());
    }

    /// An edge from the last layer but one, applied.
    async fn connect(&self) {
        let (up, down) = (self.flow.members - LAYER - 1, self.flow.members - 3);
        let staged = StageDependencyEdgeArgs {
            flow_id: self.flow.id(),
            edge_id: EdgeId::from_uuid(Uuid::new_v4()),
            upstream_execution_id: self.flow.member(up),
            downstream_execution_id: self.flow.member(down),
            dependency_kind: "success_only".into(),
            data_passing_ref: None,
            expected_graph_revision: 7,
            now: TimestampMs(START),
        };
        let answer = self.bench.backend.stage_dependency_edge(staged.clone()).await.unwrap();
        assert!(matches!(answer, StageDependencyEdgeResult::Staged { .. }), "{answer:?}");
        let applied = self.bench.backend.apply_dependency_to_child(applying(&staged)).await;
        assert_eq!(
            applied.unwrap(),
            ApplyDependencyToChildResult::Applied { unsatisfied_count: 3 }
        );
    }

    /// What a caller asks about one execution and one edge.
    async fn look(&self) {
        let (flow, backend) = (self.flow.id(), &self.bench.backend);
        let node = self.flow.member(self.flow.members / 2);
        let outgoing = EdgeDirection::Outgoing { from_node: node.clone() };
        assert_eq!(backend.list_edges(&flow, outgoing).await.unwrap().len(), 2);
        let incoming = EdgeDirection::Incoming { to_node: node };
        assert_eq!(backend.list_edges(&flow, incoming).await.unwrap().len(), 2);
        let edge = self.flow.edge(self.flow.members / 2, true);
        assert!(backend.describe_edge(&flow, &edge).await.unwrap().is_some());
    }

    /// Everything that is not over ends.
    async fn cancel(&self) {
        let (policy, wait) = (CancelFlowPolicy::CancelAll, CancelFlowWait::NoWait);
        let result = self.bench.backend.cancel_flow(&self.flow.id(), policy, wait).await.unwrap();
        let CancelFlowResult::Cancelled { member_execution_ids, .. } = result else {
            panic!("{result:?}");
        };
        let expected = usize::try_from(self.flow.members - LAYER).unwrap();
        assert_eq!(member_execution_ids.len(), expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_no_statement_reads_more_of_a_flow_than_it_is_about() {
    // One connection, so that what it did is known when it says so.
    let bench = backends::postgres_with(postgres_url(), |options| options.max_connections(1)).await;
    let PlainSql::Postgres(pool) = &bench.plain else { panic!("Postgres it is") };
    cold(&bench).await;
    let flow = fill(&bench).await;
    let statements = statements(|call| match call {
        Call::Query(query) => {
            let statement = ff_codegen::query(&Postgres, &query.clone().into_shape().0).unwrap();
            vec![(statement.sql, statement.binds.len())]
        }
        Call::Plan(plan) => {
            let fused = ff_codegen::fused(&Postgres, &plan.shape()).unwrap();
            vec![(fused.sql, fused.params.len())]
        }
    });
    let mut connection = pool.acquire().await.unwrap();
    let (mut wrong, mut ends) = (Vec::new(), Vec::new());
    for (sample, sql, parameters) in statements {
        let explained = explain::postgres(&mut connection, &sql, parameters).await;
        wrong.extend(complaints(&sample, &explained));
        ends.extend(explained.uses(BADLY_ENDED).then_some(sample.operation));
    }
    drop(connection);
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert_ends_go_by_their_index(&ends);

    let work = Work { bench: &bench, flow };
    let mut before = Scans::of(pool).await;
    let steps = ["dispatched", "connected", "ended"];
    for step in steps {
        match step {
            "dispatched" => work.dispatch().await,
            "connected" => work.connect().await,
            _ => work.look().await,
        }
        let after = Scans::of(pool).await;
        let read = after.edges_read - before.edges_read;
        assert!(read > 0 && read < flow.edges(), "{read} entries of edges read, {step}");
        assert_eq!(after.sequential, before.sequential, "sequential scans, {step}");
        before = after;
    }
    work.cancel().await;
    let after = Scans::of(pool).await;
    assert_eq!(after.sequential, before.sequential, "sequential scans, cancelled");
    assert_eq!(after.edges_read, before.edges_read, "edges read, cancelled");
    bench.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_no_statement_reads_more_of_a_flow_than_it_is_about() {
    let bench = backends::sqlite_file().await;
    let flow = fill(&bench).await;
    let PlainSql::Sqlite(pool) = &bench.plain else { panic!("SQLite it is") };
    let statements = statements(|call| match call {
        Call::Query(query) => {
            let statement = ff_codegen::query(&Sqlite, &query.clone().into_shape().0).unwrap();
            vec![(statement.sql, 0)]
        }
        Call::Plan(plan) => {
            let script = ff_codegen::script(&Sqlite, &plan.shape()).unwrap();
            let text = |step: ScriptStep| match step {
                ScriptStep::Guard { statement, .. }
                | ScriptStep::Pick { statement, .. }
                | ScriptStep::Write { statement, .. } => (statement.sql, 0),
            };
            script.once.into_iter().chain(script.each).map(text).collect()
        }
    });
    let (mut wrong, mut ends) = (Vec::new(), Vec::new());
    for (sample, sql, _) in statements {
        let explained = explain::sqlite(pool, &sql).await;
        wrong.extend(complaints(&sample, &explained));
        ends.extend(explained.uses(BADLY_ENDED).then_some(sample.operation));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert_ends_go_by_their_index(&ends);
    let work = Work { bench: &bench, flow };
    work.dispatch().await;
    work.connect().await;
    work.look().await;
    work.cancel().await;
    bench.tear_down().await;
}
