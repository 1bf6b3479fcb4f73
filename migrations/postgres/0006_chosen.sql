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
INSERT INTO "ff_migration_annotation" ("version", "name", "applied_at_ms", "backward_compatible") VALUES (6, '0006_chosen', (extract(epoch from clock_timestamp()) * 1000)::bigint, TRUE) ON CONFLICT  DO NOTHING;
