-- Written by ff-codegen from a change of the tables in core/src/schema. Do not edit: a migration
-- stays as it was written.

-- statement
CREATE TABLE IF NOT EXISTS "ff_budget_reservation" (
    "partition_key" INTEGER NOT NULL,
    "execution_id" BLOB NOT NULL,
    "budget_id" TEXT NOT NULL,
    "dimensions_key" TEXT NOT NULL,
    "amount" INTEGER NOT NULL,
    "updated_at_ms" INTEGER NOT NULL,
    PRIMARY KEY ("partition_key", "execution_id", "budget_id", "dimensions_key")
);

-- statement
CREATE INDEX IF NOT EXISTS "ff_budget_reservation_budget_idx" ON "ff_budget_reservation" ("budget_id");

-- statement
ALTER TABLE "ff_budget_usage" ADD COLUMN "overdraft" INTEGER NOT NULL DEFAULT 0;

-- statement
ALTER TABLE "ff_exec_core" ADD COLUMN "has_reservations" INTEGER NOT NULL DEFAULT FALSE;

-- statement
ALTER TABLE "ff_subscriber_cursor" ADD COLUMN "began_at_ms" INTEGER;

-- statement
ALTER TABLE "ff_subscriber_cursor" ADD COLUMN "note" TEXT;

-- statement
ALTER TABLE "ff_suspension_current" ADD COLUMN "raises" TEXT;

-- statement
ALTER TABLE "ff_worker_registry" ADD COLUMN "swept_at_ms" INTEGER;

-- statement
INSERT INTO "ff_migration_annotation" ("version", "name", "applied_at_ms", "backward_compatible") VALUES (5, '0005_reserve_and_archive', CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER), TRUE) ON CONFLICT  DO NOTHING;
