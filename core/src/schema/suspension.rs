//! Suspensions of executions, and the streams that their attempts write.
//!
//! A suspended execution has one suspension row with its resume condition, and one waitpoint row
//! per open waitpoint that accepts signals. A stream is the output of one attempt: appended frames,
//! a merged summary document, and the append rate that decides how far best-effort frames are
//! trimmed. Every row carries the partition of its execution.

use serde_json::Value as Json;
use uuid::Uuid;

use crate::model::state::WaitpointState;
use crate::plan::Predicate;

table! {
    /// One row per execution that was suspended: its latest suspension and the signals collected.
    suspension_current = "ff_suspension_current" key [partition_key, execution_id] partitioned {
        /// The partition of the execution.
        partition_key: i16,
        /// The execution.
        execution_id: Uuid,
        /// The suspension; a new one for each time the execution is suspended.
        suspension_id: Uuid,
        /// The time of the suspension, Unix ms.
        suspended_at_ms: i64,
        /// The timeout of the wait, Unix ms; NULL for none.
        timeout_at_ms: Option<i64>,
        /// The kind of wait, such as `waiting_for_signal`.
        reason_code: Option<String>,
        /// The condition that ends the wait.
        condition: Json,
        /// Always the empty array; satisfaction is computed from the collected signals.
        satisfied_set: Json = Default::Json("[]"),
        /// Collected signals: an object from waitpoint key to array of signals.
        member_map: Json = Default::Json("{}"),
        /// The action at the timeout; NULL means `fail`.
        timeout_behavior: Option<String>,
        /// The policy once the condition holds; NULL means the default.
        resume_policy: Option<Json>,
        /// The party that asked for the suspension.
        requested_by: Option<String>,
        /// A pointer to the state that the worker needs in order to continue.
        continuation_metadata_pointer: Option<String>,
        /// The number of signals that the execution has received, over all its suspensions.
        signal_count: i64 = Default::Int(0),
        /// Grows with every change to this row, so that a decision can be pinned to what it read.
        version: i64 = Default::Int(0),
        /// The hard limit that rises once the condition holds, where a budget caused the wait.
        raises: Option<Json>,
    }
    indexes [
        "ff_suspension_current_suspended_at_idx"
            (partition_key Ascending, suspended_at_ms Ascending),
        "ff_suspension_current_timeout_idx" (timeout_at_ms Ascending, execution_id Ascending)
            only suspension_times_out,
    ]
}

table! {
    /// One row per open waitpoint; the row goes with the wait or the attempt that it was made for.
    waitpoint_pending = "ff_waitpoint_pending" key [partition_key, waitpoint_id] partitioned {
        /// The partition of the execution.
        partition_key: i16,
        /// The waitpoint.
        waitpoint_id: Uuid,
        /// The execution that waits.
        execution_id: Uuid,
        /// The key that signed the token.
        token_kid: String,
        /// Proof that a sender may signal here: `<kid>:<hex>` over execution id and waitpoint id.
        token: String,
        /// Creation, Unix ms.
        created_at_ms: i64,
        /// The time from which it accepts no signals, Unix ms; NULL never.
        expires_at_ms: Option<i64>,
        /// Never written; the suspension holds the condition.
        condition: Option<Json>,
        /// The caller's name for it, under which its signals are collected.
        waitpoint_key: String = Default::Text(""),
        /// `pending` when created ahead of a suspension, `active` once one waits on it.
        state: WaitpointState = Default::Text("pending"),
        /// Signal names the condition asks for; empty for any.
        required_signal_names: Vec<String> = Default::EmptyList,
        /// The time at which a suspension began to wait on it, Unix ms.
        activated_at_ms: Option<i64>,
        /// The suspension that waits on it, or did and kept it; NULL before, and in older
        /// databases.
        suspension_id: Option<Uuid>,
    }
    indexes [
        "ff_waitpoint_pending_exec_idx" (partition_key Ascending, execution_id Ascending),
        "ff_waitpoint_pending_expires_idx" (expires_at_ms Ascending, waitpoint_id Ascending)
            only waitpoint_expires,
    ]
}

