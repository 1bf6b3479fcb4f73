-- Written by ff-codegen from the tables in core/src/schema. Do not edit: a migration stays as it
-- was written.

-- statement
-- One row per HMAC key that signs waitpoint tokens and claim grants; never removed.
CREATE TABLE "ff_waitpoint_hmac" (
    "kid" text COLLATE "C" NOT NULL,
    "secret" bytea NOT NULL,
    "rotated_at_ms" bigint NOT NULL,
    "active" boolean NOT NULL DEFAULT TRUE,
    "verifies_until_ms" bigint,
    PRIMARY KEY ("kid")
);

-- statement
-- One row in all, once there is a key: adding or replacing a key moves its version on, so that two callers that found no key to follow cannot both add one.
CREATE TABLE "ff_waitpoint_keyring" (
    "singleton_lock" boolean NOT NULL DEFAULT TRUE,
    "version" bigint NOT NULL DEFAULT 1,
    PRIMARY KEY ("singleton_lock"),
    CONSTRAINT "ff_waitpoint_keyring_singleton_lock_check" CHECK ("singleton_lock")
);

-- statement
-- One row per lane that an execution was ever submitted to.
CREATE TABLE "ff_lane_registry" (
    "lane_id" text COLLATE "C" NOT NULL,
    "registered_at_ms" bigint NOT NULL,
    "registered_by" text COLLATE "C" NOT NULL,
    PRIMARY KEY ("lane_id")
);

-- statement
-- One row in all: how many shards each family is spread over, and the release that decided it.
CREATE TABLE "ff_partition_config" (
    "singleton_lock" boolean NOT NULL DEFAULT TRUE,
    "num_flow_partitions" integer NOT NULL,
    "num_budget_partitions" integer NOT NULL,
    "num_quota_partitions" integer NOT NULL,
    "ff_version" text COLLATE "C" NOT NULL,
    PRIMARY KEY ("singleton_lock"),
    CONSTRAINT "ff_partition_config_singleton_lock_check" CHECK ("singleton_lock")
);

-- statement
-- One row per applied migration, saying whether older binaries may keep running after it.
CREATE TABLE "ff_migration_annotation" (
    "version" integer NOT NULL,
    "name" text COLLATE "C" NOT NULL,
    "applied_at_ms" bigint NOT NULL,
    "backward_compatible" boolean NOT NULL,
    PRIMARY KEY ("version")
);

-- statement
-- One row per execution: its state, input, result and an open bag of fields.
CREATE TABLE "ff_exec_core" (
    "partition_key" smallint NOT NULL,
    "execution_id" uuid NOT NULL,
    "flow_id" uuid,
    "lane_id" text COLLATE "C" NOT NULL,
    "required_capabilities" text[] NOT NULL DEFAULT '{}',
    "attempt_index" integer NOT NULL DEFAULT 0,
    "lifecycle_phase" text COLLATE "C" NOT NULL,
    "ownership_state" text COLLATE "C" NOT NULL,
    "eligibility_state" text COLLATE "C" NOT NULL,
    "public_state" text COLLATE "C" NOT NULL,
    "attempt_state" text COLLATE "C" NOT NULL,
    "blocking_reason" text COLLATE "C",
    "cancellation_reason" text COLLATE "C",
    "cancelled_by" text COLLATE "C",
    "priority" integer NOT NULL DEFAULT 0,
    "created_at_ms" bigint NOT NULL,
    "terminal_at_ms" bigint,
    "deadline_at_ms" bigint,
    "payload" bytea,
    "result" bytea,
    "policy" jsonb,
    "raw_fields" jsonb NOT NULL DEFAULT '{}',
    "started_at_ms" bigint,
    "lease_reclaim_count" integer NOT NULL DEFAULT 0,
    "eligible_at_ms" bigint,
    "granted_until_ms" bigint,
    "attempt_timeout_ms" bigint,
    "total_attempt_count" integer NOT NULL DEFAULT 0,
    "version" bigint NOT NULL DEFAULT 0,
    "claimable_since_ms" bigint NOT NULL DEFAULT 0,
    "last_changed_at_ms" bigint NOT NULL DEFAULT 0,
    "has_waitpoints" boolean NOT NULL DEFAULT TRUE,
    PRIMARY KEY ("partition_key", "execution_id")
);

