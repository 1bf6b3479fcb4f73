use std::collections::BTreeMap;

use ff_core::contracts::{
    EdgeDependencyPolicy, EdgeGroupSnapshot, EdgeGroupState, EdgeSnapshot, ExecutionRow, FlowGraph,
    FlowSnapshot, OnSatisfied,
};
use ff_core::state::PublicState;
use ff_core::types::{AttemptIndex, EdgeId, ExecutionId, FlowId, TimestampMs};
use insta::assert_snapshot;
use uuid::Uuid;

use super::dot::dot;
use super::mermaid::mermaid;
use super::tree::{self, Colours};
use flowfabric_sql::flow::NODE_TAG;

fn tree(graph: &FlowGraph, colours: Colours) -> String {
    let lines: Vec<String> = tree::tree(graph, colours).iter().map(ToString::to_string).collect();
    lines.join("\n")
}

fn id(name: &str) -> ExecutionId {
    ExecutionId::from_parts(7, Uuid::new_v5(&Uuid::nil(), name.as_bytes()))
}

fn member(name: &str, state: PublicState) -> ExecutionRow {
    ExecutionRow::new(
        id(name),
        "lane".into(),
        "kind".into(),
        state,
        0,
        AttemptIndex(0),
        0,
        TimestampMs(0),
        BTreeMap::from([(NODE_TAG.to_owned(), name.to_owned())]),
    )
}

fn edge(upstream: &str, downstream: &str) -> EdgeSnapshot {
    let name = format!("{upstream} {downstream}");
    EdgeSnapshot::new(
        EdgeId::from_uuid(Uuid::new_v5(&Uuid::nil(), name.as_bytes())),
        FlowId::from_uuid(Uuid::nil()),
        id(upstream),
        id(downstream),
        "success_only".into(),
        "all_required".into(),
        None,
        "applied".into(),
        TimestampMs(0),
        "engine".into(),
    )
}

/// A group with its counts: satisfied, failed, skipped, running.
fn group(
    name: &str,
    policy: EdgeDependencyPolicy,
    [met, failed, skipped, open]: [u32; 4],
    state: EdgeGroupState,
) -> EdgeGroupSnapshot {
    let total = met + failed + skipped + open;
    EdgeGroupSnapshot::new(id(name), policy, total, met, failed, skipped, open, state)
}

fn graph(
    members: Vec<ExecutionRow>,
    edges: Vec<EdgeSnapshot>,
    groups: Vec<EdgeGroupSnapshot>,
) -> FlowGraph {
    let flow = FlowSnapshot::new(
        FlowId::from_uuid(Uuid::nil()),
        "release \"one\"".into(),
        "default".into(),
        "open".into(),
        0,
        u32::try_from(members.len()).unwrap(),
        u32::try_from(edges.len()).unwrap(),
        TimestampMs(0),
        TimestampMs(0),
        None,
        None,
        None,
        BTreeMap::new(),
        groups,
    );
    FlowGraph::new(flow, members, edges)
}

/// Two builds, a choice between them, a gate after both, and one without dependents.
fn release() -> FlowGraph {
    use EdgeGroupState::{Impossible, Pending, Satisfied};
    use PublicState::{Active, Completed, Failed, Skipped, Waiting, WaitingChildren};
    let any = EdgeDependencyPolicy::any_of(OnSatisfied::CancelRemaining);
    let quorum = EdgeDependencyPolicy::quorum(2, OnSatisfied::LetRun);

    graph(
        vec![
            member("checkout", Completed),
            member("build-a", Active),
            member("build-b", Failed),
            member("either", WaitingChildren),
            member("report", Skipped),
            member("gate", WaitingChildren),
            member("zzz", Waiting),
        ],
        vec![
            edge("checkout", "build-a"),
            edge("checkout", "build-b"),
            edge("build-a", "either"),
            edge("build-b", "either"),
            edge("build-b", "report"),
            edge("either", "gate"),
            edge("build-a", "gate"),
            edge("checkout", "gate"),
        ],
        vec![
            group("build-a", EdgeDependencyPolicy::AllOf, [1, 0, 0, 0], Satisfied),
            group("build-b", EdgeDependencyPolicy::AllOf, [1, 0, 0, 0], Satisfied),
            group("either", any, [0, 1, 0, 1], Pending),
            group("report", EdgeDependencyPolicy::AllOf, [0, 1, 0, 0], Impossible),
            group("gate", quorum, [1, 0, 0, 2], Pending),
        ],
    )
}

