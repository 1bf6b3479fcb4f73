//! The types that no operation takes or answers: each is read from its wire form and written again.

use std::fmt::Debug;

use ff_core::contracts::{
    AppendFrameArgs, AppendFrameResult, BufferSignalArgs, BufferSignalResult, CloseWaitpointArgs,
    CloseWaitpointResult, CreatePendingWaitpointArgs, CreatePendingWaitpointResult,
    DelayExecutionArgs, DelayExecutionResult, ExecutionSummary, ExpireExecutionArgs,
    ExpireExecutionResult, ExpireSuspensionArgs, ExpireSuspensionResult, ListExecutionsResult,
    MarkLeaseExpiredArgs, MarkLeaseExpiredResult, MoveToWaitingChildrenArgs,
    MoveToWaitingChildrenResult, PromoteBlockedToEligibleArgs, PromoteBlockedToEligibleResult,
    ReadFramesArgs, ReadFramesResult, ResolveDependencyResult, SetEdgeGroupPolicyArgs,
    SetExecutionTagsArgs, SetExecutionTagsResult, SetFlowTagsArgs, SetFlowTagsResult, StateSummary,
    SuspendExecutionArgs, SuspendExecutionResult, UpdateProgressArgs, UpdateProgressResult,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const ID: &str = "00000000-0000-0000-0000-000000000001";
const EXECUTION: &str = "{fp:7}:00000000-0000-0000-0000-000000000001";

/// The value is read, and what is written of it says the same.
#[track_caller]
fn read_and_written<T: Serialize + DeserializeOwned + Debug>(wire: Value) {
    let read: T = serde_json::from_value(wire.clone()).expect("it is read");
    assert_eq!(serde_json::to_value(&read).expect("it is written"), wire, "{read:?}");
}

fn fence() -> Value {
    json!({ "lease_id": ID, "lease_epoch": 3, "attempt_id": ID })
}

#[test]
fn the_life_of_an_execution() {
    read_and_written::<MarkLeaseExpiredArgs>(json!({ "execution_id": EXECUTION }));
    read_and_written::<MarkLeaseExpiredResult>(json!("MarkedExpired"));
    read_and_written::<DelayExecutionArgs>(json!({
        "execution_id": EXECUTION, "fence": fence(), "attempt_index": 0, "delay_until": 9,
        "source": "lease_holder", "now": 5,
    }));
    read_and_written::<DelayExecutionResult>(
        json!({ "Delayed": { "execution_id": EXECUTION, "public_state": "delayed" } }),
    );
    read_and_written::<MoveToWaitingChildrenArgs>(json!({
        "execution_id": EXECUTION, "fence": null, "attempt_index": 0, "source": "lease_holder",
        "now": 5,
    }));
    read_and_written::<MoveToWaitingChildrenResult>(
        json!({ "Moved": { "execution_id": EXECUTION, "public_state": "waiting_children" } }),
    );
    read_and_written::<UpdateProgressArgs>(json!({
        "execution_id": EXECUTION, "lease_id": ID, "lease_epoch": 3, "attempt_id": ID,
        "progress_pct": 50, "progress_message": null, "now": 5,
    }));
    read_and_written::<UpdateProgressResult>(json!("Updated"));
    read_and_written::<ExpireExecutionArgs>(
        json!({ "execution_id": EXECUTION, "expire_reason": "deadline" }),
    );
    read_and_written::<ExpireExecutionResult>(json!("AlreadyTerminal"));
}

#[test]
fn listings_and_tags() {
    let summary = json!({
        "execution_id": EXECUTION, "namespace": "acme", "lane_id": "main",
        "execution_kind": "render", "public_state": "waiting", "priority": 5, "created_at": "now",
    });
    read_and_written::<ExecutionSummary>(summary.clone());
    read_and_written::<ListExecutionsResult>(
        json!({ "executions": [summary], "total_returned": 1 }),
    );
    read_and_written::<StateSummary>(json!({
        "state_vector": {
            "lifecycle_phase": "runnable", "ownership_state": "unowned",
            "eligibility_state": "eligible_now", "blocking_reason": "waiting_for_worker",
            "terminal_outcome": "none", "attempt_state": "pending_first_attempt",
            "public_state": "waiting",
        },
        "current_attempt_index": 0,
    }));
    read_and_written::<SetExecutionTagsArgs>(
        json!({ "execution_id": EXECUTION, "tags": { "team.a": "1" } }),
    );
    read_and_written::<SetExecutionTagsResult>(json!({ "Ok": { "count": 1 } }));
    read_and_written::<SetFlowTagsArgs>(json!({ "flow_id": ID, "tags": {} }));
    read_and_written::<SetFlowTagsResult>(json!({ "Ok": { "count": 0 } }));
}

#[test]
fn streams_and_flows() {
    read_and_written::<AppendFrameArgs>(json!({
        "execution_id": EXECUTION, "attempt_index": 0, "lease_id": ID, "lease_epoch": 3,
        "attempt_id": ID, "frame_type": "token", "timestamp": 5, "payload": [104, 105],
        "encoding": "utf8", "metadata_json": null, "correlation_id": null, "source": "worker",
        "retention_maxlen": 10, "max_payload_bytes": null,
    }));
    read_and_written::<AppendFrameResult>(
        json!({ "Appended": { "entry_id": "5-0", "frame_count": 1 } }),
    );
    read_and_written::<ReadFramesArgs>(json!({
        "execution_id": EXECUTION, "attempt_index": 0, "from_id": "-", "to_id": "+",
        "count_limit": 10,
    }));
    read_and_written::<ReadFramesResult>(json!({ "Frames": { "frames": [] } }));
    read_and_written::<PromoteBlockedToEligibleArgs>(
        json!({ "execution_id": EXECUTION, "now": 5 }),
    );
    read_and_written::<PromoteBlockedToEligibleResult>(json!("Promoted"));
    read_and_written::<SetEdgeGroupPolicyArgs>(json!({
        "flow_id": ID, "downstream_execution_id": EXECUTION, "policy": { "kind": "all_of" },
        "now": 5,
    }));
    read_and_written::<ResolveDependencyResult>(json!("AlreadyResolved"));
}

#[test]
fn suspensions_and_signals() {
    read_and_written::<SuspendExecutionArgs>(json!({
        "execution_id": EXECUTION, "fence": fence(), "attempt_index": 0, "suspension_id": ID,
        "waitpoint_id": ID, "waitpoint_key": "k", "reason_code": "waiting_for_signal",
        "requested_by": "worker", "resume_condition_json": "{}", "resume_policy_json": "{}",
        "continuation_metadata_pointer": null, "timeout_at": 9, "use_pending_waitpoint": false,
        "timeout_behavior": "fail",
    }));
    let made = json!({ "waitpoint_id": ID, "waitpoint_key": "k", "waitpoint_token": "kid:aa" });
    let mut suspended = made.clone();
    suspended["suspension_id"] = ID.into();
    read_and_written::<SuspendExecutionResult>(json!({ "Suspended": suspended }));
    read_and_written::<CreatePendingWaitpointArgs>(json!({
        "execution_id": EXECUTION, "lease_id": ID, "lease_epoch": 3, "attempt_index": 0,
        "attempt_id": ID, "waitpoint_id": ID, "waitpoint_key": "k", "expires_in_ms": 1_000,
    }));
    read_and_written::<CreatePendingWaitpointResult>(json!({ "Created": made }));
    read_and_written::<CloseWaitpointArgs>(json!({ "waitpoint_id": ID, "reason": "done" }));
    read_and_written::<CloseWaitpointResult>(json!("Closed"));
    read_and_written::<ExpireSuspensionArgs>(json!({ "execution_id": EXECUTION }));
    read_and_written::<ExpireSuspensionResult>(
        json!({ "Expired": { "behavior_applied": "fail" } }),
    );
    read_and_written::<BufferSignalArgs>(json!({
        "execution_id": EXECUTION, "waitpoint_id": ID, "signal_id": ID, "signal_name": "go",
        "signal_category": "human", "source_type": "user", "source_identity": "ada",
        "payload": null, "payload_encoding": null, "idempotency_key": null,
        "target_scope": "waitpoint", "waitpoint_token": "kid:aa", "now": 5,
    }));
    read_and_written::<BufferSignalResult>(json!({ "Buffered": { "signal_id": ID } }));
}
