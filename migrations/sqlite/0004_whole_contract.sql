-- Written by ff-codegen from a change of the tables in core/src/schema. Do not edit: a migration
-- stays as it was written.

-- statement
CREATE TABLE IF NOT EXISTS "ff_budget_in_use" (
    "budget_id" TEXT NOT NULL,
    "partition_key" INTEGER NOT NULL,
    "registered_at_ms" INTEGER NOT NULL,
    PRIMARY KEY ("budget_id", "partition_key")
);

-- statement
ALTER TABLE "ff_budget_policy" ADD COLUMN "version" INTEGER NOT NULL DEFAULT 0;

-- statement
ALTER TABLE "ff_budget_policy" ADD COLUMN "period" INTEGER NOT NULL DEFAULT 0;

-- statement
ALTER TABLE "ff_budget_policy" ADD COLUMN "is_defined" INTEGER NOT NULL DEFAULT TRUE;

-- statement
ALTER TABLE "ff_budget_usage_by_exec" ADD COLUMN "period" INTEGER NOT NULL DEFAULT 0;

-- statement
CREATE INDEX IF NOT EXISTS "ff_budget_usage_by_exec_execution_idx" ON "ff_budget_usage_by_exec" ("execution_id");

-- statement
CREATE INDEX IF NOT EXISTS "ff_budget_usage_dedup_expired_idx" ON "ff_budget_usage_dedup" ("expires_at_ms", "dedup_key");

-- statement
CREATE INDEX IF NOT EXISTS "ff_exec_core_badly_ended_idx" ON "ff_exec_core" ("created_at_ms")
    WHERE "ff_exec_core"."public_state" IN ('failed', 'cancelled', 'expired');

-- statement
CREATE INDEX IF NOT EXISTS "ff_exec_core_created_idx" ON "ff_exec_core" ("created_at_ms");

-- statement
ALTER TABLE "ff_flow_core" ADD COLUMN "sealed_at_ms" INTEGER;

-- statement
ALTER TABLE "ff_lane_registry" ADD COLUMN "state" TEXT NOT NULL DEFAULT 'active';

-- statement
ALTER TABLE "ff_lane_registry" ADD COLUMN "state_reason" TEXT;

-- statement
ALTER TABLE "ff_lane_registry" ADD COLUMN "state_by" TEXT;

-- statement
ALTER TABLE "ff_lane_registry" ADD COLUMN "state_since_ms" INTEGER;

-- statement
ALTER TABLE "ff_lane_registry" ADD COLUMN "state_until_ms" INTEGER;

-- statement
ALTER TABLE "ff_quota_admitted" ADD COLUMN "holds_slot" INTEGER NOT NULL DEFAULT TRUE;

-- statement
CREATE INDEX IF NOT EXISTS "ff_quota_admitted_execution_idx" ON "ff_quota_admitted" ("execution_id");

-- statement
CREATE INDEX IF NOT EXISTS "ff_quota_admitted_expired_idx" ON "ff_quota_admitted" ("expires_at_ms", "execution_id");

-- statement
ALTER TABLE "ff_quota_policy" ADD COLUMN "version" INTEGER NOT NULL DEFAULT 0;

-- statement
ALTER TABLE "ff_quota_policy" ADD COLUMN "is_defined" INTEGER NOT NULL DEFAULT TRUE;

-- statement
ALTER TABLE "ff_quota_window" ADD COLUMN "expires_at_ms" INTEGER;

-- statement
CREATE INDEX IF NOT EXISTS "ff_quota_window_execution_idx" ON "ff_quota_window" ("execution_id");

-- statement
CREATE INDEX IF NOT EXISTS "ff_quota_window_expired_idx" ON "ff_quota_window" ("expires_at_ms", "quota_policy_id")
    WHERE "ff_quota_window"."expires_at_ms" IS NOT NULL;

-- statement
CREATE TABLE IF NOT EXISTS "ff_subscriber_cursor" (
    "name" TEXT NOT NULL,
    "outbox" TEXT NOT NULL,
    "event_id" INTEGER NOT NULL DEFAULT 0,
    "updated_at_ms" INTEGER NOT NULL,
    PRIMARY KEY ("name", "outbox")
);

-- statement
ALTER TABLE "ff_worker_registry" ADD COLUMN "version" TEXT;

-- statement
CREATE INDEX IF NOT EXISTS "ff_worker_registry_event_at_idx" ON "ff_worker_registry_event" ("event_at_ms");

-- statement
INSERT INTO "ff_migration_annotation" ("version", "name", "applied_at_ms", "backward_compatible") VALUES (4, '0004_whole_contract', CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER), TRUE) ON CONFLICT  DO NOTHING;
