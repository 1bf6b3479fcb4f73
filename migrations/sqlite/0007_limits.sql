-- Written by ff-codegen from a change of the tables in core/src/schema. Do not edit: a migration
-- stays as it was written.

-- statement
CREATE TABLE IF NOT EXISTS "ff_limit" (
    "partition_key" INTEGER NOT NULL,
    "limit_key" TEXT NOT NULL,
    "max_running" INTEGER,
    "rate_count" INTEGER,
    "rate_per_ms" INTEGER,
    "rate_burst" INTEGER,
    "set_by" TEXT NOT NULL,
    "set_at_ms" INTEGER NOT NULL,
    PRIMARY KEY ("partition_key", "limit_key")
);

-- statement
CREATE TABLE IF NOT EXISTS "ff_limit_cell" (
    "partition_key" INTEGER NOT NULL,
    "limit_key" TEXT NOT NULL,
    "rate" TEXT NOT NULL,
    "cell" INTEGER NOT NULL,
    "execution_id" BLOB NOT NULL,
    "expires_at_ms" INTEGER NOT NULL,
    PRIMARY KEY ("partition_key", "limit_key", "rate", "cell")
);

-- statement
CREATE INDEX IF NOT EXISTS "ff_limit_cell_expires_idx" ON "ff_limit_cell" ("expires_at_ms", "limit_key", "rate", "cell");

-- statement
CREATE TABLE IF NOT EXISTS "ff_limit_permit" (
    "partition_key" INTEGER NOT NULL,
    "limit_key" TEXT NOT NULL,
    "permit" INTEGER NOT NULL,
    "execution_partition" INTEGER NOT NULL,
    "execution_id" BLOB NOT NULL,
    "taken_at_ms" INTEGER NOT NULL,
    PRIMARY KEY ("partition_key", "limit_key", "permit")
);

-- statement
CREATE INDEX IF NOT EXISTS "ff_limit_permit_execution_idx" ON "ff_limit_permit" ("execution_partition", "execution_id");

-- statement
INSERT INTO "ff_migration_annotation" ("version", "name", "applied_at_ms", "backward_compatible") VALUES (7, '0007_limits', CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER), TRUE) ON CONFLICT  DO NOTHING;