-- statement
CREATE INDEX "ff_exec_core_claim_idx" ON "ff_exec_core" ("lane_id", ((CASE WHEN (cardinality("required_capabilities") = (0)) THEN CAST('' AS bytea) ELSE sha256(CAST(replace(CAST(jsonb_object(array_replace("required_capabilities", NULL, ''), "required_capabilities") AS text), chr(92), repeat(chr(92), 2)) AS bytea)) END)), "priority" DESC, "claimable_since_ms", "created_at_ms", "execution_id")
    WHERE "ff_exec_core"."lifecycle_phase" IN ('submitted', 'runnable', 'pending', 'eligible', 'blocked') AND "ff_exec_core"."eligibility_state" IN ('eligible_now', 'pending_claim');

-- statement
CREATE INDEX "ff_exec_core_delayed_idx" ON "ff_exec_core" ("eligible_at_ms")
    WHERE "ff_exec_core"."lifecycle_phase" IN ('runnable', 'pending', 'eligible', 'blocked') AND "ff_exec_core"."eligibility_state" = 'not_eligible_until_time';

-- statement
CREATE INDEX "ff_exec_core_due_idx" ON "ff_exec_core" ("lane_id", ((CASE WHEN (cardinality("required_capabilities") = (0)) THEN CAST('' AS bytea) ELSE sha256(CAST(replace(CAST(jsonb_object(array_replace("required_capabilities", NULL, ''), "required_capabilities") AS text), chr(92), repeat(chr(92), 2)) AS bytea)) END)), "eligible_at_ms", "execution_id")
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
    "execution_id" uuid NOT NULL,
    "capability" text COLLATE "C" NOT NULL,
    PRIMARY KEY ("execution_id", "capability")
);

-- statement
-- One row per attempt of an execution: its worker and lease, and how it ended.
CREATE TABLE "ff_attempt" (
    "partition_key" smallint NOT NULL,
    "execution_id" uuid NOT NULL,
    "attempt_index" integer NOT NULL,
    "worker_id" text COLLATE "C",
    "worker_instance_id" text COLLATE "C",
    "lease_epoch" bigint NOT NULL DEFAULT 0,
    "lease_expires_at_ms" bigint,
    "started_at_ms" bigint,
    "terminal_at_ms" bigint,
    "outcome" text COLLATE "C",
    "usage" jsonb,
    "policy" jsonb,
    "raw_fields" jsonb NOT NULL DEFAULT '{}',
    "lease_id" uuid,
    "attempt_id" uuid,
    "timeout_at_ms" bigint,
    "failure_message" text COLLATE "C",
    "failure_class" text COLLATE "C",
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
    "partition_key" smallint NOT NULL,
    "grant_id" bytea NOT NULL,
    "execution_id" uuid NOT NULL,
    "kind" text COLLATE "C" NOT NULL,
    "worker_id" text COLLATE "C" NOT NULL,
    "worker_instance_id" text COLLATE "C" NOT NULL,
    "lane_id" text COLLATE "C",
    "capability_hash" text COLLATE "C",
    "worker_capabilities" jsonb NOT NULL DEFAULT '[]',
    "route_snapshot_json" text COLLATE "C",
    "admission_summary" text COLLATE "C",
    "grant_ttl_ms" bigint NOT NULL,
    "issued_at_ms" bigint NOT NULL,
    "expires_at_ms" bigint NOT NULL,
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
    "partition_key" smallint NOT NULL,
    "flow_id" uuid NOT NULL,
    "graph_revision" bigint NOT NULL DEFAULT 0,
    "public_flow_state" text COLLATE "C" NOT NULL,
    "created_at_ms" bigint NOT NULL,
    "terminal_at_ms" bigint,
    "raw_fields" jsonb NOT NULL DEFAULT '{}',
    "node_count" integer NOT NULL DEFAULT 0,
    "edge_count" integer NOT NULL DEFAULT 0,
    "version" bigint NOT NULL DEFAULT 0,
    PRIMARY KEY ("partition_key", "flow_id")
);

-- statement
CREATE INDEX "ff_flow_core_created_idx" ON "ff_flow_core" ("created_at_ms" DESC, "flow_id");

