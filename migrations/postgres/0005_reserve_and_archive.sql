-- Written by ff-codegen from a change of the tables in core/src/schema. Do not edit: a migration
-- stays as it was written.

-- statement
CREATE TABLE IF NOT EXISTS "ff_budget_reservation" (
    "partition_key" smallint NOT NULL,
    "execution_id" uuid NOT NULL,
    "budget_id" text COLLATE "C" NOT NULL,
    "dimensions_key" text COLLATE "C" NOT NULL,
    "amount" bigint NOT NULL,
    "updated_at_ms" bigint NOT NULL,
    PRIMARY KEY ("partition_key", "execution_id", "budget_id", "dimensions_key")
);

-- statement
CREATE INDEX IF NOT EXISTS "ff_budget_reservation_budget_idx" ON "ff_budget_reservation" ("budget_id");

-- statement
ALTER TABLE "ff_budget_usage"
    ADD COLUMN IF NOT EXISTS "overdraft" bigint NOT NULL DEFAULT 0;

-- statement
ALTER TABLE "ff_exec_core"
    ADD COLUMN IF NOT EXISTS "has_reservations" boolean NOT NULL DEFAULT FALSE;

-- statement
ALTER TABLE "ff_subscriber_cursor"
    ADD COLUMN IF NOT EXISTS "began_at_ms" bigint,
    ADD COLUMN IF NOT EXISTS "note" text COLLATE "C";

-- statement
ALTER TABLE "ff_suspension_current"
    ADD COLUMN IF NOT EXISTS "raises" jsonb;

-- statement
ALTER TABLE "ff_worker_registry"
    ADD COLUMN IF NOT EXISTS "swept_at_ms" bigint;

-- statement
INSERT INTO "ff_migration_annotation" ("version", "name", "applied_at_ms", "backward_compatible") VALUES (5, '0005_reserve_and_archive', (extract(epoch from clock_timestamp()) * 1000)::bigint, TRUE) ON CONFLICT  DO NOTHING;
