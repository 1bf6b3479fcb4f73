-- Written by ff-codegen from the tables in core/src/schema. Do not edit: a migration stays as it
-- was written.

-- statement
-- One row per HMAC key that signs waitpoint tokens and claim grants; never removed.
CREATE TABLE "ff_waitpoint_hmac" (
    "kid" TEXT NOT NULL,
    "secret" BLOB NOT NULL,
    "rotated_at_ms" INTEGER NOT NULL,
    "active" INTEGER NOT NULL DEFAULT TRUE,
    "verifies_until_ms" INTEGER,
    PRIMARY KEY ("kid")
);

-- statement
-- One row in all, once there is a key: adding or replacing a key moves its version on, so that two callers that found no key to follow cannot both add one.
CREATE TABLE "ff_waitpoint_keyring" (
    "singleton_lock" INTEGER NOT NULL DEFAULT TRUE,
    "version" INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY ("singleton_lock"),
    CONSTRAINT "ff_waitpoint_keyring_singleton_lock_check" CHECK ("singleton_lock")
);

-- statement
-- One row per lane that an execution was ever submitted to.
CREATE TABLE "ff_lane_registry" (
    "lane_id" TEXT NOT NULL,
    "registered_at_ms" INTEGER NOT NULL,
    "registered_by" TEXT NOT NULL,
    PRIMARY KEY ("lane_id")
);

-- statement
-- One row in all: how many shards each family is spread over, and the release that decided it.
CREATE TABLE "ff_partition_config" (
    "singleton_lock" INTEGER NOT NULL DEFAULT TRUE,
    "num_flow_partitions" INTEGER NOT NULL,
    "num_budget_partitions" INTEGER NOT NULL,
    "num_quota_partitions" INTEGER NOT NULL,
    "ff_version" TEXT NOT NULL,
    PRIMARY KEY ("singleton_lock"),
    CONSTRAINT "ff_partition_config_singleton_lock_check" CHECK ("singleton_lock")
);

-- statement
-- One row per applied migration, saying whether older binaries may keep running after it.
CREATE TABLE "ff_migration_annotation" (
    "version" INTEGER NOT NULL,
    "name" TEXT NOT NULL,
    "applied_at_ms" INTEGER NOT NULL,
    "backward_compatible" INTEGER NOT NULL,
    PRIMARY KEY ("version")
);

-- statement
-- One row per execution: its state, input, result and an open bag of fields.
CREATE TABLE "ff_exec_core" (
    "partition_key" INTEGER NOT NULL,
    "execution_id" BLOB NOT NULL,
    "flow_id" BLOB,
    "lane_id" TEXT NOT NULL,
    "required_capabilities" TEXT NOT NULL DEFAULT '[]',
    "attempt_index" INTEGER NOT NULL DEFAULT 0,
    "lifecycle_phase" TEXT NOT NULL,
    "ownership_state" TEXT NOT NULL,
    "eligibility_state" TEXT NOT NULL,
    "public_state" TEXT NOT NULL,
    "attempt_state" TEXT NOT NULL,
    "blocking_reason" TEXT,
    "cancellation_reason" TEXT,
    "cancelled_by" TEXT,
    "priority" INTEGER NOT NULL DEFAULT 0,
    "created_at_ms" INTEGER NOT NULL,
    "terminal_at_ms" INTEGER,
    "deadline_at_ms" INTEGER,
    "payload" BLOB,
    "result" BLOB,
    "policy" TEXT,
    "raw_fields" TEXT NOT NULL DEFAULT '{}',
    "started_at_ms" INTEGER,
    "lease_reclaim_count" INTEGER NOT NULL DEFAULT 0,
    "eligible_at_ms" INTEGER,
    "granted_until_ms" INTEGER,
    "attempt_timeout_ms" INTEGER,
    "total_attempt_count" INTEGER NOT NULL DEFAULT 0,
    "version" INTEGER NOT NULL DEFAULT 0,
    "claimable_since_ms" INTEGER NOT NULL DEFAULT 0,
    "last_changed_at_ms" INTEGER NOT NULL DEFAULT 0,
    "has_waitpoints" INTEGER NOT NULL DEFAULT TRUE,
    PRIMARY KEY ("partition_key", "execution_id")
);

