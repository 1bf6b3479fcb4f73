//! Flows of four executions. Each side dispatches its own ends before the other begins.

use ff_bench::ceiling::{FlowByHand, NewEdge, NewExecution, NewFlow};
use ff_bench::{Dependency, Diamond, PAYLOAD, terms};
use ff_core::backend::CapabilitySet;
use ff_core::engine_backend::{EngineBackend, Scan};
use ff_core::types::{LaneId, TimestampMs};

use super::journal::Journal;
use super::{ENGINE, HAND, hand_terms};
use crate::plain::PlainSql;

/// The members that may run together, in order: one, two, one.
const TOGETHER: [usize; 3] = [1, 2, 1];

/// The revision of the graph with its members.
const REVISION: u64 = 4;

/// The rows after each step: the flow, its members with their tags, the edges with their groups;
/// then each member's attempt and event when it is claimed, its two events when it ends, and the
/// event of the flow.
const ROWS: [usize; 20] =
    [1, 9, 10, 11, 12, 13, 14, 15, 16, 16, 16, 18, 20, 20, 24, 28, 28, 30, 32, 33];

/// The journal of a flow with its members and edges.
fn journal<'a>(plain: &'a PlainSql, diamond: &Diamond, dependencies: &[Dependency]) -> Journal<'a> {
    let members = diamond.members.iter().map(|member| member.execution_id.uuid());
    let edges = dependencies.iter().map(|dependency| dependency.staged.edge_id.0);
    Journal::of(plain, [diamond.flow.flow_id.0].into_iter().chain(members).chain(edges).collect())
}

/// Submitted, worked and dispatched until it has ended.
pub(super) async fn flows_are_equal(
    engine: &dyn EngineBackend,
    plain: &PlainSql,
    hand: &mut impl FlowByHand,
) {
    let by_engine = by_engine(engine, plain).await;
    let by_hand = by_hand(plain, hand).await;
    by_engine.assert_equals(&by_hand, &ROWS).await;
}

async fn by_engine<'a>(engine: &dyn EngineBackend, plain: &'a PlainSql) -> Journal<'a> {
    let lane = LaneId::new(ENGINE);
    let diamond = Diamond::fresh(&lane, PAYLOAD);
    let dependencies = diamond.dependencies(REVISION);
    let (flow, mut journal) = (&diamond.flow.flow_id, journal(plain, &diamond, &dependencies));
    engine.create_flow(diamond.flow.clone()).await.unwrap();
    journal.after("create").await;
    for created in engine.create_flow_members(flow, diamond.members.to_vec()).await {
        created.unwrap();
    }
    journal.after("create members").await;

    for Dependency { staged, applied } in dependencies {
        engine.stage_dependency_edge(staged).await.unwrap();
        journal.after("stage").await;
        engine.apply_dependency_to_child(applied).await.unwrap();
        journal.after("apply").await;
    }
    engine.release_flow(flow, TimestampMs::now()).await.unwrap();
    journal.after("release").await;

    for count in TOGETHER {
        let none = CapabilitySet::default();
        let handles = engine.claim_many(&lane, &none, terms(0), 100).await.unwrap();
        assert_eq!(handles.len(), count);
        journal.after("claim").await;
        for handle in &handles {
            engine.complete(handle, None).await.unwrap();
        }
        journal.after("complete").await;
        engine.scan(Scan::DependencyDispatch, 100).await.unwrap();
        journal.after("dispatch").await;
    }
    journal
}

async fn by_hand<'a>(plain: &'a PlainSql, hand: &mut impl FlowByHand) -> Journal<'a> {
    let diamond = Diamond::fresh(&LaneId::new(HAND), PAYLOAD);
    let dependencies = diamond.dependencies(REVISION);
    let (flow, mut journal) = (NewFlow::of(&diamond.flow), journal(plain, &diamond, &dependencies));
    hand.create_flow(&flow).await.unwrap();
    journal.after("create").await;
    let members: Vec<_> = diamond.members.iter().map(NewExecution::of).collect();
    assert_eq!(hand.create_members(&flow, &members).await.unwrap(), REVISION);
    journal.after("create members").await;

    for dependency in &dependencies {
        let edge = NewEdge::of(&dependency.staged);
        assert!(hand.stage(&edge).await.unwrap());
        journal.after("stage").await;
        assert!(hand.apply(&edge).await.unwrap());
        journal.after("apply").await;
        assert!(!hand.apply(&edge).await.unwrap(), "it is applied");
    }
    assert_eq!(hand.release(&flow, TimestampMs::now()).await.unwrap(), 1);
    journal.after("release").await;

    for count in TOGETHER {
        let (terms, now) = (hand_terms(HAND), TimestampMs::now());
        let held = hand.claim(&terms, 100, now).await.unwrap();
        assert_eq!(held.len(), count);
        journal.after("claim").await;
        assert_eq!(hand.complete(&held, TimestampMs::now()).await.unwrap(), count);
        journal.after("complete").await;
        let dispatched = hand.dispatch(100, TimestampMs::now()).await.unwrap();
        assert_eq!(dispatched, count as u64);
        journal.after("dispatch").await;
    }
    assert_eq!(hand.dispatch(100, TimestampMs::now()).await.unwrap(), 0, "nothing is left");
    journal
}
