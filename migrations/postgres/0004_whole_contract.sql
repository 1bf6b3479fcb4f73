-- Written by ff-codegen from a change of the tables in core/src/schema. Do not edit: a migration
-- stays as it was written.

-- statement
CREATE TABLE IF NOT EXISTS "ff_budget_in_use" (
    "budget_id" text COLLATE "C" NOT NULL,
    "partition_key" smallint NOT NULL,
    "registered_at_ms" bigint NOT NULL,
    PRIMARY KEY ("budget_id", "partition_key")
);

-- statement
ALTER TABLE "ff_budget_policy"
    ADD COLUMN IF NOT EXISTS "version" bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS "period" bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS "is_defined" boolean NOT NULL DEFAULT TRUE;

-- statement
ALTER TABLE "ff_budget_usage_by_exec"
    ADD COLUMN IF NOT EXISTS "period" bigint NOT NULL DEFAULT 0;

-- statement
CREATE INDEX IF NOT EXISTS "ff_budget_usage_by_exec_execution_idx" ON "ff_budget_usage_by_exec" ("execution_id");

-- statement
CREATE INDEX IF NOT EXISTS "ff_budget_usage_dedup_expired_idx" ON "ff_budget_usage_dedup" ("expires_at_ms", "dedup_key");

-- statement
ALTER TABLE "ff_exec_core"
    ADD COLUMN IF NOT EXISTS "is_badly_ended" boolean GENERATED ALWAYS AS ((CASE WHEN ("public_state" IN ('failed', 'cancelled', 'expired')) THEN TRUE END)) STORED;

-- statement
CREATE INDEX IF NOT EXISTS "ff_exec_core_badly_ended_idx" ON "ff_exec_core" ("created_at_ms")
    WHERE "ff_exec_core"."is_badly_ended" IS NOT NULL;

-- statement
CREATE INDEX IF NOT EXISTS "ff_exec_core_created_idx" ON "ff_exec_core" ("created_at_ms");

-- statement
ALTER TABLE "ff_flow_core"
    ADD COLUMN IF NOT EXISTS "sealed_at_ms" bigint;

-- statement
ALTER TABLE "ff_lane_registry"
    ADD COLUMN IF NOT EXISTS "state" text COLLATE "C" NOT NULL DEFAULT 'active',
    ADD COLUMN IF NOT EXISTS "state_reason" text COLLATE "C",
    ADD COLUMN IF NOT EXISTS "state_by" text COLLATE "C",
    ADD COLUMN IF NOT EXISTS "state_since_ms" bigint,
    ADD COLUMN IF NOT EXISTS "state_until_ms" bigint;

-- statement
ALTER TABLE "ff_quota_admitted"
    ADD COLUMN IF NOT EXISTS "holds_slot" boolean NOT NULL DEFAULT TRUE;

-- statement
CREATE INDEX IF NOT EXISTS "ff_quota_admitted_execution_idx" ON "ff_quota_admitted" ("execution_id");

-- statement
CREATE INDEX IF NOT EXISTS "ff_quota_admitted_expired_idx" ON "ff_quota_admitted" ("expires_at_ms", "execution_id");

-- statement
ALTER TABLE "ff_quota_policy"
    ADD COLUMN IF NOT EXISTS "version" bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS "is_defined" boolean NOT NULL DEFAULT TRUE;

-- statement
ALTER TABLE "ff_quota_window"
    ADD COLUMN IF NOT EXISTS "expires_at_ms" bigint;

-- statement
CREATE INDEX IF NOT EXISTS "ff_quota_window_execution_idx" ON "ff_quota_window" ("execution_id");

-- statement
CREATE INDEX IF NOT EXISTS "ff_quota_window_expired_idx" ON "ff_quota_window" ("expires_at_ms", "quota_policy_id")
    WHERE "ff_quota_window"."expires_at_ms" IS NOT NULL;

-- statement
CREATE TABLE IF NOT EXISTS "ff_subscriber_cursor" (
    "name" text COLLATE "C" NOT NULL,
    "outbox" text COLLATE "C" NOT NULL,
    "event_id" bigint NOT NULL DEFAULT 0,
    "updated_at_ms" bigint NOT NULL,
    PRIMARY KEY ("name", "outbox")
);

-- statement
ALTER TABLE "ff_worker_registry"
    ADD COLUMN IF NOT EXISTS "version" text COLLATE "C";

-- statement
CREATE INDEX IF NOT EXISTS "ff_worker_registry_event_at_idx" ON "ff_worker_registry_event" ("event_at_ms");

-- statement
INSERT INTO "ff_migration_annotation" ("version", "name", "applied_at_ms", "backward_compatible") VALUES (4, '0004_whole_contract', (extract(epoch from clock_timestamp()) * 1000)::bigint, TRUE) ON CONFLICT  DO NOTHING;
