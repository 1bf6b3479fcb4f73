-- Written by ff-codegen from a change of the tables in core/src/schema. Do not edit: a migration
-- stays as it was written.

-- statement
CREATE TABLE IF NOT EXISTS "ff_idempotency_key" (
    "partition_key" smallint NOT NULL,
    "key_digest" text COLLATE "C" NOT NULL,
    "execution_partition" smallint NOT NULL,
    "execution_id" uuid NOT NULL,
    "taken_at_ms" bigint NOT NULL,
    "expires_at_ms" bigint,
    "held_by_execution" uuid,
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
    "partition_key" smallint NOT NULL,
    "namespace" text COLLATE "C" NOT NULL,
    "name" text COLLATE "C" NOT NULL,
    "cron" text COLLATE "C" NOT NULL,
    "time_zone" text COLLATE "C" NOT NULL,
    "jitter_ms" bigint NOT NULL DEFAULT 0,
    "overlap" text COLLATE "C" NOT NULL DEFAULT 'skip',
    "catch_up" text COLLATE "C" NOT NULL DEFAULT 'latest',
    "catch_up_most" integer NOT NULL DEFAULT 1,
    "skipped_hours" text COLLATE "C" NOT NULL DEFAULT 'shift',
    "doubled_hours" text COLLATE "C" NOT NULL DEFAULT 'first',
    "work" jsonb NOT NULL,
    "payload" bytea NOT NULL,
    "next_tick_at_ms" bigint,
    "due_at_ms" bigint,
    "queued" jsonb NOT NULL DEFAULT '[]',
    "last_tick_at_ms" bigint,
    "last_execution_id" uuid,
    "skipped_tick_at_ms" bigint,
    "paused_at_ms" bigint,
    "paused_by" text COLLATE "C",
    "paused_reason" text COLLATE "C",
    "created_at_ms" bigint NOT NULL,
    "updated_at_ms" bigint NOT NULL,
    "version" bigint NOT NULL DEFAULT 0,
    PRIMARY KEY ("partition_key", "namespace", "name")
);

-- statement
CREATE INDEX IF NOT EXISTS "ff_schedule_due_idx" ON "ff_schedule" ("due_at_ms", "namespace", "name")
    WHERE "ff_schedule"."due_at_ms" IS NOT NULL;

-- statement
CREATE INDEX IF NOT EXISTS "ff_schedule_name_idx" ON "ff_schedule" ("namespace", "name");

-- statement
INSERT INTO "ff_migration_annotation" ("version", "name", "applied_at_ms", "backward_compatible") VALUES (6, '0006_chosen', (extract(epoch from clock_timestamp()) * 1000)::bigint, TRUE) ON CONFLICT  DO NOTHING;
