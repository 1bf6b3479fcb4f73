-- Written by ff-codegen from a change of the tables in core/src/schema. Do not edit: a migration
-- stays as it was written.

-- statement
CREATE TABLE IF NOT EXISTS "ff_attempt" (
    "partition_key" smallint NOT NULL,
    "execution_id" binary(16) NOT NULL,
    "attempt_index" int NOT NULL,
    "worker_id" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    "worker_instance_id" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    "lease_epoch" bigint NOT NULL DEFAULT 0,
    "lease_expires_at_ms" bigint,
    "started_at_ms" bigint,
    "terminal_at_ms" bigint,
    "outcome" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    "usage" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    "policy" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    "raw_fields" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL DEFAULT '{}',
    "lease_id" binary(16),
    "attempt_id" binary(16),
    "timeout_at_ms" bigint,
    "failure_message" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    "failure_class" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    PRIMARY KEY ("partition_key", "execution_id", "attempt_index")
);

-- statement
CREATE INDEX IF NOT EXISTS "ff_attempt_lease_expiry_idx" ON "ff_attempt" ("lease_expires_at_ms");

-- statement
CREATE INDEX IF NOT EXISTS "ff_attempt_timeout_idx" ON "ff_attempt" ("timeout_at_ms");

-- statement
CREATE TABLE IF NOT EXISTS "ff_budget_in_use" (
    "budget_id" varbinary(700) NOT NULL,
    "partition_key" smallint NOT NULL,
    "registered_at_ms" bigint NOT NULL,
    PRIMARY KEY ("budget_id", "partition_key")
);

-- statement
CREATE TABLE IF NOT EXISTS "ff_budget_policy" (
    "partition_key" smallint NOT NULL,
    "budget_id" varbinary(700) NOT NULL,
    "policy_json" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    "created_at_ms" bigint NOT NULL,
    "updated_at_ms" bigint NOT NULL,
    "scope_type" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL DEFAULT '',
    "scope_id" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL DEFAULT '',
    "enforcement_mode" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL DEFAULT '',
    "breach_count" bigint NOT NULL DEFAULT 0,
    "soft_breach_count" bigint NOT NULL DEFAULT 0,
    "last_breach_at_ms" bigint,
    "last_breach_dim" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    "next_reset_at_ms" bigint,
    "version" bigint NOT NULL DEFAULT 0,
    "period" bigint NOT NULL DEFAULT 0,
    "is_defined" boolean NOT NULL DEFAULT TRUE,
    PRIMARY KEY ("partition_key", "budget_id")
);

-- statement
CREATE INDEX IF NOT EXISTS "ff_budget_policy_reset_due_idx" ON "ff_budget_policy" ("partition_key", "next_reset_at_ms");

-- statement
CREATE TABLE IF NOT EXISTS "ff_budget_reservation" (
    "partition_key" smallint NOT NULL,
    "execution_id" binary(16) NOT NULL,
    "budget_id" varbinary(700) NOT NULL,
    "dimensions_key" varbinary(700) NOT NULL,
    "amount" bigint NOT NULL,
    "updated_at_ms" bigint NOT NULL,
    PRIMARY KEY ("partition_key", "execution_id", "budget_id", "dimensions_key")
);

-- statement
CREATE INDEX IF NOT EXISTS "ff_budget_reservation_budget_idx" ON "ff_budget_reservation" ("budget_id");

-- statement
CREATE TABLE IF NOT EXISTS "ff_budget_usage" (
    "partition_key" smallint NOT NULL,
    "budget_id" varbinary(700) NOT NULL,
    "dimensions_key" varbinary(700) NOT NULL,
    "current_value" bigint NOT NULL DEFAULT 0,
    "last_reset_at_ms" bigint,
    "updated_at_ms" bigint NOT NULL,
    "overdraft" bigint NOT NULL DEFAULT 0,
    PRIMARY KEY ("partition_key", "budget_id", "dimensions_key")
);

-- statement
CREATE TABLE IF NOT EXISTS "ff_budget_usage_by_exec" (
    "partition_key" smallint NOT NULL,
    "budget_id" varbinary(700) NOT NULL,
    "execution_id" binary(16) NOT NULL,
    "dimensions_key" varbinary(700) NOT NULL,
    "delta_total" bigint NOT NULL DEFAULT 0,
    "updated_at_ms" bigint NOT NULL,
    "period" bigint NOT NULL DEFAULT 0,
    PRIMARY KEY ("partition_key", "budget_id", "execution_id", "dimensions_key")
);

-- statement
CREATE INDEX IF NOT EXISTS "ff_budget_usage_by_exec_execution_idx" ON "ff_budget_usage_by_exec" ("execution_id");

-- statement
CREATE TABLE IF NOT EXISTS "ff_budget_usage_dedup" (
    "partition_key" smallint NOT NULL,
    "dedup_key" varbinary(700) NOT NULL,
    "outcome_json" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    "applied_at_ms" bigint NOT NULL,
    "expires_at_ms" bigint NOT NULL,
    PRIMARY KEY ("partition_key", "dedup_key")
);

-- statement
CREATE INDEX IF NOT EXISTS "ff_budget_usage_dedup_expires_idx" ON "ff_budget_usage_dedup" ("partition_key", "expires_at_ms");

-- statement
CREATE INDEX IF NOT EXISTS "ff_budget_usage_dedup_expired_idx" ON "ff_budget_usage_dedup" ("expires_at_ms", "dedup_key");

-- statement
CREATE TABLE IF NOT EXISTS "ff_cancel_backlog" (
    "partition_key" smallint NOT NULL,
    "flow_id" binary(16) NOT NULL,
    "requested_at_ms" bigint NOT NULL,
    "requester" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL DEFAULT '',
    "reason" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL DEFAULT '',
    "grace_until_ms" bigint,
    "cancellation_policy" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    "status" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL DEFAULT 'pending',
    PRIMARY KEY ("partition_key", "flow_id")
);

-- statement
CREATE TABLE IF NOT EXISTS "ff_cancel_backlog_member" (
    "partition_key" smallint NOT NULL,
    "flow_id" binary(16) NOT NULL,
    "execution_id" varbinary(700) NOT NULL,
    PRIMARY KEY ("partition_key", "flow_id", "execution_id")
);

-- statement
CREATE TABLE IF NOT EXISTS "ff_cancel_dispatch_outbox" (
    "partition_key" smallint NOT NULL,
    "flow_id" binary(16) NOT NULL,
    "downstream_eid" binary(16) NOT NULL,
    "target_exec_id" binary(16) NOT NULL,
    "reason" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    "enqueued_at_ms" bigint NOT NULL,
    PRIMARY KEY ("partition_key", "flow_id", "downstream_eid", "target_exec_id")
);