-- statement
CREATE INDEX "ff_exec_core_claim_idx" ON "ff_exec_core" ("lane_id", "required_capabilities", "priority" DESC, "claimable_since_ms", "created_at_ms", "execution_id")
    WHERE "ff_exec_core"."lifecycle_phase" IN ('submitted', 'runnable', 'pending', 'eligible', 'blocked') AND "ff_exec_core"."eligibility_state" IN ('eligible_now', 'pending_claim');

-- statement
CREATE INDEX "ff_exec_core_delayed_idx" ON "ff_exec_core" ("eligible_at_ms")
    WHERE "ff_exec_core"."lifecycle_phase" IN ('runnable', 'pending', 'eligible', 'blocked') AND "ff_exec_core"."eligibility_state" = 'not_eligible_until_time';

-- statement
CREATE INDEX "ff_exec_core_due_idx" ON "ff_exec_core" ("lane_id", "required_capabilities", "eligible_at_ms", "execution_id")
    WHERE "ff_exec_core"."lifecycle_phase" IN ('runnable', 'pending', 'eligible', 'blocked') AND "ff_exec_core"."eligibility_state" = 'not_eligible_until_time';

-- statement
CREATE INDEX "ff_exec_core_deadline_idx" ON "ff_exec_core" ("deadline_at_ms")
    WHERE "ff_exec_core"."deadline_at_ms" IS NOT NULL AND "ff_exec_core"."terminal_at_ms" IS NULL;

-- statement
CREATE INDEX "ff_exec_core_flow_idx" ON "ff_exec_core" ("partition_key", "flow_id", "execution_id")
    WHERE "ff_exec_core"."flow_id" IS NOT NULL;

-- statement
CREATE INDEX "ff_exec_core_flow_unfinished_idx" ON "ff_exec_core" ("partition_key", "flow_id", "execution_id")
    WHERE "ff_exec_core"."flow_id" IS NOT NULL AND "ff_exec_core"."lifecycle_phase" NOT IN ('terminal', 'cancelled');

-- statement
-- Capability requirements as one row each, as SQLite databases of the reference keep them.
CREATE TABLE "ff_execution_capabilities" (
    "execution_id" BLOB NOT NULL,
    "capability" TEXT NOT NULL,
    PRIMARY KEY ("execution_id", "capability")
);

-- statement
-- One row per attempt of an execution: its worker and lease, and how it ended.
CREATE TABLE "ff_attempt" (
    "partition_key" INTEGER NOT NULL,
    "execution_id" BLOB NOT NULL,
    "attempt_index" INTEGER NOT NULL,
    "worker_id" TEXT,
    "worker_instance_id" TEXT,
    "lease_epoch" INTEGER NOT NULL DEFAULT 0,
    "lease_expires_at_ms" INTEGER,
    "started_at_ms" INTEGER,
    "terminal_at_ms" INTEGER,
    "outcome" TEXT,
    "usage" TEXT,
    "policy" TEXT,
    "raw_fields" TEXT NOT NULL DEFAULT '{}',
    "lease_id" BLOB,
    "attempt_id" BLOB,
    "timeout_at_ms" INTEGER,
    "failure_message" TEXT,
    "failure_class" TEXT,
    PRIMARY KEY ("partition_key", "execution_id", "attempt_index")
);

-- statement
CREATE INDEX "ff_attempt_lease_expiry_idx" ON "ff_attempt" ("lease_expires_at_ms")
    WHERE "ff_attempt"."lease_expires_at_ms" IS NOT NULL;

-- statement
CREATE INDEX "ff_attempt_timeout_idx" ON "ff_attempt" ("timeout_at_ms")
    WHERE "ff_attempt"."timeout_at_ms" IS NOT NULL;

