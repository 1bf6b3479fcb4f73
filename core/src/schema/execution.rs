//! Executions, their attempts, and the grants to claim them.
//!
//! The execution row carries the state. The attempt row is narrow and carries the lease, because
//! the lease changes most often.

use serde_json::Value as Json;
use uuid::Uuid;

use crate::model::state::{
    AttemptOutcome, AttemptState, BlockingReason, EligibilityState, FailureClass, GrantKind,
    LifecyclePhase, OwnershipState, PublicState,
};
use crate::plan::Predicate;

table! {
    /// One row per execution: its state, input, result and an open bag of fields.
    exec_core = "ff_exec_core" key [partition_key, execution_id] partitioned busy {
        /// The partition of the execution's id.
        partition_key: i16,
        /// The UUID of the execution's id.
        execution_id: Uuid,
        /// The flow it belongs to.
        flow_id: Option<Uuid>,
        /// The lane it is claimed from.
        lane_id: String,
        /// Capabilities that a worker must have to claim it.
        required_capabilities: Vec<String> = Default::EmptyList,
        /// The current attempt, counted from 0.
        attempt_index: i32 = Default::Int(0),
        /// The phase of its life.
        lifecycle_phase: LifecyclePhase,
        /// The state of its lease.
        ownership_state: OwnershipState,
        /// The answer to whether it may be claimed, with the reason if not.
        eligibility_state: EligibilityState,
        /// The state that callers see; always derived from the other states.
        public_state: PublicState,
        /// The state of its current attempt.
        attempt_state: AttemptState,
        /// The reason for waiting, while it waits.
        blocking_reason: Option<BlockingReason>,
        /// The reason for its cancellation.
        cancellation_reason: Option<String>,
        /// The source of its cancellation.
        cancelled_by: Option<String>,
        /// The priority: higher is claimed first.
        priority: i32 = Default::Int(0),
        /// Submission, Unix ms.
        created_at_ms: i64,
        /// End, Unix ms.
        terminal_at_ms: Option<i64>,
        /// Expires if it has not ended by then, Unix ms.
        deadline_at_ms: Option<i64>,
        /// Input bytes.
        payload: Option<Vec<u8>>,
        /// Output bytes.
        result: Option<Vec<u8>>,
        /// The execution policy it was submitted with.
        policy: Option<Json>,
        /// Open bag: namespace, kind, tags, progress, counters of rarely used features.
        raw_fields: Json = Default::Json("{}"),
        /// First claim, Unix ms.
        started_at_ms: Option<i64>,
        /// The number of reclaims.
        lease_reclaim_count: i32 = Default::Int(0),
        /// The time before which it cannot be claimed, Unix ms.
        eligible_at_ms: Option<i64>,
        /// Reserved for the holder of a claim grant until then, Unix ms.
        granted_until_ms: Option<i64>,
        /// Longest run of one attempt, ms.
        attempt_timeout_ms: Option<i64>,
        /// The number of claims.
        total_attempt_count: i32 = Default::Int(0),
        /// Grows with every change to this row, so that a decision can be pinned to what it read.
        version: i64 = Default::Int(0),
        /// The time at which it last became claimable, Unix ms by the engine's clock; a future time
        /// while it is delayed. 0 in rows inserted by plain SQL, which count from their creation.
        claimable_since_ms: i64 = Default::Int(0),
        /// Last change of this row, Unix ms; 0 in rows inserted by plain SQL.
        last_changed_at_ms: i64 = Default::Int(0),
        /// True if a waitpoint of it may be open; also in rows of older databases or by plain SQL,
        /// which do not record it.
        has_waitpoints: bool = Default::Bool(true),
        /// True while it may have reserved something of a budget.
        has_reservations: bool = Default::Bool(false),
    }
    indexes [
        "ff_exec_core_claim_idx" (lane_id Ascending, required_capabilities Ascending,
            priority Descending, claimable_since_ms Ascending, created_at_ms Ascending,
            execution_id Ascending) only claimable,
        "ff_exec_core_keyed_idx" (lane_id Ascending, priority Descending,
            claimable_since_ms Ascending, created_at_ms Ascending, execution_id Ascending)
            only keyed_claimable,
        "ff_exec_core_delayed_idx" (eligible_at_ms Ascending) only delayed,
        "ff_exec_core_due_idx"
            (lane_id Ascending, required_capabilities Ascending, eligible_at_ms Ascending,
            execution_id Ascending) only delayed,
        "ff_exec_core_deadline_idx" (deadline_at_ms Ascending) only has_live_deadline,
        "ff_exec_core_flow_idx"
            (partition_key Ascending, flow_id Ascending, execution_id Ascending) only in_flow,
        "ff_exec_core_flow_unfinished_idx"
            (partition_key Ascending, flow_id Ascending, execution_id Ascending)
            only unfinished_in_flow,
        "ff_exec_core_flow_badly_ended_idx"
            (partition_key Ascending, flow_id Ascending, execution_id Ascending)
            only badly_ended_in_flow,
        "ff_exec_core_created_idx" (created_at_ms Ascending),
        "ff_exec_core_badly_ended_idx" (created_at_ms Ascending) only badly_ended,
    ]
    flags [
        /// TRUE while a worker may claim it.
        is_claimable: claimable,
        /// TRUE while it waits for a point in time.
        is_delayed: delayed,
        /// TRUE while its deadline can still pass.
        has_live_deadline: has_live_deadline,
        /// TRUE while its flow waits for it.
        is_unfinished_member: unfinished_in_flow,
        /// TRUE if it makes its flow a failed one.
        is_badly_ended_member: badly_ended_in_flow,
        /// TRUE if it ended badly, so that a listing of such ends reads no others.
        is_badly_ended: badly_ended,
    ]
}

