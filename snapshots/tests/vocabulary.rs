//! The plan vocabulary at its edges: the two plans that later operations need most, a set-based
//! cancellation and a commutative counter, each as one fused statement and as a script.

use ff_codegen::{Postgres, Sqlite};
use ff_core::plan::{Expr, OnConflict, Pairing, Path, Plan, Predicate, Return, Selection};
use ff_core::schema::Direction::Ascending;
use ff_core::schema::execution::exec_core;
use ff_core::schema::flow::{cancel_backlog_member, edge_group, flow_core};
use ff_core::schema::outbox::completion_event;
use ff_core::state::{CompletionKind, LifecyclePhase, PublicFlowState, PublicState};
use uuid::Uuid;

fn cancel_flow() -> Plan {
    let flow = Uuid::from_u128(1);
    let key = vec![flow_core::partition_key.with(7), flow_core::flow_id.with(flow)];
    let mut plan = Plan::new("cancel_flow").guard(
        "flow",
        flow_core::REF,
        key.clone(),
        flow_core::public_flow_state.is(PublicFlowState::Open),
    );
    plan.selection = Some(Selection {
        row: "core".into(),
        table: exec_core::REF,
        predicate: exec_core::partition_key
            .equals(7)
            .and(exec_core::flow_id.equals(Some(flow)))
            .and(
                exec_core::lifecycle_phase
                    .is_none_of(&[LifecyclePhase::Terminal, LifecyclePhase::Cancelled]),
            ),
        order: vec![(exec_core::execution_id.column(), Ascending)],
        pairing: Pairing::Every,
    });
    let member = vec![
        exec_core::partition_key.with_expr(exec_core::partition_key.of("core")),
        exec_core::execution_id.with_expr(exec_core::execution_id.of("core")),
    ];
    let event = vec![
        completion_event::partition_key.with_expr(exec_core::partition_key.of("core")),
        completion_event::execution_id.with_expr(exec_core::execution_id.of("core")),
        completion_event::flow_id.with_expr(exec_core::flow_id.of("core")),
        completion_event::outcome.with(CompletionKind::Cancelled),
        completion_event::occurred_at_ms.with(17),
    ];
    let backlog = vec![
        cancel_backlog_member::partition_key.with(7),
        cancel_backlog_member::flow_id.with(flow),
        cancel_backlog_member::execution_id.with_expr(exec_core::execution_id.of("core")),
    ];
    plan = plan
        .update(
            flow_core::REF,
            key,
            vec![
                flow_core::public_flow_state.set(PublicFlowState::Cancelled),
                flow_core::graph_revision.set_expr(Expr::PickedCount),
            ],
        )
        .update(
            exec_core::REF,
            member,
            vec![
                exec_core::lifecycle_phase.set(LifecyclePhase::Cancelled),
                exec_core::public_state.set(PublicState::Cancelled),
                exec_core::version.grow(1),
            ],
        )
        .insert(completion_event::REF, event, OnConflict::Refuse)
        .insert(cancel_backlog_member::REF, backlog, OnConflict::Ignore);
    plan.returns =
        vec![Return::Held("core".into(), Path::column(exec_core::execution_id.column()))];
    plan
}

fn counter() -> Plan {
    let key = vec![
        edge_group::partition_key.with(7),
        edge_group::flow_id.with(Uuid::from_u128(1)),
        edge_group::downstream_eid.with(Uuid::from_u128(2)),
    ];
    let set = vec![edge_group::running_count.grow(-1), edge_group::success_count.grow(1)];
    Plan::new("count_completion")
        .guard("group", edge_group::REF, key.clone(), Predicate::Always)
        .update(edge_group::REF, key, set)
}

#[test]
fn a_flow_is_cancelled_by_one_statement() {
    let fused = ff_codegen::fused(&Postgres, &cancel_flow().shape()).expect("renders");
    assert!(fused.presence, "a flow without members still answers");
    assert_eq!(fused.sql.matches("UPDATE \"").count(), 2);
    assert_eq!(fused.sql.matches("INSERT INTO").count(), 2);
    let script = ff_codegen::script(&Sqlite, &cancel_flow().shape()).expect("renders");
    assert_eq!((script.once.len(), script.each.len()), (3, 3), "flow once, members each");
}

#[test]
fn a_counter_is_one_commutative_update() {
    let fused = ff_codegen::fused(&Postgres, &counter().shape()).expect("renders");
    assert!(fused.sql.contains(r#""running_count" = "t"."running_count" + "s"."#), "{}", fused.sql);
}

#[tokio::test]
async fn both_run_in_memory_as_written() {
    use ff_core::engine::{Commit, Executor};
    use ff_core::plan::value::Value;
    let memory = ff_backend_memory::MemoryBackend::new();
    let flow = |state: &str| {
        vec![
            ("partition_key", Value::Int(7)),
            ("flow_id", Value::Uuid(Uuid::from_u128(1))),
            ("public_flow_state", Value::Text(state.into())),
            ("created_at_ms", Value::Int(1)),
        ]
    };
    memory.insert_row("ff_flow_core", flow("open")).expect("a flow");
    for member in [3, 4] {
        let row = vec![
            ("partition_key", Value::Int(7)),
            ("execution_id", Value::Uuid(Uuid::from_u128(member))),
            ("flow_id", Value::Uuid(Uuid::from_u128(1))),
            ("lane_id", Value::Text("default".into())),
            ("lifecycle_phase", Value::Text("runnable".into())),
            ("ownership_state", Value::Text("unowned".into())),
            ("eligibility_state", Value::Text("eligible_now".into())),
            ("public_state", Value::Text("waiting".into())),
            ("attempt_state", Value::Text("pending_first_attempt".into())),
            ("created_at_ms", Value::Int(1)),
        ];
        memory.insert_row("ff_exec_core", row).expect("a member");
    }
    let applied = memory.commit(cancel_flow()).await.expect("commits");
    let Commit::Applied(rows) = applied else { panic!("the flow was open") };
    assert_eq!(rows.len(), 2, "both members, in order of their ids");
    assert_eq!(rows[0], [Value::Uuid(Uuid::from_u128(3))]);
    assert_eq!(memory.rows("ff_cancel_backlog_member").len(), 2);
    assert_eq!(memory.commit(cancel_flow()).await.expect("answers"), Commit::Refused);
}
