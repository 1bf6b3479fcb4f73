-- Written by ff-codegen from a change of the tables in core/src/schema. Do not edit: a migration
-- stays as it was written.

-- statement
CREATE TABLE IF NOT EXISTS "ff_step" (
    "partition_key" INTEGER NOT NULL,
    "execution_id" BLOB NOT NULL,
    "position" INTEGER NOT NULL,
    "name" TEXT NOT NULL,
    "value" BLOB NOT NULL,
    "attempt_index" INTEGER NOT NULL,
    "lease_epoch" INTEGER NOT NULL,
    "recorded_at_ms" INTEGER NOT NULL,
    PRIMARY KEY ("partition_key", "execution_id", "position")
);

-- statement
INSERT INTO "ff_migration_annotation" ("version", "name", "applied_at_ms", "backward_compatible") VALUES (9, '0009_steps', CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER), TRUE) ON CONFLICT  DO NOTHING;
