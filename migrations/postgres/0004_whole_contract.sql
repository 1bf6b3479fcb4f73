-- Written by ff-codegen from a change of the tables in core/src/schema. Do not edit: a migration
-- stays as it was written.

-- statement
CREATE INDEX IF NOT EXISTS "ff_budget_usage_by_exec_execution_idx" ON "ff_budget_usage_by_exec" ("execution_id");

-- statement
ALTER TABLE "ff_flow_core"
    ADD COLUMN IF NOT EXISTS "sealed_at_ms" bigint;

-- statement
CREATE INDEX IF NOT EXISTS "ff_quota_admitted_execution_idx" ON "ff_quota_admitted" ("execution_id");

-- statement
CREATE INDEX IF NOT EXISTS "ff_quota_window_execution_idx" ON "ff_quota_window" ("execution_id");

-- statement
CREATE TABLE IF NOT EXISTS "ff_subscriber_cursor" (
    "name" text COLLATE "C" NOT NULL,
    "outbox" text COLLATE "C" NOT NULL,
    "event_id" bigint NOT NULL DEFAULT 0,
    "updated_at_ms" bigint NOT NULL,
    PRIMARY KEY ("name", "outbox")
);

-- statement
INSERT INTO "ff_migration_annotation" ("version", "name", "applied_at_ms", "backward_compatible") VALUES (4, '0004_whole_contract', (extract(epoch from clock_timestamp()) * 1000)::bigint, TRUE) ON CONFLICT  DO NOTHING;
