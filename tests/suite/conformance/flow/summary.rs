//! A flow's members, counted by state.

use ff_core::plan::value::Value;
use ff_core::types::{FlowId, TimestampMs};

use crate::backends::{Bench, START, conformance};
use crate::bench::{ACTIVE, CANCELLED, COMPLETED, EXPIRED, FAILED, WAITING, assert_refused, id_in};
use crate::flow::{End, at};
use crate::plain::Cells;

const SKIPPED: &str = "terminal unowned not_applicable skipped attempt_terminal -";
const SUSPENDED: &str =
    "suspended unowned not_applicable suspended attempt_interrupted waiting_for_signal";
const DELAYED: &str =
    "runnable unowned not_eligible_until_time delayed pending_first_attempt waiting_for_delay";
const LIMITED: &str =
    "runnable unowned blocked_by_budget rate_limited pending_first_attempt waiting_for_budget";
const BLOCKED: &str = "runnable unowned blocked_by_dependencies waiting_children \
                       pending_first_attempt waiting_for_children";
const RESUMABLE: &str = "runnable unowned eligible_now resumable attempt_interrupted -";
const RUNNING: &str = "active leased not_applicable running running -";

/// The summary of a flow with such members, inserted by hand.
async fn summary(bench: &Bench, members: &[&str]) -> Cells {
    let flow = FlowId::new();
    for states in members {
        let more = vec![("flow_id", Value::Uuid(flow.0))];
        bench.insert_core(&id_in(11), states, more).await;
    }
    let now = TimestampMs(START + 1);
    assert!(bench.backend.project_flow_summary(at(11), &flow, now).await.unwrap());
    let mut rows = bench.plain.rows("ff_flow_summary").await;
    rows.retain(|row| row.uuid("flow_id") == Some(flow.0));
    rows.remove(0)
}

conformance! {
    async fn every_state_is_counted(bench) {
        let members = [
            COMPLETED, FAILED, FAILED, CANCELLED, EXPIRED, SKIPPED, ACTIVE, RUNNING, SUSPENDED,
            WAITING, RESUMABLE, DELAYED, LIMITED, BLOCKED, BLOCKED, BLOCKED,
        ];
        let row = summary(&bench, &members).await;
        assert_eq!(row.int("partition_key"), Some(11));
        assert_eq!((row.int("total_members"), row.int("sampled_members")), (Some(16), Some(16)));
        for (state, count) in [
            ("completed", 1),
            ("failed", 2),
            ("cancelled", 1),
            ("expired", 1),
            ("skipped", 1),
            ("active", 2),
            ("suspended", 1),
            ("waiting", 2),
            ("delayed", 1),
            ("rate_limited", 1),
            ("waiting_children", 3),
        ] {
            assert_eq!(row.int(&format!("members_{state}")), Some(count), "{state}");
        }
        assert_eq!(row.text("public_flow_state"), "running");
        assert_eq!(row.int("last_summary_update_at"), Some(START + 1));
    }

    async fn the_state_of_a_flow_follows_from_its_members(bench) {
        for (members, state) in [
            (vec![COMPLETED, SKIPPED], "completed"),
            (vec![COMPLETED, FAILED], "failed"),
            (vec![COMPLETED, CANCELLED], "failed"),
            (vec![EXPIRED], "failed"),
            (vec![FAILED, ACTIVE], "running"),
            (vec![FAILED, RUNNING, SUSPENDED], "running"),
            (vec![COMPLETED, SUSPENDED], "blocked"),
            (vec![WAITING, DELAYED], "blocked"),
            (vec![WAITING, LIMITED], "blocked"),
            (vec![WAITING, BLOCKED], "blocked"),
            (vec![COMPLETED, WAITING], "open"),
            (vec![RESUMABLE], "open"),
        ] {
            let row = summary(&bench, &members).await;
            assert_eq!(row.text("public_flow_state"), state, "{members:?}");
        }
    }

    async fn a_later_summary_replaces_the_earlier(bench) {
        let flow = bench.flow(2).await;
        let backend = &bench.backend;
        let partition = flow.partition();
        backend.project_flow_summary(partition, &flow.id, TimestampMs(1)).await.unwrap();
        let before = bench.flow_row(&flow.id).await;
        for id in &flow.members {
            bench.end(id, End::Success).await;
        }
        backend.project_flow_summary(partition, &flow.id, TimestampMs(2)).await.unwrap();
        let rows = bench.plain.rows("ff_flow_summary").await;
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].int("members_waiting"), rows[0].int("members_completed")), (Some(0), Some(2)));
        assert_eq!(rows[0].text("public_flow_state"), "completed");
        assert_eq!(rows[0].int("last_summary_update_at"), Some(2));
        assert_eq!(bench.flow_row(&flow.id).await, before, "the flow itself stays");
    }

    async fn without_members_there_is_nothing_to_count(bench) {
        let flow = bench.flow(1).await;
        let before = bench.everything().await;
        let other = at((flow.partition().index + 1) % 256);
        let now = bench.clock.now();
        assert!(!bench.backend.project_flow_summary(other, &flow.id, now).await.unwrap());
        assert!(!bench.backend.project_flow_summary(other, &FlowId::new(), now).await.unwrap());
        assert_refused(
            bench.backend.project_flow_summary(at(40_000), &flow.id, now).await,
            "validation: InvalidInput: partition index 40000 exceeds i16 range (max 32767)",
        );
        assert_eq!(bench.everything().await, before);
    }
}