-- statement
-- One row per dependency: the downstream execution waits for the upstream one.
CREATE TABLE "ff_edge" (
    "partition_key" smallint NOT NULL,
    "flow_id" uuid NOT NULL,
    "edge_id" uuid NOT NULL,
    "upstream_eid" uuid NOT NULL,
    "downstream_eid" uuid NOT NULL,
    "policy" jsonb NOT NULL,
    "policy_version" integer NOT NULL DEFAULT 0,
    "upstream_outcome" text COLLATE "C",
    "upstream_event_id" bigint,
    "version" bigint NOT NULL DEFAULT 0,
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
    "partition_key" smallint NOT NULL,
    "flow_id" uuid NOT NULL,
    "downstream_eid" uuid NOT NULL,
    "policy" jsonb NOT NULL,
    "k_target" integer NOT NULL DEFAULT 0,
    "success_count" integer NOT NULL DEFAULT 0,
    "fail_count" integer NOT NULL DEFAULT 0,
    "skip_count" integer NOT NULL DEFAULT 0,
    "running_count" integer NOT NULL DEFAULT 0,
    "cancel_siblings_pending_flag" boolean NOT NULL DEFAULT FALSE,
    "cancel_siblings_pending_members" text[] NOT NULL DEFAULT '{}',
    "dependency_count" integer NOT NULL DEFAULT 0,
    "version" bigint NOT NULL DEFAULT 0,
    PRIMARY KEY ("partition_key", "flow_id", "downstream_eid")
);

-- statement
-- One row per edge group that still owes cancellations to its remaining upstreams.
CREATE TABLE "ff_pending_cancel_groups" (
    "partition_key" smallint NOT NULL,
    "flow_id" uuid NOT NULL,
    "downstream_eid" uuid NOT NULL,
    "enqueued_at_ms" bigint NOT NULL,
    PRIMARY KEY ("partition_key", "flow_id", "downstream_eid")
);

-- statement
CREATE INDEX "ff_pending_cancel_groups_enqueued_idx" ON "ff_pending_cancel_groups" ("enqueued_at_ms", "flow_id", "downstream_eid");

-- statement
-- One row per single sibling to cancel; kept for existing databases, never written.
CREATE TABLE "ff_cancel_dispatch_outbox" (
    "partition_key" smallint NOT NULL,
    "flow_id" uuid NOT NULL,
    "downstream_eid" uuid NOT NULL,
    "target_exec_id" uuid NOT NULL,
    "reason" text COLLATE "C" NOT NULL,
    "enqueued_at_ms" bigint NOT NULL,
    PRIMARY KEY ("partition_key", "flow_id", "downstream_eid", "target_exec_id")
);

-- statement
-- One row per cancelled flow of which some executions have not acknowledged it yet.
CREATE TABLE "ff_cancel_backlog" (
    "partition_key" smallint NOT NULL,
    "flow_id" uuid NOT NULL,
    "requested_at_ms" bigint NOT NULL,
    "requester" text COLLATE "C" NOT NULL DEFAULT '',
    "reason" text COLLATE "C" NOT NULL DEFAULT '',
    "grace_until_ms" bigint,
    "cancellation_policy" text COLLATE "C" NOT NULL,
    "status" text COLLATE "C" NOT NULL DEFAULT 'pending',
    PRIMARY KEY ("partition_key", "flow_id")
);

-- statement
-- One row per execution of a cancelled flow that has not acknowledged the cancellation.
CREATE TABLE "ff_cancel_backlog_member" (
    "partition_key" smallint NOT NULL,
    "flow_id" uuid NOT NULL,
    "execution_id" text COLLATE "C" NOT NULL,
    PRIMARY KEY ("partition_key", "flow_id", "execution_id")
);

-- statement
-- One row per flow: how many of its executions are in which public state, as last counted.
CREATE TABLE "ff_flow_summary" (
    "partition_key" smallint NOT NULL,
    "flow_id" uuid NOT NULL,
    "total_members" bigint NOT NULL DEFAULT 0,
    "sampled_members" integer NOT NULL DEFAULT 0,
    "members_completed" integer NOT NULL DEFAULT 0,
    "members_failed" integer NOT NULL DEFAULT 0,
    "members_cancelled" integer NOT NULL DEFAULT 0,
    "members_expired" integer NOT NULL DEFAULT 0,
    "members_skipped" integer NOT NULL DEFAULT 0,
    "members_active" integer NOT NULL DEFAULT 0,
    "members_suspended" integer NOT NULL DEFAULT 0,
    "members_waiting" integer NOT NULL DEFAULT 0,
    "members_delayed" integer NOT NULL DEFAULT 0,
    "members_rate_limited" integer NOT NULL DEFAULT 0,
    "members_waiting_children" integer NOT NULL DEFAULT 0,
    "public_flow_state" text COLLATE "C" NOT NULL,
    "last_summary_update_at" bigint NOT NULL,
    PRIMARY KEY ("partition_key", "flow_id")
);