table! {
    /// Capability requirements as one row each, as SQLite databases of the reference keep them.
    execution_capabilities = "ff_execution_capabilities" key [execution_id, capability] {
        /// The execution.
        execution_id: Uuid,
        /// One required capability.
        capability: String,
    }
    indexes []
}

table! {
    /// One row per attempt of an execution: its worker and lease, and how it ended.
    attempt = "ff_attempt" key [partition_key, execution_id, attempt_index] partitioned busy {
        /// The partition of the execution.
        partition_key: i16,
        /// The execution.
        execution_id: Uuid,
        /// Counted from 0.
        attempt_index: i32,
        /// The worker pool that holds or last held it.
        worker_id: Option<String>,
        /// The worker instance that holds it.
        worker_instance_id: Option<String>,
        /// The fence: grows with every lease of the execution and never restarts.
        lease_epoch: i64 = Default::Int(0),
        /// Expiry of the lease, Unix ms; NULL without a live lease.
        lease_expires_at_ms: Option<i64>,
        /// Start of this lease, Unix ms.
        started_at_ms: Option<i64>,
        /// End of the attempt, Unix ms.
        terminal_at_ms: Option<i64>,
        /// The outcome of its end or interruption.
        outcome: Option<AttemptOutcome>,
        /// Usage document; never written.
        usage: Option<Json>,
        /// Policy given at a typed claim.
        policy: Option<Json>,
        /// Open bag.
        raw_fields: Json = Default::Json("{}"),
        /// The id of the live or last lease.
        lease_id: Option<Uuid>,
        /// The id the attempt got at its claim.
        attempt_id: Option<Uuid>,
        /// Timeout of the attempt, Unix ms; NULL without a live lease.
        timeout_at_ms: Option<i64>,
        /// The failure in words, where it failed.
        failure_message: Option<String>,
        /// The class of that failure.
        failure_class: Option<FailureClass>,
    }
    indexes [
        "ff_attempt_lease_expiry_idx" (lease_expires_at_ms Ascending) only leased,
        "ff_attempt_timeout_idx" (timeout_at_ms Ascending) only timed,
    ]
}

table! {
    /// One row per idempotency key that is taken: the execution that took it, and until when. Rows
    /// carry the partition that the key hashes to.
    idempotency_key = "ff_idempotency_key" key [partition_key, key_digest] partitioned {
        /// The partition of the key.
        partition_key: i16,
        /// The SHA-256 digest of namespace, kind and key, in hexadecimal.
        key_digest: String,
        /// The partition of the execution.
        execution_partition: i16,
        /// The execution.
        execution_id: Uuid,
        /// The time when it took the key, Unix ms.
        taken_at_ms: i64,
        /// The time from which the key is free, Unix ms; NULL where an end frees it.
        expires_at_ms: Option<i64>,
        /// The execution, where its end frees the key; NULL where a time does.
        held_by_execution: Option<Uuid>,
    }
    indexes [
        "ff_idempotency_key_expires_idx" (expires_at_ms Ascending, key_digest Ascending)
            only key_expires,
        "ff_idempotency_key_held_by_idx" (execution_partition Ascending, held_by_execution Ascending)
            only key_is_held,
    ]
}