-- statement
CREATE TABLE IF NOT EXISTS "ff_claim_grant" (
    "partition_key" smallint NOT NULL,
    "grant_id" varbinary(700) NOT NULL,
    "execution_id" binary(16) NOT NULL,
    "kind" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    "worker_id" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    "worker_instance_id" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    "lane_id" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    "capability_hash" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    "worker_capabilities" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL DEFAULT '[]',
    "route_snapshot_json" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    "admission_summary" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    "grant_ttl_ms" bigint NOT NULL,
    "issued_at_ms" bigint NOT NULL,
    "expires_at_ms" bigint NOT NULL,
    PRIMARY KEY ("partition_key", "grant_id"),
    CONSTRAINT "ff_claim_grant_kind_check" CHECK ("kind" IN ('claim', 'reclaim'))
);

-- statement
CREATE INDEX IF NOT EXISTS "ff_claim_grant_execution_idx" ON "ff_claim_grant" ("partition_key", "execution_id");

-- statement
CREATE INDEX IF NOT EXISTS "ff_claim_grant_expiry_idx" ON "ff_claim_grant" ("expires_at_ms");

-- statement
CREATE TABLE IF NOT EXISTS "ff_completion_event" (
    "transaction_id" bigint NOT NULL DEFAULT 0,
    "partition_key" smallint NOT NULL,
    "event_id" bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
    "execution_id" binary(16) NOT NULL,
    "flow_id" binary(16),
    "outcome" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    "namespace" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    "instance_tag" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    "occurred_at_ms" bigint NOT NULL,
    "committed_at_ms" bigint NOT NULL DEFAULT (CAST(TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', UTC_TIMESTAMP(3)) DIV 1000 AS SIGNED)),
    "dispatched_at_ms" bigint,
    "reason" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    "failure_class" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    "ff_completion_event_pending_dispatch_idx" boolean GENERATED ALWAYS AS ((CASE WHEN ("dispatched_at_ms" IS NULL AND "flow_id" IS NOT NULL) THEN TRUE END)) STORED
);

-- statement
CREATE INDEX IF NOT EXISTS "ff_completion_event_lookup_idx" ON "ff_completion_event" ("partition_key", "execution_id", "occurred_at_ms");

-- statement
CREATE INDEX IF NOT EXISTS "ff_completion_event_pending_dispatch_idx" ON "ff_completion_event" ("ff_completion_event_pending_dispatch_idx", "event_id");

-- statement
CREATE TABLE IF NOT EXISTS "ff_edge" (
    "partition_key" smallint NOT NULL,
    "flow_id" binary(16) NOT NULL,
    "edge_id" binary(16) NOT NULL,
    "upstream_eid" binary(16) NOT NULL,
    "downstream_eid" binary(16) NOT NULL,
    "policy" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    "policy_version" int NOT NULL DEFAULT 0,
    "upstream_outcome" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    "upstream_event_id" bigint,
    "version" bigint NOT NULL DEFAULT 0,
    PRIMARY KEY ("partition_key", "flow_id", "edge_id")
);

-- statement
CREATE INDEX IF NOT EXISTS "ff_edge_downstream_idx" ON "ff_edge" ("partition_key", "flow_id", "downstream_eid");

-- statement
CREATE INDEX IF NOT EXISTS "ff_edge_upstream_idx" ON "ff_edge" ("partition_key", "flow_id", "upstream_eid");

-- statement
CREATE TABLE IF NOT EXISTS "ff_edge_group" (
    "partition_key" smallint NOT NULL,
    "flow_id" binary(16) NOT NULL,
    "downstream_eid" binary(16) NOT NULL,
    "policy" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    "k_target" int NOT NULL DEFAULT 0,
    "success_count" int NOT NULL DEFAULT 0,
    "fail_count" int NOT NULL DEFAULT 0,
    "skip_count" int NOT NULL DEFAULT 0,
    "running_count" int NOT NULL DEFAULT 0,
    "cancel_siblings_pending_flag" boolean NOT NULL DEFAULT FALSE,
    "cancel_siblings_pending_members" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL DEFAULT '[]',
    "dependency_count" int NOT NULL DEFAULT 0,
    "version" bigint NOT NULL DEFAULT 0,
    PRIMARY KEY ("partition_key", "flow_id", "downstream_eid")
);

-- statement
CREATE TABLE IF NOT EXISTS "ff_exec_core" (
    "partition_key" smallint NOT NULL,
    "execution_id" binary(16) NOT NULL,
    "flow_id" binary(16),
    "lane_id" varbinary(700) NOT NULL,
    "required_capabilities" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL DEFAULT '[]',
    "attempt_index" int NOT NULL DEFAULT 0,
    "lifecycle_phase" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    "ownership_state" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    "eligibility_state" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    "public_state" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    "attempt_state" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    "blocking_reason" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    "cancellation_reason" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    "cancelled_by" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    "priority" int NOT NULL DEFAULT 0,
    "created_at_ms" bigint NOT NULL,
    "terminal_at_ms" bigint,
    "deadline_at_ms" bigint,
    "payload" longblob,
    "result" longblob,
    "policy" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    "raw_fields" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL DEFAULT '{}',
    "started_at_ms" bigint,
    "lease_reclaim_count" int NOT NULL DEFAULT 0,
    "eligible_at_ms" bigint,
    "granted_until_ms" bigint,
    "attempt_timeout_ms" bigint,
    "total_attempt_count" int NOT NULL DEFAULT 0,
    "version" bigint NOT NULL DEFAULT 0,
    "claimable_since_ms" bigint NOT NULL DEFAULT 0,
    "last_changed_at_ms" bigint NOT NULL DEFAULT 0,
    "has_waitpoints" boolean NOT NULL DEFAULT TRUE,
    "has_reservations" boolean NOT NULL DEFAULT FALSE,
    "ff_exec_core_keyed_idx" boolean GENERATED ALWAYS AS ((CASE WHEN ("lifecycle_phase" IN ('submitted', 'runnable', 'pending', 'eligible', 'blocked') AND "eligibility_state" IN ('eligible_now', 'pending_claim') AND (JSON_VALID("required_capabilities") AND ((CASE WHEN (JSON_TYPE(JSON_EXTRACT("required_capabilities", '$[0]')) <> 'NULL') THEN JSON_UNQUOTE(JSON_EXTRACT("required_capabilities", '$[0]')) END) COLLATE utf8mb4_nopad_bin) < ' ')) THEN TRUE END)) STORED,
    "is_claimable" boolean GENERATED ALWAYS AS ((CASE WHEN ("lifecycle_phase" IN ('submitted', 'runnable', 'pending', 'eligible', 'blocked') AND "eligibility_state" IN ('eligible_now', 'pending_claim')) THEN TRUE END)) STORED,
    "is_delayed" boolean GENERATED ALWAYS AS ((CASE WHEN ("lifecycle_phase" IN ('runnable', 'pending', 'eligible', 'blocked') AND "eligibility_state" = 'not_eligible_until_time') THEN TRUE END)) STORED,
    "has_live_deadline" boolean GENERATED ALWAYS AS ((CASE WHEN ("deadline_at_ms" IS NOT NULL AND "terminal_at_ms" IS NULL) THEN TRUE END)) STORED,
    "is_unfinished_member" boolean GENERATED ALWAYS AS ((CASE WHEN ("flow_id" IS NOT NULL AND "lifecycle_phase" NOT IN ('terminal', 'cancelled')) THEN TRUE END)) STORED,
    "is_badly_ended_member" boolean GENERATED ALWAYS AS ((CASE WHEN ("flow_id" IS NOT NULL AND "public_state" IN ('failed', 'cancelled', 'expired')) THEN TRUE END)) STORED,
    "is_badly_ended" boolean GENERATED ALWAYS AS ((CASE WHEN ("public_state" IN ('failed', 'cancelled', 'expired')) THEN TRUE END)) STORED,
    "required_capabilities_key" varbinary(32) GENERATED ALWAYS AS ((CASE WHEN ("required_capabilities" = '[]') THEN '' ELSE UNHEX(SHA2("required_capabilities", 256)) END)) STORED,
    PRIMARY KEY ("partition_key", "execution_id")
);

-- statement
CREATE INDEX IF NOT EXISTS "ff_exec_core_claim_idx" ON "ff_exec_core" ("is_claimable", "lane_id", "required_capabilities_key", "priority" DESC, "claimable_since_ms", "created_at_ms", "execution_id");

-- statement
CREATE INDEX IF NOT EXISTS "ff_exec_core_claim_idx_lists" ON "ff_exec_core" ("is_claimable", "lane_id", "required_capabilities_key");

-- statement
CREATE INDEX IF NOT EXISTS "ff_exec_core_keyed_idx" ON "ff_exec_core" ("ff_exec_core_keyed_idx", "lane_id", "priority" DESC, "claimable_since_ms", "created_at_ms", "execution_id");

-- statement
CREATE INDEX IF NOT EXISTS "ff_exec_core_delayed_idx" ON "ff_exec_core" ("is_delayed", "eligible_at_ms");

-- statement
CREATE INDEX IF NOT EXISTS "ff_exec_core_due_idx" ON "ff_exec_core" ("is_delayed", "lane_id", "required_capabilities_key", "eligible_at_ms", "execution_id");

-- statement
CREATE INDEX IF NOT EXISTS "ff_exec_core_deadline_idx" ON "ff_exec_core" ("has_live_deadline", "deadline_at_ms");

-- statement
CREATE INDEX IF NOT EXISTS "ff_exec_core_flow_idx" ON "ff_exec_core" ("partition_key", "flow_id", "execution_id");

-- statement
CREATE INDEX IF NOT EXISTS "ff_exec_core_flow_unfinished_idx" ON "ff_exec_core" ("is_unfinished_member", "partition_key", "flow_id", "execution_id");

-- statement
CREATE INDEX IF NOT EXISTS "ff_exec_core_flow_badly_ended_idx" ON "ff_exec_core" ("is_badly_ended_member", "partition_key", "flow_id", "execution_id");

-- statement
CREATE INDEX IF NOT EXISTS "ff_exec_core_created_idx" ON "ff_exec_core" ("created_at_ms");

-- statement
CREATE INDEX IF NOT EXISTS "ff_exec_core_badly_ended_idx" ON "ff_exec_core" ("is_badly_ended", "created_at_ms");

-- statement
CREATE TABLE IF NOT EXISTS "ff_exec_count" (
    "count_id" bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
    "lane_id" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    "execution_kind" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    "public_state" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    "failure_class" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    "ended_minute" bigint NOT NULL,
    "n" bigint NOT NULL
);

-- statement
CREATE INDEX IF NOT EXISTS "ff_exec_count_group_idx" ON "ff_exec_count" ("lane_id"(64), "execution_kind"(64), "public_state"(64), "failure_class"(64), "ended_minute");

-- statement
CREATE OR REPLACE TRIGGER "ff_exec_count_insert" AFTER INSERT ON "ff_exec_core" FOR EACH ROW
BEGIN
    DECLARE counted bigint;
    SET counted = (SELECT "count_id" FROM "ff_exec_count" WHERE "lane_id" = "NEW"."lane_id" AND "execution_kind" = COALESCE((CASE WHEN (JSON_TYPE(JSON_EXTRACT("NEW"."raw_fields", '$."execution_kind"')) <> 'NULL') THEN JSON_UNQUOTE(JSON_EXTRACT("NEW"."raw_fields", '$."execution_kind"')) END) COLLATE utf8mb4_nopad_bin, '') AND "public_state" = "NEW"."public_state" AND "failure_class" = (CASE WHEN ("NEW"."public_state" = 'failed') THEN COALESCE((CASE WHEN (JSON_TYPE(JSON_EXTRACT("NEW"."raw_fields", '$."last_failure_class"')) <> 'NULL') THEN JSON_UNQUOTE(JSON_EXTRACT("NEW"."raw_fields", '$."last_failure_class"')) END) COLLATE utf8mb4_nopad_bin, '') ELSE '' END) AND "ended_minute" = (CASE WHEN ("NEW"."public_state" = 'failed') THEN COALESCE("NEW"."terminal_at_ms", 0) DIV (60000) ELSE 0 END) ORDER BY "count_id" LIMIT 1);
    UPDATE "ff_exec_count" SET "n" = "n" + 1 WHERE "count_id" = counted;
    IF ROW_COUNT() = 0 THEN
        INSERT INTO "ff_exec_count" ("lane_id", "execution_kind", "public_state", "failure_class", "ended_minute", "n") VALUES ("NEW"."lane_id", COALESCE((CASE WHEN (JSON_TYPE(JSON_EXTRACT("NEW"."raw_fields", '$."execution_kind"')) <> 'NULL') THEN JSON_UNQUOTE(JSON_EXTRACT("NEW"."raw_fields", '$."execution_kind"')) END) COLLATE utf8mb4_nopad_bin, ''), "NEW"."public_state", (CASE WHEN ("NEW"."public_state" = 'failed') THEN COALESCE((CASE WHEN (JSON_TYPE(JSON_EXTRACT("NEW"."raw_fields", '$."last_failure_class"')) <> 'NULL') THEN JSON_UNQUOTE(JSON_EXTRACT("NEW"."raw_fields", '$."last_failure_class"')) END) COLLATE utf8mb4_nopad_bin, '') ELSE '' END), (CASE WHEN ("NEW"."public_state" = 'failed') THEN COALESCE("NEW"."terminal_at_ms", 0) DIV (60000) ELSE 0 END), 0 + 1);
    END IF;
END;

-- statement
CREATE OR REPLACE TRIGGER "ff_exec_count_update" AFTER UPDATE ON "ff_exec_core" FOR EACH ROW
BEGIN
    DECLARE counted bigint;
    IF NOT ("OLD"."lane_id" <=> "NEW"."lane_id"
        AND COALESCE((CASE WHEN (JSON_TYPE(JSON_EXTRACT("OLD"."raw_fields", '$."execution_kind"')) <> 'NULL') THEN JSON_UNQUOTE(JSON_EXTRACT("OLD"."raw_fields", '$."execution_kind"')) END) COLLATE utf8mb4_nopad_bin, '') <=> COALESCE((CASE WHEN (JSON_TYPE(JSON_EXTRACT("NEW"."raw_fields", '$."execution_kind"')) <> 'NULL') THEN JSON_UNQUOTE(JSON_EXTRACT("NEW"."raw_fields", '$."execution_kind"')) END) COLLATE utf8mb4_nopad_bin, '')
        AND "OLD"."public_state" <=> "NEW"."public_state"
        AND (CASE WHEN ("OLD"."public_state" = 'failed') THEN COALESCE((CASE WHEN (JSON_TYPE(JSON_EXTRACT("OLD"."raw_fields", '$."last_failure_class"')) <> 'NULL') THEN JSON_UNQUOTE(JSON_EXTRACT("OLD"."raw_fields", '$."last_failure_class"')) END) COLLATE utf8mb4_nopad_bin, '') ELSE '' END) <=> (CASE WHEN ("NEW"."public_state" = 'failed') THEN COALESCE((CASE WHEN (JSON_TYPE(JSON_EXTRACT("NEW"."raw_fields", '$."last_failure_class"')) <> 'NULL') THEN JSON_UNQUOTE(JSON_EXTRACT("NEW"."raw_fields", '$."last_failure_class"')) END) COLLATE utf8mb4_nopad_bin, '') ELSE '' END)
        AND (CASE WHEN ("OLD"."public_state" = 'failed') THEN COALESCE("OLD"."terminal_at_ms", 0) DIV (60000) ELSE 0 END) <=> (CASE WHEN ("NEW"."public_state" = 'failed') THEN COALESCE("NEW"."terminal_at_ms", 0) DIV (60000) ELSE 0 END)) THEN
    SET counted = (SELECT "count_id" FROM "ff_exec_count" WHERE "lane_id" = "OLD"."lane_id" AND "execution_kind" = COALESCE((CASE WHEN (JSON_TYPE(JSON_EXTRACT("OLD"."raw_fields", '$."execution_kind"')) <> 'NULL') THEN JSON_UNQUOTE(JSON_EXTRACT("OLD"."raw_fields", '$."execution_kind"')) END) COLLATE utf8mb4_nopad_bin, '') AND "public_state" = "OLD"."public_state" AND "failure_class" = (CASE WHEN ("OLD"."public_state" = 'failed') THEN COALESCE((CASE WHEN (JSON_TYPE(JSON_EXTRACT("OLD"."raw_fields", '$."last_failure_class"')) <> 'NULL') THEN JSON_UNQUOTE(JSON_EXTRACT("OLD"."raw_fields", '$."last_failure_class"')) END) COLLATE utf8mb4_nopad_bin, '') ELSE '' END) AND "ended_minute" = (CASE WHEN ("OLD"."public_state" = 'failed') THEN COALESCE("OLD"."terminal_at_ms", 0) DIV (60000) ELSE 0 END) ORDER BY "count_id" LIMIT 1);
    UPDATE "ff_exec_count" SET "n" = "n" - 1 WHERE "count_id" = counted;
    IF ROW_COUNT() = 0 THEN
        INSERT INTO "ff_exec_count" ("lane_id", "execution_kind", "public_state", "failure_class", "ended_minute", "n") VALUES ("OLD"."lane_id", COALESCE((CASE WHEN (JSON_TYPE(JSON_EXTRACT("OLD"."raw_fields", '$."execution_kind"')) <> 'NULL') THEN JSON_UNQUOTE(JSON_EXTRACT("OLD"."raw_fields", '$."execution_kind"')) END) COLLATE utf8mb4_nopad_bin, ''), "OLD"."public_state", (CASE WHEN ("OLD"."public_state" = 'failed') THEN COALESCE((CASE WHEN (JSON_TYPE(JSON_EXTRACT("OLD"."raw_fields", '$."last_failure_class"')) <> 'NULL') THEN JSON_UNQUOTE(JSON_EXTRACT("OLD"."raw_fields", '$."last_failure_class"')) END) COLLATE utf8mb4_nopad_bin, '') ELSE '' END), (CASE WHEN ("OLD"."public_state" = 'failed') THEN COALESCE("OLD"."terminal_at_ms", 0) DIV (60000) ELSE 0 END), 0 - 1);
    END IF;
    SET counted = (SELECT "count_id" FROM "ff_exec_count" WHERE "lane_id" = "NEW"."lane_id" AND "execution_kind" = COALESCE((CASE WHEN (JSON_TYPE(JSON_EXTRACT("NEW"."raw_fields", '$."execution_kind"')) <> 'NULL') THEN JSON_UNQUOTE(JSON_EXTRACT("NEW"."raw_fields", '$."execution_kind"')) END) COLLATE utf8mb4_nopad_bin, '') AND "public_state" = "NEW"."public_state" AND "failure_class" = (CASE WHEN ("NEW"."public_state" = 'failed') THEN COALESCE((CASE WHEN (JSON_TYPE(JSON_EXTRACT("NEW"."raw_fields", '$."last_failure_class"')) <> 'NULL') THEN JSON_UNQUOTE(JSON_EXTRACT("NEW"."raw_fields", '$."last_failure_class"')) END) COLLATE utf8mb4_nopad_bin, '') ELSE '' END) AND "ended_minute" = (CASE WHEN ("NEW"."public_state" = 'failed') THEN COALESCE("NEW"."terminal_at_ms", 0) DIV (60000) ELSE 0 END) ORDER BY "count_id" LIMIT 1);
    UPDATE "ff_exec_count" SET "n" = "n" + 1 WHERE "count_id" = counted;
    IF ROW_COUNT() = 0 THEN
        INSERT INTO "ff_exec_count" ("lane_id", "execution_kind", "public_state", "failure_class", "ended_minute", "n") VALUES ("NEW"."lane_id", COALESCE((CASE WHEN (JSON_TYPE(JSON_EXTRACT("NEW"."raw_fields", '$."execution_kind"')) <> 'NULL') THEN JSON_UNQUOTE(JSON_EXTRACT("NEW"."raw_fields", '$."execution_kind"')) END) COLLATE utf8mb4_nopad_bin, ''), "NEW"."public_state", (CASE WHEN ("NEW"."public_state" = 'failed') THEN COALESCE((CASE WHEN (JSON_TYPE(JSON_EXTRACT("NEW"."raw_fields", '$."last_failure_class"')) <> 'NULL') THEN JSON_UNQUOTE(JSON_EXTRACT("NEW"."raw_fields", '$."last_failure_class"')) END) COLLATE utf8mb4_nopad_bin, '') ELSE '' END), (CASE WHEN ("NEW"."public_state" = 'failed') THEN COALESCE("NEW"."terminal_at_ms", 0) DIV (60000) ELSE 0 END), 0 + 1);
    END IF;
    END IF;
END;

-- statement
CREATE OR REPLACE TRIGGER "ff_exec_count_delete" AFTER DELETE ON "ff_exec_core" FOR EACH ROW
BEGIN
    DECLARE counted bigint;
    SET counted = (SELECT "count_id" FROM "ff_exec_count" WHERE "lane_id" = "OLD"."lane_id" AND "execution_kind" = COALESCE((CASE WHEN (JSON_TYPE(JSON_EXTRACT("OLD"."raw_fields", '$."execution_kind"')) <> 'NULL') THEN JSON_UNQUOTE(JSON_EXTRACT("OLD"."raw_fields", '$."execution_kind"')) END) COLLATE utf8mb4_nopad_bin, '') AND "public_state" = "OLD"."public_state" AND "failure_class" = (CASE WHEN ("OLD"."public_state" = 'failed') THEN COALESCE((CASE WHEN (JSON_TYPE(JSON_EXTRACT("OLD"."raw_fields", '$."last_failure_class"')) <> 'NULL') THEN JSON_UNQUOTE(JSON_EXTRACT("OLD"."raw_fields", '$."last_failure_class"')) END) COLLATE utf8mb4_nopad_bin, '') ELSE '' END) AND "ended_minute" = (CASE WHEN ("OLD"."public_state" = 'failed') THEN COALESCE("OLD"."terminal_at_ms", 0) DIV (60000) ELSE 0 END) ORDER BY "count_id" LIMIT 1);
    UPDATE "ff_exec_count" SET "n" = "n" - 1 WHERE "count_id" = counted;
    IF ROW_COUNT() = 0 THEN
        INSERT INTO "ff_exec_count" ("lane_id", "execution_kind", "public_state", "failure_class", "ended_minute", "n") VALUES ("OLD"."lane_id", COALESCE((CASE WHEN (JSON_TYPE(JSON_EXTRACT("OLD"."raw_fields", '$."execution_kind"')) <> 'NULL') THEN JSON_UNQUOTE(JSON_EXTRACT("OLD"."raw_fields", '$."execution_kind"')) END) COLLATE utf8mb4_nopad_bin, ''), "OLD"."public_state", (CASE WHEN ("OLD"."public_state" = 'failed') THEN COALESCE((CASE WHEN (JSON_TYPE(JSON_EXTRACT("OLD"."raw_fields", '$."last_failure_class"')) <> 'NULL') THEN JSON_UNQUOTE(JSON_EXTRACT("OLD"."raw_fields", '$."last_failure_class"')) END) COLLATE utf8mb4_nopad_bin, '') ELSE '' END), (CASE WHEN ("OLD"."public_state" = 'failed') THEN COALESCE("OLD"."terminal_at_ms", 0) DIV (60000) ELSE 0 END), 0 - 1);
    END IF;
END;

-- statement
DELETE FROM "ff_exec_count";

-- statement
INSERT INTO "ff_exec_count" ("lane_id", "execution_kind", "public_state", "failure_class", "ended_minute", "n")
    SELECT "lane_id" AS "lane_id", COALESCE((CASE WHEN (JSON_TYPE(JSON_EXTRACT("raw_fields", '$."execution_kind"')) <> 'NULL') THEN JSON_UNQUOTE(JSON_EXTRACT("raw_fields", '$."execution_kind"')) END) COLLATE utf8mb4_nopad_bin, '') AS "execution_kind", "public_state" AS "public_state", (CASE WHEN ("public_state" = 'failed') THEN COALESCE((CASE WHEN (JSON_TYPE(JSON_EXTRACT("raw_fields", '$."last_failure_class"')) <> 'NULL') THEN JSON_UNQUOTE(JSON_EXTRACT("raw_fields", '$."last_failure_class"')) END) COLLATE utf8mb4_nopad_bin, '') ELSE '' END) AS "failure_class", (CASE WHEN ("public_state" = 'failed') THEN COALESCE("terminal_at_ms", 0) DIV (60000) ELSE 0 END) AS "ended_minute", count(*) FROM "ff_exec_core" GROUP BY 1, 2, 3, 4, 5;

-- statement
CREATE TABLE IF NOT EXISTS "ff_execution_capabilities" (
    "execution_id" binary(16) NOT NULL,
    "capability" varbinary(700) NOT NULL,
    PRIMARY KEY ("execution_id", "capability")
);

-- statement
CREATE TABLE IF NOT EXISTS "ff_fair_lane" (
    "lane_id" varbinary(700) NOT NULL,
    "turns" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    "version" bigint NOT NULL,
    PRIMARY KEY ("lane_id")
);

-- statement
CREATE TABLE IF NOT EXISTS "ff_fair_weight" (
    "lane_id" varbinary(700) NOT NULL,
    "fairness_key" varbinary(700) NOT NULL,
    "weight" int NOT NULL,
    "set_by" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    "set_at_ms" bigint NOT NULL,
    PRIMARY KEY ("lane_id", "fairness_key")
);

-- statement
CREATE TABLE IF NOT EXISTS "ff_flow_core" (
    "partition_key" smallint NOT NULL,
    "flow_id" binary(16) NOT NULL,
    "graph_revision" bigint NOT NULL DEFAULT 0,
    "public_flow_state" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    "created_at_ms" bigint NOT NULL,
    "terminal_at_ms" bigint,
    "raw_fields" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL DEFAULT '{}',
    "node_count" int NOT NULL DEFAULT 0,
    "edge_count" int NOT NULL DEFAULT 0,
    "version" bigint NOT NULL DEFAULT 0,
    "sealed_at_ms" bigint,
    PRIMARY KEY ("partition_key", "flow_id")
);

-- statement
CREATE INDEX IF NOT EXISTS "ff_flow_core_created_idx" ON "ff_flow_core" ("created_at_ms" DESC, "flow_id");

-- statement
CREATE TABLE IF NOT EXISTS "ff_flow_summary" (
    "partition_key" smallint NOT NULL,
    "flow_id" binary(16) NOT NULL,
    "total_members" bigint NOT NULL DEFAULT 0,
    "sampled_members" int NOT NULL DEFAULT 0,
    "members_completed" int NOT NULL DEFAULT 0,
    "members_failed" int NOT NULL DEFAULT 0,
    "members_cancelled" int NOT NULL DEFAULT 0,
    "members_expired" int NOT NULL DEFAULT 0,
    "members_skipped" int NOT NULL DEFAULT 0,
    "members_active" int NOT NULL DEFAULT 0,
    "members_suspended" int NOT NULL DEFAULT 0,
    "members_waiting" int NOT NULL DEFAULT 0,
    "members_delayed" int NOT NULL DEFAULT 0,
    "members_rate_limited" int NOT NULL DEFAULT 0,
    "members_waiting_children" int NOT NULL DEFAULT 0,
    "public_flow_state" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    "last_summary_update_at" bigint NOT NULL,
    PRIMARY KEY ("partition_key", "flow_id")
);

-- statement
CREATE TABLE IF NOT EXISTS "ff_idempotency_key" (
    "partition_key" smallint NOT NULL,
    "key_digest" varbinary(700) NOT NULL,
    "execution_partition" smallint NOT NULL,
    "execution_id" binary(16) NOT NULL,
    "taken_at_ms" bigint NOT NULL,
    "expires_at_ms" bigint,
    "held_by_execution" binary(16),
    PRIMARY KEY ("partition_key", "key_digest")
);

-- statement
CREATE INDEX IF NOT EXISTS "ff_idempotency_key_expires_idx" ON "ff_idempotency_key" ("expires_at_ms", "key_digest");

-- statement
CREATE INDEX IF NOT EXISTS "ff_idempotency_key_held_by_idx" ON "ff_idempotency_key" ("execution_partition", "held_by_execution");

-- statement
CREATE TABLE IF NOT EXISTS "ff_instance_tag_event" (
    "transaction_id" bigint NOT NULL DEFAULT 0,
    "event_id" bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
    "execution_id" varbinary(700) NOT NULL,
    "event_type" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    "occurred_at_ms" bigint NOT NULL,
    "partition_key" smallint NOT NULL,
    "namespace" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    "instance_tag" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin
);

-- statement
CREATE INDEX IF NOT EXISTS "ff_instance_tag_event_execution_idx" ON "ff_instance_tag_event" ("partition_key", "execution_id");

-- statement
CREATE TABLE IF NOT EXISTS "ff_lane_registry" (
    "lane_id" varbinary(700) NOT NULL,
    "registered_at_ms" bigint NOT NULL,
    "registered_by" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    "state" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL DEFAULT 'active',
    "state_reason" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    "state_by" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    "state_since_ms" bigint,
    "state_until_ms" bigint,
    PRIMARY KEY ("lane_id")
);

-- statement
CREATE TABLE IF NOT EXISTS "ff_lease_event" (
    "transaction_id" bigint NOT NULL DEFAULT 0,
    "event_id" bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
    "execution_id" varbinary(700) NOT NULL,
    "lease_id" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    "event_type" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    "occurred_at_ms" bigint NOT NULL,
    "partition_key" smallint NOT NULL,
    "namespace" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    "instance_tag" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    "cause" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    "worker_id" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    "worker_instance_id" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin
);

-- statement
CREATE INDEX IF NOT EXISTS "ff_lease_event_execution_idx" ON "ff_lease_event" ("partition_key", "execution_id");

-- statement
CREATE TABLE IF NOT EXISTS "ff_limit" (
    "partition_key" smallint NOT NULL,
    "limit_key" varbinary(700) NOT NULL,
    "max_running" bigint,
    "rate_count" bigint,
    "rate_per_ms" bigint,
    "rate_burst" bigint,
    "set_by" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    "set_at_ms" bigint NOT NULL,
    PRIMARY KEY ("limit_key", "partition_key")
);

-- statement
CREATE TABLE IF NOT EXISTS "ff_limit_cell" (
    "partition_key" smallint NOT NULL,
    "limit_key" varbinary(700) NOT NULL,
    "rate" varbinary(700) NOT NULL,
    "cell" bigint NOT NULL,
    "execution_id" binary(16) NOT NULL,
    "expires_at_ms" bigint NOT NULL,
    PRIMARY KEY ("limit_key", "rate", "cell", "partition_key")
);

-- statement
CREATE INDEX IF NOT EXISTS "ff_limit_cell_expires_idx" ON "ff_limit_cell" ("expires_at_ms", "limit_key", "rate", "cell");

-- statement
CREATE TABLE IF NOT EXISTS "ff_limit_permit" (
    "partition_key" smallint NOT NULL,
    "limit_key" varbinary(700) NOT NULL,
    "permit" bigint NOT NULL,
    "execution_partition" smallint NOT NULL,
    "execution_id" binary(16) NOT NULL,
    "taken_at_ms" bigint NOT NULL,
    PRIMARY KEY ("limit_key", "permit", "partition_key")
);

-- statement
CREATE INDEX IF NOT EXISTS "ff_limit_permit_execution_idx" ON "ff_limit_permit" ("execution_partition", "execution_id");

-- statement
CREATE TABLE IF NOT EXISTS "ff_migration_annotation" (
    "version" int NOT NULL,
    "name" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    "applied_at_ms" bigint NOT NULL,
    "backward_compatible" boolean NOT NULL,
    PRIMARY KEY ("version")
);

-- statement
CREATE TABLE IF NOT EXISTS "ff_operator_event" (
    "transaction_id" bigint NOT NULL DEFAULT 0,
    "event_id" bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
    "execution_id" varbinary(700) NOT NULL,
    "event_type" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    "details" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    "occurred_at_ms" bigint NOT NULL,
    "partition_key" smallint NOT NULL,
    "namespace" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    "instance_tag" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    CONSTRAINT "ff_operator_event_event_type_check" CHECK ("event_type" IN ('priority_changed', 'replayed', 'flow_cancel_requested', 'cancelled', 'lease_revoked', 'flow_ended'))
);

-- statement
CREATE INDEX IF NOT EXISTS "ff_operator_event_execution_idx" ON "ff_operator_event" ("partition_key", "execution_id");

-- statement
CREATE TABLE IF NOT EXISTS "ff_partition_config" (
    "singleton_lock" boolean NOT NULL DEFAULT TRUE,
    "num_flow_partitions" int NOT NULL,
    "num_budget_partitions" int NOT NULL,
    "num_quota_partitions" int NOT NULL,
    "ff_version" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    PRIMARY KEY ("singleton_lock"),
    CONSTRAINT "ff_partition_config_singleton_lock_check" CHECK ("singleton_lock")
);

-- statement
CREATE TABLE IF NOT EXISTS "ff_pending_cancel_groups" (
    "partition_key" smallint NOT NULL,
    "flow_id" binary(16) NOT NULL,
    "downstream_eid" binary(16) NOT NULL,
    "enqueued_at_ms" bigint NOT NULL,
    PRIMARY KEY ("partition_key", "flow_id", "downstream_eid")
);

-- statement
CREATE INDEX IF NOT EXISTS "ff_pending_cancel_groups_enqueued_idx" ON "ff_pending_cancel_groups" ("enqueued_at_ms", "flow_id", "downstream_eid");

-- statement
CREATE TABLE IF NOT EXISTS "ff_quota_admitted" (
    "partition_key" smallint NOT NULL,
    "quota_policy_id" varbinary(700) NOT NULL,
    "execution_id" varbinary(700) NOT NULL,
    "admitted_at_ms" bigint NOT NULL,
    "expires_at_ms" bigint NOT NULL,
    "holds_slot" boolean NOT NULL DEFAULT TRUE,
    PRIMARY KEY ("partition_key", "quota_policy_id", "execution_id")
);

-- statement
CREATE INDEX IF NOT EXISTS "ff_quota_admitted_expires_idx" ON "ff_quota_admitted" ("partition_key", "expires_at_ms");

-- statement
CREATE INDEX IF NOT EXISTS "ff_quota_admitted_expired_idx" ON "ff_quota_admitted" ("expires_at_ms", "execution_id");

-- statement
CREATE INDEX IF NOT EXISTS "ff_quota_admitted_execution_idx" ON "ff_quota_admitted" ("execution_id");

-- statement
CREATE TABLE IF NOT EXISTS "ff_quota_policy" (
    "partition_key" smallint NOT NULL,
    "quota_policy_id" varbinary(700) NOT NULL,
    "requests_per_window_seconds" bigint NOT NULL,
    "max_requests_per_window" bigint NOT NULL,
    "active_concurrency_cap" bigint NOT NULL,
    "active_concurrency" bigint NOT NULL DEFAULT 0,
    "created_at_ms" bigint NOT NULL,
    "updated_at_ms" bigint NOT NULL,
    "version" bigint NOT NULL DEFAULT 0,
    "is_defined" boolean NOT NULL DEFAULT TRUE,
    PRIMARY KEY ("partition_key", "quota_policy_id")
);

-- statement
CREATE TABLE IF NOT EXISTS "ff_quota_window" (
    "partition_key" smallint NOT NULL,
    "quota_policy_id" varbinary(700) NOT NULL,
    "dimension" varbinary(700) NOT NULL DEFAULT '',
    "admitted_at_ms" bigint NOT NULL,
    "execution_id" varbinary(700) NOT NULL,
    "expires_at_ms" bigint,
    PRIMARY KEY ("partition_key", "quota_policy_id", "dimension", "admitted_at_ms", "execution_id")
);

-- statement
CREATE INDEX IF NOT EXISTS "ff_quota_window_expired_idx" ON "ff_quota_window" ("expires_at_ms", "quota_policy_id");

-- statement
CREATE INDEX IF NOT EXISTS "ff_quota_window_execution_idx" ON "ff_quota_window" ("execution_id");

-- statement
CREATE TABLE IF NOT EXISTS "ff_schedule" (
    "partition_key" smallint NOT NULL,
    "namespace" varbinary(700) NOT NULL,
    "name" varbinary(700) NOT NULL,
    "cron" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    "time_zone" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    "jitter_ms" bigint NOT NULL DEFAULT 0,
    "overlap" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL DEFAULT 'skip',
    "catch_up" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL DEFAULT 'latest',
    "catch_up_most" int NOT NULL DEFAULT 1,
    "skipped_hours" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL DEFAULT 'shift',
    "doubled_hours" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL DEFAULT 'first',
    "work" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    "payload" longblob NOT NULL,
    "next_tick_at_ms" bigint,
    "due_at_ms" bigint,
    "queued" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL DEFAULT '[]',
    "last_tick_at_ms" bigint,
    "last_execution_id" binary(16),
    "skipped_tick_at_ms" bigint,
    "paused_at_ms" bigint,
    "paused_by" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    "paused_reason" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    "created_at_ms" bigint NOT NULL,
    "updated_at_ms" bigint NOT NULL,
    "version" bigint NOT NULL DEFAULT 0,
    PRIMARY KEY ("partition_key", "namespace", "name")
);

-- statement
CREATE INDEX IF NOT EXISTS "ff_schedule_due_idx" ON "ff_schedule" ("due_at_ms", "namespace", "name");

-- statement
CREATE INDEX IF NOT EXISTS "ff_schedule_name_idx" ON "ff_schedule" ("namespace", "name");

-- statement
CREATE TABLE IF NOT EXISTS "ff_signal_dedup" (
    "partition_key" smallint NOT NULL,
    "execution_id" binary(16) NOT NULL,
    "idempotency_key" varbinary(700) NOT NULL,
    "signal_id" binary(16) NOT NULL,
    "waitpoint_id" binary(16) NOT NULL,
    "accepted_at_ms" bigint NOT NULL,
    "expires_at_ms" bigint,
    PRIMARY KEY ("partition_key", "execution_id", "idempotency_key")
);

-- statement
CREATE TABLE IF NOT EXISTS "ff_signal_event" (
    "transaction_id" bigint NOT NULL DEFAULT 0,
    "event_id" bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
    "execution_id" varbinary(700) NOT NULL,
    "signal_id" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    "waitpoint_id" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    "source_identity" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    "effect" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL DEFAULT 'satisfied',
    "delivered_at_ms" bigint NOT NULL,
    "partition_key" smallint NOT NULL,
    "namespace" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    "instance_tag" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin
);

-- statement
CREATE INDEX IF NOT EXISTS "ff_signal_event_execution_idx" ON "ff_signal_event" ("partition_key", "execution_id");

-- statement
CREATE TABLE IF NOT EXISTS "ff_step" (
    "partition_key" smallint NOT NULL,
    "execution_id" binary(16) NOT NULL,
    "position" int NOT NULL,
    "name" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    "value" longblob NOT NULL,
    "attempt_index" int NOT NULL,
    "lease_epoch" bigint NOT NULL,
    "recorded_at_ms" bigint NOT NULL,
    PRIMARY KEY ("partition_key", "execution_id", "position")
);

-- statement
CREATE TABLE IF NOT EXISTS "ff_stream_frame" (
    "partition_key" smallint NOT NULL,
    "execution_id" binary(16) NOT NULL,
    "attempt_index" int NOT NULL,
    "ts_ms" bigint NOT NULL,
    "seq" int NOT NULL,
    "fields" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    "mode" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    "created_at_ms" bigint NOT NULL,
    PRIMARY KEY ("partition_key", "execution_id", "attempt_index", "ts_ms", "seq")
);

-- statement
CREATE TABLE IF NOT EXISTS "ff_stream_meta" (
    "partition_key" smallint NOT NULL,
    "execution_id" binary(16) NOT NULL,
    "attempt_index" int NOT NULL,
    "ema_rate_hz" double NOT NULL DEFAULT (0.0),
    "last_append_ts_ms" bigint NOT NULL DEFAULT 0,
    "maxlen_applied_last" int NOT NULL DEFAULT 0,
    "next_seq" int NOT NULL DEFAULT 0,
    "trimmed_count" bigint NOT NULL DEFAULT 0,
    "trimmed_before_ms" bigint NOT NULL DEFAULT 0,
    PRIMARY KEY ("partition_key", "execution_id", "attempt_index")
);

-- statement
CREATE TABLE IF NOT EXISTS "ff_stream_summary" (
    "partition_key" smallint NOT NULL,
    "execution_id" binary(16) NOT NULL,
    "attempt_index" int NOT NULL,
    "document_json" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    "version" int NOT NULL DEFAULT 0,
    "patch_kind" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    "last_updated_ms" bigint NOT NULL,
    "first_applied_ms" bigint NOT NULL,
    PRIMARY KEY ("partition_key", "execution_id", "attempt_index")
);

-- statement
CREATE TABLE IF NOT EXISTS "ff_subscriber_cursor" (
    "name" varbinary(700) NOT NULL,
    "outbox" varbinary(700) NOT NULL,
    "event_id" bigint NOT NULL DEFAULT 0,
    "updated_at_ms" bigint NOT NULL,
    "began_at_ms" bigint,
    "note" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    PRIMARY KEY ("name", "outbox")
);

-- statement
CREATE TABLE IF NOT EXISTS "ff_suspend_dedup" (
    "partition_key" smallint NOT NULL,
    "idempotency_key" varbinary(700) NOT NULL,
    "outcome_json" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    "created_at_ms" bigint NOT NULL,
    PRIMARY KEY ("partition_key", "idempotency_key")
);

-- statement
CREATE TABLE IF NOT EXISTS "ff_suspension_current" (
    "partition_key" smallint NOT NULL,
    "execution_id" binary(16) NOT NULL,
    "suspension_id" binary(16) NOT NULL,
    "suspended_at_ms" bigint NOT NULL,
    "timeout_at_ms" bigint,
    "reason_code" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    "condition" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    "satisfied_set" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL DEFAULT '[]',
    "member_map" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL DEFAULT '{}',
    "timeout_behavior" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    "resume_policy" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    "requested_by" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    "continuation_metadata_pointer" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    "signal_count" bigint NOT NULL DEFAULT 0,
    "version" bigint NOT NULL DEFAULT 0,
    "raises" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    PRIMARY KEY ("partition_key", "execution_id")
);

-- statement
CREATE INDEX IF NOT EXISTS "ff_suspension_current_suspended_at_idx" ON "ff_suspension_current" ("partition_key", "suspended_at_ms");

-- statement
CREATE INDEX IF NOT EXISTS "ff_suspension_current_timeout_idx" ON "ff_suspension_current" ("timeout_at_ms", "execution_id");

-- statement
CREATE TABLE IF NOT EXISTS "ff_waitpoint_hmac" (
    "kid" varbinary(700) NOT NULL,
    "secret" longblob NOT NULL,
    "rotated_at_ms" bigint NOT NULL,
    "active" boolean NOT NULL DEFAULT TRUE,
    "verifies_until_ms" bigint,
    PRIMARY KEY ("kid")
);

-- statement
CREATE TABLE IF NOT EXISTS "ff_waitpoint_keyring" (
    "singleton_lock" boolean NOT NULL DEFAULT TRUE,
    "version" bigint NOT NULL DEFAULT 1,
    PRIMARY KEY ("singleton_lock"),
    CONSTRAINT "ff_waitpoint_keyring_singleton_lock_check" CHECK ("singleton_lock")
);

-- statement
CREATE TABLE IF NOT EXISTS "ff_waitpoint_pending" (
    "partition_key" smallint NOT NULL,
    "waitpoint_id" binary(16) NOT NULL,
    "execution_id" binary(16) NOT NULL,
    "token_kid" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    "token" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    "created_at_ms" bigint NOT NULL,
    "expires_at_ms" bigint,
    "condition" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    "waitpoint_key" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL DEFAULT '',
    "state" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL DEFAULT 'pending',
    "required_signal_names" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL DEFAULT '[]',
    "activated_at_ms" bigint,
    "suspension_id" binary(16),
    PRIMARY KEY ("partition_key", "waitpoint_id")
);

-- statement
CREATE INDEX IF NOT EXISTS "ff_waitpoint_pending_exec_idx" ON "ff_waitpoint_pending" ("partition_key", "execution_id");

-- statement
CREATE INDEX IF NOT EXISTS "ff_waitpoint_pending_expires_idx" ON "ff_waitpoint_pending" ("expires_at_ms", "waitpoint_id");

-- statement
CREATE TABLE IF NOT EXISTS "ff_worker_registry" (
    "partition_key" smallint NOT NULL,
    "namespace" varbinary(700) NOT NULL,
    "worker_instance_id" varbinary(700) NOT NULL,
    "worker_id" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    "lanes" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    "capabilities_csv" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    "last_heartbeat_ms" bigint NOT NULL,
    "liveness_ttl_ms" bigint NOT NULL,
    "registered_at_ms" bigint NOT NULL,
    "version" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    "swept_at_ms" bigint,
    PRIMARY KEY ("partition_key", "namespace", "worker_instance_id")
);

-- statement
CREATE INDEX IF NOT EXISTS "ff_worker_registry_ns_inst_idx" ON "ff_worker_registry" ("namespace", "worker_instance_id");

-- statement
CREATE TABLE IF NOT EXISTS "ff_worker_registry_event" (
    "partition_key" smallint NOT NULL,
    "namespace" varbinary(700) NOT NULL,
    "worker_instance_id" varbinary(700) NOT NULL,
    "event_kind" varbinary(700) NOT NULL,
    "event_at_ms" bigint NOT NULL,
    "reason" longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    PRIMARY KEY ("partition_key", "namespace", "worker_instance_id", "event_at_ms", "event_kind")
);

-- statement
CREATE INDEX IF NOT EXISTS "ff_worker_registry_event_at_idx" ON "ff_worker_registry_event" ("event_at_ms");

-- statement
INSERT INTO "ff_partition_config" ("singleton_lock", "num_flow_partitions", "num_budget_partitions", "num_quota_partitions", "ff_version") VALUES (TRUE, 256, 32, 32, '0.1.0') ON DUPLICATE KEY UPDATE "singleton_lock" = "singleton_lock";

-- statement
INSERT INTO "ff_migration_annotation" ("version", "name", "applied_at_ms", "backward_compatible") VALUES (10, '0010_keyed_walk', CAST(TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', UTC_TIMESTAMP(3)) DIV 1000 AS SIGNED), FALSE) ON DUPLICATE KEY UPDATE "version" = "version";