-- statement
-- One row per execution that was suspended: its latest suspension and the signals collected.
CREATE TABLE "ff_suspension_current" (
    "partition_key" smallint NOT NULL,
    "execution_id" uuid NOT NULL,
    "suspension_id" uuid NOT NULL,
    "suspended_at_ms" bigint NOT NULL,
    "timeout_at_ms" bigint,
    "reason_code" text COLLATE "C",
    "condition" jsonb NOT NULL,
    "satisfied_set" jsonb NOT NULL DEFAULT '[]',
    "member_map" jsonb NOT NULL DEFAULT '{}',
    "timeout_behavior" text COLLATE "C",
    "resume_policy" jsonb,
    "requested_by" text COLLATE "C",
    "continuation_metadata_pointer" text COLLATE "C",
    "signal_count" bigint NOT NULL DEFAULT 0,
    "version" bigint NOT NULL DEFAULT 0,
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
    "partition_key" smallint NOT NULL,
    "waitpoint_id" uuid NOT NULL,
    "execution_id" uuid NOT NULL,
    "token_kid" text COLLATE "C" NOT NULL,
    "token" text COLLATE "C" NOT NULL,
    "created_at_ms" bigint NOT NULL,
    "expires_at_ms" bigint,
    "condition" jsonb,
    "waitpoint_key" text COLLATE "C" NOT NULL DEFAULT '',
    "state" text COLLATE "C" NOT NULL DEFAULT 'pending',
    "required_signal_names" text[] NOT NULL DEFAULT '{}',
    "activated_at_ms" bigint,
    "suspension_id" uuid,
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
    "partition_key" smallint NOT NULL,
    "idempotency_key" text COLLATE "C" NOT NULL,
    "outcome_json" jsonb NOT NULL,
    "created_at_ms" bigint NOT NULL,
    PRIMARY KEY ("partition_key", "idempotency_key")
);

-- statement
-- One row per signal with an idempotency key: a repetition is answered by the first one.
CREATE TABLE "ff_signal_dedup" (
    "partition_key" smallint NOT NULL,
    "execution_id" uuid NOT NULL,
    "idempotency_key" text COLLATE "C" NOT NULL,
    "signal_id" uuid NOT NULL,
    "waitpoint_id" uuid NOT NULL,
    "accepted_at_ms" bigint NOT NULL,
    "expires_at_ms" bigint,
    PRIMARY KEY ("partition_key", "execution_id", "idempotency_key")
);

-- statement
-- One row per frame that an attempt put out, ordered by time and number within it.
CREATE TABLE "ff_stream_frame" (
    "partition_key" smallint NOT NULL,
    "execution_id" uuid NOT NULL,
    "attempt_index" integer NOT NULL,
    "ts_ms" bigint NOT NULL,
    "seq" integer NOT NULL,
    "fields" jsonb NOT NULL,
    "mode" text COLLATE "C" NOT NULL,
    "created_at_ms" bigint NOT NULL,
    PRIMARY KEY ("partition_key", "execution_id", "attempt_index", "ts_ms", "seq")
);

-- statement
-- One row per attempt that puts out patches: the document they merge into.
CREATE TABLE "ff_stream_summary" (
    "partition_key" smallint NOT NULL,
    "execution_id" uuid NOT NULL,
    "attempt_index" integer NOT NULL,
    "document_json" jsonb NOT NULL,
    "version" integer NOT NULL DEFAULT 0,
    "patch_kind" text COLLATE "C",
    "last_updated_ms" bigint NOT NULL,
    "first_applied_ms" bigint NOT NULL,
    PRIMARY KEY ("partition_key", "execution_id", "attempt_index")
);