-- statement
-- A short-lived permission for one worker to claim or reclaim one execution.
CREATE TABLE "ff_claim_grant" (
    "partition_key" INTEGER NOT NULL,
    "grant_id" BLOB NOT NULL,
    "execution_id" BLOB NOT NULL,
    "kind" TEXT NOT NULL,
    "worker_id" TEXT NOT NULL,
    "worker_instance_id" TEXT NOT NULL,
    "lane_id" TEXT,
    "capability_hash" TEXT,
    "worker_capabilities" TEXT NOT NULL DEFAULT '[]',
    "route_snapshot_json" TEXT,
    "admission_summary" TEXT,
    "grant_ttl_ms" INTEGER NOT NULL,
    "issued_at_ms" INTEGER NOT NULL,
    "expires_at_ms" INTEGER NOT NULL,
    PRIMARY KEY ("partition_key", "grant_id"),
    CONSTRAINT "ff_claim_grant_kind_check" CHECK ("kind" IN ('claim', 'reclaim'))
);

-- statement
CREATE INDEX "ff_claim_grant_execution_idx" ON "ff_claim_grant" ("partition_key", "execution_id");

-- statement
CREATE INDEX "ff_claim_grant_expiry_idx" ON "ff_claim_grant" ("expires_at_ms");

-- statement
-- One row per flow: the header of its graph.
CREATE TABLE "ff_flow_core" (
    "partition_key" INTEGER NOT NULL,
    "flow_id" BLOB NOT NULL,
    "graph_revision" INTEGER NOT NULL DEFAULT 0,
    "public_flow_state" TEXT NOT NULL,
    "created_at_ms" INTEGER NOT NULL,
    "terminal_at_ms" INTEGER,
    "raw_fields" TEXT NOT NULL DEFAULT '{}',
    "node_count" INTEGER NOT NULL DEFAULT 0,
    "edge_count" INTEGER NOT NULL DEFAULT 0,
    "version" INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY ("partition_key", "flow_id")
);

-- statement
CREATE INDEX "ff_flow_core_created_idx" ON "ff_flow_core" ("created_at_ms" DESC, "flow_id");

-- statement
-- One row per dependency: the downstream execution waits for the upstream one.
CREATE TABLE "ff_edge" (
    "partition_key" INTEGER NOT NULL,
    "flow_id" BLOB NOT NULL,
    "edge_id" BLOB NOT NULL,
    "upstream_eid" BLOB NOT NULL,
    "downstream_eid" BLOB NOT NULL,
    "policy" TEXT NOT NULL,
    "policy_version" INTEGER NOT NULL DEFAULT 0,
    "upstream_outcome" TEXT,
    "upstream_event_id" INTEGER,
    "version" INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY ("partition_key", "flow_id", "edge_id")
);

-- statement
CREATE INDEX "ff_edge_downstream_idx" ON "ff_edge" ("partition_key", "flow_id", "downstream_eid")
    WHERE "ff_edge"."downstream_eid" IS NOT NULL;

-- statement
CREATE INDEX "ff_edge_upstream_idx" ON "ff_edge" ("partition_key", "flow_id", "upstream_eid")
    WHERE "ff_edge"."upstream_eid" IS NOT NULL;

-- statement
-- One row per downstream execution: when its dependencies count as met, and the tally so far.
CREATE TABLE "ff_edge_group" (
    "partition_key" INTEGER NOT NULL,
    "flow_id" BLOB NOT NULL,
    "downstream_eid" BLOB NOT NULL,
    "policy" TEXT NOT NULL,
    "k_target" INTEGER NOT NULL DEFAULT 0,
    "success_count" INTEGER NOT NULL DEFAULT 0,
    "fail_count" INTEGER NOT NULL DEFAULT 0,
    "skip_count" INTEGER NOT NULL DEFAULT 0,
    "running_count" INTEGER NOT NULL DEFAULT 0,
    "cancel_siblings_pending_flag" INTEGER NOT NULL DEFAULT FALSE,
    "cancel_siblings_pending_members" TEXT NOT NULL DEFAULT '[]',
    "dependency_count" INTEGER NOT NULL DEFAULT 0,
    "version" INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY ("partition_key", "flow_id", "downstream_eid")
);

