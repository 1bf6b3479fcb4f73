//! A cascade in every combination of the rows that it may find. The rows are inserted by hand, so
//! that no combination is left out.

use ff_core::contracts::{
    AddExecutionToFlowArgs, ApplyDependencyToChildArgs, EdgeDependencyPolicy,
};
use ff_core::engine::run;
use ff_core::engine_backend::{EngineBackend, Scan};
use ff_core::partition::{Partition, PartitionConfig, PartitionFamily, flow_partition};
use ff_core::plan::value::Value;
use ff_core::rules::flow::dispatch::{Done, EdgesFrom, Event};
use ff_core::rules::flow::hop::{Ended, Hop};
use ff_core::rules::flow::key::FlowKey;
use ff_core::rules::flow::policy::encode;
use ff_core::rules::status::Status;
use ff_core::state::{CompletionKind, TerminalOutcome};
use ff_core::types::{EdgeId, ExecutionId, FlowId};
use serde_json::json;
use uuid::Uuid;

use super::fixtures::lane;
use super::flow_rows::{
    Child, DOWNSTREAM, EDGE, EVENT, FLOW, Group, OTHER_EDGE, PARTITION, SIBLING, UPSTREAM, text,
};
use super::stage::{NOON, Scene, now};

impl Scene {
    pub(super) fn applied_edges(&mut self) {
        for (group_case, group) in Group::ALL {
            for (child_case, child) in Child::ALL {
                for over in [false, true] {
                    let upstream = if over { "over" } else { "running" };
                    let case = format!("{group_case}, child {child_case}, upstream {upstream}");
                    self.in_own_database(|scene| scene.applied_edge(case, group, child, over));
                }
            }
        }
    }

    fn applied_edge(&mut self, case: String, group: Group, child: Child, over: bool) {
        self.insert_edge(EDGE, UPSTREAM, false);
        self.insert_edge(OTHER_EDGE, SIBLING, true);
        self.insert_execution(SIBLING, Status::active(), None);
        self.insert_child(child);
        self.insert_group(group, 1);

        if over {
            let (outcome, word) = match group.end() {
                CompletionKind::Success => (TerminalOutcome::Success, "success"),
                _ => (TerminalOutcome::Failed, "failed"),
            };
            self.insert_execution(UPSTREAM, Status::terminal(outcome), None);
            self.insert_attempt(UPSTREAM, word);
        } else {
            self.insert_execution(UPSTREAM, Status::active(), None);
        }
        self.apply(case);
    }

    fn apply(&mut self, case: String) {
        let id = |uuid| ExecutionId::from_parts(PARTITION.unsigned_abs(), uuid);
        let args = ApplyDependencyToChildArgs {
            flow_id: FlowId::from_uuid(FLOW),
            edge_id: EdgeId::from_uuid(EDGE),
            downstream_execution_id: id(DOWNSTREAM),
            upstream_execution_id: id(UPSTREAM),
            graph_revision: 2,
            dependency_kind: "success_only".into(),
            data_passing_ref: None,
            now: self.at(),
        };

        self.sample("apply_dependency_to_child", case, async |b| {
            b.apply_dependency_to_child(args).await
        });
    }

    /// An edge into a group that was satisfied without it: its upstream is not needed.
    pub(super) fn late_edges(&mut self) {
        for (child_case, child) in Child::ALL {
            self.in_own_database(|scene| {
                scene.insert_edge(EDGE, UPSTREAM, false);
                scene.insert_execution(UPSTREAM, Status::active(), None);
                scene.insert_child(child);

                let counts =
                    vec![("success_count", Value::Int(1)), ("dependency_count", Value::Int(1))];
                let policy = Group::SatisfiedCancellingOthers.policy();
                scene.insert_group_of(DOWNSTREAM, &policy, counts);
                let case = format!("others were enough, child {child_case}");
                scene.apply(case);
            });
        }
    }

