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
INSERT INTO "ff_migration_annotation" ("version", "name", "applied_at_ms", "backward_compatible") VALUES (6, '0006_chosen', CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER), TRUE) ON CONFLICT  DO NOTHING;