-- statement
-- One row per attempt that put out frames: where its stream stands, how fast frames come and how many best-effort ones are kept.
CREATE TABLE "ff_stream_meta" (
    "partition_key" smallint NOT NULL,
    "execution_id" uuid NOT NULL,
    "attempt_index" integer NOT NULL,
    "ema_rate_hz" double precision NOT NULL DEFAULT (0.0),
    "last_append_ts_ms" bigint NOT NULL DEFAULT 0,
    "maxlen_applied_last" integer NOT NULL DEFAULT 0,
    "next_seq" integer NOT NULL DEFAULT 0,
    "trimmed_count" bigint NOT NULL DEFAULT 0,
    "trimmed_before_ms" bigint NOT NULL DEFAULT 0,
    PRIMARY KEY ("partition_key", "execution_id", "attempt_index")
);

-- statement
-- One row per execution that ended or became resumable; dependent executions follow from it.
CREATE TABLE "ff_completion_event" (
    "transaction_id" bigint NOT NULL DEFAULT ((pg_current_xact_id()::text)::bigint),
    "partition_key" smallint NOT NULL,
    "event_id" bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    "execution_id" uuid NOT NULL,
    "flow_id" uuid,
    "outcome" text COLLATE "C" NOT NULL,
    "namespace" text COLLATE "C",
    "instance_tag" text COLLATE "C",
    "occurred_at_ms" bigint NOT NULL,
    "committed_at_ms" bigint NOT NULL DEFAULT ((extract(epoch from clock_timestamp()) * 1000)::bigint),
    "dispatched_at_ms" bigint,
    "reason" text COLLATE "C",
    "failure_class" text COLLATE "C",
    PRIMARY KEY ("partition_key", "event_id")
);

-- statement
CREATE INDEX "ff_completion_event_event_id_idx" ON "ff_completion_event" ("event_id");

-- statement
CREATE INDEX "ff_completion_event_lookup_idx" ON "ff_completion_event" ("partition_key", "execution_id", "occurred_at_ms");

-- statement
CREATE INDEX "ff_completion_event_pending_dispatch_idx" ON "ff_completion_event" ("event_id")
    WHERE "ff_completion_event"."dispatched_at_ms" IS NULL AND "ff_completion_event"."flow_id" IS NOT NULL;

-- statement
-- One row per change of a lease: taken, renewed, taken over, lapsed or given up.
CREATE TABLE "ff_lease_event" (
    "transaction_id" bigint NOT NULL DEFAULT ((pg_current_xact_id()::text)::bigint),
    "event_id" bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    "execution_id" text COLLATE "C" NOT NULL,
    "lease_id" text COLLATE "C",
    "event_type" text COLLATE "C" NOT NULL,
    "occurred_at_ms" bigint NOT NULL,
    "partition_key" smallint NOT NULL,
    "namespace" text COLLATE "C",
    "instance_tag" text COLLATE "C",
    "cause" text COLLATE "C",
    "worker_id" text COLLATE "C",
    "worker_instance_id" text COLLATE "C",
    PRIMARY KEY ("partition_key", "event_id")
);

-- statement
CREATE INDEX "ff_lease_event_event_id_idx" ON "ff_lease_event" ("event_id");

-- statement
CREATE INDEX "ff_lease_event_execution_idx" ON "ff_lease_event" ("partition_key", "execution_id");

-- statement
-- One row per signal that was accepted.
CREATE TABLE "ff_signal_event" (
    "transaction_id" bigint NOT NULL DEFAULT ((pg_current_xact_id()::text)::bigint),
    "event_id" bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    "execution_id" text COLLATE "C" NOT NULL,
    "signal_id" text COLLATE "C" NOT NULL,
    "waitpoint_id" text COLLATE "C",
    "source_identity" text COLLATE "C",
    "effect" text COLLATE "C" NOT NULL DEFAULT 'satisfied',
    "delivered_at_ms" bigint NOT NULL,
    "partition_key" smallint NOT NULL,
    "namespace" text COLLATE "C",
    "instance_tag" text COLLATE "C",
    PRIMARY KEY ("partition_key", "event_id")
);

-- statement
CREATE INDEX "ff_signal_event_event_id_idx" ON "ff_signal_event" ("event_id");

-- statement
CREATE INDEX "ff_signal_event_execution_idx" ON "ff_signal_event" ("partition_key", "execution_id");