table! {
    /// One row per suspend call with an idempotency key: the answer that a repetition gets.
    suspend_dedup = "ff_suspend_dedup" key [partition_key, idempotency_key] {
        /// The partition of the execution.
        partition_key: i16,
        /// The execution's UUID, a colon, and the caller's key.
        idempotency_key: String,
        /// The answer of the first call, without its tokens.
        outcome_json: Json,
        /// The time of the first call, Unix ms.
        created_at_ms: i64,
    }
    indexes []
}

table! {
    /// One row per signal with an idempotency key: a repetition is answered by the first one.
    signal_dedup = "ff_signal_dedup" key [partition_key, execution_id, idempotency_key] {
        /// The partition of the execution.
        partition_key: i16,
        /// The execution.
        execution_id: Uuid,
        /// The sender's key.
        idempotency_key: String,
        /// The signal that came first.
        signal_id: Uuid,
        /// The waitpoint that it came in through.
        waitpoint_id: Uuid,
        /// The time at which it was accepted, Unix ms.
        accepted_at_ms: i64,
        /// The time until which a repeat is recognised, Unix ms; NULL for ever.
        expires_at_ms: Option<i64>,
    }
    indexes []
}

table! {
    /// One row per frame that an attempt put out, ordered by time and number within it.
    stream_frame = "ff_stream_frame"
        key [partition_key, execution_id, attempt_index, ts_ms, seq] partitioned
    {
        /// The partition of the execution.
        partition_key: i16,
        /// The execution.
        execution_id: Uuid,
        /// The attempt, counted from 0.
        attempt_index: i32,
        /// The time of the append, Unix ms; the first half of the public frame id `<ts_ms>-<seq>`.
        ts_ms: i64,
        /// Number within the attempt, counted from 0. Older databases count within the millisecond.
        seq: i32,
        /// The frame: type, payload, encoding, source, correlation id.
        fields: Json,
        /// The retention mode: `durable`, `summary` or `best_effort`.
        mode: String,
        /// Equal to `ts_ms`.
        created_at_ms: i64,
    }
    indexes []
}

table! {
    /// One row per attempt that puts out patches: the document they merge into.
    stream_summary = "ff_stream_summary"
        key [partition_key, execution_id, attempt_index] partitioned
    {
        /// The partition of the execution.
        partition_key: i16,
        /// The execution.
        execution_id: Uuid,
        /// The attempt, counted from 0.
        attempt_index: i32,
        /// All patches so far, merged.
        document_json: Json,
        /// The number of patches merged.
        version: i32 = Default::Int(0),
        /// The format of the patches; only `json-merge-patch`.
        patch_kind: Option<String>,
        /// Latest patch, Unix ms.
        last_updated_ms: i64,
        /// First patch, Unix ms.
        first_applied_ms: i64,
    }
    indexes []
}

table! {
    /// One row per attempt that put out frames: where its stream stands, how fast frames come and
    /// how many best-effort ones are kept.
    stream_meta = "ff_stream_meta" key [partition_key, execution_id, attempt_index] partitioned {
        /// The partition of the execution.
        partition_key: i16,
        /// The execution.
        execution_id: Uuid,
        /// The attempt, counted from 0.
        attempt_index: i32,
        /// Moving average of the append rate, taken at best-effort appends, frames per second.
        ema_rate_hz: f64 = Default::Int(0),
        /// Previous append, Unix ms; 0 before the first.
        last_append_ts_ms: i64 = Default::Int(0),
        /// The number of frames that the last trim kept.
        maxlen_applied_last: i32 = Default::Int(0),
        /// The number of the next frame; 0 in rows of older databases, which did not count.
        next_seq: i32 = Default::Int(0),
        /// The count of numbers below `next_seq` without a frame: `next_seq` less this is the
        /// number of frames.
        trimmed_count: i64 = Default::Int(0),
        /// No best-effort frame is older than this, Unix ms: where the next trim begins to look.
        trimmed_before_ms: i64 = Default::Int(0),
    }
    indexes []
}

/// Suspensions with a timeout.
#[must_use]
pub fn suspension_times_out() -> Predicate {
    suspension_current::timeout_at_ms.is_present()
}

/// Waitpoints with an expiry.
#[must_use]
pub fn waitpoint_expires() -> Predicate {
    waitpoint_pending::expires_at_ms.is_present()
}
