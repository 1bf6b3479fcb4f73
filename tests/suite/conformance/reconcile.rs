//! What is derived in the rows of executions is repaired where it has drifted, and nothing else.

use std::collections::BTreeSet;

use ff_core::backend::ScannerFilter;
use ff_core::contracts::FlowQuery;
use ff_core::state::PublicFlowState;
use ff_core::types::{ExecutionId, LaneId};

use crate::backends::{Bench, START, conformance};
use crate::bench::{
    ACTIVE, COMPLETED, INSTANCE, LANE, NAMESPACE, WAITING, assert_refused, id, id_in, lane,
    partition,
};
use crate::flow::End;
use crate::plain::{int, text};

const DELAYED: &str =
    "runnable unowned not_eligible_until_time delayed pending_first_attempt waiting_for_delay";

async fn reconcile_in(bench: &Bench, lanes: &[LaneId], filter: &ScannerFilter) -> (u32, u32) {
    let partition = partition(&id());
    let counts = bench.backend.reconcile_execution_index(partition, lanes, filter).await.unwrap();
    (counts.processed, counts.errors)
}

async fn reconcile(bench: &Bench) -> (u32, u32) {
    reconcile_in(bench, &[], &ScannerFilter::NOOP).await
}

async fn drift(bench: &Bench, id: &ExecutionId, public: &str) {
    bench.set_core(id, vec![("public_state", text(public))]).await;
}