table! {
    /// A short-lived permission for one worker to claim or reclaim one execution.
    claim_grant = "ff_claim_grant" key [partition_key, grant_id] partitioned check [kind] {
        /// The partition of the execution.
        partition_key: i16,
        /// Binary id of the grant.
        grant_id: Vec<u8>,
        /// The execution.
        execution_id: Uuid,
        /// The operation that it permits.
        kind: GrantKind,
        /// The worker pool it is for.
        worker_id: String,
        /// The worker instance it was issued to.
        worker_instance_id: String,
        /// The lane, where known.
        lane_id: Option<String>,
        /// Digest of the worker's capabilities.
        capability_hash: Option<String>,
        /// The worker's capabilities.
        worker_capabilities: Json = Default::Json("[]"),
        /// Opaque routing record of the caller.
        route_snapshot_json: Option<String>,
        /// Opaque admission record of the caller.
        admission_summary: Option<String>,
        /// Requested life, ms.
        grant_ttl_ms: i64,
        /// Issue, Unix ms.
        issued_at_ms: i64,
        /// Expiry, Unix ms.
        expires_at_ms: i64,
    }
    indexes [
        "ff_claim_grant_execution_idx" (partition_key Ascending, execution_id Ascending),
        "ff_claim_grant_expiry_idx" (expires_at_ms Ascending),
    ]
}

/// Executions in a state that a worker can claim from, whatever their lane, grant and capabilities:
/// the part of the eligibility rule that the claim index holds. Phase `submitted` counts, so that a
/// database with rows that were never promoted still makes progress.
#[must_use]
pub fn claimable() -> Predicate {
    exec_core::lifecycle_phase
        .is_one_of(&[LifecyclePhase::Submitted, LifecyclePhase::Runnable])
        .and(exec_core::eligibility_state.is(EligibilityState::EligibleNow))
}

/// The bound below which tokens begin that are no capabilities: room in budgets, keys of limits and
/// of fairness. They begin with a control character. Lists are stored in order, so they come first.
pub const TOKENS_BELOW: &str = " ";

/// Those of them that require more than capabilities. So do some others, with a capability that
/// begins with a control character, or that is empty.
#[must_use]
pub fn keyed_claimable() -> Predicate {
    claimable().and(exec_core::required_capabilities.begins_below(TOKENS_BELOW))
}

/// Those that require nothing but capabilities, each of which begins with a printed character.
#[must_use]
pub fn requires_no_tokens() -> Predicate {
    exec_core::required_capabilities.begins_not_below(TOKENS_BELOW)
}

/// The phases of an execution that has ended.
const ENDED: [LifecyclePhase; 2] = [LifecyclePhase::Terminal, LifecyclePhase::Cancelled];

/// Executions that a worker runs.
#[must_use]
pub fn running() -> Predicate {
    exec_core::lifecycle_phase.is(LifecyclePhase::Active)
}

/// Executions that wait for a point in time.
#[must_use]
pub fn delayed() -> Predicate {
    exec_core::lifecycle_phase
        .is(LifecyclePhase::Runnable)
        .and(exec_core::eligibility_state.is(EligibilityState::NotEligibleUntilTime))
}

/// Executions that wait for others of their flow.
#[must_use]
pub fn waiting_for_dependencies() -> Predicate {
    exec_core::lifecycle_phase
        .is(LifecyclePhase::Runnable)
        .and(exec_core::eligibility_state.is(EligibilityState::BlockedByDependencies))
}

/// Idempotency keys that a time frees.
#[must_use]
pub fn key_expires() -> Predicate {
    idempotency_key::expires_at_ms.is_present()
}

/// Idempotency keys that the end of an execution frees.
fn key_is_held() -> Predicate {
    idempotency_key::held_by_execution.is_present()
}

/// Executions that have ended.
#[must_use]
pub fn finished() -> Predicate {
    exec_core::lifecycle_phase.is_one_of(&ENDED)
}

/// Executions that have not ended.
#[must_use]
pub fn unfinished() -> Predicate {
    exec_core::lifecycle_phase.is_none_of(&ENDED)
}

/// The ends with which an execution makes its flow a failed one.
pub const BADLY: [PublicState; 3] =
    [PublicState::Failed, PublicState::Cancelled, PublicState::Expired];

/// Executions with which their flow counts as failed.
#[must_use]
pub fn badly_ended() -> Predicate {
    exec_core::public_state.is_one_of(&BADLY)
}

/// Executions with a deadline that can still pass.
#[must_use]
pub fn has_live_deadline() -> Predicate {
    exec_core::deadline_at_ms.is_present().and(exec_core::terminal_at_ms.is_null())
}

/// Attempts with a live lease.
#[must_use]
pub fn leased() -> Predicate {
    attempt::lease_expires_at_ms.is_present()
}

/// Attempts with a live lease and a timeout.
#[must_use]
pub fn timed() -> Predicate {
    attempt::timeout_at_ms.is_present()
}

fn in_flow() -> Predicate {
    exec_core::flow_id.is_present()
}

/// The members that a flow waits for before it ends.
fn unfinished_in_flow() -> Predicate {
    in_flow().and(unfinished())
}

/// The members that make a flow a failed one, so that its end reads none of the others.
fn badly_ended_in_flow() -> Predicate {
    in_flow().and(badly_ended())
}
