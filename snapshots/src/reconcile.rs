//! The situations in which the repair of executions is sampled.

use ff_core::backend::ScannerFilter;
use ff_core::engine_backend::EngineBackend;
use ff_core::partition::{Partition, PartitionFamily};
use ff_core::plan::value::Value;
use ff_core::state::{ClosedSet as _, EligibilityState, LifecyclePhase, OwnershipState};
use uuid::Uuid;

use super::fixtures::lane;
use super::flow_rows::text;
use super::stage::{NOON, Scene};

impl Scene {
    pub(super) fn reconciles(&mut self) {
        let partition = Partition { family: PartitionFamily::Execution, index: 7 };
        let all = ScannerFilter::NOOP;
        let some = ScannerFilter::new().with_namespace("billing");

        self.sample("reconcile_execution_index", "of some lanes", async |b| {
            b.reconcile_execution_index(partition, &[lane()], &all).await
        });
        self.sample("reconcile_execution_index", "that a filter lets through", async |b| {
            b.reconcile_execution_index(partition, &[], &some).await
        });
        self.sample("reconcile_execution_index", "of some lanes, filtered", async |b| {
            b.reconcile_execution_index(partition, &[lane()], &some).await
        });

        self.insert(
            "ff_exec_core",
            vec![
                ("execution_id", Value::Uuid(Uuid::from_u128(1))),
                ("lane_id", text("by-hand")),
                ("lifecycle_phase", text(LifecyclePhase::Runnable.as_str())),
                ("ownership_state", text(OwnershipState::Unowned.as_str())),
                ("eligibility_state", text(EligibilityState::EligibleNow.as_str())),
                ("public_state", text("none")),
                ("attempt_state", text("none")),
                ("created_at_ms", Value::Int(NOON)),
            ],
        );
        self.sample("reconcile_execution_index", "a row by hand", async |b| {
            b.reconcile_execution_index(partition, &[], &all).await
        });

        self.insert(
            "ff_flow_core",
            vec![
                ("flow_id", Value::Uuid(Uuid::from_u128(2))),
                ("public_flow_state", text("open")),
                ("created_at_ms", Value::Int(NOON)),
            ],
        );
        self.insert(
            "ff_exec_core",
            vec![
                ("execution_id", Value::Uuid(Uuid::from_u128(3))),
                ("flow_id", Value::Uuid(Uuid::from_u128(2))),
                ("lane_id", text("by-hand")),
                ("lifecycle_phase", text(LifecyclePhase::Terminal.as_str())),
                ("ownership_state", text(OwnershipState::Unowned.as_str())),
                ("eligibility_state", text(EligibilityState::NotApplicable.as_str())),
                ("public_state", text("completed")),
                ("attempt_state", text("attempt_terminal")),
                ("created_at_ms", Value::Int(NOON)),
            ],
        );
        self.sample("reconcile_execution_index", "a flow by hand that is over", async |b| {
            b.reconcile_execution_index(partition, &[], &all).await
        });
    }
}