-- statement
-- One row per edge group that still owes cancellations to its remaining upstreams.
CREATE TABLE "ff_pending_cancel_groups" (
    "partition_key" INTEGER NOT NULL,
    "flow_id" BLOB NOT NULL,
    "downstream_eid" BLOB NOT NULL,
    "enqueued_at_ms" INTEGER NOT NULL,
    PRIMARY KEY ("partition_key", "flow_id", "downstream_eid")
);

-- statement
CREATE INDEX "ff_pending_cancel_groups_enqueued_idx" ON "ff_pending_cancel_groups" ("enqueued_at_ms", "flow_id", "downstream_eid");

-- statement
-- One row per single sibling to cancel; kept for existing databases, never written.
CREATE TABLE "ff_cancel_dispatch_outbox" (
    "partition_key" INTEGER NOT NULL,
    "flow_id" BLOB NOT NULL,
    "downstream_eid" BLOB NOT NULL,
    "target_exec_id" BLOB NOT NULL,
    "reason" TEXT NOT NULL,
    "enqueued_at_ms" INTEGER NOT NULL,
    PRIMARY KEY ("partition_key", "flow_id", "downstream_eid", "target_exec_id")
);

-- statement
-- One row per cancelled flow of which some executions have not acknowledged it yet.
CREATE TABLE "ff_cancel_backlog" (
    "partition_key" INTEGER NOT NULL,
    "flow_id" BLOB NOT NULL,
    "requested_at_ms" INTEGER NOT NULL,
    "requester" TEXT NOT NULL DEFAULT '',
    "reason" TEXT NOT NULL DEFAULT '',
    "grace_until_ms" INTEGER,
    "cancellation_policy" TEXT NOT NULL,
    "status" TEXT NOT NULL DEFAULT 'pending',
    PRIMARY KEY ("partition_key", "flow_id")
);

-- statement
-- One row per execution of a cancelled flow that has not acknowledged the cancellation.
CREATE TABLE "ff_cancel_backlog_member" (
    "partition_key" INTEGER NOT NULL,
    "flow_id" BLOB NOT NULL,
    "execution_id" TEXT NOT NULL,
    PRIMARY KEY ("partition_key", "flow_id", "execution_id")
);

-- statement
-- One row per flow: how many of its executions are in which public state, as last counted.
CREATE TABLE "ff_flow_summary" (
    "partition_key" INTEGER NOT NULL,
    "flow_id" BLOB NOT NULL,
    "total_members" INTEGER NOT NULL DEFAULT 0,
    "sampled_members" INTEGER NOT NULL DEFAULT 0,
    "members_completed" INTEGER NOT NULL DEFAULT 0,
    "members_failed" INTEGER NOT NULL DEFAULT 0,
    "members_cancelled" INTEGER NOT NULL DEFAULT 0,
    "members_expired" INTEGER NOT NULL DEFAULT 0,
    "members_skipped" INTEGER NOT NULL DEFAULT 0,
    "members_active" INTEGER NOT NULL DEFAULT 0,
    "members_suspended" INTEGER NOT NULL DEFAULT 0,
    "members_waiting" INTEGER NOT NULL DEFAULT 0,
    "members_delayed" INTEGER NOT NULL DEFAULT 0,
    "members_rate_limited" INTEGER NOT NULL DEFAULT 0,
    "members_waiting_children" INTEGER NOT NULL DEFAULT 0,
    "public_flow_state" TEXT NOT NULL,
    "last_summary_update_at" INTEGER NOT NULL,
    PRIMARY KEY ("partition_key", "flow_id")
);

-- statement
-- One row per execution that was suspended: its latest suspension and the signals collected.
CREATE TABLE "ff_suspension_current" (
    "partition_key" INTEGER NOT NULL,
    "execution_id" BLOB NOT NULL,
    "suspension_id" BLOB NOT NULL,
    "suspended_at_ms" INTEGER NOT NULL,
    "timeout_at_ms" INTEGER,
    "reason_code" TEXT,
    "condition" TEXT NOT NULL,
    "satisfied_set" TEXT NOT NULL DEFAULT '[]',
    "member_map" TEXT NOT NULL DEFAULT '{}',
    "timeout_behavior" TEXT,
    "resume_policy" TEXT,
    "requested_by" TEXT,
    "continuation_metadata_pointer" TEXT,
    "signal_count" INTEGER NOT NULL DEFAULT 0,
    "version" INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY ("partition_key", "execution_id")
);

