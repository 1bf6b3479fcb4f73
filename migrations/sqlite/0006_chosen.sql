-- Written by ff-codegen from a change of the tables in core/src/schema. Do not edit: a migration
-- stays as it was written.

-- statement
CREATE TABLE IF NOT EXISTS "ff_idempotency_key" (
    "partition_key" INTEGER NOT NULL,
    "key_digest" TEXT NOT NULL,
    "execution_partition" INTEGER NOT NULL,
    "execution_id" BLOB NOT NULL,
    "taken_at_ms" INTEGER NOT NULL,
    "expires_at_ms" INTEGER,
    "held_by_execution" BLOB,
    PRIMARY KEY ("partition_key", "key_digest")
);

-- statement
CREATE INDEX IF NOT EXISTS "ff_idempotency_key_expires_idx" ON "ff_idempotency_key" ("expires_at_ms", "key_digest")
    WHERE "ff_idempotency_key"."expires_at_ms" IS NOT NULL;

-- statement
CREATE INDEX IF NOT EXISTS "ff_idempotency_key_held_by_idx" ON "ff_idempotency_key" ("execution_partition", "held_by_execution")
    WHERE "ff_idempotency_key"."held_by_execution" IS NOT NULL;

-- statement
CREATE TABLE IF NOT EXISTS "ff_schedule" (
    "partition_key" INTEGER NOT NULL,
    "namespace" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    "cron" TEXT NOT NULL,
    "time_zone" TEXT NOT NULL,
    "jitter_ms" INTEGER NOT NULL DEFAULT 0,
    "overlap" TEXT NOT NULL DEFAULT 'skip',
    "catch_up" TEXT NOT NULL DEFAULT 'latest',
    "catch_up_most" INTEGER NOT NULL DEFAULT 1,
    "skipped_hours" TEXT NOT NULL DEFAULT 'shift',
    "doubled_hours" TEXT NOT NULL DEFAULT 'first',
    "work" TEXT NOT NULL,
    "payload" BLOB NOT NULL,
    "next_tick_at_ms" INTEGER,
    "due_at_ms" INTEGER,
    "queued" TEXT NOT NULL DEFAULT '[]',
    "last_tick_at_ms" INTEGER,
    "last_execution_id" BLOB,
    "skipped_tick_at_ms" INTEGER,
    "paused_at_ms" INTEGER,
    "paused_by" TEXT,
    "paused_reason" TEXT,
    "created_at_ms" INTEGER NOT NULL,
    "updated_at_ms" INTEGER NOT NULL,
    "version" INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY ("partition_key", "namespace", "name")
);

-- statement
CREATE INDEX IF NOT EXISTS "ff_schedule_due_idx" ON "ff_schedule" ("due_at_ms", "namespace", "name")
    WHERE "ff_schedule"."due_at_ms" IS NOT NULL;

-- statement
CREATE INDEX IF NOT EXISTS "ff_schedule_name_idx" ON "ff_schedule" ("namespace", "name");

-- statement
INSERT INTO "ff_migration_annotation" ("version", "name", "applied_at_ms", "backward_compatible") VALUES (6, '0006_chosen', CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER), TRUE) ON CONFLICT  DO NOTHING;