    /// A flow with more rows than one page holds.
    pub(super) fn pages(&mut self) {
        let flow = FlowId::from_uuid(FLOW);
        let partition = flow_partition(&flow, &PartitionConfig::default());
        let place = Value::Int(i64::from(partition.index));
        let header = vec![
            ("partition_key", place.clone()),
            ("flow_id", Value::Uuid(FLOW)),
            ("public_flow_state", text("open")),
            ("created_at_ms", Value::Int(NOON)),
        ];
        let _ = self.memory.insert_row("ff_flow_core", header);

        for number in 1..=1_001_u128 {
            let uuid = Value::Uuid(Uuid::from_u128(number));
            let of_flow = || vec![("partition_key", place.clone()), ("flow_id", Value::Uuid(FLOW))];
            let mut group = of_flow();
            group.push(("downstream_eid", uuid.clone()));
            group.push(("policy", Value::Json(json!({}))));

            let mut edge = of_flow();
            edge.push(("edge_id", uuid.clone()));
            edge.push(("upstream_eid", Value::Uuid(UPSTREAM)));
            edge.push(("downstream_eid", uuid.clone()));
            edge.push(("policy", Value::Json(json!({}))));

            let mut core = of_flow();
            core.push(("execution_id", uuid));
            core.push(("lane_id", text(lane().as_str())));
            core.push(("lifecycle_phase", text("runnable")));
            core.push(("ownership_state", text("unowned")));
            core.push(("eligibility_state", text("eligible_now")));
            core.push(("public_state", text("waiting")));
            core.push(("attempt_state", text("pending_first_attempt")));
            core.push(("created_at_ms", Value::Int(NOON)));

            for (table, row) in
                [("ff_edge_group", group), ("ff_edge", edge), ("ff_exec_core", core)]
            {
                let _ = self.memory.insert_row(table, row);
            }
        }

        let at = self.at();
        self.sample("describe_flow", "large", async |b| b.describe_flow(&flow).await);
        self.sample("read_flow_graph", "large", async |b| b.read_flow_graph(&flow).await);
        self.sample("project_flow_summary", "large", async |b| {
            b.project_flow_summary(partition, &flow, at).await
        });

        let from = EdgesFrom {
            flow: FlowKey { partition: PARTITION, uuid: FLOW },
            upstream: UPSTREAM,
            after: Some((DOWNSTREAM, EdgeId::from_uuid(EDGE))),
        };
        self.sample("cascade_completion", "many wait", async |b| run(b, &from).await);
    }

    pub(super) fn hops(&mut self) {
        for (group_case, group) in Group::ALL {
            for (child_case, child) in Child::ALL {
                for last in [false, true] {
                    let told = if last { ", the last to be told" } else { "" };
                    let case = format!("{group_case}, child {child_case}{told}");
                    self.in_own_database(|scene| scene.hop(case, group, child, last));
                }
            }
        }

        let end =
            Ended { upstream: UPSTREAM, outcome: CompletionKind::Success, event_id: Some(EVENT) };
        let flow = FlowKey { partition: PARTITION, uuid: FLOW };

        let event = Event {
            flow: Some(flow),
            partition: PARTITION,
            end,
            event_id: EVENT,
            dispatched: false,
        };

        self.sample("cascade_completion", "no edge waits", async |b| run(b, &Done { event }).await);
    }

    fn hop(&mut self, case: String, group: Group, child: Child, last: bool) {
        let others = match group {
            Group::Pending | Group::PendingCancellingOthers | Group::PendingByOlderCounts => 3,
            Group::None
            | Group::NoneAndFailed
            | Group::Satisfied
            | Group::SatisfiedCancellingOthers
            | Group::Impossible => 2,
        };

        self.insert_edge(EDGE, UPSTREAM, true);
        self.insert_edge(OTHER_EDGE, SIBLING, true);
        self.insert_execution(SIBLING, Status::active(), None);
        self.insert_child(child);
        self.insert_group(group, others);

        let end = Ended { upstream: UPSTREAM, outcome: group.end(), event_id: Some(EVENT) };
        let flow = FlowKey { partition: PARTITION, uuid: FLOW };
        let hop = Hop { flow, edge: EdgeId::from_uuid(EDGE), end, last, downstream: None };
        self.sample("cascade_completion", case.clone(), async |b| run(b, &hop).await);
        self.sample("cascade_completion", format!("{case}, again"), async |b| run(b, &hop).await);
        // The upstream was replayed, and has another end this time.
        let end = Ended { outcome: CompletionKind::Expired, event_id: Some(EVENT + 1), ..end };
        let again = Hop { end, ..hop };
        self.sample("cascade_completion", format!("{case}, ended otherwise"), async |b| {
            run(b, &again).await
        });
    }