conformance! {
    async fn a_public_state_that_does_not_follow_is_repaired(bench) {
        let (running, handle) = bench.leased().await;
        let waiting = bench.create().await;
        assert_eq!(reconcile(&bench).await, (0, 0));

        let before = bench.core(&running).await;
        drift(&bench, &running, "waiting").await;
        drift(&bench, &waiting, "odd").await;
        assert_eq!(reconcile(&bench).await, (2, 0));
        assert_eq!(bench.public(&running).await, "active");
        assert_eq!(bench.public(&waiting).await, "waiting");

        let after = bench.core(&running).await;
        let version = |row: &crate::plain::Cells| row.int("version").unwrap();
        assert_eq!(version(&after), version(&before) + 1, "decisions on the old row are refused");
        assert_eq!(reconcile(&bench).await, (0, 0));
        assert_eq!(bench.core(&running).await, after);
        bench.backend.complete(&handle, None).await.unwrap();
    }

    async fn a_claimable_row_says_since_when_it_can_be_claimed(bench) {
        let (now, later, running) = (id(), id(), id());
        bench.insert_core(&now, WAITING, vec![]).await;
        bench.insert_core(&later, DELAYED, vec![("eligible_at_ms", int(START + 50))]).await;
        bench.insert_core(&running, ACTIVE, vec![]).await;
        assert_eq!(reconcile(&bench).await, (3, 0), "two rows, and their lane");
        for (id, since) in [(&now, START), (&later, START + 50), (&running, 0)] {
            assert_eq!(bench.core(id).await.int("claimable_since_ms"), Some(since));
        }
        assert_eq!(reconcile(&bench).await, (0, 0));
    }

    async fn a_lane_that_is_missing_is_registered(bench) {
        bench.insert_core(&id(), WAITING, vec![("claimable_since_ms", int(START))]).await;
        assert_eq!(bench.backend.read_lane(&lane()).await.unwrap(), None);
        assert_eq!(reconcile(&bench).await, (1, 0));
        let lanes = bench.plain.rows("ff_lane_registry").await;
        assert_eq!(lanes.len(), 1);
        assert_eq!(lanes[0].text("lane_id"), LANE);
        assert_eq!(lanes[0].text("registered_by"), "reconcile_execution_index");
        assert_eq!(lanes[0].int("registered_at_ms"), Some(START));
        assert_eq!(reconcile(&bench).await, (0, 0));
    }

    async fn only_the_executions_that_are_chosen_are_repaired(bench) {
        let id = bench.create().await;
        drift(&bench, &id, "active").await;
        let elsewhere = bench.create_with(&|args| args.execution_id = id_in(8)).await;
        drift(&bench, &elsewhere, "active").await;

        let other = LaneId::new("other");
        let theirs = ScannerFilter::new().with_namespace("theirs");
        assert_eq!(reconcile_in(&bench, &[], &theirs).await, (0, 0));
        assert_eq!(reconcile_in(&bench, std::slice::from_ref(&other), &ScannerFilter::NOOP).await, (0, 0));
        assert_eq!(reconcile_in(&bench, &[lane()], &theirs).await, (0, 0));

        let ours = ScannerFilter::new()
            .with_namespace(NAMESPACE)
            .with_instance_tag("cairn.instance_id", INSTANCE);
        assert_eq!(reconcile_in(&bench, &[other, lane()], &ours).await, (1, 0));
        assert_eq!(bench.public(&id).await, "waiting");
        assert_eq!(bench.public(&elsewhere).await, "active", "in another partition");
        drift(&bench, &elsewhere, "waiting").await;
    }

    async fn a_row_that_cannot_be_read_is_counted_and_hides_no_other(bench) {
        let ids: Vec<ExecutionId> = (0..3).map(|_| id()).collect();
        let registered = bench.create().await;
        for id in &ids {
            bench.insert_core(id, WAITING, vec![("claimable_since_ms", int(START))]).await;
        }
        bench.set_core(&ids[0], vec![("eligibility_state", text("odd"))]).await;
        bench.set_core(&ids[1], vec![("lane_id", text(""))]).await;
        drift(&bench, &ids[2], "active").await;
        drift(&bench, &registered, "active").await;
        let odd = bench.core(&ids[0]).await;
        assert_eq!(reconcile(&bench).await, (2, 2));
        assert_eq!(reconcile(&bench).await, (0, 2));
        assert_eq!(bench.core(&ids[0]).await, odd);
        assert_eq!(bench.public(&ids[2]).await, "waiting");
    }

    async fn an_ended_execution_stays_as_it_is(bench) {
        let id = id();
        bench.insert_core(&id, COMPLETED, vec![("public_state", text("failed"))]).await;
        let before = bench.core(&id).await;
        assert_eq!(reconcile(&bench).await, (0, 0));
        assert_eq!(bench.core(&id).await, before);
    }

    async fn the_end_of_a_suspension_stays_visible(bench) {
        let id = id();
        let states = WAITING.replace("eligible_now waiting", "eligible_now resumable");
        bench.insert_core(&id, &states, vec![("claimable_since_ms", int(START))]).await;
        assert_eq!(reconcile(&bench).await, (1, 0), "its lane");
        assert_eq!(bench.public(&id).await, "resumable");
    }

    async fn a_pass_goes_through_every_page(bench) {
        bench.create().await;
        for _ in 0..501 {
            bench.insert_core(&id(), WAITING, vec![]).await;
        }
        assert_eq!(reconcile(&bench).await, (501, 0));
        assert_eq!(reconcile(&bench).await, (0, 0));
    }

    async fn a_pass_that_means_no_execution_is_refused(bench) {
        let partition = partition(&id());
        let all = ScannerFilter::NOOP;
        let none = [LaneId::new("")];
        let result = bench.backend.reconcile_execution_index(partition, &none, &all).await;
        assert!(result.unwrap_err().to_string().starts_with("validation: InvalidInput: lane_id: "));
        let nul = ScannerFilter::new().with_namespace("a\0");
        let result = bench.backend.reconcile_execution_index(partition, &[], &nul).await;
        assert!(result.unwrap_err().to_string().starts_with("validation: InvalidInput: namespace"));
        let beyond = ff_core::partition::Partition { index: 40_000, ..partition };
        let result = bench.backend.reconcile_execution_index(beyond, &[], &all).await;
        assert_refused(
            result,
            "validation: InvalidInput: partition index 40000 exceeds i16 range (max 32767)",
        );
    }

    async fn a_flow_whose_members_have_all_ended_is_listed_as_it_ended(bench) {
        let well = bench.flow(2).await;
        let badly = bench.flow(1).await;
        let going_on = bench.flow(2).await;
        let empty = bench.empty_flow().await;
        for id in [&well.members[0], &well.members[1], &going_on.members[0]] {
            bench.end(id, End::Success).await;
        }
        bench.end(&badly.members[0], End::Failed).await;

        // An engine that knew no end of a flow has dispatched the ends.
        let flows = [
            (&well, "completed"),
            (&badly, "failed"),
            (&going_on, "open"),
            (&empty, "open"),
        ];
        for (flow, word) in flows {
            let repaired = bench
                .backend
                .reconcile_execution_index(flow.partition(), &[], &ScannerFilter::NOOP)
                .await
                .unwrap();
            assert_eq!(repaired.errors, 0);
            let row = bench.flow_row(&flow.id).await;
            assert_eq!(row.text("public_flow_state"), word);
        }
        let mut query = FlowQuery::new(10);
        query.state = Some(PublicFlowState::Open);
        let open = bench.backend.list_flows_by(query).await.unwrap().flows;
        let open: BTreeSet<_> = open.into_iter().map(|flow| flow.flow_id).collect();
        assert_eq!(open, BTreeSet::from([going_on.id.clone(), empty.id.clone()]));
        // The dispatch that comes later finds the flow over.
        bench.settle().await;
        assert_eq!(bench.flow_row(&well.id).await.text("public_flow_state"), "completed");
    }
}
