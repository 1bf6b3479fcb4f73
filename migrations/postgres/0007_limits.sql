-- Written by ff-codegen from a change of the tables in core/src/schema. Do not edit: a migration
-- stays as it was written.

-- statement
CREATE TABLE IF NOT EXISTS "ff_limit" (
    "partition_key" smallint NOT NULL,
    "limit_key" text COLLATE "C" NOT NULL,
    "max_running" bigint,
    "rate_count" bigint,
    "rate_per_ms" bigint,
    "rate_burst" bigint,
    "set_by" text COLLATE "C" NOT NULL,
    "set_at_ms" bigint NOT NULL,
    PRIMARY KEY ("partition_key", "limit_key")
);

-- statement
CREATE TABLE IF NOT EXISTS "ff_limit_cell" (
    "partition_key" smallint NOT NULL,
    "limit_key" text COLLATE "C" NOT NULL,
    "rate" text COLLATE "C" NOT NULL,
    "cell" bigint NOT NULL,
    "execution_id" uuid NOT NULL,
    "expires_at_ms" bigint NOT NULL,
    PRIMARY KEY ("partition_key", "limit_key", "rate", "cell")
);

-- statement
CREATE INDEX IF NOT EXISTS "ff_limit_cell_expires_idx" ON "ff_limit_cell" ("expires_at_ms", "limit_key", "rate", "cell");

-- statement
CREATE TABLE IF NOT EXISTS "ff_limit_permit" (
    "partition_key" smallint NOT NULL,
    "limit_key" text COLLATE "C" NOT NULL,
    "permit" bigint NOT NULL,
    "execution_partition" smallint NOT NULL,
    "execution_id" uuid NOT NULL,
    "taken_at_ms" bigint NOT NULL,
    PRIMARY KEY ("partition_key", "limit_key", "permit")
);

-- statement
CREATE INDEX IF NOT EXISTS "ff_limit_permit_execution_idx" ON "ff_limit_permit" ("execution_partition", "execution_id");

-- statement
INSERT INTO "ff_migration_annotation" ("version", "name", "applied_at_ms", "backward_compatible") VALUES (7, '0007_limits', (extract(epoch from clock_timestamp()) * 1000)::bigint, TRUE) ON CONFLICT  DO NOTHING;