    pub(super) fn siblings(&mut self) {
        let partition = Partition { family: PartitionFamily::Flow, index: 7 };
        let (flow, downstream) = (FlowId::from_uuid(FLOW), ExecutionId::from_parts(7, DOWNSTREAM));
        let pending_cancel = || {
            vec![
                ("flow_id", Value::Uuid(FLOW)),
                ("downstream_eid", Value::Uuid(DOWNSTREAM)),
                ("enqueued_at_ms", Value::Int(NOON)),
            ]
        };

        self.insert("ff_pending_cancel_groups", pending_cancel());
        self.sample("reconcile_sibling_cancel_group", "stale", async |b| {
            b.reconcile_sibling_cancel_group(partition, &flow, &downstream).await
        });

        self.insert("ff_pending_cancel_groups", pending_cancel());
        self.sample("drain_sibling_cancel_group", "stale", async |b| {
            b.drain_sibling_cancel_group(partition, &flow, &downstream).await
        });

        let all = EdgeDependencyPolicy::all_of();
        self.in_own_database(|scene| {
            scene.insert_group_of(DOWNSTREAM, &all, Vec::new());
            scene.insert("ff_pending_cancel_groups", pending_cancel());
            scene.sample(
                "reconcile_sibling_cancel_group",
                "of a group that owes nothing",
                async |b| b.reconcile_sibling_cancel_group(partition, &flow, &downstream).await,
            );
            scene.insert("ff_pending_cancel_groups", pending_cancel());
            scene.sample("drain_sibling_cancel_group", "of a group that owes nothing", async |b| {
                b.drain_sibling_cancel_group(partition, &flow, &downstream).await
            });
        });

        self.insert("ff_pending_cancel_groups", pending_cancel());
        self.insert_execution(SIBLING, Status::active(), None);
        let pending_flag = ("cancel_siblings_pending_flag", Value::Bool(true));
        let sibling =
            ("cancel_siblings_pending_members", Value::TextList(vec![SIBLING.to_string()]));
        self.insert_group_of(DOWNSTREAM, &all, vec![pending_flag.clone(), sibling]);

        self.sample("reconcile_sibling_cancel_group", "still running", async |b| {
            b.reconcile_sibling_cancel_group(partition, &flow, &downstream).await
        });

        self.in_own_database(|scene| {
            scene.insert("ff_pending_cancel_groups", pending_cancel());
            scene.insert_group_of(DOWNSTREAM, &all, vec![pending_flag]);
            scene.sample("reconcile_sibling_cancel_group", "all over", async |b| {
                b.reconcile_sibling_cancel_group(partition, &flow, &downstream).await
            });
        });

        self.sample("scan", "sibling cancel", async |b| b.scan(Scan::SiblingCancel, 100).await);
    }

    /// Members of a flow that have ended, each with another kind of group.
    pub(super) fn ended_members(&mut self) -> Vec<(&'static str, ExecutionId)> {
        let skipped = Status::terminal(TerminalOutcome::Skipped);
        let cases = [
            ("skipped by its flow", skipped, Some("skipped"), Some(Group::Pending)),
            (
                "skipped, what it waits for has come",
                skipped,
                Some("skipped"),
                Some(Group::Satisfied),
            ),
            ("skipped, without a group", skipped, Some("skipped"), None),
            ("cancelled before it began", Status::cancelled(), None, Some(Group::Pending)),
            (
                "cancelled while it waited",
                Status::cancelled(),
                Some("cancelled"),
                Some(Group::Pending),
            ),
            ("cancelled alone", Status::cancelled(), None, None),
        ];

        let mut members = Vec::new();
        for (number, (case, status, outcome, group)) in (0_u128..).zip(cases) {
            let uuid = Uuid::from_u128(0x100 + number);
            self.insert_execution(uuid, status, None);

            if let Some(outcome) = outcome {
                self.insert_attempt(uuid, outcome);
            }
            if let Some(group) = group {
                let success = i64::from(matches!(group, Group::Satisfied));
                let counts = vec![
                    ("success_count", Value::Int(success)),
                    ("dependency_count", Value::Int(2)),
                ];
                self.insert_group_of(uuid, &group.policy(), counts);
                self.insert(
                    "ff_edge",
                    vec![
                        ("flow_id", Value::Uuid(FLOW)),
                        ("edge_id", Value::Uuid(uuid)),
                        ("upstream_eid", Value::Uuid(UPSTREAM)),
                        ("downstream_eid", Value::Uuid(uuid)),
                        ("policy", Value::Json(json!({}))),
                    ],
                );
            }

            members.push((case, ExecutionId::from_parts(7, uuid)));
        }
        members
    }

    /// Claims a member of a flow with a group in the state that `case` names.
    pub(super) fn waiting_worker(&mut self, case: &str) -> Option<ff_core::backend::Handle> {
        let (id, handle) = self.held(None)?;
        let (success, fail) = match case {
            "for what has come" => (1, 0),
            "in vain" => (0, 1),
            _ => (0, 0),
        };

        let partition = Value::Int(i64::from(id.partition()));
        let flow = Value::Uuid(id.uuid());
        let group = vec![
            ("partition_key", partition),
            ("flow_id", flow.clone()),
            ("downstream_eid", Value::Uuid(id.uuid())),
            ("policy", Value::Json(encode(&EdgeDependencyPolicy::all_of()))),
            ("success_count", Value::Int(success)),
            ("fail_count", Value::Int(fail)),
            ("dependency_count", Value::Int(1)),
        ];
        let _ = self.memory.insert_row("ff_edge_group", group);
        // The member is added to its flow after the claim, which does not look at flows.
        let added = AddExecutionToFlowArgs {
            flow_id: FlowId::from_uuid(id.uuid()),
            execution_id: id.clone(),
            now: self.at(),
        };

        let core = vec![
            ("partition_key", Value::Int(i64::from(id.partition()))),
            ("flow_id", flow),
            ("public_flow_state", text("open")),
            ("created_at_ms", Value::Int(NOON)),
        ];
        let _ = self.memory.insert_row("ff_flow_core", core);
        let _ = now(self.backend.add_execution_to_flow(added));
        Some(handle)
    }
}