-- statement
-- One row per intervention of an operator.
CREATE TABLE "ff_operator_event" (
    "transaction_id" bigint NOT NULL DEFAULT ((pg_current_xact_id()::text)::bigint),
    "event_id" bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    "execution_id" text COLLATE "C" NOT NULL,
    "event_type" text COLLATE "C" NOT NULL,
    "details" jsonb,
    "occurred_at_ms" bigint NOT NULL,
    "partition_key" smallint NOT NULL,
    "namespace" text COLLATE "C",
    "instance_tag" text COLLATE "C",
    PRIMARY KEY ("partition_key", "event_id"),
    CONSTRAINT "ff_operator_event_event_type_check" CHECK ("event_type" IN ('priority_changed', 'replayed', 'flow_cancel_requested', 'cancelled', 'lease_revoked', 'flow_ended'))
);

-- statement
CREATE INDEX "ff_operator_event_event_id_idx" ON "ff_operator_event" ("event_id");

-- statement
CREATE INDEX "ff_operator_event_execution_idx" ON "ff_operator_event" ("partition_key", "execution_id");

-- statement
-- One row per instance tag that was attached to an execution or cleared.
CREATE TABLE "ff_instance_tag_event" (
    "transaction_id" bigint NOT NULL DEFAULT ((pg_current_xact_id()::text)::bigint),
    "event_id" bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    "execution_id" text COLLATE "C" NOT NULL,
    "event_type" text COLLATE "C" NOT NULL,
    "occurred_at_ms" bigint NOT NULL,
    "partition_key" smallint NOT NULL,
    "namespace" text COLLATE "C",
    "instance_tag" text COLLATE "C",
    PRIMARY KEY ("partition_key", "event_id")
);

-- statement
CREATE INDEX "ff_instance_tag_event_event_id_idx" ON "ff_instance_tag_event" ("event_id");

-- statement
CREATE INDEX "ff_instance_tag_event_execution_idx" ON "ff_instance_tag_event" ("partition_key", "execution_id");

-- statement
-- One row per budget: its limits, its breaches and when it is next reset.
CREATE TABLE "ff_budget_policy" (
    "partition_key" smallint NOT NULL,
    "budget_id" text COLLATE "C" NOT NULL,
    "policy_json" jsonb NOT NULL,
    "created_at_ms" bigint NOT NULL,
    "updated_at_ms" bigint NOT NULL,
    "scope_type" text COLLATE "C" NOT NULL DEFAULT '',
    "scope_id" text COLLATE "C" NOT NULL DEFAULT '',
    "enforcement_mode" text COLLATE "C" NOT NULL DEFAULT '',
    "breach_count" bigint NOT NULL DEFAULT 0,
    "soft_breach_count" bigint NOT NULL DEFAULT 0,
    "last_breach_at_ms" bigint,
    "last_breach_dim" text COLLATE "C",
    "next_reset_at_ms" bigint,
    PRIMARY KEY ("partition_key", "budget_id")
);

-- statement
CREATE INDEX "ff_budget_policy_reset_due_idx" ON "ff_budget_policy" ("partition_key", "next_reset_at_ms")
    WHERE "ff_budget_policy"."next_reset_at_ms" IS NOT NULL;

-- statement
-- One row per budget and dimension: the running total.
CREATE TABLE "ff_budget_usage" (
    "partition_key" smallint NOT NULL,
    "budget_id" text COLLATE "C" NOT NULL,
    "dimensions_key" text COLLATE "C" NOT NULL,
    "current_value" bigint NOT NULL DEFAULT 0,
    "last_reset_at_ms" bigint,
    "updated_at_ms" bigint NOT NULL,
    PRIMARY KEY ("partition_key", "budget_id", "dimensions_key")
);

-- statement
-- One row per usage report with an idempotency key: the answer that a repetition gets.
CREATE TABLE "ff_budget_usage_dedup" (
    "partition_key" smallint NOT NULL,
    "dedup_key" text COLLATE "C" NOT NULL,
    "outcome_json" jsonb NOT NULL,
    "applied_at_ms" bigint NOT NULL,
    "expires_at_ms" bigint NOT NULL,
    PRIMARY KEY ("partition_key", "dedup_key")
);

-- statement
CREATE INDEX "ff_budget_usage_dedup_expires_idx" ON "ff_budget_usage_dedup" ("partition_key", "expires_at_ms");