-- statement
CREATE INDEX "ff_suspension_current_suspended_at_idx" ON "ff_suspension_current" ("partition_key", "suspended_at_ms");

-- statement
CREATE INDEX "ff_suspension_current_timeout_idx" ON "ff_suspension_current" ("timeout_at_ms", "execution_id")
    WHERE "ff_suspension_current"."timeout_at_ms" IS NOT NULL;

-- statement
-- One row per open waitpoint; the row goes with the wait or the attempt that it was made for.
CREATE TABLE "ff_waitpoint_pending" (
    "partition_key" INTEGER NOT NULL,
    "waitpoint_id" BLOB NOT NULL,
    "execution_id" BLOB NOT NULL,
    "token_kid" TEXT NOT NULL,
    "token" TEXT NOT NULL,
    "created_at_ms" INTEGER NOT NULL,
    "expires_at_ms" INTEGER,
    "condition" TEXT,
    "waitpoint_key" TEXT NOT NULL DEFAULT '',
    "state" TEXT NOT NULL DEFAULT 'pending',
    "required_signal_names" TEXT NOT NULL DEFAULT '[]',
    "activated_at_ms" INTEGER,
    "suspension_id" BLOB,
    PRIMARY KEY ("partition_key", "waitpoint_id")
);

-- statement
CREATE INDEX "ff_waitpoint_pending_exec_idx" ON "ff_waitpoint_pending" ("partition_key", "execution_id");

-- statement
CREATE INDEX "ff_waitpoint_pending_expires_idx" ON "ff_waitpoint_pending" ("expires_at_ms", "waitpoint_id")
    WHERE "ff_waitpoint_pending"."expires_at_ms" IS NOT NULL;

-- statement
-- One row per suspend call with an idempotency key: the answer that a repetition gets.
CREATE TABLE "ff_suspend_dedup" (
    "partition_key" INTEGER NOT NULL,
    "idempotency_key" TEXT NOT NULL,
    "outcome_json" TEXT NOT NULL,
    "created_at_ms" INTEGER NOT NULL,
    PRIMARY KEY ("partition_key", "idempotency_key")
);

-- statement
-- One row per signal with an idempotency key: a repetition is answered by the first one.
CREATE TABLE "ff_signal_dedup" (
    "partition_key" INTEGER NOT NULL,
    "execution_id" BLOB NOT NULL,
    "idempotency_key" TEXT NOT NULL,
    "signal_id" BLOB NOT NULL,
    "waitpoint_id" BLOB NOT NULL,
    "accepted_at_ms" INTEGER NOT NULL,
    "expires_at_ms" INTEGER,
    PRIMARY KEY ("partition_key", "execution_id", "idempotency_key")
);

-- statement
-- One row per frame that an attempt put out, ordered by time and number within it.
CREATE TABLE "ff_stream_frame" (
    "partition_key" INTEGER NOT NULL,
    "execution_id" BLOB NOT NULL,
    "attempt_index" INTEGER NOT NULL,
    "ts_ms" INTEGER NOT NULL,
    "seq" INTEGER NOT NULL,
    "fields" TEXT NOT NULL,
    "mode" TEXT NOT NULL,
    "created_at_ms" INTEGER NOT NULL,
    PRIMARY KEY ("partition_key", "execution_id", "attempt_index", "ts_ms", "seq")
);

-- statement
-- One row per attempt that puts out patches: the document they merge into.
CREATE TABLE "ff_stream_summary" (
    "partition_key" INTEGER NOT NULL,
    "execution_id" BLOB NOT NULL,
    "attempt_index" INTEGER NOT NULL,
    "document_json" TEXT NOT NULL,
    "version" INTEGER NOT NULL DEFAULT 0,
    "patch_kind" TEXT,
    "last_updated_ms" INTEGER NOT NULL,
    "first_applied_ms" INTEGER NOT NULL,
    PRIMARY KEY ("partition_key", "execution_id", "attempt_index")
);