#[test]
fn a_tree_shows_each_node_once_and_names_it_where_else_it_stands() {
    assert_snapshot!(tree(&release(), Colours::Off), @r#"
    ✓ checkout       completed
    ├─ ▶ build-a     active            satisfied: all of 1 (1 met)
    │  ├─ ◌ either   waiting_children  pending: any of 2 (1 unmet, 1 open), cancels the others
    │  │  └─ ◌ gate  waiting_children  pending: 2 of 3 (1 met, 2 open)
    │  └─ ↑ gate
    ├─ ✗ build-b     failed            satisfied: all of 1 (1 met)
    │  ├─ ↑ either
    │  └─ – report   skipped           impossible: all of 1 (1 unmet)
    └─ ↑ gate
    ○ zzz            waiting
    "#);
}

#[test]
fn colours_are_only_added() {
    let coloured = tree(&release(), Colours::On);
    assert!(coloured.contains("\u{1b}[32m✓\u{1b}[0m checkout"), "{coloured:?}");
    assert_eq!(console::strip_ansi_codes(&coloured), tree(&release(), Colours::Off));
}

#[test]
fn graphs_for_other_programs_have_states_as_colours() {
    assert_snapshot!(dot(&release()), @r##"
    digraph "release \"one\"" {
      rankdir=LR;
      node [shape=box, style="rounded,filled", fontname="sans-serif"];
      n1 [label="checkout\ncompleted", fillcolor="#dcfce7", color="#15803d"];
      n2 [label="build-a\nactive\nneeds all of 1", fillcolor="#dbeafe", color="#1d4ed8"];
      n3 [label="either\nwaiting_children\nneeds any of 2", fillcolor="#f4f4f5", color="#71717a"];
      n4 [label="gate\nwaiting_children\nneeds 2 of 3", fillcolor="#f4f4f5", color="#71717a"];
      n5 [label="build-b\nfailed\nneeds all of 1", fillcolor="#fee2e2", color="#b91c1c"];
      n6 [label="report\nskipped\nneeds all of 1", fillcolor="#e4e4e7", color="#52525b"];
      n7 [label="zzz\nwaiting", fillcolor="#e0f2fe", color="#0369a1"];
      n1 -> n2;
      n1 -> n5;
      n1 -> n4;
      n2 -> n3;
      n2 -> n4;
      n3 -> n4;
      n5 -> n3;
      n5 -> n6;
    }
    "##);

    assert_snapshot!(mermaid(&release()), @r#"
    flowchart LR
      n1["checkout<br/>completed"]:::completed
      n2["build-a<br/>active<br/>needs all of 1"]:::active
      n3["either<br/>waiting_children<br/>needs any of 2"]:::waiting_children
      n4["gate<br/>waiting_children<br/>needs 2 of 3"]:::waiting_children
      n5["build-b<br/>failed<br/>needs all of 1"]:::failed
      n6["report<br/>skipped<br/>needs all of 1"]:::skipped
      n7["zzz<br/>waiting"]:::waiting
      n1 --> n2
      n1 --> n5
      n1 --> n4
      n2 --> n3
      n2 --> n4
      n3 --> n4
      n5 --> n3
      n5 --> n6
      classDef active fill:#dbeafe,stroke:#1d4ed8,color:#18181b
      classDef completed fill:#dcfce7,stroke:#15803d,color:#18181b
      classDef failed fill:#fee2e2,stroke:#b91c1c,color:#18181b
      classDef skipped fill:#e4e4e7,stroke:#52525b,color:#18181b
      classDef waiting fill:#e0f2fe,stroke:#0369a1,color:#18181b
      classDef waiting_children fill:#f4f4f5,stroke:#71717a,color:#18181b
    "#);
}

#[test]
fn names_from_anywhere_stay_names() {
    let mut nameless = member("x", PublicState::Active);
    nameless.tags.clear();
    let odd = "a\u{1b}[31m\"]\n<b>#\\";
    let graph = graph(vec![member(odd, PublicState::Active), nameless], vec![], vec![]);
    assert_snapshot!(tree(&graph, Colours::Off), @r#"
    ▶ a\u{1b}[31m"]\n<b>#\  active
    ▶ kind f3e951bb         active
    "#);

    assert_snapshot!(dot(&graph), @r##"
    digraph "release \"one\"" {
      rankdir=LR;
      node [shape=box, style="rounded,filled", fontname="sans-serif"];
      n1 [label="a\\u{1b}[31m\"]\\n<b>#\\\nactive", fillcolor="#dbeafe", color="#1d4ed8"];
      n2 [label="kind f3e951bb\nactive", fillcolor="#dbeafe", color="#1d4ed8"];
    }
    "##);

    assert_snapshot!(mermaid(&graph), @r#"
    flowchart LR
      n1["a#92;u{1b}[31m#34;]#92;n#60;b#62;#35;#92;<br/>active"]:::active
      n2["kind f3e951bb<br/>active"]:::active
      classDef active fill:#dbeafe,stroke:#1d4ed8,color:#18181b
    "#);
}

#[test]
fn a_cycle_or_an_unknown_execution_in_the_rows_breaks_nothing() {
    let members = ["a", "b", "c"].map(|name| member(name, PublicState::WaitingChildren));
    let edges = [("a", "b"), ("b", "a"), ("b", "b"), ("b", "c"), ("x", "c"), ("c", "y")];
    let edges = edges.map(|(upstream, downstream)| edge(upstream, downstream));
    let graph = graph(members.to_vec(), edges.to_vec(), vec![]);
    assert_snapshot!(tree(&graph, Colours::Off), @r#"
    ◌ a        waiting_children
    └─ ◌ b     waiting_children
       ├─ ↑ a
       ├─ ↑ b
       └─ ◌ c  waiting_children
    "#);
}

#[test]
fn a_long_chain_fits_the_stack() {
    let names: Vec<String> = (0..2_000).map(|number| format!("n{number:04}")).collect();
    let members = names.iter().map(|name| member(name, PublicState::Waiting)).collect();
    let edges = names.windows(2).map(|pair| edge(&pair[0], &pair[1])).collect();
    let graph = graph(members, edges, vec![]);
    assert_eq!(tree(&graph, Colours::Off).lines().count(), names.len());
    assert_eq!(dot(&graph).matches(" -> ").count(), names.len() - 1);
}