-- statement
-- One row per budget, execution and dimension: what the execution spent, to be given back.
CREATE TABLE "ff_budget_usage_by_exec" (
    "partition_key" smallint NOT NULL,
    "budget_id" text COLLATE "C" NOT NULL,
    "execution_id" uuid NOT NULL,
    "dimensions_key" text COLLATE "C" NOT NULL,
    "delta_total" bigint NOT NULL DEFAULT 0,
    "updated_at_ms" bigint NOT NULL,
    PRIMARY KEY ("partition_key", "budget_id", "execution_id", "dimensions_key")
);

-- statement
-- One row per quota: its limits and how many executions it admits right now.
CREATE TABLE "ff_quota_policy" (
    "partition_key" smallint NOT NULL,
    "quota_policy_id" text COLLATE "C" NOT NULL,
    "requests_per_window_seconds" bigint NOT NULL,
    "max_requests_per_window" bigint NOT NULL,
    "active_concurrency_cap" bigint NOT NULL,
    "active_concurrency" bigint NOT NULL DEFAULT 0,
    "created_at_ms" bigint NOT NULL,
    "updated_at_ms" bigint NOT NULL,
    PRIMARY KEY ("partition_key", "quota_policy_id")
);

-- statement
-- One row per admission within the current window; older ones are removed as it slides.
CREATE TABLE "ff_quota_window" (
    "partition_key" smallint NOT NULL,
    "quota_policy_id" text COLLATE "C" NOT NULL,
    "dimension" text COLLATE "C" NOT NULL DEFAULT '',
    "admitted_at_ms" bigint NOT NULL,
    "execution_id" text COLLATE "C" NOT NULL,
    PRIMARY KEY ("partition_key", "quota_policy_id", "dimension", "admitted_at_ms", "execution_id")
);

-- statement
-- One row per admitted execution, so that asking again within the window costs nothing.
CREATE TABLE "ff_quota_admitted" (
    "partition_key" smallint NOT NULL,
    "quota_policy_id" text COLLATE "C" NOT NULL,
    "execution_id" text COLLATE "C" NOT NULL,
    "admitted_at_ms" bigint NOT NULL,
    "expires_at_ms" bigint NOT NULL,
    PRIMARY KEY ("partition_key", "quota_policy_id", "execution_id")
);

-- statement
CREATE INDEX "ff_quota_admitted_expires_idx" ON "ff_quota_admitted" ("partition_key", "expires_at_ms");

-- statement
-- One row per registered worker instance.
CREATE TABLE "ff_worker_registry" (
    "partition_key" smallint NOT NULL,
    "namespace" text COLLATE "C" NOT NULL,
    "worker_instance_id" text COLLATE "C" NOT NULL,
    "worker_id" text COLLATE "C" NOT NULL,
    "lanes" text[] NOT NULL,
    "capabilities_csv" text COLLATE "C" NOT NULL,
    "last_heartbeat_ms" bigint NOT NULL,
    "liveness_ttl_ms" bigint NOT NULL,
    "registered_at_ms" bigint NOT NULL,
    PRIMARY KEY ("partition_key", "namespace", "worker_instance_id")
);

-- statement
CREATE INDEX "ff_worker_registry_ns_inst_idx" ON "ff_worker_registry" ("namespace", "worker_instance_id");

-- statement
-- One row per event in the life of a worker instance; appended only.
CREATE TABLE "ff_worker_registry_event" (
    "partition_key" smallint NOT NULL,
    "namespace" text COLLATE "C" NOT NULL,
    "worker_instance_id" text COLLATE "C" NOT NULL,
    "event_kind" text COLLATE "C" NOT NULL,
    "event_at_ms" bigint NOT NULL,
    "reason" text COLLATE "C",
    PRIMARY KEY ("partition_key", "namespace", "worker_instance_id", "event_at_ms", "event_kind")
);

-- statement
INSERT INTO "ff_partition_config" ("singleton_lock", "num_flow_partitions", "num_budget_partitions", "num_quota_partitions", "ff_version") VALUES (TRUE, 256, 32, 32, '0.1.0') ON CONFLICT  DO NOTHING;

-- statement
INSERT INTO "ff_migration_annotation" ("version", "name", "applied_at_ms", "backward_compatible") VALUES (1, '0001_genesis', (extract(epoch from clock_timestamp()) * 1000)::bigint, FALSE) ON CONFLICT  DO NOTHING;