-- statement
-- One row per attempt that put out frames: where its stream stands, how fast frames come and how many best-effort ones are kept.
CREATE TABLE "ff_stream_meta" (
    "partition_key" INTEGER NOT NULL,
    "execution_id" BLOB NOT NULL,
    "attempt_index" INTEGER NOT NULL,
    "ema_rate_hz" REAL NOT NULL DEFAULT (0.0),
    "last_append_ts_ms" INTEGER NOT NULL DEFAULT 0,
    "maxlen_applied_last" INTEGER NOT NULL DEFAULT 0,
    "next_seq" INTEGER NOT NULL DEFAULT 0,
    "trimmed_count" INTEGER NOT NULL DEFAULT 0,
    "trimmed_before_ms" INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY ("partition_key", "execution_id", "attempt_index")
);

-- statement
-- One row per execution that ended or became resumable; dependent executions follow from it.
CREATE TABLE "ff_completion_event" (
    "transaction_id" INTEGER NOT NULL DEFAULT 0,
    "partition_key" INTEGER NOT NULL,
    "event_id" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    "execution_id" BLOB NOT NULL,
    "flow_id" BLOB,
    "outcome" TEXT NOT NULL,
    "namespace" TEXT,
    "instance_tag" TEXT,
    "occurred_at_ms" INTEGER NOT NULL,
    "committed_at_ms" INTEGER NOT NULL DEFAULT (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)),
    "dispatched_at_ms" INTEGER,
    "reason" TEXT,
    "failure_class" TEXT
);

-- statement
CREATE UNIQUE INDEX "ff_completion_event_key" ON "ff_completion_event" ("partition_key", "event_id");

-- statement
CREATE INDEX "ff_completion_event_lookup_idx" ON "ff_completion_event" ("partition_key", "execution_id", "occurred_at_ms");

-- statement
-- One row per change of a lease: taken, renewed, taken over, lapsed or given up.
CREATE TABLE "ff_lease_event" (
    "transaction_id" INTEGER NOT NULL DEFAULT 0,
    "event_id" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    "execution_id" TEXT NOT NULL,
    "lease_id" TEXT,
    "event_type" TEXT NOT NULL,
    "occurred_at_ms" INTEGER NOT NULL,
    "partition_key" INTEGER NOT NULL,
    "namespace" TEXT,
    "instance_tag" TEXT,
    "cause" TEXT,
    "worker_id" TEXT,
    "worker_instance_id" TEXT
);

-- statement
CREATE UNIQUE INDEX "ff_lease_event_key" ON "ff_lease_event" ("partition_key", "event_id");

-- statement
CREATE INDEX "ff_lease_event_execution_idx" ON "ff_lease_event" ("partition_key", "execution_id");

-- statement
-- One row per signal that was accepted.
CREATE TABLE "ff_signal_event" (
    "transaction_id" INTEGER NOT NULL DEFAULT 0,
    "event_id" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    "execution_id" TEXT NOT NULL,
    "signal_id" TEXT NOT NULL,
    "waitpoint_id" TEXT,
    "source_identity" TEXT,
    "effect" TEXT NOT NULL DEFAULT 'satisfied',
    "delivered_at_ms" INTEGER NOT NULL,
    "partition_key" INTEGER NOT NULL,
    "namespace" TEXT,
    "instance_tag" TEXT
);

-- statement
CREATE UNIQUE INDEX "ff_signal_event_key" ON "ff_signal_event" ("partition_key", "event_id");

-- statement
CREATE INDEX "ff_signal_event_execution_idx" ON "ff_signal_event" ("partition_key", "execution_id");

-- statement
-- One row per intervention of an operator.
CREATE TABLE "ff_operator_event" (
    "transaction_id" INTEGER NOT NULL DEFAULT 0,
    "event_id" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    "execution_id" TEXT NOT NULL,
    "event_type" TEXT NOT NULL,
    "details" TEXT,
    "occurred_at_ms" INTEGER NOT NULL,
    "partition_key" INTEGER NOT NULL,
    "namespace" TEXT,
    "instance_tag" TEXT,
    CONSTRAINT "ff_operator_event_event_type_check" CHECK ("event_type" IN ('priority_changed', 'replayed', 'flow_cancel_requested', 'cancelled', 'lease_revoked', 'flow_ended'))
);

-- statement
CREATE UNIQUE INDEX "ff_operator_event_key" ON "ff_operator_event" ("partition_key", "event_id");

-- statement
CREATE INDEX "ff_operator_event_execution_idx" ON "ff_operator_event" ("partition_key", "execution_id");

-- statement
-- One row per instance tag that was attached to an execution or cleared.
CREATE TABLE "ff_instance_tag_event" (
    "transaction_id" INTEGER NOT NULL DEFAULT 0,
    "event_id" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    "execution_id" TEXT NOT NULL,
    "event_type" TEXT NOT NULL,
    "occurred_at_ms" INTEGER NOT NULL,
    "partition_key" INTEGER NOT NULL,
    "namespace" TEXT,
    "instance_tag" TEXT
);

-- statement
CREATE UNIQUE INDEX "ff_instance_tag_event_key" ON "ff_instance_tag_event" ("partition_key", "event_id");

-- statement
CREATE INDEX "ff_instance_tag_event_execution_idx" ON "ff_instance_tag_event" ("partition_key", "execution_id");

-- statement
-- One row per budget: its limits, its breaches and when it is next reset.
CREATE TABLE "ff_budget_policy" (
    "partition_key" INTEGER NOT NULL,
    "budget_id" TEXT NOT NULL,
    "policy_json" TEXT NOT NULL,
    "created_at_ms" INTEGER NOT NULL,
    "updated_at_ms" INTEGER NOT NULL,
    "scope_type" TEXT NOT NULL DEFAULT '',
    "scope_id" TEXT NOT NULL DEFAULT '',
    "enforcement_mode" TEXT NOT NULL DEFAULT '',
    "breach_count" INTEGER NOT NULL DEFAULT 0,
    "soft_breach_count" INTEGER NOT NULL DEFAULT 0,
    "last_breach_at_ms" INTEGER,
    "last_breach_dim" TEXT,
    "next_reset_at_ms" INTEGER,
    PRIMARY KEY ("partition_key", "budget_id")
);

-- statement
CREATE INDEX "ff_budget_policy_reset_due_idx" ON "ff_budget_policy" ("partition_key", "next_reset_at_ms")
    WHERE "ff_budget_policy"."next_reset_at_ms" IS NOT NULL;

-- statement
-- One row per budget and dimension: the running total.
CREATE TABLE "ff_budget_usage" (
    "partition_key" INTEGER NOT NULL,
    "budget_id" TEXT NOT NULL,
    "dimensions_key" TEXT NOT NULL,
    "current_value" INTEGER NOT NULL DEFAULT 0,
    "last_reset_at_ms" INTEGER,
    "updated_at_ms" INTEGER NOT NULL,
    PRIMARY KEY ("partition_key", "budget_id", "dimensions_key")
);

-- statement
-- One row per usage report with an idempotency key: the answer that a repetition gets.
CREATE TABLE "ff_budget_usage_dedup" (
    "partition_key" INTEGER NOT NULL,
    "dedup_key" TEXT NOT NULL,
    "outcome_json" TEXT NOT NULL,
    "applied_at_ms" INTEGER NOT NULL,
    "expires_at_ms" INTEGER NOT NULL,
    PRIMARY KEY ("partition_key", "dedup_key")
);

-- statement
CREATE INDEX "ff_budget_usage_dedup_expires_idx" ON "ff_budget_usage_dedup" ("partition_key", "expires_at_ms");

-- statement
-- One row per budget, execution and dimension: what the execution spent, to be given back.
CREATE TABLE "ff_budget_usage_by_exec" (
    "partition_key" INTEGER NOT NULL,
    "budget_id" TEXT NOT NULL,
    "execution_id" BLOB NOT NULL,
    "dimensions_key" TEXT NOT NULL,
    "delta_total" INTEGER NOT NULL DEFAULT 0,
    "updated_at_ms" INTEGER NOT NULL,
    PRIMARY KEY ("partition_key", "budget_id", "execution_id", "dimensions_key")
);

-- statement
-- One row per quota: its limits and how many executions it admits right now.
CREATE TABLE "ff_quota_policy" (
    "partition_key" INTEGER NOT NULL,
    "quota_policy_id" TEXT NOT NULL,
    "requests_per_window_seconds" INTEGER NOT NULL,
    "max_requests_per_window" INTEGER NOT NULL,
    "active_concurrency_cap" INTEGER NOT NULL,
    "active_concurrency" INTEGER NOT NULL DEFAULT 0,
    "created_at_ms" INTEGER NOT NULL,
    "updated_at_ms" INTEGER NOT NULL,
    PRIMARY KEY ("partition_key", "quota_policy_id")
);

-- statement
-- One row per admission within the current window; older ones are removed as it slides.
CREATE TABLE "ff_quota_window" (
    "partition_key" INTEGER NOT NULL,
    "quota_policy_id" TEXT NOT NULL,
    "dimension" TEXT NOT NULL DEFAULT '',
    "admitted_at_ms" INTEGER NOT NULL,
    "execution_id" TEXT NOT NULL,
    PRIMARY KEY ("partition_key", "quota_policy_id", "dimension", "admitted_at_ms", "execution_id")
);

-- statement
-- One row per admitted execution, so that asking again within the window costs nothing.
CREATE TABLE "ff_quota_admitted" (
    "partition_key" INTEGER NOT NULL,
    "quota_policy_id" TEXT NOT NULL,
    "execution_id" TEXT NOT NULL,
    "admitted_at_ms" INTEGER NOT NULL,
    "expires_at_ms" INTEGER NOT NULL,
    PRIMARY KEY ("partition_key", "quota_policy_id", "execution_id")
);

-- statement
CREATE INDEX "ff_quota_admitted_expires_idx" ON "ff_quota_admitted" ("partition_key", "expires_at_ms");

-- statement
-- One row per registered worker instance.
CREATE TABLE "ff_worker_registry" (
    "partition_key" INTEGER NOT NULL,
    "namespace" TEXT NOT NULL,
    "worker_instance_id" TEXT NOT NULL,
    "worker_id" TEXT NOT NULL,
    "lanes" TEXT NOT NULL,
    "capabilities_csv" TEXT NOT NULL,
    "last_heartbeat_ms" INTEGER NOT NULL,
    "liveness_ttl_ms" INTEGER NOT NULL,
    "registered_at_ms" INTEGER NOT NULL,
    PRIMARY KEY ("partition_key", "namespace", "worker_instance_id")
);

-- statement
CREATE INDEX "ff_worker_registry_ns_inst_idx" ON "ff_worker_registry" ("namespace", "worker_instance_id");

-- statement
-- One row per event in the life of a worker instance; appended only.
CREATE TABLE "ff_worker_registry_event" (
    "partition_key" INTEGER NOT NULL,
    "namespace" TEXT NOT NULL,
    "worker_instance_id" TEXT NOT NULL,
    "event_kind" TEXT NOT NULL,
    "event_at_ms" INTEGER NOT NULL,
    "reason" TEXT,
    PRIMARY KEY ("partition_key", "namespace", "worker_instance_id", "event_at_ms", "event_kind")
);

-- statement
INSERT INTO "ff_partition_config" ("singleton_lock", "num_flow_partitions", "num_budget_partitions", "num_quota_partitions", "ff_version") VALUES (TRUE, 256, 32, 32, '0.1.0') ON CONFLICT  DO NOTHING;

-- statement
INSERT INTO "ff_migration_annotation" ("version", "name", "applied_at_ms", "backward_compatible") VALUES (1, '0001_genesis', CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER), FALSE) ON CONFLICT  DO NOTHING;
